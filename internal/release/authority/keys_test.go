package authority

import (
	"crypto"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"math/big"
	"strings"
	"testing"

	"github.com/go-jose/go-jose/v4"
)

// certificate is a key as Azure Attestation publishes its own.
func certificate(t testing.TB, k crypto.Signer) string {
	t.Helper()
	c := &x509.Certificate{SerialNumber: big.NewInt(1)}
	der, err := x509.CreateCertificate(rand.Reader, c, c, k.Public(), k)
	if err != nil {
		t.Fatal(err)
	}
	return base64.StdEncoding.EncodeToString(der)
}

func jwk(t testing.TB, kid string, k any) string {
	t.Helper()
	b, err := json.Marshal(jose.JSONWebKey{Key: k, KeyID: kid})
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

func TestParseKeys(t *testing.T) {
	t.Parallel()
	p256 := ecKey(t, elliptic.P256())
	rsaJWK, ecJWK := jwk(t, "rsa", rsaKey().Public()), jwk(t, "ec", p256.Public())
	x5c := `{"kty":"RSA","kid":"J0pA/L+e1=","x5c":["` + certificate(t, rsaKey()) + `","ignored"]}`
	got, err := ParseKeys([]byte(`{"keys":[` + rsaJWK + `,` + ecJWK + `,` + x5c + `,{"kty":"OKP","crv":"Ed25519","kid":"ed","x":"AA"},{"kty":"RSA","kid":"e","use":"enc","n":"AQAB","e":"AQAB"},{"kty":"RSA","n":"AQAB","e":"AQAB"}],"more":1}`))
	if err != nil || len(got) != 3 || !rsaKey().PublicKey.Equal(got["rsa"]) || !rsaKey().PublicKey.Equal(got["J0pA/L+e1="]) || !p256.PublicKey.Equal(got["ec"]) {
		t.Fatalf("%v, %v", got, err)
	}
	if _, err := New(Issuer{URL: "https://a.example", Keys: got}); err != nil {
		t.Error(err)
	}
	private := jwk(t, "p", rsaKey())
	for what, c := range map[string]struct{ set, says string }{
		"nothing": {"", "not a JSON Web Key Set"}, "a list": {"[]", "not a JSON Web Key Set"}, "no keys": {"{}", "no signing key"}, "an HTML page": {"<html>", "not a JSON Web Key Set"},
		"a small one only": {`{"keys":[{"kty":"RSA","kid":"k","n":"AQAB","e":"AQAB"}]}`, "no signing key"}, "a text": {`{"keys":["k"]}`, "not a JSON Web Key"},
		"twice": {`{"keys":[` + ecJWK + `,` + ecJWK + `]}`, "stands twice"}, "private": {`{"keys":[` + private + `]}`, "private key"}, "a secret": {`{"keys":[{"kty":"oct","kid":"k","k":"AAAA"}]}`, "secret"},
		"x5c not base64": {`{"keys":[{"kid":"k","x5c":["*"]}]}`, "x5c"}, "x5c no certificate": {`{"keys":[{"kid":"k","x5c":["AAAA"]}]}`, "x5c"},
		"long": {`{"keys":[]}` + strings.Repeat(" ", MaxKeys), "longer"},
	} {
		if got, err := ParseKeys([]byte(c.set)); err == nil || !strings.Contains(err.Error(), c.says) || strings.Contains(err.Error(), "AQAB") {
			t.Errorf("%s: %d keys, %v", what, len(got), err)
		}
	}
}

// FuzzParseKeys: never panics, and what it gives makes a set.
func FuzzParseKeys(f *testing.F) {
	f.Add([]byte(`{"keys":[` + jwk(f, "rsa", rsaKey().Public()) + `]}`))
	f.Add([]byte(`{"keys":[{"kty":"RSA","kid":"k","x5c":["` + certificate(f, rsaKey()) + `"]}]}`))
	f.Fuzz(func(t *testing.T, b []byte) {
		keys, err := ParseKeys(b)
		if err != nil {
			return
		}
		if _, err := New(Issuer{URL: "https://a.example", Keys: keys}); err != nil || len(keys) == 0 {
			t.Fatalf("%d keys, %v", len(keys), err)
		}
	})
}
