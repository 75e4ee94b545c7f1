package rbac

import (
	"cmp"
	"fmt"
	"hash/maphash"
	"maps"
	"slices"
	"strings"
)

// grant is one assignment as a table keeps it. The grants of a principal stand in the order of their scopes.
type grant struct {
	scope Scope  // folded
	role  uint32 // place in Table.gives
	id    string // of the assignment
}

// shards is how many parts a table has: a change copies one of them.
const shards = 256

// Table is a compiled set of assignments, indexed by principal. It is immutable: a change makes another one that
// shares nearly everything with it, so that with many assignments a change costs no more than with few.
type Table struct {
	byPrincipal [shards]map[string][]grant
	atKey       [shards]map[Scope]int // how many assignments there are at each key's scope
	top         int                   // at / and /keys together
	total       int
	admins      int                     // assignments of Administrator at /
	gives       []Set                   // what each role gives; nothing if it is gone
	roles       map[DefinitionID]uint32 // places in gives
	merged      *merged
}

// seed makes places in shards unpredictable.
var seed = maphash.MakeSeed()

func shard[T ~string](s T) int { return int(maphash.String(seed, string(s)) % shards) }

// Compile builds a Table. An assignment whose custom role does not exist is defunct and grants nothing.
func Compile(assignments []Assignment, custom []Definition) (*Table, error) {
	t := &Table{roles: make(map[DefinitionID]uint32, len(builtIns)+len(custom)), merged: new(merged)}
	for _, ds := range [][]Definition{custom, builtIns} { // built-in ones last: no stored role takes their place
		for _, d := range ds {
			s, err := d.Grants()
			if err != nil {
				return nil, fmt.Errorf("role %s: %w", d.ID, err)
			}
			t.define(d.ID, s)
		}
	}
	for _, a := range assignments {
		t.add(a)
	}
	for _, m := range t.byPrincipal {
		for _, gs := range m {
			slices.SortFunc(gs, byScope)
		}
	}
	return t, nil
}

func byScope(a, b grant) int { return cmp.Compare(a.scope, b.scope) }

// define says what a role gives.
func (t *Table) define(id DefinitionID, s Set) {
	if i, ok := t.roles[id]; ok {
		t.gives[i] = s
		return
	}
	t.roles[id] = uint32(len(t.gives))
	t.gives = append(t.gives, s)
}

// role is the place of a role in gives, which it gets, giving nothing, if it has none.
func (t *Table) role(id DefinitionID) uint32 {
	if _, ok := t.roles[id]; !ok {
		t.roles, t.gives = maps.Clone(t.roles), slices.Clone(t.gives)
		t.define(id, 0)
	}
	return t.roles[id]
}

// add appends a grant, and counts. The maps must be t's own.
func (t *Table) add(a Assignment) {
	m := &t.byPrincipal[shard(a.Principal)]
	if *m == nil {
		*m = make(map[string][]grant)
	}
	(*m)[a.Principal] = append((*m)[a.Principal], grant{a.Scope.fold(), t.role(a.Definition), a.ID})
	t.count(a, 1)
}

func (t *Table) count(a Assignment, n int) {
	t.total += n
	if s := a.Scope.fold(); s.onKey() {
		m := &t.atKey[shard(s)]
		if *m == nil {
			*m = make(map[Scope]int)
		}
		if (*m)[s] += n; (*m)[s] == 0 {
			delete(*m, s)
		}
	} else {
		t.top += n
	}
	if a.administersAll() {
		t.admins += n
	}
}

func (a Assignment) administersAll() bool {
	return a.Definition == Administrator && a.Scope.Equal(ScopeRoot)
}

// onKey tells whether a folded scope is that of a single key.
func (s Scope) onKey() bool { return s != ScopeRoot && s != ScopeKeys }

// copied is a table of which the parts that a belongs to may be changed.
func (t *Table) copied(a Assignment) *Table {
	out := *t
	out.merged = new(merged)
	i := shard(a.Principal)
	out.byPrincipal[i] = maps.Clone(t.byPrincipal[i])
	if s := a.Scope.fold(); s.onKey() {
		out.atKey[shard(s)] = maps.Clone(t.atKey[shard(s)])
	}
	return &out
}

// With is t with one assignment more.
func (t *Table) With(a Assignment) *Table {
	out := t.copied(a)
	g := grant{a.Scope.fold(), out.role(a.Definition), a.ID}
	old := t.of(a.Principal)
	at, _ := slices.BinarySearchFunc(old, g, byScope)
	m := &out.byPrincipal[shard(a.Principal)]
	if *m == nil {
		*m = make(map[string][]grant)
	}
	(*m)[a.Principal] = slices.Concat(old[:at], []grant{g}, old[at:])
	out.count(a, 1)
	return out
}

// Without is t without an assignment that is in it.
func (t *Table) Without(a Assignment) *Table {
	out := t.copied(a)
	m := out.byPrincipal[shard(a.Principal)]
	left := slices.DeleteFunc(slices.Clone(m[a.Principal]), func(g grant) bool { return g.id == a.ID })
	if m[a.Principal] = left; len(left) == 0 {
		delete(m, a.Principal)
	}
	out.count(a, -1)
	return out
}

// WithDefinition is t in which a custom role is what d says; its assignments count anew.
func (t *Table) WithDefinition(d Definition) (*Table, error) {
	s, err := d.Grants()
	if err != nil {
		return nil, fmt.Errorf("role %s: %w", d.ID, err)
	}
	return t.redefined(d.ID, s), nil
}

// WithoutDefinition is t in which a custom role is gone: its assignments are defunct.
func (t *Table) WithoutDefinition(id DefinitionID) *Table { return t.redefined(id, 0) }

func (t *Table) redefined(id DefinitionID, s Set) *Table {
	out := *t
	out.merged = new(merged)
	if _, ok := BuiltIn(id); ok {
		return &out // which is never stored
	}
	out.roles, out.gives = maps.Clone(t.roles), slices.Clone(t.gives)
	out.define(id, s)
	return &out
}

// Len is how many assignments there are.
func (t *Table) Len() int { return t.total }

// Administrators is how many assignments make somebody Administrator of the whole HSM.
func (t *Table) Administrators() int { return t.admins }

// CountAt is how many assignments count against the limit at a scope: those at / and /keys together, or those at
// one key.
func (t *Table) CountAt(s Scope) int {
	if s = s.fold(); s.onKey() {
		return t.atKey[shard(s)][s]
	}
	return t.top
}

// Find gives the id of the assignment that gives principal a role exactly at scope.
func (t *Table) Find(principal string, def DefinitionID, at Scope) (id string, ok bool) {
	role, known := t.roles[def]
	at = at.fold()
	for _, g := range t.of(principal) {
		if known && g.role == role && g.scope == at {
			return g.id, true
		}
	}
	return "", false
}

// of are the grants of a principal or group.
func (t *Table) of(id string) []grant { return t.byPrincipal[shard(id)][id] }

// Allow tells whether p, or a group p is in, may do a at scope.
func (t *Table) Allow(p Principal, a Action, at Scope) bool {
	if t == nil || t.merged == nil || p.ID == "" || a == 0 {
		return false
	}
	at = at.fold()
	return t.allows(t.of(p.ID), a, at) || len(p.Groups) > 0 && t.allows(t.ofGroups(p.Groups), a, at)
}

// Knows tells whether p, or a group p is in, has any role at all.
func (t *Table) Knows(p Principal) bool {
	if t == nil || t.merged == nil || p.ID == "" {
		return false
	}
	return t.some(t.of(p.ID)) || len(p.Groups) > 0 && t.some(t.ofGroups(p.Groups))
}

func (t *Table) some(grants []grant) bool {
	return slices.ContainsFunc(grants, func(g grant) bool { return t.gives[g.role] != 0 })
}

// few is how many grants are looked through as they stand.
const few = 16

func (t *Table) allows(grants []grant, a Action, at Scope) bool {
	if len(grants) <= few {
		for _, g := range grants {
			if t.gives[g.role].Has(a) && g.scope.covers(at) {
				return true
			}
		}
		return false
	}
	return t.givenAt(grants, a, ScopeRoot) || ScopeKeys.covers(at) && t.givenAt(grants, a, ScopeKeys) || at.onKey() && t.givenAt(grants, a, at)
}

// givenAt tells whether a grant at exactly this scope gives a.
func (t *Table) givenAt(grants []grant, a Action, at Scope) bool {
	i, found := slices.BinarySearchFunc(grants, grant{scope: at}, byScope)
	for ; found && i < len(grants) && grants[i].scope == at; i++ {
		if t.gives[grants[i].role].Has(a) {
			return true
		}
	}
	return false
}

// covers is Contains for folded scopes.
func (s Scope) covers(t Scope) bool {
	return s == ScopeRoot || s == t || s == ScopeKeys && strings.HasPrefix(string(t), "/keys/")
}
