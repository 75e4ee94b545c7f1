package fleet

import (
	"context"
	"errors"
	"time"

	"redoubt/internal/audit"
)

// tendOn tends the fleet at every tick until ctx ends, and goes on without waiting while there is more to do.
func (f *Fleet) tendOn(ctx context.Context, ticks <-chan time.Time) {
	for {
		select {
		case <-ctx.Done():
			return
		case <-ticks:
			for f.Tend(ctx) && ctx.Err() == nil {
				continue
			}
		}
	}
}

// Tend sees once to what has come due: keys to rotate or to purge on the live HSMs, a bounded number on each, and
// soft-deleted HSMs whose retention has ended, which are purged. more tells that there is more to do at once. What
// fails is logged and tried again the next time.
func (f *Fleet) Tend(ctx context.Context) (more bool) {
	f.mu.RLock()
	members := make([]*member, 0, len(f.byName))
	for _, m := range f.byName {
		members = append(members, m)
	}
	f.mu.RUnlock()
	for _, m := range members {
		r, _, d := f.state(m)
		var err error
		var left bool
		if d != nil {
			left, err = d.Tend(ctx)
		} else if f.overdue(r) {
			err = f.purgeOverdue(ctx, m)
		}
		if err != nil && ctx.Err() == nil {
			f.cfg.Log.WarnContext(ctx, "what has come due on a managed HSM could not all be done; it is tried again", "hsm", r.Name, "error", err)
		}
		more = more || left
	}
	return more
}

// overdue tells whether the resource is to be purged without anybody asking: its retention has ended, with or
// without purge protection, or a purge was begun and not finished.
func (f *Fleet) overdue(r Resource) bool {
	return r.Deletion != nil && (r.Purging || f.cfg.Clock().Unix() >= r.Deletion.PurgeAt)
}

// purgeOverdue purges an HSM if it is still overdue when nobody else changes it.
func (f *Fleet) purgeOverdue(ctx context.Context, m *member) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	r, mod, _ := f.state(m)
	if !f.overdue(r) {
		return nil
	}
	if known, err := f.member(r.Name); err != nil || known != m {
		return nil // purged meanwhile
	}
	about := audited(&r)
	e := audit.Entry{Operation: "ManagedHsmPurge", Result: "Started", Resource: &about, Details: map[string]string{"hsmId": r.ID, "reason": "the retention has ended"}}
	if err := f.cfg.Trail.Record(e); err != nil {
		return err
	}
	err := f.purge(ctx, m, r, mod)
	if e.Result = "Success"; err != nil {
		e.Result, e.Reason = "Failed", err.Error()
	}
	if err := errors.Join(err, f.cfg.Trail.Record(e)); err != nil {
		return err
	}
	f.cfg.Log.InfoContext(ctx, "a managed HSM was purged at the end of its retention", "hsm", r.Name, "id", r.ID)
	return nil
}
