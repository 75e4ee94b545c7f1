package audit

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
)

// A chain goes on from one file to the next. The first is NAME.jsonl, which also is the name of the chain; each later
// one has the number of its first line, in 20 digits, before the ending: NAME.00000000000000001042.jsonl.

// Segment is one file of a chain.
type Segment struct {
	Path  string
	First uint64 // number of its first line
}

const digits = 20

func segmentPath(base string, first uint64) string {
	if first == 1 {
		return base
	}
	ext := filepath.Ext(base)
	return fmt.Sprintf("%s.%0*d%s", strings.TrimSuffix(base, ext), digits, first, ext)
}

// Base is the name of the chain that a file belongs to by its own name, and the number of its first line.
func Base(path string) (base string, first uint64) {
	ext := filepath.Ext(path)
	stem := strings.TrimSuffix(path, ext)
	number := strings.TrimPrefix(filepath.Ext(stem), ".")
	n, err := strconv.ParseUint(number, 10, 64)
	if len(number) != digits || err != nil || n < 2 {
		return path, 1
	}
	return strings.TrimSuffix(stem, "."+number) + ext, n
}

// Segments lists the files of the chain that path names, or is a file of, in order.
func Segments(path string) ([]Segment, error) {
	base, _ := Base(path)
	names, err := readNames(filepath.Dir(base))
	var out []Segment
	for _, name := range names {
		p := filepath.Join(filepath.Dir(base), name)
		if b, first := Base(p); b == filepath.Clean(base) {
			out = append(out, Segment{p, first})
		}
	}
	slices.SortFunc(out, func(a, b Segment) int { return compare(a.First, b.First) })
	return out, err
}

func compare(a, b uint64) int {
	switch {
	case a < b:
		return -1
	case a > b:
		return 1
	}
	return 0
}

// Chains lists the chains that have files in a folder, by their names.
func Chains(dir string) ([]string, error) {
	names, err := readNames(dir)
	var out []string
	for _, name := range names {
		base, _ := Base(filepath.Join(dir, name))
		if filepath.Ext(name) == ".jsonl" && !slices.Contains(out, base) {
			out = append(out, base)
		}
	}
	slices.Sort(out)
	return out, err
}

// readNames lists the plain files of a folder. One that is not there has none.
func readNames(dir string) ([]string, error) {
	entries, err := os.ReadDir(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	var out []string
	for _, e := range entries {
		if e.Type().IsRegular() {
			out = append(out, e.Name())
		}
	}
	return out, err
}

// maxLine is the longest line that is read. What is written stays far below it: see fit.
const maxLine = 1 << 20

var errLong = errors.New("longer than any line of an audit file")

// readLine returns the next line with its line feed. io.EOF with a line that has none is the end of the file, where one
// may be being written. The line is good until the next call.
func readLine(r *bufio.Reader, room []byte) ([]byte, error) {
	room = room[:0]
	for {
		part, err := r.ReadSlice('\n')
		if len(room) == 0 && err == nil {
			return part, nil
		}
		if room = append(room, part...); len(room) > maxLine {
			return room, errLong
		}
		if !errors.Is(err, bufio.ErrBufferFull) {
			return room, err
		}
	}
}

// startOf is the head before the first line of a file, as that line says it.
func startOf(raw []byte) (Head, bool) {
	var ln struct {
		Seq  uint64
		Prev string
	}
	if json.Unmarshal(raw, &ln) != nil || ln.Seq == 0 || len(ln.Prev) != len(zeroHash) {
		return Head{}, false
	}
	return Head{Seq: ln.Seq - 1, Hash: ln.Prev}, true
}

// segmentStart reads the head before a file's first line.
func segmentStart(path string) (Head, error) {
	f, err := os.Open(path)
	if err != nil {
		return Head{}, err
	}
	defer func() { _ = f.Close() }() // only read
	raw, err := readLine(bufio.NewReaderSize(f, 1<<12), nil)
	if err != nil {
		return Head{}, fmt.Errorf("%w: %s has no whole first line", ErrBroken, path)
	}
	if h, ok := startOf(raw); ok {
		return h, nil
	}
	return Head{}, fmt.Errorf("%w: %s does not begin with a line of an audit file", ErrBroken, path)
}

// tail returns the whole lines at the end of a file, at most about limit bytes of them, and whether the file ends with
// a line feed.
func tail(path string, limit int64) (lines [][]byte, whole bool, err error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, false, err
	}
	defer func() { _ = f.Close() }() // only read
	st, err := f.Stat()
	if err != nil {
		return nil, false, err
	}
	from := max(0, st.Size()-limit)
	b := make([]byte, st.Size()-from)
	if _, err := f.ReadAt(b, from); err != nil && !errors.Is(err, io.EOF) {
		return nil, false, err
	}
	if from > 0 {
		_, b, _ = bytes.Cut(b, []byte("\n"))
	}
	lines = bytes.SplitAfter(b, []byte("\n"))
	last := len(lines) - 1
	return lines[:last], len(lines[last]) == 0, nil
}
