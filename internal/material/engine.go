package material

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"fmt"

	"redoubt/internal/key"
	"redoubt/internal/secret"
)

// An engine does the private-key arithmetic of one family of algorithms. It is the place where an
// accelerated implementation goes: padding, encoding, the algorithm table and wiping stay outside it.
// AES and HMAC have none: the standard library already uses the processor's instructions.

// RSAEngine prepares RSA private keys for use.
type RSAEngine interface {
	// Name is for the log line at start.
	Name() string
	// Prepare precomputes what it wants. The result is called from many goroutines at once.
	Prepare(*rsa.PrivateKey) (RSAPrivate, error)
}

// RSAPrivate is a prepared RSA key. Sign understands crypto.Hash (PKCS #1 v1.5, 0 for no DigestInfo) and
// *rsa.PSSOptions; Decrypt understands *rsa.OAEPOptions and *rsa.PKCS1v15DecryptOptions. Both behave like
// *rsa.PrivateKey, including its constant-time handling of padding and its check of CRT results.
type RSAPrivate interface {
	crypto.Signer
	crypto.Decrypter
}

// ECEngine prepares ECDSA private keys on P-256, P-384 and P-521 for use. P-256K has no engine: it needs
// the one library in k256.go, and its private keys are not *ecdsa.PrivateKey.
type ECEngine interface {
	Name() string
	// Prepare's result signs a digest into ASN.1 DER, as *ecdsa.PrivateKey does, from many goroutines at once.
	Prepare(*ecdsa.PrivateKey) (crypto.Signer, error)
}

// Engines is one engine for each family, chosen once at start.
type Engines struct {
	RSA RSAEngine
	EC  ECEngine
}

// Standard is the standard library for everything.
func Standard() Engines { return Engines{RSA: stdRSA{}, EC: stdEC{}} }

// String names the engines for the log.
func (e Engines) String() string { return fmt.Sprintf("rsa=%s ec=%s", e.RSA.Name(), e.EC.Name()) }

// Generate makes a fresh key with the standard engines. See Engines.Generate.
func Generate(spec key.Spec) (Key, error) { return Standard().Generate(spec) }

// Parse reads a marshalled key with the standard engines. See Engines.Parse.
func Parse(spec key.Spec, m secret.Bytes) (Key, error) { return Standard().Parse(spec, m) }

// Generate makes a fresh key. RSA takes from a tenth of a second (2048) to seconds (4096): call it outside
// every lock, and in parallel for many keys.
func (e Engines) Generate(spec key.Spec) (Key, error) {
	spec, err := key.NewSpec(spec.Type, spec.Bits, spec.Curve, spec.Exponent)
	if err != nil {
		return Key{}, fmt.Errorf("generate: %w", err)
	}
	switch spec.Type {
	case key.RSA:
		priv, err := generateRSA(spec.Bits, spec.Exponent)
		if err != nil {
			return Key{}, fmt.Errorf("generate %s: %w", spec, err)
		}
		return e.newRSA(spec, priv)
	case key.EC:
		if spec.Curve == key.P256K {
			return generateK256(spec)
		}
		priv, err := ecdsa.GenerateKey(curveOf(spec.Curve), rand.Reader)
		if err != nil {
			return Key{}, fmt.Errorf("generate %s: %w", spec, err)
		}
		return e.newNIST(spec, priv)
	default: // NewSpec leaves only oct
		return newOct(spec, secret.Random(spec.Bits/8))
	}
}

// curveOf is the standard library's curve; nil for P-256K, which it does not have.
func curveOf(c key.Curve) elliptic.Curve {
	switch c {
	case key.P256:
		return elliptic.P256()
	case key.P384:
		return elliptic.P384()
	case key.P521:
		return elliptic.P521()
	case key.P256K:
	}
	return nil
}

type stdRSA struct{}

func (stdRSA) Name() string { return "go" }

func (stdRSA) Prepare(k *rsa.PrivateKey) (RSAPrivate, error) {
	k.Precompute()
	return k, nil
}

type stdEC struct{}

func (stdEC) Name() string { return "go" }

func (stdEC) Prepare(k *ecdsa.PrivateKey) (crypto.Signer, error) { return k, nil }
