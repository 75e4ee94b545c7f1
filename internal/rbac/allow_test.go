package rbac

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"redoubt/internal/key"
)

func TestParseScope(t *testing.T) {
	t.Parallel()
	for in, want := range map[string]Scope{
		"": "/", "/": "/", "///": "/", "keys": "/keys", "/keys": "/keys", "/keys/": "/keys", "//KEYS//": "/keys",
		"/keys/MyKey": "/keys/MyKey", "keys/a-1": "/keys/a-1", "/Keys//a/": "/keys/a",
	} {
		if got, err := ParseScope(in); err != nil || got != want {
			t.Errorf("%q: %q, %v; want %q", in, got, err, want)
		}
	}
	for _, in := range []string{"/key", "/keys/a/b", "/keys/a_b", "/keys/" + strings.Repeat("a", 128), "/subscriptions/x", "/keys/a?b", "/keys/..", "/keys/%2e"} {
		if got, err := ParseScope(in); !errors.Is(err, ErrBadAssignment) {
			t.Errorf("%q: %q, %v", in, got, err)
		}
	}
}

func TestScopesContain(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		outer, inner Scope
		want         bool
	}{
		{"/", "/", true}, {"/", "/keys", true}, {"/", "/keys/a", true},
		{"/keys", "/", false}, {"/keys", "/keys", true}, {"/keys", "/keys/a", true},
		{"/keys/a", "/", false}, {"/keys/a", "/keys", false}, {"/keys/a", "/keys/a", true}, {"/keys/A", "/keys/a", true},
		{"/keys/a", "/keys/ab", false}, {"/keys/ab", "/keys/a", false}, {"/keys/keys", "/keys", false},
		{"", "/", false}, {"", "", true}, {"/keysx", "/keys/a", false},
	} {
		if got := tc.outer.Contains(tc.inner); got != tc.want {
			t.Errorf("%q contains %q: %v", tc.outer, tc.inner, got)
		}
	}
	if !Scope("/keys/A").Equal("/keys/a") || Scope("/keys").Equal("/") {
		t.Error("scopes are not equal without regard to letter case")
	}
	if KeyScope("MyKey") != "/keys/MyKey" {
		t.Error(KeyScope("MyKey"))
	}
}

func TestWireID(t *testing.T) {
	t.Parallel()
	const tail = "/providers/Microsoft.Authorization/roleAssignments/x"
	for s, want := range map[Scope]string{"/": tail, "/keys": "/keys" + tail, "/keys/K": "/keys/K" + tail} {
		if got := (Assignment{ID: "x", Scope: s}).WireID(); got != want {
			t.Errorf("%s: %s", s, got)
		}
	}
}

// naive decides by looking at every assignment and every name in its role, as the documentation says it.
func naive(as []Assignment, custom []Definition, p Principal, a Action, at Scope) bool {
	for _, x := range as {
		if x.Principal != p.ID && !slices.Contains(p.Groups, x.Principal) {
			continue
		}
		holds := x.Scope == "/" || strings.EqualFold(string(x.Scope), string(at)) ||
			x.Scope == "/keys" && strings.HasPrefix(strings.ToLower(string(at)), "/keys/")
		if !holds {
			continue
		}
		for _, d := range append(BuiltIns(), custom...) {
			named := func(n string) bool { return strings.EqualFold(n, a.String()) }
			if d.ID == x.Definition && slices.ContainsFunc(d.DataActions, named) && !slices.ContainsFunc(d.NotDataActions, named) {
				return true
			}
		}
	}
	return false
}

func TestAllowAgainstNaiveEvaluator(t *testing.T) {
	t.Parallel()
	people := []string{"p1", "p2", "p3", "g1", "g2"}
	scopes := []Scope{"/", "/keys", "/keys/a", "/keys/A", "/keys/ab", "/keys/b"}
	actions := rapid.Custom(func(t *rapid.T) Action { return Action(rapid.IntRange(1, int(actionEnd)-1).Draw(t, "action")) })
	names := rapid.Custom(func(t *rapid.T) []string {
		var out []string // in any letter case, and the same one several times
		for _, a := range rapid.SliceOfN(actions, 0, 12).Draw(t, "actions") {
			out = append(out, []func(string) string{strings.ToLower, strings.ToUpper, strings.Clone}[rapid.IntRange(0, 2).Draw(t, "case")](a.String()))
		}
		return out
	})
	rapid.Check(t, func(rt *rapid.T) {
		var custom []Definition
		ids := []DefinitionID{"gone"} // an assignment of a role that does not exist is defunct
		for i := range rapid.IntRange(0, 4).Draw(rt, "custom roles") {
			d := Definition{ID: DefinitionID(fmt.Sprint("custom", i)), DataActions: names.Draw(rt, "data"), NotDataActions: names.Draw(rt, "not")}
			custom = append(custom, d)
			ids = append(ids, d.ID, d.ID)
		}
		for _, d := range BuiltIns() {
			ids = append(ids, d.ID)
		}
		var as []Assignment
		for range rapid.IntRange(0, 12).Draw(rt, "assignments") {
			as = append(as, Assignment{Scope: rapid.SampledFrom(scopes).Draw(rt, "scope"), Principal: rapid.SampledFrom(people).Draw(rt, "principal"), Definition: rapid.SampledFrom(ids).Draw(rt, "role")})
		}
		table, err := Compile(as, custom)
		if err != nil {
			rt.Fatal(err)
		}
		// Tables remember what a list of groups comes to, so the same lists, and parts of them, are asked about again.
		lists := rapid.SliceOfN(rapid.SliceOfN(rapid.SampledFrom(append(people, "g3", "g4")), 0, 6), 1, 3).Draw(rt, "lists of groups")
		for range 20 {
			groups := rapid.SampledFrom(lists).Draw(rt, "groups")
			p := Principal{ID: rapid.SampledFrom(people).Draw(rt, "who"), Groups: groups[:rapid.IntRange(0, len(groups)).Draw(rt, "how many")]}
			a, at := actions.Draw(rt, "what"), rapid.SampledFrom(scopes).Draw(rt, "where")
			if got, want := table.Allow(p, a, at), naive(as, custom, p, a, at); got != want {
				rt.Fatalf("%+v may %s at %s: %v; want %v, by %+v", p, a, at, got, want, as)
			}
		}
	})
}

// A table forgets lists of groups before they are too many, and its answers stay the same.
func TestRememberedGroupsAreBounded(t *testing.T) {
	t.Parallel()
	table, err := Compile([]Assignment{{Scope: "/", Principal: "g1", Definition: CryptoUser}}, nil)
	if err != nil {
		t.Fatal(err)
	}
	for range rememberGroups + 10 {
		p := Principal{ID: "p", Groups: []string{"g0", "g1"}}
		if !table.Allow(p, KeysSign, "/keys/k") || !table.Knows(p) || table.Allow(p, KeysExport, "/keys/k") {
			t.Fatal("the group's role does not count")
		}
	}
	if n := len(table.merged.m); n > rememberGroups {
		t.Errorf("%d lists are remembered", n)
	}
	for range 2*rememberIDs/200 + 1 { // as many groups as a token of Entra ID can have
		p := Principal{ID: "p", Groups: make([]string, 200)}
		p.Groups[199] = "g1"
		for range 2 {
			if !table.Allow(p, KeysSign, "/keys/k") || !table.Allow(Principal{ID: "p", Groups: p.Groups[198:]}, KeysSign, "/keys/k") {
				t.Fatal("the group's role does not count")
			}
		}
		held := 0
		for _, l := range table.merged.m {
			held += len(l.groups)
		}
		if held > rememberIDs || held != table.merged.ids {
			t.Fatalf("%d groups are remembered, %d counted", held, table.merged.ids)
		}
	}
}

func TestAllowNobody(t *testing.T) {
	t.Parallel()
	table, err := Compile([]Assignment{{Scope: "/", Principal: "", Definition: CryptoUser}, {Scope: "/", Principal: "p", Definition: CryptoUser}}, nil)
	if err != nil {
		t.Fatal(err)
	}
	if table.Allow(Principal{}, KeysSign, "/") || table.Allow(Principal{Groups: []string{"p"}}, KeysSign, "/") {
		t.Error("a caller without an id was allowed something")
	}
	if table.Allow(Principal{ID: "p"}, 0, "/") || table.Allow(Principal{ID: "p"}, actionEnd, "/") {
		t.Error("an action that is none was allowed")
	}
	if (*Table)(nil).Allow(Principal{ID: "p"}, KeysSign, "/") || new(Table).Allow(Principal{ID: "p"}, KeysSign, "/") {
		t.Error("an empty table allowed something")
	}
	if !table.Allow(Principal{ID: "p"}, KeysSign, "/keys/x") {
		t.Error("the assignment does not hold")
	}
}

// A custom role cannot take the place of a built-in one, whatever a restored backup holds.
func TestCompileBuiltInsWin(t *testing.T) {
	t.Parallel()
	table, err := Compile([]Assignment{{Scope: "/", Principal: "p", Definition: CryptoAuditor}},
		[]Definition{{ID: CryptoAuditor, DataActions: SetOf(KeysSign).Names()}})
	if err != nil || table.Allow(Principal{ID: "p"}, KeysSign, "/") {
		t.Errorf("a stored role replaced a built-in one: %v", err)
	}
	if _, err := Compile(nil, []Definition{{ID: "x", DataActions: []string{"fly"}}}); !errors.Is(err, ErrBadDefinition) {
		t.Errorf("a role of unknown actions: %v", err)
	}
}

func TestDeniedSaysWhatToDo(t *testing.T) {
	t.Parallel()
	for a := Action(1); a < actionEnd; a++ { // whatever is named helps, and no role that helps is smaller
		d, ok := BuiltIn(idOf(narrowest(a)))
		if g, err := d.Grants(); !ok || err != nil || !g.Has(a) {
			t.Errorf("%s: %q does not grant it", a, narrowest(a))
		}
		for _, other := range builtInGrants {
			if g, _ := d.Grants(); other.Has(a) && other&^g == 0 && other != g {
				t.Errorf("%s: %q grants more than it takes", a, narrowest(a))
			}
		}
	}
	for a, role := range map[Action]string{
		KeysRead: "Managed HSM Crypto Auditor", RoleDefinitionsRead: "Managed HSM Crypto Auditor", KeysBackup: "Managed HSM Backup User", RoleAssignmentsWrite: "Managed HSM Policy Administrator",
		KeysRelease: "Managed HSM Crypto Service Release User", RandomBytes: "Managed HSM Crypto User",
		KeysSign: "Managed HSM Crypto User", KeysWrap: "Managed HSM Crypto Service Encryption User", DeletedKeysRead: "Managed HSM Crypto Auditor",
		DeletedKeysDelete: "Managed HSM Crypto Officer", BackupStart: "Managed HSM Backup User", RestoreStart: "Managed HSM Restore", DomainUpload: "Managed HSM Administrator",
	} {
		err := error(&Denied{Action: a, Scope: "/keys/k"})
		if !errors.Is(err, ErrDenied) {
			t.Errorf("%v is not ErrDenied", err)
		}
		if s := err.Error(); !strings.HasPrefix(s, "Not authorized to access "+a.String()+" on /keys/k") || !strings.Contains(s, fmt.Sprintf("%q", role)) {
			t.Errorf("%s; want it to name %s", s, role)
		}
	}
}

// idOf finds a built-in role by its name.
func idOf(name string) DefinitionID {
	for _, d := range builtIns {
		if d.Name == name {
			return d.ID
		}
	}
	return ""
}

func TestDeniedSaysThatGroupsDidNotCount(t *testing.T) {
	t.Parallel()
	d := &Denied{Action: KeysSign, Scope: "/keys/k"}
	plain := d.Error()
	if d.GroupsLost = "the token lists none"; d.Error() != plain+". Roles of groups may not have counted: the token lists none" {
		t.Error(d.Error())
	}
}

// BenchmarkAllowByGroup is the check of one request: by the principal's own role, by that of one of its groups, and by none
// of many groups.
func BenchmarkAllowByGroup(b *testing.B) {
	var as []Assignment
	for i := range 50 {
		as = append(as, Assignment{Scope: "/", Principal: fmt.Sprintf("00000000-0000-0000-0000-%012d", i), Definition: CryptoUser})
	}
	table, err := Compile(as, nil)
	if err != nil {
		b.Fatal(err)
	}
	groups := make([]string, 200)
	for i := range groups {
		groups[i] = fmt.Sprintf("11111111-0000-0000-0000-%012d", i)
	}
	with := append(slices.Clone(groups), as[0].Principal)
	for _, c := range []struct {
		name string
		p    Principal
	}{{"own", Principal{ID: as[0].Principal}}, {"1group", Principal{ID: "p", Groups: with[200:]}}, {"201groups", Principal{ID: "p", Groups: with}}, {"none200", Principal{ID: "p", Groups: groups}}} {
		b.Run(c.name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				table.Allow(c.p, KeysSign, "/keys/k")
			}
		})
	}
}

func FuzzParseScope(f *testing.F) {
	for _, s := range []string{"/", "", "//keys/", "/keys/MyKey", "/KEYS/a/b", "/keys/ä"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		scope, err := ParseScope(s)
		if err != nil {
			return
		}
		again, err := ParseScope(string(scope))
		if err != nil || again != scope {
			t.Errorf("%q: %q, then %q, %v", s, scope, again, err)
		}
		if name, ok := strings.CutPrefix(string(scope), "/keys/"); ok {
			if _, err := key.ParseName(name); err != nil {
				t.Errorf("%q: %q names no key: %v", s, scope, err)
			}
		} else if scope != ScopeRoot && scope != ScopeKeys {
			t.Errorf("%q: %q is no scope", s, scope)
		}
		if !ScopeRoot.Contains(scope) || !scope.Contains(scope) {
			t.Errorf("%q: containment does not hold", scope)
		}
	})
}

func BenchmarkAllow(b *testing.B) {
	var as []Assignment
	for i := range 50 {
		as = append(as, Assignment{Scope: "/", Principal: fmt.Sprint("p", i), Definition: CryptoUser})
	}
	table, err := Compile(as, nil)
	if err != nil {
		b.Fatal(err)
	}
	p := Principal{ID: "p7", Groups: []string{"a", "b", "c"}}
	b.ReportAllocs()
	for b.Loop() {
		if !table.Allow(p, KeysSign, "/keys/my-key") {
			b.Fatal("denied")
		}
	}
}

// TestKnows: whoever has a role somewhere is known; an assignment of a role that is gone makes nobody known.
func TestKnows(t *testing.T) {
	t.Parallel()
	const alice, group, bob = "aaaaaaaa-0000-4000-8000-000000000001", "aaaaaaaa-0000-4000-8000-000000000002", "aaaaaaaa-0000-4000-8000-000000000003"
	table, err := Compile([]Assignment{{Principal: alice, Scope: "/keys/k", Definition: CryptoAuditor}, {Principal: group, Scope: ScopeRoot, Definition: CryptoUser},
		{Principal: bob, Scope: ScopeRoot, Definition: "bbbbbbbb-0000-4000-8000-000000000000"}}, nil)
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		p    Principal
		want bool
	}{{Principal{ID: alice}, true}, {Principal{ID: "x", Groups: []string{"y", group}}, true}, {Principal{ID: bob}, false}, {Principal{ID: "x"}, false}, {Principal{}, false}, {Principal{Groups: []string{group}}, false}} {
		if got := table.Knows(c.p); got != c.want {
			t.Errorf("%+v: %v", c.p, got)
		}
	}
	if (*Table)(nil).Knows(Principal{ID: alice}) {
		t.Error("no table knows somebody")
	}
}
