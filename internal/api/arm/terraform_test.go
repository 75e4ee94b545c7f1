package arm_test

import (
	"maps"
	"reflect"
	"testing"

	"redoubt/internal/hsmtest"
)

// TestTerraform: what azurerm does with an HSM from the first apply to destroy. It changes one by writing back what it has read, read-only
// members and nulls included.
func TestTerraform(t *testing.T) {
	t.Parallel()
	s := hsmtest.New(t)
	c := owner(s)
	c.do("GET "+group, nil).WantError(404, "ResourceGroupNotFound", "")
	c.do("PUT "+group, `{"location":"westeurope","tags":{"stage":"first"}}`).Want(201)
	c.do("GET "+mine, nil).WantError(404, "ResourceNotFound", "")
	c.do("PUT "+mine, `{"location":"westeurope","properties":{"createMode":"default","enablePurgeProtection":false,"enableSoftDelete":true,"initialAdminObjectIds":["`+hsmtest.Admin+
		`"],"networkAcls":{"bypass":"AzureServices","defaultAction":"Allow"},"publicNetworkAccess":"Enabled","softDeleteRetentionInDays":7,"tenantId":"`+s.Account.Tenant.ID+
		`"},"sku":{"family":"B","name":"Standard_B1"},"tags":{"stage":"first"}}`).Want(200)
	c.do("PUT "+identities+"mi", `{"location":"westeurope"}`).Want(201)
	mi := c.do("GET "+identities+"mi", nil).Want(200).Map()["id"].(string)
	c.do("PATCH "+mine, `{"identity":{"type":"UserAssigned","userAssignedIdentities":{"`+mi+`":{}}}}`).Want(200)

	read := c.do("GET "+mine, nil).Want(200).Map()
	body := maps.Clone(read)
	body["tags"], body["systemData"] = map[string]string{"stage": "second"}, nil
	properties := maps.Clone(read["properties"].(map[string]any))
	properties["networkAcls"] = map[string]string{"bypass": "None", "defaultAction": "Allow"}
	body["properties"] = properties
	c.do("PUT "+mine, body).Want(200)
	after := c.do("GET "+mine, nil).Want(200).Map()
	identity := after["identity"].(map[string]any)["userAssignedIdentities"].(map[string]any)
	if len(identity) != 1 || after["tags"].(map[string]any)["stage"] != "second" || after["properties"].(map[string]any)["networkAcls"].(map[string]any)["bypass"] != "None" {
		t.Errorf("after the change: %v", after)
	}
	for _, member := range []string{"hsmUri", "initialAdminObjectIds", "softDeleteRetentionInDays", "enablePurgeProtection", "publicNetworkAccess", "tenantId"} {
		if was, is := read["properties"].(map[string]any)[member], after["properties"].(map[string]any)[member]; !reflect.DeepEqual(was, is) {
			t.Errorf("%s was %v and is %v", member, was, is)
		}
	}

	deleted := "~/providers/Microsoft.KeyVault/locations/westeurope/deletedManagedHSMs/ContosoMHSM"
	c.do("DELETE "+mine, nil).Want(200)
	c.do("GET "+deleted, nil).Want(200)
	c.do("POST "+deleted+"/purge", nil).Want(202)
	c.do("GET "+deleted, nil).WantError(404, "DeletedManagedHsmNotFound", "")
	// It destroys no group that is not empty, and asks for that first.
	left := c.do("GET "+group+"/resources?$expand=provisioningState&$top=10&api-version=2023-07-01", nil).Want(200).Map()["value"].([]any)
	if len(left) != 1 || left[0].(map[string]any)["id"] != mi {
		t.Errorf("left in the group: %v", left)
	}
	c.do("DELETE "+group, nil).Want(200)
}
