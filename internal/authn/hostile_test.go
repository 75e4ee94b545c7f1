package authn

import (
	"encoding/json"
	"errors"
	"strings"
	"testing"
	"time"
	"unicode"

	"github.com/go-jose/go-jose/v4"
)

// TestClaimNamesAreExact: a claim that differs from a known one in letter case is another claim.
func TestClaimNamesAreExact(t *testing.T) {
	t.Parallel()
	v, _ := newVerifier(t, nil)
	b, err := json.Marshal(goodClaims())
	if err != nil {
		t.Fatal(err)
	}
	other := strings.Repeat("9", 8) + object[8:]
	more := `,"OID":"` + other + `","Groups":["` + other + `"],"Upn":"mallory","TID":"x","AUD":"x","EXP":1}`
	raw := json.RawMessage(strings.TrimSuffix(string(b), "}") + more)
	id, err := v.Verify(t.Context(), sign(t, jose.RS256, keys().rsa, "k1", raw))
	if err != nil || id.Principal.ID != object || len(id.Principal.Groups) != 0 || id.Principal.UPN != "alice@contoso.example" {
		t.Errorf("%+v, %v", id, err)
	}
	c := goodClaims()
	delete(c, "oid")
	c["OID"] = object
	if id, err := v.Verify(t.Context(), sign(t, jose.RS256, keys().rsa, "k1", c)); err == nil {
		t.Errorf("OID did for oid: %+v", id)
	}
}

// TestClaimsOccurOnce: a parser that takes the first of two claims and one that takes the last would see two tokens.
func TestClaimsOccurOnce(t *testing.T) {
	t.Parallel()
	v, _ := newVerifier(t, nil)
	b, err := json.Marshal(goodClaims())
	if err != nil {
		t.Fatal(err)
	}
	for _, more := range []string{`,"oid":"` + object + `"`, `,"exp":1`, `,"groups":[],"groups":[]`, `,"unknown":1,"unknown":1`, `} {"a":1`, `} ]{`, `}`} {
		raw := []byte(strings.TrimSuffix(string(b), "}") + more + "}")
		if id, err := v.Verify(t.Context(), signAs(t, "", raw)); err == nil || !strings.Contains(err.Error(), "cannot be read") {
			t.Errorf("%s: %+v, %v", more, id, err)
		}
	}
}

// TestTokensOfOtherKinds: what an issuer signs with the same keys and is no access token.
func TestTokensOfOtherKinds(t *testing.T) {
	t.Parallel()
	v, _ := newVerifier(t, nil)
	b, err := json.Marshal(goodClaims())
	if err != nil {
		t.Fatal(err)
	}
	parts := strings.Split(good(t, nil), ".")
	for name, token := range map[string]string{
		"an ID token":          good(t, map[string]any{"typ": "ID"}),
		"one of Entra ID":      good(t, map[string]any{"ver": "2.0", "appid": nil, "idtyp": nil, "nonce": "12345"}),
		"one of version 1":     good(t, map[string]any{"ver": "1.0", "appid": nil, "idtyp": nil}),
		"a DPoP token":         good(t, map[string]any{"typ": "DPoP"}),
		"a bound token":        good(t, map[string]any{"typ": "Bearer", "cnf": map[string]any{"x5t#S256": "bwcK0esc3ACC3DB2Y5_lESsXE8o9ltc05O89jdN-dg2"}}),
		"one with a key in it": good(t, map[string]any{"cnf": map[string]any{"jwk": map[string]any{"kty": "RSA"}}}),
		"a logout token":       signAs(t, "logout+jwt", b),
		"a nested token":       signAs(t, "JWT", []byte(good(t, nil))),
		"an encrypted token":   strings.Join(append(parts, parts[1:]...), "."),
		"a list of claims":     signAs(t, "", append(append([]byte("["), b...), ']')),
		"no claims":            signAs(t, "", []byte("null")),
		"a numeric object id":  good(t, map[string]any{"oid": 12}),
		"a numeric group":      good(t, map[string]any{"groups": []any{12}}),
	} {
		if id, err := v.Verify(t.Context(), token); !errors.Is(err, ErrBadToken) {
			t.Errorf("%s: %+v, %v", name, id, err)
		}
	}
	for _, more := range []map[string]any{{"ver": "2.0", "appid": nil, "azp": "04b07795-8ddb-461a-bbee-02f9e1bf7b46"}, {"ver": "1.0"}, {"ver": "1.0", "appid": nil}, {"ver": "1.0", "idtyp": nil}, {"ver": 2}, {"cnf": nil}} {
		if _, err := v.Verify(t.Context(), good(t, more)); err != nil {
			t.Errorf("%v: %v", more, err)
		}
	}
	for _, typ := range []string{"JWT", "at+jwt", "application/at+jwt", "AT+JWT"} {
		if _, err := v.Verify(t.Context(), signAs(t, typ, b)); err != nil {
			t.Errorf("%s: %v", typ, err)
		}
	}
}

// signAs signs a payload, with a "typ" in the header unless it is empty.
func signAs(t testing.TB, typ string, payload []byte) string {
	t.Helper()
	o := &jose.SignerOptions{}
	if typ != "" {
		o = o.WithType(jose.ContentType(typ))
	}
	s, err := jose.NewSigner(jose.SigningKey{Algorithm: jose.RS256, Key: jose.JSONWebKey{Key: keys().rsa, KeyID: "k1"}}, o)
	if err != nil {
		t.Fatal(err)
	}
	jws, err := s.Sign(payload)
	if err != nil {
		t.Fatal(err)
	}
	out, err := jws.CompactSerialize()
	if err != nil {
		t.Fatal(err)
	}
	return out
}

// A clock that is moved back must not make a remembered token last: it is verified again.
func TestCacheWhenTheClockGoesBack(t *testing.T) {
	t.Parallel()
	ck := &countingKeys{KeySet: StaticKeys{"k1": &keys().rsa.PublicKey}}
	v, clk := newVerifier(t, func(c *Config) { c.Issuers = []Issuer{{URL: issuer, Keys: ck}} })
	token := good(t, map[string]any{"nbf": nil})
	for i, at := range []time.Duration{0, 30 * time.Second, -time.Second, 0, -time.Hour, -2 * time.Hour} {
		clk.set(at)
		if _, err := v.Verify(t.Context(), token); err != nil {
			t.Error(err)
		}
		if n, want := ck.n.Load(), []int64{1, 1, 2, 2, 3, 4}[i]; n != want {
			t.Errorf("at %v: verified %d times, want %d", at, n, want)
		}
	}
}

// TestRefusalsShowNothingThatSteers: what a refusal repeats of a token is shown to people, also on terminals.
func TestRefusalsShowNothingThatSteers(t *testing.T) {
	t.Parallel()
	v, _ := newVerifier(t, nil)
	const bad = "a\x1b[2J\u009b31m\u202eb\u2028\x7f\u0085"
	for claim, value := range map[string]any{"aud": bad, "typ": bad, "exp": bad, bad: 1} {
		c := goodClaims()
		c[claim] = value
		b, err := json.Marshal(c)
		if err != nil {
			t.Fatal(err)
		}
		twice := append(b[:len(b)-1], `,"x":1,"x":2}`...)
		if claim == bad { // a name that occurs twice is repeated
			name, err := json.Marshal(bad)
			if err != nil {
				t.Fatal(err)
			}
			twice = append(b[:len(b)-1], `,`+string(name)+`:1}`...)
		}
		for _, raw := range [][]byte{b, twice} {
			_, err := v.Verify(t.Context(), signAs(t, "", raw))
			if err == nil {
				if claim == bad {
					continue // the claim alone is of no account
				}
				t.Fatalf("%q was accepted", claim)
			}
			if i := strings.IndexFunc(err.Error(), func(r rune) bool { return !unicode.IsPrint(r) }); i >= 0 {
				t.Errorf("%q: %q", claim, err)
			}
		}
	}
}
