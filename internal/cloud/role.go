package cloud

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"redoubt/internal/store"
)

// RoleDefinition is a built-in role of the control plane. The name is the GUID under which Azure publishes
// it; ids in scopes are "/subscriptions/S/providers/Microsoft.Authorization/roleDefinitions/GUID".
type RoleDefinition struct {
	Name           string // GUID
	RoleName       string // "Storage Blob Data Contributor"
	Description    string
	Actions        []string
	NotActions     []string
	DataActions    []string
	NotDataActions []string
}

// Names of built-in roles that rules refer to.
const (
	RoleOwner                      = "8e3af657-a8ff-443c-a75c-2fe8c4bcb635"
	RoleContributor                = "b24988ac-6180-42a0-ab88-20f7382dd24c"
	RoleReader                     = "acdd72a7-3385-48ef-bd42-f606fba81ae7"
	RoleUserAccessAdministrator    = "18d7d88d-d35e-4fb5-a5c3-7773c20a72d9"
	RoleBlobDataOwner              = "b7e6dc6d-f1e8-4753-8033-0f276bb0955b"
	RoleBlobDataContributor        = "ba92f5b4-2d11-453d-a403-e96b0029c9fe"
	RoleBlobDataReader             = "2a2b9908-6ea1-4ae2-8e65-a410df84e7d1"
	RoleStorageAccountContributor  = "17d1049b-9a84-46fb-8f53-869881c3d3ab"
	RoleStorageKeyOperator         = "81a9662b-bebf-436f-a333-f67b29880f12"
	RoleManagedHSMContributor      = "18500a29-7fe2-46b2-a342-b16a415e101d"
	RoleManagedIdentityOperator    = "f1a07417-d97a-45cb-824c-7a7467783830"
	RoleManagedIdentityContributor = "e40ec5ca-96e0-45a2-b4ff-59039f2c2b59"
)

const (
	containers = "Microsoft.Storage/storageAccounts/blobServices/containers/"
	blobs      = containers + "blobs/"
)

// ActionAssignIdentity is the permission to attach a managed identity to a resource.
const ActionAssignIdentity = "Microsoft.ManagedIdentity/userAssignedIdentities/assign/action"

// roleDefinitions are the built-in roles, cut to what this cloud has resources for.
var roleDefinitions = []RoleDefinition{
	{Name: RoleOwner, RoleName: "Owner", Description: "Manages every resource and who may do so.", Actions: []string{"*"}},
	{Name: RoleContributor, RoleName: "Contributor", Description: "Manages every resource but not who may do so.",
		Actions: []string{"*"},
		NotActions: []string{"Microsoft.Authorization/*/Delete", "Microsoft.Authorization/*/Write",
			"Microsoft.Authorization/elevateAccess/Action"}},
	{Name: RoleReader, RoleName: "Reader", Description: "Sees every resource and changes none.", Actions: []string{"*/read"}},
	{Name: RoleUserAccessAdministrator, RoleName: "User Access Administrator", Description: "Manages who may do what.",
		Actions: []string{"*/read", "Microsoft.Authorization/*", "Microsoft.Support/*"}},
	{Name: RoleBlobDataOwner, RoleName: "Storage Blob Data Owner", Description: "Full access to blobs, access control included.",
		Actions:     []string{containers + "*", "Microsoft.Storage/storageAccounts/blobServices/generateUserDelegationKey/action"},
		DataActions: []string{blobs + "*"}},
	{Name: RoleBlobDataContributor, RoleName: "Storage Blob Data Contributor", Description: "Reads, writes and deletes containers and blobs.",
		Actions: []string{containers + "delete", containers + "read", containers + "write",
			"Microsoft.Storage/storageAccounts/blobServices/generateUserDelegationKey/action"},
		DataActions: []string{blobs + "delete", blobs + "read", blobs + "write", blobs + "move/action", blobs + "add/action"}},
	{Name: RoleBlobDataReader, RoleName: "Storage Blob Data Reader", Description: "Reads and lists containers and blobs.",
		Actions: []string{containers + "read",
			"Microsoft.Storage/storageAccounts/blobServices/generateUserDelegationKey/action"},
		DataActions: []string{blobs + "read"}},
	{Name: RoleStorageAccountContributor, RoleName: "Storage Account Contributor", Description: "Manages storage accounts, keys included.",
		Actions: []string{"Microsoft.Authorization/*/read", "Microsoft.Storage/storageAccounts/*",
			"Microsoft.Resources/subscriptions/resourceGroups/read", "Microsoft.Resources/deployments/*"}},
	{Name: RoleStorageKeyOperator, RoleName: "Storage Account Key Operator Service Role", Description: "Lists and regenerates account keys.",
		Actions: []string{"Microsoft.Storage/storageAccounts/listkeys/action", "Microsoft.Storage/storageAccounts/regeneratekey/action"}},
	{Name: RoleManagedHSMContributor, RoleName: "Managed HSM contributor", Description: "Manages Managed HSM pools, but not access to their keys.",
		Actions: []string{"Microsoft.KeyVault/managedHSMs/*", "Microsoft.KeyVault/deletedManagedHsms/read",
			"Microsoft.KeyVault/locations/deletedManagedHsms/read", "Microsoft.KeyVault/locations/deletedManagedHsms/purge/action",
			"Microsoft.KeyVault/locations/managedHsmOperationResults/read"}},
	{Name: RoleManagedIdentityOperator, RoleName: "Managed Identity Operator", Description: "Reads and assigns user-assigned identities.",
		Actions: []string{"Microsoft.ManagedIdentity/userAssignedIdentities/*/read",
			"Microsoft.ManagedIdentity/userAssignedIdentities/*/assign/action",
			"Microsoft.ManagedIdentity/userAssignedIdentities/read", ActionAssignIdentity, "Microsoft.Authorization/*/read",
			"Microsoft.Resources/subscriptions/resourceGroups/read"}},
	{Name: RoleManagedIdentityContributor, RoleName: "Managed Identity Contributor", Description: "Creates, reads, updates and deletes user-assigned identities.",
		Actions: []string{"Microsoft.ManagedIdentity/userAssignedIdentities/read", "Microsoft.ManagedIdentity/userAssignedIdentities/write",
			"Microsoft.ManagedIdentity/userAssignedIdentities/delete", "Microsoft.Authorization/*/read",
			"Microsoft.Resources/subscriptions/resourceGroups/read"}},
}

// RoleDefinitions returns the built-in roles. The caller must not modify them.
func RoleDefinitions() []RoleDefinition { return roleDefinitions }

// FindRoleDefinition returns a role by GUID, by full id, or by role name.
func FindRoleDefinition(idOrName string) (RoleDefinition, bool) {
	last := idOrName[strings.LastIndexByte(idOrName, '/')+1:]
	for _, d := range roleDefinitions {
		if strings.EqualFold(d.Name, last) || strings.EqualFold(d.RoleName, idOrName) {
			return d, true
		}
	}
	return RoleDefinition{}, false
}

// leastFirst orders the roles of the control plane by how little they allow beside what somebody may be in want of.
var leastFirst = []string{RoleReader, RoleManagedHSMContributor, RoleManagedIdentityOperator, RoleManagedIdentityContributor, RoleStorageKeyOperator,
	RoleStorageAccountContributor, RoleUserAccessAdministrator, RoleContributor, RoleOwner}

// LeastRole is the built-in role that allows a control-plane action and least beside it.
func LeastRole(action string) (RoleDefinition, bool) {
	for _, id := range leastFirst {
		if d, ok := FindRoleDefinition(id); ok && d.allows(action) {
			return d, true
		}
	}
	return RoleDefinition{}, false
}

func (d RoleDefinition) allows(action string) bool {
	return matches(d.Actions, action) && !matches(d.NotActions, action)
}

// RoleAssignment grants a role at a scope.
type RoleAssignment struct {
	Name          string `json:"name"`  // GUID chosen by the client
	Scope         string `json:"scope"` // as given, without trailing slash
	Role          string `json:"role"`  // GUID of the role definition
	PrincipalID   string `json:"principalId"`
	PrincipalType string `json:"principalType,omitempty"` // "User", "ServicePrincipal"
	CreatedBy     string `json:"createdBy,omitempty"`     // object id
	CreatedOn     string `json:"createdOn,omitempty"`     // RFC 3339
}

// ID is the ARM resource id.
func (a RoleAssignment) ID() string {
	return strings.TrimRight(a.Scope, "/") + "/providers/Microsoft.Authorization/roleAssignments/" + a.Name
}

func (a RoleAssignment) grantKey() string {
	return "rax/" + fold(a.PrincipalID+"|"+a.Role+"|"+a.Scope)
}

// MaxRoleAssignments is how many there can be, Azure's limit for a subscription. (Those who create some at the same time
// may get a few more.)
const MaxRoleAssignments = 4000

// ErrTooMany: there are MaxRoleAssignments.
var ErrTooMany = errors.New("no more role assignments can be created")

// CreateRoleAssignment stores a grant. Repeating it under the same name and scope is allowed and returns
// the one that is there; ErrExists when the same grant has another name, or the name another grant; ErrTooMany.
func (c *Cloud) CreateRoleAssignment(ctx context.Context, a RoleAssignment) (out RoleAssignment, created bool, err error) {
	def, ok := FindRoleDefinition(a.Role)
	switch {
	case !ok:
		return RoleAssignment{}, false, fmt.Errorf("%w: no role definition %q", ErrInvalid, a.Role)
	case !keySafe(a.Name) || !keySafe(a.PrincipalID) || len(a.PrincipalType) > 64:
		return RoleAssignment{}, false, fmt.Errorf("%w: name, principal id or principal type of a role assignment", ErrInvalid)
	}
	a.Role, a.PrincipalID, a.Scope = def.Name, fold(a.PrincipalID), cleanScope(a.Scope)
	key, err := resourceKey("ra", a.ID())
	if err != nil {
		return RoleAssignment{}, false, err
	}
	err = c.update(ctx, func() ([]store.Cond, []store.Op, error) {
		old, _, lerr := load[RoleAssignment](ctx, c, key)
		created = isNotFound(lerr)
		switch {
		case lerr != nil && !created:
			return nil, nil, lerr
		case !created && old.grantKey() != a.grantKey():
			return nil, nil, fmt.Errorf("role assignment %q: %w with another principal or role", a.Name, ErrExists)
		case !created:
			out = old
			return nil, nil, nil
		}
		if _, _, gerr := load[string](ctx, c, a.grantKey()); !isNotFound(gerr) {
			if gerr != nil {
				return nil, nil, gerr
			}
			return nil, nil, fmt.Errorf("role assignment: the same grant %w", ErrExists)
		}
		if g, err := c.grantsNow(ctx); err != nil {
			return nil, nil, err
		} else if g.total >= MaxRoleAssignments {
			return nil, nil, fmt.Errorf("%w: there are %d; delete some, or give roles to groups", ErrTooMany, g.total)
		}
		out = a
		return []store.Cond{absent(key), absent(a.grantKey())}, []store.Op{put(key, a), put(a.grantKey(), a.ID()), grantsChanged()}, nil
	})
	if err != nil {
		return RoleAssignment{}, false, err
	}
	return out, created, nil
}

// RoleAssignment returns one by scope and name.
func (c *Cloud) RoleAssignment(ctx context.Context, scope, name string) (RoleAssignment, error) {
	key, err := resourceKey("ra", RoleAssignment{Scope: cleanScope(scope), Name: name}.ID())
	if err != nil {
		return RoleAssignment{}, ErrNotFound
	}
	a, _, err := load[RoleAssignment](ctx, c, key)
	return a, err
}

// RoleAssignments returns every grant; filter as needed (see ScopeContains).
func (c *Cloud) RoleAssignments(ctx context.Context) ([]RoleAssignment, error) {
	return loadAll[RoleAssignment](ctx, c, "ra/")
}

// ErrLastOwner: without this grant a subscription would have no Owner, and nobody could give anybody a role again.
var ErrLastOwner = errors.New("cannot delete the last RBAC admin assignment")

// DeleteRoleAssignment removes a grant and returns it. The last Owner of a whole subscription stays: ErrLastOwner.
func (c *Cloud) DeleteRoleAssignment(ctx context.Context, scope, name string) (out RoleAssignment, err error) {
	key, err := resourceKey("ra", RoleAssignment{Scope: cleanScope(scope), Name: name}.ID())
	if err != nil {
		return RoleAssignment{}, ErrNotFound
	}
	err = c.update(ctx, func() ([]store.Cond, []store.Op, error) {
		now, err := c.grantsRev(ctx)
		if err != nil {
			return nil, nil, err
		}
		a, rev, err := load[RoleAssignment](ctx, c, key)
		if err == nil {
			err = c.spare(ctx, a)
		}
		if err != nil {
			return nil, nil, err
		}
		out = a
		return []store.Cond{unchanged(key, rev), unchanged(grantsRevision, now)}, []store.Op{remove(key), remove(a.grantKey()), grantsChanged()}, nil
	})
	return out, err
}

// spare refuses to do without the last Owner of a subscription.
func (c *Cloud) spare(ctx context.Context, a RoleAssignment) error {
	if a.Role != RoleOwner || strings.Count(a.Scope, "/") > 2 { // of a part of it
		return nil
	}
	all, err := c.RoleAssignments(ctx)
	if err != nil {
		return err
	}
	subs, err := c.Subscriptions(ctx)
	if err != nil {
		return err
	}
	for _, s := range subs {
		scope := "/subscriptions/" + s.ID
		another := func(o RoleAssignment) bool {
			return o.Role == RoleOwner && ScopeContains(o.Scope, scope) && fold(o.ID()) != fold(a.ID())
		}
		if ScopeContains(a.Scope, scope) && !slices.ContainsFunc(all, another) {
			return fmt.Errorf("%w: %s is the only Owner of subscription %s; make another one first (az role assignment create --role Owner --assignee ID --scope %s)", ErrLastOwner, a.PrincipalID, s.ID, scope)
		}
	}
	return nil
}

// cleanScope brings a scope to one form: a leading slash, no double or trailing ones. "/" is the root.
func cleanScope(s string) string {
	return "/" + strings.Join(strings.FieldsFunc(s, func(r rune) bool { return r == '/' }), "/")
}

// ScopeContains tells whether inner is outer or lies below it.
func ScopeContains(outer, inner string) bool {
	return below(fold(cleanScope(outer)), fold(cleanScope(inner)))
}

// May tells whether somebody holds a control-plane action at a scope, such as
// "Microsoft.KeyVault/managedHSMs/write". who are the object ids of the principal and of its groups.
func (c *Cloud) May(ctx context.Context, who []string, scope, action string) (bool, error) {
	return c.may(ctx, who, scope, func(d RoleDefinition) bool { return d.allows(action) })
}

// MayData tells whether a principal may read (or, with write, change) blobs of a container of an account by
// role. Roles count at the container, the account, its group and its subscription. Owner and Contributor
// give no data access, as in Azure. An account that does not exist gives none.
func (c *Cloud) MayData(ctx context.Context, principalID, account, container string, write bool) (bool, error) {
	a, err := c.StorageAccount(ctx, account)
	if isNotFound(err) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	scope := a.ID()
	if container != "" {
		scope += "/blobServices/default/containers/" + container
	}
	need := []string{blobs + "read"}
	if write {
		need = []string{blobs + "write", blobs + "add/action"}
	}
	return c.may(ctx, []string{principalID}, scope, func(d RoleDefinition) bool {
		return !slices.ContainsFunc(need, func(n string) bool {
			return !matches(d.DataActions, n) || matches(d.NotDataActions, n)
		})
	})
}

// IsOwner tells whether a principal is Owner of any subscription.
func (c *Cloud) IsOwner(ctx context.Context, principalID string) (bool, error) {
	subs, err := c.Subscriptions(ctx)
	if err != nil {
		return false, err
	}
	for _, s := range subs {
		ok, err := c.may(ctx, []string{principalID}, "/subscriptions/"+s.ID, func(d RoleDefinition) bool { return d.Name == RoleOwner })
		if ok || err != nil {
			return ok, err
		}
	}
	return false, nil
}

// Scopes are the scopes below another at which somebody holds a control-plane action. who is as with May.
func (c *Cloud) Scopes(ctx context.Context, who []string, outer, action string) (scopes []string, err error) {
	all, err := c.grantsNow(ctx)
	if err != nil {
		return nil, err
	}
	outer = fold(cleanScope(outer))
	for _, id := range who {
		for _, g := range all.of[fold(id)] {
			if below(outer, g.compare) && g.role.allows(action) {
				scopes = append(scopes, g.scope)
			}
		}
	}
	return scopes, nil
}

func (c *Cloud) may(ctx context.Context, who []string, scope string, gives func(RoleDefinition) bool) (bool, error) {
	all, err := c.grantsNow(ctx)
	if err != nil {
		return false, err
	}
	scope = fold(cleanScope(scope))
	for _, id := range who {
		for _, g := range all.of[fold(id)] {
			if below(g.compare, scope) && gives(g.role) {
				return true, nil
			}
		}
	}
	return false, nil
}

// matches tells whether any pattern covers the action; "*" stands for any run of characters.
func matches(patterns []string, action string) bool {
	action = fold(action)
	return slices.ContainsFunc(patterns, func(p string) bool { return wildcard(fold(p), action) })
}

func wildcard(pattern, s string) bool {
	parts := strings.Split(pattern, "*")
	if len(parts) == 1 {
		return pattern == s
	}
	first, last := parts[0], parts[len(parts)-1]
	if !strings.HasPrefix(s, first) || len(s) < len(first)+len(last) || !strings.HasSuffix(s, last) {
		return false
	}
	s = s[len(first) : len(s)-len(last)]
	for _, p := range parts[1 : len(parts)-1] {
		_, rest, ok := strings.Cut(s, p)
		if !ok {
			return false
		}
		s = rest
	}
	return true
}
