package cli

import (
	"context"
	"fmt"
	"regexp"
	"strings"

	"github.com/spf13/cobra"

	"redoubt/internal/client"
)

func (a *app) role() *cobra.Command {
	return group("role", "Local roles of an HSM", group("assignment", "Who has which role", a.assignmentCreate(), a.assignmentList(), a.assignmentDelete()),
		group("definition", "The roles", a.definitionList()))
}

// shownAssignment is how az prints an assignment, but for names that only a directory knows.
type shownAssignment struct {
	ID          string `json:"id"`
	Name        string `json:"name"`
	PrincipalID string `json:"principalId"`
	RoleID      string `json:"roleDefinitionId"`
	RoleName    string `json:"roleName"`
	Scope       string `json:"scope"`
	Type        string `json:"type"`
}

func shown(x client.RoleAssignment, defs []client.RoleDefinition) shownAssignment {
	p := x.Properties
	out := shownAssignment{ID: x.ID, Name: x.Name, PrincipalID: p.PrincipalID, RoleID: p.RoleDefinitionID, Scope: p.Scope, Type: x.Type}
	for _, d := range defs {
		if strings.EqualFold(d.ID, p.RoleDefinitionID) {
			out.RoleName = d.Properties.RoleName
		}
	}
	return out
}

var assignmentColumns = []string{"principalId", "roleName", "scope", "name"}

var guid = regexp.MustCompile(`^[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}$`)

// findRole returns the definition with a name, a GUID or an id.
func findRole(defs []client.RoleDefinition, role string) (client.RoleDefinition, error) {
	for _, d := range defs {
		if strings.EqualFold(d.Properties.RoleName, role) || strings.EqualFold(d.Name, role) || strings.EqualFold(d.ID, role) {
			return d, nil
		}
	}
	return client.RoleDefinition{}, advise(fmt.Errorf("the HSM has no role %q", role), "redoubt role definition list shows them.")
}

// assignment are the flags that choose assignments.
type assignment struct {
	address
	name, scope, role, assignee, objectID string
}

func (s *assignment) flags(c *cobra.Command) {
	s.address.flags(c)
	f := c.Flags()
	f.StringVar(&s.scope, "scope", "", "where it holds: / for the whole HSM, /keys, or /keys/NAME")
	f.StringVar(&s.role, "role", "", "name or id of the role, such as \"Managed HSM Crypto User\"")
	f.StringVar(&s.assignee, "assignee", "", "object id of the principal")
	f.StringVar(&s.objectID, "assignee-object-id", "", "the same")
	f.StringVarP(&s.name, "name", "n", "", "name of the assignment, a GUID")
	c.MarkFlagsMutuallyExclusive("assignee", "assignee-object-id")
	ignored(c, "assignee-principal-type")
}

func (s *assignment) principal() (string, error) {
	id := s.objectID
	if id == "" {
		id = s.assignee
	}
	if id != "" && !guid.MatchString(id) {
		return "", wrongUse("%q is not an object id; az ad user show --id %s --query id finds it", id, id)
	}
	return id, nil
}

func (a *app) assignmentCreate() *cobra.Command {
	var s assignment
	c := a.verb("create", "Give a principal a role", "", func(ctx context.Context) error {
		principal, err := s.principal()
		if err != nil {
			return err
		}
		if principal == "" {
			return wrongUse("--assignee-object-id is needed")
		}
		_, h, err := s.open(a)
		if err != nil {
			return err
		}
		defs, err := h.RoleDefinitions(ctx, s.scope)
		if err != nil {
			return fmt.Errorf("list roles: %w", err)
		}
		d, err := findRole(defs, s.role)
		if err != nil {
			return err
		}
		made, err := h.CreateRoleAssignment(ctx, s.scope, s.name, principal, d.ID)
		if err != nil {
			return fmt.Errorf("assign %s: %w", d.Properties.RoleName, err)
		}
		return a.print(shown(made, defs), assignmentColumns...)
	})
	s.flags(c)
	return require(c, "scope", "role")
}

func (a *app) assignmentList() *cobra.Command {
	var s assignment
	c := a.verb("list", "List role assignments", "All that hold at the scope, / if none is given.", func(ctx context.Context) error {
		principal, err := s.principal()
		if err != nil {
			return err
		}
		_, h, err := s.open(a)
		if err != nil {
			return err
		}
		defs, err := h.RoleDefinitions(ctx, s.scope)
		if err != nil {
			return fmt.Errorf("list roles: %w", err)
		}
		all, err := h.RoleAssignments(ctx, s.scope)
		if err != nil {
			return fmt.Errorf("list role assignments: %w", err)
		}
		out := []shownAssignment{}
		for _, x := range all {
			v := shown(x, defs)
			if principal != "" && !strings.EqualFold(v.PrincipalID, principal) || s.role != "" && !strings.EqualFold(v.RoleName, s.role) && !strings.EqualFold(v.RoleID, s.role) {
				continue
			}
			out = append(out, v)
		}
		return a.print(out, assignmentColumns...)
	})
	s.flags(c)
	return c
}

func (a *app) assignmentDelete() *cobra.Command {
	var s assignment
	c := a.verb("delete", "Take a role away", "By the assignment's --name at its --scope.", func(ctx context.Context) error {
		_, h, err := s.open(a)
		if err != nil {
			return err
		}
		if err := h.DeleteRoleAssignment(ctx, s.scope, s.name); err != nil {
			return fmt.Errorf("delete role assignment %s: %w", s.name, err)
		}
		return nil
	})
	s.flags(c)
	return require(c, "scope", "name")
}

// shownDefinition is how az prints a role.
type shownDefinition struct {
	AssignableScopes []string            `json:"assignableScopes"`
	Description      string              `json:"description"`
	ID               string              `json:"id"`
	Name             string              `json:"name"`
	Permissions      []client.Permission `json:"permissions"`
	RoleName         string              `json:"roleName"`
	RoleType         string              `json:"roleType"`
	Type             string              `json:"type"`
}

func (a *app) definitionList() *cobra.Command {
	var at address
	var scope string
	c := a.verb("list", "List the roles that can be assigned", "", func(ctx context.Context) error {
		_, h, err := at.open(a)
		if err != nil {
			return err
		}
		defs, err := h.RoleDefinitions(ctx, scope)
		if err != nil {
			return fmt.Errorf("list roles: %w", err)
		}
		out := []shownDefinition{}
		for _, d := range defs {
			p := d.Properties
			out = append(out, shownDefinition{AssignableScopes: p.AssignableScopes, Description: p.Description, ID: d.ID, Name: d.Name, Permissions: p.Permissions,
				RoleName: p.RoleName, RoleType: p.Type, Type: d.Type})
		}
		return a.print(out, "roleName", "name")
	})
	at.flags(c)
	c.Flags().StringVar(&scope, "scope", "", "scope, / if none is given")
	return c
}
