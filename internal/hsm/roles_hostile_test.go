package hsm

import (
	"errors"
	"strings"
	"testing"

	"redoubt/internal/rbac"
	"redoubt/internal/store"
)

// Who manages the roles of one key changes nothing for others: definitions count at every scope, and are changed and
// deleted at the root only.
func TestDefinitionIsNotDeletedFromAKey(t *testing.T) {
	t.Parallel()
	r := newTestHSM(t)
	ctx := t.Context()
	d := must[rbac.Definition](t)(r.PutDefinition(ctx, admin, rbac.ScopeRoot, rbac.Definition{ID: rbac.DefinitionID(newGUID()), DataActions: []string{rbac.KeysSign.String()}}))
	r.assign("/keys/mine", strangerID, rbac.PolicyAdministrator)
	for _, scope := range []rbac.Scope{"/keys/mine", "/keys/MINE", rbac.ScopeKeys, rbac.ScopeRoot} {
		_, err := r.DeleteDefinition(ctx, stranger, scope, d.ID)
		if err == nil || !errors.Is(err, rbac.ErrDenied) && !errors.Is(err, rbac.ErrBadDefinition) {
			t.Errorf("at %s: %v", scope, err)
		}
	}
	_, err := r.DeleteDefinition(ctx, admin, rbac.ScopeKeys, d.ID)
	wantErr(t, "at /keys", err, rbac.ErrBadDefinition)
	if got := must[rbac.Definition](t)(r.GetDefinition(ctx, admin, rbac.ScopeRoot, d.ID)); got.ID != d.ID {
		t.Errorf("%+v", got)
	}
	r.check()
}

// A role is never so large that a backup which has it could not be restored.
func TestLargeDefinitionDoesNotSpoilBackups(t *testing.T) {
	t.Parallel()
	r, _ := newActiveDR(t)
	ctx := t.Context()
	for _, size := range []int{1_041_500, 1_043_000, 1_044_000} {
		_, err := r.PutDefinition(ctx, admin, rbac.ScopeRoot, rbac.Definition{ID: rbac.DefinitionID(newGUID()), Actions: []string{strings.Repeat("x", size)}})
		wantErr(t, "a huge role", err, rbac.ErrBadDefinition)
	}
	most := rbac.Definition{ID: rbac.DefinitionID(newGUID()), Actions: make([]string, 1024)}
	for i := range most.Actions {
		most.Actions[i] = "<"
	}
	if _, err := r.PutDefinition(ctx, admin, rbac.ScopeRoot, most); err != nil {
		t.Errorf("many short actions: %v", err)
	}
	doc := r.succeed(r.StartBackup(ctx, admin, sasTarget(backupURI)))
	r.succeed(r.StartRestore(ctx, admin, sasTarget(backupURI), doc.Folder))
	r.sound()
}

// What an earlier server has stored is found when it is backed up, not when it is needed.
func TestBackupRefusesARecordThatNoRestoreTakes(t *testing.T) {
	t.Parallel()
	r, _ := newActiveDR(t)
	v := r.view()
	d := rbac.Definition{ID: rbac.DefinitionID(newGUID()), Actions: []string{strings.Repeat("x", 1_043_000)}}
	must[store.Rev](t)(r.cfg.Store.Txn(t.Context(), nil, []store.Op{v.put(definitionName(d.ID), stamp{}, d)}))
	j, err := r.StartBackup(t.Context(), admin, sasTarget(backupURI))
	doc := r.wait(j, err)
	if doc.Status != JobFailed || !strings.Contains(doc.ErrorMessage, string(d.ID)) {
		t.Errorf("%+v", doc)
	}
	must[rbac.Definition](t)(r.DeleteDefinition(t.Context(), admin, rbac.ScopeRoot, d.ID))
	r.succeed(r.StartBackup(t.Context(), admin, sasTarget(backupURI)))
	r.sound()
}

// Nor does anything else commit what a restore would not take.
func TestCommitRefusesARecordThatNoRestoreTakes(t *testing.T) {
	t.Parallel()
	r := newTestHSM(t)
	ctx := t.Context()
	for size, want := range map[int]error{largestRecord: nil, largestRecord + 1: ErrLimit} {
		c := must[*call](t)(r.begin(ctx, admin, OpRoleDefinitionCreate, rbac.ScopeRoot))
		name := "/scratch/" + newID()
		wantErr(t, "commit", c.commit(ctx, change{ops: []store.Op{store.Put(name, make([]byte, size))}}), want)
		noErr(t, second(r.cfg.Store.Txn(ctx, nil, []store.Op{store.Delete(name)})))
	}
	r.check()
}
