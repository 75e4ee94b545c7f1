package storetest

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"redoubt/internal/store"
)

// seen is one batch in a form that can be compared and read: "+key=value" for a change, with a star when
// it made the record, and "-key" for a deletion.
type seen struct {
	rev  store.Rev
	what string
}

func see(b store.Batch) seen {
	var words []string
	for _, e := range b.Events {
		switch {
		case e.KV.Mod != b.Rev:
			words = append(words, fmt.Sprintf("%s has revision %d", e.KV.Key, e.KV.Mod))
		case e.Deleted && (e.KV.Val != nil || e.KV.Create != 0):
			words = append(words, fmt.Sprintf("%s deleted but %+v", e.KV.Key, e.KV))
		case e.Deleted:
			words = append(words, "-"+e.KV.Key)
		case e.KV.Create == b.Rev:
			words = append(words, fmt.Sprintf("+%s=%s*", e.KV.Key, e.KV.Val))
		default:
			words = append(words, fmt.Sprintf("+%s=%s", e.KV.Key, e.KV.Val))
		}
	}
	return seen{b.Rev, strings.Join(words, " ")}
}

func words(ss []seen) (out []string) {
	for _, s := range ss {
		out = append(out, s.what)
	}
	return out
}

// collect watches until it has seen everything up to rev, and answers the batches with events.
func collect(t testing.TB, s store.Store, prefix string, from, upTo store.Rev) (out []seen) {
	t.Helper()
	last := from
	for b, err := range s.Watch(soon(t), prefix, from) {
		if err != nil {
			t.Fatalf("watch %q from %d, at %d: %v", prefix, from, last, err)
		}
		if b.Rev < last || (len(b.Events) > 0 && b.Rev == last) {
			t.Fatalf("revision %d after %d", b.Rev, last)
		}
		if last = b.Rev; len(b.Events) > 0 {
			out = append(out, see(b))
		}
		if last >= upTo {
			return out
		}
	}
	t.Fatal("the watch ended without an error")
	return nil
}

func testWatchOrder(t *testing.T, d Driver) {
	s := d.open(t)
	base := newest(t, s)
	type result struct {
		name string
		got  []string
	}
	results := make(chan result, 3)
	var end atomic.Int64 // the last revision, once known
	var ready, done sync.WaitGroup
	for name, prefix := range map[string]string{"all": "", "k": "k/", "none": "zzz/"} {
		ready.Add(1)
		done.Go(func() {
			first := sync.OnceFunc(ready.Done)
			defer first()
			var got []string
			for b, err := range s.Watch(soon(t), prefix, base) {
				first()
				if err != nil {
					got = append(got, err.Error())
					break
				}
				if len(b.Events) > 0 {
					got = append(got, see(b).what)
				}
				if last := end.Load(); last > 0 && b.Rev >= store.Rev(last) {
					break
				}
			}
			results <- result{name, got}
		})
	}
	ready.Wait() // each has seen its first progress mark: the rest is live
	put(t, s, "k/b", "1")
	txn(t, s, nil, store.Put("k/b", []byte("2")), store.Put("k/a", []byte("2")), store.Put("other", nil))
	put(t, s, "other", "3")
	end.Store(int64(txn(t, s, nil, store.Delete("k/b"), store.Delete("absent"))))
	done.Wait()
	want := map[string][]string{
		"all":  {"+k/b=1*", "+k/a=2* +k/b=2 +other=*", "+other=3", "-k/b"},
		"k":    {"+k/b=1*", "+k/a=2* +k/b=2", "-k/b"},
		"none": nil,
	}
	for range want {
		if r := <-results; !slices.Equal(r.got, want[r.name]) {
			t.Errorf("%s: %q, want %q", r.name, r.got, want[r.name])
		}
	}
}

func testWatchHistory(t *testing.T, d Driver) {
	s := d.open(t)
	base := newest(t, s)
	var want []seen
	for i := range 20 {
		var b seen
		switch i % 4 {
		case 0:
			b = seen{put(t, s, "k", fmt.Sprint(i)), fmt.Sprintf("+k=%d", i)}
			if i == 0 {
				b.what += "*"
			}
		case 1:
			b = seen{put(t, s, "k", ""), "+k="}
		case 2:
			b = seen{txn(t, s, nil, store.Delete("k")), "-k"}
		case 3:
			b = seen{txn(t, s, nil, store.Put("l", []byte("y")), store.Put("k", []byte("x"))), "+k=x* +l=y"}
			if i == 3 {
				b.what += "*"
			}
		}
		want = append(want, b)
	}
	end := want[len(want)-1].rev
	if got := collect(t, s, "", base, end); !slices.Equal(got, want) {
		t.Errorf("%v, want %v", got, want)
	}
	for i, from := range want[:len(want)-1] {
		if got := collect(t, s, "", from.rev, end); !slices.Equal(got, want[i+1:]) {
			t.Errorf("from %d: %v, want %v", from.rev, got, want[i+1:])
		}
	}
}

func testWatchMarks(t *testing.T, d Driver) {
	s := d.open(t)
	base := newest(t, s)
	rev := put(t, s, "other", "1")
	last, n := time.Now(), 0
	for b, err := range s.Watch(soon(t), "k/", base) {
		if err != nil {
			t.Fatal(err)
		}
		if gap := time.Since(last); gap > 5*time.Second {
			t.Errorf("%v between two marks", gap) // 500 ms are promised; the machine may be busy
		}
		if last = time.Now(); len(b.Events) != 0 || b.Rev != rev {
			t.Fatalf("got %+v, want a mark at revision %d", see(b), rev)
		}
		if n++; n == 3 {
			return
		}
		rev = put(t, s, "other", "2") // does not match, so only a mark can tell
	}
}

func testWatchCompacted(t *testing.T, d Driver) {
	s := d.open(t)
	watchErr := func(from store.Rev) error {
		for _, err := range s.Watch(soon(t), "", from) {
			return err
		}
		return errors.New("ended without an answer")
	}
	wantErr(t, watchErr(newest(t, s)+1), store.ErrCompacted) // of another history: it is not there yet
	var revs []store.Rev
	for range 10 {
		revs = append(revs, put(t, s, "k", "v"))
	}
	d.Compact(t, s, revs[4])
	wantErr(t, watchErr(revs[0]-1), store.ErrCompacted)
	wantErr(t, watchErr(revs[3]), store.ErrCompacted)
	wantErr(t, watchErr(revs[9]+1), store.ErrCompacted)
	if got := collect(t, s, "", revs[4], revs[9]); len(got) != 5 {
		t.Errorf("%v", got)
	}
	d.Compact(t, s, revs[9]+100) // not beyond the newest
	if got := collect(t, s, "", revs[9], revs[9]); len(got) != 0 {
		t.Errorf("%v", got)
	}
	if p := rng(t, s, store.Query{At: revs[9]}); len(p.KVs) != 1 {
		t.Errorf("newest revision: %v", keys(p))
	}
}

func testWatchEnds(t *testing.T, d Driver) {
	s := d.Open(t)
	base := newest(t, s)
	ctx, cancel := context.WithCancel(soon(t))
	defer cancel()
	var last error
	for _, err := range s.Watch(ctx, "", base) {
		last = err
		cancel()
	}
	wantErr(t, last, context.Canceled)
	var closing sync.WaitGroup
	for _, err := range s.Watch(soon(t), "", base) {
		if last = err; err == nil {
			closing.Go(func() {
				if err := s.Close(); err != nil {
					t.Error(err)
				}
			})
		}
	}
	closing.Wait()
	wantErr(t, last, store.ErrUnavailable)
	n := 0
	for _, err := range s.Watch(soon(t), "", base) {
		last = err
		n++
	}
	wantErr(t, last, store.ErrUnavailable)
	if n != 1 {
		t.Errorf("a watch of a closed store yields %d times", n)
	}
}

// testWatchConcurrent: watchers that start anywhere in a storm of writes, some of them slow, all see one
// and the same history.
func testWatchConcurrent(t *testing.T, d Driver) {
	s := d.open(t)
	base := newest(t, s)
	const each = 25
	var writers, watchers sync.WaitGroup
	for w := range 4 {
		writers.Go(func() {
			for i := range each {
				try(t, s, fmt.Sprintf("w/%d", w), fmt.Sprint(i))
			}
		})
	}
	got := make([][]seen, 4)
	for i := range got {
		from := newest(t, s)
		watchers.Go(func() {
			for b, err := range s.Watch(soon(t), "w/", from) {
				if err != nil {
					t.Errorf("watcher %d: %v", i, err)
					return
				}
				if len(b.Events) == 0 {
					continue
				}
				if got[i] = append(got[i], see(b)); b.Events[0].KV.Key == "w/end" {
					return
				}
			}
		})
	}
	writers.Wait()
	all := collect(t, s, "w/", base, put(t, s, "w/end", ""))
	watchers.Wait()
	if len(all) != 4*each+1 {
		t.Fatalf("%d commits, want %d", len(all), 4*each+1)
	}
	for i, g := range got {
		if len(g) > len(all) || !slices.Equal(g, all[len(all)-len(g):]) {
			t.Errorf("watcher %d saw %v", i, g)
		}
	}
}
