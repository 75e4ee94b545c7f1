package audit

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"

	"redoubt/internal/durable"
)

// damage is why the last file of a chain cannot be gone on with.
type damage struct {
	path string
	size int64  // bytes of good lines
	line uint64 // the first bad one
	err  error
}

func (d *damage) Error() string { return d.path + ": " + d.err.Error() }
func (d *damage) Unwrap() error { return d.err }

// Cut is what OpenCut took off the end of a chain.
type Cut struct {
	Line   uint64 // the first that was taken off
	File   string // has it and all that stood behind it
	Bytes  int64  // of File
	SHA256 string // of File, in hex
}

// Details are for the entry that says that the chain was cut. A nil Cut has none.
func (c *Cut) Details() map[string]string {
	if c == nil {
		return nil
	}
	return map[string]string{"cutLine": strconv.FormatUint(c.Line, 10), "cutFile": filepath.Base(c.File), "cutBytes": strconv.FormatInt(c.Bytes, 10), "cutSHA256": c.SHA256}
}

// OpenCut is OpenWith for somebody who accepts that a chain has lost entries, and who must append an entry that says so: until
// then, nothing else opens it. If its last file is damaged, the chain ends before the first bad line from now on, and what
// stood there is kept in a file beside it. Damage anywhere else is ErrBroken, and nothing is changed.
func OpenCut(path string, o Options) (*Log, error) {
	l, err := openOn(osDisk{}, path, o)
	var d *damage
	if errors.As(err, &d) {
		if err := d.cut(); err != nil {
			return nil, err
		}
		l, err = openOn(osDisk{}, path, o)
	}
	if err != nil {
		return nil, err
	}
	if l.cut, err = readCut(path, l.head.Seq+1); err != nil {
		return nil, errors.Join(err, l.Close())
	}
	return l, nil
}

// Cut is what was taken off behind the end of the chain; nil: nothing, or OpenCut did not open it.
func (l *Log) Cut() *Cut { return l.cut }

func cutPath(path string, line uint64) string {
	base, _ := Base(path)
	return fmt.Sprintf("%s.cut-%0*d", base, digits, line)
}

// cut copies what is to go, then takes it off.
func (d *damage) cut() error {
	f, err := os.OpenFile(d.path, os.O_RDWR, 0)
	if err != nil {
		return err
	}
	defer func() { _ = f.Close() }() // synced below
	if _, err := f.Seek(d.size, io.SeekStart); err != nil {
		return err
	}
	to := cutPath(d.path, d.line)
	err = durable.CreateFrom(to, f, 0o600)
	if errors.Is(err, fs.ErrExist) {
		err = d.sameAs(f, to)
	}
	if err != nil {
		return err
	}
	if _, first := Base(d.path); d.size == 0 && first > 1 {
		return durable.Remove(d.path) // a file begins with a line that says what came before it
	}
	if err := f.Truncate(d.size); err != nil {
		return err
	}
	return f.Sync()
}

// sameAs accepts a copy that a crash left, if it is one.
func (d *damage) sameAs(f *os.File, to string) error {
	if _, err := f.Seek(d.size, io.SeekStart); err != nil {
		return err
	}
	sum := sha256.New()
	n, err := io.Copy(sum, f)
	if err != nil {
		return err
	}
	c, err := readCut(d.path, d.line)
	if err == nil && (c.Bytes != n || c.SHA256 != hex.EncodeToString(sum.Sum(nil))) {
		err = fmt.Errorf("%s is from another time; move it away, and try again", to)
	}
	return err
}

// readCut finds what was cut off from a line on. None is nil.
func readCut(path string, line uint64) (*Cut, error) {
	f, err := os.Open(cutPath(path, line))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	defer func() { _ = f.Close() }() // only read
	sum := sha256.New()
	n, err := io.Copy(sum, f)
	if err != nil {
		return nil, err
	}
	return &Cut{Line: line, File: f.Name(), Bytes: n, SHA256: hex.EncodeToString(sum.Sum(nil))}, nil
}
