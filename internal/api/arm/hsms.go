package arm

import (
	"errors"
	"fmt"
	"net/http"
	"slices"
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
	{"GET", hsmPath + "/regions", "Microsoft.KeyVault/managedHSMs/read", listRegions},
	{"GET", "subscriptions/{sub}/providers/Microsoft.KeyVault/vaults", "", emptyList},
	{"GET", "subscriptions/{sub}/resourceGroups/{rg}/providers/Microsoft.KeyVault/vaults", "", emptyList},
	{"GET", "subscriptions/{sub}/providers/Microsoft.KeyVault/deletedVaults", "", emptyList},
}

func emptyList(*request) (azhttp.Reply, error) { return values[any](nil), nil }

func putHSM(q *request) (azhttp.Reply, error) {
	body, err := q.readHSM()
	if err != nil {
		return azhttp.Reply{}, err
	}
	if body.recovers() {
		return q.recoverHSM(body)
	}
	if err := q.precondition(); err != nil {
		return azhttp.Reply{}, err
	}
	reply, err := q.createOrUpdate(body)
	if errors.Is(err, fleet.ErrNameTaken) { // perhaps by the same client, a moment ago
		return q.createOrUpdate(body)
	}
	return reply, err
}

func (q *request) createOrUpdate(body hsmBody) (azhttp.Reply, error) {
	if old, err := q.h.cfg.Fleet.Get(q.Param("name")); err == nil {
		if !q.owns(old) {
			return azhttp.Reply{}, fmt.Errorf("%w: it is in another resource group or subscription; choose another", fleet.ErrNameTaken)
		}
		return q.update(body, false)
	}
	r, err := q.newHSM(body)
	if err != nil {
		return azhttp.Reply{}, err
	}
	r, err = q.h.cfg.Fleet.Create(q.Context(), r)
	q.note("created", r.ID)
	return q.written(r, err)
}

// newHSM is the resource that a body asks for. What the fleet checks itself is not checked here.
func (q *request) newHSM(body hsmBody) (fleet.Resource, error) {
	sub, err := q.h.cfg.Cloud.Subscription(q.Context(), q.Param("sub"))
	if err != nil {
		return fleet.Resource{}, &azhttp.Problem{Status: 404, Code: "SubscriptionNotFound", Message: "The subscription '" + q.Param("sub") + "' could not be found."}
	}
	r := fleet.Resource{Name: q.Param("name"), Subscription: sub.ID, ResourceGroup: q.groupName(), Location: fleet.NormalLocation(body.Location),
		Tenant: strings.ToLower(body.Properties.TenantID), Admins: body.Properties.Admins, RetentionDays: 90, SKUName: "Standard_B1", SKUFamily: "B",
		PublicAccess: "Enabled", CreatedBy: q.who.Principal.ID}
	if d := body.Properties.RetentionDays; d != nil {
		r.RetentionDays = int(*d)
	}
	if t := q.endpoints().TenantID; r.Tenant != t {
		return fleet.Resource{}, fmt.Errorf("%w: tenantId must be %s, the tenant of the subscription", fleet.ErrBadResource, t)
	}
	return r, q.apply(body, &r, false)
}

// groupName is the name of the group in the path, in the letter case in which the group was made.
func (q *request) groupName() string {
	if g, err := q.h.cfg.Cloud.ResourceGroup(q.Context(), q.Param("sub"), q.Param("rg")); err == nil {
		return g.Name
	}
	return q.Param("rg")
}

// precondition honours If-Match and If-None-Match. HSMs have no ETag, so that only * can be met.
func (q *request) precondition() error {
	old, err := q.h.cfg.Fleet.Get(q.Param("name"))
	there := err == nil && q.owns(old)
	match, none := q.Header.Get("If-Match"), q.Header.Get("If-None-Match")
	if match != "" && (!there || match != "*") || none == "*" && there {
		return &azhttp.Problem{Status: http.StatusPreconditionFailed, Code: "PreconditionFailed", Message: fmt.Sprintf(
			"The condition If-Match or If-None-Match of the request does not hold for '%s'. Managed HSMs have no ETag: use *, or no condition.", q.Param("name"))}
	}
	return nil
}

// recoverHSM brings back a deleted HSM. The permission checked is that at the path, so the deleted HSM must be
// what the path names.
func (q *request) recoverHSM(body hsmBody) (azhttp.Reply, error) {
	q.note("createMode", "recover")
	old, err := q.h.cfg.Fleet.GetDeleted(q.Param("name"))
	if err != nil || !q.owns(old) {
		return azhttp.Reply{}, &azhttp.Problem{Status: http.StatusNotFound, Code: "DeletedManagedHsmNotFound", Message: fmt.Sprintf(
			"No deleted managed HSM '%s' was in resource group '%s'; az keyvault list-deleted --resource-type hsm shows those there are.", q.Param("name"), q.Param("rg"))}
	}
	if l := fleet.NormalLocation(body.Location); l != "" && l != old.Location {
		return azhttp.Reply{}, fmt.Errorf("%w: the deleted HSM '%s' was in location '%s', not in '%s'", fleet.ErrElsewhere, old.Name, old.Location, l)
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
	return cloud.SameName(r.Subscription, q.Param("sub")) && cloud.SameName(r.ResourceGroup, q.Param("rg"))
}

func patchHSM(q *request) (azhttp.Reply, error) {
	body, err := q.readHSM()
	if err != nil {
		return azhttp.Reply{}, err
	}
	if err := q.precondition(); err != nil {
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
		if !q.owns(*r) { // deleted, purged and made again elsewhere since we looked
			return q.notFound()
		}
		p := body.Properties
		if l := body.Location; l != "" {
			r.Location = fleet.NormalLocation(l)
		}
		if d := p.RetentionDays; d != nil {
			r.RetentionDays = int(*d)
		}
		if p.TenantID != "" {
			r.Tenant = strings.ToLower(p.TenantID)
		}
		if p.Admins != nil {
			r.Admins = p.Admins
		}
		return q.apply(body, r, merge)
	})
	return q.written(r, err)
}

// apply puts the mutable members of body into r.
func (q *request) apply(body hsmBody, r *fleet.Resource, merge bool) (err error) {
	p := body.Properties
	if err := body.checkRegions(r.Location); err != nil {
		return err
	}
	if body.Tags != nil {
		r.Tags = body.Tags
	}
	if r.SKUName, r.SKUFamily, err = body.sku(r.SKUName, r.SKUFamily); err != nil {
		return err
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
	if cerr := q.precondition(); cerr != nil {
		return azhttp.Reply{}, cerr
	}
	if err != nil || !q.owns(r) {
		return azhttp.Reply{Status: http.StatusNoContent}, nil
	}
	if _, err = q.h.cfg.Fleet.Delete(q.Context(), r.Name); errors.Is(err, fleet.ErrNotFound) { // by somebody else, a moment ago
		return azhttp.Reply{Status: http.StatusNoContent}, nil
	}
	return azhttp.Reply{}, err
}

func listHSMs(q *request) (azhttp.Reply, error) {
	top, after, err := q.page()
	if err != nil {
		return azhttp.Reply{}, err
	}
	here := func(r *fleet.Resource) bool {
		return cloud.SameName(r.Subscription, q.Param("sub")) && (q.Param("rg") == "" || cloud.SameName(r.ResourceGroup, q.Param("rg"))) && q.sees(hsmID(*r))
	}
	page, more := q.h.cfg.Fleet.Page(false, after, top, here)
	var out []hsmResource
	for _, r := range page {
		out = append(out, q.wireHSM(r))
		after = strings.ToLower(r.Name)
	}
	return paged(q, out, after, more), nil
}

func listRegions(q *request) (azhttp.Reply, error) {
	r, err := q.h.cfg.Fleet.Get(q.Param("name"))
	if err != nil || !q.owns(r) {
		return azhttp.Reply{}, q.notFound()
	}
	return values([]map[string]any{{"name": r.Location, "provisioningState": "Succeeded", "isPrimary": true}}), nil
}

// checkName tells whether a name can be had. Names are those of hosts: they are unique over all subscriptions.
func checkName(q *request) (azhttp.Reply, error) {
	var body struct {
		Name *string `json:"name"`
	}
	if err := q.Decode(&body); err != nil {
		return azhttp.Reply{}, err
	}
	if body.Name == nil {
		return azhttp.Reply{}, azhttp.Bad("The request body needs the member 'name'.")
	}
	no := func(reason, message string) (azhttp.Reply, error) {
		return azhttp.OK(map[string]any{"nameAvailable": false, "reason": reason, "message": message})
	}
	name := *body.Name
	if err := fleet.CheckName(name); err != nil {
		return no("AccountNameInvalid", err.Error())
	}
	if _, err := q.h.cfg.Fleet.GetDeleted(name); err == nil {
		return no("AlreadyExists", fmt.Sprintf("The name '%s' is that of a deleted managed HSM. Recover that one, purge it, or choose another name.", name))
	}
	if q.h.cfg.Fleet.Taken(name) {
		return no("AlreadyExists", fmt.Sprintf("The name '%s' is already in use by a managed HSM. Choose another name.", name))
	}
	return azhttp.OK(map[string]any{"nameAvailable": true})
}
