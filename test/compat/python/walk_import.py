"""Import of material of every type, as JWK and as a BYOK transfer blob. What is known outside can be checked outside:
the imported keys are used with both hands, the service's and pyca/cryptography's."""

from __future__ import annotations

import base64
import json
import os
from typing import Any

from azure.keyvault.keys import JsonWebKey, KeyType, KeyVaultKey
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.keywrap import aes_key_wrap_with_padding

import local
from harness import refused, same, true
from target import Target
from walk_keys import EC_OPS, OCT_SIZES, RSA_OPS, RSA_SIZES, check_key


def asymmetric(hsm: Target) -> None:
    for size in RSA_SIZES:
        for exponent in (65537, 3) if size == 2048 else (65537,):
            with hsm.step(f"import RSA {size} with exponent {exponent}"):
                name, private = hsm.name(f"import-rsa{size}-{exponent}"), rsa.generate_private_key(exponent, size)
                jwk = JsonWebKey(kty="RSA", key_ops=sorted(RSA_OPS), **local.rsa_jwk(private))
                key = hsm.keys.import_key(name, jwk, hardware_protected=True, tags={"from": "outside"})
                check_key(hsm, key, name, KeyType.rsa_hsm, RSA_OPS)
                same((key.key.n, key.key.e, key.properties.tags), (jwk.n, jwk.e, {"from": "outside"}), "imported key")
                both_hands(hsm, key, private)
    for curve in local.CURVES:
        with hsm.step(f"import EC {curve}"):
            name, private = hsm.name(f"import-{curve}"), ec.generate_private_key(local.CURVES[curve])
            key = hsm.keys.import_key(name, JsonWebKey(kty="EC-HSM", key_ops=sorted(EC_OPS), **local.ec_jwk(private, curve)))
            check_key(hsm, key, name, KeyType.ec_hsm, EC_OPS)
            both_hands(hsm, key, private)


def both_hands(hsm: Target, key: KeyVaultKey, private: Any) -> None:
    """Signatures and ciphertexts of the one are opened by the other."""
    client, is_ec = hsm.remote(key), isinstance(private, ec.EllipticCurvePrivateKey)
    for algorithm in [local.CURVE_ALGORITHMS[key.key.crv]] if is_ec else ["RS256", "PS512", "RSNULL"]:
        digest = local.digest(algorithm, os.urandom(40))
        true(client.verify(algorithm, digest, local.signature_by(private, algorithm, digest)).is_valid, f"a local {algorithm} signature is not valid in the service")
        true(local.verifies(private.public_key(), algorithm, digest, client.sign(algorithm, digest).signature), f"{algorithm} of the service is not valid outside")
    if not is_ec:
        secret = os.urandom(32)
        same(local.rsa_decrypt(private, "RSA-OAEP-256", client.wrap_key("RSA-OAEP-256", secret).encrypted_key), secret, "unwrapped outside")
        same(client.unwrap_key("RSA-OAEP-256", local.rsa_encrypt(private.public_key(), "RSA-OAEP-256", secret)).key, secret, "unwrapped inside")


def symmetric(hsm: Target) -> None:
    for size in OCT_SIZES:
        with hsm.step(f"import oct {size}; wrapped outside, unwrapped inside, and the reverse"):
            name, k = hsm.name(f"import-oct{size}"), os.urandom(size // 8)
            key = hsm.keys.import_key(name, JsonWebKey(kty="oct-HSM", key_ops=["wrapKey", "unwrapKey"], k=k))
            check_key(hsm, key, name, KeyType.oct_hsm, {"wrapKey", "unwrapKey"})
            client, secret, algorithm = hsm.remote(key), os.urandom(32), f"A{size}KW"
            same(local.aes_unwrap(k, algorithm, client.wrap_key(algorithm, secret).encrypted_key), secret, "unwrapped outside")
            same(client.unwrap_key(algorithm, local.aes_wrap(k, algorithm, secret)).key, secret, "unwrapped inside")


def transfer_blob(kek: KeyVaultKey, material: bytes) -> bytes:
    """CKM_RSA_AES_KEY_WRAP: a fresh AES key under RSA-OAEP with SHA-1, then the material under it (RFC 5649)."""
    aes = os.urandom(32)
    sealed = local.rsa_encrypt(local.public_key(kek.key), "RSA-OAEP", aes) + aes_key_wrap_with_padding(aes, material)
    header = {"kid": kek.id, "alg": "dir", "enc": "CKM_RSA_AES_KEY_WRAP"}
    ciphertext = base64.urlsafe_b64encode(sealed).rstrip(b"=").decode()
    return json.dumps({"schema_version": "1.0.0", "header": header, "ciphertext": ciphertext, "generator": "compat"}).encode()


def byok(hsm: Target) -> None:
    with hsm.step("a key-exchange key: RSA with key_ops import and nothing else"):
        kek = hsm.keys.create_rsa_key(hsm.name("kek"), size=3072, hardware_protected=True, key_operations=["import"])
        same(set(kek.key_operations), {"import"}, "key_ops")
        refused(lambda: hsm.remote(kek).sign("RS256", bytes(32)), 403, "Forbidden", "not permitted", inner="KeyOperationForbidden")
    der = (serialization.Encoding.DER, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    privates = {"RSA-HSM": rsa.generate_private_key(65537, 2048), "EC-HSM": ec.generate_private_key(local.CURVES["P-384"])}
    for kty, private in privates.items():
        with hsm.step(f"import {kty} by transfer blob"):
            ops = sorted(EC_OPS if kty == "EC-HSM" else RSA_OPS)
            jwk = JsonWebKey(kty=kty, key_ops=ops, t=transfer_blob(kek, private.private_bytes(*der)), crv="P-384" if kty == "EC-HSM" else None)
            key = hsm.keys.import_key(hsm.name("byok-" + kty), jwk, hardware_protected=True)
            same(local.public_key(key.key).public_numbers(), private.public_key().public_numbers(), "public key")
            both_hands(hsm, key, private)
    with hsm.step("import oct-HSM by transfer blob"):
        k, secret = os.urandom(32), os.urandom(32)
        jwk = JsonWebKey(kty="oct-HSM", key_ops=["wrapKey", "unwrapKey"], t=transfer_blob(kek, k))
        key = hsm.keys.import_key(hsm.name("byok-oct"), jwk, hardware_protected=True)
        same(local.aes_unwrap(k, "A256KW", hsm.remote(key).wrap_key("A256KW", secret).encrypted_key), secret, "unwrapped outside")
    with hsm.step("a damaged transfer blob is refused"):
        good = json.loads(transfer_blob(kek, os.urandom(32)))
        for change in ({"schema_version": "9"}, {"ciphertext": "AAAA"}, {"header": good["header"] | {"enc": "none"}}, {"header": good["header"] | {"kid": hsm.url + "/keys/none"}}):
            jwk = JsonWebKey(kty="oct-HSM", key_ops=["wrapKey"], t=json.dumps(good | change).encode())
            refused(lambda jwk=jwk: hsm.keys.import_key(hsm.name("byok-bad"), jwk), 400, "BadParameter")


def bad(hsm: Target) -> None:
    name, r, other = hsm.name("import-bad"), rsa.generate_private_key(65537, 2048), rsa.generate_private_key(65537, 2048)
    e = local.ec_jwk(ec.generate_private_key(local.CURVES["P-256"]), "P-256")
    good = local.rsa_jwk(r)
    cases: dict[str, dict[str, Any]] = {
        "RSA whose n is another key's": {"kty": "RSA"} | good | {"n": local.rsa_jwk(other)["n"]},
        "RSA with exponent 1": {"kty": "RSA"} | good | {"e": b"\x01"},
        "RSA with an even exponent": {"kty": "RSA"} | good | {"e": b"\x04"},
        "RSA without private parts": {"kty": "RSA", "n": good["n"], "e": good["e"]},
        "RSA of 1024 bits": {"kty": "RSA"} | local.rsa_jwk(rsa.generate_private_key(65537, 1024)),
        "EC off the curve": {"kty": "EC"} | e | {"y": e["x"]},
        "EC whose d is another key's": {"kty": "EC"} | e | {"d": b"\x01" * 32},
        "EC without a curve": {"kty": "EC", "x": e["x"], "y": e["y"], "d": e["d"]},
        "oct of 64 bits": {"kty": "oct", "k": bytes(8)},
        "oct without k": {"kty": "oct"},
    }
    for what, parts in cases.items():
        with hsm.step(f"import is refused: {what}"):
            refused(lambda: hsm.keys.import_key(name, JsonWebKey(**parts)), 400, "BadParameter")
    with hsm.step("nothing of it was stored"):
        true(name not in {p.name for p in hsm.keys.list_properties_of_keys()}, "there is a key")
