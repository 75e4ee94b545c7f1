package arm

import (
	"context"
	"errors"
	"net/http"

	"redoubt/internal/api/azhttp"
	"redoubt/internal/cloud"
)

var generalRoutes = []route{
	{"GET", "tenants", "", listTenants},
	{"GET", "subscriptions", "", listSubscriptions},
	{"GET", "subscriptions/{sub}", "", getSubscription},
	{"GET", "subscriptions/{sub}/locations", "", listLocations},
	{"GET", "subscriptions/{sub}/providers/Microsoft.Attestation/locations/{loc}/defaultProvider", "", attestationProvider},
	{"GET", "subscriptions/{sub}/resourceGroups", "Microsoft.Resources/subscriptions/resourceGroups/read", listGroups},
	{"PUT", "subscriptions/{sub}/resourceGroups/{rg}", "Microsoft.Resources/subscriptions/resourceGroups/write", putGroup},
	{"PATCH", "subscriptions/{sub}/resourceGroups/{rg}", "Microsoft.Resources/subscriptions/resourceGroups/write", patchGroup},
	{"GET", "subscriptions/{sub}/resourceGroups/{rg}", "Microsoft.Resources/subscriptions/resourceGroups/read", getGroup},
	{"HEAD", "subscriptions/{sub}/resourceGroups/{rg}", "Microsoft.Resources/subscriptions/resourceGroups/read", headGroup},
	{"DELETE", "subscriptions/{sub}/resourceGroups/{rg}", "Microsoft.Resources/subscriptions/resourceGroups/delete", deleteGroup},
}

func listTenants(q *request) (azhttp.Reply, error) {
	t, err := q.h.cfg.Cloud.Tenant(q.Context())
	if err != nil {
		return azhttp.Reply{}, err
	}
	return values([]map[string]any{{"id": "/tenants/" + t.ID, "tenantId": t.ID, "displayName": t.DisplayName, "defaultDomain": t.Domain, "tenantType": "AAD",
		"domains": []string{t.Domain}, "tenantCategory": "Home"}}), nil
}

type subscription struct {
	ID                  string            `json:"id"`
	SubscriptionID      string            `json:"subscriptionId"`
	TenantID            string            `json:"tenantId"`
	DisplayName         string            `json:"displayName"`
	State               string            `json:"state"`
	Policies            map[string]string `json:"subscriptionPolicies"`
	AuthorizationSource string            `json:"authorizationSource"`
	ManagedByTenants    []string          `json:"managedByTenants"`
}

func wireSubscription(s cloud.Subscription) subscription {
	return subscription{ID: "/subscriptions/" + s.ID, SubscriptionID: s.ID, TenantID: s.TenantID, DisplayName: s.DisplayName, State: "Enabled",
		Policies:            map[string]string{"locationPlacementId": "Public_2014-09-01", "quotaId": "PayAsYouGo_2014-09-01", "spendingLimit": "Off"},
		AuthorizationSource: "RoleBased", ManagedByTenants: []string{}}
}

func listSubscriptions(q *request) (azhttp.Reply, error) {
	all, err := q.h.cfg.Cloud.Subscriptions(q.Context())
	var out []subscription
	for _, s := range all {
		out = append(out, wireSubscription(s))
	}
	return values(out), err
}

func getSubscription(q *request) (azhttp.Reply, error) {
	s, err := q.h.cfg.Cloud.Subscription(q.Context(), q.Param("sub"))
	return azhttp.Reply{Body: wireSubscription(s)}, err
}

// regions are those in which the dev cloud pretends to be; any other location is accepted as well.
var regions = []string{"westus3", "westus2", "westus", "eastus", "eastus2", "centralus", "northeurope", "westeurope", "uksouth", "germanywestcentral", "swedencentral", "switzerlandnorth"}

func listLocations(q *request) (azhttp.Reply, error) {
	var out []map[string]any
	for _, r := range regions {
		out = append(out, map[string]any{"id": "/subscriptions/" + q.Param("sub") + "/locations/" + r, "name": r, "displayName": r, "regionalDisplayName": r,
			"type": "Region", "metadata": map[string]string{"regionType": "Physical", "regionCategory": "Recommended"}})
	}
	return values(out), nil
}

// attestationProvider names the attestation service of a region, which `az keyvault key create --default-cvm-policy` asks for.
func attestationProvider(q *request) (azhttp.Reply, error) {
	uri := q.h.cfg.Endpoints(q.Host).Attestation
	if uri == "" {
		return azhttp.Reply{}, azhttp.NotFound("There is no attestation service in this cloud. Name the authority in a release policy of your own (--policy).")
	}
	loc := q.Param("loc")
	return azhttp.OK(map[string]any{"id": "/subscriptions/" + q.Param("sub") + "/providers/Microsoft.Attestation/attestationProviders/shared" + loc, "name": "shared" + loc,
		"type": "Microsoft.Attestation/attestationProviders", "location": loc, "properties": map[string]string{"trustModel": "AAD", "status": "Ready", "attestUri": uri}})
}

type resourceGroup struct {
	ID         string            `json:"id"`
	Name       string            `json:"name"`
	Type       string            `json:"type"`
	Location   string            `json:"location"`
	Tags       map[string]string `json:"tags,omitempty"`
	Properties provisioned       `json:"properties"`
}

type provisioned struct {
	State string `json:"provisioningState"`
}

func wireGroup(g cloud.ResourceGroup) resourceGroup {
	return resourceGroup{ID: g.ID(), Name: g.Name, Type: "Microsoft.Resources/resourceGroups", Location: g.Location, Tags: g.Tags, Properties: provisioned{"Succeeded"}}
}

func listGroups(q *request) (azhttp.Reply, error) {
	all, err := q.h.cfg.Cloud.ResourceGroups(q.Context(), q.Param("sub"))
	var out []resourceGroup
	for _, g := range all {
		if q.sees(g.ID()) {
			out = append(out, wireGroup(g))
		}
	}
	return values(out), err
}

func putGroup(q *request) (azhttp.Reply, error) {
	var body struct {
		Location string            `json:"location"`
		Tags     map[string]string `json:"tags"`
	}
	if err := q.Decode(&body); err != nil {
		return azhttp.Reply{}, err
	}
	if err := checkTags(body.Tags); err != nil {
		return azhttp.Reply{}, err
	}
	g, created, err := q.h.cfg.Cloud.PutResourceGroup(q.Context(), cloud.ResourceGroup{Subscription: q.Param("sub"), Name: q.Param("rg"), Location: body.Location, Tags: body.Tags})
	status := http.StatusOK
	if created {
		status = http.StatusCreated
	}
	return azhttp.Reply{Status: status, Body: wireGroup(g)}, err
}

// patchGroup changes a group's tags.
func patchGroup(q *request) (azhttp.Reply, error) {
	var body struct {
		Tags map[string]string `json:"tags"`
	}
	if err := q.Decode(&body); err != nil {
		return azhttp.Reply{}, err
	}
	if err := checkTags(body.Tags); err != nil {
		return azhttp.Reply{}, err
	}
	g, err := q.resourceGroup()
	if err != nil {
		return azhttp.Reply{}, err
	}
	if body.Tags != nil {
		g.Tags = body.Tags
	}
	g, _, err = q.h.cfg.Cloud.PutResourceGroup(q.Context(), g)
	return azhttp.Reply{Body: wireGroup(g)}, err
}

func (q *request) resourceGroup() (cloud.ResourceGroup, error) {
	g, err := q.h.cfg.Cloud.ResourceGroup(q.Context(), q.Param("sub"), q.Param("rg"))
	if errors.Is(err, cloud.ErrNotFound) {
		err = &azhttp.Problem{Status: 404, Code: "ResourceGroupNotFound", Message: "Resource group '" + q.Param("rg") + "' could not be found."}
	}
	return g, err
}

func getGroup(q *request) (azhttp.Reply, error) {
	g, err := q.resourceGroup()
	if err != nil {
		return azhttp.Reply{}, err
	}
	return azhttp.OK(wireGroup(g))
}

func headGroup(q *request) (azhttp.Reply, error) {
	if _, err := q.h.cfg.Cloud.ResourceGroup(q.Context(), q.Param("sub"), q.Param("rg")); err != nil {
		return azhttp.Reply{Status: http.StatusNotFound}, nil
	}
	return azhttp.Reply{Status: http.StatusNoContent}, nil
}

// deleteGroup deletes a group with what is in it; its HSMs are soft-deleted, as in Azure.
func deleteGroup(q *request) (azhttp.Reply, error) {
	sub, rg := q.Param("sub"), q.Param("rg")
	for _, r := range q.h.cfg.Fleet.List(false) {
		if cloud.SameName(r.Subscription, sub) && cloud.SameName(r.ResourceGroup, rg) {
			if _, err := q.h.cfg.Fleet.Delete(q.Context(), r.Name); err != nil {
				return azhttp.Reply{}, err
			}
		}
	}
	accounts, err := q.h.cfg.Cloud.StorageAccounts(q.Context(), sub, rg)
	if err != nil {
		return azhttp.Reply{}, err
	}
	for _, a := range accounts {
		if err := q.removeAccount(a); err != nil && !errors.Is(err, cloud.ErrNotFound) {
			return azhttp.Reply{}, err
		}
	}
	return azhttp.Reply{}, q.h.cfg.Cloud.DeleteResourceGroup(context.WithoutCancel(q.Context()), sub, rg)
}
