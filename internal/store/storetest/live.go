package storetest

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"sync"
	"testing"
	"time"

	"redoubt/internal/store"
)

// testPin: a pinned revision reads the same, page by page, whatever is written, deleted and compacted.
func testPin(t *testing.T, d Driver) {
	s := d.open(t)
	fresh, err := s.Pin(t.Context(), time.Minute)
	if err != nil || fresh.Rev() == 0 {
		t.Fatalf("a pin of an empty store is at %v, %v", fresh, err)
	}
	const n = 40
	for i := range n {
		put(t, s, fmt.Sprintf("k/%02d", i), "old")
	}
	before := rng(t, s, store.Query{Prefix: "k/"})
	if p := rng(t, s, store.Query{At: fresh.Rev()}); len(p.KVs) != 0 {
		t.Errorf("the empty store is read as %v", keys(p))
	}
	if err := fresh.Close(); err != nil {
		t.Fatal(err)
	}
	pin, err := s.Pin(t.Context(), time.Minute)
	if err != nil {
		t.Fatal(err)
	}
	if pin.Rev() != before.Rev {
		t.Fatalf("pinned %d, want %d", pin.Rev(), before.Rev)
	}
	var got []store.KV
	for i := range n {
		switch i % 3 {
		case 0:
			put(t, s, fmt.Sprintf("k/%02d", n-1-i), "new")
		case 1:
			txn(t, s, nil, store.Delete(fmt.Sprintf("k/%02d", n-1-i)), store.Put(fmt.Sprintf("k/%02d+", i), nil))
		case 2:
			txn(t, s, nil, store.Delete(fmt.Sprintf("k/%02d", n-1-i)))
			put(t, s, fmt.Sprintf("k/%02d", n-1-i), "made again")
		}
		d.Compact(t, s, store.Rev(1<<40))
		q := store.Query{Prefix: "k/", At: pin.Rev(), Limit: 1}
		if i > 0 {
			q.After = got[i-1].Key
		}
		p := rng(t, s, q)
		got = append(got, p.KVs...)
	}
	if !sameKVs(got, before.KVs) {
		t.Errorf("read %v", keys(store.Page{KVs: got}))
	}
	if got := collect(t, s, "", pin.Rev(), pin.Rev()+1); len(got) != 1 {
		t.Errorf("watch from the pin: %v", got)
	}
	if err := errors.Join(pin.Close(), pin.Close()); err != nil {
		t.Error(err)
	}
	d.Compact(t, s, store.Rev(1<<40))
	_, err = s.Range(t.Context(), store.Query{At: pin.Rev()})
	wantErr(t, err, store.ErrCompacted)
}

func testPinExpires(t *testing.T, d Driver) {
	s := d.open(t)
	put(t, s, "k", "1")
	short, err := s.Pin(t.Context(), time.Nanosecond)
	if err != nil {
		t.Fatal(err)
	}
	long, err := s.Pin(t.Context(), time.Hour)
	if err != nil {
		t.Fatal(err)
	}
	put(t, s, "k", "2")
	d.Compact(t, s, store.Rev(1<<40))
	if p := rng(t, s, store.Query{At: long.Rev()}); keys(p)[0] != "k=1" {
		t.Errorf("%v", keys(p))
	}
	if err := long.Close(); err != nil {
		t.Fatal(err)
	}
	d.Compact(t, s, store.Rev(1<<40))
	_, err = s.Range(t.Context(), store.Query{At: short.Rev()})
	wantErr(t, err, store.ErrCompacted)
}

// testCounter: concurrent compare-and-write increments lose nothing, and every success saw the one before.
func testCounter(t *testing.T, d Driver) {
	s := d.open(t)
	base := newest(t, s)
	put(t, s, "n", "0")
	const workers, each = 8, 12
	var wg sync.WaitGroup
	for range workers {
		wg.Go(func() {
			for range each {
				if err := increment(t.Context(), s, "n"); err != nil {
					t.Error(err)
					return
				}
			}
		})
	}
	wg.Wait()
	kv, _, err := s.Get(t.Context(), "n")
	if err != nil || string(kv.Val) != strconv.Itoa(workers*each) {
		t.Errorf("counted %q, %v; want %d", kv.Val, err, workers*each)
	}
	for i, line := range words(collect(t, s, "n", base, kv.Mod))[1:] {
		if want := fmt.Sprintf("+n=%d", i+1); line != want {
			t.Errorf("history has %q, want %q", line, want)
		}
	}
}

// increment adds one to the number under key, trying again on conflict with what the conflict told.
func increment(ctx context.Context, s store.Store, key string) error {
	kv, _, err := s.Get(ctx, key)
	for err == nil {
		var n int
		if n, err = strconv.Atoi(string(kv.Val)); err != nil {
			return err
		}
		var rev store.Rev
		rev, err = s.Txn(ctx, []store.Cond{store.Unchanged(key, kv.Mod)}, []store.Op{store.Put(key, []byte(strconv.Itoa(n+1)))})
		if err == nil {
			if rev <= kv.Mod {
				return fmt.Errorf("revision %d after %d", rev, kv.Mod)
			}
			return nil
		}
		if c := (*store.Conflict)(nil); errors.As(err, &c) {
			kv, err = c.Now[key], nil
		}
	}
	return err
}

// testReadYourWrites: what was acknowledged is what every later read, by anyone, shows.
func testReadYourWrites(t *testing.T, d Driver) {
	s := d.open(t)
	var wg sync.WaitGroup
	for w := range 4 {
		wg.Go(func() {
			key := fmt.Sprintf("w/%d", w)
			for i := range 25 {
				rev := try(t, s, key, fmt.Sprint(i))
				kv, at, err := s.Get(t.Context(), key)
				if err != nil || kv.Mod != rev || at < rev || string(kv.Val) != fmt.Sprint(i) {
					t.Errorf("wrote %d at %d, read %q at %d/%d, %v", i, rev, kv.Val, kv.Mod, at, err)
					return
				}
				p := rng(t, s, store.Query{Prefix: key})
				if len(p.KVs) != 1 || p.KVs[0].Mod != rev || p.Rev < rev {
					t.Errorf("wrote at %d, range shows %+v", rev, p)
					return
				}
			}
		})
	}
	wg.Wait()
}

// testSnapshotsAreSane: each page is one revision. Two records that always change together never differ
// within a page, and a reader never sees the store go back.
func testSnapshotsAreSane(t *testing.T, d Driver) {
	s := d.open(t)
	both := func(i int) []store.Op {
		v := []byte(strconv.Itoa(i))
		return []store.Op{store.Put("a", v), store.Put("z", v)}
	}
	txn(t, s, nil, both(0)...)
	stop := make(chan struct{})
	var wg sync.WaitGroup
	for range 2 {
		wg.Go(func() {
			var last store.Rev
			for {
				select {
				case <-stop:
					return
				default:
				}
				p, err := s.Range(t.Context(), store.Query{})
				if err != nil || len(p.KVs) != 2 || p.KVs[0].Mod != p.KVs[1].Mod || p.Rev < last || p.KVs[0].Mod > p.Rev {
					t.Errorf("after %d: %+v, %v", last, p, err)
					return
				}
				last = p.Rev
			}
		})
	}
	for i := range 100 {
		txn(t, s, nil, both(i+1)...)
	}
	close(stop)
	wg.Wait()
}

func testClose(t *testing.T, d Driver) {
	s := d.Open(t)
	put(t, s, "a", "1")
	pin, err := s.Pin(t.Context(), time.Minute)
	if err != nil {
		t.Fatal(err)
	}
	var wg sync.WaitGroup
	for range 4 { // calls under way end in one way or the other
		wg.Go(func() {
			for {
				if _, err := s.Txn(t.Context(), nil, []store.Op{store.Put("b", nil)}); err != nil {
					if !errors.Is(err, store.ErrUnavailable) {
						t.Errorf("txn while closing: %v", err)
					}
					return
				}
				if _, _, err := s.Get(t.Context(), "a"); err != nil {
					if !errors.Is(err, store.ErrUnavailable) {
						t.Errorf("get while closing: %v", err)
					}
					return
				}
			}
		})
	}
	if err := errors.Join(s.Close(), s.Close()); err != nil {
		t.Fatal(err)
	}
	wg.Wait()
	if err := pin.Close(); err != nil {
		t.Errorf("closing a pin late: %v", err)
	}
	_, _, err = s.Get(t.Context(), "a")
	wantErr(t, err, store.ErrUnavailable)
	_, err = s.Range(t.Context(), store.Query{})
	wantErr(t, err, store.ErrUnavailable)
	_, err = s.Txn(t.Context(), nil, []store.Op{store.Put("a", nil)})
	wantErr(t, err, store.ErrUnavailable)
	_, err = s.Txn(t.Context(), []store.Cond{store.Exists("a")}, nil)
	wantErr(t, err, store.ErrUnavailable)
	_, err = s.Pin(t.Context(), time.Minute)
	wantErr(t, err, store.ErrUnavailable)
	_, err = s.Status(t.Context())
	wantErr(t, err, store.ErrUnavailable)
}

// testReopen: everything is there again, revisions go on, and old ones can still be read and watched.
func testReopen(t *testing.T, d Driver) {
	if d.Reopen == nil {
		return // nothing outlives the process: nothing is promised
	}
	s := d.Open(t)
	base := newest(t, s)
	put(t, s, "a", "1")
	put(t, s, "a", "2")
	old := rng(t, s, store.Query{})
	put(t, s, "b", "3")
	last := txn(t, s, nil, store.Delete("a"))
	history := collect(t, s, "", base, last)
	s = d.Reopen(t, s)
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	if p := rng(t, s, store.Query{}); p.Rev != last || len(p.KVs) != 1 || keys(p)[0] != "b=3" {
		t.Errorf("reopened at %d: %v", p.Rev, keys(p))
	}
	if p := rng(t, s, store.Query{At: old.Rev}); !sameKVs(p.KVs, old.KVs) {
		t.Errorf("old revision: %v", keys(p))
	}
	if got := collect(t, s, "", base, last); !slices.Equal(got, history) {
		t.Errorf("history: %v, want %v", got, history)
	}
	if rev := put(t, s, "c", "4"); rev <= last {
		t.Errorf("next revision is %d after %d", rev, last)
	}
}
