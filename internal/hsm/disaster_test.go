package hsm

import (
	"crypto/sha256"
	"errors"
	"fmt"
	"maps"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"redoubt/internal/backup"
	"redoubt/internal/blob/blobtest"
	"redoubt/internal/key"
	"redoubt/internal/rbac"
	"redoubt/internal/securitydomain"
	"redoubt/internal/store/bolt"
)

// TestDisaster is the whole procedure: a used HSM is backed up and destroyed, and comes back on a new one.
func TestDisaster(t *testing.T) {
	t.Parallel()
	ctx := t.Context()
	src, file := newActiveDR(t)
	src.fill("")
	digest := sha256.Sum256([]byte("before the disaster"))
	signed := must[Result](t)(src.Sign(ctx, user, "sign-ec", "", "ES384", append(digest[:], digest[:16]...)))
	must[Bundle](t)(src.RecoverKey(ctx, officer, "deleted"))
	must[Bundle](t)(src.DeleteKey(ctx, user, "deleted"))
	doc := src.succeed(src.StartBackup(ctx, operator, sasTarget(backupURI)))
	if doc.FolderURL != backupURI+"/"+doc.Folder || !strings.HasPrefix(doc.Folder, "mhsm-ContosoMHSM-20260102030405") {
		t.Errorf("job: %+v", doc)
	}
	after := must[Bundle](t)(src.CreateKey(ctx, user, "after-the-backup", key.CreateParams{Spec: key.Spec{Type: key.Oct}}))
	domain, inventory := src.dev().DomainID, src.inventory()
	maps.DeleteFunc(inventory, func(name, _ string) bool {
		return name == headName(after.Meta.Name) || strings.HasSuffix(name, string(after.Meta.Version))
	})
	objects := src.container(backupURI).Objects()
	srcID := src.ID()
	src.stop()
	if err := Destroy(ctx, src.cfg); err != nil {
		t.Fatal(err)
	}
	if left := must[[]string](t)(src.cfg.Roots.List(ctx, src.cfg.ID)); len(left) > 0 {
		t.Errorf("roots left of the destroyed HSM: %v", left)
	}

	dst := newDR(t)
	k := must[TransferKey](t)(dst.ExchangeKey(ctx, admin))
	exchange := must[securitydomain.Certificate](t)(securitydomain.ParseExchangeCertificate([]byte(k.Key)))
	must[DomainStatus](t)(dst.UploadDomain(ctx, admin, restoreBlob(t, file, exchange)))
	(&site{objects: objects}).mount(dst)
	dst.clock.advance(26 * time.Hour)
	dst.succeed(dst.StartBackup(ctx, admin, sasTarget(otherURI)))
	lineage := dst.dev().Lineage
	restored := dst.succeed(dst.StartRestore(ctx, admin, sasTarget(backupURI), doc.Folder))
	mustSay(t, errors.New(restored.Details), "ContosoMHSM", srcID, "2026-01-02T03:04:05Z", "26h0m ago", fmt.Sprintf("%d records", len(inventory)), "4 keys, 1 of them soft-deleted")
	sameInventory(t, dst.inventory(), inventory)
	if d := dst.dev(); d.State != Active || d.DomainID != domain || d.Lineage == lineage {
		t.Errorf("device: %+v", d)
	}
	dst.sound()
	ok := must[bool](t)(dst.Verify(ctx, user, "sign-ec", signed.Version, "ES384", append(digest[:], digest[:16]...), signed.Value))
	if !ok {
		t.Error("a signature made before the disaster does not verify")
	}
	dst.restart()
	sameInventory(t, dst.inventory(), inventory)
	dst.sound()
	dst.stop()
	found := false
	for _, e := range dst.auditLog() {
		found = found || e.Operation == "RestoreEnded" && e.Result == "Success" && e.Details["sourceId"] == srcID && strings.Contains(e.Details["sourceAuditHead"], ":")
	}
	if !found {
		t.Error("no audit entry has the head of the source's chain")
	}
}

// TestRestorerNotAdministrator: the archive's roles replace the destination's. Nobody of the new site would be
// left in charge, so its initial administrators are granted the role again.
func TestRestorerNotAdministrator(t *testing.T) {
	t.Parallel()
	ctx := t.Context()
	src, file := newActiveDR(t)
	boss := caller("77777777-7777-4777-8777-777777777777")
	must[rbac.Assignment](t)(src.PutAssignment(ctx, admin, rbac.ScopeRoot, newGUID(), boss.ID, rbac.Administrator))
	for _, a := range must[[]rbac.Assignment](t)(src.ListAssignments(ctx, boss, rbac.ScopeRoot, AssignmentFilter{})) {
		if a.Principal == adminID {
			must[rbac.Assignment](t)(src.DeleteAssignment(ctx, boss, rbac.ScopeRoot, a.ID))
		}
	}
	doc := src.succeed(src.StartBackup(ctx, boss, sasTarget(backupURI)))

	dst := recoveringHSM(t)
	must[DomainStatus](t)(dst.UploadDomain(ctx, admin, restoreBlob(t, file, sharedExchangeKey().Certificate())))
	(&site{objects: src.container(backupURI).Objects()}).mount(dst)
	dst.succeed(dst.StartBackup(ctx, admin, sasTarget(otherURI)))
	restored := dst.succeed(dst.StartRestore(ctx, admin, sasTarget(backupURI), doc.Folder))
	mustSay(t, errors.New(restored.Details), "granted again", adminID)
	dst.sound()
	j := must[Job](t)(dst.RestoreStatus(ctx, admin, restored.ID))
	if j.Status != JobSucceeded {
		t.Errorf("job: %+v", j)
	}
	as := must[[]rbac.Assignment](t)(dst.ListAssignments(ctx, boss, rbac.ScopeRoot, AssignmentFilter{}))
	if len(as) != 2 {
		t.Errorf("assignments: %+v", as)
	}
}

// TestOwnerMayPoll: whoever started a restore may ask for it even when the archive took their role away;
// others need the permission as always.
func TestOwnerMayPoll(t *testing.T) {
	t.Parallel()
	s := getSite(t)
	r := s.recovered(t, true)
	ctx := t.Context()
	guest := caller("88888888-8888-4888-8888-888888888888")
	must[rbac.Assignment](t)(r.PutAssignment(ctx, admin, rbac.ScopeRoot, newGUID(), guest.ID, rbac.RestoreOperator))
	doc := r.succeed(r.StartRestore(ctx, guest, sasTarget(backupURI), s.folder))
	if j, err := r.RestoreStatus(ctx, guest, doc.ID); err != nil || j.Status != JobSucceeded {
		t.Errorf("the owner's poll: %+v, %v", j, err)
	}
	if _, err := r.RestoreStatus(ctx, stranger, doc.ID); !errors.Is(err, rbac.ErrDenied) {
		t.Errorf("a stranger's poll: %v", err)
	}
	if _, err := r.StartRestore(ctx, guest, sasTarget(backupURI), s.folder); !errors.Is(err, rbac.ErrDenied) {
		t.Errorf("a second restore without the role: %v", err)
	}
	if _, err := r.RestoreStatus(ctx, stranger, newID()); !errors.Is(err, rbac.ErrDenied) {
		t.Errorf("a stranger's poll of no job: %v", err)
	}
	for _, id := range []string{newID(), "", "../dev", strings.Repeat("x", 500)} {
		if _, err := r.RestoreStatus(ctx, admin, id); !errors.Is(err, ErrJobNotFound) {
			t.Errorf("job %q: %v", id, err)
		}
	}
	if _, err := r.BackupStatus(ctx, admin, doc.ID); !errors.Is(err, ErrJobNotFound) {
		t.Errorf("a restore asked for as a backup: %v", err)
	}
}

// TestRestorePoint: a full restore needs a fresh backup of what it would destroy.
func TestRestorePoint(t *testing.T) {
	t.Parallel()
	s := getSite(t)
	r := s.recovered(t, false)
	ctx := t.Context()
	command := "az keyvault backup start --hsm-name ContosoMHSM --storage-account-name contosobackup --blob-container-name mhsmbackupcontainer"
	refused := func(what string, words ...string) {
		t.Helper()
		before := r.raw()
		_, err := r.StartRestore(ctx, admin, sasTarget(backupURI), s.folder)
		if !errors.Is(err, ErrNoRestorePoint) {
			t.Errorf("%s: %v", what, err)
		}
		mustSay(t, err, append(words, command)...)
		if !maps.Equal(r.raw(), before) {
			t.Errorf("%s: something was written", what)
		}
	}
	refused("no backup", "none has been made")
	r.succeed(r.StartBackup(ctx, admin, sasTarget(otherURI)))
	r.clock.advance(31 * time.Minute)
	refused("old backup", "31m old", "30m at most")
	r.succeed(r.StartBackup(ctx, admin, sasTarget(otherURI)))
	r.succeed(r.StartRestore(ctx, admin, sasTarget(backupURI), s.folder))
	refused("backup of the content before", "last replaced")
	r.clock.advance(time.Minute)
	r.succeed(r.StartBackup(ctx, admin, sasTarget(otherURI)))
	r.succeed(r.StartRestore(ctx, admin, sasTarget(backupURI), s.folder)) // an old archive of the same domain works
	r.sound()

	r.cfg.RestorePointMaxAge = 0
	r.restart()
	r.clock.advance(time.Minute)
	r.succeed(r.StartBackup(ctx, admin, sasTarget(otherURI)))
	r.clock.advance(365 * 24 * time.Hour)
	d := r.succeed(r.StartRestore(ctx, admin, sasTarget(backupURI), s.folder))
	mustSay(t, errors.New(d.Details), "365 days ago")
}

// TestRestorePointReread: the backup that a restore relies on must be readable at that time.
func TestRestorePointReread(t *testing.T) {
	t.Parallel()
	s := getSite(t)
	ctx := t.Context()
	t.Run("gone", func(t *testing.T) {
		t.Parallel()
		r := s.recovered(t, true)
		before := r.inventory()
		r.container(otherURI).DeleteContainerAt(0)
		j, err := r.StartRestore(ctx, admin, sasTarget(backupURI), s.folder)
		r.fail(j, err, "RestorePointRequired", "cannot be read again", otherURI, "take another")
		sameInventory(t, r.inventory(), before)
		r.sound()
	})
	t.Run("altered", func(t *testing.T) {
		t.Parallel()
		r := s.recovered(t, true)
		r.container(otherURI).Corrupt(r.dev().Point.Folder+"/"+backup.ManifestName, blobtest.FlipByte(-100))
		j, err := r.StartRestore(ctx, admin, sasTarget(backupURI), s.folder)
		r.fail(j, err, "RestorePointRequired", "damaged or was altered")
		r.sound()
	})
	t.Run("restarted with a SAS", func(t *testing.T) {
		t.Parallel()
		r := s.recovered(t, true)
		r.restart()
		j, err := r.StartRestore(ctx, admin, sasTarget(backupURI), s.folder)
		r.fail(j, err, "RestorePointRequired", "restart of the server", "take another")
		r.sound()
	})
	t.Run("restarted, same container", func(t *testing.T) {
		t.Parallel()
		r := s.recovered(t, false)
		r.clock.advance(time.Hour)
		r.succeed(r.StartBackup(ctx, admin, sasTarget(backupURI)))
		r.restart()
		r.succeed(r.StartRestore(ctx, admin, sasTarget(backupURI), s.folder))
		r.sound()
	})
	t.Run("restarted with an identity", func(t *testing.T) {
		t.Parallel()
		r := s.recovered(t, false)
		r.succeed(r.StartBackup(ctx, admin, Target{URI: otherURI, UseIdentity: true}))
		r.restart()
		r.succeed(r.StartRestore(ctx, admin, Target{URI: backupURI, UseIdentity: true}, s.folder))
		r.sound()
	})
}

// TestRecoveryOnDisk is the recovering half of the procedure on the store that servers use.
func TestRecoveryOnDisk(t *testing.T) {
	t.Parallel()
	s := wideSite.get(t)
	db := must[*bolt.Store](t)(bolt.Open(filepath.Join(t.TempDir(), "store.db"), bolt.Options{Create: true}))
	t.Cleanup(func() { db.Close() })
	r := newDROn(t, db)
	t.Cleanup(r.stop) // before the store closes
	r.giveExchangeKey(sharedExchangeKey())
	must[DomainStatus](t)(r.UploadDomain(t.Context(), admin, s.blob))
	s.mount(r)
	r.fill("dst-")
	r.succeed(r.StartBackup(t.Context(), admin, sasTarget(otherURI)))
	r.succeed(r.StartRestore(t.Context(), admin, sasTarget(backupURI), s.folder))
	sameInventory(t, r.inventory(), s.inventory)
	r.restart()
	sameInventory(t, r.inventory(), s.inventory)
	r.sound()
	r.stop()
	if err := Destroy(t.Context(), r.cfg); err != nil {
		t.Error(err)
	}
	if left := r.raw(); len(left) > 0 {
		t.Errorf("left of a destroyed HSM: %d records", len(left))
	}
}
