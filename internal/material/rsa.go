package material

import (
	"crypto"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha1"
	"crypto/sha256"
	_ "crypto/sha512" // crypto.SHA384 and crypto.SHA512
	"crypto/x509"
	"errors"
	"fmt"
	"hash"
	"math/big"

	"redoubt/internal/key"
)

type rsaBody struct {
	priv *rsa.PrivateKey // the numbers, for encoding and wiping
	use  RSAPrivate      // the engine's form of it
}

func (e Engines) newRSA(spec key.Spec, priv *rsa.PrivateKey) (Key, error) {
	if priv.N.BitLen() != spec.Bits || priv.E != spec.Exponent || len(priv.Primes) != 2 {
		return Key{}, fmt.Errorf("%w: not an RSA key of %d bits with exponent %d and two primes", ErrBadMaterial, spec.Bits, spec.Exponent)
	}
	// A factor much shorter than the other makes the modulus easy to factor.
	for _, p := range priv.Primes {
		if p.BitLen() != spec.Bits/2 {
			return Key{}, fmt.Errorf("%w: RSA factors are not both half as long as the modulus", ErrBadMaterial)
		}
	}
	if err := priv.Validate(); err != nil {
		return Key{}, fmt.Errorf("%w: RSA numbers do not agree", ErrBadMaterial)
	}
	use, err := e.RSA.Prepare(priv)
	if err != nil {
		return Key{}, fmt.Errorf("prepare %s: %w", spec, err)
	}
	pub := key.Public{N: priv.N.Bytes(), E: big.NewInt(int64(priv.E)).Bytes()}
	return Key{&holder{spec: spec, pub: pub, body: &rsaBody{priv: priv, use: use}}}, nil
}

// rsaHash maps the algorithm to the hash of its DigestInfo or PSS encoding; RSNULL has none.
var rsaHash = map[key.Algorithm]crypto.Hash{
	"RS256": crypto.SHA256, "RS384": crypto.SHA384, "RS512": crypto.SHA512,
	"PS256": crypto.SHA256, "PS384": crypto.SHA384, "PS512": crypto.SHA512,
	"RSNULL": 0,
}

func isPSS(alg key.Algorithm) bool { return alg[0] == 'P' }

func (r *rsaBody) sign(alg key.Algorithm, digest []byte) ([]byte, error) {
	h, ok := rsaHash[alg]
	if !ok {
		return nil, fmt.Errorf("%w: %q", key.ErrBadAlgorithm, alg)
	}
	if limit := r.priv.Size() - 11; h == 0 && len(digest) > limit {
		return nil, fmt.Errorf("%w: %q signs at most %d bytes with this key, got %d", key.ErrBadParameter, alg, limit, len(digest))
	}
	var opts crypto.SignerOpts = h
	if isPSS(alg) {
		opts = &rsa.PSSOptions{SaltLength: rsa.PSSSaltLengthEqualsHash, Hash: h}
	}
	sig, err := r.use.Sign(rand.Reader, digest, opts)
	if err != nil {
		return nil, fmt.Errorf("sign with %q: %w", alg, err)
	}
	return sig, nil
}

func (r *rsaBody) verify(alg key.Algorithm, digest, sig []byte) (bool, error) {
	h, ok := rsaHash[alg]
	if !ok {
		return false, fmt.Errorf("%w: %q", key.ErrBadAlgorithm, alg)
	}
	if isPSS(alg) {
		opts := &rsa.PSSOptions{SaltLength: rsa.PSSSaltLengthEqualsHash, Hash: h}
		return rsa.VerifyPSS(&r.priv.PublicKey, h, digest, sig, opts) == nil, nil
	}
	return rsa.VerifyPKCS1v15(&r.priv.PublicKey, h, digest, sig) == nil, nil
}

func (r *rsaBody) encrypt(alg key.Algorithm, in key.CipherInput) (key.CipherOutput, error) {
	if err := noExtras(alg, in); err != nil {
		return key.CipherOutput{}, err
	}
	var out []byte
	var err error
	limit := r.priv.Size() - 11
	oaep := func(h hash.Hash) {
		limit = r.priv.Size() - 2*h.Size() - 2
		out, err = rsa.EncryptOAEP(h, rand.Reader, &r.priv.PublicKey, in.Value, nil)
	}
	switch alg {
	case "RSA-OAEP":
		oaep(sha1.New())
	case "RSA-OAEP-256":
		oaep(sha256.New())
	case "RSA1_5":
		out, err = rsa.EncryptPKCS1v15(rand.Reader, &r.priv.PublicKey, in.Value) //nolint:staticcheck // the wire protocol has it
	default:
		return key.CipherOutput{}, fmt.Errorf("%w: %q", key.ErrBadAlgorithm, alg)
	}
	if errors.Is(err, rsa.ErrMessageTooLong) {
		return key.CipherOutput{}, fmt.Errorf("%w: %q takes at most %d bytes with this key, got %d", key.ErrBadParameter, alg, limit, len(in.Value))
	}
	if err != nil {
		return key.CipherOutput{}, fmt.Errorf("encrypt with %q: %w", alg, err)
	}
	return key.CipherOutput{Value: out}, nil
}

// decrypt gives ErrCryptoFailed for everything that can be wrong with a ciphertext. The library checks
// the padding in constant time, but with RSA1_5 the answer itself tells whether the padding was right,
// which is Bleichenbacher's oracle: about a million queries decrypt one chosen ciphertext. Callers must
// not make the two answers easier to tell apart (other codes, retries, early returns), and rate and audit
// of RSA1_5 decryptions are the only further defence a server has.
func (r *rsaBody) decrypt(alg key.Algorithm, in key.CipherInput) (key.CipherOutput, error) {
	if err := noExtras(alg, in); err != nil {
		return key.CipherOutput{}, err
	}
	var opts crypto.DecrypterOpts
	switch alg {
	case "RSA-OAEP":
		opts = &rsa.OAEPOptions{Hash: crypto.SHA1}
	case "RSA-OAEP-256":
		opts = &rsa.OAEPOptions{Hash: crypto.SHA256}
	case "RSA1_5":
		opts = &rsa.PKCS1v15DecryptOptions{} //nolint:staticcheck // the wire protocol has it; see the package comment
	default:
		return key.CipherOutput{}, fmt.Errorf("%w: %q", key.ErrBadAlgorithm, alg)
	}
	// RFC 8017 wants exactly the modulus' length; the library would accept less.
	if len(in.Value) != r.priv.Size() {
		return key.CipherOutput{}, key.ErrCryptoFailed
	}
	out, err := r.use.Decrypt(rand.Reader, in.Value, opts)
	if err != nil {
		return key.CipherOutput{}, key.ErrCryptoFailed
	}
	return key.CipherOutput{Value: out}, nil
}

func (r *rsaBody) payload() ([]byte, error) { return x509.MarshalPKCS8PrivateKey(r.priv) }

func (r *rsaBody) wipe() {
	pre := &r.priv.Precomputed
	for _, n := range append([]*big.Int{r.priv.D, pre.Dp, pre.Dq, pre.Qinv}, r.priv.Primes...) {
		if n != nil {
			clear(n.Bits())
		}
	}
}
