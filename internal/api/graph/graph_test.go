package graph

import (
	"context"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"

	"redoubt/internal/authn"
	"redoubt/internal/cloud"
	"redoubt/internal/rbac"
	"redoubt/internal/store/mem"
)

// tokens knows a token for each identity; everything else is not one.
type tokens map[string]authn.Identity

func (t tokens) Verify(_ context.Context, raw string) (authn.Identity, error) {
	id, ok := t[raw]
	if !ok {
		return authn.Identity{}, authn.ErrBadToken
	}
	return id, nil
}

type fixture struct {
	*Handler
	acct cloud.Account
	mi   cloud.ManagedIdentity
}

func newFixture(t *testing.T) fixture {
	t.Helper()
	cl := cloud.Open(mem.New())
	acct, err := cl.Bootstrap(t.Context(), cloud.Options{})
	if err != nil {
		t.Fatal(err)
	}
	mi, _, err := cl.EnsureManagedIdentity(t.Context(), "/subscriptions/s/resourceGroups/g/providers/Microsoft.ManagedIdentity/userAssignedIdentities/mi", "westus3", nil)
	if err != nil {
		t.Fatal(err)
	}
	h, err := New(cl, tokens{
		"person":  {Principal: rbac.Principal{ID: acct.User.ObjectID, UPN: acct.User.UPN}},
		"program": {Principal: rbac.Principal{ID: acct.ServicePrincipal.ObjectID}, App: true},
		"gone":    {Principal: rbac.Principal{ID: cloud.NewGUID(), UPN: "x@y"}},
	}, "https://graph.microsoft.com/", nil)
	if err != nil {
		t.Fatal(err)
	}
	return fixture{h, acct, mi}
}

func (f fixture) call(t *testing.T, token, method, target, body string) (int, map[string]any) {
	t.Helper()
	r := httptest.NewRequest(method, "https://graph.microsoft.com"+target, strings.NewReader(body))
	if token != "" {
		r.Header.Set("Authorization", "Bearer "+token)
	}
	w := httptest.NewRecorder()
	f.ServeHTTP(w, r)
	var v map[string]any
	if err := json.Unmarshal(w.Body.Bytes(), &v); err != nil {
		t.Fatalf("%s %s: %v in %q", method, target, err, w.Body)
	}
	return w.Code, v
}

func TestMe(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	code, v := f.call(t, "person", "GET", "//v1.0//me", "")
	if code != 200 || v["id"] != f.acct.User.ObjectID || v["objectId"] != f.acct.User.ObjectID || v["userPrincipalName"] != f.acct.User.UPN {
		t.Errorf("%d %v", code, v)
	}
	for _, tt := range []struct {
		token, code string
		status      int
	}{
		{"program", "BadRequest", 400}, {"gone", "Request_ResourceNotFound", 404}, {"bad", "InvalidAuthenticationToken", 401}, {"", "InvalidAuthenticationToken", 401},
	} {
		status, v := f.call(t, tt.token, "GET", "/v1.0/me", "")
		e, _ := v["error"].(map[string]any)
		if status != tt.status || e["code"] != tt.code || e["message"] == "" {
			t.Errorf("%q: %d %v", tt.token, status, v)
		}
	}
}

func TestList(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	sp := f.acct.ServicePrincipal
	for _, tt := range []struct {
		collection, filter string
		want               []string
	}{
		{"users", "", []string{f.acct.User.ObjectID}},
		{"users", "userPrincipalName eq '" + strings.ToUpper(f.acct.User.UPN) + "'", []string{f.acct.User.ObjectID}},
		{"users", "userPrincipalName eq 'o''brien@x'", nil},
		{"servicePrincipals", "servicePrincipalNames/any(c:c eq '" + sp.AppID + "')", []string{sp.ObjectID}},
		{"servicePrincipals", "appId eq '" + f.mi.ClientID + "'", []string{f.mi.PrincipalID}},
		{"servicePrincipals", "startswith(displayName,'redoubt')", []string{sp.ObjectID}},
		{"servicePrincipals", "displayName eq 'mi' and servicePrincipalType eq 'ManagedIdentity'", []string{f.mi.PrincipalID}},
		{"serviceprincipals", "displayName eq 'mi' and id eq 'x' or displayName eq 'redoubt-dev'", []string{sp.ObjectID}},
		{"servicePrincipals", "unknown eq 'x'", nil},
		{"groups", "displayName eq 'x'", nil},
		{"applications", "", nil},
	} {
		code, v := f.call(t, "program", "GET", "/v1.0/"+tt.collection+"?$filter="+url.QueryEscape(tt.filter), "")
		list, _ := v["value"].([]any)
		if code != 200 || v["value"] == nil || len(list) != len(tt.want) {
			t.Errorf("%s %q: %d %v", tt.collection, tt.filter, code, v)
			continue
		}
		for i, o := range list {
			if o.(map[string]any)["id"] != tt.want[i] {
				t.Errorf("%s %q: got %v, want %s", tt.collection, tt.filter, o, tt.want[i])
			}
		}
	}
	if code, _ := f.call(t, "program", "GET", "/v1.0/users?$filter=id%20gt%20'x'", ""); code != 400 {
		t.Errorf("bad filter: %d", code)
	}
}

func TestOneAndOthers(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	for _, tt := range []struct {
		method, target string
		status         int
	}{
		{"GET", "/v1.0/users/" + f.acct.User.ObjectID, 200},
		{"GET", "/v1.0/users/" + url.PathEscape(f.acct.User.UPN), 200},
		{"GET", "/v1.0/servicePrincipals/" + f.mi.PrincipalID, 200},
		{"GET", "/v1.0/directoryObjects/" + f.mi.PrincipalID, 200},
		{"GET", "/v1.0/users/" + f.mi.PrincipalID, 404},
		{"GET", "/v1.0/organization", 200},
		{"GET", "/v1.0/users/x/memberOf", 404},
		{"GET", "/v1.0/devices", 404},
		{"GET", "/", 400},
		{"GET", "/v2.0/me", 400},
		{"DELETE", "/v1.0/users/" + f.acct.User.ObjectID, 405},
		{"GET", "/v1.0/directoryObjects/getByIds", 404},
	} {
		if code, v := f.call(t, "person", tt.method, tt.target, ""); code != tt.status {
			t.Errorf("%s %s: %d %v", tt.method, tt.target, code, v)
		}
	}
}

func TestGetByIDs(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	body, err := json.Marshal(map[string]any{"ids": []string{f.acct.User.ObjectID, cloud.NewGUID(), f.mi.PrincipalID, "a/b"},
		"types": []string{"user", "group", "servicePrincipal"}})
	if err != nil {
		t.Fatal(err)
	}
	code, v := f.call(t, "person", "POST", "/v1.0/directoryObjects/getByIds", string(body))
	list, _ := v["value"].([]any)
	if code != 200 || len(list) != 2 {
		t.Fatalf("%d %v", code, v)
	}
	if u := list[0].(map[string]any); u["@odata.type"] != "#microsoft.graph.user" || u["userPrincipalName"] != f.acct.User.UPN {
		t.Errorf("user %v", u)
	}
	if s := list[1].(map[string]any); s["@odata.type"] != "#microsoft.graph.servicePrincipal" || s["servicePrincipalType"] != "ManagedIdentity" {
		t.Errorf("identity %v", s)
	}
	code, v = f.call(t, "person", "POST", "/v1.0/directoryObjects/getByIds", `{"ids":["`+f.mi.PrincipalID+`"],"types":["user"]}`)
	if list, _ = v["value"].([]any); code != 200 || len(list) != 0 {
		t.Errorf("types are not heeded: %d %v", code, v)
	}
	many := `{"ids":["` + strings.Repeat(`x","`, 1000) + `x"]}`
	for _, bad := range []string{"", "[]", many, `{"ids":["` + strings.Repeat("x", maxBody) + `"]}`} {
		if code, _ := f.call(t, "person", "POST", "/v1.0/directoryObjects/getByIds", bad); code != http.StatusBadRequest {
			t.Errorf("%.20q: %d", bad, code)
		}
	}
}

func TestNewRefuses(t *testing.T) {
	t.Parallel()
	if _, err := New(nil, tokens{}, "https://x", nil); err == nil {
		t.Error("no directory accepted")
	}
}

func FuzzFilter(f *testing.F) {
	for _, s := range []string{"", "a eq 'b'", "startswith(a,'b')", "a/any(c:c eq 'd')", "a eq 'b' and c eq 'd''e' or f eq ''", "a eq 'b", "or", "a/any(x:y eq 'z')"} {
		f.Add(s)
	}
	props := map[string][]string{"a": {"b"}}
	f.Fuzz(func(t *testing.T, s string) {
		got, err := parseFilter(s)
		if err != nil {
			return
		}
		got.match(props)
		if len(got) == 0 && strings.TrimSpace(s) != "" {
			t.Fatalf("%q matches everything", s)
		}
		for _, all := range got {
			if len(all) == 0 {
				t.Fatalf("%q has an empty conjunction", s)
			}
		}
	})
}
