package key

import "fmt"

// Type is a key type as Managed HSM stores it. The zero value is invalid.
type Type string

// The key types. EC, RSA and oct in a request mean their -HSM form here.
const (
	RSA Type = "RSA-HSM"
	EC  Type = "EC-HSM"
	Oct Type = "oct-HSM"
)

// ParseType maps the wire's kty, in either form, to the stored one.
func ParseType(s string) (Type, error) {
	switch s {
	case "RSA", "RSA-HSM":
		return RSA, nil
	case "EC", "EC-HSM":
		return EC, nil
	case "oct", "oct-HSM":
		return Oct, nil
	}
	return "", fmt.Errorf("%w: Invalid kty value: %q; use RSA-HSM, EC-HSM or oct-HSM", ErrBadKeyType, s)
}

// MaxExponent is the largest public exponent of an RSA key, the smallest being 3.
const MaxExponent = 1<<31 - 1

// Curve is a named elliptic curve of an EC key; empty for others.
type Curve string

// The curves.
const (
	P256 Curve = "P-256"
	P384 Curve = "P-384"
	P521 Curve = "P-521"

	// P256K is secp256k1 (SEC 2, 2.4.1).
	P256K Curve = "P-256K"
)

// secp256k1 is how az keyvault key import calls P-256K.
const secp256k1 = "SECP256K1"

// Width is the length of a coordinate and of a private scalar, in bytes; 0 for an unknown curve.
func (c Curve) Width() int {
	switch c {
	case P256, P256K:
		return 32
	case P384:
		return 48
	case P521:
		return 66
	}
	return 0
}

// Spec says what material a key has.
type Spec struct {
	Type     Type  `json:"type"`
	Bits     int   `json:"bits,omitempty"`  // RSA modulus or oct length in bits; 0 for EC
	Curve    Curve `json:"curve,omitempty"` // EC only
	Exponent int   `json:"exponent,omitempty"`
}

// NewSpec fills in the service's defaults (RSA 2048 with exponent 65537, P-256, oct 256) and refuses
// what the HSM does not make. SECP256K1 is another name of P-256K.
func NewSpec(t Type, bits int, c Curve, exponent int) (Spec, error) {
	switch t {
	case RSA:
		return rsaSpec(bits, exponent)
	case EC:
		return ecSpec(bits, c)
	case Oct:
		if bits == 0 {
			bits = 256
		}
		if bits != 128 && bits != 192 && bits != 256 {
			return Spec{}, fmt.Errorf("%w: key_size %d; oct-HSM keys have 128, 192 or 256 bits", ErrBadParameter, bits)
		}
		return Spec{Type: Oct, Bits: bits}, nil
	}
	return Spec{}, fmt.Errorf("%w: %q", ErrBadKeyType, t)
}

func rsaSpec(bits, exponent int) (Spec, error) {
	if bits == 0 {
		bits = 2048
	}
	if bits != 2048 && bits != 3072 && bits != 4096 {
		return Spec{}, fmt.Errorf("%w: key_size %d; RSA-HSM keys have 2048, 3072 or 4096 bits", ErrBadParameter, bits)
	}
	if exponent == 0 {
		exponent = 65537
	}
	if exponent < 3 || exponent > MaxExponent || exponent%2 == 0 {
		return Spec{}, fmt.Errorf("%w: public_exponent %d; it is odd, from 3 to %d, 65537 being the usual one", ErrBadParameter, exponent, MaxExponent)
	}
	return Spec{Type: RSA, Bits: bits, Exponent: exponent}, nil
}

func ecSpec(bits int, c Curve) (Spec, error) {
	if c == "" {
		switch bits {
		case 0, 256:
			c = P256
		case 384:
			c = P384
		case 521:
			c = P521
		}
	}
	switch c {
	case P256, P256K, P384, P521:
		return Spec{Type: EC, Curve: c}, nil
	case secp256k1:
		return Spec{Type: EC, Curve: P256K}, nil
	}
	return Spec{}, fmt.Errorf("%w: crv %q; EC-HSM keys use P-256, P-256K, P-384 or P-521", ErrBadParameter, c)
}

// Public is the public part of a key, big-endian unsigned integers. Empty for oct keys.
// X and Y have the curve's full width.
type Public struct {
	N []byte `json:"n,omitempty"`
	E []byte `json:"e,omitempty"`
	X []byte `json:"x,omitempty"`
	Y []byte `json:"y,omitempty"`
}
