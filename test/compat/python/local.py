"""The other side of every operation, done by pyca/cryptography alone: neither the service nor the SDK takes part."""

from __future__ import annotations

import base64
import os
from datetime import datetime, timedelta, timezone
from typing import Any

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes, hmac, keywrap
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa, utils
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.padding import PKCS7

HASHES: dict[str, hashes.HashAlgorithm] = {"256": hashes.SHA256(), "384": hashes.SHA384(), "512": hashes.SHA512()}
CURVES: dict[str, ec.EllipticCurve] = {"P-256": ec.SECP256R1(), "P-256K": ec.SECP256K1(), "P-384": ec.SECP384R1(), "P-521": ec.SECP521R1()}
CURVE_ALGORITHMS = {"P-256": "ES256", "P-256K": "ES256K", "P-384": "ES384", "P-521": "ES512"}


def hash_of(algorithm: str) -> hashes.HashAlgorithm:
    """RS256, ES256K and so on; RSNULL is used with SHA-256 here."""
    return HASHES.get(algorithm[2:5], hashes.SHA256())


def digest(algorithm: str, data: bytes) -> bytes:
    h = hashes.Hash(hash_of(algorithm))
    h.update(data)
    return h.finalize()


def width(curve: str) -> int:
    """Bytes of a coordinate."""
    return (CURVES[curve].key_size + 7) // 8


def integer(b: bytes) -> int:
    return int.from_bytes(b, "big")


def unbase64(text: str) -> bytes:
    """base64url without padding."""
    return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))


def octets(n: int, size: int = 0) -> bytes:
    return n.to_bytes(size or (n.bit_length() + 7) // 8, "big")


def public_key(jwk: Any) -> Any:
    """The public key of an SDK JsonWebKey."""
    if jwk.kty.startswith("RSA"):
        return rsa.RSAPublicNumbers(integer(jwk.e), integer(jwk.n)).public_key()
    return ec.EllipticCurvePublicNumbers(integer(jwk.x), integer(jwk.y), CURVES[jwk.crv]).public_key()


def rsa_jwk(private: rsa.RSAPrivateKey) -> dict[str, bytes]:
    n = private.private_numbers()
    parts = {"n": n.public_numbers.n, "e": n.public_numbers.e, "d": n.d, "p": n.p, "q": n.q, "dp": n.dmp1, "dq": n.dmq1, "qi": n.iqmp}
    return {name: octets(value) for name, value in parts.items()}


def ec_jwk(private: ec.EllipticCurvePrivateKey, curve: str) -> dict[str, Any]:
    n, size = private.private_numbers(), width(curve)
    return {"crv": curve, "x": octets(n.public_numbers.x, size), "y": octets(n.public_numbers.y, size), "d": octets(n.private_value, size)}


def _signature_padding(algorithm: str) -> padding.AsymmetricPadding:
    if algorithm.startswith("PS"):
        h = hash_of(algorithm)
        return padding.PSS(padding.MGF1(h), salt_length=h.digest_size)
    return padding.PKCS1v15()


def verifies(public: Any, algorithm: str, digest_: bytes, signature: bytes) -> bool:
    """Whether signature (for EC: r and s, each of the curve's full width) is one of digest_."""
    try:
        if algorithm == "RSNULL":
            return public.recover_data_from_signature(signature, padding.PKCS1v15(), None) == digest_
        prehashed = utils.Prehashed(hash_of(algorithm))
        if isinstance(public, ec.EllipticCurvePublicKey):
            half = (public.curve.key_size + 7) // 8
            if len(signature) != 2 * half:
                return False
            der = utils.encode_dss_signature(integer(signature[:half]), integer(signature[half:]))
            public.verify(der, digest_, ec.ECDSA(prehashed))
        else:
            public.verify(signature, digest_, _signature_padding(algorithm), prehashed)
        return True
    except InvalidSignature:
        return False


def signature_by(private: Any, algorithm: str, digest_: bytes) -> bytes:
    prehashed = utils.Prehashed(hash_of(algorithm))
    if isinstance(private, ec.EllipticCurvePrivateKey):
        half = (private.curve.key_size + 7) // 8
        r, s = utils.decode_dss_signature(private.sign(digest_, ec.ECDSA(prehashed)))
        return octets(r, half) + octets(s, half)
    if algorithm == "RSNULL":
        # PKCS #1 v1.5 block type 1 around the bytes themselves (RFC 8017, 9.2, without DigestInfo).
        numbers, size = private.private_numbers(), private.key_size // 8
        block = b"\x00\x01" + b"\xff" * (size - 3 - len(digest_)) + b"\x00" + digest_
        return octets(pow(integer(block), numbers.d, numbers.public_numbers.n), size)
    return private.sign(digest_, _signature_padding(algorithm), prehashed)


def mac(key: bytes, algorithm: str, data: bytes) -> bytes:
    h = hmac.HMAC(key, hash_of(algorithm))
    h.update(data)
    return h.finalize()


def _encryption_padding(algorithm: str) -> padding.AsymmetricPadding:
    if algorithm == "RSA1_5":
        return padding.PKCS1v15()
    h = HASHES.get(algorithm[-3:], hashes.SHA1())
    return padding.OAEP(padding.MGF1(h), h, None)


def rsa_encrypt(public: Any, algorithm: str, plaintext: bytes) -> bytes:
    return public.encrypt(plaintext, _encryption_padding(algorithm))


def rsa_decrypt(private: Any, algorithm: str, ciphertext: bytes) -> bytes:
    return private.decrypt(ciphertext, _encryption_padding(algorithm))


def aes_encrypt(key: bytes, algorithm: str, plaintext: bytes, iv: bytes = b"", aad: bytes = b"") -> tuple[bytes, bytes, bytes]:
    """Ciphertext, IV and tag (empty but for GCM)."""
    if algorithm.endswith("GCM"):
        iv = iv or os.urandom(12)
        sealed = AESGCM(key).encrypt(iv, plaintext, aad)
        return sealed[:-16], iv, sealed[-16:]
    iv = iv or os.urandom(16)
    if algorithm.endswith("PAD"):
        padder = PKCS7(128).padder()
        plaintext = padder.update(plaintext) + padder.finalize()
    c = Cipher(algorithms.AES(key), modes.CBC(iv)).encryptor()
    return c.update(plaintext) + c.finalize(), iv, b""


def aes_decrypt(key: bytes, algorithm: str, ciphertext: bytes, iv: bytes, tag: bytes = b"", aad: bytes = b"") -> bytes:
    if algorithm.endswith("GCM"):
        return AESGCM(key).decrypt(iv, ciphertext + tag, aad)
    c = Cipher(algorithms.AES(key), modes.CBC(iv)).decryptor()
    plaintext = c.update(ciphertext) + c.finalize()
    if algorithm.endswith("PAD"):
        unpadder = PKCS7(128).unpadder()
        plaintext = unpadder.update(plaintext) + unpadder.finalize()
    return plaintext


def aes_wrap(key: bytes, algorithm: str, plaintext: bytes) -> bytes:
    return keywrap.aes_key_wrap_with_padding(key, plaintext) if algorithm.endswith("_PAD") else keywrap.aes_key_wrap(key, plaintext)


def aes_unwrap(key: bytes, algorithm: str, wrapped: bytes) -> bytes:
    return keywrap.aes_key_unwrap_with_padding(key, wrapped) if algorithm.endswith("_PAD") else keywrap.aes_key_unwrap(key, wrapped)


def days(n: int) -> datetime:
    """A whole second n days from now."""
    return datetime.now(timezone.utc).replace(microsecond=0) + timedelta(days=n)
