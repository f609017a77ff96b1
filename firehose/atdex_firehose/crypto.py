"""Public keys and signatures of the AT Protocol: K-256 and P-256 over SHA-256. No I/O.

A signature is 64 raw bytes, r then s, with s in the lower half of the order (low-S): the other
half is a second valid signature of the same bytes, and is refused on both curves.
K-256 is checked by libsecp256k1 (29 us), P-256 by OpenSSL (69 us).
"""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from hashlib import sha256
from typing import Literal

import coincurve
import libipld
from coincurve._libsecp256k1 import ffi, lib
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import encode_dss_signature

Curve = Literal["k256", "p256"]

_PREFIXES: dict[bytes, Curve] = {b"\xe7\x01": "k256", b"\x80\x24": "p256"}
_CODES: dict[Curve, bytes] = {curve: code for code, curve in _PREFIXES.items()}
_LEGACY: dict[str, Curve] = {
    "EcdsaSecp256k1VerificationKey2019": "k256",
    "EcdsaSecp256r1VerificationKey2019": "p256",
}
_P256_ORDER = 0xFFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551
_COMPRESSED_BYTES = 33
_MULTIBASE_CHARS = 128
"""An uncompressed key is 90 characters; decoding base58 takes quadratic time, so it is bounded."""
_KEYS_CACHED = 16_384
"""Parsed keys held: one per active publisher, about 1 KB each."""
_ECDSA = ec.ECDSA(hashes.SHA256())


class InvalidKey(ValueError):
    """A public key cannot be used. Raised by the parsers here and handled by their callers."""


class PublicKey:
    """One public key, ready to check signatures. `did_key` is its canonical name."""

    __slots__ = ("_verify", "curve", "did_key")

    def __init__(self, curve: Curve, point: bytes) -> None:
        """`point` is SEC1, compressed or not. Raises InvalidKey where it is not on the curve."""
        verify: Callable[[bytes, bytes], bool]
        try:
            if curve == "k256":
                k256 = coincurve.PublicKey(point)
                compressed = k256.format(compressed=True)
                verify = _libsecp256k1(k256)
            else:
                p256 = ec.EllipticCurvePublicKey.from_encoded_point(ec.SECP256R1(), point)
                compressed = _compress(p256)
                verify = _openssl(p256)
        except ValueError as error:
            raise InvalidKey(f"not a point on {curve}: {error}") from None
        self.curve = curve
        self.did_key: str = f"did:key:{libipld.encode_multibase('z', _CODES[curve] + compressed)}"
        self._verify = verify

    def verify(self, signature: bytes, message: bytes) -> bool:
        """Whether `signature` (64 bytes, low-S) is this key's over sha256(message)."""
        return len(signature) == 64 and self._verify(signature, message)


@lru_cache(_KEYS_CACHED)
def parse_did_key(text: str) -> PublicKey:
    """A `did:key:z…` of either curve. Raises InvalidKey."""
    if not text.startswith("did:key:"):
        raise InvalidKey("not a did:key")
    return parse_multikey(text[len("did:key:") :])


def parse_multikey(text: str) -> PublicKey:
    """A `Multikey`: base58btc of a curve prefix and a compressed point. Raises InvalidKey."""
    raw = _base58(text)
    curve = _PREFIXES.get(raw[:2])
    if curve is None:
        raise InvalidKey("neither a K-256 nor a P-256 key")
    if len(raw) != 2 + _COMPRESSED_BYTES:
        raise InvalidKey(f"a key of {len(raw) - 2} bytes, not {_COMPRESSED_BYTES}")
    return PublicKey(curve, raw[2:])


def parse_verification_key(suite: str, text: str) -> PublicKey:
    """The `publicKeyMultibase` of a verification method of this type. Raises InvalidKey.

    The two suites from before Multikey hold the bare point, usually uncompressed.
    """
    if suite == "Multikey":
        return parse_multikey(text)
    curve = _LEGACY.get(suite)
    if curve is None:
        raise InvalidKey(f"a verification method of type {suite[:80]!r}")
    return PublicKey(curve, _base58(text))


def _base58(text: str) -> bytes:
    if len(text) > _MULTIBASE_CHARS or not text.startswith("z"):
        raise InvalidKey("not base58btc multibase of at most 128 characters")
    try:
        raw: bytes = libipld.decode_multibase(text)[1]
    except ValueError as error:
        raise InvalidKey(f"not base58btc: {error}") from None
    return raw


def _compress(key: ec.EllipticCurvePublicKey) -> bytes:
    numbers = key.public_numbers()
    return bytes((2 + (numbers.y & 1),)) + numbers.x.to_bytes(32, "big")


def _libsecp256k1(key: coincurve.PublicKey) -> Callable[[bytes, bytes], bool]:
    """The library's public way takes signatures in DER only; making and reading that costs 4 us.
    It refuses numbers that are out of range, and the high half, by itself."""
    context, point = key.context.ctx, key.public_key

    def verify(signature: bytes, message: bytes) -> bool:
        parsed = ffi.new("secp256k1_ecdsa_signature *")
        if not lib.secp256k1_ecdsa_signature_parse_compact(context, parsed, signature):
            return False
        digest = sha256(message).digest()
        return bool(lib.secp256k1_ecdsa_verify(context, parsed, digest, point))

    return verify


def _openssl(key: ec.EllipticCurvePublicKey) -> Callable[[bytes, bytes], bool]:
    def verify(signature: bytes, message: bytes) -> bool:
        r = int.from_bytes(signature[:32], "big")
        s = int.from_bytes(signature[32:], "big")
        if not (0 < r < _P256_ORDER and 0 < s <= _P256_ORDER // 2):
            return False
        try:
            key.verify(encode_dss_signature(r, s), message, _ECDSA)
        except InvalidSignature:
            return False
        return True

    return verify
