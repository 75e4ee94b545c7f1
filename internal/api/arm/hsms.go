package arm

import (
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"strings"

	"redoubt/internal/api/azhttp"
	"redoubt/internal/cloud"
	"redoubt/internal/fleet"
)

const hsmPath = "subscriptions/{sub}/resourceGroups/{rg}/providers/Microsoft.KeyVault/managedHSMs/{name}"

var hsmRoutes = []route{
	{"PUT", hsmPath, "Microsoft.KeyVault/managedHSMs/write", putHSM},
	{"PATCH", hsmPath, "Microsoft.KeyVault/managedHSMs/write", patchHSM},
	{"GET", hsmPath, "Microsoft.KeyVault/managedHSMs/read", getHSM},
	{"DELETE", hsmPath, "Microsoft.KeyVault/managedHSMs/delete", deleteHSM},
	{"GET", "subscriptions/{sub}/resourceGroups/{rg}/providers/Microsoft.KeyVault/managedHSMs", "Microsoft.KeyVault/managedHSMs/read", listHSMs},
	{"GET", "subscriptions/{sub}/providers/Microsoft.KeyVault/managedHSMs", "Microsoft.KeyVault/managedHSMs/read", listHSMs},
	{"POST", "subscriptions/{sub}/providers/Microsoft.KeyVault/checkMhsmNameAvailability", "", checkName},
	{"GET", hsmPath + "/privateEndpointConnections", "Microsoft.KeyVault/managedHSMs/read", emptyList},
	{"GET", hsmPath + "/privateLinkResources", "Microsoft.KeyVault/managedHSMs/read", emptyList},
	{"GET", hsmPath + "/regions", "Microsoft.KeyVault/managedHSMs/read", listRegions},
	{"GET", "subscriptions/{sub}/providers/Microsoft.KeyVault/vaults", "", emptyList},
	{"GET", "subscriptions/{sub}/resourceGroups/{rg}/providers/Microsoft.KeyVault/vaults", "", emptyList},
	{"GET", "subscriptions/{sub}/providers/Microsoft.KeyVault/deletedVaults", "", emptyList},
}

func emptyList(*request) (azhttp.Reply, error) { return values[any](nil), nil }

// flexInt reads a number that clients also send as a string ("28").
type flexInt int

// UnmarshalJSON implements json.Unmarshaler.
func (f *flexInt) UnmarshalJSON(b []byte) error {
	s := strings.Trim(string(b), `"`)
	if s == "null" {
		return nil
	}
	n, err := strconv.Atoi(s)
	if err != nil {
		return azhttp.Bad("softDeleteRetentionInDays is a number of days.")
	}
	*f = flexInt(n)
	return nil
}

// hsmBody is what PUT and PATCH take.
type hsmBody struct {
	Location string            `json:"location"`
	Tags     map[string]string `json:"tags"`
	SKU      *struct {
		Name   string `json:"name"`
		Family string `json:"family"`
	} `json:"sku"`
	Identity *struct {
		Type         string                     `json:"type"`
		UserAssigned map[string]json.RawMessage `json:"userAssignedIdentities"`
	} `json:"identity"`
	Properties struct {
		TenantID        string          `json:"tenantId"`
		Admins          []string        `json:"initialAdminObjectIds"`
		RetentionDays   flexInt         `json:"softDeleteRetentionInDays"`
		PurgeProtection *bool           `json:"enablePurgeProtection"`
		CreateMode      string          `json:"createMode"`
		PublicAccess    string          `json:"publicNetworkAccess"`
		NetworkACLs     json.RawMessage `json:"networkAcls"`
	} `json:"properties"`
}

func putHSM(q *request) (azhttp.Reply, error) {
	var body hsmBody
	if err := q.Decode(&body); err != nil {
		return azhttp.Reply{}, err
	}
	if strings.EqualFold(body.Properties.CreateMode, "recover") {
		return q.recoverHSM()
	}
	if old, err := q.h.cfg.Fleet.Get(q.Param("name")); err == nil {
		if !q.owns(old) {
			return azhttp.Reply{}, fmt.Errorf("%w: it is in another resource group or subscription; choose another", fleet.ErrNameTaken)
		}
		return q.update(body, false)
	}
	if _, err := q.h.cfg.Cloud.Subscription(q.Context(), q.Param("sub")); err != nil {
		return azhttp.Reply{}, &azhttp.Problem{Status: 404, Code: "SubscriptionNotFound", Message: "The subscription '" + q.Param("sub") + "' could not be found."}
	}
	r := fleet.Resource{Name: q.Param("name"), Subscription: q.Param("sub"), ResourceGroup: q.Param("rg"), Location: strings.ToLower(strings.ReplaceAll(body.Location, " ", "")),
		Tenant: strings.ToLower(body.Properties.TenantID), Admins: body.Properties.Admins, RetentionDays: int(body.Properties.RetentionDays), SKUName: "Standard_B1", SKUFamily: "B",
		PublicAccess: "Enabled", CreatedBy: q.who.Principal.ID}
	if r.RetentionDays == 0 {
		r.RetentionDays = 90
	}
	if t := q.endpoints().TenantID; r.Tenant != t {
		return azhttp.Reply{}, fmt.Errorf("%w: tenantId must be %s, the tenant of the subscription", fleet.ErrBadResource, t)
	}
	if err := q.apply(body, &r, false); err != nil {
		return azhttp.Reply{}, err
	}
	r, err := q.h.cfg.Fleet.Create(q.Context(), r)
	return q.written(r, err)
}

// recoverHSM brings back a deleted HSM. The permission checked is that at the path, so the deleted HSM must be
// what the path names.
func (q *request) recoverHSM() (azhttp.Reply, error) {
	old, err := q.h.cfg.Fleet.GetDeleted(q.Param("name"))
	if err != nil || !q.owns(old) {
		return azhttp.Reply{}, &azhttp.Problem{Status: http.StatusNotFound, Code: "DeletedManagedHsmNotFound", Message: fmt.Sprintf(
			"No deleted managed HSM '%s' was in resource group '%s'; az keyvault list-deleted --resource-type hsm shows those there are.", q.Param("name"), q.Param("rg"))}
	}
	r, err := q.h.cfg.Fleet.Recover(q.Context(), old.Name)
	return q.written(r, err)
}

// written is the answer to a PUT or PATCH. It says Succeeded whatever the device waits for: the write has
// succeeded, and clients would poll anything else until it changes.
func (q *request) written(r fleet.Resource, err error) (azhttp.Reply, error) {
	if err != nil {
		return azhttp.Reply{}, err
	}
	w := q.wireHSM(r)
	w.Properties.ProvisioningState = "Succeeded"
	return azhttp.OK(w)
}

func (q *request) owns(r fleet.Resource) bool {
	return strings.EqualFold(r.Subscription, q.Param("sub")) && strings.EqualFold(r.ResourceGroup, q.Param("rg"))
}

func patchHSM(q *request) (azhttp.Reply, error) {
	var body hsmBody
	if err := q.Decode(&body); err != nil {
		return azhttp.Reply{}, err
	}
	if old, err := q.h.cfg.Fleet.Get(q.Param("name")); err != nil || !q.owns(old) {
		return azhttp.Reply{}, q.notFound()
	}
	return q.update(body, true)
}

// update changes a live HSM. What the body leaves out stays as it is: clients send read-only members back
// or drop them. merge is the way of PATCH, which adds to the identities where PUT replaces them.
func (q *request) update(body hsmBody, merge bool) (azhttp.Reply, error) {
	r, err := q.h.cfg.Fleet.Update(q.Context(), q.Param("name"), func(r *fleet.Resource) error {
		if l := body.Location; l != "" {
			r.Location = strings.ToLower(strings.ReplaceAll(l, " ", ""))
		}
		if d := int(body.Properties.RetentionDays); d != 0 {
			r.RetentionDays = d
		}
		return q.apply(body, r, merge)
	})
	return q.written(r, err)
}

// apply puts the mutable members of body into r.
func (q *request) apply(body hsmBody, r *fleet.Resource, merge bool) error {
	p := body.Properties
	if body.Tags != nil {
		r.Tags = body.Tags
	}
	if body.SKU != nil && body.SKU.Name != "" {
		r.SKUName, r.SKUFamily = body.SKU.Name, body.SKU.Family
	}
	if p.PurgeProtection != nil {
		r.PurgeProtection = *p.PurgeProtection
	}
	if err := applyNetwork(p.PublicAccess, p.NetworkACLs, r); err != nil {
		return err
	}
	if body.Identity == nil {
		return nil
	}
	ids, err := body.identities(r.Identities, merge)
	if err != nil {
		return err
	}
	return q.attach(r, ids)
}

// identities are the resource ids that the body asks for. In userAssignedIdentities, null takes one away.
func (b hsmBody) identities(old []string, merge bool) ([]string, error) {
	var ids []string
	switch strings.ToLower(b.Identity.Type) {
	case "none":
		return nil, nil
	case "userassigned":
		if merge {
			ids = slices.Clone(old)
		}
	default:
		return nil, fmt.Errorf("%w: identity.type is UserAssigned or None, got %q", fleet.ErrBadResource, b.Identity.Type)
	}
	for id, v := range b.Identity.UserAssigned {
		ids = slices.DeleteFunc(ids, func(s string) bool { return strings.EqualFold(s, id) })
		if string(v) != "null" {
			ids = append(ids, id)
		}
	}
	return ids, nil
}

// attach sets the user-assigned identities, which needs the permission to assign each new one. They are
// kept in order, so that the first one, which backups use, does not change by itself.
func (q *request) attach(r *fleet.Resource, ids []string) error {
	var out []string
	for _, id := range ids {
		if q.h.cfg.HSMsOnly {
			return &azhttp.Problem{Status: http.StatusBadRequest, Code: "FailedIdentityOperation", Message: "The user-assigned identity '" + id + "' cannot be attached: this server has no managed identities. Give backups a SAS token."}
		}
		mi, err := q.h.cfg.Cloud.ManagedIdentity(q.Context(), id)
		if err != nil {
			return &azhttp.Problem{Status: http.StatusBadRequest, Code: "FailedIdentityOperation", Message: "The user-assigned identity '" + id + "' does not exist; create it with az identity create."}
		}
		known := slices.ContainsFunc(r.Identities, func(old string) bool { return strings.EqualFold(old, mi.ResourceID) })
		if !known {
			if err := q.permit(cloud.ActionAssignIdentity, mi.ResourceID); err != nil {
				return err
			}
		}
		if !slices.ContainsFunc(out, func(s string) bool { return strings.EqualFold(s, mi.ResourceID) }) {
			out = append(out, mi.ResourceID)
		}
	}
	slices.Sort(out)
	r.Identities = out
	return nil
}

func getHSM(q *request) (azhttp.Reply, error) {
	r, err := q.h.cfg.Fleet.Get(q.Param("name"))
	if err != nil || !q.owns(r) {
		return azhttp.Reply{}, q.notFound()
	}
	return azhttp.OK(q.wireHSM(r))
}

func (q *request) notFound() error {
	return &azhttp.Problem{Status: http.StatusNotFound, Code: "ResourceNotFound", Message: fmt.Sprintf(
		"The Resource 'Microsoft.KeyVault/managedHSMs/%s' under resource group '%s' was not found.", q.Param("name"), q.Param("rg"))}
}

func deleteHSM(q *request) (azhttp.Reply, error) {
	r, err := q.h.cfg.Fleet.Get(q.Param("name"))
	if err != nil || !q.owns(r) {
		return azhttp.Reply{Status: http.StatusNoContent}, nil
	}
	_, err = q.h.cfg.Fleet.Delete(q.Context(), r.Name)
	return azhttp.Reply{}, err
}

func listHSMs(q *request) (azhttp.Reply, error) {
	var out []hsmResource
	for _, r := range q.h.cfg.Fleet.List(false) {
		if strings.EqualFold(r.Subscription, q.Param("sub")) && (q.Param("rg") == "" || strings.EqualFold(r.ResourceGroup, q.Param("rg"))) {
			out = append(out, q.wireHSM(r))
		}
	}
	return values(out), nil
}

func listRegions(q *request) (azhttp.Reply, error) {
	r, err := q.h.cfg.Fleet.Get(q.Param("name"))
	if err != nil || !q.owns(r) {
		return azhttp.Reply{}, q.notFound()
	}
	return values([]map[string]any{{"name": r.Location, "provisioningState": "Succeeded", "isPrimary": true}}), nil
}

func checkName(q *request) (azhttp.Reply, error) {
	var body struct {
		Name string `json:"name"`
	}
	if err := q.Decode(&body); err != nil {
		return azhttp.Reply{}, err
	}
	answer := map[string]any{"nameAvailable": true}
	if err := fleet.CheckName(body.Name); err != nil {
		answer = map[string]any{"nameAvailable": false, "reason": "AccountNameInvalid", "message": err.Error()}
	} else if q.nameTaken(body.Name) {
		answer = map[string]any{"nameAvailable": false, "reason": "AlreadyExists", "message": "The name '" + body.Name + "' is already in use by a live or deleted managed HSM."}
	}
	return azhttp.OK(answer)
}

func (q *request) nameTaken(name string) bool {
	_, live := q.h.cfg.Fleet.Get(name)
	_, deleted := q.h.cfg.Fleet.GetDeleted(name)
	return live == nil || deleted == nil
}
