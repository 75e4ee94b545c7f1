"""Role definitions, role assignments and settings, with azure-keyvault-administration."""

from __future__ import annotations

from typing import Any
from uuid import UUID, uuid4

from azure.core.exceptions import ResourceExistsError, ResourceNotFoundError
from azure.keyvault.administration import (
    KeyVaultDataAction,
    KeyVaultPermission,
    KeyVaultRoleAssignment,
    KeyVaultRoleDefinition,
    KeyVaultRoleScope,
    KeyVaultSetting,
    KeyVaultSettingType,
)

import local
from harness import raises, refused, same, true
from target import Target

ROOT, KEYS = KeyVaultRoleScope.GLOBAL, KeyVaultRoleScope.KEYS
BUILT_IN = {
    "Managed HSM Administrator": "a290e904-7015-4bba-90c8-60543313cdb4",
    "Managed HSM Crypto Officer": "515eb02d-2335-4d2d-92f2-b1cbdf9c3778",
    "Managed HSM Crypto User": "21dbd100-6940-42c2-9190-5d6cb909625b",
    "Managed HSM Policy Administrator": "4bd23610-cdcf-4971-bdee-bdc562cc28e4",
    "Managed HSM Crypto Auditor": "2c18b078-7c48-4d3a-af88-5a3a1b3f82b3",
    "Managed HSM Crypto Service Encryption User": "33413926-3206-4cdd-b39a-83574fe37a17",
    "Managed HSM Crypto Service Release User": "21dbd100-6940-42c2-9190-5d6cb909625c",
    "Managed HSM Backup User": "7b127d3c-77bd-4e3e-bbe0-dbb8971fa7f8",
    "Managed HSM Restore": "6efe6056-5259-49d2-8b3d-d3d73544b20b",
}
ID = "Microsoft.KeyVault/providers/Microsoft.Authorization/roleDefinitions/"
SETTING = "AllowKeyManagementOperationsThroughARM"
MANY = 105  # assignments of one principal, more than a page


def check_definition(d: KeyVaultRoleDefinition, name: str, role_name: str, description: str, actions: set[str], not_actions: set[str] | None = None) -> None:
    same((d.id, d.name, d.type), (ID + name, name, "Microsoft.Authorization/roleDefinitions"), "id, name and type")
    same((d.role_name, d.description, d.role_type, d.assignable_scopes), (role_name, description, "CustomRole", ["/"]), "definition")
    (p,) = d.permissions
    same((p.actions, p.not_actions, set(p.data_actions), set(p.not_data_actions)), ([], [], actions, not_actions or set()), "permissions")


def definitions(hsm: Target) -> None:
    roles = hsm.roles
    with hsm.step("the built-in roles are listed at every scope"):
        for scope in (ROOT, KEYS, f"/keys/{hsm.name('none')}"):
            listed = {d.role_name: d for d in roles.list_role_definitions(scope) if d.role_type == "AKVBuiltInRole"}
            same({n: d.name for n, d in listed.items()}, BUILT_IN, "built-in roles")
            for d in listed.values():
                same((d.id, d.assignable_scopes, d.description), (ID + d.name, ["/"], ""), d.role_name)
                true(set(d.permissions[0].data_actions) <= {a.value for a in KeyVaultDataAction} | {ACTION + "rotate/action", ACTION + "derive/action"}, d.role_name)
        listed = {d.name for d in roles.list_role_definitions(ROOT, filter="atScopeAndBelow()")}
        true(set(BUILT_IN.values()) <= listed, "listed at / and below")
    everything = {a.value for a in KeyVaultDataAction}
    with hsm.step(f"a custom role of all {len(everything)} data actions of the library"):
        made = roles.set_role_definition(ROOT, role_name=hsm.name("everything"), description="all", permissions=[KeyVaultPermission(data_actions=list(KeyVaultDataAction))])
        check_definition(made, str(UUID(made.name)), hsm.name("everything"), "all", everything)
    with hsm.step("a role is changed under its name, and shown by it in any letter case"):
        take = {KeyVaultDataAction.SIGN_HSM_KEY.value}
        changed = roles.set_role_definition(
            ROOT, name=UUID(made.name), role_name=hsm.name("renamed"), assignable_scopes=[ROOT],
            permissions=[KeyVaultPermission(data_actions=sorted(everything), not_data_actions=sorted(take))],
        )
        check_definition(changed, made.name, hsm.name("renamed"), "", everything, take)
        for name in (made.name, made.name.upper(), UUID(made.name)):
            same(vars_of(roles.get_role_definition(ROOT, name)), vars_of(changed), "the role that is shown")
        (listed,) = [d for d in roles.list_role_definitions(ROOT) if d.name == made.name]
        same(vars_of(listed), vars_of(changed), "the role that is listed")
    with hsm.step("roles that are not taken"):
        bad = [KeyVaultPermission(data_actions=["Microsoft.KeyVault/managedHsm/keys/fly/action"])]
        refused(lambda: roles.set_role_definition(ROOT, role_name="x", permissions=bad), 400, "BadParameter", "unknown data action")
        refused(lambda: roles.set_role_definition(ROOT, role_name="x", permissions=[KeyVaultPermission(data_actions=["*"])]), 400, "BadParameter", "wildcards")
        refused(lambda: roles.set_role_definition(KEYS, role_name="x"), 400, "BadParameter", "scope /")
        refused(lambda: roles.set_role_definition(ROOT, name="not-a-guid", role_name="x"), 400, "BadParameter", "GUID")
        refused(lambda: roles.set_role_definition(ROOT, role_name="Managed HSM Crypto User"), 400, "BadParameter", "choose another name")
        refused(lambda: roles.set_role_definition(ROOT, name=BUILT_IN["Managed HSM Crypto User"], role_name="x"), 403, "Forbidden", "built-in")
        refused(lambda: roles.delete_role_definition(ROOT, BUILT_IN["Managed HSM Backup User"]), 403, "Forbidden", "built-in")
        refused(lambda: roles.get_role_definition(ROOT, uuid4()), 404, "RoleDefinitionNotFound", kind=ResourceNotFoundError)
    with hsm.step("a role is deleted; once more, the client does not say that it is gone"):
        roles.delete_role_definition(ROOT, made.name)
        roles.delete_role_definition(ROOT, made.name)
        refused(lambda: roles.get_role_definition(ROOT, made.name), 404, "RoleDefinitionNotFound", kind=ResourceNotFoundError)


ACTION = "Microsoft.KeyVault/managedHsm/keys/"


def vars_of(d: KeyVaultRoleDefinition) -> dict[str, Any]:
    return {**vars(d), "permissions": [vars(p) for p in d.permissions]}


def check_assignment(a: KeyVaultRoleAssignment, scope: str, name: str, definition: str, principal: str) -> None:
    prefix = "" if scope == "/" else scope
    same((a.role_assignment_id, a.name, a.type), (f"{prefix}/providers/Microsoft.Authorization/roleAssignments/{name}", name, "Microsoft.Authorization/roleAssignments"), "assignment")
    same(vars(a.properties), {"principal_id": principal, "role_definition_id": definition, "scope": scope}, "properties")


def assignments(hsm: Target) -> None:
    roles, guest, name = hsm.roles, hsm.guest_id, hsm.name("assigned")
    key = hsm.keys.create_ec_key(name)
    digest = local.digest("ES256", b"assigned")
    signer = roles.set_role_definition(ROOT, role_name=hsm.name("signer"), permissions=[KeyVaultPermission(data_actions=[KeyVaultDataAction.SIGN_HSM_KEY])])
    scope = f"/keys/{name}"

    def sign() -> Any:
        return hsm.remote(key, hsm.guest_credential).sign("ES256", digest)

    with hsm.step("without a role a guest may nothing, and is told what it lacks"):
        refused(sign, 403, "AccessDenied", rf"^Not authorized to access {ACTION}sign/action on {scope}; .*Managed HSM Crypto User")
        refused(lambda: hsm.guest.get_key(name), 403, "AccessDenied", rf"^Not authorized to access {ACTION}read/action on {scope}; .*Managed HSM Crypto Auditor")
        refused(lambda: list(hsm.guest_roles.list_role_assignments(ROOT)), 403, "AccessDenied", "roleAssignments/read/action on /")
    with hsm.step("with a custom role at one key it signs with that key, and does nothing else"):
        made = roles.create_role_assignment(scope, signer.id, guest)
        check_assignment(made, scope, str(UUID(made.name)), signer.id, guest)
        true(local.verifies(local.public_key(key.key), "ES256", digest, sign().signature), "signature")
        refused(lambda: hsm.guest.get_key(name), 403, "AccessDenied", "read/action")
        refused(lambda: hsm.guest.create_ec_key(hsm.name("other")), 403, "AccessDenied", "keys/create on /keys/")
    with hsm.step("an assignment is shown at its scope and above, by its name in any letter case"):
        for at in (scope, KEYS, ROOT):
            check_assignment(roles.get_role_assignment(at, made.name.upper()), scope, made.name, signer.id, guest)
        refused(lambda: roles.get_role_assignment(f"/keys/{hsm.name('other')}", made.name), 404, "RoleAssignmentNotFound", kind=ResourceNotFoundError)
    with hsm.step("the same request again is the same assignment; the same role under another name is refused"):
        same(vars_of_assignment(roles.create_role_assignment(scope, "/" + signer.id, guest.upper(), name=UUID(made.name))), vars_of_assignment(made), "repeated")
        refused(lambda: roles.create_role_assignment(scope, signer.id, guest), 409, "RoleAssignmentExists", kind=ResourceExistsError)
        refused(lambda: roles.create_role_assignment(ROOT, signer.id, guest, name=made.name), 409, "RoleAssignmentExists", kind=ResourceExistsError)
    with hsm.step("lists at /, /keys and a key, and their filters"):
        top = roles.create_role_assignment(KEYS, ID + BUILT_IN["Managed HSM Crypto Auditor"], guest)
        same(hsm.guest.get_key(name).id, key.id, "what the guest reads with a role at /keys")
        for at, kind, want in (
            (ROOT, None, {top.name}), (KEYS, None, {top.name}), (scope, None, {top.name, made.name}), (ROOT, "atScope()", {top.name}),
            (ROOT, f"principalId eq '{guest}'", {top.name, made.name}), (KEYS, f"principalId eq {guest}", {top.name, made.name}),
        ):
            listed = {a.name for a in roles.list_role_assignments(at, **({"filter": kind} if kind else {})) if a.properties.principal_id == guest}
            same(listed, want, f"assignments at {at}, {kind}")
        refused(lambda: list(roles.list_role_assignments(ROOT, filter="nonsense")), 400, "BadParameter", "filter")
        roles.delete_role_assignment(ROOT, top.name)
    with hsm.step("a role that is deleted grants nothing any more, and again when it is made anew"):
        roles.delete_role_definition(ROOT, signer.name)
        refused(sign, 403, "AccessDenied")
        check_assignment(roles.get_role_assignment(scope, made.name), scope, made.name, signer.id, guest)
        roles.set_role_definition(ROOT, name=signer.name, role_name=hsm.name("signer"), permissions=[KeyVaultPermission(data_actions=[KeyVaultDataAction.SIGN_HSM_KEY])])
        sign()
    with hsm.step("assignments that are not taken"):
        refused(lambda: roles.create_role_assignment(ROOT, ID + str(uuid4()), guest), 404, "RoleDefinitionNotFound", kind=ResourceNotFoundError)
        refused(lambda: roles.create_role_assignment(ROOT, "Managed HSM Crypto User", guest), 400, "BadParameter", "roleDefinitionId")
        refused(lambda: roles.create_role_assignment(ROOT, signer.id, "guest@example.com"), 400, "BadParameter", "GUID")
        refused(lambda: roles.create_role_assignment("/secrets/x", signer.id, guest), 400, "BadParameter", "scope")
        refused(lambda: roles.create_role_assignment(ROOT, signer.id, guest, name="one"), 400, "BadParameter", "GUID")
    with hsm.step("an assignment is deleted, from above; once more, the client does not say that it is gone"):
        roles.delete_role_assignment(ROOT, made.name)
        roles.delete_role_assignment(scope, made.name)
        refused(sign, 403, "AccessDenied")
    with hsm.step("the last Administrators cannot go all"):
        last = [a for a in roles.list_role_assignments(ROOT) if a.properties.role_definition_id.endswith(BUILT_IN["Managed HSM Administrator"])]
        same(len(last), 2, "administrators: the person and this program")
    roles.delete_role_definition(ROOT, signer.name)


def vars_of_assignment(a: KeyVaultRoleAssignment) -> dict[str, Any]:
    return {**vars(a), "properties": vars(a.properties)}


def pages(hsm: Target) -> None:
    roles, guest = hsm.roles, hsm.guest_id
    with hsm.step(f"{MANY} assignments of one principal are listed in two pages"):
        made = {roles.create_role_assignment(f"/keys/{hsm.name(f'page{i}')}", ID + BUILT_IN["Managed HSM Crypto User"], guest).name for i in range(MANY)}
        by_page = [[a.name for a in page] for page in roles.list_role_assignments(ROOT, filter=f"principalId eq '{guest}'").by_page()]
        same((len(by_page), {n for page in by_page for n in page}), (2, made), "pages and names")
        for n in made:
            roles.delete_role_assignment(ROOT, n)
        same([a.name for a in roles.list_role_assignments(ROOT, filter=f"principalId eq '{guest}'")], [], "assignments left")


def settings(hsm: Target) -> None:
    client = hsm.settings
    with hsm.step("settings are listed and shown"):
        listed = {s.name: s for s in client.list_settings()}
        shown = client.get_setting(SETTING)
        for s in (listed[SETTING], shown):
            same((s.setting_type, s.value, s.getboolean()), (KeyVaultSettingType.BOOLEAN, "false", False), SETTING)
    with hsm.step("a setting is changed and changed back"):
        for value, text in ((True, "true"), ("FALSE", "false")):
            got = client.update_setting(KeyVaultSetting(SETTING, value, KeyVaultSettingType.BOOLEAN))
            same((got.name, got.value, got.setting_type), (SETTING, text, KeyVaultSettingType.BOOLEAN), "updated")
            same(client.get_setting(SETTING.lower()).value, text, "value")
    with hsm.step("settings that there are not, and values that are none"):
        refused(lambda: client.get_setting("NoSuchSetting"), 404, "SettingNotFound", kind=ResourceNotFoundError)
        refused(lambda: client.update_setting(KeyVaultSetting(SETTING, "perhaps")), 400, "BadParameter", "true or false")
        refused(lambda: hsm.guest_settings.get_setting(SETTING), 403, "AccessDenied", "roleDefinitions/read")
        raises(ValueError, "boolean", lambda: KeyVaultSetting("x", "perhaps").getboolean())
