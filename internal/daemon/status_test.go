package daemon

import (
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"
)

// TestStatusLines: what redoubtd status says of an HSM.
func TestStatusLines(t *testing.T) {
	t.Parallel()
	now := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	at := now.Add(-26*time.Hour - 1500*time.Millisecond)
	for _, c := range []struct {
		h    hsmHealth
		want string
	}{
		{hsmHealth{State: "Provisioned"}, ""},
		{hsmHealth{State: "Provisioned", Unconfirmed: true}, "a security domain was given out and its download not confirmed: the HSM is not activated; download it again, to the end"},
		{hsmHealth{State: "Unavailable"}, "it could not be opened; the log says why, and redoubtd check once the server is stopped"},
		{hsmHealth{State: "Sealed", LastBackup: &at}, "its root cannot be opened with passphrase-file, the log says why; put the passphrase that it was sealed with back, no restart is needed|" +
			"last good backup 2026-01-01T01:04:03Z, 26h0m2s ago"},
		{hsmHealth{State: "Active"}, "no good backup of its present content"},
		{hsmHealth{State: "Active", LastBackup: &at, Jobs: 1, AuditStopped: true, AuditWaiting: 3, Warnings: []string{"w"}},
			"last good backup 2026-01-01T01:04:03Z, 26h0m2s ago|1 backup or restore runs|the audit log takes no entries, so that changes are refused; make room on its disk|3 audit entries are not in the file yet|w"},
	} {
		if got := strings.Join(c.h.lines(now), "|"); got != c.want {
			t.Errorf("%s, want %s", got, c.want)
		}
	}
	for n, want := range map[uint64]string{0: "0.0 bytes", 1023: "1023.0 bytes", 1536: "1.5 KiB", 40 << 30: "40.0 GiB", 1 << 60: "1024.0 PiB"} {
		if got := bytesText(n); got != want {
			t.Errorf("%d: %s, want %s", n, got, want)
		}
	}
}

// TestHealthHost: whoever asks the health listener by another name than one of this machine's own is refused, so that no
// page in a browser can have its own name lead here and read the answers.
func TestHealthHost(t *testing.T) {
	t.Parallel()
	face := healthFace{phase: func() string { return "ready" }}
	for host, want := range map[string]int{"127.0.0.1:9480": 200, "localhost:9480": 200, "LOCALHOST": 200, "[::1]:9480": 200, "[::1]": 200, "127.8.9.1": 200, "": 200,
		"evil.example:9480": 421, "192.0.2.1:9480": 421, "localhost.evil.example": 421, "127.0.0.1.evil.example:9480": 421} {
		r := httptest.NewRequestWithContext(t.Context(), http.MethodGet, "/healthz", nil)
		r.Host = host
		w := httptest.NewRecorder()
		face.ServeHTTP(w, r)
		if w.Code != want {
			t.Errorf("%q: %d, want %d", host, w.Code, want)
		}
	}
}

// TestStatusNamesFailingIssuers: nobody can sign in, and status says whose keys are missing.
func TestStatusNamesFailingIssuers(t *testing.T) {
	t.Parallel()
	r := newRealm(t, "")
	r.init()
	s := r.serve(ServeOptions{})
	status := func() string {
		var out strings.Builder
		if err := runStatus(t.Context(), s.health.String(), &out); err != nil {
			t.Errorf("%v", err)
		}
		return out.String()
	}
	if text := status(); strings.Contains(text, "issuer ") {
		t.Errorf("before anybody asked: %s", text)
	}
	token := r.idp.sign(r.idp.good("https://" + siteHost))
	r.idp.srv.Close()
	if resp := r.ask(http.MethodGet, "https://"+siteHost+"/subscriptions?api-version=2022-12-01", token); resp.StatusCode != http.StatusServiceUnavailable {
		t.Errorf("%d", resp.StatusCode)
	}
	if text := status(); !strings.Contains(text, "issuer "+r.idp.srv.URL+": its signing keys could not be fetched") {
		t.Errorf("%s", text)
	}
}
