package daemon

import (
	"net/http"
	"strings"
	"testing"
)

// TestFaultIsInTheLog: a request that a fault of the program ends gets no answer, is in the log as an error, and leaves the
// server as it was; one that was given up on purpose is not in the log.
func TestFaultIsInTheLog(t *testing.T) {
	t.Parallel()
	var log syncBuffer
	addr := plainServer(t, paced(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch r.URL.Path {
		case "/fault":
			panic("no such luck")
		case "/abort":
			panic(http.ErrAbortHandler)
		}
		w.WriteHeader(http.StatusNoContent)
	}), logger(&log, false)))
	for _, path := range []string{"/abort", "/fault", "/"} {
		q := must[*http.Request](t)(http.NewRequestWithContext(t.Context(), http.MethodPost, "http://"+addr+path, nil))
		resp, err := (&http.Client{Transport: &http.Transport{DisableKeepAlives: true}}).Do(q)
		if err == nil {
			_ = resp.Body.Close()
		}
		if (err == nil) != (path == "/") {
			t.Errorf("%s: %v", path, err)
		}
		if said := log.String(); path == "/abort" && said != "" {
			t.Errorf("%s: %s", path, said)
		}
	}
	if said := log.String(); strings.Count(said, "level=ERROR") != 1 || !strings.Contains(said, "no such luck") || !strings.Contains(said, "fault_test.go") {
		t.Errorf("the log says: %s", said)
	}
}
