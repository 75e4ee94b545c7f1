package material

import (
	"fmt"

	"golang.org/x/crypto/cryptobyte"
	"golang.org/x/crypto/cryptobyte/asn1"

	"redoubt/internal/key"
)

// k256Body is a P-256K key.
type k256Body struct{ key k256 }

func newK256(spec key.Spec, k k256) Key {
	point := k.point()
	return Key{&holder{spec: spec, pub: key.Public{X: point[1:33], Y: point[33:]}, body: &k256Body{key: k}}}
}

func generateK256(spec key.Spec) (Key, error) {
	k, err := drawK256()
	if err != nil {
		return Key{}, fmt.Errorf("generate %s: %w", spec, err)
	}
	return newK256(spec, k), nil
}

// parseK256 reads the payload. That it is the one encoding of the key, Parse finds by encoding it again.
func parseK256(spec key.Spec, p []byte) (Key, error) {
	ec, ok := readECKey(p)
	if !ok || ec.curve != key.P256K {
		return Key{}, fmt.Errorf("%w: not PKCS #8 of a %s key", ErrBadMaterial, spec)
	}
	k, ok := readK256(ec.scalar)
	if !ok {
		return Key{}, fmt.Errorf("%w: the scalar of %s is out of range", ErrBadMaterial, spec)
	}
	return newK256(spec, k), nil
}

func (b *k256Body) sign(alg key.Algorithm, digest []byte) ([]byte, error) {
	sig, err := b.key.sign(digest)
	if err != nil {
		return nil, fmt.Errorf("sign with %q: %w", alg, err)
	}
	return sig, nil
}

func (b *k256Body) verify(_ key.Algorithm, digest, sig []byte) (bool, error) {
	return b.key.verify(digest, sig), nil
}

func (*k256Body) encrypt(alg key.Algorithm, _ key.CipherInput) (key.CipherOutput, error) {
	return key.CipherOutput{}, noCipher(alg)
}

func (*k256Body) decrypt(alg key.Algorithm, _ key.CipherInput) (key.CipherOutput, error) {
	return key.CipherOutput{}, noCipher(alg)
}

// payload is what the standard library would write, if it knew the curve.
func (b *k256Body) payload() ([]byte, error) {
	d := b.key.scalar()
	defer clear(d)
	var out cryptobyte.Builder
	out.AddASN1(asn1.SEQUENCE, func(out *cryptobyte.Builder) {
		out.AddASN1Int64(0)
		out.AddASN1(asn1.SEQUENCE, func(out *cryptobyte.Builder) {
			out.AddASN1ObjectIdentifier(oidECKey)
			out.AddASN1ObjectIdentifier(curveOID[key.P256K])
		})
		out.AddASN1(asn1.OCTET_STRING, func(out *cryptobyte.Builder) {
			out.AddASN1(asn1.SEQUENCE, func(out *cryptobyte.Builder) {
				out.AddASN1Int64(1)
				out.AddASN1OctetString(d)
				out.AddASN1(asn1.Tag(1).Constructed().ContextSpecific(), func(out *cryptobyte.Builder) {
					out.AddASN1BitString(b.key.point())
				})
			})
		})
	})
	return out.Bytes()
}

// wipe drops the key: the library's scalar cannot be reached to be overwritten.
func (b *k256Body) wipe() { b.key = k256{} }
