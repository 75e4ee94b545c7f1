package audit

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
)

// rotating opens a chain whose files are full after a few entries.
func rotating(t testing.TB, path string, keep int) *Log {
	t.Helper()
	l, err := OpenWith(path, Options{RotateSize: 3000, Keep: keep})
	noErr(t, err)
	t.Cleanup(func() { l.Close() })
	return l
}

// feed appends entries from..to, one at a time, and rotates as the owner of a log does.
func feed(t testing.TB, l *Log, from, to int) {
	t.Helper()
	for i := from; i <= to; i++ {
		noErr(t, l.Append([]Entry{entry(i)}, false))
		if l.Due() {
			noErr(t, l.Rotate(newSigner(1)))
			noErr(t, retain(l))
		}
	}
}

// retain does what the owner of a log does after a rotation.
func retain(l *Log) error {
	r, ok, err := l.Excess()
	if err != nil || !ok {
		return err
	}
	if err := l.Append([]Entry{{ID: "removed-" + r.Through.String(), Operation: FilesRemoved, Result: "Success", Time: time.Unix(1e9, 0).UTC(), Details: r.Details()}}, true); err != nil {
		return err
	}
	return l.Remove(r)
}

func paths(t testing.TB, base string) (out []string) {
	t.Helper()
	files, err := Segments(base)
	noErr(t, err)
	for _, f := range files {
		out = append(out, f.Path)
	}
	return out
}

func verifyAll(files []string, want Expect) (Report, []string, error) {
	var ids []string
	rep, err := VerifyFiles(files, want, func(e Entry) error {
		if e.Operation != FilesRemoved {
			ids = append(ids, e.ID)
		}
		return nil
	})
	return rep, ids, err
}

func wantIDs(from, to int) (out []string) {
	for i := from; i <= to; i++ {
		out = append(out, entry(i).ID)
	}
	return out
}

// The chain goes on across files, each of which is signed to its end, and across restarts.
func TestRotation(t *testing.T) {
	t.Parallel()
	base := filepath.Join(t.TempDir(), "a.jsonl")
	l := rotating(t, base, 0)
	feed(t, l, 1, 10)
	noErr(t, l.Close())
	l = rotating(t, base, 0)
	feed(t, l, 10, 20) // the tenth is there already
	head := l.Head()
	noErr(t, l.Close())
	files := paths(t, base)
	if len(files) < 5 || files[0] != base {
		t.Fatalf("files: %v", files)
	}
	slices.Reverse(files) // in whatever order they are named
	rep, ids, err := verifyAll(files, Expect{Head: head.String()})
	if err != nil || !slices.Equal(ids, wantIDs(1, 20)) || rep.From.Seq != 0 || len(rep.Files) != len(files) || rep.Checkpoints != 2*(len(files)-1) {
		t.Errorf("%v: %d entries, %+v", err, len(ids), rep)
	}
	for i, f := range rep.Files {
		if i > 0 && f.First != rep.Files[i-1].Last+1 {
			t.Errorf("%s begins with line %d", f.Path, f.First)
		}
	}
}

func TestRotationByAge(t *testing.T) {
	t.Parallel()
	l, err := OpenWith(filepath.Join(t.TempDir(), "a.jsonl"), Options{RotateAge: time.Hour})
	noErr(t, err)
	defer l.Close()
	at := entry(1).Time
	for i, step := range []time.Duration{0, 59 * time.Minute, -time.Hour, 2 * time.Hour} {
		at = at.Add(step)
		e := entry(i)
		e.Time = at
		noErr(t, l.Append([]Entry{e}, false))
		if l.Due() != (i == 3) {
			t.Errorf("after entry %d: due is %t", i, l.Due())
		}
	}
	noErr(t, l.Rotate(newSigner(1)))
	if l.Due() {
		t.Error("a fresh file is full")
	}
}

// Retention says in the chain what it removes. Without that, or with more removed, the beginning is missing.
func TestRetention(t *testing.T) {
	t.Parallel()
	base := filepath.Join(t.TempDir(), "a.jsonl")
	l := rotating(t, base, 2)
	feed(t, l, 1, 30)
	noErr(t, l.Close())
	files := paths(t, base)
	if len(files) != 3 {
		t.Fatalf("files: %v", files)
	}
	rep, ids, err := verifyAll(files, Expect{})
	if err != nil || rep.From.Seq == 0 || !rep.FromSigned || !rep.FromEntry || !slices.Equal(ids, wantIDs(31-len(ids), 30)) {
		t.Errorf("%v: %+v, %v", err, rep, ids)
	}
	if _, _, err := verifyAll(files[1:], Expect{}); !errors.Is(err, ErrBroken) || !strings.Contains(err.Error(), "are missing") {
		t.Errorf("one more removed: %v", err)
	}
	at, err := segmentStart(files[1])
	noErr(t, err)
	if rep, _, err := verifyAll(files[1:], Expect{From: at.String()}); err != nil || rep.From != at {
		t.Errorf("against the head of the removed files: %v", err)
	}
	if _, _, err := verifyAll(files, Expect{From: at.String()}); !errors.Is(err, ErrBroken) {
		t.Errorf("against another beginning: %v", err)
	}
	l = rotating(t, base, 2) // and it opens without its first file
	feed(t, l, 31, 40)
	if held, err := l.Holds(rep.From); err != nil || held { // or a made-up chain that begins there would do
		t.Errorf("a head that was removed is held: %t, %v", held, err)
	}
}

// Nothing that somebody still has to read is removed.
func TestRetentionWaits(t *testing.T) {
	t.Parallel()
	base := filepath.Join(t.TempDir(), "a.jsonl")
	read := uint64(0)
	l, err := OpenWith(base, Options{RotateSize: 3000, Keep: 1, Needed: func(_ string, last uint64) bool { return last > read }})
	noErr(t, err)
	defer l.Close()
	feed(t, l, 1, 20)
	if n := len(paths(t, base)); n < 6 {
		t.Errorf("%d files", n)
	}
	read = l.Head().Seq
	noErr(t, retain(l))
	if files := paths(t, base); len(files) != 2 {
		t.Errorf("files: %v", files)
	}
}

// Every kind of damage at every line of a rotated chain shows, offline; what is cut off the end shows against a head.
func TestEveryDamageAtEveryLineShows(t *testing.T) {
	t.Parallel()
	base := filepath.Join(t.TempDir(), "a.jsonl")
	l := rotating(t, base, 0)
	feed(t, l, 1, 12)
	noErr(t, l.Checkpoint(newSigner(1)))
	head := l.Head().String()
	noErr(t, l.Close())
	files := paths(t, base)
	content := make([][][]byte, len(files))
	for i, f := range files {
		b, err := os.ReadFile(f)
		noErr(t, err)
		lines := bytes.SplitAfter(b, []byte("\n"))
		content[i] = lines[:len(lines)-1]
	}
	dir := t.TempDir()
	check := func(name string, changed [][][]byte) {
		var at []string
		for i, lines := range changed {
			p := filepath.Join(dir, filepath.Base(files[i]))
			noErr(t, os.WriteFile(p, bytes.Join(lines, nil), 0o600))
			at = append(at, p)
		}
		if _, _, err := verifyAll(at, Expect{Head: head}); !errors.Is(err, ErrBroken) {
			t.Errorf("%s: %v", name, err)
		}
	}
	clone := func() [][][]byte {
		out := make([][][]byte, len(content))
		for i := range content {
			out[i] = slices.Clone(content[i])
		}
		return out
	}
	for i := range content {
		for j := range content[i] {
			where := fmt.Sprintf("line %d of file %d", j+1, i+1)
			c := clone()
			c[i] = slices.Delete(c[i], j, j+1)
			check(where+" removed", c)
			c = clone()
			c[i] = slices.Insert(c[i], j, c[i][j])
			check(where+" doubled", c)
			c = clone()
			c[i] = c[i][:j]
			check(where+" and those behind it in the file removed", c)
			for k := range c[i+1:] {
				c[i+1+k] = nil
			}
			check(where+" and all behind it removed", c)
			if j > 0 {
				c = clone()
				c[i][j], c[i][j-1] = c[i][j-1], c[i][j]
				check(where+" and the one before swapped", c)
			}
			c = clone()
			digit := bytes.Clone(c[i][j])
			digit[len(digit)/2] ^= 1
			c[i][j] = digit
			check(where+" changed", c)
			c = clone()
			c[i][j] = c[i][j][:len(c[i][j])-3]
			check(where+" cut", c)
			c = clone()
			c[i] = slices.Insert(c[i], j, []byte("\n"))
			check(where+" behind an empty line", c)
		}
	}
	for i := range files {
		rest := slices.Delete(slices.Clone(files), i, i+1)
		if _, _, err := verifyAll(rest, Expect{Head: head}); !errors.Is(err, ErrBroken) {
			t.Errorf("without file %d: %v", i+1, err)
		}
	}
	if _, _, err := verifyAll(append(slices.Clone(files), files[1]), Expect{Head: head}); !errors.Is(err, ErrBroken) {
		t.Errorf("with a file twice: %v", err)
	}
}

// The clock set back: the order stays, the time is what it was, and it shows.
func TestClockSetBack(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "a.jsonl")
	l := openLog(t, path)
	for i := 1; i <= 5; i++ {
		e := entry(i)
		if i >= 4 {
			e.Time = e.Time.Add(-time.Hour)
		}
		noErr(t, l.Append([]Entry{e}, false))
	}
	noErr(t, l.Close())
	rep, ids, err := verifyAll([]string{path}, Expect{})
	if err != nil || rep.BackSteps != 1 || rep.FirstBack != 4 || !slices.Equal(ids, wantIDs(1, 5)) {
		t.Errorf("%v: %+v", err, rep)
	}
}

// The time is found without decoding an entry, whatever else is in it.
func TestTimeIn(t *testing.T) {
	t.Parallel()
	e := entry(5)
	e.Resource.Tenant, e.UPN = `"time":"2001-01-01T00:00:00Z"`, `x","time":"2002-01-01T00:00:00Z`
	if got := timeIn(e.Append(nil)); !got.Equal(e.Time) {
		t.Errorf("%s; want %s", got, e.Time)
	}
	if got := timeIn([]byte(`{"id":"x"}`)); !got.IsZero() {
		t.Errorf("%s", got)
	}
}
