package dataplane_test

import (
	"fmt"
	"os"
	"strings"
	"testing"

	"redoubt/internal/audit"
	"redoubt/internal/hsmtest"
)

// trailOf reads what the control plane's audit log has.
func trailOf(t *testing.T, s *hsmtest.Site) (raw []byte, entries []audit.Entry) {
	t.Helper()
	raw, err := os.ReadFile(s.TrailFile())
	if err == nil {
		_, err = audit.VerifyFiles([]string{s.TrailFile()}, audit.Expect{Growing: true}, func(e audit.Entry) error { entries = append(entries, e); return nil })
	}
	if err != nil {
		t.Fatal(err)
	}
	return raw, entries
}

// TestRefusalsAreTraced: requests that come to no guard have an entry, too, with all that is known of them.
func TestRefusalsAreTraced(t *testing.T) {
	t.Parallel()
	s := hsmtest.New(t)
	d := s.Active(hsmName)
	w := s.Serve()
	user := as(w, hsmtest.User)
	want := map[string]string{} // request id -> operation result status principal
	note := func(what string, a hsmtest.Answer) { want[a.Header.Get("X-Ms-Request-Id")] = what }
	note("Authentication Failed 401 -", as(w, "").do("GET /keys", nil).Want(401))
	note("Authentication Failed 401 -", w.Do(hsmtest.Ask{Method: "GET", Host: host, Path: "/keys?" + version, Token: "x.y.z"}).Want(401))
	note("Authentication Failed 401 -", w.Do(hsmtest.Ask{Method: "DELETE", Host: host, Path: "/keys/k", Token: s.Token(hsmtest.User, hsmtest.Control)}).Want(401))
	note("UnknownOperation Failed 404 "+hsmtest.User, user.do("GET /secrets/x", nil).Want(404))
	note("UnknownOperation Failed 404 "+hsmtest.User, user.do("PATCH /rng", nil).Want(404))
	note("KeySign Failed 400 "+hsmtest.User, user.do("POST /keys/k/sign", `{"alg":`).Want(400))
	note("KeyGet Failed 400 "+hsmtest.User, w.Do(hsmtest.Ask{Method: "GET", Host: host, Path: "/keys/k?api-version=1.0", Token: s.Token(hsmtest.User, hsmtest.Devices)}).Want(400))
	unknown := w.Do(hsmtest.Ask{Method: "GET", Host: "nobody.managedhsm.azure.net", Path: "/keys?" + version + "&sig=secret", Token: s.Token(hsmtest.User, hsmtest.Devices)}).Want(404)

	_, entries := audited(t, s, d.ID())
	for _, e := range entries {
		if e.Status == 0 {
			continue // of the preparation, or by the HSM itself
		}
		got := strings.TrimSpace(fmt.Sprintf("%s %s %d %s", e.Operation, e.Result, e.Status, e.Principal))
		if e.Principal == "" {
			got += " -"
		}
		if got != want[e.RequestID] || e.CallerIP == "" || e.Reason == "" || e.Details["method"] == "" || !strings.HasPrefix(e.RequestURI, "https://"+host+"/") || e.Resource == nil {
			t.Errorf("the entry %+v says %q, want %q", e, got, want[e.RequestID])
		}
		delete(want, e.RequestID)
	}
	for id, w := range want {
		t.Errorf("%s: %s has no entry", id, w)
	}
	raw, trail := trailOf(t, s)
	if len(trail) != 1 || trail[0].Operation != "UnknownHost" || trail[0].Status != 404 || trail[0].RequestID != unknown.Header.Get("X-Ms-Request-Id") || trail[0].CallerIP == "" || strings.Contains(string(raw), "secret") {
		t.Errorf("%+v", trail)
	}
}

// TestTracesAreLimited: whoever has no token cannot fill the disk, nor keep the refusals of others out of the log.
func TestTracesAreLimited(t *testing.T) {
	t.Parallel()
	s := hsmtest.New(t)
	d := s.Active(hsmName)
	w := s.Serve()
	nobody, stranger := as(w, ""), as(w, hsmtest.Stranger)
	for range 300 {
		nobody.do("GET /keys", nil).Want(401)
		w.Do(hsmtest.Ask{Method: "GET", Host: "nobody.managedhsm.azure.net", Path: "/keys?" + version}).Want(404)
	}
	stranger.do("GET /keys", nil).Want(403)
	s.Clock.Advance(60e9)
	nobody.do("GET /keys", nil).Want(401)
	_, entries := audited(t, s, d.ID())
	open, denied, suppressed := 0, 0, ""
	for _, e := range entries {
		switch {
		case e.Operation == "Authentication":
			open++
			suppressed = e.Reason
		case e.Result == "Denied":
			denied++
		}
	}
	if open != 101 || denied != 1 || !strings.Contains(suppressed, "200 earlier refusals were not recorded") {
		t.Errorf("%d without a token, %d denied, the last says %q", open, denied, suppressed)
	}
	if _, trail := trailOf(t, s); len(trail) != 100 {
		t.Errorf("%d entries of unknown hosts", len(trail))
	}
}
