package audit

import (
	"errors"
	"io"
	"path/filepath"
	"testing"
)

func headAt(t *testing.T, files []string, seq uint64) string {
	t.Helper()
	r, err := NewReader(files[0], Position{})
	noErr(t, err)
	defer r.Close()
	for {
		ln, err := r.Next()
		noErr(t, err)
		if ln.Head.Seq == seq {
			return ln.Head.Hash
		}
	}
}

// A Reader goes on over rotations, from any position, and tells a chain that is another one.
func TestReader(t *testing.T) {
	t.Parallel()
	base := filepath.Join(t.TempDir(), "a.jsonl")
	r, err := NewReader(base, Position{})
	noErr(t, err)
	defer r.Close()
	if _, err := r.Next(); !errors.Is(err, io.EOF) {
		t.Errorf("before there is a file: %v", err)
	}
	l := rotating(t, base, 0)
	positions := []Position{{}}
	for i := 1; i <= 12; i++ {
		feed(t, l, i, i)
		for {
			ln, err := r.Next()
			if errors.Is(err, io.EOF) {
				break
			}
			noErr(t, err)
			positions = append(positions, r.Position())
			if ln.Head.Seq != uint64(len(positions)-1) {
				t.Fatalf("line %d after %d", ln.Head.Seq, len(positions)-2)
			}
		}
		if r.Position().Head() != l.Head() {
			t.Fatalf("after entry %d the reader is at %s", i, r.Position().Head())
		}
	}
	for i, p := range positions {
		from, err := NewReader(base, p)
		noErr(t, err)
		n := 0
		for ; ; n++ {
			if _, err := from.Next(); errors.Is(err, io.EOF) {
				break
			} else {
				noErr(t, err)
			}
		}
		if n != len(positions)-1-i {
			t.Errorf("%d lines behind line %d", n, i)
		}
		noErr(t, from.Close())
	}
	bad := positions[3]
	bad.Hash = zeroHash
	for name, p := range map[string]Position{"another hash": bad, "no such file": {File: "b.jsonl", Offset: 5, Seq: 1, Hash: zeroHash}, "a path": {File: "../a.jsonl", Seq: 1}, "behind the end": {File: "a.jsonl", Offset: 1 << 20, Seq: 1}} {
		if _, err := NewReader(base, p); !errors.Is(err, ErrBroken) {
			t.Errorf("%s: %v", name, err)
		}
	}
}
