package hsm

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"strings"
	"sync"
	"testing"

	"redoubt/internal/key"
	"redoubt/internal/rbac"
	"redoubt/internal/store"
)

// TestKeyBackupElsewhere: another HSM of the same domain restores it, under its own limits; and it survives the
// loss of the HSM it was made on.
func TestKeyBackupElsewhere(t *testing.T) {
	t.Parallel()
	s := getSite(t)
	ctx := t.Context()
	r := s.recovered(t, true)
	r.create("k", ecSpec)
	want := r.keyInventory("k")
	blob := r.backUpKey("k")
	twin := s.recovered(t, false)
	noErr(t, second(twin.PutAssignment(ctx, admin, rbac.ScopeRoot, newGUID(), userID, rbac.CryptoUser)))
	must[Bundle](t)(twin.RestoreKey(ctx, user, blob))
	if got := twin.keyInventory("k"); !maps.Equal(got, want) {
		t.Errorf("came back as %v\nwas %v", got, want)
	}
	twin.sound()
	sig := must[Result](t)(twin.Sign(ctx, user, "k", "", "ES256", make([]byte, 32)))
	if ok := must[bool](t)(r.Verify(ctx, user, "k", "", "ES256", make([]byte, 32), sig.Value)); !ok {
		t.Error("it is another key")
	}

	r.loseKey("k")
	r.succeed(r.StartRestore(ctx, admin, sasTarget(backupURI), s.folder)) // all content is another now
	must[Bundle](t)(r.RestoreKey(ctx, admin2(t, r), blob))
	r.sound()
}

// admin2 is a caller who may restore keys after the roles were replaced.
func admin2(t *testing.T, r *testHSM) Caller {
	t.Helper()
	must[rbac.Assignment](t)(r.PutAssignment(t.Context(), admin, rbac.ScopeRoot, newGUID(), strangerID, rbac.RestoreOperator))
	return stranger
}

// TestKeyRestoreLimit: a restored name counts, and a restore that fails does not.
func TestKeyRestoreLimit(t *testing.T) {
	t.Parallel()
	r := newTestHSM(t)
	ctx := t.Context()
	r.create("a", octSpec)
	blob := r.backUpKey("a")
	r.loseKey("a")
	r.cfg.MaxKeys = 2
	r.restart()
	r.create("b", octSpec)
	for range 3 {
		noErr(t, second(r.RestoreKey(ctx, user, blob)))
		wantErr(t, "again", second(r.RestoreKey(ctx, user, blob)), key.ErrExists)
		wantErr(t, "one too many", second(r.CreateKey(ctx, user, "c", key.CreateParams{Spec: octSpec})), ErrLimit)
		r.loseKey("a")
	}
	r.create("c", octSpec)
	before := r.raw()
	wantErr(t, "full", second(r.RestoreKey(ctx, user, blob)), ErrLimit)
	if !maps.Equal(r.raw(), before) {
		t.Error("something was written")
	}
	r.check()
}

// meddler is a store that lets others in before the n-th transaction of the call it watches.
type meddler struct {
	store.Store
	mu     sync.Mutex // one transaction of the watched call at a time
	at     int        // guarded by mu
	meddle func()
}

type watchedCall struct{}

// watch marks the call whose transactions count.
func (m *meddler) watch(ctx context.Context, at int, meddle func()) context.Context {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.at, m.meddle = at, meddle
	return context.WithValue(ctx, watchedCall{}, true)
}

func (m *meddler) Txn(ctx context.Context, ifs []store.Cond, then []store.Op) (store.Rev, error) {
	if ctx.Value(watchedCall{}) != nil {
		m.mu.Lock()
		defer m.mu.Unlock()
		if m.at--; m.at == 0 {
			m.meddle()
		}
	}
	return m.Store.Txn(ctx, ifs, then)
}

// TestKeyRestoreMeddled: others sweep, take the name, replace the content or restore the same key while a restore
// is under way. It ends whole or not at all.
func TestKeyRestoreMeddled(t *testing.T) {
	t.Parallel()
	s := getSite(t)
	for name, tc := range map[string]struct {
		meddle func(r *testHSM)
		want   error // of the restore
	}{
		"sweep":  {func(r *testHSM) { noErr(r.t, r.sweepPurged(r.t.Context())) }, nil},
		"backup": {func(r *testHSM) { r.succeed(r.StartBackup(r.t.Context(), admin, sasTarget("https://x/meddle"))) }, nil},
		"create": {func(r *testHSM) { r.create("K", octSpec) }, key.ErrExists},
		"twin":   {func(r *testHSM) { noErr(r.t, second(r.RestoreKey(r.t.Context(), user, r.saved))) }, key.ErrExists},
		"deleted": {func(r *testHSM) {
			r.create("K", octSpec)
			noErr(r.t, second(r.DeleteKey(r.t.Context(), user, "k")))
		}, key.ErrDeleted},
		"full restore": {func(r *testHSM) { r.succeed(r.StartRestore(r.t.Context(), admin, sasTarget(backupURI), s.folder)) }, nil},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			for n := 1; n <= 4; n++ { // note, two batches, head
				m := &meddler{}
				r := s.recovered(t, true, func(r *testHSM) { m.Store = r.cfg.Store; r.cfg.Store = m })
				for range 40 {
					r.create("k", octSpec)
				}
				want := r.keyInventory("k")
				r.saved = r.backUpKey("k")
				r.loseKey("k")
				_, err := r.RestoreKey(m.watch(t.Context(), n, func() { tc.meddle(r) }), user, r.saved)
				wantErr(t, fmt.Sprintf("before write %d", n), err, tc.want)
				if err == nil && !maps.Equal(r.keyInventory("k"), want) {
					t.Errorf("before write %d: it came back otherwise", n)
				}
				r.sound()
				for name := range r.raw() {
					if strings.HasPrefix(name, r.sweepPrefix()) {
						t.Errorf("before write %d: %s is left", n, name)
					}
				}
			}
		})
	}
}

// TestKeyRestoreCanceled: a client that goes away leaves nothing half done.
func TestKeyRestoreCanceled(t *testing.T) {
	t.Parallel()
	s := getSite(t)
	for n := 1; n <= 4; n++ {
		m := &meddler{}
		r := s.recovered(t, true, func(r *testHSM) { m.Store = r.cfg.Store; r.cfg.Store = m })
		for range 40 {
			r.create("k", octSpec)
		}
		blob := r.backUpKey("k")
		r.loseKey("k")
		before := r.inventory()
		ctx, cancel := context.WithCancel(t.Context())
		if _, err := r.RestoreKey(m.watch(ctx, n, cancel), user, blob); !errors.Is(err, context.Canceled) {
			t.Errorf("write %d: %v", n, err)
		}
		sameInventory(t, r.inventory(), before)
		r.sound()
		must[Bundle](t)(r.RestoreKey(t.Context(), user, blob))
		r.sound()
	}
}
