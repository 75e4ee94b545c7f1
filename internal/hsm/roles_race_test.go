package hsm

import (
	"errors"
	"path/filepath"
	"testing"

	"redoubt/internal/rbac"
	"redoubt/internal/store/bolt"
)

// onBothStores runs a test on the store of tests and on that of servers.
func onBothStores(t *testing.T, test func(t *testing.T, r *testHSM)) {
	t.Helper()
	t.Run("mem", func(t *testing.T) {
		t.Parallel()
		test(t, newTestHSM(t))
	})
	t.Run("bolt", func(t *testing.T) {
		t.Parallel()
		db, err := bolt.Open(filepath.Join(t.TempDir(), "store.db"), bolt.Options{Create: true})
		noErr(t, err)
		t.Cleanup(func() { db.Close() })
		r := newTestHSMOn(t, db)
		t.Cleanup(r.stop) // before the store closes
		r.testOnlyActivate()
		test(t, r)
	})
}

// TestAdministratorsRemoveEachOther: however administrators remove each other and themselves at once, one stays, and whoever was
// removed may do nothing from then on.
func TestAdministratorsRemoveEachOther(t *testing.T) {
	t.Parallel()
	onBothStores(t, func(t *testing.T, r *testHSM) {
		ctx := t.Context()
		who := []Caller{admin, stranger, caller(newGUID()), caller(newGUID())}
		ids := make([]string, len(who))
		as, err := r.ListAssignments(ctx, admin, rbac.ScopeRoot, AssignmentFilter{Principal: adminID})
		noErr(t, err)
		ids[0] = as[0].ID
		left := 0 // who is Administrator when a round begins
		for range 12 {
			for i, c := range who {
				if i != left {
					a, err := r.PutAssignment(ctx, who[left], rbac.ScopeRoot, newGUID(), c.ID, rbac.Administrator)
					noErr(t, err)
					ids[i] = a.ID
				}
			}
			n := len(who)
			errs := make([]error, n*n)
			parallel(n*n, func(k int) {
				_, errs[k] = r.DeleteAssignment(ctx, who[k/n], rbac.ScopeRoot, ids[k%n])
			})
			removed := 0
			for k, err := range errs {
				switch {
				case err == nil:
					removed++
				case !errors.Is(err, rbac.ErrDenied) && !errors.Is(err, rbac.ErrAssignmentNotFound) && !errors.Is(err, rbac.ErrLastAdministrator):
					t.Errorf("%d removes %d: %v", k/n, k%n, err)
				}
			}
			if removed != n-1 {
				t.Fatalf("%d of %d administrators were removed: %v", removed, n, errs)
			}
			left = -1
			for i, c := range who {
				_, err := r.ListAssignments(ctx, c, rbac.ScopeRoot, AssignmentFilter{})
				if err == nil {
					left = i
				} else if !errors.Is(err, rbac.ErrDenied) {
					t.Error(err)
				}
			}
			if left < 0 {
				t.Fatal("nobody is Administrator")
			}
		}
		r.check()
	})
}

// TestLimitUnderRace: however many ask at once, there are never more assignments than there may be.
func TestLimitUnderRace(t *testing.T) {
	t.Parallel()
	onBothStores(t, func(t *testing.T, r *testHSM) {
		ctx := t.Context()
		errs := make([]error, 3*maxAssignmentsPerKey)
		parallel(len(errs), func(i int) {
			_, errs[i] = r.PutAssignment(ctx, admin, "/keys/k", newGUID(), newGUID(), rbac.CryptoUser)
		})
		made := 0
		for _, err := range errs {
			if err == nil {
				made++
			} else if !errors.Is(err, ErrLimit) {
				t.Error(err)
			}
		}
		if made != maxAssignmentsPerKey {
			t.Errorf("%d were made", made)
		}
		// The same request twice at once is one assignment.
		id, who := newGUID(), newGUID()
		parallel(4, func(i int) {
			_, errs[i] = r.PutAssignment(ctx, admin, "/keys/other", id, who, rbac.CryptoUser)
		})
		for _, err := range errs[:4] {
			noErr(t, err)
		}
		r.check()
	})
}

// TestDefinitionDeletedWhileAssigned: a role that goes while it is being assigned leaves a defunct assignment at
// worst, which shows, grants nothing and can be removed.
func TestDefinitionDeletedWhileAssigned(t *testing.T) {
	t.Parallel()
	onBothStores(t, func(t *testing.T, r *testHSM) {
		ctx := t.Context()
		r.create("k", ecSpec)
		for range 10 {
			d, err := r.PutDefinition(ctx, admin, rbac.ScopeRoot, rbac.Definition{ID: rbac.DefinitionID(newGUID()), DataActions: []string{rbac.KeysRead.String()}})
			noErr(t, err)
			id := newGUID()
			errs := make([]error, 2)
			parallel(2, func(i int) {
				if i == 0 {
					_, errs[0] = r.DeleteDefinition(ctx, admin, rbac.ScopeRoot, d.ID)
				} else {
					_, errs[1] = r.PutAssignment(ctx, admin, rbac.ScopeRoot, id, strangerID, d.ID)
				}
			})
			noErr(t, errs[0])
			if errs[1] != nil && !errors.Is(errs[1], rbac.ErrDefinitionNotFound) {
				t.Fatal(errs[1])
			}
			wantErr(t, "by a role that is gone", second(r.GetKey(ctx, stranger, "k", "")), rbac.ErrDenied)
			if errs[1] == nil {
				noErr(t, second(r.DeleteAssignment(ctx, admin, rbac.ScopeRoot, id)))
			}
		}
		r.check()
	})
}
