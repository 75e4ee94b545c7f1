"""Every algorithm that the library knows, done by the service and checked outside, and the reverse."""

from __future__ import annotations

import os
from typing import Any

from azure.keyvault.keys import JsonWebKey, KeyVaultKey
from azure.keyvault.keys.crypto import CryptographyClient, EncryptionAlgorithm, KeyWrapAlgorithm, SignatureAlgorithm

import local
from harness import refused, same, true
from target import Target
from walk_keys import OCT_SIZES, RSA_SIZES

# RSNULL is on the wire, but not in the library's enumeration; it takes plain strings too.
RSA_SIGN = [a.value for a in SignatureAlgorithm if a.value[:2] in ("PS", "RS")] + ["RSNULL"]
RSA_ENCRYPT = [a.value for a in EncryptionAlgorithm if a.value.startswith("RSA")]
RSA_WRAP = [a.value for a in KeyWrapAlgorithm if a.value.startswith("RSA")]
EC_SIGN = [a.value for a in SignatureAlgorithm if a.value.startswith("ES")]
HMACS = {256: "HS256", 192: "HS384", 128: "HS512"}


def flipped(b: bytes) -> bytes:
    """b with its last bit turned over."""
    return b[:-1] + bytes([b[-1] ^ 1])


def signatures(hsm: Target, key: KeyVaultKey, algorithm: str) -> None:
    """Sign in the service, verify in it and outside; nothing else verifies."""
    client, public = hsm.remote(key), local.public_key(key.key)
    digest = local.digest(algorithm, os.urandom(50))
    with hsm.wire.remote("sign"):
        made = client.sign(algorithm, digest)
    same((made.key_id, made.algorithm), (key.id, algorithm), "result")
    true(local.verifies(public, algorithm, digest, made.signature), "the signature is not valid outside")
    with hsm.wire.remote("verify"):
        true(client.verify(algorithm, digest, made.signature).is_valid, "the signature is not valid in the service")
    for what, d, s in (
        ("another digest", flipped(digest), made.signature),
        ("a changed signature", digest, flipped(made.signature)),
        ("a cut signature", digest, made.signature[:-1]),
    ):
        same(client.verify(algorithm, d, s).is_valid, False, f"verify with {what}")
    for length in [len(digest) - 1, len(digest) + 1] if algorithm != "RSNULL" else []:
        refused(lambda length=length: client.sign(algorithm, bytes(length)), 400, "BadParameter", str(len(digest)))


def rsa(hsm: Target) -> None:
    for size in RSA_SIZES:
        key = hsm.keys.create_rsa_key(hsm.name(f"crypto-rsa{size}"), size=size)
        client, public = hsm.remote(key), local.public_key(key.key)
        sign, encrypt, wrap_ = (RSA_SIGN, RSA_ENCRYPT, RSA_WRAP) if size == 2048 else (["RS512", "PS384"], ["RSA-OAEP-256"], ["RSA1_5"])
        for algorithm in sign:
            with hsm.step(f"sign and verify {algorithm} with RSA {size}"):
                signatures(hsm, key, algorithm)
        for algorithm in encrypt:
            with hsm.step(f"encrypt and decrypt {algorithm} with RSA {size}"):
                text = os.urandom(100)
                with hsm.wire.remote("decrypt"):
                    same(client.decrypt(algorithm, local.rsa_encrypt(public, algorithm, text)).plaintext, text, "what was encrypted outside")
                with hsm.wire.remote("encrypt"):
                    made = client.encrypt(algorithm, text)
                same((made.key_id, made.algorithm, len(made.ciphertext)), (key.id, algorithm, size // 8), "result")
                same(client.decrypt(algorithm, made.ciphertext).plaintext, text, "what the service encrypted")
                refused(lambda c=made.ciphertext: client.decrypt(algorithm, flipped(c)), 400, "BadParameter")
                refused(lambda: client.encrypt(algorithm, bytes(size // 8)), 400, "BadParameter")
        for algorithm in wrap_:
            with hsm.step(f"wrap and unwrap {algorithm} with RSA {size}"):
                secret = os.urandom(32)
                with hsm.wire.remote("unwrapkey"):
                    same(client.unwrap_key(algorithm, local.rsa_encrypt(public, algorithm, secret)).key, secret, "what was wrapped outside")
                with hsm.wire.remote("wrapkey"):
                    made = client.wrap_key(algorithm, secret)
                same(client.unwrap_key(algorithm, made.encrypted_key).key, secret, "what the service wrapped")
                refused(lambda c=made.encrypted_key: client.unwrap_key(algorithm, flipped(c)), 400, "BadParameter")


def curves(hsm: Target) -> None:
    for curve, algorithm in local.CURVE_ALGORITHMS.items():
        with hsm.step(f"sign and verify {algorithm} with {curve}"):
            key = hsm.keys.create_ec_key(hsm.name(f"crypto-{curve}"), curve=curve)
            for _ in range(3):  # r and s with leading zeros come up now and then; they keep their width
                signatures(hsm, key, algorithm)
        with hsm.step(f"{curve} refuses the algorithms of other curves and types"):
            for other in EC_SIGN + ["RS256"]:
                if other != algorithm:
                    digest = bytes(local.hash_of(other).digest_size)
                    refused(lambda other=other, digest=digest: hsm.remote(key).sign(other, digest), 400, "BadParameter", algorithm)


def imported_oct(hsm: Target, size: int, ops: list[str]) -> tuple[KeyVaultKey, bytes]:
    k = os.urandom(size // 8)
    return hsm.keys.import_key(hsm.name(f"crypto-oct{size}"), JsonWebKey(kty="oct-HSM", key_ops=ops, k=k)), k


def aes(hsm: Target) -> None:
    for size in OCT_SIZES:
        key, k = imported_oct(hsm, size, ["encrypt", "decrypt", "wrapKey", "unwrapKey"])
        client = hsm.remote(key)
        for algorithm in (f"A{size}CBC", f"A{size}CBCPAD"):
            with hsm.step(f"encrypt and decrypt {algorithm}"):
                cbc(client, k, algorithm)
        with hsm.step(f"encrypt and decrypt A{size}GCM"):
            gcm(client, k, f"A{size}GCM")
        for algorithm in (f"A{size}KW", "CKM_AES_KEY_WRAP", "CKM_AES_KEY_WRAP_PAD"):
            with hsm.step(f"wrap and unwrap {algorithm} with oct {size}"):
                wrap(client, k, algorithm)
        with hsm.step(f"oct {size} refuses the algorithms of other sizes"):
            for other in OCT_SIZES:
                if other != size:
                    refused(lambda other=other: client.wrap_key(f"A{other}KW", bytes(32)), 400, "BadParameter", str(size))
                    refused(lambda other=other: client.encrypt(EncryptionAlgorithm(f"A{other}GCM"), bytes(32)), 400, "BadParameter", str(size))


def cbc(client: CryptographyClient, k: bytes, name: str) -> None:
    algorithm, iv = EncryptionAlgorithm(name), os.urandom(16)
    for length in (0, 5, 16, 33) if name.endswith("PAD") else (16, 48):
        text = os.urandom(length)
        made = client.encrypt(algorithm, text, iv=iv)
        same((made.ciphertext, made.iv), local.aes_encrypt(k, name, text, iv)[:2], "ciphertext and iv")
        same(client.decrypt(algorithm, made.ciphertext, iv=iv).plaintext, text, "decrypted")
    refused(lambda: client.encrypt(algorithm, bytes(16), iv=bytes(15)), 400, "BadParameter", "16")
    refused(lambda: client.decrypt(algorithm, bytes(15), iv=iv), 400, "BadParameter")
    if name.endswith("PAD"):
        unpadded = local.aes_encrypt(k, name[:-3], bytes(15) + b"\x11", iv)[0]
        refused(lambda: client.decrypt(algorithm, unpadded, iv=iv), 400, "BadParameter")
    else:
        refused(lambda: client.encrypt(algorithm, bytes(15), iv=iv), 400, "BadParameter")


def gcm(client: CryptographyClient, k: bytes, name: str) -> None:
    algorithm, text = EncryptionAlgorithm(name), os.urandom(77)
    ivs = set()
    for aad in (None, b"associated"):
        made = client.encrypt(algorithm, text, additional_authenticated_data=aad)
        same((len(made.iv), len(made.tag), made.aad or None), (12, 16, aad), "iv, tag and aad")
        ivs.add(made.iv)
        same(local.aes_decrypt(k, name, made.ciphertext, made.iv, made.tag, aad or b""), text, "decrypted outside")
        same(client.decrypt(algorithm, made.ciphertext, iv=made.iv, authentication_tag=made.tag, additional_authenticated_data=aad).plaintext, text, "decrypted inside")
        sealed, iv, tag = local.aes_encrypt(k, name, text, aad=aad or b"")
        same(client.decrypt(algorithm, sealed, iv=iv, authentication_tag=tag, additional_authenticated_data=aad).plaintext, text, "encrypted outside")
        for c, i, t, a in ((flipped(sealed), iv, tag, aad), (sealed, flipped(iv), tag, aad), (sealed, iv, flipped(tag), aad), (sealed, iv, tag, b"other"), (sealed, iv, tag[:12], aad)):
            refused(lambda c=c, i=i, t=t, a=a: client.decrypt(algorithm, c, iv=i, authentication_tag=t, additional_authenticated_data=a), 400, "BadParameter")
    same(len(ivs), 2, "different ivs of two encryptions")


def wrap(client: CryptographyClient, k: bytes, algorithm: str) -> None:
    for length in (16, 24, 32, 5, 33) if algorithm.endswith("_PAD") else (16, 24, 32):
        secret = os.urandom(length)
        made = client.wrap_key(KeyWrapAlgorithm(algorithm), secret).encrypted_key
        same(made, local.aes_wrap(k, algorithm, secret), "wrapped key")
        same(client.unwrap_key(KeyWrapAlgorithm(algorithm), made).key, secret, "unwrapped")
        refused(lambda made=made: client.unwrap_key(KeyWrapAlgorithm(algorithm), flipped(made)), 400, "BadParameter")
    if not algorithm.endswith("_PAD"):
        refused(lambda: client.wrap_key(KeyWrapAlgorithm(algorithm), bytes(17)), 400, "BadParameter")


def hmacs(hsm: Target) -> None:
    for size, algorithm in HMACS.items():
        with hsm.step(f"sign and verify {algorithm} with oct {size}"):
            key, k = imported_oct(hsm, size, ["sign", "verify"])
            client, data = hsm.remote(key), local.digest(algorithm, os.urandom(50))
            made = client.sign(algorithm, data)
            same(made.signature, local.mac(k, algorithm, data), "authentication code")
            same([client.verify(algorithm, d, s).is_valid for d, s in ((data, made.signature), (flipped(data), made.signature), (data, flipped(made.signature)))], [True, False, False], "verify")


def every_algorithm_is_walked(_: Any) -> None:
    """A new version of the library may know more algorithms; then this file has something to add."""
    walked = set(RSA_SIGN + RSA_ENCRYPT + RSA_WRAP + EC_SIGN) | set(HMACS.values()) | {"CKM_AES_KEY_WRAP", "CKM_AES_KEY_WRAP_PAD"}
    walked |= {f"A{size}{mode}" for size in OCT_SIZES for mode in ("GCM", "CBC", "CBCPAD", "KW")}
    known = {a.value for kind in (SignatureAlgorithm, EncryptionAlgorithm, KeyWrapAlgorithm) for a in kind}
    same(walked - {"RSNULL"}, known, "algorithms walked")
