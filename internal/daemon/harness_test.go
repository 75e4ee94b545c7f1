package daemon

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/Azure/azure-sdk-for-go/sdk/storage/azblob/blob"
	"github.com/Azure/azure-sdk-for-go/sdk/storage/azblob/sas"
	"go.uber.org/goleak"

	"redoubt/internal/client"
	"redoubt/internal/hsmtest"
	"redoubt/internal/rbac"
)

// lookups counts the names that anything in this process tried to resolve. A dev cloud resolves none.
var lookups atomic.Int64

func TestMain(m *testing.M) {
	if os.Getenv("REDOUBT_TEST_MAIN") != "" { // this process is redoubtd itself
		os.Exit(Main())
	}
	net.DefaultResolver = &net.Resolver{PreferGo: true, Dial: func(context.Context, string, string) (net.Conn, error) {
		lookups.Add(1)
		return nil, errors.New("a test must not resolve names")
	}}
	goleak.VerifyTestMain(m, goleak.Cleanup(func(code int) {
		if n := lookups.Load(); n > 0 {
			fmt.Fprintf(os.Stderr, "names were looked up %d times: a dev cloud must never look outside\n", n)
			code = 1
		}
		os.Exit(code)
	}))
}

// site is a running dev cloud and a person who uses it from outside: through the proxy, trusting ca.pem,
// signed in with what env.sh says.
type site struct {
	*Dev
	t    *testing.T
	http *http.Client
	arm  *client.Client
}

const (
	group   = "ContosoResourceGroup"
	region  = "westus3"
	account = "ContosoBackup" // as the procedure writes it
	box     = "mhsmbackupcontainer"
)

func start(t *testing.T, cfg DevConfig) *site {
	t.Helper()
	if cfg.Dir == "" {
		cfg.Dir = t.TempDir()
	}
	d, err := StartDev(t.Context(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	s := &site{Dev: d, t: t}
	s.http = s.browser()
	t.Cleanup(s.stop)
	conf, err := client.FromEnvironment(s.environ, s.http)
	if err != nil {
		t.Fatal(err)
	}
	conf.PollEvery = time.Millisecond
	if s.arm, err = client.New(conf); err != nil {
		t.Fatal(err)
	}
	return s
}

// environ is what a shell that has read env.sh has in its environment, without the service principal.
func (s *site) environ(name string) string {
	if name == "REDOUBT_AUTH" {
		return client.AuthPassword
	}
	return s.Get(name)
}

// browser is an HTTP client set up with nothing but what env.sh exports.
func (s *site) browser() *http.Client {
	s.t.Helper()
	proxy, err := url.Parse(s.Get("HTTPS_PROXY"))
	if err != nil {
		s.t.Fatal(err)
	}
	pem, err := os.ReadFile(s.Get("SSL_CERT_FILE"))
	if err != nil {
		s.t.Fatal(err)
	}
	roots := x509.NewCertPool()
	if !roots.AppendCertsFromPEM(pem) {
		s.t.Fatal("ca.pem holds no certificate")
	}
	return &http.Client{Transport: &http.Transport{Proxy: http.ProxyURL(proxy), TLSClientConfig: &tls.Config{RootCAs: roots}},
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
}

// stop closes the dev cloud. It may be called twice.
func (s *site) stop() {
	s.t.Helper()
	if s.Dev == nil {
		return
	}
	s.http.CloseIdleConnections()
	if err := s.Dev.Close(); err != nil {
		s.t.Error(err)
	}
	s.Dev = nil
}

// restart ends the dev cloud and starts it again in the same folder.
func (s *site) restart() *site {
	s.t.Helper()
	cfg := s.cfg
	s.stop()
	cfg.Listen = "127.0.0.1:0"
	return start(s.t, cfg)
}

// must fails the test on an error and passes the value on.
func must[T any](t *testing.T) func(T, error) T {
	return func(v T, err error) T {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return v
	}
}

// person is the object id of whoever has signed in.
func (s *site) person() string { return s.account.User.ObjectID }

// token is one of the person's, for a resource.
func (s *site) token(resource string) string {
	s.t.Helper()
	u := s.account.User
	token, _, err := s.issuer.Mint(s.t.Context(), rbac.Principal{ID: u.ObjectID, UPN: u.UPN, Tenant: s.account.Tenant.ID}, resource, nil)
	if err != nil {
		s.t.Fatal(err)
	}
	return token
}

// create makes an HSM whose administrator is the person.
func (s *site) create(name string) *client.HSM {
	s.t.Helper()
	ctx := s.t.Context()
	must[client.ManagedHSM](s.t)(s.arm.CreateHSM(ctx, group, name, client.CreateHSM{Location: region, Administrators: []string{s.person()}, RetentionDays: 28}))
	return must[*client.HSM](s.t)(s.arm.HSMNamed(name))
}

// activate takes an HSM's security domain and lets the person use its keys.
func (s *site) activate(h *client.HSM) []byte {
	s.t.Helper()
	ctx := s.t.Context()
	file := must[[]byte](s.t)(h.DownloadDomain(ctx, hsmtest.DownloadRequest(s.t, hsmtest.Holders(3), 2)))
	if st, err := h.WaitDownload(ctx, nil); err != nil || !st.Succeeded() {
		s.t.Fatalf("activation: %+v, %v", st, err)
	}
	must[client.RoleAssignment](s.t)(h.CreateRoleAssignment(ctx, "/", "", s.person(), "21dbd100-6940-42c2-9190-5d6cb909625b"))
	return file
}

// bucket makes the storage account and its container; the person may use it.
func (s *site) bucket() {
	s.t.Helper()
	ctx := s.t.Context()
	r := must[client.Resource](s.t)(s.arm.PutStorageAccount(ctx, group, account, region))
	must[client.RoleAssignment](s.t)(s.arm.AssignRole(ctx, r.ID, client.StorageBlobDataContributor, s.person(), "User"))
	if err := s.arm.CreateContainer(ctx, account, box); err != nil {
		s.t.Fatal(err)
	}
}

// sign makes a SAS of a container with the account's key, by Azure's own library.
func (s *site) sign(container, permissions string, until time.Time) string {
	s.t.Helper()
	keys := must[[]string](s.t)(s.arm.StorageKeys(s.t.Context(), group, account))
	cred, err := blob.NewSharedKeyCredential(account, keys[0])
	if err != nil {
		s.t.Fatal(err)
	}
	q, err := sas.BlobSignatureValues{Protocol: sas.ProtocolHTTPS, ExpiryTime: until.UTC(), ContainerName: container, Permissions: permissions}.SignWithSharedKey(cred)
	if err != nil {
		s.t.Fatal(err)
	}
	return q.Encode()
}

// with is storage with a SAS of these permissions for an hour.
func (s *site) with(permissions string) client.Storage {
	s.t.Helper()
	token := s.sign(box, permissions, time.Now().Add(time.Hour))
	return client.Storage{URI: "https://" + account + ".blob.core.windows.net/" + box, SAS: func() string { return token }}
}

// get fetches a URL with the browser. token may be "".
func (s *site) get(target, token string) (status int, body string) {
	s.t.Helper()
	r, err := http.NewRequestWithContext(s.t.Context(), http.MethodGet, target, nil)
	if err != nil {
		s.t.Fatal(err)
	}
	if token != "" {
		r.Header.Set("Authorization", "Bearer "+token)
	}
	resp, err := s.http.Do(r)
	if err != nil {
		s.t.Fatalf("GET %s: %v", target, err)
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	if err != nil {
		s.t.Fatal(err)
	}
	return resp.StatusCode, string(b)
}

// dial connects to one of the site's ports and gives up after a while.
func (s *site) dial(to net.Addr) net.Conn {
	s.t.Helper()
	var d net.Dialer
	c, err := d.DialContext(s.t.Context(), "tcp", to.String())
	if err != nil {
		s.t.Fatal(err)
	}
	s.t.Cleanup(func() { _ = c.Close() })
	if err := c.SetDeadline(time.Now().Add(20 * time.Second)); err != nil {
		s.t.Fatal(err)
	}
	return c
}

// says wants an error of that code whose text has all the words.
func says(t *testing.T, what string, err error, code string, words ...string) {
	t.Helper()
	var e *client.Error
	if !errors.As(err, &e) || e.Code != code {
		t.Errorf("%s: %v, want code %s", what, err, code)
		return
	}
	for _, w := range words {
		if !strings.Contains(e.Message, w) {
			t.Errorf("%s: %q does not say %q", what, e.Message, w)
		}
	}
	if strings.Contains(e.Message, "sig=") && !strings.Contains(e.Message, "sig=(redacted)") {
		t.Errorf("%s: %q shows a signature", what, e.Message)
	}
}

func discard() *slog.Logger { return slog.New(slog.DiscardHandler) }

// plainServer serves HTTP on loopback and returns its address.
func plainServer(t *testing.T, h http.Handler) string {
	t.Helper()
	srv := httptest.NewServer(h)
	t.Cleanup(srv.Close)
	return srv.Listener.Addr().String()
}
