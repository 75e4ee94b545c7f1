package daemon

import (
	"crypto/ecdsa"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"io"
	"net/http"
	"strings"
	"testing"

	"github.com/go-jose/go-jose/v4"
)

// byHand signs header and payload of a token as they are, with what no library makes.
func byHand(header, payload string, sign func(signed []byte) []byte) string {
	b64 := base64.RawURLEncoding.EncodeToString
	head := b64([]byte(header)) + "." + b64([]byte(payload))
	return head + "." + b64(sign([]byte(head)))
}

// es256 signs as RFC 7518 has it (3.4).
func es256(t *testing.T, key any) func([]byte) []byte {
	return func(b []byte) []byte {
		sum := sha256.Sum256(b)
		r, s, err := ecdsa.Sign(rand.Reader, key.(*ecdsa.PrivateKey), sum[:])
		if err != nil {
			t.Error(err)
			return nil
		}
		return append(r.FillBytes(make([]byte, 32)), s.FillBytes(make([]byte, 32))...)
	}
}

// TestServeRefusesForgedTokens: what no library would make is refused at both planes, as what libraries make is.
func TestServeRefusesForgedTokens(t *testing.T) {
	t.Parallel()
	r := newRealm(t, "")
	r.init()
	r.serve(ServeOptions{})
	r.activated("one")
	theirs, mallory := es256(t, r.idp.keys["first"]), newTestCA(t).key
	spki := must[[]byte](t)(x509.MarshalPKIXPublicKey(public(r.idp.keys["first"])))
	hs256 := func(key []byte) func([]byte) []byte {
		return func(b []byte) []byte {
			m := hmac.New(sha256.New, key)
			m.Write(b)
			return m.Sum(nil)
		}
	}
	for what, forge := range map[string]func(claims string) string{
		"alg none": func(c string) string {
			return byHand(`{"alg":"none","kid":"first"}`, c, func([]byte) []byte { return nil })
		},
		"alg none, signed":      func(c string) string { return byHand(`{"alg":"none","kid":"first"}`, c, theirs) },
		"HS256, the public key": func(c string) string { return byHand(`{"alg":"HS256","kid":"first"}`, c, hs256(spki)) },
		"HS256, its PEM": func(c string) string {
			return byHand(`{"alg":"HS256","kid":"first"}`, c, hs256(pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: spki})))
		},
		"a key of its own": func(c string) string {
			jwk := must[[]byte](t)(json.Marshal(jose.JSONWebKey{Key: &mallory.PublicKey}))
			return byHand(`{"alg":"ES256","kid":"first","jwk":`+string(jwk)+`}`, c, es256(t, mallory))
		},
		"crit": func(c string) string {
			return byHand(`{"alg":"ES256","kid":"first","crit":["b64"],"b64":false}`, c, theirs)
		},
		"two algorithms":  func(c string) string { return byHand(`{"alg":"ES256","alg":"none","kid":"first"}`, c, theirs) },
		"of another kind": func(c string) string { return byHand(`{"alg":"ES256","kid":"first","typ":"logout+jwt"}`, c, theirs) },
		"a claim twice": func(c string) string {
			return byHand(`{"alg":"ES256","kid":"first"}`, strings.Replace(c, "{", `{"sub":"`+siteOwner+`",`, 1), theirs)
		},
		"padded": func(c string) string { return byHand(`{"alg":"ES256","kid":"first"}`, c, theirs) + "=" },
		"changed": func(c string) string {
			return byHand(`{"alg":"ES256","kid":"first"}`, c, func(b []byte) []byte { return theirs(append(b, 'x')) })
		},
		"nested": func(c string) string {
			return byHand(`{"alg":"ES256","kid":"first","cty":"JWT"}`, byHand(`{}`, c, theirs), theirs)
		},
	} {
		for target, aud := range map[string]string{"https://one." + siteSuffix + "/keys?api-version=7.4": "https://" + siteSuffix,
			"https://" + siteHost + "/subscriptions?api-version=2022-12-01": "https://" + siteHost} {
			claims := string(must[[]byte](t)(json.Marshal(r.idp.good(aud))))
			if resp := r.ask(http.MethodGet, target, byHand(`{"alg":"ES256","kid":"first"}`, claims, theirs)); resp.StatusCode != http.StatusOK {
				t.Fatalf("what is signed by hand is not believed at all: %d", resp.StatusCode)
			}
			token := forge(claims)
			resp := r.ask(http.MethodGet, target, token)
			body := string(must[[]byte](t)(io.ReadAll(resp.Body)))
			if resp.StatusCode != http.StatusUnauthorized || resp.Header.Get("WWW-Authenticate") == "" || strings.Contains(body, token[:20]) {
				t.Errorf("%s at %s: %d %s", what, target, resp.StatusCode, body)
			}
		}
	}
}

// TestServeAuthorizationHeaders: a request says once who sends it, and not at any length.
func TestServeAuthorizationHeaders(t *testing.T) {
	t.Parallel()
	r := newRealm(t, "")
	r.init()
	r.serve(ServeOptions{})
	r.activated("one")
	good := "Bearer " + r.idp.sign(r.idp.good("https://"+siteSuffix))
	for what, c := range map[string]struct {
		headers []string
		status  int
	}{
		"one":            {[]string{good}, http.StatusOK},
		"the same twice": {[]string{good, good}, http.StatusUnauthorized},
		"another first":  {[]string{"Basic YTpi", good}, http.StatusUnauthorized},
		"two in one":     {[]string{good + ", " + good}, http.StatusUnauthorized},
		"no token":       {[]string{"Bearer"}, http.StatusUnauthorized},
		"long":           {[]string{good + strings.Repeat("x", 20<<10)}, http.StatusUnauthorized},
		"too long":       {[]string{good + strings.Repeat("x", 80<<10)}, http.StatusRequestHeaderFieldsTooLarge},
	} {
		q := must[*http.Request](t)(http.NewRequestWithContext(t.Context(), http.MethodGet, "https://one."+siteSuffix+"/keys?api-version=7.4", nil))
		q.Header["Authorization"] = c.headers
		resp := must[*http.Response](t)(r.http.Do(q))
		_ = resp.Body.Close()
		if resp.StatusCode != c.status {
			t.Errorf("%s: %d, want %d", what, resp.StatusCode, c.status)
		}
	}
}

// TestServeWhileIssuerIsAway: when the issuer's keys cannot be had, nobody is told that their token is bad, and nobody
// is let in.
func TestServeWhileIssuerIsAway(t *testing.T) {
	t.Parallel()
	r := newRealm(t, "")
	r.init()
	r.serve(ServeOptions{})
	r.idp.mu.Lock()
	r.idp.away = true
	r.idp.mu.Unlock()
	resp := r.ask(http.MethodGet, "https://"+siteHost+"/subscriptions?api-version=2022-12-01", r.idp.sign(r.idp.good("https://"+siteHost)))
	body := string(must[[]byte](t)(io.ReadAll(resp.Body)))
	if resp.StatusCode != http.StatusServiceUnavailable || resp.Header.Get("WWW-Authenticate") != "" || !strings.Contains(body, "signing keys cannot be fetched") {
		t.Errorf("%d %s", resp.StatusCode, body)
	}
	if strings.Contains(body, "127.0.0.1") {
		t.Errorf("it says where the issuer is: %s", body)
	}
}
