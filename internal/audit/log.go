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
	"path/filepath"
	"slices"
	"strconv"
	"sync"
	"time"

	"redoubt/internal/durable"
)

// remembered is how many recent ids a Log keeps to drop repeats: more than an outbox ever holds.
const remembered = 1 << 14

// Signer signs checkpoints. It is the HSM's.
type Signer interface {
	Sign(msg []byte) []byte
	Public() []byte
}

// Log is one HSM's open audit file. Methods may be called from any goroutine.
type Log struct {
	mu     sync.Mutex // guards everything below
	f      File
	size   int64 // bytes of complete lines; a failed append is cut back to it
	head   Head
	recent map[string]struct{}
	order  []string // ring of recent ids, oldest first
	closed bool
	loose  time.Time    // of the first entry that was written and not synced yet; zero for none
	buf    bytes.Buffer // of one Append
	body   []byte       // of one entry
}

// File is what a Log needs of its file; *os.File is one.
type File interface {
	io.Reader
	io.Seeker
	io.WriterAt
	io.Closer
	Truncate(size int64) error
	Sync() error
}

// Open opens or creates the file at path. A last line that a crash left incomplete is cut off; any other
// damage is ErrBroken.
func Open(path string) (*Log, error) {
	if err := durable.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return nil, err
	}
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, fmt.Errorf("open audit file: %w", err)
	}
	l, err := New(f)
	if err != nil {
		return nil, errors.Join(fmt.Errorf("%s: %w", path, err), f.Close())
	}
	return l, durable.SyncDir(filepath.Dir(path))
}

// New is Open for a file that is open, at its beginning. Close closes it.
func New(f File) (*Log, error) {
	l := &Log{f: f, head: Head{Hash: zeroHash}, recent: make(map[string]struct{})}
	if err := l.load(); err != nil {
		return nil, err
	}
	return l, nil
}

func (l *Log) load() error {
	r := bufio.NewReaderSize(l.f, 1<<16)
	for {
		raw, err := r.ReadBytes('\n')
		if errors.Is(err, io.EOF) {
			if err := l.f.Truncate(l.size); err != nil {
				return err
			}
			_, err = l.f.Seek(l.size, io.SeekStart)
			return err
		}
		if err != nil {
			return err
		}
		ln, err := parseLine(raw, l.head)
		if err != nil {
			return err
		}
		l.head = Head{Seq: ln.Seq, Hash: ln.Hash}
		l.size += int64(len(raw))
		if ln.Entry != nil {
			l.remember(idOf(ln.Entry))
		}
	}
}

func (l *Log) remember(id string) {
	if id == "" {
		return
	}
	if len(l.order) == remembered {
		delete(l.recent, l.order[0])
		l.order = l.order[1:]
	}
	l.recent[id] = struct{}{}
	l.order = append(l.order, id)
}

// Append chains the entries in order and writes them; with sync it returns only when they are durable.
// Entries whose id was written before are dropped, so a caller may repeat a batch after a crash. On error
// nothing of the batch remains in the file.
func (l *Log) Append(entries []Entry, sync bool) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.buf.Reset()
	head := l.head
	ids := make([]string, 0, len(entries))
	for i := range entries {
		e := &entries[i]
		if _, seen := l.recent[e.ID]; seen || e.ID != "" && slices.Contains(ids, e.ID) {
			continue
		}
		l.body = e.Append(l.body[:0])
		head = chain(&l.buf, head, 'e', l.body)
		ids = append(ids, e.ID)
	}
	if err := l.write(l.buf.Bytes(), sync); err != nil {
		return err
	}
	if l.loose.IsZero() && !sync && len(ids) > 0 {
		l.loose = entries[0].Time
	}
	l.head = head
	for _, id := range ids {
		l.remember(id)
	}
	return nil
}

// Checkpoint adds a signed statement of the present head and makes it durable.
func (l *Log) Checkpoint(s Signer) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	at := l.head.String()
	body, err := json.Marshal(checkpoint{Head: at, PublicKey: s.Public(), Signature: s.Sign([]byte(checkpointLabel + at))})
	if err != nil {
		return err
	}
	var buf bytes.Buffer
	head := chain(&buf, l.head, 'c', body)
	if err := l.write(buf.Bytes(), true); err != nil {
		return err
	}
	l.head = head
	return nil
}

// chain writes one line behind head. It is the line's canonical JSON, put together by hand because encoding
// body, which is JSON already, once more would cost as much as making it; parseLine holds every line against
// the encoder.
func chain(buf *bytes.Buffer, head Head, kind byte, body []byte) Head {
	next := Head{Seq: head.Seq + 1}
	next.Hash = chainHash(next.Seq, head.Hash, kind, body)
	member := `","entry":`
	if kind == 'c' {
		member = `","checkpoint":`
	}
	buf.WriteString(`{"seq":`)
	buf.Write(strconv.AppendUint(buf.AvailableBuffer(), next.Seq, 10))
	for _, part := range []string{`,"prev":"`, head.Hash, `","hash":"`, next.Hash, member} {
		buf.WriteString(part)
	}
	buf.Write(body)
	buf.WriteString("}\n")
	return next
}

// write appends b, cutting a partial write off again so that the next append starts on a whole line.
func (l *Log) write(b []byte, sync bool) error {
	if l.closed {
		return ErrClosed
	}
	_, err := l.f.WriteAt(b, l.size)
	if err == nil && sync {
		if err = l.f.Sync(); err == nil {
			l.loose = time.Time{}
		}
	}
	if err != nil {
		return errors.Join(fmt.Errorf("write audit file: %w", err), l.f.Truncate(l.size))
	}
	l.size += int64(len(b))
	return nil
}

// Head returns the end of the chain.
func (l *Log) Head() Head {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.head
}

// Loose is the time of the oldest entry that a power loss could take from the file, zero for none.
func (l *Log) Loose() time.Time {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.loose
}

// Close makes everything durable and closes the file.
func (l *Log) Close() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.closed {
		return nil
	}
	l.closed = true
	return errors.Join(l.f.Sync(), l.f.Close())
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

// Report is what Verify found.
type Report struct {
	Head        Head
	Checkpoints int
	Signers     [][]byte // distinct checkpoint public keys, in order of appearance
	SinceCheck  uint64   // lines after the last checkpoint: their truncation would not show
}

// Verify reads a whole chain, calling each (may be nil) with every entry. expect, when not empty, is a
// head "seq:hash" kept elsewhere that must occur in the chain: it shows truncation.
func Verify(r io.Reader, expect string, each func(Entry) error) (Report, error) {
	rep := Report{Head: Head{Hash: zeroHash}}
	seen := expect == "" || expect == rep.Head.String()
	br := bufio.NewReaderSize(r, 1<<16)
	for {
		raw, err := br.ReadBytes('\n')
		if errors.Is(err, io.EOF) && len(raw) == 0 {
			break
		}
		if err != nil {
			return rep, fmt.Errorf("%w: line %d is incomplete", ErrBroken, rep.Head.Seq+1)
		}
		ln, err := parseLine(raw, rep.Head)
		if err != nil {
			return rep, err
		}
		rep.Head = Head{Seq: ln.Seq, Hash: ln.Hash}
		seen = seen || rep.Head.String() == expect
		if err := rep.take(ln, each); err != nil {
			return rep, err
		}
	}
	if !seen {
		return rep, fmt.Errorf("%w: the expected head %s does not occur: the file was truncated or belongs to another HSM", ErrBroken, expect)
	}
	return rep, nil
}

func (rep *Report) take(ln line, each func(Entry) error) error {
	rep.SinceCheck++
	if ln.Checkpoint != nil {
		var c checkpoint
		if err := json.Unmarshal(ln.Checkpoint, &c); err != nil {
			return err
		}
		rep.Checkpoints, rep.SinceCheck = rep.Checkpoints+1, 0
		if !slices.ContainsFunc(rep.Signers, func(k []byte) bool { return bytes.Equal(k, c.PublicKey) }) {
			rep.Signers = append(rep.Signers, c.PublicKey)
		}
		return nil
	}
	if each == nil {
		return nil
	}
	var e Entry
	if err := json.Unmarshal(ln.Entry, &e); err != nil {
		return fmt.Errorf("%w: line %d: %v", ErrBroken, ln.Seq, err)
	}
	return each(e)
}
