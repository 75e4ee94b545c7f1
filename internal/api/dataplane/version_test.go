package dataplane_test

import (
	"net/url"
	"regexp"
	"slices"
	"strings"
	"testing"

	"redoubt/internal/hsm"
	"redoubt/internal/hsmtest"
)

// allVersions are those of rest-api 0.1, and before them the older ones that az asks with.
var allVersions = strings.Fields(`7.0-preview 7.0 7.1-preview 7.1 7.2-preview 7.2 7.3-preview 7.3 7.4-preview.1 7.4 7.5-preview.1 7.5 7.6-preview.1 7.6-preview.2 7.6
	2025-06-01-preview 2025-07-01 2026-01-01-preview 2026-03-01-preview 2026-04-01 2026-05-01-preview 2026-07-01-preview`)

// raw sends a request whose query is exactly this.
func (c client) raw(target, query string) hsmtest.Answer {
	c.T.Helper()
	method, path, _ := strings.Cut(target, " ")
	if query != "" {
		path += "?" + query
	}
	a := hsmtest.Ask{Method: method, Host: host, Path: path}
	if c.who != "" {
		a.Token = c.Token(c.who, hsmtest.Devices)
	}
	return c.Do(a)
}

func TestAPIVersion(t *testing.T) {
	t.Parallel()
	s := hsmtest.New(t)
	s.Active(hsmName)
	c := as(s.Serve(), hsmtest.User)
	for _, v := range allVersions {
		c.raw("GET /keys", "api-version="+v).Want(200)
		c.raw("GET ///providers/Microsoft.Authorization/roleDefinitions", "api-version="+v).Want(200)
	}
	for _, query := range []string{"Api-Version=7.4", "api%2Dversion=7.4", "api-version=7%2E4", "a=b&api-version=7.4&c", "api-version=7.4&api-version=7.4", ";&api-version=7.4"} {
		c.raw("GET /keys", query).Want(200)
	}
	const missing, invalid = "MissingApiVersionParameter", "InvalidApiVersionParameter"
	for query, inner := range map[string]string{
		"": missing, "api-version": missing, "api-version=": missing, "apiversion=7.4": missing, "x-api-version=7.4": missing,
		"api-version=7.9": invalid, "api-version=8.0": invalid, "api-version=7": invalid, "api-version=+7.4": invalid, "api-version=7.4%00": invalid, "api-version=v7.4": invalid, "api-version=2026-04-01-PREVIEW": invalid,
		"api-version=2016-10-01": invalid, "api-version=latest": invalid, "api-version=7.4&api-version=7.5": invalid, "api-version=%zz": invalid, "api-version=" + strings.Repeat("9", 4000): invalid,
	} {
		for _, target := range []string{"GET /keys", "POST /keys/k/create", "PUT /providers/Microsoft.Authorization/roleAssignments/x", "POST /securitydomain/download", "GET /securitydomain/upload"} {
			a := c.raw(target, query)
			a.WantError(400, "BadParameter", inner, "api-version", allVersions[len(allVersions)-1], "7.2-preview", "Activity ID")
			if len(a.Body) > 1000 {
				t.Errorf("%.40s: an answer of %d bytes", query, len(a.Body))
			}
		}
	}
	// What is no operation is none in any version, and who has no token is asked for one first.
	c.raw("GET /secrets/x", "").WantError(404, "NotFound", "")
	as(c.Web, "").raw("GET /keys", "").Want(401)
	as(c.Web, "").raw("GET /keys", "api-version=9").Want(401)
}

// TestPollsWithoutVersion: the address of a long-running operation has no api-version; clients send it as it is, or
// add their own.
func TestPollsWithoutVersion(t *testing.T) {
	t.Parallel()
	s := hsmtest.New(t)
	d := s.Active(hsmName)
	c := as(s.Serve(), hsmtest.Admin)
	a := c.do("POST /backup", sas).Want(202)
	u, err := url.Parse(a.Header.Get("Azure-Asyncoperation"))
	if err != nil || u.RawQuery != "" {
		t.Fatalf("%s, %v", u, err)
	}
	id, _ := a.Map()["jobId"].(string)
	s.Wait(d.BackupStatus, id)
	for _, path := range []string{u.Path, "/securitydomain/download/pending", "/securitydomain/upload/pending"} {
		for _, query := range []string{"", "api-version=", "api-version=7.2", "api-version=2025-07-01"} {
			c.raw("GET "+path, query).Want(200)
		}
		c.raw("GET "+path, "api-version=9").WantError(400, "BadParameter", "InvalidApiVersionParameter")
	}
	c.raw("GET /restore/"+id+"/pending", "").WantError(404, "NotFound", "")
}

var parameter = regexp.MustCompile(`\{[^}]*\}`)

// TestSince: to a client of a version that does not have an operation yet, there is none.
func TestSince(t *testing.T) {
	t.Parallel()
	s := hsmtest.New(t)
	s.Active(hsmName)
	c := as(s.Serve(), hsmtest.User)

	for _, row := range hsm.Table() {
		target := parameter.ReplaceAllString(strings.Replace(strings.Replace(row.Route, "/{scope}", "", 1), "{key-version}", strings.Repeat("0", 32), 1), "x")
		since := slices.Index(allVersions, row.Since)
		if since < 0 {
			t.Errorf("%s: since %q, which is no version", row.Name, row.Since)
			continue
		}
		for _, at := range []int{0, since - 1, since, len(allVersions) - 1} {
			v, there := allVersions[max(at, 0)], at >= since || row.Since == "7.2-preview"
			if a := c.raw(target, "api-version="+v); strings.Contains(string(a.Body), none) != !there || !there && a.Status != 404 {
				t.Errorf("%s in %s: %d %s", target, v, a.Status, a.Body)
			}
		}
	}
}

// TestAttributesByVersion: a client sees what its version has.
func TestAttributesByVersion(t *testing.T) {
	t.Parallel()
	s := hsmtest.New(t)
	s.Active(hsmName)
	c := as(s.Serve(), hsmtest.User)
	c.do("POST /keys/k/create", `{"kty":"oct-HSM","key_size":192}`).Want(200)
	for v, want := range map[string][2]bool{"7.0": {}, "7.2": {}, "7.4": {}, "7.5-preview.1": {true, false}, "7.6": {true, false}, "2025-07-01": {true, false}, "2026-01-01-preview": {true, true}, "2026-07-01-preview": {true, true}} {
		for _, path := range []string{"/keys/k", "/keys", "/keys/k/versions"} {
			a := c.raw("GET "+path, "api-version="+v).Want(200)
			if got := [2]bool{strings.Contains(string(a.Body), `"hsmPlatform":"0"`), strings.Contains(string(a.Body), `"key_size":192`)}; got != want || !strings.Contains(string(a.Body), `"exportable":false`) {
				t.Errorf("%s in %s: %s", path, v, a.Body)
			}
		}
	}
}
