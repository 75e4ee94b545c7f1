package hsm

import (
	"fmt"
	"path/filepath"
	"testing"

	"redoubt/internal/rbac"
	"redoubt/internal/store/bolt"
)

// sameTable wants the table that the device keeps to be that of its newest state, without having been compiled for it,
// and to say what is stored.
func (r *testHSM) sameTable() {
	r.t.Helper()
	v := r.view()
	c := r.roles.now.Load()
	if c == nil || c.generation != v.dev.Generation || c.roles != v.dev.Roles {
		r.t.Errorf("the table is of %+v, the device is at %s, %d", c, v.dev.Generation, v.dev.Roles)
		return
	}
	as, err := scanAll[rbac.Assignment](r.t.Context(), v, "ra/")
	noErr(r.t, err)
	fresh, err := v.compileRoles(r.t.Context())
	noErr(r.t, err)
	if c.table.Len() != len(as) || c.table.Administrators() != fresh.Administrators() || c.table.CountAt("/") != fresh.CountAt("/") {
		r.t.Errorf("the table counts %d, %d and %d, want %d, %d and %d", c.table.Len(), c.table.Administrators(), c.table.CountAt("/"), len(as), fresh.Administrators(), fresh.CountAt("/"))
	}
	for _, a := range as {
		if id, ok := c.table.Find(a.Principal, a.Definition, a.Scope); !ok || id != a.ID {
			r.t.Errorf("%+v is not in the table", a)
		}
		for _, action := range []rbac.Action{rbac.KeysSign, rbac.KeysRead, rbac.RoleAssignmentsWrite} {
			if p := (rbac.Principal{ID: a.Principal}); c.table.Allow(p, action, a.Scope) != fresh.Allow(p, action, a.Scope) {
				r.t.Errorf("%s at %s by %s: not what is stored says", action, a.Scope, a.Principal)
			}
		}
	}
}

// TestTableFollowsChanges: after changes by many at once the kept table is the newest one, and right.
func TestTableFollowsChanges(t *testing.T) {
	t.Parallel()
	onBothStores(t, func(t *testing.T, r *testHSM) {
		ctx := t.Context()
		def := rbac.DefinitionID(newGUID())
		define := func(a rbac.Action) error {
			return second(r.PutDefinition(ctx, admin, rbac.ScopeRoot, rbac.Definition{ID: def, DataActions: []string{a.String()}}))
		}
		noErr(t, define(rbac.KeysSign))
		ids := make([]string, 24)
		parallel(len(ids), func(i int) {
			a, err := r.PutAssignment(ctx, admin, rbac.Scope(fmt.Sprint("/keys/key-", i%5)), newGUID(), newGUID(), []rbac.DefinitionID{def, rbac.CryptoUser}[i%2])
			if err != nil {
				t.Error(err)
				return
			}
			ids[i] = a.ID
		})
		r.sameTable()
		parallel(len(ids)/2, func(i int) {
			if err := second(r.DeleteAssignment(ctx, admin, rbac.ScopeRoot, ids[i])); err != nil {
				t.Error(err)
			}
			if i%4 == 0 {
				if err := define(rbac.KeysRead); err != nil {
					t.Error(err)
				}
			}
		})
		r.sameTable()
		noErr(t, second(r.DeleteDefinition(ctx, admin, rbac.ScopeRoot, def)))
		r.sameTable()
		r.restart()
		wantErr(t, "after a restart", third(r.ListKeys(ctx, user, "", 0)), nil)
		r.sameTable()
		r.check()
	})
}

// TestTableFollowsLateChanges: changes that are told in another order than they were committed in are applied in that order;
// one that went missing has the table compiled.
func TestTableFollowsLateChanges(t *testing.T) {
	t.Parallel()
	start, err := rbac.Compile(nil, nil)
	noErr(t, err)
	var r roleTables
	r.now.Store(&compiledRoles{generation: "g", roles: 1, table: start})
	change := func(generation string, at uint64) {
		r.changed(device{Generation: generation, Roles: at}, func(t *rbac.Table) *rbac.Table {
			return t.With(rbac.Assignment{ID: fmt.Sprint(at), Scope: "/", Principal: "p", Definition: rbac.CryptoUser})
		})
	}
	state := func(want uint64, n int) {
		t.Helper()
		if c := r.now.Load(); c.roles != want || c.table.Len() != n {
			t.Errorf("at %d with %d assignments, want %d with %d", c.roles, c.table.Len(), want, n)
		}
	}
	change("g", 3)
	change("other", 1)
	change("g", 0) // long past
	state(1, 0)
	change("g", 2)
	state(1, 0)
	change("g", 1)
	state(4, 3)
	change("g", 5) // that of 4 is missing
	state(4, 3)
	r.changed(device{Generation: "g", Roles: 4}, func(*rbac.Table) *rbac.Table { return nil })
	state(4, 3)
	if r.find(device{Generation: "g", Roles: 5}) != nil {
		t.Error("a table of another state was found")
	}
}

// TestAssignmentsAltogether: key names that nobody uses do not make room for assignments without end.
func TestAssignmentsAltogether(t *testing.T) {
	t.Parallel()
	r := newTestHSM(t)
	r.stop()
	r.cfg.MaxKeys = 2
	r.open()
	limit := maxAssignmentsTop + 2*maxAssignmentsPerKey
	there, err := r.ListAssignments(t.Context(), admin, rbac.ScopeRoot, AssignmentFilter{})
	noErr(t, err)
	for i := len(there); i < limit; i++ {
		r.assign(rbac.Scope(fmt.Sprint("/keys/key-", i/5)), newGUID(), rbac.CryptoUser)
	}
	_, err = r.PutAssignment(t.Context(), admin, "/keys/more", newGUID(), newGUID(), rbac.CryptoUser)
	wantErr(t, "one too many", err, ErrLimit)
	_, err = r.PutAssignment(t.Context(), admin, rbac.ScopeRoot, newGUID(), newGUID(), rbac.CryptoUser)
	wantErr(t, "one too many at the root", err, ErrLimit)
	r.check()
}

// BenchmarkRoles: with 10, 1,000 and 100,000 assignments on bbolt, the first request after a start (without opening), a request that is checked, and a
// change of one assignment with the request after it.
func BenchmarkRoles(b *testing.B) {
	for _, n := range []int{10, 1_000, 100_000} {
		s, err := bolt.Open(filepath.Join(b.TempDir(), "store.db"), bolt.Options{Create: true})
		if err != nil {
			b.Fatal(err)
		}
		b.Cleanup(func() { s.Close() })
		r := newTestHSMOn(b, s)
		r.testOnlyActivate()
		r.cfg.MaxKeys = 10_000
		r.restart() // counts from here
		r.create("k", ecSpec)
		r.widen(n)
		ask := func(b *testing.B) {
			b.Helper()
			if err := second(r.GetKey(b.Context(), user, "k", "")); err != nil {
				b.Fatal(err)
			}
		}
		b.Run(fmt.Sprintf("first/%d", n), func(b *testing.B) {
			for b.Loop() {
				r.roles.now.Store(nil) // as a start leaves it
				ask(b)
			}
		})
		b.Run(fmt.Sprintf("check/%d", n), func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				ask(b)
			}
		})
		b.Run(fmt.Sprintf("change/%d", n), func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				a, err := r.PutAssignment(b.Context(), admin, "/keys/k", newGUID(), newGUID(), rbac.CryptoUser)
				if err == nil {
					ask(b)
					_, err = r.DeleteAssignment(b.Context(), admin, "/keys/k", a.ID)
				}
				if err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

// TestKillRoleChange: whatever becomes of the commit of a change of roles, the table is that of what is stored; also while the
// device goes on after a commit of unknown outcome.
func TestKillRoleChange(t *testing.T) {
	t.Parallel()
	id := newGUID()
	put := func(r *testHSM) error {
		return second(r.PutAssignment(r.t.Context(), admin, "/keys/k", id, strangerID, rbac.CryptoUser))
	}
	killMatrix(t, func(t *testing.T, o func(*testHSM)) *testHSM {
		r, _ := newActiveDR(t, o)
		return r
	}, func(r *testHSM) (string, error) { return "", put(r) }, func(t *testing.T, r *testHSM, _ string, err error) {
		as, lerr := r.ListAssignments(t.Context(), admin, rbac.ScopeRoot, AssignmentFilter{Principal: strangerID})
		noErr(t, lerr)
		if err == nil && len(as) != 1 {
			t.Errorf("it was answered and is gone: %v", as)
		}
		r.sameTable()
		noErr(t, put(r)) // repeated or made
		r.sameTable()
	})
}
