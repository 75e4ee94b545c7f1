package arm

import (
	"fmt"
	"net/http"
	"slices"
	"strings"

	"redoubt/internal/api/azhttp"
)

const keyVault = "Microsoft.KeyVault"

// versions are the api-versions of the provider's documents that have managed HSMs, oldest first (rest-api 0.2).
var versions = []string{
	"2020-04-01-preview", "2021-04-01-preview", "2021-06-01-preview", "2021-10-01", "2021-11-01-preview", "2022-02-01-preview", "2022-07-01", "2022-11-01", "2023-02-01",
	"2023-07-01", "2024-04-01-preview", "2024-11-01", "2024-12-01-preview", "2025-05-01", "2026-02-01", "2026-03-01-preview", "2026-04-01-preview", "2026-04-01",
}

// types are the provider's resource types for managed HSMs, each with the first api-version that has it.
var types = []struct{ name, since string }{
	{"operations", "2020-04-01-preview"},
	{"managedHSMs", "2020-04-01-preview"},
	{"deletedManagedHSMs", "2021-04-01-preview"},
	{"locations/deletedManagedHSMs", "2021-04-01-preview"},
	{"locations/managedHsmOperationResults", "2021-04-01-preview"},
	{"managedHSMs/privateEndpointConnections", "2021-04-01-preview"},
	{"managedHSMs/privateLinkResources", "2021-04-01-preview"},
	{"checkMhsmNameAvailability", "2022-02-01-preview"},
	{"managedHSMs/keys", "2022-11-01"},
	{"managedHSMs/keys/versions", "2022-11-01"},
	{"managedHSMs/regions", "2023-02-01"},
}

// typeVersions are the api-versions that have a resource type, oldest first.
func typeVersions(since string) []string { return versions[slices.Index(versions, since):] }

// askedVersion is the request's api-version; the names of query parameters are not told apart by letter case.
func (q *request) askedVersion() string { return q.queryParam("api-version") }

// queryParam is the first value of a query parameter, "" when there is none.
func (q *request) queryParam(name string) string {
	for k, v := range q.URL.Query() {
		if strings.EqualFold(k, name) {
			return v[0]
		}
	}
	return ""
}

// checkVersion refuses an api-version that the resource type in the path does not have. Other providers' types,
// and key vaults, which are not there, are answered whatever the version.
func (q *request) checkVersion() error {
	name := keyVaultType(q.Path)
	for _, t := range types {
		if !strings.EqualFold(t.name, name) {
			continue
		}
		asked, have := q.askedVersion(), typeVersions(t.since)
		switch {
		case asked == "" && t.name == "locations/managedHsmOperationResults": // its URL is the server's own
			return nil
		case asked == "":
			return &azhttp.Problem{Status: http.StatusBadRequest, Code: "MissingApiVersionParameter", Message: "The api-version query parameter (?api-version=) is required for all requests."}
		case !slices.Contains(have, strings.ToLower(asked)):
			return &azhttp.Problem{Status: http.StatusBadRequest, Code: "NoRegisteredProviderFound", Message: fmt.Sprintf(
				"No registered resource provider found for API version '%s' for type '%s'. The supported api-versions are '%s'.", clip(asked), t.name, strings.Join(have, ", "))}
		}
		return nil
	}
	return nil
}

// keyVaultType is the resource type that a path below the provider names: every second segment behind its name.
// Actions at its end, such as purge, do not belong to it, and another provider's resource behind it has its own versions.
func keyVaultType(path []string) string {
	at := len(path) - 2
	for at >= 0 && !strings.EqualFold(path[at], "providers") {
		at--
	}
	if at++; at <= 0 || !strings.EqualFold(path[at], keyVault) {
		return ""
	}
	var segs []string
	for i := at + 1; i < len(path); i += 2 {
		segs = append(segs, path[i])
	}
	for n := len(segs); n > 0; n-- {
		name := strings.Join(segs[:n], "/")
		for _, t := range types {
			if strings.EqualFold(t.name, name) {
				return t.name
			}
		}
	}
	return ""
}

// clip keeps messages short whatever the client sent.
func clip(s string) string {
	if len(s) > 40 {
		return strings.ToValidUTF8(s[:40], "") + "…"
	}
	return s
}
