package client

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"net/url"
	"strings"
)

// api-versions of the control plane's providers.
const (
	subscriptionsVersion = "2022-12-01"
	groupsVersion        = "2022-09-01"
	hsmsVersion          = "2024-11-01"
	identitiesVersion    = "2023-01-31"
	assignmentsVersion   = "2022-04-01"
	storageVersion       = "2023-01-01"
	blobVersion          = "2021-12-02"
)

type subscription struct {
	ID     string `json:"subscriptionId"`
	Tenant string `json:"tenantId"`
	State  string `json:"state"`
}

// subscription is the configured one, or the only one there is.
func (c *Client) subscription(ctx context.Context) (subscription, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.sub.ID != "" {
		return c.sub, nil
	}
	s := subscription{ID: c.cfg.Subscription, Tenant: c.cfg.Tenant}
	if s.ID != "" && s.Tenant != "" {
		c.sub = s
		return s, nil
	}
	if s.ID != "" {
		if _, err := c.arm.do(ctx, call{method: http.MethodGet, path: "/subscriptions/" + url.PathEscape(s.ID), version: subscriptionsVersion, out: &s}); err != nil {
			return s, fmt.Errorf("subscription %s: %w", s.ID, err)
		}
		c.sub = s
		return s, nil
	}
	all, err := list[subscription](ctx, c.arm, call{path: "/subscriptions", version: subscriptionsVersion})
	if err != nil {
		return s, fmt.Errorf("list subscriptions: %w", err)
	}
	if len(all) != 1 {
		return s, fmt.Errorf("this sign-in sees %d subscriptions; set AZURE_SUBSCRIPTION_ID to the one to use", len(all))
	}
	c.sub = all[0]
	if c.cfg.Tenant != "" {
		c.sub.Tenant = c.cfg.Tenant
	}
	return c.sub, nil
}

func (c *Client) path(ctx context.Context, format string, segments ...string) (string, error) {
	s, err := c.subscription(ctx)
	if err != nil {
		return "", err
	}
	args := []any{url.PathEscape(s.ID)}
	for _, seg := range segments {
		args = append(args, url.PathEscape(seg))
	}
	return fmt.Sprintf("/subscriptions/%s"+format, args...), nil
}

// Resource is any resource of the control plane: what all have, and the whole document.
type Resource struct {
	ID       string
	Name     string
	Location string
	Raw      json.RawMessage // the document as it came
}

// UnmarshalJSON keeps the document beside the members.
func (r *Resource) UnmarshalJSON(b []byte) error {
	var v struct {
		ID       string `json:"id"`
		Name     string `json:"name"`
		Location string `json:"location"`
	}
	if err := json.Unmarshal(b, &v); err != nil {
		return err
	}
	*r = Resource{ID: v.ID, Name: v.Name, Location: v.Location, Raw: append(json.RawMessage(nil), b...)}
	return nil
}

// MarshalJSON gives the document back.
func (r Resource) MarshalJSON() ([]byte, error) {
	if r.Raw == nil {
		return []byte("null"), nil
	}
	return r.Raw, nil
}

// ResourceGroup is the group that the resource's id names.
func (r Resource) ResourceGroup() string {
	segs := strings.Split(r.ID, "/")
	for i := 0; i+1 < len(segs); i++ {
		if strings.EqualFold(segs[i], "resourceGroups") {
			return segs[i+1]
		}
	}
	return ""
}

// put writes a resource and, when the service works on it for longer, waits for the end.
func put[T any](ctx context.Context, c *Client, path, version string, body any) (T, error) {
	return write[T](ctx, c, call{method: http.MethodPut, path: path, version: version, body: body})
}

// write sends a change. An answer 202 with a Location is followed until the work is done.
func write[T any](ctx context.Context, c *Client, k call) (T, error) {
	var out T
	r, err := c.arm.do(ctx, k)
	if err != nil {
		return out, err
	}
	for r.status == http.StatusAccepted {
		next := r.header.Get("Location")
		if next == "" {
			break
		}
		if err := pause(ctx, c.arm.pollDelay(r.header)); err != nil {
			return out, err
		}
		// The URL is the service's own and needs no api-version added.
		if r, err = c.arm.do(ctx, call{method: http.MethodGet, path: next}); err != nil {
			return out, err
		}
	}
	if len(r.body) == 0 {
		return out, nil
	}
	if err := json.Unmarshal(r.body, &out); err != nil {
		return out, fmt.Errorf("the answer of %s is not what was expected: %w", c.arm.host, err)
	}
	return out, nil
}

// PutResourceGroup makes a resource group or leaves an existing one as it is.
func (c *Client) PutResourceGroup(ctx context.Context, name, location string) (Resource, error) {
	path, err := c.path(ctx, "/resourceGroups/%s", name)
	if err != nil {
		return Resource{}, err
	}
	return put[Resource](ctx, c, path, groupsVersion, map[string]string{"location": location})
}

// GetResourceGroup returns a resource group.
func (c *Client) GetResourceGroup(ctx context.Context, name string) (Resource, error) {
	var r Resource
	path, err := c.path(ctx, "/resourceGroups/%s", name)
	if err != nil {
		return r, err
	}
	_, err = c.arm.do(ctx, call{method: http.MethodGet, path: path, version: groupsVersion, out: &r})
	return r, err
}

// ErrManyHSMs: a name without a resource group that fits several HSMs.
var ErrManyHSMs = errors.New("more than one managed HSM has this name")

// ManagedHSM is the control plane's view of an HSM.
type ManagedHSM struct {
	Resource
	URI               string // base URL of the data plane
	ProvisioningState string // Succeeded, SecurityDomainRestore, Restoring, ...
	StatusMessage     string
	Activation        string // NotActivated, Active, Failed, Unknown
	ActivationMessage string
	Identities        []string // resource ids of the attached identities
	Network           NetworkRules
}

// UnmarshalJSON implements json.Unmarshaler.
func (m *ManagedHSM) UnmarshalJSON(b []byte) error {
	var v struct {
		Identity struct {
			UserAssigned map[string]json.RawMessage `json:"userAssignedIdentities"`
		} `json:"identity"`
		Properties struct {
			URI     string       `json:"hsmUri"`
			State   string       `json:"provisioningState"`
			Message string       `json:"statusMessage"`
			Network NetworkRules `json:"networkAcls"`
			Domain  struct {
				Status  string `json:"activationStatus"`
				Message string `json:"activationStatusMessage"`
			} `json:"securityDomainProperties"`
		} `json:"properties"`
	}
	if err := json.Unmarshal(b, &v); err != nil {
		return err
	}
	p := v.Properties
	*m = ManagedHSM{URI: strings.TrimRight(p.URI, "/"), ProvisioningState: p.State, StatusMessage: p.Message, Activation: p.Domain.Status, ActivationMessage: p.Domain.Message, Network: p.Network}
	for id := range v.Identity.UserAssigned {
		m.Identities = append(m.Identities, id)
	}
	return m.Resource.UnmarshalJSON(b)
}

// CreateHSM describes a new managed HSM.
type CreateHSM struct {
	Location        string
	Administrators  []string // object ids
	RetentionDays   int      // of soft deletion; 0 = the service's own default
	PurgeProtection bool
	Identities      []string // resource ids of user-assigned identities
	Tags            map[string]string
	Network         *NetworkRules // nil: the service's own default, which lets everybody in
	PublicAccess    string        // Enabled or Disabled; "": the service's own default
}

func identityBody(ids []string) map[string]any {
	if len(ids) == 0 {
		return map[string]any{"type": "None"}
	}
	set := map[string]any{}
	for _, id := range ids {
		set[id] = struct{}{}
	}
	return map[string]any{"type": "UserAssigned", "userAssignedIdentities": set}
}

const hsmPath = "/resourceGroups/%s/providers/Microsoft.KeyVault/managedHSMs/%s"

// CreateHSM makes a managed HSM.
func (c *Client) CreateHSM(ctx context.Context, group, name string, p CreateHSM) (ManagedHSM, error) {
	path, err := c.path(ctx, hsmPath, group, name)
	if err != nil {
		return ManagedHSM{}, err
	}
	s, err := c.subscription(ctx)
	if err != nil {
		return ManagedHSM{}, err
	}
	props := map[string]any{"tenantId": s.Tenant, "initialAdminObjectIds": p.Administrators, "enableSoftDelete": true, "createMode": "default"}
	if p.RetentionDays > 0 {
		props["softDeleteRetentionInDays"] = p.RetentionDays
	}
	if p.PurgeProtection {
		props["enablePurgeProtection"] = true
	}
	maps.Copy(props, networkBody(p.Network, p.PublicAccess))
	body := map[string]any{"location": p.Location, "sku": map[string]string{"name": "Standard_B1", "family": "B"}, "properties": props}
	if len(p.Tags) > 0 {
		body["tags"] = p.Tags
	}
	if len(p.Identities) > 0 {
		body["identity"] = identityBody(p.Identities)
	}
	return put[ManagedHSM](ctx, c, path, hsmsVersion, body)
}

// GetHSM returns an HSM of a resource group.
func (c *Client) GetHSM(ctx context.Context, group, name string) (ManagedHSM, error) {
	var m ManagedHSM
	path, err := c.path(ctx, hsmPath, group, name)
	if err != nil {
		return m, err
	}
	_, err = c.arm.do(ctx, call{method: http.MethodGet, path: path, version: hsmsVersion, out: &m})
	return m, err
}

// FindHSM returns the HSM with this name, in whatever group of the subscription.
func (c *Client) FindHSM(ctx context.Context, name string) (ManagedHSM, error) {
	all, err := c.ListHSMs(ctx, "")
	if err != nil {
		return ManagedHSM{}, err
	}
	var found []ManagedHSM
	for _, m := range all {
		if strings.EqualFold(m.Name, name) {
			found = append(found, m)
		}
	}
	switch len(found) {
	case 1:
		return found[0], nil
	case 0:
		return ManagedHSM{}, &Error{Status: http.StatusNotFound, Code: "ResourceNotFound", Message: fmt.Sprintf("this subscription has no managed HSM %q", name)}
	}
	return ManagedHSM{}, fmt.Errorf("%w: %s; name its resource group", ErrManyHSMs, name)
}

// ListHSMs lists the HSMs of a resource group, or of the subscription when group is "".
func (c *Client) ListHSMs(ctx context.Context, group string) ([]ManagedHSM, error) {
	path, err := c.path(ctx, "/providers/Microsoft.KeyVault/managedHSMs")
	if group != "" && err == nil {
		path, err = c.path(ctx, "/resourceGroups/%s/providers/Microsoft.KeyVault/managedHSMs", group)
	}
	if err != nil {
		return nil, err
	}
	return list[ManagedHSM](ctx, c.arm, call{path: path, version: hsmsVersion})
}

// DeleteHSM deletes an HSM; it can be recovered until it is purged.
func (c *Client) DeleteHSM(ctx context.Context, group, name string) error {
	path, err := c.path(ctx, hsmPath, group, name)
	if err != nil {
		return err
	}
	_, err = write[json.RawMessage](ctx, c, call{method: http.MethodDelete, path: path, version: hsmsVersion})
	return err
}

// SetHSMIdentities attaches exactly these user-assigned identities, none to detach all.
func (c *Client) SetHSMIdentities(ctx context.Context, group, name string, ids []string) (ManagedHSM, error) {
	path, err := c.path(ctx, hsmPath, group, name)
	if err != nil {
		return ManagedHSM{}, err
	}
	return write[ManagedHSM](ctx, c, call{method: http.MethodPatch, path: path, version: hsmsVersion, body: map[string]any{"identity": identityBody(ids)}})
}
