package bolt_test

import (
	"errors"
	"testing"

	"redoubt/internal/store"
	"redoubt/internal/store/bolt"
	"redoubt/internal/tally"
)

func TestFigures(t *testing.T) {
	t.Parallel()
	s := closing(t, open(t, newPath(t), bolt.Options{Create: true}))
	put(t, s, "/a", "1")
	put(t, s, "/b", "1")
	var conflict *store.Conflict
	if _, err := s.Txn(t.Context(), []store.Cond{store.Absent("/a")}, []store.Op{store.Put("/a", []byte("2"))}); !errors.As(err, &conflict) {
		t.Fatal(err)
	}
	for range 3 {
		if _, _, err := s.Get(t.Context(), "/a"); err != nil {
			t.Fatal(err)
		}
	}
	f := s.Figures()
	if f.Done != 2 || f.Conflicts != 1 || f.Failed != 0 || f.Commit.Count != 2 || f.Commit.Sum <= 0 || f.Hot != (tally.Lookups{Hits: 2, Misses: 1}) {
		t.Errorf("%+v", f)
	}
}
