package arm

import (
	"errors"
	"fmt"
	"net/http"
	"strings"

	"redoubt/internal/api/azhttp"
	"redoubt/internal/cloud"
)

// authorizationRoute finds the role routes, whose scope is any path:
// {scope}/providers/Microsoft.Authorization/{roleAssignments|roleDefinitions}[/{id}]. They go before all
// others because the scope may itself name a provider's resource.
func authorizationRoute(q *request) (func(*request) (azhttp.Reply, error), bool) {
	for i := len(q.Path) - 3; i >= 0; i-- {
		if !strings.EqualFold(q.Path[i], "providers") || !strings.EqualFold(q.Path[i+1], "Microsoft.Authorization") {
			continue
		}
		rest := q.Path[i+3:]
		if len(rest) > 1 {
			return nil, false
		}
		q.SetParam("scope", "/"+strings.Join(q.Path[:i], "/"))
		what := q.Verb() + " " + strings.ToLower(q.Path[i+2])
		if len(rest) == 1 {
			q.SetParam("id", rest[0])
			what += " one"
		}
		r, ok := authorizationRoutes[what]
		if !ok {
			return nil, false
		}
		return func(q *request) (azhttp.Reply, error) {
			if err := q.permit(r.action, q.Param("scope")); err != nil {
				return azhttp.Reply{}, err
			}
			if len(q.Param("scope")) > maxScope {
				return azhttp.Reply{}, &azhttp.Problem{Status: http.StatusBadRequest, Code: "InvalidParameter", Message: fmt.Sprintf(
					"The scope in the request path has more than %d bytes. Use that of a subscription, a resource group or a resource.", maxScope)}
			}
			return r.handle(q)
		}, true
	}
	return nil, false
}

// maxScope is the longest scope of a role, bytes: a list holds it against every assignment there is.
const maxScope = 1024

var authorizationRoutes = map[string]route{
	"GET roledefinitions":        {action: "Microsoft.Authorization/roleDefinitions/read", handle: listRoleDefinitions},
	"GET roledefinitions one":    {action: "Microsoft.Authorization/roleDefinitions/read", handle: getRoleDefinition},
	"GET roleassignments":        {action: "Microsoft.Authorization/roleAssignments/read", handle: listRoleAssignments},
	"GET roleassignments one":    {action: "Microsoft.Authorization/roleAssignments/read", handle: getRoleAssignment},
	"PUT roleassignments one":    {action: "Microsoft.Authorization/roleAssignments/write", handle: putRoleAssignment},
	"DELETE roleassignments one": {action: "Microsoft.Authorization/roleAssignments/delete", handle: deleteRoleAssignment},
}

func (q *request) wireRoleDefinition(d cloud.RoleDefinition) map[string]any {
	scope := q.Param("scope")
	if segs := strings.Split(scope, "/"); len(segs) >= 3 && strings.EqualFold(segs[1], "subscriptions") {
		scope = "/subscriptions/" + segs[2]
	}
	list := func(s []string) []string { return append([]string{}, s...) }
	return map[string]any{"id": strings.TrimSuffix(scope, "/") + "/providers/Microsoft.Authorization/roleDefinitions/" + d.Name, "name": d.Name,
		"type": "Microsoft.Authorization/roleDefinitions", "properties": map[string]any{"roleName": d.RoleName, "description": d.Description, "type": "BuiltInRole",
			"assignableScopes": []string{"/"}, "permissions": []map[string]any{{"actions": list(d.Actions), "notActions": list(d.NotActions),
				"dataActions": list(d.DataActions), "notDataActions": list(d.NotDataActions)}}}}
}

func listRoleDefinitions(q *request) (azhttp.Reply, error) {
	want, filtered := equalsFilter(q.URL.Query().Get("$filter"), "roleName")
	var out []map[string]any
	for _, d := range cloud.RoleDefinitions() {
		if !filtered || strings.EqualFold(d.RoleName, want) {
			out = append(out, q.wireRoleDefinition(d))
		}
	}
	return values(out), nil
}

func getRoleDefinition(q *request) (azhttp.Reply, error) {
	d, ok := cloud.FindRoleDefinition(q.Param("id"))
	if !ok {
		return azhttp.Reply{}, &azhttp.Problem{Status: 404, Code: "RoleDefinitionDoesNotExist", Message: "The specified role definition with ID '" + q.Param("id") + "' does not exist."}
	}
	return azhttp.OK(q.wireRoleDefinition(d))
}

// equalsFilter reads one term "name eq 'value'" out of an OData filter.
func equalsFilter(filter, name string) (value string, ok bool) {
	for term := range strings.SplitSeq(filter, " and ") {
		f := strings.SplitN(strings.TrimSpace(term), " ", 3)
		if len(f) == 3 && strings.EqualFold(f[0], name) && strings.EqualFold(f[1], "eq") {
			return strings.Trim(strings.TrimSpace(f[2]), "'"), true
		}
	}
	return "", false
}

// callFilter reads one term "name('value')" out of an OData filter.
func callFilter(filter, name string) (value string, ok bool) {
	for term := range strings.SplitSeq(filter, " and ") {
		t := strings.TrimSpace(term)
		if len(t) > len(name) && strings.EqualFold(t[:len(name)], name) {
			return strings.Trim(t[len(name):], "(') "), true
		}
	}
	return "", false
}

func wireRoleAssignment(a cloud.RoleAssignment) map[string]any {
	scope := a.Scope
	if segs := strings.Split(scope, "/"); len(segs) >= 3 && strings.EqualFold(segs[1], "subscriptions") {
		scope = "/subscriptions/" + segs[2]
	}
	return map[string]any{"id": a.ID(), "name": a.Name, "type": "Microsoft.Authorization/roleAssignments", "properties": map[string]any{
		"roleDefinitionId": strings.TrimSuffix(scope, "/") + "/providers/Microsoft.Authorization/roleDefinitions/" + a.Role, "principalId": a.PrincipalID, "principalType": a.PrincipalType,
		"scope": a.Scope, "createdOn": a.CreatedOn, "updatedOn": a.CreatedOn, "createdBy": a.CreatedBy, "updatedBy": a.CreatedBy}}
}

func listRoleAssignments(q *request) (azhttp.Reply, error) {
	all, err := q.h.cfg.Cloud.RoleAssignments(q.Context())
	if err != nil {
		return azhttp.Reply{}, err
	}
	filter := q.URL.Query().Get("$filter")
	principal, byPrincipal := equalsFilter(filter, "principalId")
	if assigned, ok := callFilter(filter, "assignedTo"); ok { // without groups, being assigned is being the principal
		principal, byPrincipal = assigned, true
	}
	atScope := strings.Contains(strings.ToLower(filter), "atscope()")
	var out []map[string]any
	for _, a := range all {
		above, below := cloud.ScopeContains(a.Scope, q.Param("scope")), cloud.ScopeContains(q.Param("scope"), a.Scope)
		if (above || below && !atScope) && (!byPrincipal || strings.EqualFold(a.PrincipalID, principal)) {
			out = append(out, wireRoleAssignment(a))
		}
	}
	return values(out), nil
}

func getRoleAssignment(q *request) (azhttp.Reply, error) {
	a, err := q.h.cfg.Cloud.RoleAssignment(q.Context(), q.Param("scope"), q.Param("id"))
	if err != nil {
		return azhttp.Reply{}, err
	}
	return azhttp.OK(wireRoleAssignment(a))
}

func putRoleAssignment(q *request) (azhttp.Reply, error) {
	var body struct {
		Properties struct {
			RoleDefinitionID string `json:"roleDefinitionId"`
			PrincipalID      string `json:"principalId"`
			PrincipalType    string `json:"principalType"`
		} `json:"properties"`
	}
	if err := q.Decode(&body); err != nil {
		return azhttp.Reply{}, err
	}
	p := body.Properties
	d, ok := cloud.FindRoleDefinition(p.RoleDefinitionID)
	if !ok {
		return azhttp.Reply{}, &azhttp.Problem{Status: 404, Code: "RoleDefinitionDoesNotExist", Message: "The specified role definition '" + p.RoleDefinitionID + "' does not exist."}
	}
	q.note("principalId", p.PrincipalID)
	q.note("roleDefinitionId", d.Name)
	a, _, err := q.h.cfg.Cloud.CreateRoleAssignment(q.Context(), cloud.RoleAssignment{Name: q.Param("id"), Scope: q.Param("scope"), Role: d.Name, PrincipalID: p.PrincipalID,
		PrincipalType: p.PrincipalType, CreatedBy: q.who.Principal.ID, CreatedOn: rfc3339(q.h.cfg.Clock().Unix())})
	if err != nil {
		return azhttp.Reply{}, err
	}
	return azhttp.Reply{Status: http.StatusCreated, Body: wireRoleAssignment(a)}, nil
}

func deleteRoleAssignment(q *request) (azhttp.Reply, error) {
	a, err := q.h.cfg.Cloud.DeleteRoleAssignment(q.Context(), q.Param("scope"), q.Param("id"))
	switch {
	case errors.Is(err, cloud.ErrNotFound):
		return azhttp.Reply{Status: http.StatusNoContent}, nil
	case err != nil:
		return azhttp.Reply{}, err
	}
	q.note("principalId", a.PrincipalID)
	q.note("roleDefinitionId", a.Role)
	return azhttp.OK(wireRoleAssignment(a))
}
