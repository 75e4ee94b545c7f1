package material

import (
	"crypto/sha256"
	"math/big"
	"testing"

	"redoubt/internal/key"
)

// A key of any exponent is made as FIPS 186-5, A.1 asks, survives the store and works.
func TestGenerateWithExponent(t *testing.T) {
	t.Parallel()
	for _, e := range []int{3, 257, 3 * 5 * 7 * 11 * 13, 1<<31 - 1} {
		spec := key.Spec{Type: key.RSA, Bits: 2048, Exponent: e}
		made, err := Generate(spec)
		if err != nil {
			t.Fatalf("%d: %v", e, err)
		}
		priv := made.h.body.(*rsaBody).priv
		p, q := priv.Primes[0], priv.Primes[1]
		if priv.N.BitLen() != 2048 || p.BitLen() != 1024 || q.BitLen() != 1024 || p.Bit(1022)&q.Bit(1022) != 1 || priv.E != e {
			t.Errorf("%d: lengths %d = %d + %d, exponent %d", e, priv.N.BitLen(), p.BitLen(), q.BitLen(), priv.E)
		}
		if tooClose(p, q) || priv.D.BitLen() <= 1024 || !p.ProbablyPrime(4) || !q.ProbablyPrime(4) {
			t.Errorf("%d: primes too close, not prime, or d too short", e)
		}
		k, err := Parse(spec, made.Marshal())
		if err != nil {
			t.Fatalf("%d: %v", e, err)
		}
		if new(big.Int).SetBytes(k.Public().E).Int64() != int64(e) {
			t.Errorf("%d: public exponent %x", e, k.Public().E)
		}
		digest := sha256.Sum256([]byte("x"))
		sig, err := k.Sign("PS256", digest[:])
		if err != nil {
			t.Fatalf("%d: %v", e, err)
		}
		if ok, err := k.Verify("PS256", digest[:], sig); !ok || err != nil {
			t.Errorf("%d: %v, %v", e, ok, err)
		}
		c, err := k.Encrypt("RSA-OAEP-256", key.CipherInput{Value: digest[:]})
		if err != nil {
			t.Fatalf("%d: %v", e, err)
		}
		if out, err := k.Decrypt("RSA-OAEP-256", key.CipherInput{Value: c.Value}); err != nil || string(out.Value) != string(digest[:]) {
			t.Errorf("%d: %x, %v", e, out.Value, err)
		}
		other := spec
		other.Exponent = 65537
		if _, err := Parse(other, made.Marshal()); err == nil {
			t.Errorf("%d: read as a key with 65537", e)
		}
	}
}

func TestTooClose(t *testing.T) {
	t.Parallel()
	p := new(big.Int).Lsh(big.NewInt(3), 1022)
	for bits, want := range map[uint]bool{0: true, 923: true, 924: false, 1000: false} {
		q := new(big.Int).Add(p, new(big.Int).Lsh(big.NewInt(1), bits))
		if tooClose(p, q) != want || tooClose(q, p) != want {
			t.Errorf("2^%d apart: %v", bits, !want)
		}
	}
}

func TestRSAFromPrimesNeedsAnInverse(t *testing.T) {
	t.Parallel()
	if _, err := rsaFromPrimes(big.NewInt(3), big.NewInt(7), big.NewInt(11)); err == nil {
		t.Error("3 divides 7-1")
	}
	k, err := rsaFromPrimes(big.NewInt(7), big.NewInt(11), big.NewInt(13))
	if err != nil || k.N.Int64() != 143 || k.D.Int64() != 43 { // 7*43 = 301 = 5*60+1
		t.Errorf("%v, %v", k, err)
	}
}
