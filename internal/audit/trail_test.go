package audit

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// Refusals take no more of the disk when whoever brings them about makes them long.
func TestLongRefusalsAreFewer(t *testing.T) {
	t.Parallel()
	for _, principal := range []string{"", "11111111-1111-4111-8111-111111111111"} {
		path := filepath.Join(t.TempDir(), "a.jsonl")
		now := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
		tr := NewTrail(TrailConfig{Log: openLog(t, path), Clock: func() time.Time { return now }})
		for range 1000 {
			tr.Note(Entry{Operation: "Authentication", Result: "Failed", Principal: principal, RequestURI: "https://" + strings.Repeat("&", 2040), ClientInfo: strings.Repeat("<", 256)})
		}
		st, err := os.Stat(path)
		noErr(t, err)
		if most := int64(200 * usualEntry * 5 / 4); st.Size() > most || st.Size() < most/10 {
			t.Errorf("%d bytes of refusals by %q at once", st.Size(), principal)
		}
		now = now.Add(time.Minute) // the usual ones go on
		tr.Note(Entry{Operation: "KeyGet", Result: "Denied", Principal: principal})
		noErr(t, tr.Close())
		last := ""
		_, err = VerifyFiles([]string{path}, Expect{}, func(e Entry) error { last = e.Operation + " " + e.Reason; return nil })
		if err != nil || !strings.HasPrefix(last, "KeyGet  (9") || !strings.Contains(last, "earlier refusals were not recorded") {
			t.Errorf("%q, %v", last, err)
		}
	}
}
