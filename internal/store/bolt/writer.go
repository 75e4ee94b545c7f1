package bolt

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"runtime"
	"slices"
	"strings"
	"syscall"
	"time"

	bbolt "go.etcd.io/bbolt"
	berrors "go.etcd.io/bbolt/errors"

	"redoubt/internal/store"
)

// Bounds of one group commit. A batch is closed as soon as nobody waits, so they matter under load only.
const (
	maxBatch      = 256
	maxBatchBytes = 4 << 20
)

// graceAfterCancel is how long a cancelled caller waits for an answer that is already on its way to the
// disk, before it has to live with ErrUnknown.
const graceAfterCancel = time.Second

// request is one Txn on its way through the writer, which fills in rev and err and then closes done.
type request struct {
	ctx  context.Context
	ifs  []store.Cond
	then []store.Op
	rev  store.Rev
	err  error
	done chan struct{}
}

// Txn implements store.Store.
func (s *Store) Txn(ctx context.Context, ifs []store.Cond, then []store.Op) (store.Rev, error) {
	if err := store.CheckTxn(ifs, then); err != nil {
		return 0, err
	}
	if err := s.enter(ctx); err != nil {
		return 0, err
	}
	r := &request{ctx: ctx, ifs: ifs, then: then, done: make(chan struct{})}
	select {
	case s.requests <- r:
	case <-ctx.Done():
		return 0, ctx.Err()
	case <-s.quit:
		return 0, store.ErrUnavailable
	}
	select {
	case <-r.done:
		return r.rev, r.err
	case <-ctx.Done():
	}
	grace := time.NewTimer(graceAfterCancel)
	defer grace.Stop()
	select {
	case <-r.done:
		return r.rev, r.err
	case <-grace.C:
		return 0, fmt.Errorf("%w: %w", store.ErrUnknown, ctx.Err())
	}
}

// writer is the one goroutine that writes. Its fields are its own.
type writer struct {
	s      *Store
	floor  store.Rev // lowest revision that can still be read
	oldest time.Time // of the first log entry, zero when there is none
}

func (w *writer) run() {
	defer close(w.s.done)
	trim := time.NewTicker(min(max(w.s.opts.Retain/4, 50*time.Millisecond), 30*time.Second))
	defer trim.Stop()
	for {
		select {
		case <-w.s.quit:
			return
		case r := <-w.s.requests:
			w.commit(w.gather(r))
		case c := <-w.s.compacts:
			c.floor, c.err = w.compact(c.rev)
			close(c.done)
		case <-trim.C:
			w.trimIdle()
		}
	}
}

// gather takes every transaction that waits. Before it closes the batch it yields the processor once:
// those who were answered a moment ago are about to ask again, and a commit costs more than they do.
func (w *writer) gather(first *request) []*request {
	batch, size, yielded := []*request{first}, first.size(), false
	for len(batch) < maxBatch && size < maxBatchBytes {
		select {
		case r := <-w.s.requests:
			batch, size, yielded = append(batch, r), size+r.size(), false
			continue
		default:
		}
		if yielded {
			break
		}
		runtime.Gosched()
		yielded = true
	}
	return batch
}

func (r *request) size() (n int) {
	for _, op := range r.then {
		n += len(op.Key) + len(op.Val)
	}
	return n
}

// commit runs a batch and answers everyone in it.
func (w *writer) commit(batch []*request) {
	err := w.commitBatch(batch)
	if errors.Is(err, store.ErrFull) && w.makeRoom() {
		err = w.commitBatch(batch)
	}
	if err != nil {
		for _, r := range batch {
			r.rev, r.err = 0, err
		}
	}
	for _, r := range batch {
		w.s.tallies.answered(r.err)
		close(r.done)
	}
}

// commitBatch evaluates the batch in order inside one engine transaction. The error, if any, is the
// answer to all of them: also a conflict may have been seen on a write that then did not happen.
func (w *writer) commitBatch(batch []*request) error {
	if err := w.s.failure.Load(); err != nil {
		return *err
	}
	tx, err := w.s.db.Begin(true)
	if err != nil {
		return fmt.Errorf("%w: %w", store.ErrUnavailable, err)
	}
	defer rollback(tx)
	v, now := viewOf(tx), time.Now()
	v.log().FillPercent = 0.95 // entries arrive in order
	base := v.rev()
	rev := base
	var touched []store.Op
	for _, r := range batch {
		if r.err = r.ctx.Err(); r.err != nil {
			continue
		}
		if r.err = v.conflict(r.ifs); r.err != nil {
			continue
		}
		wrote, err := v.apply(rev+1, r.then, now)
		if err != nil {
			return fmt.Errorf("%w: %w", store.ErrUnavailable, err)
		}
		if wrote {
			rev++
			touched = append(touched, r.then...)
		}
		r.rev = rev
	}
	if rev == base {
		return nil // nothing to write: all answers rest on durable state
	}
	if err := v.data.SetSequence(uint64(rev)); err != nil {
		return fmt.Errorf("%w: %w", store.ErrUnavailable, err)
	}
	if err := w.trimAlong(v, base, now); err != nil {
		return fmt.Errorf("%w: %w", store.ErrUnavailable, err)
	}
	return w.finish(tx, v, touched)
}

// finish commits the engine transaction and shows the result, or finds out what became of it. touched are
// the writes in it.
func (w *writer) finish(tx *bbolt.Tx, v view, touched []store.Op) error {
	rev, floor, oldest := v.rev(), v.floor(), v.oldest()
	commit := w.s.opts.testOnlyCommit
	if commit == nil {
		commit = (*bbolt.Tx).Commit
	}
	began := time.Now()
	err := commit(tx)
	w.s.tallies.commit.Observe(time.Since(began))
	if err == nil {
		w.floor, w.oldest = floor, oldest
		w.s.hot.advance(rev, touched, &w.s.durable)
		w.s.wake()
		return nil
	}
	rollback(tx)
	return w.failed(err)
}

// failed tells what a failed commit means. The engine writes its root last, so as long as the file still
// shows the state before, nothing was written. A visible root that may not be on the medium is the one
// case that cannot be known.
func (w *writer) failed(cause error) error {
	written := true
	err := w.s.db.View(func(tx *bbolt.Tx) error {
		v := viewOf(tx)
		written = v.rev() != store.Rev(w.s.durable.Load()) || v.floor() != w.floor
		return nil
	})
	switch {
	case err != nil || written:
		w.s.fail(errors.Join(cause, err))
		return fmt.Errorf("%w: %w", store.ErrUnknown, cause)
	case isFull(cause):
		return fmt.Errorf("%w: make room for %s: %w", store.ErrFull, w.s.path, cause)
	}
	w.s.fail(cause)
	return *w.s.failure.Load()
}

// isFull tells whether err is lack of room: on the disk, in a quota, under a file size limit, or under
// Options.MaxBytes. The engine flattens some errors of the system to text.
func isFull(err error) bool {
	if errors.Is(err, berrors.ErrMaxSizeReached) {
		return true
	}
	for _, full := range []syscall.Errno{syscall.ENOSPC, syscall.EDQUOT, syscall.EFBIG} {
		if errors.Is(err, full) || strings.HasSuffix(err.Error(), full.Error()) {
			return true
		}
	}
	return false
}

// rollback ends tx if a commit has not done so already.
func rollback(tx *bbolt.Tx) {
	_ = tx.Rollback() // the only error is that it has ended
}

// conflict evaluates conditions; the answer is nil or a *store.Conflict.
func (v view) conflict(ifs []store.Cond) error {
	var c *store.Conflict
	for _, cond := range ifs {
		rec := v.data.Get([]byte(cond.Key))
		var now store.KV
		if rec != nil {
			now = store.KV{Create: createOf(rec), Mod: modOf(rec)}
		}
		if cond.Holds(now, rec != nil) {
			continue
		}
		if c == nil {
			c = &store.Conflict{Now: map[string]store.KV{}}
		}
		c.Failed = append(c.Failed, cond)
		if rec != nil {
			c.Now[cond.Key] = toKV(cond.Key, rec, false)
		}
	}
	if c == nil {
		return nil
	}
	return c
}

// apply writes ops, their history and their log entry as commit rev. The answer is false when nothing
// changed: then rev is still free.
func (v view) apply(rev store.Rev, ops []store.Op, now time.Time) (bool, error) {
	var changes []change
	for _, op := range ops {
		key := []byte(op.Key)
		old := bytes.Clone(v.data.Get(key))
		if old == nil && op.Delete {
			continue
		}
		create := rev
		if old != nil {
			create = createOf(old)
			if err := v.history().Put(historyKey(key, rev), old); err != nil {
				return false, err
			}
		}
		var err error
		if op.Delete {
			err = v.data.Delete(key)
		} else {
			err = v.data.Put(key, encodeRecord(create, rev, op.Val))
		}
		if err != nil {
			return false, err
		}
		changes = append(changes, change{key: op.Key, deleted: op.Delete, replaced: old != nil})
	}
	if len(changes) == 0 {
		return false, nil
	}
	slices.SortFunc(changes, func(a, b change) int { return strings.Compare(a.key, b.key) })
	return true, v.log().Put(encodeRev(rev), encodeLog(now, changes))
}
