package audit

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strconv"
	"time"

	"redoubt/internal/durable"
)

// Options say when a chain goes on in another file, and how many of them are kept. The zero value is one file for ever.
type Options struct {
	RotateSize int64         // bytes from which on a file is full; 0: whatever its size
	RotateAge  time.Duration // between the first and the last entry of a file; 0: whatever its age
	Keep       int           // full files that are kept beside the one being written; 0: all
	// Needed tells whether somebody still has to read lines up to last, so that their file stays; nil: nobody.
	Needed func(base string, last uint64) bool
}

// FilesRemoved is the operation of the entry that says that retention removes files, before they are removed.
const (
	FilesRemoved  = "AuditFilesRemoved"
	detailThrough = "through"
)

// disk is how a Log reaches its files; tests have others.
type disk interface {
	open(path string) (File, error)           // made when it is not there
	create(path string, content []byte) error // whole and durable, or not there; fails when it is there
	remove(path string) error                 // durable
}

type osDisk struct{}

func (osDisk) open(path string) (File, error) { return os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o600) }

func (osDisk) create(path string, content []byte) error {
	return durable.CreateExclusive(path, content, 0o600)
}

func (osDisk) remove(path string) error { return durable.Remove(path) }

// follow sets the log on the head before the last of files, which the file before it must end with, and remembers the
// ids in that one.
func (l *Log) follow(files []Segment) error {
	last := files[len(files)-1]
	if last.First == 1 {
		return nil
	}
	from, err := segmentStart(last.Path)
	if errors.Is(err, ErrBroken) {
		err = &damage{last.Path, 0, last.First, err}
	}
	if err != nil {
		return err
	}
	if from.Seq+1 != last.First {
		return fmt.Errorf("%w: the file begins with line %d", ErrBroken, from.Seq+1)
	}
	l.head = from
	if len(files) == 1 {
		return nil // the one before was removed
	}
	lines, whole, err := tail(files[len(files)-2].Path, 32<<20)
	if err != nil {
		return err
	}
	if len(lines) == 0 || !whole {
		return fmt.Errorf("%w: the file before it, %s, has no whole last line", ErrBroken, files[len(files)-2].Path)
	}
	for i, raw := range lines {
		before, _ := startOf(raw)
		ln, err := parseLine(raw, before)
		if err == nil && i == len(lines)-1 && (Head{ln.Seq, ln.Hash}) != from {
			err = fmt.Errorf("%w: it does not go on where %s ends", ErrBroken, files[len(files)-2].Path)
		}
		if err != nil {
			return err
		}
		if ln.Entry != nil {
			id, _ := markOf(ln.Entry)
			l.remember(id)
		}
	}
	return nil
}

// Due tells whether the file is full, so that Rotate is to be called.
func (l *Log) Due() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.base != "" && !l.closed && !l.began.IsZero() &&
		(l.o.RotateSize > 0 && l.size >= l.o.RotateSize || l.o.RotateAge > 0 && l.latest.Sub(l.began) >= l.o.RotateAge)
}

// Rotate ends the file with a checkpoint and goes on in a new one, which begins with another: each file is signed to its
// end, and says by itself what came before it. The new file comes into being whole, in one step, so that a crash leaves
// the chain at the end of the one or of the other. On error the log goes on in the old file.
func (l *Log) Rotate(s Signer) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.base == "" || l.closed {
		return ErrClosed
	}
	if err := l.checkpoint(s); err != nil {
		return err
	}
	raw, head, err := signed(l.head, s)
	if err != nil {
		return err
	}
	path := segmentPath(l.base, head.Seq)
	err = l.disk.create(path, raw)
	var f File
	if err == nil {
		f, err = l.disk.open(path)
	}
	if err != nil {
		if !errors.Is(err, fs.ErrExist) { // it may be there all the same
			l.stray = path
		}
		return errors.Join(fmt.Errorf("rotate audit file: %w", err), l.clear())
	}
	old := l.f
	l.f, l.path, l.size, l.head = f, path, int64(len(raw)), head
	l.began, l.latest = time.Time{}, time.Time{}
	return old.Close() // everything in it was synced with the checkpoint
}

// clear removes what a failed rotation may have left. Until it is gone nothing may be written: the same line would be
// in two files.
func (l *Log) clear() error {
	if l.stray == "" {
		return nil
	}
	if err := l.disk.remove(l.stray); err != nil {
		return fmt.Errorf("remove the audit file of a failed rotation: %w", err)
	}
	l.stray = ""
	return nil
}

// Removal is what retention is about to remove.
type Removal struct {
	Through Head // last line of the last file
	files   []string
}

// Details are those of the entry that must be in the log before Remove.
func (r Removal) Details() map[string]string {
	return map[string]string{detailThrough: r.Through.String(), "files": strconv.Itoa(len(r.files))}
}

// Excess names the oldest files beyond those that are kept; ok is false when there are none.
func (l *Log) Excess() (r Removal, ok bool, err error) {
	if l.base == "" || l.o.Keep == 0 {
		return r, false, nil
	}
	files, err := Segments(l.base)
	if err != nil {
		return r, false, err
	}
	for i := 0; i < len(files)-1-l.o.Keep; i++ {
		head, err := segmentStart(files[i+1].Path)
		if err != nil {
			return r, false, err
		}
		if l.o.Needed != nil && l.o.Needed(l.base, head.Seq) {
			break
		}
		r.Through, r.files = head, append(r.files, files[i].Path)
	}
	return r, len(r.files) > 0, nil
}

// Remove removes files, the oldest first, so that a crash leaves the end of the chain.
func (l *Log) Remove(r Removal) error {
	for _, f := range r.files {
		if err := l.disk.remove(f); err != nil {
			return fmt.Errorf("remove old audit file: %w", err)
		}
	}
	return nil
}

// Holds tells whether the chain has this head. Only files that are still there are looked at: whoever remembers a head
// remembers one in the new file after each rotation, so that a chain which begins behind it is another one.
func (l *Log) Holds(h Head) (bool, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if h == l.head || h.Seq == 0 {
		return true, nil
	}
	if h.Seq > l.head.Seq {
		return false, nil
	}
	if l.base == "" {
		return true, nil // New, whose file nobody can have exchanged
	}
	files, err := Segments(l.base)
	if err != nil {
		return false, err
	}
	for i := len(files) - 1; i >= 0; i-- {
		if files[i].First <= h.Seq {
			return holds(files[i].Path, h)
		}
	}
	return false, nil
}

func holds(path string, h Head) (bool, error) {
	f, err := os.Open(path)
	if err != nil {
		return false, err
	}
	defer func() { _ = f.Close() }() // only read
	r, want := bufio.NewReaderSize(f, 1<<16), fmt.Appendf(nil, `{"seq":%d,`, h.Seq)
	var room []byte
	for {
		raw, err := readLine(r, room)
		if err != nil {
			return false, nil // the end
		}
		if bytes.HasPrefix(raw, want) {
			return bytes.Contains(raw[:min(len(raw), 200)], []byte(`"hash":"`+h.Hash+`"`)), nil
		}
	}
}
