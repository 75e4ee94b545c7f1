package fleet_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"redoubt/internal/blob"
	"redoubt/internal/fleet"
	"redoubt/internal/hsm"
	"redoubt/internal/hsmtest"
	"redoubt/internal/store"
	"redoubt/internal/store/storetest"
)

// step is one change of an HSM, with the states that it leads from and to, as situation describes them.
type step struct {
	prepare       func(*hsmtest.Site)
	do            func(context.Context, *hsmtest.Site) error
	before, after string
}

const name = "contosomhsm"

func deleteIt(ctx context.Context, s *hsmtest.Site) error { _, err := s.Delete(ctx, name); return err }

func deleted(s *hsmtest.Site) {
	s.Provisioned(name)
	if err := deleteIt(s.T.Context(), s); err != nil {
		s.T.Fatal(err)
	}
}

var steps = map[string]step{
	"create": {func(*hsmtest.Site) {}, func(ctx context.Context, s *hsmtest.Site) error {
		_, err := s.Create(ctx, s.Resource(name))
		return err
	}, "none", "live"},
	"update": {func(s *hsmtest.Site) { s.Provisioned(name) }, func(ctx context.Context, s *hsmtest.Site) error {
		_, err := s.Update(ctx, name, func(r *fleet.Resource) error { r.Tags = map[string]string{"new": "1"}; return nil })
		return err
	}, "live", "live, tagged"},
	"delete": {func(s *hsmtest.Site) { s.Provisioned(name) }, deleteIt, "live", "deleted"},
	"recover": {deleted, func(ctx context.Context, s *hsmtest.Site) error {
		_, err := s.Recover(ctx, name)
		return err
	}, "deleted", "live"},
	"scheduled purge": {func(s *hsmtest.Site) { deleted(s); s.Clock.Advance(28 * 24 * time.Hour) }, func(ctx context.Context, s *hsmtest.Site) error {
		s.Tend(ctx) // says nothing: whether it was done shows
		if _, err := s.GetDeleted(name); err == nil {
			return errors.Join(hsm.ErrUnavailable, store.ErrFull)
		}
		return nil
	}, "deleted", "none"},
	"purge": {deleted, func(ctx context.Context, s *hsmtest.Site) error { return s.Purge(ctx, name) }, "deleted", "none"},
}

// situation is what the fleet says of the HSM, and fails the test when its parts do not agree.
func situation(s *hsmtest.Site) string {
	s.T.Helper()
	live, liveErr := s.Get(name)
	_, deletedErr := s.GetDeleted(name)
	_, _, deviceErr := s.Device(name)
	leftovers := slices.Concat(s.Records("/hsm/"), s.Records("/fleet/"), s.RootFiles())
	switch {
	case liveErr == nil && deletedErr != nil && deviceErr == nil:
		if live.Tags["new"] != "" {
			return "live, tagged"
		}
		return "live"
	case liveErr != nil && deletedErr == nil && errors.Is(deviceErr, fleet.ErrUnknownHost):
		return "deleted"
	case liveErr != nil && deletedErr != nil && errors.Is(deviceErr, fleet.ErrUnknownHost):
		if len(leftovers) == 0 {
			return "none"
		}
		return fmt.Sprintf("none, but there is %q", leftovers)
	}
	return fmt.Sprintf("neither: %v, %v, %v", liveErr, deletedErr, deviceErr)
}

// TestCrashAtEveryWrite lets the process die at each write of each change, with the write lost or stored: the
// next start finds the state before or the state after, whole, and what was acknowledged is there.
func TestCrashAtEveryWrite(t *testing.T) {
	t.Parallel()
	for what, st := range steps {
		for _, fault := range []storetest.Fault{storetest.Lost, storetest.Stored} {
			t.Run(fmt.Sprintf("%s/%s", what, fault), func(t *testing.T) {
				t.Parallel()
				for n := 1; ; n++ {
					s := hsmtest.New(t)
					st.prepare(s)
					s.Faults.FailAt(n, fault)
					err := st.do(t.Context(), s)
					crashed := s.Faults.Dead()
					s.Restart()
					got := situation(s)
					if got != st.after && (err == nil || got != st.before) {
						t.Fatalf("write %d: answered %v; after the crash: %s", n, err, got)
					}
					if strings.HasPrefix(got, "live") {
						s.HSM(name)
					}
					s.Check()
					again(t, s, st, got)
					if !crashed {
						return // there are fewer than n writes
					}
				}
			})
		}
	}
}

// again repeats a change that a crash kept from happening: it must succeed.
func again(t *testing.T, s *hsmtest.Site, st step, got string) {
	t.Helper()
	if got != st.before {
		return
	}
	if err := st.do(t.Context(), s); err != nil {
		t.Fatalf("repeated: %v", err)
	}
	if got := situation(s); got != st.after {
		t.Fatalf("after repeating: %s", got)
	}
}

// TestDiskFullAtEveryWrite lets the store run full at each write. The process goes on; once there is room the
// same change succeeds, without a restart.
func TestDiskFullAtEveryWrite(t *testing.T) {
	t.Parallel()
	for what, st := range steps {
		t.Run(what, func(t *testing.T) {
			t.Parallel()
			for n := 1; ; n++ {
				s := hsmtest.New(t)
				st.prepare(s)
				s.Faults.FailAt(n, storetest.Full)
				err := st.do(t.Context(), s)
				if err == nil {
					return
				}
				if !errors.Is(err, hsm.ErrUnavailable) || !errors.Is(err, store.ErrFull) {
					t.Errorf("write %d: %v", n, err)
				}
				s.Faults.Revive()
				if err := st.do(t.Context(), s); err != nil {
					t.Fatalf("write %d: repeated with room: %v", n, err)
				}
				s.Restart()
				if got := situation(s); got != st.after {
					t.Fatalf("write %d: %s", n, got)
				}
			}
		})
	}
}

// TestUnknownOutcome: when the answer of the store is lost but the store itself is not, the fleet looks again.
func TestUnknownOutcome(t *testing.T) {
	t.Parallel()
	for what, st := range steps {
		t.Run(what, func(t *testing.T) {
			t.Parallel()
			for n := 1; ; n++ {
				s := hsmtest.New(t)
				lost := &lostAnswers{Store: s.Faults}
				s.Config.Store = lost
				s.Restart()
				st.prepare(s)
				lost.lose(n)
				err := st.do(t.Context(), s)
				left := lost.lose(0)
				if err == nil && situation(s) != st.after {
					t.Fatalf("write %d: succeeded, and it is %s", n, situation(s))
				}
				if err != nil {
					again(t, s, st, situation(s))
				}
				s.Restart()
				if got := situation(s); got != st.after {
					t.Fatalf("write %d: after a restart: %s", n, got)
				}
				if left > 0 {
					return
				}
			}
		})
	}
}

// lostAnswers is a store that stores one chosen write and says that it does not know.
type lostAnswers struct {
	store.Store
	left int // writes until then; the tests that use it write from one goroutine
}

func (l *lostAnswers) lose(n int) int {
	old := l.left
	l.left = n
	return old
}

// Txn implements store.Store.
func (l *lostAnswers) Txn(ctx context.Context, ifs []store.Cond, then []store.Op) (store.Rev, error) {
	rev, err := l.Store.Txn(ctx, ifs, then)
	if l.left > 0 {
		if l.left--; l.left == 0 && err == nil {
			return 0, store.ErrUnknown
		}
	}
	return rev, err
}

// TestCreationOfOneThatIsThere: an HSM whose creation was committed behind this process's back is found
// when its name is asked for again.
func TestCreationOfOneThatIsThere(t *testing.T) {
	t.Parallel()
	s := hsmtest.New(t)
	other, err := fleet.Open(t.Context(), s.Config)
	if err != nil {
		t.Fatal(err)
	}
	made, err := other.Create(t.Context(), s.Resource("ContosoMHSM"))
	if err != nil {
		t.Fatal(err)
	}
	if err := other.Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Create(t.Context(), s.Resource(name)); !errors.Is(err, fleet.ErrNameTaken) {
		t.Errorf("Create: %v", err)
	}
	if r, err := s.Get(name); err != nil || r.ID != made.ID {
		t.Errorf("Get: %+v, %v", r, err)
	}
	if got := situation(s); got != "live" {
		t.Error(got)
	}
}

// TestCloseWithARunningJob: a job that asks for its HSM's resource while the fleet closes gets it, ends as
// interrupted, and nothing hangs.
func TestCloseWithARunningJob(t *testing.T) {
	t.Parallel()
	s := hsmtest.New(t)
	entered, leave := make(chan struct{}), make(chan struct{})
	s.Config.OpenContainer = func(context.Context, hsm.ContainerRequest) (blob.Container, error) {
		return &slowContainer{Container: s.Container("https://contoso.blob.core.windows.net/c"), entered: entered, leave: leave, then: func() {
			if _, err := s.Get(name); err != nil {
				t.Errorf("Get from a job: %v", err)
			}
		}}, nil
	}
	s.Restart()
	d := s.Active(name)
	j, err := d.StartBackup(t.Context(), hsmtest.Caller(hsmtest.Admin), hsm.Target{URI: "https://contoso.blob.core.windows.net/c", SAS: func() string { return "sig=x" }})
	if err != nil {
		t.Fatal(err)
	}
	<-entered
	closed := make(chan error)
	running := s.Fleet
	go func() { closed <- running.Close() }()
	close(leave)
	select {
	case err := <-closed:
		if err != nil {
			t.Error(err)
		}
	case <-time.After(20 * time.Second):
		t.Fatal("Close hangs")
	}
	s.Restart()
	done, err := s.HSM(name).BackupStatus(t.Context(), hsmtest.Caller(hsmtest.Admin), j.ID)
	if err != nil || done.Status != hsm.JobFailed || done.ErrorCode != "OperationInterrupted" {
		t.Errorf("the job: %+v, %v", done, err)
	}
}

// slowContainer reports the first write and holds it until the test lets go.
type slowContainer struct {
	blob.Container
	entered, leave chan struct{}
	then           func()
}

// URL implements blob.Container.
func (c *slowContainer) URL() string { return "https://contoso.blob.core.windows.net/c" }

// Put implements blob.Container.
func (c *slowContainer) Put(ctx context.Context, _ string, _ []byte) error {
	close(c.entered)
	<-c.leave
	<-ctx.Done() // the fleet is closing by now
	c.then()
	return ctx.Err()
}
