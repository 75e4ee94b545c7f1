package arm

import (
	"fmt"
	"net/http"
	"slices"
	"strings"

	"redoubt/internal/api/azhttp"
)

// providerType is a resource type as a provider lists it: clients choose the api-version of a generic call
// (az resource show) by it.
type providerType struct {
	Type         string   `json:"resourceType"`
	Locations    []string `json:"locations"`
	APIVersions  []string `json:"apiVersions"`
	Capabilities string   `json:"capabilities"`
}

// otherTypes are the resource types of the other providers, with an api-version that is sure to be understood.
var otherTypes = []struct{ namespace, name, version string }{
	{"Microsoft.ManagedIdentity", "userAssignedIdentities", "2023-01-31"},
	{"Microsoft.Storage", "storageAccounts", "2023-01-01"},
	{"Microsoft.Authorization", "roleAssignments", "2022-04-01"},
	{"Microsoft.Authorization", "roleDefinitions", "2022-04-01"},
	{"Microsoft.Resources", "subscriptions", "2022-12-01"},
	{"Microsoft.Resources", "resourceGroups", "2022-09-01"},
	{"Microsoft.Resources", "resources", "2022-09-01"},
	{"Microsoft.Resources", "tags", "2022-09-01"},
}

// namespaces are the providers of this control plane, in their published letter case.
func namespaces() []string {
	out := []string{keyVault}
	for _, t := range otherTypes {
		if !slices.Contains(out, t.namespace) {
			out = append(out, t.namespace)
		}
	}
	return out
}

// newestFirst is how providers list api-versions.
func newestFirst(list []string) []string {
	out := slices.Clone(list)
	slices.Reverse(out)
	return out
}

func provider(sub, namespace string) map[string]any {
	listed := []providerType{}
	if namespace == keyVault {
		for _, t := range types {
			p := providerType{Type: t.name, Locations: []string{}, APIVersions: newestFirst(typeVersions(t.since)), Capabilities: "None"}
			if t.name == "managedHSMs" {
				p.Locations, p.Capabilities = regions, "SupportsTags, SupportsLocation"
			}
			listed = append(listed, p)
		}
	}
	for _, t := range otherTypes {
		if t.namespace == namespace {
			listed = append(listed, providerType{Type: t.name, Locations: []string{}, APIVersions: []string{t.version}, Capabilities: "None"})
		}
	}
	return map[string]any{"id": "/subscriptions/" + sub + "/providers/" + namespace, "namespace": namespace, "registrationState": "Registered",
		"registrationPolicy": "RegistrationRequired", "resourceTypes": listed}
}

func listProviders(q *request) (azhttp.Reply, error) {
	var out []map[string]any
	for _, ns := range namespaces() {
		out = append(out, provider(q.Param("sub"), ns))
	}
	return values(out), nil
}

// getProvider answers any provider as registered, so that clients that register all they might need go on. Those that are not
// here have no resource types.
func getProvider(q *request) (azhttp.Reply, error) {
	ns := q.Param("ns")
	for _, known := range namespaces() {
		if strings.EqualFold(known, ns) {
			ns = known
		}
	}
	return azhttp.OK(provider(q.Param("sub"), ns))
}

type operation struct {
	Name         string           `json:"name"`
	Display      operationDisplay `json:"display"`
	IsDataAction bool             `json:"isDataAction"`
}

type operationDisplay struct {
	Provider    string `json:"provider"`
	Resource    string `json:"resource"`
	Operation   string `json:"operation"`
	Description string `json:"description"`
}

// listOperations answers the permissions that the provider's routes need, each once.
func listOperations(q *request) (azhttp.Reply, error) {
	out := []operation{}
	seen := make(map[string]bool)
	for _, r := range q.h.table {
		name := r.action
		if !strings.HasPrefix(name, keyVault+"/") || seen[name] {
			continue
		}
		seen[name] = true
		what, verb := strings.TrimPrefix(name, keyVault+"/"), ""
		for _, v := range []string{"/read", "/write", "/delete", "/purge/action", "/action"} {
			if rest, ok := strings.CutSuffix(what, v); ok {
				what, verb = rest, strings.TrimSuffix(strings.TrimPrefix(v, "/"), "/action")
				break
			}
		}
		out = append(out, operation{Name: name, Display: operationDisplay{Provider: "Redoubt", Resource: what, Operation: verb, Description: fmt.Sprintf("%s of %s", verb, what)}})
	}
	slices.SortFunc(out, func(a, b operation) int { return strings.Compare(strings.ToLower(a.Name), strings.ToLower(b.Name)) })
	return values(out), nil
}

// providerRoutes tell what there is.
var providerRoutes = []route{
	{http.MethodGet, "providers/Microsoft.KeyVault/operations", "", listOperations},
	{http.MethodGet, "subscriptions/{sub}/providers", "", listProviders},
	{http.MethodGet, "subscriptions/{sub}/providers/{ns}", "", getProvider},
	{http.MethodPost, "subscriptions/{sub}/providers/{ns}/register", "", getProvider},
}
