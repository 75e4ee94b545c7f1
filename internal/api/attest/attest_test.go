package attest

import (
	"bytes"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"redoubt/internal/release/authority"
)

var testKey = sync.OnceValue(func() *rsa.PrivateKey {
	k, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		panic(err)
	}
	return k
})

var now = time.Unix(1767323045, 0)

func handler(t *testing.T) *Handler {
	t.Helper()
	h, err := New(Config{Key: testKey(), Base: func(host string) string { return "https://" + host }, Clock: func() time.Time { return now }, Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	return h
}

func ask(t *testing.T, h *Handler, method, path string, body any) (int, map[string]any) {
	t.Helper()
	b, err := json.Marshal(body)
	if err != nil {
		t.Fatal(err)
	}
	r := httptest.NewRequestWithContext(t.Context(), method, "https://a.example"+path, bytes.NewReader(b))
	w := httptest.NewRecorder()
	h.ServeHTTP(w, r)
	var out map[string]any
	if err := json.Unmarshal(w.Body.Bytes(), &out); err != nil {
		t.Fatalf("%s: %s", w.Body, err)
	}
	return w.Code, out
}

// Its tokens are what the device's verifier believes, and its key set says the same as Keys.
func TestTokens(t *testing.T) {
	t.Parallel()
	h := handler(t)
	trust, err := authority.New(authority.Issuer{URL: "https://a.example", Keys: h.Keys()})
	if err != nil {
		t.Fatal(err)
	}
	n := base64.RawURLEncoding.EncodeToString(testKey().N.Bytes())
	spki, err := x509.MarshalPKIXPublicKey(testKey().Public())
	if err != nil {
		t.Fatal(err)
	}
	text := string(pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: spki}))
	for what, c := range map[string]struct {
		method string
		body   any
		kid    string
	}{
		"as SDKs ask": {"GET", nil, "fake-release-key"},
		"JWK":         {"POST", map[string]any{"claims": map[string]any{"sdk-test": true}, "key": map[string]any{"kty": "RSA", "kid": "mine", "use": "enc", "n": n, "e": "AQAB"}}, "mine"},
		"bare JWK":    {"POST", map[string]any{"claims": map[string]any{"sdk-test": true}, "key": map[string]any{"kty": "RSA", "n": n, "e": "AQAB"}}, "TpmEphemeralEncryptionKey"},
		"PEM":         {"POST", map[string]any{"claims": map[string]any{"sdk-test": true}, "publicKeyPem": text, "lifetime": 60}, "TpmEphemeralEncryptionKey"},
	} {
		status, out := ask(t, h, c.method, "/generate-test-token?api-version=2020-10-01", c.body)
		token, _ := out["token"].(string)
		a, err := trust.Verify(token, now)
		if status != http.StatusOK || err != nil {
			t.Errorf("%s: %d %v, %v", what, status, out, err)
			continue
		}
		r, err := a.Recipient()
		if err != nil || r.Kid != c.kid || a.Claims["sdk-test"] != true || len(r.N) != 256 {
			t.Errorf("%s: %+v, %v", what, r, err)
		}
		if _, err := trust.Verify(token, now.Add(time.Hour)); err == nil {
			t.Errorf("%s: the token does not expire", what)
		}
	}
	// Claims are signed as they are: the service is for tests, of refusals too.
	_, out := ask(t, h, "POST", "/generate-test-token", map[string]any{"claims": map[string]any{"iss": "https://b.example", "big": json.Number("123456789012345678901")}})
	parts := strings.Split(out["token"].(string), ".")
	payload, err := base64.RawURLEncoding.DecodeString(parts[1])
	if err != nil || !bytes.Contains(payload, []byte(`"iss":"https://b.example"`)) || !bytes.Contains(payload, []byte(`123456789012345678901`)) || bytes.Contains(payload, []byte("x-ms-runtime")) {
		t.Errorf("%s, %v", payload, err)
	}
}

func TestMetadata(t *testing.T) {
	t.Parallel()
	h := handler(t)
	_, meta := ask(t, h, "GET", "//.well-known/openid-configuration", nil)
	if meta["issuer"] != "https://a.example" || meta["jwks_uri"] != "https://a.example/certs" {
		t.Errorf("%v", meta)
	}
	_, set := ask(t, h, "GET", "/certs", nil)
	k := set["keys"].([]any)[0].(map[string]any)
	der, err := base64.StdEncoding.DecodeString(k["x5c"].([]any)[0].(string))
	if err != nil {
		t.Fatal(err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil || !testKey().PublicKey.Equal(cert.PublicKey) || h.Keys()[k["kid"].(string)] == nil {
		t.Errorf("%v, %v", k, err)
	}
	for what, body := range map[string]any{
		"unknown member": map[string]any{"claim": 1}, "two keys": map[string]any{"key": map[string]any{"n": ""}, "publicKeyPem": "x"}, "bad PEM": map[string]any{"publicKeyPem": "x"},
		"list": []any{}, "EC": map[string]any{"publicKeyPem": "-----BEGIN PUBLIC KEY-----\nAAAA\n-----END PUBLIC KEY-----\n"},
	} {
		if status, out := ask(t, h, "POST", "/generate-test-token", body); status != http.StatusBadRequest {
			t.Errorf("%s: %d %v", what, status, out)
		}
	}
	if status, _ := ask(t, h, "GET", "/tokens", nil); status != http.StatusNotFound {
		t.Errorf("unknown path: %d", status)
	}
}
