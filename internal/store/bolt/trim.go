package bolt

import (
	"context"
	"encoding/binary"
	"time"

	"redoubt/internal/store"
)

// Trimming takes log entries off the old end, together with the history they put there. It rides on
// commits that happen anyway, in portions worth the pages it touches, and runs by itself when idle.
const (
	trimPortion = 256  // revisions that must be due before a commit takes them along
	trimMost    = 1024 // revisions per engine transaction, so that writers wait for milliseconds only
)

// compaction is a call of Compact on its way through the writer.
type compaction struct {
	rev   store.Rev
	floor store.Rev
	err   error
	done  chan struct{}
}

// Compact forgets what is needed only to read revisions before rev, without regard to Options.Retain but
// never beyond a pin or the newest revision. The answer is the lowest revision that can be read from now
// on.
func (s *Store) Compact(ctx context.Context, rev store.Rev) (store.Rev, error) {
	if err := s.enter(ctx); err != nil {
		return 0, err
	}
	c := &compaction{rev: rev, done: make(chan struct{})}
	select {
	case s.compacts <- c:
	case <-ctx.Done():
		return 0, ctx.Err()
	case <-s.quit:
		return 0, store.ErrUnavailable
	}
	<-c.done
	return c.floor, c.err
}

// unpinned is the highest revision that may become the floor: nothing pinned and nothing unsynced is
// above it. Expired pins are dropped on the way.
func (s *Store) unpinned() store.Rev {
	s.mu.Lock()
	defer s.mu.Unlock()
	limit, now := store.Rev(s.durable.Load()), time.Now()
	for p := range s.pins {
		if now.After(p.until) {
			delete(s.pins, p)
			continue
		}
		limit = min(limit, p.rev)
	}
	return limit
}

// learn reads the state of the old end.
func (w *writer) learn(v view) {
	w.floor, w.oldest = v.floor(), v.oldest()
}

// oldest is the time of the first log entry, zero when there is none.
func (v view) oldest() time.Time {
	if k, entry := v.log().Cursor().First(); k != nil && len(entry) >= 8 {
		return logTime(entry)
	}
	return time.Time{}
}

// due tells whether the old end is ready to be trimmed with n revisions or more.
func (w *writer) due(newest store.Rev, now time.Time, n int) bool {
	kept := int(newest - w.floor)
	if kept >= w.s.opts.RetainRevs+n {
		return true
	}
	return kept >= n && !w.oldest.IsZero() && now.Sub(w.oldest) > w.s.opts.Retain
}

// trimAlong trims a portion inside the engine transaction of a commit.
func (w *writer) trimAlong(v view, newest store.Rev, now time.Time) error {
	if !w.due(newest, now, trimPortion) {
		return nil
	}
	_, err := v.trim(trimMost, w.s.unpinned(), newest-store.Rev(w.s.opts.RetainRevs), now.Add(-w.s.opts.Retain))
	return err
}

// trimIdle trims all that is due. Failing is harmless here: the next commit tells.
func (w *writer) trimIdle() {
	now := time.Now()
	for newest := store.Rev(w.s.durable.Load()); w.due(newest, now, 1); {
		more, err := w.trimOnce(trimMost, newest-store.Rev(w.s.opts.RetainRevs), now.Add(-w.s.opts.Retain))
		if err != nil || !more {
			return
		}
	}
}

// compact trims up to rev.
func (w *writer) compact(rev store.Rev) (store.Rev, error) {
	for {
		more, err := w.trimOnce(trimMost, rev, time.Time{})
		if err != nil || !more {
			return w.floor, err
		}
	}
}

// makeRoom gives up all history without a pin, because the medium is full and a write matters more. It
// goes in small steps, since each needs a few free pages itself. The answer is whether that freed any.
func (w *writer) makeRoom() bool {
	before := w.floor
	for {
		more, err := w.trimOnce(trimPortion, store.Rev(w.s.durable.Load()), time.Time{})
		if err != nil || !more {
			return w.floor > before
		}
	}
}

// trimOnce trims a portion in an engine transaction of its own. more tells that there may be further ones.
func (w *writer) trimOnce(most int, upTo store.Rev, before time.Time) (more bool, err error) {
	if err := w.s.failure.Load(); err != nil {
		return false, *err
	}
	tx, err := w.s.db.Begin(true)
	if err != nil {
		return false, err
	}
	defer rollback(tx)
	v := viewOf(tx)
	n, err := v.trim(most, w.s.unpinned(), upTo, before)
	if err != nil || n == 0 {
		return false, err
	}
	return n == most, w.finish(tx, v, nil)
}

// trim takes entries off the old end of the log while they are at most upTo or older than before, never
// beyond limit, and raises the floor. It takes at most most entries and answers how many.
func (v view) trim(most int, limit, upTo store.Rev, before time.Time) (int, error) {
	type entry struct {
		rev     store.Rev
		changes []change
	}
	var due []entry
	c := v.log().Cursor()
	for k, val := c.First(); k != nil && len(due) < most; k, val = c.Next() {
		rev := store.Rev(binary.BigEndian.Uint64(k))
		changes, err := decodeLog(val, "")
		if err != nil {
			return 0, err
		}
		if rev > limit || (rev > upTo && !logTime(val).Before(before)) {
			break
		}
		due = append(due, entry{rev, changes})
	}
	if len(due) == 0 {
		return 0, nil
	}
	for _, e := range due {
		if err := v.drop(e.rev, e.changes); err != nil {
			return 0, err
		}
	}
	return len(due), v.log().SetSequence(uint64(due[len(due)-1].rev))
}

// drop forgets what commit rev replaced.
func (v view) drop(rev store.Rev, changes []change) error {
	for _, ch := range changes {
		if !ch.replaced {
			continue
		}
		if err := v.history().Delete(historyKey([]byte(ch.key), rev)); err != nil {
			return err
		}
	}
	return v.log().Delete(encodeRev(rev))
}
