package drill

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"redoubt/internal/client"
)

// lose is the disaster: the source HSM is deleted and purged, and shown to be gone.
func (d *drill) lose(ctx context.Context) error {
	if err := d.step("disaster", "delete and purge the source HSM", func(s *step) error { return d.disaster(ctx, s) }); err != nil {
		return err
	}
	return d.step("gone", "look for what is left of it", func(s *step) error { return d.proveGone(ctx, s) })
}

func (d *drill) disaster(ctx context.Context, s *step) error {
	roots, records, err := d.traces(ctx)
	if err != nil {
		return err
	}
	if roots == 0 || records == 0 {
		return fmt.Errorf("the source has %d sealed roots and %d records before the purge: to find none afterwards would prove nothing", roots, records)
	}
	d.disasterAt = time.Now()
	d.report.Measured.RecoveryPointSeconds = seconds(d.disasterAt.Sub(d.backupAt))
	if err := d.person.DeleteHSM(ctx, resourceGroup, sourceName); err != nil {
		return err
	}
	if _, err := d.person.FindDeletedHSM(ctx, sourceName); err != nil {
		return err
	}
	if err := d.person.PurgeHSM(ctx, sourceRegion, sourceName); err != nil {
		return err
	}
	d.lostAt = time.Now()
	s.note("%d sealed roots and %d records were there", roots, records)
	return nil
}

func (d *drill) traces(ctx context.Context) (roots, records int, err error) {
	if roots, err = d.sourceDev.Roots(); err != nil {
		return 0, 0, err
	}
	records, err = d.sourceDev.Records(ctx)
	return roots, records, err
}

// proveGone looks for the source everywhere a client can look, and at what the server kept.
func (d *drill) proveGone(ctx context.Context, _ *step) error {
	t := d.proofs.of(proofDestroyed)
	me := d.person
	_, err := me.GetHSM(ctx, resourceGroup, sourceName)
	t.check(client.IsNotFound(err), "the control plane still answers for %s: %v", sourceName, err)
	deleted, err := me.ListDeletedHSMs(ctx)
	t.check(err == nil && !slices.ContainsFunc(deleted, func(x client.DeletedHSM) bool { return strings.EqualFold(x.Name, sourceName) }),
		"%s is among the deleted HSMs: %v", sourceName, err)
	_, err = me.RecoverHSM(ctx, resourceGroup, sourceRegion, sourceName)
	t.check(refused(err), "%s could be recovered after its purge, or the attempt failed otherwise: %v", sourceName, err)
	_, err = d.source.ListKeys(ctx)
	t.check(client.IsNotFound(err), "the data plane still answers for %s: %v", d.source.URL(), err)
	roots, records, err := d.traces(ctx)
	if err != nil {
		return err
	}
	t.check(roots == 0, "%d sealed roots of the source are still on disk", roots)
	t.check(records == 0, "%d records of the source are still in the store", records)
	if ctx.Err() != nil {
		return ctx.Err()
	}
	t.done()
	return nil
}

// refused tells whether err is a service's refusal, and not a failure to ask.
func refused(err error) bool {
	for _, status := range []int{400, 403, 404, 409} {
		if refusedWith(err, status, "") {
			return true
		}
	}
	return false
}
