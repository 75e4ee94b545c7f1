package arm_test

import (
	"encoding/json"
	"errors"
	"maps"
	"net/http"
	"strings"
	"testing"

	"redoubt/internal/hsmtest"
)

// shown is what of an HSM's answer these tests look at.
type shown struct {
	ID, Name, Location string
	SKU                struct{ Name, Family string }
	Tags               map[string]string
	Properties         struct {
		InitialAdminObjectIds                                        []string
		EnableSoftDelete, EnablePurgeProtection                      bool
		SoftDeleteRetentionInDays                                    int
		PublicNetworkAccess, ProvisioningState, HSMURI, ScheduledEnd string
		NetworkACLs                                                  map[string]any
	}
}

// TestEveryProperty: what a creation asks for is what is read back; names keep the letter case in which they were made.
func TestEveryProperty(t *testing.T) {
	t.Parallel()
	s := hsmtest.New(t)
	c := owner(s)
	c.do("PUT "+group, `{"location":"westus3"}`).Want(201)
	body := `{"location":"West US 3","sku":{"name":"custom_b32","family":"b"},"tags":{"Env":"Prod","empty":""},"properties":{"tenantId":"` + strings.ToUpper(s.Account.Tenant.ID) +
		`","initialAdminObjectIds":["` + hsmtest.Admin + `","` + hsmtest.Officer + `"],"enableSoftDelete":true,"softDeleteRetentionInDays":7,"enablePurgeProtection":true,"createMode":"Default",` +
		`"publicNetworkAccess":"disabled","networkAcls":{"bypass":"None","defaultAction":"Deny","ipRules":[{"value":"10.0.0.0/8"}],"virtualNetworkRules":[]},"regions":[{"name":"West US 3","isPrimary":true}]}}`
	var made, read shown
	c.do("PUT ~/RESOURCEGROUPS/contosoRESOURCEgroup/PROVIDERS/microsoft.keyvault/MANAGEDhsms/ContosoMHSM", body).Want(200).JSON(&made)
	c.do("GET "+mine, nil).Want(200).JSON(&read)
	for _, got := range []shown{made, read} {
		p := got.Properties
		if got.ID != strings.Replace(mine, "~", c.sub(), 1) || got.Location != "westus3" || got.SKU.Name != "Custom_B32" || got.SKU.Family != "B" || got.Tags["Env"] != "Prod" || len(got.Tags) != 2 ||
			len(p.InitialAdminObjectIds) != 2 || !p.EnableSoftDelete || !p.EnablePurgeProtection || p.SoftDeleteRetentionInDays != 7 || p.PublicNetworkAccess != "Disabled" ||
			p.ProvisioningState != "Succeeded" || p.NetworkACLs["defaultAction"] != "Deny" {
			t.Errorf("%+v", got)
		}
	}
	// Sent back whole, as az does, it changes nothing, whatever the letter case.
	for _, same := range []string{body, strings.ToUpper(body[:20]) + body[20:]} {
		c.do("PUT "+strings.ToUpper(mine), strings.Replace(same, "LOCATION", "location", 1)).Want(200).JSON(&read)
		if read.ID != made.ID || read.SKU != made.SKU || read.Name != "ContosoMHSM" {
			t.Errorf("%+v", read)
		}
	}
	for family, name := range map[string]string{"B": "Custom_B6", "C": "Custom_C42", "c": "Custom_C10"} {
		b := strings.Replace(c.hsmBody(""), `"sku":{"name":"Standard_B1","family":"B"}`, `"sku":{"name":"`+name+`","family":"`+family+`"}`, 1)
		c.do("PUT "+hsms+"/"+strings.ReplaceAll(name, "_", "-"), b).Want(200).JSON(&read)
		if read.SKU.Name != name || read.SKU.Family != strings.ToUpper(family) {
			t.Errorf("%+v", read.SKU)
		}
	}
}

// TestPropertiesRefused: bad values are refused with their name, at creation and at a change, and change nothing.
func TestPropertiesRefused(t *testing.T) {
	t.Parallel()
	s := hsmtest.New(t)
	c := owner(s)
	c.do("PUT "+mine, c.hsmBody("")).Want(200)
	before := string(c.do("GET "+mine, nil).Body)
	property := func(s string) string { return `{"location":"westus3","properties":{` + s + `}}` }
	for _, r := range []struct {
		body, code string
		status     int
		word       string
		change     bool // a creation may have it
	}{
		{property(`"enableSoftDelete":false`), "BadRequest", 400, "soft delete is always on", false},
		{property(`"createMode":"copy"`), "BadRequest", 400, "default or recover", false},
		{property(`"softDeleteRetentionInDays":6`), "BadRequest", 400, "softDeleteRetentionInDays", false},
		{property(`"softDeleteRetentionInDays":91`), "BadRequest", 400, "softDeleteRetentionInDays", false},
		{property(`"softDeleteRetentionInDays":0`), "BadRequest", 400, "softDeleteRetentionInDays", false},
		{property(`"softDeleteRetentionInDays":29`), "BadRequest", 400, "fixed at creation (28)", true},
		{property(`"softDeleteRetentionInDays":28.5`), "BadParameter", 400, "number of days", false},
		{property(`"tenantId":"` + hsmtest.Stranger + `"`), "BadRequest", 400, "tenantId", false},
		{property(`"initialAdminObjectIds":["` + hsmtest.Stranger + `"]`), "BadRequest", 400, "role assignment", true},
		{property(`"initialAdminObjectIds":[]`), "BadRequest", 400, "initialAdminObjectIds", false},
		{property(`"publicNetworkAccess":"Perhaps"`), "BadRequest", 400, "Enabled or Disabled", false},
		{property(`"regions":[{"name":"westus3"},{"name":"eastus"}]`), "RegionNotSupported", 400, "eastus", false},
		{`{"location":"westus3","sku":{"name":"Standard_B2","family":"B"}}`, "SkuNotSupported", 400, "Custom_B32", false},
		{`{"location":"westus3","sku":{"name":"Custom_C10","family":"B"}}`, "SkuNotSupported", 400, "family C", false},
		{`{"location":"westus3","sku":{"family":"B"}}`, "BadRequest", 400, "sku.name", false},
		{`{"location":"westus3","sku":{"name":"Custom_B32","family":"B"}}`, "BadRequest", 400, "Standard_B1", true},
		{`{"location":"west/us3"}`, "InvalidResourceLocation", 409, "westus3", true},
		{`{"location":"westus3","tags":{"a<b":"c"}}`, "BadRequest", 400, "a<b", false},
		{`{"location":"westus3","tags":{"a":1}}`, "BadParameter", 400, "tags", false},
		{`{"location":"westus3","tags":"none"}`, "BadParameter", 400, "tags", false},
	} {
		for _, method := range []string{"PUT", "PATCH"} {
			c.do(method+" "+mine, r.body).WantError(r.status, r.code, "", r.word)
		}
		if !r.change {
			c.do("PUT "+hsms+"/another", merged(t, c.hsmBody(""), r.body)).WantError(r.status, r.code, "")
		}
	}
	if after := string(c.do("GET "+mine, nil).Body); after != before {
		t.Errorf("it was %s\nit is  %s", before, after)
	}
	if got, _ := c.names(hsms + "?" + version); len(got) != 1 {
		t.Errorf("there are %q", got)
	}
}

// merged is the JSON object base with the members of more put in, and those of its properties.
func merged(t *testing.T, base, more string) map[string]any {
	t.Helper()
	var a, b map[string]any
	if err := errors.Join(json.Unmarshal([]byte(base), &a), json.Unmarshal([]byte(more), &b)); err != nil {
		t.Fatal(err)
	}
	properties := a["properties"].(map[string]any)
	if p, ok := b["properties"].(map[string]any); ok {
		maps.Copy(properties, p)
	}
	maps.Copy(a, b)
	a["properties"] = properties
	return a
}

// TestPreconditions: If-Match and If-None-Match with *; HSMs have no ETag.
func TestPreconditions(t *testing.T) {
	t.Parallel()
	s := hsmtest.New(t)
	c := owner(s)
	ask := func(method, name, value string, body any) hsmtest.Answer {
		return c.Do(hsmtest.Ask{Method: method, Host: host, Path: strings.Replace(mine, "~", c.sub(), 1) + "?" + version, Token: c.Token(c.who, hsmtest.Control), Body: body, Header: http.Header{name: {value}}})
	}
	ask("PUT", "If-Match", "*", c.hsmBody("")).WantError(412, "PreconditionFailed", "", "ETag")
	ask("DELETE", "If-Match", "*", nil).WantError(412, "PreconditionFailed", "")
	ask("PUT", "If-None-Match", "*", c.hsmBody("")).Want(200)
	ask("PUT", "If-None-Match", "*", c.hsmBody("")).WantError(412, "PreconditionFailed", "")
	ask("PUT", "If-Match", "*", c.hsmBody("")).Want(200)
	for _, method := range []string{"PUT", "PATCH", "DELETE"} {
		ask(method, "If-Match", `"etag"`, c.hsmBody("")).WantError(412, "PreconditionFailed", "")
	}
	ask("PATCH", "If-Match", "*", `{"tags":{"a":"b"}}`).Want(200)
	ask("DELETE", "If-Match", "*", nil).Want(200)
}

// TestPrivateEndpoints: there are none, on an HSM that is there.
func TestPrivateEndpoints(t *testing.T) {
	t.Parallel()
	s := hsmtest.New(t)
	c := owner(s)
	for _, target := range []string{"GET " + mine + "/privateEndpointConnections", "GET " + mine + "/privateEndpointConnections/x", "PUT " + mine + "/privateEndpointConnections/x",
		"DELETE " + mine + "/privateEndpointConnections/x", "GET " + mine + "/privateLinkResources", "GET " + mine + "/regions"} {
		c.do(target, "{}").WantError(404, "ResourceNotFound", "", "managedHSMs/ContosoMHSM")
	}
	c.do("PUT "+mine, c.hsmBody("")).Want(200)
	c.same(c.do("GET "+mine+"/privateEndpointConnections", nil).Want(200), `{"value":[]}`)
	c.same(c.do("GET "+mine+"/privateLinkResources", nil).Want(200), `{"value":[]}`)
	c.do("GET "+mine+"/privateEndpointConnections/x", nil).WantError(404, "ResourceNotFound", "", "no private endpoint")
	c.do("PUT "+mine+"/privateEndpointConnections/x", `{"properties":{"privateLinkServiceConnectionState":{"status":"Approved"}}}`).WantError(404, "ResourceNotFound", "", "no private endpoint")
	c.do("DELETE "+mine+"/privateEndpointConnections/x", nil).Want(204)
}

// TestRecoverWhatWasThere: a recovery names group and location of the deleted HSM, and changes nothing else.
func TestRecoverWhatWasThere(t *testing.T) {
	t.Parallel()
	s := hsmtest.New(t)
	c := owner(s)
	c.do("PUT "+mine, strings.Replace(c.hsmBody(""), `"sku"`, `"tags":{"a":"b"},"sku"`, 1)).Want(200)
	before := string(c.do("GET "+mine, nil).Body)
	c.do("DELETE "+mine, nil).Want(200)
	// What az recover sends: no administrators, and another letter case.
	as := func(location string) string {
		return `{"location":"` + location + `","sku":{"name":"Standard_B1","family":"B"},"tags":{"c":"d"},"properties":{"tenantId":"` + s.Account.Tenant.ID + `","createMode":"Recover"}}`
	}
	c.do("PUT "+mine, as("eastus")).WantError(409, "InvalidResourceLocation", "", "westus3", "eastus")
	c.do("PUT "+mine, as("WestUS3")).Want(200)
	if after := string(c.do("GET "+mine, nil).Body); after != before {
		t.Errorf("it was %s\nit is  %s", before, after)
	}
}
