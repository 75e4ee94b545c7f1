package daemon

import (
	"bytes"
	"context"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"math/big"
	"net"
	"net/http"
	"net/url"
	"runtime"
	"slices"
	"sync/atomic"
	"testing"
	"time"

	"redoubt/internal/rbac"
)

// The harness of the front's benchmarks (front_cases_bench_test.go): a whole dev cloud, and a client with 32
// connections in the same process.

const benchConnections = 32

// benchFront is a dev cloud with one active HSM and a person who may use its keys.
type benchFront struct {
	dev   *Dev
	http  *http.Client
	token string
	base  string
}

func newBenchFront(b *testing.B) *benchFront {
	b.Helper()
	d, err := StartDev(b.Context(), DevConfig{Dir: b.TempDir()})
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() {
		if err := d.Close(); err != nil {
			b.Error(err)
		}
	})
	dial := &net.Dialer{}
	f := &benchFront{dev: d, base: "https://bench.managedhsm.azure.net", http: &http.Client{Timeout: time.Minute, Transport: &http.Transport{
		MaxIdleConnsPerHost: benchConnections, MaxConnsPerHost: benchConnections, TLSClientConfig: &tls.Config{RootCAs: d.ca.pool()},
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			return dial.DialContext(ctx, "tcp", d.tlsAddr.String())
		}}}}
	b.Cleanup(f.http.CloseIdleConnections)
	user := d.account.User
	me := rbac.Principal{ID: user.ObjectID, UPN: user.UPN, Tenant: d.account.Tenant.ID}
	arm := f.mint(b, me, "https://management.azure.com")
	f.token = f.mint(b, me, "https://managedhsm.azure.net")
	f.do(b, arm, "PUT", "https://management.azure.com/subscriptions/"+d.account.Subscription.ID+"/resourceGroups/bench/providers/Microsoft.KeyVault/managedHSMs/bench?api-version=2024-11-01",
		map[string]any{"location": "westus3", "properties": map[string]any{"tenantId": d.account.Tenant.ID, "initialAdminObjectIds": []string{user.ObjectID}, "softDeleteRetentionInDays": 7}})
	f.do(b, f.token, "POST", f.base+"/securitydomain/download?api-version=7.5", map[string]any{"certificates": benchCertificates(b), "required": 2})
	f.do(b, f.token, "GET", f.base+"/securitydomain/download/pending", nil)
	f.do(b, f.token, "PUT", f.base+"/providers/Microsoft.Authorization/roleAssignments/11111111-2222-4333-8444-555555555555?api-version=7.4",
		map[string]any{"properties": map[string]string{"principalId": user.ObjectID, "roleDefinitionId": rbac.CryptoUser.Wire()}})
	return f
}

func (f *benchFront) mint(b *testing.B, p rbac.Principal, audience string) string {
	b.Helper()
	t, _, err := f.dev.issuer.Mint(b.Context(), p, audience, nil)
	if err != nil {
		b.Fatal(err)
	}
	return t
}

func benchCertificates(b *testing.B) []map[string]any {
	b.Helper()
	var out []map[string]any
	for i := range 3 {
		k, err := rsa.GenerateKey(rand.Reader, 2048)
		if err != nil {
			b.Fatal(err)
		}
		t := &x509.Certificate{SerialNumber: big.NewInt(int64(i + 1)), NotAfter: time.Now().Add(time.Hour)}
		der, err := x509.CreateCertificate(rand.Reader, t, t, k.Public(), k)
		if err != nil {
			b.Fatal(err)
		}
		sum := sha256.Sum256(der)
		u := base64.RawURLEncoding
		out = append(out, map[string]any{"kty": "RSA", "alg": "RSA-OAEP-256", "key_ops": []string{"encrypt", "wrapKey"}, "x5c": []string{base64.StdEncoding.EncodeToString(der)},
			"x5t#S256": u.EncodeToString(sum[:]), "n": u.EncodeToString(k.N.Bytes()), "e": u.EncodeToString(big.NewInt(int64(k.E)).Bytes())})
	}
	return out
}

// do sends one request and fails the benchmark unless it succeeds.
func (f *benchFront) do(b *testing.B, token, method, url string, body any) []byte {
	b.Helper()
	raw, err := json.Marshal(body)
	if err != nil {
		b.Fatal(err)
	}
	answer, err := f.send(token, method, url, raw)
	if err != nil {
		b.Fatal(err)
	}
	return answer
}

func (f *benchFront) send(token, method, target string, body []byte) ([]byte, error) {
	u, err := url.Parse(target)
	if err != nil {
		return nil, err
	}
	req := &http.Request{Method: method, URL: u, Host: u.Host, Header: http.Header{"Authorization": {"Bearer " + token}, "Content-Type": {"application/json"}},
		Body: io.NopCloser(bytes.NewReader(body)), ContentLength: int64(len(body))}
	resp, err := f.http.Do(req)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	answer, err := io.ReadAll(resp.Body)
	if err == nil && resp.StatusCode >= 300 {
		err = fmt.Errorf("%s %s: %s: %s", method, target, resp.Status, answer)
	}
	return answer, err
}

// reply measures one request, sent by 32 connections at once in a closed loop: requests per second, and how
// long one took. The allocations are those of client and server together.
func (f *benchFront) reply(b *testing.B, token string, r benchRequest) {
	b.Helper()
	b.SetParallelism((benchConnections + runtime.GOMAXPROCS(0) - 1) / runtime.GOMAXPROCS(0))
	b.ReportAllocs()
	took := make([]time.Duration, b.N)
	b.ResetTimer()
	var n atomic.Int64
	b.RunParallel(func(pb *testing.PB) {
		for pb.Next() {
			i := n.Add(1) - 1
			start := time.Now()
			if _, err := f.send(token, r.method, r.base(f)+r.target(i), r.body); err != nil {
				b.Error(err)
				return
			}
			took[i] = time.Since(start)
		}
	})
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "req/s")
	slices.Sort(took)
	b.ReportMetric(float64(took[len(took)/2].Microseconds())/1000, "p50-ms")
	b.ReportMetric(float64(took[len(took)*99/100].Microseconds())/1000, "p99-ms")
}

// handler measures the server's own part of a request: everything between net/http and the answer's bytes,
// without network, TLS and client. Its allocations are the server's.
func (f *benchFront) handler(b *testing.B, r benchRequest) {
	b.Helper()
	b.ReportAllocs()
	var n atomic.Int64
	b.RunParallel(func(pb *testing.PB) {
		for pb.Next() {
			u, err := url.Parse(r.base(f) + r.target(n.Add(1)-1))
			if err != nil {
				b.Error(err)
				return
			}
			req := (&http.Request{Method: r.method, URL: u, Host: u.Host, RemoteAddr: "127.0.0.1:1", Header: http.Header{"Authorization": {"Bearer " + f.token}, "Content-Type": {"application/json"}},
				Body: io.NopCloser(bytes.NewReader(r.body)), ContentLength: int64(len(r.body))}).WithContext(b.Context())
			w := unread{header: make(http.Header, 16)}
			f.dev.front.ServeHTTP(&w, req)
			if w.status >= 300 {
				b.Errorf("status %d", w.status)
				return
			}
		}
	})
}

// unread is a response that nobody reads.
type unread struct {
	header http.Header
	status int
}

func (d *unread) Header() http.Header         { return d.header }
func (d *unread) Write(p []byte) (int, error) { return len(p), nil }
func (d *unread) WriteHeader(status int)      { d.status = status }

// direct measures the bare primitive under the same number of goroutines.
func direct(b *testing.B, do func() error) {
	b.Helper()
	b.SetParallelism((benchConnections + runtime.GOMAXPROCS(0) - 1) / runtime.GOMAXPROCS(0))
	b.ReportAllocs()
	b.RunParallel(func(pb *testing.PB) {
		for pb.Next() {
			if err := do(); err != nil {
				b.Error(err)
				return
			}
		}
	})
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "op/s")
}
