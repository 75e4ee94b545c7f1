// Package shamir splits a secret into N shares of which any M give it back and fewer tell nothing
// about it (A. Shamir, "How to share a secret", 1979). It knows nothing of keys, files or people.
//
// Each byte b of the secret is shared on its own over GF(257) with the polynomial
// f(x) = b + c1 x + … + c(M-1) x^(M-1), coefficients uniform in 0..256 and fresh for each byte; holder i of
// 1..N gets v = f(i). A share is one 16-bit word for each byte, little-endian, (x << 9) | v: the holder's index in the
// upper seven bits, the value 0..256 in the lower nine. This is the encoding that the Azure CLI combines.
//
// What depends on the secret is computed in constant time. The holders' indices are public and may steer branches.
//
// Sharing does not authenticate: wrong shares combine to a wrong secret, noticed here only when a byte comes out
// as 256 (about one case in nine for 32 bytes). The caller needs a check of its own behind it; in a security domain
// that is the tag of every encrypted datum.
package shamir

import (
	"crypto/rand"
	"encoding/binary"
	"errors"
	"fmt"
)

// MaxIndex is the highest index of a holder, and so the largest number of shares.
const MaxIndex = 126

const (
	indexShift = 9
	valueMask  = 1<<indexShift - 1
)

var (
	// ErrBadParameters means that Split was asked for an impossible sharing.
	ErrBadParameters = errors.New("shamir: impossible sharing")
	// ErrBadShares means that shares are malformed or do not belong together.
	ErrBadShares = errors.New("shamir: shares do not combine")
)

// Split returns n shares of secret, any m of which recover it: 2 <= m <= n <= MaxIndex. Share i (from 0)
// belongs to the holder with index i+1 and has two bytes for each byte of secret. The shares are secret
// values that the caller owns; secret is not kept.
func Split(secret []byte, n, m int) ([][]byte, error) {
	if len(secret) == 0 || m < 2 || n < m || n > MaxIndex {
		return nil, fmt.Errorf("%w: %d bytes into %d shares with a quorum of %d", ErrBadParameters, len(secret), n, m)
	}
	coefficients := make([]element, len(secret)*(m-1))
	defer clear(coefficients)
	fillUniform(coefficients, func(b []byte) { rand.Read(b) }) // never fails: crypto/rand aborts the process instead
	return split(secret, n, m, coefficients), nil
}

// split evaluates the polynomials. Byte i's coefficients are the i-th group of m-1, degree 1 first.
func split(secret []byte, n, m int, coefficients []element) [][]byte {
	shares := make([][]byte, n)
	for holder := range shares {
		x := element(holder + 1)
		share := make([]byte, 0, 2*len(secret))
		for i, b := range secret {
			c := coefficients[i*(m-1) : (i+1)*(m-1)]
			var v element
			for j := len(c) - 1; j >= 0; j-- { // Horner's rule, highest degree first
				v = mul(add(v, c[j]), x)
			}
			v = add(v, element(b))
			share = binary.LittleEndian.AppendUint16(share, uint16(x<<indexShift|v))
		}
		shares[holder] = share
	}
	return shares
}

// fillUniform draws each element uniformly. A plain reduction of 16 random bits would favour one value;
// 65535 = 255 * 257, so words below it fall evenly on the 257 values and the one word above is drawn again.
func fillUniform(dst []element, read func([]byte)) {
	words := make([]byte, 2*len(dst))
	defer clear(words)
	for len(dst) > 0 {
		read(words[:2*len(dst)])
		kept := 0
		for i := range dst {
			w := binary.LittleEndian.Uint16(words[2*i:])
			if w == 0xffff { // tells nothing: this word is thrown away
				continue
			}
			dst[kept] = reduce(uint32(w))
			kept++
		}
		dst = dst[kept:]
	}
}

// Index returns the holder's index of a share, 1..MaxIndex, or an error if the share is malformed.
// An index is not secret.
func Index(share []byte) (int, error) {
	if len(share) == 0 || len(share)%2 != 0 {
		return 0, fmt.Errorf("%w: a share of %d bytes", ErrBadShares, len(share))
	}
	index := binary.LittleEndian.Uint16(share) >> indexShift
	var tooBig element
	for i := 0; i < len(share); i += 2 {
		w := binary.LittleEndian.Uint16(share[i:])
		if w>>indexShift != index {
			return 0, fmt.Errorf("%w: one share names two holders", ErrBadShares)
		}
		tooBig |= (modulus - 1 - element(w&valueMask)) >> 31 // 1 if the value is above 256
	}
	if index == 0 || index > MaxIndex {
		return 0, fmt.Errorf("%w: holder index %d", ErrBadShares, index)
	}
	if tooBig != 0 {
		return 0, fmt.Errorf("%w: a value outside the field", ErrBadShares)
	}
	return int(index), nil
}

// Combine gives back the secret from shares of different holders, in any order. All shares given are
// used, so their number must be at least the quorum they were made with; with fewer, or with shares of different
// secrets, the result is an error or a wrong secret (see the package comment).
func Combine(shares [][]byte) ([]byte, error) {
	xs, err := indices(shares)
	if err != nil {
		return nil, err
	}
	weights := lagrangeAtZero(xs)
	secret := make([]byte, len(shares[0])/2)
	var over element
	for i := range secret {
		var b element
		for s, share := range shares {
			v := element(binary.LittleEndian.Uint16(share[2*i:]) & valueMask)
			b = add(b, mul(weights[s], v))
		}
		over |= b >> 8 // 256 is the one element that is not a byte
		secret[i] = byte(b)
	}
	if over != 0 {
		clear(secret)
		return nil, fmt.Errorf("%w: they are of different secrets, damaged, or fewer than the quorum", ErrBadShares)
	}
	return secret, nil
}

// indices checks the shares against each other and returns their holders.
func indices(shares [][]byte) ([]element, error) {
	if len(shares) < 2 || len(shares) > MaxIndex {
		return nil, fmt.Errorf("%w: %d shares given, 2 to %d expected", ErrBadShares, len(shares), MaxIndex)
	}
	xs := make([]element, len(shares))
	seen := make(map[int]bool, len(shares))
	for i, share := range shares {
		x, err := Index(share)
		if err != nil {
			return nil, err
		}
		if seen[x] {
			return nil, fmt.Errorf("%w: the share of holder %d is given twice", ErrBadShares, x)
		}
		if len(share) != len(shares[0]) {
			return nil, fmt.Errorf("%w: their lengths differ", ErrBadShares)
		}
		seen[x] = true
		xs[i] = element(x)
	}
	return xs, nil
}

// lagrangeAtZero returns the weight of each holder's value in f(0): the product over the others of xj / (xj - xi).
func lagrangeAtZero(xs []element) []element {
	weights := make([]element, len(xs))
	for i, xi := range xs {
		num, den := element(1), element(1)
		for j, xj := range xs {
			if i != j {
				num = mul(num, xj)
				den = mul(den, sub(xj, xi))
			}
		}
		weights[i] = mul(num, invert(den))
	}
	return weights
}
