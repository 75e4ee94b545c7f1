package seal

import (
	"bytes"
	"encoding/binary"
	"errors"
	"testing"

	"redoubt/internal/secret"
)

// FuzzHeader: never panics; what it reads are the bytes that are there.
func FuzzHeader(f *testing.F) {
	r := fixedRoot(f)
	f.Add(r.Seal(someContent, []byte("x")))
	f.Add(r.Seal(someLocal, nil))
	f.Add([]byte(recordMagic))
	f.Fuzz(func(t *testing.T, b []byte) {
		h, err := Header(b)
		if err != nil {
			if !errors.Is(err, ErrFormat) || h != (HeaderInfo{}) {
				t.Fatalf("%+v, %v", h, err)
			}
			return
		}
		want := append([]byte(recordMagic), byte(h.Kind))
		want = binary.BigEndian.AppendUint32(want, h.Epoch)
		want = binary.BigEndian.AppendUint64(want, h.Version)
		if len(b) < Overhead || !bytes.HasPrefix(b, want) || !h.Kind.valid() {
			t.Fatalf("%x read as %+v", b, h)
		}
	})
}

// FuzzOpen: nothing but what this root sealed opens, under whatever reference.
func FuzzOpen(f *testing.F) {
	r := NewRoot(7)
	good := r.Seal(someContent, []byte("x"))
	f.Add(uint8(someContent.Kind), someContent.Name, someContent.Version, "", good)
	f.Add(uint8(KindJob), "x", uint64(0), "y", good)
	f.Fuzz(func(t *testing.T, kind uint8, name string, version uint64, local string, b []byte) {
		ref := Ref{Kind(kind), name, version, local}
		if _, err := r.Open(ref, b); err == nil && (ref != someContent || !bytes.Equal(b[:headerSize], good[:headerSize])) {
			t.Fatalf("%+v opened %x", ref, b)
		}
	})
}

// FuzzImport: what is accepted is written back the same.
func FuzzImport(f *testing.F) {
	f.Add(fixedRoot(f).Export().Expose())
	f.Add([]byte(rootMagic))
	f.Fuzz(func(t *testing.T, b []byte) {
		r, err := Import(secret.New(b))
		if err != nil {
			if !errors.Is(err, ErrBadRoot) {
				t.Fatal(err)
			}
			return
		}
		if !bytes.Equal(r.Export().Expose(), b) {
			t.Fatal("accepted, but written differently")
		}
	})
}
