package cloud

import (
	"errors"
	"testing"

	"redoubt/internal/store/mem"
)

func TestMayData(t *testing.T) {
	t.Parallel()
	c, a, _ := fresh(t, mem.New())
	ctx := t.Context()
	sub := "/subscriptions/" + a.Subscription.ID
	for _, name := range []string{"mhsmdemobackup", "otheraccount"} {
		if _, _, err := c.PutStorageAccount(ctx, StorageAccount{Subscription: a.Subscription.ID, ResourceGroup: "Rg", Name: name}); err != nil {
			t.Fatal(err)
		}
	}
	account := sub + "/resourcegroups/rg/providers/microsoft.storage/storageaccounts/MHSMdemoBackup"
	for _, tt := range []struct {
		name, scope, role string
		account           string
		container         string
		read, write       bool
	}{
		{"subscription", sub, "Storage Blob Data Contributor", "mhsmdemobackup", "c1", true, true},
		{"group", sub + "/resourceGroups/RG/", RoleBlobDataOwner, "MHSMDEMOBACKUP", "c1", true, true},
		{"account", account, RoleBlobDataContributor, "mhsmdemobackup", "c1", true, true},
		{"whole account", account, RoleBlobDataContributor, "mhsmdemobackup", "", true, true},
		{"container", account + "/blobServices/default/containers/c1", RoleBlobDataReader, "mhsmdemobackup", "c1", true, false},
		{"another container", account + "/blobServices/default/containers/c1", RoleBlobDataReader, "mhsmdemobackup", "c11", false, false},
		{"another account", account, RoleBlobDataContributor, "otheraccount", "c1", false, false},
		{"no such account", sub, RoleBlobDataContributor, "nosuchaccount", "c1", false, false},
		{"control plane only", sub, RoleOwner, "mhsmdemobackup", "c1", false, false},
		{"prefix of a name", sub + "/resourceGroups/R", RoleBlobDataOwner, "mhsmdemobackup", "c1", false, false},
	} {
		p := NewGUID()
		if _, _, err := c.CreateRoleAssignment(ctx, RoleAssignment{Name: NewGUID(), Scope: tt.scope, Role: tt.role, PrincipalID: p}); err != nil {
			t.Fatalf("%s: %v", tt.name, err)
		}
		for write, want := range map[bool]bool{false: tt.read, true: tt.write} {
			if got, err := c.MayData(ctx, p, tt.account, tt.container, write); err != nil || got != want {
				t.Errorf("%s, write=%v: got %v, %v; want %v", tt.name, write, got, err, want)
			}
		}
	}
}

func TestMay(t *testing.T) {
	t.Parallel()
	c := Open(mem.New())
	ctx := t.Context()
	for _, tt := range []struct {
		role, action string
		want         bool
	}{
		{RoleOwner, "Microsoft.KeyVault/managedHSMs/write", true},
		{RoleContributor, "Microsoft.KeyVault/managedHSMs/delete", true},
		{RoleContributor, "microsoft.authorization/roleAssignments/write", false},
		{RoleContributor, "Microsoft.Authorization/roleAssignments/read", true},
		{RoleContributor, ActionAssignIdentity, true},
		{RoleReader, "Microsoft.KeyVault/managedHSMs/read", true},
		{RoleReader, "Microsoft.KeyVault/managedHSMs/write", false},
		{RoleManagedHSMContributor, "Microsoft.KeyVault/managedHsms/write", true},
		{RoleManagedHSMContributor, "Microsoft.Storage/storageAccounts/read", false},
		{RoleManagedHSMContributor, ActionAssignIdentity, false},
		{RoleManagedIdentityOperator, ActionAssignIdentity, true},
		{RoleManagedIdentityOperator, "Microsoft.ManagedIdentity/userAssignedIdentities/write", false},
		{RoleStorageKeyOperator, "Microsoft.Storage/storageAccounts/listKeys/action", true},
	} {
		p := NewGUID()
		if _, _, err := c.CreateRoleAssignment(ctx, RoleAssignment{Name: NewGUID(), Scope: "/subscriptions/s", Role: tt.role, PrincipalID: p}); err != nil {
			t.Fatal(err)
		}
		if got, err := c.May(ctx, []string{p}, "/subscriptions/S/resourceGroups/g", tt.action); err != nil || got != tt.want {
			t.Errorf("%s %s: got %v, %v", tt.role, tt.action, got, err)
		}
		if got, _ := c.May(ctx, []string{p}, "/subscriptions/S2", tt.action); got {
			t.Errorf("%s %s: granted outside its scope", tt.role, tt.action)
		}
	}
}

func TestRoleAssignments(t *testing.T) {
	t.Parallel()
	c := Open(mem.New())
	ctx := t.Context()
	a := RoleAssignment{Name: NewGUID(), Scope: "//subscriptions/S/resourceGroups/G/", PrincipalID: NewGUID(),
		Role: "/subscriptions/S/providers/Microsoft.Authorization/roleDefinitions/" + RoleBlobDataReader}
	first, created, err := c.CreateRoleAssignment(ctx, a)
	if err != nil || !created || first.Role != RoleBlobDataReader || first.Scope != "/subscriptions/S/resourceGroups/G" {
		t.Fatal(first, created, err)
	}
	if again, created, err := c.CreateRoleAssignment(ctx, a); err != nil || created || again != first {
		t.Errorf("repeat: %+v %v %v", again, created, err)
	}
	twin := a
	twin.Name = NewGUID()
	if _, _, err := c.CreateRoleAssignment(ctx, twin); !errors.Is(err, ErrExists) {
		t.Errorf("same grant under another name: %v", err)
	}
	other := a
	other.PrincipalID = NewGUID()
	if _, _, err := c.CreateRoleAssignment(ctx, other); !errors.Is(err, ErrExists) {
		t.Errorf("another grant under the same name: %v", err)
	}
	bad := a
	bad.Role = NewGUID()
	if _, _, err := c.CreateRoleAssignment(ctx, bad); !errors.Is(err, ErrInvalid) {
		t.Errorf("unknown role: %v", err)
	}
	if got, err := c.RoleAssignment(ctx, "/SUBSCRIPTIONS/s/resourcegroups/g", a.Name); err != nil || got != first {
		t.Errorf("get: %+v, %v", got, err)
	}
	if _, err := c.DeleteRoleAssignment(ctx, a.Scope, a.Name); err != nil {
		t.Fatal(err)
	}
	if _, _, err := c.CreateRoleAssignment(ctx, twin); err != nil {
		t.Errorf("grant after deletion: %v", err)
	}
	if list, err := c.RoleAssignments(ctx); err != nil || len(list) != 1 {
		t.Errorf("list %v, %v", list, err)
	}
}

func TestWildcard(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		p, s string
		want bool
	}{
		{"*", "", true}, {"*", "a/b", true}, {"*/read", "a/b/read", true}, {"*/read", "read", false}, {"a/*/c", "a/b/c", true},
		{"a/*/c", "a/c", false}, {"a*a", "a", false}, {"a*b*c", "a-b-c", true}, {"a*b*c", "a-c", false}, {"a", "a", true}, {"a", "ab", false},
	} {
		if got := wildcard(tt.p, tt.s); got != tt.want {
			t.Errorf("wildcard(%q, %q) = %v", tt.p, tt.s, got)
		}
	}
}

// TestLeastRole: what a refusal names suffices, and no role before it in the list does.
func TestLeastRole(t *testing.T) {
	t.Parallel()
	for action, want := range map[string]string{
		"Microsoft.KeyVault/managedHSMs/read":                          RoleReader,
		"Microsoft.KeyVault/managedHSMs/write":                         RoleManagedHSMContributor,
		"Microsoft.KeyVault/locations/deletedManagedHsms/purge/action": RoleManagedHSMContributor,
		ActionAssignIdentity:                                           RoleManagedIdentityOperator,
		"Microsoft.ManagedIdentity/userAssignedIdentities/write":       RoleManagedIdentityContributor,
		"Microsoft.Storage/storageAccounts/listkeys/action":            RoleStorageKeyOperator,
		"Microsoft.Storage/storageAccounts/write":                      RoleStorageAccountContributor,
		"Microsoft.Authorization/roleAssignments/write":                RoleUserAccessAdministrator,
		"Microsoft.Resources/subscriptions/resourceGroups/write":       RoleContributor,
	} {
		if d, ok := LeastRole(action); !ok || d.Name != want {
			t.Errorf("%s: %s (%s), want %s", action, d.Name, d.RoleName, want)
		}
	}
	if len(leastFirst) == 0 || leastFirst[len(leastFirst)-1] != RoleOwner {
		t.Error("not every action has a role")
	}
}
