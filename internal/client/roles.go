package client

import (
	"context"
	"crypto/rand"
	"fmt"
	"net/http"
	"net/url"
	"strings"
)

// RoleAssignment is a local role assignment of an HSM, or one of the control plane.
type RoleAssignment struct {
	ID         string         `json:"id"`
	Name       string         `json:"name"`
	Type       string         `json:"type"`
	Properties RoleProperties `json:"properties"`
}

// RoleProperties say who has which role where.
type RoleProperties struct {
	PrincipalID      string `json:"principalId"`
	RoleDefinitionID string `json:"roleDefinitionId"`
	Scope            string `json:"scope,omitempty"`
	PrincipalType    string `json:"principalType,omitempty"`
}

// RoleDefinition is a role.
type RoleDefinition struct {
	ID         string               `json:"id,omitempty"`
	Name       string               `json:"name,omitempty"`
	Type       string               `json:"type,omitempty"`
	Properties DefinitionProperties `json:"properties"`
}

// DefinitionProperties say what a role may do.
type DefinitionProperties struct {
	RoleName         string       `json:"roleName"`
	Description      string       `json:"description"`
	Type             string       `json:"type,omitempty"`
	Permissions      []Permission `json:"permissions"`
	AssignableScopes []string     `json:"assignableScopes"`
}

// Permission is one set of allowed and excepted actions.
type Permission struct {
	Actions        []string `json:"actions"`
	NotActions     []string `json:"notActions"`
	DataActions    []string `json:"dataActions"`
	NotDataActions []string `json:"notDataActions"`
}

// NewGUID draws a random GUID (RFC 9562, version 4), as new assignments need one for a name.
func NewGUID() string {
	b := make([]byte, 16)
	rand.Read(b)
	b[6], b[8] = b[6]&0x0f|0x40, b[8]&0x3f|0x80
	return fmt.Sprintf("%x-%x-%x-%x-%x", b[:4], b[4:6], b[6:8], b[8:10], b[10:])
}

// rolePath is the path of a role resource under a scope of the HSM: "/", "/keys" or "/keys/NAME".
func rolePath(scope, kind, id string) string {
	p := strings.TrimRight(scope, "/") + "/providers/Microsoft.Authorization/" + kind
	if id != "" {
		p += "/" + url.PathEscape(id)
	}
	return p
}

// RoleAssignments lists the assignments that hold at a scope.
func (h *HSM) RoleAssignments(ctx context.Context, scope string) ([]RoleAssignment, error) {
	return list[RoleAssignment](ctx, h.ep, call{path: rolePath(scope, "roleAssignments", ""), version: version})
}

// CreateRoleAssignment gives a principal a role at a scope; an empty name draws one.
func (h *HSM) CreateRoleAssignment(ctx context.Context, scope, name, principalID, roleDefinitionID string) (RoleAssignment, error) {
	if name == "" {
		name = NewGUID()
	}
	var a RoleAssignment
	_, err := h.ep.do(ctx, call{method: http.MethodPut, path: rolePath(scope, "roleAssignments", name), version: version, out: &a,
		body: map[string]RoleProperties{"properties": {PrincipalID: principalID, RoleDefinitionID: roleDefinitionID}}})
	return a, err
}

// DeleteRoleAssignment takes a role away.
func (h *HSM) DeleteRoleAssignment(ctx context.Context, scope, name string) error {
	_, err := h.ep.do(ctx, call{method: http.MethodDelete, path: rolePath(scope, "roleAssignments", name), version: version})
	return err
}

// RoleDefinitions lists the roles that can be assigned at a scope.
func (h *HSM) RoleDefinitions(ctx context.Context, scope string) ([]RoleDefinition, error) {
	return list[RoleDefinition](ctx, h.ep, call{path: rolePath(scope, "roleDefinitions", ""), version: version})
}

// PutRoleDefinition makes or changes a custom role; an empty name draws one.
func (h *HSM) PutRoleDefinition(ctx context.Context, scope, name string, p DefinitionProperties) (RoleDefinition, error) {
	if name == "" {
		name = NewGUID()
	}
	var d RoleDefinition
	_, err := h.ep.do(ctx, call{method: http.MethodPut, path: rolePath(scope, "roleDefinitions", name), version: version, out: &d, body: RoleDefinition{Properties: p}})
	return d, err
}

// DeleteRoleDefinition removes a custom role.
func (h *HSM) DeleteRoleDefinition(ctx context.Context, scope, name string) error {
	_, err := h.ep.do(ctx, call{method: http.MethodDelete, path: rolePath(scope, "roleDefinitions", name), version: version})
	return err
}

// Setting is one setting of an HSM.
type Setting struct {
	Name  string `json:"name"`
	Value string `json:"value"`
	Type  string `json:"type"`
}

// Settings lists the HSM's settings.
func (h *HSM) Settings(ctx context.Context) ([]Setting, error) {
	var out struct {
		Settings []Setting `json:"settings"`
	}
	_, err := h.ep.do(ctx, call{method: http.MethodGet, path: "/settings", version: version, out: &out})
	return out.Settings, err
}

// GetSetting returns a setting.
func (h *HSM) GetSetting(ctx context.Context, name string) (Setting, error) {
	var s Setting
	_, err := h.ep.do(ctx, call{method: http.MethodGet, path: "/settings/" + url.PathEscape(name), version: version, out: &s})
	return s, err
}

// UpdateSetting changes a setting.
func (h *HSM) UpdateSetting(ctx context.Context, name, value string) (Setting, error) {
	var s Setting
	_, err := h.ep.do(ctx, call{method: http.MethodPatch, path: "/settings/" + url.PathEscape(name), version: version, body: text{value}, out: &s})
	return s, err
}
