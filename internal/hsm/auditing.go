package hsm

import (
	"errors"
	"fmt"

	"redoubt/internal/audit"
	"redoubt/internal/rbac"
	"redoubt/internal/store"
)

// Audit entries take one of two ways into the file. A mutation puts its entry into an outbox record in
// its own transaction; the sequencer (sequencer.go) copies the outbox into the file, syncs it and then deletes the
// records, so an entry is never lost and, because the log drops ids it has seen, never doubled. All
// other entries (reads, crypto, refusals) go through a bounded queue and are written in batches: without a
// sync of their own, so that a power loss may cost the last of them, or, with Config.SyncAudit, synced before
// the answer (docs/decisions/0004-audit-durability.md).

// entry describes the call for the audit log.
func (c *call) entry(err error) audit.Entry {
	now := c.h.cfg.Clock()
	e := audit.Entry{ID: newID(), Time: now.UTC(), Operation: c.name(), Version: c.who.Version, Result: "Success", Principal: c.who.ID, AppID: c.who.AppID,
		UPN: c.who.UPN, CallerIP: c.who.IP, ClientInfo: c.who.Client, RequestID: c.who.RequestID, RequestURI: c.who.URI, Target: string(c.scope),
		DomainID: c.v.dev.DomainID, DurationMS: float64(now.Sub(c.started).Microseconds()) / 1000, Details: c.details, Resource: &c.h.cfg.Resource}
	switch {
	case c.who.Status == nil: // nobody is answered
	case err != nil:
		e.Status = c.who.Status(err)
	default:
		e.Status = c.op.status()
	}
	if err != nil {
		e.Result, e.Reason = "Failed", shortened(err.Error())
		if errors.Is(err, rbac.ErrDenied) || c.who.Barred != nil {
			e.Result = "Denied"
		}
	}
	return e
}

func (c *call) outboxOp() store.Op { return c.h.outboxEntry(c.entry(nil)) }

// outboxEntry is the write that commits e with a change.
func (h *HSM) outboxEntry(e audit.Entry) store.Op {
	return store.Put(fmt.Sprintf("%s%020d-%s", h.outboxPrefix(), e.Time.UnixNano(), e.ID), e.Append(nil))
}

// systemEntry is an entry for what the device does by itself (the end of a job, a recovery after a crash).
func (h *HSM) systemEntry(operation, domainID string, err error, details map[string]string) audit.Entry {
	e := audit.Entry{ID: newID(), Time: h.cfg.Clock().UTC(), Operation: operation, Result: "Success", DomainID: domainID, Details: details, Resource: &h.cfg.Resource}
	if err != nil {
		e.Result, e.Reason = "Failed", err.Error()
	}
	return e
}

// Trace records a request that came to no operation: e has what is known of it. Requests without a token have a limit of
// their own, so that whoever has none cannot keep the refusals of others out of the log.
func (h *HSM) Trace(e audit.Entry) {
	limit := &h.denied
	if e.Principal == "" {
		limit = &h.strangers
	}
	e.ID, e.Time, e.Resource = newID(), h.cfg.Clock().UTC(), &h.cfg.Resource
	_ = h.enqueueLimited(e, limit) // nobody waits for it: the request has failed already
}
