package hsm

import (
	"context"
	"errors"
	"fmt"
	"sync"

	"redoubt/internal/backup"
	"redoubt/internal/key"
	"redoubt/internal/rbac"
	"redoubt/internal/store"
)

// StartSelectiveRestore starts to bring back one key with all its versions from the backup in folder. The
// name must be free: neither live nor soft-deleted. The HSM stays in use.
func (h *HSM) StartSelectiveRestore(ctx context.Context, who Caller, name key.Name, t Target, folder string) (job Job, err error) {
	c, err := h.begin(ctx, who, OpSelectiveRestore, rbac.ScopeRoot)
	if err != nil {
		return Job{}, err
	}
	defer c.end(&err)
	c.note("key", string(name))
	if _, err := key.ParseName(string(name)); err != nil {
		return Job{}, err
	}
	if err := checkFolder(folder); err != nil {
		return Job{}, err
	}
	j, err := c.prepare(KindSelectiveRestore, t, needRestore)
	if err != nil {
		return Job{}, err
	}
	j.doc.Folder, j.doc.Key = folder, name
	check := func() error { return c.v.nameFree(ctx, name) }
	return c.start(ctx, j, check, func(d device) device { return d }, h.restoreKey)
}

// nameFree refuses a name that is taken.
func (v *view) nameFree(ctx context.Context, name key.Name) error {
	_, _, err := load[head](ctx, v, headName(name))
	if err == nil {
		return answerf(key.ErrExists, "Key %s exists; a restore does not replace it: delete and purge it first (az keyvault key delete --hsm-name %s --name %s, then az keyvault key purge)", name, v.h.cfg.Name, name)
	}
	if !isAbsent(err) {
		return err
	}
	_, _, err = load[head](ctx, v, deletedName(name))
	if err == nil {
		return v.h.nameDeleted(name)
	}
	if !isAbsent(err) {
		return err
	}
	return nil
}

// restoreKey is the work of a selective restore. The whole archive is checked first. Versions and material
// are staged behind a note that has them swept if the job does not end well; the last transaction puts the
// head, which makes them a key, and drops the note.
func (h *HSM) restoreKey(ctx context.Context, j *runningJob) (outcome, error) {
	j.progress("checking the backup")
	a, err := j.openArchive(ctx)
	if err != nil {
		return outcome{}, err
	}
	k, err := a.find(j.doc.Key)
	if err != nil {
		return outcome{}, err
	}
	if err := h.tidy(ctx, j.v.dev); err != nil { // nothing of this key's former life may be left
		return outcome{}, fmt.Errorf("remove leftovers: %w", err)
	}
	if err := j.v.nameFree(ctx, j.doc.Key); err != nil {
		return outcome{}, err
	}
	release, err := j.v.reserveName(ctx)
	if err != nil {
		return outcome{}, err
	}
	free := sync.OnceFunc(func() { release(false) })
	j.undo = func(ctx context.Context) {
		free()
		if err := h.sweepKey(ctx, k.incarnation); err != nil {
			h.log.WarnContext(ctx, "a restored part of a key is left to be swept", "error", err)
		}
	}
	sealedHead, stage, err := j.stageKey(ctx, a, k)
	if err != nil {
		return outcome{}, err
	}
	details := a.audit()
	details["key"] = string(j.doc.Key)
	text := fmt.Sprintf("restored key %s with %d versions from the %s", k.name, k.versions, a.source(h.cfg.Clock()))
	reveal := stage.reveal(j.doc.Key, store.Put(j.v.contentKey(headName(j.doc.Key)), sealedHead))
	return outcome{
		details: text + a.incomplete(),
		ifs:     reveal.ifs,
		ops:     reveal.ops,
		lost:    answerf(key.ErrExists, "Key %s was created by someone else while it was being restored; what they created stays", j.doc.Key),
		audit:   details,
		after: func(context.Context) {
			release(true)
			h.agenda.note(h.now()) // what its policy says was not looked at
		},
	}, nil
}

// errSoftDeleted explains why a selective restore does not bring back a key that the backup has as deleted.
var errSoftDeleted = errors.New("it is soft-deleted in this backup; a full restore brings it back as such")

// find looks a live key up.
func (a *archive) find(name key.Name) (*archivedKey, error) {
	for _, k := range a.keys {
		if k.name.Fold() != name.Fold() {
			continue
		}
		if k.logical != headName(name) {
			return nil, fmt.Errorf("%w: %s: %w", key.ErrNotFound, name, errSoftDeleted)
		}
		return k, nil
	}
	return nil, fmt.Errorf("%w: %s is not in the backup %s", key.ErrNotFound, name, a.manifest.Folder)
}

// stageKey stages versions and material, still sealed, and returns the sealed head that would reveal them.
func (j *runningJob) stageKey(ctx context.Context, a *archive, k *archivedKey) (sealedHead []byte, s *keyStage, err error) {
	inc := k.incarnation
	if s, err = j.v.stageKey(ctx, inc); err != nil {
		return nil, nil, err
	}
	defer s.wait()
	for _, prefix := range []string{k.logical, materialsPrefix(inc), versionsPrefix(inc)} {
		for r, err := range backup.ReadPrefix(ctx, j.storage, a.manifest, prefix) {
			if err != nil {
				return nil, nil, err
			}
			if r.Name == k.logical {
				sealedHead = r.Sealed
			} else if incarnationOf(r.Name) == inc {
				if err := s.add(ctx, store.Put(j.v.contentKey(r.Name), r.Sealed)); err != nil {
					return nil, nil, err
				}
			}
		}
	}
	if sealedHead == nil || s.total != k.versions+k.materials {
		return nil, nil, fmt.Errorf("%w: it changed while it was read", errBadArchive)
	}
	return sealedHead, s, s.flush(ctx)
}
