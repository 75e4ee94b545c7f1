"""What this program leaves for the others, and how it checks what they left. The format is told in ../README.md."""

from __future__ import annotations

import base64
import json
import os
from pathlib import Path
from typing import Any

from azure.keyvault.keys import JsonWebKey, KeyVaultKey
from azure.keyvault.keys.crypto import EncryptionAlgorithm

import local
from harness import same, true
from target import Target
from walk_crypto import EC_SIGN, HMACS, RSA_SIGN, flipped

BYTES = ("n", "e", "x", "y", "data", "digest", "signature", "plaintext", "ciphertext", "iv", "tag", "aad")


def path(program: str) -> Path:
    return Path(os.environ["REDOUBT_COMPAT_DIR"], "artefacts", f"{program}.jsonl")


def encode(fields: dict[str, Any]) -> dict[str, Any]:
    """Byte strings become base64url without padding; what is None or empty is left out."""

    def text(v: Any) -> Any:
        if isinstance(v, dict):
            return encode(v)
        return base64.urlsafe_b64encode(v).rstrip(b"=").decode() if isinstance(v, bytes) else v

    return {k: text(v) for k, v in fields.items() if v}


def decode(fields: dict[str, Any]) -> dict[str, Any]:
    def value(k: str, v: Any) -> Any:
        if isinstance(v, dict):
            return decode(v)
        return local.unbase64(v) if k in BYTES else v

    return {k: value(k, v) for k, v in fields.items()}


def write(hsm: Target) -> None:
    made: list[dict[str, Any]] = []

    def note(kind: str, key: KeyVaultKey, alg: str, **rest: Any) -> None:
        hsm.kept.add(key.name)
        made.append({"kind": kind, "program": os.environ["REDOUBT_COMPAT_PROGRAM"], "kid": key.id, "alg": alg, **rest})

    with hsm.step("signatures for the other programs"):
        rsa = hsm.keys.create_rsa_key(hsm.name("kept-rsa"), size=2048)
        signers = [(rsa, a) for a in RSA_SIGN]
        signers += [(hsm.keys.create_ec_key(hsm.name(f"kept-{c}"), curve=c), local.CURVE_ALGORITHMS[c]) for c in local.CURVES]
        signers += [(hsm.keys.create_oct_key(hsm.name(f"kept-mac{size}"), size=size, key_operations=["sign", "verify"]), a) for size, a in HMACS.items()]
        for key, alg in signers:
            data = os.urandom(32)
            digest = local.digest(alg, data)
            jwk = {"kty": key.key.kty.value.removesuffix("-HSM")} | {f: getattr(key.key, f) for f in ("n", "e", "crv", "x", "y")}
            note("signature", key, alg, jwk=jwk if jwk["kty"] != "oct" else None, data=None if alg == "RSNULL" else data, digest=digest, signature=hsm.remote(key).sign(alg, digest).signature)
    with hsm.step("ciphertexts and wrapped keys for the other programs"):
        for alg in ("RSA-OAEP", "RSA-OAEP-256", "RSA1_5"):  # made outside: only the service opens them
            for op in ("encrypt", "wrap"):
                text = os.urandom(32)
                note("ciphertext", rsa, alg, op=op, plaintext=text, ciphertext=local.rsa_encrypt(local.public_key(rsa.key), alg, text))
        for size in (128, 192, 256):
            key = hsm.keys.create_oct_key(hsm.name(f"kept-aes{size}"), size=size)
            client, text, aad = hsm.remote(key), os.urandom(48), b"associated data"
            for alg, extra in ((f"A{size}GCM", {"additional_authenticated_data": aad}), (f"A{size}CBC", {"iv": os.urandom(16)}), (f"A{size}CBCPAD", {"iv": os.urandom(16)})):
                out = client.encrypt(EncryptionAlgorithm(alg), text, **extra)
                note("ciphertext", key, alg, op="encrypt", plaintext=text, ciphertext=out.ciphertext, iv=out.iv, tag=out.tag, aad=extra.get("additional_authenticated_data"))
            for alg in (f"A{size}KW", "CKM_AES_KEY_WRAP", "CKM_AES_KEY_WRAP_PAD"):
                note("ciphertext", key, alg, op="wrap", plaintext=text[:32], ciphertext=client.wrap_key(alg, text[:32]).encrypted_key)
    path(os.environ["REDOUBT_COMPAT_PROGRAM"]).write_text("".join(json.dumps(encode(a)) + "\n" for a in made), encoding="utf-8")


def verify(hsm: Target) -> None:
    """Everything that every program of this run left, one step for each program and kind."""
    for program in os.environ["REDOUBT_COMPAT_PROGRAMS"].split(","):
        left = [decode(json.loads(line)) for line in path(program).read_text(encoding="utf-8").splitlines()]
        same({a["program"] for a in left}, {program}, f"programs in the file of {program}")
        for kind, check in (("signature", signature), ("ciphertext", ciphertext)):
            found = [a for a in left if a["kind"] == kind]
            with hsm.step(f"{len(found)} times {kind} of {program}"):
                true(found, f"{program} left none")
                for a in found:
                    check(hsm, a)
        same({a["kind"] for a in left}, {"signature", "ciphertext"}, "kinds")


def signature(hsm: Target, a: dict[str, Any]) -> None:
    alg, what = a["alg"], f"{a['alg']} of {a['kid']}"
    if "jwk" in a:
        public = local.public_key(JsonWebKey(**a["jwk"]))
        valid = lambda digest: local.verifies(public, alg, digest, a["signature"])
    else:
        client = hsm.crypto(KeyVaultKey(a["kid"], jwk={"kty": "oct-HSM"}))
        valid = lambda digest: client.verify(alg, digest, a["signature"]).is_valid
    true(alg in RSA_SIGN + EC_SIGN + list(HMACS.values()), f"{what} is unknown")
    true(alg == "RSNULL" or local.digest(alg, a["data"]) == a["digest"], f"the digest of {what} is not that of its data")
    true(valid(a["digest"]), f"{what} does not verify")
    true(not valid(flipped(a["digest"])), f"{what} verifies for another digest")


def ciphertext(hsm: Target, a: dict[str, Any]) -> None:
    alg = a["alg"]
    # A key without key_ops, so that the library asks the service; of which type matters to it no further.
    client = hsm.crypto(KeyVaultKey(a["kid"], jwk={"kty": "oct-HSM"}))
    if a["op"] == "wrap":
        got = client.unwrap_key(alg, a["ciphertext"]).key
    else:
        got = client.decrypt(EncryptionAlgorithm(alg), a["ciphertext"], iv=a.get("iv"), authentication_tag=a.get("tag"), additional_authenticated_data=a.get("aad")).plaintext
    same(got, a["plaintext"], f"{alg} of {a['kid']}")
