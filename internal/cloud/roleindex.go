package cloud

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"

	"redoubt/internal/store"
)

// Every request of the control plane asks who may do what. So the role assignments are read once, and kept by principal
// for as long as none of them changes: with each change a record of its own is written, in the same transaction, and what
// is kept counts only for the revision of that record. Looking it up is one read, however many assignments there are.

// grantsRevision is the key of that record.
const grantsRevision = "rarev"

// grantsChanged is a write that belongs into every transaction that makes or removes a role assignment.
func grantsChanged() store.Op { return put(grantsRevision, NewGUID()) }

// roleIndex keeps the newest index.
type roleIndex struct {
	now atomic.Pointer[grants]
	mu  sync.Mutex // held while an index is made: the others wait for it
}

// grants are all role assignments at one revision. They are not changed.
type grants struct {
	rev   store.Rev          // of grantsRevision
	of    map[string][]grant // by principal, in lower case
	total int                // of all assignments
}

type grant struct {
	scope   string // as the assignment has it
	compare string // the same, clean and in lower case
	role    RoleDefinition
}

// grantsNow returns the index of the assignments as they are.
func (c *Cloud) grantsNow(ctx context.Context) (*grants, error) {
	rev, err := c.grantsRev(ctx)
	if err != nil {
		return nil, err
	}
	if g := c.roles.now.Load(); g != nil && g.rev == rev {
		return g, nil
	}
	c.roles.mu.Lock()
	defer c.roles.mu.Unlock()
	if rev, err = c.grantsRev(ctx); err != nil {
		return nil, err
	}
	if g := c.roles.now.Load(); g != nil && g.rev == rev {
		return g, nil
	}
	all, err := c.RoleAssignments(ctx)
	if err != nil {
		return nil, err
	}
	g := indexGrants(all, rev)
	if again, err := c.grantsRev(ctx); err == nil && again == rev { // else it may be of no one revision
		c.roles.now.Store(g)
	}
	return g, nil
}

// grantsRev is 0 in a store that was written before there was the record.
func (c *Cloud) grantsRev(ctx context.Context) (store.Rev, error) {
	kv, _, err := c.s.Get(ctx, root+grantsRevision)
	if err != nil && !errors.Is(err, store.ErrNotFound) {
		return 0, fmt.Errorf("read dev cloud: %w", err)
	}
	return kv.Mod, nil
}

// indexGrants counts assignments of roles that there are not, and leaves them out otherwise.
func indexGrants(all []RoleAssignment, rev store.Rev) *grants {
	g := &grants{rev: rev, of: make(map[string][]grant), total: len(all)}
	for _, a := range all {
		if d, ok := FindRoleDefinition(a.Role); ok {
			id := fold(a.PrincipalID)
			g.of[id] = append(g.of[id], grant{a.Scope, fold(cleanScope(a.Scope)), d})
		}
	}
	return g
}

// below tells whether inner, clean and in lower case, is outer or lies below it.
func below(outer, inner string) bool {
	return outer == "/" || outer == inner || len(inner) > len(outer) && inner[len(outer)] == '/' && strings.HasPrefix(inner, outer)
}
