package drill

import (
	"context"
	"iter"
	"sync"
)

// workers is how many requests are under way at a time. Creating keys waits for the disk, and commits that
// wait together are written together; more than this gains nothing on a small machine.
const workers = 16

// each calls do for every item, a bounded number at a time. The first error, of items or of do, stops the
// rest and is returned.
func each[T any](ctx context.Context, items iter.Seq2[T, error], do func(context.Context, T) error) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	feed := make(chan T)
	var running sync.WaitGroup
	for range workers {
		running.Go(func() {
			for item := range feed {
				if ctx.Err() != nil {
					continue
				}
				if err := do(ctx, item); err != nil {
					cancel(err)
				}
			}
		})
	}
feeding:
	for item, err := range items {
		if err != nil {
			cancel(err)
			break
		}
		select {
		case feed <- item:
		case <-ctx.Done():
			break feeding
		}
	}
	close(feed)
	running.Wait()
	return context.Cause(ctx)
}

// all makes a sequence for each of a slice.
func all[T any](items []T) iter.Seq2[T, error] {
	return func(yield func(T, error) bool) {
		for _, item := range items {
			if !yield(item, nil) {
				return
			}
		}
	}
}

// ordered calls do for every item, a bounded number at a time, and use for the results in the order of the
// items. At most a small multiple of the workers' results are held.
func ordered[T, R any](ctx context.Context, items []T, do func(context.Context, T) (R, error), use func(R) error) error {
	const batch = 8 * workers
	results := make([]R, batch)
	for start := 0; start < len(items); start += batch {
		part := items[start:min(start+batch, len(items))]
		index := func(yield func(int, error) bool) {
			for i := range part {
				if !yield(i, nil) {
					return
				}
			}
		}
		if err := each(ctx, index, func(ctx context.Context, i int) (err error) {
			results[i], err = do(ctx, part[i])
			return err
		}); err != nil {
			return err
		}
		for i := range part {
			if err := use(results[i]); err != nil {
				return err
			}
		}
	}
	return nil
}
