package drill

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha1"
	"crypto/sha256"
	"errors"
	"fmt"
	"hash"
	"math/big"
	"strings"

	"gitlab.com/yawning/secp256k1-voi/secec"

	"redoubt/internal/client"
)

// What can be checked outside any HSM, with nothing but the public key that was written down before the
// disaster and Go's own cryptography, or for P-256K, which that does not have, the library of decision 15.

// publicKey is the public key of a JWK, or nil for a key that has none.
func publicKey(k client.JWK) (crypto.PublicKey, error) {
	switch {
	case strings.HasPrefix(k.Kty, "RSA"):
		e := new(big.Int).SetBytes(k.E)
		if !e.IsInt64() || e.Int64() > 1<<31-1 || len(k.N) == 0 {
			return nil, errors.New("not an RSA public key")
		}
		return &rsa.PublicKey{N: new(big.Int).SetBytes(k.N), E: int(e.Int64())}, nil
	case strings.HasPrefix(k.Kty, "EC"):
		point := append(append([]byte{4}, k.X...), k.Y...)
		if k.Crv == "P-256K" {
			return secec.NewPublicKey(point)
		}
		curve := map[string]elliptic.Curve{"P-256": elliptic.P256(), "P-384": elliptic.P384(), "P-521": elliptic.P521()}[k.Crv]
		if curve == nil {
			return nil, fmt.Errorf("unknown curve %q", k.Crv)
		}
		return ecdsa.ParseUncompressedPublicKey(curve, point)
	}
	return nil, nil
}

var hashes = map[string]crypto.Hash{"256": crypto.SHA256, "384": crypto.SHA384, "512": crypto.SHA512}

var curveAlgorithms = map[string]elliptic.Curve{"ES256": elliptic.P256(), "ES384": elliptic.P384(), "ES512": elliptic.P521()}

// verifyOutside checks a signature of a digest under a public key; the error says what is wrong with it.
func verifyOutside(public crypto.PublicKey, alg string, digest, signature []byte) error {
	h := hashes[alg[max(0, len(alg)-3):]]
	switch k := public.(type) {
	case *rsa.PublicKey:
		switch {
		case alg == "RSNULL":
			return rsa.VerifyPKCS1v15(k, 0, digest, signature)
		case strings.HasPrefix(alg, "RS") && h != 0:
			return rsa.VerifyPKCS1v15(k, h, digest, signature)
		case strings.HasPrefix(alg, "PS") && h != 0:
			return rsa.VerifyPSS(k, h, digest, signature, &rsa.PSSOptions{SaltLength: rsa.PSSSaltLengthEqualsHash})
		}
	case *secec.PublicKey:
		if alg != "ES256K" {
			break
		}
		if !k.Verify(digest, signature, &secec.ECDSAOptions{Hash: crypto.SHA256, Encoding: secec.EncodingCompact}) {
			return errors.New("the signature is of another key or another digest")
		}
		return nil
	case *ecdsa.PublicKey:
		if curveAlgorithms[alg] != k.Curve {
			break
		}
		size := (k.Curve.Params().BitSize + 7) / 8
		if len(signature) != 2*size {
			return fmt.Errorf("the signature has %d bytes, not %d", len(signature), 2*size)
		}
		if !ecdsa.Verify(k, digest, new(big.Int).SetBytes(signature[:size]), new(big.Int).SetBytes(signature[size:])) {
			return errors.New("the signature is of another key or another digest")
		}
		return nil
	}
	return fmt.Errorf("%s cannot be checked outside", alg)
}

// encryptOutside encrypts under a public key; ok is false for algorithms without one. OAEP has its hash by
// name: SHA-1 for RSA-OAEP, SHA-256 for RSA-OAEP-256.
func encryptOutside(public crypto.PublicKey, alg string, plain []byte) (out []byte, ok bool, err error) {
	k, isRSA := public.(*rsa.PublicKey)
	if !isRSA {
		return nil, false, nil
	}
	var h hash.Hash
	switch alg {
	case "RSA-OAEP":
		h = sha1.New()
	case "RSA-OAEP-256":
		h = sha256.New()
	case "RSA1_5":
		out, err = rsa.EncryptPKCS1v15(rand.Reader, k, plain) //nolint:staticcheck // what the HSM must still open
		return out, true, err
	default:
		return nil, false, nil
	}
	out, err = rsa.EncryptOAEP(h, rand.Reader, k, plain, nil)
	return out, true, err
}
