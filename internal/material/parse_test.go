package material

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/asn1"
	"errors"
	"math/big"
	"slices"
	"testing"

	decred "github.com/decred/dcrd/dcrec/secp256k1/v4"

	"redoubt/internal/key"
	"redoubt/internal/secret"
)

func TestParseRefusesOtherSpecs(t *testing.T) {
	t.Parallel()
	for _, made := range allSpecs {
		m := testKey(t, made).Marshal()
		for _, asked := range allSpecs {
			_, err := Parse(asked, m)
			if made == asked && err != nil || made != asked && !errors.Is(err, ErrBadMaterial) {
				t.Errorf("%s parsed as %s: %v", made, asked, err)
			}
		}
		if _, err := Parse(key.Spec{Type: made.Type, Bits: 1, Curve: "x"}, m); !errors.Is(err, key.ErrBadParameter) {
			t.Errorf("%s parsed as an impossible spec: %v", made, err)
		}
	}
}

// Whatever byte is changed, cut or added: it is refused, or (in an oct key) it is another key.
func TestParseRefusesDamage(t *testing.T) {
	t.Parallel()
	for _, spec := range []key.Spec{allSpecs[0], allSpecs[3], allSpecs[5], allSpecs[6], allSpecs[9]} {
		m := testKey(t, spec).Marshal().Expose()
		step := 1 + len(m)/80 // all of a short key, a sample of a long one
		for i := 0; i < len(m); i += step {
			bad := bytes.Clone(m)
			bad[i] ^= 0x11
			if spec.Type == key.Oct && i > len(magic) {
				continue
			}
			if _, err := Parse(spec, secret.New(bad)); !errors.Is(err, ErrBadMaterial) {
				t.Errorf("%s with byte %d changed: %v", spec, i, err)
			}
			if _, err := Parse(spec, secret.New(bytes.Clone(m[:i]))); !errors.Is(err, ErrBadMaterial) {
				t.Errorf("%s cut to %d bytes: %v", spec, i, err)
			}
		}
		if _, err := Parse(spec, secret.New(append(bytes.Clone(m), 0))); !errors.Is(err, ErrBadMaterial) {
			t.Errorf("%s with a byte added: %v", spec, err)
		}
	}
}

// pkcs8 is OneAsymmetricKey without attributes, for building what no library would write.
type pkcs8 struct {
	Version int
	Algo    struct {
		OID    asn1.ObjectIdentifier
		Params asn1.RawValue
	}
	Key []byte
}

func mustDER(t testing.TB, v any) []byte {
	t.Helper()
	b, err := asn1.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// pkcs1 is RSAPrivateKey of RFC 8017.
type pkcs1 struct {
	Version                     int
	N, E, D, P, Q, Dp, Dq, QInv *big.Int
}

func TestParseRefusesInconsistentRSA(t *testing.T) {
	t.Parallel()
	var outer pkcs8
	if _, err := asn1.Unmarshal(readPEM(t, "rsa2048.pem"), &outer); err != nil {
		t.Fatal(err)
	}
	build := func(change func(*pkcs1)) secret.Bytes {
		var inner pkcs1
		if _, err := asn1.Unmarshal(outer.Key, &inner); err != nil {
			t.Fatal(err)
		}
		change(&inner)
		o := outer
		o.Key = mustDER(t, inner)
		return encoded(key.RSA, mustDER(t, o))
	}
	if _, err := Parse(allSpecs[0], build(func(*pkcs1) {})); err != nil {
		t.Fatalf("unchanged: %v", err)
	}
	two := big.NewInt(2)
	for name, change := range map[string]func(*pkcs1){
		"modulus not the product":         func(k *pkcs1) { k.N.Add(k.N, two) },
		"private exponent wrong":          func(k *pkcs1) { k.D.Add(k.D, two) },
		"private exponent 1":              func(k *pkcs1) { k.D.SetInt64(1) },
		"private exponent not reduced":    func(k *pkcs1) { k.D.Add(k.D, k.N) },
		"public exponent 3":               func(k *pkcs1) { k.E.SetInt64(3) },
		"public exponent beyond 64 bits":  func(k *pkcs1) { k.E.Lsh(k.E, 64) },
		"dp wrong":                        func(k *pkcs1) { k.Dp.Add(k.Dp, two) },
		"dq zero":                         func(k *pkcs1) { k.Dq.SetInt64(0) },
		"coefficient wrong":               func(k *pkcs1) { k.QInv.Add(k.QInv, two) },
		"factors exchanged, rest as was":  func(k *pkcs1) { k.P, k.Q = k.Q, k.P },
		"one factor, the modulus itself":  func(k *pkcs1) { k.P.Set(k.N); k.Q.SetInt64(1) },
		"negative factor":                 func(k *pkcs1) { k.P.Neg(k.P); k.Q.Neg(k.Q) },
		"even modulus":                    func(k *pkcs1) { k.Q.SetInt64(2); k.N.Mul(k.P, k.Q) },
		"version 1 (multi-prime) claimed": func(k *pkcs1) { k.Version = 1 },
	} {
		if _, err := Parse(allSpecs[0], build(change)); !errors.Is(err, ErrBadMaterial) {
			t.Errorf("%s: %v, want ErrBadMaterial", name, err)
		}
	}
}

func TestParseRefusesUnbalancedRSA(t *testing.T) {
	t.Parallel()
	short, err := rand.Prime(rand.Reader, 64)
	if err != nil {
		t.Fatal(err)
	}
	long, err := rand.Prime(rand.Reader, 1984)
	if err != nil {
		t.Fatal(err)
	}
	n, e, one := new(big.Int).Mul(short, long), big.NewInt(65537), big.NewInt(1)
	phi := new(big.Int).Mul(new(big.Int).Sub(short, one), new(big.Int).Sub(long, one))
	d := new(big.Int).ModInverse(e, phi)
	priv := &rsa.PrivateKey{PublicKey: rsa.PublicKey{N: n, E: 65537}, D: d, Primes: []*big.Int{long, short}}
	if _, err := Standard().newRSA(key.Spec{Type: key.RSA, Bits: n.BitLen(), Exponent: 65537}, priv); !errors.Is(err, ErrBadMaterial) {
		t.Errorf("a 64-bit factor: %v, want ErrBadMaterial", err)
	}
}

func TestParseRefusesInconsistentEC(t *testing.T) {
	t.Parallel()
	testInconsistentEC(t, "p256.pem", elliptic.P256().Params().N)
	testInconsistentEC(t, "p256k.pem", decred.Params().N)
}

func testInconsistentEC(t *testing.T, name string, order *big.Int) {
	t.Helper()
	var outer pkcs8
	if _, err := asn1.Unmarshal(readPEM(t, name), &outer); err != nil {
		t.Fatal(err)
	}
	type sec1 struct {
		Version int
		D       []byte
		Public  asn1.BitString `asn1:"optional,explicit,tag:1"`
	}
	build := func(change func(*sec1)) secret.Bytes {
		var inner sec1
		if _, err := asn1.Unmarshal(outer.Key, &inner); err != nil {
			t.Fatal(err)
		}
		change(&inner)
		o := outer
		o.Key = mustDER(t, inner)
		return encoded(key.EC, mustDER(t, o))
	}
	spec := pemSpec[name]
	if _, err := Parse(spec, build(func(*sec1) {})); err != nil {
		t.Fatalf("%s unchanged: %v", name, err)
	}
	for what, change := range map[string]func(*sec1){
		"scalar of another point": func(k *sec1) { k.D[31] ^= 1 },
		"scalar zero":             func(k *sec1) { clear(k.D) },
		"scalar the order":        func(k *sec1) { order.FillBytes(k.D) },
		"scalar above the order":  func(k *sec1) { new(big.Int).Add(order, big.NewInt(1)).FillBytes(k.D) },
		"scalar short":            func(k *sec1) { k.D = k.D[:31] },
		"scalar long":             func(k *sec1) { k.D = append([]byte{0}, k.D...) },
		"no public point":         func(k *sec1) { k.Public = asn1.BitString{} },
		"point off the curve":     func(k *sec1) { k.Public.Bytes[64] ^= 1 },
		"compressed point": func(k *sec1) {
			k.Public.Bytes = append([]byte{2 + k.Public.Bytes[64]&1}, k.Public.Bytes[1:33]...)
			k.Public.BitLength = 33 * 8
		},
		"version 2": func(k *sec1) { k.Version = 2 },
	} {
		if _, err := Parse(spec, build(change)); !errors.Is(err, ErrBadMaterial) {
			t.Errorf("%s, %s: %v, want ErrBadMaterial", name, what, err)
		}
	}
}

// Encodings that a lenient reader would take for the same key.
func TestParseRefusesOtherEncodings(t *testing.T) {
	t.Parallel()
	rsaPriv := private[*rsa.PrivateKey](t, "rsa2048.pem")
	ecPriv := private[*ecdsa.PrivateKey](t, "p256.pem")
	sec1, err := x509.MarshalECPrivateKey(ecPriv)
	if err != nil {
		t.Fatal(err)
	}
	var withParams pkcs8 // the inner structure names the curve a second time
	if _, err := asn1.Unmarshal(readPEM(t, "p256.pem"), &withParams); err != nil {
		t.Fatal(err)
	}
	withParams.Key = sec1
	der := readPEM(t, "p256.pem")
	ber := slices.Concat([]byte{0x30, 0x81, der[1]}, der[2:]) // length in more bytes than needed
	if der[1] >= 0x80 {
		ber = slices.Concat([]byte{0x30, 0x82, 0, der[2]}, der[3:])
	}
	for name, c := range map[string]struct {
		spec    key.Spec
		payload []byte
	}{
		"PKCS #1":               {allSpecs[0], x509.MarshalPKCS1PrivateKey(rsaPriv)},
		"SEC 1":                 {allSpecs[3], sec1},
		"curve named twice":     {allSpecs[3], mustDER(t, withParams)},
		"long form of a length": {allSpecs[3], ber},
		"PEM":                   {allSpecs[3], []byte("-----BEGIN PRIVATE KEY-----\n")},
		"empty":                 {allSpecs[3], nil},
	} {
		if _, err := Parse(c.spec, encoded(c.spec.Type, c.payload)); !errors.Is(err, ErrBadMaterial) {
			t.Errorf("%s: %v, want ErrBadMaterial", name, err)
		}
	}
}
