package material

import (
	"crypto/ecdsa"
	"crypto/subtle"
	"fmt"

	"redoubt/internal/key"
	"redoubt/internal/secret"
)

// Material that was made elsewhere: the members of a JWK (RFC 7517, RFC 7518 section 6) or a PKCS #8 structure.
// Leading zero bytes of an integer are ignored, and an EC integer may be shorter than its curve's width,
// because the Azure CLI sends the shortest form of every number. Everything has to agree with everything else.
//
// All errors are key.ErrBadParameter with a text that names the part and never shows it. What is compared here
// the caller has sent, so how long it takes tells nobody anything new. Arguments stay the caller's to wipe.
// The kind of key that came of it is Key.Spec.

func badPart(format string, args ...any) error {
	return fmt.Errorf("%w: "+format, append([]any{key.ErrBadParameter}, args...)...)
}

// maxPart bounds one number, bytes: twice the longest modulus.
const maxPart = 1024

// ImportOct takes the bytes of an oct-HSM key: 16, 24 or 32 of them.
func ImportOct(k secret.Bytes) (Key, error) {
	spec, err := key.NewSpec(key.Oct, max(1, 8*k.Len()), "", 0)
	if err != nil {
		return Key{}, badPart("k has %d bytes; oct-HSM keys have 16, 24 or 32", k.Len())
	}
	return newOct(spec, k.Clone())
}

// ImportEC takes a private scalar and the public point that must be its own.
func ImportEC(curve key.Curve, x, y []byte, d secret.Bytes) (Key, error) {
	if curve == "" {
		return Key{}, badPart("crv is missing")
	}
	spec, err := key.NewSpec(key.EC, 0, curve, 0)
	if err != nil {
		return Key{}, err
	}
	w := spec.Curve.Width()
	point := make([]byte, 1+2*w)
	point[0] = 4
	if !fill(point[1:1+w], x) || !fill(point[1+w:], y) {
		return Key{}, badPart("x and y of %s are the two coordinates, %d bytes each", spec.Curve, w)
	}
	return importEC(spec, point, d)
}

// fill right-aligns a number in dst; false if there is none, or it is too long.
func fill(dst, number []byte) bool {
	if len(number) == 0 || len(number) > maxPart {
		return false
	}
	for len(number) > len(dst) {
		if number[0] != 0 {
			return false
		}
		number = number[1:]
	}
	clear(dst)
	copy(dst[len(dst)-len(number):], number)
	return true
}

// importEC makes a key of its scalar. point is 4 || X || Y, or empty when only the scalar is known.
func importEC(spec key.Spec, point []byte, d secret.Bytes) (Key, error) {
	scalar := make([]byte, spec.Curve.Width())
	defer clear(scalar)
	if !fill(scalar, d.Expose()) {
		return Key{}, badPart("d of %s is a number of at most %d bytes", spec.Curve, len(scalar))
	}
	if len(point) != 0 && !onCurve(spec.Curve, point) {
		return Key{}, badPart("the public point is not on curve %s", spec.Curve)
	}
	k, ok, err := keyOfScalar(spec, scalar)
	if err != nil {
		return Key{}, err
	}
	if !ok {
		return Key{}, badPart("d of %s is from 1 to the order of the curve less 1", spec.Curve)
	}
	pub := k.Public()
	if len(point) != 0 && subtle.ConstantTimeCompare(point[1:], append(append([]byte(nil), pub.X...), pub.Y...)) != 1 {
		k.Wipe()
		return Key{}, badPart("the public point is not that of d")
	}
	return k, nil
}

// keyOfScalar makes a key of a scalar of the curve's width; ok is false if it is out of range.
func keyOfScalar(spec key.Spec, scalar []byte) (k Key, ok bool, err error) {
	if spec.Curve == key.P256K {
		priv, ok := readK256(scalar)
		if !ok {
			return Key{}, false, nil
		}
		return newK256(spec, priv), true, nil
	}
	priv, err := ecdsa.ParseRawPrivateKey(curveOf(spec.Curve), scalar)
	if err != nil {
		return Key{}, false, nil //nolint:nilerr // its text could quote the number
	}
	k, err = Standard().newNIST(spec, priv)
	return k, true, err
}

// onCurve tells whether 4 || X || Y is a point of the curve.
func onCurve(c key.Curve, point []byte) bool {
	if c == key.P256K {
		return k256Point(point)
	}
	_, err := ecdsa.ParseUncompressedPublicKey(curveOf(c), point)
	return err == nil
}
