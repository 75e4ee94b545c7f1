package client

import (
	"context"
	"net/http"
)

// ProtectHSM switches purge protection on, which cannot be undone; the service refuses to switch it off.
func (c *Client) ProtectHSM(ctx context.Context, group, name string, on bool) (ManagedHSM, error) {
	path, err := c.path(ctx, hsmPath, group, name)
	if err != nil {
		return ManagedHSM{}, err
	}
	return write[ManagedHSM](ctx, c, call{method: http.MethodPatch, path: path, version: hsmsVersion, body: map[string]any{"properties": map[string]bool{"enablePurgeProtection": on}}})
}

// NameAvailability tells whether an HSM can have a name, and if not, why.
type NameAvailability struct {
	Available bool   `json:"nameAvailable"`
	Reason    string `json:"reason"`  // AccountNameInvalid, AlreadyExists
	Message   string `json:"message"` // for people
}

// CheckHSMName asks whether an HSM can have this name.
func (c *Client) CheckHSMName(ctx context.Context, name string) (out NameAvailability, err error) {
	path, err := c.path(ctx, "/providers/Microsoft.KeyVault/checkMhsmNameAvailability")
	if err != nil {
		return out, err
	}
	_, err = c.arm.do(ctx, call{method: http.MethodPost, path: path, version: hsmsVersion, body: map[string]string{"name": name}, out: &out})
	return out, err
}
