"""Cursors: where a listing stopped, as an opaque word that fits that listing only.

A cursor is base64url of a JSON array `[version, binding, *position]`. The binding is a digest of
the method and its filters: a cursor that is brought to another list is refused, because its
position would mean something else there and pages would repeat or go missing in silence. The
page size is no part of it and may change between pages.

Example: `listDatasets?tag=oct` stops at `(1700000000000000,)`. Its cursor is good for
`listDatasets?tag=oct&limit=5`, and `InvalidRequest` for `listDatasets` or `listSchemas?…`.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Mapping, Sequence
from hashlib import blake2b

import orjson

from atdex_xrpc.errors import InvalidRequest

Scalar = int | float | str

CURSOR_VERSION = 1

BINDING_BYTES = 8
"""Bytes of the binding's digest. It keeps lists apart; it is no protection against forgery."""

MAX_CURSOR_CHARS = 1000
"""Characters, as the documents of the methods declare; positions are a tenth of it."""

MAX_INTEGER = 2**63 - 1
"""The stores compare 64-bit signed integers."""


def encode(nsid: str, filters: Mapping[str, object], position: Sequence[Scalar]) -> str:
    """The cursor for the page after `position` of the listing `nsid` with `filters`."""
    raw = orjson.dumps([CURSOR_VERSION, _binding(nsid, filters), *position])
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode()


def decode(
    nsid: str,
    filters: Mapping[str, object],
    cursor: str | None,
    *,
    shape: tuple[type[Scalar], ...],
) -> tuple[Scalar, ...] | None:
    """The position in a cursor, its parts of exactly the types of `shape`; None for no cursor.

    Raises InvalidRequest for anything that `encode` did not make for this very listing.
    """
    if cursor is None:
        return None
    if len(cursor) > MAX_CURSOR_CHARS:
        raise _refused("it is too long")
    try:
        raw = base64.b64decode(cursor + "=" * (-len(cursor) % 4), altchars=b"-_", validate=True)
        parts = orjson.loads(raw)
    except (binascii.Error, ValueError):
        raise _refused("it is no cursor of this node") from None
    if not isinstance(parts, list) or len(parts) < 2 or parts[0] != CURSOR_VERSION:
        raise _refused("it is no cursor of this version of the node")
    if parts[1] != _binding(nsid, filters):
        raise _refused("it belongs to another listing; start again without a cursor")
    position = tuple(parts[2:])
    if len(position) != len(shape) or not all(map(_fits, position, shape)):
        raise _refused("its position is not one of this listing")
    return position


def _fits(part: object, expected: type[Scalar]) -> bool:
    if type(part) is not expected:
        return False
    if isinstance(part, int):
        return -MAX_INTEGER <= part <= MAX_INTEGER
    return not isinstance(part, str) or "\0" not in part


def _binding(nsid: str, filters: Mapping[str, object]) -> str:
    given = {name: value for name, value in filters.items() if value is not None}
    raw = orjson.dumps([nsid, given], option=orjson.OPT_SORT_KEYS)
    return blake2b(raw, digest_size=BINDING_BYTES).hexdigest()


def _refused(why: str) -> InvalidRequest:
    return InvalidRequest(f"cursor: {why}")
