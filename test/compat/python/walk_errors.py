"""What is refused, and how the library shows it: class, status, code, message."""

from __future__ import annotations

import time

from azure.core.credentials import AccessToken
from azure.core.exceptions import ClientAuthenticationError, ResourceNotFoundError
from azure.keyvault.keys import KeyClient, KeyReleasePolicy

import local
from harness import refused, same, true
from target import Target


def errors(hsm: Target) -> None:
    keys, none, digest = hsm.keys, hsm.name("none"), bytes(32)
    with hsm.step("a key that is not there: 404 in every operation"):
        key = keys.create_ec_key(hsm.name("there"))
        ghost = hsm.crypto(f"{hsm.url}/keys/{none}/{key.properties.version}")
        for call in (
            lambda: keys.get_key(none),
            lambda: keys.get_key(none, key.properties.version),
            lambda: keys.get_key(key.name, "0" * 32),
            lambda: keys.update_key_properties(none, enabled=False),
            lambda: keys.update_key_properties(key.name, "0" * 32, enabled=False),
            lambda: keys.begin_delete_key(none),
            lambda: keys.backup_key(none),
            lambda: list(keys.list_properties_of_key_versions(none)),
            lambda: hsm.officer.get_deleted_key(none),
            lambda: hsm.officer.purge_deleted_key(none),
            lambda: hsm.officer.begin_recover_deleted_key(none),
            lambda: ghost.sign("ES256", digest),
        ):
            refused(call, 404, "KeyNotFound", none + "|" + key.name, kind=ResourceNotFoundError)
    with hsm.step("names and versions that cannot be"):
        for name in ("under_score", "a" * 128, "sla%2Fsh", "dot.dot", "ünï"):
            refused(lambda name=name: keys.create_ec_key(name), 400, "BadParameter", "name")
        refused(lambda: keys.get_key(key.name, "not-a-version"), 400, "BadParameter", "version")
    with hsm.step("keys that the HSM does not make"):
        refused(lambda: keys.create_key(none, "DSA"), 400, "BadParameter", "kty", inner="KeyTypeNotSupported")
        refused(lambda: keys.create_rsa_key(none, size=1024), 400, "BadParameter", "2048, 3072 or 4096")
        refused(lambda: keys.create_rsa_key(none, size=2048, public_exponent=4), 400, "BadParameter", "exponent")
        refused(lambda: keys.create_ec_key(none, curve="P-224"), 400, "BadParameter", "P-256")
        refused(lambda: keys.create_oct_key(none, size=512), 400, "BadParameter", "128, 192 or 256")
        refused(lambda: keys.create_ec_key(none, key_operations=["encrypt"]), 400, "BadParameter", "key_ops")
        refused(lambda: keys.create_ec_key(none, key_operations=["fly"]), 400, "BadParameter", "key_ops")
    with hsm.step("tags beyond the limits"):
        for tags in ({str(i): "x" for i in range(16)}, {"x" * 257: "y"}, {"x": "y" * 257}):
            refused(lambda tags=tags: keys.create_ec_key(none, tags=tags), 400, "BadParameter", "tag")
            refused(lambda tags=tags: keys.update_key_properties(key.name, tags=tags), 400, "BadParameter", "tag")
    with hsm.step("dates that exclude each other"):
        refused(lambda: keys.create_ec_key(none, not_before=local.days(2), expires_on=local.days(1)), 400, "BadParameter", "nbf")
    with hsm.step("exportable and a release policy go together"):
        refused(lambda: keys.create_ec_key(none, exportable=True), 400, "BadParameter", "Exportable keys must have release policy")
        for policy in (b"no policy", b'{"version":"9.9"}', b"{}"):
            refused(lambda policy=policy: keys.create_ec_key(none, exportable=True, release_policy=KeyReleasePolicy(policy)), 400, "BadParameter")
    with hsm.step("pages of a size that cannot be"):
        for size in (0, 26, -1):
            refused(lambda size=size: list(keys.list_properties_of_keys(max_page_size=size)), 400, "BadParameter", "maxresults")
    with hsm.step("nothing of it was stored"):
        true(none not in {p.name for p in keys.list_properties_of_keys()}, "there is a key")
    with hsm.step("a token that nobody signed: 401"):
        stranger = KeyClient(hsm.url, Stranger(), **hsm.options)  # type: ignore[arg-type]
        refused(lambda: stranger.get_key(key.name), 401, "Unauthorized", kind=ClientAuthenticationError)


class Stranger:
    """A credential that answers the challenge with a token of its own making."""

    def get_token(self, *scopes: str, **_: object) -> AccessToken:
        same([s.endswith("/.default") and "managedhsm" in s for s in scopes], [True], f"scopes {scopes}")
        return AccessToken("eyJhbGciOiJub25lIn0.e30.", int(time.time()) + 3600)


def use(hsm: Target) -> None:
    """What disabled, outside its dates, and key_ops mean for each operation."""
    keys = hsm.keys
    key = keys.create_rsa_key(hsm.name("use"), size=2048)
    client, digest = hsm.remote(key), bytes(32)
    signature, wrapped, sealed = client.sign("RS256", digest).signature, client.wrap_key("RSA-OAEP", b"k").encrypted_key, client.encrypt("RSA-OAEP", b"t").ciphertext
    make = (lambda: client.sign("RS256", digest), lambda: client.wrap_key("RSA-OAEP", b"k"), lambda: client.encrypt("RSA-OAEP", b"t"))
    undo = (lambda: client.verify("RS256", digest, signature), lambda: client.unwrap_key("RSA-OAEP", wrapped), lambda: client.decrypt("RSA-OAEP", sealed))
    with hsm.step("a disabled key does nothing"):
        keys.update_key_properties(key.name, enabled=False)
        for call in make + undo:
            refused(call, 403, "Forbidden", "(?i)disabled", inner="KeyDisabled")
        keys.update_key_properties(key.name, enabled=True)
    for what, inner, dates in (
        ("not yet valid", "KeyNotYetValid", {"not_before": local.days(1), "expires_on": local.days(2)}),
        ("expired", "KeyExpired", {"not_before": local.days(-2), "expires_on": local.days(-1)}),
    ):
        with hsm.step(f"a key that is {what} only undoes: verify, unwrap, decrypt"):
            keys.update_key_properties(key.name, **dates)
            for call in make:
                refused(call, 403, "Forbidden", inner=inner)
            same((undo[0]().is_valid, undo[1]().key, undo[2]().plaintext), (True, b"k", b"t"), "results")
    with hsm.step("an operation outside key_ops is not permitted"):
        keys.update_key_properties(key.name, key_operations=["verify"], not_before=local.days(-2), expires_on=local.days(2))
        same(undo[0]().is_valid, True, "verify")
        for word, call in zip(("sign", "wrapKey", "encrypt", "unwrapKey", "decrypt"), make + undo[1:]):
            refused(call, 403, "Forbidden", f"Operation {word} is not permitted on this key", inner="KeyOperationForbidden")
