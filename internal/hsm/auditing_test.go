package hsm

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"

	"redoubt/internal/audit"
	"redoubt/internal/key"
)

// fullFile is an audit file on a disk that can be full.
type fullFile struct {
	*os.File
	full  atomic.Bool
	syncs atomic.Int64
}

func (f *fullFile) WriteAt(b []byte, at int64) (int, error) {
	if !f.full.Load() {
		return f.File.WriteAt(b, at)
	}
	n, err := f.File.WriteAt(b[:len(b)/2], at) // what there was room for
	return n, errors.Join(err, syscall.ENOSPC)
}

func (f *fullFile) Sync() error {
	f.syncs.Add(1)
	return f.File.Sync()
}

// onFullFile opens the device anew with an audit file that can be full.
func (r *testHSM) onFullFile(sync bool) *fullFile {
	r.t.Helper()
	r.stop()
	f, err := os.OpenFile(r.auditPath, os.O_RDWR, 0)
	noErr(r.t, err)
	full := &fullFile{File: f}
	r.cfg.Audit, err = audit.New(full)
	noErr(r.t, err)
	r.cfg.SyncAudit = sync
	r.HSM, err = Open(context.WithoutCancel(r.t.Context()), r.cfg)
	noErr(r.t, err)
	return full
}

// recorded reads the audit file while the device runs; a line that is half written counts as absent.
func (r *testHSM) recorded() (out []audit.Entry) {
	r.t.Helper()
	b, err := os.ReadFile(r.auditPath)
	noErr(r.t, err)
	_, err = audit.Verify(bytes.NewReader(b[:bytes.LastIndexByte(b, '\n')+1]), "", func(e audit.Entry) error { out = append(out, e); return nil })
	noErr(r.t, err)
	return out
}

func has(entries []audit.Entry, who Caller, operation, result string) bool {
	for _, e := range entries {
		if e.RequestID == who.RequestID && e.Operation == operation && e.Result == result {
			return true
		}
	}
	return false
}

// TestSyncedAudit: at the moment of the answer its entry is in the file, whatever kills the process then, and it was
// synced, for many requests at once.
func TestSyncedAudit(t *testing.T) {
	t.Parallel()
	r := newTestHSM(t)
	r.create("k", ecSpec)
	f := r.onFullFile(true)
	const callers, each = 16, 8
	var wg sync.WaitGroup
	for range callers {
		wg.Go(func() {
			for range each {
				ok, lost := auditedUser(7), auditedUser(7)
				if err := second(r.Sign(t.Context(), ok, "k", "", "ES256", make([]byte, 32))); err != nil {
					t.Error(err)
				}
				if err := second(r.GetKey(t.Context(), lost, "none", "")); !errors.Is(err, key.ErrNotFound) {
					t.Error(err)
				}
				if now := r.recorded(); !has(now, ok, "KeySign", "Success") || !has(now, lost, "KeyGet", "Failed") {
					t.Error("an answer was given before its entry was in the file")
				}
			}
		})
	}
	wg.Wait()
	if n := f.syncs.Load(); n == 0 || n > 2*callers*each {
		t.Errorf("%d syncs for %d requests", n, 2*callers*each)
	}
	r.check()
}

// TestFullDiskStopsChanges: what needs an entry is refused while there is no room for one, nothing that was done is
// missing afterwards, and nothing needs a restart.
func TestFullDiskStopsChanges(t *testing.T) {
	t.Parallel()
	for _, sync := range []bool{false, true} {
		t.Run(fmt.Sprint(sync), func(t *testing.T) {
			t.Parallel()
			r := newTestHSM(t)
			f := r.onFullFile(sync)
			r.create("k", ecSpec)
			f.full.Store(true)
			first, signs, late := auditedUser(7), auditedUser(7), auditedUser(7)
			noErr(t, second(r.CreateKey(t.Context(), first, "first", key.CreateParams{Spec: octSpec}))) // its entry is in the outbox
			r.waitMute(true)
			wantErr(t, "a change", second(r.CreateKey(t.Context(), late, "second", key.CreateParams{Spec: octSpec})), ErrAudit)
			wantErr(t, "a change", second(r.DeleteKey(t.Context(), late, "k")), ErrAudit)
			wantErr(t, "an assignment", second(r.DeleteAssignment(t.Context(), admin, "/", "no")), ErrAudit)
			if err := second(r.Sign(t.Context(), signs, "k", "", "ES256", make([]byte, 32))); sync {
				wantErr(t, "a signature", err, ErrAudit)
			} else {
				noErr(t, err)
			}
			f.full.Store(false)
			r.waitMute(false)
			again := auditedUser(7)
			noErr(t, second(r.CreateKey(t.Context(), again, "second", key.CreateParams{Spec: octSpec})))
			r.stop()
			entries := r.auditLog()
			result := map[bool]string{false: "Success", true: "Failed"}[sync]
			if !has(entries, first, "KeyCreate", "Success") || !has(entries, late, "KeyCreate", "Failed") || !has(entries, late, "KeyDelete", "Failed") ||
				!has(entries, signs, "KeySign", result) || !has(entries, again, "KeyCreate", "Success") {
				t.Error("the log does not have what was done and refused")
			}
			r.open()
			r.check()
		})
	}
}

// waitMute waits until the device has noticed whether its log can be written. It sees to it about once a second.
func (r *testHSM) waitMute(mute bool) {
	r.t.Helper()
	for r.mute.Load() != mute {
		if r.t.Context().Err() != nil {
			r.t.Fatal("the test ended")
		}
		r.kickSequencer()
	}
}

// A synced read that finds the disk full gives nothing out, and is in the log as failed once there is room.
func TestFullDiskAtASyncedRead(t *testing.T) {
	t.Parallel()
	r := newTestHSM(t)
	f := r.onFullFile(true)
	r.create("k", ecSpec)
	f.full.Store(true)
	who := auditedUser(7)
	wantErr(t, "a signature without its entry", second(r.Sign(t.Context(), who, "k", "", "ES256", make([]byte, 32))), ErrAudit)
	f.full.Store(false)
	r.waitMute(false)
	r.stop()
	for _, e := range r.auditLog() {
		if e.RequestID == who.RequestID && (e.Result != "Failed" || !strings.Contains(e.Reason, ErrAudit.Error())) {
			t.Errorf("%+v", e)
		}
	}
	if !has(r.auditLog(), who, "KeySign", "Failed") {
		t.Error("the attempt is not in the log")
	}
}

// Without room for entries, reads go on until as many wait as there is memory for; then they are refused, and none waits
// for ever.
func TestFullDiskStopsReadsInTheEnd(t *testing.T) {
	t.Parallel()
	r := newTestHSM(t)
	f := r.onFullFile(false)
	r.create("k", ecSpec)
	f.full.Store(true)
	n := 0
	for ; n < backlogLimit+cap(r.queue)+largestBatch+10; n++ {
		if err := second(r.GetKey(t.Context(), auditedUser(7), "k", "")); err != nil {
			wantErr(t, "a read", err, ErrAudit)
			break
		}
	}
	if n < cap(r.queue) || n > backlogLimit+cap(r.queue)+largestBatch {
		t.Errorf("%d reads were answered", n)
	}
	f.full.Store(false)
	r.waitMute(false)
	r.stop()
	got := 0
	for _, e := range r.auditLog() {
		if e.Operation == "KeyGet" && e.Result == "Success" {
			got++
		}
	}
	if got != n {
		t.Errorf("%d reads are in the log; want %d", got, n)
	}
}
