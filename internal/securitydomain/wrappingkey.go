package securitydomain

import (
	"cmp"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"fmt"
	"math/big"

	"redoubt/internal/secret"
)

// privateKey keeps an RSA private key behind a closure, for the reason secret.Bytes does: no fmt verb can print it.
type privateKey struct{ f func() *rsa.PrivateKey }

func newPrivateKey(k *rsa.PrivateKey) privateKey {
	return privateKey{f: func() *rsa.PrivateKey { return k }}
}

// wipe overwrites the numbers that can be reached; see the package comment for those that cannot.
func (p privateKey) wipe() {
	if p.f == nil {
		return
	}
	k := p.f()
	numbers := append([]*big.Int{k.D, k.Precomputed.Dp, k.Precomputed.Dq, k.Precomputed.Qinv}, k.Primes...)
	for _, n := range numbers {
		if n != nil {
			clear(n.Bits())
		}
	}
	k.Precomputed = rsa.PrecomputedValues{}
}

// WrappingKey is one holder's certificate and private key.
type WrappingKey struct {
	Certificate
	Name    string // how messages call it, such as the file name
	private privateKey
}

// Wipe overwrites the private key as far as Go allows. The key cannot be used afterwards, nor can its copies.
func (k WrappingKey) Wipe() { k.private.wipe() }

// ParseWrappingKey reads a holder's certificate and private key, both PEM. The private key may be PKCS #8 or PKCS #1,
// in the clear or under a password (PBES2, or the older encrypted PEM of RFC 1423). An empty password means none. Errors are ErrBadKey or
// ErrBadCertificate and begin with name.
func ParseWrappingKey(name string, certPEM, keyPEM []byte, password secret.Bytes) (WrappingKey, error) {
	cert, err := ParseCertificate("the certificate of "+name, certPEM)
	if err != nil {
		return WrappingKey{}, err
	}
	key, err := parseKeyPEM(keyPEM, password)
	if err != nil {
		return WrappingKey{}, fmt.Errorf("%w: %s: %w", ErrBadKey, name, err)
	}
	private := newPrivateKey(key)
	if !key.PublicKey.Equal(cert.Public) {
		private.wipe()
		return WrappingKey{}, fmt.Errorf("%w: %s: it is not the private key of the certificate given with it (thumbprint %s)", ErrBadKey, name, cert.X5TS256)
	}
	return WrappingKey{Certificate: cert, Name: name, private: private}, nil
}

// parseKeyPEM reads the first private key of a PEM file.
func parseKeyPEM(text []byte, password secret.Bytes) (*rsa.PrivateKey, error) {
	form, der, err := readKeyPEM(text, password)
	if err != nil {
		return nil, err
	}
	defer clear(der)
	switch form {
	case formPKCS1:
		key, err := x509.ParsePKCS1PrivateKey(der)
		if err != nil {
			return nil, errors.New("its content is not a valid PKCS #1 private key: truncated or altered")
		}
		return key, nil
	case formSEC1:
		return nil, errors.New("it is an EC key: wrapping keys are RSA")
	}
	return parsePKCS8(der)
}

func parsePKCS8(der []byte) (*rsa.PrivateKey, error) {
	k, err := x509.ParsePKCS8PrivateKey(der)
	if err != nil {
		return nil, errors.New("its content is not a valid PKCS #8 private key: truncated or altered")
	}
	key, ok := k.(*rsa.PrivateKey)
	if !ok {
		return nil, errors.New("it is not an RSA key: wrapping keys are RSA")
	}
	return key, nil
}

// NewWrappingKeyPair makes an RSA key of 2048, 3072 or 4096 bits and a self-signed certificate for it, valid
// from notBefore to notAfter (Unix seconds). The key is PKCS #8 PEM in the clear; the caller owns it.
func NewWrappingKeyPair(commonName string, bits int, notBefore, notAfter int64) (certPEM []byte, keyPEM secret.Bytes, err error) {
	if bits != 2048 && bits != 3072 && bits != 4096 {
		return nil, secret.Bytes{}, fmt.Errorf("%w: an RSA key of %d bits: choose 2048, 3072 or 4096", ErrBadKey, bits)
	}
	key, cert, err := selfSigned(commonName, bits, notBefore, notAfter)
	if err != nil {
		return nil, secret.Bytes{}, err
	}
	defer newPrivateKey(key).wipe()
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return nil, secret.Bytes{}, fmt.Errorf("encoding a private key: %w", err)
	}
	defer clear(der)
	return cert.PEM(), secret.New(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der})), nil
}

// selfSigned makes an RSA key and a certificate that names it. The certificate only transports the public key.
func selfSigned(commonName string, bits int, notBefore, notAfter int64) (*rsa.PrivateKey, Certificate, error) {
	if commonName == "" || len(commonName) > 64 { // ub-common-name of RFC 5280
		return nil, Certificate{}, fmt.Errorf("%w: a common name has 1 to 64 characters", ErrBadCertificate)
	}
	tmpl := &x509.Certificate{ // without a serial number CreateCertificate draws one
		Subject:               pkix.Name{CommonName: commonName},
		KeyUsage:              x509.KeyUsageKeyEncipherment,
		BasicConstraintsValid: true,
	}
	if err := setTimes(tmpl, notBefore, notAfter); err != nil {
		return nil, Certificate{}, err
	}
	key, err := rsa.GenerateKey(rand.Reader, bits)
	if err != nil {
		return nil, Certificate{}, fmt.Errorf("making an RSA key: %w", err)
	}
	der, err := x509.CreateCertificate(rand.Reader, tmpl, tmpl, &key.PublicKey, key)
	if err != nil {
		return nil, Certificate{}, fmt.Errorf("making a certificate: %w", err)
	}
	cert, err := parseDER(der)
	return key, cert, err
}

const lastSecond = 253402300799 // 9999-12-31T23:59:59Z, the last that a certificate can name

// setTimes fills in the validity. It goes through RFC 3339 text and the zero value of the fields (midnight of the first of
// January of year 1), so that this package, which must not read a clock, does not import one.
func setTimes(c *x509.Certificate, notBefore, notAfter int64) error {
	if notBefore < 0 || notBefore >= notAfter || notAfter > lastSecond {
		return fmt.Errorf("%w: valid from %d to %d is no time span", ErrBadCertificate, notBefore, notAfter)
	}
	if err := cmp.Or(c.NotBefore.UnmarshalText(rfc3339(notBefore)), c.NotAfter.UnmarshalText(rfc3339(notAfter))); err != nil {
		return fmt.Errorf("%w: %w", ErrBadCertificate, err)
	}
	return nil
}

func rfc3339(unix int64) []byte {
	const day = 86400
	y, m, d := x509.Certificate{}.NotBefore.AddDate(1969, 0, int(unix/day)).Date()
	s := unix % day
	return fmt.Appendf(nil, "%04d-%02d-%02dT%02d:%02d:%02dZ", y, m, d, s/3600, s/60%60, s%60)
}
