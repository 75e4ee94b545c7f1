package hsm

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"redoubt/internal/backup"
	"redoubt/internal/rbac"
	"redoubt/internal/store"
)

// StartRestore starts a full restore of the backup in folder: destructive, all or nothing. From here on the
// HSM is Restoring and answers for nothing but the job; when the job ends it is Active with the content of
// the backup, or as it was.
func (h *HSM) StartRestore(ctx context.Context, who Caller, t Target, folder string) (job Job, err error) {
	c, err := h.begin(ctx, who, OpRestore, rbac.ScopeRoot)
	if err != nil {
		return Job{}, err
	}
	defer c.end(&err)
	if err := checkFolder(folder); err != nil {
		return Job{}, err
	}
	j, err := c.prepare(KindRestore, t, needRestore)
	if err != nil {
		return Job{}, err
	}
	j.doc.Folder = folder
	check := func() error { return h.checkRestorePoint(c.v.dev, j.doc.URI) }
	return c.start(ctx, j, check, func(d device) device { return d.restoring(j.doc.ID) }, h.restore)
}

func checkFolder(folder string) error {
	if err := backup.CheckFolder(folder); err != nil {
		return fmt.Errorf("%w: %w", ErrBadTarget, err)
	}
	return nil
}

// restore is the work of a full restore. Everything is checked before the first write; what is written goes
// into a generation that nobody reads until the last transaction makes it the current one.
func (h *HSM) restore(ctx context.Context, j *runningJob) (outcome, error) {
	j.progress("looking at the restore point")
	point, err := h.readRestorePoint(ctx, j)
	if err != nil {
		return outcome{}, err
	}
	j.progress("checking the backup")
	a, err := j.openArchive(ctx)
	if err != nil {
		return outcome{}, err
	}
	if err := h.tidy(ctx, j.v.dev); err != nil { // sweeps under way must not reach into the new content
		return outcome{}, fmt.Errorf("remove leftovers: %w", err)
	}
	gen := newID()
	j.undo = func(ctx context.Context) { h.sweepGeneration(ctx, gen) }
	granted, err := j.stage(ctx, a, gen)
	if err != nil {
		return outcome{}, err
	}
	old := j.v.dev.Generation
	details := a.audit()
	details["restorePoint"] = point.Folder
	if len(granted) > 0 {
		details["administratorsGranted"] = strings.Join(granted, " ")
	}
	return outcome{
		details: h.restoreDetails(a, point, granted),
		device:  func(d device) device { return d.restored(gen) },
		audit:   details,
		after: func(ctx context.Context) {
			h.cache.clear()
			h.sweepGeneration(ctx, old)
		},
	}, nil
}

// stage writes the archive's records, still sealed, into generation gen, and after them the assignments of
// the initial administrators if none of these would be Administrator otherwise; it returns whom it granted
// the role.
func (j *runningJob) stage(ctx context.Context, a *archive, gen string) ([]string, error) {
	w := newStager(j.h, store.Unchanged(j.h.deviceKey(), j.v.rev))
	defer w.wait()
	prefix := j.h.generationPrefix(gen)
	for r, err := range backup.Read(ctx, j.storage, a.manifest) {
		if err != nil {
			return nil, err
		}
		if !a.takes(r.Name) {
			continue
		}
		if err := w.add(ctx, store.Put(prefix+r.Name, r.Sealed)); err != nil {
			return nil, err
		}
		if w.total%500 == 0 {
			j.progress("restored %d of %d records", w.total, a.used)
		}
	}
	if w.total != a.used {
		return nil, fmt.Errorf("%w: it changed while it was read", errBadArchive)
	}
	granted := missingAdministrators(j.v.dev.Admins, a.assignments)
	v := j.v
	v.dev.Generation = gen
	for _, admin := range granted {
		as := rbac.Assignment{ID: newGUID(), Scope: rbac.ScopeRoot, Principal: admin, Definition: rbac.Administrator}
		if err := w.add(ctx, v.putAssignment(as)); err != nil {
			return nil, err
		}
	}
	return granted, w.flush(ctx)
}

// missingAdministrators is all of initial when none of them is an Administrator of the whole HSM by as:
// otherwise nobody on this site might be able to use what was restored. Groups cannot be seen from here.
func missingAdministrators(initial []string, as []rbac.Assignment) []string {
	for _, a := range as {
		if administersAll(a) && slices.Contains(initial, a.Principal) {
			return nil
		}
	}
	return initial
}

func (h *HSM) restoreDetails(a *archive, point backup.Manifest, granted []string) string {
	text := fmt.Sprintf("restored from the %s: %d records, %d keys, %d of them soft-deleted; the content before is in the backup %s",
		a.source(h.cfg.Clock()), a.used, len(a.keys), len(a.keys)-a.live, point.Folder)
	if len(granted) > 0 {
		text += "; none of this HSM's initial administrators was an Administrator in the backup, so the role was granted again to " + strings.Join(granted, ", ")
	}
	return text + a.incomplete()
}
