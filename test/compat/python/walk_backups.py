"""Full backup and restore, the checks before them, and the restore of one key, with azure-keyvault-administration."""

from __future__ import annotations

import asyncio
import os
import re
from typing import Any

from azure.core.exceptions import HttpResponseError, ResourceExistsError, ResourceNotFoundError
from azure.core.polling import LROPoller
from azure.identity.aio import ManagedIdentityCredential as AsyncManagedIdentityCredential
from azure.keyvault.administration import ApiVersion, KeyVaultAccessControlClient, KeyVaultBackupClient, KeyVaultDataAction, KeyVaultPermission, KeyVaultSetting, KeyVaultSettingsClient
from azure.keyvault.administration.aio import KeyVaultAccessControlClient as AsyncAccessControlClient
from azure.keyvault.administration.aio import KeyVaultBackupClient as AsyncBackupClient
from azure.keyvault.administration.aio import KeyVaultSettingsClient as AsyncSettingsClient

import local
from harness import raises, refused, same, true
from target import Target
from walk_roles import BUILT_IN, ID, ROOT, SETTING, vars_of, vars_of_assignment
from walk_versions import VERSIONS


def failed(start: Any, code: str, words: str) -> None:
    """The job must be accepted and then fail with this code and words in its document."""
    poller = start()
    try:
        poller.result()
    except HttpResponseError as e:
        same(poller.status(), "Failed", "status of the job")
        true(code in e.message and re.search(words, e.message), f"{e.message!r} does not say {code} and {words!r}")
        return
    raise AssertionError(f"the job did not fail: {poller.status()}")


def done(poller: LROPoller[Any]) -> Any:
    result = poller.result()
    same(poller.status(), "Succeeded", "status of the job")
    return result


class Content:
    """Something of everything that a restore must bring back, and what an HSM says of it."""

    def __init__(self, hsm: Target) -> None:
        self.hsm, self.name = hsm, hsm.name("restored")
        self.digest = local.digest("ES256", b"before the loss")
        self.keys = [hsm.keys.create_ec_key(self.name, tags={"version": str(i)}) for i in range(2)]
        self.signature = hsm.remote(self.keys[0]).sign("ES256", self.digest).signature
        self.role = hsm.roles.set_role_definition(
            ROOT, role_name=hsm.name("restored-role"), description="of a backup", permissions=[KeyVaultPermission(data_actions=[KeyVaultDataAction.SIGN_HSM_KEY])]
        )
        self.assignment = hsm.roles.create_role_assignment(f"/keys/{self.name}", self.role.id, hsm.guest_id)
        hsm.settings.update_setting(KeyVaultSetting(SETTING, True))
        self.said = self.say()

    def say(self) -> dict[str, Any]:
        roles = self.hsm.roles
        return {
            "definitions": [vars_of(d) for d in roles.list_role_definitions(ROOT)],
            "assignments": [vars_of_assignment(a) for a in roles.list_role_assignments(f"/keys/{self.name}")],
            "settings": [vars(s) for s in self.hsm.settings.list_settings()],
        }

    def lose(self) -> None:
        hsm = self.hsm
        hsm.roles.delete_role_assignment(ROOT, self.assignment.name)
        hsm.roles.delete_role_definition(ROOT, self.role.name)
        hsm.settings.update_setting(KeyVaultSetting(SETTING, False))
        hsm.remove(self.name)
        hsm.keys.create_ec_key(hsm.name("after"))

    def check_key(self) -> None:
        hsm = self.hsm
        same({p.id: p.tags for p in hsm.keys.list_properties_of_key_versions(self.name)}, {k.id: k.properties.tags for k in self.keys}, "versions")
        true(hsm.remote(self.keys[0]).verify("ES256", self.digest, self.signature).is_valid, "the old signature does not verify")

    def check(self) -> None:
        hsm = self.hsm
        same(self.say(), self.said, "roles and settings")
        self.check_key()
        signed = hsm.remote(self.keys[0], hsm.guest_credential).sign("ES256", self.digest).signature
        true(local.verifies(local.public_key(self.keys[0].key), "ES256", self.digest, signed), "the guest's signature")
        refused(lambda: hsm.guest.get_key(self.name), 403, "AccessDenied", "keys/read/action")

    def remove(self) -> None:
        hsm = self.hsm
        hsm.roles.delete_role_assignment(ROOT, self.assignment.name)
        hsm.roles.delete_role_definition(ROOT, self.role.name)
        hsm.settings.update_setting(KeyVaultSetting(SETTING, False))


def backups(hsm: Target) -> None:
    client, url, sas = hsm.backups, hsm.storage, {"sas_token": hsm.sas}
    content = Content(hsm)
    with hsm.step("a check before a backup, by SAS token and by managed identity"):
        done(client.begin_pre_backup(url, **sas))
        done(client.begin_pre_backup(url, use_managed_identity=True))
    with hsm.step("a check before a backup fails as the backup would"):
        for start in (client.begin_pre_backup, client.begin_backup):
            failed(lambda start=start: start(url, sas_token=hsm.sas.replace("sp=rcdwl", "sp=rl")), "AuthorizationPermissionMismatch", "crdw")
            failed(lambda start=start: start(url + "-none", use_managed_identity=True), "ContainerNotFound", "az storage container create")
            refused(lambda start=start: start("http://127.0.0.1/x", **sas), 400, "BadRequest")
            refused(lambda start=start: KeyVaultBackupClient(hsm.url, hsm.guest_credential, **hsm.options).begin_backup(url, **sas), 403, "AccessDenied", "backup/start/action on /")
    with hsm.step("a full backup, polled to its end; from the continuation token of a job that has ended the library makes no poller"):
        poller = client.begin_backup(url, **sas)
        token = poller.continuation_token()
        folder = done(poller).folder_url
        true(re.fullmatch(re.escape(url) + r"/mhsm-[A-Za-z0-9-]+-[0-9]{16,}", folder), f"folder {folder}")
        raises(AttributeError, "json", lambda: client.begin_backup(url, **sas, continuation_token=token).result())
    with hsm.step("a check before a restore, by SAS token and by managed identity"):
        done(client.begin_pre_restore(folder, **sas))
        done(client.begin_pre_restore(folder, use_managed_identity=True))
        failed(lambda: client.begin_pre_restore(url + "/mhsm-none-2026010203040500", **sas), "BackupNotFound", "mhsm-none")
        content.check()
    with hsm.step("a full restore brings keys, roles and settings back, and nothing of what came after the backup"):
        content.lose()
        done(client.begin_restore(folder, **sas))
        content.check()
        refused(lambda: hsm.keys.get_key(hsm.name("after")), 404, "KeyNotFound", kind=ResourceNotFoundError)
    with hsm.step("a full restore needs a backup of what is there now"):
        refused(lambda: client.begin_restore(folder, **sas), 400, "BadRequest", "az keyvault backup start", inner="NoRestorePoint")
        refused(lambda: client.begin_pre_restore(folder, **sas), 400, "BadRequest", "az keyvault backup start", inner="NoRestorePoint")
    with hsm.step("backup and full restore by managed identity"):
        again = done(client.begin_backup(url, use_managed_identity=True)).folder_url
        done(client.begin_restore(again, use_managed_identity=True))
        content.check()
    with hsm.step("the restore of one key, once its name is free"):
        refused(lambda: client.begin_restore(folder, **sas, key_name=content.name), 409, "Conflict", "purge", kind=ResourceExistsError)
        hsm.remove(content.name)
        done(client.begin_restore(folder, **sas, key_name=content.name))
        content.check()
        failed(lambda: client.begin_restore(folder, **sas, key_name=hsm.name("none")), "KeyNotFound", "not in the backup")
    content.remove()



def versions(hsm: Target) -> None:
    with hsm.step("administration in the api-versions that the library has, and in all others"):
        true({v.value for v in ApiVersion} <= set(VERSIONS), "versions of the library that are not walked")
    scope = f"/keys/{hsm.name('versions')}"
    for version in VERSIONS:
        options = {**hsm.options, "api_version": version}
        roles = KeyVaultAccessControlClient(hsm.url, hsm.administrator_credential, **options)
        settings = KeyVaultSettingsClient(hsm.url, hsm.administrator_credential, **options)
        backup = KeyVaultBackupClient(hsm.url, hsm.administrator_credential, **options)
        since = VERSIONS.index(version)
        with hsm.step(f"administration with api-version {version}"):
            role = roles.set_role_definition(ROOT, role_name=hsm.name(version), permissions=[KeyVaultPermission(data_actions=[KeyVaultDataAction.READ_HSM_KEY])])
            made = roles.create_role_assignment(scope, role.id, hsm.guest_id)
            same([a.name for a in roles.list_role_assignments(scope, filter=f"principalId eq '{hsm.guest_id}'")], [made.name], "assignments")
            same(vars_of(roles.get_role_definition(ROOT, role.name)), vars_of(role), "definition")
            roles.delete_role_assignment(scope, roles.get_role_assignment(scope, made.name).name)
            roles.delete_role_definition(ROOT, role.name)
            if since >= VERSIONS.index("7.4-preview.1"):
                settings.update_setting(settings.get_setting(SETTING))
                true(SETTING in {s.name for s in settings.list_settings()}, "settings")
            else:
                refused(lambda client=settings: client.get_setting(SETTING), 404, "NotFound", kind=ResourceNotFoundError)
            if since < VERSIONS.index("7.6-preview.2"):  # the service has it since 7.6-preview.1
                raises(ValueError, "not available in API version", lambda client=backup: client.begin_pre_backup(hsm.storage, sas_token=hsm.sas))
        if version in ("7.2", "7.5", "7.6", VERSIONS[-1]):
            with hsm.step(f"backup and restore with api-version {version}"):
                folder = done(backup.begin_backup(hsm.storage, sas_token=hsm.sas)).folder_url
                if version == "7.6":  # later ones than its own the library does not let ask for these
                    done(backup.begin_pre_backup(hsm.storage, sas_token=hsm.sas))
                    done(backup.begin_pre_restore(folder, sas_token=hsm.sas))
                done(backup.begin_restore(folder, sas_token=hsm.sas))


def async_clients(hsm: Target) -> None:
    asyncio.run(asynchronously(hsm))


async def asynchronously(hsm: Target) -> None:
    options = hsm.options
    async with AsyncManagedIdentityCredential(client_id=os.environ["REDOUBT_ADMINISTRATOR_CLIENT_ID"]) as credential:
        with hsm.step("async access control client"):
            async with AsyncAccessControlClient(hsm.url, credential, **options) as roles:
                true(set(BUILT_IN) <= {d.role_name async for d in roles.list_role_definitions(ROOT)}, "built-in roles")
                role = await roles.set_role_definition(ROOT, role_name=hsm.name("async"), permissions=[KeyVaultPermission(data_actions=[KeyVaultDataAction.READ_HSM_KEY])])
                same(vars_of(await roles.get_role_definition(ROOT, role.name)), vars_of(role), "definition")
                made = await roles.create_role_assignment(ROOT, ID + BUILT_IN["Managed HSM Crypto Auditor"], hsm.guest_id)
                same((await roles.get_role_assignment(ROOT, made.name)).name, made.name, "assignment")
                true(made.name in {a.name async for a in roles.list_role_assignments(ROOT)}, "assignments")
                await roles.delete_role_assignment(ROOT, made.name)
                await roles.delete_role_definition(ROOT, role.name)
        with hsm.step("async settings client"):
            async with AsyncSettingsClient(hsm.url, credential, **options) as settings:
                got = await settings.update_setting(await settings.get_setting(SETTING))
                true(got.name in {s.name async for s in settings.list_settings()}, "settings")
        with hsm.step("async backup client: checks, backup, restore, restore of one key"):
            async with AsyncBackupClient(hsm.url, credential, **options) as backup:
                sas = {"sas_token": hsm.sas}
                name = hsm.name("async-restored")
                key = hsm.keys.create_ec_key(name)
                await (await backup.begin_pre_backup(hsm.storage, **sas)).result()
                folder = (await (await backup.begin_backup(hsm.storage, **sas)).result()).folder_url
                await (await backup.begin_pre_restore(folder, **sas)).result()
                await (await backup.begin_restore(folder, **sas)).result()
                hsm.remove(name)
                await (await backup.begin_restore(folder, **sas, key_name=name)).result()
                same(hsm.keys.get_key(name).id, key.id, "restored key")
