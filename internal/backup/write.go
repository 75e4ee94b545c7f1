package backup

import (
	"bytes"
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"iter"
	"sync"
	"time"

	"redoubt/internal/blob"
)

// settleTime bounds the work of finding out what became of a manifest whose Put failed.
const settleTime = 10 * time.Second

// Write makes an archive of the records in the container's folder o.Folder and returns its manifest.
// The records must come in ascending order of their names; their bytes may be reused once the iterator is
// asked for the next. Blocks go out InFlight at a time while the iterator is being read; the manifest
// follows when every block is stored. On any error (the first one is returned, the rest of the work is
// cancelled and waited for) no manifest is left behind: blocks may be, which is no backup.
//
// It needs permission to create (c), and to read (r) and delete (d) only when storing the manifest fails.
func Write(ctx context.Context, c blob.Container, o Origin, records iter.Seq2[Record, error], s Signer) (Manifest, error) {
	return write(ctx, c, o, records, s, MaxBlock)
}

// write is Write with blocks of at most limit bytes; tests use small ones.
func write(ctx context.Context, c blob.Container, o Origin, records iter.Seq2[Record, error], s Signer, limit int) (Manifest, error) {
	m := manifestOf(o, s)
	if err := m.checkOrigin(); err != nil {
		return Manifest{}, fmt.Errorf("%w: %w", ErrBadOrigin, err)
	}
	var id archiveID
	rand.Read(id[:])
	m.ArchiveID = hex.EncodeToString(id[:])
	w := newSender(ctx, c, &m, id, limit)
	err := w.records(records)
	if err = w.wait(err); err != nil {
		return Manifest{}, fmt.Errorf("backup to %s: %w", c.URL()+"/"+m.Folder, err)
	}
	m.End = m.endMark()
	msg, err := m.signed()
	if err != nil {
		return Manifest{}, err
	}
	m.Signature = base64.StdEncoding.EncodeToString(s.SignManifest(msg))
	if err := putManifest(ctx, c, &m); err != nil {
		return Manifest{}, fmt.Errorf("backup to %s: %w", c.URL()+"/"+m.Folder, err)
	}
	m.trust = OfDomain
	return m, nil
}

func manifestOf(o Origin, s Signer) Manifest {
	domain := s.DomainID()
	if o.DomainID != "" && o.DomainID != domain {
		domain = "" // refused by checkOrigin: an HSM signs for its own domain only
	}
	return Manifest{
		Format: formatName, Folder: o.Folder, HSMID: o.HSMID, HSMName: o.HSMName,
		DomainID: domain, PublicKey: base64.StdEncoding.EncodeToString(s.PublicKey()),
		Epoch: o.Epoch, Lineage: o.Lineage, Revision: o.Revision,
		Time: o.Time.UTC().Truncate(time.Millisecond), Sequence: o.Sequence, AuditHead: o.AuditHead,
	}
}

// putManifest stores the manifest. When the container reports an error the manifest may be there all the
// same (the answer was lost), so it is read back. If it is ours, the backup is complete; if that cannot be
// told, it is deleted; one that is not ours is left alone.
func putManifest(ctx context.Context, c blob.Container, m *Manifest) error {
	b, err := m.encode()
	if err != nil {
		return err
	}
	if _, err := parseManifest(b); err != nil {
		return fmt.Errorf("the manifest would not be readable: %w", err)
	}
	object := m.Object(ManifestName)
	err = c.Put(ctx, object, b)
	if err == nil {
		return nil
	}
	if errors.Is(err, blob.ErrExists) {
		return fmt.Errorf("%w: %s is there already", ErrFolderInUse, object)
	}
	settle, cancel := context.WithTimeout(context.WithoutCancel(ctx), settleTime)
	defer cancel()
	found, rerr := getManifest(settle, c, object)
	if rerr == nil && bytes.Equal(found, b) {
		return nil
	}
	if rerr != nil && !errors.Is(rerr, blob.ErrNotFound) {
		if derr := c.Delete(settle, object); derr != nil {
			err = fmt.Errorf("%w (it may be there all the same: removing it failed too: %v)", err, derr)
		}
	}
	return fmt.Errorf("store the manifest: %w", err)
}

// sender cuts records into blocks and keeps InFlight of them on the way.
type sender struct {
	ctx    context.Context // cancelled with the first error
	cancel context.CancelCauseFunc
	c      blob.Container
	m      *Manifest // Blocks, Records, Bytes: owned by the goroutine that calls records
	id     archiveID
	limit  int               // of a block's bytes
	free   chan *blockWriter // InFlight+1 buffers, made when first needed: the bound on memory
	slots  chan struct{}     // one for each Put on the way
	wg     sync.WaitGroup
}

func newSender(ctx context.Context, c blob.Container, m *Manifest, id archiveID, limit int) *sender {
	w := &sender{c: c, m: m, id: id, limit: limit, free: make(chan *blockWriter, InFlight+1), slots: make(chan struct{}, InFlight)}
	w.ctx, w.cancel = context.WithCancelCause(ctx)
	for range cap(w.free) {
		w.free <- &blockWriter{}
	}
	return w
}

// records reads the iterator to its end, cutting blocks.
func (w *sender) records(records iter.Seq2[Record, error]) error {
	b, err := w.next()
	if err != nil {
		return err
	}
	last := ""
	for r, err := range records {
		if err != nil {
			return fmt.Errorf("read the records: %w", err)
		}
		if err := r.check(); err != nil {
			return err
		}
		if r.Name <= last {
			return fmt.Errorf("%w: %.80q comes after %.80q", ErrBadRecord, r.Name, last)
		}
		last = r.Name
		if b.records > 0 && !b.fits(r, w.limit) {
			w.send(b, false)
			if b, err = w.next(); err != nil {
				return err
			}
		}
		if err := context.Cause(w.ctx); err != nil {
			return err
		}
		b.add(r)
		w.m.Records++
	}
	w.send(b, true)
	return nil
}

// next waits for a free buffer and starts the next block in it.
func (w *sender) next() (*blockWriter, error) {
	select {
	case b := <-w.free:
		if b.buf == nil {
			b.buf = make([]byte, 0, w.limit)
		}
		b.start(w.id, len(w.m.Blocks))
		return b, nil
	case <-w.ctx.Done():
		return nil, context.Cause(w.ctx)
	}
}

// send closes the block, enters it in the manifest and puts it from a goroutine of its own.
func (w *sender) send(b *blockWriter, last bool) {
	b.finish(w.m.Records, last)
	sum := sha256.Sum256(b.buf)
	name := fmt.Sprintf(blockPattern, len(w.m.Blocks))
	w.m.Blocks = append(w.m.Blocks, Block{
		Name: name, First: b.first, Records: int64(b.records), Size: int64(len(b.buf)), SHA256: hex.EncodeToString(sum[:]),
	})
	w.m.Bytes += int64(len(b.buf))
	object := w.m.Object(name)
	w.wg.Go(func() {
		w.slots <- struct{}{}
		defer func() { <-w.slots }()
		if err := w.c.Put(w.ctx, object, b.buf); err != nil {
			if errors.Is(err, blob.ErrExists) {
				err = fmt.Errorf("%w: %s is there already", ErrFolderInUse, object)
			}
			w.cancel(fmt.Errorf("store %s: %w", name, err))
		}
		w.free <- b // never blocks: there is room for every buffer
	})
}

// wait ends the work and returns its first error: that of a block, else err, the reader's.
func (w *sender) wait(err error) error {
	if err != nil {
		w.cancel(err)
	}
	w.wg.Wait()
	cause := context.Cause(w.ctx)
	w.cancel(nil)
	return cause
}
