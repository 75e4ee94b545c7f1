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

// Log is one HSM's open audit log. Methods may be called from any goroutine.
type Log struct {
	o    Options
	disk disk
	base string // name of the chain; empty: one file for ever

	mu     sync.Mutex // guards everything below
	f      File
	path   string // of f; empty: one file for ever
	size   int64  // bytes of complete lines; a failed append is cut back to it
	head   Head
	began  time.Time // of the first entry in f
	latest time.Time // of the last entry
	stray  string    // a file that a failed rotation may have left: nothing is written while it may be there
	recent map[string]struct{}
	order  []string // ring of recent ids, oldest first
	closed bool
	cut    *Cut         // what OpenCut took off behind head
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

// Open is OpenWith without rotation.
func Open(path string) (*Log, error) { return OpenWith(path, Options{}) }

// OpenWith opens the chain that path names, at its last file, or creates it. A last line that a crash left incomplete is
// cut off; any other damage to that file is ErrBroken, and so is one that does not follow from the file before it, and a
// chain that OpenCut has cut and that does not say so yet. Earlier files are not read again: VerifyFiles does that.
func OpenWith(path string, o Options) (*Log, error) {
	l, err := openOn(osDisk{}, path, o)
	if err != nil {
		return nil, err
	}
	if _, err := os.Lstat(cutPath(path, l.head.Seq+1)); !errors.Is(err, fs.ErrNotExist) {
		return nil, errors.Join(fmt.Errorf("%w: it was cut before line %d, and no entry says so", ErrBroken, l.head.Seq+1), err, l.Close())
	}
	return l, nil
}

func openOn(d disk, path string, o Options) (*Log, error) {
	if err := durable.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return nil, err
	}
	files, err := Segments(path)
	if err != nil {
		return nil, fmt.Errorf("list audit files: %w", err)
	}
	l := &Log{o: o, disk: d, base: path, path: path, head: Head{Hash: zeroHash}, recent: make(map[string]struct{})}
	if n := len(files); n > 0 {
		l.path = files[n-1].Path
		if err := l.follow(files); err != nil {
			var d *damage
			if errors.As(err, &d) {
				return nil, err // which names the file
			}
			return nil, fmt.Errorf("%s: %w", l.path, err)
		}
	}
	if l.f, err = d.open(l.path); err != nil {
		return nil, fmt.Errorf("open audit file: %w", err)
	}
	if err := l.load(); err != nil {
		if errors.Is(err, ErrBroken) {
			err = &damage{l.path, l.size, l.head.Seq + 1, err}
		} else {
			err = fmt.Errorf("%s: %w", l.path, err)
		}
		return nil, errors.Join(err, l.f.Close())
	}
	return l, durable.SyncDir(filepath.Dir(path))
}

// New is Open for a file that is open, at its beginning, and that is never rotated. Close closes it.
func New(f File) (*Log, error) {
	l := &Log{f: f, head: Head{Hash: zeroHash}, recent: make(map[string]struct{})}
	if err := l.load(); err != nil {
		return nil, err
	}
	return l, nil
}

func (l *Log) load() error {
	r := bufio.NewReaderSize(l.f, 1<<16)
	var room []byte
	for {
		raw, err := readLine(r, room)
		if errors.Is(err, io.EOF) {
			if err := l.f.Truncate(l.size); err != nil {
				return err
			}
			_, err = l.f.Seek(l.size, io.SeekStart)
			return err
		}
		if errors.Is(err, errLong) {
			return fmt.Errorf("%w: line %d is %w", ErrBroken, l.head.Seq+1, err)
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
			id, at := markOf(ln.Entry)
			l.remember(id)
			l.wrote(at)
		}
	}
}

// wrote notes the time of an entry in the file.
func (l *Log) wrote(at time.Time) {
	if l.latest = at; l.began.IsZero() {
		l.began = at
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
		l.body = fit(e, l.body[:0])
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
	for i := range entries {
		l.wrote(entries[i].Time)
	}
	return nil
}

// fit appends the entry's JSON to b. One that is far too long loses its details and the end of its texts: better than none.
func fit(e *Entry, b []byte) []byte {
	if b = e.Append(b); len(b) < maxLine/2 {
		return b
	}
	cut, r := *e, Resource{}
	cut.Details = map[string]string{"shortened": "true"}
	if e.Resource != nil {
		r = *e.Resource
		cut.Resource = &r
	}
	for _, s := range []*string{&cut.Operation, &cut.Version, &cut.Reason, &cut.Principal, &cut.AppID, &cut.UPN, &cut.CallerIP, &cut.ClientInfo, &cut.RequestID, &cut.RequestURI, &cut.Target,
		&r.ID, &r.Name, &r.Group, &r.Tenant, &r.SKUFamily, &r.SKUName, &r.Type} {
		*s = (*s)[:min(len(*s), 2048)]
	}
	return cut.Append(b[:0])
}

// Checkpoint adds a signed statement of the present head and makes it durable.
func (l *Log) Checkpoint(s Signer) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.checkpoint(s)
}

func (l *Log) checkpoint(s Signer) error {
	raw, head, err := signed(l.head, s)
	if err != nil {
		return err
	}
	if err := l.write(raw, true); err != nil {
		return err
	}
	l.head = head
	return nil
}

// signed is the line of a checkpoint behind head.
func signed(head Head, s Signer) ([]byte, Head, error) {
	at := head.String()
	body, err := json.Marshal(checkpoint{Head: at, PublicKey: s.Public(), Signature: s.Sign([]byte(checkpointLabel + at))})
	if err != nil {
		return nil, head, err
	}
	var buf bytes.Buffer
	next := chain(&buf, head, 'c', body)
	return buf.Bytes(), next, nil
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
	if err := l.clear(); err != nil {
		return err
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

// Sync makes everything durable that was appended.
func (l *Log) Sync() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.closed {
		return ErrClosed
	}
	return l.f.Sync()
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
