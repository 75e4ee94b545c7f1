"""Delete, recover, purge, backup, restore, rotation and random bytes."""

from __future__ import annotations

from datetime import timedelta

from azure.core.exceptions import ResourceExistsError, ResourceNotFoundError
from azure.keyvault.keys import KeyRotationLifetimeAction, KeyRotationPolicy, KeyRotationPolicyAction

import local
from harness import raises, refused, same, true
from target import Target


def deleting(hsm: Target) -> None:
    name, keys, officer = hsm.name("deleted"), hsm.keys, hsm.officer
    key = keys.create_ec_key(name, tags={"a": "b"})
    with hsm.step("a Crypto User may not see deleted keys, a Crypto Officer may not make keys"):
        for action, call in (("keys/deletedKeys/read", lambda: keys.get_deleted_key(name)), ("keys/deletedKeys/read", lambda: list(keys.list_deleted_keys())), ("keys/deletedKeys/delete", lambda: keys.purge_deleted_key(name)), ("keys/deletedKeys/recover", lambda: keys.begin_recover_deleted_key(name)), ("keys/create", lambda: officer.create_ec_key(name)), ("keys/read", lambda: officer.get_key(name))):
            refused(call, 403, "AccessDenied", f"Not authorized to access Microsoft.KeyVault/managedHsm/{action}.* on /")
    with hsm.step("delete: the poller waits for the deleted key"):
        poller = keys.begin_delete_key(name)
        poller.wait()
        true(poller.done(), "poller is not done")
        for deleted in (poller.result(), officer.get_deleted_key(name)):
            same((deleted.id, deleted.key.x, deleted.properties.tags), (key.id, key.key.x, {"a": "b"}), "deleted key")
            same(deleted.recovery_id, f"{hsm.url}/deletedkeys/{name}", "recovery id")
            same(deleted.scheduled_purge_date - deleted.deleted_date, timedelta(days=deleted.properties.recoverable_days), "time until purge")
    with hsm.step("a deleted key is not found, its name is taken"):
        refused(lambda: keys.get_key(name), 404, "KeyNotFound", name, kind=ResourceNotFoundError)
        refused(lambda: keys.create_ec_key(name), 409, "Conflict", "", inner="ObjectIsDeletedButRecoverable", kind=ResourceExistsError)
        refused(lambda: keys.begin_delete_key(name), 404, "KeyNotFound", name, kind=ResourceNotFoundError)
        refused(lambda: hsm.remote(key).sign("ES256", bytes(32)), 404, "KeyNotFound", name, kind=ResourceNotFoundError)
    with hsm.step("recover: the poller waits for the key"):
        poller = officer.begin_recover_deleted_key(name)
        poller.wait()
        for recovered in (poller.result(), keys.get_key(name)):
            same((recovered.id, recovered.key.x, recovered.properties.tags), (key.id, key.key.x, {"a": "b"}), "recovered key")
        refused(lambda: officer.get_deleted_key(name), 404, "KeyNotFound", name, kind=ResourceNotFoundError)
        refused(lambda: officer.begin_recover_deleted_key(name), 404, "KeyNotFound", name, kind=ResourceNotFoundError)
        refused(lambda: officer.purge_deleted_key(name), 404, "KeyNotFound", name, kind=ResourceNotFoundError)
    with hsm.step("purge: gone for good, and the name is free"):
        keys.begin_delete_key(name).wait()
        same(officer.purge_deleted_key(name), None, "answer of purge")
        refused(lambda: officer.get_deleted_key(name), 404, "KeyNotFound", name, kind=ResourceNotFoundError)
        true(keys.create_ec_key(name).id != key.id, "the new key has the old id")
        hsm.remove(name)


def backup(hsm: Target) -> None:
    name, keys, officer = hsm.name("backup"), hsm.keys, hsm.officer
    digest = local.digest("ES256", b"before the backup")
    versions = [keys.create_ec_key(name, tags={"n": str(i)}) for i in range(3)]
    keys.update_key_properties(name, versions[0].properties.version, enabled=False)
    before = hsm.remote(versions[1]).sign("ES256", digest).signature
    with hsm.step("backup"):
        blob = keys.backup_key(name)
        true(isinstance(blob, bytes) and len(blob) > 100, f"backup is {blob!r}")
    with hsm.step("restore over a key, and over a deleted one, is refused"):
        refused(lambda: keys.restore_key_backup(blob), 409, "Conflict", "", kind=ResourceExistsError)
        keys.begin_delete_key(name).wait()
        refused(lambda: keys.restore_key_backup(blob), 409, "Conflict", "", inner="ObjectIsDeletedButRecoverable", kind=ResourceExistsError)
        officer.purge_deleted_key(name)
    with hsm.step("restore of what is no backup is refused"):
        changed = bytearray(blob)
        changed[len(blob) // 2] ^= 1
        for bad in (bytes(changed), blob[:-1], blob + b"\0", b"no backup"):
            refused(lambda bad=bad: keys.restore_key_backup(bad), 400, "BadParameter")
        refused(lambda: keys.get_key(name), 404, "KeyNotFound", name, kind=ResourceNotFoundError)
    with hsm.step("restore brings every version, with its attributes, tags and material"):
        same(keys.restore_key_backup(blob).id, versions[-1].id, "restored key")
        same({p.id: p.tags for p in keys.list_properties_of_key_versions(name)}, {k.id: k.properties.tags for k in versions}, "versions")
        same([keys.get_key(name, k.properties.version).properties.enabled for k in versions], [False, True, True], "enabled")
        with hsm.wire.remote("verify"):
            true(hsm.remote(versions[1]).verify("ES256", digest, before).is_valid, "the old signature does not verify")
        made = hsm.remote(versions[1]).sign("ES256", digest).signature
        true(local.verifies(local.public_key(versions[1].key), "ES256", digest, made), "a new signature does not verify under the old public key")


def rotation(hsm: Target) -> None:
    name, keys = hsm.name("rotated"), hsm.keys
    first = keys.create_rsa_key(name, size=3072, tags={"a": "b"}, key_operations=["sign", "verify"])
    with hsm.step("a key without a rotation policy"):
        policy = keys.get_key_rotation_policy(name)
        same((policy.lifetime_actions or [], policy.expires_in), ([], None), "policy")
    for action, expiry in (({"time_before_expiry": "P30D"}, "P90D"), ({"time_after_create": "P2M"}, "P1Y6M"), ({"time_after_create": "P40D"}, None)):
        with hsm.step(f"update rotation policy to {action}, expiry {expiry}"):
            wanted = KeyRotationPolicy(lifetime_actions=[KeyRotationLifetimeAction(KeyRotationPolicyAction.rotate, **action)], expires_in=expiry)
            for got in (keys.update_key_rotation_policy(name, wanted), keys.get_key_rotation_policy(name)):
                same((got.id, got.expires_in), (f"{hsm.url}/keys/{name}/rotationpolicy", expiry), "policy")
                same([vars(a) for a in got.lifetime_actions], [vars(a) for a in wanted.lifetime_actions], "actions")
                true(got.created_on and got.updated_on and got.updated_on >= got.created_on, "dates of the policy")
    with hsm.step("lifetime_actions and expires_in given beside a policy count"):
        action = KeyRotationLifetimeAction(KeyRotationPolicyAction.rotate, time_before_expiry="P28D")
        got = keys.update_key_rotation_policy(name, KeyRotationPolicy(), lifetime_actions=[action], expires_in="P100D")
        same((got.expires_in, [vars(a) for a in got.lifetime_actions]), ("P100D", [vars(action)]), "policy")
    with hsm.step("rotate: a new version like the first, that expires as the policy says"):
        second = keys.rotate_key(name)
        true(second.id != first.id and second.key.n != first.key.n, "rotation made no new material")
        same((second.key_type, len(second.key.n), set(second.key_operations), second.properties.tags), (first.key_type, 384, {"sign", "verify"}, {"a": "b"}), "rotated key")
        same(second.properties.expires_on - second.properties.created_on, timedelta(days=100), "life of the new version")
        same(keys.get_key(name).id, second.id, "newest version")
    with hsm.step("policies out of bounds are refused"):
        for action, expiry in (({"time_after_create": "P1D"}, None), ({"time_before_expiry": "P30D"}, None), ({"time_before_expiry": "P80D"}, "P90D"), ({"time_after_create": "P40D"}, "P3D"), ({"time_after_create": "monthly"}, None), ({}, "P90D")):
            bad = KeyRotationPolicy(lifetime_actions=[KeyRotationLifetimeAction(KeyRotationPolicyAction.rotate, **action)], expires_in=expiry)
            refused(lambda bad=bad: keys.update_key_rotation_policy(name, bad), 400, "BadParameter")
        notify = KeyRotationPolicy(lifetime_actions=[KeyRotationLifetimeAction(KeyRotationPolicyAction.notify, time_before_expiry="P30D")], expires_in="P90D")
        refused(lambda: keys.update_key_rotation_policy(name, notify), 400, "BadParameter", "(?i)notify")
    with hsm.step("a blank policy removes it; then rotate is refused"):
        keys.update_key_rotation_policy(name, KeyRotationPolicy())
        same((keys.get_key_rotation_policy(name).lifetime_actions or []), [], "actions")
        refused(lambda: keys.rotate_key(name), 400, "BadParameter", "policy")
    with hsm.step("rotation of a key that is not there"):
        for call in (keys.get_key_rotation_policy, keys.rotate_key):
            refused(lambda call=call: call(hsm.name("none")), 404, "KeyNotFound", kind=ResourceNotFoundError)


def random_bytes(hsm: Target) -> None:
    with hsm.step("random bytes: 1 to 128, never the same"):
        for count in (1, 16, 127, 128):
            same(len(hsm.keys.get_random_bytes(count)), count, "length")
        true(hsm.keys.get_random_bytes(32) != hsm.keys.get_random_bytes(32), "the same bytes twice")
    with hsm.step("129 random bytes are refused"):
        refused(lambda: hsm.keys.get_random_bytes(129), 400, "BadParameter", "128")
        raises(ValueError, "At least one", lambda: hsm.keys.get_random_bytes(0))
