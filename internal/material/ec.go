package material

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/rand"
	"crypto/x509"
	"fmt"
	"math/big"

	"golang.org/x/crypto/cryptobyte"
	"golang.org/x/crypto/cryptobyte/asn1"

	"redoubt/internal/key"
)

// noCipher is the answer of all EC keys to what they do not do.
func noCipher(alg key.Algorithm) error {
	return fmt.Errorf("%w: EC keys neither encrypt nor decrypt (%q)", key.ErrBadAlgorithm, alg)
}

// nistBody is a key on one of the standard library's curves; k256Body has the other.
type nistBody struct {
	priv  *ecdsa.PrivateKey // the numbers, for encoding and wiping
	use   crypto.Signer     // the engine's form of it
	hash  crypto.Hash
	width int // bytes of one coordinate
}

var curveHash = map[key.Curve]crypto.Hash{key.P256: crypto.SHA256, key.P384: crypto.SHA384, key.P521: crypto.SHA512}

func (e Engines) newNIST(spec key.Spec, priv *ecdsa.PrivateKey) (Key, error) {
	curve := curveOf(spec.Curve)
	if curve == nil || priv.Curve != curve {
		return Key{}, fmt.Errorf("%w: not on curve %s", ErrBadMaterial, spec.Curve)
	}
	point, err := priv.PublicKey.Bytes() // 4 || X || Y, full width; refuses points off the curve
	if err != nil {
		return Key{}, fmt.Errorf("%w: public point is not on curve %s", ErrBadMaterial, spec.Curve)
	}
	use, err := e.EC.Prepare(priv)
	if err != nil {
		return Key{}, fmt.Errorf("prepare %s: %w", spec, err)
	}
	w := spec.Curve.Width()
	pub := key.Public{X: point[1 : 1+w], Y: point[1+w:]}
	b := &nistBody{priv: priv, use: use, hash: curveHash[spec.Curve], width: w}
	return Key{&holder{spec: spec, pub: pub, body: b}}, nil
}

func (e *nistBody) sign(alg key.Algorithm, digest []byte) ([]byte, error) {
	der, err := e.use.Sign(rand.Reader, digest, e.hash)
	if err != nil {
		return nil, fmt.Errorf("sign with %q: %w", alg, err)
	}
	raw, ok := rawSignature(der, e.width)
	if !ok {
		return nil, fmt.Errorf("sign with %q: the engine's signature is not ASN.1", alg)
	}
	return raw, nil
}

// rawSignature turns SEQUENCE { INTEGER r, INTEGER s } into r||s of width bytes each.
func rawSignature(der []byte, width int) ([]byte, bool) {
	in, seq := cryptobyte.String(der), cryptobyte.String(nil)
	var r, s []byte
	if !in.ReadASN1(&seq, asn1.SEQUENCE) || !in.Empty() || !seq.ReadASN1Integer(&r) || !seq.ReadASN1Integer(&s) || !seq.Empty() {
		return nil, false
	}
	if len(r) > width || len(s) > width {
		return nil, false
	}
	out := make([]byte, 2*width)
	copy(out[width-len(r):], r)
	copy(out[2*width-len(s):], s)
	return out, true
}

func (e *nistBody) verify(_ key.Algorithm, digest, sig []byte) (bool, error) {
	if len(sig) != 2*e.width {
		return false, nil
	}
	r, s := new(big.Int).SetBytes(sig[:e.width]), new(big.Int).SetBytes(sig[e.width:])
	return ecdsa.Verify(&e.priv.PublicKey, digest, r, s), nil
}

func (*nistBody) encrypt(alg key.Algorithm, _ key.CipherInput) (key.CipherOutput, error) {
	return key.CipherOutput{}, noCipher(alg)
}

func (*nistBody) decrypt(alg key.Algorithm, _ key.CipherInput) (key.CipherOutput, error) {
	return key.CipherOutput{}, noCipher(alg)
}

func (e *nistBody) payload() ([]byte, error) { return x509.MarshalPKCS8PrivateKey(e.priv) }

func (e *nistBody) wipe() {
	if d := e.priv.D; d != nil { //nolint:staticcheck // no other way to reach it
		clear(d.Bits())
	}
}
