package identity

import (
	"errors"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
)

func TestParseScope(t *testing.T) {
	t.Parallel()
	for in, want := range map[string]scopes{
		"https://managedhsm.azure.net/.default":                               {resource: "https://managedhsm.azure.net"},
		"https://management.core.windows.net//.default openid":                {resource: "https://management.core.windows.net/", openID: true},
		"offline_access https://localhost:8443//.default profile":             {resource: "https://localhost:8443/", offline: true},
		"https://graph.microsoft.com/User.Read https://graph.microsoft.com/x": {resource: "https://graph.microsoft.com"},
		"https://managedhsm.azure.net":                                        {resource: "https://managedhsm.azure.net"},
		"https://managedhsm.azure.net/":                                       {resource: "https://managedhsm.azure.net/"},
		"00000003-0000-0000-c000-000000000000/.default":                       {resource: "00000003-0000-0000-c000-000000000000"},
		"https://management.core.windows.net//user_impersonation":             {resource: "https://management.core.windows.net/"},
		"openid profile offline_access":                                       {openID: true, offline: true},
		"https://a/.default https://a//.default":                              {resource: "https://a"},
	} {
		if got, err := parseScope(in); err != nil || got != want {
			t.Errorf("%q: got %+v, %v; want %+v", in, got, err, want)
		}
	}
	for in, want := range map[string]error{
		"": errNoScope, "profile": errNoScope, "https://a/.default https://b/.default": errTwoScopes, strings.Repeat("a", maxScope+1): errLongScope,
	} {
		if _, err := parseScope(in); !errors.Is(err, want) {
			t.Errorf("%.20q: got %v, want %v", in, err, want)
		}
	}
}

func FuzzScope(f *testing.F) {
	for _, s := range []string{"", "openid", "https://a//.default", "a/b/c", "://", "/", "x://y/", "/.default"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		sc, err := parseScope(s)
		if err == nil && sc.resource != "" && !strings.Contains(s, sc.resource) {
			t.Fatalf("%q names %q, which it does not contain", s, sc.resource)
		}
	})
}

// FuzzToken throws forms at the token endpoint: it always answers with an OAuth error, since no fuzzer
// knows a secret.
func FuzzToken(f *testing.F) {
	s := newSite(f)
	for _, b := range []string{"grant_type=password&client_id=a&username=b%40c&password=d&scope=https%3A%2F%2Fmanagedhsm.azure.net", "grant_type=refresh_token&client_id=x&refresh_token=a.b.c",
		"grant_type=client_credentials&client_id=a&client_secret=b&resource=https://managedhsm.azure.net", "grant_type=device_code&code=x&client_id=c", "%", "a=b&a=c"} {
		f.Add("/common/oauth2/v2.0/token", b)
	}
	f.Add("//adfs//oauth2/token", "grant_type=authorization_code&client_id=a&code=b")
	f.Add("/common/userrealm/%2f%00", "")
	f.Fuzz(func(t *testing.T, path, body string) {
		r := httptest.NewRequest("POST", login+"/", strings.NewReader(body))
		r.URL.Path = path
		r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
		w := httptest.NewRecorder()
		s.server.ServeHTTP(w, r)
		if w.Code == http.StatusInternalServerError || strings.Contains(w.Body.String(), "access_token") {
			t.Fatalf("%d %s", w.Code, w.Body)
		}
	})
}
