package hsm

import (
	"testing"
	"time"

	"redoubt/internal/tally"
)

// TestFigures: what the device counts is what was done to it.
func TestFigures(t *testing.T) {
	t.Parallel()
	r := newTestHSM(t)
	st, err := r.Status(t.Context())
	noErr(t, err)
	if st.LastBackup != 0 || st.Unconfirmed {
		t.Errorf("%+v", st)
	}
	r.create("k", ecSpec)
	r.stop()
	r.open()
	for range 3 {
		noErr(t, second(r.Sign(t.Context(), auditedUser(7), "k", "", "ES256", make([]byte, 32))))
	}
	if got := r.Figures().Materials; got != (tally.Lookups{Hits: 2, Misses: 1}) {
		t.Errorf("keys: %+v", got)
	}
	if got := r.Figures().Records; got.Hits < 2 || got.Misses == 0 {
		t.Errorf("records: %+v", got)
	}
	r.succeed(r.StartBackup(t.Context(), admin, sasTarget(backupURI)))
	if doc := r.wait(r.StartRestore(t.Context(), admin, sasTarget(backupURI), "mhsm-ContosoMHSM-2025010203040500")); doc.Status != JobFailed {
		t.Errorf("%+v", doc)
	}
	f := r.Figures()
	if b := f.Jobs[KindBackup]; b.Started != 1 || b.Succeeded != 1 || b.Failed != 0 || b.Took.Count != 1 || f.Running != 0 {
		t.Errorf("backups: %+v", b)
	}
	if b := f.Jobs[KindRestore]; b.Started != 1 || b.Succeeded != 0 || b.Failed != 1 || b.Took.Count != 1 {
		t.Errorf("restores: %+v", b)
	}
	st, err = r.Status(t.Context())
	noErr(t, err)
	if st.LastBackup == 0 || st.LastBackup > r.now() {
		t.Errorf("last backup: %d", st.LastBackup)
	}
}

// TestFiguresOfAFullDisk: what waits for the audit file, and since when. An entry that the sequencer has in its
// hands is in no figure for a moment, so the test asks until they are as they must become.
func TestFiguresOfAFullDisk(t *testing.T) {
	t.Parallel()
	r := newTestHSM(t)
	f := r.onFullFile(false)
	r.create("k", ecSpec)
	f.full.Store(true)
	before := r.cfg.Clock()
	noErr(t, second(r.GetKey(t.Context(), auditedUser(7), "k", "")))
	r.waitAudit(func(a AuditFigures) bool {
		return a.Stopped && a.Waiting == 1 && !a.Oldest.Before(before) && a.Entries > 0
	})
	f.full.Store(false)
	r.waitAudit(func(a AuditFigures) bool { return !a.Stopped && a.Waiting == 0 && a.Oldest.IsZero() })
}

// waitAudit waits until the audit log's figures are so, and keeps the sequencer at work meanwhile.
func (r *testHSM) waitAudit(so func(AuditFigures) bool) {
	r.t.Helper()
	for start := time.Now(); ; r.kickSequencer() {
		a := r.Figures().Audit
		if so(a) {
			return
		}
		if time.Since(start) > time.Minute {
			r.t.Fatalf("the figures stay %+v", a)
		}
	}
}
