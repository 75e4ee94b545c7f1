package hsm

import (
	"context"
	"sync"

	"redoubt/internal/store"
)

// stager writes or deletes many records in transactions of bounded size, each only while its fence holds.
// Several are under way at once, so that the store can commit them together; their order does not matter,
// because nothing refers to staged records until a last transaction does. After the first failure nothing
// more is sent.
type stager struct {
	h     *HSM
	fence []store.Cond
	ops   []store.Op
	bytes int
	total int // records written, or waiting to be

	slots chan struct{}
	work  sync.WaitGroup
	mu    sync.Mutex
	err   error // guarded by mu: the first failure
}

const (
	// stageBytes leaves room for the keys of the fence, which count as well.
	stageBytes = store.MaxTxnBytes - 8*store.MaxKey
	// largestRecord is the largest that is stored: a restore must be able to stage it.
	largestRecord = stageBytes - 1024
	// stageTxns is how many transactions are under way at once, at most; with stageBytes it bounds memory.
	stageTxns = 8
)

func newStager(h *HSM, fence ...store.Cond) *stager {
	return &stager{h: h, fence: fence, slots: make(chan struct{}, stageTxns)}
}

// add sends what waits when op does not fit beside it.
func (w *stager) add(ctx context.Context, op store.Op) error {
	size := len(op.Key) + len(op.Val)
	if len(w.ops) == store.MaxOps || w.bytes+size > stageBytes {
		if err := w.send(ctx); err != nil {
			return err
		}
	}
	w.ops = append(w.ops, op)
	w.bytes += size
	w.total++
	return nil
}

func (w *stager) send(ctx context.Context) error {
	if err := w.failed(); err != nil || len(w.ops) == 0 {
		return err
	}
	ops := w.ops
	w.ops, w.bytes = nil, 0
	w.slots <- struct{}{}
	w.work.Go(func() {
		defer func() { <-w.slots }()
		if _, err := w.h.store.Txn(ctx, w.fence, ops); err != nil {
			w.fail(storeError("stage records", err))
		}
	})
	return nil
}

// flush sends what waits and returns when all is written, or the first failure.
func (w *stager) flush(ctx context.Context) error {
	err := w.send(ctx)
	w.wait()
	if err == nil {
		err = w.failed()
	}
	return err
}

// wait returns when nothing is under way any more. Defer it: what was staged must not be swept before.
func (w *stager) wait() { w.work.Wait() }

func (w *stager) fail(err error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.err == nil {
		w.err = err
	}
}

func (w *stager) failed() error {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.err
}
