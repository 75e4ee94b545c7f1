package client

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"time"
)

// DeletedHSM is a deleted HSM that can still be recovered.
type DeletedHSM struct {
	Resource
	HSMID        string // resource id it had
	Deleted      time.Time
	Purge        time.Time // when it is purged by itself
	PurgeProtect bool
}

// UnmarshalJSON implements json.Unmarshaler.
func (d *DeletedHSM) UnmarshalJSON(b []byte) error {
	var v struct {
		Properties struct {
			HSMID    string    `json:"mhsmId"`
			Location string    `json:"location"`
			Deleted  time.Time `json:"deletionDate"`
			Purge    time.Time `json:"scheduledPurgeDate"`
			Protect  bool      `json:"purgeProtectionEnabled"`
		} `json:"properties"`
	}
	if err := json.Unmarshal(b, &v); err != nil {
		return err
	}
	p := v.Properties
	*d = DeletedHSM{HSMID: p.HSMID, Deleted: p.Deleted, Purge: p.Purge, PurgeProtect: p.Protect}
	if err := d.Resource.UnmarshalJSON(b); err != nil {
		return err
	}
	d.Location = p.Location
	return nil
}

// ListDeletedHSMs lists the subscription's deleted HSMs.
func (c *Client) ListDeletedHSMs(ctx context.Context) ([]DeletedHSM, error) {
	path, err := c.path(ctx, "/providers/Microsoft.KeyVault/deletedManagedHSMs")
	if err != nil {
		return nil, err
	}
	return list[DeletedHSM](ctx, c.arm, call{path: path, version: hsmsVersion})
}

// FindDeletedHSM returns the deleted HSM with this name.
func (c *Client) FindDeletedHSM(ctx context.Context, name string) (DeletedHSM, error) {
	all, err := c.ListDeletedHSMs(ctx)
	if err != nil {
		return DeletedHSM{}, err
	}
	for _, d := range all {
		if strings.EqualFold(d.Name, name) {
			return d, nil
		}
	}
	return DeletedHSM{}, &Error{Status: http.StatusNotFound, Code: "DeletedManagedHsmNotFound", Message: fmt.Sprintf("this subscription has no deleted managed HSM %q", name)}
}

// PurgeHSM destroys a deleted HSM for good and waits until that is done.
func (c *Client) PurgeHSM(ctx context.Context, location, name string) error {
	path, err := c.path(ctx, "/providers/Microsoft.KeyVault/locations/%s/deletedManagedHSMs/%s/purge", location, name)
	if err != nil {
		return err
	}
	_, err = write[json.RawMessage](ctx, c, call{method: http.MethodPost, path: path, version: hsmsVersion})
	return err
}

// RecoverHSM brings a deleted HSM back.
func (c *Client) RecoverHSM(ctx context.Context, group, location, name string) (ManagedHSM, error) {
	path, err := c.path(ctx, hsmPath, group, name)
	if err != nil {
		return ManagedHSM{}, err
	}
	s, err := c.subscription(ctx)
	if err != nil {
		return ManagedHSM{}, err
	}
	return put[ManagedHSM](ctx, c, path, hsmsVersion, map[string]any{"location": location, "sku": map[string]string{"name": "Standard_B1", "family": "B"},
		"properties": map[string]string{"createMode": "recover", "tenantId": s.Tenant}})
}
