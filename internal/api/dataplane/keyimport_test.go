package dataplane_test

import (
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/json"
	"math/big"
	"net/http"
	"strings"
	"testing"

	"redoubt/internal/byok"
	"redoubt/internal/hsmtest"
	"redoubt/internal/key"
	"redoubt/internal/material"
	"redoubt/internal/secret"
)

// jwk is a request's JSON web key, or any part of a request.
type jwk map[string]any

// with is j with members changed; nil takes one away.
func (j jwk) with(pairs ...any) jwk {
	out := jwk{}
	for k, v := range j {
		out[k] = v
	}
	for i := 0; i < len(pairs); i += 2 {
		name, _ := pairs[i].(string)
		if out[name] = pairs[i+1]; pairs[i+1] == nil {
			delete(out, name)
		}
	}
	return out
}

func rsaJWK(t *testing.T, k *rsa.PrivateKey) jwk {
	t.Helper()
	n := func(x *big.Int) string { return b64(x.Bytes()) }
	return jwk{"kty": "RSA", "n": n(k.N), "e": n(big.NewInt(int64(k.E))), "d": n(k.D), "p": n(k.Primes[0]), "q": n(k.Primes[1]),
		"dp": n(k.Precomputed.Dp), "dq": n(k.Precomputed.Dq), "qi": n(k.Precomputed.Qinv)}
}

// TestImport: what the clients send, and what comes of each thing that is wrong with it.
func TestImport(t *testing.T) {
	t.Parallel()
	s := hsmtest.New(t)
	s.Active(hsmName)
	c := as(s.Serve(), hsmtest.User)
	priv, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	full := rsaJWK(t, priv)
	bundle := `{"key":{"kid":"` + keys + `r/{v}","kty":"RSA-HSM","key_ops":["decrypt","encrypt","unwrapKey","sign","verify","wrapKey"],"n":"` + b64(priv.N.Bytes()) + `","e":"AQAB"},"attributes":` + attributes + `}`
	same(t, c.do("PUT /keys/r", jwk{"key": full}).Want(200), bundle)
	same(t, c.do("PUT /keys/r", jwk{"key": full.with("key_ops", []string{})}).Want(200), bundle)
	for what, body := range map[string]jwk{ // members of the JWK besides, and those of read-only attributes, are ignored
		"-HSM":           {"key": full.with("kty", "RSA-HSM", "kid", "x"), "Hsm": true},
		"without primes": {"key": full.with("p", nil, "q", nil, "dp", nil, "dq", nil, "qi", nil), "Hsm": false},
		"nulls":          {"key": full.with("dp", jwk(nil), "k", jwk(nil), "key_hsm", jwk(nil)), "tags": jwk(nil), "attributes": jwk{"created": 1, "enabled": true}},
	} {
		if a := c.do("PUT /keys/r", body); a.Status != http.StatusOK {
			t.Errorf("%s: %d %s", what, a.Status, a.Body)
		}
	}
	same(t, c.do("PUT /keys/o", jwk{"key": jwk{"kty": "oct", "k": b64(make([]byte, 32)), "key_ops": []string{"wrapKey", "unwrapKey"}}}).Want(200),
		`{"key":{"kid":"`+keys+`o/{v}","kty":"oct-HSM","key_ops":["wrapKey","unwrapKey"]},"attributes":`+octAttributes+`}`)
	k256 := jwk{"kty": "EC", "crv": "SECP256K1", "d": "AQ", "x": "eb5mfvncu6xVoGKVzocLBwKb_NstzijZWfKBWxb4F5g", "y": "SDradyajxGVdpPv8DhEIqP0XtEimhVQZnEfQj_sQ1Lg"} // as az says it
	if a := c.do("PUT /keys/k256", jwk{"key": k256}).Want(200); !strings.Contains(string(a.Body), `"crv":"P-256K"`) {
		t.Errorf("%s", a.Body)
	}
	before := string(c.do("GET /keys", nil).Want(200).Body)

	other := priv.N.Bytes()
	other[len(other)-1] ^= 2
	for what, tc := range map[string]struct {
		body  any
		words string
	}{
		"no key":             {jwk{}, "kty"},
		"null key":           {jwk{"key": nil}, "kty"},
		"key a text":         {jwk{"key": "x"}, `"key"`},
		"no kty":             {jwk{"key": full.with("kty", nil)}, "Invalid kty"},
		"kty OKP":            {jwk{"key": full.with("kty", "OKP")}, "Invalid kty"},
		"padding":            {jwk{"key": full.with("d", full["d"].(string)+"==")}, `"key.d"`},
		"other alphabet":     {jwk{"key": full.with("p", "+/+/")}, `"key.p"`},
		"stray bits":         {jwk{"key": full.with("qi", "AB")}, `"key.qi"`},
		"line end":           {jwk{"key": full.with("dq", "AA\nAA")}, `"key.dq"`},
		"d a number":         {jwk{"key": full.with("d", 1)}, `"key.d"`},
		"d a list":           {jwk{"key": full.with("d", []string{"AQ"})}, `"key.d"`},
		"crv with RSA":       {jwk{"key": full.with("crv", "P-256")}, "crv"},
		"k with RSA":         {jwk{"key": full.with("k", "AAAA")}, "member k"},
		"blob and parts":     {jwk{"key": full.with("key_hsm", "e30")}, "both key_hsm"},
		"not a blob":         {jwk{"key": jwk{"kty": "RSA-HSM", "key_hsm": "e30"}}, "key_hsm is not valid"},
		"exportable":         {jwk{"key": full, "attributes": jwk{"exportable": true}}, "release policy"},
		"16 tags":            {jwk{"key": full, "tags": map[string]string{"1": "", "2": "", "3": "", "4": "", "5": "", "6": "", "7": "", "8": "", "9": "", "10": "", "11": "", "12": "", "13": "", "14": "", "15": "", "16": ""}}, "tags"},
		"key_ops":            {jwk{"key": k256.with("key_ops", []string{"encrypt"})}, "encrypt"},
		"oct of 5 bytes":     {jwk{"key": jwk{"kty": "oct", "k": "AAAAAAA"}}, "5 bytes"},
		"oct without k":      {jwk{"key": jwk{"kty": "oct"}}, "k has 0 bytes"},
		"EC, unknown crv":    {jwk{"key": k256.with("crv", "P-521K")}, "P-521K"},
		"EC off the curve":   {jwk{"key": k256.with("y", "AQ")}, "not on curve"},
		"EC, d of another":   {jwk{"key": k256.with("d", "Ag")}, "not that of d"},
		"RSA, other modulus": {jwk{"key": full.with("n", b64(other))}, "n"},
		"member twice":       {`{"key":{"kty":"oct","k":"AAAA","k":"AAAA"}}`, "twice"},
		"not JSON":           {`{"key":`, ""},
	} {
		a := c.do("PUT /keys/new", tc.body)
		if a.Status != http.StatusBadRequest {
			t.Errorf("%s: %d %s", what, a.Status, a.Body)
			continue
		}
		a.WantError(400, "BadParameter", map[bool]string{true: "KeyTypeNotSupported"}[strings.Contains(tc.words, "kty")], tc.words)
		if d, _ := full["d"].(string); strings.Contains(string(a.Body), d) {
			t.Errorf("%s: the answer shows d", what)
		}
	}
	c.do("PUT /keys/"+strings.Repeat("n", 128), jwk{"key": full}).WantError(400, "BadParameter", "")
	as(c.Web, hsmtest.Officer).do("PUT /keys/new", jwk{"key": full}).WantError(403, "AccessDenied", "", "keys/import/action on /keys/new")
	if after := string(c.do("GET /keys", nil).Want(200).Body); after != before {
		t.Errorf("keys are %s, were %s", after, before)
	}
}

// TestImportTransferBlob: BYOK as the genuine clients do it: kty, crv, key_ops and the blob.
func TestImportTransferBlob(t *testing.T) {
	t.Parallel()
	s := hsmtest.New(t)
	s.Active(hsmName)
	c := as(s.Serve(), hsmtest.User)
	var kek struct {
		Key struct {
			Kid  string
			N, E string
		}
	}
	c.do("POST /keys/kek/create", jwk{"kty": "RSA-HSM", "key_size": 2048, "key_ops": []string{"import"}}).Want(200).JSON(&kek)
	c.do("POST /keys/kek/create", jwk{"kty": "RSA-HSM", "key_ops": []string{"import", "encrypt"}}).WantError(400, "BadParameter", "", "excludes all others")
	c.do("PATCH /keys/kek", jwk{"key_ops": []string{"decrypt"}}).WantError(400, "BadParameter", "", "stays one")
	c.do("POST /keys/kek//decrypt", jwk{"alg": "RSA-OAEP", "value": b64(make([]byte, 256))}).WantError(403, "Forbidden", "KeyOperationForbidden")

	pub, err := material.PublicRSA(unb64(t, kek.Key.N), unb64(t, kek.Key.E))
	if err != nil {
		t.Fatal(err)
	}
	priv, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	der, err := x509.MarshalPKCS8PrivateKey(priv)
	if err != nil {
		t.Fatal(err)
	}
	ct, err := material.WrapTo(pub, key.TransferSHA1, secret.New(der))
	if err != nil {
		t.Fatal(err)
	}
	blob, err := byok.Blob{KID: kek.Key.Kid, Ciphertext: ct}.Encode()
	if err != nil {
		t.Fatal(err)
	}
	body := jwk{"kty": "RSA-HSM", "key_ops": []string{"sign", "verify"}, "key_hsm": b64(blob)}
	same(t, c.do("PUT /keys/byok", jwk{"key": body, "Hsm": true, "attributes": jwk{"enabled": true}}).Want(200),
		`{"key":{"kid":"`+keys+`byok/{v}","kty":"RSA-HSM","key_ops":["sign","verify"],"n":"`+b64(priv.N.Bytes())+`","e":"AQAB"},"attributes":`+attributes+`}`)
	c.do("PUT /keys/byok", jwk{"key": body.with("kty", "EC-HSM", "crv", "P-256")}).WantError(400, "BadParameter", "", "RSA-HSM")
	var wire struct{ Ciphertext string }
	if err := json.Unmarshal(blob, &wire); err != nil {
		t.Fatal(err)
	}
	ct[300] ^= 1
	bad := strings.Replace(string(blob), wire.Ciphertext, b64(ct), 1)
	c.do("PUT /keys/byok", jwk{"key": body.with("key_hsm", b64([]byte(bad)))}).WantError(400, "BadParameter", "", "could not be unwrapped with "+kek.Key.Kid)
	c.do("PATCH /keys/kek", jwk{"attributes": jwk{"enabled": false}}).Want(200)
	c.do("PUT /keys/byok", jwk{"key": body}).WantError(403, "Forbidden", "KeyDisabled")
}
