package main

import (
	"errors"
	"fmt"
	"io"
	"os/exec"
	"path/filepath"
	"time"

	"redoubt/internal/audit"
)

// logged is what an audit log says of restores and of the backups they came from.
type logged struct {
	restores []audit.Entry   // that succeeded
	backups  map[string]bool // heads that successful backups say they have in their manifests
	created  []created
}

// created is a key made, and where that stands.
type created struct {
	at  time.Time
	seq uint64
}

// checkAudit proves that the rebuilt HSM has an audit log of its own, which the restore has not replaced: it verifies, and an
// entry of it has the head that the lost HSM's log had when the backup was made. The lost HSM's file, which a purge leaves,
// has that head, too, and nothing that was done before the backup stands behind it.
func (r *run) checkAudit(rebuilds int) error {
	dir := filepath.Join(r.cloud(), "data", "audit")
	chains, err := audit.Chains(dir)
	if err != nil {
		return err
	}
	restored := 0
	for _, c := range chains {
		l, err := readLog(c)
		if err != nil {
			return err
		}
		for _, e := range l.restores {
			restored++
			if err := r.checkSource(c, filepath.Join(dir, e.Details["sourceId"]+".jsonl"), e); err != nil {
				return err
			}
		}
	}
	if restored != rebuilds {
		return fmt.Errorf("%d audit logs tell of a full restore; want %d", restored, rebuilds)
	}
	return nil
}

// checkSource holds the entry of a restore against the log of the HSM that it came from.
func (r *run) checkSource(rebuiltLog, sourceLog string, e audit.Entry) error {
	head, err := audit.ParseHead(e.Details["sourceAuditHead"])
	if err != nil {
		return fmt.Errorf("the entry of the restore: %w", err)
	}
	if e.Details["sourceName"] != source || sourceLog == rebuiltLog {
		return fmt.Errorf("the entry of the restore says that it came from %s, %s", e.Details["sourceName"], e.Details["sourceId"])
	}
	made, err := time.Parse(time.RFC3339, e.Details["sourceTime"])
	if err != nil {
		return fmt.Errorf("the entry of the restore: %w", err)
	}
	lost, err := readLog(sourceLog)
	if err != nil {
		return err
	}
	if !lost.backups[head.String()] {
		return fmt.Errorf("no backup of the lost HSM says that its log had the head %s", head)
	}
	if len(lost.created) == 0 {
		return errors.New("the lost HSM's log tells of no key")
	}
	for _, k := range lost.created {
		if k.at.Before(made) && k.seq > head.Seq {
			return fmt.Errorf("line %d of the lost HSM's log is of a key made before the backup, and stands behind the head %s of the backup", k.seq, head)
		}
	}
	for _, args := range [][]string{{"--file", rebuiltLog}, {"--file", sourceLog, "--expect-head", head.String()}} {
		if out, err := exec.Command(filepath.Join(r.bin, "redoubt"), append([]string{"audit", "verify"}, args...)...).CombinedOutput(); err != nil {
			return fmt.Errorf("redoubt audit verify %v: %w: %s", args, err, out)
		}
	}
	return nil
}

// readLog reads a log whose server runs; its last line may be half written.
func readLog(chain string) (logged, error) {
	l := logged{backups: map[string]bool{}}
	rd, err := audit.NewReader(chain, audit.Position{})
	if err != nil {
		return l, err
	}
	defer func() { _ = rd.Close() }() // only read
	for {
		ln, err := rd.Next()
		if errors.Is(err, io.EOF) {
			return l, nil
		}
		if err != nil {
			return l, err
		}
		if ln.Checkpoint {
			continue
		}
		e, err := ln.Entry()
		if err != nil {
			return l, err
		}
		switch ok := e.Result == "Success"; {
		case ok && e.Operation == "RestoreEnded":
			l.restores = append(l.restores, e)
		case ok && e.Operation == "BackupEnded":
			l.backups[e.Details["auditHead"]] = true
		case ok && e.Operation == "KeyCreate":
			l.created = append(l.created, created{e.Time, ln.Head.Seq})
		}
	}
}
