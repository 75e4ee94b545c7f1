package material

import (
	"crypto"
	"crypto/aes"
	"crypto/rand"
	"crypto/rsa"
	"errors"
	"fmt"
	"math/big"

	"redoubt/internal/key"
	"redoubt/internal/secret"
)

// Keys on a journey: how material enters the HSM in a transfer blob (BYOK) and leaves it in a release. The
// bytes are PKCS #11's CKM_RSA_AES_KEY_WRAP (v3.0, 2.1.21): RSA-OAEP of an AES key, as long as the modulus,
// then AES-KWP of the payload under that key.

// transferHash is the hash of OAEP and of its mask.
var transferHash = map[key.Transfer]crypto.Hash{
	key.TransferSHA1: crypto.SHA1, key.TransferSHA256: crypto.SHA256, key.TransferSHA384: crypto.SHA384,
}

// transferKeySize is the length of the AES key that wraps the payload, bytes.
const transferKeySize = 32

// maxTransfer bounds a payload: many times the PKCS #8 of RSA 4096, the largest there is.
const maxTransfer = 64 << 10

// Public RSA keys of others, of these sizes in bits, are wrapped to.
const minPublicBits, maxPublicBits = 2048, 8192

// PublicRSA makes a public key of somebody else from big-endian modulus and exponent. The modulus has 2048
// to 8192 bits, the exponent is odd and from 3 to 2^31-1; anything else is key.ErrBadParameter.
func PublicRSA(n, e []byte) (*rsa.PublicKey, error) {
	exp := new(big.Int).SetBytes(e)
	if !exp.IsInt64() || exp.Int64() > key.MaxExponent {
		return nil, fmt.Errorf("%w: the RSA public exponent is longer than 31 bits", key.ErrBadParameter)
	}
	pub := &rsa.PublicKey{N: new(big.Int).SetBytes(n), E: int(exp.Int64())}
	return pub, checkPublic(pub)
}

func checkPublic(pub *rsa.PublicKey) error {
	switch {
	case pub == nil || pub.N == nil:
		return fmt.Errorf("%w: there is no RSA public key", key.ErrBadParameter)
	case pub.N.BitLen() < minPublicBits || pub.N.BitLen() > maxPublicBits:
		return fmt.Errorf("%w: RSA public key of %d bits; %d to %d are accepted", key.ErrBadParameter, pub.N.BitLen(), minPublicBits, maxPublicBits)
	case pub.N.Bit(0) == 0:
		return fmt.Errorf("%w: the RSA modulus is even", key.ErrBadParameter)
	case pub.E < 3 || pub.E > key.MaxExponent || pub.E%2 == 0:
		return fmt.Errorf("%w: the RSA public exponent must be odd, from 3 to %d", key.ErrBadParameter, key.MaxExponent)
	}
	return nil
}

// WrapTo wraps payload so that only the owner of pub can open it: OAEP of a fresh AES-256 key, as many bytes
// as the modulus, followed by AES-KWP of the payload, 8 to 15 bytes longer than it.
func WrapTo(pub *rsa.PublicKey, alg key.Transfer, payload secret.Bytes) ([]byte, error) {
	h, ok := transferHash[alg]
	if !ok {
		_, err := key.ParseTransfer(string(alg))
		return nil, err
	}
	if err := checkPublic(pub); err != nil {
		return nil, err
	}
	if payload.Len() == 0 || payload.Len() > maxTransfer {
		return nil, fmt.Errorf("%w: a key of %d bytes cannot be wrapped; 1 to %d can", key.ErrBadParameter, payload.Len(), maxTransfer)
	}
	kek := secret.Random(transferKeySize)
	defer kek.Wipe()
	block, err := aes.NewCipher(kek.Expose())
	if err != nil {
		return nil, fmt.Errorf("wrap with %s: %w", alg, err)
	}
	out, err := rsa.EncryptOAEP(h.New(), rand.Reader, pub, kek.Expose(), nil)
	if err != nil {
		return nil, fmt.Errorf("wrap with %s: %w", alg, err)
	}
	return append(out, wrapPad(block, payload.Expose())...), nil
}

// UnwrapTransfer opens a blob that was wrapped to k, which must be an RSA key. The AES key inside may have
// 128, 192 or 256 bits, as PKCS #11 allows. A blob that does not open is key.ErrCryptoFailed, whatever is wrong
// with it, and the payload is unwrapped under a random key when OAEP has failed, so that the two failures
// take about the same time.
func (k Key) UnwrapTransfer(alg key.Transfer, blob []byte) (secret.Bytes, error) {
	h, err := k.enter()
	if err != nil {
		return secret.Bytes{}, err
	}
	defer h.leave()
	hash, ok := transferHash[alg]
	if !ok {
		_, err := key.ParseTransfer(string(alg))
		return secret.Bytes{}, err
	}
	r, ok := h.body.(*rsaBody)
	if !ok {
		return secret.Bytes{}, fmt.Errorf("%w: %s opens with an RSA-HSM key, this one is %s", key.ErrBadAlgorithm, alg, h.spec)
	}
	size := r.priv.Size()
	if len(blob) < size+16 || len(blob) > size+maxTransfer+16 {
		return secret.Bytes{}, key.ErrCryptoFailed
	}
	kek, err := r.use.Decrypt(rand.Reader, blob[:size], &rsa.OAEPOptions{Hash: hash})
	defer clear(kek)
	block, badSize := aes.NewCipher(kek)
	if err != nil || badSize != nil {
		decoy := secret.Random(transferKeySize)
		defer decoy.Wipe()
		if block, badSize = aes.NewCipher(decoy.Expose()); badSize != nil {
			return secret.Bytes{}, fmt.Errorf("unwrap with %s: %w", alg, badSize)
		}
		err = errors.Join(err, key.ErrCryptoFailed)
	}
	payload, ok := unwrapPad(block, blob[size:])
	if err != nil || !ok {
		clear(payload)
		return secret.Bytes{}, key.ErrCryptoFailed
	}
	return secret.New(payload), nil
}

// Export returns the bare key, as it travels inside a transfer blob or a release: PKCS #8 DER for RSA and EC
// keys (RFC 5958), the bytes themselves for oct keys. The caller wipes it.
func (k Key) Export() (secret.Bytes, error) {
	h, err := k.enter()
	if err != nil {
		return secret.Bytes{}, err
	}
	defer h.leave()
	p, err := h.body.payload()
	if err != nil {
		return secret.Bytes{}, fmt.Errorf("export %s: %w", h.spec, err)
	}
	return secret.New(p), nil
}
