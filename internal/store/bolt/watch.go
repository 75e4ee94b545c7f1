package bolt

import (
	"context"
	"encoding/binary"
	"fmt"
	"iter"
	"time"

	"redoubt/internal/store"
)

// markEvery is well inside the 500 ms the contract promises for progress marks.
const markEvery = 200 * time.Millisecond

// Bounds of what a watcher reads in one engine transaction.
const (
	watchScan  = 4096    // log entries
	watchBytes = 1 << 20 // bytes of values
)

// Watch implements store.Store. The watcher reads the log at its own pace: a slow one costs the store
// nothing, and ends with ErrCompacted when it falls behind what is kept. One that has caught up says so
// at once with a progress mark.
func (s *Store) Watch(ctx context.Context, prefix string, from store.Rev) iter.Seq2[store.Batch, error] {
	return func(yield func(store.Batch, error) bool) {
		tick := time.NewTicker(markEvery)
		defer tick.Stop()
		mark := true // a progress mark is owed
		for seen := from; ; {
			changed := s.nextChange()
			batches, upTo, more, err := s.since(ctx, prefix, seen)
			if err != nil {
				yield(store.Batch{}, err)
				return
			}
			for _, b := range batches {
				if !yield(b, nil) {
					return
				}
				mark = mark && b.Rev != upTo
			}
			if seen = upTo; more {
				continue
			}
			if mark && !yield(store.Batch{Rev: seen}, nil) {
				return
			}
			mark = false
			select {
			case <-changed:
			case <-tick.C:
				mark = true
			case <-s.quit:
			case <-ctx.Done():
			}
		}
	}
}

// since reads a run of commits after from. upTo is the last one looked at, more tells that there are
// further ones.
func (s *Store) since(ctx context.Context, prefix string, from store.Rev) (bs []store.Batch, upTo store.Rev, more bool, err error) {
	upTo = from
	err = s.read(ctx, func(v view, newest store.Rev) error {
		if err := v.kept(from, newest); err != nil {
			return err
		}
		size, scanned := 0, 0
		c := v.log().Cursor()
		for k, entry := c.Seek(encodeRev(from + 1)); k != nil; k, entry = c.Next() {
			rev := store.Rev(binary.BigEndian.Uint64(k))
			if rev > newest {
				return nil
			}
			if scanned == watchScan || size >= watchBytes {
				more = true
				return nil
			}
			b, err := v.batch(rev, entry, prefix)
			if err != nil {
				return err
			}
			for _, ev := range b.Events {
				size += len(ev.KV.Val)
			}
			if len(b.Events) > 0 {
				bs = append(bs, b)
			}
			upTo = rev
			scanned++
		}
		return nil
	})
	return bs, upTo, more, err
}

// batch makes the events of one commit.
func (v view) batch(rev store.Rev, entry []byte, prefix string) (store.Batch, error) {
	b := store.Batch{Rev: rev}
	changes, err := decodeLog(entry, prefix)
	if err != nil {
		return b, err
	}
	for _, ch := range changes {
		if ch.deleted {
			b.Events = append(b.Events, store.Event{KV: store.KV{Key: ch.key, Mod: rev}, Deleted: true})
			continue
		}
		rec := v.at([]byte(ch.key), rev)
		if rec == nil || modOf(rec) != rev {
			return b, fmt.Errorf("%w: the value of %q at revision %d is missing", errDamaged, ch.key, rev)
		}
		b.Events = append(b.Events, store.Event{KV: toKV(ch.key, rec, false)})
	}
	return b, nil
}
