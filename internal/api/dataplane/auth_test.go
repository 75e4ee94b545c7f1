package dataplane_test

import (
	"encoding/json"
	"net/http"
	"strings"
	"testing"
	"time"

	"redoubt/internal/hsmtest"
)

func challenge(s *hsmtest.Site) string {
	return `Bearer authorization="https://login.microsoftonline.com/` + s.Account.Tenant.ID + `", resource="https://managedhsm.azure.net"`
}

// reserved tells whether an answer has the headers of every answer, and none of those that errors and challenges
// leave out.
func reserved(a hsmtest.Answer) bool {
	for _, name := range []string{"X-Ms-Keyvault-Region", "X-Ms-Keyvault-Network-Info", "X-Ms-Build-Version"} {
		if _, there := a.Header[name]; there {
			return false
		}
	}
	return a.Header.Get("X-Ms-Request-Id") != "" && a.Header.Get("X-Ms-Server-Latency") != "" && a.Header.Get("Cache-Control") == "no-cache"
}

// TestChallenge: the first request of a client has neither token nor body, and wants the challenge before
// anything else is looked at.
func TestChallenge(t *testing.T) {
	t.Parallel()
	s := hsmtest.New(t)
	s.Provisioned(hsmName)
	c := as(s.Serve(), "")
	for _, target := range []string{
		"GET /keys", "POST /keys/k/create", "POST /securitydomain/download", "GET /no/such/route", "DELETE /", "PUT //providers/Microsoft.Authorization/roleAssignments/x",
		"POST /backup", "GET /keys/%2F", "GET /keys?maxresults=junk",
	} {
		for _, body := range []any{nil, "not JSON", strings.Repeat("x", 2<<20)} {
			method, path, _ := strings.Cut(target, " ")
			a := c.Do(hsmtest.Ask{Method: method, Host: host, Path: path, Body: body})
			if a.Status != 401 || len(a.Body) != 0 {
				t.Errorf("%s: %d %s", target, a.Status, a.Body)
			}
			if got := a.Header.Values("Www-Authenticate"); len(got) != 1 || got[0] != challenge(s) {
				t.Errorf("%s: challenge %q", target, got)
			}
			if a.Header.Get("Content-Length") != "0" || a.Header.Get("Content-Type") != "application/json; charset=utf-8" || !reserved(a) {
				t.Errorf("%s: headers %v", target, a.Header)
			}
		}
	}
}

// TestChallengeNamesTheParent: the resource is the parent domain of whatever host was asked, port kept.
func TestChallengeNamesTheParent(t *testing.T) {
	t.Parallel()
	s := hsmtest.New(t)
	s.Provisioned(hsmName)
	w := s.Serve()
	for asked, resource := range map[string]string{
		"CONTOSOMHSM.managedhsm.azure.net":        "https://managedhsm.azure.net",
		"contosomhsm.managedhsm.localhost:8443":   "https://managedhsm.localhost:8443",
		"contosomhsm.managedhsm.azure.net:443":    "https://managedhsm.azure.net:443",
		`contosomhsm.managedhsm.azure.net`:        "https://managedhsm.azure.net",
		"contosomhsm.managedhsm.example.com:1234": "https://managedhsm.example.com:1234",
	} {
		a := w.Do(hsmtest.Ask{Method: "GET", Host: asked, Path: "/keys"}).Want(401)
		if got := a.Header.Get("Www-Authenticate"); !strings.HasSuffix(got, `, resource="`+resource+`"`) {
			t.Errorf("%s: %s", asked, got)
		}
	}
}

func TestRefusedTokens(t *testing.T) {
	t.Parallel()
	s := hsmtest.New(t)
	s.Active(hsmName)
	w := s.Serve()
	with := func(changes map[string]any) map[string]any {
		claims := s.Claims(hsmtest.User)
		for k, v := range changes {
			if v == nil {
				delete(claims, k)
			} else {
				claims[k] = v
			}
		}
		return claims
	}
	now := s.Clock.Now()
	genuine := s.Forge("RS256", s.Claims(hsmtest.User))
	w.Do(hsmtest.Ask{Method: "GET", Host: host, Path: "/keys?" + version, Token: genuine}).Want(200)
	parts := strings.Split(genuine, ".")
	other := s.Account.Tenant.ID[:35] + "0"
	if other == s.Account.Tenant.ID {
		other = s.Account.Tenant.ID[:35] + "1"
	}
	for name, c := range map[string]struct{ token, word string }{
		"none":              {s.Forge("none", s.Claims(hsmtest.User)), "not valid"},
		"HS256":             {s.Forge("HS256", s.Claims(hsmtest.User)), "not valid"},
		"expired":           {s.Forge("RS256", with(map[string]any{"exp": now.Add(-2 * time.Minute).Unix()})), "expired"},
		"not yet":           {s.Forge("RS256", with(map[string]any{"nbf": now.Add(time.Hour).Unix()})), "not valid"},
		"no end":            {s.Forge("RS256", with(map[string]any{"exp": nil})), "not valid"},
		"other tenant":      {s.Forge("RS256", with(map[string]any{"tid": other})), "another tenant"},
		"no tenant":         {s.Forge("RS256", with(map[string]any{"tid": nil})), "tenant"},
		"other issuer":      {s.Forge("RS256", with(map[string]any{"iss": "https://sts.windows.net/" + other + "/"})), "not valid"},
		"control plane":     {s.Token(hsmtest.User, hsmtest.Control), "Found token with aud=https://management.azure.com, but expected aud=https://managedhsm.azure.net"},
		"vault":             {s.Forge("RS256", with(map[string]any{"aud": "https://vault.azure.net"})), "aud=https://vault.azure.net"},
		"host as audience":  {s.Forge("RS256", with(map[string]any{"aud": "https://" + host})), "aud="},
		"bad signature":     {parts[0] + "." + parts[1] + "." + parts[2][:len(parts[2])-8] + "AAAAAAAA", "not valid"},
		"changed claims":    {parts[0] + "." + strings.Split(s.Forge("RS256", s.Claims(hsmtest.Admin)), ".")[1] + "." + parts[2], "not valid"},
		"no signature":      {parts[0] + "." + parts[1] + ".", "not valid"},
		"not a token":       {"AAAA", "not valid"},
		"far too long":      {strings.Repeat("A", 20<<10), "not valid"},
		"nobody":            {s.Forge("RS256", with(map[string]any{"oid": nil, "sub": nil})), "not valid"},
		"two tokens in one": {genuine + " " + genuine, "not valid"},
	} {
		a := w.Do(hsmtest.Ask{Method: "GET", Host: host, Path: "/keys", Token: c.token})
		a.WantError(401, "Unauthorized", "", c.word, "Activity ID: "+a.Header.Get("X-Ms-Request-Id"))
		if got := a.Header.Get("Www-Authenticate"); got != challenge(s) {
			t.Errorf("%s: challenge %q", name, got)
		}
		if strings.Contains(string(a.Body), c.token) {
			t.Errorf("%s: the answer repeats the token", name)
		}
	}
	// Whatever else is in the header, nobody is let in by it.
	for _, h := range []http.Header{{"Authorization": {"Basic " + genuine}}, {"Authorization": {"Bearer " + genuine, "Bearer " + genuine}}, {"Authorization": {"Bearer"}}, {"Authorization": {genuine}}} {
		a := w.Do(hsmtest.Ask{Method: "GET", Host: host, Path: "/keys", Header: h})
		if a.Status != 401 || a.Header.Get("Www-Authenticate") != challenge(s) {
			t.Errorf("%.20q: %d", h["Authorization"], a.Status)
		}
	}
	// A token stays good until it expires, not longer, although verified tokens are remembered.
	s.Clock.Advance(59 * time.Minute)
	w.Do(hsmtest.Ask{Method: "GET", Host: host, Path: "/keys?" + version, Token: genuine}).Want(200)
	s.Clock.Advance(3 * time.Minute)
	w.Do(hsmtest.Ask{Method: "GET", Host: host, Path: "/keys", Token: genuine}).WantError(401, "Unauthorized", "", "expired")
}

// TestTenantOfTheHSM: a token of the issuer's tenant does not open an HSM of another one.
func TestTenantOfTheHSM(t *testing.T) {
	t.Parallel()
	s := hsmtest.New(t)
	r := s.Resource(hsmName)
	r.Tenant = "00000000-0000-4000-8000-000000000000"
	if _, err := s.Create(t.Context(), r); err != nil {
		t.Fatal(err)
	}
	a := as(s.Serve(), hsmtest.Admin).do("GET /keys", nil)
	a.WantError(401, "Unauthorized", "", "another tenant")
	if got := a.Header.Get("Www-Authenticate"); !strings.Contains(got, r.Tenant) {
		t.Errorf("challenge %q", got)
	}
}

func TestDenied(t *testing.T) {
	t.Parallel()
	s := hsmtest.New(t)
	s.Active(hsmName)
	w := s.Serve()
	a := as(w, hsmtest.Stranger).do("GET /keys", nil)
	a.WantError(403, "AccessDenied", "", "Not authorized to access Microsoft.KeyVault/managedHsm/keys/read/action on /keys", "assign", " (Activity ID: "+a.Header.Get("X-Ms-Request-Id")+")")
	if !reserved(a) {
		t.Errorf("headers of a refusal: %v", a.Header)
	}
	as(w, hsmtest.Auditor).do("POST /keys/k/create", `{"kty":"EC"}`).WantError(403, "AccessDenied", "", "keys/create on /keys/k")
	as(w, hsmtest.User).do("POST /backup", sas).WantError(403, "AccessDenied", "", "backup/start/action")
	as(w, hsmtest.User).do("POST /securitydomain/download", "{}").WantError(403, "AccessDenied", "")
	// A stranger learns nothing from the state of the HSM or from what exists.
	as(w, hsmtest.Stranger).do("GET /keys/nothing", nil).WantError(403, "AccessDenied", "")
	as(w, hsmtest.Stranger).do("GET /backup/0123456789abcdef0123456789abcdef/pending", nil).WantError(403, "AccessDenied", "")
}

func TestUnknownHost(t *testing.T) {
	t.Parallel()
	s := hsmtest.New(t)
	s.Provisioned(hsmName)
	w := s.Serve()
	for _, h := range []string{"other.managedhsm.azure.net", "contosomhs.managedhsm.azure.net", "managedhsm.azure.net", "localhost", "127.0.0.1:1", "[::1]:443"} {
		w.Do(hsmtest.Ask{Method: "GET", Host: h, Path: "/keys", Token: s.Token(hsmtest.Admin, hsmtest.Devices)}).WantError(404, "ResourceNotFound", "", "no managed HSM has this host name")
	}
	if _, err := s.Delete(t.Context(), hsmName); err != nil {
		t.Fatal(err)
	}
	w.Do(hsmtest.Ask{Method: "GET", Host: host, Path: "/keys"}).WantError(404, "ResourceNotFound", "")
}

// TestLetterCase: HSM names are the same in any letter case, and links keep the host as it was asked.
func TestLetterCase(t *testing.T) {
	t.Parallel()
	s := hsmtest.New(t)
	s.Active(hsmName)
	w := s.Serve()
	token := s.Token(hsmtest.User, hsmtest.Devices)
	w.Do(hsmtest.Ask{Method: "POST", Host: "CONTOSOMHSM.ManagedHSM.azure.net", Path: "/Keys/K/Create?" + version, Token: token, Body: `{"kty":"EC"}`}).Want(200)
	var body struct{ Key struct{ Kid string } }
	w.Do(hsmtest.Ask{Method: "GET", Host: "ContosoMHSM.managedhsm.azure.net", Path: "/KEYS/k?" + version, Token: token}).Want(200).JSON(&body)
	if !strings.HasPrefix(body.Key.Kid, "https://ContosoMHSM.managedhsm.azure.net/keys/K/") {
		t.Errorf("kid %s", body.Key.Kid)
	}
}

// TestBodies: sizes and shapes that no handler accepts.
func TestBodies(t *testing.T) {
	t.Parallel()
	s := hsmtest.New(t)
	s.Active(hsmName)
	c := as(s.Serve(), hsmtest.User)
	admin := as(c.Web, hsmtest.Admin)
	big := `{"kty":"EC","x":"` + strings.Repeat("x", 1<<20) + `"}`
	c.do("POST /keys/k/create", big).WantError(413, "RequestBodyTooLarge", "", "1048576")
	admin.do("POST /backup", big).WantError(413, "RequestBodyTooLarge", "")
	admin.do("POST /securitydomain/upload", big).WantError(413, "RequestBodyTooLarge", "")
	for _, body := range []string{"", "{", "[]", `"text"`, `{"kty":3}`, "null and more"} {
		var b any = body
		if body == "" {
			b = nil
		}
		c.do("POST /keys/k/create", b).WantError(400, "BadParameter", "")
	}
	deep := strings.Repeat("[", 100_000)
	c.do("POST /keys/k/create", deep).WantError(400, "BadParameter", "")
	c.do("GET /keys/k", nil).WantError(404, "KeyNotFound", "")

	c.do("POST /keys/ec/create", `{"kty":"EC"}`).Want(200)
	for _, value := range []string{`"a+b/"`, `"abcd=="`, `"abc\n"`, `"a"`, `3`, `{}`, `"ab!d"`, `"AB"`} {
		c.do("POST /keys/ec//sign", `{"alg":"ES256","value":`+value+`}`).WantError(400, "BadParameter", "")
	}
	for _, value := range []string{"null", `""`} {
		c.do("POST /keys/ec//sign", `{"alg":"ES256","value":`+value+`}`).WantError(400, "BadParameter", "")
	}
}

// TestNoSuchOperation: paths and methods of nothing.
func TestNoSuchOperation(t *testing.T) {
	t.Parallel()
	s := hsmtest.New(t)
	s.Active(hsmName)
	c := as(s.Serve(), hsmtest.Admin)
	for _, target := range []string{"GET /", "POST /keys", "GET /secrets/s", "DELETE /settings/x", "GET /keys/a/b/c", "PUT /backup", "GET /ekm",
		"GET /providers/Microsoft.Authorization", "PUT /providers/Microsoft.Authorization/roleAssignments/a/b", "POST /providers/Microsoft.Authorization/roleAssignments"} {
		a := c.do(target, nil)
		a.WantError(404, "NotFound", "")
		var e map[string]map[string]json.RawMessage
		a.JSON(&e)
		if len(e) != 1 || e["error"]["innererror"] != nil {
			t.Errorf("%s: %s", target, a.Body)
		}
	}
}
