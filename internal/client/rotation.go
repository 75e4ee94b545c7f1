package client

import (
	"context"
	"net/http"
)

// RotationPolicy says when an HSM makes a new version of a key by itself. Durations are ISO 8601, as in P90D;
// times are Unix seconds, 0 when unset.
type RotationPolicy struct {
	ID         string                   `json:"id,omitempty"`
	Actions    []LifetimeAction         `json:"lifetimeActions"`
	Attributes RotationPolicyAttributes `json:"attributes"`
}

// RotationPolicyAttributes say how long new versions live.
type RotationPolicyAttributes struct {
	ExpiryTime string `json:"expiryTime,omitempty"`
	Created    int64  `json:"created,omitempty"`
	Updated    int64  `json:"updated,omitempty"`
}

// LifetimeAction is one trigger and what it does.
type LifetimeAction struct {
	Trigger LifetimeTrigger `json:"trigger"`
	Action  LifetimeType    `json:"action"`
}

// LifetimeTrigger has one of the two durations.
type LifetimeTrigger struct {
	AfterCreate  string `json:"timeAfterCreate,omitempty"`
	BeforeExpiry string `json:"timeBeforeExpiry,omitempty"`
}

// LifetimeType is what is done: Rotate.
type LifetimeType struct {
	Type string `json:"type"`
}

// RotateKey makes a new version of a key as its rotation policy says.
func (h *HSM) RotateKey(ctx context.Context, name string) (Key, error) {
	return h.key(ctx, http.MethodPost, keyPath("keys", name, "", "rotate"), nil)
}

// RotationPolicy returns the rotation policy of a key; one without actions and expiry when it has none.
func (h *HSM) RotationPolicy(ctx context.Context, name string) (RotationPolicy, error) {
	return h.rotationPolicy(ctx, http.MethodGet, name, nil)
}

// SetRotationPolicy replaces the rotation policy of a key. One without actions and expiry takes it away.
func (h *HSM) SetRotationPolicy(ctx context.Context, name string, p RotationPolicy) (RotationPolicy, error) {
	if p.Actions == nil {
		p.Actions = []LifetimeAction{}
	}
	p.ID, p.Attributes.Created, p.Attributes.Updated = "", 0, 0 // the HSM's
	return h.rotationPolicy(ctx, http.MethodPut, name, p)
}

func (h *HSM) rotationPolicy(ctx context.Context, method, name string, body any) (RotationPolicy, error) {
	var p RotationPolicy
	_, err := h.ep.do(ctx, call{method: method, path: keyPath("keys", name, "", "rotationpolicy"), version: version, body: body, out: &p})
	return p, err
}
