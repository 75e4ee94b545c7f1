package hsm

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"redoubt/internal/audit"
	"redoubt/internal/rbac"
	"redoubt/internal/store"
)

// Audit entries take one of two ways into the file. A mutation puts its entry into an outbox record in
// its own transaction; the sequencer copies the outbox into the file, syncs it and then deletes the
// records, so an entry is never lost and, because the log drops ids it has seen, never doubled. All
// other entries (reads, crypto, refusals) go through a bounded queue and are written in batches without a
// sync of their own: a power loss may cost the last of them (docs/decisions/0004-audit-durability.md).

const checkpointEvery = 1000 // lines

// entry describes the call for the audit log.
func (c *call) entry(err error) audit.Entry {
	now := c.h.cfg.Clock()
	e := audit.Entry{ID: newID(), Time: now.UTC(), Operation: c.name(), Result: "Success", Principal: c.who.ID, AppID: c.who.AppID,
		UPN: c.who.UPN, CallerIP: c.who.IP, ClientInfo: c.who.Client, RequestID: c.who.RequestID, Target: string(c.scope),
		DomainID: c.v.dev.DomainID, DurationMS: float64(now.Sub(c.started).Microseconds()) / 1000, Details: c.details}
	if err != nil {
		e.Result, e.Reason = "Failed", err.Error()
		if errors.Is(err, rbac.ErrDenied) {
			e.Result = "Denied"
		}
	}
	return e
}

func (c *call) outboxOp() store.Op { return c.h.outboxEntry(c.entry(nil)) }

// outboxEntry is the write that commits e with a change.
func (h *HSM) outboxEntry(e audit.Entry) store.Op {
	b, _ := json.Marshal(e) // strings and numbers: cannot fail
	return store.Put(fmt.Sprintf("%s%020d-%s", h.outboxPrefix(), e.Time.UnixNano(), e.ID), b)
}

// systemEntry is an entry for what the device does by itself (the end of a job, a recovery after a crash).
func (h *HSM) systemEntry(operation, domainID string, err error, details map[string]string) audit.Entry {
	e := audit.Entry{ID: newID(), Time: h.cfg.Clock().UTC(), Operation: operation, Result: "Success", DomainID: domainID, Details: details}
	if err != nil {
		e.Result, e.Reason = "Failed", err.Error()
	}
	return e
}

// enqueue has e written by the sequencer. What the guard did not admit is limited, whatever the reason: a
// caller without any role can bring it about as often as they like.
func (h *HSM) enqueue(e audit.Entry, admitted bool) {
	if e.Result == "Denied" || !admitted {
		suppressed, ok := h.denied.allow(e.Time)
		if !ok {
			return
		}
		if suppressed > 0 {
			e.Reason = fmt.Sprintf("%s (%d earlier refusals were not recorded)", e.Reason, suppressed)
		}
	}
	select {
	case h.queue <- e:
	case <-h.life.Done():
	}
}

func (h *HSM) kickSequencer() {
	select {
	case h.kick <- struct{}{}:
	default:
	}
}

// sequence is the one writer of the audit log. It runs until Close.
func (h *HSM) sequence() {
	h.drainOutbox(h.life)
	retry := time.NewTicker(time.Second)
	defer retry.Stop()
	for {
		select {
		case e := <-h.queue:
			h.appendQueued(e)
		case <-h.kick:
			h.drainOutbox(h.life)
		case <-retry.C: // the store or the file failed before: try again
			h.drainOutbox(h.life)
		case <-h.life.Done():
			h.finishAudit()
			return
		}
	}
}

// appendQueued writes e and whatever else waits, in one batch.
func (h *HSM) appendQueued(e audit.Entry) {
	batch := []audit.Entry{e}
	for len(batch) < 1024 {
		select {
		case e := <-h.queue:
			batch = append(batch, e)
			continue
		default:
		}
		break
	}
	if err := h.cfg.Audit.Append(batch, false); err != nil {
		h.log.ErrorContext(h.life, "audit entries could not be written", "count", len(batch), "error", err)
	}
	h.maybeCheckpoint(uint64(len(batch)))
}

// drainOutbox moves all outbox records into the file, in the order of their commits.
func (h *HSM) drainOutbox(ctx context.Context) {
	for {
		page, err := h.store.Range(ctx, store.Query{Prefix: h.outboxPrefix(), Limit: store.MaxOps})
		if err != nil || len(page.KVs) == 0 {
			return // unavailable or nothing to do; the ticker comes back
		}
		slices.SortFunc(page.KVs, func(a, b store.KV) int { return cmp.Compare(a.Create, b.Create) })
		if err := h.moveToFile(ctx, page.KVs); err != nil {
			if ctx.Err() == nil { // else the device closes, and finishAudit goes on
				h.log.ErrorContext(ctx, "audit outbox could not be written", "error", err)
			}
			return
		}
		h.maybeCheckpoint(uint64(len(page.KVs)))
	}
}

func (h *HSM) moveToFile(ctx context.Context, kvs []store.KV) error {
	entries := make([]audit.Entry, len(kvs))
	ops := make([]store.Op, len(kvs))
	for i, kv := range kvs {
		if err := json.Unmarshal(kv.Val, &entries[i]); err != nil {
			return fmt.Errorf("outbox record %s: %w", kv.Key, err)
		}
		ops[i] = store.Delete(kv.Key)
	}
	if err := h.cfg.Audit.Append(entries, true); err != nil {
		return err
	}
	_, err := h.store.Txn(ctx, nil, ops)
	return err
}

func (h *HSM) maybeCheckpoint(added uint64) {
	if seq := h.cfg.Audit.Head().Seq; seq/checkpointEvery != (seq-min(added, seq))/checkpointEvery {
		h.checkpoint()
	}
}

func (h *HSM) checkpoint() {
	l := h.root.Load()
	if l == nil {
		return
	}
	if err := h.cfg.Audit.Checkpoint(l.root.LocalSigner(h.cfg.ID)); err != nil {
		h.log.ErrorContext(h.life, "audit checkpoint could not be written", "error", err)
	}
}

// finishAudit writes what waits when the device closes, and a last checkpoint.
func (h *HSM) finishAudit() {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(h.life), 5*time.Second)
	defer cancel()
	h.drainOutbox(ctx)
	for {
		select {
		case e := <-h.queue:
			h.appendQueued(e)
			continue
		default:
		}
		break
	}
	h.checkpoint()
}

// deniedLimit keeps requests that were not admitted from filling the disk: a burst of 200, then 20 a second.
type deniedLimit struct {
	mu         sync.Mutex
	tokens     float64
	last       time.Time
	suppressed int
}

func (l *deniedLimit) allow(now time.Time) (suppressed int, ok bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.last.IsZero() {
		l.tokens = 200
	}
	l.tokens = min(200, l.tokens+20*max(0, now.Sub(l.last).Seconds()))
	l.last = now
	if l.tokens < 1 {
		l.suppressed++
		return 0, false
	}
	l.tokens--
	suppressed, l.suppressed = l.suppressed, 0
	return suppressed, true
}
