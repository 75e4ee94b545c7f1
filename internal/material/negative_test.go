package material

import (
	"bytes"
	"crypto"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"math/big"
	"slices"
	"testing"

	"pgregory.net/rapid"

	"redoubt/internal/key"
)

func wantFailed(t *testing.T, name string, err error) {
	t.Helper()
	if err != key.ErrCryptoFailed { //nolint:errorlint // bare: nothing may be added that tells causes apart
		t.Errorf("%s: %v, want exactly ErrCryptoFailed", name, err)
	}
}

func TestKeyWrapRefuses(t *testing.T) {
	t.Parallel()
	k := octKey(t, "000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f")
	block := k.h.body.(*octBody).block
	// forge wraps with any initial value.
	forge := func(iv uint64, p []byte) []byte {
		s := binary.BigEndian.AppendUint64(nil, iv)
		s = append(s, p...)
		if len(s) == 16 {
			block.Encrypt(s, s)
		} else {
			wrapBlocks(block, s)
		}
		return s
	}
	body := bytes.Repeat([]byte{0x5A}, 24)
	zeros := func(n int) []byte { return append(bytes.Repeat([]byte{0x5A}, 24-n), make([]byte, n)...) }
	for name, c := range map[string][]byte{
		"empty": nil, "8 bytes": make([]byte, 8), "16 bytes": make([]byte, 16), "25 bytes": make([]byte, 25),
		"iv of zeros": forge(0, body), "iv with one bit off": forge(kwIV^1, body), "the padded form's iv": forge(kwpIV<<32|24, body),
		"one register": forge(kwIV, body[:8]),
	} {
		_, err := k.Unwrap("A256KW", key.CipherInput{Value: c})
		wantFailed(t, "KW, "+name, err)
	}
	for name, c := range map[string][]byte{
		"empty": nil, "8 bytes": make([]byte, 8), "17 bytes": make([]byte, 17),
		"the unpadded form's iv":       forge(kwIV, body),
		"constant half off":            forge((kwpIV^1)<<32|24, body),
		"length 0":                     forge(kwpIV<<32, zeros(24)),
		"length 0, one block":          forge(kwpIV<<32, make([]byte, 8)),
		"length too short by 8":        forge(kwpIV<<32|16, zeros(8)),
		"length too long by 1":         forge(kwpIV<<32|25, body),
		"length too long by 8":         forge(kwpIV<<32|32, body),
		"length 2^32-1":                forge(kwpIV<<32|0xFFFFFFFF, body),
		"length 2^31":                  forge(kwpIV<<32|0x80000000, body),
		"padding not zero":             forge(kwpIV<<32|17, body),
		"first padding byte not zero":  forge(kwpIV<<32|17, append(zeros(7)[:17], 1, 0, 0, 0, 0, 0, 0)),
		"last padding byte not zero":   forge(kwpIV<<32|17, append(zeros(7)[:17], 0, 0, 0, 0, 0, 0, 1)),
		"one block, padding not zero":  forge(kwpIV<<32|7, bytes.Repeat([]byte{1}, 8)),
		"one block, length 9":          forge(kwpIV<<32|9, make([]byte, 8)),
		"one block, length beyond all": forge(kwpIV<<32|0xFFFFFFF9, make([]byte, 8)),
	} {
		_, err := k.Unwrap("CKM_AES_KEY_WRAP_PAD", key.CipherInput{Value: c})
		wantFailed(t, "KWP, "+name, err)
	}
	for n := 17; n <= 24; n++ { // the forger itself is right
		out, err := k.Unwrap("CKM_AES_KEY_WRAP_PAD", key.CipherInput{Value: forge(kwpIV<<32|uint64(n), zeros(24-n))})
		if err != nil || len(out.Value) != n {
			t.Errorf("KWP of %d bytes: %d, %v", n, len(out.Value), err)
		}
	}
	for _, n := range []int{0, 8, 15, 17, 31} {
		if _, err := k.Wrap("A256KW", key.CipherInput{Value: make([]byte, n)}); !errors.Is(err, key.ErrBadParameter) {
			t.Errorf("KW of %d bytes: %v", n, err)
		}
	}
	if _, err := k.Wrap("CKM_AES_KEY_WRAP_PAD", key.CipherInput{}); !errors.Is(err, key.ErrBadParameter) {
		t.Errorf("KWP of nothing: %v", err)
	}
}

// naiveUnpad is PKCS #7 as one would write it without care for timing.
func naiveUnpad(b []byte) (int, bool) {
	p := int(b[len(b)-1])
	if p < 1 || p > 16 {
		return 0, false
	}
	for _, c := range b[len(b)-p:] {
		if int(c) != p {
			return 0, false
		}
	}
	return len(b) - p, true
}

func TestUnpadAgreesWithNaive(t *testing.T) {
	t.Parallel()
	check := func(b []byte) {
		t.Helper()
		n, ok := unpad(b)
		wantN, wantOK := naiveUnpad(b)
		if ok == 1 != wantOK || wantOK && n != wantN {
			t.Errorf("unpad(%x) = %d, %d; want %d, %v", b, n, ok, wantN, wantOK)
		}
	}
	for last := range 256 { // each last byte; each position made wrong in turn
		b := append(make([]byte, 16), bytes.Repeat([]byte{byte(last)}, 16)...)
		check(b)
		check(b[16:])
		for i := range 16 {
			c := bytes.Clone(b)
			c[16+i] ^= 0x81
			check(c)
		}
	}
}

func TestCBCRefuses(t *testing.T) {
	t.Parallel()
	k := octKey(t, "000102030405060708090a0b0c0d0e0f")
	iv := make([]byte, 16)
	for name, in := range map[string]key.CipherInput{
		"no iv": {Value: make([]byte, 16)}, "short iv": {Value: make([]byte, 16), IV: iv[:15]}, "long iv": {Value: make([]byte, 16), IV: make([]byte, 17)},
		"aad": {Value: make([]byte, 16), IV: iv, AAD: []byte("x")}, "tag": {Value: make([]byte, 16), IV: iv, Tag: iv},
	} {
		for _, alg := range []key.Algorithm{"A128CBC", "A128CBCPAD"} {
			if _, err := k.Encrypt(alg, in); !errors.Is(err, key.ErrBadParameter) || errors.Is(err, key.ErrCryptoFailed) {
				t.Errorf("%s encrypt with %s: %v", alg, name, err)
			}
			if _, err := k.Decrypt(alg, in); !errors.Is(err, key.ErrBadParameter) || errors.Is(err, key.ErrCryptoFailed) {
				t.Errorf("%s decrypt with %s: %v", alg, name, err)
			}
		}
	}
	for _, n := range []int{0, 15, 17} {
		in := key.CipherInput{Value: make([]byte, n), IV: iv}
		_, err1 := k.Encrypt("A128CBC", in)
		_, err2 := k.Decrypt("A128CBC", in)
		_, err3 := k.Decrypt("A128CBCPAD", in)
		for _, err := range []error{err1, err2, err3} {
			if !errors.Is(err, key.ErrBadParameter) {
				t.Errorf("%d bytes: %v", n, err)
			}
		}
	}
	// Bad padding, made by encrypting blocks without any.
	for _, last := range []byte{0, 2, 17, 255} {
		plain := append(make([]byte, 31), last)
		c, err := k.Encrypt("A128CBC", key.CipherInput{Value: plain, IV: iv})
		if err != nil {
			t.Fatal(err)
		}
		_, err = k.Decrypt("A128CBCPAD", key.CipherInput{Value: c.Value, IV: iv})
		wantFailed(t, "CBCPAD", err)
	}
}

func TestGCMRefuses(t *testing.T) {
	t.Parallel()
	k := octKey(t, "000102030405060708090a0b0c0d0e0f")
	for name, in := range map[string]key.CipherInput{"iv": {IV: make([]byte, 12)}, "tag": {Tag: make([]byte, 16)}} {
		if _, err := k.Encrypt("A128GCM", in); !errors.Is(err, key.ErrBadParameter) {
			t.Errorf("encrypt with the caller's %s: %v", name, err)
		}
	}
	a, err := k.Encrypt("A128GCM", key.CipherInput{AAD: []byte("only this")})
	if err != nil || len(a.IV) != 12 || len(a.Tag) != 16 || len(a.Value) != 0 || string(a.AAD) != "only this" {
		t.Fatalf("nothing encrypted: %+v, %v", a, err)
	}
	b, err := k.Encrypt("A128GCM", key.CipherInput{AAD: []byte("only this")})
	if err != nil || bytes.Equal(a.IV, b.IV) {
		t.Errorf("the same iv twice: %x, %v", a.IV, err)
	}
	// The parts of an output do not share room: appending to one must not change another.
	_ = append(a.IV, 0xEE)
	_ = append(a.Value, 0xEE)
	if _, err := k.Decrypt("A128GCM", key.CipherInput{IV: a.IV, Tag: a.Tag, AAD: a.AAD}); err != nil {
		t.Error(err)
	}
}

func TestECDSARefuses(t *testing.T) {
	t.Parallel()
	k := pemKey(t, "p256.pem")
	digest := sha256.Sum256([]byte("x"))
	good, err := k.Sign("ES256", digest[:])
	if err != nil {
		t.Fatal(err)
	}
	r, s := good[:32], good[32:]
	n := elliptic.P256().Params().N
	fill := func(i *big.Int) []byte { return i.FillBytes(make([]byte, 32)) }
	zero, one := make([]byte, 32), fill(big.NewInt(1))
	der, err := k.h.body.(*nistBody).use.Sign(rand.Reader, digest[:], crypto.SHA256)
	if err != nil {
		t.Fatal(err)
	}
	for name, sig := range map[string][]byte{
		"r = 0": slices.Concat(zero, s), "s = 0": slices.Concat(r, zero), "both 0": slices.Concat(zero, zero), "both 1": slices.Concat(one, one),
		"r = n": slices.Concat(fill(n), s), "s = n": slices.Concat(r, fill(n)), "all ones": bytes.Repeat([]byte{255}, 64),
		"exchanged": slices.Concat(s, r), "ASN.1": der, "twice": slices.Concat(good, good),
	} {
		if ok, err := k.Verify("ES256", digest[:], sig); ok || err != nil {
			t.Errorf("%s: %v, %v", name, ok, err)
		}
	}
	// s and n-s are both valid in ECDSA; callers must not take signatures for unique.
	neg := fill(new(big.Int).Sub(n, new(big.Int).SetBytes(s)))
	if ok, err := k.Verify("ES256", digest[:], slices.Concat(r, neg)); !ok || err != nil {
		t.Errorf("n-s: %v, %v", ok, err)
	}
	for _, n := range []int{0, 31, 33} {
		if _, err := k.Sign("ES256", make([]byte, n)); !errors.Is(err, key.ErrBadParameter) {
			t.Errorf("digest of %d bytes: %v", n, err)
		}
	}
}

func TestRawSignature(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		der  string
		want string
	}{
		"small numbers are filled up": {"3006020101020102", "0000000100000002"},
		"not minimal":                 {"300c020500ffffffff02030000ff", ""},
		"full width":                  {"300d020500ffffffff020401020304", "ffffffff01020304"},
		"too wide":                    {"300a02050100000000020101", ""},
		"negative":                    {"30060201ff020102", ""},
		"trailing":                    {"300602010102010200", ""},
		"third":                       {"3009020101020102020103", ""},
		"empty":                       {"", ""},
	} {
		got, ok := rawSignature(unhex(t, c.der), 4)
		if ok != (c.want != "") || !bytes.Equal(got, unhex(t, c.want)) {
			t.Errorf("%s: %x, %v", name, got, ok)
		}
	}
}

// rawRSA is m^d mod n, for making what no correct signer or encrypter makes.
func rawRSA(priv *rsa.PrivateKey, m []byte) []byte {
	return new(big.Int).Exp(new(big.Int).SetBytes(m), priv.D, priv.N).FillBytes(make([]byte, priv.Size()))
}

func publicRSA(priv *rsa.PrivateKey, m []byte) []byte {
	return new(big.Int).Exp(new(big.Int).SetBytes(m), big.NewInt(int64(priv.E)), priv.N).FillBytes(make([]byte, priv.Size()))
}

func TestRSASignatureRefuses(t *testing.T) {
	t.Parallel()
	k, priv := pemKey(t, "rsa2048.pem"), private[*rsa.PrivateKey](t, "rsa2048.pem")
	digest := sha256.Sum256([]byte("x"))
	info := slices.Concat(unhex(t, "3031300d060960864801650304020105000420"), digest[:])
	noNull := slices.Concat(unhex(t, "302f300b0609608648016503040201"+"0420"), digest[:])
	em := func(first, second byte, pad byte, padLen int, tail ...[]byte) []byte {
		b := append([]byte{first, second}, bytes.Repeat([]byte{pad}, padLen)...)
		b = append(b, 0)
		return append(b, slices.Concat(tail...)...)
	}
	fullPad := 256 - 3 - len(info)
	if ok, err := k.Verify("RS256", digest[:], rawRSA(priv, em(0, 1, 0xFF, fullPad, info))); !ok || err != nil {
		t.Fatalf("the forger is wrong: %v, %v", ok, err)
	}
	good, err := k.Sign("RS256", digest[:])
	if err != nil {
		t.Fatal(err)
	}
	for name, sig := range map[string][]byte{
		"short padding, rubbish behind": rawRSA(priv, em(0, 1, 0xFF, 8, info, make([]byte, fullPad-8))),
		"padding not ones":              rawRSA(priv, em(0, 1, 0xFE, fullPad, info)),
		"block type 2":                  rawRSA(priv, em(0, 2, 0xFF, fullPad, info)),
		"block type 0":                  rawRSA(priv, em(0, 0, 0xFF, fullPad, info)),
		"no NULL in DigestInfo":         rawRSA(priv, em(0, 1, 0xFF, 256-3-len(noNull), noNull)),
		"no DigestInfo":                 rawRSA(priv, em(0, 1, 0xFF, 256-3-32, digest[:])),
		"zero":                          make([]byte, 256),
		"one":                           big.NewInt(1).FillBytes(make([]byte, 256)),
		"signature + n":                 new(big.Int).Add(new(big.Int).SetBytes(good), priv.N).Bytes(),
		"n - signature":                 new(big.Int).Sub(priv.N, new(big.Int).SetBytes(good)).FillBytes(make([]byte, 256)),
	} {
		for _, alg := range []key.Algorithm{"RS256", "PS256"} {
			if ok, err := k.Verify(alg, digest[:], sig); ok || err != nil {
				t.Errorf("%s %s: %v, %v", alg, name, ok, err)
			}
		}
	}
	// RSNULL over a DigestInfo is the same as RS256 over the digest.
	if sig, err := k.Sign("RSNULL", info); err != nil || !bytes.Equal(sig, good) {
		t.Errorf("RSNULL of a DigestInfo: %v", err)
	}
	if _, err := k.Sign("RSNULL", make([]byte, 245)); err != nil {
		t.Errorf("RSNULL of the longest input: %v", err)
	}
	if _, err := k.Sign("RSNULL", make([]byte, 246)); !errors.Is(err, key.ErrBadParameter) {
		t.Errorf("RSNULL too long: %v", err)
	}
}

func TestRSADecryptRefuses(t *testing.T) {
	t.Parallel()
	k, priv := pemKey(t, "rsa2048.pem"), private[*rsa.PrivateKey](t, "rsa2048.pem")
	pkcs1 := func(first, second byte, pad []byte, msg string) []byte {
		return publicRSA(priv, slices.Concat([]byte{first, second}, pad, []byte{0}, []byte(msg)))
	}
	pad := bytes.Repeat([]byte{0x77}, 250)
	for name, c := range map[string][]byte{
		"empty": nil, "zero": make([]byte, 256), "one": big.NewInt(1).FillBytes(make([]byte, 256)),
		"255 bytes": make([]byte, 255), "257 bytes": make([]byte, 257),
		"n": priv.N.Bytes(), "all ones": bytes.Repeat([]byte{255}, 256),
		"block type 1": pkcs1(0, 1, pad, "abc"), "first byte 1": pkcs1(1, 2, pad, "abc"), "padding of 7": pkcs1(0, 2, pad[:7], string(bytes.Repeat([]byte{1}, 246))),
		"no separator": publicRSA(priv, append([]byte{0, 2}, bytes.Repeat([]byte{0x77}, 254)...)),
	} {
		for _, alg := range []key.Algorithm{"RSA1_5", "RSA-OAEP", "RSA-OAEP-256"} {
			_, err := k.Decrypt(alg, key.CipherInput{Value: c})
			wantFailed(t, string(alg)+", "+name, err)
		}
	}
	if out, err := k.Decrypt("RSA1_5", key.CipherInput{Value: pkcs1(0, 2, pad, "abc")}); err != nil || string(out.Value) != "abc" {
		t.Errorf("the forger is wrong: %q, %v", out.Value, err)
	}
	for alg, limit := range map[key.Algorithm]int{"RSA1_5": 245, "RSA-OAEP": 214, "RSA-OAEP-256": 190} {
		c, err := k.Encrypt(alg, key.CipherInput{Value: make([]byte, limit)})
		if err != nil {
			t.Fatal(err)
		}
		for _, other := range []key.Algorithm{"RSA1_5", "RSA-OAEP", "RSA-OAEP-256"} {
			out, err := k.Decrypt(other, key.CipherInput{Value: c.Value})
			if other != alg {
				wantFailed(t, string(alg)+" read as "+string(other), err)
			} else if err != nil || len(out.Value) != limit {
				t.Errorf("%s of %d bytes: %v", alg, limit, err)
			}
		}
		if _, err := k.Encrypt(alg, key.CipherInput{Value: make([]byte, limit+1)}); !errors.Is(err, key.ErrBadParameter) {
			t.Errorf("%s of %d bytes: %v", alg, limit+1, err)
		}
		for name, in := range map[string]key.CipherInput{"iv": {IV: []byte{1}}, "aad": {AAD: []byte{1}}, "tag": {Tag: []byte{1}}} {
			_, err1 := k.Encrypt(alg, in)
			_, err2 := k.Decrypt(alg, in)
			if !errors.Is(err1, key.ErrBadParameter) || !errors.Is(err2, key.ErrBadParameter) {
				t.Errorf("%s with %s: %v, %v", alg, name, err1, err2)
			}
		}
	}
}

// Any plaintext goes round, and no input is modified on the way.
func TestRoundTripProperty(t *testing.T) {
	t.Parallel()
	k := octKey(t, "000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f")
	rapid.Check(t, func(rt *rapid.T) {
		plain := rapid.SliceOfN(rapid.Byte(), 1, 200).Draw(rt, "plain")
		kept := bytes.Clone(plain)
		alg := rapid.SampledFrom([]key.Algorithm{"CKM_AES_KEY_WRAP_PAD", "A256CBCPAD", "A256GCM"}).Draw(rt, "alg")
		in := key.CipherInput{Value: plain}
		if alg == "A256CBCPAD" {
			in.IV = rapid.SliceOfN(rapid.Byte(), 16, 16).Draw(rt, "iv")
		}
		out, err := k.Encrypt(alg, in)
		if err != nil {
			rt.Fatal(err)
		}
		sealed := bytes.Clone(out.Value)
		back, err := k.Decrypt(alg, key.CipherInput(out))
		if err != nil || !bytes.Equal(back.Value, kept) || !bytes.Equal(plain, kept) || !bytes.Equal(out.Value, sealed) {
			rt.Fatalf("%s: %x became %x, %v", alg, kept, back.Value, err)
		}
	})
}
