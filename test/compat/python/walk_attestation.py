"""Key attestation: evidence that is checked with pyca/cryptography alone, by docs/formats/key-attestation.md."""

from __future__ import annotations

import json
import time
from typing import Any

from azure.core.exceptions import ResourceNotFoundError
from azure.keyvault.keys import KeyAttestation, KeyVaultKey
from cryptography import x509
from cryptography.hazmat.primitives import hashes

import local
from harness import refused, same, true
from target import Target


def statement(blob: bytes, leaf: x509.Certificate) -> dict[str, Any]:
    """The text of a signed statement: "RDA1", its length, itself, and a signature by the leaf."""
    length = local.integer(blob[4:8])
    text, signature = blob[8 : 8 + length], blob[8 + length :]
    same((blob[:4], len(signature)), (b"RDA1", 64), "frame of the statement")
    digest = local.digest("ES256", b"redoubt/attestation/v1/statement\n" + text)
    true(local.verifies(leaf.public_key(), "ES256", digest, signature), "the statement's signature")
    return json.loads(text)


def check(hsm: Target, key: KeyVaultKey, evidence: KeyAttestation | None) -> None:
    assert evidence and evidence.certificate_pem_file and evidence.private_key_attestation
    same(evidence.version, "1.0", "version")
    leaf, root = x509.load_pem_x509_certificates(evidence.certificate_pem_file)
    leaf.verify_directly_issued_by(root)
    root.verify_directly_issued_by(root)
    said = statement(evidence.private_key_attestation, leaf)
    same((said["purpose"], said["key"]), ("private-key", f"/keys/{key.name}/{key.properties.version}"), "purpose and key")
    same((said["kty"], said["origin"], said["exportable"], said["enabled"]), (key.key_type.value, "generated", False, True), "what the key is")
    same(set(said["keyOps"]), set(key.key_operations), "keyOps")
    true(abs(said["time"] - time.time()) < 60, f"time is {said['time']}")
    if key.key_type.value == "oct-HSM":
        same(evidence.public_key_attestation, None, "public part of an oct key")
        return
    public = statement(evidence.public_key_attestation or b"", leaf)
    same((public["purpose"], public["key"], public["thumbprint"]), ("public-key", said["key"], said["thumbprint"]), "public statement")
    jwk = {f: local.unbase64(v) if f != "crv" else v for f, v in public["publicKey"].items() if f != "kty"}
    same(jwk, {f: getattr(key.key, f) for f in jwk}, "public key")
    canonical = json.dumps(public["publicKey"], sort_keys=True, separators=(",", ":")).encode()  # RFC 7638
    h = hashes.Hash(hashes.SHA256())
    h.update(canonical)
    same(local.unbase64(public["thumbprint"]), h.finalize(), "thumbprint")


def attestation(hsm: Target) -> None:
    keys = hsm.keys
    for key in (
        keys.create_rsa_key(hsm.name("attested-rsa"), size=2048),
        keys.create_ec_key(hsm.name("attested-ec"), curve="P-521"),
        keys.create_oct_key(hsm.name("attested-oct"), size=256),
    ):
        with hsm.step(f"attestation of {key.key_type.value}"):
            same(keys.get_key(key.name).properties.attestation, None, "attestation of a plain get")
            for got in (keys.get_key_attestation(key.name), keys.get_key_attestation(key.name, key.properties.version)):
                same((got.id, got.key.n, got.key.x), (key.id, key.key.n, key.key.x), "attested key")
                check(hsm, key, got.properties.attestation)
    with hsm.step("attestation of a key that is not there"):
        refused(lambda: keys.get_key_attestation(hsm.name("none")), 404, "KeyNotFound", kind=ResourceNotFoundError)
