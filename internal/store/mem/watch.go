package mem

import (
	"context"
	"iter"
	"strings"
	"time"

	"redoubt/internal/store"
)

// markEvery is well inside the 500 ms the contract promises for progress marks.
const markEvery = 200 * time.Millisecond

// Watch implements store.Store. A watcher that has caught up says so at once with a progress mark.
func (s *Store) Watch(ctx context.Context, prefix string, from store.Rev) iter.Seq2[store.Batch, error] {
	return func(yield func(store.Batch, error) bool) {
		tick := time.NewTicker(markEvery)
		defer tick.Stop()
		seen, mark := from, true
		for {
			batches, newest, changed, err := s.since(ctx, prefix, seen)
			if err != nil {
				yield(store.Batch{}, err)
				return
			}
			for _, b := range batches {
				if !yield(b, nil) {
					return
				}
				mark = mark && b.Rev != newest
			}
			seen = newest
			if mark && !yield(store.Batch{Rev: seen}, nil) {
				return
			}
			mark = false
			select {
			case <-changed:
			case <-tick.C:
				mark = true
			case <-s.closed:
			case <-ctx.Done():
			}
		}
	}
}

// since collects the commits after from that touch prefix, and the channel that tells of the next one.
func (s *Store) since(ctx context.Context, prefix string, from store.Rev) (bs []store.Batch, newest store.Rev, changed <-chan struct{}, err error) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	if err := s.enter(ctx); err != nil {
		return nil, 0, nil, err
	}
	if err := s.kept(from); err != nil {
		return nil, 0, nil, err
	}
	for r := from + 1; r <= s.rev; r++ {
		b := store.Batch{Rev: r}
		for _, key := range s.log[r] {
			if !strings.HasPrefix(key, prefix) {
				continue
			}
			kv, ok := s.at(key, r)
			if !ok {
				kv = store.KV{Key: key, Mod: r}
			}
			b.Events = append(b.Events, store.Event{KV: kv, Deleted: !ok})
		}
		if len(b.Events) > 0 {
			bs = append(bs, b)
		}
	}
	return bs, s.rev, s.changed, nil
}
