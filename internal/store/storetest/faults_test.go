package storetest_test

import (
	"errors"
	"sync"
	"testing"
	"time"

	"redoubt/internal/store"
	"redoubt/internal/store/mem"
	"redoubt/internal/store/storetest"
)

// TestFaultsConform: a Faults without a fault is a store like any other.
func TestFaultsConform(t *testing.T) {
	t.Parallel()
	var below sync.Map
	storetest.Run(t, storetest.Driver{
		Open: func(testing.TB) store.Store {
			m := mem.New()
			f := storetest.NewFaults(m)
			below.Store(f, m)
			return f
		},
		Compact: func(_ testing.TB, s store.Store, rev store.Rev) {
			m, _ := below.Load(s)
			m.(*mem.Store).Compact(rev)
		},
	})
}

func write(t testing.TB, s store.Store, val string) error {
	t.Helper()
	_, err := s.Txn(t.Context(), nil, []store.Op{store.Put("k", []byte(val))})
	return err
}

func value(t testing.TB, s store.Store) string {
	t.Helper()
	kv, _, err := s.Get(t.Context(), "k")
	if err != nil {
		t.Fatal(err)
	}
	return string(kv.Val)
}

func TestFaultKills(t *testing.T) {
	t.Parallel()
	for fault, want := range map[storetest.Fault]string{storetest.Lost: "1", storetest.Stored: "2"} {
		t.Run(fault.String(), func(t *testing.T) {
			t.Parallel()
			below := mem.New()
			f := storetest.NewFaults(below)
			f.FailAt(2, fault)
			var seen []int
			f.OnWrite = func(n int) { seen = append(seen, n) }
			if err := write(t, f, "1"); err != nil {
				t.Fatal(err)
			}
			pin, err := f.Pin(t.Context(), time.Hour)
			if err != nil {
				t.Fatal(err)
			}
			var last error
			for _, err := range f.Watch(t.Context(), "", 0) {
				if last = err; err == nil && !f.Dead() {
					if err := write(t, f, "2"); !errors.Is(err, store.ErrUnknown) {
						t.Fatalf("the faulty write: %v", err)
					}
				}
			}
			if !errors.Is(last, store.ErrUnavailable) {
				t.Errorf("the watch ended with %v", last)
			}
			if err := write(t, f, "3"); !errors.Is(err, store.ErrUnavailable) {
				t.Errorf("a dead store writes: %v", err)
			}
			if _, _, err := f.Get(t.Context(), "k"); !errors.Is(err, store.ErrUnavailable) {
				t.Errorf("a dead store reads: %v", err)
			}
			if floor := below.Compact(1 << 40); floor <= pin.Rev() && fault == storetest.Stored {
				t.Error("a pin outlived the process")
			}
			f.Revive()
			if got := value(t, f); got != want {
				t.Errorf("after the crash: %q, want %q", got, want)
			}
			if err := write(t, f, "4"); err != nil || f.Writes() != 3 || len(seen) != 3 {
				t.Errorf("%d writes, %v seen, %v", f.Writes(), seen, err)
			}
		})
	}
}

func TestFaultFull(t *testing.T) {
	t.Parallel()
	f := storetest.NewFaults(mem.New())
	if err := write(t, f, "1"); err != nil {
		t.Fatal(err)
	}
	f.FailAt(1, storetest.Full)
	for range 2 {
		if err := write(t, f, "2"); !errors.Is(err, store.ErrFull) {
			t.Errorf("got %v", err)
		}
	}
	if got := value(t, f); got != "1" || f.Dead() {
		t.Errorf("%q, dead %v", got, f.Dead())
	}
	f.Revive()
	if err := write(t, f, "2"); err != nil {
		t.Error(err)
	}
}

// TestOnWriteMayKill: the hook may end the process before its write.
func TestOnWriteMayKill(t *testing.T) {
	t.Parallel()
	f := storetest.NewFaults(mem.New())
	if err := write(t, f, "1"); err != nil {
		t.Fatal(err)
	}
	f.OnWrite = func(int) { _ = f.Close() }
	if err := write(t, f, "2"); !errors.Is(err, store.ErrUnavailable) {
		t.Errorf("got %v", err)
	}
	f.Revive()
	if got := value(t, f); got != "1" {
		t.Errorf("got %q", got)
	}
}
