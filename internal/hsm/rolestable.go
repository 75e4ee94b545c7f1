package hsm

import (
	"context"
	"fmt"
	"sync"
	"sync/atomic"

	"redoubt/internal/rbac"
)

// The permission table of the content is compiled once, when the device begins to work or its content was replaced,
// and from then on changed together with the roles. So a change of one assignment costs the same whether there are
// ten or a hundred thousand.

// compiledRoles is the permission table of one generation at one state of its roles (device.Roles).
type compiledRoles struct {
	generation string
	roles      uint64
	table      *rbac.Table
}

// roleTables keeps the newest table.
type roleTables struct {
	now atomic.Pointer[compiledRoles]

	mu    sync.Mutex           // held while a table is compiled or changed
	later map[uint64]roleDelta // guarded by mu: changes that were committed behind one that is not applied yet, by the state they begin at
}

// roleDelta changes a table as a commit has changed the roles. It may answer nil: then the table is compiled anew.
type roleDelta func(*rbac.Table) *rbac.Table

// maxLater bounds roleTables.later. Beyond it the table is compiled anew.
const maxLater = 256

func (r *roleTables) find(d device) *rbac.Table {
	if c := r.now.Load(); c != nil && c.generation == d.Generation && c.roles == d.Roles {
		return c.table
	}
	return nil
}

// changed applies a change that was committed on state d, which made d.Roles+1 of it. Commits come one behind the
// other, but who has made them may come here in any order.
func (r *roleTables) changed(d device, delta roleDelta) {
	r.mu.Lock()
	defer r.mu.Unlock()
	c := r.now.Load()
	if c == nil || c.generation != d.Generation || c.roles > d.Roles {
		return
	}
	if r.later == nil {
		r.later = make(map[uint64]roleDelta)
	}
	if len(r.later) < maxLater {
		r.later[d.Roles] = delta
	}
	r.follow(*c)
}

// follow applies what was waiting for c, and keeps what comes of it.
func (r *roleTables) follow(c compiledRoles) {
	for {
		delta, ok := r.later[c.roles]
		if !ok {
			break
		}
		delete(r.later, c.roles)
		t := delta(c.table)
		if t == nil {
			break
		}
		c.table, c.roles = t, c.roles+1
	}
	r.now.Store(&c)
}

// rolesTable is the table of assignments and custom definitions as they are in this state of the device.
func (v *view) rolesTable(ctx context.Context) (*rbac.Table, error) {
	r := &v.h.roles
	if t := r.find(v.dev); t != nil {
		return t, nil
	}
	r.mu.Lock() // the others wait for whoever compiles
	defer r.mu.Unlock()
	if t := r.find(v.dev); t != nil {
		return t, nil
	}
	t, err := v.compileRoles(ctx)
	if err != nil {
		return nil, err
	}
	// What was read is that of v.dev only if nothing was committed meanwhile; if not, whoever called begins anew with
	// what there is by then.
	if d, _, err := v.h.readDevice(ctx); err == nil && d.Generation == v.dev.Generation && d.Roles == v.dev.Roles {
		if c := r.now.Load(); c != nil && c.generation != v.dev.Generation {
			clear(r.later)
		}
		for at := range r.later {
			if at < v.dev.Roles {
				delete(r.later, at)
			}
		}
		r.follow(compiledRoles{generation: v.dev.Generation, roles: v.dev.Roles, table: t})
	}
	return t, nil
}

func (v *view) compileRoles(ctx context.Context) (*rbac.Table, error) {
	as, err := scanAll[rbac.Assignment](ctx, v, "ra/")
	if err != nil {
		return nil, err
	}
	ds, err := scanAll[rbac.Definition](ctx, v, "rd/")
	if err != nil {
		return nil, err
	}
	t, err := rbac.Compile(as, ds)
	if err != nil {
		return nil, fmt.Errorf("%w: roles: %v", ErrCorrupt, err)
	}
	return t, nil
}
