package securitydomain

import (
	"crypto/ecdsa"
	"crypto/rsa"
	"crypto/x509"
	"encoding/asn1"
	"encoding/pem"
	"strings"
	"testing"

	"redoubt/internal/secret"
)

// TestOpenKeyPEM: every form of one key becomes the same PKCS #8 key.
func TestOpenKeyPEM(t *testing.T) {
	t.Parallel()
	password := secret.New([]byte("correct-horse"))
	block, _ := pem.Decode(read(t, "vectors", "wrap_0.key"))
	want, err := x509.ParsePKCS8PrivateKey(block.Bytes)
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"pkcs1.key", "pkcs1-des3.key", "pkcs1-aes128.key", "pkcs8-aes256-sha256.key", "pkcs8-aes128-sha512.key", "pkcs8-des3-sha1.key", "pkcs8-scrypt.key"} {
		given := password
		if name == "pkcs1.key" {
			given = secret.Bytes{}
		}
		der, err := OpenKeyPEM(read(t, "keys", name), given)
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		if k, err := x509.ParsePKCS8PrivateKey(der.Expose()); err != nil || !want.(*rsa.PrivateKey).Equal(k) {
			t.Errorf("%s: %v", name, err)
		}
		if given.Len() > 0 {
			_, err = OpenKeyPEM(read(t, "keys", name), secret.Bytes{})
			wantError(t, err, ErrBadKey, "give its password")
			_, err = OpenKeyPEM(read(t, "keys", name), secret.New([]byte("wrong-horse")))
			wantError(t, err, ErrBadKey, "does not open it")
		} else {
			_, err = OpenKeyPEM(read(t, "keys", name), password)
			wantError(t, err, ErrBadKey, "leave the password out")
		}
	}

	block, _ = pem.Decode(read(t, "keys", "ec-pkcs8.key"))
	ec, err := x509.ParsePKCS8PrivateKey(block.Bytes)
	if err != nil {
		t.Fatal(err)
	}
	sec1, err := x509.MarshalECPrivateKey(ec.(*ecdsa.PrivateKey))
	if err != nil {
		t.Fatal(err)
	}
	for name, text := range map[string][]byte{"SEC 1": pem.EncodeToMemory(&pem.Block{Type: "EC PRIVATE KEY", Bytes: sec1}), "PKCS #8": read(t, "keys", "ec-pkcs8.key"),
		"behind parameters": append([]byte("-----BEGIN EC PARAMETERS-----\nBggqhkjOPQMBBw==\n-----END EC PARAMETERS-----\n"), pem.EncodeToMemory(&pem.Block{Type: "EC PRIVATE KEY", Bytes: sec1})...)} {
		der, err := OpenKeyPEM(text, secret.Bytes{})
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		if k, err := x509.ParsePKCS8PrivateKey(der.Expose()); err != nil || !ec.(*ecdsa.PrivateKey).Equal(k) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestOpenKeyPEMRefused(t *testing.T) {
	t.Parallel()
	noCurve, err := asn1.Marshal(struct {
		Version int
		Key     []byte
	}{1, make([]byte, 32)})
	if err != nil {
		t.Fatal(err)
	}
	block := func(kind string, b []byte) []byte { return pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: b}) }
	for name, c := range map[string]struct {
		text []byte
		part string
	}{
		"nothing": {nil, "no PEM private key"}, "a certificate": {read(t, "vectors", "wrap_0.cer"), "no PEM private key"}, "a public key": {block("PUBLIC KEY", []byte("x")), "no PEM private key"},
		"OpenSSH": {block("OPENSSH PRIVATE KEY", []byte("x")), "ssh-keygen"}, "EC without its curve": {block("EC PRIVATE KEY", noCurve), "names its curve"},
		"EC garbage": {block("EC PRIVATE KEY", []byte("xyz")), "names its curve"}, "PBES1": {read(t, "keys", "pkcs8-pbes1.key"), "openssl pkcs8"},
		"encrypted garbage": {block("ENCRYPTED PRIVATE KEY", []byte("xyz")), "truncated or altered"},
		"bad DEK-Info":      {[]byte(strings.Replace(string(read(t, "keys", "pkcs1-aes128.key")), "AES-128", "AES-127", 1)), "password"},
	} {
		_, err := OpenKeyPEM(c.text, secret.Bytes{})
		t.Run(name, func(t *testing.T) { wantError(t, err, ErrBadKey, c.part) })
	}
}

// FuzzOpenKeyPEM: whatever a file holds, reading it ends, and does not turn text into a key of another form.
func FuzzOpenKeyPEM(f *testing.F) {
	for _, name := range []string{"pkcs1.key", "ec.key", "ec-pkcs8.key", "pkcs1-aes128.key"} {
		f.Add(read(f, "keys", name), "correct-horse")
	}
	f.Fuzz(func(t *testing.T, text []byte, password string) {
		if strings.Contains(string(text), "ENCRYPTED PRIVATE KEY") {
			return // a hostile file may ask for seconds of derivation; TestPBES2Bounds has the limits
		}
		der, err := OpenKeyPEM(text, secret.New([]byte(password)))
		if err != nil {
			return
		}
		defer der.Wipe()
		if der.Len() == 0 || !strings.Contains(string(text), "PRIVATE KEY-----") {
			t.Errorf("%q is a key", text)
		}
	})
}
