package material

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/rsa"
	"crypto/x509"
	"fmt"

	"redoubt/internal/key"
	"redoubt/internal/secret"
)

// The encoding (docs/formats/records.md): magic "RDM1", one byte for the type, then PKCS #8 DER (RFC
// 5958, as RFC 8017 A.1.2 and RFC 5915 fill it) for RSA and EC, or the raw bytes for oct. There is exactly
// one encoding of each key: Parse re-encodes what it read and refuses anything else.
const magic = "RDM1"

var typeByte = map[key.Type]byte{key.RSA: 1, key.EC: 2, key.Oct: 3}

// Marshal returns the key's canonical encoding, a fresh copy that the caller may wipe. It is empty after
// Wipe.
func (k Key) Marshal() secret.Bytes {
	h, err := k.enter()
	if err != nil {
		return secret.Bytes{}
	}
	defer h.leave()
	p, err := h.body.payload()
	if err != nil {
		// Only keys that were encodable once get this far (Generate and Parse check).
		panic("material: cannot encode a key that was accepted: " + err.Error())
	}
	defer clear(p)
	out := make([]byte, 0, len(magic)+1+len(p))
	out = append(out, magic...)
	out = append(out, typeByte[h.spec.Type])
	return secret.New(append(out, p...))
}

// Parse is the inverse of Marshal. It is strict: the material must be of exactly the given spec, its
// numbers must be in range and agree with each other (RSA factors with modulus and exponents, EC public
// point with private scalar), and its encoding must be the canonical one. m stays the caller's.
func (e Engines) Parse(spec key.Spec, m secret.Bytes) (Key, error) {
	spec, err := key.NewSpec(spec.Type, spec.Bits, spec.Curve, spec.Exponent)
	if err != nil {
		return Key{}, fmt.Errorf("parse material: %w", err)
	}
	b := m.Expose()
	if len(b) < len(magic)+1 || string(b[:len(magic)]) != magic {
		return Key{}, fmt.Errorf("%w: unknown format", ErrBadMaterial)
	}
	if b[len(magic)] != typeByte[spec.Type] {
		return Key{}, fmt.Errorf("%w: it is not of type %s", ErrBadMaterial, spec.Type)
	}
	k, err := e.parsePayload(spec, b[len(magic)+1:])
	if err != nil {
		return Key{}, err
	}
	again := k.Marshal()
	defer again.Wipe()
	if !again.Equal(m) {
		k.Wipe()
		return Key{}, fmt.Errorf("%w: not in its canonical encoding", ErrBadMaterial)
	}
	return k, nil
}

func (e Engines) parsePayload(spec key.Spec, p []byte) (Key, error) {
	if spec.Type == key.Oct {
		if len(p)*8 != spec.Bits {
			return Key{}, fmt.Errorf("%w: %d bytes for %s", ErrBadMaterial, len(p), spec)
		}
		return newOct(spec, secret.New(bytes.Clone(p)))
	}
	if spec.Curve == key.P256K {
		return parseK256(spec, p)
	}
	// The parser's own error could quote numbers of the key: it is not passed on.
	priv, err := x509.ParsePKCS8PrivateKey(p)
	if err != nil {
		return Key{}, fmt.Errorf("%w: not PKCS #8 or inconsistent", ErrBadMaterial)
	}
	switch priv := priv.(type) {
	case *rsa.PrivateKey:
		if spec.Type == key.RSA {
			return e.newRSA(spec, priv)
		}
	case *ecdsa.PrivateKey:
		if spec.Type == key.EC {
			return e.newNIST(spec, priv)
		}
	}
	return Key{}, fmt.Errorf("%w: it is not of type %s", ErrBadMaterial, spec.Type)
}
