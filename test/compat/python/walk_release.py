"""Secure key release: policies, and a key that leaves the HSM for an environment that the dev cloud's attestation
service vouches for. The answer is verified, opened and used with pyca/cryptography alone (docs/formats/key-release.md)."""

from __future__ import annotations

import base64
import json
import os
from typing import Any

import requests
from azure.core.exceptions import ResourceNotFoundError
from azure.keyvault.keys import JsonWebKey, KeyExportEncryptionAlgorithm, KeyReleasePolicy, KeyVaultKey
from cryptography import x509
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa

import local
from harness import refused, same, true
from target import Target

AUTHORITY = os.environ.get("REDOUBT_ATTESTATION", "")
OAEP = {"CKM_RSA_AES_KEY_WRAP": "RSA-OAEP", "RSA_AES_KEY_WRAP_256": "RSA-OAEP-256", "RSA_AES_KEY_WRAP_384": "RSA-OAEP-384"}


def policy(immutable: bool | None = None, **claims: Any) -> KeyReleasePolicy:
    """Released to environments of the dev cloud's authority that have all these claims."""
    conditions = [{"claim": name, "equals": value} for name, value in claims.items()]
    text = json.dumps({"version": "1.0.0", "anyOf": [{"authority": AUTHORITY, "allOf": conditions}]})
    return KeyReleasePolicy(text.encode(), immutable=immutable)


def attest(environment: rsa.RSAPrivateKey, **claims: Any) -> str:
    """A token that says the claims of the environment that has this key."""
    pem = environment.public_key().public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
    answer = requests.post(f"{AUTHORITY}/generate-test-token", json={"publicKeyPem": pem.decode(), "claims": claims}, timeout=30)
    answer.raise_for_status()
    return answer.json()["token"]


def opened(environment: rsa.RSAPrivateKey, jws: str, key: KeyVaultKey, enc: str, nonce: str | None) -> bytes:
    """The material in an answer, after everything around it was checked."""
    head, payload, signature = jws.split(".")
    header = json.loads(local.unbase64(head))
    leaf, root = (x509.load_der_x509_certificate(base64.b64decode(c)) for c in header["x5c"])
    leaf.verify_directly_issued_by(root)
    digest = local.digest("ES256", f"{head}.{payload}".encode())
    same(header["alg"], "ES256", "alg")
    true(local.verifies(leaf.public_key(), "ES256", digest, local.unbase64(signature)), "signature of the answer")
    said = json.loads(local.unbase64(payload))
    same((said["request"]["enc"], said["request"].get("nonce")), (enc, nonce), "request in the answer")
    jwk = said["response"]["key"]["key"]
    same((jwk["kid"], jwk["kty"]), (key.id, key.key_type.value.removesuffix("-HSM")), "key in the answer")
    for part in ("n", "x"):
        same(local.unbase64(jwk[part]) if part in jwk else None, getattr(key.key, part), part)
    hsm_key = json.loads(local.unbase64(jwk["key_hsm"]))
    same((hsm_key["header"]["alg"], hsm_key["header"]["enc"]), ("dir", enc), "header of key_hsm")
    sealed, size = local.unbase64(hsm_key["ciphertext"]), environment.key_size // 8
    aes = local.rsa_decrypt(environment, OAEP[enc], sealed[:size])
    return local.aes_unwrap(aes, "CKM_AES_KEY_WRAP_PAD", sealed[size:])


def use(hsm: Target, key: KeyVaultKey, material: bytes) -> None:
    """What was released is the key: what is done with it outside is good inside."""
    client = hsm.remote(key)
    if key.key_type.value == "oct-HSM":
        same(client.unwrap_key("A256KW", local.aes_wrap(material, "A256KW", bytes(32))).key, bytes(32), "wrapped outside")
        return
    private: Any = serialization.load_der_private_key(material, None)
    algorithm = "RS256" if key.key_type.value == "RSA-HSM" else local.CURVE_ALGORITHMS[key.key.crv]
    digest = local.digest(algorithm, b"signed outside")
    true(client.verify(algorithm, digest, local.signature_by(private, algorithm, digest)).is_valid, "signed outside")


def released(hsm: Target) -> None:
    keys, environment = hsm.keys, rsa.generate_private_key(65537, 2048)
    token = attest(environment, trusted=True)
    options: dict[str, Any] = {"exportable": True, "release_policy": policy(trusted=True)}
    made = [keys.create_rsa_key(hsm.name("out-rsa"), size=2048, **options), keys.create_oct_key(hsm.name("out-oct"), size=256, **options)]
    made += [keys.create_ec_key(hsm.name(f"out-{c}"), curve=c, **options) for c in local.CURVES]
    for key in made:
        with hsm.step(f"release of {key.name}"):
            p = key.properties
            same((p.exportable, p.release_policy.content_type, bool(p.release_policy.immutable)), (True, "application/json; charset=utf-8", False), "properties")
            same(json.loads(p.release_policy.encoded_policy), json.loads(policy(trusted=True).encoded_policy), "policy")
            use(hsm, key, opened(environment, keys.release_key(key.name, token).value, key, "CKM_RSA_AES_KEY_WRAP", None))
    for algorithm in KeyExportEncryptionAlgorithm:
        with hsm.step(f"release of one version with {algorithm.value} and a nonce"):
            answer = keys.release_key(key.name, token, version=key.properties.version, algorithm=algorithm, nonce="once").value
            use(hsm, key, opened(environment, answer, key, algorithm.value, "once"))
    with hsm.step("release of an imported key gives what was imported"):
        k = os.urandom(32)
        key = keys.import_key(hsm.name("out-imported"), JsonWebKey(kty="oct-HSM", key_ops=["wrapKey"], k=k), **options)
        same(opened(environment, keys.release_key(key.name, token).value, key, "CKM_RSA_AES_KEY_WRAP", None), k, "material")


def policies(hsm: Target) -> None:
    keys, environment, name = hsm.keys, rsa.generate_private_key(65537, 2048), hsm.name("policy")
    first, other = attest(environment, trusted=True), attest(environment, trusted=False, level=3)
    key = keys.create_ec_key(name, exportable=True, release_policy=policy(trusted=True))
    with hsm.step("a token that does not meet the policy, or is none, releases nothing"):
        refused(lambda: keys.release_key(name, other), 403, "Forbidden", "trusted", inner="AccessDenied")
        head, payload, signature = first.split(".")
        forged = ".".join((head, payload, base64.urlsafe_b64encode(bytes(len(local.unbase64(signature)))).rstrip(b"=").decode()))
        refused(lambda: keys.release_key(name, forged), 403, "Forbidden", inner="AccessDenied")
        refused(lambda: keys.release_key(name, "no.token.atall"), 400, "BadParameter", "target")
        refused(lambda: keys.release_key(name, first, algorithm="RSA1_5"), 400, "BadParameter", "CKM_RSA_AES_KEY_WRAP")
    with hsm.step("update of the policy: another environment may have the key"):
        got = keys.update_key_properties(name, release_policy=policy(level=3))
        same(json.loads(got.properties.release_policy.encoded_policy), json.loads(policy(level=3).encoded_policy), "policy")
        use(hsm, key, opened(environment, keys.release_key(name, other).value, key, "CKM_RSA_AES_KEY_WRAP", None))
        refused(lambda: keys.release_key(name, first), 403, "Forbidden", "level", inner="AccessDenied")
    with hsm.step("an immutable policy cannot be changed"):
        same(keys.update_key_properties(name, release_policy=policy(immutable=True, level=3)).properties.release_policy.immutable, True, "immutable")
        refused(lambda: keys.update_key_properties(name, release_policy=policy(level=4)), 400, "BadParameter", "Immutable Key Release Policy cannot be modified")
    with hsm.step("what cannot be released"):
        keys.create_ec_key(hsm.name("inside"))
        refused(lambda: keys.release_key(hsm.name("inside"), first), 403, "Forbidden", "not exportable", inner="KeyOperationForbidden")
        refused(lambda: keys.update_key_properties(hsm.name("inside"), release_policy=policy(level=3)), 400, "BadParameter", "Non-exportable keys must not have release policy")
        refused(lambda: keys.release_key(hsm.name("none"), first), 404, "KeyNotFound", kind=ResourceNotFoundError)
        keys.update_key_properties(name, enabled=False)
        refused(lambda: keys.release_key(name, other), 403, "Forbidden", "(?i)disabled", inner="KeyDisabled")
