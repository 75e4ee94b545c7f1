package authn

import (
	"fmt"
	"slices"
	"strings"
	"testing"
)

// The name-based UUIDs as other programs make them: Python's uuid.uuid5(uuid.uuid5(uuid.NAMESPACE_URL, issuer), name).
func TestGroupID(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct{ issuer, name, want string }{
		{"https://keycloak.example/realms/hsm", "/signers", "19e73f9e-b6fc-5b55-8180-c0418aee086b"},
		{"https://keycloak.example/realms/hsm", "/Signers", "88064661-d845-5f83-92ef-b4be06f979de"},
		{"https://keycloak.example/realms/other", "/signers", "0b4bc734-edec-538b-b0ae-79ed91f457e6"},
		{"https://keycloak.example/realms/hsm", "", "10fbe1a6-a08e-590e-9330-3d886f46f853"},
		{"https://keycloak.example/realms/hsm", "/Prüfer/日本", "9bc241c5-0b8c-5de2-9243-80bfe3ea61f3"},
	} {
		if got := GroupID(tt.issuer, tt.name); got != tt.want || !isGUID(got) {
			t.Errorf("%s %s: %s, want %s", tt.issuer, tt.name, got, tt.want)
		}
	}
}

func TestGroups(t *testing.T) {
	t.Parallel()
	v, _ := newVerifier(t, func(c *Config) {
		c.Issuers = append(c.Issuers, Issuer{URL: "https://names.example", Keys: c.Issuers[0].Keys, GroupNames: true})
	})
	many := make([]string, MaxGroups+1)
	for i := range many {
		many[i] = fmt.Sprintf("00000000-0000-0000-0000-%012d", i)
	}
	for name, tt := range map[string]struct {
		change map[string]any
		want   []string
		lost   string // part of what is said
	}{
		"none":        {nil, nil, ""},
		"empty":       {map[string]any{"groups": []string{}}, nil, ""},
		"one, alone":  {map[string]any{"groups": tenant}, []string{tenant}, ""},
		"as many":     {map[string]any{"groups": many[1:]}, many[1:], ""},
		"too many":    {map[string]any{"groups": many}, nil, "257 groups"},
		"no ids":      {map[string]any{"groups": []string{"/signers", tenant}}, []string{tenant}, "group-names"},
		"overage":     {map[string]any{"_claim_names": map[string]any{"groups": "src1"}, "_claim_sources": map[string]any{"src1": map[string]any{"endpoint": "https://graph"}}}, nil, "overage"},
		"hasgroups":   {map[string]any{"hasgroups": true}, nil, "overage"},
		"has none":    {map[string]any{"hasgroups": false}, nil, ""},
		"other claim": {map[string]any{"_claim_names": map[string]any{"address": "src1"}}, nil, ""},
		"names":       {map[string]any{"iss": "https://names.example", "groups": []string{"/signers", tenant}}, []string{GroupID("https://names.example", "/signers"), GroupID("https://names.example", tenant)}, ""},
	} {
		id, err := v.Verify(t.Context(), good(t, tt.change))
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		if p := id.Principal; !slices.Equal(p.Groups, tt.want) || (p.GroupsLost == "") != (tt.lost == "") || !strings.Contains(p.GroupsLost, tt.lost) {
			t.Errorf("%s: %v, %q", name, p.Groups, p.GroupsLost)
		}
	}
}

// TestClaimMapping: who acts is read from the claims that the configuration names, and from no others.
func TestClaimMapping(t *testing.T) {
	t.Parallel()
	const other = "99999999-7d0a-4a55-8d52-0c1c6f3b2a11"
	v, _ := newVerifier(t, func(c *Config) {
		is := &c.Issuers[0]
		is.Audiences = []string{"api://redoubt"}
		is.Claims = ClaimNames{ObjectID: "uid", Tenant: "org", Groups: "https://example.com/roles", UserName: "email", DisplayName: "nick", AppID: "client_id"}
	})
	mapped := func(change map[string]any) map[string]any {
		c := map[string]any{"aud": "api://redoubt", "uid": object, "org": tenant, "email": "a@example.com", "nick": "A", "https://example.com/roles": []string{tenant},
			"oid": other, "tid": other, "groups": []string{other}, "upn": "mallory", "name": "M", "appid": other, "idtyp": "app", "hasgroups": nil}
		for k, v := range change {
			c[k] = v
		}
		return c
	}
	id, err := v.Verify(t.Context(), good(t, mapped(nil)))
	if p := id.Principal; err != nil || p.ID != object || p.Tenant != tenant || p.UPN != "a@example.com" || id.Name != "A" || id.App || p.AppID != "" || !slices.Equal(p.Groups, []string{tenant}) {
		t.Errorf("a person: %+v, %v", id, err)
	}
	id, err = v.Verify(t.Context(), good(t, mapped(map[string]any{"client_id": "Signer", "email": nil})))
	if p := id.Principal; err != nil || !id.App || p.AppID != "signer" || p.UPN != "" {
		t.Errorf("a program: %+v, %v", id, err)
	}
	id, err = v.Verify(t.Context(), good(t, mapped(map[string]any{"_claim_names": map[string]string{"https://example.com/roles": "src"}})))
	if err != nil || id.Principal.GroupsLost == "" {
		t.Errorf("overage of a mapped claim: %+v, %v", id, err)
	}
	for name, change := range map[string]map[string]any{"no uid": {"uid": nil}, "no org": {"org": nil}, "the verifier's audience": {"aud": aud}} {
		if id, err := v.Verify(t.Context(), good(t, mapped(change))); err == nil {
			t.Errorf("%s: %+v", name, id)
		}
	}
	for _, name := range []string{"iss", "aud", "exp", strings.Repeat("x", 201)} {
		_, err := New(Config{Issuers: []Issuer{{URL: issuer, Keys: StaticKeys{}, Claims: ClaimNames{ObjectID: name}}}, Audiences: []string{aud}, Tenant: tenant})
		if err == nil {
			t.Errorf("%.10s can be mapped", name)
		}
	}
}
