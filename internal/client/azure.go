package client

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"strings"
)

// ManagedIdentityResource is a user-assigned identity.
type ManagedIdentityResource struct {
	Resource
	PrincipalID string
	ClientID    string
}

// UnmarshalJSON implements json.Unmarshaler.
func (m *ManagedIdentityResource) UnmarshalJSON(b []byte) error {
	var v struct {
		Properties struct {
			PrincipalID string `json:"principalId"`
			ClientID    string `json:"clientId"`
		} `json:"properties"`
	}
	if err := json.Unmarshal(b, &v); err != nil {
		return err
	}
	m.PrincipalID, m.ClientID = v.Properties.PrincipalID, v.Properties.ClientID
	return m.Resource.UnmarshalJSON(b)
}

// PutManagedIdentity makes a user-assigned identity.
func (c *Client) PutManagedIdentity(ctx context.Context, group, name, location string) (ManagedIdentityResource, error) {
	path, err := c.path(ctx, "/resourceGroups/%s/providers/Microsoft.ManagedIdentity/userAssignedIdentities/%s", group, name)
	if err != nil {
		return ManagedIdentityResource{}, err
	}
	return put[ManagedIdentityResource](ctx, c, path, identitiesVersion, map[string]string{"location": location})
}

// StorageBlobDataContributor is the built-in role of the control plane that backups need.
const StorageBlobDataContributor = "ba92f5b4-2d11-453d-a403-e96b0029c9fe"

// AssignRole gives a principal a built-in role of the control plane, named by its GUID, at a scope such as a
// storage account's resource id. principalType is User, ServicePrincipal or "".
func (c *Client) AssignRole(ctx context.Context, scope, roleGUID, principalID, principalType string) (RoleAssignment, error) {
	s, err := c.subscription(ctx)
	if err != nil {
		return RoleAssignment{}, err
	}
	scope = "/" + strings.Trim(scope, "/")
	return put[RoleAssignment](ctx, c, scope+"/providers/Microsoft.Authorization/roleAssignments/"+NewGUID(), assignmentsVersion, map[string]RoleProperties{"properties": {
		PrincipalID: principalID, PrincipalType: principalType,
		RoleDefinitionID: "/subscriptions/" + s.ID + "/providers/Microsoft.Authorization/roleDefinitions/" + url.PathEscape(roleGUID)}})
}

const accountPath = "/resourceGroups/%s/providers/Microsoft.Storage/storageAccounts/%s"

// PutStorageAccount makes a storage account.
func (c *Client) PutStorageAccount(ctx context.Context, group, name, location string) (Resource, error) {
	path, err := c.path(ctx, accountPath, group, name)
	if err != nil {
		return Resource{}, err
	}
	return put[Resource](ctx, c, path, storageVersion, map[string]any{"location": location, "kind": "StorageV2", "sku": map[string]string{"name": "Standard_LRS"}})
}

// StorageKeys returns an account's keys, which are secrets, in base64.
func (c *Client) StorageKeys(ctx context.Context, group, name string) ([]string, error) {
	path, err := c.path(ctx, accountPath+"/listKeys", group, name)
	if err != nil {
		return nil, err
	}
	var out struct {
		Keys []struct {
			Value string `json:"value"`
		} `json:"keys"`
	}
	if _, err := c.arm.do(ctx, call{method: http.MethodPost, path: path, version: storageVersion, out: &out}); err != nil {
		return nil, err
	}
	var keys []string
	for _, k := range out.Keys {
		keys = append(keys, k.Value)
	}
	if len(keys) == 0 {
		return nil, fmt.Errorf("storage account %s has no keys", name)
	}
	return keys, nil
}

// User is the signed-in person.
type User struct {
	ID          string `json:"id"`
	UPN         string `json:"userPrincipalName"`
	DisplayName string `json:"displayName"`
}

// Me returns the signed-in person; a service principal gets an error.
func (c *Client) Me(ctx context.Context) (User, error) {
	var u User
	_, err := c.me.do(ctx, call{method: http.MethodGet, path: "/v1.0/me", out: &u})
	return u, err
}

// storageAudience is the resource of tokens for the blob service.
const storageAudience = "https://storage.azure.com"

// CreateContainer makes a blob container; one that is there already is no error. The signed-in principal
// needs a data role on the account.
func (c *Client) CreateContainer(ctx context.Context, account, container string) error {
	e, err := c.endpoint("https://"+account+".blob."+c.cfg.StorageSuffix, fixedAudience(storageAudience))
	if err != nil {
		return err
	}
	_, err = e.do(ctx, call{method: http.MethodPut, path: "/" + url.PathEscape(container), query: url.Values{"restype": {"container"}},
		header: http.Header{"X-Ms-Version": {blobVersion}}})
	if IsConflict(err) {
		return nil
	}
	return err
}
