package arm

import (
	"net/http"
	"slices"
	"strings"

	"redoubt/internal/api/azhttp"
	"redoubt/internal/cloud"
	"redoubt/internal/fleet"
)

// genericResource is a resource of any type, as the lists of all resources show it.
type genericResource struct {
	ID       string            `json:"id"`
	Name     string            `json:"name"`
	Type     string            `json:"type"`
	Location string            `json:"location"`
	Tags     map[string]string `json:"tags"`
	SKU      *sku              `json:"sku,omitempty"`

	group string
}

// place is where the resource stands in a list: by name, and those of one name by type.
func (r *genericResource) place() string {
	return strings.ToLower(r.Name) + "|" + strings.ToLower(r.Type)
}

// resourceRoutes list resources of all types, and groups.
var resourceRoutes = []route{
	{http.MethodGet, "subscriptions/{sub}/resources", "Microsoft.Resources/subscriptions/resources/read", listResources},
	{http.MethodGet, "subscriptions/{sub}/resourceGroups/{rg}/resources", "Microsoft.Resources/subscriptions/resourceGroups/resources/read", listResources},
}

// listResources answers a page of the resources of the subscription or a group: az looks for vaults and storage
// accounts with it, and Terraform for what is left in a group. HSMs come from the fleet in bounded portions; the
// others are those of a dev cloud, which are few.
func listResources(q *request) (azhttp.Reply, error) {
	f, err := parseFilter(q.queryParam("$filter"))
	if err != nil {
		return azhttp.Reply{}, err
	}
	top, after, err := q.page()
	if err != nil {
		return azhttp.Reply{}, err
	}
	wanted := func(r *genericResource) bool {
		return r.place() > after && (q.Param("rg") == "" || cloud.SameName(r.group, q.Param("rg"))) && f.holds(r) && q.sees(r.ID)
	}
	all, err := q.others(wanted)
	if err != nil {
		return azhttp.Reply{}, err
	}
	name, _, _ := strings.Cut(after, "|")
	hsms, more := q.h.cfg.Fleet.Page(false, before(name), top+1, func(r *fleet.Resource) bool {
		return cloud.SameName(r.Subscription, q.Param("sub")) && wanted(genericHSM(*r))
	})
	for _, r := range hsms {
		all = append(all, genericHSM(r))
	}
	slices.SortFunc(all, func(a, b *genericResource) int { return strings.Compare(a.place(), b.place()) })
	if len(all) > top {
		all, more = all[:top], true
	}
	if len(all) > 0 {
		after = all[len(all)-1].place()
	}
	return paged(q, all, after, more), nil
}

// before is a name that comes before this one and behind every shorter beginning of it: HSMs of exactly this name
// are asked for again, and wanted tells whether they were listed.
func before(name string) string { return strings.TrimSuffix(name, name[max(0, len(name)-1):]) }

func genericHSM(r fleet.Resource) *genericResource {
	return &genericResource{ID: hsmID(r), Name: r.Name, Type: hsmType, Location: r.Location, Tags: r.Tags, SKU: &sku{Family: r.SKUFamily, Name: r.SKUName}, group: r.ResourceGroup}
}

// others are the wanted resources of the dev cloud.
func (q *request) others(wanted func(*genericResource) bool) (out []*genericResource, err error) {
	add := func(r *genericResource) {
		if wanted(r) {
			out = append(out, r)
		}
	}
	accounts, err := q.h.cfg.Cloud.StorageAccounts(q.Context(), q.Param("sub"), "")
	if err != nil {
		return nil, err
	}
	for _, a := range accounts {
		add(&genericResource{ID: a.ID(), Name: a.Name, Type: accountType, Location: a.Location, Tags: a.Tags, group: a.ResourceGroup})
	}
	ids, err := q.h.cfg.Cloud.ManagedIdentities(q.Context(), "/subscriptions/"+q.Param("sub"))
	if err != nil {
		return nil, err
	}
	for _, m := range ids {
		add(&genericResource{ID: m.ResourceID, Name: m.Name(), Type: identityType, Location: m.Location, Tags: m.Tags, group: groupOf(m.ResourceID)})
	}
	return out, nil
}

// groupOf is the resource group that an id names.
func groupOf(id string) string {
	segs := strings.Split(id, "/")
	for i := 0; i+1 < len(segs); i++ {
		if strings.EqualFold(segs[i], "resourceGroups") {
			return segs[i+1]
		}
	}
	return ""
}
