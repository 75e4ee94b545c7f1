package daemon

import (
	"context"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"sync/atomic"
	"time"

	"redoubt/internal/api/attest"
	"redoubt/internal/api/identity"
	"redoubt/internal/audit"
	"redoubt/internal/authn"
	"redoubt/internal/cloud"
	"redoubt/internal/durable"
	"redoubt/internal/fleet"
	"redoubt/internal/rbac"
	"redoubt/internal/store"
	"redoubt/internal/store/bolt"
)

// DevConfig configures a dev cloud. Dir is required.
type DevConfig struct {
	Dir    string // all state; the same folder is the same cloud after a restart
	Listen string // loopback address of the TLS listener; "127.0.0.1:0" when empty
	// CloudName and Suffix are those of the own-cloud mode: "Redoubt" and "localhost" when empty.
	CloudName, Suffix string
	// BlobEndpoint, when set, is an http(s) URL that serves all storage accounts instead of the built-in
	// front, for instance an Azurite on loopback.
	BlobEndpoint string
	// IdentityEndpoint offers the managed identities to programs through App Service's variables.
	IdentityEndpoint bool
	// IMDS offers them as the metadata service of a virtual machine does.
	IMDS bool
	// TokenResources are resources of others that tokens are made for, such as a redoubtd serve that trusts this issuer.
	TokenResources []string
	// RestorePointMaxAge is how old the backup may be that a full restore demands; 0 means any since
	// activation or the last restore.
	RestorePointMaxAge time.Duration
	MaxKeys            int // keys an HSM can have; 0: the service's 5,000
	MaxVersions        int // versions a key can have; 0: the service's 100
	// ReadyKeys keeps a few RSA keys ready from the first one on, for the next who creates one.
	ReadyKeys bool
	// SyncAudit makes the audit entries of operations that change nothing durable before the answer, too.
	SyncAudit bool
	// Health is a loopback address that answers /healthz, /readyz and /metrics; none when empty.
	Health string
	Log    *slog.Logger

	testOnlyHeaderTime time.Duration // in the place of headerTime
}

// Dev is a running dev cloud: control plane, data plane, identity, Graph and storage on one loopback
// listener, and the proxy that leads clients to it under Azure's names.
type Dev struct {
	cfg     DevConfig
	log     *slog.Logger
	account cloud.Account
	secrets atomic.Pointer[credentials]
	names   *names
	ca      *authority
	store   store.Store
	cloud   *cloud.Cloud
	issuer  *identity.Issuer
	attest  *attest.Handler
	fleet   *fleet.Fleet
	trail   *audit.Trail

	tlsAddr   net.Addr
	proxyAddr net.Addr
	msiHeader string
	deskToken string
	signIn    *identity.Server

	identityAddr net.Addr // nil unless the identity endpoint is on
	imdsAddr     net.Addr // nil unless IMDS is on
	healthAddr   net.Addr // nil unless Health is set

	running
	front *swap
	blobs *http.Transport
}

// StartDev starts a dev cloud. When it returns, every endpoint answers and DIR/env.sh is written.
func StartDev(ctx context.Context, cfg DevConfig) (_ *Dev, err error) {
	if cfg.Listen == "" {
		cfg.Listen = "127.0.0.1:0"
	}
	if cfg.Suffix == "" {
		cfg.Suffix = "localhost"
	}
	if cfg.CloudName == "" {
		cfg.CloudName = "Redoubt"
	}
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	if cfg.testOnlyHeaderTime == 0 {
		cfg.testOnlyHeaderTime = headerTime
	}
	if err := loopbackOnly(cfg.Listen); err != nil {
		return nil, err
	}
	if err := checkSuffix(cfg.Suffix); err != nil {
		return nil, err
	}
	d := &Dev{cfg: cfg, log: cfg.Log}
	d.instrument(d.phase, d.log)
	defer func() {
		if err != nil {
			err = errors.Join(err, d.Close())
		}
	}()
	if err := d.openState(ctx); err != nil {
		return nil, err
	}
	if err := d.listen(ctx); err != nil {
		return nil, err
	}
	if err := d.serveManagedIdentity(); err != nil {
		return nil, err
	}
	if err := d.serveHealth(ctx); err != nil {
		return nil, err
	}
	if err := d.writeEnv(); err != nil {
		return nil, err
	}
	return d, d.announceDesk()
}

// loopbackOnly refuses to serve a dev cloud, whose secrets lie in a file, on anything but loopback.
func loopbackOnly(addr string) error {
	host, _, err := net.SplitHostPort(addr)
	if err != nil {
		return fmt.Errorf("--listen %s: %w", addr, err)
	}
	if !isLoopback(host) {
		return fmt.Errorf("--listen %s: a dev cloud listens on loopback only (127.0.0.1 or ::1)", addr)
	}
	return nil
}

func (d *Dev) path(parts ...string) string {
	return filepath.Join(append([]string{d.cfg.Dir}, parts...)...)
}

// openState opens or makes everything that is kept in Dir.
func (d *Dev) openState(ctx context.Context) error {
	abs, err := filepath.Abs(d.cfg.Dir)
	if err != nil {
		return err
	}
	d.cfg.Dir = abs
	for _, dir := range []string{"", "data", "blobs", "azure", "certificates"} {
		if err := durable.MkdirAll(d.path(dir), 0o700); err != nil {
			return err
		}
	}
	s, err := bolt.Open(d.path("data", "store.db"), bolt.Options{Create: true})
	if err != nil {
		return err
	}
	d.store, d.shown.store, d.shown.place = s, s, devPlace(d.cfg.Dir)
	d.closers = append(d.closers, s.Close)
	if err := d.openCloud(ctx); err != nil {
		return err
	}
	key, err := signingKey(d.path("issuer.key"), "all sign-ins end")
	if err != nil {
		return err
	}
	d.names = &names{suffix: d.cfg.Suffix, account: d.hasAccount}
	var remade bool
	if d.ca, remade, err = openAuthority(d.path("tls"), d.names.domains(), time.Now); err != nil {
		return err
	}
	if remade {
		d.log.Warn("there is a new certificate authority; programs that trust the old one must read ca.pem again", "file", d.path("ca.pem"))
	}
	if err := durable.WriteFile(d.path("ca.pem"), d.ca.pem, 0o644); err != nil {
		return err
	}
	if err := d.writeTruststore(); err != nil {
		return err
	}
	if err := d.openListeners(key); err != nil {
		return err
	}
	return d.openAttestation()
}

// openCloud makes tenant, subscription, person and service principal on the first start.
func (d *Dev) openCloud(ctx context.Context) error {
	d.cloud = cloud.Open(d.store)
	_, missing := os.Stat(d.path("credentials.json"))
	account, err := d.cloud.Bootstrap(ctx, cloud.Options{Reissue: errors.Is(missing, fs.ErrNotExist),
		Deliver: func(_ cloud.Account, c cloud.Credentials) error {
			return writeCredentials(d.path("credentials.json"), c)
		}})
	if err != nil {
		return fmt.Errorf("open the dev cloud: %w", err)
	}
	d.account = account
	c, err := readCredentials(d.path("credentials.json"))
	if err != nil {
		return err
	}
	d.secrets.Store(&c)
	d.msiHeader = c.IdentityHeader
	return nil
}

func (d *Dev) hasAccount(name string) bool {
	_, err := d.cloud.StorageAccount(context.Background(), name) // a look-up in the embedded store
	return err == nil
}

// signingKey loads a key that signs tokens, or makes it. loss says what ends with it.
func signingKey(path, loss string) (*rsa.PrivateKey, error) {
	b, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		key, err := rsa.GenerateKey(rand.Reader, 2048)
		if err != nil {
			return nil, err
		}
		out := pem.EncodeToMemory(&pem.Block{Type: "RSA PRIVATE KEY", Bytes: x509.MarshalPKCS1PrivateKey(key)})
		return key, durable.WriteFile(path, out, 0o600)
	}
	if err != nil {
		return nil, err
	}
	block, _ := pem.Decode(b)
	if block == nil {
		return nil, fmt.Errorf("%s is damaged; delete it to make a new key (%s)", path, loss)
	}
	return x509.ParsePKCS1PrivateKey(block.Bytes)
}

// openListeners binds both ports, which the audiences of tokens depend on, and makes the issuer.
func (d *Dev) openListeners(key *rsa.PrivateKey) error {
	tlsL, err := d.bind(d.cfg.Listen, "listen")
	if err != nil {
		return err
	}
	proxyL, err := d.bind(net.JoinHostPort("127.0.0.1", "0"), "proxy")
	if err != nil {
		return errors.Join(err, tlsL.Close())
	}
	_, d.names.port, _ = net.SplitHostPort(tlsL.Addr().String())
	d.issuer, err = identity.NewIssuer(identity.IssuerConfig{Key: key, Tenant: d.account.Tenant.ID, Clock: time.Now,
		Resources: join(d.controlAudiences(), d.graphAudiences(), d.deviceAudiences(), d.storageAudiences(), d.vaultAudiences(), d.cfg.TokenResources)})
	if err != nil {
		return errors.Join(err, tlsL.Close(), proxyL.Close())
	}
	d.tlsAddr, d.proxyAddr = tlsL.Addr(), proxyL.Addr()
	d.openBlobs()
	d.serve(tlsL, proxyL)
	return nil
}

// bind listens on addr; when its port is 0 it tries the port of the last start first, so that shells that
// have read env.sh before a restart go on working.
func (d *Dev) bind(addr, what string) (net.Listener, error) {
	host, port, _ := net.SplitHostPort(addr)
	file := d.path("data", what+".port")
	if last, err := os.ReadFile(file); port == "0" && err == nil {
		if l, err := net.Listen("tcp", net.JoinHostPort(host, string(last))); err == nil {
			return l, nil
		}
		d.log.Warn("the port of the last start is taken; shells that have read env.sh must read it again", "what", what, "port", string(last))
	}
	l, err := net.Listen("tcp", addr)
	if err != nil {
		return nil, err
	}
	at, got, _ := net.SplitHostPort(l.Addr().String())
	if !isLoopback(at) { // "localhost" is whatever the system says it is
		return nil, errors.Join(fmt.Errorf("%s is %s, which is not a loopback address", host, at), l.Close())
	}
	if err := durable.WriteFile(file, []byte(got), 0o600); err != nil {
		return nil, errors.Join(err, l.Close())
	}
	return l, nil
}

func join(lists ...[]string) (out []string) {
	for _, l := range lists {
		out = append(out, l...)
	}
	return out
}

func (d *Dev) controlAudiences() []string {
	return []string{"https://management.azure.com", "https://management.core.windows.net", d.names.origin("localhost")}
}

func (d *Dev) graphAudiences() []string {
	return []string{"https://graph.microsoft.com", d.names.origin("localhost") + "/graph"}
}

func (d *Dev) deviceAudiences() []string {
	return []string{"https://managedhsm.azure.net", d.names.origin("managedhsm." + d.cfg.Suffix)}
}

func (d *Dev) storageAudiences() []string {
	return []string{"https://storage.azure.com", "https://*" + azureBlobs, "https://*.blob.core." + d.cfg.Suffix + ":" + d.names.port}
}

func (d *Dev) verifier(audiences []string) (*authn.Verifier, error) {
	return authn.New(authn.Config{Issuers: []authn.Issuer{d.issuer.Trusted()}, Audiences: audiences, Tenant: d.account.Tenant.ID, Clock: time.Now,
		Revoked: func(p rbac.Principal) bool {
			active, err := d.cloud.Active(context.Background(), p.ID) // a look-up in the embedded store
			return !active || err != nil                              // gone, disabled, or nobody can tell
		}})
}

// openFleet opens every HSM with the drivers of a dev cloud: passphrase file, one audit file each,
// containers on the dev cloud's own storage.
func (d *Dev) openFleet(ctx context.Context) error {
	roots, err := devRoots(devPlace(d.cfg.Dir))
	if err != nil {
		return err
	}
	trusted, err := d.trustedAttestation()
	if err != nil {
		return err
	}
	if d.trail, err = d.openTrail(ctx, openAudit(devPlace(d.cfg.Dir)), d.store, roots, d.log); err != nil {
		return err
	}
	d.fleet, err = d.running.openFleet(ctx, fleet.Config{Store: d.store, Roots: roots, OpenAudit: openAudit(devPlace(d.cfg.Dir)),
		OpenContainer: d.openContainer, Clock: time.Now, RestorePointMaxAge: d.cfg.RestorePointMaxAge, MaxKeys: d.cfg.MaxKeys, MaxVersions: d.cfg.MaxVersions,
		Attestation: trusted, SyncAudit: d.cfg.SyncAudit, Trail: d.trail, Log: d.log}, d.cfg.ReadyKeys)
	return err
}

// tendEvery is how often the server looks for keys to rotate and for what is to be purged.
const tendEvery = time.Minute

// Close stops the servers, lets running requests end, and closes everything that is open.
func (d *Dev) Close() error { return d.close(stopTime, d.log) }
