package bolt_test

import (
	"errors"
	"fmt"
	"sync"
	"testing"
	"time"

	"redoubt/internal/store"
	"redoubt/internal/store/bolt"
)

// reads tells whether the state at rev can be read.
func reads(t testing.TB, s store.Store, rev store.Rev) bool {
	t.Helper()
	_, err := s.Range(t.Context(), store.Query{At: rev})
	if err != nil && !errors.Is(err, store.ErrCompacted) {
		t.Fatal(err)
	}
	return err == nil
}

// TestTrimByAge: an idle store forgets old revisions by itself, and the newest stays readable.
func TestTrimByAge(t *testing.T) {
	t.Parallel()
	s := closing(t, open(t, newPath(t), bolt.Options{Create: true, Retain: time.Millisecond}))
	first := put(t, s, "k", "1")
	last := put(t, s, "k", "2")
	for range s.Watch(t.Context(), "", last) { // its marks are the clock of this test
		if !reads(t, s, first) {
			break
		}
	}
	if !reads(t, s, last) {
		t.Error("the newest revision is gone")
	}
	wantVal(t, s, "k", "2")
}

// TestTrimByCount: a busy store keeps no more revisions than it was told to, except for pins.
func TestTrimByCount(t *testing.T) {
	t.Parallel()
	path := newPath(t)
	s := open(t, path, bolt.Options{Create: true, RetainRevs: 10})
	pin, err := s.Pin(t.Context(), time.Hour)
	if err != nil {
		t.Fatal(err)
	}
	write := func() (last store.Rev) {
		for i := range 300 {
			last = put(t, s, fmt.Sprint("k", i%7), "v")
		}
		return last
	}
	write()
	if !reads(t, s, pin.Rev()) {
		t.Error("a pinned revision is gone")
	}
	if err := pin.Close(); err != nil {
		t.Fatal(err)
	}
	last := write()
	if reads(t, s, pin.Rev()) || !reads(t, s, last-10) {
		t.Errorf("pinned %v, recent %v", reads(t, s, pin.Rev()), reads(t, s, last-10))
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	s = closing(t, open(t, path, bolt.Options{}))
	if reads(t, s, pin.Rev()) || !reads(t, s, last-10) {
		t.Error("the floor did not survive a restart")
	}
}

// TestFileStaysSmall: the same records written over and over do not make the file grow without end.
func TestFileStaysSmall(t *testing.T) {
	t.Parallel()
	s := closing(t, open(t, newPath(t), bolt.Options{Create: true, RetainRevs: 20}))
	val := string(make([]byte, 10_000))
	var wg sync.WaitGroup
	for w := range 8 {
		wg.Go(func() {
			for range 150 {
				if _, err := s.Txn(t.Context(), nil, []store.Op{store.Put(fmt.Sprint("k", w), []byte(val))}); err != nil {
					t.Error(err)
					return
				}
			}
		})
	}
	wg.Wait()
	// Some 280 revisions are kept at any time, of 1,200 written: 12 MB in all.
	if st, err := s.Status(t.Context()); err != nil || st.Bytes > 8<<20 {
		t.Errorf("%d bytes, %v", st.Bytes, err)
	}
}

// FuzzDecodeLog: log entries come from a file; a damaged one is an error.
func FuzzDecodeLog(f *testing.F) {
	f.Add([]byte("12345678\x00\x01a\x03\x02bc"), "")
	f.Add([]byte("12345678\x02\xff\xff\xff\xff\xff\xff\xff\xff\x7fa"), "b")
	f.Add([]byte("1234"), "")
	f.Fuzz(func(t *testing.T, entry []byte, prefix string) {
		n, err := bolt.DecodeLog(entry, prefix)
		if err != nil && n != 0 {
			t.Errorf("%d changes and %v", n, err)
		}
		if all, aerr := bolt.DecodeLog(entry, ""); (aerr == nil) != (err == nil) || all < n {
			t.Errorf("prefix %q: %d, %v; all: %d, %v", prefix, n, err, all, aerr)
		}
	})
}
