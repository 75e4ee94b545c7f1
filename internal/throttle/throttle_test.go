package throttle

import (
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

var start = time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)

// TestTake: a burst, then the rate, each key for itself, and the wait that is told is the one that helps.
func TestTake(t *testing.T) {
	t.Parallel()
	table := NewTable[string](2, 3, 100)
	now := start
	for i := range 3 {
		if w := table.Take("a", now); w != 0 {
			t.Errorf("%d: %v", i, w)
		}
	}
	w := table.Take("a", now)
	if w != 500*time.Millisecond || table.Wait("a", now) != w {
		t.Errorf("a fourth has to wait %v", w)
	}
	if table.Take("b", now) != 0 || table.Wait("c", now) != 0 || table.Len() != 2 {
		t.Error("others have to wait")
	}
	if table.Take("a", now.Add(w-time.Millisecond)) == 0 {
		t.Error("earlier than told")
	}
	if now = now.Add(w); table.Wait("a", now) != 0 || table.Take("a", now) != 0 || table.Take("a", now) == 0 {
		t.Error("after the wait there is not one")
	}
	now, let := now.Add(time.Hour), 0
	for range 10 {
		if table.Take("a", now) == 0 {
			let++
		}
	}
	if let != 3 {
		t.Errorf("after an hour %d were let in at once, not one burst", let)
	}
	if table.Take("a", now.Add(-time.Hour)) == 0 {
		t.Error("a clock put back gives another")
	}
}

// TestRateHolds under many callers at once.
func TestRateHolds(t *testing.T) {
	t.Parallel()
	table := NewTable[int](1, 50, 100)
	var let atomic.Int64
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			for range 100 {
				if table.Take(7, start) == 0 {
					let.Add(1)
				}
			}
		})
	}
	wg.Wait()
	if let.Load() != 50 {
		t.Errorf("%d of 50 were let in", let.Load())
	}
}

// TestBounded: memory does not grow with the number of keys, and those who wait are forgotten last.
func TestBounded(t *testing.T) {
	t.Parallel()
	table := NewTable[string](1, 2, 1600)
	now, let := start, 0
	for i := range 20_000 { // of each second's 500, all have their burst again a second later
		now = now.Add(2 * time.Millisecond)
		table.Take(fmt.Sprint("once ", i), now)
		if table.Take("busy", now) == 0 {
			let++
		}
	}
	if n := table.Len(); n > 1600 || let != 41 { // its burst of 2, and one in each of 40 seconds
		t.Errorf("%d keys; the busy one was let in %d times", n, let)
	}
	for i := range 10_000 { // nobody has their burst: somebody has to go
		table.Take(fmt.Sprint("all ", i), now)
	}
	if n := table.Len(); n > 1600 {
		t.Errorf("%d keys", n)
	}
}

func TestLimits(t *testing.T) {
	t.Parallel()
	l := New(Config{PerSecond: 1, Burst: 1, StrangersPerSecond: 1, StrangersBurst: 2, Clock: func() time.Time { return start }})
	if l.Principal("one", "p") != 0 || l.Principal("two", "p") != 0 || l.Principal("one", "q") != 0 || l.Principal("one", "p") == 0 {
		t.Error("the limit is not one for each HSM and principal")
	}
	for _, same := range [][2]string{{"192.0.2.1:1", "[::ffff:192.0.2.1]:2"}, {"[2001:db8::1]:1", "[2001:db8::ffff:2]:1"}, {"[fe80::1%eth0]:1", "[fe80::2%eth1]:1"}, {"junk", ""}} {
		if l.Suspect(same[0]) != 0 || l.Stranger(same[0]) != 0 || l.Stranger(same[1]) != 0 || l.Suspect(same[0]) == 0 || l.Stranger(same[1]) == 0 {
			t.Errorf("%q are not one client", same)
		}
	}
	if l.Stranger("192.0.2.2:1") != 0 || l.Stranger("[2001:db8:0:1::1]:1") != 0 {
		t.Error("others have to wait")
	}
	l.Refuse()
	if n := l.Refused(); n["principal"] != 1 || n["address"] != 5 {
		t.Errorf("refused %v", n)
	}
	free := New(Config{Clock: time.Now})
	for range 1000 {
		if free.Principal("one", "p")+free.Stranger("192.0.2.1:1")+free.Suspect("192.0.2.1:1") != 0 {
			t.Fatal("a limit where there is none")
		}
	}
}

func BenchmarkPrincipal(b *testing.B) {
	l := New(Config{PerSecond: 1e9, Burst: 1e9, Clock: time.Now})
	b.ReportAllocs()
	for b.Loop() {
		l.Principal("one", "0a0a0a0a-0b0b-0c0c-0d0d-0e0e0e0e0e0e")
	}
}
