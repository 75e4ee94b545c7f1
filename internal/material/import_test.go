package material

import (
	"bytes"
	"crypto/rand"
	"crypto/rsa"
	"encoding/hex"
	"errors"
	"math/big"
	"slices"
	"strings"
	"testing"

	decred "github.com/decred/dcrd/dcrec/secp256k1/v4"

	"redoubt/internal/key"
	"redoubt/internal/secret"
)

func sec(n *big.Int) secret.Bytes { return secret.New(n.Bytes()) }

// partsOf takes a test key apart, as a client does.
func partsOf(k *rsa.PrivateKey) RSAParts {
	pre := k.Precomputed
	return RSAParts{
		N: k.N.Bytes(), E: big.NewInt(int64(k.E)).Bytes(), D: sec(k.D), P: sec(k.Primes[0]), Q: sec(k.Primes[1]),
		DP: sec(pre.Dp), DQ: sec(pre.Dq), QI: sec(pre.Qinv),
	}
}

// wantSame: two keys with the same public half, of which the imported one survives the store.
func wantSame(t *testing.T, name string, got Key, err error, want Key) {
	t.Helper()
	if err != nil {
		t.Errorf("%s: %v", name, err)
		return
	}
	if got.Spec() != want.Spec() || hex.EncodeToString(slices.Concat(got.Public().N, got.Public().E, got.Public().X, got.Public().Y)) !=
		hex.EncodeToString(slices.Concat(want.Public().N, want.Public().E, want.Public().X, want.Public().Y)) {
		t.Errorf("%s: %s, another key than %s", name, got.Spec(), want.Spec())
	}
	if _, err := Parse(got.Spec(), got.Marshal()); err != nil {
		t.Errorf("%s: does not survive the store: %v", name, err)
	}
}

// wantBadPart: refused with a text that names the part and shows no number.
func wantBadPart(t *testing.T, name string, err error, says string) {
	t.Helper()
	if !errors.Is(err, key.ErrBadParameter) || !strings.Contains(err.Error(), says) || len(err.Error()) > 160 {
		t.Errorf("%s: %v; should say %q", name, err, says)
	}
}

func zeros(b []byte) []byte { return append([]byte{0, 0}, b...) }

func TestImportRSA(t *testing.T) {
	t.Parallel()
	for _, file := range []string{"rsa2048.pem", "rsa3072.pem", "rsa4096.pem"} {
		priv, want := private[*rsa.PrivateKey](t, file), pemKey(t, file)
		for name, change := range map[string]func(*RSAParts){
			"all":              func(*RSAParts) {},
			"without dp dq qi": func(p *RSAParts) { p.DP, p.DQ, p.QI = secret.Bytes{}, secret.Bytes{}, secret.Bytes{} },
			"with dp only":     func(p *RSAParts) { p.DQ, p.QI = secret.Bytes{}, secret.Bytes{} },
			"n e d": func(p *RSAParts) {
				p.P, p.Q, p.DP, p.DQ, p.QI = secret.Bytes{}, secret.Bytes{}, secret.Bytes{}, secret.Bytes{}, secret.Bytes{}
			},
			"leading zeros": func(p *RSAParts) {
				p.N, p.E, p.D, p.P, p.QI = zeros(p.N), zeros(p.E), secret.New(zeros(p.D.Expose())), secret.New(zeros(p.P.Expose())), secret.New(zeros(p.QI.Expose()))
			},
			"factors exchanged": func(p *RSAParts) {
				p.P, p.Q, p.DP, p.DQ = p.Q, p.P, p.DQ, p.DP
				p.QI = sec(new(big.Int).ModInverse(priv.Primes[0], priv.Primes[1]))
			},
			"the longer d": func(p *RSAParts) {
				one := big.NewInt(1)
				phi := new(big.Int).Mul(new(big.Int).Sub(priv.Primes[0], one), new(big.Int).Sub(priv.Primes[1], one))
				p.D = sec(new(big.Int).ModInverse(big.NewInt(int64(priv.E)), phi))
			},
		} {
			if file != "rsa2048.pem" && name != "all" && name != "n e d" {
				continue // the larger ones take their time
			}
			p := partsOf(priv)
			change(&p)
			k, err := ImportRSA(p)
			wantSame(t, file+" "+name, k, err, want)
			if err == nil && name == "n e d" { // the factors that were found are the factors
				sig, err := k.Sign("RS256", make([]byte, 32))
				if again, err2 := want.Sign("RS256", make([]byte, 32)); err != nil || err2 != nil || !bytes.Equal(sig, again) {
					t.Errorf("%s: signs otherwise: %v, %v", name, err, err2)
				}
			}
		}
	}
}

func TestImportRSAWithExponents(t *testing.T) {
	t.Parallel()
	for _, e := range []int{3, 17, 1<<31 - 1} {
		k, err := generateRSA(2048, e)
		if err != nil {
			t.Fatal(err)
		}
		want, err := Standard().newRSA(key.Spec{Type: key.RSA, Bits: 2048, Exponent: e}, k)
		if err != nil {
			t.Fatal(err)
		}
		p := partsOf(k)
		got, err := ImportRSA(p)
		wantSame(t, "all parts", got, err, want)
		got, err = ImportRSA(RSAParts{N: p.N, E: p.E, D: p.D})
		wantSame(t, "n, e and d", got, err, want)
	}
}

// wrongPrime gives a prime of the length asked for that no other test has.
func wrongPrime(t *testing.T, bits int) *big.Int {
	t.Helper()
	p, err := rand.Prime(rand.Reader, bits)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// of makes all parts of a key from its factors, whatever they are.
func of(t *testing.T, e int64, p, q *big.Int) RSAParts {
	t.Helper()
	k, err := rsaFromPrimes(big.NewInt(e), p, q)
	if err != nil {
		t.Fatal(err)
	}
	one := big.NewInt(1)
	return RSAParts{
		N: k.N.Bytes(), E: big.NewInt(e).Bytes(), D: sec(k.D), P: sec(p), Q: sec(q),
		DP: sec(new(big.Int).Mod(k.D, new(big.Int).Sub(p, one))), DQ: sec(new(big.Int).Mod(k.D, new(big.Int).Sub(q, one))),
		QI: sec(orOne(new(big.Int).ModInverse(q, p))),
	}
}

// allOnes is 2^bits - 1: odd, and of that length.
func allOnes(bits uint) *big.Int {
	return new(big.Int).Sub(new(big.Int).Lsh(big.NewInt(1), bits), big.NewInt(1))
}

// modp2048 is a prime of 2048 bits (RFC 3526, 3).
const modp2048 = "FFFFFFFFFFFFFFFFC90FDAA22168C234C4C6628B80DC1CD129024E088A67CC74020BBEA63B139B22514A08798E3404DDEF9519B3CD3A431B302B0A6D" +
	"F25F14374FE1356D6D51C245E485B576625E7EC6F44C42E9A637ED6B0BFF5CB6F406B7EDEE386BFB5A899FA5AE9F24117C4B1FE649286651ECE45B3DC2007CB8" +
	"A163BF0598DA48361C55D39A69163FA8FD24CF5F83655D23DCA3AD961C62F356208552BB9ED529077096966D670C354E4ABC9804F1746C08CA18217C32905E46" +
	"2E36CE3BE39E772C180E86039B2783A2EC07A28FB5C55DF06F4C52C9DE2BCBF6955817183995497CEA956AE515D2261898FA051015728E5A8AACAA68FFFFFFFFFFFFFFFF"

func orOne(n *big.Int) *big.Int {
	if n == nil {
		return big.NewInt(1)
	}
	return n
}

func TestImportRSARefuses(t *testing.T) {
	t.Parallel()
	priv := private[*rsa.PrivateKey](t, "rsa2048.pem")
	p0, q0 := priv.Primes[0], priv.Primes[1]
	good := partsOf(priv)
	other := partsOf(private[*rsa.PrivateKey](t, "rsa3072.pem"))
	plus := func(s secret.Bytes, n int64) secret.Bytes {
		return sec(new(big.Int).Add(new(big.Int).SetBytes(s.Expose()), big.NewInt(n)))
	}
	none := secret.Bytes{}
	for name, c := range map[string]struct {
		change func(*RSAParts)
		says   string
	}{
		"no n":                  {func(p *RSAParts) { p.N = nil }, "n is missing"},
		"no e":                  {func(p *RSAParts) { p.E = nil }, "e is missing"},
		"no d":                  {func(p *RSAParts) { p.D = none }, "d is missing"},
		"no p":                  {func(p *RSAParts) { p.P = none }, "p and q"},
		"no q":                  {func(p *RSAParts) { p.Q = none }, "p and q"},
		"dp without factors":    {func(p *RSAParts) { p.P, p.Q, p.DQ, p.QI = none, none, none, none }, "need p and q"},
		"e 0":                   {func(p *RSAParts) { p.E = []byte{0} }, "e is odd"},
		"e 1":                   {func(p *RSAParts) { p.E = []byte{1} }, "e is odd"},
		"e even":                {func(p *RSAParts) { p.E = []byte{1, 0, 0} }, "e is odd"},
		"e 2^31+1":              {func(p *RSAParts) { p.E = []byte{0x80, 0, 0, 1} }, "e is odd"},
		"e of 9 bytes":          {func(p *RSAParts) { p.E = bytes.Repeat([]byte{0xFF}, 9) }, "e is odd"},
		"another e":             {func(p *RSAParts) { p.E = []byte{17} }, "does not belong"},
		"another e, no dp":      {func(p *RSAParts) { p.E, p.DP, p.DQ, p.QI = []byte{17}, none, none, none }, "d is not"},
		"another e, no factors": {func(p *RSAParts) { *p = RSAParts{N: p.N, E: []byte{17}, D: p.D} }, "d is not"},
		"n even":                {func(p *RSAParts) { *p = RSAParts{N: plus(secret.New(p.N), 1).Expose(), E: p.E, D: p.D} }, "product of two primes"},
		"n another":             {func(p *RSAParts) { p.N = plus(secret.New(bytes.Clone(p.N)), 2).Expose() }, "p times q"},
		"n of 3072 bits":        {func(p *RSAParts) { p.N = other.N }, "half as long"},
		"n 0":                   {func(p *RSAParts) { p.N = make([]byte, 256) }, "n has 0 bits"},
		"n of 2047 bits":        {func(p *RSAParts) { p.N = new(big.Int).Rsh(priv.N, 1).Bytes() }, "n has 2047 bits"},
		"n of 8192 bits":        {func(p *RSAParts) { p.N = bytes.Repeat([]byte{0xFF}, 1024) }, "n has 8192 bits"},
		"n huge":                {func(p *RSAParts) { p.N = bytes.Repeat([]byte{0xFF}, 1025) }, "n is longer"},
		"p huge":                {func(p *RSAParts) { p.P = secret.New(make([]byte, 1<<20)) }, "p is longer"},
		"n prime":               {func(p *RSAParts) { *p = RSAParts{N: unhex(t, modp2048), E: p.E, D: p.D} }, "product of two primes"},
		"d 0":                   {func(p *RSAParts) { p.D = secret.New([]byte{0}) }, "d is not between"},
		"d n":                   {func(p *RSAParts) { p.D = secret.New(bytes.Clone(p.N)) }, "d is not between"},
		"d+1":                   {func(p *RSAParts) { p.D = plus(p.D, 1) }, "d is not the private exponent"},
		"d+1, no factors":       {func(p *RSAParts) { *p = RSAParts{N: p.N, E: p.E, D: plus(p.D, 1)} }, "d is not the private exponent"},
		"d of another key":      {func(p *RSAParts) { p.D = secret.New(other.D.Expose()[:250]) }, "d is not the private exponent"},
		"d 1":                   {func(p *RSAParts) { *p = RSAParts{N: p.N, E: p.E, D: secret.New([]byte{1})} }, "d is not the private exponent"},
		"p and q changed":       {func(p *RSAParts) { p.P, p.Q = plus(p.P, 2), plus(p.Q, -2) }, "p times q"},
		"p 1, q n":              {func(p *RSAParts) { p.P, p.Q = secret.New([]byte{1}), secret.New(bytes.Clone(p.N)) }, "half as long"},
		"dp+1":                  {func(p *RSAParts) { p.DP = plus(p.DP, 1) }, "dp does not"},
		"dp not reduced":        {func(p *RSAParts) { p.DP = p.D }, "dp does not"},
		"dq 0":                  {func(p *RSAParts) { p.DQ = secret.New([]byte{0}) }, "dq does not"},
		"dp and dq exchanged":   {func(p *RSAParts) { p.DP, p.DQ = p.DQ, p.DP }, "dp does not"},
		"qi+1":                  {func(p *RSAParts) { p.QI = plus(p.QI, 1) }, "qi does not"},
		"1024 bits":             {func(p *RSAParts) { *p = of(t, 65537, wrongPrime(t, 512), wrongPrime(t, 512)) }, "n has"},
		"unequal factors":       {func(p *RSAParts) { *p = of(t, 65537, allOnes(1984), allOnes(64)) }, "half as long"},
		"a square":              {func(p *RSAParts) { *p = of(t, 65537, p0, p0) }, "two different primes"},
		"three primes":          {func(p *RSAParts) { *p = of(t, 65537, p0, composite(t, 1024)) }, "primes"},
		"three, no factors": {func(p *RSAParts) {
			q := of(t, 65537, q0, composite(t, 1024))
			*p = RSAParts{N: q.N, E: q.E, D: q.D}
		}, ""},
	} {
		p := good
		p.N, p.E = bytes.Clone(good.N), bytes.Clone(good.E)
		c.change(&p)
		k, err := ImportRSA(p)
		wantBadPart(t, name, err, c.says)
		if k.h != nil {
			t.Errorf("%s: a key came with the error", name)
		}
	}
}

// composite is the product of two primes with the two top bits set, of exactly bits bits.
func composite(t *testing.T, bits int) *big.Int {
	t.Helper()
	return new(big.Int).Mul(wrongPrime(t, bits/2), wrongPrime(t, bits/2))
}

func TestImportEC(t *testing.T) {
	t.Parallel()
	for file, spec := range pemSpec {
		if spec.Type != key.EC {
			continue
		}
		want := pemKey(t, file)
		x, y := want.Public().X, want.Public().Y
		d := scalarOf(t, want)
		k, err := ImportEC(spec.Curve, x, y, d)
		wantSame(t, file, k, err, want)
		k, err = ImportEC(spec.Curve, zeros(x), zeros(y), secret.New(zeros(d.Expose())))
		wantSame(t, file+" with leading zeros", k, err, want)
	}
	// The shortest form of numbers that begin with a zero byte, as the Azure CLI sends them.
	for _, curve := range []key.Curve{key.P256, key.P256K, key.P384, key.P521} {
		for {
			k, err := Generate(key.Spec{Type: key.EC, Curve: curve})
			if err != nil {
				t.Fatal(err)
			}
			if k.Public().X[0] != 0 {
				continue
			}
			d := scalarOf(t, k)
			got, err := ImportEC(curve, bytes.TrimLeft(k.Public().X, "\x00"), bytes.TrimLeft(k.Public().Y, "\x00"), secret.New(bytes.TrimLeft(d.Expose(), "\x00")))
			wantSame(t, string(curve)+" shortest", got, err, k)
			break
		}
	}
	k, err := ImportEC("SECP256K1", pemKey(t, "p256k.pem").Public().X, pemKey(t, "p256k.pem").Public().Y, scalarOf(t, pemKey(t, "p256k.pem")))
	wantSame(t, "az's name of the curve", k, err, pemKey(t, "p256k.pem"))
}

func scalarOf(t testing.TB, k Key) secret.Bytes {
	t.Helper()
	der, err := k.Export()
	if err != nil {
		t.Fatal(err)
	}
	ec, ok := readECKey(der.Expose())
	if !ok {
		t.Fatalf("%s does not read its own DER", k.Spec())
	}
	return secret.New(bytes.Clone(ec.scalar))
}

func orderOf(c key.Curve) *big.Int {
	if c == key.P256K {
		return decred.Params().N
	}
	return curveOf(c).Params().N
}

func TestImportECRefuses(t *testing.T) {
	t.Parallel()
	for file, spec := range pemSpec {
		if spec.Type != key.EC {
			continue
		}
		k := pemKey(t, file)
		x, y, d := k.Public().X, k.Public().Y, scalarOf(t, k)
		n := orderOf(spec.Curve)
		other, err := Generate(spec)
		if err != nil {
			t.Fatal(err)
		}
		minusD := sec(new(big.Int).Sub(n, new(big.Int).SetBytes(d.Expose())))
		long := func(b []byte) []byte { return append([]byte{1}, b...) }
		for name, c := range map[string]struct {
			curve key.Curve
			x, y  []byte
			d     secret.Bytes
			says  string
		}{
			"no curve":         {"", x, y, d, "crv"},
			"unknown curve":    {"P-224", x, y, d, "crv"},
			"no x":             {spec.Curve, nil, y, d, "x and y"},
			"no y":             {spec.Curve, x, nil, d, "x and y"},
			"no d":             {spec.Curve, x, y, secret.Bytes{}, "d of"},
			"x too long":       {spec.Curve, long(x), y, d, "x and y"},
			"y huge":           {spec.Curve, x, make([]byte, 1<<20), d, "x and y"},
			"d too long":       {spec.Curve, x, y, secret.New(long(d.Expose())), "d of"},
			"d 0":              {spec.Curve, x, y, secret.New([]byte{0}), "from 1 to the order"},
			"d the order":      {spec.Curve, x, y, sec(n), "from 1 to the order"},
			"d above":          {spec.Curve, x, y, sec(new(big.Int).Add(n, big.NewInt(1))), "from 1 to the order"},
			"d of another":     {spec.Curve, x, y, scalarOf(t, other), "not that of d"},
			"the mirror of d":  {spec.Curve, x, y, minusD, "not that of d"},
			"point of another": {spec.Curve, other.Public().X, other.Public().Y, d, "not that of d"},
			"x and y swapped":  {spec.Curve, y, x, d, "not on curve"},
			"off the curve":    {spec.Curve, x, flip(y), d, "not on curve"},
			"zero point":       {spec.Curve, []byte{0}, []byte{0}, d, "not on curve"},
			"another curve":    {map[bool]key.Curve{true: key.P256K, false: key.P521}[spec.Curve == key.P256 || spec.Curve == key.P521], x, y, d, ""},
		} {
			k, err := ImportEC(c.curve, c.x, c.y, c.d)
			wantBadPart(t, file+" "+name, err, c.says)
			if k.h != nil {
				t.Errorf("%s %s: a key came with the error", file, name)
			}
		}
	}
}

func TestImportOct(t *testing.T) {
	t.Parallel()
	for n := range 70 {
		raw := secret.Random(n)
		k, err := ImportOct(raw)
		if n == 16 || n == 24 || n == 32 {
			if out, eerr := k.Export(); err != nil || eerr != nil || !out.Equal(raw) || k.Spec() != (key.Spec{Type: key.Oct, Bits: 8 * n}) {
				t.Errorf("%d bytes: %s, %v, %v", n, k.Spec(), err, eerr)
			}
			kept := raw.Clone()
			raw.Wipe() // it was the caller's
			if out, err := k.Export(); err != nil || !out.Equal(kept) {
				t.Errorf("%d bytes: the key shares them with the caller", n)
			}
			continue
		}
		wantBadPart(t, "oct", err, "k has")
	}
}
