package bolt_test

import (
	"fmt"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"

	"redoubt/internal/store"
	"redoubt/internal/store/bolt"
)

// TestReadersSeeAcknowledgedWrites: what was acknowledged before a read began is what the read shows, or
// newer, however often the record was read before; and a deleted record is gone.
func TestReadersSeeAcknowledgedWrites(t *testing.T) {
	t.Parallel()
	s := closing(t, open(t, newPath(t), bolt.Options{Create: true}))
	const writers, writes = 4, 60
	var acknowledged [writers]atomic.Int64
	var left atomic.Int64
	left.Store(writers)
	var wg sync.WaitGroup
	for w := range writers {
		put(t, s, fmt.Sprintf("/k/%d", w), "0")
		wg.Go(func() {
			defer left.Add(-1)
			for i := 1; i <= writes; i++ {
				if _, err := s.Txn(t.Context(), nil, []store.Op{store.Put(fmt.Sprintf("/k/%d", w), []byte(strconv.Itoa(i)))}); err != nil {
					t.Error(err)
					return
				}
				acknowledged[w].Store(int64(i))
			}
		})
	}
	for range 4 {
		wg.Go(func() {
			var last store.Rev
			for w := 0; left.Load() > 0; w = (w + 1) % writers {
				least := acknowledged[w].Load()
				kv, rev, err := s.Get(t.Context(), fmt.Sprintf("/k/%d", w))
				if err != nil {
					t.Error(err)
					return
				}
				if got, err := strconv.ParseInt(string(kv.Val), 10, 64); err != nil || got < least {
					t.Errorf("read %q after %d was acknowledged", kv.Val, least)
					return
				}
				if rev < last || kv.Mod > rev {
					t.Errorf("record of revision %d at revision %d after %d", kv.Mod, rev, last)
					return
				}
				last = rev
			}
		})
	}
	wg.Wait()
	wantVal(t, s, "/k/0", strconv.Itoa(writes))
	if _, err := s.Txn(t.Context(), nil, []store.Op{store.Delete("/k/0")}); err != nil {
		t.Fatal(err)
	}
	if kv, _, err := s.Get(t.Context(), "/k/0"); err == nil {
		t.Errorf("a deleted record is %q", kv.Val)
	}
}

// TestHotRecordsAreBounded: reading more than is kept in memory costs memory for what is kept only.
func TestHotRecordsAreBounded(t *testing.T) {
	t.Parallel()
	s := closing(t, open(t, newPath(t), bolt.Options{Create: true}))
	const n, size = 160, 256 << 10 // 40 MiB
	for i := range n {
		if _, err := s.Txn(t.Context(), nil, []store.Op{store.Put(fmt.Sprintf("/big/%d", i), make([]byte, size))}); err != nil {
			t.Fatal(err)
		}
	}
	for i := range n {
		if kv, _, err := s.Get(t.Context(), fmt.Sprintf("/big/%d", i)); err != nil || len(kv.Val) != size {
			t.Fatalf("%d bytes, %v", len(kv.Val), err)
		}
	}
	if records, bytes := bolt.Hot(s); bytes > 32<<20 || records < 100 {
		t.Errorf("%d records with %d bytes are kept", records, bytes)
	}
}
