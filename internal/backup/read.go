package backup

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"iter"
	"strings"

	"redoubt/internal/blob"
)

// Read yields every record of the archive in order. No record of a block is yielded before the whole block has been
// checked against the manifest; but a later block may still turn out bad, so whoever must not act on half
// an archive runs Verify first, or stages. An error comes once, as the last pair, with a zero Record: those of the
// container, ErrMissingBlock, ErrTampered. Sealed may be kept, but keeps its whole block in memory.
// m must come from ReadManifest or Write. Up to ReadAhead blocks are fetched ahead of the loop.
func Read(ctx context.Context, c blob.Container, m Manifest) iter.Seq2[Record, error] {
	return read(ctx, c, m, 0, len(m.Blocks))
}

// ReadPrefix is Read limited to the records whose names begin with prefix; it fetches only the blocks that
// can hold any, so that one key comes out of a large archive quickly.
func ReadPrefix(ctx context.Context, c blob.Container, m Manifest, prefix string) iter.Seq2[Record, error] {
	from, to := 0, len(m.Blocks)
	for i, b := range m.Blocks {
		if i > 0 && b.First <= prefix {
			from = i
		}
		if b.First > prefix && !strings.HasPrefix(b.First, prefix) {
			to = i
			break
		}
	}
	return func(yield func(Record, error) bool) {
		for r, err := range read(ctx, c, m, from, max(from, to)) {
			if (err != nil || strings.HasPrefix(r.Name, prefix)) && !yield(r, err) {
				return
			}
		}
	}
}

// Verify streams the whole archive and checks every block's digest, place, order and end mark, and the
// counts. each, which may be nil, sees every record; its first error ends the work and is returned.
func Verify(ctx context.Context, c blob.Container, m Manifest, each func(Record) error) error {
	for r, err := range Read(ctx, c, m) {
		if err != nil {
			return err
		}
		if each == nil {
			continue
		}
		if err := each(r); err != nil {
			return err
		}
	}
	return nil
}

// Preflight lists the folder and reports every block that is missing (ErrMissingBlock) or has another
// size than the manifest says (ErrTampered), before anything is fetched. It needs permission to list (l).
func Preflight(ctx context.Context, c blob.Container, m Manifest) error {
	if err := m.check(); err != nil {
		return fmt.Errorf("preflight: %w", err)
	}
	sizes := make(map[string]int64, len(m.Blocks))
	for info, err := range c.List(ctx, m.Folder+"/") {
		if err != nil {
			return fmt.Errorf("list the backup folder %s: %w", m.Folder, err)
		}
		sizes[info.Name] = info.Size
	}
	var missing []string
	for _, b := range m.Blocks {
		if _, ok := sizes[m.Object(b.Name)]; !ok {
			missing = append(missing, m.Object(b.Name))
		}
	}
	if missing != nil {
		return &MissingBlockError{missing}
	}
	for _, b := range m.Blocks {
		if size := sizes[m.Object(b.Name)]; size != b.Size {
			return &TamperedError{m.Object(b.Name), fmt.Sprintf("has %d bytes instead of %d", size, b.Size)}
		}
	}
	return nil
}

// fetched is the outcome of one block's fetch.
type fetched struct {
	block block
	err   error
}

// read yields the records of the blocks from up to, not including, to.
func read(ctx context.Context, c blob.Container, m Manifest, from, to int) iter.Seq2[Record, error] {
	return func(yield func(Record, error) bool) {
		if err := m.check(); err != nil {
			yield(Record{}, fmt.Errorf("read the archive: %w", err))
			return
		}
		ctx, cancel := context.WithCancel(ctx)
		window := make(chan chan fetched, ReadAhead-1)
		go fetchAll(ctx, c, &m, from, to, window)
		defer func() { // leave no goroutine behind: every fetch ends before the loop does
			cancel()
			for slot := range window {
				<-slot
			}
		}()
		last := ""
		for slot := range window {
			f := <-slot
			if f.err == nil && len(f.block.records) > 0 && f.block.records[0].Name <= last {
				f.err = &TamperedError{m.Folder, "records are out of order"}
			}
			if f.err != nil {
				yield(Record{}, f.err)
				return
			}
			for _, r := range f.block.records {
				if !yield(r, nil) {
					return
				}
				last = r.Name
			}
		}
		if err := ctx.Err(); err != nil {
			yield(Record{}, fmt.Errorf("read the archive: %w", err))
		}
	}
}

// fetchAll starts a fetch for every block in turn, as many ahead of the reader as the window takes, and
// closes the window. After a cancellation it starts no more.
func fetchAll(ctx context.Context, c blob.Container, m *Manifest, from, to int, window chan<- chan fetched) {
	defer close(window)
	for i := from; i < to; i++ {
		slot := make(chan fetched, 1)
		select {
		case window <- slot:
		case <-ctx.Done():
			return
		}
		go func() {
			b, err := fetch(ctx, c, m, i)
			slot <- fetched{b, err}
		}()
	}
}

// fetch gets one block and checks all that the manifest says about it.
func fetch(ctx context.Context, c blob.Container, m *Manifest, i int) (block, error) {
	want := m.Blocks[i]
	object := m.Object(want.Name)
	r, info, err := c.Get(ctx, object)
	if errors.Is(err, blob.ErrNotFound) {
		return block{}, &MissingBlockError{[]string{object}}
	}
	if err != nil {
		return block{}, fmt.Errorf("read %s: %w", object, err)
	}
	defer r.Close()
	if info.Size != want.Size {
		return block{}, &TamperedError{object, fmt.Sprintf("has %d bytes instead of %d", info.Size, want.Size)}
	}
	b := make([]byte, want.Size)
	if _, err := io.ReadFull(r, b); err != nil {
		return block{}, fmt.Errorf("read %s: %w", object, err)
	}
	if sum := sha256.Sum256(b); hex.EncodeToString(sum[:]) != want.SHA256 {
		return block{}, &TamperedError{object, "its digest is not the one in the manifest"}
	}
	p, err := parseBlock(b)
	if err == nil {
		err = m.place(p, i)
	}
	if err != nil {
		return block{}, &TamperedError{object, err.Error()}
	}
	return p, nil
}

// place checks that p is the archive's block i. A wrong one here means that the signer lied or erred.
func (m *Manifest) place(p block, i int) error {
	id, err := m.id()
	if err != nil {
		return err
	}
	var total int64
	for _, b := range m.Blocks[:i+1] {
		total += b.Records
	}
	first := ""
	if len(p.records) > 0 {
		first = p.records[0].Name
	}
	switch {
	case p.id != id:
		return errors.New("it belongs to another archive")
	case int64(p.index) != int64(i):
		return fmt.Errorf("it is block %d", p.index)
	case int64(len(p.records)) != m.Blocks[i].Records || first != m.Blocks[i].First || p.total != uint64(total):
		return errors.New("its records are not those of the manifest")
	case p.last != (i == len(m.Blocks)-1):
		return errors.New("its end mark is wrong")
	}
	return nil
}
