package securitydomain

import (
	"bytes"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"strings"
	"testing"
	"time"

	"redoubt/internal/secret"
)

func TestKeyForms(t *testing.T) {
	t.Parallel()
	want := wrapKey(t, 0)
	cert := read(t, "vectors", "wrap_0.cer")
	password := text("correct-horse")
	for name, c := range map[string]struct {
		password secret.Bytes
		content  []byte
	}{
		"PKCS #8":                  {secret.Bytes{}, read(t, "vectors", "wrap_0.key")},
		"PKCS #1":                  {secret.Bytes{}, read(t, "keys", "pkcs1.key")},
		"PKCS #1, AES-128":         {password, read(t, "keys", "pkcs1-aes128.key")},
		"PKCS #1, 3DES":            {password, read(t, "keys", "pkcs1-des3.key")},
		"PKCS #8, AES-256 SHA-256": {password, read(t, "keys", "pkcs8-aes256-sha256.key")},
		"PKCS #8, AES-128 SHA-512": {password, read(t, "keys", "pkcs8-aes128-sha512.key")},
		"PKCS #8, 3DES SHA-1":      {password, read(t, "keys", "pkcs8-des3-sha1.key")},
		"PKCS #8, scrypt":          {password, read(t, "keys", "pkcs8-scrypt.key")},
		"after a certificate":      {secret.Bytes{}, append(bytes.Clone(cert), read(t, "vectors", "wrap_0.key")...)},
	} {
		k, err := ParseWrappingKey("a.key", cert, c.content, c.password)
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		if !k.private.f().Equal(want.private.f()) || k.X5TS256 != want.X5TS256 || k.Name != "a.key" {
			t.Errorf("%s: another key", name)
		}
		if c.password.Len() == 0 {
			_, err = ParseWrappingKey("a.key", cert, c.content, password)
			wantError(t, err, ErrBadKey, "a.key", "leave the password out")
			continue
		}
		_, err = ParseWrappingKey("a.key", cert, c.content, secret.Bytes{})
		wantError(t, err, ErrBadKey, "a.key", "give its password")
		_, err = ParseWrappingKey("a.key", cert, c.content, text("wrong-horse"))
		wantError(t, err, ErrBadKey, "a.key", "does not open it")
	}
}

func TestKeyRefused(t *testing.T) {
	t.Parallel()
	cert, key := read(t, "vectors", "wrap_0.cer"), read(t, "vectors", "wrap_0.key")
	none := secret.Bytes{}
	block, _ := pem.Decode(key)
	truncated := pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: block.Bytes[:len(block.Bytes)-9]})
	garbage := func(kind string) []byte { return pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: []byte("xyz")}) }
	for name, c := range map[string]struct {
		key   []byte
		parts []string
	}{
		"empty":             {nil, []string{"no PEM private key"}},
		"a certificate":     {cert, []string{"no PEM private key"}},
		"cut file":          {key[:800], []string{"no PEM private key"}},
		"cut content":       {truncated, []string{"truncated or altered"}},
		"PKCS #1 garbage":   {garbage("RSA PRIVATE KEY"), []string{"truncated or altered"}},
		"encrypted garbage": {garbage("ENCRYPTED PRIVATE KEY"), []string{"truncated or altered"}},
		"EC":                {read(t, "keys", "ec.key"), []string{"EC key", "RSA"}},
		"EC in PKCS #8":     {read(t, "keys", "ec-pkcs8.key"), []string{"not an RSA key"}},
		"OpenSSH":           {garbage("OPENSSH PRIVATE KEY"), []string{"ssh-keygen"}},
		"PBES1":             {read(t, "keys", "pkcs8-pbes1.key"), []string{"openssl pkcs8"}},
		"another holder's":  {read(t, "vectors", "wrap_1.key"), []string{"not the private key of the certificate", wrapKey(t, 0).X5TS256}},
	} {
		_, err := ParseWrappingKey("ceremony/a.key", cert, c.key, none)
		t.Run(name, func(t *testing.T) { wantError(t, err, ErrBadKey, append(c.parts, "ceremony/a.key")...) })
	}
	for name, part := range map[string]string{"ec.cer": "only RSA", "rsa1024.cer": "1024 bits", "ec.key": "no PEM certificate"} {
		_, err := ParseWrappingKey("a.key", read(t, "keys", name), key, none)
		wantError(t, err, ErrBadCertificate, "a.key", part)
	}
	der, _ := pem.Decode(cert)
	_, err := ParseCertificate("a.cer", der.Bytes)
	wantError(t, err, ErrBadCertificate, "DER form", "openssl x509")
	_, err = ParseCertificate("a.cer", pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der.Bytes[:300]}))
	wantError(t, err, ErrBadCertificate, "a.cer", "not an X.509 certificate")
}

func TestPBES2Bounds(t *testing.T) {
	t.Parallel()
	for name, kdf := range map[string]algorithmID{
		"unknown":         {},
		"too many rounds": {Algorithm: oidPBKDF2, Parameters: rawDER(t, pbkdf2Params{Salt: []byte("salt"), Iterations: maxIterations + 1})},
		"no rounds":       {Algorithm: oidPBKDF2, Parameters: rawDER(t, pbkdf2Params{Salt: []byte("salt")})},
		"other length":    {Algorithm: oidPBKDF2, Parameters: rawDER(t, pbkdf2Params{Salt: []byte("salt"), Iterations: 1, KeyLength: 16})},
		"unknown PRF":     {Algorithm: oidPBKDF2, Parameters: rawDER(t, pbkdf2Params{Salt: []byte("salt"), Iterations: 1, PRF: algorithmID{Algorithm: oidScrypt}})},
		"scrypt memory":   {Algorithm: oidScrypt, Parameters: rawDER(t, scryptParams{Salt: []byte("salt"), N: 1 << 30, R: 8, P: 1})},
		"scrypt blocks":   {Algorithm: oidScrypt, Parameters: rawDER(t, scryptParams{Salt: []byte("salt"), N: 1 << 14, R: 1 << 40, P: 1})},
		"scrypt parallel": {Algorithm: oidScrypt, Parameters: rawDER(t, scryptParams{Salt: []byte("salt"), N: 2, R: 1, P: 1000})},
		"scrypt zero":     {Algorithm: oidScrypt, Parameters: rawDER(t, scryptParams{Salt: []byte("salt")})},
		"scrypt negative": {Algorithm: oidScrypt, Parameters: rawDER(t, scryptParams{Salt: []byte("salt"), N: -4, R: -8, P: 1})},
		"scrypt no power": {Algorithm: oidScrypt, Parameters: rawDER(t, scryptParams{Salt: []byte("salt"), N: 3, R: 1, P: 1})},
	} {
		if _, err := passwordKey(kdf, text("x"), 32); err == nil {
			t.Errorf("%s: accepted", name)
		}
	}
}

func TestNewWrappingKeyPair(t *testing.T) {
	t.Parallel()
	from := time.Date(2026, 2, 28, 23, 59, 59, 0, time.UTC)
	to := time.Date(2051, 12, 31, 12, 0, 1, 0, time.UTC)
	certPEM, keyPEM, err := NewWrappingKeyPair("Key holder 1", 3072, from.Unix(), to.Unix())
	if err != nil {
		t.Fatal(err)
	}
	k, err := ParseWrappingKey("k", certPEM, keyPEM.Expose(), secret.Bytes{})
	if err != nil {
		t.Fatal(err)
	}
	c, err := x509.ParseCertificate(k.DER)
	if err != nil {
		t.Fatal(err)
	}
	if !c.NotBefore.Equal(from) || !c.NotAfter.Equal(to) || k.Public.N.BitLen() != 3072 || c.Subject.CommonName != "Key holder 1" {
		t.Errorf("%v to %v, %d bits, %s", c.NotBefore, c.NotAfter, k.Public.N.BitLen(), c.Subject)
	}
	if c.SerialNumber.BitLen() < 32 || c.CheckSignature(c.SignatureAlgorithm, c.RawTBSCertificate, c.Signature) != nil {
		t.Error("no random serial number, or not self-signed")
	}
	if s := fmt.Sprintf("%v %+v %#v %s", keyPEM, k, k, fmt.Sprint(&k)); strings.Contains(s, k.private.f().D.String()) || strings.Contains(s, "PRIVATE") {
		t.Error("the private key is printed")
	}
	if b, err := json.Marshal(k); err != nil || bytes.Contains(b, []byte("Primes")) {
		t.Errorf("as JSON: %s, %v", b, err)
	}
	d := k.private.f().D
	k.Wipe()
	for _, w := range d.Bits() {
		if w != 0 {
			t.Fatal("Wipe left the private exponent")
		}
	}
	WrappingKey{}.Wipe()

	_, _, err = NewWrappingKeyPair("k", 1024, 0, 1)
	wantError(t, err, ErrBadKey, "2048, 3072 or 4096")
	for _, c := range []struct {
		name     string
		from, to int64
	}{{"", 0, 1}, {strings.Repeat("x", 65), 0, 1}, {"k", 1, 1}, {"k", -1, 1}, {"k", 2, 1}, {"k", 0, lastSecond + 1}} {
		_, _, err := NewWrappingKeyPair(c.name, 2048, c.from, c.to)
		wantError(t, err, ErrBadCertificate)
	}
}

// TestRFC3339 holds our own calendar against the standard library's.
func TestRFC3339(t *testing.T) {
	t.Parallel()
	for _, unix := range []int64{0, 1, 59, 86399, 86400, 951782399, 951782400, 951868800, 1772323199, 1772323200, 4107542399, 4107542400, lastSecond} {
		if got, want := string(rfc3339(unix)), time.Unix(unix, 0).UTC().Format(time.RFC3339); got != want {
			t.Errorf("%d: %s, want %s", unix, got, want)
		}
	}
	for unix := int64(0); unix < lastSecond; unix += 86400*17 + 12345 {
		if got, want := string(rfc3339(unix)), time.Unix(unix, 0).UTC().Format(time.RFC3339); got != want {
			t.Fatalf("%d: %s, want %s", unix, got, want)
		}
	}
}

func FuzzParseKeyPEM(f *testing.F) {
	for _, name := range []string{"pkcs1.key", "pkcs1-aes128.key", "pkcs8-aes256-sha256.key", "pkcs8-scrypt.key", "pkcs8-pbes1.key", "ec.key"} {
		f.Add(read(f, "keys", name))
	}
	f.Add(read(f, "vectors", "wrap_0.key"))
	f.Fuzz(func(t *testing.T, b []byte) {
		// Without a password no key is derived, so that a fuzzed iteration count costs nothing.
		if k, err := parseKeyPEM(b, secret.Bytes{}); err == nil && k.Validate() != nil {
			t.Fatal("an invalid key")
		}
	})
}

func FuzzParseCertificate(f *testing.F) {
	f.Add(read(f, "vectors", "wrap_0.cer"))
	f.Add(read(f, "keys", "ec.cer"))
	f.Add([]byte(`{"kty":"RSA","alg":"RSA-OAEP-256","x5c":["AAAA"]}`))
	f.Fuzz(func(t *testing.T, b []byte) {
		c, err := ParseExchangeCertificate(b)
		if err != nil {
			wantError(t, err, ErrBadCertificate)
			return
		}
		again, err := ParseExchangeCertificate(c.PEM())
		if err != nil || again.X5TS256 != c.X5TS256 || c.Public.N.BitLen() < MinKeyBits {
			t.Fatalf("%v", err)
		}
	})
}
