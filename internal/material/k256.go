package material

import (
	"crypto"
	"crypto/rand"

	"gitlab.com/yawning/secp256k1-voi/secec"
)

// k256 is a private key on secp256k1 and the only place that knows which library computes with it
// (docs/decisions/0015-p256k.md): everything that touches the private scalar or the nonce is constant time
// there. Nonces are hedged: drawn from the key, the digest and 32 random bytes, so that neither a broken
// random generator nor a fault in a repeated signature gives the key away.
type k256 struct{ priv *secec.PrivateKey }

func drawK256() (k256, error) {
	p, err := secec.GenerateKey()
	return k256{p}, err
}

// readK256 takes a scalar of exactly 32 bytes, from 1 to the order less one.
func readK256(scalar []byte) (k256, bool) {
	p, err := secec.NewPrivateKey(scalar)
	return k256{p}, err == nil
}

// k256Point tells whether 4 || X || Y is a point of the curve.
func k256Point(uncompressed []byte) bool {
	if len(uncompressed) != 65 {
		return false
	}
	_, err := secec.NewPublicKey(uncompressed)
	return err == nil
}

// scalar is a fresh copy, 32 bytes.
func (k k256) scalar() []byte { return k.priv.Bytes() }

// point is 4 || X || Y.
func (k k256) point() []byte { return k.priv.PublicKey().Bytes() }

// sign returns r || s with the smaller of the two possible s. The library verifies it before it goes out, so
// that a wrong computation ends as an error.
func (k k256) sign(digest []byte) ([]byte, error) {
	return k.priv.Sign(rand.Reader, digest, &secec.ECDSAOptions{Hash: crypto.SHA256, Encoding: secec.EncodingCompact, SelfVerify: true})
}

func (k k256) verify(digest, sig []byte) bool { return verifyK256(k.priv.PublicKey(), digest, sig) }

// verifyK256 takes either s: JWS has no rule of the smaller one.
func verifyK256(pub *secec.PublicKey, digest, sig []byte) bool {
	return pub.Verify(digest, sig, &secec.ECDSAOptions{Hash: crypto.SHA256, Encoding: secec.EncodingCompact})
}
