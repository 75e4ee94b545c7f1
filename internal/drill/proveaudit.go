package drill

import (
	"errors"
	"fmt"
	"os"

	"redoubt/internal/audit"
)

// proveAudit verifies both audit files, which are complete now that the cloud has stopped, and looks for
// what must stand in them.
func (d *drill) proveAudit(s *step) error {
	t := d.proofs.of(proofAudit)
	source := []expected{
		{"making every key", "KeyCreate", "Success", nil, d.report.Keys.Versions - rotationsOf(d.plan)},
		{"rotating keys", "KeyRotate", "Success", nil, rotationsOf(d.plan)},
		{"the download of the security domain", "SecurityDomainBackup", "Success", map[string]string{"domain": d.report.DomainID}, 1},
		{"the end of the backup", "BackupEnded", "Success", nil, 1},
		{"refused requests", "", "Denied", nil, 1},
	}
	rebuilt := []expected{
		{"the upload of the security domain", "SecurityDomainRestore", "Success", map[string]string{"domain": d.report.DomainID}, 1},
		{"the end of the restore point", "BackupEnded", "Success", nil, 1},
		{"the end of the restore", "RestoreEnded", "Success", map[string]string{"folder": d.report.BackupFolder}, 1},
		{"the refused second restore", "RestoreCreate", "Failed", nil, 2},
		{"refused requests", "", "Denied", nil, 1},
	}
	var head string // of the source's log when the backup was made, as the rebuilt HSM's own log has it
	b, err := d.auditFile(d.rebuiltDev, rebuiltName, "", rebuilt, t, func(e audit.Entry) {
		if e.Operation == "RestoreEnded" && e.Result == "Success" {
			head = e.Details["sourceAuditHead"]
		}
	})
	if err != nil {
		return err
	}
	t.check(head != "", "the restore's entry does not name the head of the source's audit log")
	told := false
	a, err := d.auditFile(d.sourceDev, sourceName, head, source, t, func(e audit.Entry) {
		told = told || e.Operation == "BackupEnded" && e.Details["auditHead"] == head
	})
	if err != nil {
		return err
	}
	t.check(told, "the source's backup did not have the audit head %s that the restore names", head)
	t.done()
	s.note("%d and %d lines", a, b)
	return nil
}

// expected is something that must stand in an audit file.
type expected struct {
	what, operation, result string
	details                 map[string]string
	times                   int // at least
}

func (x expected) matches(e audit.Entry) bool {
	if x.operation != "" && e.Operation != x.operation || e.Result != x.result {
		return false
	}
	for k, v := range x.details {
		if e.Details[k] != v {
			return false
		}
	}
	return true
}

// auditFile verifies a file, in which head, if it is not empty, must occur, and shows each every entry.
func (d *drill) auditFile(dev Device, name, head string, want []expected, t *tally, each func(audit.Entry)) (lines uint64, err error) {
	f, err := os.Open(dev.Audit)
	if err != nil {
		return 0, fmt.Errorf("the audit file of %s: %w", name, err)
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	found := make([]int, len(want))
	rep, verr := audit.Verify(f, head, func(e audit.Entry) error {
		each(e)
		for i, x := range want {
			if x.matches(e) {
				found[i]++
			}
		}
		return nil
	})
	t.check(verr == nil, "the audit file of %s: %v", name, verr)
	t.check(rep.Checkpoints > 0 && rep.SinceCheck == 0, "the audit file of %s does not end with a signed checkpoint (%d checkpoints, %d lines after the last)", name, rep.Checkpoints, rep.SinceCheck)
	for i, x := range want {
		t.check(found[i] >= x.times, "the audit file of %s tells %d times of %s, expected at least %d", name, found[i], x.what, x.times)
	}
	return rep.Head.Seq, nil
}
