package hsm

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"redoubt/internal/backup"
	"redoubt/internal/blob/blobtest"
	"redoubt/internal/key"
	"redoubt/internal/secret"
	"redoubt/internal/store"
	"redoubt/internal/store/storetest"
	"redoubt/internal/unlock"
)

// TestStorageFaults has every write to the storage of a backup lost or stored with its answer lost.
func TestStorageFaults(t *testing.T) {
	t.Parallel()
	r, _ := newActiveDR(t)
	r.fill("")
	ctx := t.Context()
	inventory := r.inventory()
	_, _, root, err := r.current(ctx)
	if err != nil {
		t.Fatal(err)
	}
	for n := 1; ; n++ {
		fired := false
		for _, fault := range []blobtest.Fault{blobtest.Lost, blobtest.Stored} {
			uri := fmt.Sprintf("https://contosobackup.blob.core.windows.net/c-%d-%d", n, fault)
			c := r.container(uri)
			c.FailAt(n, fault)
			r.clock.advance(time.Second)
			point := r.dev().Point
			j, err := r.StartBackup(ctx, admin, sasTarget(uri))
			doc := r.wait(j, err)
			fired = fired || c.Writes() >= n
			_, merr := backup.ReadManifest(ctx, c, doc.Folder, backup.ByKey(archiveScheme, root.PublicKey()))
			if (doc.Status == JobSucceeded) != (merr == nil) {
				t.Errorf("write %d, fault %d: job %+v, manifest %v", n, fault, doc, merr)
			}
			if doc.Status == JobFailed {
				mustSay(t, errors.New(doc.ErrorMessage), "injected fault", "nothing was changed")
				if p := r.dev().Point; p != point && *p != *point {
					t.Error("a failed backup became the restore point")
				}
			}
			r.sound()
		}
		if !fired {
			break
		}
	}
	sameInventory(t, r.inventory(), inventory)
}

// TestStoreFull: without room for a job's end, polls are told from memory, and the job ends when there is room.
func TestStoreFull(t *testing.T) {
	t.Parallel()
	s := getSite(t)
	ctx := t.Context()
	for _, tc := range []struct {
		name  string
		write int // of the job, that finds no room
		start func(r *testHSM) (Job, error)
	}{
		{"backup", 2, func(r *testHSM) (Job, error) { return r.StartBackup(ctx, admin, sasTarget(backupURI)) }},
		{"restore", 2, func(r *testHSM) (Job, error) { return r.StartRestore(ctx, admin, sasTarget(backupURI), s.folder) }},
		{"restore, last write", 3, func(r *testHSM) (Job, error) { return r.StartRestore(ctx, admin, sasTarget(backupURI), s.folder) }},
		{"selective", 2, func(r *testHSM) (Job, error) {
			return r.StartSelectiveRestore(ctx, admin, "src-sign-ec", sasTarget(backupURI), s.folder)
		}},
		{"selective, last write", 4, func(r *testHSM) (Job, error) {
			return r.StartSelectiveRestore(ctx, admin, "src-sign-ec", sasTarget(backupURI), s.folder)
		}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			var c killer
			r := s.recovered(t, true, withCrash(&c))
			before := r.inventory()
			// The end is tried again and again; some tries after the fault memory has told.
			c.at.Store(int64(r.faults.Writes() + tc.write + 4))
			r.faults.FailAt(tc.write, storetest.Full)
			j := must[Job](t)(tc.start(r))
			over := r.running(j.ID)
			<-c.came
			status := r.RestoreStatus
			if tc.name == "backup" {
				status = r.BackupStatus
			}
			now := must[Job](t)(status(ctx, admin, j.ID))
			if now.Status != JobFailed || now.ErrorCode != "InsufficientStorage" {
				t.Errorf("job: %+v", now)
			}
			mustSay(t, errors.New(now.ErrorMessage), "no space left", "make room")
			r.faults.Revive()
			<-over
			r.fail(j, nil, "InsufficientStorage", "no space left")
			sameInventory(t, r.inventory(), before)
			r.sound()
		})
	}
	t.Run("start", func(t *testing.T) {
		t.Parallel()
		r := s.recovered(t, false)
		before := r.raw()
		r.faults.FailAt(1, storetest.Full)
		if _, err := r.StartBackup(ctx, admin, sasTarget(backupURI)); !errors.Is(err, ErrUnavailable) || !errors.Is(err, store.ErrFull) {
			t.Error(err)
		}
		if !maps.Equal(r.raw(), before) {
			t.Error("something was written")
		}
		r.faults.Revive()
		r.sound()
	})
}

// forgetful answers the change of the device it is armed for with "unknown" although it was stored, and lives on.
type forgetful struct {
	store.Store
	armed atomic.Int64
}

func (f *forgetful) Txn(ctx context.Context, ifs []store.Cond, then []store.Op) (store.Rev, error) {
	rev, err := f.Store.Txn(ctx, ifs, then)
	device := false
	for _, op := range then {
		device = device || strings.HasSuffix(op.Key, "/dev")
	}
	if device && f.armed.Add(-1) == 0 && err == nil {
		return 0, fmt.Errorf("answer lost: %w", store.ErrUnknown)
	}
	return rev, err
}

// TestUnknownOutcome: the store stored a write and lost the answer, and the process lives on. A job whose
// start is unknown to its caller does not run; a job whose end is unknown has ended.
func TestUnknownOutcome(t *testing.T) {
	t.Parallel()
	s := getSite(t)
	ctx := t.Context()
	f := &forgetful{}
	r := s.recovered(t, true, func(r *testHSM) { f.Store = r.cfg.Store; r.cfg.Store = f })
	before := r.inventory()
	f.armed.Store(1)
	_, err := r.StartRestore(ctx, admin, sasTarget(backupURI), s.folder)
	if !errors.Is(err, ErrUnavailable) {
		t.Errorf("start of unknown outcome: %v", err)
	}
	r.settleDown()
	sameInventory(t, r.inventory(), before)
	r.sound()
	f.armed.Store(2) // its end
	r.succeed(r.StartRestore(ctx, admin, sasTarget(backupURI), s.folder))
	sameInventory(t, r.inventory(), s.inventory)
	r.sound()
	r.stop()
	ended := make(map[string]int)
	for _, e := range r.auditLog() {
		if e.Operation == "RestoreEnded" {
			ended[e.Result]++
		}
	}
	if !maps.Equal(ended, map[string]int{"Failed": 1, "Success": 1}) {
		t.Errorf("ends of restores in the audit log: %v", ended)
	}
}

// settleDown waits for whatever job runs.
func (r *testHSM) settleDown() {
	r.t.Helper()
	r.HSM.mu.Lock()
	var all []chan struct{}
	for _, j := range r.jobs {
		all = append(all, j.done)
	}
	r.HSM.mu.Unlock()
	for _, done := range all {
		<-done
	}
}

// brokenDriver is an unlock driver that cannot seal.
type brokenDriver struct {
	unlock.Driver
	broken atomic.Bool
}

func (d *brokenDriver) Seal(ctx context.Context, s secret.Bytes, aad []byte) ([]byte, error) {
	if d.broken.Load() {
		return nil, errors.New("the device for sealing is gone")
	}
	return d.Driver.Seal(ctx, s, aad)
}

// TestRootsFail: a root that cannot be kept leaves everything as it was; one that cannot be destroyed is
// tried again.
func TestRootsFail(t *testing.T) {
	t.Parallel()
	s := getSite(t)
	ctx := t.Context()
	d := &brokenDriver{Driver: unlocker()}
	r := newDR(t, func(r *testHSM) {
		r.cfg.Roots = unlock.NewRoots(filepath.Join(filepath.Dir(r.auditPath), "roots"), d)
	})
	d.broken.Store(true)
	before := r.raw()
	if _, err := r.DownloadDomain(ctx, admin, downloadRequest(t, holders(), 2)); !errors.Is(err, ErrUnavailable) {
		t.Errorf("download: %v", err)
	}
	if !maps.Equal(r.raw(), before) {
		t.Error("something was written")
	}
	r.giveExchangeKey(sharedExchangeKey())
	before = r.raw()
	if _, err := r.UploadDomain(ctx, admin, s.blob); !errors.Is(err, ErrUnavailable) {
		t.Errorf("upload: %v", err)
	}
	if !maps.Equal(r.raw(), before) {
		t.Error("something was written")
	}
	r.sound()
	d.broken.Store(false)

	// A folder where a root's file should be cannot be shredded while it holds something.
	stuck := r.rootFile("0123abcd")
	if err := os.MkdirAll(filepath.Join(stuck, "x"), 0o700); err != nil {
		t.Fatal(err)
	}
	r.restart()
	must[DomainStatus](t)(r.UploadDomain(ctx, admin, s.blob))
	r.succeed(r.StartBackup(ctx, admin, sasTarget(otherURI)))
	if err := os.Remove(filepath.Join(stuck, "x")); err != nil {
		t.Fatal(err)
	}
	r.clock.advance(time.Second)
	r.succeed(r.StartBackup(ctx, admin, sasTarget(otherURI)))
	r.sound()
}

// TestLeftovers: what a process that died left behind is gone after the next start.
func TestLeftovers(t *testing.T) {
	t.Parallel()
	s := getSite(t)
	r := s.recovered(t, true)
	r.widen(100)
	ctx := t.Context()
	inventory := r.inventory()
	d := r.dev()
	inc := key.NewIncarnation()
	gen := newID()
	var ops []store.Op
	for range 60 {
		ops = append(ops, store.Put(r.generationPrefix(gen)+"m/"+string(inc)+"/"+newID(), []byte("x")))
	}
	put := func(ops ...store.Op) {
		t.Helper()
		if _, err := r.below.Txn(ctx, nil, ops); err != nil {
			t.Fatal(err)
		}
	}
	put(ops...)
	put(store.Put(r.generationPrefix("0")+"h/a", []byte("x")), store.Put(r.generationPrefix("zz")+"h/a", []byte("x")))
	put(store.Put(r.sweepKeyKey(inc), []byte(d.Generation)), store.Put(r.generationPrefix(d.Generation)+"m/"+string(inc)+"/"+newID(), []byte("x")))
	if err := r.cfg.Roots.Put(ctx, r.cfg.ID, newID(), secret.Random(32)); err != nil {
		t.Fatal(err)
	}
	for range keptJobs + 80 {
		put(store.Put(r.jobKey(newID()), []byte("old")))
	}
	r.succeed(r.StartBackup(ctx, admin, sasTarget(backupURI)))
	sameInventory(t, r.inventory(), inventory)
	n := 0
	for name := range r.raw() {
		if strings.HasPrefix(name, r.jobKey("")) {
			n++
		}
		if strings.Contains(name, gen) || strings.HasPrefix(name, r.sweepPrefix()) {
			t.Errorf("%s is left over", name)
		}
	}
	if n > keptJobs {
		t.Errorf("%d jobs are kept", n)
	}
	for name, v := range r.raw() {
		if v == "old" {
			put(store.Delete(name))
		}
	}
	r.sound()
}

// TestDamagedJob: a device whose running job's document cannot be read opens all the same.
func TestDamagedJob(t *testing.T) {
	t.Parallel()
	r, _ := newActiveDR(t)
	d := r.dev()
	d = d.restoring(newID())
	if _, err := r.below.Txn(t.Context(), nil, []store.Op{store.Put(r.deviceKey(), d.encode())}); err != nil {
		t.Fatal(err)
	}
	r.restart()
	if d := r.dev(); d.State != Active || d.Job != "" {
		t.Errorf("device: %+v", d)
	}
	r.sound()
}

// TestSealed: a device whose root cannot be opened says so, and goes on when it can.
func TestSealed(t *testing.T) {
	t.Parallel()
	s := getSite(t)
	ctx := t.Context()
	var locked atomic.Bool
	r := s.recovered(t, true, func(r *testHSM) {
		r.cfg.Roots = unlock.NewRoots(filepath.Join(filepath.Dir(r.auditPath), "roots"), lockable{unlocker(), &locked, nil})
	})
	d := r.dev().restoring(newID())
	if _, err := r.below.Txn(ctx, nil, []store.Op{store.Put(r.deviceKey(), d.encode())}); err != nil {
		t.Fatal(err)
	}
	locked.Store(true)
	r.restart()
	if st, err := r.Status(ctx); err != nil || st.State != Sealed {
		t.Errorf("status: %+v, %v", st, err)
	}
	if _, err := r.StartBackup(ctx, admin, sasTarget(otherURI)); !errors.Is(err, ErrSealed) {
		t.Error(err)
	}
	if _, err := r.RestoreStatus(ctx, admin, newID()); !errors.Is(err, ErrSealed) {
		t.Error(err)
	}
	if err := r.Unseal(ctx); !errors.Is(err, ErrSealed) {
		t.Error(err)
	}
	locked.Store(false)
	// Without a call of Unseal: the first request finds the root back and has the interrupted job settled.
	r.clock.advance(time.Second)
	r.succeed(r.StartBackup(ctx, admin, sasTarget(otherURI)))
	if err := r.Unseal(ctx); err != nil {
		t.Error(err)
	}
	r.sound()
}

type lockable struct {
	unlock.Driver
	locked *atomic.Bool
	tries  *atomic.Int32 // times it was asked while locked; may be nil
}

func (l lockable) Open(ctx context.Context, sealed, aad []byte) (secret.Bytes, error) {
	if l.locked.Load() {
		if l.tries != nil {
			l.tries.Add(1)
		}
		return secret.Bytes{}, unlock.ErrLocked
	}
	return l.Driver.Open(ctx, sealed, aad)
}

// TestConcurrentCeremonies lets downloads, polls, init-recovery and uploads collide: one of the ways wins,
// whole.
func TestConcurrentCeremonies(t *testing.T) {
	t.Parallel()
	r := newDR(t)
	ctx := t.Context()
	request := downloadRequest(t, holders(), 2)
	done := make(chan error, 12)
	for i := range 12 {
		go func() {
			var err error
			switch i % 4 {
			case 0:
				_, err = r.DownloadDomain(ctx, admin, request)
			case 1, 2:
				_, err = r.DownloadStatus(ctx, admin)
			case 3:
				_, err = r.UploadDomain(ctx, admin, []byte("{}"))
			}
			done <- err
		}()
	}
	for range 12 {
		if err := <-done; err != nil && !errors.Is(err, ErrNoOperation) && !errors.Is(err, ErrNoExchangeKey) && !errors.Is(err, ErrAlreadyActive) && !errors.Is(err, ErrConflict) {
			t.Error(err)
		}
	}
	must[DomainStatus](t)(r.DownloadStatus(ctx, admin))
	if r.dev().State != Active {
		t.Errorf("device: %+v", r.dev())
	}
	r.sound()
}

// TestCanceledRequest: the client of an upload goes away at any moment; the outcome is one of the two.
func TestCanceledRequest(t *testing.T) {
	t.Parallel()
	s := getSite(t)
	r := recoveringHSM(t)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := r.UploadDomain(ctx, admin, s.blob); err == nil {
		t.Error("an upload in a request that is over")
	}
	must[DomainStatus](t)(r.UploadDomain(t.Context(), admin, s.blob))
	r.check()
	r.restart()
	r.sound()
}
