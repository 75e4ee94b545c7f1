package hsm

import (
	"errors"
	"fmt"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"redoubt/internal/backup"
	"redoubt/internal/store/storetest"
)

func record(name string, sealed []byte) backup.Record {
	return backup.Record{Name: name, Sealed: sealed}
}

// killer says when the armed fault has come.
type killer struct {
	at   atomic.Int64 // number of the write, 0 for none
	came chan struct{}
}

// withCrash puts c behind the device's store.
func withCrash(c *killer) func(*testHSM) {
	return func(r *testHSM) {
		c.came = make(chan struct{})
		r.stop()
		r.faults.OnWrite = func(n int) {
			if int64(n) == c.at.Load() {
				close(c.came)
			}
		}
	}
}

// killMatrix runs act once for every write it does and every side of a crash at that write, restarts the
// device and has the state judged. prepare makes a fresh device each time.
//
// act starts a job or does the operation itself; it returns the job's id if there is one.
func killMatrix(t *testing.T, prepare func(t *testing.T, o func(*testHSM)) *testHSM, act func(r *testHSM) (jobID string, err error),
	judge func(t *testing.T, r *testHSM, jobID string, err error)) {
	t.Helper()
	for n := 1; ; n++ {
		fired := false
		for _, fault := range []storetest.Fault{storetest.Lost, storetest.Stored} {
			t.Run(fmt.Sprintf("%s %d", fault, n), func(t *testing.T) {
				var c killer
				r := prepare(t, withCrash(&c))
				c.at.Store(int64(r.faults.Writes() + n))
				r.faults.FailAt(n, fault)
				id, err := act(r)
				if id != "" {
					over := r.running(id)
					if over == nil {
						closed := make(chan struct{})
						close(closed)
						over = closed
					}
					select {
					case <-c.came:
					case <-over:
					}
				}
				r.stop()
				fired = fired || r.faults.Dead()
				r.restart()
				r.sound()
				judge(t, r, id, err)
				r.sound()
			})
		}
		if !fired {
			if n < 2 {
				t.Error("nothing was written")
			}
			return
		}
	}
}

func TestKillDownload(t *testing.T) {
	t.Parallel()
	killMatrix(t, func(t *testing.T, o func(*testHSM)) *testHSM {
		r := newDR(t, o)
		must[[]byte](t)(r.DownloadDomain(t.Context(), admin, downloadRequest(t, holders(), 2))) // one to be dropped
		return r
	}, func(r *testHSM) (string, error) {
		_, err := r.DownloadDomain(r.t.Context(), admin, downloadRequest(r.t, holders(), 2))
		return "", err
	}, func(t *testing.T, r *testHSM, _ string, _ error) {
		if d := r.dev(); d.State != Provisioned || d.Pending == nil {
			t.Errorf("device: %+v", d)
		}
		file := r.activateByDownload()
		if r.dev().DomainID != domainOf(t, file) {
			t.Error("activated with another domain")
		}
	})
}

func TestKillActivation(t *testing.T) {
	t.Parallel()
	var file []byte
	killMatrix(t, func(t *testing.T, o func(*testHSM)) *testHSM {
		r := newDR(t, o)
		file = must[[]byte](t)(r.DownloadDomain(t.Context(), admin, downloadRequest(t, holders(), 2)))
		return r
	}, func(r *testHSM) (string, error) {
		_, err := r.DownloadStatus(r.t.Context(), admin)
		return "", err
	}, func(t *testing.T, r *testHSM, _ string, err error) {
		d := r.dev()
		if err == nil && d.State != Active || d.State != Active && d.State != Provisioned {
			t.Errorf("answer %v, device %+v", err, d)
		}
		s := must[DomainStatus](t)(r.DownloadStatus(t.Context(), admin)) // the client asks again
		if s.Status != statusSuccess || r.dev().State != Active || r.dev().DomainID != domainOf(t, file) {
			t.Errorf("status %+v, device %+v", s, r.dev())
		}
	})
}

func TestKillExchangeKey(t *testing.T) {
	t.Parallel()
	killMatrix(t, func(t *testing.T, o func(*testHSM)) *testHSM {
		r := newDR(t, o)
		must[[]byte](t)(r.DownloadDomain(t.Context(), admin, downloadRequest(t, holders(), 2)))
		return r
	}, func(r *testHSM) (string, error) {
		_, err := r.ExchangeKey(r.t.Context(), admin)
		return "", err
	}, func(t *testing.T, r *testHSM, _ string, err error) {
		before := r.dev().Exchange
		k := must[TransferKey](t)(r.ExchangeKey(t.Context(), admin))
		if before != "" && k.Fingerprint != before {
			t.Error("another exchange key")
		}
	})
}

func TestKillUpload(t *testing.T) {
	t.Parallel()
	s := getSite(t)
	killMatrix(t, func(t *testing.T, o func(*testHSM)) *testHSM { return recoveringHSM(t, o) }, func(r *testHSM) (string, error) {
		_, err := r.UploadDomain(r.t.Context(), admin, s.blob)
		return "", err
	}, func(t *testing.T, r *testHSM, _ string, err error) {
		if r.dev().State == Recovering {
			if err == nil {
				t.Error("an acknowledged upload is lost")
			}
			must[DomainStatus](t)(r.UploadDomain(t.Context(), admin, s.blob))
		}
		if d := r.dev(); d.State != Active || d.DomainID != s.domainID || d.Exchange != "" {
			t.Errorf("device: %+v", d)
		}
	})
}

// judgeJob wants the job's document to tell what happened: not there (then it never started), interrupted
// or succeeded. It tells which.
func judgeJob(t *testing.T, r *testHSM, id string, acknowledged error) (succeeded bool) {
	t.Helper()
	if d := r.dev(); d.State != Active || d.Job != "" {
		t.Errorf("device: %+v", d)
	}
	if id == "" { // the start itself was hit: whatever was stored of it is settled
		if acknowledged == nil {
			t.Error("a job without an id")
		}
		return false
	}
	doc := r.document(id)
	switch {
	case doc.Status == JobSucceeded:
		return true
	case doc.Status == JobFailed && doc.ErrorCode == "OperationInterrupted":
		mustSay(t, errors.New(doc.ErrorMessage), "interrupted", "nothing was changed", "start it again")
	default:
		t.Errorf("job: %+v", doc)
	}
	return false
}

func TestKillBackup(t *testing.T) {
	t.Parallel()
	s := getSite(t)
	killMatrix(t, func(t *testing.T, o func(*testHSM)) *testHSM { return s.recovered(t, false, o) }, func(r *testHSM) (string, error) {
		j, err := r.StartBackup(r.t.Context(), admin, sasTarget(otherURI))
		return j.ID, err
	}, func(t *testing.T, r *testHSM, id string, err error) {
		if done := judgeJob(t, r, id, err); done != (r.dev().Point != nil) {
			t.Errorf("succeeded: %v, restore point: %+v", done, r.dev().Point)
		}
		r.clock.advance(time.Second)
		r.succeed(r.StartBackup(t.Context(), admin, sasTarget(otherURI)))
	})
}

func TestKillRestore(t *testing.T) {
	t.Parallel()
	killRestore(t, getSite(t))
}

// TestKillWideRestore is the same with content that takes many transactions to stage and to sweep.
func TestKillWideRestore(t *testing.T) {
	t.Parallel()
	killRestore(t, wideSite.get(t))
}

func killRestore(t *testing.T, s *site) {
	t.Helper()
	var before map[string]string
	killMatrix(t, func(t *testing.T, o func(*testHSM)) *testHSM {
		r := s.recovered(t, true, o)
		before = r.inventory()
		return r
	}, func(r *testHSM) (string, error) {
		j, err := r.StartRestore(r.t.Context(), admin, sasTarget(backupURI), s.folder)
		return j.ID, err
	}, func(t *testing.T, r *testHSM, id string, err error) {
		if judgeJob(t, r, id, err) {
			sameInventory(t, r.inventory(), s.inventory)
		} else {
			sameInventory(t, r.inventory(), before)
		}
		r.clock.advance(time.Second)
		r.succeed(r.StartBackup(t.Context(), admin, sasTarget(otherURI)))
		r.succeed(r.StartRestore(t.Context(), admin, sasTarget(backupURI), s.folder))
		sameInventory(t, r.inventory(), s.inventory)
	})
}

func TestKillSelectiveRestore(t *testing.T) {
	t.Parallel()
	s := getSite(t)
	killMatrix(t, func(t *testing.T, o func(*testHSM)) *testHSM { return s.recovered(t, false, o) }, func(r *testHSM) (string, error) {
		j, err := r.StartSelectiveRestore(r.t.Context(), admin, "src-sign-ec", sasTarget(backupURI), s.folder)
		return j.ID, err
	}, func(t *testing.T, r *testHSM, id string, err error) {
		if !judgeJob(t, r, id, err) {
			for name := range r.inventory() {
				if !strings.HasPrefix(name, "ra/") {
					t.Errorf("%s is left over", name)
				}
			}
			r.succeed(r.StartSelectiveRestore(t.Context(), admin, "src-sign-ec", sasTarget(backupURI), s.folder))
		}
		inc := r.incarnation("src-sign-ec")
		sameInventory(t, only(t, r.inventory(), "src-sign-ec", inc), only(t, s.inventory, "src-sign-ec", inc))
	})
}

func TestKillDestroy(t *testing.T) {
	t.Parallel()
	s := getSite(t)
	for n := 1; ; n++ {
		r := s.recovered(t, true)
		r.stop()
		r.faults.Revive()
		r.faults.FailAt(n, storetest.Stored)
		err := Destroy(t.Context(), r.cfg)
		if left := must[[]string](t)(r.cfg.Roots.List(t.Context(), r.cfg.ID)); len(left) > 0 {
			t.Errorf("roots left: %v", left)
		}
		if err == nil {
			if n < 2 {
				t.Error("nothing was written")
			}
			break
		}
		r.faults.Revive()
		if err := Destroy(t.Context(), r.cfg); err != nil {
			t.Error(err)
		}
		if left := r.raw(); len(left) > 0 {
			t.Errorf("left: %v", left)
		}
		if !exists(r.auditPath) {
			t.Error("the audit file is gone")
		}
	}
}
