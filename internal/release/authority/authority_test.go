package authority

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"encoding/base64"
	"errors"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"

	"redoubt/internal/release"
)

var rsaKey = sync.OnceValue(func() *rsa.PrivateKey {
	k, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		panic(err)
	}
	return k
})

func ecKey(t *testing.T, c elliptic.Curve) *ecdsa.PrivateKey {
	t.Helper()
	k, err := ecdsa.GenerateKey(c, rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return k
}

func sign(t *testing.T, alg jose.SignatureAlgorithm, kid string, k any, claims string) string {
	t.Helper()
	s, err := jose.NewSigner(jose.SigningKey{Algorithm: alg, Key: jose.JSONWebKey{Key: k, KeyID: kid}}, nil)
	if err != nil {
		t.Fatal(err)
	}
	jws, err := s.Sign([]byte(claims))
	if err != nil {
		t.Fatal(err)
	}
	out, err := jws.CompactSerialize()
	if err != nil {
		t.Fatal(err)
	}
	return out
}

var now = time.Unix(1000, 0)

const claims = `{"iss":"https://a.example/","exp":1500,"nbf":900,"x":true}`

func TestVerify(t *testing.T) {
	t.Parallel()
	p256, p384, p521 := ecKey(t, elliptic.P256()), ecKey(t, elliptic.P384()), ecKey(t, elliptic.P521())
	set, err := New(Issuer{URL: "https://a.example", Keys: map[string]crypto.PublicKey{"rsa": rsaKey().Public(), "256": p256.Public(), "384": p384.Public(), "521": p521.Public()}},
		Issuer{URL: "https://b.example", Keys: map[string]crypto.PublicKey{"b": p256.Public()}})
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		alg jose.SignatureAlgorithm
		kid string
		key any
	}{
		{jose.RS256, "rsa", rsaKey()}, {jose.RS384, "rsa", rsaKey()}, {jose.RS512, "rsa", rsaKey()}, {jose.PS256, "rsa", rsaKey()}, {jose.PS384, "rsa", rsaKey()}, {jose.PS512, "rsa", rsaKey()},
		{jose.ES256, "256", p256}, {jose.ES384, "384", p384}, {jose.ES512, "521", p521},
	} {
		a, err := set.Verify(sign(t, c.alg, c.kid, c.key, claims), now)
		if err != nil || a.Issuer != "https://a.example/" || a.Claims["x"] != true {
			t.Errorf("%s: %+v, %v", c.alg, a, err)
		}
	}
	good := sign(t, jose.ES256, "256", p256, claims)
	head, rest, _ := strings.Cut(good, ".")
	none := base64.RawURLEncoding.EncodeToString([]byte(`{"alg":"none","kid":"256"}`))
	hs := base64.RawURLEncoding.EncodeToString([]byte(`{"alg":"HS256","kid":"256"}`)) + "." + rest
	for what, c := range map[string]struct {
		token string
		at    time.Time
		want  error
	}{
		"another key of that kid": {sign(t, jose.ES256, "256", ecKey(t, elliptic.P256()), claims), now, release.ErrUntrusted},
		"another's kid":           {sign(t, jose.ES256, "b", p256, claims), now, release.ErrUntrusted},
		"unknown kid":             {sign(t, jose.ES256, "x", p256, claims), now, release.ErrUntrusted},
		"unknown issuer":          {sign(t, jose.ES256, "256", p256, `{"iss":"https://c.example","exp":1500}`), now, release.ErrUntrusted},
		"issuer with a path":      {sign(t, jose.ES256, "256", p256, `{"iss":"https://a.example/x","exp":1500}`), now, release.ErrUntrusted},
		"another's issuer":        {sign(t, jose.ES256, "256", p256, `{"iss":"https://b.example","exp":1500}`), now, release.ErrUntrusted},
		"HS256":                   {hs, now, release.ErrUntrusted},
		"none":                    {none + "." + rest, now, release.ErrUntrusted},
		"claims exchanged":        {head + "." + base64.RawURLEncoding.EncodeToString([]byte(strings.Replace(claims, "true", "false", 1))) + good[strings.LastIndexByte(good, '.'):], now, release.ErrUntrusted},
		"expired":                 {good, time.Unix(1500, 0), release.ErrUntrusted},
		"too early":               {good, time.Unix(800, 0), release.ErrUntrusted},
		"no exp":                  {sign(t, jose.ES256, "256", p256, `{"iss":"https://a.example"}`), now, release.ErrBadToken},
		"nothing":                 {"", now, release.ErrBadToken},
	} {
		if _, err := set.Verify(c.token, c.at); !errors.Is(err, c.want) {
			t.Errorf("%s: %v, want %v", what, err, c.want)
		}
	}
	if nobody, err := New(); err != nil {
		t.Error(err)
	} else if _, err := nobody.Verify(good, now); !errors.Is(err, release.ErrUntrusted) {
		t.Errorf("an empty set: %v", err)
	}
}

func TestNewRefuses(t *testing.T) {
	t.Parallel()
	weak, err := rsa.GenerateKey(rand.Reader, 1024)
	if err != nil {
		t.Fatal(err)
	}
	keys := func(kid string, k crypto.PublicKey) map[string]crypto.PublicKey {
		return map[string]crypto.PublicKey{kid: k}
	}
	for what, issuers := range map[string][]Issuer{
		"http": {{URL: "http://a.example"}}, "no URL": {{}}, "twice": {{URL: "https://a.example"}, {URL: "https://a.example/"}},
		"no kid": {{URL: "https://a.example", Keys: keys("", rsaKey().Public())}}, "weak": {{URL: "https://a.example", Keys: keys("k", weak.Public())}},
		"P-224": {{URL: "https://a.example", Keys: keys("k", ecKey(t, elliptic.P224()).Public())}}, "secret": {{URL: "https://a.example", Keys: keys("k", []byte("x"))}},
	} {
		if _, err := New(issuers...); err == nil {
			t.Errorf("%s was accepted", what)
		}
	}
}
