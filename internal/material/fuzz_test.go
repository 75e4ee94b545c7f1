package material

import (
	"bytes"
	"errors"
	"testing"

	"redoubt/internal/key"
	"redoubt/internal/secret"
)

// FuzzParse: what is accepted has exactly the bytes it was read from, is of the spec asked for, and works.
func FuzzParse(f *testing.F) {
	for i, spec := range allSpecs {
		if spec.Type == key.Oct {
			f.Add(uint8(i), encoded(key.Oct, bytes.Repeat([]byte{1}, spec.Bits/8)).Expose())
		}
	}
	for name, spec := range pemSpec {
		for i := range allSpecs {
			if allSpecs[i] == spec {
				f.Add(uint8(i), encoded(spec.Type, readPEM(f, name)).Expose())
			}
		}
	}
	f.Fuzz(func(t *testing.T, which uint8, b []byte) {
		spec := allSpecs[int(which)%len(allSpecs)]
		k, err := Parse(spec, secret.New(b))
		if err != nil {
			if !errors.Is(err, ErrBadMaterial) {
				t.Fatalf("unexpected error: %v", err)
			}
			return
		}
		if k.Spec() != spec || !bytes.Equal(k.Marshal().Expose(), b) {
			t.Fatal("accepted, but written differently")
		}
	})
}

// FuzzUnwrap: arbitrary ciphertexts never panic and never give another error; a wrapped key that is
// accepted is the only one for its content.
func FuzzUnwrap(f *testing.F) {
	algs := []key.Algorithm{"A256KW", "CKM_AES_KEY_WRAP", "CKM_AES_KEY_WRAP_PAD"}
	k := octKey(f, kwVectors[5].kek)
	f.Add(uint8(0), unhex(f, kwVectors[5].wrapped))
	f.Add(uint8(1), unhex(f, kwVectors[2].wrapped))
	for _, n := range []int{1, 7, 8, 9, 16, 33} {
		out, err := k.Wrap(algs[2], key.CipherInput{Value: make([]byte, n)})
		if err != nil {
			f.Fatal(err)
		}
		f.Add(uint8(2), out.Value)
	}
	f.Fuzz(func(t *testing.T, which uint8, c []byte) {
		alg := algs[int(which)%len(algs)]
		out, err := k.Unwrap(alg, key.CipherInput{Value: c})
		if err != nil {
			if err != key.ErrCryptoFailed { //nolint:errorlint // bare on purpose
				t.Fatalf("%s: %v", alg, err)
			}
			return
		}
		again, err := k.Wrap(alg, key.CipherInput{Value: out.Value})
		if err != nil || !bytes.Equal(again.Value, c) {
			t.Fatalf("%s: %x unwraps, but its content wraps to %x, %v", alg, c, again.Value, err)
		}
	})
}

// FuzzDecrypt: the other oct algorithms and RSA under arbitrary input.
func FuzzDecrypt(f *testing.F) {
	k, r := octKey(f, kwVectors[5].kek), pemKey(f, "rsa2048.pem")
	f.Add(uint8(0), make([]byte, 32), make([]byte, 16), []byte(nil), []byte(nil))
	f.Add(uint8(1), make([]byte, 32), make([]byte, 16), []byte(nil), []byte(nil))
	f.Add(uint8(2), make([]byte, 5), make([]byte, 12), []byte("aad"), make([]byte, 16))
	f.Add(uint8(3), make([]byte, 256), []byte(nil), []byte(nil), []byte(nil))
	f.Fuzz(func(t *testing.T, which uint8, v, iv, aad, tag []byte) {
		in := key.CipherInput{Value: v, IV: iv, AAD: aad, Tag: tag}
		algs := []key.Algorithm{"A256CBC", "A256CBCPAD", "A256GCM", "RSA-OAEP-256", "RSA1_5"}
		alg := algs[int(which)%len(algs)]
		use := k
		if alg[0] == 'R' {
			use = r
		}
		if out, err := use.Decrypt(alg, in); err != nil {
			if !errors.Is(err, key.ErrBadParameter) || errors.Is(err, key.ErrBadAlgorithm) {
				t.Fatalf("%s: %v", alg, err)
			}
		} else if len(out.Value) > len(v) {
			t.Fatalf("%s: %d bytes from %d", alg, len(out.Value), len(v))
		}
	})
}

// FuzzUnpad: the constant-time form agrees with the plain one.
func FuzzUnpad(f *testing.F) {
	f.Add(bytes.Repeat([]byte{16}, 16))
	f.Add(append(make([]byte, 31), 1))
	f.Fuzz(func(t *testing.T, b []byte) {
		if len(b) == 0 || len(b)%16 != 0 {
			return
		}
		n, ok := unpad(b)
		wantN, wantOK := naiveUnpad(b)
		if ok == 1 != wantOK || wantOK && n != wantN {
			t.Fatalf("unpad(%x) = %d, %d; want %d, %v", b, n, ok, wantN, wantOK)
		}
	})
}
