package hsm

import (
	"errors"
	"path/filepath"
	"sync/atomic"
	"testing"

	"redoubt/internal/unlock"
)

// TestSealedAuditIsBounded: while the device is sealed nobody's roles can be read, so anybody with a token
// gets a refusal that is not a denial. It must not fill the disk either.
func TestSealedAuditIsBounded(t *testing.T) {
	t.Parallel()
	var locked atomic.Bool
	r := newDR(t, func(r *testHSM) {
		r.cfg.Roots = unlock.NewRoots(filepath.Join(filepath.Dir(r.auditPath), "roots"), lockable{unlocker(), &locked})
	})
	locked.Store(true)
	r.restart()
	for range 3000 {
		if _, err := r.ListSettings(t.Context(), stranger); !errors.Is(err, ErrSealed) {
			t.Fatal(err)
		}
	}
	locked.Store(false)
	r.stop()
	if n := len(r.auditLog()); n > 300 {
		t.Errorf("%d entries", n)
	}
}
