package hsm

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"time"

	"redoubt/internal/audit"
	"redoubt/internal/store"
)

const (
	checkpointEvery = 1000 // lines
	largestBatch    = 1024 // entries
	backlogLimit    = 4096 // entries that wait for a file that takes none; behind them the queue fills up

	closing = 5 * time.Second // for what the store is still asked while the device closes
)

// queued is an entry on its way to the sequencer. Whoever waits for it has written, which has room for the
// outcome.
type queued struct {
	entry   audit.Entry
	written chan error
}

// enqueue has e written by the sequencer. With Config.SyncAudit it returns when e is durable. What the guard did
// not admit is limited, whatever the reason: a caller without any role can bring it about as often as they like.
// The error says that e will not be in the file, or is not known to be.
func (h *HSM) enqueue(e audit.Entry, admitted bool) error {
	if e.Result == "Denied" || !admitted {
		return h.enqueueLimited(e, &h.denied)
	}
	return h.enqueueAll(e)
}

// enqueueLimited is enqueue for what is written as far as a limit lets it.
func (h *HSM) enqueueLimited(e audit.Entry, limit *audit.Limit) error {
	suppressed, ok := limit.Allow(e.Time)
	if !ok {
		return nil
	}
	e.Reason = audit.Suppress(e.Reason, suppressed)
	limit.Charge(&e)
	return h.enqueueAll(e)
}

func (h *HSM) enqueueAll(e audit.Entry) error {
	if h.mute.Load() {
		return h.enqueueMute(e)
	}
	q := queued{entry: e}
	if h.cfg.SyncAudit {
		q.written = make(chan error, 1)
	}
	select {
	case h.queue <- q:
	case <-h.ended:
		return ErrAudit
	}
	if q.written == nil {
		return nil
	}
	select {
	case err := <-q.written:
		return err
	case <-h.ended:
	}
	select { // it may have been the last
	case err := <-q.written:
		return err
	default:
		return ErrAudit
	}
}

// enqueueMute is enqueue while the file takes nothing: nobody waits for it. The guard lets no call through that
// would have to be synced, but one may have passed it a moment before: it fails here, as if it had waited.
func (h *HSM) enqueueMute(e audit.Entry) error {
	var err error
	if h.cfg.SyncAudit && e.Result == "Success" {
		unanswered(&e)
		err = ErrAudit
	}
	select {
	case h.queue <- queued{entry: e}:
		return err
	default:
		return ErrAudit
	}
}

// unanswered makes e the entry of a call whose outcome nobody gets to see, because it could not be recorded.
func unanswered(e *audit.Entry) {
	e.Result, e.Reason = "Failed", ErrAudit.Error()
	if e.Status != 0 {
		e.Status = 503
	}
}

func (h *HSM) kickSequencer() {
	select {
	case h.kick <- struct{}{}:
	default:
	}
}

// sequencer is the one writer of the audit log. backlog are entries that the file did not take.
type sequencer struct {
	*HSM
	backlog []audit.Entry
	kept    audit.Head // that the store remembers
	stuck   int        // seconds until a rotation that failed is tried again
}

// sequence runs the sequencer until Close.
func (h *HSM) sequence() {
	defer close(h.ended)
	s := sequencer{HSM: h}
	s.drainOutbox(h.life)
	retry := time.NewTicker(time.Second)
	defer retry.Stop()
	for {
		queue := h.queue
		if len(s.backlog) >= backlogLimit {
			queue = nil
		}
		select {
		case q := <-queue:
			s.appendQueued(q)
		case <-h.kick:
			s.retry()
			s.drainOutbox(h.life)
		case <-retry.C: // the store or the file failed before: try again
			s.retry()
			s.drainOutbox(h.life)
			s.second()
		case <-h.life.Done():
			s.finish()
			return
		}
	}
}

// appendQueued writes q and whatever else waits, in one batch.
func (s *sequencer) appendQueued(q queued) {
	batch, waiting := []audit.Entry{q.entry}, []chan error{q.written}
	for more := true; more && len(batch) < largestBatch; {
		select {
		case q := <-s.queue:
			batch, waiting = append(batch, q.entry), append(waiting, q.written)
		default:
			more = false
		}
	}
	err := ErrAudit // behind entries that the file did not take, none is written
	if len(s.backlog) == 0 {
		err = s.write(batch, s.cfg.SyncAudit)
	}
	for i, w := range waiting {
		if w == nil {
			continue
		}
		if err != nil && batch[i].Result == "Success" {
			unanswered(&batch[i])
		}
		w <- err
	}
	if err != nil {
		s.backlog = append(s.backlog, batch...)
		s.behind.note(s.backlog)
	}
}

// write appends to the file and remembers whether it took it.
func (s *sequencer) write(batch []audit.Entry, sync bool) error {
	if err := s.cfg.Audit.Append(batch, sync); err != nil {
		if !s.mute.Swap(true) {
			s.log.ErrorContext(s.life, "the audit log cannot be written; changes are refused until it can", "error", err)
		}
		return fmt.Errorf("%w: %w", ErrAudit, err)
	}
	s.maybeCheckpoint(uint64(len(batch)))
	s.maybeRotate()
	return nil
}

// retry writes what the file did not take.
func (s *sequencer) retry() {
	for len(s.backlog) > 0 {
		n := min(len(s.backlog), largestBatch)
		if s.write(s.backlog[:n], true) != nil {
			return
		}
		s.backlog = s.backlog[n:]
		s.behind.note(s.backlog)
	}
	s.backlog = nil
}

// drainOutbox moves all outbox records into the file, in the order of their commits. When there are none left, and
// nothing else waits, the file has taken all there was.
func (s *sequencer) drainOutbox(ctx context.Context) {
	for len(s.backlog) == 0 {
		page, err := s.store.Range(ctx, store.Query{Prefix: s.outboxPrefix(), Limit: store.MaxOps - 1})
		if err != nil {
			return // unavailable; the ticker comes back
		}
		if len(page.KVs) == 0 {
			s.speak()
			return
		}
		slices.SortFunc(page.KVs, func(a, b store.KV) int { return cmp.Compare(a.Create, b.Create) })
		if err := s.moveToFile(ctx, page.KVs); err != nil {
			if ctx.Err() == nil && !s.mute.Load() { // else the device closes, and finish goes on
				s.log.ErrorContext(ctx, "audit outbox could not be written", "error", err)
			}
			return
		}
	}
}

// speak ends the time in which the file took nothing.
func (s *sequencer) speak() {
	if s.mute.Swap(false) {
		s.log.InfoContext(s.life, "the audit log can be written again; nothing of it was lost")
	}
}

func (s *sequencer) moveToFile(ctx context.Context, kvs []store.KV) error {
	entries := make([]audit.Entry, len(kvs))
	ops := make([]store.Op, len(kvs))
	for i, kv := range kvs {
		if err := json.Unmarshal(kv.Val, &entries[i]); err != nil {
			return fmt.Errorf("outbox record %s: %w", kv.Key, err)
		}
		ops[i] = store.Delete(kv.Key)
	}
	if err := s.write(entries, true); err != nil {
		return err
	}
	return s.keepHead(ctx, ops)
}

func (s *sequencer) maybeCheckpoint(added uint64) {
	if seq := s.cfg.Audit.Head().Seq; seq/checkpointEvery != (seq-min(added, seq))/checkpointEvery {
		s.checkpoint()
		s.remember(s.life)
	}
}

func (s *sequencer) checkpoint() {
	l := s.root.Load()
	if l == nil {
		return
	}
	if err := s.cfg.Audit.Checkpoint(l.root.LocalSigner(s.cfg.ID)); err != nil {
		s.log.ErrorContext(s.life, "audit checkpoint could not be written", "error", err)
	}
}

// finish writes what waits when the device closes, and a last checkpoint.
func (s *sequencer) finish() {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(s.life), closing)
	defer cancel()
	s.retry()
	s.drainOutbox(ctx)
	for {
		select {
		case q := <-s.queue:
			s.appendQueued(q)
			continue
		default:
		}
		break
	}
	if n := len(s.backlog); n > 0 {
		s.log.ErrorContext(ctx, "audit entries of operations that changed nothing are lost: their file takes none", "count", n)
	}
	s.checkpoint()
	s.remember(ctx)
}
