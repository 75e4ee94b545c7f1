package hsm

import (
	"errors"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"

	"redoubt/internal/key"
	"redoubt/internal/unlock"
)

// TestSealedAuditIsBounded: while the device is sealed nobody's roles can be read, so anybody with a token
// gets a refusal that is not a denial. It must not fill the disk,
// nor make the unlock driver work.
func TestSealedAuditIsBounded(t *testing.T) {
	t.Parallel()
	var locked atomic.Bool
	var tries atomic.Int32
	r := newDR(t, func(r *testHSM) {
		r.cfg.Roots = unlock.NewRoots(filepath.Join(filepath.Dir(r.auditPath), "roots"), lockable{unlocker(), &locked, &tries})
	})
	locked.Store(true)
	r.restart()
	for range 3000 {
		if _, err := r.ListSettings(t.Context(), stranger); !errors.Is(err, ErrSealed) {
			t.Fatal(err)
		}
	}
	if n := tries.Load(); n > 2 {
		t.Errorf("the unlock driver, which is slow on purpose, was asked %d times", n)
	}
	locked.Store(false)
	r.stop()
	if n := len(r.auditLog()); n > 300 {
		t.Errorf("%d entries", n)
	}
}

// Texts that a caller makes long are cut before the entry waits for the file, and take nothing else of it away.
func TestLongTextsInEntries(t *testing.T) {
	t.Parallel()
	r := newTestHSM(t)
	r.create("k", ecSpec)
	alg := key.Algorithm(strings.Repeat("x", 1<<20))
	if _, err := r.Sign(t.Context(), user, "k", "", alg, make([]byte, 32)); err == nil {
		t.Fatal("an algorithm that there is not")
	}
	e := r.entries("KeySign")
	if len(e) != 1 || e[0].Details["keyVersion"] == "" || len(e[0].Details["algorithm"]) != longestNote || len(e[0].Append(nil)) > 4*longestNote {
		t.Errorf("%d entries: %.300v", len(e), e)
	}
	r.check()
}
