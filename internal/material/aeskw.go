package material

import (
	"crypto/cipher"
	"crypto/subtle"
	"encoding/binary"
)

// AES key wrap: NIST SP 800-38F; RFC 3394 (KW) and RFC 5649 (KWP). The step counter t is a 64-bit number
// XORed into A; A is the first half of the 16-byte block, the register R[i] the second.

// kwIV is the initial value of RFC 3394, 2.2.3.1.
const kwIV = 0xA6A6A6A6A6A6A6A6

// kwpIV is the constant half of the alternative initial value of RFC 5649, 3; the other half is the length.
const kwpIV = 0xA65959A6

// wrapKey is RFC 3394, 2.2.1. len(p) is a multiple of 8 and at least 16.
func wrapKey(b cipher.Block, p []byte) []byte {
	out := make([]byte, 8+len(p))
	binary.BigEndian.PutUint64(out, kwIV)
	copy(out[8:], p)
	wrapBlocks(b, out)
	return out
}

// wrapBlocks runs W (SP 800-38F, algorithm 1) in place over s: one 8-byte A, then at least two registers.
func wrapBlocks(b cipher.Block, s []byte) {
	var block [16]byte
	copy(block[:8], s[:8])
	t := uint64(0)
	for range 6 {
		for i := 8; i < len(s); i += 8 {
			copy(block[8:], s[i:i+8])
			b.Encrypt(block[:], block[:])
			t++
			binary.BigEndian.PutUint64(block[:8], binary.BigEndian.Uint64(block[:8])^t)
			copy(s[i:i+8], block[8:])
		}
	}
	copy(s[:8], block[:8])
}

// unwrapBlocks is the inverse of wrapBlocks.
func unwrapBlocks(b cipher.Block, s []byte) {
	var block [16]byte
	copy(block[:8], s[:8])
	t := uint64(6 * (len(s)/8 - 1))
	for range 6 {
		for i := len(s) - 8; i >= 8; i -= 8 {
			binary.BigEndian.PutUint64(block[:8], binary.BigEndian.Uint64(block[:8])^t)
			copy(block[8:], s[i:i+8])
			b.Decrypt(block[:], block[:])
			t--
			copy(s[i:i+8], block[8:])
		}
	}
	copy(s[:8], block[:8])
}

// unwrapKey is RFC 3394, 2.2.2. The integrity value is compared in constant time.
func unwrapKey(b cipher.Block, c []byte) ([]byte, bool) {
	if len(c) < 24 || len(c)%8 != 0 {
		return nil, false
	}
	s := append([]byte(nil), c...)
	unwrapBlocks(b, s)
	var want [8]byte
	binary.BigEndian.PutUint64(want[:], kwIV)
	if subtle.ConstantTimeCompare(s[:8], want[:]) != 1 {
		clear(s)
		return nil, false
	}
	return s[8:], true
}

// wrapPad is RFC 5649, 4.1: any length from 1 byte to 2^32-1.
func wrapPad(b cipher.Block, p []byte) []byte {
	padded := (len(p) + 7) / 8 * 8
	out := make([]byte, 8+padded)
	binary.BigEndian.PutUint32(out, kwpIV)
	binary.BigEndian.PutUint32(out[4:], uint32(len(p)))
	copy(out[8:], p)
	if padded == 8 { // one register: a single AES block, no W
		b.Encrypt(out, out)
		return out
	}
	wrapBlocks(b, out)
	return out
}

// unwrapPad is RFC 5649, 4.2. Constant half, length and zero padding are judged together and without
// branches on decrypted bytes, so that a failure does not tell which of them was wrong.
func unwrapPad(b cipher.Block, c []byte) ([]byte, bool) {
	if len(c) < 16 || len(c)%8 != 0 || uint64(len(c)-8) > 0xFFFFFFFF {
		return nil, false
	}
	s := append([]byte(nil), c...)
	if len(s) == 16 {
		b.Decrypt(s, s)
	} else {
		unwrapBlocks(b, s)
	}
	var want [4]byte
	binary.BigEndian.PutUint32(want[:], kwpIV)
	ok := subtle.ConstantTimeCompare(s[:4], want[:])
	// pad = padded length - claimed length must lie in 0..7. As unsigned numbers a claim that is too long
	// wraps round to something huge, so looking at the bits above the lowest three covers both sides.
	pad := uint64(len(s)-8) - uint64(binary.BigEndian.Uint32(s[4:8]))
	ok &= subtle.ConstantTimeEq(int32(pad>>3&0x1FFFFFFF), 0) & subtle.ConstantTimeEq(int32(pad>>32), 0)
	low := int(pad & 7)
	for i := range 7 { // the last 7 bytes; the low last ones must be zero
		inside := subtle.ConstantTimeLessOrEq(7-i, low)
		zero := subtle.ConstantTimeByteEq(s[len(s)-7+i], 0)
		ok &= subtle.ConstantTimeSelect(inside, zero, 1)
	}
	if ok != 1 {
		clear(s)
		return nil, false
	}
	return s[8 : len(s)-low], true
}
