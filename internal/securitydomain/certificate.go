package securitydomain

import (
	"bytes"
	"cmp"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha1" //nolint:gosec // x5t of RFC 7517 is a SHA-1 thumbprint; nothing here relies on it
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"math/big"
)

// Certificate is an RSA certificate that shares or a master key are encrypted to. Only its key matters:
// no chain, no name and no date is verified, as with the genuine client. Certificates are public and may be printed.
type Certificate struct {
	DER       []byte
	Public    *rsa.PublicKey // MinKeyBits or more
	X5TS256   string         // SHA-256 of DER, base64url: what files name the certificate by
	Subject   string
	NotBefore int64 // Unix seconds
	NotAfter  int64 // Unix seconds
}

// Expired reports whether the certificate's time is over at now (Unix seconds). Such certificates are
// accepted, since the key still works; the caller warns.
func (c Certificate) Expired(now int64) bool { return now > c.NotAfter }

// PEM returns the certificate as a PEM file.
func (c Certificate) PEM() []byte {
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: c.DER})
}

// parseDER checks that der is a certificate with an RSA key of a fit size.
func parseDER(der []byte) (Certificate, error) {
	c, err := x509.ParseCertificate(der)
	if err != nil {
		return Certificate{}, fmt.Errorf("not an X.509 certificate: %w", err)
	}
	pub, ok := c.PublicKey.(*rsa.PublicKey)
	if !ok {
		return Certificate{}, fmt.Errorf("its key is %s, but only RSA of %d bits or more is supported: make an RSA key and certificate", c.PublicKeyAlgorithm, MinKeyBits)
	}
	if bits := pub.N.BitLen(); bits < MinKeyBits || bits > maxKeyBits {
		return Certificate{}, fmt.Errorf("its RSA key has %d bits, but %d to %d are supported: make a longer or shorter key and a new certificate", bits, MinKeyBits, maxKeyBits)
	}
	// The library parses keys that it then refuses to use, such as one with an even exponent: find out now.
	if _, err := rsa.EncryptOAEP(sha256.New(), rand.Reader, pub, nil, nil); err != nil {
		return Certificate{}, fmt.Errorf("its RSA key cannot be used (%w): make a new key and certificate", err)
	}
	return Certificate{
		DER: bytes.Clone(der), Public: pub, X5TS256: thumbprint(der),
		Subject: c.Subject.String(), NotBefore: c.NotBefore.Unix(), NotAfter: c.NotAfter.Unix(),
	}, nil
}

func thumbprint(der []byte) string {
	sum := sha256.Sum256(der)
	return b64.EncodeToString(sum[:])
}

func thumbprintSHA1(der []byte) string {
	sum := sha1.Sum(der) //nolint:gosec // see the import
	return b64.EncodeToString(sum[:])
}

// ParseCertificate reads the first certificate of a PEM file, as the genuine client does. The name, such as
// the file's, stands in error messages.
func ParseCertificate(name string, text []byte) (Certificate, error) {
	for rest := text; ; {
		var block *pem.Block
		block, rest = pem.Decode(rest)
		if block == nil {
			break
		}
		if block.Type != "CERTIFICATE" && block.Type != "X509 CERTIFICATE" {
			continue
		}
		c, err := parseDER(block.Bytes)
		if err != nil {
			return Certificate{}, fmt.Errorf("%w: %s: %w", ErrBadCertificate, name, err)
		}
		return c, nil
	}
	if _, err := x509.ParseCertificate(text); err == nil {
		return Certificate{}, fmt.Errorf("%w: %s is in DER form; convert it: openssl x509 -inform der -in FILE -out FILE.cer", ErrBadCertificate, name)
	}
	return Certificate{}, fmt.Errorf("%w: %s holds no PEM certificate (-----BEGIN CERTIFICATE-----)", ErrBadCertificate, name)
}

// ParseExchangeCertificate reads what init-recovery gave: the PEM file the Azure CLI writes (65 characters a
// line, no final newline) or any other PEM file, the JWK, or the whole answer of GET /securitydomain/upload around it.
func ParseExchangeCertificate(pemOrJWK []byte) (Certificate, error) {
	text := bytes.TrimSpace(pemOrJWK)
	if len(text) == 0 || text[0] != '{' {
		return ParseCertificate("the exchange key", pemOrJWK)
	}
	o, err := parseObject(text, "the exchange key")
	if err == nil && o.has("transfer_key") {
		var inner string
		if inner, err = o.text("transfer_key"); err == nil {
			o, err = parseObject([]byte(inner), "the transfer key")
		}
	}
	if err != nil {
		return Certificate{}, fmt.Errorf("%w: %w", ErrBadCertificate, err)
	}
	c, err := parseJWK(o)
	if err != nil {
		return Certificate{}, fmt.Errorf("%w: %w", ErrBadCertificate, err)
	}
	return c, nil
}

// certificateJWK is a certificate as a JSON Web Key, members in the order the genuine client sends them.
type certificateJWK struct {
	X5C    []string `json:"x5c"`
	X5T    string   `json:"x5t"`
	X5T256 string   `json:"x5t#S256"`
	KeyOps []string `json:"key_ops"`
	Kty    string   `json:"kty"`
	Alg    string   `json:"alg"`
	N      string   `json:"n"`
	E      string   `json:"e"`
	Kid    string   `json:"kid,omitempty"`
}

func encodeJWK(c Certificate, kid string, ops ...string) certificateJWK {
	return certificateJWK{
		X5C: []string{base64.StdEncoding.EncodeToString(c.DER)}, X5T: thumbprintSHA1(c.DER), X5T256: c.X5TS256,
		KeyOps: ops, Kty: "RSA", Alg: algRSA,
		N: b64.EncodeToString(c.Public.N.Bytes()), E: b64.EncodeToString(big.NewInt(int64(c.Public.E)).Bytes()),
		Kid: kid,
	}
}

// parseJWK takes the certificate out of a JSON Web Key and refuses the key if another member contradicts it:
// a holder must not be sent a share under a name or number that is not theirs. Members without a meaning here are ignored (RFC 7517 section 4).
func parseJWK(o object) (Certificate, error) {
	for _, private := range []string{"d", "p", "q", "dp", "dq", "qi", "k", "oth"} {
		if o.has(private) {
			return Certificate{}, errors.New("it carries a private key: send the certificate only, and treat that key as exposed")
		}
	}
	kty, err := o.text("kty")
	if err != nil {
		return Certificate{}, err
	}
	if kty != "RSA" && kty != "RSA-HSM" { // Terraform passes on the key type of the vault that holds the certificate
		return Certificate{}, fmt.Errorf("its kty is %s, but only RSA is supported: make an RSA key and certificate", quote(kty))
	}
	if err := o.fixed("alg", algRSA); err != nil {
		return Certificate{}, err
	}
	x5c, err := o.list("x5c")
	if err != nil {
		return Certificate{}, err
	}
	if len(x5c) == 0 {
		return Certificate{}, errors.New(`its "x5c" is empty: it must hold the certificate`)
	}
	var first string
	if err := json.Unmarshal(x5c[0], &first); err != nil {
		return Certificate{}, errors.New(`"x5c" does not hold strings`)
	}
	der, err := base64.StdEncoding.Strict().DecodeString(first)
	if err != nil {
		return Certificate{}, errors.New(`its "x5c" is not base64 (RFC 7517 section 4.7: standard alphabet, with padding)`)
	}
	c, err := parseDER(der)
	if err != nil {
		return Certificate{}, err
	}
	return c, cmp.Or(checkThumbprints(o, c, first), checkNumbers(o, c))
}

// checkThumbprints compares x5t#S256, which must be there, and x5t, which may. Terraform's azurerm provider
// hashes the base64 text of the certificate and keeps the padding; that names the same certificate and is let through.
// What we write into files is always the proper thumbprint.
func checkThumbprints(o object, c Certificate, x5c string) error {
	got, err := o.text("x5t#S256")
	if err != nil {
		return err
	}
	ofText := sha256.Sum256([]byte(x5c))
	if got != c.X5TS256 && got != base64.URLEncoding.EncodeToString(ofText[:]) {
		return fmt.Errorf("its x5t#S256 is %s but the certificate's is %s: the request was put together from two certificates, make it anew", quote(got), c.X5TS256)
	}
	if !o.has("x5t") {
		return nil
	}
	got, err = o.text("x5t")
	if err != nil {
		return err
	}
	if want := thumbprintSHA1(c.DER); got != want {
		return fmt.Errorf("its x5t is %s but the certificate's is %s: the request was put together from two certificates, make it anew", quote(got), want)
	}
	return nil
}

// checkNumbers compares n and e, where given, with the certificate's.
func checkNumbers(o object, c Certificate) error {
	for _, m := range []struct {
		name string
		want *big.Int
	}{{"n", c.Public.N}, {"e", big.NewInt(int64(c.Public.E))}} {
		if !o.has(m.name) {
			continue
		}
		s, err := o.text(m.name)
		if err != nil {
			return err
		}
		b, err := decodeB64(s)
		if err != nil {
			return fmt.Errorf("its %q is %w", m.name, err)
		}
		if new(big.Int).SetBytes(b).Cmp(m.want) != 0 {
			return fmt.Errorf("its %q is not the certificate's: the request was put together from two keys, make it anew", m.name)
		}
	}
	return nil
}
