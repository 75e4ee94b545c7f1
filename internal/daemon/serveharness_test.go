package daemon

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"io"
	"math/big"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"

	"redoubt/internal/client"
	"redoubt/internal/hsmtest"
)

const (
	siteTenant = "11111111-2222-3333-4444-555555555555"
	siteSub    = "66666666-7777-8888-9999-aaaaaaaaaaaa"
	siteOwner  = "0a0a0a0a-0b0b-0c0c-0d0d-0e0e0e0e0e0e"
	siteSuffix = "managedhsm.example.com"
	siteHost   = "management.example.com"
	siteLogin  = "https://login.example.com/realms/hsm"
)

// idp is an OpenID Connect issuer outside Redoubt: discovery and keys over TLS, tokens signed by go-jose.
type idp struct {
	t   *testing.T
	srv *httptest.Server

	mu   sync.Mutex
	kid  string         // guarded by mu
	keys map[string]any // guarded by mu: published, by key id
	old  map[string]any // guarded by mu: no longer published
	hits map[string]int // guarded by mu: requests by path
	away bool           // guarded by mu: it answers nobody
}

func newIDP(t *testing.T) *idp {
	t.Helper()
	p := &idp{t: t, keys: map[string]any{}, old: map[string]any{}, hits: map[string]int{}}
	p.rotate("first")
	p.srv = httptest.NewTLSServer(http.HandlerFunc(p.serve))
	t.Cleanup(p.srv.Close)
	return p
}

func (p *idp) serve(w http.ResponseWriter, r *http.Request) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.hits[r.URL.Path]++
	if p.away {
		http.Error(w, "away", http.StatusBadGateway)
		return
	}
	switch r.URL.Path {
	case "/.well-known/openid-configuration":
		_ = json.NewEncoder(w).Encode(map[string]any{"issuer": p.srv.URL, "jwks_uri": p.srv.URL + "/keys"})
	case "/keys":
		var set jose.JSONWebKeySet
		for kid, k := range p.keys {
			set.Keys = append(set.Keys, jose.JSONWebKey{Key: public(k), KeyID: kid, Use: "sig"})
		}
		_ = json.NewEncoder(w).Encode(set)
	default:
		http.NotFound(w, r)
	}
}

func public(k any) any {
	switch k := k.(type) {
	case *rsa.PrivateKey:
		return &k.PublicKey
	case *ecdsa.PrivateKey:
		return &k.PublicKey
	}
	return nil
}

// rotate withdraws every key and publishes a new one, which signs from now on.
func (p *idp) rotate(kid string) {
	p.t.Helper()
	k := must[*ecdsa.PrivateKey](p.t)(ecdsa.GenerateKey(elliptic.P256(), rand.Reader))
	p.mu.Lock()
	defer p.mu.Unlock()
	for id, old := range p.keys {
		p.old[id] = old
	}
	p.kid, p.keys = kid, map[string]any{kid: k}
}

type claims map[string]any

// good are the claims of the owner's token for a resource.
func (p *idp) good(resource string) claims {
	now := time.Now()
	return claims{"iss": p.srv.URL, "sub": siteOwner, "aud": resource, "iat": now.Unix(), "nbf": now.Unix(), "exp": now.Add(time.Hour).Unix(), "preferred_username": "owner@example.com"}
}

func (c claims) with(name string, v any) claims {
	c[name] = v
	return c
}

// sign makes a token with the present key.
func (p *idp) sign(c claims) string {
	p.t.Helper()
	p.mu.Lock()
	defer p.mu.Unlock()
	return signAs(p.t, jose.ES256, p.kid, p.keys[p.kid], c)
}

func signAs(t *testing.T, alg jose.SignatureAlgorithm, kid string, key any, c claims) string {
	t.Helper()
	s := must[jose.Signer](t)(jose.NewSigner(jose.SigningKey{Algorithm: alg, Key: key}, (&jose.SignerOptions{}).WithHeader("kid", kid).WithType("JWT")))
	jws := must[*jose.JSONWebSignature](t)(s.Sign(must[[]byte](t)(json.Marshal(c))))
	return must[string](t)(jws.CompactSerialize())
}

// Token implements client.Credential.
func (p *idp) Token(_ context.Context, resource string) (string, time.Time, error) {
	return p.sign(p.good(resource)), time.Now().Add(time.Minute), nil
}

// realm is a configured site and a client of it.
type realm struct {
	t    *testing.T
	dir  string
	file string // configuration
	idp  *idp
	ca   *testCA

	addr    string // of the running server
	stopped map[*Server]bool
	http    *http.Client
}

// newRealm writes everything that `redoubtd init` and `serve` are given. more is put at the end of the file.
func newRealm(t *testing.T, more string) *realm {
	t.Helper()
	r := &realm{t: t, dir: t.TempDir(), stopped: map[*Server]bool{}, idp: newIDP(t), ca: newTestCA(t)}
	r.file = r.path("redoubt.toml")
	r.writePair("first")
	r.write("outside.pem", pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: r.idp.srv.Certificate().Raw}))
	r.write("redoubt.toml", []byte(fmt.Sprintf(`
data-directory = %q
passphrase-file = %q
tenant = %q
subscription = %q
owners = [%q]
[listen]
address = "127.0.0.1:0"
health = "127.0.0.1:0"
certificate = %q
key = %q
reload = "1s"
[names]
device-suffixes = [%q]
control-host = %q
login-url = %q
[[issuers]]
url = %q
algorithms = ["ES256"]
tenant = %q
subject-is-id = true
[outbound]
ca-file = %q
`, r.path("data"), r.path("passphrase"), siteTenant, siteSub, siteOwner, r.path("cert.pem"), r.path("key.pem"), siteSuffix, siteHost, siteLogin,
		r.idp.srv.URL, siteTenant, r.path("outside.pem"))+more))
	pool := x509.NewCertPool()
	pool.AddCert(r.ca.cert)
	tr := &http.Transport{TLSClientConfig: &tls.Config{RootCAs: pool}, DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, "tcp", r.addr)
	}}
	t.Cleanup(tr.CloseIdleConnections)
	r.http = &http.Client{Transport: tr, CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
	return r
}

func (r *realm) path(name string) string { return filepath.Join(r.dir, name) }

func (r *realm) write(name string, b []byte) {
	r.t.Helper()
	if err := os.WriteFile(r.path(name), b, 0o600); err != nil {
		r.t.Fatal(err)
	}
}

func (r *realm) writePair(cn string) {
	r.t.Helper()
	cert, key := r.ca.leaf(r.t, cn, time.Now().Add(24*time.Hour), siteHost, "*."+siteSuffix)
	r.write("cert.pem", cert)
	r.write("key.pem", key)
}

func (r *realm) config() Config {
	r.t.Helper()
	return must[Config](r.t)(ReadConfig(r.file))
}

func (r *realm) init() {
	r.t.Helper()
	if err := initialise(r.t.Context(), r.config()); err != nil {
		r.t.Fatal(err)
	}
}

// serve starts the site in this process.
func (r *realm) serve(o ServeOptions) *Server {
	r.t.Helper()
	s := must[*Server](r.t)(StartServe(r.t.Context(), r.config(), o))
	r.addr = s.addr.String()
	r.t.Cleanup(func() { r.stop(s) })
	return s
}

// stop ends the site; its data stay.
func (r *realm) stop(s *Server) {
	r.t.Helper()
	r.http.CloseIdleConnections()
	if r.stopped[s] {
		return
	}
	r.stopped[s] = true
	if err := s.Close(); err != nil {
		r.t.Error(err)
	}
}

// client is the owner's.
func (r *realm) client() *client.Client {
	r.t.Helper()
	return must[*client.Client](r.t)(client.New(client.Config{HTTP: r.http, Credential: r.idp, ResourceManager: "https://" + siteHost, HSMSuffix: siteSuffix,
		Subscription: siteSub, Tenant: siteTenant, PollEvery: time.Millisecond}))
}

// activated makes an HSM with an owner's token and takes its security domain.
func (r *realm) activated(name string) *client.HSM {
	r.t.Helper()
	ctx := r.t.Context()
	arm := r.client()
	must[client.ManagedHSM](r.t)(arm.CreateHSM(ctx, group, name, client.CreateHSM{Location: region, Administrators: []string{siteOwner}, RetentionDays: 7}))
	h := must[*client.HSM](r.t)(arm.HSMNamed(name))
	must[[]byte](r.t)(h.DownloadDomain(ctx, hsmtest.DownloadRequest(r.t, hsmtest.Holders(3), 2)))
	if st, err := h.WaitDownload(ctx, nil); err != nil || !st.Succeeded() {
		r.t.Fatalf("activation: %+v, %v", st, err)
	}
	must[client.RoleAssignment](r.t)(h.CreateRoleAssignment(ctx, "/", "", siteOwner, "21dbd100-6940-42c2-9190-5d6cb909625b"))
	return h
}

// ask sends a request to a name of the site.
func (r *realm) ask(method, target, token string) *http.Response {
	r.t.Helper()
	q := must[*http.Request](r.t)(http.NewRequestWithContext(r.t.Context(), method, target, nil))
	if token != "" {
		q.Header.Set("Authorization", "Bearer "+token)
	}
	resp := must[*http.Response](r.t)(r.http.Do(q))
	r.t.Cleanup(func() { _ = resp.Body.Close() })
	return resp
}

// plain asks the health listener.
func plain(t *testing.T, addr net.Addr, path string) (int, string) {
	t.Helper()
	c := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	q := must[*http.Request](t)(http.NewRequestWithContext(t.Context(), http.MethodGet, "http://"+addr.String()+path, nil))
	resp := must[*http.Response](t)(c.Do(q))
	defer resp.Body.Close()
	body := string(must[[]byte](t)(io.ReadAll(resp.Body)))
	return resp.StatusCode, body
}

type testCA struct {
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
	n    int64
}

func newTestCA(t *testing.T) *testCA {
	t.Helper()
	key := must[*ecdsa.PrivateKey](t)(ecdsa.GenerateKey(elliptic.P256(), rand.Reader))
	tmpl := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "test"}, NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(48 * time.Hour),
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign}
	der := must[[]byte](t)(x509.CreateCertificate(rand.Reader, tmpl, tmpl, &key.PublicKey, key))
	return &testCA{cert: must[*x509.Certificate](t)(x509.ParseCertificate(der)), key: key, n: 1}
}

func (ca *testCA) leaf(t *testing.T, cn string, until time.Time, names ...string) (cert, key []byte) {
	t.Helper()
	ca.n++
	k := must[*ecdsa.PrivateKey](t)(ecdsa.GenerateKey(elliptic.P256(), rand.Reader))
	tmpl := &x509.Certificate{SerialNumber: big.NewInt(ca.n), Subject: pkix.Name{CommonName: cn}, NotBefore: time.Now().Add(-time.Hour), NotAfter: until,
		DNSNames: names, KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}}
	der := must[[]byte](t)(x509.CreateCertificate(rand.Reader, tmpl, ca.cert, &k.PublicKey, ca.key))
	raw := must[[]byte](t)(x509.MarshalPKCS8PrivateKey(k))
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: raw})
}
