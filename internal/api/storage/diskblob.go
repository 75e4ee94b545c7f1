package storage

import (
	"crypto/md5"
	"errors"
	"fmt"
	"hash"
	"hash/crc64"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"redoubt/internal/durable"
)

// crcTable is Azure Storage's CRC-64 polynomial (reflected).
var crcTable = crc64.MakeTable(0x9A6C9329AC4BC9B5)

// digest is what a stream of bytes hashed to.
type digest struct {
	size  int64
	md5   []byte
	crc64 []byte // little-endian, as it stands on the wire
}

// writeSegment streams r into a fresh file of data/ and syncs it. On an error nothing is left.
func (d *disk) writeSegment(p place, r io.Reader) (file string, sum digest, err error) {
	file = randomHex()
	f, err := os.OpenFile(p.segment(file), os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if errors.Is(err, fs.ErrNotExist) {
		return "", digest{}, errContainerNotFound // deleted since the request began
	}
	if err != nil {
		return "", digest{}, err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, os.Remove(p.segment(file)))
		}
	}()
	sum, err = copyHashed(f, r)
	if err == nil {
		err = f.Sync()
	}
	if cerr := f.Close(); err == nil {
		err = cerr
	}
	if err == nil {
		err = durable.SyncDir(filepath.Dir(p.segment(file)))
	}
	return file, sum, err
}

// copyHashed copies with one fixed buffer, whatever the length of r.
func copyHashed(w io.Writer, r io.Reader) (digest, error) {
	m := md5.New()
	c := crc64.New(crcTable)
	n, err := io.CopyBuffer(struct{ io.Writer }{io.MultiWriter(w, m, c)}, struct{ io.Reader }{r}, make([]byte, 256<<10))
	return digest{size: n, md5: m.Sum(nil), crc64: wireCRC(c)}, err
}

func wireCRC(c hash.Hash64) []byte {
	b := c.Sum(nil)
	slices.Reverse(b)
	return b
}

// load reads a blob's record; errBlobNotFound or errContainerNotFound. The caller holds the blob's lock.
func (d *disk) load(account, container string, p place) (blobInfo, error) {
	var info blobInfo
	err := readJSON(p.record(), &info)
	if errors.Is(err, fs.ErrNotExist) {
		if _, cerr := d.container(account, container); cerr != nil {
			return info, cerr
		}
		return info, errBlobNotFound
	}
	if err == nil && info.Name != p.name {
		err = fmt.Errorf("%s is the record of another blob", p.record())
	}
	return info, err
}

// stat reads a blob's record.
func (d *disk) stat(account, container, blob string) (blobInfo, error) {
	p := d.place(account, container, blob)
	l := d.blobLock(p)
	l.RLock()
	defer l.RUnlock()
	return d.load(account, container, p)
}

// exclusive runs f while nobody else changes the blob and its container stays. containerID is the one
// the request began with; a container that was replaced meanwhile does not get the request's data.
func (d *disk) exclusive(account, container, containerID string, p place, f func(old *blobInfo) error) error {
	cl := d.containerLock(account, container)
	cl.RLock()
	defer cl.RUnlock()
	info, err := d.container(account, container)
	if err != nil {
		return err
	}
	if info.ID != containerID {
		return errContainerNotFound
	}
	bl := d.blobLock(p)
	bl.Lock()
	defer bl.Unlock()
	old, err := d.load(account, container, p)
	if errors.Is(err, errBlobNotFound) {
		return f(nil)
	}
	if err != nil {
		return err
	}
	return f(&old)
}

// put makes next the blob's record; fresh are the segments written for it, which go again if it does
// not get there. The caller is inside exclusive.
func (d *disk) put(p place, old *blobInfo, next blobInfo, fresh []string) error {
	if err := writeJSON(p.record(), next); err != nil {
		var now blobInfo
		if rerr := readJSON(p.record(), &now); rerr == nil && now.ETag == next.ETag {
			return err // it has its name but may not be durable: keep what it refers to
		}
		return errors.Join(err, d.removeSegments(p, fresh))
	}
	if old != nil {
		d.retire(p, *old, next)
	}
	return nil
}

// dropStaging forgets a blob's uncommitted blocks.
func dropStaging(p place) error { return os.RemoveAll(p.staging()) }

// delete removes a blob's record, then its bytes and uncommitted blocks. Inside exclusive.
func (d *disk) delete(p place, old blobInfo) error {
	if err := durable.Remove(p.record()); err != nil {
		return err
	}
	d.retire(p, old, blobInfo{})
	return dropStaging(p)
}

func (d *disk) removeSegments(p place, files []string) error {
	var err error
	for _, f := range files {
		err = errors.Join(err, os.Remove(p.segment(f)))
	}
	return err
}

// retire removes the segments of replaced content, at once or when its last reader has finished. What
// cannot be removed now is no longer named by any record and falls to sweep.
func (d *disk) retire(p place, old, next blobInfo) {
	key := p.content(old)
	if key == "" || key == p.content(next) {
		return
	}
	files := make([]string, len(old.Segments))
	for i, s := range old.Segments {
		files[i] = s.File
	}
	d.mu.Lock()
	r := d.readers[key]
	if r != nil {
		r.retired = files
	}
	d.mu.Unlock()
	if r == nil {
		_ = d.removeSegments(p, files)
	}
}

// open returns a blob for reading: its record and bytes stay as they are now until Close.
func (d *disk) open(account, container, blob string) (*openBlob, error) {
	p := d.place(account, container, blob)
	l := d.blobLock(p)
	l.RLock()
	defer l.RUnlock()
	info, err := d.load(account, container, p)
	if err != nil {
		return nil, err
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	key := p.content(info)
	if d.readers[key] == nil {
		d.readers[key] = new(readers)
	}
	d.readers[key].count++
	return &openBlob{d: d, p: p, info: info}, nil
}

// openBlob is one version of a blob, being read.
type openBlob struct {
	d    *disk
	p    place
	info blobInfo
}

// Close lets go of the version. It must be called once.
func (b *openBlob) Close() {
	key := b.p.content(b.info)
	b.d.mu.Lock()
	r := b.d.readers[key]
	r.count--
	var files []string
	if r.count == 0 {
		files = r.retired
		delete(b.d.readers, key)
	}
	b.d.mu.Unlock()
	_ = b.d.removeSegments(b.p, files)
}

// section opens n bytes from offset off for reading. The first file is opened now, so that a missing
// one is known before the answer has begun.
func (b *openBlob) section(off, n int64) (io.ReadCloser, error) {
	s := &sectionReader{b: b, left: n}
	for i, seg := range b.info.Segments {
		if off < seg.Size {
			s.rest = b.info.Segments[i:]
			break
		}
		off -= seg.Size
	}
	if n == 0 {
		return s, nil
	}
	if err := s.next(off); err != nil {
		return nil, err
	}
	return s, nil
}

// sectionReader reads across segments with one file open at a time.
type sectionReader struct {
	b      *openBlob
	rest   []segment
	file   *os.File
	inFile int64 // bytes of file that belong to the blob and are unread
	left   int64
}

func (s *sectionReader) next(off int64) error {
	if len(s.rest) == 0 {
		return io.ErrUnexpectedEOF
	}
	f, err := os.Open(s.b.p.segment(s.rest[0].File))
	if err != nil {
		return err
	}
	if _, err := f.Seek(off, io.SeekStart); err != nil {
		return errors.Join(err, f.Close())
	}
	s.file, s.inFile, s.rest = f, s.rest[0].Size-off, s.rest[1:]
	return nil
}

func (s *sectionReader) Read(p []byte) (int, error) {
	if s.left == 0 {
		return 0, io.EOF
	}
	for s.inFile == 0 {
		if err := s.Close(); err != nil {
			return 0, err
		}
		if err := s.next(0); err != nil {
			return 0, err
		}
	}
	p = p[:min(int64(len(p)), s.inFile, s.left)]
	n, err := s.file.Read(p)
	s.inFile -= int64(n)
	s.left -= int64(n)
	if errors.Is(err, io.EOF) {
		err = io.ErrUnexpectedEOF // the file is shorter than its record says
	}
	return n, err
}

func (s *sectionReader) Close() error {
	if s.file == nil {
		return nil
	}
	err := s.file.Close()
	s.file = nil
	return err
}

// named is one blob's name and the file of its record.
type named struct{ name, file string }

// blobNames lists the names of a container's blobs in byte order, which is the order Azure lists in.
func (d *disk) blobNames(account, container string) ([]named, error) {
	dir := filepath.Join(d.containerDir(account, container), "blobs")
	entries, err := os.ReadDir(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, errContainerNotFound
	}
	if err != nil {
		return nil, err
	}
	out := make([]named, 0, len(entries))
	for _, e := range entries {
		file, ok := strings.CutSuffix(e.Name(), ".json")
		if !ok || strings.HasPrefix(file, ".") {
			continue
		}
		name, ok := decodeName(file)
		if !ok {
			var info blobInfo
			if err := readJSON(filepath.Join(dir, e.Name()), &info); errors.Is(err, fs.ErrNotExist) {
				continue // deleted meanwhile
			} else if err != nil {
				return nil, err
			}
			name = info.Name
		}
		out = append(out, named{name: name, file: filepath.Join(dir, e.Name())})
	}
	slices.SortFunc(out, func(a, b named) int { return strings.Compare(a.name, b.name) })
	return out, nil
}
