package seal

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/hkdf"
	"crypto/sha256"
	"fmt"
	"io"
	"math/big"
	"slices"
)

// Attester is one attestation key of one HSM: ECDSA on P-256, derived from the root and the HSM's UUID, so that it
// is the same after every restart and is kept nowhere. HSMs that share a domain have different ones, but each could
// compute the other's. Signatures are deterministic (RFC 6979). It is a crypto.Signer.
type Attester struct{ key func() *ecdsa.PrivateKey }

// Attesters are the two attestation keys of an HSM: the one whose certificate is pinned, and the one that signs.
func (r *Root) Attesters(hsmID string) (root, leaf Attester) {
	return r.attester(labelAttestRoot, hsmID), r.attester(labelAttestLeaf, hsmID)
}

// attester derives a key: 48 bytes of HKDF taken modulo n-1, plus 1 (FIPS 186-5, A.2.1). Half as many bits again
// as the order has make the bias negligible.
func (r *Root) attester(label, hsmID string) Attester {
	info := appendPart([]byte(label), r.domainID)
	info = appendPart(appendUint32Part(info, r.epoch), hsmID)
	b, err := hkdf.Expand(sha256.New, r.prk.Expose(), string(info), 48)
	if err != nil {
		panic("seal: " + err.Error()) // only for impossible lengths
	}
	defer clear(b)
	d, one := new(big.Int).SetBytes(b), big.NewInt(1)
	d.Mod(d, new(big.Int).Sub(elliptic.P256().Params().N, one)).Add(d, one)
	scalar := d.FillBytes(make([]byte, 32))
	defer clear(scalar)
	priv, err := ecdsa.ParseRawPrivateKey(elliptic.P256(), scalar)
	if err != nil {
		panic("seal: " + err.Error()) // 1 <= d < n
	}
	clear(d.Bits())
	return Attester{key: func() *ecdsa.PrivateKey { return priv }}
}

// Endorse signs msg as this domain: Ed25519 over label||msg. It is for the attestation keys of HSMs only.
func (r *Root) Endorse(msg []byte) []byte {
	return ed25519.Sign(r.signer(), slices.Concat([]byte(labelEndorsement), msg))
}

// VerifyEndorsement checks a signature by Endorse. A key of the wrong length verifies nothing.
func VerifyEndorsement(pub ed25519.PublicKey, msg, sig []byte) bool {
	return len(pub) == ed25519.PublicKeySize && ed25519.Verify(pub, slices.Concat([]byte(labelEndorsement), msg), sig)
}

// Public implements crypto.Signer; it is an *ecdsa.PublicKey.
func (a Attester) Public() crypto.PublicKey { return a.key().Public() }

// Sign implements crypto.Signer: ASN.1 DER, the same for the same digest, whatever the reader gives.
func (a Attester) Sign(_ io.Reader, digest []byte, opts crypto.SignerOpts) ([]byte, error) {
	return a.key().Sign(nil, digest, opts)
}

// Format prints that it is a key and nothing of it, whatever the verb.
func (a Attester) Format(f fmt.State, _ rune) { fmt.Fprint(f, "seal.Attester") }
