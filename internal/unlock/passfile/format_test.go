package passfile

import (
	"bytes"
	"encoding/hex"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"redoubt/internal/unlock"
)

// A blob made when the format was, with the default cost. It opens for ever.
func TestGoldenBlob(t *testing.T) {
	t.Parallel()
	text, err := os.ReadFile(filepath.Join("testdata", "golden.hex"))
	if err != nil {
		t.Fatal(err)
	}
	blob, err := hex.DecodeString(strings.TrimSpace(string(text)))
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(t.TempDir(), "p")
	write(t, path, "a golden passphrase\n")
	d, err := New(path, "")
	if err != nil {
		t.Fatal(err)
	}
	s, err := d.Open(t.Context(), blob, []byte("golden aad"))
	if err != nil || string(s.Expose()) != "golden root" {
		t.Errorf("%q, %v", s.Expose(), err)
	}
	if p, _, err := parse(blob); err != nil || p.cost != defaultCost {
		t.Errorf("cost %+v, %v", p.cost, err)
	}
}

func TestParseBounds(t *testing.T) {
	t.Parallel()
	body := make([]byte, overhead)
	for name, c := range map[string]struct {
		cost
		ok bool
	}{
		"default": {defaultCost, true}, "least": {cost{1, 8, 1}, true}, "most": {cost{maxTime, maxMemory, maxThreads}, true},
		"no passes": {cost{0, 64, 1}, false}, "too many passes": {cost{maxTime + 1, 64, 1}, false}, "all passes": {cost{1<<32 - 1, 64, 1}, false},
		"no lanes": {cost{1, 64, 0}, false}, "too many lanes": {cost{1, 1024, maxThreads + 1}, false},
		"too little memory": {cost{1, 31, 4}, false}, "too much memory": {cost{1, maxMemory + 1, 4}, false}, "all memory": {cost{1, 1<<32 - 1, 4}, false},
	} {
		p, rest, err := parse(append(params{cost: c.cost}.header(), body...))
		if c.ok != (err == nil) || c.ok && (p.cost != c.cost || len(rest) != overhead) || !c.ok && !errors.Is(err, errFormat) {
			t.Errorf("%s: %+v, %v", name, p, err)
		}
	}
	d, _ := testOnlyCheap(t) // and nothing is derived for them
	huge := append(params{cost: cost{1, 1<<32 - 1, 4}}.header(), body...)
	if _, err := d.Open(t.Context(), huge, nil); !errors.Is(err, unlock.ErrLocked) || len(d.keys) != 0 {
		t.Errorf("huge memory: %v", err)
	}
}

// FuzzParse: never panics, stays within bounds, and has one encoding of everything it accepts.
func FuzzParse(f *testing.F) {
	f.Add(append(params{cost: defaultCost}.header(), make([]byte, overhead+4)...))
	f.Add([]byte(magic))
	f.Fuzz(func(t *testing.T, b []byte) {
		p, rest, err := parse(b)
		if err != nil {
			if !errors.Is(err, errFormat) {
				t.Fatal(err)
			}
			return
		}
		if err := p.check(); err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(append(p.header(), rest...), b) {
			t.Fatal("accepted, but written differently")
		}
	})
}
