package release

import (
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"errors"
	"math/big"
	"strings"
	"testing"

	"redoubt/internal/key"
)

func b64(s string) string { return base64.RawURLEncoding.EncodeToString([]byte(s)) }

func token(header, claims string) string { return b64(header) + "." + b64(claims) + ".c2ln" }

const (
	goodHeader = `{"alg":"RS256","kid":"k","jku":"https://evil.example","x5c":[]}`
	goodClaims = `{"iss":"https://a.example","exp":2000,"x-ms-runtime":{"keys":[{"kty":"RSA","kid":"r","use":"enc","n":"AQAB","e":"AQAB"}]}}`
)

func TestParseToken(t *testing.T) {
	t.Parallel()
	got, err := ParseToken(token(goodHeader, goodClaims))
	if err != nil || got.Alg != "RS256" || got.Kid != "k" || got.Issuer != "https://a.example" {
		t.Fatalf("%+v, %v", got, err)
	}
	for what, bad := range map[string]string{
		"nothing": "", "two parts": "a.b", "four parts": token(goodHeader, goodClaims) + ".x", "unsigned": b64(goodHeader) + "." + b64(goodClaims) + ".",
		"padding": token(goodHeader, goodClaims) + "=", "line end": token(goodHeader, goodClaims) + "\n", "plain base64": "+/+/." + b64(goodClaims) + ".c2ln",
		"trailing bits": b64(goodHeader) + "." + b64(goodClaims) + ".AB", "too long": token(goodHeader, goodClaims+strings.Repeat(" ", MaxToken)),
		"header not JSON": token("x", goodClaims), "header a list": token("[]", goodClaims), "header twice": token(`{"alg":"RS256","alg":"none","kid":"k"}`, goodClaims),
		"no alg": token(`{"kid":"k"}`, goodClaims), "no kid": token(`{"alg":"RS256"}`, goodClaims), "kid a number": token(`{"alg":"RS256","kid":1}`, goodClaims),
		"crit": token(`{"alg":"RS256","kid":"k","crit":["b64"],"b64":false}`, goodClaims), "crit null": token(`{"alg":"RS256","kid":"k","crit":null}`, goodClaims),
		"claims not JSON": token(goodHeader, "x"), "claims a list": token(goodHeader, "[]"), "no iss": token(goodHeader, `{"exp":1}`), "iss a number": token(goodHeader, `{"iss":1}`),
		"iss twice": token(goodHeader, `{"iss":"https://a.example","iss":"https://b.example"}`), "claims deep": token(goodHeader, `{"iss":"x","d":`+strings.Repeat("[", 40)+strings.Repeat("]", 40)+`}`),
		"claims not UTF-8": token(goodHeader, "{\"iss\":\"\xff\"}"),
	} {
		if _, err := ParseToken(bad); !errors.Is(err, ErrBadToken) {
			t.Errorf("%s: %v", what, err)
		}
	}
}

func TestTimes(t *testing.T) {
	t.Parallel()
	for c, want := range map[string]error{
		`"exp":1001`: nil, `"exp":1001.5`: nil, `"exp":1000`: ErrUntrusted, `"exp":999`: ErrUntrusted, `"exp":1000.9`: ErrUntrusted,
		`"exp":"1001"`: ErrBadToken, `"exp":null`: ErrBadToken, `"exp":-1`: ErrBadToken, `"exp":1e300`: ErrBadToken, `"x":1`: ErrBadToken,
		`"exp":2000,"nbf":1060`: nil, `"exp":2000,"nbf":1061`: ErrUntrusted, `"exp":2000,"nbf":"x"`: ErrBadToken, `"exp":2000,"iat":1061`: ErrUntrusted, `"exp":2000,"iat":5`: nil,
	} {
		a, err := ParseClaims([]byte(`{"iss":"i",` + c + `}`))
		if err != nil {
			t.Fatal(err)
		}
		if err := a.CheckTimes(1000); !errors.Is(err, want) {
			t.Errorf("%s: %v, want %v", c, err, want)
		}
	}
}

func TestRecipient(t *testing.T) {
	t.Parallel()
	priv, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	der, err := x509.CreateCertificate(rand.Reader, &x509.Certificate{SerialNumber: big.NewInt(1)}, &x509.Certificate{}, priv.Public(), priv)
	if err != nil {
		t.Fatal(err)
	}
	n := base64.RawURLEncoding.EncodeToString(priv.N.Bytes())
	x5c := base64.StdEncoding.EncodeToString(der)
	for what, c := range map[string]struct{ keys, kid string }{
		"use":               {`[{"kty":"RSA","kid":"a","use":"enc","n":"` + n + `","e":"AQAB"}]`, "a"},
		"key_use":           {`[{"kty":"RSA","kid":"a","key_use":"enc","n":"` + n + `","e":"AQAB"}]`, "a"},
		"key_ops":           {`[{"kty":"RSA","kid":"TpmEphemeralEncryptionKey","key_ops":["encrypt"],"n":"` + n + `","e":"AQAB"}]`, "TpmEphemeralEncryptionKey"},
		"padded":            {`[{"kty":"RSA","kid":"a","key_ops":["Encrypt"],"n":"` + n + `==","e":"AQAB"}]`, "a"},
		"the first that is": {`[{"kty":"RSA","kid":"HCLAkPub","key_ops":["sign"],"n":"AA","e":"AQAB"},{"kty":"EC","kid":"x","use":"enc"},{"kty":"RSA","kid":"b","use":"enc","n":"` + n + `","e":"AQAB"},{"kty":"RSA","kid":"c","use":"enc","n":"AA","e":"AQAB"}]`, "b"},
		"x5c":               {`[{"kty":"RSA","kid":"a","use":"enc","x5c":["` + x5c + `"]}]`, "a"},
		"no keys":           {`[]`, ""}, "an object": {`{}`, ""}, "a text": {`"x"`, ""}, "strings": {`["x"]`, ""},
		"for signing": {`[{"kty":"RSA","kid":"a","use":"sig","n":"` + n + `","e":"AQAB"}]`, ""},
		"no use":      {`[{"kty":"RSA","kid":"a","n":"` + n + `","e":"AQAB"}]`, ""},
		"no kid":      {`[{"kty":"RSA","use":"enc","n":"` + n + `","e":"AQAB"}]`, ""},
		"no modulus":  {`[{"kty":"RSA","kid":"a","use":"enc","e":"AQAB"}]`, ""},
		"bad modulus": {`[{"kty":"RSA","kid":"a","use":"enc","n":"!","e":"AQAB"}]`, ""},
		"bad x5c":     {`[{"kty":"RSA","kid":"a","use":"enc","x5c":["AAAA"]}]`, ""},
	} {
		a, err := ParseClaims([]byte(`{"iss":"i","x-ms-runtime":{"keys":` + c.keys + `}}`))
		if err != nil {
			t.Fatalf("%s: %v", what, err)
		}
		r, err := a.Recipient()
		if c.kid == "" {
			if !errors.Is(err, ErrBadToken) {
				t.Errorf("%s: %+v, %v", what, r, err)
			}
			continue
		}
		if err != nil || r.Kid != c.kid || new(big.Int).SetBytes(r.N).Cmp(priv.N) != 0 || new(big.Int).SetBytes(r.E).Int64() != 65537 {
			t.Errorf("%s: %+v, %v", what, r, err)
		}
	}
	a, _ := ParseClaims([]byte(`{"iss":"i"}`))
	if _, err := a.Recipient(); !errors.Is(err, ErrBadToken) {
		t.Errorf("no x-ms-runtime: %v", err)
	}
}

// The payload has the members of the service's recorded answers, in their order.
func TestPayload(t *testing.T) {
	t.Parallel()
	r := Released{Base: "https://h.example", APIVersion: "7.6", Nonce: "n<1>", Enc: key.TransferSHA1, Recipient: "r", Wrapped: []byte{1, 2},
		RecoveryLevel: "Recoverable", RecoverableDays: 90,
		Meta: key.Meta{Name: "k", Version: "v1", Spec: key.Spec{Type: key.RSA, Bits: 2048}, Ops: []key.Op{key.OpEncrypt}, Public: key.Public{N: []byte{5}, E: []byte{3}},
			Attributes: key.Attributes{Enabled: true, Created: 1, Updated: 2, Exportable: true}, Release: &key.ReleasePolicy{ContentType: DefaultContentType, Data: []byte("{}")}}}
	const want = `{"request":{"api-version":"7.6","enc":"CKM_RSA_AES_KEY_WRAP","kid":"https://h.example/keys/k","nonce":"n<1>"},"response":{"key":{"attributes":{"created":1,"enabled":true,"exportable":true,"recoverableDays":90,"recoveryLevel":"Recoverable","updated":2},` +
		`"key":{"e":"Aw","key_hsm":"eyJjaXBoZXJ0ZXh0IjoiQVFJIiwiaGVhZGVyIjp7ImFsZyI6ImRpciIsImVuYyI6IkNLTV9SU0FfQUVTX0tFWV9XUkFQIiwia2lkIjoiciJ9LCJzY2hlbWFfdmVyc2lvbiI6IjEuMCJ9","key_ops":["encrypt"],"kid":"https://h.example/keys/k/v1","kty":"RSA","n":"BQ"},` +
		`"release_policy":{"contentType":"application/json; charset=utf-8","data":"e30","immutable":false}}}}`
	if got := string(r.Payload()); got != want {
		t.Errorf("%s\nwant\n%s", got, want)
	}
	r.Meta.Ops, r.Meta.Release, r.Asked = nil, nil, "v1"
	if got := string(r.Payload()); !json.Valid([]byte(got)) || !strings.Contains(got, `"key_ops":[]`) || !strings.Contains(got, `"kid":"https://h.example/keys/k/v1","nonce"`) {
		t.Error(got)
	}
}

// FuzzToken: never panics, and what is accepted has one issuer for every reader.
func FuzzToken(f *testing.F) {
	f.Add(token(goodHeader, goodClaims))
	f.Add(token(goodHeader, someClaims))
	f.Add("a.b.c")
	f.Fuzz(func(t *testing.T, s string) {
		got, err := ParseToken(s)
		if err != nil {
			if !errors.Is(err, ErrBadToken) {
				t.Fatal(err)
			}
			return
		}
		parts := strings.Split(s, ".")
		b, err := base64.RawURLEncoding.DecodeString(parts[1])
		if err != nil {
			t.Fatal(err)
		}
		var plain map[string]any
		if err := json.Unmarshal(b, &plain); err != nil || plain["iss"] != got.Issuer {
			t.Fatalf("another reader sees issuer %v, %v", plain["iss"], err)
		}
		if r, err := got.Recipient(); err == nil && (r.Kid == "" || len(r.N) == 0 || len(r.E) == 0) {
			t.Fatalf("recipient %+v", r)
		}
		_ = got.CheckTimes(1000)
	})
}
