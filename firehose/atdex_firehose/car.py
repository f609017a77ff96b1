"""CAR v1 as the firehose uses it: bytes in, blocks out, every block hashed. No I/O.

Blocks may be unordered, repeated, or more than needed; none may lie about its hash. The number
of blocks is bounded by the bytes: a block takes at least 37.
"""

from __future__ import annotations

from dataclasses import dataclass
from hashlib import sha256

import libipld

from atdex_firehose import limits
from atdex_firehose.errors import InvalidCar

DAG_CBOR_PREFIX = bytes((0x01, 0x71, 0x12, 0x20))
RAW_PREFIX = bytes((0x01, 0x55, 0x12, 0x20))
CID_BYTES = 36
"""CIDv1, codec dag-cbor or raw, sha-256: the formats that the data model blesses."""

VARINT_BYTES = 4
"""Longest length: no block and no frame comes near 2^28 bytes."""

_USUAL_START = b"\x3a\xa2\x65roots\x81\xd8\x2a\x58\x25\x00"
_USUAL_END = b"\x67version\x01"
_USUAL_BYTES = len(_USUAL_START) + CID_BYTES + len(_USUAL_END)


@dataclass(frozen=True, slots=True)
class Car:
    """The roots, and the blocks by CID. Each block's sha-256 is the one in its CID."""

    roots: tuple[bytes, ...]
    blocks: dict[bytes, bytes]


def is_cid(value: bytes) -> bool:
    """Whether these bytes are a CID in a blessed format."""
    return len(value) == CID_BYTES and value[:4] in (DAG_CBOR_PREFIX, RAW_PREFIX)


def is_cbor_cid(value: bytes) -> bool:
    """Whether these bytes are the CID of a DAG-CBOR block."""
    return len(value) == CID_BYTES and value[:4] == DAG_CBOR_PREFIX


def read_car(data: bytes, did: str = "") -> Car:
    """Split a CAR and check the hash of every block. Raises InvalidCar, for any input."""
    roots, at = read_header(data, did)
    blocks: dict[bytes, bytes] = {}
    total = len(data)
    prefix = DAG_CBOR_PREFIX
    while at < total:
        start = at
        length = data[at]
        at += 1
        if length > 0x7F:  # two bytes are the usual case, and a call costs as much as a hash
            high = data[at] if at < total else 0x80
            if high < 0x80:
                length += (high << 7) - 0x80
                at += 1
            else:
                length, at = read_length(data, start, did)
        body = at + CID_BYTES
        end = at + length
        if end > total or body > end:
            raise _truncated(start, did)
        cid = data[at:body]
        block = data[body:end]
        if cid != prefix + sha256(block).digest():
            check_block(cid, block, length, start, did)
        blocks[cid] = block
        at = end
    return Car(roots, blocks)


def check_block(cid: bytes, block: bytes, length: int, at: int, did: str) -> None:
    """Raise InvalidCar unless this is a whole block with the hash that its CID says.

    `length` is what the CAR says that the CID and the block have, `at` where it says so.
    """
    if len(cid) != CID_BYTES or len(cid) + len(block) != length:
        raise _truncated(at, did)
    if not is_cid(cid):
        raise InvalidCar(did, f"the block at byte {at} has a CID of an unknown format")
    if sha256(block).digest() != cid[4:]:
        raise InvalidCar(did, f"the block at byte {at} does not have the hash that it claims")


def _truncated(at: int, did: str) -> InvalidCar:
    return InvalidCar(did, f"the block at byte {at} is truncated")


def read_header(data: bytes, did: str) -> tuple[tuple[bytes, ...], int]:
    """The roots that a CAR names, one or more, and where its blocks start. Raises InvalidCar."""
    if data.startswith(_USUAL_START) and data[:_USUAL_BYTES].endswith(_USUAL_END):
        root = data[len(_USUAL_START) : len(_USUAL_START) + CID_BYTES]
        if is_cid(root):
            return (root,), _USUAL_BYTES
    length, start = read_length(data, 0, did)
    end = start + length
    if length > limits.CAR_HEADER_BYTES or end > len(data):
        raise InvalidCar(did, f"a CAR header of {length} bytes")
    return _roots(data[start:end], did), end


def read_length(data: bytes, at: int, did: str) -> tuple[int, int]:
    """An unsigned LEB128 of at most VARINT_BYTES and where it ends. Raises InvalidCar."""
    value = 0
    for shift in range(0, 7 * VARINT_BYTES, 7):
        if at >= len(data):
            break
        byte = data[at]
        at += 1
        value |= (byte & 0x7F) << shift
        if not byte & 0x80:
            return value, at
    raise InvalidCar(did, f"a bad length at byte {at}")


def _roots(raw: bytes, did: str) -> tuple[bytes, ...]:
    try:
        header = libipld.decode_dag_cbor(raw)
    except (ValueError, RecursionError) as error:
        raise InvalidCar(did, f"the CAR header is not DAG-CBOR: {error}") from None
    if type(header) is not dict or header.get("version") != 1:
        raise InvalidCar(did, "not a CAR of version 1")
    roots = header.get("roots")
    if type(roots) is not list or not roots:
        raise InvalidCar(did, "the CAR names no root")
    if not all(type(root) is bytes and is_cid(root) for root in roots):
        raise InvalidCar(did, "a root of the CAR is not a CID")
    return tuple(roots)
