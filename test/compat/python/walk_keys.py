"""Create, get, update and list."""

from __future__ import annotations

from datetime import datetime, timedelta, timezone

from azure.keyvault.keys import KeyCurveName, KeyOperation, KeyProperties, KeyType, KeyVaultKey, KeyVaultKeyIdentifier

import local
from harness import same, true
from target import Target

RSA_SIZES = (2048, 3072, 4096)
EXPONENTS = (3, 17, 257, 65537)
OCT_SIZES = (128, 192, 256)
RSA_OPS = {"encrypt", "decrypt", "sign", "verify", "wrapKey", "unwrapKey"}
EC_OPS = {"sign", "verify"}
PRIVATE = ("d", "p", "q", "dp", "dq", "qi", "k", "t")


def check_key(hsm: Target, key: KeyVaultKey, name: str, kty: KeyType, ops: set[str]) -> None:
    """What every answer with a key must have."""
    version = hsm.check_id(key.id, name)
    same((key.name, key.properties.name, key.properties.version, key.properties.vault_url), (name, name, version, hsm.url), "names")
    same(KeyVaultKeyIdentifier(key.id).version, version, "version of the parsed id")
    same(key.key_type, kty, "kty")
    same(set(key.key_operations), ops, "key_ops")
    for part in PRIVATE:
        same(getattr(key.key, part), None, f"secret part {part}")
    check_properties(key.properties)


def check_properties(p: KeyProperties) -> None:
    now = datetime.now(timezone.utc)
    for what, when in (("created", p.created_on), ("updated", p.updated_on)):
        true(when and timedelta(0) <= now - when + timedelta(seconds=2) < timedelta(hours=1), f"{what} is {when}")
    true(p.recoverable_days in range(7, 91), f"recoverableDays is {p.recoverable_days}")
    true(p.recovery_level in ("Recoverable+Purgeable", "CustomizedRecoverable+Purgeable"), f"recoveryLevel is {p.recovery_level}")
    same(p.recovery_level.startswith("Customized"), p.recoverable_days < 90, "customized level")
    same(p.hsm_platform, "0", "hsmPlatform")
    true(not p.managed, "managed")


def create(hsm: Target) -> None:
    for size in RSA_SIZES:
        with hsm.step(f"create RSA-HSM {size}"):
            key = hsm.keys.create_rsa_key(hsm.name(f"rsa{size}"), size=size, hardware_protected=True)
            check_key(hsm, key, hsm.name(f"rsa{size}"), KeyType.rsa_hsm, RSA_OPS)
            same((len(key.key.n), key.key.e), (size // 8, b"\x01\x00\x01"), "modulus bytes and exponent")
    for exponent in EXPONENTS:
        with hsm.step(f"create RSA-HSM with exponent {exponent}"):
            key = hsm.keys.create_rsa_key(hsm.name(f"e{exponent}"), size=2048, public_exponent=exponent, hardware_protected=True)
            same(local.integer(key.key.e), exponent, "public exponent")
    with hsm.step("create RSA without size: an RSA-HSM key of 2048 bits"):
        key = hsm.keys.create_rsa_key(hsm.name("rsa"))
        check_key(hsm, key, hsm.name("rsa"), KeyType.rsa_hsm, RSA_OPS)
        same(len(key.key.n), 256, "modulus bytes")
    for curve in KeyCurveName:
        with hsm.step(f"create EC-HSM {curve.value}"):
            name = hsm.name(f"ec{curve.value}")
            key = hsm.keys.create_ec_key(name, curve=curve, hardware_protected=True)
            check_key(hsm, key, name, KeyType.ec_hsm, EC_OPS)
            same((key.key.crv, len(key.key.x), len(key.key.y)), (curve, local.width(curve.value), local.width(curve.value)), "curve and widths")
            local.public_key(key.key)  # refuses a point off the curve
    with hsm.step("create EC without curve: P-256"):
        key = hsm.keys.create_ec_key(hsm.name("ec"))
        check_key(hsm, key, hsm.name("ec"), KeyType.ec_hsm, EC_OPS)
        same(key.key.crv, KeyCurveName.p_256, "curve")
    for size in OCT_SIZES:
        with hsm.step(f"create oct-HSM {size}"):
            ops = [KeyOperation.wrap_key, KeyOperation.unwrap_key]
            key = hsm.keys.create_oct_key(hsm.name(f"oct{size}"), size=size, hardware_protected=True, key_operations=ops)
            check_key(hsm, key, hsm.name(f"oct{size}"), KeyType.oct_hsm, {"wrapKey", "unwrapKey"})
    with hsm.step("create oct without size"):
        check_key(hsm, hsm.keys.create_oct_key(hsm.name("oct")), hsm.name("oct"), KeyType.oct_hsm, RSA_OPS)
    with hsm.step("create_key with kty, operations, dates and tags"):
        name, begin = hsm.name("full"), datetime(2031, 2, 3, 4, 5, 6, tzinfo=timezone.utc)
        tags = {"owner": "finance", "ünï": "🔑" * 128}
        key = hsm.keys.create_key(name, KeyType.ec_hsm, curve="P-384", key_operations=["verify"], enabled=False, tags=tags, not_before=begin, expires_on=begin + timedelta(days=1))
        check_key(hsm, key, name, KeyType.ec_hsm, {"verify"})
        p = key.properties
        same((p.enabled, p.tags, p.not_before, p.expires_on, p.exportable), (False, tags, begin, begin + timedelta(days=1), False), "what was asked for")


def get(hsm: Target) -> None:
    name = hsm.name("versions")
    with hsm.step("a second create makes a second version; get the newest and each"):
        first = hsm.keys.create_ec_key(name, tags={"n": "1"})
        second = hsm.keys.create_ec_key(name, tags={"n": "2"})
        true(first.id != second.id and first.key.x != second.key.x, "the second version is the first")
        same(hsm.keys.get_key(name).id, second.id, "newest")
        same(hsm.keys.get_key(name, "").id, second.id, "version empty")
        for want in (first, second):
            got = hsm.keys.get_key(name, want.properties.version)
            same((got.id, got.key.x, got.properties.tags), (want.id, want.key.x, want.properties.tags), "version")
    with hsm.step("update dates, operations, tags and enabled of one version"):
        v, begin = first.properties.version, datetime(2031, 1, 1, tzinfo=timezone.utc)
        got = hsm.keys.update_key_properties(name, v, key_operations=["sign"], enabled=False, tags={"a": "b"}, not_before=begin, expires_on=begin + timedelta(days=9))
        for got in (got, hsm.keys.get_key(name, v)):
            p = got.properties
            same((set(got.key_operations), p.enabled, p.tags, p.not_before, p.expires_on), ({"sign"}, False, {"a": "b"}, begin, begin + timedelta(days=9)), "what was asked for")
        same(hsm.keys.get_key(name).properties.tags, {"n": "2"}, "tags of the other version")
    with hsm.step("update without a version changes the newest; what is not named stays"):
        got = hsm.keys.update_key_properties(name, tags={})
        same((got.id, got.properties.tags or {}, got.properties.enabled, set(got.key_operations)), (second.id, {}, True, EC_OPS), "updated key")
    with hsm.step("get_cryptography_client of a key client, by name and by version"):
        digest = local.digest("ES256", b"signed")
        for version, want in ((None, second.id), (second.properties.version, second.id)):
            client = hsm.keys.get_cryptography_client(name, key_version=version)
            with hsm.wire.remote("sign"):
                made = client.sign("ES256", digest)
            true(local.verifies(local.public_key(second.key), "ES256", digest, made.signature), "signature")
            same(made.key_id, want, "key id of the result")


def lists(hsm: Target) -> None:
    name, many = hsm.name("paged"), 27
    with hsm.step(f"{many} versions over two pages, and over pages of 5"):
        ids = [hsm.keys.create_ec_key(name).id for _ in range(many)]
        pages = [[i.id for i in page] for page in hsm.keys.list_properties_of_key_versions(name).by_page()]
        same(([len(p) for p in pages], sorted(sum(pages, []))), ([25, many - 25], sorted(ids)), "pages")
        pages = [list(page) for page in hsm.keys.list_properties_of_key_versions(name, max_page_size=5).by_page()]
        same([len(p) for p in pages], [5, 5, 5, 5, 5, 2], "lengths of pages")
    with hsm.step("a continuation token goes on where another client stopped"):
        first = hsm.keys.list_properties_of_key_versions(name, max_page_size=10).by_page()
        seen = [i.id for i in next(first)]
        for page in hsm.speaking(hsm.keys.api_version).list_properties_of_key_versions(name, max_page_size=10).by_page(first.continuation_token):
            seen += [i.id for i in page]
        same(sorted(seen), sorted(ids), "versions")
    names = [hsm.name(f"many{i:02}") for i in range(many)]
    with hsm.step(f"{many} keys in the list of keys, without versions"):
        for n in names:
            hsm.keys.create_ec_key(n, tags={"n": n})
        listed = {p.name: p for p in hsm.keys.list_properties_of_keys()}
        for n in names:
            p = listed[n]
            same((p.id, p.version, p.tags, p.enabled), (f"{hsm.url}/keys/{n}", None, {"n": n}, True), "item")
            check_properties(p)
        true(len(list(hsm.keys.list_properties_of_keys(max_page_size=1))) == len(listed), "the list of pages of 1")
    with hsm.step(f"{many} keys in the list of deleted keys"):
        for n in names:
            hsm.keys.begin_delete_key(n)
        deleted = {d.name: d for d in hsm.officer.list_deleted_keys(max_page_size=20)}
        for n in names:
            d = deleted[n]
            same((d.recovery_id, d.scheduled_purge_date - d.deleted_date), (f"{hsm.url}/deletedkeys/{n}", timedelta(days=d.properties.recoverable_days)), "item")
        true(not set(names) & {p.name for p in hsm.keys.list_properties_of_keys()}, "deleted keys in the list of keys")
        for n in names:
            hsm.officer.purge_deleted_key(n)
        true(not set(names) & {d.name for d in hsm.officer.list_deleted_keys()}, "purged keys in the list of deleted keys")
