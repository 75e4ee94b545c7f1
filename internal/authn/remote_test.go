package authn_test

import (
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"

	"redoubt/internal/authn"
)

// provider is an issuer that publishes keys, and can misbehave.
type provider struct {
	*httptest.Server
	mu      sync.Mutex
	keys    []jose.JSONWebKey
	issuer  string // in the discovery document; "" is its own
	answer  func(w http.ResponseWriter) bool
	fetches int
}

func newProvider(t *testing.T) *provider {
	t.Helper()
	p := &provider{}
	p.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		p.mu.Lock()
		defer p.mu.Unlock()
		if strings.HasSuffix(r.URL.Path, "/openid-configuration") {
			issuer := p.issuer
			if issuer == "" {
				issuer = p.URL
			}
			fmt.Fprintf(w, `{"issuer":%q,"jwks_uri":%q}`, issuer, p.URL+"/keys")
			return
		}
		p.fetches++
		if p.answer != nil && p.answer(w) {
			return
		}
		if err := json.NewEncoder(w).Encode(jose.JSONWebKeySet{Keys: p.keys}); err != nil {
			t.Error(err)
		}
	}))
	t.Cleanup(p.Close)
	return p
}

// change does something to the provider between two requests, and returns how often its keys were fetched.
func (p *provider) change(do func()) int {
	p.mu.Lock()
	defer p.mu.Unlock()
	if do != nil {
		do()
	}
	return p.fetches
}

func publish(kid string, pub crypto.PublicKey) jose.JSONWebKey {
	return jose.JSONWebKey{Key: pub, KeyID: kid, Use: "sig"}
}

// sign makes a compact JWS of "{}".
func sign(t *testing.T, alg jose.SignatureAlgorithm, kid string, key any) string {
	t.Helper()
	s, err := jose.NewSigner(jose.SigningKey{Algorithm: alg, Key: jose.JSONWebKey{Key: key, KeyID: kid}}, nil)
	if err != nil {
		t.Fatal(err)
	}
	jws, err := s.Sign([]byte("{}"))
	if err != nil {
		t.Fatal(err)
	}
	out, err := jws.CompactSerialize()
	if err != nil {
		t.Fatal(err)
	}
	return out
}

type movable struct {
	mu  sync.Mutex
	now time.Time
}

func (c *movable) Now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.now
}

func (c *movable) advance(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.now = c.now.Add(d)
}

func remote(t *testing.T, p *provider) (*authn.RemoteKeys, *movable) {
	t.Helper()
	clock := &movable{now: time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)}
	r, err := authn.NewRemoteKeys(authn.RemoteConfig{Issuer: p.URL, Client: p.Client(), Clock: clock.Now, Insecure: true})
	if err != nil {
		t.Fatal(err)
	}
	return r, clock
}

func newEC(t *testing.T) *ecdsa.PrivateKey {
	t.Helper()
	k, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return k
}

// TestRemoteKeys: keys are fetched once, again when a token names a new one, and not more often than the
// pause allows whatever tokens name.
func TestRemoteKeys(t *testing.T) {
	t.Parallel()
	p := newProvider(t)
	one, two := newEC(t), newEC(t)
	p.keys = []jose.JSONWebKey{publish("1", one.Public())}
	r, clock := remote(t, p)
	verify := func(kid string, key any) error {
		_, err := r.VerifySignature(t.Context(), sign(t, jose.ES256, kid, key))
		return err
	}
	for range 3 {
		if err := verify("1", one); err != nil {
			t.Fatal(err)
		}
	}
	if n := p.change(nil); n != 1 {
		t.Errorf("%d fetches for three tokens of one key", n)
	}
	if verify("1", two) == nil {
		t.Error("a signature by another key verifies")
	}
	p.change(func() { p.keys = append(p.keys, publish("2", two.Public())) })
	for range 20 { // within the pause nobody makes us ask again
		if verify("2", two) == nil || verify("nonsense", two) == nil {
			t.Fatal("an unknown key verifies")
		}
	}
	clock.advance(31 * time.Second)
	if err := verify("2", two); err != nil {
		t.Errorf("a rotated key: %v", err)
	}
	if n := p.change(nil); n != 2 {
		t.Errorf("%d fetches, want 2", n)
	}
	// The issuer withdraws a key: it ends with the next fetch.
	p.change(func() { p.keys = p.keys[1:] })
	clock.advance(31 * time.Second)
	if verify("nonsense", one) == nil || verify("1", one) == nil {
		t.Error("a withdrawn key verifies")
	}
	if err := verify("2", two); err != nil {
		t.Error(err)
	}
}

// TestRemoteKeysWhileTheIssuerIsAway: known keys go on for a day, then nothing is believed.
func TestRemoteKeysWhileTheIssuerIsAway(t *testing.T) {
	t.Parallel()
	p := newProvider(t)
	k := newEC(t)
	p.keys = []jose.JSONWebKey{publish("1", k.Public())}
	r, clock := remote(t, p)
	token := sign(t, jose.ES256, "1", k)
	figures := func(keys int, failing, fetched bool) {
		t.Helper()
		if f := r.Figures(); f.Keys != keys || f.Failing != failing || f.Fetched.IsZero() == fetched || f.Issuer != p.URL {
			t.Errorf("%+v", f)
		}
	}
	figures(0, false, false)
	if _, err := r.VerifySignature(t.Context(), token); err != nil {
		t.Fatal(err)
	}
	figures(1, false, true)
	p.change(func() {
		p.answer = func(w http.ResponseWriter) bool {
			http.Error(w, "away", http.StatusBadGateway)
			return true
		}
	})
	clock.advance(23 * time.Hour)
	if _, err := r.VerifySignature(t.Context(), token); err != nil {
		t.Errorf("within a day: %v", err)
	}
	clock.advance(2 * time.Hour)
	if _, err := r.VerifySignature(t.Context(), token); !errors.Is(err, authn.ErrKeysUnavailable) {
		t.Errorf("after a day: %v", err)
	}
	figures(0, true, true)
	p.change(func() { p.answer = nil })
	clock.advance(time.Minute)
	if _, err := r.VerifySignature(t.Context(), token); err != nil {
		t.Errorf("when it is back: %v", err)
	}
	figures(1, false, true)
}

// TestRemoteKeysWhenTheClockGoesBack: keys that seem to come from the future are fetched again, and do not outlast a
// day of the clock as it is now.
func TestRemoteKeysWhenTheClockGoesBack(t *testing.T) {
	t.Parallel()
	p := newProvider(t)
	one, two := newEC(t), newEC(t)
	p.keys = []jose.JSONWebKey{publish("1", one.Public())}
	r, clock := remote(t, p)
	token := sign(t, jose.ES256, "1", one)
	verify := func(what string, want bool) {
		t.Helper()
		if _, err := r.VerifySignature(t.Context(), token); (err == nil) != want {
			t.Errorf("%s: %v", what, err)
		}
	}
	verify("at first", true)
	p.change(func() { p.keys = []jose.JSONWebKey{publish("2", two.Public())} })
	clock.advance(-365 * 24 * time.Hour)
	verify("the first after the clock went back, which makes the keys be fetched", true)
	if _, err := r.VerifySignature(t.Context(), sign(t, jose.ES256, "2", two)); err != nil { // waits for that fetch
		t.Error(err)
	}
	verify("the key that was withdrawn", false)
	if n := p.change(nil); n != 2 {
		t.Errorf("%d fetches", n)
	}
	p.change(func() {
		p.answer = func(w http.ResponseWriter) bool { w.WriteHeader(http.StatusBadGateway); return true }
	})
	token = sign(t, jose.ES256, "2", two)
	clock.advance(-365 * 24 * time.Hour)
	verify("away", true)
	clock.advance(24 * time.Hour)
	verify("away for a day", false)
}

// TestLyingIssuers: what an issuer must not be able to make us believe or do.
func TestLyingIssuers(t *testing.T) {
	t.Parallel()
	k, other := newEC(t), newEC(t)
	weak, err := rsa.GenerateKey(rand.Reader, 1024)
	if err != nil {
		t.Fatal(err)
	}
	for name, lie := range map[string]func(p *provider){
		"another issuer's discovery document": func(p *provider) { p.issuer = "https://login.example.com" },
		"a trailing slash more":               func(p *provider) { p.issuer = p.URL + "/" },
		"no keys":                             func(p *provider) { p.keys = nil },
		"an encryption key":                   func(p *provider) { p.keys[0].Use = "enc" },
		"another algorithm for the key":       func(p *provider) { p.keys[0].Algorithm = "ES384" },
		"a private key":                       func(p *provider) { p.keys[0].Key = k },
		"a shared secret":                     func(p *provider) { p.keys[0].Key = []byte(strings.Repeat("k", 32)) },
		"a weak key":                          func(p *provider) { p.keys[0].Key = weak.Public() },
		"one id for two keys":                 func(p *provider) { p.keys = append(p.keys, publish("1", other.Public())) },
		"a redirect": func(p *provider) {
			p.answer = func(w http.ResponseWriter) bool {
				w.Header().Set("Location", p.URL+"/elsewhere")
				w.WriteHeader(http.StatusFound)
				return true
			}
		},
		"a body without end": func(p *provider) {
			p.answer = func(w http.ResponseWriter) bool {
				_, _ = w.Write([]byte(`{"keys":["` + strings.Repeat("x", 2<<20) + `"]}`))
				return true
			}
		},
		"not JSON": func(p *provider) {
			p.answer = func(w http.ResponseWriter) bool {
				_, _ = w.Write([]byte("<html>"))
				return true
			}
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			p := newProvider(t)
			p.keys = []jose.JSONWebKey{publish("1", k.Public())}
			lie(p)
			r, _ := remote(t, p)
			if _, err := r.VerifySignature(t.Context(), sign(t, jose.ES256, "1", k)); err == nil {
				t.Error("the token verifies")
			}
		})
	}
}

// TestSlowIssuer: who waits for keys can go away, and the fetch goes on for the others.
func TestSlowIssuer(t *testing.T) {
	t.Parallel()
	p := newProvider(t)
	k := newEC(t)
	p.keys = []jose.JSONWebKey{publish("1", k.Public())}
	asked, release := make(chan struct{}), make(chan struct{})
	var once sync.Once
	p.answer = func(http.ResponseWriter) bool {
		once.Do(func() { close(asked) })
		<-release
		return false
	}
	r, _ := remote(t, p)
	token := sign(t, jose.ES256, "1", k)
	ctx, cancel := context.WithCancel(t.Context())
	gone := make(chan error, 1)
	go func() {
		_, err := r.VerifySignature(ctx, token)
		gone <- err
	}()
	<-asked
	cancel()
	if err := <-gone; !errors.Is(err, context.Canceled) {
		t.Errorf("%v", err)
	}
	close(release)
	if _, err := r.VerifySignature(t.Context(), token); err != nil {
		t.Error(err)
	}
	if n := p.change(nil); n != 1 {
		t.Errorf("%d fetches", n)
	}
}

func TestRemoteAddresses(t *testing.T) {
	t.Parallel()
	for issuer, ok := range map[string]bool{
		"https://login.example.com/realms/x": true, "http://login.example.com": false, "http://localhost:1": false, "": false, "login.example.com": false,
		"https://user:secret@login.example.com": false, "https://login.example.com#x": false, "file:///etc/passwd": false,
	} {
		if _, err := authn.NewRemoteKeys(authn.RemoteConfig{Issuer: issuer}); (err == nil) != ok {
			t.Errorf("%q: %v", issuer, err)
		}
	}
}
