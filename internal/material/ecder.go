package material

import (
	stdasn1 "encoding/asn1"

	"golang.org/x/crypto/cryptobyte"
	"golang.org/x/crypto/cryptobyte/asn1"

	"redoubt/internal/key"
)

// EC private keys in PKCS #8 (RFC 5958 around RFC 5915), for the curve that the standard library does not
// read and for imports, where it would not look at the public point.

var (
	oidECKey = stdasn1.ObjectIdentifier{1, 2, 840, 10045, 2, 1} // id-ecPublicKey
	curveOID = map[key.Curve]stdasn1.ObjectIdentifier{
		key.P256:  {1, 2, 840, 10045, 3, 1, 7},
		key.P384:  {1, 3, 132, 0, 34},
		key.P521:  {1, 3, 132, 0, 35},
		key.P256K: {1, 3, 132, 0, 10},
	}
)

// ecKey is what stands in the DER, not yet judged. Its slices point into the input.
type ecKey struct {
	curve  key.Curve
	scalar []byte
	point  []byte // 4 || X || Y as it stands there; nil if it does not
}

func curveNamed(oid stdasn1.ObjectIdentifier) (key.Curve, bool) {
	for c, o := range curveOID {
		if o.Equal(oid) {
			return c, true
		}
	}
	return "", false
}

// readECKey reads strict DER of either version of PKCS #8. The inner structure may name the curve a second time,
// if it is the same one.
func readECKey(der []byte) (ecKey, bool) {
	var curve key.Curve
	inner, ok := readPKCS8(der, func(alg *cryptobyte.String) bool {
		var oid, named stdasn1.ObjectIdentifier
		if !alg.ReadASN1ObjectIdentifier(&oid) || !oid.Equal(oidECKey) || !alg.ReadASN1ObjectIdentifier(&named) {
			return false
		}
		var known bool
		curve, known = curveNamed(named)
		return known
	})
	if !ok {
		return ecKey{}, false
	}
	return readSEC1(inner, curve)
}

// readSEC1 reads ECPrivateKey of RFC 5915 for the curve that was named outside.
func readSEC1(der cryptobyte.String, curve key.Curve) (ecKey, bool) {
	out := ecKey{curve: curve}
	var seq, scalar, params, public cryptobyte.String
	var version int
	var again stdasn1.ObjectIdentifier
	var hasParams, hasPublic bool
	if !der.ReadASN1(&seq, asn1.SEQUENCE) || !der.Empty() || !seq.ReadASN1Integer(&version) || version != 1 ||
		!seq.ReadASN1(&scalar, asn1.OCTET_STRING) ||
		!seq.ReadOptionalASN1(&params, &hasParams, asn1.Tag(0).Constructed().ContextSpecific()) ||
		!seq.ReadOptionalASN1(&public, &hasPublic, asn1.Tag(1).Constructed().ContextSpecific()) || !seq.Empty() {
		return ecKey{}, false
	}
	if hasParams && (!params.ReadASN1ObjectIdentifier(&again) || !params.Empty() || !again.Equal(curveOID[curve])) {
		return ecKey{}, false
	}
	out.scalar = scalar
	if hasPublic && (!public.ReadASN1BitStringAsBytes(&out.point) || !public.Empty()) {
		return ecKey{}, false
	}
	return out, true
}
