"""The signed commit object of a repo (version 3): parse it, and find the bytes that were signed.

What is signed is the canonical DAG-CBOR of the object without `sig`. Decoding loses the difference
between a link and bytes, so nothing is re-encoded from decoded values: the object is written out
again from its fields, and must be the block byte for byte. An object with fields that this
version does not know goes through the strict codec of the data model instead.
"""

from __future__ import annotations

from dataclasses import dataclass

import libipld

from atdex_firehose import limits
from atdex_firehose.car import is_cbor_cid
from atdex_firehose.errors import InvalidCommit
from atdex_firehose.shown import shown
from atdex_lexicons import datamodel
from atdex_lexicons.cid import Cid
from atdex_lexicons.errors import InvalidData
from atdex_lexicons.syntax import is_tid

VERSION = 3
SIGNATURE_BYTES = 64

_LINK = b"\xd8\x2a\x58\x25\x00"  # tag 42, 37 bytes, the multibase identity prefix
_SIG = b"\x63sig\x58\x40"


@dataclass(slots=True)
class Commit:
    """A commit object. `data` is the root of the tree; `signed` the bytes under `sig`."""

    did: str
    rev: str
    data: bytes
    sig: bytes
    signed: bytes


def parse_commit_object(block: bytes, did: str, rev: str | None = None) -> Commit:
    """Parse a commit block that must be of `did` at `rev`, or at any rev where that is None.

    Raises InvalidCommit, for any input.
    """
    if len(block) > limits.COMMIT_BYTES:
        raise InvalidCommit(did, f"a commit of {len(block)} bytes, over {limits.COMMIT_BYTES}")
    try:
        value = libipld.decode_dag_cbor(block)
    except (ValueError, RecursionError) as error:
        raise InvalidCommit(did, f"the commit is not DAG-CBOR: {error}") from None
    if type(value) is not dict:
        raise InvalidCommit(did, "the commit is not a map")
    version = value.get("version")
    if type(version) is not int or version != VERSION:
        raise InvalidCommit(did, f"commit version {shown(version, 20)}, not {VERSION}")
    if value.get("did") != did:
        raise InvalidCommit(did, f"the commit belongs to {shown(value.get('did'))}")
    found = value.get("rev")
    if rev is None:
        if type(found) is not str or not is_tid(found):
            raise InvalidCommit(did, f"the commit's rev {shown(found, 20)} is not a TID")
        rev = found
    elif found != rev:
        raise InvalidCommit(did, f"the commit has rev {shown(found, 20)}, not {rev}")
    sig = value.get("sig")
    if type(sig) is not bytes or len(sig) != SIGNATURE_BYTES:
        raise InvalidCommit(did, f"the commit has no signature of {SIGNATURE_BYTES} bytes")
    data, prev = value.get("data"), value.get("prev")
    if type(data) is not bytes or not is_cbor_cid(data):
        raise InvalidCommit(did, "the commit's data is not a link to a tree")
    if prev is not None and (type(prev) is not bytes or not is_cbor_cid(prev)):
        raise InvalidCommit(did, "the commit's prev is neither null nor a link")
    if len(value) == 6 and "prev" in value:
        head = b"\x63did" + _text(did) + b"\x63rev" + _text(rev)
        tail = b"\x64data" + _link(data) + b"\x64prev" + _link(prev) + b"\x67version\x03"
        if block == b"\xa6" + head + _SIG + sig + tail:
            return Commit(did, rev, data, sig, b"\xa5" + head + tail)
    return Commit(did, rev, data, sig, _unsigned(block, did))


def _unsigned(block: bytes, did: str) -> bytes:
    try:
        value = datamodel.decode(block)
        if type(value) is not dict or not all(
            isinstance(value.get(name), Cid | None) for name in ("data", "prev")
        ):
            raise InvalidCommit(did, "the commit's data or prev is bytes and not a link")
        return datamodel.encode({key: item for key, item in value.items() if key != "sig"})
    except InvalidData as error:
        raise InvalidCommit(did, f"the commit is not canonical DAG-CBOR: {error}") from None


def _text(value: str) -> bytes:
    raw = value.encode()
    length = len(raw)
    if length < 24:
        return bytes((0x60 | length,)) + raw
    if length < 256:
        return bytes((0x78, length)) + raw
    return b"\x79" + length.to_bytes(2, "big") + raw


def _link(cid: bytes | None) -> bytes:
    return b"\xf6" if cid is None else _LINK + cid
