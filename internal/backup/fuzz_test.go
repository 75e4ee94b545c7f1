package backup

import (
	"bytes"
	"os"
	"path/filepath"
	"testing"
)

// seeds gives the objects of the golden archive that match pattern.
func seeds(f *testing.F, pattern string) {
	f.Helper()
	paths, err := filepath.Glob(filepath.Join("testdata", "golden-v1", "*", pattern))
	if err != nil || paths == nil {
		f.Fatal("no golden archive", err)
	}
	for _, path := range paths {
		b, err := os.ReadFile(path)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(b)
	}
}

// FuzzManifest: what the parser accepts has exactly one spelling, and keeps to the format's rules.
func FuzzManifest(f *testing.F) {
	seeds(f, ManifestName)
	f.Fuzz(func(t *testing.T, b []byte) {
		m, err := parseManifest(b)
		if err != nil {
			return
		}
		again, err := m.encode()
		if err != nil || !bytes.Equal(again, b) {
			t.Errorf("a second spelling is accepted: %v", err)
		}
		if err := m.check(); err != nil {
			t.Error(err)
		}
	})
}

// FuzzBlock: what the parser accepts is what the writer would write.
func FuzzBlock(f *testing.F) {
	seeds(f, "block-*")
	f.Fuzz(func(t *testing.T, b []byte) {
		p, err := parseBlock(b)
		if err != nil {
			return
		}
		var w blockWriter
		w.start(p.id, int(p.index))
		for _, r := range p.records {
			w.add(r)
		}
		w.finish(int64(p.total), p.last)
		if !bytes.Equal(w.buf, b) {
			t.Error("a second spelling is accepted")
		}
	})
}
