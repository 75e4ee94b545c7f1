package daemon

import (
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"os"
	"strings"
	"sync/atomic"
	"time"

	"golang.org/x/net/netutil"

	"redoubt/internal/api/arm"
	"redoubt/internal/api/dataplane"
	"redoubt/internal/audit"
	"redoubt/internal/authn"
	"redoubt/internal/blob"
	"redoubt/internal/blob/azblob"
	"redoubt/internal/cloud"
	"redoubt/internal/fleet"
	"redoubt/internal/hsm"
	"redoubt/internal/store/bolt"
	"redoubt/internal/unlock/passfile"
)

// Server is a running `redoubtd serve`: the control plane and the data plane of one site, on one TLS
// listener, and health on loopback. It has none of the rest of a dev cloud, and no way to switch it on:
// tokens come from the configured issuers, and nobody is looked up here.
type Server struct {
	running
	cfg   Config
	o     ServeOptions
	log   *slog.Logger
	cloud *cloud.Cloud
	fleet *fleet.Fleet
	trail *audit.Trail
	pair  *keyPair
	blobs *http.Transport
	front swap
	since time.Time
	phase atomic.Pointer[string] // "starting", "ready", "draining"

	addr, health net.Addr
}

// ServeOptions are what a configuration file does not say. The zero value is good.
type ServeOptions struct {
	Log    *slog.Logger
	Access *slog.Logger // of requests, as log.access says; nil: they are not logged

	testOnlyClock func() time.Time // of issuers' keys, tokens and the TLS pair
}

// StartServe opens the data directory that `redoubtd init` made and serves it. When it returns, every HSM has
// been opened, or its fault logged, and the listener answers.
func StartServe(ctx context.Context, cfg Config, o ServeOptions) (_ *Server, err error) {
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	if o.testOnlyClock == nil {
		o.testOnlyClock = time.Now
	}
	s := &Server{cfg: cfg, o: o, log: o.Log, since: time.Now()}
	s.enter("starting")
	s.instrument(s.now, s.log)
	s.shown.access, s.shown.everyRequest = o.Access, cfg.Log.Access == accessAll
	defer func() {
		if err != nil {
			err = errors.Join(err, s.Close())
		}
	}()
	if s.pair, err = openKeyPair(cfg.Listen.Certificate, cfg.Listen.Key, time.Duration(cfg.Listen.Reload), o.testOnlyClock, s.log); err != nil {
		return nil, err
	}
	for _, name := range uncovered(s.pair.current().Leaf, cfg.hostNames()) {
		s.log.Warn("the TLS certificate is not good for a name of this server; clients will refuse it", "name", name)
	}
	verifiers, err := s.verifiers()
	if err != nil {
		return nil, err
	}
	// Health answers first: a start that settles what a crash interrupted may take a while.
	if err := s.serveHealth(ctx); err != nil {
		return nil, err
	}
	if err := s.openData(ctx); err != nil {
		return nil, err
	}
	s.front.set(s.dispatch(verifiers))
	if err := s.listen(ctx); err != nil {
		return nil, err
	}
	s.enter("ready")
	return s, nil
}

func (s *Server) enter(phase string) { s.phase.Store(&phase) }

func (s *Server) now() string { return *s.phase.Load() }

// openData opens what init made; it makes nothing.
func (s *Server) openData(ctx context.Context) error {
	p := s.cfg.place()
	if err := checkData(p); err != nil {
		return err
	}
	st, err := bolt.Open(p.store(), bolt.Options{})
	if err != nil {
		return err
	}
	s.closers = append(s.closers, st.Close)
	s.shown.store, s.shown.place, s.shown.connections = st, p, s.cfg.Limits.Connections
	s.shown.certificate = func() time.Time { return s.pair.current().Leaf.NotAfter }
	s.cloud = cloud.Open(st)
	if err := checkSite(ctx, s.cloud, s.cfg); err != nil {
		return err
	}
	roots, err := p.roots()
	if err != nil {
		return err
	}
	outside, err := s.cfg.outsideTLS()
	if err != nil {
		return err
	}
	believed, err := s.cfg.believedAttestation()
	if err != nil {
		return err
	}
	policy := s.cfg.blobPolicy()
	s.blobs = azblob.NewTransport(policy, outside, policy.Dialer(s.cfg.resolver(), nil))
	s.closers = append(s.closers, func() error { s.blobs.CloseIdleConnections(); return nil })
	l, logs := s.cfg.Limits, newAuditFiles(p, s.cfg.Audit.options())
	s.shown.audits = logs
	if err := s.send(ctx, logs, s.cfg.Audit.Syslog, s.log); err != nil {
		return err
	}
	if s.trail, err = s.openTrail(ctx, logs.open, st, roots, s.log); err != nil {
		return err
	}
	s.fleet, err = s.openFleet(ctx, fleet.Config{Store: st, Roots: roots, OpenAudit: logs.open, OpenContainer: s.openContainer, Clock: time.Now,
		RestorePointMaxAge: time.Duration(l.RestorePointMaxAge), MaxKeys: l.Keys, MaxVersions: l.Versions, Attestation: believed, SyncAudit: s.cfg.Audit.Sync, Trail: s.trail, NoIdentities: true, Log: s.log}, l.ReadyKeys)
	return err
}

// resolver finds storage accounts: at the address that the configuration gives them, or as the system does (nil).
func (c *Config) resolver() blob.Resolve {
	if len(c.Storage.Addresses) == 0 {
		return nil
	}
	return func(ctx context.Context, host string) ([]netip.Addr, error) {
		if a, ok := c.Storage.Addresses[strings.ToLower(host)]; ok {
			return []netip.Addr{a}, nil
		}
		return net.DefaultResolver.LookupNetIP(ctx, "ip", host)
	}
}

// checkData refuses a data directory that is not there or that others can reach, and a passphrase file that is gone or unsafe.
func checkData(p place) error {
	if err := checkDirectory(p); err != nil {
		return err
	}
	return checkPassphrase(p)
}

func checkDirectory(p place) error {
	info, err := os.Stat(p.data)
	if errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("the data directory %s is missing; mount it, or make a new one with redoubtd init", p.data)
	}
	if err != nil {
		return fmt.Errorf("data directory: %w", err)
	}
	if err := checkPrivate(p.data, info); err != nil {
		return err
	}
	if _, err := os.Stat(p.store()); errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("the data directory %s holds no store.db; mount the right one, or make a new one with redoubtd init", p.data)
	}
	return nil
}

// checkPassphrase refuses a passphrase file that is missing, that others can reach, or that holds no passphrase. Whether it is
// the one that the roots were sealed with shows when they are opened.
func checkPassphrase(p place) error {
	switch there, err := p.passphraseThere(); {
	case err != nil:
		return err
	case !there:
		return fmt.Errorf("the passphrase file %s is missing; put it back, or make one with redoubtd init if there is no data directory yet", p.passphrase)
	}
	d, err := passfile.New(p.passphrase, p.data)
	if err != nil {
		return err
	}
	return d.Check()
}

func checkPrivate(dir string, info fs.FileInfo) error {
	if !info.IsDir() {
		return fmt.Errorf("the data directory %s is no directory", dir)
	}
	if perm := info.Mode().Perm(); perm&0o077 != 0 {
		return fmt.Errorf("the data directory %s has mode %04o, so that others may read or change it; run: chmod 700 %s", dir, perm, dir)
	}
	return nil
}

// checkSite refuses data that belong to another configuration.
func checkSite(ctx context.Context, c *cloud.Cloud, cfg Config) error {
	site, err := c.Site(ctx)
	switch {
	case errors.Is(err, cloud.ErrNotFound):
		return fmt.Errorf("%s was not made by redoubtd init: it is another program's, or init did not end; run it again", cfg.DataDirectory)
	case err != nil:
		return err
	case site.Tenant != cfg.Tenant:
		return fmt.Errorf("tenant: %s was made for tenant %s, the configuration says %s", cfg.DataDirectory, site.Tenant, cfg.Tenant)
	case site.Subscription != cfg.Subscription:
		return fmt.Errorf("subscription: %s was made for subscription %s, the configuration says %s", cfg.DataDirectory, site.Subscription, cfg.Subscription)
	}
	return nil
}

// openContainer opens the storage that a backup or restore names, with its shared access signature.
func (s *Server) openContainer(_ context.Context, r hsm.ContainerRequest) (blob.Container, error) {
	target, err := blob.ParseTarget(r.URI, s.cfg.blobPolicy())
	if err != nil {
		return nil, err
	}
	if r.SAS == nil {
		return nil, fmt.Errorf("%w: this server has no managed identities; give a SAS token", blob.ErrBadCredential)
	}
	sas, err := azblob.ParseSAS(r.SAS())
	if err != nil {
		return nil, err
	}
	if err := sas.Check(time.Now(), r.Need); err != nil {
		return nil, err
	}
	return azblob.Open(target, azblob.Options{Transport: s.blobs, SAS: sas.Text})
}

// planes are the two kinds of verifier: a token for one plane is not good at the other.
type planes struct{ control, device *authn.Verifier }

// verifiers trust the configured issuers, whose keys both planes share. There is no look-up of who has been
// removed: that ends with the token.
func (s *Server) verifiers() (p planes, err error) {
	outside, err := s.cfg.outsideTLS()
	if err != nil {
		return p, err
	}
	transport := &http.Transport{TLSClientConfig: outside, IdleConnTimeout: 30 * time.Second, TLSHandshakeTimeout: 10 * time.Second}
	s.closers = append(s.closers, func() error { transport.CloseIdleConnections(); return nil })
	client := &http.Client{Transport: transport, Timeout: 10 * time.Second}
	var control, device []authn.Issuer
	for _, is := range s.cfg.Issuers {
		keys, err := authn.NewRemoteKeys(authn.RemoteConfig{Issuer: is.URL, JWKS: is.JWKS, Client: client, Clock: s.o.testOnlyClock})
		if err != nil {
			return p, err
		}
		control = append(control, is.trusted(keys, is.ControlAudiences))
		device = append(device, is.trusted(keys, is.DeviceAudiences))
		s.shown.issuers = append(s.shown.issuers, keys)
	}
	made := func(issuers []authn.Issuer, audiences []string) (*authn.Verifier, error) {
		return authn.New(authn.Config{Issuers: issuers, Audiences: audiences, Tenant: s.cfg.Tenant, Clock: s.o.testOnlyClock})
	}
	if p.control, err = made(control, s.cfg.controlAudiences()); err != nil {
		return p, err
	}
	if p.device, err = made(device, s.cfg.deviceAudiences()); err != nil {
		return p, err
	}
	s.shown.verifiers = []*authn.Verifier{p.control, p.device}
	return p, nil
}

// dispatch finds the service that a host name stands for. Names are those of the configuration, nothing else.
func (s *Server) dispatch(v planes) http.Handler {
	limits := s.cfg.Limits.throttle(s.o.testOnlyClock)
	s.shown.limits = limits
	seen := s.dataObserver()
	control := arm.New(arm.Config{Fleet: s.fleet, Cloud: s.cloud, Verifier: v.control, Endpoints: s.endpoints, HSMsOnly: true, Trail: s.trail, Clock: time.Now, Log: s.log,
		Observer: s.controlObserver(), Limits: limits})
	device := dataplane.New(dataplane.Config{Fleet: s.fleet, Trail: s.trail, Verifier: v.device, Log: s.log, Observer: seen, Limits: limits,
		LoginURL: func(string) string { return strings.TrimRight(s.cfg.Names.LoginURL, "/") }})
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch host := hostOnly(r.Host); {
		case host == hostOnly(s.cfg.Names.ControlHost):
			control.ServeHTTP(w, r)
		case s.cfg.isDevice(host):
			device.ServeHTTP(w, r)
		default:
			misdirected(s.trail, seen, w, r, "this server does not answer for that host name")
		}
	})
}

// isDevice tells whether a host can be an HSM: one label and a configured suffix.
func (c *Config) isDevice(host string) bool {
	for _, suffix := range c.Names.DeviceSuffixes {
		if label, ok := strings.CutSuffix(host, "."+hostOnly(suffix)); ok && isLabel(label) {
			return true
		}
	}
	return false
}

// endpoints are the URLs that the control plane's answers name. There is no Graph here: unless the site has one, its
// address is one where every request is answered with a clear 404.
func (s *Server) endpoints(string) arm.Endpoints {
	n, storage := s.cfg.Names, "core.windows.net"
	if len(s.cfg.Storage.Suffixes) > 0 {
		storage = strings.TrimPrefix(s.cfg.Storage.Suffixes[0], ".blob.")
	}
	o := "https://" + n.ControlHost
	graph := n.GraphURL
	if graph == "" {
		graph = o + "/graph/"
	}
	return arm.Endpoints{CloudName: n.Cloud, ResourceManager: o, Login: strings.TrimRight(n.LoginURL, "/"), Graph: graph,
		TenantID: s.cfg.Tenant, DeviceSuffix: n.DeviceSuffixes[0], StorageSuffix: storage}
}

// listen opens the TLS listener.
func (s *Server) listen(ctx context.Context) error {
	l, err := new(net.ListenConfig).Listen(ctx, "tcp", s.cfg.Listen.Address)
	if err != nil {
		return cannotListen("listen.address", err)
	}
	s.addr = l.Addr()
	srv := s.newServer(&s.front, headerTime, s.log)
	s.serveTLS(srv, netutil.LimitListener(l, s.cfg.Limits.Connections), s.pair.serverConfig(), s.log)
	return nil
}

// Reload reads the TLS certificate and key again.
func (s *Server) Reload() { s.pair.reload() }

// Close takes no new requests, lets running ones end within limits.drain, and closes everything.
func (s *Server) Close() error {
	s.enter("draining")
	return s.close(time.Duration(s.cfg.Limits.Drain), s.log)
}

// hostNames are what the certificate has to cover; any label stands for the HSMs'.
func (c *Config) hostNames() []string {
	out := []string{hostOnly(c.Names.ControlHost)}
	for _, s := range c.Names.DeviceSuffixes {
		out = append(out, "any."+hostOnly(s))
	}
	return out
}

func uncovered(leaf *x509.Certificate, names []string) (out []string) {
	for _, n := range names {
		if leaf.VerifyHostname(n) != nil {
			out = append(out, n)
		}
	}
	return out
}
