"""Drives an HSM with the genuine Python SDK and tokens that a credential of its own gets from an OpenID Connect issuer.

Each line on standard input is a request, answered by a line of JSON: a digest in hexadecimal is signed and the
signature verified, "assign ROLE PRINCIPAL SCOPE" and "remove PRINCIPAL" change role assignments. The environment says
for whom, where and with which key. Challenge verification is on."""

from __future__ import annotations

import json
import os
import sys
import time
from typing import Any

import requests
from azure.core.credentials import AccessToken
from azure.core.exceptions import HttpResponseError
from azure.keyvault.administration import KeyVaultAccessControlClient
from azure.keyvault.keys import KeyClient
from azure.keyvault.keys.crypto import CryptographyClient, SignatureAlgorithm


class Issuer:
    """A TokenCredential: azure-core keeps its tokens and asks again before they end."""

    def __init__(self, scopes: dict[str, str]) -> None:
        self.scopes = scopes

    def get_token(self, *scopes: str, **_: Any) -> AccessToken:
        form = os.environ["ISSUER_FORM"] + "&scope=" + self.scopes[scopes[0]]
        answer = requests.post(os.environ["ISSUER_TOKEN_URL"], data=form, headers={"Content-Type": "application/x-www-form-urlencoded"}, timeout=30)
        answer.raise_for_status()
        token = answer.json()
        return AccessToken(token["access_token"], int(time.time()) + token["expires_in"])


def main() -> None:
    url, options = os.environ["REDOUBT_HSM_URL"], {"retry_total": 0}
    credential = Issuer({os.environ["ISSUER_AUDIENCE"] + "/.default": os.environ["ISSUER_SCOPE"]})
    keys = KeyClient(url, credential, **options)
    roles = KeyVaultAccessControlClient(url, credential, **options)

    def sign(digest: str) -> None:
        key = keys.get_key(os.environ["REDOUBT_KEY"])
        crypto = CryptographyClient(key, credential, **options)
        signed = crypto.sign(SignatureAlgorithm.es256, bytes.fromhex(digest))
        if not crypto.verify(SignatureAlgorithm.es256, bytes.fromhex(digest), signed.signature).is_valid:
            raise ValueError("the signature does not verify")

    def assign(role: str, principal: str, scope: str) -> None:
        found = [d.id for d in roles.list_role_definitions("/") if d.role_name == role.replace("_", " ")]
        made = roles.create_role_assignment(scope, found[0], principal)
        if made.properties.principal_id != principal:
            raise ValueError(f"the assignment is {made}")

    def remove(principal: str) -> None:
        for a in roles.list_role_assignments("/"):
            if a.properties.principal_id == principal:
                roles.delete_role_assignment(a.properties.scope, a.name)

    for line in sys.stdin:
        word, *rest = line.split()
        try:
            {"assign": assign, "remove": remove}.get(word, lambda *_: sign(word))(*rest)
            print(json.dumps({"status": 200}), flush=True)
        except HttpResponseError as e:
            print(json.dumps({"status": e.status_code or 0, "message": str(e)}), flush=True)
        except Exception as e:  # whatever it is, the runner says what it wanted instead
            print(json.dumps({"status": 0, "message": repr(e)}), flush=True)


main()
