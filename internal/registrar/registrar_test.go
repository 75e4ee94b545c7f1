package registrar

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"

	"redoubt/internal/cloud"
	"redoubt/internal/store/mem"
)

func newRegistrar(t *testing.T) *Registrar {
	t.Helper()
	c := cloud.Open(mem.New())
	a, err := c.Bootstrap(t.Context(), cloud.Options{})
	if err != nil {
		t.Fatal(err)
	}
	return &Registrar{Cloud: c, Account: a}
}

// do carries out an order and decodes what is told.
func do[T any](t *testing.T, r *Registrar, o Order) (v T, err error) {
	t.Helper()
	answer, err := r.Do(t.Context(), o)
	if err != nil {
		return v, err
	}
	b, err := json.Marshal(answer)
	if err == nil {
		err = json.Unmarshal(b, &v)
	}
	return v, err
}

// TestOwnersRemoveEachOther: of any number of Owners who are removed at once, one is left.
func TestOwnersRemoveEachOther(t *testing.T) {
	t.Parallel()
	r := newRegistrar(t)
	names := []string{"operator"}
	for i := range 6 {
		u, err := do[userView](t, r, Order{Verb: "user add", Name: fmt.Sprint("owner", i)})
		if err != nil {
			t.Fatal(err)
		}
		grant := cloud.RoleAssignment{Name: cloud.NewGUID(), Scope: "/subscriptions/" + r.Account.Subscription.ID, Role: cloud.RoleOwner, PrincipalID: u.ID}
		if _, _, err := r.Cloud.CreateRoleAssignment(t.Context(), grant); err != nil {
			t.Fatal(err)
		}
		names = append(names, u.UPN)
	}
	orders := []Order{{Verb: "app remove", Name: "redoubt-dev"}}
	for i, n := range names {
		orders = append(orders, Order{Verb: []string{"user remove", "user disable"}[i%2], Name: n})
	}
	errs := make([]error, len(orders))
	var work sync.WaitGroup
	for i, o := range orders {
		work.Go(func() { _, errs[i] = r.Do(context.WithoutCancel(t.Context()), o) })
	}
	work.Wait()
	var refused []error
	for _, err := range errs {
		if err != nil {
			refused = append(refused, err)
		}
	}
	if len(refused) != 1 || !errors.Is(refused[0], ErrLastOwner) {
		t.Errorf("refused: %v", refused)
	}
	owners := 0
	all, err := r.Cloud.RoleAssignments(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for _, g := range all {
		if ok, err := r.Cloud.Active(t.Context(), g.PrincipalID); ok && err == nil {
			owners++
		}
	}
	if owners != 1 {
		t.Errorf("%d owners are left", owners)
	}
}

// TestOwnerElsewhereDoesNotCount: who is Owner of a resource group only, or disabled, keeps nobody's place.
func TestOwnerElsewhereDoesNotCount(t *testing.T) {
	t.Parallel()
	r := newRegistrar(t)
	u, err := do[userView](t, r, Order{Verb: "user add", Name: "narrow"})
	if err != nil {
		t.Fatal(err)
	}
	grant := cloud.RoleAssignment{Name: cloud.NewGUID(), Scope: "/subscriptions/" + r.Account.Subscription.ID + "/resourceGroups/g", Role: cloud.RoleOwner, PrincipalID: u.ID}
	if _, _, err := r.Cloud.CreateRoleAssignment(t.Context(), grant); err != nil {
		t.Fatal(err)
	}
	for _, step := range []struct {
		o    Order
		want error
	}{
		{Order{Verb: "app disable", Name: "redoubt-dev"}, nil}, {Order{Verb: "app disable", Name: "redoubt-dev"}, nil},
		{Order{Verb: "user disable", Name: "operator"}, ErrLastOwner}, {Order{Verb: "user disable", Name: "narrow"}, nil}, {Order{Verb: "user remove", Name: "narrow"}, nil},
	} {
		if _, err := r.Do(t.Context(), step.o); !errors.Is(err, step.want) {
			t.Errorf("%s: %v", step.o, err)
		}
	}
}

// TestNames: a person goes by user name, its first part or object id; an application by its ids, and by a name only
// while that is its alone.
func TestNames(t *testing.T) {
	t.Parallel()
	r := newRegistrar(t)
	u := r.Account.User
	for _, name := range []string{"operator", "OPERATOR", strings.ToUpper(u.UPN), u.ObjectID} {
		if v, err := do[userView](t, r, Order{Verb: "user enable", Name: name}); err != nil || v.ID != u.ObjectID {
			t.Errorf("%q: %+v, %v", name, v, err)
		}
	}
	first, err := do[appView](t, r, Order{Verb: "app add", Name: "twin"})
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"twin", "TWIN", first.AppID, first.ID} {
		if v, err := do[appView](t, r, Order{Verb: "app enable", Name: name}); err != nil || v.ID != first.ID {
			t.Errorf("%q: %+v, %v", name, v, err)
		}
	}
	if _, err := r.Do(t.Context(), Order{Verb: "app add", Name: "twin"}); err != nil {
		t.Fatal(err)
	}
	if _, err := r.Do(t.Context(), Order{Verb: "app remove", Name: "twin"}); err == nil || !strings.Contains(err.Error(), "2 applications") {
		t.Errorf("an ambiguous name: %v", err)
	}
	if _, err := r.Do(t.Context(), Order{Verb: "app remove", Name: first.AppID}); err != nil {
		t.Error(err)
	}
	for _, o := range []Order{{Verb: "user disable"}, {Verb: "app disable"}, {Verb: "app disable", Name: u.ObjectID}, {Verb: "user disable", Name: first.ID}} {
		if _, err := r.Do(t.Context(), o); !errors.Is(err, cloud.ErrNotFound) {
			t.Errorf("%s: %v", o, err)
		}
	}
	name, _, _ := strings.Cut(u.UPN, "@")
	if _, err := r.Do(t.Context(), Order{Verb: "user add", Name: name}); !errors.Is(err, cloud.ErrExists) || !strings.Contains(err.Error(), "set-password") {
		t.Errorf("somebody who is there already: %v", err)
	}
	if _, err := r.Do(t.Context(), Order{Verb: "user rename"}); !errors.Is(err, ErrUnknownOrder) {
		t.Error(err)
	}
}

// TestOrdersDoNotPrintSecrets: neither verb of fmt shows one.
func TestOrdersDoNotPrintSecrets(t *testing.T) {
	t.Parallel()
	o := Order{Verb: "user add", Name: "x", Secret: "canary"}
	if s := fmt.Sprintf("%v %+v %#v %s %v", o, o, o, o, &o); strings.Contains(s, "canary") {
		t.Error(s)
	}
}

// TestDeliverAndUnlock: what is told to the server, and for whom.
func TestDeliverAndUnlock(t *testing.T) {
	t.Parallel()
	r := newRegistrar(t)
	var delivered, unlocked []string
	r.Deliver = func(password, clientSecret string) error {
		// The secret that is delivered works already, and so does the one before.
		if clientSecret != "" {
			if a, err := r.Cloud.Application(t.Context(), r.Account.ServicePrincipal.AppID); err != nil || a.Secrets != 2 {
				t.Errorf("%+v, %v", a, err)
			}
		}
		delivered = append(delivered, password, clientSecret)
		return nil
	}
	r.Unlock = func(upn, appID string) { unlocked = append(unlocked, upn+appID) }
	p, err := do[userView](t, r, Order{Verb: "user set-password", Name: "operator"})
	if err != nil {
		t.Fatal(err)
	}
	a, err := do[appView](t, r, Order{Verb: "app rotate-secret", Name: "redoubt-dev"})
	if err != nil {
		t.Fatal(err)
	}
	if !slices.Equal(delivered, []string{p.Password, "", "", a.Password}) || a.Secrets != 1 {
		t.Errorf("delivered %d, %+v", len(delivered), a)
	}
	for _, o := range []Order{{Verb: "user add", Name: "alice"}, {Verb: "user set-password", Name: "alice"}, {Verb: "app add", Name: "other"}, {Verb: "app rotate-secret", Name: "other"}} {
		if _, err := r.Do(t.Context(), o); err != nil {
			t.Fatal(err)
		}
	}
	if len(delivered) != 4 || unlocked[0] != r.Account.User.UPN || unlocked[1] != r.Account.ServicePrincipal.AppID {
		t.Errorf("delivered %d, unlocked %v", len(delivered), unlocked)
	}
	r.Deliver = func(string, string) error { return errors.New("disk full") }
	if _, err := r.Do(t.Context(), Order{Verb: "app rotate-secret", Name: "redoubt-dev"}); err == nil {
		t.Error("a failed delivery was not told")
	}
	if _, err := r.Cloud.CheckSecret(t.Context(), a.AppID, a.Password); err != nil {
		t.Errorf("the secret that was delivered last has ended: %v", err)
	}
}

// TestRecord: what changes something is on record before and after; while nothing can be recorded, nothing is done.
func TestRecord(t *testing.T) {
	t.Parallel()
	r := newRegistrar(t)
	var said []string
	full := false
	r.Record = func(o Order, result string, err error) error {
		if full {
			return errors.New("disk full")
		}
		said = append(said, fmt.Sprint(o.Verb, " ", result, " ", err))
		return nil
	}
	for _, o := range []Order{{Verb: "user add", Name: "alice"}, {Verb: "user list"}, {Verb: "user add", Name: "alice"}, {Verb: "nonsense"}} {
		_, err := r.Do(t.Context(), o)
		if bad := len(said) == 4; bad == (err == nil) {
			t.Errorf("%s: %v", o, err)
		}
	}
	want := []string{"user add Started <nil>", "user add Success <nil>", "user add Started <nil>"}
	if len(said) != 4 || !slices.Equal(said[:3], want) || !strings.Contains(said[3], "Failed") || !strings.Contains(said[3], "already exists") {
		t.Errorf("%q", said)
	}
	full = true
	if _, err := r.Do(t.Context(), Order{Verb: "user remove", Name: "alice"}); err == nil || !strings.Contains(err.Error(), "nothing was done") {
		t.Error(err)
	}
	if _, err := r.Cloud.User(t.Context(), "alice@contoso.onmicrosoft.com"); err != nil {
		t.Errorf("it was done: %v", err)
	}
	if _, err := r.Do(t.Context(), Order{Verb: "user list"}); err != nil {
		t.Errorf("list: %v", err)
	}
}
