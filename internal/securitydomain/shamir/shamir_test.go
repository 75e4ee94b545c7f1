package shamir

import (
	"bytes"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"errors"
	"os"
	"slices"
	"testing"

	"pgregory.net/rapid"
)

type shareCase struct {
	N            int        `json:"shares_total_n"`
	M            int        `json:"quorum_m"`
	SecretHex    string     `json:"secret_hex"`
	Coefficients [][]uint32 `json:"coefficients_per_byte_degree_1_up"`
	Shares       []string   `json:"shares_little_endian_hex"`
}

func load(t *testing.T, name string, v any) {
	t.Helper()
	b, err := os.ReadFile("testdata/" + name)
	if err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(b, v); err != nil {
		t.Fatal(err)
	}
}

func unhex(t *testing.T, s string) []byte {
	t.Helper()
	b, err := hex.DecodeString(s)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// combinations calls f with every choice of k of n indices.
func combinations(n, k int, f func([]int)) {
	pick := make([]int, k)
	var rec func(at, from int)
	rec = func(at, from int) {
		if at == k {
			f(pick)
			return
		}
		for i := from; i < n; i++ {
			pick[at] = i
			rec(at+1, i+1)
		}
	}
	rec(0, 0)
}

func TestFieldAgainstArithmetic(t *testing.T) {
	t.Parallel()
	for x := range uint32(65537) {
		if got := reduce(x); uint32(got) != x%257 {
			t.Fatalf("reduce(%d) = %d", x, got)
		}
	}
	for x := range element(257) {
		for y := range element(257) {
			if add(x, y) != (x+y)%257 || sub(x, y) != (x+257-y)%257 || mul(x, y) != (x*y)%257 {
				t.Fatalf("wrong arithmetic for %d and %d", x, y)
			}
		}
	}
}

func TestInverseVectors(t *testing.T) {
	t.Parallel()
	var v struct {
		Invert []element `json:"invert"`
	}
	load(t, "field.json", &v)
	if len(v.Invert) != 257 {
		t.Fatalf("%d vectors", len(v.Invert))
	}
	for x, want := range v.Invert {
		if got := invert(element(x)); got != want {
			t.Errorf("invert(%d) = %d, want %d", x, got, want)
		}
	}
}

func TestShareVectors(t *testing.T) {
	t.Parallel()
	var v struct {
		Cases []shareCase `json:"cases"`
	}
	load(t, "shares.json", &v)
	if len(v.Cases) == 0 {
		t.Fatal("no cases")
	}
	for _, c := range v.Cases {
		secret := unhex(t, c.SecretHex)
		var coefficients []element
		for _, perByte := range c.Coefficients {
			for _, k := range perByte {
				coefficients = append(coefficients, element(k))
			}
		}
		shares := split(secret, c.N, c.M, coefficients)
		for i, want := range c.Shares {
			if hex.EncodeToString(shares[i]) != want {
				t.Errorf("n=%d m=%d: share %d differs", c.N, c.M, i+1)
			}
		}
		combinations(c.N, c.M, func(pick []int) {
			var some [][]byte
			for _, i := range pick {
				some = append(some, unhex(t, c.Shares[i]))
			}
			for range 2 {
				if got, err := Combine(some); err != nil || !bytes.Equal(got, secret) {
					t.Errorf("n=%d m=%d shares %v: %x, %v", c.N, c.M, pick, got, err)
				}
				slices.Reverse(some)
			}
		})
	}
}

// TestUniform feeds every 16-bit word once: each element must come out equally often, and one word must be
// thrown away.
func TestUniform(t *testing.T) {
	t.Parallel()
	all := make([]byte, 0, 2*65536)
	for w := range 65536 {
		all = binary.LittleEndian.AppendUint16(all, uint16(w))
	}
	dst := make([]element, 65535)
	fillUniform(dst, func(b []byte) { // the second call comes for the rejected word only
		n := copy(b, all)
		all = all[n:]
	})
	if len(all) != 2 {
		// 65535 words were asked for first; the rejected one is the very last, not yet read
		t.Fatalf("%d bytes left", len(all))
	}
	var count [257]int
	for _, e := range dst {
		count[e]++
	}
	for e, n := range count {
		if n != 255 {
			t.Errorf("element %d drawn %d times, want 255", e, n)
		}
	}
	words := []uint16{0xffff, 7, 0xffff, 0xffff, 8}
	out := make([]element, 2)
	fillUniform(out, func(b []byte) {
		for i := 0; i < len(b); i += 2 {
			binary.LittleEndian.PutUint16(b[i:], words[0])
			words = words[1:]
		}
	})
	if out[0] != 7 || out[1] != 8 || len(words) != 0 {
		t.Errorf("after rejections: %v, %v left", out, words)
	}
}

func TestAnyQuorumRecovers(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		secret := rapid.SliceOfN(rapid.Byte(), 1, 48).Draw(t, "secret")
		n := rapid.IntRange(2, 20).Draw(t, "n")
		m := rapid.IntRange(2, n).Draw(t, "m")
		shares, err := Split(secret, n, m)
		if err != nil {
			t.Fatal(err)
		}
		order := rapid.Permutation(shares).Draw(t, "order")
		given := rapid.IntRange(m, n).Draw(t, "given")
		got, err := Combine(order[:given])
		if err != nil || !bytes.Equal(got, secret) {
			t.Fatalf("%d of %d shares, quorum %d: %x, %v; want %x", given, n, m, got, err, secret)
		}
		repeated := append(slices.Clone(order[:m-1]), order[0])
		if _, err := Combine(repeated); !errors.Is(err, ErrBadShares) {
			t.Fatalf("a repeated share was taken: %v", err)
		}
	})
}

// TestFewerTellNothing fixes M-1 shares of one byte and tries all values of the missing one: each of the 257
// secrets comes out exactly once, so the M-1 shares exclude none and favour none.
func TestFewerTellNothing(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		n := rapid.IntRange(2, 12).Draw(t, "n")
		m := rapid.IntRange(2, n).Draw(t, "m")
		shares, err := Split([]byte{rapid.Byte().Draw(t, "b")}, n, m)
		if err != nil {
			t.Fatal(err)
		}
		some := rapid.Permutation(shares).Draw(t, "order")[:m]
		x := binary.LittleEndian.Uint16(some[m-1]) >> indexShift
		seen := map[byte]int{}
		tooBig := 0
		for v := range uint16(257) {
			some[m-1] = binary.LittleEndian.AppendUint16(nil, x<<indexShift|v)
			b, err := Combine(some)
			if err != nil {
				tooBig++
				continue
			}
			seen[b[0]]++
		}
		if tooBig != 1 || len(seen) != 256 {
			t.Fatalf("%d secrets possible, %d results beyond a byte", len(seen), tooBig)
		}
	})
}

func TestSplitRefuses(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		secret []byte
		n, m   int
	}{{nil, 3, 2}, {[]byte{1}, 3, 1}, {[]byte{1}, 3, 0}, {[]byte{1}, 2, 3}, {[]byte{1}, 127, 2}, {[]byte{1}, -1, -2}} {
		if _, err := Split(c.secret, c.n, c.m); !errors.Is(err, ErrBadParameters) {
			t.Errorf("Split(%v, %d, %d): %v", c.secret, c.n, c.m, err)
		}
	}
	shares, err := Split([]byte("x"), MaxIndex, MaxIndex)
	if err != nil {
		t.Fatal(err)
	}
	if got, err := Combine(shares); err != nil || string(got) != "x" {
		t.Errorf("126 of 126: %q, %v", got, err)
	}
}

// words makes a share from 16-bit words.
func words(ws ...uint16) []byte {
	var b []byte
	for _, w := range ws {
		b = binary.LittleEndian.AppendUint16(b, w)
	}
	return b
}

func TestCombineRefuses(t *testing.T) {
	t.Parallel()
	good := words(1<<9|5, 1<<9|256)
	for name, shares := range map[string][][]byte{
		"none":              {},
		"one":               {good},
		"too many":          slices.Repeat([][]byte{good}, 127),
		"same holder":       {good, words(1<<9|6, 1<<9|7)},
		"lengths differ":    {good, words(2<<9 | 6)},
		"empty":             {good, {}},
		"odd length":        {good, append(words(2<<9|6), 1)},
		"index 0":           {good, words(6, 7)},
		"index 127":         {good, words(127<<9|6, 127<<9|7)},
		"two holders":       {good, words(2<<9|6, 3<<9|7)},
		"value 257":         {good, words(2<<9|6, 2<<9|257)},
		"value 511":         {good, words(2<<9|511, 2<<9|7)},
		"result beyond 255": {words(1<<9 | 256), words(2<<9 | 256)}, // a constant polynomial 256
	} {
		if got, err := Combine(shares); !errors.Is(err, ErrBadShares) || got != nil {
			t.Errorf("%s: %x, %v", name, got, err)
		}
	}
}

func FuzzCombine(f *testing.F) {
	f.Add(words(1<<9|5, 1<<9|256), words(2<<9|6, 2<<9|7))
	f.Add(words(1<<9|5), words(1<<9|5))
	f.Add([]byte{}, []byte{1})
	f.Fuzz(func(t *testing.T, a, b []byte) {
		x, errA := Index(a)
		y, errB := Index(b)
		secret, err := Combine([][]byte{a, b})
		if err != nil {
			return
		}
		if errA != nil || errB != nil || x == y || len(a) != len(b) {
			t.Fatalf("combined shares that do not belong together: %x %x", a, b)
		}
		// Both shares lie on the line through the secret: shares made from it again are the same.
		for i, s := range secret {
			va := element(binary.LittleEndian.Uint16(a[2*i:]) & valueMask)
			slope := mul(sub(va, element(s)), invert(element(x)))
			again := split([]byte{s}, y, 2, []element{slope})
			if !bytes.Equal(again[y-1], b[2*i:2*i+2]) {
				t.Fatalf("byte %d: the shares do not lie on a line through %d", i, s)
			}
		}
	})
}
