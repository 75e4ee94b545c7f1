"""The HSM under test and the clients for it. What the environment holds is told in ../README.md."""

from __future__ import annotations

import os
import re
from typing import Any

from azure.identity import DefaultAzureCredential, ManagedIdentityCredential
from azure.keyvault.administration import KeyVaultAccessControlClient, KeyVaultBackupClient, KeyVaultSettingsClient
from azure.keyvault.keys import KeyClient, KeyVaultKey
from azure.keyvault.keys.crypto import CryptographyClient

from harness import Report, Wire, same, true


class Target:
    """One HSM. Clients are what any program would make: default credentials, verification of the challenge on, the
    library's newest api-version; and the same in both modes. Only the SDK's own retries are switched off, because
    they would hide failures."""

    def __init__(self, report: Report) -> None:
        self.url = os.environ["REDOUBT_HSM_URL"]
        self.prefix = os.environ["REDOUBT_COMPAT_PREFIX"]
        self.report = report
        self.step = report.step
        self.wire = Wire()
        self.options: dict[str, Any] = {"retry_total": 0, "raw_response_hook": self.wire.note}
        self.credential = DefaultAzureCredential()
        self.keys = KeyClient(self.url, self.credential, **self.options)
        # The Crypto User may not see or recover deleted keys; a managed identity, the Crypto Officer, may.
        self.officer_credential = ManagedIdentityCredential(client_id=os.environ["REDOUBT_OFFICER_CLIENT_ID"])
        self.officer = KeyClient(self.url, self.officer_credential, **self.options)
        # A managed identity that is Administrator of this HSM, and one that has no role until it is given one.
        self.administrator_credential = ManagedIdentityCredential(client_id=os.environ["REDOUBT_ADMINISTRATOR_CLIENT_ID"])
        self.roles = KeyVaultAccessControlClient(self.url, self.administrator_credential, **self.options)
        self.settings = KeyVaultSettingsClient(self.url, self.administrator_credential, **self.options)
        self.backups = KeyVaultBackupClient(self.url, self.administrator_credential, **self.options)
        self.guest_credential = ManagedIdentityCredential(client_id=os.environ["REDOUBT_GUEST_CLIENT_ID"])
        self.guest_id = os.environ["REDOUBT_GUEST_OBJECT_ID"]
        self.guest = KeyClient(self.url, self.guest_credential, **self.options)
        self.guest_roles = KeyVaultAccessControlClient(self.url, self.guest_credential, **self.options)
        self.guest_settings = KeyVaultSettingsClient(self.url, self.guest_credential, **self.options)
        self.storage, self.sas = os.environ["REDOUBT_STORAGE_URL"], os.environ["REDOUBT_STORAGE_SAS"]
        self.kept: set[str] = set()  # keys that other programs will use

    def name(self, suffix: str) -> str:
        """A key name of this program and mode."""
        return self.prefix + suffix

    def speaking(self, api_version: str, officer: bool = False) -> KeyClient:
        """A key client that speaks another api-version."""
        return KeyClient(self.url, self.officer_credential if officer else self.credential, api_version=api_version, **self.options)

    def crypto(self, key: KeyVaultKey | str) -> CryptographyClient:
        """The ordinary cryptography client: local where it can, remote otherwise."""
        return CryptographyClient(key, self.credential, **self.options)

    def remote(self, key: KeyVaultKey, credential: Any = None) -> CryptographyClient:
        """A client that always asks the service. The SDK does what it can with the public key itself, and, having no k
        of an oct key, with a random key of its own (see README.md). A key without key_ops keeps it from both."""
        jwk = {f: getattr(key.key, f) for f in ("kid", "kty", "n", "e", "crv", "x", "y")}
        return CryptographyClient(KeyVaultKey(key.id, jwk=jwk), credential or self.credential, **self.options)

    def check_id(self, key_id: str, name: str) -> str:
        """The id must name this HSM and key, and a version, which is returned."""
        found = re.fullmatch(rf"{re.escape(self.url)}/keys/{re.escape(name)}/([0-9a-f]{{32}})", key_id)
        true(found, f"id {key_id} is not that of {name} at {self.url}")
        return found.group(1)  # type: ignore[union-attr]

    def remove(self, name: str) -> None:
        """Deletes and purges a key."""
        self.keys.begin_delete_key(name)
        self.officer.purge_deleted_key(name)

    def remove_all(self) -> None:
        """Deletes and purges every key of this program and mode that nobody will use any more."""
        with self.step("all other keys are deleted and purged"):
            for name in [p.name for p in self.keys.list_properties_of_keys() if p.name.startswith(self.prefix) and p.name not in self.kept]:
                self.keys.begin_delete_key(name)
            for name in [d.name for d in self.officer.list_deleted_keys() if d.name.startswith(self.prefix)]:
                self.officer.purge_deleted_key(name)
            same({p.name for p in self.keys.list_properties_of_keys() if p.name.startswith(self.prefix)}, self.kept, "keys that are left")

