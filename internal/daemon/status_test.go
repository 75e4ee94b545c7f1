package daemon

import (
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
