package bolt_test

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"os/signal"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	bbolt "go.etcd.io/bbolt"

	"redoubt/internal/store"
	"redoubt/internal/store/bolt"
)

// The test binary runs itself as a child that works on the store file in its argument.
const childEnv = "REDOUBT_STORE_TEST_CHILD"

func child() {
	work := map[string]func(ctx context.Context, path string) error{"write": childWrite, "full": childFull}[os.Getenv(childEnv)]
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second) // should the parent be gone
	defer cancel()
	if err := work(ctx, os.Args[1]); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func start(t *testing.T, work, path string) (*exec.Cmd, *bufio.Scanner) {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), os.Args[0], path)
	cmd.Env = append(os.Environ(), childEnv+"="+work)
	cmd.Stderr = os.Stderr
	out, err := cmd.StdoutPipe()
	if err == nil {
		err = cmd.Start()
	}
	if err != nil {
		t.Fatal(err)
	}
	return cmd, bufio.NewScanner(out)
}

// childWrite writes pairs of records from several clients for as long as it lives, and prints "revision key"
// for each acknowledged transaction. Some transactions also delete or change what is there.
func childWrite(ctx context.Context, path string) error {
	s, err := bolt.Open(path, bolt.Options{RetainRevs: 1 << 30, Retain: time.Hour})
	if err != nil {
		return err
	}
	run := rand.Uint32()
	errs := make(chan error)
	for w := range 4 {
		go func() {
			for i := 0; ; i++ {
				key := fmt.Sprintf("%08x/%d/%06d", run, w, i)
				ops := []store.Op{store.Put("a/"+key, []byte(strings.Repeat(key, 50))), store.Put("z/"+key, []byte(key)), store.Put("last", []byte(key))}
				if i%3 == 2 {
					ops = append(ops, store.Delete(fmt.Sprintf("once/%08x/%d/%06d", run, w, i-1)))
				} else {
					ops = append(ops, store.Put("once/"+key, nil))
				}
				rev, err := s.Txn(ctx, nil, ops)
				if err != nil {
					errs <- err
					return
				}
				if _, err := os.Stdout.WriteString(fmt.Sprintf("%d %s\n", rev, key)); err != nil {
					errs <- err
					return
				}
			}
		}()
	}
	return <-errs
}

// TestKill: after SIGKILL at any moment, everything acknowledged is there, nothing is there by half, and
// the log tells the same story as the records.
func TestKill(t *testing.T) {
	t.Parallel()
	path := newPath(t)
	if err := open(t, path, bolt.Options{Create: true}).Close(); err != nil {
		t.Fatal(err)
	}
	acked := map[string]store.Rev{}
	for round := range 10 {
		cmd, out := start(t, "write", path)
		for n := rand.IntN(60); out.Scan(); n-- {
			rev, key, _ := strings.Cut(out.Text(), " ")
			r, err := strconv.Atoi(rev)
			if err != nil {
				break // the last line may be cut
			}
			acked[key] = store.Rev(r)
			if n == 0 {
				if err := cmd.Process.Kill(); err != nil {
					t.Fatal(err)
				}
			}
		}
		if err := cmd.Wait(); err == nil || cmd.ProcessState.Sys().(syscall.WaitStatus).Signal() != syscall.SIGKILL {
			t.Fatalf("round %d: the child ended by itself: %v", round, err)
		}
		checkEngine(t, path)
		s := open(t, path, bolt.Options{RetainRevs: 1 << 30, Retain: time.Hour})
		checkPairs(t, s, acked)
		checkReplay(t, s)
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
	}
	if len(acked) == 0 {
		t.Error("nothing was written")
	}
}

// checkEngine runs the engine's own check of its pages.
func checkEngine(t *testing.T, path string) {
	t.Helper()
	db, err := bbolt.Open(path, 0o600, &bbolt.Options{ReadOnly: true, PreLoadFreelist: true})
	if err != nil {
		t.Fatal(err)
	}
	err = db.View(func(tx *bbolt.Tx) error {
		var errs []error
		for err := range tx.Check() {
			errs = append(errs, err)
		}
		return errors.Join(errs...)
	})
	if err := errors.Join(err, db.Close()); err != nil {
		t.Fatal(err)
	}
}

func all(t *testing.T, s store.Store, prefix string) map[string]store.KV {
	t.Helper()
	p, err := s.Range(t.Context(), store.Query{Prefix: prefix, Limit: 1 << 20})
	if err != nil || p.More {
		t.Fatal(err)
	}
	out := map[string]store.KV{}
	for _, kv := range p.KVs {
		out[kv.Key] = kv
	}
	return out
}

func checkPairs(t *testing.T, s store.Store, acked map[string]store.Rev) {
	t.Helper()
	records := all(t, s, "")
	for key, rev := range acked {
		if kv := records["a/"+key]; kv.Mod != rev || string(kv.Val) != strings.Repeat(key, 50) {
			t.Errorf("%s was acknowledged at %d and is at %d", key, rev, kv.Mod)
		}
	}
	for name, kv := range records {
		key, ok := strings.CutPrefix(name, "a/")
		if ok && records["z/"+key].Mod != kv.Mod {
			t.Errorf("half of %s at %d", key, kv.Mod)
		}
		if key, ok := strings.CutPrefix(name, "z/"); ok && records["a/"+key].Mod != kv.Mod {
			t.Errorf("half of %s at %d", key, kv.Mod)
		}
	}
}

// checkReplay watches from the beginning and must arrive at the records.
func checkReplay(t *testing.T, s store.Store) {
	t.Helper()
	st, err := s.Status(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	state := map[string]store.KV{}
	for b, err := range s.Watch(t.Context(), "", 0) {
		if err != nil {
			t.Fatal(err)
		}
		for _, e := range b.Events {
			if delete(state, e.KV.Key); !e.Deleted {
				state[e.KV.Key] = e.KV
			}
		}
		if b.Rev == st.Rev {
			break
		}
	}
	records := all(t, s, "")
	if len(records) != len(state) {
		t.Errorf("%d records, %d by replay", len(records), len(state))
	}
	for key, kv := range records {
		if r := state[key]; r.Mod != kv.Mod || r.Create != kv.Create || string(r.Val) != string(kv.Val) {
			t.Errorf("%s is at %d/%d, by replay at %d/%d", key, kv.Create, kv.Mod, r.Create, r.Mod)
		}
	}
}

// childFull fills the store against a limit of the operating system on the size of files, so that the
// engine's own writes fail, then lifts the limit and goes on. It prints how many records were acknowledged.
func childFull(ctx context.Context, path string) error {
	signal.Ignore(syscall.SIGXFSZ)
	limit := func(n uint64) error {
		return syscall.Setrlimit(syscall.RLIMIT_FSIZE, &syscall.Rlimit{Cur: n, Max: 1 << 30})
	}
	s, err := bolt.Open(path, bolt.Options{})
	if err != nil {
		return err
	}
	n := 0
	fill := func() error {
		_, err := s.Txn(ctx, nil, []store.Op{store.Put(fmt.Sprintf("a/%06d", n), make([]byte, 2500)), store.Put(fmt.Sprintf("z/%06d", n), nil)})
		if err == nil {
			n++
		}
		return err
	}
	for _, size := range []uint64{300_000, 700_000} {
		if err := limit(size); err != nil {
			return err
		}
		for err = fill(); err == nil; err = fill() {
		}
		if !errors.Is(err, store.ErrFull) {
			return err
		}
		p, err := s.Range(ctx, store.Query{Prefix: "a/"})
		if err != nil || len(p.KVs) != n {
			return fmt.Errorf("%d records of %d: %w", len(p.KVs), n, err)
		}
	}
	if err := limit(1 << 30); err != nil {
		return err
	}
	if err := fill(); err != nil {
		return fmt.Errorf("with room again: %w", err)
	}
	_, err = fmt.Println(n)
	return errors.Join(err, s.Close())
}

// TestFull: a medium without room makes writes fail cleanly, nothing is there by half, and the store works
// on as soon as there is room.
func TestFull(t *testing.T) {
	t.Parallel()
	path := newPath(t)
	if err := open(t, path, bolt.Options{Create: true}).Close(); err != nil {
		t.Fatal(err)
	}
	cmd, out := start(t, "full", path)
	out.Scan()
	n, _ := strconv.Atoi(out.Text())
	if err := cmd.Wait(); err != nil || n < 20 {
		t.Fatalf("%d records, then %v", n, err)
	}
	checkEngine(t, path)
	s := closing(t, open(t, path, bolt.Options{}))
	checkPairs(t, s, nil)
	if got := len(all(t, s, "")); got != 2*n {
		t.Errorf("%d records, %d were acknowledged", got, 2*n)
	}
}
