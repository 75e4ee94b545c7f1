package client

import (
	"context"
	"net/http"
)

// NetworkRules say which addresses the data plane of an HSM answers.
type NetworkRules struct {
	Bypass        string   `json:"bypass,omitempty"`        // AzureServices or None
	DefaultAction string   `json:"defaultAction,omitempty"` // Allow or Deny
	IPRules       []IPRule `json:"ipRules"`
}

// IPRule lets in an address or a range in CIDR form.
type IPRule struct {
	Value string `json:"value"`
}

// SetHSMNetwork replaces the network rules of an HSM, and unless it is empty whether it answers at all from outside
// private endpoints (Enabled or Disabled).
func (c *Client) SetHSMNetwork(ctx context.Context, group, name string, rules NetworkRules, publicAccess string) (ManagedHSM, error) {
	path, err := c.path(ctx, hsmPath, group, name)
	if err != nil {
		return ManagedHSM{}, err
	}
	return write[ManagedHSM](ctx, c, call{method: http.MethodPatch, path: path, version: hsmsVersion, body: map[string]any{"properties": networkBody(&rules, publicAccess)}})
}

// networkBody are the properties of a body that are about the network.
func networkBody(rules *NetworkRules, publicAccess string) map[string]any {
	props := map[string]any{}
	if rules != nil {
		r := *rules
		if r.IPRules == nil {
			r.IPRules = []IPRule{}
		}
		props["networkAcls"] = r
	}
	if publicAccess != "" {
		props["publicNetworkAccess"] = publicAccess
	}
	return props
}
