package hsm

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"strings"
	"testing"
	"time"

	"redoubt/internal/backup"
	"redoubt/internal/blob"
	"redoubt/internal/blob/blobtest"
	"redoubt/internal/rbac"
)

// jobDeeds start the device's jobs, as far as it takes to be admitted: the storage's address is refused.
var jobDeeds = map[Operation]func(ctx context.Context, r *testHSM, who Caller) error{
	OpBackup: func(ctx context.Context, r *testHSM, who Caller) error {
		return second(r.StartBackup(ctx, who, Target{URI: "x"}))
	},
	OpRestore: func(ctx context.Context, r *testHSM, who Caller) error {
		return second(r.StartRestore(ctx, who, Target{URI: "x"}, "mhsm-x-2026010203040500"))
	},
	OpSelectiveRestore: func(ctx context.Context, r *testHSM, who Caller) error {
		return second(r.StartSelectiveRestore(ctx, who, "k", Target{URI: "x"}, "mhsm-x-2026010203040500"))
	},
	OpPreBackup: func(ctx context.Context, r *testHSM, who Caller) error {
		return second(r.StartPreBackup(ctx, who, Target{URI: "x"}))
	},
	OpPreRestore: func(ctx context.Context, r *testHSM, who Caller) error {
		return second(r.StartPreRestore(ctx, who, Target{URI: "x"}, ""))
	},
	OpBackupStatus: func(ctx context.Context, r *testHSM, who Caller) error {
		return second(r.BackupStatus(ctx, who, newID()))
	},
	OpRestoreStatus: func(ctx context.Context, r *testHSM, who Caller) error {
		return second(r.RestoreStatus(ctx, who, newID()))
	},
}

// unchanged wants the content, the restore point and both containers as they were before do.
func (r *testHSM) unchanged(do func()) {
	r.t.Helper()
	content, d := r.inventory(), r.dev()
	objects := map[string]map[string][]byte{backupURI: r.container(backupURI).Objects(), otherURI: r.container(otherURI).Objects()}
	do()
	sameInventory(r.t, r.inventory(), content)
	now := r.dev()
	if now.State != Active || now.Job != "" || now.Backups != d.Backups || now.Lineage != d.Lineage || fmt.Sprint(now.Point) != fmt.Sprint(d.Point) {
		r.t.Errorf("the device was %+v, now it is %+v", d, now)
	}
	for uri, before := range objects {
		if after := r.container(uri).Objects(); !maps.EqualFunc(before, after, func(a, b []byte) bool { return string(a) == string(b) }) {
			r.t.Errorf("%s had %d objects, now it has %d", uri, len(before), len(after))
		}
	}
	r.sound()
}

func TestPreBackup(t *testing.T) {
	t.Parallel()
	r, _ := newActiveDR(t)
	r.fill("src-")
	ctx := t.Context()
	c := r.container(backupURI)
	r.unchanged(func() {
		doc := r.succeed(r.StartPreBackup(ctx, operator, sasTarget(backupURI)))
		mustSay(t, errors.New(doc.Details), "Pre Full backup check passed", fmt.Sprintf("%d records", len(r.inventory())), r.dev().DomainID, backupURI)
		if doc.FolderURL != "" || c.Writes() != 2 {
			t.Errorf("folder %q, %d writes", doc.FolderURL, c.Writes())
		}
		for _, t2 := range []Target{{URI: backupURI, UseIdentity: true}, sasTarget(backupURI)} {
			if j := must[Job](t)(r.BackupStatus(ctx, operator, r.succeed(r.StartPreBackup(ctx, admin, t2)).ID)); j.Kind != KindPreBackup {
				t.Errorf("%+v", j)
			}
		}
		doc = r.succeed(r.StartPreBackup(ctx, operator, Target{}))
		mustSay(t, errors.New(doc.Details), "no storage was named")
	})
	r.unchanged(func() {
		for _, tc := range []struct {
			op   blobtest.Op
			err  error
			code string
			word string
		}{
			{blobtest.OpPut, blob.ErrDenied, "AuthorizationPermissionMismatch", "--permissions crdw"},
			{blobtest.OpGet, blob.ErrDenied, "AuthorizationPermissionMismatch", "--permissions crdw"},
			{blobtest.OpPut, blob.ErrNoContainer, "ContainerNotFound", "az storage container create --name mhsmbackupcontainer"},
			{blobtest.OpPut, blob.ErrExpired, "AuthenticationFailed", "--permissions crdw"},
			{blobtest.OpPut, blob.ErrFull, "StorageFull", "make room"},
			{blobtest.OpPut, blob.ErrUnreachable, "StorageUnreachable", "start again"},
		} {
			c.Deny(tc.op, tc.err)
			j, err := r.StartPreBackup(ctx, admin, sasTarget(backupURI))
			r.fail(j, err, tc.code, tc.word)
			c.Deny(tc.op, nil)
		}
	})
	c.Deny(blobtest.OpDelete, blob.ErrDenied)
	j, err := r.StartPreBackup(ctx, admin, sasTarget(backupURI))
	r.fail(j, err, "AuthorizationPermissionMismatch", "--permissions crdw")
	c.Deny(blobtest.OpDelete, nil)
	for _, bad := range []Target{{URI: backupURI}, {SAS: func() string { return "" }, URI: ""}} {
		_, err := r.StartPreBackup(ctx, user, bad)
		wantErr(t, "by a user", err, rbac.ErrDenied)
	}
	_, err = r.StartPreBackup(ctx, admin, Target{URI: backupURI})
	wantErr(t, "storage without credential", err, ErrBadTarget)
	// A check is no restore point.
	_, err = r.StartRestore(ctx, admin, sasTarget(backupURI), "mhsm-x-2026010203040500")
	wantErr(t, "restore after a mere check", err, ErrNoRestorePoint)
	r.sound()
}

func TestPreRestore(t *testing.T) {
	t.Parallel()
	s := getSite(t)
	r := s.recovered(t, false)
	ctx := t.Context()
	_, err := r.StartPreRestore(ctx, admin, sasTarget(backupURI), s.folder)
	wantErr(t, "without a restore point", err, ErrNoRestorePoint)
	mustSay(t, err, "az keyvault backup start --hsm-name ContosoMHSM")
	r.clock.advance(time.Hour)
	r.fill("dst-")
	r.succeed(r.StartBackup(ctx, admin, sasTarget(otherURI)))
	r.unchanged(func() {
		doc := r.succeed(r.StartPreRestore(ctx, operator, sasTarget(backupURI), s.folder))
		mustSay(t, errors.New(doc.Details), "Pre Full restore check passed", fmt.Sprintf("%d records", len(s.inventory)), "1 of them soft-deleted", s.domainID, "ContosoMHSM")
		if j := must[Job](t)(r.RestoreStatus(ctx, operator, doc.ID)); j.Kind != KindPreRestore || j.Status != JobSucceeded {
			t.Errorf("%+v", j)
		}
		doc = r.succeed(r.StartPreRestore(ctx, operator, sasTarget(backupURI), ""))
		mustSay(t, errors.New(doc.Details), "can be listed", "no folder was named")
		doc = r.succeed(r.StartPreRestore(ctx, operator, Target{}, ""))
		mustSay(t, errors.New(doc.Details), "no storage was named")
	})
	refused := func(what string, want error, target Target, folder string) {
		t.Helper()
		_, err := r.StartPreRestore(ctx, operator, target, folder)
		wantErr(t, what, err, want)
	}
	r.unchanged(func() {
		refused("a folder without storage", ErrBadTarget, Target{}, s.folder)
		refused("a folder that is none", ErrBadTarget, sasTarget(backupURI), "../x")
		j, err := r.StartPreRestore(ctx, operator, sasTarget(backupURI), "mhsm-x-2026010203040500")
		r.fail(j, err, "BackupNotFound")
		c := r.container(backupURI)
		c.Deny(blobtest.OpList, blob.ErrDenied)
		j, err = r.StartPreRestore(ctx, operator, sasTarget(backupURI), "")
		r.fail(j, err, "AuthorizationPermissionMismatch", "--permissions rl")
		c.Deny(blobtest.OpList, nil)
	})
	for name, b := range s.objects {
		c := r.container(backupURI)
		if strings.HasSuffix(name, backup.ManifestName) {
			continue
		}
		c.Corrupt(name, blobtest.FlipByte(len(b)/2))
		r.unchanged(func() {
			j, err := r.StartPreRestore(ctx, operator, sasTarget(backupURI), s.folder)
			r.fail(j, err, "BackupCorrupted")
		})
		c.Corrupt(name, blobtest.FlipByte(len(b)/2)) // and back
	}
	r.succeed(r.StartRestore(ctx, operator, sasTarget(backupURI), s.folder)) // as the check had said
	r.sound()
}

// TestPreRestoreOfAnotherDomain: the one thing that nobody can mend after the fact is said before.
func TestPreRestoreOfAnotherDomain(t *testing.T) {
	t.Parallel()
	s := getSite(t)
	r, _ := newActiveDR(t)
	s.mount(r)
	r.succeed(r.StartBackup(t.Context(), admin, sasTarget(otherURI)))
	r.unchanged(func() {
		j, err := r.StartPreRestore(t.Context(), admin, sasTarget(backupURI), s.folder)
		r.fail(j, err, "SecurityDomainMismatch", s.domainID)
	})
}

// TestPreCheckInterrupted: a check that a stop of the server cuts short is settled like any job.
func TestPreCheckInterrupted(t *testing.T) {
	t.Parallel()
	s := getSite(t)
	var b *blocked
	r := s.recovered(t, true, withBlocked(&b))
	j := must[Job](t)(r.StartPreRestore(t.Context(), operator, sasTarget(blockedURI), s.folder))
	<-b.entered
	// The HSM is in use meanwhile, but for other jobs.
	_, err := r.StartPreBackup(t.Context(), admin, Target{})
	wantErr(t, "two at once", err, ErrBusy)
	mustSay(t, err, KindPreRestore)
	r.create("meanwhile", octSpec)
	done := r.running(j.ID)
	r.stop()
	<-done
	r.restart()
	r.fail(j, nil, "OperationInterrupted", "nothing was changed")
	if j := must[Job](t)(r.RestoreStatus(t.Context(), operator, j.ID)); j.Kind != KindPreRestore {
		t.Errorf("%+v", j)
	}
	r.sound()
	r.stop()
	ended := 0
	for _, e := range r.auditLog() {
		if e.Operation == "PreRestoreEnded" && e.Result == "Failed" {
			ended++
		}
	}
	if ended != 1 {
		t.Errorf("%d entries of the end of the check", ended)
	}
}

// TestKillChecks: a crash at any write of a check leaves the HSM as it was; the check after it, and what it stands
// before, succeed.
func TestKillChecks(t *testing.T) {
	t.Parallel()
	s := getSite(t)
	for name, check := range map[string]func(r *testHSM) (Job, error){
		"before a backup": func(r *testHSM) (Job, error) { return r.StartPreBackup(r.t.Context(), admin, sasTarget(otherURI)) },
		"before a restore": func(r *testHSM) (Job, error) {
			return r.StartPreRestore(r.t.Context(), admin, sasTarget(backupURI), s.folder)
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var before map[string]string
			killMatrix(t, func(t *testing.T, o func(*testHSM)) *testHSM {
				r := s.recovered(t, false, o)
				r.fill("dst-")
				r.clock.advance(time.Second)
				r.succeed(r.StartBackup(t.Context(), admin, sasTarget(backupURI)))
				before = r.inventory()
				return r
			}, func(r *testHSM) (string, error) {
				j, err := check(r)
				return j.ID, err
			}, func(t *testing.T, r *testHSM, id string, err error) {
				judgeJob(t, r, id, err)
				sameInventory(t, r.inventory(), before)
				r.clock.advance(time.Second)
				r.succeed(check(r))
				r.succeed(r.StartRestore(t.Context(), admin, sasTarget(backupURI), s.folder))
			})
		})
	}
}
