package cloud

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"

	"redoubt/internal/store"
	"redoubt/internal/store/bolt"
	"redoubt/internal/store/mem"
)

// ranges counts how often the role assignments are read through.
type ranges struct {
	store.Store
	mu sync.Mutex
	n  int
}

func (r *ranges) Range(ctx context.Context, q store.Query) (store.Page, error) {
	if strings.HasPrefix(q.Prefix, root+"ra/") {
		r.mu.Lock()
		r.n++
		r.mu.Unlock()
	}
	return r.Store.Range(ctx, q)
}

func (r *ranges) count() int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.n
}

const hsmWrite = "Microsoft.KeyVault/managedHSMs/write"

// Whoever changes role assignments, and by whatever way, everybody knows at once; and as long as nobody does, they are
// not read again.
func TestRoleIndexFollowsEveryChange(t *testing.T) {
	t.Parallel()
	ctx, s := t.Context(), &ranges{Store: mem.New()}
	site := Site{Tenant: NewGUID(), Subscription: NewGUID()}
	scope := "/subscriptions/" + site.Subscription
	writer, reader := Open(s.Store), Open(s)
	owner, other, third := NewGUID(), NewGUID(), NewGUID()
	grant := RoleAssignment{Name: NewGUID(), Scope: scope + "/resourceGroups/G", Role: RoleManagedHSMContributor, PrincipalID: other}
	may := func(step, id, at string, want bool) {
		t.Helper()
		for range 3 {
			if got, err := reader.May(ctx, []string{NewGUID(), strings.ToUpper(id)}, at, hsmWrite); err != nil || got != want {
				t.Errorf("%s: %v, %v; want %v", step, got, err, want)
			}
		}
	}
	may("in an empty store", owner, scope, false)
	for i, step := range []struct {
		do         func() error
		id, at     string
		had, hasIt bool
	}{
		{func() error { return writer.Found(ctx, site, []string{owner, owner}) }, owner, scope, false, true},
		{func() error { return second(first(writer.CreateRoleAssignment(ctx, grant))) }, other, grant.Scope, false, true},
		{func() error { return second(first(writer.CreateRoleAssignment(ctx, grant))) }, other, grant.Scope, true, true},
		{func() error { return writer.AddOwner(ctx, third, nil) }, third, scope, false, true},
		{func() error { return second(writer.DeleteRoleAssignment(ctx, grant.Scope, grant.Name)) }, other, grant.Scope, true, false},
	} {
		name := fmt.Sprint("step ", i)
		may(name+", before", step.id, step.at, step.had)
		if err := step.do(); err != nil {
			t.Fatal(name, err)
		}
		may(name+", after", step.id, step.at, step.hasIt)
	}
	scopes, err := reader.Scopes(ctx, []string{third}, "/", hsmWrite)
	if err != nil || !slices.Equal(scopes, []string{scope}) {
		t.Errorf("scopes %v, %v", scopes, err)
	}
	if n := s.count(); n > 5 { // the empty store, and four changes
		t.Errorf("the assignments were read %d times", n)
	}
}

// The owners of a dev cloud are known to whoever asked before there were any.
func TestRoleIndexFollowsBootstrap(t *testing.T) {
	t.Parallel()
	s := mem.New()
	reader := Open(s)
	if is, err := reader.May(t.Context(), []string{NewGUID()}, "/", hsmWrite); is || err != nil {
		t.Fatal(is, err)
	}
	_, a, _ := fresh(t, s)
	for _, id := range []string{a.User.ObjectID, a.ServicePrincipal.ObjectID} {
		if is, err := reader.May(t.Context(), []string{id}, "/subscriptions/"+a.Subscription.ID, hsmWrite); !is || err != nil {
			t.Error(is, err)
		}
	}
}

// While assignments change, nobody is told what was never so: who keeps a role keeps it, and who was deprived of one
// before asking does not have it.
func TestRoleIndexUnderWrites(t *testing.T) {
	t.Parallel()
	ctx, c := t.Context(), Open(mem.New())
	give := func(id string) RoleAssignment {
		a, _, err := c.CreateRoleAssignment(ctx, RoleAssignment{Name: NewGUID(), Scope: "/subscriptions/s", Role: RoleOwner, PrincipalID: id})
		if err != nil {
			t.Error(err)
		}
		return a
	}
	keeper := NewGUID()
	give(keeper)
	var work sync.WaitGroup
	for range 4 {
		work.Go(func() {
			for range 50 {
				id := NewGUID()
				a := give(id)
				for _, want := range []bool{true, false} {
					if is, err := c.May(ctx, []string{id}, a.Scope, hsmWrite); is != want || err != nil {
						t.Errorf("%v, %v; want %v", is, err, want)
					}
					if _, err := c.DeleteRoleAssignment(ctx, a.Scope, a.Name); want && err != nil {
						t.Error(err)
					}
				}
				if is, err := c.May(ctx, []string{keeper}, a.Scope, hsmWrite); !is || err != nil {
					t.Errorf("%v, %v", is, err)
				}
			}
		})
	}
	work.Wait()
}

// fillAssignments makes n assignments of Reader on groups g0, g1 and so on, in bulk.
func fillAssignments(t testing.TB, s store.Store, n int) (all []RoleAssignment) {
	var ops []store.Op
	for i := range n {
		a := RoleAssignment{Name: NewGUID(), Scope: fmt.Sprintf("/subscriptions/s/resourceGroups/g%d", i), Role: RoleReader, PrincipalID: NewGUID()}
		key, err := resourceKey("ra", a.ID())
		if err != nil {
			t.Fatal(err)
		}
		all, ops = append(all, a), append(ops, put(key, a), put(a.grantKey(), a.ID()))
		if len(ops) < store.MaxOps-2 && i < n-1 {
			continue
		}
		if _, err := s.Txn(t.Context(), nil, append(ops, grantsChanged())); err != nil {
			t.Fatal(err)
		}
		ops = nil
	}
	return all
}

func first[A, B any](a A, _ B, err error) (A, error) { return a, err }

func second[A any](_ A, err error) error { return err }

// BenchmarkMay is what every request of the control plane asks.
func BenchmarkMay(b *testing.B) {
	for _, n := range []int{10, 4000} {
		b.Run(fmt.Sprintf("assignments=%d", n), func(b *testing.B) {
			s, err := bolt.Open(b.TempDir()+"/store.db", bolt.Options{Create: true})
			if err != nil {
				b.Fatal(err)
			}
			b.Cleanup(func() { _ = s.Close() })
			ctx, c, id := b.Context(), Open(s), NewGUID()
			fillAssignments(b, s, n-1)
			mine := RoleAssignment{Name: NewGUID(), Scope: "/subscriptions/s/resourceGroups/mine", Role: RoleManagedHSMContributor, PrincipalID: id}
			if _, _, err := c.CreateRoleAssignment(ctx, mine); err != nil {
				b.Fatal(err)
			}
			at := mine.Scope + "/providers/Microsoft.KeyVault/managedHSMs/x"
			for b.Loop() {
				if is, err := c.May(ctx, []string{id}, at, hsmWrite); !is || err != nil {
					b.Fatal(is, err)
				}
			}
		})
	}
}

// There is an end to assignments; what is there may be asked for again, and makes room when it goes.
func TestRoleAssignmentsHaveALimit(t *testing.T) {
	t.Parallel()
	ctx, s := t.Context(), mem.New()
	all := fillAssignments(t, s, MaxRoleAssignments)
	c := Open(s)
	more := RoleAssignment{Name: NewGUID(), Scope: "/subscriptions/s", Role: RoleReader, PrincipalID: NewGUID()}
	if _, _, err := c.CreateRoleAssignment(ctx, more); !errors.Is(err, ErrTooMany) {
		t.Errorf("one too many: %v", err)
	}
	if _, created, err := c.CreateRoleAssignment(ctx, all[7]); created || err != nil {
		t.Errorf("one that is there: %v, %v", created, err)
	}
	if _, err := c.DeleteRoleAssignment(ctx, all[7].Scope, all[7].Name); err != nil {
		t.Error(err)
	}
	if _, created, err := c.CreateRoleAssignment(ctx, more); !created || err != nil {
		t.Errorf("where there is room: %v, %v", created, err)
	}
}

// A subscription keeps an Owner, also when the last two remove each other at the same time.
func TestLastOwnerStays(t *testing.T) {
	t.Parallel()
	ctx, c := t.Context(), Open(mem.New())
	site := Site{Tenant: NewGUID(), Subscription: NewGUID()}
	if err := c.Found(ctx, site, []string{NewGUID(), NewGUID()}); err != nil {
		t.Fatal(err)
	}
	scope := "/subscriptions/" + site.Subscription
	part, _, err := c.CreateRoleAssignment(ctx, RoleAssignment{Name: NewGUID(), Scope: scope + "/resourceGroups/g", Role: RoleOwner, PrincipalID: NewGUID()})
	if err != nil {
		t.Fatal(err)
	}
	all, err := c.RoleAssignments(ctx)
	if err != nil || len(all) != 3 {
		t.Fatal(all, err)
	}
	var work sync.WaitGroup
	errs := make(chan error, 3)
	for _, a := range all {
		work.Go(func() { errs <- second(c.DeleteRoleAssignment(ctx, strings.ToUpper(a.Scope), a.Name)) })
	}
	work.Wait()
	close(errs)
	kept := 0
	for err := range errs {
		if errors.Is(err, ErrLastOwner) {
			kept++
		} else if err != nil {
			t.Error(err)
		}
	}
	all, err = c.RoleAssignments(ctx)
	if err != nil || kept != 1 || len(all) != 1 || all[0].Scope != scope || all[0].Name == part.Name {
		t.Fatalf("%d were kept: %+v, %v", kept, all, err)
	}
	// With another one above, it may go; then that one stays.
	above, _, err := c.CreateRoleAssignment(ctx, RoleAssignment{Name: NewGUID(), Scope: "/", Role: RoleOwner, PrincipalID: NewGUID()})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := c.DeleteRoleAssignment(ctx, scope, all[0].Name); err != nil {
		t.Error(err)
	}
	if _, err := c.DeleteRoleAssignment(ctx, "/", above.Name); !errors.Is(err, ErrLastOwner) {
		t.Errorf("the last one: %v", err)
	}
}
