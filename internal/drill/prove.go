package drill

import (
	"context"
	"fmt"
	"slices"
	"time"
)

// prove compares the rebuilt HSM with what the source was. Nothing is changed before the inventory is
// taken; what changes the HSM or stops it comes last.
func (d *drill) prove(ctx context.Context) error {
	for _, s := range []struct {
		name, title string
		do          func(context.Context, *step) error
	}{
		{"compare", "compare the inventories", d.proveInventory},
		{"use-keys", "verify, decrypt and sign with every key", d.proveUses},
		{"try-roles", "try the roles", d.proveRoles},
		{"recover-keys", "recover the deleted keys", d.proveDeleted},
		{"recovery-point", "look for what was written after the backup", d.proveLost},
		{"second-restore", "try a second restore without a fresh restore point", d.proveSecondRestore},
	} {
		if err := d.step(s.name, s.title, func(st *step) error { return s.do(ctx, st) }); err != nil {
			return err
		}
	}
	d.report.Measured.RecoverySeconds = seconds(time.Since(d.lostAt))
	if err := d.step("stop", "stop the cloud", func(*step) error { return d.stop() }); err != nil {
		return err
	}
	return d.step("audit", "verify the audit chains", d.proveAudit)
}

func (d *drill) proveInventory(ctx context.Context, s *step) error {
	n, err := takeInventory(ctx, s, d.rebuilt, d.file(rebuiltInventory))
	if err != nil {
		return err
	}
	t := d.proofs.of(proofInventory)
	differences := 0
	compared, err := diffInventories(d.file(sourceInventory), d.file(rebuiltInventory), func(text string) {
		differences++
		t.check(false, "%s", text)
	})
	if err != nil {
		return err
	}
	t.checkMany(compared - differences)
	t.done()
	s.note("%d entries, %d differences", n, differences)
	return nil
}

// checkMany counts checks that were in order.
func (t *tally) checkMany(n int) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.checked += n
}

func (d *drill) proveLost(ctx context.Context, s *step) error {
	t := d.proofs.of(proofLost)
	for _, w := range d.lost {
		there, err := w.present(ctx, d.rebuilt)
		t.check(err == nil && !there, "%s is on the rebuilt HSM, or the look failed: %v", w.what, err)
	}
	if ctx.Err() != nil {
		return ctx.Err()
	}
	t.done()
	s.note("%d writes, none there", len(d.lost))
	return nil
}

func (d *drill) proveSecondRestore(ctx context.Context, _ *step) error {
	d.proveNoRestore(ctx, "after the restore, without a new backup")
	if ctx.Err() != nil {
		return ctx.Err()
	}
	d.proofs.of(proofRestorePoint).done()
	return nil
}

// proveDeleted recovers every soft-deleted key and uses it.
func (d *drill) proveDeleted(ctx context.Context, s *step) error {
	t := d.proofs.of(proofDeleted)
	n := 0
	deleted := func(yield func(record, error) bool) {
		for r, err := range readSpool[record](d.file(evidenceFile)) {
			if err == nil && r.Fate != fateDeleted {
				continue
			}
			n++
			if !yield(r, err) {
				return
			}
		}
	}
	err := each(ctx, deleted, func(ctx context.Context, r record) error {
		if err := d.recoverKey(ctx, r); err != nil {
			if ctx.Err() != nil {
				return ctx.Err()
			}
			t.check(false, "%s: %v", r.Name, err)
			return nil
		}
		t.check(true, "")
		return d.checkUses(ctx, r, t, t, nil)
	})
	if err != nil {
		return err
	}
	t.done()
	s.note("%d keys", n)
	return nil
}

// recoverKey recovers one key and compares its versions with those that were made.
func (d *drill) recoverKey(ctx context.Context, r record) error {
	if _, err := d.rebuilt.RecoverKey(ctx, r.Name); err != nil {
		return err
	}
	policy, err := d.rebuilt.RotationPolicy(ctx, r.Name)
	if err != nil {
		return err
	}
	if r.Policy.ID != "" && (policy.Attributes != r.Policy.Attributes || !slices.Equal(policy.Actions, r.Policy.Actions)) {
		return fmt.Errorf("its rotation policy came back as %+v", policy)
	}
	items, err := d.rebuilt.ListKeyVersions(ctx, r.Name)
	if err != nil {
		return err
	}
	have := map[string]bool{}
	for _, item := range items {
		have[item.Version()] = true
	}
	for _, v := range r.Versions {
		if !have[v.Version] {
			return fmt.Errorf("version %s did not come back", v.Version)
		}
	}
	if len(have) != len(r.Versions) {
		return fmt.Errorf("%d versions came back of %d", len(have), len(r.Versions))
	}
	return nil
}
