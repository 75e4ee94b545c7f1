package hsm

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"redoubt/internal/audit"
	"redoubt/internal/key"
	"redoubt/internal/unlock"
)

const aDay = 24 * time.Hour

// monthly rotates 30 days after creation; versions live for a year.
var monthly = key.RotationPolicy{Actions: []key.LifetimeAction{{Action: key.ActionRotate, AfterCreate: "P30D"}}, ExpiryTime: "P1Y"}

// beforeExpiry rotates 28 days before expiry; versions live for 60 days.
var beforeExpiry = key.RotationPolicy{Actions: []key.LifetimeAction{{Action: key.ActionRotate, BeforeExpiry: "P28D"}}, ExpiryTime: "P60D"}

func (r *testHSM) policy(name key.Name, p key.RotationPolicy) {
	r.t.Helper()
	noErr(r.t, second(r.SetRotationPolicy(r.t.Context(), user, name, p)))
}

func (r *testHSM) tendOnce() error { return second(r.Tend(r.t.Context())) }

// tend sees to everything that is due and returns how many calls that took.
func (r *testHSM) tend() (calls int) {
	r.t.Helper()
	for {
		more, err := r.Tend(r.t.Context())
		noErr(r.t, err)
		if calls++; !more {
			return calls
		}
	}
}

// rotated tells whether the key has so many versions by now.
func (r *testHSM) rotated(name key.Name, versions int) error {
	items, _, err := r.ListVersions(r.t.Context(), user, name, "", 25)
	if err == nil && len(items) != versions {
		err = fmt.Errorf("%s has %d versions, want %d", name, len(items), versions)
	}
	return err
}

// entries are those of one operation in the log of the device, which is stopped and started again.
func (r *testHSM) entries(operation string) (out []audit.Entry) {
	r.t.Helper()
	r.stop()
	for _, e := range r.auditLog() {
		if e.Operation == operation {
			out = append(out, e)
		}
	}
	r.open()
	return out
}

func TestAutomaticRotation(t *testing.T) {
	t.Parallel()
	r := newTestHSM(t)
	ctx := t.Context()
	r.create("created", ecSpec)
	r.policy("created", monthly)
	end := r.clock.Now().Add(40 * aDay).Unix()
	r.createWith("expires", key.CreateParams{Spec: octSpec, Expires: end})
	r.policy("expires", beforeExpiry)
	r.create("endless", octSpec) // nothing expires: there is no time before
	r.policy("endless", beforeExpiry)
	r.create("byhand", octSpec)
	r.policy("byhand", key.RotationPolicy{ExpiryTime: "P30D"})
	off := false
	r.createWith("disabled", key.CreateParams{Spec: octSpec, Enabled: &off})
	r.policy("disabled", monthly)

	at := func(d time.Duration, versions map[key.Name]int) {
		t.Helper()
		r.clock.advance(d)
		r.tend()
		r.tend()
		for _, name := range []key.Name{"created", "expires", "endless", "byhand", "disabled"} {
			if err := r.rotated(name, max(1, versions[name])); err != nil {
				t.Errorf("day %s: %v", r.clock.Now().Format(time.DateOnly), err)
			}
		}
	}
	at(0, nil)
	at(12*aDay-time.Second, nil)
	at(time.Second, map[key.Name]int{"expires": 2}) // 28 days before its expiry
	if m := r.get("expires", ""); m.Attributes.Expires != r.clock.Now().Unix()+60*secondsPerDay || m.Attributes.NotBefore != 0 {
		t.Errorf("the new version: %+v", m.Attributes)
	}
	at(18*aDay-time.Second, map[key.Name]int{"expires": 2})
	at(time.Second, map[key.Name]int{"expires": 2, "created": 2})
	at(14*aDay, map[key.Name]int{"expires": 3, "created": 2}) // 32 days after the last
	noErr(t, second(r.UpdateKey(ctx, user, "disabled", "", key.Change{Enabled: ptr(true)})))
	at(0, map[key.Name]int{"expires": 3, "created": 2, "disabled": 2}) // due since it is enabled again
	// An expired version is replaced all the same, and by one, however much was missed.
	at(1000*aDay, map[key.Name]int{"expires": 4, "created": 3, "disabled": 3})
	noErr(t, second(r.Encrypt(ctx, user, "expires", "", "A256GCM", key.CipherInput{Value: []byte("x")})))
	r.check()

	got := r.entries(entryRotateIfDue)
	if len(got) != 7 {
		t.Errorf("%d entries, want 7", len(got))
	}
	for _, e := range got {
		if e.Principal != "" || e.Result != "Success" || !strings.HasPrefix(e.Target, "/keys/") || len(e.Details["keyVersion"]) != 32 || e.DomainID == "" {
			t.Errorf("%+v", e)
		}
	}
}

// A tick with nothing to do costs one look at the device record; a change of a key is noticed all the same.
func TestIdleTick(t *testing.T) {
	t.Parallel()
	r := newTestHSM(t)
	r.create("k", octSpec)
	r.tend()
	looked := func(what string, want bool) {
		t.Helper()
		idle := r.agenda.idle(r.dev().Generation, r.now())
		if idle == want {
			t.Errorf("%s: idle is %v", what, idle)
		}
		r.tend()
	}
	looked("nothing happened", false)
	r.create("l", octSpec)
	looked("a key without a policy", false)
	r.policy("l", monthly)
	looked("a policy that is due later", false)
	r.clock.advance(59 * time.Minute)
	looked("within the hour", false)
	r.clock.advance(time.Minute)
	looked("after an hour", true)
	r.clock.advance(30 * aDay)
	looked("when it is due", true)
	looked("when it is done", false)
	noErr(t, r.rotated("l", 2))
	r.policy("k", monthly)
	looked("a policy that is due at once", true)
	noErr(t, r.rotated("k", 2))
	r.clock.advance(-300 * aDay)
	looked("a clock that was put back", true)
	looked("afterwards", false)
}

// Any number of those who tend at once make one version, also when they do not know of each other.
func TestTendersRace(t *testing.T) {
	t.Parallel()
	r := newTestHSM(t)
	for i := range 4 {
		name := key.Name(fmt.Sprint("k", i))
		r.create(name, octSpec)
		r.policy(name, monthly)
	}
	r.clock.advance(31 * aDay)
	var wg sync.WaitGroup
	for i := range 16 {
		wg.Go(func() {
			var err error
			if i%2 == 0 {
				_, err = r.Tend(t.Context())
			} else if err = r.rotateIfDue(t.Context(), key.Name(fmt.Sprint("k", i/2%4))); errors.Is(err, errNotDue) {
				err = nil
			}
			if err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	r.tend()
	for i := range 4 {
		noErr(t, r.rotated(key.Name(fmt.Sprint("k", i)), 2))
	}
	r.check()
	if n := len(r.entries(entryRotateIfDue)); n != 4 {
		t.Errorf("%d entries", n)
	}
}

// A key without room for another version is a warning, not a failure that comes back every minute.
func TestRotationWithoutRoom(t *testing.T) {
	t.Parallel()
	r := newTestHSM(t)
	r.cfg.MaxVersions = 3
	r.restart()
	ctx := t.Context()
	for _, name := range []key.Name{"full", "other"} {
		r.create(name, octSpec)
		r.policy(name, monthly)
	}
	r.create("full", octSpec)
	warned := func(want string) {
		t.Helper()
		st, err := r.Status(ctx)
		noErr(t, err)
		if got := strings.Join(st.Warnings, ""); want == "" && got != "" || !strings.Contains(got, want) {
			t.Errorf("warnings %q, want %q", got, want)
		}
	}
	for _, want := range []string{"", "", ": full;"} { // the second time "full" has no room, the third time both
		warned(want)
		r.clock.advance(31 * aDay)
		r.tend()
		noErr(t, r.rotated("full", 3))
	}
	noErr(t, r.rotated("other", 3))
	warned("full, other")
	wantErr(t, "by hand", second(r.RotateKey(ctx, user, "full")), key.ErrTooManyVersions)
	r.policy("other", key.RotationPolicy{})
	r.tend()
	warned("a key can have: full;")
	noErr(t, second(r.DeleteKey(ctx, user, "full")))
	r.tend()
	warned("")
	if n := len(r.entries(entryRotateIfDue)); n != 3 {
		t.Errorf("%d entries, want 3", n)
	}
}

// When its retention ends a key is purged, with purge protection or without, and its name is free.
func TestScheduledPurge(t *testing.T) {
	t.Parallel()
	r := newTestHSM(t)
	ctx := t.Context()
	for i := range 2*tendBatch + 1 {
		name := key.Name(fmt.Sprint("k", i))
		r.create(name, octSpec)
		noErr(t, second(r.DeleteKey(ctx, user, name)))
	}
	r.create("k", octSpec)
	r.protectPurge(true)
	r.clock.advance(45 * aDay)
	noErr(t, second(r.DeleteKey(ctx, user, "k")))
	noErr(t, second(r.RecoverKey(ctx, officer, "k0")))
	r.clock.advance(45*aDay - time.Second)
	r.tend()
	wantErr(t, "the day before", r.PurgeKey(ctx, officer, "k1"), key.ErrPurgeProtected)
	r.clock.advance(time.Second)
	if calls := r.tend(); calls != 2 {
		t.Errorf("%d calls", calls)
	}
	for i := range 2 * tendBatch {
		wantErr(t, "at the end of retention", second(r.GetDeletedKey(ctx, auditor, key.Name(fmt.Sprint("k", i+1)))), key.ErrDeletedNotFound)
	}
	noErr(t, second(r.GetDeletedKey(ctx, auditor, "k")))
	if n := len(r.contentNames("v/")); n != 2 {
		t.Errorf("%d versions are left", n)
	}
	r.create("k1", octSpec)
	r.check()
	got := slices.DeleteFunc(r.entries("KeyPurge"), func(e audit.Entry) bool { return e.Result == "Failed" }) // by the officer
	if e := got[len(got)-1]; len(got) != 2*tendBatch || e.Principal != "" || e.Details["reason"] != "the retention has ended" || !strings.HasPrefix(e.Target, "/keys/k") {
		t.Errorf("%d entries, %+v", len(got), got[len(got)-1])
	}
	r.clock.advance(45 * aDay) // nothing before: the device is new, and looks
	r.tend()
	wantErr(t, "the last one", second(r.GetDeletedKey(ctx, auditor, "k")), key.ErrDeletedNotFound)
	r.check()
}

// Only an Active device is tended; afterwards it makes up for the time.
func TestTendInOtherStates(t *testing.T) {
	t.Parallel()
	var locked atomic.Bool
	r := newDR(t, func(r *testHSM) {
		r.cfg.Roots = unlock.NewRoots(filepath.Join(filepath.Dir(r.auditPath), "roots"), lockable{unlocker(), &locked, nil})
	})
	r.tend() // Provisioned
	r.activateByDownload()
	r.testOnlyActivate()
	r.create("k", octSpec)
	r.policy("k", monthly)
	r.create("gone", octSpec)
	noErr(t, second(r.DeleteKey(t.Context(), user, "gone")))
	r.clock.advance(100 * aDay)
	for _, s := range []State{Restoring, Recovering} {
		r.setState(s)
		r.tend()
		wantErr(t, string(s), r.rotateIfDue(t.Context(), "k"), map[State]error{Restoring: ErrRestoring, Recovering: ErrNotActivated}[s])
	}
	r.setState(Active)
	locked.Store(true)
	r.restart()
	r.tend() // Sealed
	locked.Store(false)
	noErr(t, r.Unseal(t.Context()))
	noErr(t, r.rotated("k", 1))
	noErr(t, second(r.GetDeletedKey(t.Context(), auditor, "gone")))
	r.tend()
	noErr(t, r.rotated("k", 2))
	wantErr(t, "purged", second(r.GetDeletedKey(t.Context(), auditor, "gone")), key.ErrDeletedNotFound)
	r.check()
}

// A closed device is left alone, and closing ends whoever tends.
func TestTendAndClose(t *testing.T) {
	t.Parallel()
	r := newTestHSM(t)
	for i := range 64 {
		name := key.Name(fmt.Sprint("k", i))
		r.create(name, octSpec)
		r.policy(name, monthly)
	}
	r.clock.advance(31 * aDay)
	h := r.HSM
	done := make(chan error)
	go func() {
		for {
			more, err := h.Tend(context.WithoutCancel(t.Context()))
			if !more {
				done <- err
				return
			}
		}
	}()
	r.stop()
	if err := <-done; err != nil && !errors.Is(err, context.Canceled) && !errors.Is(err, ErrUnavailable) {
		t.Error(err)
	}
	if more, err := h.Tend(t.Context()); more || err != nil {
		t.Errorf("a closed device: %v, %v", more, err)
	}
	r.open()
	r.tend()
	for i := range 64 {
		noErr(t, r.rotated(key.Name(fmt.Sprint("k", i)), 2))
	}
	r.check()
}

// Content that was replaced as a whole is looked at anew: a restore brings policies and retentions back.
func TestTendAfterRestore(t *testing.T) {
	t.Parallel()
	r, _ := newActiveDR(t)
	r.testOnlyActivate()
	ctx := t.Context()
	r.create("k", octSpec)
	r.policy("k", monthly)
	r.create("gone", octSpec)
	noErr(t, second(r.DeleteKey(ctx, user, "gone")))
	folder := r.succeed(r.StartBackup(ctx, admin, sasTarget(backupURI))).Folder
	noErr(t, second(r.DeleteKey(ctx, user, "k")))
	noErr(t, r.PurgeKey(ctx, officer, "k"))
	noErr(t, r.PurgeKey(ctx, officer, "gone"))
	r.clock.advance(100 * aDay)
	r.tend()
	r.succeed(r.StartSelectiveRestore(ctx, admin, "k", sasTarget(backupURI), folder))
	noErr(t, r.rotated("k", 1))
	r.tend()
	noErr(t, r.rotated("k", 2))
	r.succeed(r.StartBackup(ctx, admin, sasTarget(otherURI)))
	r.succeed(r.StartRestore(ctx, admin, sasTarget(backupURI), folder))
	noErr(t, second(r.GetDeletedKey(ctx, auditor, "gone")))
	r.tend()
	noErr(t, r.rotated("k", 2))
	wantErr(t, "retention ended while it was in the backup", second(r.GetDeletedKey(ctx, auditor, "gone")), key.ErrDeletedNotFound)
	r.sound()
}
