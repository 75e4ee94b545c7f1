package audit

import (
	"errors"
	"os"
	"path/filepath"
	"slices"
	"testing"
)

// faultyDisk fails its nth operation, done or not done, and every one after it: the process is about to die.
type faultyDisk struct {
	n      int
	stored bool
	dead   bool
}

var errFault = errors.New("fault")

func (d *faultyDisk) step(do func() error) error {
	if d.dead {
		return errFault
	}
	d.n--
	if d.n != 0 {
		return do()
	}
	d.dead = true
	if d.stored {
		if err := do(); err != nil {
			return err
		}
	}
	return errFault
}

func (d *faultyDisk) open(path string) (f File, err error) {
	err = d.step(func() error { f, err = osDisk{}.open(path); return err })
	if err != nil {
		return nil, err
	}
	return &faultyFile{f, d}, nil
}

func (d *faultyDisk) create(path string, b []byte) error {
	return d.step(func() error { return osDisk{}.create(path, b) })
}

func (d *faultyDisk) remove(path string) error {
	return d.step(func() error { return osDisk{}.remove(path) })
}

type faultyFile struct {
	File
	d *faultyDisk
}

func (f *faultyFile) WriteAt(b []byte, at int64) (n int, err error) {
	err = f.d.step(func() error { n, err = f.File.WriteAt(b, at); return err })
	return n, err
}

func (f *faultyFile) Sync() error { return f.d.step(func() error { return nil }) }

func (f *faultyFile) Truncate(size int64) error {
	return f.d.step(func() error { return f.File.Truncate(size) })
}

// A crash at every step of writing, rotating and removing loses no entry that was acknowledged, and what is left goes on.
func TestCrashWhileRotating(t *testing.T) {
	t.Parallel()
	for _, stored := range []bool{false, true} {
		for n := 1; ; n++ {
			base := filepath.Join(t.TempDir(), "a.jsonl")
			d := &faultyDisk{n: n, stored: stored}
			acknowledged := 0
			l, err := openOn(d, base, Options{RotateSize: 3000, Keep: 1})
			for i := 1; i <= 12 && err == nil; i++ {
				if err = l.Append([]Entry{entry(i)}, true); err != nil {
					break
				}
				acknowledged = i
				if l.Due() {
					if err = l.Rotate(newSigner(1)); err == nil {
						err = retain(l)
					}
				}
			}
			again, oerr := OpenWith(base, Options{RotateSize: 3000, Keep: 1})
			noErr(t, oerr)
			feed(t, again, max(1, acknowledged), 14) // the outbox still has what was not acknowledged
			head := again.Head()
			noErr(t, again.Close())
			rep, ids, verr := verifyAll(paths(t, base), Expect{Head: head.String()})
			if verr != nil || !slices.Equal(ids, wantIDs(15-len(ids), 14)) || rep.From.Seq == 0 && len(ids) != 14 {
				t.Fatalf("crash at step %d, stored %t: %v, entries %v", n, stored, verr, ids)
			}
			if !d.dead {
				break
			}
		}
	}
}

// A rotation that fails, done or not, is none; the log goes on in the old file, also when the rest of the disk works.
func TestFailedRotation(t *testing.T) {
	t.Parallel()
	for _, stored := range []bool{false, true} {
		for n := 1; n <= 6; n++ {
			base := filepath.Join(t.TempDir(), "a.jsonl")
			d := &faultyDisk{}
			l, err := openOn(d, base, Options{RotateSize: 3000})
			noErr(t, err)
			noErr(t, l.Append([]Entry{entry(1), entry(2), entry(3)}, true))
			d.n, d.stored = n, stored
			rerr := l.Rotate(newSigner(1))
			if (rerr != nil) != d.dead {
				t.Errorf("step %d: %v", n, rerr)
			}
			if d.dead { // nothing may be written while the new file may be there
				if err := l.Append([]Entry{entry(4)}, true); err == nil {
					t.Errorf("step %d: written on a dead disk", n)
				}
			}
			d.dead, d.n = false, 0
			noErr(t, l.Append([]Entry{entry(4)}, true))
			head := l.Head()
			noErr(t, l.Close())
			if _, ids, err := verifyAll(paths(t, base), Expect{Head: head.String()}); err != nil || !slices.Equal(ids, wantIDs(1, 4)) {
				t.Errorf("step %d, stored %t: %v, %v", n, stored, err, ids)
			}
		}
	}
}

// A file that was exchanged while the log was closed.
func TestOpenNoticesMissingFiles(t *testing.T) {
	t.Parallel()
	base := filepath.Join(t.TempDir(), "a.jsonl")
	l := rotating(t, base, 0)
	feed(t, l, 1, 14)
	head := l.Head()
	noErr(t, l.Close())
	files := paths(t, base)
	last := files[len(files)-1]
	aside := filepath.Join(t.TempDir(), "aside")
	noErr(t, os.Rename(files[len(files)-2], aside))
	if _, err := OpenWith(base, Options{}); !errors.Is(err, ErrBroken) {
		t.Errorf("without the file before the last: %v", err)
	}
	noErr(t, os.Rename(aside, files[len(files)-2]))
	noErr(t, os.Rename(last, aside))
	l = rotating(t, base, 0)
	if held, err := l.Holds(head); err != nil || held {
		t.Errorf("without the last file the head is held: %t, %v", held, err)
	}
	noErr(t, l.Close())
	noErr(t, os.Rename(aside, last))
	l = rotating(t, base, 0)
	for _, at := range []Head{head, {Seq: 2, Hash: headAt(t, files, 2)}} {
		if held, err := l.Holds(at); err != nil || !held {
			t.Errorf("%s is not held: %v", at, err)
		}
	}
	if held, err := l.Holds(Head{Seq: 2, Hash: zeroHash}); err != nil || held {
		t.Errorf("another chain's head is held: %v", err)
	}
	noErr(t, l.Close())

	// A chain of somebody's own making that begins behind the head, as if retention had removed what was before.
	other := filepath.Join(t.TempDir(), "a.jsonl")
	l = rotating(t, other, 1)
	feed(t, l, 1, 40)
	noErr(t, l.Close())
	for _, f := range files {
		noErr(t, os.Remove(f))
	}
	for _, f := range paths(t, other) {
		noErr(t, os.Rename(f, filepath.Join(filepath.Dir(base), filepath.Base(f))))
	}
	l = rotating(t, base, 0)
	if held, err := l.Holds(head); err != nil || held || l.Head().Seq <= head.Seq {
		t.Errorf("a chain that begins behind the head holds it: %t, %v", held, err)
	}
}
