package fleet_test

import (
	"errors"
	"slices"
	"testing"
	"time"

	"redoubt/internal/audit"
	"redoubt/internal/fleet"
	"redoubt/internal/hsmtest"
	"redoubt/internal/key"
	"redoubt/internal/store/storetest"
)

const aDay = 24 * time.Hour

var monthly = key.RotationPolicy{Actions: []key.LifetimeAction{{Action: key.ActionRotate, AfterCreate: "P30D"}}}

// rotating puts up an HSM with keys that rotate every 30 days.
func rotating(s *hsmtest.Site, name string, keys ...key.Name) {
	s.T.Helper()
	d, user := s.Active(name), hsmtest.Caller(hsmtest.User)
	for _, k := range keys {
		_, err := d.CreateKey(s.T.Context(), user, k, key.CreateParams{Spec: key.Spec{Type: key.Oct}})
		if err == nil {
			_, err = d.SetRotationPolicy(s.T.Context(), user, k, monthly)
		}
		if err != nil {
			s.T.Fatal(err)
		}
	}
}

func versions(s *hsmtest.Site, name string, k key.Name) int {
	s.T.Helper()
	items, _, err := s.HSM(name).ListVersions(s.T.Context(), hsmtest.Caller(hsmtest.User), k, "", 25)
	if err != nil {
		s.T.Fatal(err)
	}
	return len(items)
}

// Ticks drive the caretaker of every HSM, and one tick is enough for all that is due.
func TestTicks(t *testing.T) {
	t.Parallel()
	s := hsmtest.New(t)
	ticks := make(chan time.Time)
	s.Config.Ticks = ticks
	s.Restart()
	var many []key.Name
	for i := range 50 {
		many = append(many, key.Name("k"+string(rune('A'+i%26))+string(rune('A'+i/26))))
	}
	rotating(s, "first", many...)
	rotating(s, "second", "k")
	tick := func() {
		ticks <- s.Clock.Now()
		ticks <- s.Clock.Now() // taken when the first is done with
	}
	tick()
	s.Clock.Advance(31 * aDay)
	tick()
	for _, k := range many {
		if n := versions(s, "first", k); n != 2 {
			t.Errorf("%s has %d versions", k, n)
		}
	}
	if n := versions(s, "second", "k"); n != 2 {
		t.Errorf("%d versions on the second HSM", n)
	}
	s.Stop() // ends the caretaker: nobody takes the tick
	select {
	case ticks <- s.Clock.Now():
		t.Error("a closed fleet takes ticks")
	default:
	}
	s.Restart()
}

// A soft-deleted HSM is purged when its retention has ended, with purge protection as well, and not before. One
// that was recovered is not.
func TestScheduledPurge(t *testing.T) {
	t.Parallel()
	s := hsmtest.New(t)
	ctx := t.Context()
	for _, name := range []string{"plain", "protected", "recovered", "live"} {
		r := s.Resource(name)
		r.PurgeProtection = name == "protected"
		_, err := s.Create(ctx, r)
		if err == nil && name != "live" {
			_, err = s.Delete(ctx, name)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	if _, err := s.Recover(ctx, "recovered"); err != nil {
		t.Fatal(err)
	}
	s.Clock.Advance(28*aDay - time.Second)
	s.Tend(ctx)
	for _, name := range []string{"plain", "protected"} {
		if _, err := s.GetDeleted(name); err != nil {
			t.Errorf("%s before its time: %v", name, err)
		}
	}
	s.Clock.Advance(time.Second)
	if s.Tend(ctx) {
		t.Error("there is more to do")
	}
	for _, name := range []string{"plain", "protected"} {
		if _, err := s.GetDeleted(name); !errors.Is(err, fleet.ErrNotFound) {
			t.Errorf("%s after its time: %v", name, err)
		}
		if _, err := s.Create(ctx, s.Resource(name)); err != nil {
			t.Errorf("the name %s is not free: %v", name, err)
		}
	}
	for _, name := range []string{"recovered", "live"} {
		if _, err := s.Get(name); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
	var said []string
	_, err := audit.VerifyFiles([]string{s.TrailFile()}, audit.Expect{}, func(e audit.Entry) error {
		said = append(said, e.Operation+" "+e.Result+" "+e.Resource.Name)
		return nil
	})
	slices.Sort(said)
	if err != nil || !slices.Equal(said, []string{"ManagedHsmPurge Started plain", "ManagedHsmPurge Started protected", "ManagedHsmPurge Success plain", "ManagedHsmPurge Success protected"}) {
		t.Errorf("the control plane's log says %q, %v", said, err)
	}
}

// What fails is done the next time: a purge that was begun is finished by the caretaker without a restart.
func TestTendAgain(t *testing.T) {
	t.Parallel()
	s := hsmtest.New(t)
	ctx := t.Context()
	rotating(s, "live", "k")
	s.Provisioned("gone")
	if _, err := s.Delete(ctx, "gone"); err != nil {
		t.Fatal(err)
	}
	s.Faults.FailAt(2, storetest.Full) // the note that it has begun is the first write
	if err := s.Purge(ctx, "gone"); err == nil {
		t.Fatal("purged on a full disk")
	}
	s.Clock.Advance(31 * aDay)
	s.Tend(ctx)
	if n := versions(s, "live", "k"); n != 1 {
		t.Errorf("%d versions on a full disk", n)
	}
	s.Faults.Revive()
	s.Tend(ctx)
	if _, err := s.GetDeleted("gone"); !errors.Is(err, fleet.ErrNotFound) {
		t.Errorf("a purge that was begun: %v", err)
	}
	if n := versions(s, "live", "k"); n != 2 {
		t.Errorf("%d versions", n)
	}
}
