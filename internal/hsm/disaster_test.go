package hsm

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"redoubt/internal/backup"
	"redoubt/internal/blob"
	"redoubt/internal/blob/blobtest"
	"redoubt/internal/key"
	"redoubt/internal/rbac"
	"redoubt/internal/securitydomain"
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

// badArchive is a way to spoil the site's backup, and what the job says then.
type badArchive struct {
	name  string
	spoil func(t *testing.T, r *testHSM, c *blobtest.Mem, s *site)
	code  string
	words []string
}

func badArchives(s *site) []badArchive {
	manifest, block := s.folder+"/"+backup.ManifestName, ""
	for name := range s.objects {
		if name != manifest {
			block = name
		}
	}
	corrupt := func(name string, change func([]byte) []byte) func(*testing.T, *testHSM, *blobtest.Mem, *site) {
		return func(_ *testing.T, _ *testHSM, c *blobtest.Mem, _ *site) { c.Corrupt(name, change) }
	}
	return []badArchive{
		{"a byte of a record", corrupt(block, blobtest.FlipByte(-300)), "BackupCorrupted", []string{block, "digest", "choose another backup"}},
		{"a byte of the manifest", corrupt(manifest, blobtest.FlipByte(400)), "BackupCorrupted", []string{manifest, "choose another backup"}},
		{"the signature", corrupt(manifest, blobtest.FlipByte(-20)), "BackupCorrupted", []string{manifest}},
		{"a truncated block", corrupt(block, func(b []byte) []byte { return b[:len(b)-1] }), "BackupCorrupted", []string{block, "bytes instead of"}},
		{"a missing block", corrupt(block, func([]byte) []byte { return nil }), "BackupIncomplete", []string{"missing " + block}},
		{"no manifest", corrupt(manifest, func([]byte) []byte { return nil }), "BackupNotFound", []string{s.folder, "never finished"}},
		{"broken off", func(_ *testing.T, _ *testHSM, c *blobtest.Mem, _ *site) { c.CutAt(block, 1000) }, "StorageUnreachable", []string{block}},
		{"list denied", func(_ *testing.T, _ *testHSM, c *blobtest.Mem, _ *site) { c.Deny(blobtest.OpList, blob.ErrDenied) },
			"AuthorizationPermissionMismatch", []string{"permission denied", "az storage container generate-sas --name mhsmbackupcontainer --account-name contosobackup --permissions rl"}},
		{"expired on the way", func(_ *testing.T, _ *testHSM, c *blobtest.Mem, _ *site) { c.Deny(blobtest.OpGet, blob.ErrExpired) },
			"AuthenticationFailed", []string{"expired", "make a new SAS token"}},
		{"no container", func(_ *testing.T, _ *testHSM, c *blobtest.Mem, _ *site) { c.DeleteContainerAt(0) },
			"ContainerNotFound", []string{"container not found", "mhsmbackupcontainer"}},
		{"unreachable", func(_ *testing.T, _ *testHSM, c *blobtest.Mem, _ *site) { c.Deny(blobtest.OpGet, blob.ErrUnreachable) },
			"StorageUnreachable", []string{"unreachable", "start again"}},
		{"two records exchanged", rewritten(func(rs []backup.Record) []backup.Record {
			var ms []int
			for i, r := range rs {
				if strings.HasPrefix(r.Name, "m/") {
					ms = append(ms, i)
				}
			}
			rs[ms[0]].Sealed, rs[ms[1]].Sealed = rs[ms[1]].Sealed, rs[ms[0]].Sealed
			return rs
		}), "BackupNotUsable", []string{"m/", "damaged"}},
		{"an unknown kind of record", rewritten(func(rs []backup.Record) []backup.Record {
			return append(rs, backup.Record{Name: "zz/1", Sealed: rs[0].Sealed})
		}), "BackupNotUsable", []string{"zz/1", "later"}},
		{"a name that climbs", rewritten(func(rs []backup.Record) []backup.Record {
			return append([]backup.Record{{Name: "d/../../dev", Sealed: rs[0].Sealed}}, rs...)
		}), "BackupNotUsable", []string{"d/../../dev"}},
	}
}

// rewritten signs a changed archive with the domain's own key: what only a holder of the domain could do.
func rewritten(change func([]backup.Record) []backup.Record) func(*testing.T, *testHSM, *blobtest.Mem, *site) {
	return func(t *testing.T, r *testHSM, c *blobtest.Mem, s *site) {
		t.Helper()
		_, _, root, err := r.current(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		m := must[backup.Manifest](t)(backup.ReadManifest(t.Context(), c, s.folder, backup.ByKey(archiveScheme, root.PublicKey())))
		var rs []backup.Record
		for rec, err := range backup.Read(t.Context(), c, m) {
			if err != nil {
				t.Fatal(err)
			}
			rs = append(rs, rec)
		}
		for name := range s.objects {
			c.Corrupt(name, func([]byte) []byte { return nil })
		}
		rs = change(rs)
		o := backup.Origin{Folder: m.Folder, HSMID: m.HSMID, HSMName: m.HSMName, Epoch: m.Epoch, Lineage: m.Lineage, Revision: m.Revision, Time: m.Time, Sequence: m.Sequence, AuditHead: m.AuditHead}
		must[backup.Manifest](t)(backup.Write(t.Context(), c, o, func(yield func(backup.Record, error) bool) {
			for _, rec := range rs {
				if !yield(rec, nil) {
					return
				}
			}
		}, root))
	}
}

// TestBadArchive: whatever is wrong with the backup or its storage, both kinds of restore say so and change
// nothing.
func TestBadArchive(t *testing.T) {
	t.Parallel()
	s := getSite(t)
	for _, tc := range badArchives(s) {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			r := s.recovered(t, true)
			tc.spoil(t, r, r.container(backupURI), s)
			before, lineage := r.inventory(), r.dev().Lineage
			j, err := r.StartRestore(t.Context(), admin, sasTarget(backupURI), s.folder)
			r.fail(j, err, tc.code, tc.words...)
			r.sound()
			j, err = r.StartSelectiveRestore(t.Context(), admin, "src-wrap-oct", sasTarget(backupURI), s.folder)
			r.fail(j, err, tc.code, tc.words...)
			r.sound()
			if d := r.dev(); d.State != Active || d.Lineage != lineage {
				t.Errorf("device: %+v", d)
			}
			sameInventory(t, r.inventory(), before)
		})
	}
}

func TestWrongFolder(t *testing.T) {
	t.Parallel()
	s := getSite(t)
	r := s.recovered(t, true)
	ctx := t.Context()
	c := r.container(backupURI)
	for name, b := range s.objects {
		if err := c.Put(ctx, strings.Replace(name, s.folder, "mhsm-Copied-2026010203040500", 1), b); err != nil {
			t.Fatal(err)
		}
	}
	j, err := r.StartRestore(ctx, admin, sasTarget(backupURI), "mhsm-Copied-2026010203040500")
	r.fail(j, err, "BackupFolderMismatch", "mhsm-Copied-2026010203040500", s.folder)
	j, err = r.StartRestore(ctx, admin, sasTarget(backupURI), "mhsm-Nowhere-2026010203040500")
	r.fail(j, err, "BackupNotFound", "mhsm-Nowhere-2026010203040500")
	for _, folder := range []string{"", "../x", "a/b", strings.Repeat("a", 200), "mhsm-ä"} {
		if _, err := r.StartRestore(ctx, admin, sasTarget(backupURI), folder); !errors.Is(err, ErrBadTarget) {
			t.Errorf("folder %q: %v", folder, err)
		}
		if _, err := r.StartSelectiveRestore(ctx, admin, "k", sasTarget(backupURI), folder); !errors.Is(err, ErrBadTarget) {
			t.Errorf("folder %q: %v", folder, err)
		}
	}
	r.sound()
}

func TestOtherDomain(t *testing.T) {
	t.Parallel()
	s := getSite(t)
	r, _ := newActiveDR(t)
	s.mount(r)
	r.succeed(r.StartBackup(t.Context(), admin, sasTarget(otherURI)))
	before := r.inventory()
	j, err := r.StartRestore(t.Context(), admin, sasTarget(backupURI), s.folder)
	r.fail(j, err, "SecurityDomainMismatch", s.domainID, r.dev().DomainID)
	sameInventory(t, r.inventory(), before)
	r.sound()
}

// TestContainerGone lets the source's container vanish before each call of a restore in turn.
func TestContainerGone(t *testing.T) {
	t.Parallel()
	s := getSite(t)
	r := s.recovered(t, true)
	before := r.inventory()
	for n := 1; ; n++ {
		c := blobtest.NewMem()
		r.mu.Lock()
		r.containers[backupURI] = c
		r.mu.Unlock()
		s.mount(r)
		c.DeleteContainerAt(c.Calls() + n)
		j, err := r.StartRestore(t.Context(), admin, sasTarget(backupURI), s.folder)
		if d := r.wait(j, err); d.Status == JobSucceeded {
			if n < 4 {
				t.Errorf("a restore in %d calls", n-1)
			}
			break
		}
		r.fail(j, nil, "ContainerNotFound", "nothing was changed")
		sameInventory(t, r.inventory(), before)
		r.sound()
	}
	sameInventory(t, r.inventory(), s.inventory)
	r.sound()
}

// blocked is a container whose calls wait until the test lets them go on.
type blocked struct {
	blob.Container
	entered chan struct{} // gets a value for every call that waits
	release chan struct{} // closed to let all go
}

func newBlocked(c blob.Container) *blocked {
	return &blocked{c, make(chan struct{}, 100), make(chan struct{})}
}

func (b *blocked) hold(ctx context.Context) error {
	b.entered <- struct{}{}
	select {
	case <-b.release:
		return nil
	case <-ctx.Done():
		return fmt.Errorf("%w: %w", blob.ErrUnreachable, ctx.Err())
	}
}

func (b *blocked) Put(ctx context.Context, name string, data []byte) error {
	if err := b.hold(ctx); err != nil {
		return err
	}
	return b.Container.Put(ctx, name, data)
}

func (b *blocked) Get(ctx context.Context, name string) (io.ReadCloser, blob.Info, error) {
	if err := b.hold(ctx); err != nil {
		return nil, blob.Info{}, err
	}
	return b.Container.Get(ctx, name)
}

const blockedURI = "https://contosobackup.blob.core.windows.net/blocked"

// withBlocked serves the container at blockedURI through b, which keeps what it holds at backupURI.
func withBlocked(b **blocked) func(*testHSM) {
	return func(r *testHSM) {
		*b = newBlocked(addressed{r.container(backupURI), blockedURI})
		open := r.cfg.OpenContainer
		r.cfg.OpenContainer = func(ctx context.Context, q ContainerRequest) (blob.Container, error) {
			if q.URI == blockedURI {
				return *b, nil
			}
			return open(ctx, q)
		}
	}
}

func TestOneJobAtATime(t *testing.T) {
	t.Parallel()
	s := getSite(t)
	var b *blocked
	r := s.recovered(t, true, withBlocked(&b))
	ctx := t.Context()
	first := must[Job](t)(r.StartBackup(ctx, admin, sasTarget(blockedURI)))
	<-b.entered
	busy := func(what string, err error) {
		t.Helper()
		if !errors.Is(err, ErrBusy) {
			t.Errorf("%s: %v", what, err)
		}
		mustSay(t, err, "backup "+first.ID, "wait for it")
	}
	_, err := r.StartBackup(ctx, admin, sasTarget(otherURI))
	busy("backup", err)
	_, err = r.StartRestore(ctx, admin, sasTarget(backupURI), s.folder)
	busy("restore", err)
	_, err = r.StartSelectiveRestore(ctx, admin, "src-wrap-oct", sasTarget(backupURI), s.folder)
	busy("selective restore", err)
	// The HSM works on meanwhile, and what happens now is not in the backup.
	must[Bundle](t)(r.CreateKey(ctx, user, "meanwhile", key.CreateParams{Spec: key.Spec{Type: key.Oct}}))
	if j := must[Job](t)(r.BackupStatus(ctx, operator, first.ID)); j.Status != JobInProgress || j.End != 0 {
		t.Errorf("job: %+v", j)
	}
	close(b.release)
	doc := r.succeed(first, nil)
	c := r.container(backupURI)
	_, _, root, _ := r.current(ctx)
	m := must[backup.Manifest](t)(backup.ReadManifest(ctx, c, doc.Folder, backup.ByKey(archiveScheme, root.PublicKey())))
	var names []string
	if err := backup.Verify(ctx, c, m, func(rec backup.Record) error { names = append(names, rec.Name); return nil }); err != nil {
		t.Error(err)
	}
	if slices.Contains(names, "h/meanwhile") || !slices.Contains(names, "h/dst-wrap-oct") {
		t.Errorf("the backup holds %v", names)
	}
	r.sound()
}

// TestWhileRestoring: nothing but the job can be asked for, and a stop of the server ends it as interrupted.
func TestWhileRestoring(t *testing.T) {
	t.Parallel()
	s := getSite(t)
	var b *blocked
	r := s.recovered(t, true, withBlocked(&b))
	ctx := t.Context()
	before := r.inventory()
	j := must[Job](t)(r.StartRestore(ctx, operator, sasTarget(blockedURI), s.folder))
	<-b.entered
	if d := r.dev(); d.State != Restoring || d.Job != j.ID {
		t.Errorf("device: %+v", d)
	}
	_, err := r.CreateKey(ctx, user, "meanwhile", key.CreateParams{Spec: key.Spec{Type: key.Oct}})
	if !errors.Is(err, ErrRestoring) {
		t.Errorf("create: %v", err)
	}
	if _, err = r.StartBackup(ctx, admin, sasTarget(otherURI)); !errors.Is(err, ErrRestoring) {
		t.Errorf("backup: %v", err)
	}
	if _, err = r.DownloadDomain(ctx, admin, downloadRequest(t, holders(), 2)); !errors.Is(err, ErrRestoring) {
		t.Errorf("download: %v", err)
	}
	if st := must[Job](t)(r.RestoreStatus(ctx, operator, j.ID)); st.Status != JobInProgress || st.Details == "" {
		t.Errorf("job: %+v", st)
	}
	done := r.running(j.ID)
	r.stop() // the job ends as interrupted before Close returns
	<-done
	r.restart()
	r.fail(j, nil, "OperationInterrupted", "nothing was changed", "start it again")
	sameInventory(t, r.inventory(), before)
	r.sound()
	if st := must[Job](t)(r.RestoreStatus(ctx, operator, j.ID)); st.Status != JobFailed {
		t.Errorf("job: %+v", st)
	}
}

// TestStorageRefused: errors of the address are refused at once, those of the credential are the job's; no
// message shows the credential.
func TestStorageRefused(t *testing.T) {
	t.Parallel()
	var refusal error
	r, _ := newActiveDR(t, func(r *testHSM) {
		open := r.cfg.OpenContainer
		r.cfg.OpenContainer = func(ctx context.Context, q ContainerRequest) (blob.Container, error) {
			if refusal != nil {
				return nil, refusal
			}
			return open(ctx, q)
		}
	})
	ctx := t.Context()
	refusal = fmt.Errorf("%w: only https:// addresses are used (%s)", blob.ErrBadTarget, testSAS)
	before := r.raw()
	_, err := r.StartBackup(ctx, admin, sasTarget("http://x/y"))
	if !errors.Is(err, ErrBadTarget) {
		t.Errorf("hostile address: %v", err)
	}
	mustSay(t, err, "only https")
	refusal = nil
	if _, err = r.StartBackup(ctx, admin, Target{URI: backupURI}); !errors.Is(err, ErrBadTarget) {
		t.Errorf("no credential: %v", err)
	}
	mustSay(t, err, "generate-sas", "crdw", "managed identity")
	if !maps.Equal(r.raw(), before) {
		t.Error("something was written")
	}
	for _, tc := range []struct {
		err   error
		code  string
		words []string
	}{
		{blob.ErrExpired, "AuthenticationFailed", []string{"expired", "--permissions crdw"}},
		{blob.ErrBadCredential, "AuthenticationFailed", []string{"refused", "--permissions crdw"}},
		{blob.ErrDenied, "AuthorizationPermissionMismatch", []string{"az storage container generate-sas --name mhsmbackupcontainer --account-name contosobackup --permissions crdw"}},
	} {
		refusal = fmt.Errorf("%w: the token %s has a flaw", tc.err, testSAS)
		j, err := r.StartBackup(ctx, admin, sasTarget(backupURI))
		r.fail(j, err, tc.code, tc.words...)
	}
	refusal = nil
	c := r.container(backupURI)
	for _, tc := range []struct {
		err   error
		code  string
		words []string
	}{
		{blob.ErrFull, "StorageFull", []string{"no space", "make room"}},
		{blob.ErrDenied, "AuthorizationPermissionMismatch", []string{"--permissions crdw"}},
		{blob.ErrUnreachable, "StorageUnreachable", []string{"contosobackup", "start again"}},
		{blob.ErrNoContainer, "ContainerNotFound", []string{"az storage container create --name mhsmbackupcontainer"}},
	} {
		c.Deny(blobtest.OpPut, tc.err)
		r.clock.advance(time.Second)
		j, err := r.StartBackup(ctx, admin, sasTarget(backupURI))
		r.fail(j, err, tc.code, tc.words...)
		j, err = r.StartBackup(ctx, admin, Target{URI: backupURI, UseIdentity: true})
		d := r.wait(j, err)
		if tc.err == blob.ErrDenied {
			mustSay(t, errors.New(d.ErrorMessage), "Storage Blob Data Contributor")
		}
	}
	if r.dev().Point != nil {
		t.Error("a failed backup counts as restore point")
	}
	r.sound()
	r.stop()
	for _, e := range r.auditLog() {
		mustSay(t, errors.New(fmt.Sprint(e)))
	}
}

func TestNoIdentity(t *testing.T) {
	t.Parallel()
	r, _ := newActiveDR(t, func(r *testHSM) { r.cfg.Identities = nil })
	_, err := r.StartBackup(t.Context(), admin, Target{URI: backupURI, UseIdentity: true})
	if !errors.Is(err, ErrBadTarget) {
		t.Error(err)
	}
	mustSay(t, err, "az keyvault update-hsm --hsm-name ContosoMHSM --mi-user-assigned")
}

// TestWide: content of several pages comes back whole, and the manifest counts it.
func TestWide(t *testing.T) {
	t.Parallel()
	s := wideSite.get(t)
	r := s.recovered(t, true)
	r.widen(200)
	d := r.succeed(r.StartRestore(t.Context(), admin, sasTarget(backupURI), s.folder))
	mustSay(t, errors.New(d.Details), fmt.Sprintf("%d records", len(s.inventory)), s.domainID)
	sameInventory(t, r.inventory(), s.inventory)
	r.sound()
}

// TestJobErrorsDocumented: docs/job-errors.md lists every code that a job can end with, and no other.
func TestJobErrorsDocumented(t *testing.T) {
	t.Parallel()
	page := string(must[[]byte](t)(os.ReadFile("../../docs/job-errors.md")))
	documented := make(map[string]bool)
	for line := range strings.Lines(page) {
		if rest, ok := strings.CutPrefix(line, "| `"); ok {
			code, _, _ := strings.Cut(rest, "`")
			documented[code] = true
		}
	}
	known := map[string]bool{"InternalServerError": true}
	for _, f := range jobFailures {
		known[f.code] = true
	}
	if !maps.Equal(documented, known) {
		t.Errorf("the page lists %v, the program has %v", documented, known)
	}
}
