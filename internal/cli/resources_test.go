package cli

import (
	"encoding/json"
	"io"
	"net/http"
	"strings"
	"testing"
)

const hsmDocument = `{"id":"/subscriptions/sub/resourceGroups/RG/providers/Microsoft.KeyVault/managedHSMs/ContosoMHSM2","name":"ContosoMHSM2","location":"westus3",
"properties":{"hsmUri":"https://contosomhsm2.managedhsm.azure.net/","provisioningState":"Succeeded","securityDomainProperties":{"activationStatus":"NotActivated"}}}`

const armHost = "management.azure.com"

func TestHSMVerbs(t *testing.T) {
	t.Parallel()
	const path = armHost + "/subscriptions/sub/resourceGroups/RG/providers/Microsoft.KeyVault/managedHSMs/ContosoMHSM2"
	var body string
	keep := func(status int, out string) http.HandlerFunc {
		return func(rw http.ResponseWriter, r *http.Request) {
			b, _ := io.ReadAll(r.Body)
			body = string(b)
			answer(rw, status, out)
		}
	}
	gone := `{"value":[{"id":"/x","name":"ContosoMHSM2","properties":{"location":"westus3","deletionDate":"2026-01-01T00:00:00Z","scheduledPurgeDate":"2026-02-01T00:00:00Z","mhsmId":"/subscriptions/sub/resourceGroups/RG/providers/x/y/z"}}]}`
	w := &wire{routes: map[string]http.HandlerFunc{
		"PUT " + path: keep(200, hsmDocument), "PATCH " + path: keep(200, hsmDocument), "GET " + path: keep(200, hsmDocument), "DELETE " + path: keep(200, ""),
		"GET " + armHost + "/subscriptions/sub/providers/Microsoft.KeyVault/managedHSMs":                                              says(200, `{"value":[`+hsmDocument+`]}`),
		"GET " + armHost + "/subscriptions/sub/providers/Microsoft.KeyVault/deletedManagedHSMs":                                       says(200, gone),
		"POST " + armHost + "/subscriptions/sub/providers/Microsoft.KeyVault/locations/westus3/deletedManagedHSMs/ContosoMHSM2/purge": says(200, ""),
		"POST " + armHost + "/subscriptions/sub/providers/Microsoft.KeyVault/checkMhsmNameAvailability": func(rw http.ResponseWriter, r *http.Request) {
			if b, _ := io.ReadAll(r.Body); string(b) != `{"name":"free"}` {
				answer(rw, 200, `{"nameAvailable":false,"reason":"AlreadyExists","message":"The name is in use."}`)
				return
			}
			answer(rw, 200, `{"nameAvailable":true}`)
		},
		"GET " + armHost + "/subscriptions/sub/resourceGroups/RG": says(200, `{"id":"/g","name":"RG","location":"westus3"}`),
	}}
	run(t, w, nil, "create", "--hsm-name", "ContosoMHSM2", "--resource-group", "RG", "--location", "westus3", "--administrators", "oid1", "oid2", "--retention-days", "28",
		"--enable-purge-protection", "true", "--query", "resourceGroup", "-o", "tsv").want(t, 0, "RG\n")
	for _, part := range []string{`"oid1","oid2"`, `"softDeleteRetentionInDays":28`, `"enablePurgeProtection":true`, `"location":"westus3"`} {
		if !strings.Contains(body, part) {
			t.Errorf("%s is missing in %s", part, body)
		}
	}
	run(t, w, nil, "create", "--hsm-name", "ContosoMHSM2", "-g", "RG", "--administrators", "oid1").want(t, 0)
	run(t, w, nil, "show", "--hsm-name", "contosomhsm2", "-o", "table").want(t, 0, "ActivationStatus", "NotActivated", "RG")
	run(t, w, nil, "list", "--resource-type", "hsm", "--query", "[].properties.hsmUri", "-o", "tsv").want(t, 0, "https://contosomhsm2.managedhsm.azure.net/\n")
	run(t, w, nil, "update-hsm", "--hsm-name", "ContosoMHSM2", "--mi-user-assigned", "/id/one").want(t, 0)
	if !strings.Contains(body, `"/id/one":{}`) {
		t.Errorf("body %s", body)
	}
	run(t, w, nil, "update-hsm", "--hsm-name", "ContosoMHSM2", "--mi-user-assigned", "none").want(t, 0)
	if !strings.Contains(body, `"None"`) {
		t.Errorf("body %s", body)
	}
	run(t, w, nil, "update-hsm", "--hsm-name", "ContosoMHSM2", "--enable-purge-protection", "true").want(t, 0)
	if body != `{"properties":{"enablePurgeProtection":true}}` {
		t.Errorf("body %s", body)
	}
	run(t, w, nil, "update-hsm", "--hsm-name", "ContosoMHSM2").want(t, 2, "enable-purge-protection")
	run(t, w, nil, "check-name", "--name", "free", "--query", "nameAvailable", "-o", "tsv").want(t, 0, "true\n")
	run(t, w, nil, "check-name", "-n", "taken", "-o", "table").want(t, 0, "AlreadyExists", "in use")
	run(t, w, nil, "show-deleted", "--hsm-name", "contosomhsm2", "--query", "properties.scheduledPurgeDate", "-o", "tsv").want(t, 0, "2026-02-01T00:00:00Z\n")
	run(t, w, nil, "show-deleted", "--hsm-name", "nobody").want(t, 3, "no deleted managed HSM")
	run(t, w, nil, "delete", "--hsm-name", "ContosoMHSM2").want(t, 0, "recover")
	run(t, w, nil, "list-deleted", "--resource-type", "hsm", "-o", "table").want(t, 0, "2026-02-01")
	run(t, w, nil, "recover", "--hsm-name", "contosomhsm2", "-o", "none").want(t, 0)
	run(t, w, nil, "purge", "--hsm-name", "ContosoMHSM2", "--location", "West US 3").want(t, 0, "purged")
	run(t, w, nil, "purge", "--hsm-name", "ContosoMHSM2", "--location", "eastus").want(t, 3, "is in westus3")
	run(t, w, nil, "show", "--hsm-name", "nobody").want(t, 3, "no managed HSM")
}

func TestKeysAndRoles(t *testing.T) {
	t.Parallel()
	kid := "https://" + hsm + "/keys/k/0123"
	defs := `{"value":[{"id":"Microsoft.KeyVault/providers/Microsoft.Authorization/roleDefinitions/d1","name":"d1","properties":{"roleName":"Managed HSM Crypto User"}}]}`
	const oid = "33333333-3333-4333-8333-333333333333"
	assignmentDoc := `{"id":"/a","name":"a","properties":{"principalId":"` + oid + `","roleDefinitionId":"Microsoft.KeyVault/providers/Microsoft.Authorization/roleDefinitions/d1","scope":"/keys"}}`
	auth := hsm + "/keys/providers/Microsoft.Authorization/"
	w := &wire{routes: map[string]http.HandlerFunc{
		"POST " + hsm + "/keys/k/create": func(rw http.ResponseWriter, r *http.Request) {
			var b map[string]any
			if err := json.NewDecoder(r.Body).Decode(&b); err != nil || b["kty"] != "EC-HSM" || len(b["key_ops"].([]any)) != 2 {
				t.Errorf("body %v, %v", b, err)
			}
			answer(rw, 200, `{"key":{"kid":"`+kid+`","kty":"EC-HSM","crv":"P-256","x":"_-8","y":"AQ"},"attributes":{"enabled":true,"created":1700000000}}`)
		},
		"GET " + hsm + "/keys/k/0123":                                          says(200, `{"key":{"kid":"`+kid+`"},"attributes":{}}`),
		"GET " + hsm + "/keys":                                                 says(200, `{"value":[{"kid":"https://`+hsm+`/keys/k","attributes":{"enabled":true}}]}`),
		"GET " + hsm + "/keys/k/versions":                                      says(200, `{"value":[{"kid":"`+kid+`","attributes":{"enabled":true}}]}`),
		"GET " + auth + "roleDefinitions":                                      says(200, defs),
		"GET " + auth + "roleAssignments":                                      says(200, `{"value":[`+assignmentDoc+`]}`),
		"PUT " + auth + "roleAssignments/44444444-4444-4444-8444-444444444444": says(201, assignmentDoc),
	}}
	run(t, w, nil, "key", "create", "--hsm-name", "contoso", "--name", "k", "--kty", "EC", "--curve", "P-256", "--ops", "sign", "verify").
		want(t, 0, `"x": "/+8="`, `"created": "2023-11-14T22:13:20+00:00"`)
	run(t, w, nil, "key", "show", "--id", kid).want(t, 0, kid)
	run(t, w, nil, "key", "show", "--id", "https://x.example/secrets/k").want(t, 2, "not the URL of a key")
	run(t, w, nil, "key", "list", "--hsm-name", "contoso", "--query", "[].name", "-o", "tsv").want(t, 0, "k\n")
	run(t, w, nil, "key", "list-versions", "--hsm-name", "contoso", "-n", "k", "-o", "table").want(t, 0, "0123")
	run(t, w, nil, "role", "assignment", "list", "--id", "https://"+hsm, "--scope", "/keys", "-o", "table").want(t, 0, "Managed HSM Crypto User", oid)
	run(t, w, nil, "role", "assignment", "list", "--id", "https://"+hsm, "--scope", "/keys", "--role", "other", "-o", "tsv").want(t, 0)
	run(t, w, nil, "role", "assignment", "create", "--hsm-name", "contoso", "--scope", "/keys", "--role", "managed hsm crypto user", "--assignee-object-id", oid,
		"--name", "44444444-4444-4444-8444-444444444444").want(t, 0, `"roleName": "Managed HSM Crypto User"`)
	run(t, w, nil, "role", "assignment", "create", "--hsm-name", "contoso", "--scope", "/keys", "--role", "King", "--assignee", oid).want(t, 1, `no role "King"`)
	run(t, w, nil, "role", "assignment", "create", "--hsm-name", "contoso", "--scope", "/keys", "--role", "x", "--assignee", "alice@contoso.com").want(t, 2, "not an object id")
}
