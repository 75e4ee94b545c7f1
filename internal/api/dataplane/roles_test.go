package dataplane_test

import (
	"fmt"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"testing"

	"redoubt/internal/hsm"
	"redoubt/internal/hsmtest"
	"redoubt/internal/rbac"
)

const roleAdministrator = "a290e904-7015-4bba-90c8-60543313cdb4"

// assignmentBody asks for a role for a principal.
func assignmentBody(principal, definition string) string {
	return `{"properties":{"principalId":"` + principal + `","roleDefinitionId":"` + definition + `"}}`
}

// definitionBody is a custom role of these data actions.
func definitionBody(name string, actions, not []string) string {
	quoted := func(s []string) string { return strings.ReplaceAll(fmt.Sprintf("%q", s), " ", ",") } // none has blanks
	return `{"properties":{"roleName":"` + name + `","permissions":[{"dataActions":` + quoted(actions) + `,"notDataActions":` + quoted(not) + `}]}}`
}

var refusal = regexp.MustCompile(`^Not authorized to access (\S+) on (\S+); ask .* to assign "([^"]+)" at (\S+) \(Activity ID: [0-9a-f-]{36}\)$`)

// TestRefusalsNameWhatHelps: of every operation a refusal begins with the service's words and names the missing data action, the
// narrowest built-in role and the scope; and that role there helps, as does a custom role of that one action, and none
// that lacks it.
func TestRefusalsNameWhatHelps(t *testing.T) {
	t.Parallel()
	s := hsmtest.New(t)
	d := s.Active(hsmName)
	w := s.Serve()
	admin, stranger := hsmtest.Caller(hsmtest.Admin), as(w, hsmtest.Stranger)
	as(w, hsmtest.User).do("POST /keys/mine/create", `{"kty":"oct-HSM"}`).Want(200)
	roles := map[string]rbac.DefinitionID{}
	for _, b := range rbac.BuiltIns() {
		roles[b.Name] = b.ID
	}
	custom := rbac.Definition{ID: guid, Name: "just so"}
	all := samples(string(hsmtest.DownloadRequest(t, hsmtest.Holders(3), 2)))
	for _, row := range hsm.Table() {
		sm := all[row.Route]
		ask := func() hsmtest.Answer {
			t.Helper()
			fill := strings.NewReplacer("{key}", "mine", "{backup}", "AAAA", hsmtest.Stranger, hsmtest.NewGUID()) // nobody gets a role by the way
			var body any
			if sm.body != "" {
				body = fill.Replace(sm.body)
			}
			return stranger.do(fill.Replace(sm.target), body)
		}
		denied := func(who string) []string {
			t.Helper()
			var e struct{ Error hsmtest.Error }
			a := ask()
			a.JSON(&e)
			m := refusal.FindStringSubmatch(e.Error.Message)
			if a.Status != 403 || e.Error.Code != "AccessDenied" || m == nil {
				t.Fatalf("%s by %s: %d %s", row.Name, who, a.Status, a.Body)
			}
			want := strings.ReplaceAll(sm.scope, "{key}", "mine")
			if m[1] != row.Action.String() || m[2] != want || m[4] != want || roles[m[3]] == "" {
				t.Errorf("%s by %s: %s; want %s at %s", row.Name, who, m[0], row.Action, want)
			}
			return m
		}
		with := func(def rbac.DefinitionID, scope string, do func()) {
			t.Helper()
			a, err := d.PutAssignment(t.Context(), admin, rbac.Scope(scope), hsmtest.NewGUID(), hsmtest.Stranger, def)
			if err != nil {
				t.Fatal(err)
			}
			do()
			if _, err := d.DeleteAssignment(t.Context(), admin, rbac.Scope(scope), a.ID); err != nil {
				t.Fatal(err)
			}
		}
		admitted := func() {
			t.Helper()
			if a := ask(); strings.Contains(string(a.Body), "AccessDenied") {
				t.Errorf("%s, with the role that was named: %d %s", row.Name, a.Status, a.Body)
			}
		}
		define := func(actions, not []string) {
			t.Helper()
			custom.DataActions, custom.NotDataActions = actions, not
			if _, err := d.PutDefinition(t.Context(), admin, rbac.ScopeRoot, custom); err != nil {
				t.Fatal(err)
			}
		}
		m := denied("a stranger")
		with(roles[m[3]], m[4], admitted)
		define([]string{m[1]}, nil)
		with(custom.ID, m[4], admitted)
		if row.Name == "SecurityDomainTransferKeyGet" || row.Name == "SecurityDomainRestore" {
			continue // whoever has any role learns first that the HSM is active
		}
		define(allActions, []string{m[1]})
		with(custom.ID, m[4], func() { denied("one with a role that takes the action away again") })
	}
}

// allActions are all data actions.
var allActions = func() (out []string) {
	for a := rbac.Action(1); a.String() != "invalid"; a++ {
		out = append(out, a.String())
	}
	return out
}()

// TestRoleBadDays: what is wrong with a role or an assignment is told with the service's codes, and changes nothing.
func TestRoleBadDays(t *testing.T) {
	t.Parallel()
	s := hsmtest.New(t)
	s.Active(hsmName)
	c := as(s.Serve(), hsmtest.Admin)
	const taken = "11111111-2222-4333-8444-5555555555aa"
	c.do("PUT "+definitions+"/"+taken, definitionBody("Taken", []string{rbac.KeysSign.String()}, nil)).Want(201)
	unknown := "99999999-2222-4333-8444-555555555555"
	put, def := "PUT "+assignments+"/"+guid, "PUT "+definitions+"/"+guid
	before := s.StateOf(t)
	for _, tc := range []struct {
		target, body string
		status       int
		code, words  string
	}{
		{put, assignmentBody(hsmtest.Stranger, unknown), 404, "RoleDefinitionNotFound", unknown},
		{put, assignmentBody(hsmtest.Stranger, "Managed HSM Crypto User"), 400, "BadParameter", "roleDefinitionId"},
		{put, assignmentBody(hsmtest.Stranger, ""), 400, "BadParameter", "roleDefinitionId"},
		{put, assignmentBody(hsmtest.Stranger, "/subscriptions/x/providers/Microsoft.Authorization/roleDefinitions/"+roleAdministrator), 400, "BadParameter", "roleDefinitionId"},
		{put, assignmentBody("", userRole), 400, "BadParameter", "GUID"},
		{put, assignmentBody("alice@contoso.com", userRole), 400, "BadParameter", "GUID"},
		{put, assignmentBody("{"+hsmtest.Stranger+"}", userRole), 400, "BadParameter", "GUID"},
		{put, `{}`, 400, "BadParameter", ""},
		{put, ``, 400, "BadParameter", "JSON"},
		{put, `{"properties":{"principalId":7,"roleDefinitionId":"` + userRole + `"}}`, 400, "BadParameter", ""},
		{"PUT /keys/a/b" + assignments + "/" + guid, assignmentBody(hsmtest.Stranger, userRole), 400, "BadParameter", "scope"},
		{"PUT /keys/a_b" + assignments + "/" + guid, assignmentBody(hsmtest.Stranger, userRole), 400, "BadParameter", "scope"},
		{"PUT /subscriptions/x" + assignments + "/" + guid, assignmentBody(hsmtest.Stranger, userRole), 400, "BadParameter", "scope"},
		{"PUT /secrets/x" + assignments + "/" + guid, assignmentBody(hsmtest.Stranger, userRole), 400, "BadParameter", "scope"},
		{"PUT " + assignments + "/one", assignmentBody(hsmtest.Stranger, userRole), 400, "BadParameter", "GUID"},
		{"POST " + assignments + "/" + guid, assignmentBody(hsmtest.Stranger, userRole), 404, "NotFound", ""},
		{"PATCH " + definitions + "/" + guid, definitionBody("x", nil, nil), 404, "NotFound", ""},

		{def, definitionBody("x", []string{"Microsoft.KeyVault/managedHsm/keys/fly/action"}, nil), 400, "BadParameter", "unknown data action"},
		{def, definitionBody("x", []string{"Microsoft.KeyVault/vaults/keys/read"}, nil), 400, "BadParameter", "unknown data action"},
		{def, definitionBody("x", []string{"*"}, nil), 400, "BadParameter", "no wildcards"},
		{def, definitionBody("x", allActions, []string{"Microsoft.KeyVault/managedHsm/keys/*"}), 400, "BadParameter", "no wildcards"},
		{def, definitionBody("tAKEN", nil, nil), 400, "BadParameter", "choose another name"},
		{def, definitionBody("Managed HSM Crypto User", nil, nil), 400, "BadParameter", "choose another name"},
		{def, `{"properties":{"roleName":"x","permissions":[],"assignableScopes":["/keys"]}}`, 400, "BadParameter", "assignableScopes"},
		{def, `{"properties":{"roleName":"x","permissions":[],"assignableScopes":["/","/keys/mine"]}}`, 400, "BadParameter", "assignableScopes"},
		{def, `{"properties":{"roleName":"x","permissions":{}}}`, 400, "BadParameter", ""},
		{"PUT /keys" + definitions + "/" + guid, definitionBody("x", nil, nil), 400, "BadParameter", "scope /"},
		{"PUT " + definitions + "/one", definitionBody("x", nil, nil), 400, "BadParameter", "GUID"},
		{"PUT " + definitions + "/" + roleAdministrator, definitionBody("x", nil, nil), 403, "Forbidden", "built-in"},
		{"PUT " + definitions + "/" + strings.ToUpper(roleAdministrator), definitionBody("x", nil, nil), 403, "Forbidden", "built-in"},
		{"DELETE " + definitions + "/" + strings.ToUpper(roleAdministrator), "", 403, "Forbidden", "built-in"},
		{"DELETE " + definitions + "/" + unknown, "", 404, "RoleDefinitionNotFound", "Requested role definition not found"},
		{"DELETE " + assignments + "/" + unknown, "", 404, "RoleAssignmentNotFound", "Requested role assignment not found"},
		{"GET " + definitions + "?" + version + "&$filter=nonsense", "", 400, "BadParameter", "atScopeAndBelow"},
		{"GET " + assignments + "?" + version + "&$filter=atScope()+and", "", 400, "BadParameter", "$filter"},
		{"GET " + assignments + "?" + version + "&$filter=principalId+eq+'me'", "", 400, "BadParameter", "GUID"},
		{"GET " + assignments + "?" + version + "&$skiptoken=AAAA", "", 400, "BadParameter", "continuation"},
	} {
		var body any
		if tc.body != "" {
			body = tc.body
		}
		c.do(tc.target, body).WantError(tc.status, tc.code, "", tc.words)
	}
	after := s.StateOf(t)
	for k, v := range after {
		if before[k] != v {
			t.Errorf("%s was changed by what was refused", k)
		}
	}
}

// TestRolesInAnyLetterCase: GUIDs, scopes and data actions mean the same in every letter case, and are shown in one.
func TestRolesInAnyLetterCase(t *testing.T) {
	t.Parallel()
	s := hsmtest.New(t)
	s.Active(hsmName)
	w := s.Serve()
	c := as(w, hsmtest.Admin)
	up := strings.ToUpper
	action := rbac.KeysSign.String()
	want := `{"id":"Microsoft.KeyVault/providers/Microsoft.Authorization/roleDefinitions/` + guid + `","name":"` + guid + `","properties":{"roleName":"Signer","description":"","type":"CustomRole","permissions":[{"actions":[],"notActions":[],"dataActions":["` + action + `"],"notDataActions":[]}],"assignableScopes":["/"]},"type":"Microsoft.Authorization/roleDefinitions"}`
	same(t, c.do("PUT "+up(definitions+"/"+guid), definitionBody("Signer", []string{up(action), strings.ToLower(action), action}, nil)).Want(201), want)
	same(t, c.do("GET "+definitions+"/"+up(guid), nil).Want(200), want)
	const id = "abcdefab-1b1b-4c1c-8d1d-2e2e2e2e2eff"
	for _, def := range []string{up(guid), "microsoft.keyvault/PROVIDERS/microsoft.authorization/roledefinitions/" + up(guid), "/Microsoft.KeyVault/providers/Microsoft.Authorization/roleDefinitions/" + guid} {
		var got struct {
			Name       string
			Properties struct{ PrincipalID, RoleDefinitionID, Scope string }
		}
		c.do("PUT /KEYS/Mine"+assignments+"/"+up(id), assignmentBody(up(hsmtest.Stranger), def)).Want(201).JSON(&got)
		if p := got.Properties; got.Name != id || p.PrincipalID != hsmtest.Stranger || p.RoleDefinitionID != "Microsoft.KeyVault/providers/Microsoft.Authorization/roleDefinitions/"+guid || p.Scope != "/keys/Mine" {
			t.Errorf("%+v", got)
		}
	}
	as(w, hsmtest.User).do("POST /keys/mINE/create", `{"kty":"EC"}`).Want(200)
	as(w, hsmtest.Stranger).do("POST /keys/MINE//sign", `{"alg":"ES256","value":"`+digest+`"}`).Want(200)
	c.do("GET /keys/mine"+assignments+"/"+id, nil).Want(200)
	c.do("GET /keys/mine"+assignments+"?"+version+"&$filter=PRINCIPALID+EQ+'"+up(hsmtest.Stranger)+"'+AND+ATSCOPE()", nil).Want(200)
	c.do("DELETE "+assignments+"/"+up(id), nil).Want(200)
	as(w, hsmtest.Stranger).do("POST /keys/MINE//sign", `{"alg":"ES256","value":"`+digest+`"}`).WantError(403, "AccessDenied", "")
}

// TestSeveralPermissions: a role of several permissions is one of them all, and what any of them takes away is away.
func TestSeveralPermissions(t *testing.T) {
	t.Parallel()
	s := hsmtest.New(t)
	s.Active(hsmName)
	c := as(s.Serve(), hsmtest.Admin)
	sign, verify, read := rbac.KeysSign.String(), rbac.KeysVerify.String(), rbac.KeysRead.String()
	a := c.do("PUT "+definitions+"/"+guid, `{"properties":{"roleName":"R","type":"AKVBuiltInRole","permissions":[{"actions":["a/b"],"dataActions":["`+sign+`","`+read+`"]},{"dataActions":["`+verify+`"],"notDataActions":["`+sign+`"],"notActions":["c/d"]}]}}`).Want(201)
	if body := string(a.Body); !strings.Contains(body, `"type":"CustomRole","permissions":[{"actions":["a/b"],"notActions":["c/d"],"dataActions":["`+sign+`","`+read+`","`+verify+`"],"notDataActions":["`+sign+`"]}]`) {
		t.Error(body)
	}
}

// TestAssignmentPages: a principal with roles on many keys is shown in pages, each assignment once, whatever happens in between.
func TestAssignmentPages(t *testing.T) {
	t.Parallel()
	s := hsmtest.New(t)
	d := s.Active(hsmName)
	c := as(s.Serve(), hsmtest.Admin)
	var want []string
	for i := range 230 {
		a, err := d.PutAssignment(t.Context(), hsmtest.Caller(hsmtest.Admin), rbac.Scope(fmt.Sprintf("/keys/key-%d", i)), hsmtest.NewGUID(), hsmtest.Stranger, rbac.CryptoUser)
		if err != nil {
			t.Fatal(err)
		}
		want = append(want, a.ID)
	}
	slices.Sort(want)
	filter := "principalId eq '" + hsmtest.Stranger + "'"
	next := "GET ///" + assignments[1:] + "?api-version=7.4&$filter=" + url.QueryEscape(filter)
	var got []string
	for pages := 1; next != ""; pages++ {
		var p struct {
			Value    []struct{ Name string }
			NextLink string
		}
		c.do(next, nil).Want(200).JSON(&p)
		for _, a := range p.Value {
			got = append(got, a.Name)
		}
		next = ""
		if p.NextLink != "" {
			u, err := url.Parse(p.NextLink)
			if err != nil || u.Query().Get("$filter") != filter || u.Query().Get("api-version") != "7.4" || u.Query().Has("maxresults") {
				t.Fatalf("%s, %v", p.NextLink, err)
			}
			next = "GET " + strings.TrimPrefix(p.NextLink, "https://"+host)
		}
		if n := len(p.Value); pages < 3 && n != 100 || pages == 3 && n != 30 {
			t.Errorf("page %d has %d", pages, n)
		}
		if pages == 1 { // what was shown goes, and so does one that was not
			for _, gone := range []string{want[50], want[120]} {
				c.do("DELETE "+assignments+"/"+gone, nil).Want(200)
			}
			want = slices.Delete(want, 120, 121)
			c.do("PUT /keys/key-new"+assignments+"/ffffffff-ffff-4fff-bfff-ffffffffffff", assignmentBody(hsmtest.Stranger, userRole)).Want(201)
			want = append(want, "ffffffff-ffff-4fff-bfff-ffffffffffff")
		}
	}
	if !slices.Equal(got, want) {
		t.Errorf("%d assignments, want %d", len(got), len(want))
	}
	var p map[string]any
	c.do("GET "+assignments, nil).Want(200).JSON(&p)
	if _, there := p["nextLink"]; there {
		t.Errorf("%v", p)
	}
}

// TestAdministratorsByCustomRole: whether an HSM has an Administrator is decided by the built-in role alone; a custom
// one that grants the same neither counts for it nor is protected.
func TestAdministratorsByCustomRole(t *testing.T) {
	t.Parallel()
	s := hsmtest.New(t)
	s.Active(hsmName)
	w := s.Serve()
	c, stranger := as(w, hsmtest.Admin), as(w, hsmtest.Stranger)
	admin, _ := rbac.BuiltIn(rbac.Administrator)
	c.do("PUT "+definitions+"/"+guid, definitionBody("Like an Administrator", admin.DataActions, nil)).Want(201)
	c.do("PUT "+assignments+"/"+guid, assignmentBody(hsmtest.Stranger, guid)).Want(201)
	var list struct {
		Value []struct{ Name, Properties any }
	}
	stranger.do("GET "+assignments+"?"+version+"&$filter=principalId+eq+'"+hsmtest.Admin+"'", nil).Want(200).JSON(&list)
	if len(list.Value) != 1 {
		t.Fatalf("%v", list.Value)
	}
	last := fmt.Sprint(list.Value[0].Name)
	stranger.do("DELETE "+assignments+"/"+last, nil).WantError(409, "Conflict", "", "the only Managed HSM Administrator", "az keyvault role assignment create --hsm-name ContosoMHSM")
	stranger.do("DELETE "+definitions+"/"+guid, nil).Want(200)
	stranger.do("GET "+assignments, nil).WantError(403, "AccessDenied", "")
	c.do("GET "+assignments, nil).Want(200)
	// Assignments of a deleted role are shown and grant nothing, until it is made again.
	c.do("GET "+assignments+"/"+guid, nil).Want(200)
	c.do("PUT "+definitions+"/"+guid, definitionBody("Like an Administrator", admin.DataActions, nil)).Want(201)
	stranger.do("GET "+assignments, nil).Want(200)
	// An assignment at /keys is not at the whole HSM, so it does not count.
	c.do("PUT /keys"+assignments+"/abcdefab-1b1b-4c1c-8d1d-2e2e2e2e2eff", assignmentBody(hsmtest.Stranger, roleAdministrator)).Want(201)
	c.do("DELETE "+assignments+"/"+last, nil).WantError(409, "Conflict", "")
}
