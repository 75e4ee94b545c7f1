package arm

import (
	"errors"
	"net/http"
	"strings"

	"redoubt/internal/api/azhttp"
	"redoubt/internal/cloud"
)

const (
	identityType = "Microsoft.ManagedIdentity/userAssignedIdentities"
	identityPath = "subscriptions/{sub}/resourceGroups/{rg}/providers/" + identityType + "/{name}"
)

var identityRoutes = []route{
	{"PUT", identityPath, identityType + "/write", putIdentity},
	{"GET", identityPath, identityType + "/read", getIdentity},
	{"DELETE", identityPath, identityType + "/delete", deleteIdentity},
	{"GET", "subscriptions/{sub}/resourceGroups/{rg}/providers/" + identityType, identityType + "/read", listIdentities},
	{"GET", "subscriptions/{sub}/providers/" + identityType, identityType + "/read", listIdentities},
}

func (q *request) identityID() string {
	return q.group() + "/providers/" + identityType + "/" + q.Param("name")
}

func (q *request) wireManagedIdentity(m cloud.ManagedIdentity) map[string]any {
	tags := m.Tags
	if tags == nil {
		tags = map[string]string{}
	}
	return map[string]any{"id": m.ResourceID, "name": m.Name(), "type": identityType, "location": m.Location, "tags": tags,
		"properties": map[string]string{"tenantId": q.endpoints().TenantID, "principalId": m.PrincipalID, "clientId": m.ClientID}}
}

func putIdentity(q *request) (azhttp.Reply, error) {
	var body struct {
		Location string            `json:"location"`
		Tags     map[string]string `json:"tags"`
	}
	if err := q.Decode(&body); err != nil {
		return azhttp.Reply{}, err
	}
	m, created, err := q.h.cfg.Cloud.EnsureManagedIdentity(q.Context(), q.identityID(), body.Location, body.Tags)
	if err != nil {
		return azhttp.Reply{}, err
	}
	status := http.StatusOK
	if created {
		status = http.StatusCreated
	}
	return azhttp.Reply{Status: status, Body: q.wireManagedIdentity(m)}, nil
}

func getIdentity(q *request) (azhttp.Reply, error) {
	m, err := q.h.cfg.Cloud.ManagedIdentity(q.Context(), q.identityID())
	if err != nil {
		return azhttp.Reply{}, err
	}
	return azhttp.OK(q.wireManagedIdentity(m))
}

func deleteIdentity(q *request) (azhttp.Reply, error) {
	err := q.h.cfg.Cloud.DeleteManagedIdentity(q.Context(), q.identityID())
	if errors.Is(err, cloud.ErrNotFound) {
		return azhttp.Reply{Status: http.StatusNoContent}, nil
	}
	return azhttp.Reply{}, err
}

func listIdentities(q *request) (azhttp.Reply, error) {
	scope := "/subscriptions/" + q.Param("sub")
	if q.Param("rg") != "" {
		scope = q.group()
	}
	all, err := q.h.cfg.Cloud.ManagedIdentities(q.Context(), strings.TrimSuffix(scope, "/"))
	var out []map[string]any
	for _, m := range all {
		out = append(out, q.wireManagedIdentity(m))
	}
	return values(out), err
}
