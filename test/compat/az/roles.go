package main

import (
	"encoding/json"
	"os"
	"slices"
	"strings"
)

const (
	definitionPrefix = "Microsoft.KeyVault/providers/Microsoft.Authorization/roleDefinitions/"
	signAction       = "Microsoft.KeyVault/managedHsm/keys/sign/action"
	readAction       = "Microsoft.KeyVault/managedHsm/keys/read/action"
	auditorRole      = "Managed HSM Crypto Auditor"
	auditorGUID      = "2c18b078-7c48-4d3a-af88-5a3a1b3f82b3"
	somebody         = "0badc0de-0bad-4bad-8bad-0badc0de0bad" // whom no directory knows
)

// roleDefinition is what az prints of one.
type roleDefinition struct {
	ID, Name, RoleName, RoleType, Type, Description string
	AssignableScopes                                []string
	Permissions                                     []struct{ Actions, NotActions, DataActions, NotDataActions []string }
}

// roleAssignment is what az prints of one.
type roleAssignment struct {
	ID, Name, Scope, Type, RoleDefinitionID, RoleName, PrincipalID, PrincipalName, PrincipalType string
}

// roleCommand runs a subcommand of az keyvault role with this HSM and decodes into dst, unless that is nil.
func (s *session) roleCommand(dst any, sub string, args ...string) {
	if dst == nil {
		s.az(s.onRole(sub, args)...)
		return
	}
	s.json(dst, s.onRole(sub, args)...)
}

func (s *session) onRole(sub string, args []string) []string {
	return slices.Concat([]string{"keyvault", "role"}, strings.Fields(sub), []string{"--hsm-name", s.hsm}, args)
}

// described is a role as az takes it.
func described(fields map[string]any) string { return string(must(json.Marshal(fields))) }

// definitions are list, show, create, update and delete of role definitions.
func (s *session) definitions() {
	var all, custom []roleDefinition
	s.roleCommand(&all, "definition list")
	i := slices.IndexFunc(all, func(d roleDefinition) bool { return d.RoleName == auditorRole })
	want(i >= 0 && all[i].ID == definitionPrefix+auditorGUID && all[i].RoleType == "AKVBuiltInRole", "the list of roles is %+v", all)
	var made, got roleDefinition
	s.roleCommand(&made, "definition create", "--role-definition", described(map[string]any{"roleName": s.prefix + "signer", "description": "signs", "actions": []string{}, "notActions": []string{},
		"dataActions": []string{signAction, readAction}, "notDataActions": []string{}}))
	want(made.ID == definitionPrefix+made.Name && made.RoleType == "CustomRole" && made.Description == "signs" && len(made.Permissions) == 1 && slices.Equal(made.Permissions[0].DataActions, []string{signAction, readAction}) &&
		slices.Equal(made.AssignableScopes, []string{"/"}), "the role that was made is %+v", made)
	for _, by := range [][]string{{"--name", made.Name}, {"--role-id", made.ID}} {
		s.roleCommand(&got, "definition show", by...)
		equal(described(map[string]any{"": got}), described(map[string]any{"": made}), "the role that is shown")
	}
	for _, at := range [][]string{nil, {"--scope", "/"}, {"--scope", "/keys"}, {"--scope", "/keys/none"}} {
		s.roleCommand(&custom, "definition list", append([]string{"--custom-role-only", "true"}, at...)...)
		want(slices.ContainsFunc(custom, func(d roleDefinition) bool { return d.Name == made.Name }) && !slices.ContainsFunc(custom, func(d roleDefinition) bool { return d.RoleType != "CustomRole" }), "custom roles %q: %+v", at, custom)
	}
	step("role definitions made, shown and listed")

	file := s.file("role.json")
	fatal(os.WriteFile(file, []byte(described(map[string]any{"name": made.Name, "roleName": s.prefix + "reader", "description": "reads", "dataActions": []string{signAction, readAction}, "notDataActions": []string{signAction}})), 0o600))
	s.roleCommand(&got, "definition update", "--role-definition", file)
	want(got.ID == made.ID && got.RoleName == s.prefix+"reader" && slices.Equal(got.Permissions[0].NotDataActions, []string{signAction}), "the role that was changed is %+v", got)
	s.roleCommand(&got, "definition update", "--role-definition", described(map[string]any{"id": made.ID, "RoleName": s.prefix + "again", "DataActions": []string{readAction}}))
	want(got.Name == made.Name && got.RoleName == s.prefix+"again", "the role that was changed by its id is %+v", got)
	s.refused("unknown data action", s.onRole("definition create", []string{"--role-definition", described(map[string]any{"roleName": "x", "dataActions": []string{"Microsoft.KeyVault/managedHsm/keys/fly/action"}})})...)
	s.refused("built-in", s.onRole("definition update", []string{"--role-definition", described(map[string]any{"name": auditorGUID, "roleName": "x"})})...)
	s.refused("built-in", s.onRole("definition delete", []string{"--name", auditorGUID})...)
	s.roleCommand(nil, "definition delete", "--role-id", made.ID)
	s.roleCommand(nil, "definition delete", "--name", made.Name) // az does not say that it is gone
	s.refused("RoleDefinitionNotFound", s.onRole("definition show", []string{"--name", made.Name})...)
	step("role definitions changed and deleted; what must not be is refused")
}

// assignments are create, list and delete of role assignments, by every way to name the role, the principal and the assignment.
func (s *session) assignments() {
	scope := "/keys/" + s.prefix + "assigned"
	person, guest, guestApp := env("AZURE_USERNAME"), env("REDOUBT_GUEST_OBJECT_ID"), env("REDOUBT_GUEST_CLIENT_ID")
	create := func(role string, args ...string) (a roleAssignment) {
		s.roleCommand(&a, "assignment create", append([]string{"--role", role}, args...)...)
		want(a.RoleDefinitionID == definitionPrefix+auditorGUID && a.RoleName == auditorRole && a.Type == "Microsoft.Authorization/roleAssignments" && strings.HasSuffix(a.ID, "/providers/Microsoft.Authorization/roleAssignments/"+a.Name),
			"what create --role %s %q says: %+v", role, args, a)
		return a
	}
	byName := create(auditorRole, "--assignee", person, "--scope", scope)
	want(byName.Scope == scope && byName.PrincipalName == person && byName.PrincipalType == "User", "assigned to the person: %+v", byName)
	byGUID := create(auditorGUID, "--assignee-object-id", guest, "--assignee-principal-type", "ServicePrincipal", "--scope", scope)
	want(byGUID.PrincipalID == guest && byGUID.PrincipalType == "ServicePrincipal", "assigned to the identity: %+v", byGUID)
	byID := create(definitionPrefix+auditorGUID, "--assignee", guest, "--scope", "/keys", "--name", "abcdefab-0000-4000-8000-"+modeDigits())
	want(byID.Scope == "/keys" && strings.HasPrefix(byID.Name, "abcdefab-"), "assigned at /keys under a name: %+v", byID)
	unknown := create(auditorRole, "--assignee-object-id", somebody, "--scope", "/")
	want(unknown.PrincipalID == somebody && unknown.Scope == "/" && unknown.PrincipalName == "Unknown", "assigned to somebody whom the directory does not know: %+v", unknown)
	s.refused("RoleAssignmentExists", s.onRole("assignment create", []string{"--role", auditorRole, "--assignee", person, "--scope", scope})...)
	s.refused("Unknown role", s.onRole("assignment create", []string{"--role", "No Such Role", "--assignee", person, "--scope", scope})...)
	s.refused("RoleDefinitionNotFound", s.onRole("assignment create", []string{"--role", somebody, "--assignee", person, "--scope", scope})...)
	s.refused("BadParameter", s.onRole("assignment create", []string{"--role", auditorRole, "--assignee", person, "--scope", "/secrets/x"})...)
	step("role assignments made at /, /keys and a key")

	list := func(wanted []roleAssignment, args ...string) {
		var got []roleAssignment
		s.roleCommand(&got, "assignment list", args...)
		for _, a := range []roleAssignment{byName, byGUID, byID, unknown} {
			want(slices.Contains(got, a) == slices.Contains(wanted, a), "list %q: %+v", args, got)
		}
	}
	list([]roleAssignment{byID, unknown})
	list([]roleAssignment{unknown}, "--scope", "/")
	list([]roleAssignment{byID}, "--scope", "/keys")
	list([]roleAssignment{byName, byGUID}, "--scope", scope)
	list([]roleAssignment{byName}, "--scope", scope, "--assignee", person)
	list([]roleAssignment{byGUID}, "--scope", scope, "--assignee", guestApp) // the application id
	list([]roleAssignment{byGUID}, "--scope", scope, "--assignee", guest, "--role", auditorRole)
	list([]roleAssignment{byID}, "--assignee-object-id", guest, "--role", definitionPrefix+auditorGUID)
	list(nil, "--scope", scope, "--role", "Managed HSM Crypto User")
	step("role assignments listed by scope, principal and role")

	s.roleCommand(nil, "assignment delete", "--scope", scope, "--assignee", person, "--role", auditorRole)
	list([]roleAssignment{byGUID}, "--scope", scope)
	s.roleCommand(nil, "assignment delete", "--scope", scope, "--name", byGUID.Name)
	list(nil, "--scope", scope)
	s.roleCommand(nil, "assignment delete", "--ids", byID.ID, unknown.ID)
	list(nil)
	s.roleCommand(nil, "assignment delete", "--ids", byID.ID) // az does not say that it is gone
	step("role assignments deleted by name, by ids and by what they say")
}

// modeDigits tell the modes' names apart: one HSM serves both.
func modeDigits() string {
	if env("REDOUBT_COMPAT_MODE") == "own-cloud" {
		return "000000000002"
	}
	return "000000000001"
}
