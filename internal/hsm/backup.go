package hsm

import (
	"context"
	"fmt"
	"iter"
	"time"

	"redoubt/internal/backup"
	"redoubt/internal/blob"
	"redoubt/internal/rbac"
	"redoubt/internal/store"
)

// needBackup is what a backup's SAS must permit: create, read, delete, write.
const needBackup = "crdw"

// backupPage is how many records a backup reads at once.
const backupPage = 200

// StartBackup starts a full backup into a folder of its own. What it holds is the content at one moment
// after the start, while the HSM goes on working.
func (h *HSM) StartBackup(ctx context.Context, who Caller, t Target) (job Job, err error) {
	c, err := h.begin(ctx, who, OpBackup, rbac.ScopeRoot)
	if err != nil {
		return Job{}, err
	}
	defer c.end(&err)
	j, err := c.prepare(KindBackup, t, needBackup)
	if err != nil {
		return Job{}, err
	}
	j.doc.Folder = backup.Folder(h.cfg.Name, h.folderTime())
	return c.start(ctx, j, nil, func(d device) device {
		d.Backups++
		return d
	}, h.backUp)
}

// folderTime is now, or a little later: a folder's name has hundredths of a second, and a backup that failed
// in this one has left blocks in it.
func (h *HSM) folderTime() time.Time {
	now := h.cfg.Clock().Truncate(folderStep)
	h.mu.Lock()
	defer h.mu.Unlock()
	if !now.After(h.lastFolder) {
		now = h.lastFolder.Add(folderStep)
	}
	h.lastFolder = now
	return now
}

const folderStep = 10 * time.Millisecond

// backUp is the work of a backup.
func (h *HSM) backUp(ctx context.Context, j *runningJob) (outcome, error) {
	// What purged keys left behind must not be archived.
	if err := h.tidy(ctx, j.v.dev); err != nil {
		return outcome{}, fmt.Errorf("remove leftovers: %w", err)
	}
	pin, err := h.store.Pin(ctx, jobTimeout)
	if err != nil {
		return outcome{}, storeError("pin the content", err)
	}
	defer pin.Close()
	o := backup.Origin{Folder: j.doc.Folder, HSMID: h.cfg.ID, HSMName: h.cfg.Name, DomainID: j.v.root.DomainID(), Epoch: j.v.root.Epoch(),
		Lineage: j.v.dev.Lineage, Revision: int64(pin.Rev()), Time: h.cfg.Clock(), Sequence: j.v.dev.Backups, AuditHead: h.cfg.Audit.Head().String()}
	m, err := backup.Write(ctx, j.storage, o, h.pinnedRecords(ctx, j, pin.Rev()), j.v.root)
	if err != nil {
		return outcome{}, err
	}
	return h.backupDone(j, m), nil
}

// pinnedRecords yields the content at rev, still sealed, in name order. Between two pages nothing of the
// store is held, so a slow upload blocks nobody.
func (h *HSM) pinnedRecords(ctx context.Context, j *runningJob, rev store.Rev) iter.Seq2[backup.Record, error] {
	prefix := h.generationPrefix(j.v.dev.Generation)
	return func(yield func(backup.Record, error) bool) {
		q := store.Query{Prefix: prefix, Limit: backupPage, At: rev}
		done := 0
		for {
			page, err := h.store.Range(ctx, q)
			if err != nil {
				yield(backup.Record{}, storeError("read the content", err))
				return
			}
			for _, kv := range page.KVs {
				if len(kv.Val) > largestRecord { // of an earlier server; what a restore would refuse must not be taken for a backup
					yield(backup.Record{}, fmt.Errorf("%w: record %s has %d bytes, and no restore takes more than %d; make what it holds smaller, or delete it", ErrLimit, kv.Key[len(prefix):], len(kv.Val), largestRecord))
					return
				}
				if !yield(backup.Record{Name: kv.Key[len(prefix):], Sealed: kv.Val}, nil) {
					return
				}
			}
			if !page.More || len(page.KVs) == 0 {
				return
			}
			q.After = page.KVs[len(page.KVs)-1].Key
			done += len(page.KVs)
			j.progress("%d records read", done)
		}
	}
}

// backupDone makes the backup the restore point of the device.
func (h *HSM) backupDone(j *runningJob, m backup.Manifest) outcome {
	point := restorePoint{Job: j.doc.ID, Lineage: m.Lineage, URI: j.storage.URL(), Folder: m.Folder, Identity: j.doc.Identity, Time: m.Time.Unix()}
	return outcome{
		details:   fmt.Sprintf("%d records, %d bytes, at revision %d of %s, in security domain %s", m.Records, m.Bytes, m.Revision, m.Time.Format(time.RFC3339), m.DomainID),
		folderURL: j.storage.URL() + "/" + m.Folder,
		device: func(d device) device {
			d = d.jobEnded()
			d.Point = &point
			return d
		},
		audit: map[string]string{"records": fmt.Sprint(m.Records), "bytes": fmt.Sprint(m.Bytes), "sequence": fmt.Sprint(m.Sequence), "auditHead": m.AuditHead},
		after: func(context.Context) { h.keepContainer(j.doc.ID, j.storage) },
	}
}

// keepContainer keeps the storage of the newest backup open, so that a restore can read its manifest again
// even when the SAS that opened it came with the request only.
func (h *HSM) keepContainer(job string, c blob.Container) {
	h.mu.Lock()
	defer h.mu.Unlock()
	clear(h.containers)
	h.containers[job] = c
}

func (h *HSM) keptContainer(job string) blob.Container {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.containers[job]
}
