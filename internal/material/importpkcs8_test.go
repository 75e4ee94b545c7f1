package material

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"errors"
	"math/big"
	"testing"

	"redoubt/internal/key"
	"redoubt/internal/secret"
)

// anyPKCS8 is PKCS #8 of either version with everything that may stand in it.
type anyPKCS8 struct {
	Version    int
	Algorithm  pkix.AlgorithmIdentifier
	Key        []byte
	Attributes asn1.RawValue  `asn1:"optional"`
	Public     asn1.BitString `asn1:"optional,tag:1"`
}

// anySEC1 is RFC 5915's structure.
type anySEC1 struct {
	Version int
	D       []byte
	Curve   asn1.ObjectIdentifier `asn1:"optional,explicit,tag:0"`
	Public  asn1.BitString        `asn1:"optional,explicit,tag:1"`
}

// attributes is an empty [0] SET OF Attribute, as Java and Windows write.
var attributes = asn1.RawValue{Class: asn1.ClassContextSpecific, Tag: 0, IsCompound: true, FullBytes: []byte{0xA0, 0}}

// rebuilt reads a test key's PKCS #8 and writes it changed.
func rebuilt(t testing.TB, file string, change func(outer *anyPKCS8, inner *anySEC1)) secret.Bytes {
	t.Helper()
	var outer anyPKCS8
	if _, err := asn1.Unmarshal(readPEM(t, file), &outer); err != nil {
		t.Fatal(err)
	}
	var inner anySEC1
	isEC := file[0] == 'p'
	if isEC {
		if _, err := asn1.Unmarshal(outer.Key, &inner); err != nil {
			t.Fatal(err)
		}
	}
	change(&outer, &inner)
	if isEC && outer.Key != nil {
		outer.Key = mustDER(t, inner)
	}
	return secret.New(mustDER(t, outer))
}

func TestImportPKCS8(t *testing.T) {
	t.Parallel()
	for file, spec := range pemSpec {
		for name, change := range map[string]func(*anyPKCS8, *anySEC1){
			"as it is":            func(*anyPKCS8, *anySEC1) {},
			"with attributes":     func(o *anyPKCS8, _ *anySEC1) { o.Attributes = attributes },
			"version 1":           func(o *anyPKCS8, _ *anySEC1) { o.Version = 1 },
			"with a public key":   func(o *anyPKCS8, _ *anySEC1) { o.Version, o.Public = 1, asn1.BitString{Bytes: []byte{4}, BitLength: 8} },
			"curve named twice":   func(_ *anyPKCS8, i *anySEC1) { i.Curve = curveOID[spec.Curve] },
			"without the point":   func(_ *anyPKCS8, i *anySEC1) { i.Public = asn1.BitString{} },
			"scalar with a zero":  func(_ *anyPKCS8, i *anySEC1) { i.D = append([]byte{0}, i.D...) },
			"scalar shortest":     func(_ *anyPKCS8, i *anySEC1) { i.D = bytes.TrimLeft(i.D, "\x00") },
			"no parameters (RSA)": func(o *anyPKCS8, _ *anySEC1) { dropNull(o) },
		} {
			if spec.Type == key.RSA && spec.Bits > 2048 && name != "as it is" {
				continue // the larger ones take their time
			}
			k, err := ImportPKCS8(rebuilt(t, file, change))
			wantSame(t, file+" "+name, k, err, pemKey(t, file))
		}
	}
	for _, curve := range []elliptic.Curve{elliptic.P256(), elliptic.P384(), elliptic.P521()} {
		priv, err := ecdsa.GenerateKey(curve, rand.Reader)
		if err != nil {
			t.Fatal(err)
		}
		der, err := x509.MarshalPKCS8PrivateKey(priv)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := ImportPKCS8(secret.New(der)); err != nil {
			t.Errorf("%s: %v", curve.Params().Name, err)
		}
	}
}

func dropNull(o *anyPKCS8) {
	if o.Algorithm.Algorithm.Equal(oidRSAKey) {
		o.Algorithm.Parameters = asn1.RawValue{}
	}
}

func TestImportPKCS8RefusesEC(t *testing.T) {
	t.Parallel()
	const notOne = "not a PKCS #8"
	for file, spec := range pemSpec {
		if spec.Type != key.EC {
			continue
		}
		w := spec.Curve.Width()
		for name, c := range map[string]struct {
			change func(*anyPKCS8, *anySEC1)
			says   string
		}{
			"point of another": {func(_ *anyPKCS8, i *anySEC1) { i.D[w-1] ^= 1 }, "not that of d"},
			"off the curve":    {func(_ *anyPKCS8, i *anySEC1) { i.Public.Bytes[2*w] ^= 1 }, "not on curve"},
			"infinity":         {func(_ *anyPKCS8, i *anySEC1) { i.Public = asn1.BitString{Bytes: []byte{0}, BitLength: 8} }, "uncompressed"},
			"compressed": {func(_ *anyPKCS8, i *anySEC1) {
				i.Public = asn1.BitString{Bytes: append([]byte{2}, i.Public.Bytes[1:1+w]...), BitLength: 8 + 8*w}
			}, "uncompressed"},
			"part of a byte":   {func(_ *anyPKCS8, i *anySEC1) { i.Public.BitLength -= 3 }, notOne},
			"scalar 0":         {func(_ *anyPKCS8, i *anySEC1) { clear(i.D) }, "from 1 to the order"},
			"scalar empty":     {func(_ *anyPKCS8, i *anySEC1) { i.D = nil }, "d of"},
			"scalar the order": {func(_ *anyPKCS8, i *anySEC1) { i.D = orderOf(spec.Curve).FillBytes(make([]byte, w)) }, "from 1 to the order"},
			"scalar too long":  {func(_ *anyPKCS8, i *anySEC1) { i.D = append([]byte{1}, i.D...) }, "d of"},
			"inner version":    {func(_ *anyPKCS8, i *anySEC1) { i.Version = 2 }, notOne},
			"outer version":    {func(o *anyPKCS8, _ *anySEC1) { o.Version = 2 }, notOne},
			"curves disagree":  {func(_ *anyPKCS8, i *anySEC1) { i.Curve = asn1.ObjectIdentifier{1, 3, 132, 0, 33} }, notOne},
			"unknown curve": {func(o *anyPKCS8, _ *anySEC1) {
				o.Algorithm.Parameters = asn1.RawValue{FullBytes: mustDER(t, asn1.ObjectIdentifier{1, 3, 132, 0, 33})}
			}, notOne},
			"no curve": {func(o *anyPKCS8, _ *anySEC1) { o.Algorithm.Parameters = asn1.RawValue{} }, notOne},
			"says that it is RSA": {func(o *anyPKCS8, _ *anySEC1) {
				o.Algorithm = pkix.AlgorithmIdentifier{Algorithm: oidRSAKey, Parameters: asn1.NullRawValue}
			}, notOne},
		} {
			k, err := ImportPKCS8(rebuilt(t, file, c.change))
			wantBadPart(t, file+" "+name, err, c.says)
			if k.h != nil {
				t.Errorf("%s %s: a key came with the error", file, name)
			}
		}
	}
}

func TestImportPKCS8RefusesRSA(t *testing.T) {
	t.Parallel()
	priv := private[*rsa.PrivateKey](t, "rsa2048.pem")
	inner := func(change func(*pkcs1)) secret.Bytes {
		return rebuilt(t, "rsa2048.pem", func(o *anyPKCS8, _ *anySEC1) {
			var k pkcs1
			if _, err := asn1.Unmarshal(o.Key, &k); err != nil {
				t.Fatal(err)
			}
			change(&k)
			o.Key = mustDER(t, k)
		})
	}
	_, ed, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	edDER, err := x509.MarshalPKCS8PrivateKey(ed)
	if err != nil {
		t.Fatal(err)
	}
	sec1, err := x509.MarshalECPrivateKey(private[*ecdsa.PrivateKey](t, "p256.pem"))
	if err != nil {
		t.Fatal(err)
	}
	good := readPEM(t, "rsa2048.pem")
	const notOne = "not a PKCS #8"
	for name, c := range map[string]struct {
		der  secret.Bytes
		says string
	}{
		"dp":            {inner(func(k *pkcs1) { k.Dp.Add(k.Dp, big.NewInt(1)) }), "dp does not"},
		"qi":            {inner(func(k *pkcs1) { k.QInv.Add(k.QInv, big.NewInt(1)) }), "qi does not"},
		"d":             {inner(func(k *pkcs1) { k.D.Add(k.D, big.NewInt(2)) }), "d is not"},
		"n":             {inner(func(k *pkcs1) { k.N.Add(k.N, big.NewInt(2)) }), "p times q"},
		"negative d":    {inner(func(k *pkcs1) { k.D.Neg(k.D) }), notOne},
		"p zero":        {inner(func(k *pkcs1) { k.P.SetInt64(0) }), notOne},
		"exponent 1":    {inner(func(k *pkcs1) { k.E.SetInt64(1) }), "e is odd"},
		"inner version": {inner(func(k *pkcs1) { k.Version = 1 }), notOne},
		"PKCS #1":       {secret.New(x509.MarshalPKCS1PrivateKey(priv)), notOne},
		"SEC 1":         {secret.New(sec1), notOne},
		"Ed25519":       {secret.New(edDER), notOne},
		"public key":    {secret.New(x509.MarshalPKCS1PublicKey(&priv.PublicKey)), notOne},
		"empty":         {secret.Bytes{}, notOne[4:]},
		"cut":           {secret.New(good[:len(good)-1]), notOne},
		"a byte more":   {secret.New(append(bytes.Clone(good), 0)), notOne},
		"PEM":           {secret.New([]byte("-----BEGIN PRIVATE KEY-----")), notOne},
		"huge":          {secret.New(make([]byte, maxTransfer+1)), notOne[4:]},
		"PSS parameters": {rebuilt(t, "rsa2048.pem", func(o *anyPKCS8, _ *anySEC1) {
			o.Algorithm.Algorithm = asn1.ObjectIdentifier{1, 2, 840, 113549, 1, 1, 10}
		}), notOne},
	} {
		k, err := ImportPKCS8(c.der)
		wantBadPart(t, name, err, c.says)
		if k.h != nil {
			t.Errorf("%s: a key came with the error", name)
		}
	}
}

// FuzzImportPKCS8: what is accepted survives the store, and is the same key when it is exported and imported
// again.
func FuzzImportPKCS8(f *testing.F) {
	for file := range pemSpec {
		f.Add(readPEM(f, file))
		f.Add(rebuilt(f, file, func(o *anyPKCS8, i *anySEC1) { o.Attributes, i.Public = attributes, asn1.BitString{} }).Expose())
	}
	f.Fuzz(func(t *testing.T, der []byte) {
		k, err := ImportPKCS8(secret.New(der))
		if err != nil {
			if !errors.Is(err, key.ErrBadParameter) {
				t.Fatalf("unexpected error: %v", err)
			}
			return
		}
		if _, err := Parse(k.Spec(), k.Marshal()); err != nil {
			t.Fatalf("%s does not survive the store: %v", k.Spec(), err)
		}
		out, err := k.Export()
		if err != nil {
			t.Fatal(err)
		}
		if again, err := ImportPKCS8(out); err != nil || !again.Marshal().Equal(k.Marshal()) {
			t.Fatalf("%s: exported, it is another key: %v", k.Spec(), err)
		}
	})
}

// FuzzUnwrapTransfer: arbitrary blobs never panic and have one error.
func FuzzUnwrapTransfer(f *testing.F) {
	kek := pemKey(f, "rsa2048.pem")
	for i, alg := range transfers {
		blob, err := WrapTo(publicOf(f, kek), alg, secret.New(bytes.Repeat([]byte{1}, 40)))
		if err != nil {
			f.Fatal(err)
		}
		f.Add(uint8(i), blob)
		f.Add(uint8(i), blob[:256])
	}
	f.Fuzz(func(t *testing.T, which uint8, blob []byte) {
		out, err := kek.UnwrapTransfer(transfers[int(which)%len(transfers)], blob)
		if err != nil && err != key.ErrCryptoFailed { //nolint:errorlint // bare on purpose
			t.Fatal(err)
		}
		if err == nil && out.Len() > len(blob)-256-8 {
			t.Fatalf("%d bytes from %d", out.Len(), len(blob))
		}
	})
}
