package rbac

import (
	"slices"
	"sync"
)

// A token's groups are the same list for as long as the token is remembered, and most of them have no role on
// an HSM. So a table looks all of them up once, and from then on knows their grants by the list itself: one
// look-up for a request, however many groups there are.

// Bounds of what a table remembers: lists, as many as there are remembered tokens, and groups in all of them. The lists
// outlive the tokens, and every HSM has a table.
const (
	rememberGroups = 4096
	rememberIDs    = 1 << 16
)

// merged knows the grants of lists of groups by the address of their first element. It holds the lists, so an
// address cannot come to mean another one.
type merged struct {
	mu  sync.RWMutex
	m   map[*string]groupGrants // guarded by mu
	ids int                     // guarded by mu: groups in m
}

type groupGrants struct {
	groups []string
	grants []grant
}

// ofGroups is what groups, of which there is at least one, have been granted.
func (t *Table) ofGroups(groups []string) []grant {
	if len(groups) == 1 {
		return t.of(groups[0])
	}
	m := t.merged
	m.mu.RLock()
	known, ok := m.m[&groups[0]]
	m.mu.RUnlock()
	if ok && len(known.groups) == len(groups) { // a part of a list begins where the list does
		return known.grants
	}
	var all []grant
	for _, g := range groups {
		all = append(all, t.of(g)...)
	}
	slices.SortFunc(all, byScope)
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.m == nil || len(m.m) >= rememberGroups || m.ids+len(groups) > rememberIDs {
		m.m, m.ids = make(map[*string]groupGrants), 0
	}
	m.ids += len(groups) - len(m.m[&groups[0]].groups)
	m.m[&groups[0]] = groupGrants{groups, all}
	return all
}
