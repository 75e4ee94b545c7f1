package hsm

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"strings"

	"redoubt/internal/backup"
	"redoubt/internal/blob"
	"redoubt/internal/rbac"
	"redoubt/internal/store"
)

// The checks before a full backup and before a full restore (API version 7.6: PreFullBackup and
// PreFullRestoreOperation). They are jobs like those they stand before, are polled like them, end with the same
// errors, and change nothing: neither on the HSM nor, beyond one small object that goes again, in the storage.

// StartPreBackup checks whether a full backup into t would succeed: the content can be read, the storage
// answers and lets objects be written, read and deleted. Without a target only the HSM itself is looked at.
func (h *HSM) StartPreBackup(ctx context.Context, who Caller, t Target) (job Job, err error) {
	c, err := h.begin(ctx, who, OpPreBackup, rbac.ScopeRoot)
	if err != nil {
		return Job{}, err
	}
	defer c.end(&err)
	j, err := c.prepareCheck(KindPreBackup, t, needBackup)
	if err != nil {
		return Job{}, err
	}
	if j.storage != nil {
		j.doc.Folder = backup.Folder(h.cfg.Name, h.folderTime())
	}
	return c.start(ctx, j, nil, func(d device) device { return d }, h.checkBackup)
}

// StartPreRestore checks whether a full restore of the backup in folder would succeed: there is a restore point
// that can be read, and the archive is whole, genuine, of this security domain, and opens from end to end.
// The HSM stays in use. Without a folder no archive is looked at, and without a target no storage.
func (h *HSM) StartPreRestore(ctx context.Context, who Caller, t Target, folder string) (job Job, err error) {
	c, err := h.begin(ctx, who, OpPreRestore, rbac.ScopeRoot)
	if err != nil {
		return Job{}, err
	}
	defer c.end(&err)
	if folder != "" {
		if err := checkFolder(folder); err != nil {
			return Job{}, err
		}
		if t.none() {
			return Job{}, fmt.Errorf("%w: folderToRestore names a folder, but sasTokenParameters no storage that it is in", ErrBadTarget)
		}
	}
	j, err := c.prepareCheck(KindPreRestore, t, needRestore)
	if err != nil {
		return Job{}, err
	}
	j.doc.Folder = folder
	check := func() error { return h.checkRestorePoint(c.v.dev, j.doc.URI) }
	return c.start(ctx, j, check, func(d device) device { return d }, h.checkRestore)
}

// none tells whether nothing is named at all.
func (t Target) none() bool { return t.URI == "" && t.SAS == nil && !t.UseIdentity }

// prepareCheck is prepare for a job that can do without storage.
func (c *call) prepareCheck(kind string, t Target, need string) (*runningJob, error) {
	if !t.none() {
		return c.prepare(kind, t, need)
	}
	return &runningJob{h: c.h, done: make(chan struct{}), doc: jobDocument{
		Job: Job{ID: newID(), Kind: kind, Status: JobInProgress, Start: c.h.now()}, StartedBy: c.who.ID}}, nil
}

// checkBackup is the work of the check before a backup.
func (h *HSM) checkBackup(ctx context.Context, j *runningJob) (outcome, error) {
	records, size := 0, 0
	err := j.v.scan(ctx, "", func(_ string, kv store.KV) (bool, error) {
		records, size = records+1, size+len(kv.Val)
		return true, nil
	})
	if err != nil {
		return outcome{}, err
	}
	text := fmt.Sprintf("Pre Full backup check passed: a backup now would hold %d records, %d bytes, of security domain %s", records, size, j.v.root.DomainID())
	if j.storage == nil {
		return outcome{details: text + "; no storage was named, so none was looked at"}, nil
	}
	j.progress("Pre Full backup check: trying the storage")
	if err := j.probe(ctx); err != nil {
		return outcome{}, err
	}
	return outcome{details: text + "; objects can be written, read and deleted in " + j.storage.URL()}, nil
}

// probe writes an object beside the folders of backups, reads it again and deletes it: nothing less shows that a
// backup may. What a crash leaves of it is no part of any backup.
func (j *runningJob) probe(ctx context.Context) error {
	name, content := j.doc.Folder+".check", []byte("a check before a backup of "+j.h.cfg.Name+"; to be deleted\n")
	err := j.storage.Put(ctx, name, content)
	if err == nil || errors.Is(err, blob.ErrUnreachable) { // then it may be there
		j.undo = func(ctx context.Context) {
			if err := j.storage.Delete(ctx, name); err != nil {
				j.h.log.WarnContext(ctx, "the object of a check before a backup is left in the storage", "name", name, "error", j.scrub(err.Error()))
			}
		}
	}
	if err != nil {
		return err
	}
	if err := j.readBack(ctx, name, content); err != nil {
		return err
	}
	return j.storage.Delete(ctx, name)
}

func (j *runningJob) readBack(ctx context.Context, name string, want []byte) error {
	r, _, err := j.storage.Get(ctx, name)
	if err != nil {
		return err
	}
	got, err := io.ReadAll(io.LimitReader(r, int64(len(want))+1))
	if err := errors.Join(err, r.Close()); err != nil {
		return fmt.Errorf("%w: %s: %v", blob.ErrUnreachable, name, err)
	}
	if !bytes.Equal(got, want) {
		return fmt.Errorf("%w: %s was read back with other bytes than were written", backup.ErrTampered, name)
	}
	return nil
}

// checkRestore is the work of the check before a restore: what a restore does before its first write.
func (h *HSM) checkRestore(ctx context.Context, j *runningJob) (outcome, error) {
	j.progress("Pre Full restore check: looking at the restore point")
	point, err := h.readRestorePoint(ctx, j)
	if err != nil {
		return outcome{}, err
	}
	text := "Pre Full restore check passed: the restore point is the backup " + point.Folder
	switch {
	case j.storage == nil:
		return outcome{details: text + "; no storage was named, so no backup was looked at"}, nil
	case j.doc.Folder == "":
		for _, err := range j.storage.List(ctx, "mhsm-") {
			if err != nil {
				return outcome{}, err
			}
			break
		}
		return outcome{details: text + "; objects can be listed in " + j.storage.URL() + "; no folder was named, so no backup was looked at"}, nil
	}
	a, err := j.openArchive(ctx)
	if err != nil {
		return outcome{}, err
	}
	text += fmt.Sprintf("; a restore would bring back %d records, %d keys, %d of them soft-deleted, of the %s", a.used, len(a.keys), len(a.keys)-a.live, a.source(h.cfg.Clock()))
	if granted := missingAdministrators(j.v.dev.Admins, a.assignments); len(granted) > 0 {
		text += "; none of this HSM's initial administrators is an Administrator in the backup, so the role would be granted again to " + strings.Join(granted, ", ")
	}
	return outcome{details: text + a.incomplete(), audit: a.audit()}, nil
}
