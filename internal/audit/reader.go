package audit

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
)

// Position is a place in a chain behind a line: the head there, and where the next line begins. The zero value is the
// beginning of what there is.
type Position struct {
	File   string `json:"file"`   // name without folder
	Offset int64  `json:"offset"` // bytes
	Seq    uint64 `json:"seq"`
	Hash   string `json:"hash"`
}

// Head is that behind the line.
func (p Position) Head() Head { return Head{p.Seq, p.Hash} }

// Line is one line of a chain as a Reader gives it.
type Line struct {
	Head       Head // behind it
	Prev       string
	Checkpoint bool
	Body       []byte // the entry's or the checkpoint's JSON, exactly as it is hashed; good until the next call
}

// Entry is the line's entry; a checkpoint has none.
func (l Line) Entry() (e Entry, err error) {
	if l.Checkpoint {
		return e, fmt.Errorf("line %d is a checkpoint", l.Head.Seq)
	}
	if err := json.Unmarshal(l.Body, &e); err != nil {
		return e, fmt.Errorf("%w: line %d: %w", ErrBroken, l.Head.Seq, err)
	}
	return e, nil
}

// Reader reads a chain that may grow and be rotated meanwhile, line by line, each held against the one before. It is not
// for several goroutines.
type Reader struct {
	base string
	f    *os.File
	r    *bufio.Reader
	pos  Position
	room []byte
}

// NewReader reads the chain that path names from pos on. ErrBroken: what is there does not go on from pos.
func NewReader(path string, pos Position) (*Reader, error) {
	base, _ := Base(path)
	r := &Reader{base: base, pos: pos}
	if pos == (Position{}) {
		return r, nil
	}
	if b, _ := Base(filepath.Join(filepath.Dir(base), pos.File)); b != filepath.Clean(base) || filepath.Base(pos.File) != pos.File || pos.Offset < 0 {
		return nil, fmt.Errorf("%w: %q at %d is no place in this chain", ErrBroken, pos.File, pos.Offset)
	}
	path = filepath.Join(filepath.Dir(base), pos.File)
	f, err := os.Open(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("%w: %s is no longer there", ErrBroken, path)
	}
	if err != nil {
		return nil, err
	}
	if st, err := f.Stat(); err != nil || st.Size() < pos.Offset {
		return nil, errors.Join(fmt.Errorf("%w: %s does not reach to where line %d ended", ErrBroken, path, pos.Seq), err, f.Close())
	}
	if err := r.onto(f, pos.Offset); err != nil {
		return nil, errors.Join(err, r.Close())
	}
	if err := r.confirm(); err != nil {
		return nil, errors.Join(err, r.Close())
	}
	return r, nil
}

// confirm sees to it that the line before the position is still the one that it is behind.
func (r *Reader) confirm() error {
	from := max(0, r.pos.Offset-maxLine)
	b := make([]byte, r.pos.Offset-from)
	_, err := r.f.ReadAt(b, from)
	n := len(b)
	if err != nil || n == 0 || b[n-1] != '\n' {
		return fmt.Errorf("%w: %s is not what it was when line %d was read", ErrBroken, r.f.Name(), r.pos.Seq)
	}
	for n--; n > 0 && b[n-1] != '\n'; {
		n--
	}
	before, _ := startOf(b[n:])
	if ln, err := parseLine(b[n:], before); err != nil || (Head{ln.Seq, ln.Hash}) != r.pos.Head() {
		return fmt.Errorf("%w: %s is not what it was when line %d was read", ErrBroken, r.f.Name(), r.pos.Seq)
	}
	return nil
}

func (r *Reader) onto(f *os.File, offset int64) error {
	if r.f != nil {
		_ = r.f.Close() // only read
	}
	r.f = f
	_, err := f.Seek(offset, io.SeekStart)
	r.pos.File, r.pos.Offset = filepath.Base(f.Name()), offset
	r.r = bufio.NewReaderSize(f, 1<<16)
	return err
}

// Position is behind the last line that was read.
func (r *Reader) Position() Position { return r.pos }

// Next returns the next line; io.EOF: there is none yet. A line that is still being written is none.
func (r *Reader) Next() (Line, error) {
	for {
		if r.f == nil {
			if ok, err := r.open(true); !ok {
				return Line{}, orEOF(err)
			}
		}
		raw, err := readLine(r.r, r.room)
		if err == nil {
			return r.take(raw)
		}
		if !errors.Is(err, io.EOF) {
			return Line{}, fmt.Errorf("%s: line %d: %w", r.f.Name(), r.pos.Seq+1, err)
		}
		if err := r.again(); err != nil {
			return Line{}, err
		}
		if ok, err := r.open(false); !ok {
			return Line{}, orEOF(err)
		}
	}
}

func orEOF(err error) error {
	if err == nil {
		return io.EOF
	}
	return err
}

// again goes back to the end of the last whole line.
func (r *Reader) again() error {
	st, err := r.f.Stat()
	if err != nil {
		return err
	}
	if st.Size() < r.pos.Offset {
		return fmt.Errorf("%s: %w: the file has become shorter", r.f.Name(), ErrBroken)
	}
	if _, err := r.f.Seek(r.pos.Offset, io.SeekStart); err != nil {
		return err
	}
	r.r.Reset(r.f)
	return nil
}

// open goes on in the file that begins with the next line, or, at the beginning, in the first there is.
func (r *Reader) open(first bool) (bool, error) {
	files, err := Segments(r.base)
	if err != nil {
		return false, err
	}
	for _, s := range files {
		if !first && s.First != r.pos.Seq+1 || !first && r.pos.Seq == 0 {
			continue
		}
		f, err := os.Open(s.Path)
		if err != nil {
			return false, err
		}
		if first {
			r.pos.Hash = zeroHash
		}
		return true, r.onto(f, 0)
	}
	return false, nil
}

func (r *Reader) take(raw []byte) (Line, error) {
	before := r.pos.Head()
	if h, ok := startOf(raw); r.pos.Seq == 0 && r.pos.Offset == 0 && ok {
		before = h // where the files that are still there begin
	}
	ln, err := parseLine(raw, before)
	if err != nil {
		return Line{}, fmt.Errorf("%s: %w", r.f.Name(), err)
	}
	r.pos.Seq, r.pos.Hash, r.pos.Offset = ln.Seq, ln.Hash, r.pos.Offset+int64(len(raw))
	if ln.Checkpoint != nil {
		return Line{Head{ln.Seq, ln.Hash}, ln.Prev, true, ln.Checkpoint}, nil
	}
	return Line{Head{ln.Seq, ln.Hash}, ln.Prev, false, ln.Entry}, nil
}

// Close closes the file.
func (r *Reader) Close() error {
	if r.f == nil {
		return nil
	}
	return r.f.Close()
}
