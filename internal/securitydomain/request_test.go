package securitydomain

import (
	"bytes"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/base64"
	"encoding/json"
	"math/big"
	"reflect"
	"slices"
	"strings"
	"testing"
)

func TestDownloadRequestRefused(t *testing.T) {
	t.Parallel()
	good := read(t, "vectors", "download_request.json")
	first := func(tree map[string]any) map[string]any { return at(tree, "certificates", 0).(map[string]any) }
	swap := func(der []byte) func(map[string]any) { // another certificate, thumbprints to match, no n and e
		return func(tree map[string]any) {
			c := first(tree)
			c["x5c"] = []string{base64.StdEncoding.EncodeToString(der)}
			c["x5t#S256"], c["x5t"] = thumbprint(der), thumbprintSHA1(der)
			delete(c, "n")
			delete(c, "e")
		}
	}
	count := func(n int) func(map[string]any) {
		return func(tree map[string]any) {
			l := tree["certificates"].([]any)
			for len(l) < n {
				l = append(l, l[0])
			}
			tree["certificates"] = l[:n]
		}
	}
	set := func(name string, v any) func(map[string]any) {
		return func(tree map[string]any) { first(tree)[name] = v }
	}
	drop := func(name string) func(map[string]any) {
		return func(tree map[string]any) { delete(first(tree), name) }
	}
	other := wrapCerts(t)[1]
	otherKey := encodeJWK(other, "")
	for name, c := range map[string]struct {
		edit  func(map[string]any)
		parts []string
	}{
		"2 certificates":      {count(2), []string{"2 certificates", "3 to 10"}},
		"11 certificates":     {count(11), []string{"11 certificates", "3 to 10"}},
		"no certificates":     {count(0), []string{"0 certificates"}},
		"quorum 1":            {func(tree map[string]any) { tree["required"] = 1 }, []string{"quorum of 1", "at least 2"}},
		"quorum 0":            {func(tree map[string]any) { tree["required"] = 0 }, []string{"quorum of 0"}},
		"quorum above N":      {func(tree map[string]any) { tree["required"] = 4 }, []string{"quorum of 4 with 3 certificates", "lower the quorum"}},
		"quorum negative":     {func(tree map[string]any) { tree["required"] = -2 }, []string{"whole number"}},
		"quorum a string":     {func(tree map[string]any) { tree["required"] = "2" }, []string{"whole number"}},
		"quorum not whole":    {func(tree map[string]any) { tree["required"] = 2.5 }, []string{"whole number"}},
		"quorum missing":      {func(tree map[string]any) { delete(tree, "required") }, []string{`no "required"`}},
		"certificates a text": {func(tree map[string]any) { tree["certificates"] = "x" }, []string{"not a list"}},
		"entry a text":        {func(tree map[string]any) { tree["certificates"].([]any)[1] = "x" }, []string{"certificate 2 of 3", "not a JSON object"}},
		"duplicate": {func(tree map[string]any) { tree["certificates"].([]any)[2] = tree["certificates"].([]any)[0] },
			[]string{"certificates 1 and 3 are the same"}},
		"same key, other certificate": {func(tree map[string]any) {
			c, err := ParseCertificate("x", read(t, "keys", "wrap_1-again.cer"))
			if err != nil {
				t.Fatal(err)
			}
			swap(c.DER)(tree)
		}, []string{"certificates 1 and 2 hold the same key"}},
		"RSA-1024":            {swap(pemBody(t, "rsa1024.cer")), []string{"certificate 1 of 3", "1024 bits", "2048 to 8192"}},
		"EC":                  {swap(pemBody(t, "ec.cer")), []string{"certificate 1 of 3", "ECDSA", "only RSA"}},
		"exponent 4":          {swap(certificateOver(t, &rsa.PublicKey{N: other.Public.N, E: 4})), []string{"certificate 1 of 3", "cannot be used"}},
		"exponent 1":          {swap(certificateOver(t, &rsa.PublicKey{N: other.Public.N, E: 1})), []string{"certificate 1 of 3", "cannot be used"}},
		"even modulus":        {swap(certificateOver(t, &rsa.PublicKey{N: new(big.Int).Lsh(big.NewInt(1), 2047), E: 65537})), []string{"cannot be used"}},
		"RSA-8200":            {swap(certificateOver(t, &rsa.PublicKey{N: new(big.Int).Lsh(big.NewInt(1), 8199), E: 65537})), []string{"8200 bits"}},
		"EC kty":              {set("kty", "EC"), []string{"certificate 1 of 3", `"EC"`, "only RSA"}},
		"x5t#S256 of another": {set("x5t#S256", other.X5TS256), []string{"certificate 1 of 3", "x5t#S256", "two certificates"}},
		"x5t of another":      {set("x5t", otherKey.X5T), []string{"certificate 1 of 3", "its x5t is"}},
		"n of another":        {set("n", otherKey.N), []string{"certificate 1 of 3", `"n"`, "two keys"}},
		"e of another":        {set("e", "Aw"), []string{`"e"`, "two keys"}},
		"n in base64":         {set("n", "+/+/"), []string{`"n"`, "base64url"}},
		"no x5t#S256":         {drop("x5t#S256"), []string{"x5t#S256"}},
		"no x5c":              {drop("x5c"), []string{"x5c"}},
		"empty x5c":           {set("x5c", []string{}), []string{"x5c"}},
		"x5c of numbers":      {set("x5c", []int{1}), []string{"x5c"}},
		"x5c in base64url":    {set("x5c", []string{"_-_-"}), []string{"base64"}},
		"x5c not a cert":      {set("x5c", []string{"AAAA"}), []string{"not an X.509 certificate"}},
		"no kty":              {drop("kty"), []string{"kty"}},
		"wrong alg":           {set("alg", "RSA1_5"), []string{"alg"}},
		"a private key":       {set("d", "AQAB"), []string{"private key", "exposed"}},
	} {
		certs, _, err := ParseDownloadRequest(remarshal(t, good, c.edit))
		t.Run(name, func(t *testing.T) {
			if certs != nil {
				t.Error("certificates came with the error")
			}
			wantError(t, err, ErrBadRequest, c.parts...)
		})
	}
	for _, body := range []string{"", " ", "null", "[]", "{}", `"x"`, string(good[:len(good)-3]), string(good) + "{}", `{"required":2,"required":2,"certificates":[]}`} {
		_, _, err := ParseDownloadRequest([]byte(body))
		wantError(t, err, ErrBadRequest)
	}
}

func pemBody(t *testing.T, name string) []byte {
	t.Helper()
	text := strings.Split(string(read(t, "keys", name)), "-----")[2]
	der, err := base64.StdEncoding.DecodeString(text)
	if err != nil {
		t.Fatal(err)
	}
	return der
}

// certificateOver makes a certificate for any public key, however bad, signed with key 0.
func certificateOver(t *testing.T, pub *rsa.PublicKey) []byte {
	t.Helper()
	issuer, err := x509.ParseCertificate(wrapKey(t, 0).DER)
	if err != nil {
		t.Fatal(err)
	}
	tmpl := &x509.Certificate{Subject: pkix.Name{CommonName: "bad key"}, NotBefore: issuer.NotBefore, NotAfter: issuer.NotAfter}
	der, err := x509.CreateCertificate(rand.Reader, tmpl, issuer, pub, wrapKey(t, 0).private.f())
	if err != nil {
		t.Fatal(err)
	}
	return der
}

// TestTerraformRequest takes what the azurerm provider sends: no n, e and x5t, one empty key operation, and an x5t#S256 that is
// the padded SHA-256 of the certificate's base64 text.
func TestTerraformRequest(t *testing.T) {
	t.Parallel()
	want := wrapCerts(t)
	var list []map[string]any
	for _, c := range want {
		x5c := base64.StdEncoding.EncodeToString(c.DER)
		sum := sha256.Sum256([]byte(x5c))
		list = append(list, map[string]any{"kty": "RSA-HSM", "key_ops": []string{""}, "alg": "RSA-OAEP-256", "x5c": []string{x5c}, "x5t#S256": base64.URLEncoding.EncodeToString(sum[:])})
	}
	body, err := json.Marshal(map[string]any{"certificates": list, "required": 3})
	if err != nil {
		t.Fatal(err)
	}
	got, required, err := ParseDownloadRequest(body)
	if err != nil || required != 3 || !reflect.DeepEqual(got, want) {
		t.Errorf("quorum %d, %v", required, err)
	}
}

func TestExpired(t *testing.T) {
	t.Parallel()
	const from, to = 1000000000, 1100000000
	cert, _, err := NewWrappingKeyPair("old key", 2048, from, to)
	if err != nil {
		t.Fatal(err)
	}
	c, err := ParseCertificate("old.cer", cert)
	if err != nil {
		t.Fatal(err)
	}
	if c.NotBefore != from || c.NotAfter != to || c.Subject != "CN=old key" {
		t.Errorf("%d to %d, %s", c.NotBefore, c.NotAfter, c.Subject)
	}
	if c.Expired(to) || !c.Expired(to+1) || c.Expired(from-1) {
		t.Error("Expired")
	}
	certs := append(wrapCerts(t)[:2], c)
	body, err := EncodeDownloadRequest(certs, 2)
	if err != nil {
		t.Fatal(err)
	}
	if _, _, err := ParseDownloadRequest(body); err != nil {
		t.Errorf("an expired certificate is refused: %v", err)
	}
}

func TestEncodeRequestRefuses(t *testing.T) {
	t.Parallel()
	certs := wrapCerts(t)
	for _, c := range []struct {
		certs    []Certificate
		required int
	}{
		{certs[:2], 2}, {certs, 1}, {certs, 4}, {append(slices.Clone(certs), certs[0]), 2}, {append(slices.Clone(certs), Certificate{}), 2},
		{append(slices.Clone(certs), Certificate{DER: certs[0].DER, Public: certs[0].Public, X5TS256: "x"}), 2},
	} {
		if _, err := EncodeDownloadRequest(c.certs, c.required); err == nil {
			t.Errorf("%d certificates, quorum %d: accepted", len(c.certs), c.required)
		}
		_, err := Create(ourData(), c.certs, c.required, "")
		wantError(t, err, ErrBadRequest)
	}
}

func FuzzParseDownloadRequest(f *testing.F) {
	good := read(f, "vectors", "download_request.json")
	var compact bytes.Buffer
	if err := json.Compact(&compact, good); err != nil {
		f.Fatal(err)
	}
	f.Add(good)
	f.Add(compact.Bytes())
	f.Add([]byte(`{"certificates":[{},{},{}],"required":2}`))
	f.Fuzz(func(t *testing.T, body []byte) {
		certs, required, err := ParseDownloadRequest(body)
		if err != nil {
			wantError(t, err, ErrBadRequest)
			return
		}
		again, err := EncodeDownloadRequest(certs, required)
		if err != nil {
			t.Fatal(err)
		}
		certs2, required2, err := ParseDownloadRequest(again)
		if err != nil || required2 != required || !reflect.DeepEqual(certs, certs2) {
			t.Fatalf("not the same after encoding: %v", err)
		}
	})
}
