package arm

import (
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"strings"

	"redoubt/internal/api/azhttp"
	"redoubt/internal/fleet"
)

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

// hsmBody is what PUT and PATCH take. Pointers tell what was left out.
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
		SoftDelete      *bool           `json:"enableSoftDelete"`
		RetentionDays   *flexInt        `json:"softDeleteRetentionInDays"`
		PurgeProtection *bool           `json:"enablePurgeProtection"`
		CreateMode      string          `json:"createMode"`
		PublicAccess    string          `json:"publicNetworkAccess"`
		NetworkACLs     json.RawMessage `json:"networkAcls"`
		Regions         []struct {
			Name string `json:"name"`
		} `json:"regions"`
	} `json:"properties"`
}

// maxIdentities is how many a body may name; each is compared with the others, and looked up.
const maxIdentities = 100

// readHSM reads a body and refuses what no managed HSM can have.
func (q *request) readHSM() (body hsmBody, err error) {
	if err := q.Decode(&body); err != nil {
		return body, err
	}
	p := body.Properties
	switch {
	case p.CreateMode != "" && !strings.EqualFold(p.CreateMode, "default") && !strings.EqualFold(p.CreateMode, "recover"):
		return body, fmt.Errorf("%w: createMode is default or recover, got %q", fleet.ErrBadResource, p.CreateMode)
	case body.Identity != nil && len(body.Identity.UserAssigned) > maxIdentities:
		return body, fmt.Errorf("%w: identity.userAssignedIdentities names %d identities, and a managed HSM has at most %d", fleet.ErrBadResource, len(body.Identity.UserAssigned), maxIdentities)
	case p.SoftDelete != nil && !*p.SoftDelete:
		return body, fmt.Errorf("%w: enableSoftDelete cannot be false: soft delete is always on for managed HSMs", fleet.ErrBadResource)
	}
	return body, nil
}

func (b hsmBody) recovers() bool { return strings.EqualFold(b.Properties.CreateMode, "recover") }

// checkRegions refuses another region than the HSM's own.
func (b hsmBody) checkRegions(location string) error {
	for _, r := range b.Properties.Regions {
		if n := fleet.NormalLocation(r.Name); n != location {
			return &azhttp.Problem{Status: http.StatusBadRequest, Code: "RegionNotSupported", Message: fmt.Sprintf(
				"The managed HSM cannot be extended to the region '%s': this server has one region for each HSM (here '%s'). For a second site, make a second HSM and recover it from the security domain and a backup.", clip(r.Name), location)}
		}
	}
	return nil
}

// sku are name and family that the body asks for, or those it had.
func (b hsmBody) sku(name, family string) (string, string, error) {
	if b.SKU == nil || b.SKU.Name == "" && b.SKU.Family == "" {
		return name, family, nil
	}
	if b.SKU.Name == "" {
		return "", "", fmt.Errorf("%w: sku.name is required with sku.family", fleet.ErrBadResource)
	}
	return fleet.SKU(b.SKU.Name, b.SKU.Family)
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
