package bolt_test

import (
	"encoding/binary"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	bbolt "go.etcd.io/bbolt"

	"redoubt/internal/store/bolt"
)

// wantOpenErr opens path and wants an error of the kind want that names the file.
func wantOpenErr(t *testing.T, path string, o bolt.Options, want error) {
	t.Helper()
	s, err := bolt.Open(path, o)
	if err == nil {
		t.Fatalf("opened; close: %v", s.Close())
	}
	if !errors.Is(err, want) || !strings.Contains(err.Error(), path) {
		t.Fatalf("got %v, want %v naming %s", err, want, path)
	}
}

func TestOpenMissing(t *testing.T) {
	t.Parallel()
	path := newPath(t)
	wantOpenErr(t, path, bolt.Options{}, fs.ErrNotExist)
	if _, err := os.Stat(path); !errors.Is(err, fs.ErrNotExist) {
		t.Fatalf("opening made a file: %v", err)
	}
	wantOpenErr(t, filepath.Join(path, "deeper"), bolt.Options{Create: true}, fs.ErrNotExist)
	wantOpenErr(t, filepath.Dir(path), bolt.Options{Create: true}, bolt.ErrFormat)
}

func TestCreate(t *testing.T) {
	t.Parallel()
	path := newPath(t)
	s := open(t, path, bolt.Options{Create: true})
	put(t, s, "k", "v")
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	s = closing(t, open(t, path, bolt.Options{Create: true})) // and never anew
	wantVal(t, s, "k", "v")
	info, err := os.Stat(path)
	if err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("mode %v, %v", info.Mode(), err)
	}
	names, err := os.ReadDir(filepath.Dir(path))
	if err != nil || len(names) != 1 {
		t.Errorf("left behind: %v, %v", names, err)
	}
}

func TestOpenInUse(t *testing.T) {
	t.Parallel()
	path := newPath(t)
	s := closing(t, open(t, path, bolt.Options{Create: true}))
	wantOpenErr(t, path, bolt.Options{LockWait: 1}, bolt.ErrInUse)
	put(t, s, "k", "v")
}

func TestOpenForeign(t *testing.T) {
	t.Parallel()
	path := newPath(t)
	write := func(b []byte) {
		t.Helper()
		if err := os.WriteFile(path, b, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write(nil)
	wantOpenErr(t, path, bolt.Options{Create: true}, bolt.ErrFormat)
	write([]byte("not a database"))
	wantOpenErr(t, path, bolt.Options{}, bolt.ErrFormat)
	write(make([]byte, 1<<16))
	wantOpenErr(t, path, bolt.Options{}, bolt.ErrFormat)

	engine := func(fn func(tx *bbolt.Tx) error) {
		t.Helper()
		db, err := bbolt.Open(path, 0o600, nil)
		if err != nil {
			t.Fatal(err)
		}
		if err := errors.Join(db.Update(fn), db.Close()); err != nil {
			t.Fatal(err)
		}
	}
	remove := func() {
		t.Helper()
		if err := os.Remove(path); err != nil {
			t.Fatal(err)
		}
	}
	remove()
	engine(func(tx *bbolt.Tx) error { _, err := tx.CreateBucket([]byte("foreign")); return err })
	wantOpenErr(t, path, bolt.Options{}, bolt.ErrFormat)
	remove()
	if err := open(t, path, bolt.Options{Create: true}).Close(); err != nil {
		t.Fatal(err)
	}
	engine(func(tx *bbolt.Tx) error {
		return tx.Bucket([]byte("meta")).Put([]byte("format"), binary.BigEndian.AppendUint32(nil, 2))
	})
	wantOpenErr(t, path, bolt.Options{}, bolt.ErrFormat)
}

// TestOpenCut: a file that lost its end is an error and never a crash or a smaller store.
func TestOpenCut(t *testing.T) {
	t.Parallel()
	path := newPath(t)
	s := open(t, path, bolt.Options{Create: true})
	for i := range 26 {
		put(t, s, string(rune('a'+i)), strings.Repeat("x", 5000))
	}
	for range 10 {
		put(t, s, "a", strings.Repeat("x", 5000))
	}
	if _, err := s.Compact(t.Context(), 1<<40); err != nil {
		t.Fatal(err)
	}
	for range 5 { // in freed pages, so that the last thing written is not at the end of the file
		put(t, s, "a", "x")
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	whole, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	opened := 0
	for size := len(whole) - 4096; size > 0; size -= 4096 {
		cut := filepath.Join(t.TempDir(), "cut")
		if err := os.WriteFile(cut, whole[:size], 0o600); err != nil {
			t.Fatal(err)
		}
		s, err := bolt.Open(cut, bolt.Options{})
		if err != nil {
			continue
		}
		// The engine grows its file in steps: only the unused end may be missing.
		opened++
		if n := len(all(t, s, "")); n != 26 {
			t.Errorf("cut to %d: %d records", size, n)
		}
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
	}
	if all := len(whole)/4096 - 1; opened == all {
		t.Errorf("all %d cuts opened", all)
	}
}
