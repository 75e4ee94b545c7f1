package daemon

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/http/httputil"
	"net/url"
	"strings"
	"sync/atomic"
	"syscall"
	"time"

	"redoubt/internal/api/arm"
	"redoubt/internal/api/dataplane"
	"redoubt/internal/api/graph"
	"redoubt/internal/api/identity"
	"redoubt/internal/api/storage"
	"redoubt/internal/handoff"
)

// swap is a handler that can be put in place after the listener answers: recovering the fleet may need
// the dev cloud's own storage.
type swap struct{ h atomic.Pointer[http.Handler] }

func (s *swap) set(h http.Handler) { s.h.Store(&h) }

// ServeHTTP implements http.Handler.
func (s *swap) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if h := s.h.Load(); h != nil {
		(*h).ServeHTTP(w, r)
		return
	}
	w.Header().Set("Retry-After", "1")
	http.Error(w, "starting", http.StatusServiceUnavailable)
}

// serve starts the TLS server on both ways in: its own listener and what the proxy hands over.
func (d *Dev) serve(tlsL, proxyL net.Listener) {
	front := &swap{}
	d.front = front
	in := handoff.New(tlsL.Addr())
	conf := d.ca.serverConfig(func(name string) bool { return d.names.of(name) != roleNone })
	srv := d.newServer(front, d.cfg.testOnlyHeaderTime, d.log)
	for _, l := range []net.Listener{tlsL, in} {
		d.serveTLS(srv, l, conf, d.log)
	}
	p := &proxy{owned: d.names.owned, into: in, log: d.log, patience: d.cfg.testOnlyHeaderTime}
	d.closers = append(d.closers, p.Close, proxyL.Close, in.Close)
	d.work.Go(func() { p.accept(proxyL) })
}

// listen builds the services and puts them behind the listener.
func (d *Dev) listen(ctx context.Context) error {
	dp := &dispatch{names: d.names}
	if err := d.identityAndGraph(dp); err != nil {
		return err
	}
	if err := d.storageFront(dp); err != nil {
		return err
	}
	if err := d.vaultFront(dp); err != nil {
		return err
	}
	dp.attestation = d.attest
	closed := http.HandlerFunc((&swap{}).ServeHTTP)
	dp.control, dp.device = closed, closed
	d.front.set(dp) // storage must answer before devices open: a restore point may be read again
	if err := d.openFleet(ctx); err != nil {
		return err
	}
	ready := *dp
	ready.trail, ready.seen = d.trail, d.dataObserver()
	if err := d.devicesAndControl(&ready); err != nil {
		return err
	}
	d.front.set(&ready)
	return nil
}

func (d *Dev) identityAndGraph(dp *dispatch) error {
	var err error
	d.signIn, err = identity.NewServer(identity.Config{Issuer: d.issuer, Directory: d.cloud, Log: d.log,
		Bases: []string{"https://login.microsoftonline.com", d.names.origin("localhost"), d.names.origin("login." + d.cfg.Suffix)}})
	if err != nil {
		return err
	}
	dp.identity, dp.desk = d.signIn, d.openDesk()
	v, err := d.verifier(d.graphAudiences())
	if err != nil {
		return err
	}
	dp.graph, err = graph.New(d.cloud, v, "https://graph.microsoft.com", d.log)
	return err
}

func (d *Dev) storageFront(dp *dispatch) error {
	if d.cfg.BlobEndpoint != "" {
		u, err := url.Parse(d.cfg.BlobEndpoint)
		if err != nil || u.Host == "" {
			return fmt.Errorf("--blob-endpoint %q: want a URL such as http://127.0.0.1:10000", d.cfg.BlobEndpoint)
		}
		dp.storage = forward(u, d.spelt, d.log)
		return nil
	}
	v, err := d.verifier(d.storageAudiences())
	if err != nil {
		return err
	}
	dp.storage = storage.New(storage.Config{Dir: d.path("blobs"), Accounts: d, Authorizer: blobAuthorizer{d.cloud, v}, TenantID: d.account.Tenant.ID,
		Suffixes:  []string{azureBlobs[1:], "blob.core." + d.cfg.Suffix},
		Authority: "https://login.microsoftonline.com/" + d.account.Tenant.ID, Clock: time.Now, Log: d.log})
	return nil
}

// spelt gives a storage host the account's own spelling back. Clients send hosts in lower case but sign the
// name as it was given to them, and an emulator compares the two.
func (d *Dev) spelt(host string) string {
	label, rest, _ := strings.Cut(host, ".")
	if a, err := d.cloud.StorageAccount(context.Background(), label); err == nil { // a look-up in the embedded store
		label = a.Name
	}
	return label + "." + rest
}

// forward hands storage requests to another blob service, path and signature untouched. On loopback
// that is an emulator with a certificate of its own making, which is not checked; anywhere else it is,
// because what is sent there carries shared access signatures and tokens.
func forward(u *url.URL, spelt func(host string) string, log *slog.Logger) http.Handler {
	return &httputil.ReverseProxy{
		Rewrite: func(r *httputil.ProxyRequest) {
			r.Out.URL.Scheme, r.Out.URL.Host, r.Out.Host = u.Scheme, u.Host, spelt(r.In.Host)
		},
		Transport: &http.Transport{Proxy: nil, TLSClientConfig: &tls.Config{InsecureSkipVerify: isLoopback(u.Hostname()), MinVersion: tls.VersionTLS12}, IdleConnTimeout: 30 * time.Second},
		ErrorHandler: func(w http.ResponseWriter, r *http.Request, err error) {
			log.ErrorContext(r.Context(), "the blob endpoint did not answer", "endpoint", u.Host)
			http.Error(w, "the blob endpoint behind this dev cloud did not answer", http.StatusBadGateway)
		},
	}
}

// cannotListen says what to do about a listener that does not open. option is where its address is from.
func cannotListen(option string, err error) error {
	switch {
	case errors.Is(err, syscall.EADDRINUSE):
		return fmt.Errorf("%s: %w: another program has that port, perhaps a redoubtd that runs already; stop it, or give another port", option, err)
	case errors.Is(err, syscall.EACCES):
		return fmt.Errorf("%s: %w: ports below 1024 need CAP_NET_BIND_SERVICE, which deploy/redoubtd.service gives", option, err)
	case errors.Is(err, syscall.EADDRNOTAVAIL):
		return fmt.Errorf("%s: %w: this machine does not have that address", option, err)
	}
	return fmt.Errorf("%s: %w", option, err)
}

func isLoopback(host string) bool {
	ip := net.ParseIP(host)
	return host == "localhost" || ip != nil && ip.IsLoopback()
}

func (d *Dev) devicesAndControl(dp *dispatch) error {
	v, err := d.verifier(d.deviceAudiences())
	if err != nil {
		return err
	}
	d.shown.verifiers = append(d.shown.verifiers, v)
	dp.device = dataplane.New(dataplane.Config{Fleet: d.fleet, Trail: d.trail, Verifier: v, LoginURL: d.names.loginURL, Log: d.log, Observer: d.dataObserver()})
	if v, err = d.verifier(d.controlAudiences()); err != nil {
		return err
	}
	d.shown.verifiers = append(d.shown.verifiers, v)
	dp.control = arm.New(arm.Config{Fleet: d.fleet, Trail: d.trail, Cloud: d.cloud, Verifier: v, Endpoints: d.endpoints, RemoveBlobs: d.removeBlobs, Clock: time.Now, Log: d.log,
		Observer: d.controlObserver()})
	return nil
}

// endpoints are the URLs that the control plane's answers name, for a client that reached host.
func (d *Dev) endpoints(host string) arm.Endpoints {
	if d.names.isLocal(host) {
		o := d.names.origin("localhost")
		return arm.Endpoints{CloudName: d.cfg.CloudName, ResourceManager: o, Login: o, ADFS: true, Graph: o + "/graph/", TenantID: d.account.Tenant.ID,
			DeviceSuffix: "managedhsm." + d.cfg.Suffix + ":" + d.names.port, StorageSuffix: "core." + d.cfg.Suffix + ":" + d.names.port,
			VaultSuffix: "vault." + d.cfg.Suffix + ":" + d.names.port, Attestation: d.attestationURL(host)}
	}
	return arm.Endpoints{CloudName: "AzureCloud", ResourceManager: "https://management.azure.com", Login: "https://login.microsoftonline.com",
		Graph: "https://graph.microsoft.com/", TenantID: d.account.Tenant.ID, DeviceSuffix: azureDevices[1:], StorageSuffix: "core.windows.net",
		VaultSuffix: "vault.azure.net", Attestation: d.attestationURL(host)}
}
