package bolt_test

import (
	"os"
	"path/filepath"
	"sync"
	"testing"

	"go.uber.org/goleak"

	"redoubt/internal/store"
	"redoubt/internal/store/bolt"
	"redoubt/internal/store/storetest"
)

func TestMain(m *testing.M) {
	if os.Getenv(childEnv) != "" {
		child()
		return
	}
	goleak.VerifyTestMain(m)
}

func open(t testing.TB, path string, o bolt.Options) *bolt.Store {
	t.Helper()
	s, err := bolt.Open(path, o)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// driver remembers where each store lives, to open it again.
func driver() storetest.Driver {
	var paths sync.Map
	return storetest.Driver{
		Open: func(t testing.TB) store.Store {
			path := filepath.Join(t.TempDir(), "store")
			s := open(t, path, bolt.Options{Create: true})
			paths.Store(s, path)
			return s
		},
		Reopen: func(t testing.TB, s store.Store) store.Store {
			path, _ := paths.Load(s)
			if err := s.Close(); err != nil {
				t.Fatal(err)
			}
			return open(t, path.(string), bolt.Options{})
		},
		Compact: func(t testing.TB, s store.Store, rev store.Rev) {
			if _, err := s.(*bolt.Store).Compact(t.Context(), rev); err != nil {
				t.Errorf("compact: %v", err)
			}
		},
	}
}

func TestConformance(t *testing.T) {
	t.Parallel()
	storetest.Run(t, driver())
}

func BenchmarkStore(b *testing.B) { storetest.Bench(b, driver()) }
