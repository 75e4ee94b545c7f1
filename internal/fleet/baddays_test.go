package fleet_test

import (
	"context"
	"errors"
	"io"
	"path"
	"sync"
	"testing"
	"time"

	"redoubt/internal/blob"
	"redoubt/internal/fleet"
	"redoubt/internal/hsm"
	"redoubt/internal/hsmtest"
)

const backups = "https://contoso.blob.core.windows.net/c"

// gate is a container whose every access waits, once it is shut, until its job is cancelled.
type gate struct {
	blob.Container
	mu      sync.Mutex
	entered chan struct{} // closed by the first access; nil while the gate is open
}

func (g *gate) shut() chan struct{} {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.entered = make(chan struct{})
	return g.entered
}

func (g *gate) pass(ctx context.Context) error {
	g.mu.Lock()
	e := g.entered
	if e != nil {
		select {
		case <-e:
		default:
			close(e)
		}
	}
	g.mu.Unlock()
	if e == nil {
		return nil
	}
	<-ctx.Done()
	return ctx.Err()
}

// URL implements blob.Container.
func (g *gate) URL() string { return backups }

// Put implements blob.Container.
func (g *gate) Put(ctx context.Context, name string, data []byte) error {
	if err := g.pass(ctx); err != nil {
		return err
	}
	return g.Container.Put(ctx, name, data)
}

// Get implements blob.Container.
func (g *gate) Get(ctx context.Context, name string) (io.ReadCloser, blob.Info, error) {
	if err := g.pass(ctx); err != nil {
		return nil, blob.Info{}, err
	}
	return g.Container.Get(ctx, name)
}

// TestDeleteDuringAJob: deleting an HSM ends the backup or restore that runs in it. Recovered, it is as it was, the job
// says that it was interrupted, and the next one runs.
func TestDeleteDuringAJob(t *testing.T) {
	t.Parallel()
	for _, restore := range []bool{false, true} {
		t.Run(map[bool]string{false: "backup", true: "restore"}[restore], func(t *testing.T) {
			t.Parallel()
			s := hsmtest.New(t)
			g := &gate{Container: s.Container(backups)}
			s.Config.OpenContainer = func(context.Context, hsm.ContainerRequest) (blob.Container, error) { return g, nil }
			s.Restart()
			d := s.Active(name)
			admin, target := hsmtest.Caller(hsmtest.Admin), hsm.Target{URI: backups, SAS: func() string { return "sig=x" }}
			backup := func(d *hsm.HSM) hsm.Job {
				j, err := d.StartBackup(t.Context(), admin, target)
				if err != nil {
					t.Fatal(err)
				}
				return s.Wait(d.BackupStatus, j.ID)
			}
			first := backup(d)
			entered := g.shut()
			start := func() (hsm.Job, error) { return d.StartBackup(t.Context(), admin, target) }
			if restore {
				start = func() (hsm.Job, error) { return d.StartRestore(t.Context(), admin, target, path.Base(first.FolderURL)) }
			}
			j, err := start()
			if err != nil {
				t.Fatal(err)
			}
			<-entered
			if err := deleteIt(t.Context(), s); err != nil {
				t.Fatal(err)
			}
			if got := situation(s); got != "deleted" {
				t.Fatal(got)
			}
			g.mu.Lock()
			g.entered = nil
			g.mu.Unlock()
			if _, err := s.Recover(t.Context(), name); err != nil {
				t.Fatal(err)
			}
			d = s.HSM(name)
			status := d.BackupStatus
			if restore {
				status = d.RestoreStatus
			}
			if done, err := status(t.Context(), admin, j.ID); err != nil || done.Status != hsm.JobFailed || done.ErrorCode != "OperationInterrupted" {
				t.Errorf("the job: %+v, %v", done, err)
			}
			if st, err := d.Status(t.Context()); err != nil || st.State != hsm.Active {
				t.Errorf("the HSM: %+v, %v", st, err)
			}
			s.Clock.Advance(time.Second) // for a folder of its own
			if again := backup(d); again.Status != hsm.JobSucceeded {
				t.Errorf("the next backup: %+v", again)
			}
		})
	}
}

// TestClockMovedBack: retention is counted from the deletion. A clock that goes back neither purges nor forgets, and
// whatever it shows, a purge-protected HSM stays until the day that was promised.
func TestClockMovedBack(t *testing.T) {
	t.Parallel()
	s := hsmtest.New(t)
	ctx := t.Context()
	r := s.Resource(name)
	r.PurgeProtection = true
	if _, err := s.Create(ctx, r); err != nil {
		t.Fatal(err)
	}
	if err := deleteIt(ctx, s); err != nil {
		t.Fatal(err)
	}
	promised, err := s.GetDeleted(name)
	if err != nil {
		t.Fatal(err)
	}
	same := func(when string) {
		t.Helper()
		s.Tend(ctx)
		if got, err := s.GetDeleted(name); err != nil || *got.Deletion != *promised.Deletion {
			t.Fatalf("%s: %+v, %v", when, got.Deletion, err)
		}
		if err := s.Purge(ctx, name); !errors.Is(err, fleet.ErrPurgeProtected) {
			t.Fatalf("%s: Purge: %v", when, err)
		}
	}
	same("at once")
	s.Clock.Advance(-400 * 24 * time.Hour)
	same("400 days earlier")
	s.Restart()
	same("after a restart")
	s.Clock.Advance(427 * 24 * time.Hour)
	same("a day before the end")
	if _, err := s.Recover(ctx, name); err != nil {
		t.Fatal(err)
	}
	// Deleted again under a clock that is behind: the retention is whole again.
	s.Clock.Advance(-30 * 24 * time.Hour)
	if err := deleteIt(ctx, s); err != nil {
		t.Fatal(err)
	}
	if promised, err = s.GetDeleted(name); err != nil || promised.Deletion.PurgeAt != s.Clock.Now().AddDate(0, 0, 28).Unix() {
		t.Fatalf("%+v, %v", promised.Deletion, err)
	}
	s.Clock.Advance(28 * 24 * time.Hour)
	s.Tend(ctx)
	if got := situation(s); got != "none" {
		t.Error(got)
	}
}

// TestRecoverOrPurge: of a recovery and a purge at once exactly one succeeds, and the HSM is whole or gone.
func TestRecoverOrPurge(t *testing.T) {
	t.Parallel()
	s := hsmtest.New(t)
	for range 20 {
		deleted(s)
		var recovered, purged error
		var wg sync.WaitGroup
		wg.Go(func() { _, recovered = s.Recover(t.Context(), name) })
		wg.Go(func() { purged = s.Purge(t.Context(), name) })
		wg.Wait()
		got := situation(s)
		switch {
		case recovered == nil && errors.Is(purged, fleet.ErrNotFound) && got == "live":
			if err := deleteIt(t.Context(), s); err != nil {
				t.Fatal(err)
			}
			if err := s.Purge(t.Context(), name); err != nil {
				t.Fatal(err)
			}
		case purged == nil && errors.Is(recovered, fleet.ErrNotFound) && got == "none":
		default:
			t.Fatalf("recovered: %v, purged: %v, and it is %s", recovered, purged, got)
		}
	}
}

// TestPurgedTwiceAndMadeAgain: a purge that comes late does not touch the HSM that has the name by then.
func TestPurgedTwiceAndMadeAgain(t *testing.T) {
	t.Parallel()
	s := hsmtest.New(t)
	for range 40 {
		deleted(s)
		purged := make([]error, 4)
		var made error
		var wg sync.WaitGroup
		for i := range purged {
			wg.Go(func() { purged[i] = s.Purge(t.Context(), name) })
		}
		wg.Go(func() {
			for made = fleet.ErrSoftDeleted; errors.Is(made, fleet.ErrSoftDeleted) || errors.Is(made, fleet.ErrDeleting); {
				_, made = s.Create(t.Context(), s.Resource(name))
			}
		})
		wg.Wait()
		done := 0
		for _, err := range purged {
			if err == nil {
				done++
			} else if !errors.Is(err, fleet.ErrNotFound) {
				t.Errorf("Purge: %v", err)
			}
		}
		if got := situation(s); done != 1 || made != nil || got != "live" || len(s.Records("/fleet/name/")) != 1 {
			t.Fatalf("%d purges succeeded, Create: %v, it is %s, with the names %q", done, made, got, s.Records("/fleet/name/"))
		}
		if err := deleteIt(t.Context(), s); err != nil {
			t.Fatal(err)
		}
		if err := s.Purge(t.Context(), name); err != nil {
			t.Fatal(err)
		}
	}
}
