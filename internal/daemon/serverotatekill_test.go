package daemon

import (
	"bytes"
	"context"
	"fmt"
	"path/filepath"
	"slices"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"redoubt/internal/audit"
	"redoubt/internal/client"
)

// answers collects what a server acknowledged: operation and key, such as "KeyGet k-1".
type answers struct {
	n    atomic.Int64
	mu   sync.Mutex
	done []string // guarded by mu
}

func (a *answers) add(operation, key string) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.done = append(a.done, operation+" "+key)
	a.n.Add(1)
}

// load creates keys, each of its own name, and reads them, until ctx is done.
func (a *answers) load(ctx context.Context, h *client.HSM, worker string) {
	for i := 0; ctx.Err() == nil; i++ {
		key := fmt.Sprintf("%s-%d", worker, i)
		if _, err := h.CreateKey(ctx, key, client.CreateKey{Kty: "EC-HSM", Crv: "P-256"}); err == nil {
			a.add("KeyCreate", key)
		}
		for range 4 {
			if _, err := h.GetKey(ctx, key, ""); err == nil {
				a.add("KeyGet", key)
			}
		}
	}
}

// hsmChain is the chain of the only HSM.
func (r *realm) hsmChain() string {
	r.t.Helper()
	chains := must[[]string](r.t)(audit.Chains(r.path("data/audit")))
	chains = slices.DeleteFunc(chains, func(c string) bool { return filepath.Base(c) == "control.jsonl" })
	if len(chains) != 1 {
		r.t.Fatalf("chains: %v", chains)
	}
	return chains[0]
}

// until waits for cond, or fails after a while.
func until(t *testing.T, what string, cond func() bool) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	tick := time.NewTicker(100 * time.Microsecond)
	defer tick.Stop()
	for !cond() {
		select {
		case <-ctx.Done():
			t.Fatalf("not within a minute: %s", what)
		case <-tick.C:
		}
	}
}

// TestKilledWhileAuditFilesRotate: a served HSM that is killed again and again, at the sight of a new audit file and in between,
// comes back by itself each time; at the end the chain over all files is whole and has every request that was answered.
func TestKilledWhileAuditFilesRotate(t *testing.T) {
	t.Parallel()
	r := newRealm(t, "[audit]\nrotate-size = \"64KiB\"\nsync = true\n")
	r.init()
	p := r.spawn()
	h := r.activated("one")
	chain, got := r.hsmChain(), new(answers)
	const rounds = 6
	for round := range rounds {
		ctx, cancel := context.WithCancel(t.Context())
		var workers sync.WaitGroup
		for w := range 4 {
			workers.Go(func() { got.load(ctx, h, fmt.Sprintf("r%d-w%d", round, w)) })
		}
		files := len(must[[]audit.Segment](t)(audit.Segments(chain)))
		until(t, "a new audit file", func() bool { return len(must[[]audit.Segment](t)(audit.Segments(chain))) > files })
		if enough := got.n.Load() + int64(7*round); round%2 == 1 {
			until(t, "more answers", func() bool { return got.n.Load() >= enough })
		}
		if err := p.end(syscall.SIGKILL); err == nil {
			t.Error("it ended by itself")
		}
		cancel()
		workers.Wait()
		p = r.spawn()
	}
	if err := p.end(syscall.SIGTERM); err != nil || p.err.String() != "" {
		t.Errorf("SIGTERM: %v; it said: %s", err, p.err.String())
	}

	segments := must[[]audit.Segment](t)(audit.Segments(chain))
	var files []string
	for _, s := range segments {
		files = append(files, s.Path)
	}
	logged := map[string]int{}
	rep, err := audit.VerifyFiles(files, audit.Expect{}, func(e audit.Entry) error {
		if e.Result == "Success" {
			logged[e.Operation+" "+filepath.Base(e.Target)]++
		}
		return nil
	})
	if err != nil || len(files) <= rounds || segments[0].First != 1 {
		t.Errorf("%d files, %+v, %v", len(files), rep, err)
	}
	for _, a := range got.done {
		if logged[a]--; logged[a] < 0 {
			t.Errorf("%s was answered more often than the files say", a)
		}
	}
	if out, err := redoubtd(t.Context(), t, "check", "--config", r.file).CombinedOutput(); err != nil || !bytes.HasPrefix(out, []byte("sound    one")) {
		t.Errorf("check: %v: %s", err, out)
	}
	t.Logf("%d answers, %d files, %d lines", len(got.done), len(files), rep.Head.Seq)
}
