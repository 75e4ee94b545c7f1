package drill

import (
	"context"
	"time"

	"redoubt/internal/client"
)

// rebuild follows the published procedure on a new HSM in another region, command for command.
func (d *drill) rebuild(ctx context.Context) error {
	began := time.Now()
	for _, s := range []struct {
		name, title string
		do          func(context.Context, *step) error
	}{
		{"create-rebuilt", "create a new HSM in another region", d.createRebuilt},
		{"init-recovery", "fetch its exchange key (init-recovery)", d.initRecovery},
		{"restore-blob", "offline: re-encrypt the security domain for it", d.offlineStep},
		{"upload", "upload the security domain", d.uploadDomain},
		{"restore-point", "back the new HSM up: its restore point", d.takeRestorePoint},
		{"restore", "full restore of the source's last backup", d.restore},
	} {
		if err := d.step(s.name, s.title, func(st *step) error { return s.do(ctx, st) }); err != nil {
			return err
		}
	}
	d.report.Measured.RebuildSeconds = seconds(time.Since(began))
	if d.o.TestOnlyTamper != nil {
		return d.o.TestOnlyTamper(ctx, d.rebuilt)
	}
	return nil
}

func (d *drill) createRebuilt(ctx context.Context, s *step) (err error) {
	if d.rebuilt, d.rebuiltDev, err = d.createHSM(ctx, rebuiltName, rebuiltRegion); err != nil {
		return err
	}
	d.report.Rebuilt.ID = d.rebuiltDev.ID
	d.proveInactive(ctx, d.rebuilt)
	d.proofs.of(proofActivation).done()
	s.note("%s in %s", d.rebuilt.URL(), rebuiltRegion)
	return nil
}

func (d *drill) takeRestorePoint(ctx context.Context, s *step) (err error) {
	d.proveNoRestore(ctx, "before any backup")
	if d.report.RestorePointFolder, err = d.runBackup(ctx, d.rebuilt); err != nil {
		return err
	}
	s.note("%s", d.report.RestorePointFolder)
	return nil
}

// proveNoRestore asks for a restore that must be refused for want of a restore point.
func (d *drill) proveNoRestore(ctx context.Context, when string) {
	job, err := d.rebuilt.StartRestore(ctx, d.storage(), d.report.BackupFolder)
	if err == nil { // let it end: the HSM answers nothing else meanwhile
		_, _ = job.Wait(ctx, nil)
	}
	d.proofs.of(proofRestorePoint).check(refusedWith(err, 400, "NoRestorePoint"), "a full restore %s was not refused for want of a restore point: %v", when, err)
}

func (d *drill) restore(ctx context.Context, s *step) error {
	job, err := d.rebuilt.StartRestore(ctx, d.storage(), d.report.BackupFolder)
	if err != nil {
		return err
	}
	if job, err = job.Wait(ctx, func(j client.Job) { s.note("%s", j.Details) }); err != nil {
		return err
	}
	s.note("%s", clip(job.Details, 160))
	return nil
}
