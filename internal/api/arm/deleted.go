package arm

import (
	"fmt"
	"net/http"
	"strings"

	"redoubt/internal/api/azhttp"
	"redoubt/internal/cloud"
	"redoubt/internal/fleet"
)

const deletedPath = "subscriptions/{sub}/providers/Microsoft.KeyVault/locations/{loc}/deletedManagedHSMs/{name}"

var deletedRoutes = []route{
	{"GET", "subscriptions/{sub}/providers/Microsoft.KeyVault/deletedManagedHSMs", "Microsoft.KeyVault/deletedManagedHsms/read", listDeletedHSMs},
	{"GET", deletedPath, "Microsoft.KeyVault/locations/deletedManagedHsms/read", getDeletedHSM},
	{"POST", deletedPath + "/purge", "Microsoft.KeyVault/locations/deletedManagedHsms/purge/action", purgeHSM},
	{"GET", "subscriptions/{sub}/providers/Microsoft.KeyVault/locations/{loc}/managedHsmOperationResults/{op}", "Microsoft.KeyVault/locations/managedHsmOperationResults/read", operationResult},
}

type deletedHSM struct {
	ID         string            `json:"id"`
	Name       string            `json:"name"`
	Type       string            `json:"type"`
	Properties deletedProperties `json:"properties"`
}

type deletedProperties struct {
	MHSMID             string            `json:"mhsmId"`
	Location           string            `json:"location"`
	DeletionDate       string            `json:"deletionDate"`
	ScheduledPurgeDate string            `json:"scheduledPurgeDate"`
	PurgeProtection    bool              `json:"purgeProtectionEnabled"`
	Tags               map[string]string `json:"tags"`
}

func wireDeleted(r fleet.Resource) deletedHSM {
	if r.Tags == nil {
		r.Tags = map[string]string{}
	}
	return deletedHSM{ID: fmt.Sprintf("/subscriptions/%s/providers/Microsoft.KeyVault/locations/%s/deletedManagedHSMs/%s", r.Subscription, r.Location, r.Name),
		Name: r.Name, Type: "Microsoft.KeyVault/deletedManagedHSMs", Properties: deletedProperties{MHSMID: hsmID(r), Location: r.Location,
			DeletionDate: rfc3339(r.Deletion.At), ScheduledPurgeDate: rfc3339(r.Deletion.PurgeAt), PurgeProtection: r.PurgeProtection, Tags: r.Tags}}
}

func (q *request) deleted() (fleet.Resource, error) {
	r, err := q.h.cfg.Fleet.GetDeleted(q.Param("name"))
	if err != nil || !cloud.SameName(r.Subscription, q.Param("sub")) || !strings.EqualFold(r.Location, q.Param("loc")) {
		return fleet.Resource{}, &azhttp.Problem{Status: http.StatusNotFound, Code: "DeletedManagedHsmNotFound",
			Message: fmt.Sprintf("No deleted managed HSM '%s' in location '%s'; az keyvault list-deleted --resource-type hsm shows those there are.", q.Param("name"), q.Param("loc"))}
	}
	return r, nil
}

func listDeletedHSMs(q *request) (azhttp.Reply, error) {
	top, after, err := q.page()
	if err != nil {
		return azhttp.Reply{}, err
	}
	page, more := q.h.cfg.Fleet.Page(true, after, top, func(r *fleet.Resource) bool { return cloud.SameName(r.Subscription, q.Param("sub")) })
	var out []deletedHSM
	for _, r := range page {
		out = append(out, wireDeleted(r))
		after = strings.ToLower(r.Name)
	}
	return paged(q, out, after, more), nil
}

func getDeletedHSM(q *request) (azhttp.Reply, error) {
	r, err := q.deleted()
	if err != nil {
		return azhttp.Reply{}, err
	}
	return azhttp.OK(wireDeleted(r))
}

// purgeHSM is done when it answers; clients demand a 202 and then poll the Location.
func purgeHSM(q *request) (azhttp.Reply, error) {
	r, err := q.deleted()
	if err != nil {
		return azhttp.Reply{}, err
	}
	if err := q.h.cfg.Fleet.Purge(q.Context(), r.Name); err != nil {
		return azhttp.Reply{}, err
	}
	return azhttp.Accepted(nil, "Location", fmt.Sprintf("%s/subscriptions/%s/providers/Microsoft.KeyVault/locations/%s/managedHsmOperationResults/%s?api-version=%s",
		q.endpoints().ResourceManager, q.Param("sub"), q.Param("loc"), azhttp.NewGUID(), q.URL.Query().Get("api-version")))
}

func operationResult(*request) (azhttp.Reply, error) {
	return azhttp.Reply{Status: http.StatusNoContent}, nil
}
