package arm_test

import (
	"encoding/json"
	"net/http"
	"strings"
	"testing"

	"redoubt/internal/hsmtest"
)

// TestSignIn: no token, or a bad one, is a 401 with a challenge, whatever else is wrong with the request.
func TestSignIn(t *testing.T) {
	t.Parallel()
	s := hsmtest.New(t)
	w := s.Serve()
	for name, token := range map[string]string{"none": "", "of the data plane": s.Token(hsmtest.Admin, hsmtest.Devices), "unsigned": s.Forge("none", s.Claims(hsmtest.Admin)), "HS256": s.Forge("HS256", s.Claims(hsmtest.Admin)), "junk": "x.y.z"} {
		for _, target := range []string{"GET /subscriptions", "PUT /subscriptions/x/resourceGroups/g", "GET /nonsense", "POST //metadata"} {
			method, path, _ := strings.Cut(target, " ")
			a := w.Do(hsmtest.Ask{Method: method, Host: host, Path: path, Token: token, Body: "not JSON"})
			a.WantError(401, "AuthenticationFailed", "", "Authentication failed")
			want := `Bearer authorization_uri="https://login.microsoftonline.com/` + s.Account.Tenant.ID + `", error="invalid_token", error_description="The authentication failed"`
			if got := a.Header.Get("Www-Authenticate"); got != want {
				t.Errorf("%s, %s: challenge %q", name, target, got)
			}
		}
	}
}

// TestPermissions: a principal without roles sees the subscription's outside and nothing more.
func TestPermissions(t *testing.T) {
	t.Parallel()
	s := hsmtest.New(t)
	c := owner(s)
	c.do("PUT "+group, `{"location":"westus3"}`).Want(201)
	c.do("PUT "+mine, c.hsmBody("")).Want(200)
	stranger := c.as(hsmtest.Stranger)
	for _, target := range []string{"GET " + mine, "PUT " + mine, "PATCH " + mine, "DELETE " + mine, "GET " + hsms, "GET ~/providers/Microsoft.KeyVault/managedHSMs", "GET ~/providers/Microsoft.KeyVault/deletedManagedHSMs",
		"POST ~/providers/Microsoft.KeyVault/locations/westus3/deletedManagedHSMs/ContosoMHSM/purge", "GET " + group, "DELETE " + group, "PUT " + identities + "x", "PUT " + accounts + "x", "POST " + accounts + "x/listKeys",
		"PUT " + group + "/providers/Microsoft.Authorization/roleAssignments/x", "GET ~/providers/Microsoft.Authorization/roleAssignments", "GET ~/resources"} {
		stranger.do(target, "{}").WantError(403, "AuthorizationFailed", "", "does not have authorization to perform action", hsmtest.Stranger, "If the scope is right, ask an Owner to assign ")
	}
	stranger.do("GET "+mine, nil).WantError(403, "AuthorizationFailed", "", `assign "Reader" there`)
	stranger.do("DELETE "+mine, nil).WantError(403, "AuthorizationFailed", "", `assign "Managed HSM contributor" there`)
	c.grant("acdd72a7-3385-48ef-bd42-f606fba81ae7", mine, hsmtest.Stranger) // Reader of the one HSM
	stranger.do("GET "+mine, nil).Want(200)
	stranger.do("GET "+strings.ToUpper(mine), nil).Want(200)
	stranger.do("DELETE "+mine, nil).WantError(403, "AuthorizationFailed", "")
	stranger.do("GET "+group, nil).WantError(403, "AuthorizationFailed", "")
	for _, target := range []string{"GET /subscriptions", "GET /tenants", "GET ~", "GET ~/locations", "GET ~/providers"} {
		stranger.do(target, nil).Want(200)
	}
}

func TestSubscriptions(t *testing.T) {
	t.Parallel()
	s := hsmtest.New(t)
	c := owner(s)
	sub := `{"id":"~","subscriptionId":"` + s.Account.Subscription.ID + `","tenantId":"^","displayName":"Redoubt dev subscription","state":"Enabled","subscriptionPolicies":{"locationPlacementId":"{text}","quotaId":"{text}","spendingLimit":"Off"},"authorizationSource":"RoleBased","managedByTenants":[]}`
	c.same(c.do("GET /subscriptions", nil).Want(200), `{"value":[`+sub+`]}`)
	c.same(c.do("GET ~", nil).Want(200), sub)
	c.do("GET /subscriptions/"+hsmtest.Admin, nil).WantError(404, "ResourceNotFound", "")
	c.same(c.do("GET /tenants", nil).Want(200), `{"value":[{"defaultDomain":"{text}","displayName":"Redoubt dev cloud","domains":["{text}"],"id":"/tenants/^","tenantCategory":"Home","tenantId":"^","tenantType":"AAD"}]}`)
	c.do("POST ~/providers/Microsoft.KeyVault/register", nil).Want(200)
	c.same(c.do("GET ~/providers/Microsoft.KeyVault/vaults", nil).Want(200), `{"value":[]}`)
	c.same(c.do("GET ~/providers/Microsoft.Attestation/Locations/westus3/defaultProvider?api-version=2020-10-01", nil).Want(200), `{"id":"~/providers/Microsoft.Attestation/attestationProviders/sharedwestus3","location":"westus3","name":"sharedwestus3","properties":{"attestUri":"https://attest.example","status":"Ready","trustModel":"AAD"},"type":"Microsoft.Attestation/attestationProviders"}`)
	for _, target := range []string{"GET /", "GET ~/nonsense", "POST " + mine, "GET ~/resourceGroups/g/providers/Microsoft.Compute/virtualMachines/x"} {
		c.do(target, nil).WantError(404, "NotFound", "", "no operation")
	}
}

func TestResourceGroups(t *testing.T) {
	t.Parallel()
	s := hsmtest.New(t)
	c := owner(s)
	want := `{"id":"~/resourceGroups/ContosoResourceGroup","name":"ContosoResourceGroup","type":"Microsoft.Resources/resourceGroups","location":"westus3","properties":{"provisioningState":"Succeeded"}}`
	c.do("HEAD "+group, nil).Want(404)
	c.do("GET "+group, nil).WantError(404, "ResourceGroupNotFound", "")
	c.same(c.do("PUT ~/resourcegroups/ContosoResourceGroup", `{"location":"westus3"}`).Want(201), want)
	c.same(c.do("PUT "+group, `{"location":"westus3"}`).Want(200), want)
	c.same(c.do("GET ~/resourceGroups/contosoresourcegroup", nil).Want(200), want)
	c.do("HEAD "+group, nil).Want(204)
	c.same(c.do("GET ~/resourcegroups", nil).Want(200), `{"value":[`+want+`]}`)
	// With the group goes what is in it. The HSM is only soft-deleted.
	c.do("PUT "+mine, c.hsmBody("")).Want(200)
	c.do("PUT "+accounts+"contosobackup", `{"location":"westus3"}`).Want(200)
	c.do("PUT "+identities+"mi", `{"location":"westus3"}`).Want(201)
	if a := c.do("GET ~/resources", nil).Want(200); !strings.Contains(string(a.Body), "Microsoft.KeyVault/managedHSMs") || !strings.Contains(string(a.Body), "contosobackup") {
		t.Errorf("resources: %s", a.Body)
	}
	c.do("DELETE "+group, nil).Want(200)
	c.do("GET "+group, nil).WantError(404, "ResourceGroupNotFound", "")
	c.do("GET "+accounts+"contosobackup", nil).WantError(404, "ResourceNotFound", "")
	c.do("GET "+identities+"mi", nil).WantError(404, "ResourceNotFound", "")
	c.do("GET ~/providers/Microsoft.KeyVault/locations/westus3/deletedManagedHSMs/ContosoMHSM", nil).Want(200)
	c.do("DELETE "+group, nil).WantError(404, "ResourceNotFound", "")
}

const accounts = "~/resourceGroups/ContosoResourceGroup/providers/Microsoft.Storage/storageAccounts/"

func TestStorageAccounts(t *testing.T) {
	t.Parallel()
	s := hsmtest.New(t)
	c := owner(s)
	want := `{"id":"` + accounts + `ContosoBackup","kind":"StorageV2","location":"westus3","name":"ContosoBackup","properties":{"primaryEndpoints":{"blob":"https://contosobackup.blob.core.windows.net/"},"primaryLocation":"westus3","provisioningState":"Succeeded","statusOfPrimary":"available","supportsHttpsTrafficOnly":true},"sku":{"name":"Standard_LRS","tier":"Standard"},"tags":{},"type":"Microsoft.Storage/storageAccounts"}`
	check := "POST ~/providers/Microsoft.Storage/checkNameAvailability"
	c.same(c.do(check, `{"name":"ContosoBackup"}`).Want(200), `{"nameAvailable":true}`)
	body := `{"location":"westus3","kind":"StorageV2","sku":{"name":"Standard_LRS"}}`
	c.same(c.do("PUT "+accounts+"ContosoBackup", body).Want(200), want)
	c.same(c.do("PUT "+accounts+"contosobackup", body).Want(200), want) // any letter case is the same account
	c.same(c.do(check, `{"name":"contosobackup"}`).Want(200), `{"message":"{text}","nameAvailable":false,"reason":"AlreadyExists"}`)
	if a := c.do(check, `{"name":"x"}`).Want(200); a.Map()["reason"] != "AccountNameInvalid" {
		t.Errorf("%s", a.Body)
	}
	c.same(c.do("GET "+accounts+"contosobackup", nil).Want(200), want)
	c.same(c.do("GET ~/providers/Microsoft.Storage/storageAccounts", nil).Want(200), `{"value":[`+want+`]}`)
	keys := c.do("POST "+accounts+"contosobackup/listKeys?$expand=kerb", nil).Want(200)
	c.same(keys, `{"keys":[{"keyName":"key1","permissions":"FULL","value":"{b64}"},{"keyName":"key2","permissions":"FULL","value":"{b64}"}]}`)
	if again := c.do("POST "+accounts+"CONTOSObackup/listkeys", nil).Want(200); string(again.Body) != string(keys.Body) {
		t.Error("keys changed by themselves")
	}
	if renewed := c.do("POST "+accounts+"contosobackup/regenerateKey", `{"keyName":"key1"}`).Want(200); string(renewed.Body) == string(keys.Body) {
		t.Error("the key is the old one")
	}
	c.do("POST "+accounts+"contosobackup/regenerateKey", `{"keyName":"key3"}`).WantError(400, "InvalidParameter", "")
	c.do("PUT "+accounts+"no_good", body).WantError(400, "InvalidParameter", "", "3 to 24")
	c.do("PUT ~/resourceGroups/other/providers/Microsoft.Storage/storageAccounts/contosobackup", body).WantError(409, "Conflict", "", "another resource group")
	c.do("GET ~/resourceGroups/other/providers/Microsoft.Storage/storageAccounts/contosobackup", nil).WantError(404, "ResourceNotFound", "")
	c.do("DELETE ~/resourceGroups/other/providers/Microsoft.Storage/storageAccounts/contosobackup", nil).Want(204)
	c.do("DELETE "+accounts+"contosobackup", nil).Want(200)
	c.do("DELETE "+accounts+"contosobackup", nil).Want(204)
	c.do("POST "+accounts+"contosobackup/listKeys", nil).WantError(404, "ResourceNotFound", "")
}

// TestRoleAssignments: scopes may be any path, that of another provider's resource included.
func TestRoleAssignments(t *testing.T) {
	t.Parallel()
	s := hsmtest.New(t)
	c := owner(s)
	c.do("PUT "+accounts+"contosobackup", `{"location":"westus3"}`).Want(200)
	const contributor = "ba92f5b4-2d11-453d-a403-e96b0029c9fe"
	scope := accounts + "contosobackup"
	var defs struct {
		Value []struct{ ID, Name string }
	}
	c.do("GET "+scope+"/providers/Microsoft.Authorization/roleDefinitions?$filter=roleName+eq+%27Storage+Blob+Data+Contributor%27", nil).Want(200).JSON(&defs)
	if len(defs.Value) != 1 || defs.Value[0].ID != c.sub()+"/providers/Microsoft.Authorization/roleDefinitions/"+contributor {
		t.Fatalf("%+v", defs)
	}
	c.do("GET ~/providers/Microsoft.Authorization/roleDefinitions/"+contributor, nil).Want(200)
	c.do("GET ~/providers/Microsoft.Authorization/roleDefinitions/"+hsmtest.Admin, nil).WantError(404, "RoleDefinitionDoesNotExist", "")
	const name = "0a0a0a0a-1b1b-4c1c-8d1d-2e2e2e2e2e2e"
	at := scope + "/providers/Microsoft.Authorization/roleAssignments/" + name
	body := `{"properties":{"roleDefinitionId":"` + defs.Value[0].ID + `","principalId":"` + hsmtest.User + `","principalType":"User"}}`
	want := `{"id":"` + at + `","name":"` + name + `","properties":{"createdBy":"{guid}","createdOn":"2026-01-02T03:04:05Z","principalId":"` + hsmtest.User + `","principalType":"User","roleDefinitionId":"~/providers/Microsoft.Authorization/roleDefinitions/` + contributor + `","scope":"` + scope + `","updatedBy":"{guid}","updatedOn":"2026-01-02T03:04:05Z"},"type":"Microsoft.Authorization/roleAssignments"}`
	c.same(c.do("PUT "+at, body).Want(201), want)
	c.same(c.do("PUT "+at, body).Want(201), want)
	c.same(c.do("GET "+at, nil).Want(200), want)
	c.do("PUT "+scope+"/providers/Microsoft.Authorization/roleAssignments/"+hsmtest.NewGUID(), body).WantError(409, "Conflict", "")
	c.do("PUT "+at, `{"properties":{"roleDefinitionId":"x","principalId":"y"}}`).WantError(404, "RoleDefinitionDoesNotExist", "")
	if ok, err := s.Cloud.MayData(t.Context(), hsmtest.User, "contosobackup", "c", true); !ok || err != nil {
		t.Errorf("the role does not reach the data: %v, %v", ok, err)
	}
	list := func(scope, filter string) int {
		var l struct{ Value []json.RawMessage }
		c.do("GET "+scope+"/providers/Microsoft.Authorization/roleAssignments?"+version+filter, nil).Want(200).JSON(&l)
		return len(l.Value)
	}
	for _, q := range []struct {
		scope, filter string
		want          int
	}{
		{"~", "", 3}, {"~", "&$filter=atScope()", 2}, {scope, "", 3}, {scope, "&$filter=atScope()", 3}, {scope, "&$filter=principalId+eq+%27" + hsmtest.User + "%27", 1},
		{scope, "&$filter=atScope()+and+assignedTo(%27" + hsmtest.User + "%27)", 1}, {scope, "&$filter=assignedTo(%27" + hsmtest.Stranger + "%27)", 0}, {"~/resourceGroups/other", "", 2},
	} {
		if got := list(q.scope, q.filter); got != q.want {
			t.Errorf("%s %s: %d assignments, want %d", q.scope, q.filter, got, q.want)
		}
	}
	c.same(c.do("DELETE "+at, nil).Want(200), want)
	c.do("DELETE "+at, nil).Want(204)
	c.do("GET "+at, nil).WantError(404, "ResourceNotFound", "")
}

// TestMetadata needs no token: clients ask for it before they can sign in.
func TestMetadata(t *testing.T) {
	t.Parallel()
	s := hsmtest.New(t)
	c := owner(s)
	ask := func(path string) hsmtest.Answer {
		return c.Do(hsmtest.Ask{Method: http.MethodGet, Host: host, Path: path}).Want(200)
	}
	one := `{"name":"AzureCloud","authentication":{"loginEndpoint":"https://login.microsoftonline.com","audiences":["https://management.azure.com"],"tenant":"common","identityProvider":"AAD"},"resourceManager":"https://management.azure.com","graph":"https://graph.microsoft.com/","graphAudience":"https://graph.microsoft.com/","microsoftGraphResourceId":"https://graph.microsoft.com/","portal":"{text}","gallery":"{text}","batch":"{text}","media":"{text}","sqlManagement":"{text}","vmImageAliasDoc":"{text}","activeDirectoryDataLake":"{text}","suffixes":{"mhsmDns":"managedhsm.azure.net","keyVaultDns":"{text}","storage":"core.windows.net","acrLoginServer":"{text}","sqlServerHostname":"{text}"}}`
	c.same(ask("/metadata/endpoints?api-version=2022-09-01"), one)
	c.same(ask("//Metadata/Endpoints/?api-version=2022-09-01"), one)
	c.same(ask("/metadata/endpoints"), one)
	c.same(ask("/metadata/endpoints?api-version=2019-05-01"), `[`+one+`]`)
	c.same(ask("/metadata/endpoints?api-version=2015-01-01"), `{"authentication":{"audiences":["https://management.azure.com"],"loginEndpoint":"https://login.microsoftonline.com"},"galleryEndpoint":"{text}","graphEndpoint":"https://graph.microsoft.com/","portalEndpoint":"{text}"}`)
}

// The last Owner of the subscription cannot be removed, not even by themselves.
func TestLastOwner(t *testing.T) {
	t.Parallel()
	c := owner(hsmtest.New(t))
	all, err := c.Cloud.RoleAssignments(t.Context())
	if err != nil || len(all) != 2 {
		t.Fatal(all, err)
	}
	for _, a := range all {
		if a.PrincipalID != c.who {
			c.do("DELETE ~/providers/Microsoft.Authorization/roleAssignments/"+a.Name, nil).Want(200)
		}
	}
	for _, a := range all {
		if a.PrincipalID == c.who {
			c.do("DELETE ~/providers/Microsoft.Authorization/roleAssignments/"+a.Name, nil).WantError(409, "Conflict", "", "Owner of subscription")
		}
	}
	c.do("GET ~/resourceGroups", nil).Want(200)
}

// A scope is no longer than that of an assignment can be.
func TestLongScope(t *testing.T) {
	t.Parallel()
	c := owner(hsmtest.New(t))
	const roles = "/providers/Microsoft.Authorization/"
	fits := strings.Repeat("/a", (1024-len(c.sub()))/2)
	for _, what := range []string{"roleAssignments", "roleDefinitions", "roleAssignments/" + hsmtest.NewGUID()} {
		if got := c.do("GET ~"+fits+roles+what, nil); got.Status == 400 || got.Status == 403 {
			t.Errorf("%s: %d %s", what, got.Status, got.Body)
		}
		c.do("GET ~"+fits+"/aa"+roles+what, nil).WantError(400, "InvalidParameter", "", "1024 bytes")
	}
}
