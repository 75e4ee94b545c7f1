package daemon

import (
	"bytes"
	"context"
	"crypto/rsa"
	"errors"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"

	"redoubt/internal/client"
)

// TestServe: init, serve, an owner of an outside issuer makes an HSM, activates it and signs with a key; and
// the server says how it is.
func TestServe(t *testing.T) {
	t.Parallel()
	r := newRealm(t, "")
	if _, err := StartServe(t.Context(), r.config(), ServeOptions{}); err == nil || !strings.Contains(err.Error(), "redoubtd init") {
		t.Errorf("without a data directory: %v", err)
	}
	if _, err := os.Stat(r.path("data")); err == nil {
		t.Error("serve made a data directory")
	}
	astray := r.config()
	astray.PassphraseFile = r.path("nowhere/passphrase")
	if err := initialise(t.Context(), astray); err == nil || !strings.Contains(err.Error(), "passphrase-file: its directory cannot be used") {
		t.Errorf("no directory for the passphrase: %v", err)
	}
	if _, err := os.Stat(r.path("data")); err == nil {
		t.Error("an init that could not be done made a data directory")
	}
	r.init()
	if err := initialise(t.Context(), r.config()); err == nil || !strings.Contains(err.Error(), "in use already") {
		t.Errorf("init twice: %v", err)
	}
	s := r.serve(ServeOptions{})
	h := r.activated("one")
	must[client.Key](t)(h.CreateKey(t.Context(), "k", client.CreateKey{Kty: "EC-HSM", Crv: "P-256"}))
	if code, body := plain(t, s.health, "/readyz"); code != http.StatusOK || body != "ready\n" {
		t.Errorf("readyz: %d %q", code, body)
	}
	var out strings.Builder
	if err := runStatus(t.Context(), s.health.String(), &out); err != nil || !strings.Contains(out.String(), "Active       one ") ||
		!strings.Contains(out.String(), "one: no good backup of its present content") || !strings.Contains(out.String(), " of 4096 connections; 0 requests were refused") {
		t.Errorf("%v: %s", err, out.String())
	}
	if err := initialise(t.Context(), r.config()); err == nil {
		t.Error("init beside a running server")
	}
}

// TestServeRefusesTokens: what is wrong with a token is refused on both planes, and the data plane answers with
// the challenge that starts a sign-in.
func TestServeRefusesTokens(t *testing.T) {
	t.Parallel()
	r := newRealm(t, "")
	r.init()
	r.serve(ServeOptions{})
	r.activated("one")
	rsaKey := must[*rsa.PrivateKey](t)(signingKey(r.path("other.key"), ""))
	now := time.Now()
	for what, make := range map[string]func(aud string) string{
		"none":              func(string) string { return "" },
		"another issuer":    func(a string) string { return r.idp.sign(r.idp.good(a).with("iss", "https://127.0.0.1:1")) },
		"issuer with slash": func(a string) string { return r.idp.sign(r.idp.good(a).with("iss", r.idp.srv.URL+"/")) },
		"another audience":  func(string) string { return r.idp.sign(r.idp.good("https://vault.azure.net")) },
		"Azure's audience":  func(string) string { return r.idp.sign(r.idp.good("https://managedhsm.azure.net")) },
		"another tenant":    func(a string) string { return r.idp.sign(r.idp.good(a).with("tid", siteSub)) },
		"expired":           func(a string) string { return r.idp.sign(r.idp.good(a).with("exp", now.Add(-time.Hour).Unix())) },
		"not yet valid":     func(a string) string { return r.idp.sign(r.idp.good(a).with("nbf", now.Add(time.Hour).Unix())) },
		"without expiry":    func(a string) string { return r.idp.sign(r.idp.good(a).with("exp", 0)) },
		"no object id":      func(a string) string { return r.idp.sign(r.idp.good(a).with("sub", "owner")) },
		"another algorithm": func(a string) string { return signAs(t, jose.RS256, "first", rsaKey, r.idp.good(a)) },
		"another key":       func(a string) string { return signAs(t, jose.ES256, "first", newTestCA(t).key, r.idp.good(a)) },
		"unknown key id":    func(a string) string { return signAs(t, jose.ES256, "other", r.idp.keys["first"], r.idp.good(a)) },
		"shared secret": func(a string) string {
			return signAs(t, jose.HS256, "first", bytes.Repeat([]byte("k"), 32), r.idp.good(a))
		},
		"oversized": func(a string) string { return r.idp.sign(r.idp.good(a).with("name", strings.Repeat("x", 20000))) },
	} {
		resp := r.ask(http.MethodGet, "https://one."+siteSuffix+"/keys?api-version=7.4", make("https://"+siteSuffix))
		want := `Bearer authorization="` + siteLogin + "/" + siteTenant + `", resource="https://` + siteSuffix + `"`
		if got := resp.Header.Get("WWW-Authenticate"); resp.StatusCode != http.StatusUnauthorized || got != want {
			t.Errorf("%s, data plane: %d, %s", what, resp.StatusCode, got)
		}
		resp = r.ask(http.MethodGet, "https://"+siteHost+"/subscriptions/"+siteSub+"/resourceGroups?api-version=2021-04-01", make("https://"+siteHost))
		if got := resp.Header.Get("WWW-Authenticate"); resp.StatusCode != http.StatusUnauthorized || !strings.Contains(got, siteLogin+"/"+siteTenant) {
			t.Errorf("%s, control plane: %d, %s", what, resp.StatusCode, got)
		}
	}
	// A token of one plane is not good at the other; each is good at its own.
	for target, status := range map[string]int{"https://one." + siteSuffix + "/keys": 401, "https://" + siteHost + "/subscriptions": 200} {
		if resp := r.ask(http.MethodGet, target+"?api-version=7.4", r.idp.sign(r.idp.good("https://"+siteHost))); resp.StatusCode != status {
			t.Errorf("a control-plane token at %s: %d", target, resp.StatusCode)
		}
	}
	if resp := r.ask(http.MethodGet, "https://one."+siteSuffix+"/keys?api-version=7.4", r.idp.sign(r.idp.good("https://"+siteSuffix))); resp.StatusCode != http.StatusOK {
		t.Errorf("the good token: %d", resp.StatusCode)
	}
}

// TestServeHasNoDevCloud: nothing that a dev cloud offers beside HSMs answers, by whatever name it is asked.
func TestServeHasNoDevCloud(t *testing.T) {
	t.Parallel()
	r := newRealm(t, "")
	r.init()
	s := r.serve(ServeOptions{})
	r.http.Transport.(*http.Transport).TLSClientConfig.InsecureSkipVerify = true // the names are others'
	token := r.idp.sign(r.idp.good("https://" + siteHost))
	for _, host := range []string{"login.microsoftonline.com", "graph.microsoft.com", "management.azure.com", "x.managedhsm.azure.net", "contosobackup.blob.core.windows.net",
		"redoubt.attest.azure.net", "localhost", "127.0.0.1", siteSuffix, "a.b." + siteSuffix, "login.example.com", "example.com", "attest." + siteSuffix + ".example.com"} {
		for _, path := range []string{"/", "/common/oauth2/v2.0/token", "/" + siteTenant + "/v2.0/.well-known/openid-configuration", "/v1.0/me", "/metadata/endpoints"} {
			if resp := r.ask(http.MethodGet, "https://"+host+path, token); resp.StatusCode != http.StatusMisdirectedRequest {
				t.Errorf("%s%s: %d", host, path, resp.StatusCode)
			}
		}
	}
	group := "https://" + siteHost + "/subscriptions/" + siteSub + "/resourceGroups/g"
	for _, target := range []string{"https://" + siteHost + "/adfs/oauth2/token", "https://" + siteHost + "/common/oauth2/v2.0/token", "https://" + siteHost + "/graph/v1.0/me",
		"https://" + siteHost + "/" + siteTenant + "/oauth2/token", "https://" + siteHost + "/msi/token", "https://" + siteHost + "/metadata/identity/oauth2/token",
		"https://" + siteHost + "/subscriptions/" + siteSub + "/providers/Microsoft.Attestation/locations/westus3/defaultProvider",
		group + "/providers/Microsoft.Storage/storageAccounts/contosobackup", group + "/providers/Microsoft.ManagedIdentity/userAssignedIdentities/i"} {
		for _, method := range []string{http.MethodGet, http.MethodPut, http.MethodPost} {
			if resp := r.ask(method, target, token); resp.StatusCode != http.StatusNotFound {
				t.Errorf("%s %s: %d", method, target, resp.StatusCode)
			}
		}
	}
	if resp := r.ask(http.MethodGet, "https://nobody."+siteSuffix+"/keys", token); resp.StatusCode == http.StatusOK {
		t.Errorf("an HSM that does not exist: %d", resp.StatusCode)
	}
	scrape(t, s.health).want(66, "redoubt_requests_total", "hsm=none", "operation=none", "class=4xx") // 65 of the names above, and this one
	for _, path := range []string{"/keys", "/msi/token?resource=x", "/metadata/endpoints", "/debug/pprof/"} {
		if code, _ := plain(t, s.health, path); code != http.StatusNotFound {
			t.Errorf("health%s: %d", path, code)
		}
	}
	if s.pool == nil || len(s.servers) != 1 {
		t.Errorf("%d servers beside health, want the one TLS listener", len(s.servers))
	}
}

// clock is a time that a test moves.
type clock struct {
	mu  sync.Mutex
	add time.Duration
}

func (c *clock) Now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return time.Now().Add(c.add)
}

// moved is by how much, for a test whose time stands still between moves.
func (c *clock) moved() time.Duration {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.add
}

func (c *clock) move(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.add += d
}

// TestServeJWKSRotation: a new key of the issuer is found when a token names it, and a withdrawn one ends.
func TestServeJWKSRotation(t *testing.T) {
	t.Parallel()
	r := newRealm(t, "")
	r.init()
	c := &clock{}
	r.serve(ServeOptions{testOnlyClock: c.Now})
	target := "https://" + siteHost + "/subscriptions?api-version=2021-01-01"
	before := r.idp.sign(r.idp.good("https://" + siteHost))
	if resp := r.ask(http.MethodGet, target, before); resp.StatusCode != http.StatusOK {
		t.Fatalf("before: %d", resp.StatusCode)
	}
	r.idp.rotate("second")
	after := r.idp.sign(r.idp.good("https://" + siteHost))
	if resp := r.ask(http.MethodGet, target, after); resp.StatusCode != http.StatusUnauthorized {
		t.Errorf("a moment later, when the keys are not fetched again yet: %d", resp.StatusCode)
	}
	c.move(time.Minute + time.Second)
	if resp := r.ask(http.MethodGet, target, after); resp.StatusCode != http.StatusOK {
		t.Errorf("the new key: %d", resp.StatusCode)
	}
	if resp := r.ask(http.MethodGet, target, before); resp.StatusCode != http.StatusUnauthorized {
		t.Errorf("the withdrawn key: %d", resp.StatusCode)
	}
}

// TestServeTLSReload: a new pair is taken when its files have changed, a broken one is not, and says so.
func TestServeTLSReload(t *testing.T) {
	t.Parallel()
	r := newRealm(t, "")
	r.init()
	c := &clock{}
	var log syncBuffer
	s := r.serve(ServeOptions{testOnlyClock: c.Now, Log: logger(&log, false)})
	name := func() string {
		t.Helper()
		r.http.CloseIdleConnections()
		return r.ask(http.MethodGet, "https://"+siteHost+"/metadata/endpoints?api-version=2022-09-01", "").TLS.PeerCertificates[0].Subject.CommonName
	}
	if got := name(); got != "first" {
		t.Fatalf("at first: %s", got)
	}
	r.writePair("second")
	if got := name(); got != "first" {
		t.Errorf("within the interval: %s", got)
	}
	c.move(2 * time.Second)
	if got := name(); got != "second" {
		t.Errorf("after the interval: %s", got)
	}
	cert, _ := r.ca.leaf(t, "third", time.Now().Add(time.Hour), siteHost)
	r.write("cert.pem", cert) // without its key
	s.Reload()
	if got := name(); got != "second" || !strings.Contains(log.String(), "the old ones stay") {
		t.Errorf("a certificate without its key: %s; log %s", got, log.String())
	}
	cert, key := r.ca.leaf(t, "late", time.Now().Add(-time.Minute), siteHost)
	r.write("cert.pem", cert)
	r.write("key.pem", key)
	s.Reload()
	if got := name(); got != "second" || !strings.Contains(log.String(), "has expired") {
		t.Errorf("an expired pair: %s; log %s", got, log.String())
	}
	r.writePair("fourth")
	s.Reload()
	if got := name(); got != "fourth" {
		t.Errorf("after SIGHUP: %s", got)
	}
}

type syncBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (b *syncBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.Write(p)
}

func (b *syncBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.String()
}

// TestServeOnlyItsOwnData: another site's data, a dev cloud's, and data that others can read are refused.
func TestServeOnlyItsOwnData(t *testing.T) {
	t.Parallel()
	r := newRealm(t, "")
	r.init()
	refused := func(what, word string, change func(*Config)) {
		t.Helper()
		cfg := r.config()
		change(&cfg)
		if _, err := StartServe(context.Background(), cfg, ServeOptions{}); err == nil || !strings.Contains(err.Error(), word) {
			t.Errorf("%s: %v", what, err)
		}
	}
	refused("another tenant", "was made for tenant", func(c *Config) { c.Tenant = siteSub })
	refused("another subscription", "was made for subscription", func(c *Config) { c.Subscription = siteTenant })
	refused("no passphrase", "put it back", func(c *Config) { c.PassphraseFile = r.path("nothing") })
	r.write("loose", []byte("correct horse battery staple"))
	if err := os.Chmod(r.path("loose"), 0o644); err != nil { //nolint:gosec // that is the mistake
		t.Fatal(err)
	}
	taken := must[net.Listener](t)(new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:0"))
	t.Cleanup(func() { _ = taken.Close() })
	refused("port in use", "listen.address: listen tcp "+taken.Addr().String()+": bind: address already in use: another program has that port", func(c *Config) { c.Listen.Address = taken.Addr().String() })
	refused("port of health in use", "a redoubtd that runs already", func(c *Config) { c.Listen.Health = taken.Addr().String() })
	refused("somebody else's address", "this machine does not have that address", func(c *Config) { c.Listen.Address = "192.0.2.1:8443" })
	refused("passphrase for everybody", "run: chmod 600", func(c *Config) { c.PassphraseFile = r.path("loose") })
	refused("passphrase inside", "inside the data directory", func(c *Config) {
		c.PassphraseFile = r.path("data/passphrase")
		r.write("data/passphrase", []byte("correct horse battery staple"))
	})
	dev := start(t, DevConfig{})
	devDir := dev.cfg.Dir
	dev.stop()
	refused("a dev cloud", "not made by redoubtd init", func(c *Config) {
		c.DataDirectory, c.PassphraseFile = devPlace(devDir).data, devPlace(devDir).passphrase
	})
	if err := os.Chmod(r.path("data"), 0o750); err != nil {
		t.Fatal(err)
	}
	refused("readable by the group", "chmod 700", func(*Config) {})
	if err := os.Chmod(r.path("data"), 0o700); err != nil {
		t.Fatal(err)
	}
	cfg := r.config()
	if err := cfg.place().check(t.Context(), io.Discard, discard()); err != nil {
		t.Errorf("check: %v", err)
	}
}

// TestServeSealed: with another passphrase the server runs, uses no key, and says so.
func TestServeSealed(t *testing.T) {
	t.Parallel()
	r := newRealm(t, "")
	r.init()
	s := must[*Server](t)(StartServe(t.Context(), r.config(), ServeOptions{}))
	r.addr = s.addr.String()
	h := r.activated("one")
	must[client.Key](t)(h.CreateKey(t.Context(), "k", client.CreateKey{Kty: "oct-HSM", Size: 256}))
	r.http.CloseIdleConnections()
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	r.write("passphrase", []byte("another passphrase, also long\n"))
	var log lockedBuffer
	s = r.serve(ServeOptions{Log: slog.New(slog.NewTextHandler(&log, nil))})
	h = must[*client.HSM](t)(r.client().HSMNamed("one"))
	for range 3 {
		if _, err := h.GetKey(t.Context(), "k", ""); err == nil {
			t.Error("a key of a sealed HSM")
		}
	}
	if text := string(log.bytes()); strings.Count(text, "stays sealed") != 1 || !strings.Contains(text, "put the original passphrase back") {
		t.Errorf("the log: %s", text)
	}
	var out strings.Builder
	if err := runStatus(t.Context(), s.health.String(), &out); !errors.Is(err, errNotReady) || !strings.Contains(out.String(), "Sealed       one") ||
		!strings.Contains(out.String(), "one: its root cannot be opened with passphrase-file") {
		t.Errorf("%v: %s", err, out.String())
	}
}
