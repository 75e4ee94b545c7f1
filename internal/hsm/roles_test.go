package hsm

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"redoubt/internal/key"
	"redoubt/internal/rbac"
)

// assign gives principal a role and returns the assignment's id.
func (r *testHSM) assign(scope rbac.Scope, principal string, role rbac.DefinitionID) string {
	r.t.Helper()
	a, err := r.PutAssignment(r.t.Context(), admin, scope, newGUID(), principal, role)
	noErr(r.t, err)
	return a.ID
}

func TestAssignmentsTakeEffectAtOnce(t *testing.T) {
	t.Parallel()
	r := newTestHSM(t)
	ctx := t.Context()
	r.create("Mine", ecSpec)
	r.create("other", ecSpec)
	sign := func(n key.Name) error {
		return second(r.Sign(ctx, stranger, n, "", "ES256", make([]byte, 32)))
	}
	wantErr(t, "before", sign("mine"), rbac.ErrDenied)
	id := r.assign("/keys/MINE", strangerID, rbac.CryptoUser)
	wantErr(t, "with the role at the key", sign("mine"), nil)
	wantErr(t, "another key", sign("other"), rbac.ErrDenied)
	wantErr(t, "list with the role at one key", third(r.ListKeys(ctx, stranger, "", 0)), rbac.ErrDenied)
	whole := r.assign(rbac.ScopeKeys, strangerID, rbac.CryptoUser)
	wantErr(t, "with the role at /keys", sign("other"), nil)
	wantErr(t, "list with the role at /keys", third(r.ListKeys(ctx, stranger, "", 0)), nil)
	r.restart()
	wantErr(t, "after a restart", sign("other"), nil)

	for _, gone := range []string{id, whole} {
		a, err := r.DeleteAssignment(ctx, admin, rbac.ScopeRoot, strings.ToUpper(gone)) // from the scope above
		if err != nil || a.ID != gone || a.Principal != strangerID {
			t.Errorf("delete: %+v, %v", a, err)
		}
	}
	wantErr(t, "without roles", sign("mine"), rbac.ErrDenied)
	group := caller(strangerID)
	group.Groups = []string{backupID, "66666666-6666-4666-8666-666666666666"}
	r.assign(rbac.ScopeRoot, group.Groups[1], rbac.CryptoAuditor)
	wantErr(t, "through a group", second(r.GetKey(ctx, group, "mine", "")), nil)
	r.check()
}

func TestPutAssignmentRules(t *testing.T) {
	t.Parallel()
	r := newTestHSM(t)
	ctx := t.Context()
	id := newGUID()
	first, err := r.PutAssignment(ctx, admin, rbac.ScopeKeys, strings.ToUpper(id), strings.ToUpper(strangerID), rbac.CryptoUser)
	if want := (rbac.Assignment{ID: id, Scope: rbac.ScopeKeys, Principal: strangerID, Definition: rbac.CryptoUser}); err != nil || first != want {
		t.Errorf("%+v, %v; want %+v", first, err, want)
	}
	if again, err := r.PutAssignment(ctx, admin, rbac.ScopeKeys, id, strangerID, rbac.CryptoUser); err != nil || again != first {
		t.Errorf("the same request again: %+v, %v", again, err)
	}
	for name, tc := range map[string]struct {
		scope         rbac.Scope
		id, principal string
		def           rbac.DefinitionID
		want          error
	}{
		"same grant, other id":    {rbac.ScopeKeys, newGUID(), strangerID, rbac.CryptoUser, rbac.ErrAssignmentExists},
		"same id, other grant":    {rbac.ScopeKeys, id, strangerID, rbac.CryptoOfficer, rbac.ErrAssignmentExists},
		"same id, other scope":    {rbac.ScopeRoot, id, strangerID, rbac.CryptoUser, rbac.ErrAssignmentExists},
		"unknown role":            {rbac.ScopeRoot, newGUID(), strangerID, rbac.DefinitionID(newGUID()), rbac.ErrDefinitionNotFound},
		"id that is no GUID":      {rbac.ScopeRoot, "one", strangerID, rbac.CryptoUser, rbac.ErrBadAssignment},
		"principal that is none":  {rbac.ScopeRoot, newGUID(), "me@contoso.com", rbac.CryptoUser, rbac.ErrBadAssignment},
		"role that is not a GUID": {rbac.ScopeRoot, newGUID(), strangerID, "../h/x", rbac.ErrDefinitionNotFound},
	} {
		_, err := r.PutAssignment(ctx, admin, tc.scope, tc.id, tc.principal, tc.def)
		wantErr(t, name, err, tc.want)
	}
	r.check()
}

func TestAssignmentLimits(t *testing.T) {
	t.Parallel()
	r := newTestHSM(t)
	ctx := t.Context()
	all, err := r.ListAssignments(ctx, admin, rbac.ScopeRoot, AssignmentFilter{})
	noErr(t, err)
	for i := range maxAssignmentsTop - len(all) {
		r.assign([]rbac.Scope{rbac.ScopeRoot, rbac.ScopeKeys}[i%2], newGUID(), rbac.CryptoUser)
	}
	for range maxAssignmentsPerKey {
		r.assign("/keys/a", newGUID(), rbac.CryptoUser)
		r.assign("/keys/b", newGUID(), rbac.CryptoUser)
	}
	for _, s := range []rbac.Scope{rbac.ScopeRoot, rbac.ScopeKeys, "/keys/A"} {
		_, err := r.PutAssignment(ctx, admin, s, newGUID(), newGUID(), rbac.CryptoUser)
		wantErr(t, "one too many at "+string(s), err, ErrLimit)
	}
	r.assign("/keys/c", newGUID(), rbac.CryptoUser)
	r.check()
}

func TestGetAndDeleteAssignment(t *testing.T) {
	t.Parallel()
	r := newTestHSM(t)
	ctx := t.Context()
	onKey := r.assign("/keys/Mine", strangerID, rbac.CryptoUser)
	top := r.assign(rbac.ScopeRoot, strangerID, rbac.CryptoAuditor)
	for name, tc := range map[string]struct {
		scope rbac.Scope
		id    string
		want  error
	}{
		"at its scope":      {"/keys/mine", onKey, nil},
		"from above":        {rbac.ScopeKeys, onKey, nil},
		"from the root":     {rbac.ScopeRoot, onKey, nil},
		"at another key":    {"/keys/other", onKey, rbac.ErrAssignmentNotFound},
		"from below":        {"/keys/mine", top, rbac.ErrAssignmentNotFound},
		"unknown":           {rbac.ScopeRoot, newGUID(), rbac.ErrAssignmentNotFound},
		"not even a GUID":   {rbac.ScopeRoot, "../rd/x", rbac.ErrAssignmentNotFound},
		"in capital digits": {rbac.ScopeRoot, strings.ToUpper(top), nil},
	} {
		a, err := r.GetAssignment(ctx, admin, tc.scope, tc.id)
		wantErr(t, "get "+name, err, tc.want)
		if err == nil && !strings.EqualFold(a.ID, tc.id) {
			t.Errorf("get %s: %+v", name, a)
		}
		if tc.want != nil {
			_, err = r.DeleteAssignment(ctx, admin, tc.scope, tc.id)
			wantErr(t, "delete "+name, err, tc.want)
		}
	}
	r.check()
}

func TestLastAdministrator(t *testing.T) {
	t.Parallel()
	r := newTestHSM(t)
	ctx := t.Context()
	as, err := r.ListAssignments(ctx, admin, rbac.ScopeRoot, AssignmentFilter{Principal: adminID})
	if err != nil || len(as) != 1 {
		t.Fatalf("assignments of the administrator: %v, %v", as, err)
	}
	first := as[0].ID
	r.assign(rbac.ScopeKeys, strangerID, rbac.Administrator) // at /keys it administers nothing
	_, err = r.DeleteAssignment(ctx, admin, rbac.ScopeRoot, first)
	wantErr(t, "the only administrator", err, rbac.ErrLastAdministrator)
	other := r.assign(rbac.ScopeRoot, strangerID, rbac.Administrator)

	// Two administrators remove each other at the same time: one must stay.
	errs := make([]error, 2)
	parallel(2, func(i int) {
		_, errs[i] = r.DeleteAssignment(ctx, []Caller{admin, stranger}[i], rbac.ScopeRoot, []string{other, first}[i])
	})
	if (errs[0] == nil) == (errs[1] == nil) {
		t.Errorf("both the same: %v", errs)
	}
	r.check()
}

func TestListAssignments(t *testing.T) {
	t.Parallel()
	r := newTestHSM(t)
	ctx := t.Context()
	start, err := r.ListAssignments(ctx, admin, rbac.ScopeRoot, AssignmentFilter{})
	noErr(t, err)
	who := newGUID()
	ids := map[string]string{}
	for name, s := range map[string]rbac.Scope{"root": rbac.ScopeRoot, "keys": rbac.ScopeKeys, "a": "/keys/a", "b": "/keys/B"} {
		ids[name] = r.assign(s, who, rbac.CryptoUser)
	}
	for _, tc := range []struct {
		scope rbac.Scope
		f     AssignmentFilter
		want  []string // beyond those of the start, which are all at the root
		start bool
	}{
		{rbac.ScopeRoot, AssignmentFilter{}, []string{"root", "keys"}, true},
		{rbac.ScopeKeys, AssignmentFilter{}, []string{"root", "keys"}, true},
		{"/keys/a", AssignmentFilter{}, []string{"root", "keys", "a"}, true},
		{"/keys/b", AssignmentFilter{AtScope: true}, []string{"root", "keys", "b"}, true},
		{rbac.ScopeRoot, AssignmentFilter{AtScope: true}, []string{"root", "keys"}, true},
		{rbac.ScopeRoot, AssignmentFilter{Principal: strings.ToUpper(who)}, []string{"root", "keys", "a", "b"}, false},
		{"/keys/a", AssignmentFilter{Principal: who}, []string{"root", "keys", "a"}, false},
		{rbac.ScopeRoot, AssignmentFilter{Principal: who, AtScope: true}, []string{"root", "keys"}, false},
		{rbac.ScopeRoot, AssignmentFilter{Principal: newGUID()}, nil, false},
	} {
		var want []string
		for _, n := range tc.want {
			want = append(want, ids[n])
		}
		if tc.start {
			for _, a := range start {
				want = append(want, a.ID)
			}
		}
		as, err := r.ListAssignments(ctx, admin, tc.scope, tc.f)
		noErr(t, err)
		var got []string
		for _, a := range as {
			got = append(got, a.ID)
		}
		slices.Sort(want)
		if !slices.Equal(got, want) {
			t.Errorf("%s %+v: %v; want %v", tc.scope, tc.f, got, want)
		}
	}
}

func TestDefinitions(t *testing.T) {
	t.Parallel()
	r := newTestHSM(t)
	ctx := t.Context()
	r.create("k", ecSpec)
	id := rbac.DefinitionID(newGUID())
	ask := rbac.Definition{ID: rbac.DefinitionID(strings.ToUpper(string(id))), Name: "Signer", Description: "signs",
		DataActions: rbac.SetOf(rbac.KeysSign, rbac.KeysVerify).Names(), NotDataActions: []string{rbac.KeysVerify.String()}, BuiltIn: true}
	d, err := r.PutDefinition(ctx, admin, rbac.ScopeRoot, ask)
	if err != nil || d.ID != id || d.BuiltIn || d.Name != "Signer" {
		t.Fatalf("%+v, %v", d, err)
	}
	r.assign(rbac.ScopeRoot, strangerID, id)
	sign := func() error { return second(r.Sign(ctx, stranger, "k", "", "ES256", make([]byte, 32))) }
	verify := func() error {
		return second(r.Verify(ctx, stranger, "k", "", "ES256", make([]byte, 32), make([]byte, 64)))
	}
	wantErr(t, "granted", sign(), nil)
	wantErr(t, "taken away by notDataActions", verify(), rbac.ErrDenied)
	d.DataActions, d.NotDataActions = []string{rbac.KeysVerify.String()}, nil
	noErr(t, second(r.PutDefinition(ctx, admin, rbac.ScopeRoot, d)))
	wantErr(t, "after the change", sign(), rbac.ErrDenied)
	wantErr(t, "after the change", verify(), nil)

	r.restart()
	all, err := r.ListDefinitions(ctx, admin, rbac.ScopeRoot)
	noErr(t, err)
	if n := len(rbac.BuiltIns()); len(all) != n+1 || all[n].Name != "Signer" || all[0].ID != rbac.Administrator {
		t.Errorf("definitions: %v", all)
	}
	if got, err := r.GetDefinition(ctx, admin, "/keys/k", id); err != nil || got.Description != "signs" {
		t.Errorf("get: %+v, %v", got, err)
	}
	if got, err := r.GetDefinition(ctx, admin, rbac.ScopeRoot, rbac.CryptoUser); err != nil || got.Name != "Managed HSM Crypto User" {
		t.Errorf("get a built-in role: %+v, %v", got, err)
	}
	if gone, err := r.DeleteDefinition(ctx, admin, rbac.ScopeRoot, id); err != nil || gone.Name != "Signer" {
		t.Errorf("delete: %+v, %v", gone, err)
	}
	wantErr(t, "with a defunct assignment", verify(), rbac.ErrDenied)
	_, err = r.GetDefinition(ctx, admin, rbac.ScopeRoot, id)
	wantErr(t, "get after deletion", err, rbac.ErrDefinitionNotFound)
	_, err = r.DeleteDefinition(ctx, admin, rbac.ScopeRoot, id)
	wantErr(t, "delete twice", err, rbac.ErrDefinitionNotFound)
	r.check()
}

func TestDefinitionRules(t *testing.T) {
	t.Parallel()
	r := newTestHSM(t)
	ctx := t.Context()
	guid := func() rbac.DefinitionID { return rbac.DefinitionID(newGUID()) }
	taken := guid()
	noErr(t, second(r.PutDefinition(ctx, admin, rbac.ScopeRoot, rbac.Definition{ID: taken, Name: "Taken"})))
	for name, tc := range map[string]struct {
		scope rbac.Scope
		d     rbac.Definition
		want  error
	}{
		"built-in":           {rbac.ScopeRoot, rbac.Definition{ID: rbac.CryptoUser, Name: "Mine"}, rbac.ErrBuiltIn},
		"scope":              {rbac.ScopeKeys, rbac.Definition{ID: guid()}, rbac.ErrBadDefinition},
		"id":                 {rbac.ScopeRoot, rbac.Definition{ID: "x"}, rbac.ErrBadDefinition},
		"action":             {rbac.ScopeRoot, rbac.Definition{ID: guid(), DataActions: []string{"Microsoft.KeyVault/managedHsm/keys/fly/action"}}, rbac.ErrBadDefinition},
		"not action":         {rbac.ScopeRoot, rbac.Definition{ID: guid(), NotDataActions: []string{"*"}}, rbac.ErrBadDefinition},
		"name of a built-in": {rbac.ScopeRoot, rbac.Definition{ID: guid(), Name: "managed hsm crypto user"}, rbac.ErrBadDefinition},
		"name taken":         {rbac.ScopeRoot, rbac.Definition{ID: guid(), Name: "taken"}, rbac.ErrBadDefinition},
		"long name":          {rbac.ScopeRoot, rbac.Definition{ID: guid(), Name: strings.Repeat("x", 1025)}, rbac.ErrBadDefinition},
		"many actions":       {rbac.ScopeRoot, rbac.Definition{ID: guid(), Actions: make([]string, 1025)}, rbac.ErrBadDefinition},
	} {
		_, err := r.PutDefinition(ctx, admin, tc.scope, tc.d)
		wantErr(t, name, err, tc.want)
	}
	_, err := r.DeleteDefinition(ctx, admin, rbac.ScopeRoot, rbac.Administrator)
	wantErr(t, "delete a built-in", err, rbac.ErrBuiltIn)
	unnamed := guid()
	if d, err := r.PutDefinition(ctx, admin, rbac.ScopeRoot, rbac.Definition{ID: unnamed}); err != nil || d.Name != string(unnamed) {
		t.Errorf("a role without a name: %+v, %v", d, err)
	}
	for i := 2; i < maxDefinitions; i++ {
		noErr(t, second(r.PutDefinition(ctx, admin, rbac.ScopeRoot, rbac.Definition{ID: guid(), Name: fmt.Sprint("role ", i)})))
	}
	_, err = r.PutDefinition(ctx, admin, rbac.ScopeRoot, rbac.Definition{ID: guid()})
	wantErr(t, "one too many", err, ErrLimit)
	noErr(t, second(r.PutDefinition(ctx, admin, rbac.ScopeRoot, rbac.Definition{ID: taken, Name: "Taken", Description: "changed"})))
	r.check()
}
