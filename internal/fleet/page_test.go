package fleet_test

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"

	"redoubt/internal/fleet"
	"redoubt/internal/hsmtest"
	"redoubt/internal/store"
)

// TestPage walks pages of every size over live and deleted HSMs, and wants each HSM once, in order.
func TestPage(t *testing.T) {
	t.Parallel()
	s := hsmtest.New(t)
	var live []string
	for i, n := range []string{"delta", "Alpha", "echo", "BRAVO", "charlie", "foxtrot", "golf"} {
		if _, err := s.Create(t.Context(), s.Resource(n)); err != nil {
			t.Fatal(err)
		}
		if i >= 5 {
			if _, err := s.Delete(t.Context(), n); err != nil {
				t.Fatal(err)
			}
			continue
		}
		live = append(live, strings.ToLower(n))
	}
	slices.Sort(live)
	for deleted, want := range map[bool][]string{false: live, true: {"foxtrot", "golf"}} {
		for limit := 1; limit <= 6; limit++ {
			if got := walk(s, deleted, limit, func(*fleet.Resource) bool { return true }); !slices.Equal(got, want) {
				t.Errorf("deleted %v, pages of %d: %q, want %q", deleted, limit, got, want)
			}
		}
	}
	if got := walk(s, false, 2, func(r *fleet.Resource) bool { return r.Name != "Alpha" }); !slices.Equal(got, live[1:]) {
		t.Errorf("without Alpha: %q", got)
	}
	if page, more := s.Page(false, "golf", 3, func(*fleet.Resource) bool { return true }); page != nil || more {
		t.Errorf("behind the last: %v, %v", page, more)
	}
}

// walk collects the names of all pages; a page is never longer than limit.
func walk(s *hsmtest.Site, deleted bool, limit int, keep func(*fleet.Resource) bool) (names []string) {
	s.T.Helper()
	after := ""
	for {
		page, more := s.Page(deleted, after, limit, keep)
		if len(page) > limit || more && len(page) < limit {
			s.T.Fatalf("a page of %d, of at most %d; more: %v", len(page), limit, more)
		}
		for _, r := range page {
			after = strings.ToLower(r.Name)
			names = append(names, after)
		}
		if !more {
			return names
		}
	}
}

// TestPageOfThousands: what a page needs does not depend on how many HSMs there are. It counts allocations, and so
// runs by itself.
func TestPageOfThousands(t *testing.T) {
	const few, many = 200, 4000
	cost := func(n int) float64 {
		s := hsmtest.New(t)
		s.Stop()
		for i := range n {
			r := s.Resource(fmt.Sprintf("deleted-%06d", (i*7919)%n))
			r.ID, r.Deletion = hsmtest.NewGUID(), &fleet.Deletion{At: 1, PurgeAt: 4e9}
			val, err := json.Marshal(r)
			if err == nil {
				_, err = s.Below.Txn(t.Context(), nil, []store.Op{store.Put("/fleet/hsm/"+r.ID, val), store.Put("/fleet/name/"+r.Name, []byte(r.ID))})
			}
			if err != nil {
				t.Fatal(err)
			}
		}
		s.Restart()
		all := func(*fleet.Resource) bool { return true }
		if got := walk(s, true, 100, all); len(got) != n || !slices.IsSorted(got) {
			t.Fatalf("%d of %d listed", len(got), n)
		}
		allocations := testing.AllocsPerRun(5, func() { s.Page(true, "deleted-000050", 100, all) })
		for _, kv := range s.Records("/fleet/") { // these HSMs have no device that could be examined at the end
			if _, err := s.Below.Txn(t.Context(), nil, []store.Op{store.Delete(kv)}); err != nil {
				t.Fatal(err)
			}
		}
		s.Restart()
		return allocations
	}
	if a, b := cost(few), cost(many); b > a+2 {
		t.Errorf("a page allocates %v times with %d HSMs and %v times with %d", a, few, b, many)
	}
}
