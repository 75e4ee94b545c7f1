package securitydomain

import (
	"bytes"
	"crypto/x509"
	"encoding/asn1"
	"encoding/pem"
	"errors"
	"fmt"

	"golang.org/x/crypto/cryptobyte"
	cryptoasn1 "golang.org/x/crypto/cryptobyte/asn1"

	"redoubt/internal/secret"
)

// The forms in which a private key lies in a PEM file, by its block's type once a password is off it.
const (
	formPKCS8 = "PRIVATE KEY"
	formPKCS1 = "RSA PRIVATE KEY"
	formSEC1  = "EC PRIVATE KEY"
)

var (
	oidRSA = asn1.ObjectIdentifier{1, 2, 840, 113549, 1, 1, 1}
	oidEC  = asn1.ObjectIdentifier{1, 2, 840, 10045, 2, 1}
)

// OpenKeyPEM returns the first private key of a PEM file as PKCS #8 DER (RFC 5958): an RSA or EC key in PKCS #8, PKCS
// #1 or SEC 1 (RFC 5915), in the clear or under a password (PBES2, or the older encrypted PEM of RFC 1423). An
// empty password means none. Whether it is a sound key is for whoever uses it to see. Errors are ErrBadKey.
func OpenKeyPEM(text []byte, password secret.Bytes) (secret.Bytes, error) {
	form, der, err := readKeyPEM(text, password)
	if err == nil && form != formPKCS8 {
		inner := der
		der, err = wrapPKCS8(form, inner)
		clear(inner)
	}
	if err != nil {
		return secret.Bytes{}, fmt.Errorf("%w: %w", ErrBadKey, err)
	}
	return secret.New(der), nil
}

// readKeyPEM returns the first private key, without its password. The caller clears it.
func readKeyPEM(text []byte, password secret.Bytes) (form string, der []byte, err error) {
	for rest := text; ; {
		var block *pem.Block
		block, rest = pem.Decode(rest)
		if block == nil {
			return "", nil, errors.New("it holds no PEM private key (-----BEGIN PRIVATE KEY-----)")
		}
		defer clear(block.Bytes)
		switch block.Type {
		case formPKCS8:
			if err := noPassword(password); err != nil {
				return "", nil, err
			}
			return formPKCS8, bytes.Clone(block.Bytes), nil
		case "ENCRYPTED PRIVATE KEY":
			der, err := decryptPKCS8(block.Bytes, password)
			return formPKCS8, der, err
		case formPKCS1, formSEC1:
			der, err := openOldPEM(block, password)
			return block.Type, der, err
		case "OPENSSH PRIVATE KEY":
			return "", nil, errors.New("it is in OpenSSH form; convert it: ssh-keygen -p -m PKCS8 -f FILE")
		}
	}
}

func noPassword(password secret.Bytes) error {
	if password.Len() > 0 {
		return errors.New("a password was given but the key is not encrypted: leave the password out")
	}
	return nil
}

// openOldPEM takes the password of RFC 1423 off a block that may have one.
func openOldPEM(block *pem.Block, password secret.Bytes) ([]byte, error) {
	//nolint:staticcheck // RFC 1423 encryption is weak, but such key files exist and az opens them; we only read them
	if !x509.IsEncryptedPEMBlock(block) {
		if err := noPassword(password); err != nil {
			return nil, err
		}
		return bytes.Clone(block.Bytes), nil
	}
	if password.Len() == 0 {
		return nil, errNeedsPassword
	}
	plain, err := x509.DecryptPEMBlock(block, password.Expose()) //nolint:staticcheck // as above
	var inner asn1.RawValue                                      // a wrong password passes the padding now and then, but not as a DER value
	if err != nil || !unmarshal(plain, &inner) {
		clear(plain)
		return nil, errWrongPassword
	}
	return plain, nil
}

// wrapPKCS8 puts RSAPrivateKey or ECPrivateKey into PKCS #8. An EC key names its curve inside; without that it
// could be on any.
func wrapPKCS8(form string, inner []byte) ([]byte, error) {
	algorithm, parameters := oidRSA, []byte{byte(cryptoasn1.NULL), 0}
	if form == formSEC1 {
		var seq, named cryptobyte.String
		var version int
		in := cryptobyte.String(inner)
		if !in.ReadASN1(&seq, cryptoasn1.SEQUENCE) || !seq.ReadASN1Integer(&version) || !seq.SkipASN1(cryptoasn1.OCTET_STRING) ||
			!seq.ReadASN1(&named, cryptoasn1.Tag(0).Constructed().ContextSpecific()) {
			return nil, errors.New("its content is not an EC private key that names its curve; convert it: openssl pkcs8 -topk8 -nocrypt -in FILE -out NEW.key")
		}
		algorithm, parameters = oidEC, named
	}
	b := cryptobyte.NewFixedBuilder(make([]byte, 0, len(inner)+len(parameters)+64))
	b.AddASN1(cryptoasn1.SEQUENCE, func(b *cryptobyte.Builder) {
		b.AddASN1Int64(0)
		b.AddASN1(cryptoasn1.SEQUENCE, func(b *cryptobyte.Builder) {
			b.AddASN1ObjectIdentifier(algorithm)
			b.AddBytes(parameters)
		})
		b.AddASN1OctetString(inner)
	})
	return b.Bytes()
}
