package dataplane_test

import (
	"bytes"
	"crypto"
	"crypto/aes"
	"crypto/ecdsa"
	"crypto/rsa"
	"crypto/sha1"
	"crypto/sha256"
	"crypto/sha512"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"hash"
	"math/big"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"redoubt/internal/attestation"
	"redoubt/internal/hsmtest"
	"redoubt/internal/seal"
)

const (
	exportable   = `"attributes":{"exportable":true},"release_policy":{"data":"{policy}"}`
	shownPolicy  = `"release_policy":{"contentType":"application/json; charset=utf-8","data":"{policy}","immutable":false}`
	secureOps    = `"key_ops":["secureWrapKey","secureUnwrapKey"],"release_policy":{"data":"{policy}"}`
	exported     = `{"enabled":true,"created":1767323045,"updated":1767323045,"recoveryLevel":"CustomizedRecoverable+Purgeable","recoverableDays":28,"exportable":true,"hsmPlatform":"0"}`
	releasedAttr = `{"created":1767323045,"enabled":true,"exportable":true,"recoverableDays":28,"recoveryLevel":"CustomizedRecoverable+Purgeable","updated":1767323045}`
)

// policyData is hsmtest.PolicyText as it travels.
var policyData = b64([]byte(hsmtest.PolicyText))

func withPolicy(s string) string { return strings.ReplaceAll(s, "{policy}", policyData) }

// goldenRelease are the routes of hsm.Table that TestGoldenRelease covers.
var goldenRelease = []string{"POST /keys/{key-name}/{key-version}/release", "GET /keys/{key-name}/{key-version}/attestation",
	"POST /keys/{key-name}/{key-version}/securewrapkey", "POST /keys/{key-name}/{key-version}/secureunwrapkey"}

// jws takes a signed answer apart and verifies it with the chain in its own header.
func jws(t *testing.T, s string) (payload []byte, root *x509.Certificate) {
	t.Helper()
	parts := strings.Split(s, ".")
	if len(parts) != 3 {
		t.Fatalf("not a JWS: %s", s)
	}
	var raw [3][]byte
	for i, p := range parts {
		var err error
		if raw[i], err = base64.RawURLEncoding.DecodeString(p); err != nil {
			t.Fatal(err)
		}
	}
	var h struct {
		Alg, Kid string
		X5C      [][]byte
		X5T      string `json:"x5t#S256"`
	}
	if err := json.Unmarshal(raw[0], &h); err != nil || h.Alg != "ES256" || len(h.X5C) != 2 {
		t.Fatalf("header %s, %v", raw[0], err)
	}
	leaf, err := x509.ParseCertificate(h.X5C[0])
	if err == nil {
		root, err = x509.ParseCertificate(h.X5C[1])
	}
	if err != nil {
		t.Fatal(err)
	}
	pool := x509.NewCertPool()
	pool.AddCert(root)
	if _, err := leaf.Verify(x509.VerifyOptions{Roots: pool}); err != nil {
		t.Error(err)
	}
	digest, r, v := sha256.Sum256([]byte(parts[0]+"."+parts[1])), new(big.Int).SetBytes(raw[2][:32]), new(big.Int).SetBytes(raw[2][32:])
	if sum := sha256.Sum256(h.X5C[0]); !ecdsa.Verify(leaf.PublicKey.(*ecdsa.PublicKey), digest[:], r, v) || h.X5T != b64(sum[:]) || h.Kid != h.X5T {
		t.Error("the signature or the thumbprint is wrong")
	}
	return raw[1], root
}

// unwrapped opens CKM_RSA_AES_KEY_WRAP with hsmtest.Recipient, by RFC 5649's own words.
func unwrapped(t *testing.T, blob []byte, h hash.Hash) []byte {
	t.Helper()
	k := hsmtest.Recipient()
	kek, err := rsa.DecryptOAEP(h, nil, k, blob[:k.Size()], nil)
	if err != nil || len(kek) != 32 {
		t.Fatalf("OAEP: %d bytes, %v", len(kek), err)
	}
	b, err := aes.NewCipher(kek)
	if err != nil {
		t.Fatal(err)
	}
	c := bytes.Clone(blob[k.Size():])
	n := len(c)/8 - 1
	for j := 5; j >= 0; j-- {
		for i := n; i >= 1; i-- {
			in := append(bytes.Clone(c[:8]), c[8*i:8*i+8]...)
			step := n*j + i
			in[7], in[6] = in[7]^byte(step), in[6]^byte(step>>8)
			b.Decrypt(in, in)
			copy(c[:8], in[:8])
			copy(c[8*i:], in[8:])
		}
	}
	if !bytes.Equal(c[:4], []byte{0xA6, 0x59, 0x59, 0xA6}) {
		t.Fatal("AES-KWP does not open")
	}
	return c[8 : 8+(int(c[6])<<8|int(c[7]))]
}

// released is what a release's payload holds, opened.
func released(t *testing.T, payload []byte, enc string, h hash.Hash) []byte {
	t.Helper()
	var p struct {
		Response struct {
			Key struct {
				Key struct {
					HSM string `json:"key_hsm"`
				} `json:"key"`
			} `json:"key"`
		} `json:"response"`
	}
	if err := json.Unmarshal(payload, &p); err != nil {
		t.Fatal(err)
	}
	raw, err := base64.RawURLEncoding.DecodeString(p.Response.Key.Key.HSM)
	if err != nil {
		t.Fatal(err)
	}
	var blob struct {
		Ciphertext string                         `json:"ciphertext"`
		Header     struct{ Alg, Enc, Kid string } `json:"header"`
		Version    string                         `json:"schema_version"`
	}
	if err := json.Unmarshal(raw, &blob); err != nil || blob.Version != "1.0" || blob.Header.Alg != "dir" || blob.Header.Enc != enc || blob.Header.Kid != "TpmEphemeralEncryptionKey" {
		t.Fatalf("key_hsm %s, %v", raw, err)
	}
	c, err := base64.RawURLEncoding.DecodeString(blob.Ciphertext)
	if err != nil {
		t.Fatal(err)
	}
	return unwrapped(t, c, h)
}

func value(t *testing.T, a hsmtest.Answer) string {
	t.Helper()
	v, ok := a.Want(200).Map()["value"].(string)
	if !ok {
		t.Fatalf("no value: %s", a.Body)
	}
	return v
}

// TestGoldenRelease: the bodies of release, attestation and secure wrap, byte for byte.
func TestGoldenRelease(t *testing.T) {
	t.Parallel()
	s := hsmtest.New(t)
	s.Active(hsmName)
	c := as(s.Serve(), hsmtest.User)
	token := s.AttestationToken(map[string]any{"sdk-test": true})

	// Sent in the older spelling, stored in the newer one.
	older := b64([]byte(`{"version":"1.0","anyOf":[{"authority":"` + hsmtest.Attestation + `","allOf":[{"claim":"sdk-test","condition":"equals","value":"true"}]}]}`))
	bundle := withPolicy(`{"key":{"kid":"` + keys + `K/{v}","kty":"RSA-HSM","key_ops":["encrypt","decrypt"],"n":"{b64}","e":"AQAB"},"attributes":` + exported + `,` + shownPolicy + `}`)
	same(t, c.do("POST /keys/K/create", `{"kty":"RSA","key_ops":["encrypt","decrypt"],"attributes":{"exportable":true},"release_policy":{"data":"`+older+`"}}`).Want(200), bundle)
	same(t, c.do("GET /keys/K", nil).Want(200), bundle)

	a := c.do("POST /keys/K//release", `{"target":"`+token+`","nonce":"fresh"}`)
	same(t, a.Want(200), `{"value":"{text}"}`)
	goldenHeaders(t, "release", a)
	payload, _ := jws(t, value(t, a))
	same(t, hsmtest.Answer{T: t, Body: payload}, withPolicy(`{"request":{"api-version":"`+strings.TrimPrefix(version, "api-version=")+`","enc":"CKM_RSA_AES_KEY_WRAP","kid":"`+keys+`K","nonce":"fresh"},"response":{"key":{"attributes":`+releasedAttr+
		`,"key":{"e":"AQAB","key_hsm":"{b64}","key_ops":["encrypt","decrypt"],"kid":"`+keys+`K/{v}","kty":"RSA","n":"{b64}"},`+shownPolicy+`}}}`))

	c.do("POST /keys/ec/create", `{"kty":"EC"}`).Want(200)
	evidence := `"attestation":{"certificatePemFile":"{b64}","privateKeyAttestation":"{b64}","publicKeyAttestation":"{b64}","version":"1.0"}`
	a = c.do("GET /keys/ec//attestation", nil)
	same(t, a.Want(200), strings.Replace(ecKey, `"hsmPlatform":"0"`, `"hsmPlatform":"0",`+evidence, 1))
	goldenHeaders(t, "attestation", a)
	c.do("POST /keys/oct/create", `{"kty":"oct"}`).Want(200)
	a = c.do("GET /keys/oct/attestation", nil).Want(200)
	same(t, a, strings.Replace(octKey, `"key_size":256`, `"key_size":256,`+strings.Replace(evidence, `"publicKeyAttestation":"{b64}",`, "", 1), 1))

	c.do("POST /keys/w/create", withPolicy(`{"kty":"RSA",`+secureOps+`}`)).Want(200)
	a = c.do("POST /keys/w//securewrapkey?api-version=2026-04-01", `{"alg":"RSA-OAEP-256"}`)
	same(t, a.Want(200), `{"kid":"`+keys+`w/{v}","alg":"RSA-OAEP-256","value":"{b64}"}`)
	goldenHeaders(t, "secure wrap", a)
	a = c.do("POST /keys/w//secureunwrapkey?api-version=2026-04-01", `{"alg":"RSA-OAEP-256","value":"`+value(t, a)+`","target":"`+token+`"}`)
	same(t, a.Want(200), `{"kid":"`+keys+`w/{v}","alg":"RSA-OAEP-256","value":"{b64}"}`)
	goldenHeaders(t, "secure unwrap", a)
}

// TestReleasedMaterial: what is released is the key that the HSM has, for every type and way of wrapping.
func TestReleasedMaterial(t *testing.T) {
	t.Parallel()
	s := hsmtest.New(t)
	s.Active(hsmName)
	c := as(s.Serve(), hsmtest.User)
	token := s.AttestationToken(map[string]any{"sdk-test": true})
	create := func(name, body string) {
		t.Helper()
		c.do("POST /keys/"+name+"/create", withPolicy(`{`+body+`,`+exportable+`}`)).Want(200)
	}
	create("rsa", `"kty":"RSA"`)
	create("ec", `"kty":"EC","crv":"P-384"`)
	create("oct", `"kty":"oct","key_ops":["encrypt","export"]`)
	release := func(name, enc string, h hash.Hash) []byte {
		t.Helper()
		body := map[string]string{"target": token}
		if enc == "" {
			enc = "CKM_RSA_AES_KEY_WRAP"
		} else {
			body["enc"] = enc
		}
		payload, _ := jws(t, value(t, c.do("POST /keys/"+name+"/release", body)))
		return released(t, payload, enc, h)
	}
	rsaDER := release("rsa", "", sha1.New())
	if again := release("rsa", "RSA_AES_KEY_WRAP_256", sha256.New()); !bytes.Equal(again, rsaDER) {
		t.Error("another way of wrapping gives another key")
	}
	k, err := x509.ParsePKCS8PrivateKey(rsaDER)
	if err != nil {
		t.Fatal(err)
	}
	sig, err := base64.RawURLEncoding.DecodeString(value(t, c.do("POST /keys/rsa/sign", `{"alg":"RS256","value":"`+digest+`"}`)))
	sum := sha256.Sum256(nil)
	if err != nil || rsa.VerifyPKCS1v15(&k.(*rsa.PrivateKey).PublicKey, crypto.SHA256, sum[:], sig) != nil {
		t.Errorf("the released key is not the HSM's: %v", err)
	}
	if k, err := x509.ParsePKCS8PrivateKey(release("ec", "RSA_AES_KEY_WRAP_384", sha512.New384())); err != nil {
		t.Error(err)
	} else if x := c.do("GET /keys/ec", nil).Want(200).Map()["key"].(map[string]any)["x"]; x != b64(k.(*ecdsa.PrivateKey).X.FillBytes(make([]byte, 48))) {
		t.Error("the released key is not the HSM's")
	}
	if k := release("oct", "CKM_RSA_AES_KEY_WRAP", sha1.New()); len(k) != 32 {
		t.Errorf("an oct key of %d bytes", len(k))
	}
}

// TestReleaseRefused: every reason not to release, with its code, and never a value of the token or the policy.
func TestReleaseRefused(t *testing.T) {
	t.Parallel()
	s := hsmtest.New(t)
	s.Active(hsmName)
	c := as(s.Serve(), hsmtest.User)
	c.do("POST /keys/k/create", withPolicy(`{"kty":"oct",`+exportable+`}`)).Want(200)
	c.do("POST /keys/plain/create", `{"kty":"oct"}`).Want(200)
	good := s.AttestationToken(map[string]any{"sdk-test": true})
	mint := func(issuer string, to *rsa.PublicKey, claims map[string]any) string {
		t.Helper()
		out, err := s.Attest.Token(issuer, to, claims)
		if err != nil {
			t.Fatal(err)
		}
		return out
	}
	now, to := s.Clock.Now().Unix(), &hsmtest.Recipient().PublicKey
	short := &rsa.PublicKey{N: new(big.Int).Rsh(to.N, 1024), E: 65537}
	short.N.SetBit(short.N, 0, 1)
	for what, r := range map[string]struct {
		target      string
		status      int
		code, inner string
		says        []string
	}{
		"no target":        {"", 400, "BadParameter", "", []string{"target"}},
		"no token":         {"khwIe26NuAZazS", 400, "BadParameter", "", []string{"target"}},
		"unsigned":         {good[:strings.LastIndexByte(good, '.')+1], 400, "BadParameter", "", nil},
		"altered":          {good[:len(good)-4] + "AAAA", 403, "Forbidden", "AccessDenied", []string{"Target environment attestation statement cannot be verified."}},
		"an access token":  {s.Token(hsmtest.User, hsmtest.Devices), 403, "Forbidden", "AccessDenied", []string{"issuer"}},
		"another issuer":   {mint("https://attest.example", to, map[string]any{"sdk-test": true}), 403, "Forbidden", "AccessDenied", []string{"issuer"}},
		"expired":          {mint(hsmtest.Attestation, to, map[string]any{"sdk-test": true, "exp": now}), 403, "Forbidden", "AccessDenied", []string{"expired"}},
		"not yet valid":    {mint(hsmtest.Attestation, to, map[string]any{"sdk-test": true, "nbf": now + 100}), 403, "Forbidden", "AccessDenied", []string{"not valid yet"}},
		"claim missing":    {mint(hsmtest.Attestation, to, map[string]any{"secret-claim": "secret-value"}), 403, "Forbidden", "AccessDenied", []string{"requirements are not met", "claim \"sdk-test\""}},
		"claim wrong":      {mint(hsmtest.Attestation, to, map[string]any{"sdk-test": "secret-value"}), 403, "Forbidden", "AccessDenied", []string{"claim \"sdk-test\""}},
		"no recipient":     {mint(hsmtest.Attestation, nil, map[string]any{"sdk-test": true}), 400, "BadParameter", "", []string{"x-ms-runtime.keys"}},
		"weak recipient":   {mint(hsmtest.Attestation, short, map[string]any{"sdk-test": true}), 400, "BadParameter", "", []string{"1024 bits"}},
		"trailing slash":   {mint(hsmtest.Attestation+"/", to, map[string]any{"sdk-test": true}), 200, "", "", nil},
		"true as a string": {mint(hsmtest.Attestation, to, map[string]any{"sdk-test": "true"}), 200, "", "", nil},
	} {
		a := c.do("POST /keys/k//release", map[string]string{"target": r.target})
		if r.status == 200 {
			a.Want(200)
			continue
		}
		a.WantError(r.status, r.code, r.inner, r.says...)
		if bytes.Contains(a.Body, []byte("secret")) {
			t.Errorf("%s: the message tells too much: %s", what, a.Body)
		}
	}
	for _, bad := range []struct{ body, says string }{
		{`{"target":"` + good + `","enc":"RSA-OAEP"}`, "CKM_RSA_AES_KEY_WRAP"}, {`{"target":"` + good + `","nonce":"` + strings.Repeat("n", 1025) + `"}`, "nonce"},
		{`{"target":1}`, "target"}, {`{}`, "target"}, {`{"target":"` + good + `","target":"` + good + `"}`, ""},
	} {
		c.do("POST /keys/k//release", bad.body).WantError(400, "BadParameter", "", bad.says)
	}
	c.do("POST /keys/plain//release", map[string]string{"target": good}).WantError(403, "Forbidden", "KeyOperationForbidden", "not exportable")
	c.do("POST /keys/none//release", map[string]string{"target": good}).WantError(404, "KeyNotFound", "")
	as(c.Web, hsmtest.Officer).do("POST /keys/k//release", map[string]string{"target": good}).WantError(403, "AccessDenied", "", "keys/release/action")
	c.do("PATCH /keys/k", `{"attributes":{"enabled":false}}`).Want(200)
	c.do("POST /keys/k//release", map[string]string{"target": good}).WantError(403, "Forbidden", "KeyDisabled")
	c.do("PATCH /keys/k", `{"attributes":{"enabled":true,"nbf":1,"exp":2}}`).Want(200)
	c.do("POST /keys/k//release", map[string]string{"target": good}).Want(200) // outside its dates
	s.Clock.Advance(2 * time.Hour)
	c.do("POST /keys/k//release", map[string]string{"target": good}).WantError(403, "Forbidden", "AccessDenied", "expired")
}

// TestExportableRules: the service's rules and words, at creation and afterwards.
func TestExportableRules(t *testing.T) {
	t.Parallel()
	s := hsmtest.New(t)
	s.Active(hsmName)
	c := as(s.Serve(), hsmtest.User)
	for _, bad := range []struct{ body, says string }{
		{`"attributes":{"exportable":true}`, "Exportable keys must have release policy"},
		{`"release_policy":{"data":"{policy}"}`, "Non-exportable keys must not have release policy"},
		{`"attributes":{"exportable":true},"release_policy":{}`, "Key Release Policy"},
		{`"attributes":{"exportable":true},"release_policy":{"data":"AAAA"}`, "Key Release Policy"},
		{`"attributes":{"exportable":true},"release_policy":{"data":"A+AA"}`, "base64url"},
		{`"attributes":{"exportable":true},"release_policy":{"data":"{policy}","contentType":"text/plain"}`, "contentType"},
		{`"attributes":{"exportable":"yes"}`, "exportable"},
		{`"key_ops":["sign","export"]`, "export"},
		{`"key_ops":["secureWrapKey"]`, "secureWrapKey"},
	} {
		c.do("POST /keys/bad/create", withPolicy(`{"kty":"EC",`+bad.body+`}`)).WantError(400, "BadParameter", "", bad.says)
		c.do("GET /keys/bad", nil).WantError(404, "KeyNotFound", "")
	}
	c.do("POST /keys/bad/create", withPolicy(`{"kty":"oct","key_ops":["secureWrapKey","unwrapKey"],"release_policy":{"data":"{policy}"}}`)).WantError(400, "BadParameter", "", "exclude all others")

	c.do("POST /keys/k/create", withPolicy(`{"kty":"EC",`+exportable+`}`)).Want(200)
	c.do("PATCH /keys/k", `{"attributes":{"exportable":false}}`).WantError(400, "BadParameter", "", "Cannot modify the exportable state of a key")
	c.do("PATCH /keys/k", `{"attributes":{"exportable":true},"key_ops":["sign","export"]}`).Want(200)
	c.do("POST /keys/k/create", `{"kty":"EC","attributes":{"exportable":false}}`).WantError(400, "BadParameter", "", "Cannot modify the exportable state")
	if p := c.do("POST /keys/k/create", `{"kty":"EC"}`).Want(200).Map()["release_policy"]; p == nil {
		t.Error("a new version did not inherit the release policy")
	}
	list := c.do("GET /keys", nil).Want(200)
	if !bytes.Contains(list.Body, []byte(`"exportable":true`)) || bytes.Contains(list.Body, []byte("release_policy")) {
		t.Errorf("list: %s", list.Body)
	}

	frozen := `{"release_policy":{"data":"{policy}","immutable":true}}`
	c.do("PATCH /keys/k", withPolicy(frozen)).Want(200)
	other := b64([]byte(strings.Replace(hsmtest.PolicyText, "sdk-test", "other", 1)))
	c.do("PATCH /keys/k", `{"release_policy":{"data":"`+other+`"}}`).WantError(400, "BadParameter", "", "Immutable Key Release Policy cannot be modified")
	c.do("POST /keys/k/create", `{"kty":"EC","release_policy":{"data":"`+other+`"}}`).WantError(400, "BadParameter", "", "Immutable Key Release Policy cannot be modified")
	a := c.do("PATCH /keys/k", withPolicy(`{"release_policy":{"data":"{policy}"}}`)).Want(200)
	if !bytes.Contains(a.Body, []byte(`"immutable":true`)) {
		t.Errorf("the immutable mark went: %s", a.Body)
	}
	deleted := c.do("DELETE /keys/k", nil).Want(200)
	if !bytes.Contains(deleted.Body, []byte(withPolicy(`"data":"{policy}","immutable":true`))) {
		t.Errorf("a deleted key shows no policy: %s", deleted.Body)
	}
	c.do("POST /keys/plain/create", `{"kty":"EC"}`).Want(200)
	c.do("PATCH /keys/plain", withPolicy(`{"release_policy":{"data":"{policy}"}}`)).WantError(400, "BadParameter", "", "Non-exportable keys must not have release policy")
}

// TestAttestation: the evidence verifies against the root that the HSM's control plane shows.
func TestAttestation(t *testing.T) {
	t.Parallel()
	s := hsmtest.New(t)
	d := s.Active(hsmName)
	c := as(s.Serve(), hsmtest.Auditor)
	as(c.Web, hsmtest.User).do("POST /keys/k/create", withPolicy(`{"kty":"RSA","key_ops":["sign"],`+exportable+`}`)).Want(200)
	var b struct {
		Key        struct{ N, Kid string }
		Attributes struct {
			Attestation struct {
				Certificates string `json:"certificatePemFile"`
				Private      string `json:"privateKeyAttestation"`
				Public       string `json:"publicKeyAttestation"`
				Version      string
			}
		}
	}
	c.do("GET /keys/k//attestation?api-version=2026-04-01", nil).Want(200).JSON(&b)
	raw := func(s string) []byte {
		out, err := base64.RawURLEncoding.DecodeString(s)
		if err != nil {
			t.Fatal(err)
		}
		return out
	}
	status, err := d.Status(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	at := b.Attributes.Attestation
	p, err := attestation.Verify(attestation.Evidence{Certificates: raw(at.Certificates), Private: raw(at.Private), Public: raw(at.Public), Version: at.Version},
		attestation.Scheme{Verify: seal.VerifyEndorsement, DomainID: seal.DomainIDOf}, attestation.Expect{Root: status.AttestationRoot, DomainID: status.DomainID})
	if err != nil {
		t.Fatal(err)
	}
	if !p.Exportable || p.Policy == nil || p.Public.N != b.Key.N || !strings.HasSuffix(b.Key.Kid, p.Key) || len(p.KeyOps) != 1 || p.Bits != 2048 {
		t.Errorf("%+v", p)
	}
	c.do("GET /keys/none//attestation", nil).WantError(404, "KeyNotFound", "")
	as(c.Web, hsmtest.Stranger).do("GET /keys/k//attestation", nil).WantError(403, "AccessDenied", "", "keys/read/action")

	jwsAnswer := value(t, as(c.Web, hsmtest.User).do("POST /keys/k//release", map[string]string{"target": s.AttestationToken(map[string]any{"sdk-test": true})}))
	if _, root := jws(t, jwsAnswer); attestation.Fingerprint(root.Raw) != status.AttestationRoot {
		t.Error("a release chains to another root")
	}
}

// TestSecureWrap: what the HSM wrapped comes out for the attested environment, by every algorithm, and for nobody else.
func TestSecureWrap(t *testing.T) {
	t.Parallel()
	s := hsmtest.New(t)
	s.Active(hsmName)
	c := as(s.Serve(), hsmtest.User)
	token := s.AttestationToken(map[string]any{"sdk-test": true})
	const ver = "?api-version=2026-04-01"
	c.do("POST /keys/rsa/create", withPolicy(`{"kty":"RSA",`+secureOps+`}`)).Want(200)
	for bits, name := range map[string]string{"128": "a", "192": "b", "256": "c"} {
		c.do("POST /keys/"+name+"/create", withPolicy(`{"kty":"oct","key_size":`+bits+`,`+secureOps+`}`)).Want(200)
	}
	var seen [][]byte
	for alg, name := range map[string]string{"RSA-OAEP-256": "rsa", "A128KW": "a", "A192KW": "b", "A256KW": "c", "A128KWPAD": "a", "A192KWPAD": "b", "A256KWPAD": "c", "CKM_AES_KEY_WRAP": "a", "CKM_AES_KEY_WRAP_PAD": "b"} {
		wrapped := value(t, c.do("POST /keys/"+name+"//securewrapkey"+ver, `{"alg":"`+alg+`"}`))
		body := map[string]string{"alg": alg, "value": wrapped, "target": token}
		out, err := base64.RawURLEncoding.DecodeString(value(t, c.do("POST /keys/"+name+"//secureunwrapkey"+ver, body)))
		if err != nil {
			t.Fatal(err)
		}
		k := unwrapped(t, out, sha1.New())
		if len(k) != 32 || slices.ContainsFunc(seen, func(o []byte) bool { return bytes.Equal(o, k) }) {
			t.Errorf("%s: a key of %d bytes, or one seen before", alg, len(k))
		}
		seen = append(seen, k)
		body["target"] = s.AttestationToken(map[string]any{"sdk-test": false})
		c.do("POST /keys/"+name+"//secureunwrapkey"+ver, body).WantError(403, "Forbidden", "AccessDenied", "sdk-test")
		body["target"] = ""
		c.do("POST /keys/"+name+"//secureunwrapkey"+ver, body).WantError(400, "BadParameter", "", "target")
	}
	wrapped := value(t, c.do("POST /keys/c//securewrapkey"+ver, `{"alg":"A256KW"}`))
	unwrap := func(ver string, more map[string]string) hsmtest.Answer {
		t.Helper()
		body := map[string]string{"alg": "A256KW", "value": wrapped, "target": token}
		for k, v := range more {
			body[k] = v
		}
		return c.do("POST /keys/c//secureunwrapkey"+ver, body)
	}
	const next = "?api-version=2026-07-01-preview"
	unwrap(next, nil).WantError(400, "BadParameter", "", "applicationTrustedIssuer")
	unwrap(next, map[string]string{"applicationTrustedIssuer": "https://attest.example"}).WantError(403, "Forbidden", "AccessDenied", "applicationTrustedIssuer")
	unwrap(next, map[string]string{"applicationTrustedIssuer": hsmtest.Attestation + "/"}).Want(200)
	unwrap(ver, map[string]string{"value": b64(make([]byte, 40))}).WantError(400, "BadParameter", "")
	unwrap(ver, map[string]string{"alg": "A128KW"}).WantError(400, "BadParameter", "", "A128KW")
	c.do("POST /keys/c//securewrapkey"+ver, `{"alg":"A256GCM"}`).WantError(400, "BadParameter", "", "A256KWPAD")
	c.do("POST /keys/c//wrapkey", `{"alg":"A256KW","value":"`+digest+`"}`).WantError(403, "Forbidden", "KeyOperationForbidden")
	c.do("POST /keys/c//unwrapkey", `{"alg":"A256KW","value":"`+wrapped+`"}`).WantError(403, "Forbidden", "KeyOperationForbidden")
	c.do("PATCH /keys/c", `{"key_ops":["unwrapKey"]}`).WantError(400, "BadParameter", "")
	c.do("POST /keys/c//release", map[string]string{"target": token}).WantError(403, "Forbidden", "KeyOperationForbidden", "not exportable")
	c.do("POST /keys/plain/create", `{"kty":"oct"}`).Want(200)
	c.do("POST /keys/plain//securewrapkey"+ver, `{"alg":"A256KW"}`).WantError(403, "Forbidden", "KeyOperationForbidden", "secureWrapKey")
	as(c.Web, hsmtest.Auditor).do("POST /keys/c//securewrapkey"+ver, `{"alg":"A256KW"}`).WantError(http.StatusForbidden, "AccessDenied", "", "keys/wrap/action")
	as(c.Web, hsmtest.Auditor).do("POST /keys/c//secureunwrapkey"+ver, `{}`).WantError(http.StatusForbidden, "AccessDenied", "", "keys/unwrap/action")
	c.do("PATCH /keys/c", `{"attributes":{"nbf":1,"exp":2}}`).Want(200)
	c.do("POST /keys/c//securewrapkey"+ver, `{"alg":"A256KW"}`).WantError(403, "Forbidden", "KeyExpired")
	unwrap(ver, nil).Want(200) // old data stays readable
}
