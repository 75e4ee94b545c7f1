package daemon

import (
	"bytes"
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
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
	"sync/atomic"
	"testing"
	"time"

	"redoubt/internal/key"
	"redoubt/internal/material"
	"redoubt/internal/rbac"
)

// The benchmarks of the whole front: TLS, token check, guard, audit, store, cryptography, as shipped, with
// 32 connections; and beside them, in the same run, the same primitive called directly by as many
// goroutines. The ratio is what counts.

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

// run measures one request, sent by 32 connections at once.
func (f *benchFront) run(b *testing.B, method string, target func(n int64) string, body any) {
	b.Helper()
	raw, err := json.Marshal(body)
	if err != nil {
		b.Fatal(err)
	}
	b.SetParallelism(benchConnections) // goroutines per processor; MaxConnsPerHost bounds the connections
	b.ReportAllocs()
	b.ResetTimer()
	var n atomic.Int64
	b.RunParallel(func(pb *testing.PB) {
		for pb.Next() {
			if _, err := f.send(f.token, method, f.base+target(n.Add(1)), raw); err != nil {
				b.Error(err)
				return
			}
		}
	})
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "req/s")
}

// direct measures the bare primitive under the same number of goroutines.
func direct(b *testing.B, do func() error) {
	b.Helper()
	b.SetParallelism(benchConnections)
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

var benchDigest = bytes.Repeat([]byte{7}, 32)

func BenchmarkSignRSA2048(b *testing.B) {
	benchSign(b, "rsa", map[string]any{"kty": "RSA-HSM", "key_size": 2048}, "RS256", benchRSA)
}

func BenchmarkSignP256(b *testing.B) {
	benchSign(b, "ec", map[string]any{"kty": "EC-HSM", "crv": "P-256"}, "ES256", benchEC)
}

func benchRSA(b *testing.B) func() error {
	b.Helper()
	k, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		b.Fatal(err)
	}
	return func() error {
		_, err := rsa.SignPKCS1v15(rand.Reader, k, crypto.SHA256, benchDigest)
		return err
	}
}

func benchEC(b *testing.B) func() error {
	b.Helper()
	k, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		b.Fatal(err)
	}
	return func() error {
		_, err := k.Sign(rand.Reader, benchDigest, crypto.SHA256)
		return err
	}
}

func benchSign(b *testing.B, name string, create map[string]any, alg string, primitive func(*testing.B) func() error) {
	b.Helper()
	f := newBenchFront(b)
	f.do(b, f.token, "POST", f.base+"/keys/"+name+"/create?api-version=7.4", create)
	b.Run("front", func(b *testing.B) {
		f.run(b, "POST", func(int64) string { return "/keys/" + name + "//sign?api-version=7.4" },
			map[string]string{"alg": alg, "value": base64.RawURLEncoding.EncodeToString(benchDigest)})
	})
	do := primitive(b)
	b.Run("direct", func(b *testing.B) { direct(b, do) })
}

func BenchmarkWrapAES256(b *testing.B) {
	f := newBenchFront(b)
	f.do(b, f.token, "POST", f.base+"/keys/aes/create?api-version=7.4", map[string]any{"kty": "oct-HSM", "key_size": 256})
	b.Run("front", func(b *testing.B) {
		f.run(b, "POST", func(int64) string { return "/keys/aes//wrapkey?api-version=7.4" },
			map[string]string{"alg": "A256KW", "value": base64.RawURLEncoding.EncodeToString(benchDigest)})
	})
	k, err := material.Generate(key.Spec{Type: key.Oct, Bits: 256})
	if err != nil {
		b.Fatal(err)
	}
	b.Run("direct", func(b *testing.B) {
		direct(b, func() error {
			_, err := k.Wrap("A256KW", key.CipherInput{Value: benchDigest})
			return err
		})
	})
}

// BenchmarkCreateP256 makes a new key with each request, durable when it is answered. Names repeat after
// 4,000, so that the limit of keys is never met; then it makes versions.
func BenchmarkCreateP256(b *testing.B) {
	f := newBenchFront(b)
	b.Run("front", func(b *testing.B) {
		f.run(b, "POST", func(n int64) string { return fmt.Sprintf("/keys/k%d/create?api-version=7.4", n%4000) }, map[string]any{"kty": "EC-HSM", "crv": "P-256"})
	})
	b.Run("direct", func(b *testing.B) {
		direct(b, func() error {
			_, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
			return err
		})
	})
}

// BenchmarkGetKey reads one key: everything of the front but cryptography.
func BenchmarkGetKey(b *testing.B) {
	f := newBenchFront(b)
	f.do(b, f.token, "POST", f.base+"/keys/ec/create?api-version=7.4", map[string]any{"kty": "EC-HSM"})
	b.Run("front", func(b *testing.B) {
		f.run(b, "GET", func(int64) string { return "/keys/ec/?api-version=7.4" }, nil)
	})
}
