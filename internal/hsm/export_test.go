package hsm

import (
	"context"
	"log/slog"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"redoubt/internal/audit"
	"redoubt/internal/blob"
	"redoubt/internal/blob/blobtest"
	"redoubt/internal/rbac"
	"redoubt/internal/store"
	"redoubt/internal/store/mem"
	"redoubt/internal/store/storetest"
	"redoubt/internal/unlock"
	"redoubt/internal/unlock/passfile"
)

// TestMain fails the package when a test leaves a goroutine behind.
func TestMain(m *testing.M) {
	goleak.VerifyTestMain(m, goleak.Cleanup(func(code int) {
		if dir := passphraseDir(); dir != "" {
			os.RemoveAll(dir)
		}
		os.Exit(code)
	}))
}

// passphraseDir and unlocker are shared by all tests of the process: deriving a key from a passphrase is
// slow on purpose, and a driver does it once.
var passphraseDir = sync.OnceValue(func() string {
	dir, err := os.MkdirTemp("", "redoubt-hsm-test-")
	if err != nil {
		panic(err)
	}
	return dir
})

var unlocker = sync.OnceValue(func() *passfile.Driver {
	path := filepath.Join(passphraseDir(), "passphrase")
	if err := passfile.Create(path); err != nil {
		panic(err)
	}
	d, err := passfile.New(path, "")
	if err != nil {
		panic(err)
	}
	return d
})

// fakeClock is a clock that stands still until it is moved.
type fakeClock struct {
	mu  sync.Mutex
	now time.Time
}

func (c *fakeClock) Now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.now
}

func (c *fakeClock) advance(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.now = c.now.Add(d)
}

// Object ids of the people in the tests. Only the administrator has a role from the start; newTestHSM
// gives the others theirs.
const (
	adminID    = "11111111-1111-4111-8111-111111111111"
	userID     = "22222222-2222-4222-8222-222222222222"
	officerID  = "33333333-3333-4333-8333-333333333333"
	auditorID  = "44444444-4444-4444-8444-444444444444"
	backupID   = "55555555-5555-4555-8555-555555555555"
	strangerID = "99999999-9999-4999-8999-999999999999"
)

func caller(id string) Caller {
	return Caller{Principal: rbac.Principal{ID: id}, RequestID: newGUID(), IP: "127.0.0.1", Client: "test"}
}

var (
	admin    = caller(adminID)    // Administrator
	user     = caller(userID)     // Crypto User
	officer  = caller(officerID)  // Crypto Officer
	auditor  = caller(auditorID)  // Crypto Auditor
	operator = caller(backupID)   // Backup and Restore
	stranger = caller(strangerID) // no role
)

// testHSM is a device on a store in memory, with everything around it real but the clock. The embedded
// HSM is the one that runs now; restart replaces it.
type testHSM struct {
	*HSM
	t         testing.TB
	cfg       Config
	clock     *fakeClock
	below     store.Store       // survives restarts
	faults    *storetest.Faults // in front of below
	auditPath string
	rotation  audit.Options // of the audit log

	mu         sync.Mutex
	containers map[string]*blobtest.Mem // by URI: what OpenContainer finds
	protected  bool                     // purge protection

	saved []byte // the backup of a key, for tests that carry one along
}

// newProvisionedHSM is a device fresh from Create: no security domain, one administrator.
func newProvisionedHSM(t testing.TB) *testHSM { return newTestHSMOn(t, mem.New()) }

// newTestHSM is an Active device. The people above have their roles at "/".
func newTestHSM(t testing.TB) *testHSM {
	t.Helper()
	r := newProvisionedHSM(t)
	r.testOnlyActivate()
	return r
}

func newTestHSMOn(t testing.TB, below store.Store) *testHSM {
	t.Helper()
	dir := t.TempDir()
	r := &testHSM{t: t, below: below, faults: storetest.NewFaults(below), auditPath: filepath.Join(dir, "audit.log"),
		clock: &fakeClock{now: time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)}, containers: make(map[string]*blobtest.Mem)}
	r.cfg = Config{
		ID: newGUID(), Name: "ContosoMHSM", Store: r.faults, Roots: unlock.NewRoots(filepath.Join(dir, "roots"), unlocker()),
		OpenContainer: r.openContainer, Clock: r.clock.Now, RestorePointMaxAge: 30 * time.Minute, RetentionDays: 90,
		PurgeProtected: func() bool { r.mu.Lock(); defer r.mu.Unlock(); return r.protected },
		Identities:     func() []string { return nil },
		Log:            slog.New(slog.DiscardHandler),
	}
	if err := Create(t.Context(), r.cfg, []string{adminID}); err != nil {
		t.Fatal(err)
	}
	r.open()
	t.Cleanup(r.stop)
	return r
}

// open starts the device on the store as it is.
func (r *testHSM) open() {
	r.t.Helper()
	log, err := audit.OpenWith(r.auditPath, r.rotation)
	if err != nil {
		r.t.Fatal(err)
	}
	r.cfg.Audit = log
	if r.HSM, err = Open(context.WithoutCancel(r.t.Context()), r.cfg); err != nil {
		r.t.Fatal(err)
	}
}

// stop ends the device, if it runs, and verifies the audit chain it leaves.
func (r *testHSM) stop() {
	r.t.Helper()
	if r.HSM == nil {
		return
	}
	if err := r.Close(); err != nil {
		r.t.Error(err)
	}
	r.HSM = nil
	r.auditLog()
}

// restart ends the device, dead or alive, and starts it again on what its store holds.
func (r *testHSM) restart() {
	r.t.Helper()
	r.stop()
	r.faults.Revive()
	r.open()
}

// check runs the auditor of the whole state.
func (r *testHSM) check() {
	r.t.Helper()
	if err := r.Check(r.t.Context()); err != nil {
		r.t.Error(err)
	}
}

// auditLog returns the entries of the audit file. The device must be stopped: while it runs a line may be
// half written.
func (r *testHSM) auditLog() []audit.Entry {
	r.t.Helper()
	var out []audit.Entry
	if _, err := audit.VerifyFiles(r.auditFiles(), audit.Expect{}, func(e audit.Entry) error { out = append(out, e); return nil }); err != nil {
		r.t.Error(err)
	}
	return out
}

func (r *testHSM) auditFiles() (out []string) {
	r.t.Helper()
	files, err := audit.Segments(r.auditPath)
	if err != nil {
		r.t.Fatal(err)
	}
	for _, f := range files {
		out = append(out, f.Path)
	}
	return out
}

// view is the device as it is now, for tests that look below its surface.
func (r *testHSM) view() *view {
	r.t.Helper()
	d, rev, err := r.readDevice(r.t.Context())
	if err != nil {
		r.t.Fatal(err)
	}
	root, err := r.rootFor(r.t.Context(), d.Root)
	if err != nil {
		r.t.Fatal(err)
	}
	return &view{h: r.HSM, dev: d, rev: rev, root: root}
}

// testOnlyActivate makes the device Active under the root it has, without a ceremony, and hands out roles.
func (r *testHSM) testOnlyActivate() {
	r.t.Helper()
	ctx := r.t.Context()
	v := r.view()
	d, rev, root := v.dev, v.rev, v.root
	next := d.activated(d.Generation, d.Root, root, domainProgress{Kind: "download", Status: statusSuccess})
	next.Roles++
	ops := []store.Op{store.Put(r.deviceKey(), next.encode())}
	for _, a := range []struct {
		principal string
		role      rbac.DefinitionID
	}{
		{userID, rbac.CryptoUser}, {officerID, rbac.CryptoOfficer}, {auditorID, rbac.CryptoAuditor},
		{backupID, rbac.BackupOperator}, {backupID, rbac.RestoreOperator},
	} {
		ops = append(ops, v.putAssignment(rbac.Assignment{ID: newGUID(), Scope: rbac.ScopeRoot, Principal: a.principal, Definition: a.role}))
	}
	if _, err := r.below.Txn(ctx, []store.Cond{store.Unchanged(r.deviceKey(), rev)}, ops); err != nil {
		r.t.Fatal(err)
	}
}

// container is the storage behind a URI; it comes into being when first asked for.
func (r *testHSM) container(uri string) *blobtest.Mem {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.containers[uri] == nil {
		r.containers[uri] = blobtest.NewMem()
	}
	return r.containers[uri]
}

func (r *testHSM) openContainer(_ context.Context, q ContainerRequest) (blob.Container, error) {
	return r.container(q.URI), nil
}

func (r *testHSM) protectPurge(on bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.protected = on
}
