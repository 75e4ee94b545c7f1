package hsm

import (
	"bytes"
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"

	"redoubt/internal/audit"
	"redoubt/internal/store"
	"redoubt/internal/unlock"
)

// reopen opens the stopped device and returns the error. It stays stopped.
func (r *testHSM) reopen() error {
	r.t.Helper()
	log, err := audit.OpenWith(r.auditPath, r.rotation)
	noErr(r.t, err)
	r.cfg.Audit = log
	h, err := Open(context.WithoutCancel(r.t.Context()), r.cfg)
	if err == nil {
		return h.Close()
	}
	noErr(r.t, log.Close())
	return err
}

// TestAuditFileRolledBack: an audit file that was exchanged for an older copy, cut short, taken away or written anew
// while the server was down keeps the device closed, until an operator accepts the loss; that is an entry.
func TestAuditFileRolledBack(t *testing.T) {
	t.Parallel()
	r := newTestHSM(t)
	r.create("k", ecSpec)
	r.stop()
	old, err := os.ReadFile(r.auditPath)
	noErr(t, err)
	r.open()
	r.create("secret", ecSpec)
	r.stop()
	good, err := os.ReadFile(r.auditPath)
	noErr(t, err)
	lines := bytes.SplitAfter(good, []byte("\n"))
	other := newTestHSM(t)
	other.create("k", ecSpec)
	other.create("k", ecSpec)
	other.create("k", ecSpec)
	other.stop()
	foreign, err := os.ReadFile(other.auditPath)
	noErr(t, err)
	for name, bad := range map[string][]byte{"an older copy": old, "a line cut off": bytes.Join(lines[:len(lines)-2], nil), "nothing": nil, "another's": foreign} {
		noErr(t, os.WriteFile(r.auditPath, bad, 0o600))
		err := r.reopen()
		wantErr(t, name, err, ErrAuditLost)
		mustSay(t, err, "Put the right file back", "redoubtd audit accept-loss --hsm ContosoMHSM")
		if now, err := os.ReadFile(r.auditPath); err != nil || !bytes.Equal(now, bad) {
			t.Errorf("%s: the file was changed", name)
		}
	}
	noErr(t, os.WriteFile(r.auditPath, good, 0o600))
	noErr(t, r.reopen())
	accept := func() error {
		log, err := audit.Open(r.auditPath)
		noErr(t, err)
		defer log.Close()
		r.cfg.Audit = log
		return AcceptAuditLoss(t.Context(), r.cfg, "root", "the disk died")
	}
	wantErr(t, "nothing is lost", accept(), ErrBadRequest)

	noErr(t, os.WriteFile(r.auditPath, old, 0o600))
	noErr(t, accept())
	r.open()
	r.create("after", ecSpec)
	r.stop()
	found := 0
	for _, e := range r.auditLog() {
		if e.Operation != "AuditLossAccepted" {
			continue
		}
		found++
		lost, err := audit.ParseHead(e.Details["remembered"])
		if err != nil || lost.Seq < uint64(len(lines)-1) || e.Details["by"] != "root" || e.Details["reason"] != "the disk died" || !strings.Contains(e.Details["present"], ":") {
			t.Errorf("%+v", e)
		}
	}
	if found != 1 {
		t.Errorf("%d entries of the loss", found)
	}
	r.open()
	r.check()
}

// What a crash leaves is never taken for a loss: the store remembers only what is durable in the file.
func TestAuditHeadIsDurable(t *testing.T) {
	t.Parallel()
	r := newTestHSM(t)
	for range 3 {
		r.create("k", ecSpec)
		noErr(t, second(r.GetKey(t.Context(), user, "k", "")))
	}
	r.stop()
	kv, _, err := r.below.Get(t.Context(), "/hsm/"+r.cfg.ID+"/l/audit")
	noErr(t, err)
	head, err := audit.ParseHead(string(kv.Val))
	rep, verr := audit.VerifyFiles(r.auditFiles(), audit.Expect{Head: string(kv.Val)}, nil)
	if err != nil || verr != nil || rep.Head != head {
		t.Errorf("remembered %s, written %s: %v, %v", head, rep.Head, err, verr)
	}
	_, err = r.below.Txn(t.Context(), nil, []store.Op{store.Put("/hsm/"+r.cfg.ID+"/l/audit", []byte("12:zz"))})
	noErr(t, err)
	wantErr(t, "a damaged record", r.reopen(), ErrCorrupt)
	_, err = r.below.Txn(t.Context(), nil, []store.Op{store.Delete("/hsm/" + r.cfg.ID + "/l/audit")})
	noErr(t, err)
	r.open() // as one that an older server has written
	r.check()
}

// TestDeviceRotatesItsLog: entries go on across files, over restarts and seals, and retention says what it removed.
func TestDeviceRotatesItsLog(t *testing.T) {
	t.Parallel()
	for _, keep := range []int{0, 2} {
		r := newTestHSM(t)
		r.stop()
		r.rotation = audit.Options{RotateSize: 8 << 10, Keep: keep}
		r.open()
		r.create("k", ecSpec)
		const rounds, each = 4, 40
		for range rounds {
			for range each {
				noErr(t, second(r.GetKey(t.Context(), user, "k", "")))
			}
			r.create("k", ecSpec)
			r.restart()
		}
		r.check()
		r.stop()
		files := r.auditFiles()
		reads, changes := 0, 0
		rep, err := audit.VerifyFiles(files, audit.Expect{}, func(e audit.Entry) error {
			switch e.Operation {
			case "KeyGet":
				reads++
			case "KeyCreate":
				changes++
			}
			return nil
		})
		noErr(t, err)
		if keep == 0 && (len(files) < 4 || reads != rounds*each || changes != rounds+1) {
			t.Errorf("%d files with %d reads and %d changes", len(files), reads, changes)
		}
		if keep > 0 && (len(files) != keep+1 || rep.From.Seq == 0 || !rep.FromSigned || !rep.FromEntry) {
			t.Errorf("%d files, %+v", len(files), rep)
		}
	}
}

// The head that the store remembers is in the last file, also when there are only reads: others may be removed.
func TestRememberedHeadStays(t *testing.T) {
	t.Parallel()
	r := newTestHSM(t)
	r.stop()
	r.rotation, r.cfg.SyncAudit = audit.Options{RotateSize: 4 << 10, Keep: 1}, true
	r.open()
	r.create("k", ecSpec)
	for range 60 {
		noErr(t, second(r.GetKey(t.Context(), user, "k", "")))
	}
	files := r.auditFiles()
	_, first := audit.Base(files[0])
	kv, _, err := r.below.Get(t.Context(), "/hsm/"+r.cfg.ID+"/l/audit")
	noErr(t, err)
	_, last := audit.Base(files[len(files)-1])
	if head, err := audit.ParseHead(string(kv.Val)); err != nil || len(files) > 2 || first < 20 || head.Seq < last {
		t.Errorf("%s is remembered, and the files begin with lines %d to %d: %v", head, first, last, err)
	}
	r.check()
}

// A device without its root cannot sign, so it goes on in the old file; with it, it rotates.
func TestSealedDeviceDoesNotRotate(t *testing.T) {
	t.Parallel()
	r := newTestHSM(t)
	r.stop()
	r.rotation = audit.Options{RotateSize: 2 << 10}
	var locked atomic.Bool
	locked.Store(true)
	r.cfg.Roots = unlock.NewRoots(filepath.Join(filepath.Dir(r.auditPath), "roots"), lockable{unlocker(), &locked, nil})
	r.open()
	for range 20 {
		if err := second(r.GetKey(t.Context(), user, "k", "")); !errors.Is(err, ErrSealed) {
			t.Fatal(err)
		}
	}
	r.stop()
	if n := len(r.auditFiles()); n != 1 {
		t.Errorf("%d files without a signature", n)
	}
	locked.Store(false)
	r.open()
	noErr(t, second(r.ListSettings(t.Context(), admin)))
	r.stop()
	if n := len(r.auditFiles()); n != 2 {
		t.Errorf("%d files", n)
	}
}
