package audit

import (
	"bytes"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// spoil changes a file.
func spoil(t *testing.T, path string, how func([]byte) []byte) {
	t.Helper()
	b, err := os.ReadFile(path)
	noErr(t, err)
	noErr(t, os.WriteFile(path, how(b), 0o600))
}

// lineOf is where the nth line of a file begins, from 0.
func lineOf(b []byte, n int) int {
	at := 0
	for range n {
		at += bytes.IndexByte(b[at:], '\n') + 1
	}
	return at
}

func zeroedLine(n int) func([]byte) []byte {
	return func(b []byte) []byte {
		for i := lineOf(b, n); b[i] != '\n'; i++ {
			b[i] = 0
		}
		return b
	}
}

func editedLine(n int) func([]byte) []byte {
	return func(b []byte) []byte {
		at := lineOf(b, n)
		copy(b[at:], bytes.Replace(b[at:], []byte("KeySign"), []byte("KeyGet_"), 1))
		return b
	}
}

// A damaged last file is cut before its first bad line; all that was taken off is kept, and nothing but OpenCut opens the chain
// until an entry says so.
func TestCut(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		rotate bool
		how    func([]byte) []byte
		line   int // of the last file, from 0
	}{
		"a hole":                            {false, zeroedLine(2), 2},
		"an edited line":                    {false, editedLine(3), 3},
		"the first line":                    {false, zeroedLine(0), 0},
		"a line that is not ours":           {false, func(b []byte) []byte { return append(b, "{}\n"...) }, 5},
		"a hole in a later file":            {true, zeroedLine(1), 1},
		"a later file's first line":         {true, zeroedLine(0), 0},
		"a later file's first line, edited": {true, func(b []byte) []byte { return bytes.Replace(b, []byte(`"checkpoint":{`), []byte(`"checkpoinT":{`), 1) }, 0},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			base := filepath.Join(t.TempDir(), "a.jsonl")
			l, err := OpenWith(base, Options{})
			noErr(t, err)
			for i := 1; i <= 5; i++ {
				noErr(t, l.Append([]Entry{entry(i)}, false))
				if c.rotate && (i == 2 || i == 4) {
					noErr(t, l.Rotate(newSigner(1)))
				}
			}
			noErr(t, l.Close())
			files := paths(t, base)
			last := files[len(files)-1]
			_, first := Base(last)
			spoil(t, last, c.how)
			bad, err := os.ReadFile(last)
			noErr(t, err)
			from := lineOf(bad, c.line)

			if _, err := OpenWith(base, Options{}); !errors.Is(err, ErrBroken) {
				t.Fatalf("opened: %v", err)
			}
			l, err = OpenCut(base, Options{})
			noErr(t, err)
			cut := l.Cut()
			if cut == nil || cut.Line != first+uint64(c.line) || cut.Bytes != int64(len(bad)-from) || l.Head().Seq != cut.Line-1 {
				t.Fatalf("%+v, head %s", cut, l.Head())
			}
			if kept, err := os.ReadFile(cut.File); err != nil || !bytes.Equal(kept, bad[from:]) {
				t.Errorf("kept: %v, %q", err, kept)
			}
			noErr(t, l.Close()) // as a crash before the entry does
			if _, err := OpenWith(base, Options{}); !errors.Is(err, ErrBroken) || !strings.Contains(err.Error(), "was cut before line "+strconv.FormatUint(cut.Line, 10)) {
				t.Errorf("without an entry: %v", err)
			}
			l, err = OpenCut(base, Options{})
			noErr(t, err)
			if again := l.Cut(); again == nil || *again != *cut {
				t.Errorf("again: %+v", again)
			}
			noErr(t, l.Append([]Entry{entry(100)}, true))
			noErr(t, l.Close())

			l, err = OpenCut(base, Options{})
			noErr(t, err)
			if l.Cut() != nil {
				t.Errorf("with an entry: %+v", l.Cut())
			}
			noErr(t, l.Close())
			l, err = OpenWith(base, Options{})
			noErr(t, err)
			noErr(t, l.Append([]Entry{entry(101)}, true))
			noErr(t, l.Rotate(newSigner(1)))
			noErr(t, l.Close())
			if _, ids, err := verifyAll(paths(t, base), Expect{}); err != nil || !slices.Contains(ids, entry(100).ID) {
				t.Errorf("the chain: %v, %v", ids, err)
			}
		})
	}
}

// A crash between the copy and the cut leaves the damage and the copy; a copy of other bytes is never replaced.
func TestCutAfterACrash(t *testing.T) {
	t.Parallel()
	for _, same := range []bool{true, false} {
		base := filepath.Join(t.TempDir(), "a.jsonl")
		l, err := Open(base)
		noErr(t, err)
		feed(t, l, 1, 3)
		noErr(t, l.Close())
		spoil(t, base, zeroedLine(1))
		bad, err := os.ReadFile(base)
		noErr(t, err)
		kept := bad[lineOf(bad, 1):]
		if !same {
			kept = append([]byte("x"), kept[1:]...)
		}
		noErr(t, os.WriteFile(cutPath(base, 2), kept, 0o600))
		l, err = OpenCut(base, Options{})
		if same {
			noErr(t, err)
			if l.Cut() == nil || l.Head().Seq != 1 {
				t.Errorf("%+v, %s", l.Cut(), l.Head())
			}
			noErr(t, l.Close())
			continue
		}
		now, rerr := os.ReadFile(base)
		if err == nil || !strings.Contains(err.Error(), "move it away") || rerr != nil || !bytes.Equal(now, bad) {
			t.Errorf("%v, %v", err, rerr)
		}
	}
}

// What is not the end of the last file is not cut.
func TestNothingElseIsCut(t *testing.T) {
	t.Parallel()
	whole := func(b []byte) []byte { return b }
	for name, c := range map[string]struct {
		file int
		how  func([]byte) []byte
		ok   bool
	}{
		"sound":                     {1, whole, true},
		"a line that was begun":     {1, func(b []byte) []byte { return append(b, `{"seq":`...) }, true},
		"the end of an earlier one": {0, func(b []byte) []byte { return b[:len(b)-5] }, false},
		"the last is another's":     {1, func([]byte) []byte { return []byte(`{"seq":90,"prev":"` + zeroHash + `"}` + "\n") }, false},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			dir := t.TempDir()
			base := filepath.Join(dir, "a.jsonl")
			l, err := OpenWith(base, Options{})
			noErr(t, err)
			noErr(t, l.Append([]Entry{entry(1)}, false))
			noErr(t, l.Rotate(newSigner(1)))
			noErr(t, l.Append([]Entry{entry(2)}, false))
			noErr(t, l.Close())
			spoil(t, paths(t, base)[c.file], c.how)
			l, err = OpenCut(base, Options{})
			if c.ok {
				noErr(t, err)
				if l.Cut() != nil {
					t.Errorf("%+v", l.Cut())
				}
				noErr(t, l.Close())
			} else if !errors.Is(err, ErrBroken) {
				t.Errorf("opened: %v", err)
			}
			if copies, err := fs.Glob(os.DirFS(dir), "*.cut-*"); err != nil || len(copies) != 0 {
				t.Errorf("%v, %v", copies, err)
			}
		})
	}
}
