package hsm

import (
	"context"
	"slices"
	"strings"

	"redoubt/internal/rbac"
	"redoubt/internal/store"
)

// Limits of role management (Managed HSM service limits).
const (
	maxAssignmentsTop    = 50 // at "/" and "/keys" together
	maxAssignmentsPerKey = 10
	maxDefinitions       = 50 // custom ones
)

// Every change of roles rewrites the device record with a higher count of role changes, in the same
// transaction. That makes compiled tables stale at once, and it puts role changes in a line: what a check
// read (how many there are, who is the last Administrator) still holds when the change commits.

// rolesChanged is the device record for a change of roles.
func (v *view) rolesChanged() *device {
	d := v.dev
	d.Roles++
	return &d
}

// findAssignment reads an assignment as seen from scope: one made at scope or below it. What a caller may
// do at a scope it may do below, so this gives nothing away; clients delete key-level assignments from "/".
func (v *view) findAssignment(ctx context.Context, scope rbac.Scope, id string) (rbac.Assignment, stamp, error) {
	missing := answerf(rbac.ErrAssignmentNotFound, "Requested role assignment not found: %s at %s. List them with az keyvault role assignment list --hsm-name %s --scope %s", id, scope, v.h.cfg.Name, scope)
	guid, err := rbac.ParseGUID(id)
	if err != nil {
		return rbac.Assignment{}, stamp{}, missing
	}
	a, s, err := load[rbac.Assignment](ctx, v, assignmentName(guid))
	if isAbsent(err) || err == nil && !scope.Contains(a.Scope) {
		err = missing
	}
	return a, s, err
}

// PutAssignment gives principal (the object id of a user, group or service principal) a role at scope. Id
// is the assignment's GUID, chosen by the caller; the same request may be repeated. The same role for the
// same principal at the same scope under another id, or another request under the same id, is
// rbac.ErrAssignmentExists.
func (h *HSM) PutAssignment(ctx context.Context, who Caller, scope rbac.Scope, id, principal string, def rbac.DefinitionID) (a rbac.Assignment, err error) {
	c, err := h.begin(ctx, who, OpRoleAssignmentCreate, scope)
	if err != nil {
		return rbac.Assignment{}, err
	}
	defer c.end(&err)
	a = rbac.Assignment{Scope: scope, Definition: def}
	if a.ID, err = rbac.ParseGUID(id); err != nil {
		return rbac.Assignment{}, err
	}
	if a.Principal, err = rbac.ParseGUID(principal); err != nil {
		return rbac.Assignment{}, err
	}
	c.note("roleAssignment", a.ID)
	c.note("assignee", a.Principal)
	c.note("roleDefinition", string(def))
	err = c.update(ctx, func() (change, error) { return c.buildAssignment(ctx, a) })
	if err != nil {
		return rbac.Assignment{}, err
	}
	return a, nil
}

func (c *call) buildAssignment(ctx context.Context, a rbac.Assignment) (change, error) {
	if _, _, err := c.v.findDefinition(ctx, a.Definition); err != nil {
		return change{}, err
	}
	t, err := c.v.rolesTable(ctx)
	if err != nil {
		return change{}, err
	}
	switch id, there := t.Find(a.Principal, a.Definition, a.Scope); {
	case there && id == a.ID:
		return change{}, nil // repeated request: nothing to write but its audit entry
	case there:
		return change{}, answerf(rbac.ErrAssignmentExists, "The role assignment already exists: %s has role %s at %s by assignment %s", a.Principal, a.Definition, a.Scope, id)
	}
	switch _, _, err := load[rbac.Assignment](ctx, &c.v, assignmentName(a.ID)); {
	case err == nil:
		return change{}, answerf(rbac.ErrAssignmentExists, "The role assignment id %s is taken by another assignment; choose a new GUID, or delete that assignment first", a.ID)
	case !isAbsent(err):
		return change{}, err
	}
	if err := c.h.roomForAssignment(t, a.Scope); err != nil {
		return change{}, err
	}
	return change{
		ifs:   []store.Cond{c.v.cond(assignmentName(a.ID), stamp{})},
		ops:   []store.Op{c.v.putAssignment(a)},
		dev:   c.v.rolesChanged(),
		roles: func(t *rbac.Table) *rbac.Table { return t.With(a) },
	}, nil
}

// roomForAssignment refuses one more assignment at scope when there are as many as there can be. On keys, which need not be
// there, an HSM has no more altogether than it could have with all of its keys.
func (h *HSM) roomForAssignment(t *rbac.Table, scope rbac.Scope) error {
	limit := maxAssignmentsTop
	if onKey(scope) {
		limit = maxAssignmentsPerKey
	}
	const instead = "assign a role to a group instead, or delete one that is no longer needed"
	if n := t.CountAt(scope); n >= limit {
		return answerf(ErrLimit, "there are %d role assignments at %s, as many as there can be; %s", n, scope, instead)
	}
	if n := t.Len(); n >= maxAssignmentsTop+maxAssignmentsPerKey*h.cfg.maxKeys() {
		return answerf(ErrLimit, "there are %d role assignments on this HSM, as many as there can be; %s", n, instead)
	}
	return nil
}

// onKey tells whether a scope is that of a single key.
func onKey(s rbac.Scope) bool { return !s.Equal(rbac.ScopeRoot) && !s.Equal(rbac.ScopeKeys) }

// GetAssignment shows one assignment made at scope or below.
func (h *HSM) GetAssignment(ctx context.Context, who Caller, scope rbac.Scope, id string) (a rbac.Assignment, err error) {
	c, err := h.begin(ctx, who, OpRoleAssignmentGet, scope)
	if err != nil {
		return rbac.Assignment{}, err
	}
	defer c.end(&err)
	err = c.read(ctx, func() error {
		a, _, err = c.v.findAssignment(ctx, scope, id)
		return err
	})
	return a, err
}

// DeleteAssignment takes an assignment away and returns it. The last Administrator at "/" stays:
// rbac.ErrLastAdministrator, since without one nobody could ever assign, back up or restore again.
func (h *HSM) DeleteAssignment(ctx context.Context, who Caller, scope rbac.Scope, id string) (a rbac.Assignment, err error) {
	c, err := h.begin(ctx, who, OpRoleAssignmentDelete, scope)
	if err != nil {
		return rbac.Assignment{}, err
	}
	defer c.end(&err)
	c.note("roleAssignment", strings.ToLower(id))
	err = c.update(ctx, func() (change, error) {
		var s stamp
		if a, s, err = c.v.findAssignment(ctx, scope, id); err != nil {
			return change{}, err
		}
		if err := c.v.checkNotLastAdministrator(ctx, a); err != nil {
			return change{}, err
		}
		name := assignmentName(a.ID)
		return change{ifs: []store.Cond{c.v.cond(name, s)}, ops: []store.Op{c.v.drop(name)}, dev: c.v.rolesChanged(),
			roles: func(t *rbac.Table) *rbac.Table { return t.Without(a) }}, nil
	})
	return a, err
}

func administersAll(a rbac.Assignment) bool {
	return a.Definition == rbac.Administrator && a.Scope.Equal(rbac.ScopeRoot)
}

func (v *view) checkNotLastAdministrator(ctx context.Context, a rbac.Assignment) error {
	if !administersAll(a) {
		return nil
	}
	t, err := v.rolesTable(ctx)
	if err != nil || t.Administrators() > 1 {
		return err
	}
	return answerf(rbac.ErrLastAdministrator, "%s is the only Managed HSM Administrator at /; assign the role to another principal first (az keyvault role assignment create --hsm-name %s --role \"Managed HSM Administrator\" --scope / --assignee ID)", a.Principal, v.h.cfg.Name)
}

// AssignmentFilter narrows a list of assignments.
type AssignmentFilter struct {
	AtScope   bool   // atScope(): those that hold at the scope: made there or above
	Principal string // principalId eq: those of one principal, made at the scope, above or below
	After     string // id of the last one that was shown before: the list goes on behind it
	Max       int    // how many to show at most; 0 for all
}

// ListAssignments shows assignments in id order. Without a principal they are those made at scope or
// above, so "/" and "/keys" show the top-level ones ("/" and "/keys" are both the whole HSM) and not
// those of single keys. With a principal and without AtScope it is every one of that principal's that
// has to do with scope.
func (h *HSM) ListAssignments(ctx context.Context, who Caller, scope rbac.Scope, f AssignmentFilter) (out []rbac.Assignment, err error) {
	c, err := h.begin(ctx, who, OpRoleAssignmentList, scope)
	if err != nil {
		return nil, err
	}
	defer c.end(&err)
	if f.After != "" {
		if f.After, err = rbac.ParseGUID(f.After); err != nil {
			return nil, badContinuation(err)
		}
	}
	err = c.readSet(ctx, func() error {
		out = nil
		return c.v.scanAfter(ctx, "ra/", f.After, func(logical string, kv store.KV) (bool, error) {
			a, _, err := openOnce[rbac.Assignment](&c.v, logical, kv)
			if err == nil && f.shows(a, scope) {
				out = append(out, a)
			}
			return f.Max == 0 || len(out) < f.Max, err
		})
	})
	if err != nil {
		return nil, err
	}
	return out, nil
}

func (f AssignmentFilter) shows(a rbac.Assignment, scope rbac.Scope) bool {
	if f.Principal != "" && !strings.EqualFold(f.Principal, a.Principal) {
		return false
	}
	below := f.Principal != "" && !f.AtScope && scope.Contains(a.Scope)
	return below || a.Scope.Contains(scope) || !onKey(a.Scope)
}

// findDefinition finds a built-in or custom role. Built-in ones have the zero stamp.
func (v *view) findDefinition(ctx context.Context, id rbac.DefinitionID) (rbac.Definition, stamp, error) {
	missing := answerf(rbac.ErrDefinitionNotFound, "Requested role definition not found: %s. List them with az keyvault role definition list --hsm-name %s", id, v.h.cfg.Name)
	guid, err := rbac.ParseGUID(string(id))
	if err != nil {
		return rbac.Definition{}, stamp{}, missing
	}
	id = rbac.DefinitionID(guid)
	if d, ok := rbac.BuiltIn(id); ok {
		return d, stamp{}, nil
	}
	d, s, err := load[rbac.Definition](ctx, v, definitionName(id))
	if isAbsent(err) {
		err = missing
	}
	return d, s, err
}

// ListDefinitions shows the built-in roles, then the custom ones in id order.
func (h *HSM) ListDefinitions(ctx context.Context, who Caller, scope rbac.Scope) (out []rbac.Definition, err error) {
	c, err := h.begin(ctx, who, OpRoleDefinitionList, scope)
	if err != nil {
		return nil, err
	}
	defer c.end(&err)
	err = c.readSet(ctx, func() error {
		custom, err := scanAll[rbac.Definition](ctx, &c.v, "rd/")
		out = append(rbac.BuiltIns(), custom...)
		return err
	})
	if err != nil {
		return nil, err
	}
	return out, nil
}

// GetDefinition shows one role.
func (h *HSM) GetDefinition(ctx context.Context, who Caller, scope rbac.Scope, id rbac.DefinitionID) (d rbac.Definition, err error) {
	c, err := h.begin(ctx, who, OpRoleDefinitionGet, scope)
	if err != nil {
		return rbac.Definition{}, err
	}
	defer c.end(&err)
	err = c.read(ctx, func() error {
		d, _, err = c.v.findDefinition(ctx, id)
		return err
	})
	return d, err
}

// PutDefinition makes or replaces a custom role; d.ID says which. A role without a name is called by its
// id. Replacing one changes what its assignments grant, at once.
func (h *HSM) PutDefinition(ctx context.Context, who Caller, scope rbac.Scope, d rbac.Definition) (out rbac.Definition, err error) {
	c, err := h.begin(ctx, who, OpRoleDefinitionCreate, scope)
	if err != nil {
		return rbac.Definition{}, err
	}
	defer c.end(&err)
	if d, err = checkDefinition(scope, d); err != nil {
		return rbac.Definition{}, err
	}
	c.note("roleDefinition", string(d.ID))
	if err = c.update(ctx, func() (change, error) { return c.buildDefinition(ctx, d) }); err != nil {
		return rbac.Definition{}, err
	}
	return d, nil
}

// Limits of a role's texts, in bytes: its name, its description; all its actions together.
const (
	maxDefinitionText    = 1024
	maxDefinitionActions = 64 << 10
)

func checkDefinition(scope rbac.Scope, d rbac.Definition) (rbac.Definition, error) {
	id, err := rbac.ParseGUID(string(d.ID))
	if err != nil {
		return d, answerf(rbac.ErrBadDefinition, "role definition id %q is not a GUID", d.ID)
	}
	d.ID, d.BuiltIn = rbac.DefinitionID(id), false
	if err := changeable(scope, d.ID); err != nil {
		return d, err
	}
	for _, list := range []*[]string{&d.DataActions, &d.NotDataActions} {
		if *list, err = rbac.Canonical(*list); err != nil {
			return d, err
		}
	}
	if d.Name == "" {
		d.Name = id
	}
	if len(d.Name) > maxDefinitionText || len(d.Description) > maxDefinitionText {
		return d, answerf(rbac.ErrBadDefinition, "name and description of a role have at most %d bytes", maxDefinitionText)
	}
	actions := slices.Concat(d.Actions, d.NotActions, d.DataActions, d.NotDataActions)
	if len(actions) > 1024 || len(strings.Join(actions, "")) > maxDefinitionActions {
		return d, answerf(rbac.ErrBadDefinition, "a role lists at most 1024 actions, of %d bytes together", maxDefinitionActions)
	}
	return d, nil
}

// changeable refuses to change built-in roles, and to change others from a narrower scope: they count everywhere, also for
// those who have nothing to do with whoever manages the roles of one key.
func changeable(scope rbac.Scope, id rbac.DefinitionID) error {
	if !scope.Equal(rbac.ScopeRoot) {
		return answerf(rbac.ErrBadDefinition, "role definitions exist at scope / only, not at %s", scope)
	}
	if b, ok := rbac.BuiltIn(id); ok {
		return answerf(rbac.ErrBuiltIn, "%s is a built-in role and stays as it is; create a custom role under a new GUID", b.Name)
	}
	return nil
}

func (c *call) buildDefinition(ctx context.Context, d rbac.Definition) (change, error) {
	custom, err := scanAll[rbac.Definition](ctx, &c.v, "rd/")
	if err != nil {
		return change{}, err
	}
	others := 0
	for _, x := range append(rbac.BuiltIns(), custom...) {
		if x.ID == d.ID {
			continue
		}
		if strings.EqualFold(x.Name, d.Name) {
			return change{}, answerf(rbac.ErrBadDefinition, "role %s is called %q already; choose another name", x.ID, x.Name)
		}
		if !x.BuiltIn {
			others++
		}
	}
	if others >= maxDefinitions {
		return change{}, answerf(ErrLimit, "there are %d custom roles, as many as there can be; delete one that is no longer needed", others)
	}
	name := definitionName(d.ID)
	_, s, err := load[rbac.Definition](ctx, &c.v, name)
	if err != nil && !isAbsent(err) {
		return change{}, err
	}
	return change{ifs: []store.Cond{c.v.cond(name, s)}, ops: []store.Op{c.v.put(name, s, d)}, dev: c.v.rolesChanged(), roles: func(t *rbac.Table) *rbac.Table {
		t, err := t.WithDefinition(d)
		if err != nil {
			return nil
		}
		return t
	}}, nil
}

// DeleteDefinition removes a custom role and returns it. Its assignments stay and grant nothing.
func (h *HSM) DeleteDefinition(ctx context.Context, who Caller, scope rbac.Scope, id rbac.DefinitionID) (d rbac.Definition, err error) {
	c, err := h.begin(ctx, who, OpRoleDefinitionDelete, scope)
	if err != nil {
		return rbac.Definition{}, err
	}
	defer c.end(&err)
	c.note("roleDefinition", string(id))
	if err = changeable(scope, id); err != nil {
		return rbac.Definition{}, err
	}
	err = c.update(ctx, func() (change, error) {
		var s stamp
		if d, s, err = c.v.findDefinition(ctx, id); err != nil {
			return change{}, err
		}
		name := definitionName(id)
		return change{ifs: []store.Cond{c.v.cond(name, s)}, ops: []store.Op{c.v.drop(name)}, dev: c.v.rolesChanged(),
			roles: func(t *rbac.Table) *rbac.Table { return t.WithoutDefinition(id) }}, nil
	})
	return d, err
}
