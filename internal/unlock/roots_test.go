package unlock

import (
	"bytes"
	"context"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	"redoubt/internal/secret"
)

// clearDriver keeps secrets readable behind their associated data: what Roots does with files is seen
// better that way.
type clearDriver struct{ locked error }

func (d clearDriver) Seal(_ context.Context, s secret.Bytes, aad []byte) ([]byte, error) {
	return slices.Concat(aad, []byte("|"), s.Expose()), d.locked
}

func (d clearDriver) Open(_ context.Context, b, aad []byte) (secret.Bytes, error) {
	s, ok := bytes.CutPrefix(b, slices.Concat(aad, []byte("|")))
	if !ok || d.locked != nil {
		return secret.Bytes{}, ErrLocked
	}
	return secret.New(bytes.Clone(s)), nil
}

func (clearDriver) Describe() string { return "clear" }

const hsmA, hsmB = "0f0e0d0c-0000-4000-8000-00000000000a", "0f0e0d0c-0000-4000-8000-00000000000b"

func newRoots(t *testing.T) (*Roots, string) {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "deep", "roots")
	return NewRoots(dir, clearDriver{}), dir
}

func put(t *testing.T, r *Roots, hsmID, rootID, s string) {
	t.Helper()
	if err := r.Put(t.Context(), hsmID, rootID, secret.New([]byte(s))); err != nil {
		t.Fatal(err)
	}
}

func wantRoot(t *testing.T, r *Roots, hsmID, rootID, want string) {
	t.Helper()
	s, err := r.Get(t.Context(), hsmID, rootID)
	if err != nil || string(s.Expose()) != want {
		t.Errorf("root %s of %s: %q, %v; want %q", rootID, hsmID, s.Expose(), err, want)
	}
}

func TestPutGetListDestroy(t *testing.T) {
	t.Parallel()
	r, dir := newRoots(t)
	if ids, err := r.List(t.Context(), hsmA); err != nil || len(ids) != 0 {
		t.Errorf("list of nothing: %v, %v", ids, err)
	}
	if _, err := r.Get(t.Context(), hsmA, "1"); !errors.Is(err, ErrNoRoot) {
		t.Errorf("get of nothing: %v", err)
	}
	if err := r.Destroy(t.Context(), hsmA, "1"); err != nil {
		t.Errorf("destroy of nothing: %v", err)
	}
	if err := r.DestroyAll(t.Context(), hsmA); err != nil {
		t.Errorf("destroy all of nothing: %v", err)
	}
	put(t, r, hsmA, "b2", "two")
	put(t, r, hsmA, "a1", "one")
	put(t, r, hsmB, "a1", "other")
	wantRoot(t, NewRoots(dir, clearDriver{}), hsmA, "a1", "one") // after a restart
	wantRoot(t, r, hsmA, "b2", "two")
	wantRoot(t, r, hsmB, "a1", "other")
	if ids, err := r.List(t.Context(), hsmA); err != nil || !slices.Equal(ids, []string{"a1", "b2"}) {
		t.Errorf("list: %v, %v", ids, err)
	}
	for range 2 {
		if err := r.Destroy(t.Context(), hsmA, "a1"); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := r.Get(t.Context(), hsmA, "a1"); !errors.Is(err, ErrNoRoot) {
		t.Errorf("get of a destroyed root: %v", err)
	}
	wantRoot(t, r, hsmA, "b2", "two")
	for range 2 {
		if err := r.DestroyAll(t.Context(), hsmA); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := os.Stat(filepath.Join(dir, hsmA)); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("folder of a purged HSM: %v", err)
	}
	wantRoot(t, r, hsmB, "a1", "other")
	put(t, r, hsmA, "a1", "again")
	wantRoot(t, r, hsmA, "a1", "again")
}

func TestPutNeverOverwrites(t *testing.T) {
	t.Parallel()
	r, _ := newRoots(t)
	put(t, r, hsmA, "1", "first")
	err := r.Put(t.Context(), hsmA, "1", secret.New([]byte("second")))
	if !errors.Is(err, ErrRootExists) || !errors.Is(err, fs.ErrExist) {
		t.Errorf("second put: %v", err)
	}
	wantRoot(t, r, hsmA, "1", "first")

	var wg sync.WaitGroup
	results := make([]error, 8)
	for i := range results {
		wg.Go(func() { results[i] = r.Put(t.Context(), hsmA, "2", secret.New([]byte{byte(i)})) })
	}
	wg.Wait()
	won := -1
	for i, err := range results {
		switch {
		case err == nil && won < 0:
			won = i
		case !errors.Is(err, ErrRootExists):
			t.Errorf("put %d: %v", i, err)
		}
	}
	wantRoot(t, r, hsmA, "2", string([]byte{byte(won)}))
}

func TestModes(t *testing.T) {
	t.Parallel()
	r, dir := newRoots(t)
	put(t, r, hsmA, "1", "x")
	for path, want := range map[string]fs.FileMode{
		dir: 0o700, filepath.Join(dir, hsmA): 0o700, filepath.Join(dir, hsmA, "1.root"): 0o600,
	} {
		info, err := os.Stat(path)
		if err != nil || info.Mode().Perm() != want {
			t.Errorf("%s: %v, %v; want mode %o", path, info, err, want)
		}
	}
}

func TestBadIDs(t *testing.T) {
	t.Parallel()
	r, dir := newRoots(t)
	put(t, r, hsmA, "1", "x")
	for _, id := range []string{
		"", ".", "..", "../" + hsmA, "a/b", "/", `a\b`, "a.b", "A1", "g", "-a", " a", "a\x00", "a\n", "ä", strings.Repeat("a", 65), "%2e%2e",
	} {
		_, err1 := r.Get(t.Context(), id, "1")
		_, err2 := r.Get(t.Context(), hsmA, id)
		_, err3 := r.List(t.Context(), id)
		for i, err := range []error{
			err1, err2, err3,
			r.Put(t.Context(), id, "2", secret.Bytes{}), r.Put(t.Context(), hsmA, id, secret.Bytes{}),
			r.Destroy(t.Context(), id, "1"), r.Destroy(t.Context(), hsmA, id), r.DestroyAll(t.Context(), id),
		} {
			if !errors.Is(err, ErrBadID) {
				t.Errorf("id %q, call %d: %v", id, i, err)
			}
		}
	}
	wantRoot(t, r, hsmA, "1", "x")
	if err := r.Put(t.Context(), hsmA, strings.Repeat("a", 64), secret.Bytes{}); err != nil {
		t.Error(err)
	}
	if entries, _ := os.ReadDir(dir); len(entries) != 1 {
		t.Errorf("folders: %v", entries)
	}
}

// A file moved to another name, or another HSM's folder, does not open.
func TestBoundToIDs(t *testing.T) {
	t.Parallel()
	r, dir := newRoots(t)
	put(t, r, hsmA, "1", "x")
	put(t, r, hsmB, "2", "y")
	b, err := os.ReadFile(filepath.Join(dir, hsmA, "1.root"))
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range [][2]string{{hsmA, "3"}, {hsmB, "1"}} {
		if err := os.WriteFile(filepath.Join(dir, c[0], c[1]+".root"), b, 0o600); err != nil {
			t.Fatal(err)
		}
		if _, err := r.Get(t.Context(), c[0], c[1]); !errors.Is(err, ErrLocked) {
			t.Errorf("moved to %v: %v", c, err)
		}
	}
	if bytes.Equal(rootAAD("a", "bc"), rootAAD("ab", "c")) {
		t.Error("associated data does not separate the ids")
	}
}

func TestDriverErrors(t *testing.T) {
	t.Parallel()
	r, dir := newRoots(t)
	put(t, r, hsmA, "1", "x")
	locked := NewRoots(dir, clearDriver{locked: ErrLocked})
	if _, err := locked.Get(t.Context(), hsmA, "1"); !errors.Is(err, ErrLocked) {
		t.Errorf("get: %v", err)
	}
	if err := locked.Put(t.Context(), hsmA, "2", secret.Bytes{}); !errors.Is(err, ErrLocked) {
		t.Errorf("put: %v", err)
	}
	if ids, err := locked.List(t.Context(), hsmA); err != nil || len(ids) != 1 {
		t.Errorf("list: %v, %v", ids, err)
	}
	if err := locked.Destroy(t.Context(), hsmA, "1"); err != nil { // purging needs no key
		t.Error(err)
	}
	if locked.Describe() != "clear" {
		t.Error(locked.Describe())
	}
}

// The bytes are overwritten before the name goes: a second name of the same file shows it.
func TestDestroyOverwrites(t *testing.T) {
	t.Parallel()
	r, dir := newRoots(t)
	long := strings.Repeat("top secret ", 500)
	put(t, r, hsmA, "1", long)
	put(t, r, hsmA, "2", long)
	for _, c := range []struct {
		id      string
		destroy func() error
	}{
		{"1", func() error { return r.Destroy(t.Context(), hsmA, "1") }},
		{"2", func() error { return r.DestroyAll(t.Context(), hsmA) }},
	} {
		witness := filepath.Join(t.TempDir(), "witness")
		path := filepath.Join(dir, hsmA, c.id+".root")
		before, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		if err := os.Link(path, witness); err != nil {
			t.Fatal(err)
		}
		if err := c.destroy(); err != nil {
			t.Fatal(err)
		}
		after, err := os.ReadFile(witness)
		if err != nil || len(after) != len(before) {
			t.Fatalf("%d bytes, %v", len(after), err)
		}
		if bytes.Contains(after, []byte("top secret")) || bytes.Contains(after, make([]byte, 64)) {
			t.Errorf("root %s: not overwritten with random bytes", c.id)
		}
	}
}

// After a crash: half-written files are destroyed too, a half-destroyed root is refused and then destroyed.
func TestAfterCrash(t *testing.T) {
	t.Parallel()
	r, dir := newRoots(t)
	put(t, r, hsmA, "1", "x")
	put(t, r, hsmA, "2", "y")
	folder := filepath.Join(dir, hsmA)
	tmp := filepath.Join(folder, ".tmp-42")
	write := func(path string) {
		t.Helper()
		if err := os.WriteFile(path, []byte("rubbish"), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write(tmp)
	write(filepath.Join(folder, "1.root")) // overwritten, not yet removed
	if _, err := r.Get(t.Context(), hsmA, "1"); !errors.Is(err, ErrLocked) {
		t.Errorf("half-destroyed root: %v", err)
	}
	if ids, err := r.List(t.Context(), hsmA); err != nil || !slices.Equal(ids, []string{"1", "2"}) {
		t.Errorf("list: %v, %v", ids, err)
	}
	if err := r.Destroy(t.Context(), hsmA, "1"); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(tmp); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("half-written file after Destroy: %v", err)
	}
	wantRoot(t, r, hsmA, "2", "y")
	write(tmp)
	if err := r.DestroyAll(t.Context(), hsmA); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(folder); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("folder after DestroyAll: %v", err)
	}
}

// A link planted in the folder loses its name only; what it points to stays.
func TestDestroyDoesNotFollowLinks(t *testing.T) {
	t.Parallel()
	r, dir := newRoots(t)
	put(t, r, hsmA, "1", "x")
	target := filepath.Join(t.TempDir(), "precious")
	if err := os.WriteFile(target, []byte("precious"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(target, filepath.Join(dir, hsmA, "2.root")); err != nil {
		t.Fatal(err)
	}
	if err := r.DestroyAll(t.Context(), hsmA); err != nil {
		t.Fatal(err)
	}
	if b, err := os.ReadFile(target); err != nil || string(b) != "precious" {
		t.Errorf("target: %q, %v", b, err)
	}
}

func TestOversizedFileIsRefused(t *testing.T) {
	t.Parallel()
	r, dir := newRoots(t)
	put(t, r, hsmA, "1", "x")
	if err := os.WriteFile(filepath.Join(dir, hsmA, "1.root"), make([]byte, maxRootFile+1), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := r.Get(t.Context(), hsmA, "1"); !errors.Is(err, ErrLocked) {
		t.Error(err)
	}
	if err := r.Put(t.Context(), hsmA, "2", secret.New(make([]byte, maxRootFile))); err == nil {
		t.Error("put of what cannot be read back succeeded")
	}
}
