package shamir

// modulus is the prime of the field. Its elements are 0..256: one value more than a byte can hold, which
// is why a share spends nine bits on a value.
const modulus = 257

// element is a member of GF(257), always in 0..256. Arithmetic on it takes the same time whatever the
// values: no branch, no table, no division.
type element uint32

// reduce brings x in 0..65536 into 0..256. It uses 256 = -1 (mod 257): with x = a + 256 b, x = a - b.
func reduce(x uint32) element {
	t := int32(x&0xff) - int32(x>>8) // -256..255
	t += modulus & (t >> 31)         // adds 257 when t is negative: the shift gives all ones
	return element(t)
}

func add(x, y element) element { return reduce(uint32(x + y)) }
func sub(x, y element) element { return reduce(uint32(x + modulus - y)) }
func mul(x, y element) element { return reduce(uint32(x * y)) } // at most 256*256 = 65536

// invert returns 1/x, and 0 for 0. By Fermat 1/x = x^255; 255 is eight one bits.
func invert(x element) element {
	r := x
	for range 7 {
		r = mul(mul(r, r), x)
	}
	return r
}
