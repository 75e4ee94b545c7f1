package identity

import (
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"

	"redoubt/internal/cloud"
)

// TestIMDS: tokens as a virtual machine gets them, for the identity that is asked for.
func TestIMDS(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	h, err := NewIMDS(s.issuer, s.cloud, nil)
	if err != nil {
		t.Fatal(err)
	}
	type call struct {
		method, target string
		header         []string
		query          []string
	}
	do := func(c call) (int, answer) {
		t.Helper()
		q := url.Values{"api-version": {"2018-02-01"}, "resource": {hsmAud}}
		for i := 0; i < len(c.query); i += 2 {
			q.Set(c.query[i], c.query[i+1])
		}
		if c.method == "" {
			c.method = "GET"
		}
		if c.target == "" {
			c.target = "http://127.0.0.1:50342/metadata/identity/oauth2/token"
		}
		r := httptest.NewRequest(c.method, c.target+"?"+q.Encode(), nil)
		r.Header.Set("Metadata", "true")
		for i := 0; i < len(c.header); i += 2 {
			if r.Header.Set(c.header[i], c.header[i+1]); c.header[i+1] == "" {
				r.Header.Del(c.header[i])
			}
		}
		w := httptest.NewRecorder()
		h.ServeHTTP(w, r)
		return decode(t, w)
	}
	if code, a := do(call{}); code != 400 || a.str("error") != "invalid_request" {
		t.Errorf("without identities: %d %v", code, a)
	}
	var ids []cloud.ManagedIdentity
	for _, name := range []string{"one", "two"} {
		mi, _, err := s.cloud.EnsureManagedIdentity(t.Context(), "/subscriptions/s/resourceGroups/g/providers/Microsoft.ManagedIdentity/userAssignedIdentities/"+name, "westus3", nil)
		if err != nil {
			t.Fatal(err)
		}
		if ids = append(ids, mi); name == "one" {
			code, a := do(call{})
			if code != 200 || a.str("client_id") != mi.ClientID || a.str("expires_in") != "3600" || a.str("ext_expires_in") != "3600" || a.str("token_type") != "Bearer" ||
				a.str("resource") != hsmAud || a.str("expires_on") != "1795438800" || a.str("not_before") != "1795435200" {
				t.Errorf("the only one: %d %v", code, a)
			}
		}
	}
	for _, by := range [][2]string{{"client_id", ids[1].ClientID}, {"object_id", ids[1].PrincipalID}, {"msi_res_id", strings.ToUpper(ids[1].ResourceID)}, {"mi_res_id", ids[1].ResourceID}} {
		code, a := do(call{query: by[:]})
		if code != 200 || s.identityOf(t, a).Principal.ID != ids[1].PrincipalID {
			t.Errorf("%s: %d %v", by[0], code, a)
		}
	}
	mine := []string{"client_id", ids[0].ClientID}
	for name, tt := range map[string]struct {
		call
		status int
		code   string
	}{
		"no header":     {call{header: []string{"Metadata", ""}, query: mine}, 400, "invalid_request"},
		"header's word": {call{header: []string{"Metadata", "yes"}, query: mine}, 400, "invalid_request"},
		"forwarded":     {call{header: []string{"X-Forwarded-For", "127.0.0.1"}, query: mine}, 400, "invalid_request"},
		"Forwarded":     {call{header: []string{"Forwarded", "for=127.0.0.1"}, query: mine}, 400, "invalid_request"},
		"rebound name":  {call{target: "http://evil.example:50342/metadata/identity/oauth2/token", query: mine}, 400, "invalid_request"},
		"lookalike":     {call{target: "http://localhost.evil.example/metadata/identity/oauth2/token", query: mine}, 400, "invalid_request"},
		"method":        {call{method: "POST", query: mine}, 405, "invalid_request"},
		"path":          {call{target: "http://127.0.0.1/metadata/instance", query: mine}, 404, "not_found"},
		"no version":    {call{query: append(mine, "api-version", "")}, 400, "bad_request_102"},
		"version":       {call{query: append(mine, "api-version", "latest")}, 400, "bad_request_102"},
		"resource":      {call{query: append(mine, "resource", "https://other.example")}, 400, "invalid_request"},
		"several":       {call{}, 400, "invalid_request"},
		"unknown":       {call{query: []string{"client_id", cloud.NewGUID()}}, 400, "invalid_request"},
	} {
		if code, a := do(tt.call); code != tt.status || a.str("error") != tt.code || a.str("error_description") == "" || a.str("access_token") != "" {
			t.Errorf("%s: %d %v", name, code, a)
		}
	}
	for _, target := range []string{"http://localhost:1/metadata/identity/oauth2/token", "http://[::1]:1/metadata/identity/oauth2/token/"} {
		if code, a := do(call{target: target, query: mine}); code != 200 {
			t.Errorf("%s: %d %v", target, code, a)
		}
	}
}
