package mem_test

import (
	"testing"

	"go.uber.org/goleak"

	"redoubt/internal/store"
	"redoubt/internal/store/mem"
	"redoubt/internal/store/storetest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

var driver = storetest.Driver{
	Open: func(testing.TB) store.Store { return mem.New() },
	Compact: func(_ testing.TB, s store.Store, rev store.Rev) {
		s.(*mem.Store).Compact(rev)
	},
}

func TestConformance(t *testing.T) { storetest.Run(t, driver) }

func BenchmarkStore(b *testing.B) { storetest.Bench(b, driver) }
