package dataplane

import (
	"net/http"
	"net/url"
	"strings"

	"redoubt/internal/api/azhttp"
	"redoubt/internal/hsm"
	"redoubt/internal/rbac"
)

// roleRoute finds the handler of the role routes, whose scope stands before the fixed part:
// {scope}/providers/Microsoft.Authorization/{roleAssignments|roleDefinitions}[/{id}].
func roleRoute(q *request) (target, bool) {
	for i := 0; i+2 < len(q.Path); i++ {
		if !strings.EqualFold(q.Path[i], "providers") || !strings.EqualFold(q.Path[i+1], "Microsoft.Authorization") {
			continue
		}
		rest := q.Path[i+3:]
		if len(rest) > 1 {
			return target{}, false
		}
		q.SetParam("scope", strings.Join(q.Path[:i], "/"))
		what := q.Verb() + " " + strings.ToLower(q.Path[i+2])
		if len(rest) == 1 {
			q.SetParam("id", rest[0])
			what += " one"
		}
		to, ok := roleRoutes[what]
		to.since, to.manages = firstVersion, true
		return to, ok
	}
	return target{}, false
}

var roleRoutes = map[string]target{
	"GET roleassignments":        {op: hsm.OpRoleAssignmentList, handle: listAssignments},
	"GET roleassignments one":    {op: hsm.OpRoleAssignmentGet, handle: getAssignment},
	"PUT roleassignments one":    {op: hsm.OpRoleAssignmentCreate, handle: putAssignment},
	"DELETE roleassignments one": {op: hsm.OpRoleAssignmentDelete, handle: deleteAssignment},
	"GET roledefinitions":        {op: hsm.OpRoleDefinitionList, handle: listDefinitions},
	"GET roledefinitions one":    {op: hsm.OpRoleDefinitionGet, handle: getDefinition},
	"PUT roledefinitions one":    {op: hsm.OpRoleDefinitionCreate, handle: putDefinition},
	"DELETE roledefinitions one": {op: hsm.OpRoleDefinitionDelete, handle: deleteDefinition},
}

type roleAssignment struct {
	ID         string               `json:"id"`
	Name       string               `json:"name"`
	Properties assignmentProperties `json:"properties"`
	Type       string               `json:"type"`
}

type assignmentProperties struct {
	PrincipalID      string     `json:"principalId"`
	RoleDefinitionID string     `json:"roleDefinitionId"`
	Scope            rbac.Scope `json:"scope,omitempty"`
}

func wireAssignment(a rbac.Assignment) roleAssignment {
	return roleAssignment{ID: a.WireID(), Name: a.ID, Type: "Microsoft.Authorization/roleAssignments",
		Properties: assignmentProperties{PrincipalID: a.Principal, RoleDefinitionID: a.Definition.Wire(), Scope: a.Scope}}
}

type permission struct {
	Actions        []string `json:"actions"`
	NotActions     []string `json:"notActions"`
	DataActions    []string `json:"dataActions"`
	NotDataActions []string `json:"notDataActions"`
}

type definitionProperties struct {
	RoleName         string       `json:"roleName"`
	Description      string       `json:"description"`
	Type             string       `json:"type"`
	Permissions      []permission `json:"permissions"`
	AssignableScopes []string     `json:"assignableScopes"`
}

type roleDefinition struct {
	ID         string               `json:"id"`
	Name       string               `json:"name"`
	Properties definitionProperties `json:"properties"`
	Type       string               `json:"type"`
}

func wireDefinition(d rbac.Definition) roleDefinition {
	kind := "CustomRole"
	if d.BuiltIn {
		kind = "AKVBuiltInRole"
	}
	return roleDefinition{ID: d.ID.Wire(), Name: string(d.ID), Type: "Microsoft.Authorization/roleDefinitions",
		Properties: definitionProperties{RoleName: d.Name, Description: d.Description, Type: kind, AssignableScopes: []string{"/"},
			Permissions: []permission{{Actions: list(d.Actions), NotActions: list(d.NotActions), DataActions: list(d.DataActions), NotDataActions: list(d.NotDataActions)}}}}
}

// list makes an absent list an empty one: clients index into it.
func list[T any](s []T) []T {
	if s == nil {
		return []T{}
	}
	return s
}

// scopeAndName is for reading: a name that is no GUID is simply not found. Terraform's azurerm asks for a role
// definition by the name of the HSM before it makes one, and goes on after nothing but 404.
func (q *request) scopeAndName() (rbac.Scope, string, error) {
	s, err := rbac.ParseScope(q.Param("scope"))
	return s, q.Param("id"), err
}

// scopeAndID is for changes: the name must be a GUID.
func (q *request) scopeAndID() (rbac.Scope, string, error) {
	s, id, err := q.scopeAndName()
	if err == nil {
		id, err = rbac.ParseGUID(id)
	}
	return s, id, err
}

// assignmentsPage is how many assignments one answer shows: all of an HSM's top-level ones, and those of one
// principal unless it has roles on many keys.
const assignmentsPage = 100

type assignmentList struct {
	Value    []roleAssignment `json:"value"`
	NextLink *string          `json:"nextLink,omitempty"`
}

func listAssignments(q *request) (azhttp.Reply, error) {
	s, err := rbac.ParseScope(q.Param("scope"))
	if err != nil {
		return azhttp.Reply{}, err
	}
	filter := q.URL.Query().Get("$filter")
	f, err := parseFilter(filter)
	if err != nil {
		return azhttp.Reply{}, err
	}
	if f.After, _, err = q.paging(); err != nil {
		return azhttp.Reply{}, err
	}
	f.Max = assignmentsPage + 1 // one more says whether there is another page
	as, err := q.hsm.ListAssignments(q.Context(), q.who, s, f)
	if err != nil {
		return azhttp.Reply{}, err
	}
	list := assignmentList{Value: []roleAssignment{}}
	if len(as) > assignmentsPage {
		as = as[:assignmentsPage]
		v := url.Values{}
		if filter != "" {
			v.Set("$filter", filter)
		}
		list.NextLink = q.continued(as[len(as)-1].ID, v)
	}
	for _, a := range as {
		list.Value = append(list.Value, wireAssignment(a))
	}
	return azhttp.Reply{Body: list}, nil
}

// parseFilter understands the two filters of the API, atScope() and principalId eq {id}, and both joined by and.
func parseFilter(s string) (hsm.AssignmentFilter, error) {
	var f hsm.AssignmentFilter
	words := strings.Fields(s)
	for len(words) > 0 {
		switch {
		case strings.EqualFold(words[0], "atScope()") && !f.AtScope:
			f.AtScope, words = true, words[1:]
		case len(words) >= 3 && strings.EqualFold(words[0], "principalId") && strings.EqualFold(words[1], "eq") && f.Principal == "":
			id, err := rbac.ParseGUID(strings.Trim(words[2], "'{}"))
			if err != nil {
				return f, err
			}
			f.Principal, words = id, words[3:]
		default:
			return f, errFilter
		}
		if len(words) == 0 {
			return f, nil
		}
		if len(words) == 1 || !strings.EqualFold(words[0], "and") {
			return f, errFilter
		}
		words = words[1:]
	}
	return f, nil
}

var errFilter = azhttp.Bad("$filter is atScope() or principalId eq '{object id}', or both joined by and.")

func (q *request) assignmentReply(status int, a rbac.Assignment, err error) (azhttp.Reply, error) {
	return azhttp.Reply{Status: status, Body: wireAssignment(a)}, err
}

func getAssignment(q *request) (azhttp.Reply, error) {
	s, id, err := q.scopeAndName()
	if err != nil {
		return azhttp.Reply{}, err
	}
	a, err := q.hsm.GetAssignment(q.Context(), q.who, s, id)
	return q.assignmentReply(http.StatusOK, a, err)
}

func putAssignment(q *request) (azhttp.Reply, error) {
	s, id, err := q.scopeAndID()
	if err != nil {
		return azhttp.Reply{}, err
	}
	var body struct {
		Properties assignmentProperties `json:"properties"`
	}
	if err := q.Decode(&body); err != nil {
		return azhttp.Reply{}, err
	}
	def, err := rbac.ParseDefinitionID(body.Properties.RoleDefinitionID)
	if err != nil {
		return azhttp.Reply{}, err
	}
	a, err := q.hsm.PutAssignment(q.Context(), q.who, s, id, body.Properties.PrincipalID, def)
	return q.assignmentReply(http.StatusCreated, a, err)
}

func deleteAssignment(q *request) (azhttp.Reply, error) {
	s, id, err := q.scopeAndID()
	if err != nil {
		return azhttp.Reply{}, err
	}
	a, err := q.hsm.DeleteAssignment(q.Context(), q.who, s, id)
	return q.assignmentReply(http.StatusOK, a, err)
}

func listDefinitions(q *request) (azhttp.Reply, error) {
	s, err := rbac.ParseScope(q.Param("scope"))
	if err != nil {
		return azhttp.Reply{}, err
	}
	// All definitions are made at /, so at and below any scope there are the same ones.
	if f := q.URL.Query().Get("$filter"); f != "" && !strings.EqualFold(strings.TrimSuffix(f, "()"), "atScopeAndBelow") {
		return azhttp.Reply{}, azhttp.Bad("$filter is atScopeAndBelow().")
	}
	ds, err := q.hsm.ListDefinitions(q.Context(), q.who, s)
	out := []roleDefinition{}
	for _, d := range ds {
		out = append(out, wireDefinition(d))
	}
	return azhttp.Reply{Body: map[string]any{"value": out}}, err
}

func (q *request) definitionReply(status int, d rbac.Definition, err error) (azhttp.Reply, error) {
	return azhttp.Reply{Status: status, Body: wireDefinition(d)}, err
}

func getDefinition(q *request) (azhttp.Reply, error) {
	s, id, err := q.scopeAndName()
	if err != nil {
		return azhttp.Reply{}, err
	}
	d, err := q.hsm.GetDefinition(q.Context(), q.who, s, rbac.DefinitionID(id))
	return q.definitionReply(http.StatusOK, d, err)
}

func putDefinition(q *request) (azhttp.Reply, error) {
	s, id, err := q.scopeAndID()
	if err != nil {
		return azhttp.Reply{}, err
	}
	var body struct {
		Properties definitionProperties `json:"properties"`
	}
	if err := q.Decode(&body); err != nil {
		return azhttp.Reply{}, err
	}
	p := body.Properties
	for _, s := range p.AssignableScopes {
		if s != string(rbac.ScopeRoot) {
			return azhttp.Reply{}, azhttp.Bad("assignableScopes of a role definition is [\"/\"]: each role can be assigned at every scope.")
		}
	}
	d := rbac.Definition{ID: rbac.DefinitionID(id), Name: p.RoleName, Description: p.Description}
	for _, x := range p.Permissions {
		d.Actions, d.NotActions = append(d.Actions, x.Actions...), append(d.NotActions, x.NotActions...)
		d.DataActions, d.NotDataActions = append(d.DataActions, x.DataActions...), append(d.NotDataActions, x.NotDataActions...)
	}
	d, err = q.hsm.PutDefinition(q.Context(), q.who, s, d)
	return q.definitionReply(http.StatusCreated, d, err)
}

func deleteDefinition(q *request) (azhttp.Reply, error) {
	s, id, err := q.scopeAndID()
	if err != nil {
		return azhttp.Reply{}, err
	}
	d, err := q.hsm.DeleteDefinition(q.Context(), q.who, s, rbac.DefinitionID(id))
	return q.definitionReply(http.StatusOK, d, err)
}
