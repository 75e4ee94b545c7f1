package storetest

import (
	"crypto/rand"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"

	"redoubt/internal/store"
)

// benchValue is a record of the usual size: sealed, so incompressible.
func benchValue() []byte {
	b := make([]byte, 2500)
	rand.Read(b)
	return b
}

// Bench runs the driver's benchmarks on a store holding 2,000 records of 2.5 KB.
func Bench(b *testing.B, d Driver) {
	for name, bench := range map[string]func(*testing.B, store.Store, []byte){
		"Txn":     benchTxn,
		"Txn32":   benchTxn32,
		"Get":     benchGet,
		"Range25": benchRange25,
	} {
		b.Run(name, func(b *testing.B) {
			s := d.open(b)
			val := benchValue()
			for i := 0; i < 2000; {
				var ops []store.Op
				for ; len(ops) < 50; i++ {
					ops = append(ops, store.Put(fmt.Sprintf("bench/%06d", i), val))
				}
				txn(b, s, nil, ops...)
			}
			b.ReportAllocs()
			b.ResetTimer()
			bench(b, s, val)
		})
	}
}

func benchTxn(b *testing.B, s store.Store, val []byte) {
	rev := put(b, s, "one", "")
	for b.Loop() {
		rev = txn(b, s, []store.Cond{store.Unchanged("one", rev)}, store.Put("one", val))
	}
}

// benchTxn32 is 32 clients that each change records of their own.
func benchTxn32(b *testing.B, s store.Store, val []byte) {
	var left atomic.Int64
	left.Store(int64(b.N))
	var wg sync.WaitGroup
	for w := range 32 {
		wg.Go(func() {
			for i := 0; left.Add(-1) >= 0; i++ {
				if _, err := s.Txn(b.Context(), nil, []store.Op{store.Put(fmt.Sprintf("w/%02d/%03d", w, i%100), val)}); err != nil {
					b.Error(err)
					return
				}
			}
		})
	}
	wg.Wait()
}

func benchGet(b *testing.B, s store.Store, _ []byte) {
	for i := 0; b.Loop(); i++ {
		if _, _, err := s.Get(b.Context(), fmt.Sprintf("bench/%06d", i%2000)); err != nil {
			b.Fatal(err)
		}
	}
}

func benchRange25(b *testing.B, s store.Store, _ []byte) {
	for i := 0; b.Loop(); i++ {
		q := store.Query{Prefix: "bench/", After: fmt.Sprintf("bench/%06d", i%1900), Limit: 25}
		if p, err := s.Range(b.Context(), q); err != nil || len(p.KVs) != 25 {
			b.Fatal(len(p.KVs), err)
		}
	}
}
