package hsm

import (
	"context"
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"redoubt/internal/backup"
	"redoubt/internal/blob"
	"redoubt/internal/blob/blobtest"
	"redoubt/internal/key"
	"redoubt/internal/store"
)

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

// TestOrphansInArchive: versions and material left by a purge when the backup was made are not restored.
func TestOrphansInArchive(t *testing.T) {
	t.Parallel()
	s := getSite(t)
	r := s.recovered(t, true)
	_, _, root, err := r.current(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	rewritten(func(rs []backup.Record) []backup.Record {
		for _, name := range []string{materialName(key.NewIncarnation(), key.NewVersion()), versionName(key.NewIncarnation(), key.NewVersion())} {
			rs = append(rs, backup.Record{Name: name, Sealed: root.Seal(ref(name, 1), []byte("{}"))})
		}
		slices.SortFunc(rs, func(a, b backup.Record) int { return strings.Compare(a.Name, b.Name) })
		return rs
	})(t, r, r.container(backupURI), s)
	r.succeed(r.StartRestore(t.Context(), admin, sasTarget(backupURI), s.folder))
	sameInventory(t, r.inventory(), s.inventory)
	r.sound()
}

// TestIncompleteKey: a key of which the archive lacks a version is restored, and the job says so.
func TestIncompleteKey(t *testing.T) {
	t.Parallel()
	s := getSite(t)
	r := s.recovered(t, true)
	inc := ""
	rewritten(func(rs []backup.Record) []backup.Record {
		return slices.DeleteFunc(rs, func(rec backup.Record) bool {
			if inc == "" && strings.HasPrefix(rec.Name, "m/") {
				inc = string(incarnationOf(rec.Name))
				return true
			}
			return false
		})
	})(t, r, r.container(backupURI), s)
	d := r.succeed(r.StartRestore(t.Context(), admin, sasTarget(backupURI), s.folder))
	mustSay(t, errors.New(d.Details), "incomplete in the backup: ", " versions)")
}

// turning is a store that does something when the second page at a pinned revision is asked for.
type turning struct {
	store.Store
	pages int
	turn  func()
}

func (s *turning) Range(ctx context.Context, q store.Query) (store.Page, error) {
	if q.At != 0 {
		if s.pages++; s.pages == 2 {
			s.turn()
		}
	}
	return s.Store.Range(ctx, q)
}

// TestBackupOfOneMoment: what changes while a backup reads is not in it.
func TestBackupOfOneMoment(t *testing.T) {
	t.Parallel()
	ts := &turning{}
	r, _ := newActiveDR(t, func(r *testHSM) { ts.Store = r.cfg.Store; r.cfg.Store = ts })
	r.fill("")
	r.widen(3 * backupPage / 2)
	ctx := t.Context()
	before := r.inventory()
	ts.turn = func() {
		must[Setting](t)(r.UpdateSetting(ctx, admin, knownSettings[0].Name, "true"))
		must[Bundle](t)(r.UpdateKey(ctx, user, "wrap-oct", "", key.Change{Tags: map[string]string{"changed": "yes"}}))
	}
	doc := r.succeed(r.StartBackup(ctx, admin, sasTarget(backupURI)))
	if ts.pages < 2 {
		t.Fatal("one page only")
	}
	r.clock.advance(time.Second)
	r.succeed(r.StartBackup(ctx, admin, sasTarget(otherURI)))
	r.succeed(r.StartRestore(ctx, admin, sasTarget(backupURI), doc.Folder))
	sameInventory(t, r.inventory(), before)
	r.sound()
}
