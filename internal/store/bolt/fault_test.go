package bolt_test

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	bbolt "go.etcd.io/bbolt"

	"redoubt/internal/store"
	"redoubt/internal/store/bolt"
)

func newPath(t testing.TB) string { return filepath.Join(t.TempDir(), "store") }

func closing(t testing.TB, s *bolt.Store) *bolt.Store {
	t.Helper()
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Errorf("close: %v", err)
		}
	})
	return s
}

func put(t testing.TB, s store.Store, key, val string) store.Rev {
	t.Helper()
	rev, err := s.Txn(t.Context(), nil, []store.Op{store.Put(key, []byte(val))})
	if err != nil {
		t.Fatalf("put %s: %v", key, err)
	}
	return rev
}

func wantVal(t testing.TB, s store.Store, key, want string) {
	t.Helper()
	kv, _, err := s.Get(t.Context(), key)
	if err != nil || string(kv.Val) != want {
		t.Errorf("%s is %q, %v; want %q", key, kv.Val, err, want)
	}
}

// TestUnsyncedIsInvisible: between the engine's showing a commit and its sync, readers see the state
// before, and they do not wait.
func TestUnsyncedIsInvisible(t *testing.T) {
	t.Parallel()
	var hold atomic.Bool
	shown, release := make(chan struct{}), make(chan struct{})
	s := closing(t, open(t, newPath(t), bolt.Options{Create: true}.WithCommit(func(tx *bbolt.Tx) error {
		err := tx.Commit()
		if hold.Load() {
			close(shown)
			<-release
		}
		return err
	})))
	put(t, s, "changed", "old")
	put(t, s, "deleted", "old")
	rev := put(t, s, "kept", "old")
	hold.Store(true)
	var wg sync.WaitGroup
	wg.Go(func() {
		ops := []store.Op{store.Put("changed", []byte("new")), store.Delete("deleted"), store.Put("made", nil)}
		if got, err := s.Txn(t.Context(), nil, ops); err != nil || got <= rev {
			t.Errorf("txn: %d, %v", got, err)
		}
	})
	<-shown
	for _, key := range []string{"changed", "deleted", "kept"} {
		wantVal(t, s, key, "old")
	}
	_, at, err := s.Get(t.Context(), "made")
	if !errors.Is(err, store.ErrNotFound) || at != rev {
		t.Errorf("made: revision %d, %v", at, err)
	}
	p, err := s.Range(t.Context(), store.Query{})
	if err != nil || len(p.KVs) != 3 || p.Rev != rev || string(p.KVs[0].Val) != "old" {
		t.Errorf("range: %+v, %v", p, err)
	}
	pin, err := s.Pin(t.Context(), time.Minute)
	if err != nil || pin.Rev() != rev {
		t.Errorf("pin: %v", err)
	}
	for b, err := range s.Watch(t.Context(), "", rev) {
		if err != nil || b.Rev != rev || len(b.Events) != 0 {
			t.Errorf("watch: %+v, %v", b, err)
		}
		break
	}
	hold.Store(false)
	close(release)
	wg.Wait()
	wantVal(t, s, "changed", "new")
}

// TestCommitFails: each way a commit can end badly, and what is there after it and after a restart.
func TestCommitFails(t *testing.T) {
	t.Parallel()
	commitThen := func(err error) func(*bbolt.Tx) error {
		return func(tx *bbolt.Tx) error { return errors.Join(tx.Commit(), err) }
	}
	instead := func(err error) func(*bbolt.Tx) error {
		return func(*bbolt.Tx) error { return err }
	}
	for name, c := range map[string]struct {
		fault  func(*bbolt.Tx) error
		want   error
		usable bool
		stored bool
	}{
		"full":            {fault: instead(fmt.Errorf("write: %w", syscall.ENOSPC)), want: store.ErrFull, usable: true},
		"quota":           {fault: instead(syscall.EDQUOT), want: store.ErrFull, usable: true},
		"full, flattened": {fault: instead(fmt.Errorf("file resize error: %s", syscall.ENOSPC)), want: store.ErrFull, usable: true},
		"write error":     {fault: instead(syscall.EIO), want: store.ErrUnavailable},
		"sync error":      {fault: commitThen(syscall.EIO), want: store.ErrUnknown, stored: true},
		"full at sync":    {fault: commitThen(syscall.ENOSPC), want: store.ErrUnknown, stored: true},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			path := newPath(t)
			var fault atomic.Pointer[func(*bbolt.Tx) error]
			s := open(t, path, bolt.Options{Create: true}.WithCommit(func(tx *bbolt.Tx) error {
				if f := fault.Load(); f != nil {
					return (*f)(tx)
				}
				return tx.Commit()
			}))
			rev := put(t, s, "k", "before")
			fault.Store(&c.fault)
			_, err := s.Txn(t.Context(), nil, []store.Op{store.Put("k", []byte("during")), store.Put("half", nil)})
			if !errors.Is(err, c.want) {
				t.Fatalf("got %v, want %v", err, c.want)
			}
			fault.Store(nil)
			_, werr := s.Txn(t.Context(), []store.Cond{store.Unchanged("k", rev)}, []store.Op{store.Put("after", nil)})
			_, _, rerr := s.Get(t.Context(), "k")
			if c.usable && (werr != nil || rerr != nil) {
				t.Errorf("not usable: %v, %v", werr, rerr)
			}
			if !c.usable && (!errors.Is(werr, store.ErrUnavailable) || !errors.Is(rerr, store.ErrUnavailable)) {
				t.Errorf("after a failed medium: %v, %v", werr, rerr)
			}
			if err := s.Close(); err != nil {
				t.Fatal(err)
			}
			s = closing(t, open(t, path, bolt.Options{}))
			wantVal(t, s, "k", map[bool]string{false: "before", true: "during"}[c.stored])
			if _, _, err := s.Get(t.Context(), "half"); c.stored != (err == nil) {
				t.Errorf("half: %v", err)
			}
			put(t, s, "again", "")
		})
	}
}

// TestFailureEndsWatches: watchers learn of a failed medium at once.
func TestFailureEndsWatches(t *testing.T) {
	t.Parallel()
	var bad atomic.Bool
	s := closing(t, open(t, newPath(t), bolt.Options{Create: true}.WithCommit(func(tx *bbolt.Tx) error {
		if bad.Load() {
			return syscall.EIO
		}
		return tx.Commit()
	})))
	var last error
	for _, err := range s.Watch(t.Context(), "", put(t, s, "k", "")) {
		if last = err; err == nil && !bad.Swap(true) {
			if _, err := s.Txn(t.Context(), nil, []store.Op{store.Put("k", nil)}); !errors.Is(err, store.ErrUnavailable) {
				t.Errorf("txn: %v", err)
			}
		}
	}
	if !errors.Is(last, store.ErrUnavailable) {
		t.Errorf("watch ended with %v", last)
	}
}

// TestGroupCommit: what waits while a commit is under way goes into one commit, in which each transaction
// sees those before it and has a revision of its own.
func TestGroupCommit(t *testing.T) {
	t.Parallel()
	const n = 20
	var commits atomic.Int32
	entered, release := make(chan struct{}, n+1), make(chan struct{})
	s := closing(t, open(t, newPath(t), bolt.Options{Create: true}.WithCommit(func(tx *bbolt.Tx) error {
		commits.Add(1)
		entered <- struct{}{}
		<-release
		return tx.Commit()
	})))
	var wg sync.WaitGroup
	wg.Go(func() { put(t, s, "first", "") })
	<-entered
	var mu sync.Mutex
	revs := map[store.Rev]bool{}
	winners := 0
	for i := range n {
		wg.Go(func() {
			rev, err := s.Txn(t.Context(), []store.Cond{store.Absent("leader")}, []store.Op{store.Put("leader", []byte{byte(i)})})
			mu.Lock()
			defer mu.Unlock()
			if c := (*store.Conflict)(nil); errors.As(err, &c) {
				if _, ok := c.Now["leader"]; !ok {
					t.Error("conflict without the winner")
				}
			} else if err != nil {
				t.Error(err)
			} else {
				winners++
			}
			_ = rev
		})
		wg.Go(func() {
			rev, err := s.Txn(t.Context(), nil, []store.Op{store.Put(fmt.Sprint("own/", i), nil)})
			mu.Lock()
			defer mu.Unlock()
			if err != nil || revs[rev] {
				t.Errorf("revision %d, %v", rev, err)
			}
			revs[rev] = true
		})
	}
	close(release)
	wg.Wait()
	if winners != 1 || len(revs) != n {
		t.Errorf("%d winners, %d revisions", winners, len(revs))
	}
}

// TestLimitedFile: a store that reaches its size limit refuses what does not fit, keeps what it has, and
// takes writes again with a higher limit.
func TestLimitedFile(t *testing.T) {
	t.Parallel()
	path := newPath(t)
	s := open(t, path, bolt.Options{Create: true, MaxBytes: 1 << 20})
	n := fill(t, s)
	for i := range 5 {
		ops := []store.Op{store.Put(fmt.Sprint("more/", i), make([]byte, 100_000)), store.Delete(fmt.Sprintf("fill/%06d", i))}
		if _, err := s.Txn(t.Context(), nil, ops); !errors.Is(err, store.ErrFull) {
			t.Fatal(err)
		}
	}
	check := func(more int) {
		t.Helper()
		p, err := s.Range(t.Context(), store.Query{})
		if err != nil || len(p.KVs) != n+more || n < 50 {
			t.Fatalf("%d records, %v; %d were acknowledged", len(p.KVs), err, n+more)
		}
	}
	check(0)
	if st, err := s.Status(t.Context()); err != nil || st.Bytes > 1<<20 {
		t.Errorf("status %+v, %v", st, err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	checkEngine(t, path)
	s = closing(t, open(t, path, bolt.Options{MaxBytes: 8 << 20}))
	put(t, s, "more", string(make([]byte, 100_000)))
	check(1)
}

// fill writes records until the store is full and tells how many were acknowledged.
func fill(t testing.TB, s store.Store) int {
	t.Helper()
	for i := 0; ; i++ {
		_, err := s.Txn(t.Context(), nil, []store.Op{store.Put(fmt.Sprintf("fill/%06d", i), make([]byte, 2500))})
		if errors.Is(err, store.ErrFull) {
			return i
		}
		if err != nil || i > 10_000 {
			t.Fatalf("write %d: %v", i, err)
		}
	}
}

// TestCancel: a caller who gives up before the writer has taken the transaction has written nothing; one who
// gives up later still learns the outcome if it comes soon, and else that it is unknown.
func TestCancel(t *testing.T) {
	t.Parallel()
	entered, release := make(chan struct{}), make(chan struct{})
	var hold atomic.Bool
	s := closing(t, open(t, newPath(t), bolt.Options{Create: true}.WithCommit(func(tx *bbolt.Tx) error {
		if hold.Load() {
			entered <- struct{}{}
			<-release
		}
		return tx.Commit()
	})))
	hold.Store(true)
	try := func(ctx context.Context, key string) chan error {
		out := make(chan error, 1)
		go func() {
			_, err := s.Txn(ctx, nil, []store.Op{store.Put(key, nil)})
			out <- err
		}()
		return out
	}
	ctx, cancel := context.WithCancel(t.Context())
	taken := try(ctx, "taken")
	<-entered
	waiting := try(ctx, "waiting")
	cancel()
	if err := <-waiting; !errors.Is(err, context.Canceled) || errors.Is(err, store.ErrUnknown) {
		t.Errorf("waiting: %v", err)
	}
	release <- struct{}{}
	if err := <-taken; err != nil {
		t.Errorf("taken: %v", err)
	}
	ctx, cancel = context.WithCancel(t.Context())
	stuck := try(ctx, "stuck")
	<-entered
	cancel()
	if err := <-stuck; !errors.Is(err, store.ErrUnknown) || !errors.Is(err, context.Canceled) {
		t.Errorf("stuck: %v", err)
	}
	hold.Store(false)
	release <- struct{}{}
	put(t, s, "after", "")
	for key, want := range map[string]bool{"taken": true, "waiting": false, "stuck": true} {
		if _, _, err := s.Get(t.Context(), key); want != (err == nil) {
			t.Errorf("%s: %v", key, err)
		}
	}
}

// TestFullGivesUpHistory: when there is no room, old revisions go before writes do, but pins hold.
func TestFullGivesUpHistory(t *testing.T) {
	t.Parallel()
	s := closing(t, open(t, newPath(t), bolt.Options{Create: true, MaxBytes: 1 << 20}))
	val := string(make([]byte, 25_000))
	first := put(t, s, "k", val)
	for range 100 { // several times what fits
		put(t, s, "k", val)
	}
	if reads(t, s, first) {
		t.Error("the whole history fits")
	}
	pin, err := s.Pin(t.Context(), time.Hour)
	if err != nil {
		t.Fatal(err)
	}
	for err == nil {
		_, err = s.Txn(t.Context(), nil, []store.Op{store.Put("k", []byte(val))})
	}
	if !errors.Is(err, store.ErrFull) || !reads(t, s, pin.Rev()) {
		t.Errorf("%v; pinned revision readable: %v", err, reads(t, s, pin.Rev()))
	}
	if err := pin.Close(); err != nil {
		t.Fatal(err)
	}
	put(t, s, "k", val)
}
