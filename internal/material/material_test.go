package material

import (
	"bytes"
	"crypto/sha256"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"

	"redoubt/internal/key"
)

func TestGenerateParseMarshal(t *testing.T) {
	t.Parallel()
	for _, spec := range allSpecs {
		t.Run(spec.String(), func(t *testing.T) {
			t.Parallel()
			k := testKey(t, spec)
			if spec == allSpecs[0] { // making larger RSA keys takes the test too long
				var err error
				if k, err = someRSA(); err != nil {
					t.Fatal(err)
				}
			}
			m := k.Marshal()
			again, err := Parse(spec, m)
			if err != nil {
				t.Fatal(err)
			}
			if !again.Marshal().Equal(m) {
				t.Error("Parse and Marshal do not give the same bytes")
			}
			if k.Spec() != spec || again.Spec() != spec {
				t.Errorf("specs %v and %v, want %v", k.Spec(), again.Spec(), spec)
			}
			if fmt.Sprintf("%x", k.Public()) != fmt.Sprintf("%x", again.Public()) {
				t.Error("public parts differ")
			}
			checkPublicShape(t, spec, k.Public())
		})
	}
}

func checkPublicShape(t *testing.T, spec key.Spec, p key.Public) {
	t.Helper()
	want := [4]int{}
	switch spec.Type {
	case key.RSA:
		want = [4]int{spec.Bits / 8, 3, 0, 0}
	case key.EC:
		w := map[key.Curve]int{key.P256: 32, key.P256K: 32, key.P384: 48, key.P521: 66}[spec.Curve]
		want = [4]int{0, 0, w, w}
	case key.Oct: // nothing of it is public
	}
	if got := [4]int{len(p.N), len(p.E), len(p.X), len(p.Y)}; got != want {
		t.Errorf("lengths of n, e, x, y are %v, want %v", got, want)
	}
}

func TestGenerateDiffers(t *testing.T) {
	t.Parallel()
	for _, spec := range allSpecs[3:] {
		a, err := Generate(spec)
		if err != nil {
			t.Fatal(err)
		}
		b, err := Generate(spec)
		if err != nil {
			t.Fatal(err)
		}
		if a.Marshal().Equal(b.Marshal()) {
			t.Errorf("%s: two keys are the same", spec)
		}
	}
}

func TestGenerateFillsInDefaultsAndRefuses(t *testing.T) {
	t.Parallel()
	k, err := Generate(key.Spec{Type: key.EC})
	if err != nil || k.Spec() != (key.Spec{Type: key.EC, Curve: key.P256}) {
		t.Errorf("default EC key: %v, %v", k.Spec(), err)
	}
	for _, spec := range []key.Spec{
		{}, {Type: "EC"}, {Type: key.RSA, Bits: 1024}, {Type: key.RSA, Bits: 2047}, {Type: key.RSA, Bits: 2048, Exponent: 1}, {Type: key.RSA, Bits: 2048, Exponent: 4}, {Type: key.RSA, Bits: 2048, Exponent: 1<<31 + 1},
		{Type: key.Oct, Bits: 64}, {Type: key.EC, Curve: "P-224"},
	} {
		if _, err := Generate(spec); !errors.Is(err, key.ErrBadParameter) {
			t.Errorf("%+v: %v, want ErrBadParameter", spec, err)
		}
	}
}

// Every algorithm of the table goes round with every key it fits, and is refused by every other key.
func TestEveryAlgorithmWithEveryKey(t *testing.T) {
	t.Parallel()
	digests := map[key.Algorithm]int{"RS384": 48, "PS384": 48, "ES384": 48, "RS512": 64, "PS512": 64, "ES512": 64}
	all := map[key.Use][]key.Algorithm{}
	for _, use := range []key.Use{key.UseSign, key.UseEncrypt, key.UseWrap} {
		seen := map[key.Algorithm]bool{}
		for _, spec := range allSpecs {
			for _, alg := range key.Allowed(spec, use) {
				if !seen[alg] {
					seen[alg] = true
					all[use] = append(all[use], alg)
				}
			}
		}
	}
	for _, spec := range allSpecs {
		t.Run(spec.String(), func(t *testing.T) {
			t.Parallel()
			k := testKey(t, spec)
			for _, alg := range all[key.UseSign] {
				n := digests[alg]
				if n == 0 {
					n = 32
				}
				digest := bytes.Repeat([]byte{7}, n)
				sig, err := k.Sign(alg, digest)
				if alg.Check(spec, key.UseSign, n) != nil {
					if !errors.Is(err, key.ErrBadAlgorithm) {
						t.Errorf("sign with %s: %v, want ErrBadAlgorithm", alg, err)
					}
					if _, err := k.Verify(alg, digest, sig); !errors.Is(err, key.ErrBadAlgorithm) {
						t.Errorf("verify with %s: %v, want ErrBadAlgorithm", alg, err)
					}
					continue
				}
				if err != nil {
					t.Errorf("sign with %s: %v", alg, err)
					continue
				}
				checkVerify(t, k, alg, digest, sig)
			}
			for _, alg := range all[key.UseEncrypt] {
				checkRound(t, alg, alg.Check(spec, key.UseEncrypt, 0), k.Encrypt, k.Decrypt)
			}
			for _, alg := range all[key.UseWrap] {
				checkRound(t, alg, alg.Check(spec, key.UseWrap, 0), k.Wrap, k.Unwrap)
			}
		})
	}
}

func checkVerify(t *testing.T, k Key, alg key.Algorithm, digest, sig []byte) {
	t.Helper()
	verify := func(d, s []byte) bool {
		t.Helper()
		ok, err := k.Verify(alg, d, s)
		if err != nil {
			t.Errorf("%s: %v", alg, err)
		}
		return ok
	}
	if !verify(digest, sig) {
		t.Errorf("%s: own signature does not verify", alg)
	}
	other := bytes.Clone(digest)
	other[0] ^= 1
	if verify(other, sig) {
		t.Errorf("%s: signature verifies for another digest", alg)
	}
	for _, i := range []int{0, len(sig) / 2, len(sig) - 1} {
		bad := bytes.Clone(sig)
		bad[i] ^= 1
		if verify(digest, bad) {
			t.Errorf("%s: signature with byte %d changed verifies", alg, i)
		}
	}
	for _, bad := range [][]byte{nil, sig[1:], sig[:len(sig)-1], append([]byte{0}, sig...), append(bytes.Clone(sig), 0)} {
		if verify(digest, bad) {
			t.Errorf("%s: signature of %d bytes instead of %d verifies", alg, len(bad), len(sig))
		}
	}
}

func checkRound(t *testing.T, alg key.Algorithm, refused error, there, back func(key.Algorithm, key.CipherInput) (key.CipherOutput, error)) {
	t.Helper()
	plain := []byte("thirty-two bytes of key material")
	in := key.CipherInput{Value: plain}
	if strings.Contains(string(alg), "CBC") {
		in.IV = bytes.Repeat([]byte{9}, 16)
	}
	out, err := there(alg, in)
	if refused != nil {
		if !errors.Is(err, key.ErrBadAlgorithm) {
			t.Errorf("%s: %v, want ErrBadAlgorithm", alg, err)
		}
		if _, err := back(alg, in); !errors.Is(err, key.ErrBadAlgorithm) {
			t.Errorf("%s back: %v, want ErrBadAlgorithm", alg, err)
		}
		return
	}
	if err != nil {
		t.Errorf("%s: %v", alg, err)
		return
	}
	if bytes.Equal(out.Value, plain) {
		t.Errorf("%s did not encrypt", alg)
	}
	got, err := back(alg, key.CipherInput(out))
	if err != nil || !bytes.Equal(got.Value, plain) {
		t.Errorf("%s back: %q, %v", alg, got.Value, err)
	}
}

func TestZeroAndWipedKeys(t *testing.T) {
	t.Parallel()
	for _, spec := range append([]key.Spec{{}}, allSpecs...) {
		var k Key
		if spec.Type != "" {
			k = testKey(t, spec)
		}
		k.Wipe()
		k.Wipe()
		copied := k
		_, err1 := copied.Sign("RS256", nil)
		_, err2 := k.Verify("RS256", nil, nil)
		_, err3 := k.Encrypt("RSA-OAEP", key.CipherInput{})
		_, err4 := k.Unwrap("A128KW", key.CipherInput{})
		for _, err := range []error{err1, err2, err3, err4} {
			if !errors.Is(err, ErrWiped) {
				t.Errorf("%s: %v, want ErrWiped", spec, err)
			}
		}
		if k.Marshal().Len() != 0 {
			t.Errorf("%s: a wiped key can be marshalled", spec)
		}
	}
}

func TestWipeOverwrites(t *testing.T) {
	t.Parallel()
	k := testKey(t, allSpecs[8])
	raw := k.h.body.(*octBody).raw
	k.Wipe()
	if !bytes.Equal(raw.Expose(), make([]byte, 32)) {
		t.Error("oct key bytes are still there")
	}
	r := testKey(t, allSpecs[0])
	priv := r.h.body.(*rsaBody).priv
	r.Wipe()
	for _, w := range append(priv.D.Bits(), priv.Primes[0].Bits()...) {
		if w != 0 {
			t.Fatal("RSA numbers are still there")
		}
	}
}

// Wipe while others sign: each signature is right or the answer is ErrWiped, never something between.
func TestWipeDuringUse(t *testing.T) {
	t.Parallel()
	digest := sha256.Sum256([]byte("x"))
	for spec, alg := range map[key.Spec]key.Algorithm{allSpecs[0]: "RS256", allSpecs[3]: "ES256", allSpecs[8]: "HS256"} {
		public := testKey(t, spec)
		if spec.Type == key.Oct {
			var err error
			if public, err = Parse(spec, public.Marshal()); err != nil {
				t.Fatal(err)
			}
		}
		victim, err := Parse(spec, public.Marshal())
		if err != nil {
			t.Fatal(err)
		}
		var wg sync.WaitGroup
		started := make(chan struct{}, 4)
		for range 4 {
			wg.Go(func() {
				for {
					sig, err := victim.Sign(alg, digest[:])
					if errors.Is(err, ErrWiped) {
						return
					}
					if ok, verr := public.Verify(alg, digest[:], sig); err != nil || verr != nil || !ok {
						t.Errorf("%s: wrong signature during Wipe: %v %v", alg, err, verr)
						return
					}
					select {
					case started <- struct{}{}:
					default:
					}
				}
			})
		}
		<-started
		victim.Wipe()
		wg.Wait()
	}
}

func TestPrintingShowsNothing(t *testing.T) {
	t.Parallel()
	k := octKey(t, "000102030405060708090a0b0c0d0e0f")
	wrapped := struct {
		K Key
		u Key
	}{k, k}
	for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%x", "%q", "%d"} {
		s := fmt.Sprintf(verb, k) + fmt.Sprintf(verb, &k) + fmt.Sprintf(verb, wrapped)
		if strings.Contains(s, "0405") || strings.Contains(s, "4 5 6") || strings.Contains(s, "0x4, 0x5") {
			t.Errorf("%s prints the key: %s", verb, s)
		}
	}
}

func TestStandardEngines(t *testing.T) {
	t.Parallel()
	if got := Standard().String(); got != "rsa=go ec=go" {
		t.Error(got)
	}
}
