package arm_test

import (
	"strings"
	"testing"

	"redoubt/internal/audit"
	"redoubt/internal/hsmtest"
)

// hsmResource is the answer to a creation; state and the texts of the activation are put in.
func hsmResource(identity, provisioning, activation string) string {
	return `{"id":"~/resourceGroups/ContosoResourceGroup/providers/Microsoft.KeyVault/managedHSMs/ContosoMHSM","name":"ContosoMHSM","type":"Microsoft.KeyVault/managedHSMs","location":"westus3","sku":{"family":"B","name":"Standard_B1"},"tags":{},` +
		`"identity":` + identity + `,"systemData":{"createdBy":"{guid}","createdAt":"2026-01-02T03:04:05Z"},"properties":{"tenantId":"^","initialAdminObjectIds":["` + hsmtest.Admin + `"],"hsmUri":"https://contosomhsm.managedhsm.azure.net/","enableSoftDelete":true,"softDeleteRetentionInDays":28,"enablePurgeProtection":false,"statusMessage":"{text}","provisioningState":"` + provisioning +
		`","publicNetworkAccess":"Enabled","networkAcls":{"bypass":"AzureServices","defaultAction":"Allow","ipRules":[],"virtualNetworkRules":[],"serviceTags":[]},"regions":[],"securityDomainProperties":{"activationStatus":"` + activation + `","activationStatusMessage":"{text}"}}}`
}

const noIdentity = `{"type":"None"}`

func TestLifeOfAnHSM(t *testing.T) {
	t.Parallel()
	s := hsmtest.New(t)
	c := owner(s)
	a := c.do("PUT "+mine, c.hsmBody("")).Want(200) // 201 is refused by clients
	c.same(a, hsmResource(noIdentity, "Succeeded", "NotActivated"))
	c.same(c.do("GET "+mine, nil).Want(200), hsmResource(noIdentity, "Succeeded", "NotActivated"))
	c.same(c.do("GET ~/RESOURCEGROUPS/contosoresourcegroup//providers/microsoft.keyvault/managedhsms/contosomhsm/", nil).Want(200), hsmResource(noIdentity, "Succeeded", "NotActivated"))
	for _, list := range []string{hsms, "~/providers/Microsoft.KeyVault/managedHSMs"} {
		c.same(c.do("GET "+list+"?$top=5&"+version, nil).Want(200), `{"value":[`+hsmResource(noIdentity, "Succeeded", "NotActivated")+`]}`)
	}
	c.same(c.do("GET ~/resourceGroups/other/providers/Microsoft.KeyVault/managedHSMs", nil).Want(200), `{"value":[]}`)
	c.same(c.do("GET "+mine+"/regions", nil).Want(200), `{"value":[{"isPrimary":true,"name":"westus3","provisioningState":"Succeeded"}]}`)
	c.same(c.do("GET "+mine+"/privateEndpointConnections", nil).Want(200), `{"value":[]}`)

	s.Activate(s.HSM("contosomhsm"))
	a = c.do("GET "+mine, nil).Want(200)
	c.same(a, hsmResource(noIdentity, "Succeeded", "Active"))
	if !strings.Contains(string(a.Body), "Security domain: sd-") {
		t.Errorf("the domain id is not shown: %s", a.Body)
	}

	if a = c.do("DELETE "+mine, nil).Want(200); len(a.Body) != 0 {
		t.Errorf("DELETE answers %s", a.Body)
	}
	c.do("DELETE "+mine, nil).Want(204)
	c.do("GET "+mine, nil).WantError(404, "ResourceNotFound", "", "ContosoMHSM", "ContosoResourceGroup")
	const deleted = `{"id":"~/providers/Microsoft.KeyVault/locations/westus3/deletedManagedHSMs/ContosoMHSM","name":"ContosoMHSM","type":"Microsoft.KeyVault/deletedManagedHSMs","properties":{"mhsmId":"~/resourceGroups/ContosoResourceGroup/providers/Microsoft.KeyVault/managedHSMs/ContosoMHSM","location":"westus3","deletionDate":"2026-01-02T03:04:05Z","scheduledPurgeDate":"2026-01-30T03:04:05Z","purgeProtectionEnabled":false,"tags":{}}}`
	c.same(c.do("GET ~/providers/Microsoft.KeyVault/deletedManagedHSMs", nil).Want(200), `{"value":[`+deleted+`]}`)
	c.same(c.do("GET ~/providers/Microsoft.KeyVault/locations/WestUS3/deletedManagedHSMs/contosomhsm", nil).Want(200), deleted)
	c.do("GET ~/providers/Microsoft.KeyVault/locations/eastus/deletedManagedHSMs/contosomhsm", nil).WantError(404, "DeletedManagedHsmNotFound", "", "list-deleted")
	c.do("PUT "+mine, c.hsmBody("")).WantError(409, "ConflictError", "", "az keyvault recover --hsm-name ContosoMHSM", "az keyvault purge")

	c.same(c.do("PUT "+mine, c.hsmBody(`,"createMode":"recover"`)).Want(200), hsmResource(noIdentity, "Succeeded", "Active"))
	c.do("PUT "+mine, c.hsmBody(`,"createMode":"recover"`)).WantError(404, "DeletedManagedHsmNotFound", "", "list-deleted")

	c.do("DELETE "+mine, nil).Want(200)
	a = c.do("POST ~/providers/Microsoft.KeyVault/locations/westus3/deletedManagedHSMs/ContosoMHSM/purge", nil).Want(202)
	location := a.Header.Get("Location")
	if !strings.HasPrefix(location, "https://management.azure.com"+c.sub()+"/providers/Microsoft.KeyVault/locations/westus3/managedHsmOperationResults/") || a.Header.Get("Retry-After") != "1" {
		t.Errorf("purge: %v", a.Header)
	}
	c.do("GET "+strings.TrimPrefix(location, "https://management.azure.com"), nil).Want(204)
	c.same(c.do("GET ~/providers/Microsoft.KeyVault/deletedManagedHSMs", nil).Want(200), `{"value":[]}`)
	c.do("POST ~/providers/Microsoft.KeyVault/locations/westus3/deletedManagedHSMs/ContosoMHSM/purge", nil).WantError(404, "DeletedManagedHsmNotFound", "")
}

// TestUpdateHSM: PUT of the whole resource and PATCH of a part; what is left out stays.
func TestUpdateHSM(t *testing.T) {
	t.Parallel()
	s := hsmtest.New(t)
	c := owner(s)
	c.do("PUT "+mine, c.hsmBody("")).Want(200)
	c.do("PUT "+mine, `{"location":"West US 3","tags":{"a":"b"},"properties":{"publicNetworkAccess":"Disabled","networkAcls":{"bypass":"None"}}}`).Want(200)
	a := c.do("PATCH "+mine, `{"properties":{"enablePurgeProtection":true}}`).Want(200)
	var got struct {
		Tags       map[string]string
		Properties struct {
			PublicNetworkAccess                  string
			EnablePurgeProtection                bool
			SoftDeleteRetentionInDays            int
			HSMURI                               string
			NetworkACLs                          map[string]any
			InitialAdminObjectIds                []string
			ProvisioningState, CreateModeMissing string
		}
	}
	a.JSON(&got)
	p := got.Properties
	if got.Tags["a"] != "b" || p.PublicNetworkAccess != "Disabled" || !p.EnablePurgeProtection || p.SoftDeleteRetentionInDays != 28 || p.HSMURI == "" || p.NetworkACLs["bypass"] != "None" || len(p.InitialAdminObjectIds) != 1 {
		t.Errorf("%s", a.Body)
	}
	c.do("PATCH "+mine, `{"properties":{"enablePurgeProtection":false}}`).WantError(400, "BadRequest", "", "purge protection")
	c.do("PATCH "+mine, `{"properties":{"softDeleteRetentionInDays":90}}`).WantError(400, "BadRequest", "", "softDeleteRetentionInDays")
	c.do("PATCH "+mine, `{"location":"eastus"}`).WantError(409, "InvalidResourceLocation", "", "westus3", "eastus")
	c.do("PATCH "+hsms+"/other", `{}`).WantError(404, "ResourceNotFound", "")
	c.do("DELETE "+mine, nil).Want(200)
	c.do("POST ~/providers/Microsoft.KeyVault/locations/westus3/deletedManagedHSMs/ContosoMHSM/purge", nil).WantError(403, "Forbidden", "", "purge protection")
}

func TestCreateRefused(t *testing.T) {
	t.Parallel()
	s := hsmtest.New(t)
	c := owner(s)
	for name, r := range map[string]struct {
		target, body, code string
		status             int
		word               string
	}{
		"no body":        {mine, "", "BadParameter", 400, "body"},
		"no tenant":      {mine, `{"location":"westus3"}`, "BadRequest", 400, "tenantId"},
		"no location":    {mine, strings.Replace(c.hsmBody(""), "westus3", "", 1), "BadRequest", 400, "location"},
		"no admins":      {mine, strings.Replace(c.hsmBody(""), `"`+hsmtest.Admin+`"`, "", 1), "BadRequest", 400, "initialAdminObjectIds"},
		"name of a mail": {mine, strings.Replace(c.hsmBody(""), hsmtest.Admin, "alice@contoso.com", 1), "BadParameter", 400, "object id"},
		"retention 6":    {mine, strings.Replace(c.hsmBody(""), `"28"`, `"6"`, 1), "BadRequest", 400, "7 to 90"},
		"retention text": {mine, strings.Replace(c.hsmBody(""), `"28"`, `"some"`, 1), "BadParameter", 400, "number of days"},
		"short name":     {hsms + "/ab", c.hsmBody(""), "VaultNameNotValid", 400, "3 to 24"},
		"bad name":       {hsms + "/-abc", c.hsmBody(""), "VaultNameNotValid", 400, "letters"},
		"other sub":      {"/subscriptions/" + hsmtest.Admin + "/resourceGroups/g/providers/Microsoft.KeyVault/managedHSMs/abc", c.hsmBody(""), "AuthorizationFailed", 403, ""},
		"identity type":  {mine, strings.Replace(c.hsmBody(""), `"sku"`, `"identity":{"type":"SystemAssigned"},"sku"`, 1), "BadRequest", 400, "UserAssigned"},
		"no identity":    {mine, strings.Replace(c.hsmBody(""), `"sku"`, `"identity":{"type":"UserAssigned","userAssignedIdentities":{"/subscriptions/x":{}}},"sku"`, 1), "FailedIdentityOperation", 400, "az identity create"},
	} {
		var body any
		if r.body != "" {
			body = r.body
		}
		if c.do("PUT "+r.target, body).WantError(r.status, r.code, "", r.word); t.Failed() {
			t.Fatal(name)
		}
	}
	if n := len(s.List(false)); n != 0 {
		t.Errorf("%d HSMs were made", n)
	}
}

func TestCheckName(t *testing.T) {
	t.Parallel()
	s := hsmtest.New(t)
	c := owner(s)
	s.Provisioned("ContosoMHSM")
	s.Provisioned("deleted")
	if _, err := s.Delete(t.Context(), "deleted"); err != nil {
		t.Fatal(err)
	}
	check := "POST ~/providers/Microsoft.KeyVault/checkMhsmNameAvailability"
	c.same(c.do(check, `{"name":"free"}`).Want(200), `{"nameAvailable":true}`)
	c.same(c.do(check, `{"name":"contosomhsm"}`).Want(200), `{"message":"{text}","nameAvailable":false,"reason":"AlreadyExists"}`)
	c.same(c.do(check, `{"name":"DELETED"}`).Want(200), `{"message":"{text}","nameAvailable":false,"reason":"AlreadyExists"}`)
	if a := c.do(check, `{"name":"a"}`).Want(200); a.Map()["reason"] != "AccountNameInvalid" {
		t.Errorf("%s", a.Body)
	}
	// Names are unique over all resource groups.
	c.do("PUT ~/resourceGroups/other/providers/Microsoft.KeyVault/managedHSMs/contosomhsm", c.hsmBody("")).WantError(409, "VaultAlreadyExists", "", "another resource group")
	c.do("GET ~/resourceGroups/other/providers/Microsoft.KeyVault/managedHSMs/contosomhsm", nil).WantError(404, "ResourceNotFound", "")
	c.do("DELETE ~/resourceGroups/other/providers/Microsoft.KeyVault/managedHSMs/contosomhsm", nil).Want(204)
	c.do("GET ~/resourceGroups/other/providers/Microsoft.KeyVault/managedHSMs/contosomhsm/regions", nil).WantError(404, "ResourceNotFound", "")
	c.do("PUT ~/resourceGroups/other/providers/Microsoft.KeyVault/managedHSMs/deleted", c.hsmBody(`,"createMode":"recover"`)).WantError(404, "DeletedManagedHsmNotFound", "")
	s.HSM("contosomhsm")
}

const identities = "~/resourceGroups/ContosoResourceGroup/providers/Microsoft.ManagedIdentity/userAssignedIdentities/"

func TestIdentities(t *testing.T) {
	t.Parallel()
	s := hsmtest.New(t)
	c := owner(s)
	identity := `{"id":"` + identities + `zebra","location":"westus3","name":"zebra","properties":{"clientId":"{guid}","principalId":"{guid}","tenantId":"^"},"tags":{},"type":"Microsoft.ManagedIdentity/userAssignedIdentities"}`
	a := c.do("PUT "+identities+"zebra", `{"location":"westus3"}`).Want(201)
	c.same(a, identity)
	if b := c.do("PUT "+identities+"ZEBRA", `{"location":"westus3"}`).Want(200); string(b.Body) != string(a.Body) {
		t.Errorf("a second creation changed it: %s", b.Body)
	}
	c.same(c.do("GET "+identities+"zebra", nil).Want(200), identity)
	c.same(c.do("GET ~/providers/Microsoft.ManagedIdentity/userAssignedIdentities", nil).Want(200), `{"value":[`+identity+`]}`)
	c.do("PUT "+identities+"ant", `{"location":"westus3"}`).Want(201)

	c.do("PUT "+mine, c.hsmBody("")).Want(200)
	attach := func(kind string, ids ...string) string {
		return `{"location":"westus3","identity":{"type":"` + kind + `","userAssignedIdentities":{` + strings.ReplaceAll(strings.Join(ids, ","), "~", c.sub()) + `}}}`
	}
	zebra, ant := `"`+identities+`zebra":{}`, `"`+identities+`ANT":{}`
	both := `{"type":"UserAssigned","userAssignedIdentities":{"` + identities + `ant":{"clientId":"{guid}","principalId":"{guid}"},"` + identities + `zebra":{"clientId":"{guid}","principalId":"{guid}"}}}`
	one := `{"type":"UserAssigned","userAssignedIdentities":{"` + identities + `zebra":{"clientId":"{guid}","principalId":"{guid}"}}}`
	c.same(c.do("PUT "+mine, attach("UserAssigned", zebra)).Want(200), hsmResource(one, "Succeeded", "NotActivated"))
	c.same(c.do("PUT "+mine, `{"location":"westus3"}`).Want(200), hsmResource(one, "Succeeded", "NotActivated"))
	c.same(c.do("PATCH "+mine, attach("UserAssigned", ant)).Want(200), hsmResource(both, "Succeeded", "NotActivated"))
	if r, err := s.Get("contosomhsm"); err != nil || len(r.Identities) != 2 || !strings.HasSuffix(r.Identities[0], "/ant") {
		t.Errorf("identities %q, %v", r.Identities, err)
	}
	c.same(c.do("PATCH "+mine, attach("UserAssigned", `"`+identities+`ant":null`)).Want(200), hsmResource(one, "Succeeded", "NotActivated"))
	c.same(c.do("PUT "+mine, attach("None")).Want(200), hsmResource(noIdentity, "Succeeded", "NotActivated"))

	// Whoever may write the HSM but not assign the identity may not lend it the identity's rights.
	c.grant("18500a29-7fe2-46b2-a342-b16a415e101d", group, hsmtest.Stranger) // Managed HSM contributor
	stranger := c.as(hsmtest.Stranger)
	stranger.do("PUT "+mine, attach("UserAssigned", zebra)).WantError(403, "AuthorizationFailed", "", "Microsoft.ManagedIdentity/userAssignedIdentities/assign/action")
	stranger.do("PATCH "+mine, `{"tags":{"x":"y"}}`).Want(200)
	c.grant("f1a07417-d97a-45cb-824c-7a7467783830", identities+"zebra", hsmtest.Stranger) // Managed Identity Operator
	stranger.do("PUT "+mine, attach("UserAssigned", zebra)).Want(200)
	stranger.do("PUT "+mine, attach("UserAssigned", ant)).WantError(403, "AuthorizationFailed", "")

	c.do("DELETE "+identities+"zebra", nil).Want(200)
	c.do("DELETE "+identities+"zebra", nil).Want(204)
	c.do("GET "+identities+"zebra", nil).WantError(404, "ResourceNotFound", "")
	c.do("GET "+mine, nil).Want(200) // the identity that is gone stays listed until it is taken away
}

// grant gives a principal a built-in role of the control plane.
func (c client) grant(role, scope, principal string) {
	c.T.Helper()
	c.do("PUT "+scope+"/providers/Microsoft.Authorization/roleAssignments/"+hsmtest.NewGUID(), `{"properties":{"roleDefinitionId":"`+c.sub()+`/providers/Microsoft.Authorization/roleDefinitions/`+role+`","principalId":"`+principal+`"}}`).Want(201)
}

// TestBrokenHSM: one that cannot be opened is shown as failed, and its clients are told to come back.
func TestBrokenHSM(t *testing.T) {
	t.Parallel()
	s := hsmtest.New(t)
	made := owner(s)
	made.do("PUT "+mine, made.hsmBody("")).Want(200)
	open := s.Config.OpenAudit
	s.Config.OpenAudit = func(string) (*audit.Log, error) { return nil, audit.ErrBroken }
	s.Restart()
	c := owner(s)
	c.same(c.do("GET "+mine, nil).Want(200), hsmResource(noIdentity, "Failed", "Unknown"))
	a := c.Do(hsmtest.Ask{Method: "GET", Host: "contosomhsm.managedhsm.azure.net", Path: "/keys"})
	a.WantError(503, "ServiceUnavailable", "")
	if a.Header.Get("Retry-After") == "" || strings.Contains(string(a.Body), "audit") {
		t.Errorf("%v %s", a.Header, a.Body)
	}
	s.Config.OpenAudit = open
	s.Restart()
}
