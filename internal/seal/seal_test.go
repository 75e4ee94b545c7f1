package seal

import (
	"bytes"
	"encoding/hex"
	"encoding/json"
	"errors"
	"flag"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"pgregory.net/rapid"

	"redoubt/internal/secret"
)

var (
	someContent = Ref{Kind: KindVersion, Name: "key/v1", Version: 5}
	someLocal   = Ref{Kind: KindJob, Name: "job/1", Version: 5, Local: "0f0e0d0c-0000-4000-8000-000000000001"}
)

func TestSealOpen(t *testing.T) {
	t.Parallel()
	r := NewRoot(9)
	for _, ref := range []Ref{someContent, someLocal, {Kind: KindHead, Name: "x"}, {Kind: KindSetting, Name: strings.Repeat("n", 1000), Version: 1<<64 - 1}} {
		for _, plain := range [][]byte{nil, {}, []byte("x"), bytes.Repeat([]byte("y"), 5000)} {
			sealed := r.Seal(ref, plain)
			if len(sealed) != len(plain)+Overhead {
				t.Errorf("%d bytes became %d", len(plain), len(sealed))
			}
			got, err := r.Open(ref, sealed)
			if err != nil || !bytes.Equal(got, plain) {
				t.Errorf("%+v: %q, %v", ref, got, err)
			}
			h, err := Header(sealed)
			if want := (HeaderInfo{ref.Kind, 9, ref.Version}); err != nil || h != want {
				t.Errorf("header %+v, %v; want %+v", h, err, want)
			}
		}
	}
	s := secret.New([]byte("material"))
	got, err := r.OpenSecret(someContent, r.SealSecret(someContent, s))
	if err != nil || !got.Equal(s) {
		t.Errorf("secret: %v", err)
	}
	if _, err := r.OpenSecret(someContent, nil); !errors.Is(err, ErrFormat) {
		t.Errorf("nothing: %v", err)
	}
}

// The reason of the whole design: records copied still sealed open on the HSM recovered from the domain.
func TestOpensOnRecoveredHSM(t *testing.T) {
	t.Parallel()
	r := NewRoot(2)
	other := recovered(t, r)
	for k := range kindNames {
		ref := Ref{Kind: k, Name: "n", Version: 1}
		if k.Local() {
			ref.Local = "a"
		}
		got, err := other.Open(ref, r.Seal(ref, []byte("content")))
		if err != nil || string(got) != "content" {
			t.Errorf("%s: %q, %v", k, got, err)
		}
	}
}

func TestNoncesAreFresh(t *testing.T) {
	t.Parallel()
	r := NewRoot(1)
	seen := map[string]bool{}
	for range 200 {
		s := r.Seal(someContent, []byte("same"))
		seen[string(s[headerSize:headerSize+nonceSize])] = true
	}
	if len(seen) != 200 {
		t.Errorf("%d different nonces in 200 sealings", len(seen))
	}
}

// A record opens at its own place and nowhere else.
func TestBoundToItsPlace(t *testing.T) {
	t.Parallel()
	r := NewRoot(4)
	root, seed, _ := r.Domain()
	nextEpoch, err := FromDomain(root, seed, 5)
	if err != nil {
		t.Fatal(err)
	}
	otherSeed, err := FromDomain(root, secret.Random(32), 4)
	if err != nil {
		t.Fatal(err)
	}
	otherRoot, err := FromDomain(secret.Random(32), seed, 4)
	if err != nil {
		t.Fatal(err)
	}
	for _, ref := range []Ref{someContent, someLocal} {
		sealed := r.Seal(ref, []byte("content"))
		otherKind := KindHead
		if ref.Kind.Local() {
			otherKind = KindExchangeKey
		}
		for _, c := range []struct {
			name   string
			root   *Root
			change func(*Ref)
			want   error
		}{
			{"name", r, func(x *Ref) { x.Name += "x" }, ErrTampered},
			{"shorter name", r, func(x *Ref) { x.Name = x.Name[1:] }, ErrTampered},
			{"kind", r, func(x *Ref) { x.Kind = otherKind }, ErrMismatch},
			{"older version", r, func(x *Ref) { x.Version-- }, ErrMismatch},
			{"newer version", r, func(x *Ref) { x.Version++ }, ErrMismatch},
			{"epoch", nextEpoch, func(*Ref) {}, ErrMismatch},
			{"domain with the same root secret", otherSeed, func(*Ref) {}, ErrTampered},
			{"domain with the same signing key", otherRoot, func(*Ref) {}, ErrTampered},
			{"domain", NewRoot(4), func(*Ref) {}, ErrTampered},
		} {
			x := ref
			c.change(&x)
			if _, err := c.root.Open(x, sealed); !errors.Is(err, c.want) {
				t.Errorf("%s opened under another %s: %v, want %v", ref.Kind, c.name, err, c.want)
			}
		}
	}
	sealed := r.Seal(someLocal, nil)
	x := someLocal
	x.Local = "0f0e0d0c-0000-4000-8000-000000000002"
	if _, err := r.Open(x, sealed); !errors.Is(err, ErrTampered) {
		t.Errorf("opened on another HSM: %v", err)
	}
}

// Rewriting the header to what is asked for does not help: it is all authenticated.
func TestHeaderIsAuthenticated(t *testing.T) {
	t.Parallel()
	r := NewRoot(4)
	sealed := r.Seal(someContent, []byte("content"))
	for name, c := range map[string]struct {
		at  int
		val byte
		ref Ref
	}{
		"kind":    {4, byte(KindMaterial), Ref{Kind: KindMaterial, Name: someContent.Name, Version: 5}},
		"version": {headerSize - 1, 6, Ref{Kind: KindVersion, Name: someContent.Name, Version: 6}},
	} {
		bad := bytes.Clone(sealed)
		bad[c.at] = c.val
		if _, err := r.Open(c.ref, bad); !errors.Is(err, ErrTampered) {
			t.Errorf("%s rewritten: %v", name, err)
		}
	}
	root, seed, _ := r.Domain()
	next, err := FromDomain(root, seed, 5)
	if err != nil {
		t.Fatal(err)
	}
	bad := bytes.Clone(sealed)
	bad[8] = 5
	if _, err := next.Open(someContent, bad); !errors.Is(err, ErrTampered) {
		t.Errorf("epoch rewritten: %v", err)
	}
}

func TestEveryBitAndLengthCounts(t *testing.T) {
	t.Parallel()
	r := NewRoot(1)
	sealed := r.Seal(someContent, []byte("some content"))
	refused := func(err error) bool {
		return errors.Is(err, ErrFormat) || errors.Is(err, ErrMismatch) || errors.Is(err, ErrTampered)
	}
	for i := range len(sealed) * 8 {
		bad := bytes.Clone(sealed)
		bad[i/8] ^= 1 << (i % 8)
		if _, err := r.Open(someContent, bad); !refused(err) {
			t.Errorf("bit %d changed: %v", i, err)
		}
	}
	for i := range sealed {
		if _, err := r.Open(someContent, sealed[:i]); !refused(err) {
			t.Errorf("cut to %d bytes: %v", i, err)
		}
	}
	if _, err := r.Open(someContent, append(bytes.Clone(sealed), 0)); !refused(err) {
		t.Errorf("a byte added: %v", err)
	}
}

func TestBadRefs(t *testing.T) {
	t.Parallel()
	r := NewRoot(1)
	for name, ref := range map[string]Ref{
		"zero": {}, "no kind": {Name: "x"}, "unknown kind": {Kind: 63, Name: "x"}, "no name": {Kind: KindHead},
		"local without HSM": {Kind: KindJob, Name: "x"}, "content with HSM": {Kind: KindHead, Name: "x", Local: "a"},
	} {
		if _, err := r.Open(ref, r.Seal(someContent, nil)); !errors.Is(err, ErrBadRef) {
			t.Errorf("%s: open: %v", name, err)
		}
		func() {
			defer func() {
				if err, _ := recover().(error); !errors.Is(err, ErrBadRef) {
					t.Errorf("%s: seal panicked with %v", name, err)
				}
			}()
			r.Seal(ref, nil)
		}()
	}
}

// Different references never give the same derivation input, wherever the borders between parts lie.
func TestInfoIsInjective(t *testing.T) {
	t.Parallel()
	r := NewRoot(1)
	part := rapid.StringOfN(rapid.SampledFrom([]rune("a\x00\x01")), 0, 6, -1)
	kinds := rapid.SampledFrom([]Kind{KindHead, KindJob})
	rapid.Check(t, func(rt *rapid.T) {
		a := Ref{Kind: kinds.Draw(rt, "k1"), Name: part.Draw(rt, "n1"), Local: part.Draw(rt, "l1")}
		b := Ref{Kind: kinds.Draw(rt, "k2"), Name: part.Draw(rt, "n2"), Local: part.Draw(rt, "l2")}
		if (a == b) != bytes.Equal(r.recordInfo(a), r.recordInfo(b)) {
			rt.Fatalf("%+v and %+v give %x and %x", a, b, r.recordInfo(a), r.recordInfo(b))
		}
	})
}

func TestConcurrentUse(t *testing.T) {
	t.Parallel()
	r := NewRoot(1)
	var wg sync.WaitGroup
	for i := range 8 {
		wg.Go(func() {
			ref := Ref{Kind: KindHead, Name: string(rune('a' + i))}
			for range 50 {
				if got, err := r.Open(ref, r.Seal(ref, []byte(ref.Name))); err != nil || string(got) != ref.Name {
					t.Errorf("%q, %v", got, err)
				}
			}
		})
	}
	wg.Wait()
}

var update = flag.Bool("update", false, "add golden records for kinds that have none")

// goldenRecord is one line of testdata/golden.json.
type goldenRecord struct {
	Kind        uint8
	Name, Local string
	Version     uint64
	Plain, Sealed/* hex */ string
}

// The records of testdata/golden.json open for ever. -update adds missing kinds and never rewrites one.
func TestGoldenRecords(t *testing.T) {
	t.Parallel()
	r := fixedRoot(t)
	path := filepath.Join("testdata", "golden.json")
	var golden []goldenRecord
	b, err := os.ReadFile(path)
	if err == nil {
		err = json.Unmarshal(b, &golden)
	}
	if err != nil && !*update {
		t.Fatal(err)
	}
	have := map[Kind]bool{}
	for _, g := range golden {
		sealed, err := hex.DecodeString(g.Sealed)
		if err != nil {
			t.Fatal(err)
		}
		ref := Ref{Kind: Kind(g.Kind), Name: g.Name, Version: g.Version, Local: g.Local}
		got, err := r.Open(ref, sealed)
		if err != nil || string(got) != g.Plain {
			t.Errorf("golden %s: %q, %v", ref.Kind, got, err)
		}
		have[ref.Kind] = true
	}
	for k, name := range kindNames {
		if have[k] {
			continue
		}
		if !*update {
			t.Errorf("no golden record of kind %s", k)
			continue
		}
		ref := Ref{Kind: k, Name: "golden/" + name, Version: 0x0102030405060708}
		if k.Local() {
			ref.Local = "0f0e0d0c-0000-4000-8000-000000000001"
		}
		plain := "content of a " + name
		golden = append(golden, goldenRecord{uint8(k), ref.Name, ref.Local, ref.Version, plain, hex.EncodeToString(r.Seal(ref, []byte(plain)))})
	}
	if *update {
		out, err := json.MarshalIndent(golden, "", " ")
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, append(out, '\n'), 0o644); err != nil {
			t.Fatal(err)
		}
	}
}
