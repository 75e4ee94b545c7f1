package arm_test

import (
	"net/http"
	"strings"
	"testing"

	"redoubt/internal/cloud"
	"redoubt/internal/hsmtest"
)

const contributor = hsmtest.Stranger

// contributorOf makes the contributor a Contributor of one resource group, and nothing else.
func contributorOf(t *testing.T, w *hsmtest.Web, group string) (token, sub string) {
	t.Helper()
	sub = w.Account.Subscription.ID
	_, _, err := w.Cloud.CreateRoleAssignment(t.Context(), cloud.RoleAssignment{Name: hsmtest.NewGUID(), Scope: "/subscriptions/" + sub + "/resourceGroups/" + group,
		Role: cloud.RoleContributor, PrincipalID: contributor})
	if err != nil {
		t.Fatal(err)
	}
	return w.Token(contributor, hsmtest.Control), sub
}

const host = "management.azure.com"

// TestRecoverByPathOfAnotherGroup: rights in one group do not reach the deleted HSM of another.
func TestRecoverByPathOfAnotherGroup(t *testing.T) {
	t.Parallel()
	w := hsmtest.New(t).Serve()
	token, sub := contributorOf(t, w, "mine")
	w.Active("victim")
	if _, err := w.Delete(t.Context(), "victim"); err != nil {
		t.Fatal(err)
	}
	body := map[string]any{"location": "westus3", "properties": map[string]any{"createMode": "recover"}}
	path := "/subscriptions/" + sub + "/resourceGroups/%s/providers/Microsoft.KeyVault/managedHSMs/victim?api-version=2024-11-01"
	w.Do(hsmtest.Ask{Method: "PUT", Host: host, Path: strings.Replace(path, "%s", "mine", 1), Token: token, Body: body}).Want(http.StatusNotFound)
	if _, err := w.GetDeleted("victim"); err != nil {
		t.Fatalf("it is not deleted any more: %v", err)
	}
	w.Do(hsmtest.Ask{Method: "PUT", Host: host, Path: strings.Replace(path, "%s", "ContosoResourceGroup", 1), Token: token, Body: body}).Want(http.StatusForbidden)
}

// TestScopeByEscapedSlashes: a path whose segments hold escaped slashes can look as if it lay in a group
// where the caller has rights. It must not lead anywhere else.
func TestScopeByEscapedSlashes(t *testing.T) {
	t.Parallel()
	w := hsmtest.New(t).Serve()
	token, sub := contributorOf(t, w, "mine")
	w.Active("victim")
	if _, _, err := w.Cloud.PutStorageAccount(t.Context(), cloud.StorageAccount{Subscription: sub, ResourceGroup: "ContosoResourceGroup", Name: "victimstore"}); err != nil {
		t.Fatal(err)
	}
	for _, fake := range []string{sub, sub + "%2FresourceGroups%2Fmine", sub + "%2fresourceGroups%2fmine%2f"} {
		base := "/subscriptions/" + fake + "/resourceGroups/ContosoResourceGroup"
		for _, a := range []hsmtest.Ask{
			{Method: "GET", Path: base + "/providers/Microsoft.KeyVault/managedHSMs/victim"},
			{Method: "PATCH", Path: base + "/providers/Microsoft.KeyVault/managedHSMs/victim", Body: `{"tags":{"a":"b"}}`},
			{Method: "PUT", Path: base + "/providers/Microsoft.KeyVault/managedHSMs/victim", Body: `{"location":"westus3"}`},
			{Method: "POST", Path: base + "/providers/Microsoft.Storage/storageAccounts/victimstore/listKeys"},
			{Method: "POST", Path: base + "/providers/Microsoft.Storage/storageAccounts/victimstore/listKeys", Header: http.Header{"X-Http-Method": {"GET"}}},
			{Method: "POST", Path: base + "/providers/Microsoft.Storage/storageAccounts/victimstore/regenerateKey", Body: `{"keyName":"key1"}`},
			{Method: "PUT", Path: base + "/providers/Microsoft.Storage/storageAccounts/victimstore", Body: `{"location":"x"}`},
			{Method: "PUT", Path: base + "/providers/Microsoft.Authorization/roleAssignments/" + hsmtest.NewGUID(),
				Body: map[string]any{"properties": map[string]any{"principalId": contributor, "roleDefinitionId": cloud.RoleOwner}}},
			{Method: "POST", Path: base + "/providers/Microsoft.KeyVault/managedHSMs/victim", Header: http.Header{"X-Http-Method": {"DELETE"}}},
			{Method: "DELETE", Path: base},
		} {
			a.Host, a.Token = host, token
			got := w.Do(a)
			if got.Status < 400 && !(got.Status == http.StatusNoContent && fake != sub) {
				t.Errorf("%s %s: %d %s", a.Method, a.Path, got.Status, got.Body)
			}
		}
	}
	r, err := w.Get("victim")
	if err != nil || len(r.Tags) != 0 {
		t.Errorf("the victim is %+v, %v", r, err)
	}
	if a, err := w.Cloud.StorageAccount(t.Context(), "victimstore"); err != nil || a.Location != "" {
		t.Errorf("the victim's account is %+v, %v", a, err)
	}
}

// TestGroupThatFoldsToAnother: rights on a group whose name has "ſ" (U+017F) do not reach the group with "s" in its place,
// although Unicode's simple folding makes them one.
func TestGroupThatFoldsToAnother(t *testing.T) {
	t.Parallel()
	w := hsmtest.New(t).Serve()
	token, sub := contributorOf(t, w, "contoſoreſourcegroup")
	w.Active("victim")
	if _, _, err := w.Cloud.PutStorageAccount(t.Context(), cloud.StorageAccount{Subscription: sub, ResourceGroup: "ContosoResourceGroup", Name: "victimstore"}); err != nil {
		t.Fatal(err)
	}
	const fake = "conto%C5%BFore%C5%BFourcegroup"
	base := "/subscriptions/" + sub + "/resourceGroups/" + fake
	for _, c := range []struct {
		method, path string
		want         int
	}{
		{"GET", "/providers/Microsoft.KeyVault/managedHSMs/victim", http.StatusNotFound},
		{"DELETE", "/providers/Microsoft.KeyVault/managedHSMs/victim", http.StatusNoContent}, // there is none there
		{"POST", "/providers/Microsoft.Storage/storageAccounts/victimstore/listKeys", http.StatusNotFound},
	} {
		w.Do(hsmtest.Ask{Method: c.method, Host: host, Token: token, Path: base + c.path + "?api-version=2023-07-01"}).Want(c.want)
	}
	if _, err := w.Get("victim"); err != nil {
		t.Errorf("the HSM of the other group: %v", err)
	}
	list := w.Do(hsmtest.Ask{Method: "GET", Host: host, Token: token, Path: base + "/providers/Microsoft.KeyVault/managedHSMs?api-version=2023-07-01"}).Want(http.StatusOK)
	if strings.Contains(string(list.Body), "victim") {
		t.Errorf("listed: %s", list.Body)
	}
}

// TestCreateBelowAnHSMByEscapedSlashes: whoever may change one HSM makes no others by a path that seems to lie below it, nor
// anything else in a place that cannot be.
func TestCreateBelowAnHSMByEscapedSlashes(t *testing.T) {
	t.Parallel()
	c := owner(hsmtest.New(t))
	c.do("PUT "+group, `{"location":"westus3"}`).Want(http.StatusCreated)
	c.do("PUT "+mine, c.hsmBody("")).Want(http.StatusOK)
	_, _, err := c.Cloud.CreateRoleAssignment(t.Context(), cloud.RoleAssignment{Name: hsmtest.NewGUID(), Scope: strings.Replace(mine, "~", c.sub(), 1), Role: cloud.RoleContributor, PrincipalID: contributor})
	if err != nil {
		t.Fatal(err)
	}
	who := c.as(contributor)
	who.do("GET "+mine, nil).Want(http.StatusOK)
	who.do("PUT "+hsms+"/Another", c.hsmBody("")).Want(http.StatusForbidden)
	inside := strings.ReplaceAll("ContosoResourceGroup/providers/Microsoft.KeyVault/managedHSMs/ContosoMHSM", "/", "%2F")
	for _, at := range []string{
		"~/resourceGroups/" + inside + "/providers/Microsoft.KeyVault/managedHSMs/Another",
		"~/resourceGroups/" + inside + "%2F/providers/Microsoft.KeyVault/managedHSMs/Another",
		"~/resourceGroups/" + inside + "%00/providers/Microsoft.KeyVault/managedHSMs/Another",
	} {
		for _, as := range []client{who, c} {
			if got := as.do("PUT "+at, c.hsmBody("")); got.Status < 400 {
				t.Errorf("%s: %d %s", at, got.Status, got.Body)
			}
		}
	}
	if _, err := c.Get("Another"); err == nil {
		t.Error("another HSM was made")
	}
}
