package fleet

import (
	"slices"
	"strings"
)

// Page returns up to limit live HSMs, or with deleted soft-deleted ones, for which keep holds, in the order of their
// lower-case names, beginning behind the lower-case name after. more tells that there are others behind them. keep
// must not change what it is given. What is held meanwhile is bounded by limit, however many HSMs there are.
func (f *Fleet) Page(deleted bool, after string, limit int, keep func(*Resource) bool) (page []Resource, more bool) {
	type entry struct {
		name string
		res  *Resource
	}
	first := make([]entry, 0, limit+2)
	f.mu.RLock()
	defer f.mu.RUnlock()
	for name, m := range f.byName {
		if name <= after || m.res.ID == "" || (m.res.Deletion != nil) != deleted || !keep(m.res) {
			continue
		}
		at, _ := slices.BinarySearchFunc(first, name, func(e entry, n string) int { return strings.Compare(e.name, n) })
		if at > limit {
			continue
		}
		first = slices.Insert(first, at, entry{name, m.res})
		first = first[:min(len(first), limit+1)]
	}
	more = len(first) > limit
	for _, e := range first[:min(len(first), limit)] {
		page = append(page, *e.res)
	}
	return page, more
}
