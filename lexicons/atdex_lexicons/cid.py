"""Content identifiers (CID), version 1.

Source: https://github.com/multiformats/cid and the "blessed" formats of
https://atproto.com/specs/data-model: version 1, codec dag-cbor or raw, SHA-256, base32 as text.
"""

from __future__ import annotations

import hashlib
import re

from libipld import decode_multibase, encode_multibase

from .errors import InvalidSyntax

DAG_CBOR = 0x71
"""Multicodec of a data object."""
RAW = 0x55
"""Multicodec of a blob."""
SHA256 = 0x12
"""Multihash code of SHA-256."""

CID_BYTES_MAX = 100
"""Longest binary CID: four varints and a digest of 64 bytes fit well."""

_BLESSED = (b"\x01\x71\x12\x20", b"\x01\x55\x12\x20")
_BLESSED_TEXT = re.compile(r"b(?:afyrei|afkrei)[a-h][a-z2-7]{50}[aeimquy4]")
_BASE32_TEXT = re.compile(r"b[a-z2-7]+")


class Cid:
    """A CIDv1. Immutable, hashable, ordered by its bytes.

    Codecs and hashes beyond the blessed ones can be held, since a link may point anywhere;
    `is_blessed` tells. Equality is equality of the bytes.
    """

    __slots__ = ("_raw",)
    _raw: bytes

    def __init__(self, raw: bytes) -> None:
        if not (len(raw) == 36 and raw[:4] in _BLESSED):
            _check(raw)
        self._raw = bytes(raw)

    @classmethod
    def from_bytes(cls, raw: bytes) -> Cid:
        """The CID with these bytes (no multibase prefix). Raises `InvalidSyntax`."""
        return cls(raw)

    @classmethod
    def parse(cls, text: str) -> Cid:
        """The CID that is written as base32 (`bafy…`, `bafk…`). Raises `InvalidSyntax`."""
        if len(text) > 2 * CID_BYTES_MAX or _BASE32_TEXT.fullmatch(text) is None:
            raise InvalidSyntax("cid", text, "expected CIDv1 in base32 (b…)")
        try:
            raw = decode_multibase(text)[1]
        except ValueError:
            raise InvalidSyntax("cid", text, "its base32 does not decode") from None
        cid = cls(raw)
        if str(cid) != text:
            raise InvalidSyntax("cid", text, "its last character carries stray bits")
        return cid

    @classmethod
    def of_cbor(cls, raw: bytes) -> Cid:
        """The CID of a data object with this DAG-CBOR encoding."""
        return cls(_BLESSED[0] + hashlib.sha256(raw).digest())

    @classmethod
    def of_raw(cls, data: bytes) -> Cid:
        """The CID of a blob with this content."""
        return cls(_BLESSED[1] + hashlib.sha256(data).digest())

    @property
    def codec(self) -> int:
        """The multicodec: `DAG_CBOR`, `RAW`, or another."""
        return _varint(self._raw, 1)[0]

    @property
    def digest(self) -> bytes:
        """The hash without its multihash header (32 bytes for SHA-256)."""
        start = 1
        for _ in range(3):  # codec, hash code, hash length
            start = _varint(self._raw, start)[1]
        return self._raw[start:]

    @property
    def is_blessed(self) -> bool:
        """Whether it is dag-cbor or raw with SHA-256."""
        return len(self._raw) == 36 and self._raw[:4] in _BLESSED

    def __bytes__(self) -> bytes:
        return self._raw

    def __str__(self) -> str:
        return encode_multibase("b", self._raw)

    def __repr__(self) -> str:
        return f"Cid({str(self)!r})"

    def __eq__(self, other: object) -> bool:
        return self._raw == other._raw if isinstance(other, Cid) else NotImplemented

    def __lt__(self, other: Cid) -> bool:
        return self._raw < other._raw

    def __hash__(self) -> int:
        return hash(self._raw)


def is_link_text(text: str) -> bool:
    """Whether `text` is a CIDv1 in base32, as `$link` requires."""
    if _BLESSED_TEXT.fullmatch(text) is not None:
        return True
    try:
        Cid.parse(text)
    except InvalidSyntax:
        return False
    return True


def _check(raw: bytes) -> None:
    if not raw or len(raw) > CID_BYTES_MAX or raw[0] != 1:
        raise InvalidSyntax("cid", raw[:CID_BYTES_MAX].hex(), "expected the bytes of a CIDv1")
    _, position = _varint(raw, 1)
    _, position = _varint(raw, position)
    length, position = _varint(raw, position)
    if len(raw) - position != length:
        raise InvalidSyntax("cid", raw.hex(), "its digest is not as long as it says")


def _varint(raw: bytes, position: int) -> tuple[int, int]:
    """An unsigned varint and the position after it: 9 bytes at most, minimal."""
    value = 0
    for index in range(position, min(position + 9, len(raw))):
        byte = raw[index]
        value |= (byte & 0x7F) << 7 * (index - position)
        if byte < 0x80:
            if byte == 0 and index > position:
                break
            return value, index + 1
    raise InvalidSyntax("cid", raw.hex(), "a number in it is cut off or not minimal")
