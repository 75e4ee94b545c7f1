package azblob

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/xml"
	"errors"
	"fmt"
	"io"
	"log"
	"maps"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"redoubt/internal/blob"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// The planted secrets: no error text may contain any of these.
const (
	canarySig   = "CANARY+sig/0123456789abcdefghijklmnopqrstuvwx="
	canaryToken = "eyCANARY.token-0123456789.abcdefghijklmnop"
)

// testSAS is a container SAS with the given permissions, signed with the canary.
func testSAS(sp string) string {
	return "sp=" + sp + "&st=2025-01-01T00:00Z&se=2099-01-01T00:00Z&spr=https&sv=2022-11-02&sr=c&sig=CANARY%2Bsig%2F0123456789abcdefghijklmnopqrstuvwx%3D"
}

// account is a storage account of one container over HTTPS, with just the four calls. It checks the
// credential and the permissions of a SAS.
type account struct {
	*httptest.Server
	mu       sync.Mutex
	objects  map[string]object // guarded by mu
	requests []string          // guarded by mu: "METHOD name"
	// before, when set, may answer a request itself; after runs when a request has taken effect and may
	// break the connection instead of letting the answer out. Set before the first request.
	before, after func(n int, w http.ResponseWriter, r *http.Request) bool
	token         string // accepted bearer token
	gone          bool
}

type object struct {
	data string
	etag string
}

func newAccount(t *testing.T) *account {
	a := &account{objects: map[string]object{}, token: canaryToken}
	a.Server = httptest.NewUnstartedServer(http.HandlerFunc(a.serve))
	a.Config.ErrorLog = log.New(io.Discard, "", 0)
	a.StartTLS()
	t.Cleanup(a.Close)
	return a
}

var testPolicy = blob.Policy{Suffixes: []string{".blob.core.test"}, Allow: []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")}}

// transport reaches the account at whatever name, through the policy's dialer.
func (a *account) transport(t *testing.T) *http.Transport {
	roots := x509.NewCertPool()
	roots.AddCert(a.Certificate())
	tr := NewTransport(testPolicy, &tls.Config{RootCAs: roots, ServerName: "example.com"}, testPolicy.Dialer(
		func(context.Context, string) ([]netip.Addr, error) {
			return []netip.Addr{netip.MustParseAddr("127.0.0.1")}, nil
		},
		func(ctx context.Context, network, _ string) (net.Conn, error) {
			return new(net.Dialer).DialContext(ctx, network, a.Listener.Addr().String())
		}))
	t.Cleanup(tr.CloseIdleConnections)
	return tr
}

// quick is a timing for tests: many tries, short pauses.
var quick = Timing{Connect: 5 * time.Second, Quiet: 5 * time.Second, FirstDelay: time.Millisecond, MaxDelay: 2 * time.Millisecond}

// open opens the account's container; change may alter the options, which have a SAS with all permissions.
func (a *account) open(t *testing.T, change func(*Options)) *Container {
	t.Helper()
	o := Options{Transport: a.transport(t), SAS: func() string { return testSAS("racwdl") }, Timing: quick}
	if change != nil {
		change(&o)
	}
	target, err := blob.ParseTarget("https://Acct.blob.core.test/cont", testPolicy)
	if err != nil {
		t.Fatal(err)
	}
	c, err := Open(target, o)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func withToken(o *Options) {
	o.SAS = nil
	o.Token = func(context.Context) (string, time.Time, error) { return canaryToken, time.Now().Add(time.Hour), nil }
}

func (a *account) count() int {
	a.mu.Lock()
	defer a.mu.Unlock()
	return len(a.requests)
}

func (a *account) set(name, data string) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.objects[name] = object{data, fmt.Sprintf("%q", fmt.Sprint("e", len(a.requests), len(data)))}
}

func (a *account) get(name string) (string, bool) {
	a.mu.Lock()
	defer a.mu.Unlock()
	o, ok := a.objects[name]
	return o.data, ok
}

// fail answers as the service does.
func fail(w http.ResponseWriter, status int, code, message, detail string) {
	w.Header().Set("X-Ms-Error-Code", code)
	w.Header().Set("Content-Type", "application/xml")
	w.WriteHeader(status)
	body, _ := xml.Marshal(serviceError{Code: code, Message: message, Detail: detail})
	_, _ = w.Write(body)
}

// drop closes the connection without an answer.
func drop(w http.ResponseWriter) {
	conn, _, err := w.(http.Hijacker).Hijack()
	if err == nil {
		err = conn.Close()
	}
	if err != nil {
		panic(err)
	}
}

func (a *account) serve(w http.ResponseWriter, r *http.Request) {
	name := strings.TrimPrefix(strings.TrimPrefix(r.URL.Path, "/cont"), "/")
	a.mu.Lock()
	a.requests = append(a.requests, r.Method+" "+name)
	n := len(a.requests)
	a.mu.Unlock()
	if a.before != nil && a.before(n, w, r) {
		return
	}
	body, err := io.ReadAll(r.Body)
	if err != nil {
		return
	}
	if !strings.HasPrefix(r.URL.Path, "/cont") || r.Host != "acct.blob.core.test" || r.Header.Get("X-Ms-Version") == "" {
		fail(w, 400, "InvalidUri", "not ours", "")
		return
	}
	if !a.authorised(w, r) {
		return
	}
	if a.gone {
		fail(w, 404, "ContainerNotFound", "The specified container does not exist.", "")
		return
	}
	rec := httptest.NewRecorder()
	a.answer(rec, r, name, string(body))
	if a.after != nil && a.after(n, w, r) {
		return
	}
	maps.Copy(w.Header(), rec.Header())
	w.WriteHeader(rec.Code)
	_, _ = w.Write(rec.Body.Bytes())
}

// authorised checks the bearer token, or the signature and the permission of the SAS.
func (a *account) authorised(w http.ResponseWriter, r *http.Request) bool {
	q := r.URL.Query()
	if auth := r.Header.Get("Authorization"); auth != "" {
		a.mu.Lock()
		defer a.mu.Unlock()
		if auth != "Bearer "+a.token {
			fail(w, 401, "InvalidAuthenticationInfo", "Authentication failed for "+auth, "Lifetime validation failed. The token is expired.")
			return false
		}
		return true
	}
	if q.Get("sig") != canarySig {
		fail(w, 403, "AuthenticationFailed", "Server failed to authenticate the request.", "Signature did not match: "+q.Get("sig"))
		return false
	}
	need := map[string]string{"PUT": "cw", "GET": "r", "DELETE": "d"}[r.Method]
	if q.Get("comp") == "list" {
		need = "l"
	}
	if !strings.ContainsAny(q.Get("sp"), need) {
		fail(w, 403, "AuthorizationPermissionMismatch", "This request is not authorized to perform this operation using this permission.", "")
		return false
	}
	return true
}

func (a *account) answer(w http.ResponseWriter, r *http.Request, name, body string) {
	a.mu.Lock()
	o, exists := a.objects[name]
	a.mu.Unlock()
	switch {
	case r.URL.Query().Get("comp") == "list":
		a.list(w, r)
	case r.Method == http.MethodPut:
		a.mu.Lock()
		defer a.mu.Unlock()
		_, exists = a.objects[name]
		if exists && r.Header.Get("If-None-Match") == "*" {
			fail(w, 409, "BlobAlreadyExists", "The specified blob already exists.", "")
			return
		}
		a.objects[name] = object{body, fmt.Sprintf(`"e%d"`, len(a.requests))}
		w.WriteHeader(http.StatusCreated)
	case !exists:
		fail(w, 404, "BlobNotFound", "The specified blob does not exist.", "")
	case r.Method == http.MethodDelete:
		a.mu.Lock()
		defer a.mu.Unlock()
		delete(a.objects, name)
		w.WriteHeader(http.StatusAccepted)
	default:
		w.Header().Set("ETag", o.etag)
		w.Header().Set("Content-Type", "application/octet-stream")
		http.ServeContent(w, r, "", time.Time{}, strings.NewReader(o.data))
	}
}

func (a *account) list(w http.ResponseWriter, r *http.Request) {
	a.mu.Lock()
	defer a.mu.Unlock()
	q := r.URL.Query()
	limit, err := strconv.Atoi(q.Get("maxresults"))
	if err != nil {
		limit = 5000
	}
	var b strings.Builder
	fmt.Fprintf(&b, `<?xml version="1.0" encoding="utf-8"?><EnumerationResults ContainerName="cont"><Blobs>`)
	next := ""
	for _, name := range slices.Sorted(maps.Keys(a.objects)) {
		if !strings.HasPrefix(name, q.Get("prefix")) || name < q.Get("marker") {
			continue
		}
		if limit == 0 {
			next = name
			break
		}
		limit--
		fmt.Fprintf(&b, "<Blob><Name>%s</Name><Properties><Content-Length>%d</Content-Length></Properties></Blob>", name, len(a.objects[name].data))
	}
	fmt.Fprintf(&b, "</Blobs><NextMarker>%s</NextMarker></EnumerationResults>", next)
	w.Header().Set("Content-Type", "application/xml")
	_, _ = io.WriteString(w, b.String())
}

// clean fails the test when the error's text, or that of anything it wraps, contains a planted secret.
func clean(t *testing.T, err error) {
	t.Helper()
	for todo := []error{err}; len(todo) > 0; todo = todo[1:] {
		e := todo[0]
		if e == nil {
			continue
		}
		for _, text := range []string{e.Error(), fmt.Sprintf("%+v", e), fmt.Sprintf("%#v", e)} {
			if strings.Contains(strings.ToUpper(text), "CANARY") {
				t.Fatalf("a secret shows in %q", text)
			}
		}
		if u, ok := e.(interface{ Unwrap() []error }); ok {
			todo = append(todo, u.Unwrap()...)
		}
		todo = append(todo, errors.Unwrap(e))
	}
}
