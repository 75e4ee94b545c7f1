package material

import (
	stdasn1 "encoding/asn1"
	"math/big"

	"golang.org/x/crypto/cryptobyte"
	"golang.org/x/crypto/cryptobyte/asn1"

	"redoubt/internal/key"
	"redoubt/internal/secret"
)

var oidRSAKey = stdasn1.ObjectIdentifier{1, 2, 840, 113549, 1, 1, 1} // rsaEncryption

// ImportPKCS8 takes an RSA or EC private key in DER (RFC 5958; RFC 8017 A.1.2 or RFC 5915 inside). Of an EC key
// the public point may be left out; if it is there, it must be the scalar's.
func ImportPKCS8(der secret.Bytes) (Key, error) {
	b := der.Expose()
	if len(b) == 0 || len(b) > maxTransfer {
		return Key{}, badPart("%d bytes are not a PKCS #8 private key", len(b))
	}
	if ec, ok := readECKey(b); ok {
		if ec.point != nil && (len(ec.point) != 1+2*ec.curve.Width() || ec.point[0] != 4) {
			return Key{}, badPart("the public point is not in its uncompressed form")
		}
		scalar := secret.New(append([]byte(nil), ec.scalar...))
		defer scalar.Wipe()
		return importEC(key.Spec{Type: key.EC, Curve: ec.curve}, ec.point, scalar)
	}
	parts, ok := readRSAKey(b)
	if !ok {
		return Key{}, badPart("not a PKCS #8 private key in DER of RSA with two primes, or of EC on P-256, P-256K, P-384 or P-521")
	}
	defer parts.wipe()
	return ImportRSA(parts)
}

func (parts RSAParts) wipe() {
	for _, s := range []secret.Bytes{parts.D, parts.P, parts.Q, parts.DP, parts.DQ, parts.QI} {
		s.Wipe()
	}
}

// readRSAKey reads strict DER of either version of PKCS #8 around RSAPrivateKey with two primes.
func readRSAKey(der []byte) (RSAParts, bool) {
	inner, ok := readPKCS8(der, func(alg *cryptobyte.String) bool {
		var oid stdasn1.ObjectIdentifier
		var null cryptobyte.String
		var has bool
		return alg.ReadASN1ObjectIdentifier(&oid) && oid.Equal(oidRSAKey) && alg.ReadOptionalASN1(&null, &has, asn1.NULL) && len(null) == 0
	})
	var seq cryptobyte.String
	var version int
	if !ok || !inner.ReadASN1(&seq, asn1.SEQUENCE) || !inner.Empty() || !seq.ReadASN1Integer(&version) || version != 0 {
		return RSAParts{}, false
	}
	var out RSAParts
	var d, p, q, dp, dq, qi []byte
	for _, to := range []*[]byte{&out.N, &out.E, &d, &p, &q, &dp, &dq, &qi} {
		n := new(big.Int)
		if !seq.ReadASN1Integer(n) || n.Sign() <= 0 {
			return RSAParts{}, false
		}
		*to = n.Bytes()
		clear(n.Bits())
	}
	out.D, out.P, out.Q = secret.New(d), secret.New(p), secret.New(q)
	out.DP, out.DQ, out.QI = secret.New(dp), secret.New(dq), secret.New(qi)
	return out, seq.Empty()
}

// readPKCS8 reads the outer structure and leaves the inner one; attributes and the outer public key are skipped.
func readPKCS8(der []byte, algorithm func(*cryptobyte.String) bool) (inner cryptobyte.String, ok bool) {
	in, outer, alg := cryptobyte.String(der), cryptobyte.String(nil), cryptobyte.String(nil)
	var version int
	ok = in.ReadASN1(&outer, asn1.SEQUENCE) && in.Empty() && outer.ReadASN1Integer(&version) && (version == 0 || version == 1) &&
		outer.ReadASN1(&alg, asn1.SEQUENCE) && algorithm(&alg) && alg.Empty() && outer.ReadASN1(&inner, asn1.OCTET_STRING) &&
		outer.SkipOptionalASN1(asn1.Tag(0).Constructed().ContextSpecific()) && outer.SkipOptionalASN1(asn1.Tag(1).ContextSpecific()) && outer.Empty()
	return inner, ok
}
