package mem_test

import (
	"errors"
	"testing"

	"redoubt/internal/store"
	"redoubt/internal/store/mem"
	"redoubt/internal/store/storetest"
)

func TestFaultPairs(t *testing.T) {
	t.Parallel()
	for _, fault := range []storetest.Fault{storetest.Lost, storetest.Stored} {
		t.Run(fault.String(), func(t *testing.T) {
			t.Parallel()
			f := storetest.NewFaults(mem.New())
			f.FailAt(2, fault)
			if _, err := f.Txn(t.Context(), nil, []store.Op{store.Put("a", []byte("1"))}); err != nil {
				t.Fatal(err)
			}
			if _, err := f.Txn(t.Context(), nil, []store.Op{store.Put("a", []byte("2"))}); !errors.Is(err, store.ErrUnknown) {
				t.Fatal(err)
			}
			if _, _, err := f.Get(t.Context(), "a"); !errors.Is(err, store.ErrUnavailable) {
				t.Fatal(err)
			}
			f.Revive()
			kv, _, err := f.Get(t.Context(), "a")
			if err != nil || string(kv.Val) != map[storetest.Fault]string{storetest.Lost: "1", storetest.Stored: "2"}[fault] {
				t.Fatalf("%q %v", kv.Val, err)
			}
		})
	}
}
