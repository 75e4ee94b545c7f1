package material

import (
	"crypto/rand"
	"crypto/rsa"
	"crypto/subtle"
	"math/big"

	"redoubt/internal/key"
	"redoubt/internal/secret"
)

// RSAParts are the members of an RSA JWK (RFC 7518, 6.3), big-endian. N, E and D are required. P and Q come
// together or not at all: without them the factors are found from the others. DP, DQ and QI are optional, and
// then P and Q are not.
type RSAParts struct {
	N, E                []byte
	D, P, Q, DP, DQ, QI secret.Bytes
}

// ImportRSA makes a key of its parts: a modulus of 2048, 3072 or 4096 bits with two prime factors of half that
// length, an odd exponent from 3 to 2^31-1, and every part given right.
func ImportRSA(parts RSAParts) (Key, error) {
	nums, err := parts.numbers()
	if err != nil {
		return Key{}, err
	}
	defer nums.wipe()
	spec, err := nums.spec()
	if err != nil {
		return Key{}, err
	}
	if nums.d.Sign() == 0 || nums.d.Cmp(nums.n) >= 0 {
		return Key{}, badPart("d is not between 0 and n")
	}
	if nums.p == nil {
		if err := nums.factor(); err != nil {
			return Key{}, err
		}
	}
	priv, err := nums.assemble()
	if err != nil {
		return Key{}, err
	}
	k, err := Standard().newRSA(spec, priv)
	if err != nil {
		return Key{}, badPart("the factors of n do not make a key of %s: they are two primes, each half as long as n", spec)
	}
	return k, nil
}

// rsaNumbers are the parts as numbers; those not given are nil.
type rsaNumbers struct{ n, e, d, p, q, dp, dq, qi *big.Int }

func (parts RSAParts) numbers() (*rsaNumbers, error) {
	nums := new(rsaNumbers)
	for _, m := range []struct {
		name     string
		required bool
		to       **big.Int
		b        []byte
	}{
		{"n", true, &nums.n, parts.N}, {"e", true, &nums.e, parts.E}, {"d", true, &nums.d, parts.D.Expose()},
		{"p", false, &nums.p, parts.P.Expose()}, {"q", false, &nums.q, parts.Q.Expose()},
		{"dp", false, &nums.dp, parts.DP.Expose()}, {"dq", false, &nums.dq, parts.DQ.Expose()}, {"qi", false, &nums.qi, parts.QI.Expose()},
	} {
		switch {
		case len(m.b) > maxPart:
			return nil, badPart("%s is longer than any RSA-HSM key has it", m.name)
		case len(m.b) == 0 && m.required:
			return nil, badPart("%s is missing", m.name)
		case len(m.b) > 0:
			*m.to = new(big.Int).SetBytes(m.b)
		}
	}
	if (nums.p == nil) != (nums.q == nil) {
		return nil, badPart("p and q come together")
	}
	if nums.p == nil && (nums.dp != nil || nums.dq != nil || nums.qi != nil) {
		return nil, badPart("dp, dq and qi need p and q")
	}
	return nums, nil
}

// spec judges n and e by their size.
func (r *rsaNumbers) spec() (key.Spec, error) {
	bits, e := r.n.BitLen(), int64(0)
	if r.e.IsInt64() {
		e = r.e.Int64()
	}
	if e < 3 || e > key.MaxExponent || e%2 == 0 {
		return key.Spec{}, badPart("e is odd, from 3 to %d, 65537 being the usual one", key.MaxExponent)
	}
	spec, err := key.NewSpec(key.RSA, max(1, bits), "", int(e))
	if err != nil {
		return key.Spec{}, badPart("n has %d bits; RSA-HSM keys have 2048, 3072 or 4096", bits)
	}
	return spec, nil
}

func (r *rsaNumbers) wipe() {
	for _, x := range []*big.Int{r.d, r.dp, r.dq, r.qi} { // p and q live on in the key
		if x != nil {
			clear(x.Bits())
		}
	}
}

// importRounds is how many Miller-Rabin rounds with random bases a factor passes besides the Baillie-PSW test, for
// which no composite is known that passes. Who imports a key could only harm themselves, and each round of the
// larger factors takes milliseconds.
const importRounds = 4

// assemble checks every part against the others and makes the private key, with the smallest d there is.
func (r *rsaNumbers) assemble() (*rsa.PrivateKey, error) {
	half := r.n.BitLen() / 2
	if r.p.BitLen() != half || r.q.BitLen() != half {
		return nil, badPart("p and q are not both half as long as n")
	}
	if new(big.Int).Mul(r.p, r.q).Cmp(r.n) != 0 {
		return nil, badPart("p times q is not n")
	}
	if r.p.Cmp(r.q) == 0 || !r.p.ProbablyPrime(importRounds) || !r.q.ProbablyPrime(importRounds) {
		return nil, badPart("p and q are not two different primes")
	}
	priv, err := rsaFromPrimes(r.e, r.p, r.q)
	if err != nil {
		return nil, badPart("e has a factor in common with p-1 or q-1")
	}
	for _, c := range []struct {
		name        string
		given, want *big.Int
	}{
		{"dp", r.dp, priv.Precomputed.Dp}, {"dq", r.dq, priv.Precomputed.Dq}, {"qi", r.qi, priv.Precomputed.Qinv},
	} {
		if c.given != nil && !sameNumber(c.given, c.want) {
			return nil, badPart("%s does not belong to p, q and d", c.name)
		}
	}
	// d may be any inverse of e, RFC 8017's or the longer one modulo (p-1)(q-1).
	one := big.NewInt(1)
	for _, p := range priv.Primes {
		p1 := new(big.Int).Sub(p, one)
		ed := new(big.Int).Mul(r.d, r.e)
		if ed.Mod(ed, p1).Cmp(one) != 0 {
			return nil, badPart("d is not the private exponent of n and e")
		}
	}
	return priv, nil
}

func sameNumber(a, b *big.Int) bool {
	if b == nil || a.BitLen() > 8*maxPart || b.BitLen() > 8*maxPart {
		return false
	}
	x, y := a.FillBytes(make([]byte, maxPart)), b.FillBytes(make([]byte, maxPart))
	defer clear(x)
	defer clear(y)
	return subtle.ConstantTimeCompare(x, y) == 1
}

// factorTries is how often factor draws; each try succeeds with a chance of one half or more.
const factorTries = 40

// factor finds p and q from n, e and d (NIST SP 800-56B, appendix C.1): ed-1 is a multiple of the order of every
// number modulo n, so that halving it leads to a square root of 1 which is neither 1 nor -1.
func (r *rsaNumbers) factor() error {
	wrong := badPart("d is not the private exponent of n and e")
	one := big.NewInt(1)
	if r.n.Bit(0) == 0 || r.n.ProbablyPrime(0) {
		return badPart("n is not the product of two primes")
	}
	odd := new(big.Int).Mul(r.e, r.d)
	odd.Sub(odd, one)
	defer func() { clear(odd.Bits()) }()
	if odd.Sign() <= 0 || new(big.Int).Exp(big.NewInt(2), odd, r.n).Cmp(one) != 0 {
		return wrong
	}
	halvings := odd.TrailingZeroBits()
	odd.Rsh(odd, halvings)
	minusOne := new(big.Int).Sub(r.n, one)
	for range factorTries {
		g, err := rand.Int(rand.Reader, minusOne)
		if err != nil {
			return wrong
		}
		y := new(big.Int).Exp(g.Add(g, one), odd, r.n)
		for range halvings {
			next := new(big.Int).Mul(y, y)
			next.Mod(next, r.n)
			if next.Cmp(one) == 0 && y.Cmp(one) != 0 && y.Cmp(minusOne) != 0 {
				r.p = new(big.Int).GCD(nil, nil, y.Sub(y, one), r.n)
				r.q = new(big.Int).Quo(r.n, r.p)
				return nil
			}
			y = next
		}
	}
	return wrong
}
