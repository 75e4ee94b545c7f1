// Package storetest is the contract of package store in executable form. Every driver passes Run
// unchanged; what is not tested here is not promised.
//
// It also holds Faults, the store that dies on demand, for the tests of everything built on a store.
package storetest

import (
	"context"
	"errors"
	"testing"
	"time"

	"redoubt/internal/store"
)

// Driver tells Run how to get at the driver under test.
type Driver struct {
	// Open makes a fresh, empty store. Run closes it.
	Open func(t testing.TB) store.Store
	// Reopen closes s in an orderly way and opens what it stored again. nil when nothing outlives it.
	Reopen func(t testing.TB, s store.Store) store.Store
	// Compact makes the driver forget what only revisions before rev need, pins excepted.
	Compact func(t testing.TB, s store.Store, rev store.Rev)
}

// Run runs the suite.
func Run(t *testing.T, d Driver) {
	for name, test := range map[string]func(*testing.T, Driver){
		"Get":              testGet,
		"Revisions":        testRevisions,
		"Delete":           testDelete,
		"NoOperation":      testNoOperation,
		"Conditions":       testConditions,
		"Conflict":         testConflict,
		"Atomic":           testAtomic,
		"Limits":           testLimits,
		"Malformed":        testMalformed,
		"Alias":            testAlias,
		"Cancelled":        testCancelled,
		"Range":            testRange,
		"RangePaging":      testRangePaging,
		"RangeAt":          testRangeAt,
		"RangeOddKeys":     testRangeOddKeys,
		"WatchOrder":       testWatchOrder,
		"WatchHistory":     testWatchHistory,
		"WatchMarks":       testWatchMarks,
		"WatchCompacted":   testWatchCompacted,
		"WatchEnds":        testWatchEnds,
		"WatchConcurrent":  testWatchConcurrent,
		"Pin":              testPin,
		"PinExpires":       testPinExpires,
		"Counter":          testCounter,
		"ReadYourWrites":   testReadYourWrites,
		"SnapshotsAreSane": testSnapshotsAreSane,
		"Close":            testClose,
		"Reopen":           testReopen,
		"Model":            testModel,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			test(t, d)
		})
	}
}

// open makes a fresh store that is closed at the end of the test.
func (d Driver) open(t testing.TB) store.Store {
	t.Helper()
	s := d.Open(t)
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Errorf("close: %v", err)
		}
	})
	return s
}

// put writes one record without conditions.
func put(t testing.TB, s store.Store, key, val string) store.Rev {
	t.Helper()
	return txn(t, s, nil, store.Put(key, []byte(val)))
}

func txn(t testing.TB, s store.Store, ifs []store.Cond, then ...store.Op) store.Rev {
	t.Helper()
	rev, err := s.Txn(t.Context(), ifs, then)
	if err != nil {
		t.Fatalf("txn: %v", err)
	}
	return rev
}

// try is put for goroutines other than the test's own; it answers 0 when it failed.
func try(t testing.TB, s store.Store, key, val string) store.Rev {
	t.Helper()
	rev, err := s.Txn(t.Context(), nil, []store.Op{store.Put(key, []byte(val))})
	if err != nil {
		t.Errorf("txn: %v", err)
	}
	return rev
}

// newest is the store's revision. A test takes it first: a store need not begin at 0.
func newest(t testing.TB, s store.Store) store.Rev {
	t.Helper()
	st, err := s.Status(t.Context())
	if err != nil {
		t.Fatalf("status: %v", err)
	}
	return st.Rev
}

func rng(t testing.TB, s store.Store, q store.Query) store.Page {
	t.Helper()
	p, err := s.Range(t.Context(), q)
	if err != nil {
		t.Fatalf("range %+v: %v", q, err)
	}
	return p
}

func wantErr(t testing.TB, err, want error) {
	t.Helper()
	if !errors.Is(err, want) {
		t.Fatalf("got error %v, want %v", err, want)
	}
}

// keys lists a page as "key=value" words.
func keys(p store.Page) (out []string) {
	for _, kv := range p.KVs {
		out = append(out, kv.Key+"="+string(kv.Val))
	}
	return out
}

// soon bounds what a test waits for; reaching it is a failure.
func soon(t testing.TB) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	t.Cleanup(cancel)
	return ctx
}
