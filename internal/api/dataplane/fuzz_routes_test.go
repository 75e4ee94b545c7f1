package dataplane_test

import (
	"bytes"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"testing"

	"redoubt/internal/api/dataplane"
	"redoubt/internal/hsmtest"
)

// Keys whose operations are fuzzed stay as they are; what changes keys is done to others.
var fuzzedKeys = []string{"ec", "oct", "rsa"}

// fuzzPath is a path for a pattern. which chooses the key.
func fuzzPath(method, pattern string, which uint8) string {
	last := pattern[strings.LastIndex(pattern, "/")+1:]
	name := fuzzedKeys[int(which)%len(fuzzedKeys)]
	if method != "GET" && (method != "POST" || slices.Contains([]string{"create", "rotate", "recover"}, last)) {
		name = "changed"
	}
	return "/" + strings.NewReplacer("{name}", name, "{version}", "", "{job}", strings.Repeat("0", 32), "{setting}", "AllowKeyManagementOperationsThroughARM", "{id}", guid).Replace(pattern)
}

// fuzzCaller is who may do it, but for what would take seconds or go on in the background: then it is somebody who
// may not, and the body is only read.
func fuzzCaller(method, pattern string, body []byte) string {
	first, _, _ := strings.Cut(pattern, "/")
	switch {
	case strings.TrimPrefix(first, "pre") == "backup" || strings.TrimPrefix(first, "pre") == "restore" || strings.HasSuffix(pattern, "}/restore"), strings.HasSuffix(pattern, "/create") && bytes.Contains(body, []byte("RSA")):
		return hsmtest.Stranger
	case first == "keys" || first == "rng":
		return hsmtest.User
	case first == "deletedkeys":
		return hsmtest.Officer
	}
	return hsmtest.Admin
}

// pathFits tells whether a path is one of a pattern's.
func pathFits(pattern, path string) bool {
	a, b := strings.Split(pattern, "/"), strings.FieldsFunc(path, func(r rune) bool { return r == '/' })
	return slices.EqualFunc(a, b, func(p, s string) bool { return strings.HasPrefix(p, "{") || strings.EqualFold(p, s) })
}

// seedBodies are bodies for a route: those of the golden steps, and some for all.
func seedBodies(t testing.TB, method, pattern string) []string {
	t.Helper()
	out := []string{""}
	if method == "GET" || method == "DELETE" {
		return out
	}
	for _, st := range goldenSteps(string(hsmtest.DownloadRequest(t, hsmtest.Holders(3), 2))) {
		m, path, _ := strings.Cut(st.target, " ")
		path, _, _ = strings.Cut(path, "?")
		if m == method && pathFits(pattern, path) && st.body != "" {
			out = append(out, st.body)
		}
	}
	return append(out, `{"value":"AAAA"}`, `{"sasTokenParameters":`+sas+`,"folder":"f","folderToRestore":"f"}`, sas)
}

// FuzzRoutes sends every route any query and body. Whatever comes of it is an answer of the service's shape, and a
// refusal changes nothing. Routes that are added later are fuzzed by themselves; a body of theirs in the golden steps is
// what the fuzzer begins with.
func FuzzRoutes(f *testing.F) {
	s := hsmtest.New(f)
	s.Active(hsmName)
	w := s.Serve()
	user := as(w, hsmtest.User)
	for name, body := range map[string]string{"ec": `{"kty":"EC"}`, "oct": `{"kty":"oct","key_size":256}`, "rsa": `{"kty":"RSA"}`, "changed": `{"kty":"EC"}`} {
		user.do("POST /keys/"+name+"/create", body).Want(200)
	}
	routes := dataplane.Routes()
	slices.SortFunc(routes, func(a, b [2]string) int { return strings.Compare(a[0]+a[1], b[0]+b[1]) })
	for i, r := range routes {
		for k, body := range seedBodies(f, r[0], r[1]) {
			f.Add(uint16(i), uint8(k), "", []byte(body))
		}
		f.Add(uint16(i), uint8(0), "&maxresults=1&$skiptoken=ZWM&$filter=atScope()", []byte("{}"))
	}
	tokens := map[string]string{}
	for _, who := range []string{hsmtest.User, hsmtest.Officer, hsmtest.Admin, hsmtest.Stranger} {
		tokens[who] = "Bearer " + s.Token(who, hsmtest.Devices)
	}
	h := s.DataPlane()
	f.Fuzz(func(t *testing.T, route uint16, which uint8, query string, body []byte) {
		r := routes[int(route)%len(routes)]
		method, pattern := r[0], r[1]
		u := &url.URL{Path: fuzzPath(method, pattern, which), RawQuery: version + query}
		rq := httptest.NewRequestWithContext(t.Context(), method, "/", bytes.NewReader(body))
		rq.URL, rq.Host = u, host
		rq.Header.Set("Authorization", tokens[fuzzCaller(method, pattern, body)])
		before := s.StateOf(t)
		rec := httptest.NewRecorder()
		h.ServeHTTP(rec, rq)
		wellFormed(t, method+" "+u.String(), rec)
		if rec.Code < 400 {
			return
		}
		after := s.StateOf(t)
		for k, v := range after {
			if before[k] != v {
				t.Errorf("%s was refused (%d) and changed %s", u, rec.Code, k)
			}
		}
		for k := range before {
			if _, there := after[k]; !there && !strings.Contains(k, "/v/") && !strings.Contains(k, "/m/") { // which are swept later
				t.Errorf("%s was refused (%d) and removed %s", u, rec.Code, k)
			}
		}
	})
}

// wellFormed wants an answer that the service might give.
func wellFormed(t *testing.T, what string, rec *httptest.ResponseRecorder) {
	t.Helper()
	body := rec.Body.Bytes()
	if !slices.Contains([]int{200, 201, 202, 204, 400, 403, 404, 409, 413}, rec.Code) {
		t.Errorf("%s: %d %s", what, rec.Code, body)
	}
	if rec.Code == http.StatusNoContent {
		if len(body) > 0 {
			t.Errorf("%s: 204 with a body", what)
		}
		return
	}
	if rec.Header().Get("Content-Length") != strconv.Itoa(len(body)) || rec.Header().Get("Content-Type") != "application/json; charset=utf-8" || !json.Valid(body) {
		t.Errorf("%s: %d, %v: %.200q", what, rec.Code, rec.Header(), body)
	}
	if rec.Code < 400 {
		return
	}
	var e struct{ Error hsmtest.Error }
	if err := json.Unmarshal(body, &e); err != nil || e.Error.Code == "" || len(body) > 16<<10 || !strings.HasSuffix(e.Error.Message, " (Activity ID: "+rec.Header().Get("X-Ms-Request-Id")+")") {
		t.Errorf("%s: %d %.400s", what, rec.Code, body)
	}
}
