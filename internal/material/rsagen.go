package material

import (
	"crypto/rand"
	"crypto/rsa"
	"errors"
	"fmt"
	"math/big"
)

// generateRSA draws a key. The standard library makes only the exponent 65537, in constant time; the others
// are made here.
func generateRSA(bits, exponent int) (*rsa.PrivateKey, error) {
	if exponent == 65537 {
		return rsa.GenerateKey(rand.Reader, bits)
	}
	e := big.NewInt(int64(exponent))
	for range 100 { // a pair is rejected about never: the loop is to end, should something be broken
		p, err := drawPrime(bits/2, e)
		if err != nil {
			return nil, err
		}
		q, err := drawPrime(bits/2, e)
		if err != nil {
			return nil, err
		}
		if tooClose(p, q) {
			continue
		}
		k, err := rsaFromPrimes(e, p, q)
		if err != nil {
			return nil, err
		}
		// FIPS 186-5, A.1.1: d is longer than half the modulus.
		if k.N.BitLen() == bits && k.D.BitLen() > bits/2 {
			return k, nil
		}
	}
	return nil, errors.New("no pair of primes fits")
}

// drawPrime is a random probable prime of exactly bits bits whose two top bits are set, so that the product
// of two has twice as many bits and both are above the bound of FIPS 186-5, A.1.3; p-1 has no factor in
// common with e. Neither the search (math/big) nor the greatest common divisor is constant time: who can time
// the generation of a key with an exponent other than 65537 learns something of its primes, for instance
// how many candidates were tried. It happens once in a key's life, among other requests, on fresh numbers.
func drawPrime(bits int, e *big.Int) (*big.Int, error) {
	one, gcd := big.NewInt(1), new(big.Int)
	for range 10_000 {
		p, err := rand.Prime(rand.Reader, bits)
		if err != nil {
			return nil, err
		}
		if p.Bit(bits-2) == 1 && gcd.GCD(nil, nil, new(big.Int).Sub(p, one), e).Cmp(one) == 0 {
			return p, nil
		}
	}
	return nil, fmt.Errorf("no prime fits the exponent %s", e)
}

// tooClose: primes that share their 100 top bits can be found from the modulus (FIPS 186-5, A.1.3, 5.4).
func tooClose(p, q *big.Int) bool {
	d := new(big.Int).Sub(p, q)
	return d.Abs(d).BitLen() <= p.BitLen()-100
}

// rsaFromPrimes computes the rest of a key from its exponent and two different odd numbers above 1: d is the
// inverse of e modulo the least common multiple of p-1 and q-1. It fails if e has no inverse. math/big is not
// constant time; callers read material that was just drawn or just sent in, once.
func rsaFromPrimes(e, p, q *big.Int) (*rsa.PrivateKey, error) {
	one := big.NewInt(1)
	p1, q1 := new(big.Int).Sub(p, one), new(big.Int).Sub(q, one)
	gcd := new(big.Int).GCD(nil, nil, p1, q1)
	lcm := new(big.Int).Mul(new(big.Int).Div(p1, gcd), q1)
	d := new(big.Int).ModInverse(e, lcm)
	if d == nil {
		return nil, errors.New("the exponent has no inverse")
	}
	k := &rsa.PrivateKey{
		PublicKey: rsa.PublicKey{N: new(big.Int).Mul(p, q), E: int(e.Int64())},
		D:         d, Primes: []*big.Int{p, q},
	}
	k.Precompute()
	return k, nil
}
