package audit

import (
	"bufio"
	"bytes"
	"crypto/ed25519"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"time"
)

// Report is what Verify found.
type Report struct {
	From        Head // before the first line that was read: the empty chain's, or where earlier files ended
	FromSigned  bool // the first line is a checkpoint of From
	FromEntry   bool // an entry of the chain says that the files up to From were removed by retention
	Head        Head
	Checkpoints int
	Signers     [][]byte // distinct checkpoint public keys, in order of appearance
	SinceCheck  uint64   // lines after the last checkpoint: their truncation would not show
	// BackSteps counts entries whose time is more than a minute before that of the entry before them: the clock was set
	// back, or entries waited while the file took none. Their order is that of the numbers. FirstBack is the first such line.
	BackSteps, FirstBack uint64
	Files                []FileReport
	Torn                 int // bytes of a last line without its line feed, with Expect.Growing
}

// FileReport is what one file holds.
type FileReport struct {
	Path        string
	First, Last uint64 // lines
}

// Expect is what a reader of a chain knows beforehand. The zero value knows nothing.
type Expect struct {
	// Head, "seq:hash", was kept elsewhere and must occur: it shows that lines were cut off.
	Head string
	// From, "seq:hash", is where files that are not given ended. Without it, a chain that does not begin with line 1 must
	// say itself, with a signed checkpoint and an entry, that retention removed what was before.
	From string
	// Growing lets the last file end within a line: it is being written, or a crash cut it.
	Growing bool
}

// Verify reads a whole chain from one reader, calling each (may be nil) with every entry. expect, when not empty, is a
// head "seq:hash" kept elsewhere that must occur in the chain: it shows truncation.
func Verify(r io.Reader, expect string, each func(Entry) error) (Report, error) {
	v := newVerifier(Expect{Head: expect}, each)
	if err := v.feed("", r, false); err != nil {
		return v.rep, err
	}
	return v.rep, v.end()
}

// VerifyFiles is Verify for a chain in several files, given in any order. It needs no more memory for large files.
func VerifyFiles(paths []string, want Expect, each func(Entry) error) (Report, error) {
	type file struct {
		path string
		at   uint64
	}
	var files []file
	for _, p := range paths {
		_, first := Base(p)
		if h, err := segmentStart(p); err == nil {
			first = h.Seq + 1
		}
		files = append(files, file{p, first})
	}
	slices.SortStableFunc(files, func(a, b file) int { return compare(a.at, b.at) })
	v := newVerifier(want, each)
	for i, f := range files {
		if err := v.feedFile(f.path, want.Growing && i == len(files)-1); err != nil {
			return v.rep, err
		}
	}
	if err := v.end(); err != nil && len(files) > 0 {
		return v.rep, fmt.Errorf("%s: %w", files[len(files)-1].path, err)
	}
	return v.rep, nil
}

// maxBackStep is how far entries may be out of order in time without a word: those of changes go through the store.
const maxBackStep = time.Minute

type verifier struct {
	rep   Report
	want  Expect
	each  func(Entry) error
	seen  bool // want.Head has occurred
	begun bool
	last  time.Time // of the entry before
	room  []byte
}

func newVerifier(want Expect, each func(Entry) error) *verifier {
	empty := Head{Hash: zeroHash}
	return &verifier{rep: Report{From: empty, Head: empty}, want: want, each: each, seen: want.Head == ""}
}

func (v *verifier) feedFile(path string, growing bool) error {
	f, err := os.Open(path)
	if err != nil {
		return fmt.Errorf("read the audit file: %w", err)
	}
	defer func() { _ = f.Close() }() // only read
	first := v.rep.Head.Seq + 1
	if err := v.feed(path, f, growing); err != nil {
		return err
	}
	if !v.begun {
		return nil // an empty file
	}
	if len(v.rep.Files) == 0 {
		first = v.rep.From.Seq + 1
	}
	v.rep.Files = append(v.rep.Files, FileReport{Path: path, First: first, Last: v.rep.Head.Seq})
	return nil
}

// feed reads the lines of one file. name is for messages; it may be empty.
func (v *verifier) feed(name string, r io.Reader, growing bool) error {
	br := bufio.NewReaderSize(r, 1<<16)
	for {
		raw, err := readLine(br, v.room)
		if errors.Is(err, io.EOF) && len(raw) == 0 {
			return nil
		}
		if errors.Is(err, io.EOF) && growing {
			v.rep.Torn = len(raw)
			return nil
		}
		if err != nil {
			return named(name, fmt.Errorf("%w: line %d is incomplete", ErrBroken, v.rep.Head.Seq+1))
		}
		if err := v.line(raw); err != nil {
			return named(name, err)
		}
	}
}

func named(name string, err error) error {
	if name == "" {
		return err
	}
	return fmt.Errorf("%s: %w", name, err)
}

func (v *verifier) line(raw []byte) error {
	if !v.begun {
		v.begin(raw)
	}
	ln, err := parseLine(raw, v.rep.Head)
	if err != nil {
		return err
	}
	if v.rep.Head == v.rep.From {
		v.rep.FromSigned = ln.Checkpoint != nil
	}
	v.rep.Head = Head{Seq: ln.Seq, Hash: ln.Hash}
	v.seen = v.seen || v.rep.Head.String() == v.want.Head
	return v.take(ln)
}

// begin takes what the first line says of the one before it for true; end sees to it that something vouches for it.
func (v *verifier) begin(raw []byte) {
	v.begun = true
	if h, ok := startOf(raw); ok && h.Seq > 0 {
		v.rep.From, v.rep.Head = h, h
	}
	v.seen = v.seen || v.rep.From.String() == v.want.Head
}

func (v *verifier) take(ln line) error {
	v.rep.SinceCheck++
	if ln.Checkpoint != nil {
		var c checkpoint
		if err := json.Unmarshal(ln.Checkpoint, &c); err != nil {
			return err
		}
		v.rep.Checkpoints, v.rep.SinceCheck = v.rep.Checkpoints+1, 0
		if !slices.ContainsFunc(v.rep.Signers, func(k []byte) bool { return bytes.Equal(k, c.PublicKey) }) {
			v.rep.Signers = append(v.rep.Signers, c.PublicKey)
		}
		return nil
	}
	var e Entry
	if v.each == nil && !bytes.Contains(ln.Entry, []byte(FilesRemoved)) {
		e.Time = timeIn(ln.Entry) // all that is wanted
	} else if err := json.Unmarshal(ln.Entry, &e); err != nil {
		return fmt.Errorf("%w: line %d: %v", ErrBroken, ln.Seq, err)
	}
	if !v.last.IsZero() && !e.Time.IsZero() && v.last.Sub(e.Time) > maxBackStep {
		if v.rep.BackSteps++; v.rep.FirstBack == 0 {
			v.rep.FirstBack = ln.Seq
		}
	}
	v.last = e.Time
	if e.Operation == FilesRemoved && e.Details[detailThrough] == v.rep.From.String() {
		v.rep.FromEntry = true
	}
	if v.each == nil {
		return nil
	}
	return v.each(e)
}

// timeIn is the time of an entry, without decoding the rest. Within a text its mark could not stand: quotes are escaped there.
func timeIn(entry []byte) (at time.Time) {
	_, b, _ := bytes.Cut(entry, []byte(`"time":"`))
	b, _, _ = bytes.Cut(b, []byte(`"`))
	at, _ = time.Parse(time.RFC3339Nano, string(b)) // an entry without one says nothing of the clock
	return at
}

// end judges the beginning and the end of the chain.
func (v *verifier) end() error {
	if !v.begun {
		v.seen = v.seen || v.rep.Head.String() == v.want.Head
	}
	switch from := v.rep.From; {
	case v.want.From != "" && v.want.From != from.String():
		return fmt.Errorf("%w: the lines begin after %s, not after %s as expected", ErrBroken, from, v.want.From)
	case v.want.From == "" && from.Seq > 0 && !(v.rep.FromSigned && v.rep.FromEntry):
		return fmt.Errorf("%w: line 1 to line %d are missing, and no entry says that retention removed them: give the files that hold them, or the head they ended with", ErrBroken, from.Seq)
	case !v.seen:
		return fmt.Errorf("%w: the expected head %s does not occur: the file was truncated, or replaced by an older copy, or belongs to another HSM", ErrBroken, v.want.Head)
	}
	return nil
}

// parseLine checks one line against the head before it.
func parseLine(raw []byte, before Head) (line, error) {
	var ln line
	dec := json.NewDecoder(bytes.NewReader(raw))
	dec.DisallowUnknownFields()
	if err := dec.Decode(&ln); err != nil {
		return line{}, fmt.Errorf("%w: line %d: %v", ErrBroken, before.Seq+1, err)
	}
	kind, body := byte('e'), ln.Entry
	if ln.Checkpoint != nil {
		kind, body = 'c', ln.Checkpoint
	}
	// The hash covers what a line says; demanding the one way of writing it leaves no byte uncovered.
	if canonical, err := json.Marshal(ln); err != nil || !bytes.Equal(append(canonical, '\n'), raw) {
		return line{}, fmt.Errorf("%w: line %d is not written as this program writes it", ErrBroken, before.Seq+1)
	}
	if ln.Seq > before.Seq+1 {
		return line{}, fmt.Errorf("%w: line %d is missing: line %d stands in its place", ErrBroken, before.Seq+1, ln.Seq)
	}
	ok := (ln.Entry == nil) != (ln.Checkpoint == nil) && ln.Seq == before.Seq+1 && ln.Prev == before.Hash
	if !ok || ln.Hash != chainHash(ln.Seq, ln.Prev, kind, body) {
		return line{}, fmt.Errorf("%w: line %d does not follow from the one before it", ErrBroken, before.Seq+1)
	}
	if kind == 'c' {
		return ln, verifyCheckpoint(ln.Checkpoint, before)
	}
	return ln, nil
}

func verifyCheckpoint(body []byte, before Head) error {
	var c checkpoint
	if err := json.Unmarshal(body, &c); err != nil || len(c.PublicKey) != ed25519.PublicKeySize {
		return fmt.Errorf("%w: line %d: bad checkpoint", ErrBroken, before.Seq+1)
	}
	if c.Head != before.String() || !ed25519.Verify(c.PublicKey, []byte(checkpointLabel+c.Head), c.Signature) {
		return fmt.Errorf("%w: line %d: checkpoint signature does not hold", ErrBroken, before.Seq+1)
	}
	return nil
}
