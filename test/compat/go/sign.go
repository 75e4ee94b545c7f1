package main

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/sha512"
	"errors"
	"fmt"
	"math/big"
	"slices"

	"github.com/Azure/azure-sdk-for-go/sdk/security/keyvault/azkeys"
	"github.com/decred/dcrd/dcrec/secp256k1/v4"
	secp "github.com/decred/dcrd/dcrec/secp256k1/v4/ecdsa"
)

// rsnull is the algorithm that the client has no constant for.
const rsnull azkeys.SignatureAlgorithm = "RSNULL"

// signers are the algorithms of each key.
var signers = []struct {
	key  string
	algs []azkeys.SignatureAlgorithm
}{
	{"rsa-2048", []azkeys.SignatureAlgorithm{azkeys.SignatureAlgorithmRS256, azkeys.SignatureAlgorithmRS384, azkeys.SignatureAlgorithmRS512,
		azkeys.SignatureAlgorithmPS256, azkeys.SignatureAlgorithmPS384, azkeys.SignatureAlgorithmPS512, rsnull}},
	{"rsa-3072", []azkeys.SignatureAlgorithm{azkeys.SignatureAlgorithmPS384}},
	{"rsa-4096", []azkeys.SignatureAlgorithm{azkeys.SignatureAlgorithmRS512}},
	{"ec-256", []azkeys.SignatureAlgorithm{azkeys.SignatureAlgorithmES256}},
	{"ec-256k", []azkeys.SignatureAlgorithm{azkeys.SignatureAlgorithmES256K}},
	{"ec-384", []azkeys.SignatureAlgorithm{azkeys.SignatureAlgorithmES384}},
	{"ec-521", []azkeys.SignatureAlgorithm{azkeys.SignatureAlgorithmES512}},
	{"mac-256", []azkeys.SignatureAlgorithm{azkeys.SignatureAlgorithmHS256}},
	{"mac-384", []azkeys.SignatureAlgorithm{azkeys.SignatureAlgorithmHS384}},
	{"mac-512", []azkeys.SignatureAlgorithm{azkeys.SignatureAlgorithmHS512}},
}

// hashes of the algorithms, by the last three characters of their names.
var hashes = map[string]crypto.Hash{"256": crypto.SHA256, "56K": crypto.SHA256, "384": crypto.SHA384, "512": crypto.SHA512}

// digestFor hashes a message for an algorithm; for RSNULL the hash is what is signed.
func digestFor(alg, message string) []byte {
	switch hashes[alg[len(alg)-3:]] {
	case crypto.SHA384:
		d := sha512.Sum384([]byte(message))
		return d[:]
	case crypto.SHA512:
		d := sha512.Sum512([]byte(message))
		return d[:]
	default:
		d := sha256.Sum256([]byte(message))
		return d[:]
	}
}

// signatures signs with every algorithm, and verifies here and there.
func (s *session) signatures() {
	for name, size := range map[string]int32{"mac-256": 256, "mac-384": 256, "mac-512": 256} {
		must(s.client.CreateKey(s.ctx, s.key(name), azkeys.CreateKeyParameters{Kty: to(azkeys.KeyTypeOctHSM), KeySize: to(size), KeyOps: signVerify}, nil))
	}
	for _, k := range signers {
		for _, alg := range k.algs {
			s.signWith(s.key(k.key), alg)
		}
		step("%s signed with %v", k.key, k.algs)
	}
}

func (s *session) signWith(name string, alg azkeys.SignatureAlgorithm) {
	const data = "signed by Go"
	digest := digestFor(string(alg), data)
	got := must(s.client.Sign(s.ctx, name, "", azkeys.SignParameters{Algorithm: &alg, Value: digest}, nil))
	key := must(s.client.GetKey(s.ctx, name, got.KID.Version(), nil)).Key
	a := artefact{Kind: "signature", Kid: string(*got.KID), Alg: string(alg), Digest: digest, Signature: got.Result}
	if alg != rsnull {
		a.Data = raw(data)
	}
	if *key.Kty != azkeys.KeyTypeOctHSM {
		a.JWK = public(key)
		want(a.checkSignature() == nil, "%s %s: the signature does not verify here: %v", name, alg, a.checkSignature())
	}
	s.written = append(s.written, a)
	s.verifyThere(s.client, a)
}

// verifyThere lets the service verify: the signature, and not another digest's.
func (s *session) verifyThere(c *azkeys.Client, a artefact) {
	id := azkeys.ID(a.Kid)
	p := azkeys.VerifyParameters{Algorithm: to(azkeys.SignatureAlgorithm(a.Alg)), Digest: a.Digest, Signature: a.Signature}
	want(*must(c.Verify(s.ctx, id.Name(), id.Version(), p, nil)).Value, "%s %s: the service does not verify the signature", a.Kid, a.Alg)
	p.Digest = changed(a.Digest)
	want(!*must(c.Verify(s.ctx, id.Name(), id.Version(), p, nil)).Value, "%s %s: the service verifies a signature of another digest", a.Kid, a.Alg)
}

// changed is b with one bit changed.
func changed(b []byte) []byte {
	b = slices.Clone(b)
	b[len(b)-1] ^= 1
	return b
}

// public is the public part of a key that came from the service.
func public(k *azkeys.JSONWebKey) *jwk {
	if k.N != nil {
		return &jwk{Kty: "RSA", N: k.N, E: k.E}
	}
	return &jwk{Kty: "EC", Crv: string(*k.Crv), X: k.X, Y: k.Y}
}

var errInvalid = errors.New("the signature is not valid")

// checkSignature verifies an artefact with Go's own libraries.
func (a artefact) checkSignature() error {
	switch a.JWK.Kty {
	case "RSA":
		pub := a.JWK.rsa()
		h := hashes[a.Alg[len(a.Alg)-3:]] // of RSNULL none: what was signed is padded as it is
		if a.Alg[:2] == "PS" {
			return rsa.VerifyPSS(pub, h, a.Digest, a.Signature, &rsa.PSSOptions{SaltLength: rsa.PSSSaltLengthEqualsHash})
		}
		return rsa.VerifyPKCS1v15(pub, h, a.Digest, a.Signature)
	case "EC":
		return a.checkECDSA()
	}
	return fmt.Errorf("kty %q", a.JWK.Kty)
}

func (a artefact) checkECDSA() error {
	half := len(a.Signature) / 2
	if a.JWK.Crv == "P-256K" {
		pub, err := secp256k1.ParsePubKey(slices.Concat([]byte{4}, a.JWK.X, a.JWK.Y))
		if err != nil {
			return err
		}
		var r, s secp256k1.ModNScalar
		if len(a.Signature) != 64 || r.SetByteSlice(a.Signature[:half]) || s.SetByteSlice(a.Signature[half:]) || !secp.NewSignature(&r, &s).Verify(a.Digest, pub) {
			return errInvalid
		}
		return nil
	}
	pub, err := a.JWK.ecdsa()
	if err != nil {
		return err
	}
	n := (pub.Curve.Params().BitSize + 7) / 8
	if half != n || !ecdsa.Verify(pub, a.Digest, new(big.Int).SetBytes(a.Signature[:half]), new(big.Int).SetBytes(a.Signature[half:])) {
		return errInvalid
	}
	return nil
}

func (k *jwk) rsa() *rsa.PublicKey {
	return &rsa.PublicKey{N: new(big.Int).SetBytes(k.N), E: int(new(big.Int).SetBytes(k.E).Int64())}
}

func (k *jwk) ecdsa() (*ecdsa.PublicKey, error) {
	curve := map[string]elliptic.Curve{"P-256": elliptic.P256(), "P-384": elliptic.P384(), "P-521": elliptic.P521()}[k.Crv]
	if curve == nil {
		return nil, fmt.Errorf("curve %q", k.Crv)
	}
	return ecdsa.ParseUncompressedPublicKey(curve, slices.Concat([]byte{4}, k.X, k.Y))
}
