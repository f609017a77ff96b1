"""A query string as pairs of text: strict where a server's own parser would guess."""

from __future__ import annotations

from itertools import product

from atdex_xrpc.errors import InvalidRequest

MAX_PARAMS = 256
"""Keys in one query string: ten times the longest array that a method takes (25 URIs)."""

_HEX = "0123456789abcdefABCDEF"
_OCTETS = {(a + b).encode(): bytes([int(a + b, 16)]) for a, b in product(_HEX, _HEX)}


def parse_query(raw: bytes) -> list[tuple[str, str]]:
    """The pairs of `raw`, in order; `+` is a space, a key without `=` has the value "".

    Raises InvalidRequest for too many pairs, a broken percent-encoding, text that is not UTF-8,
    and NUL, which no store takes and no method needs.
    """
    if not raw:
        return []
    if raw.count(b"&") >= MAX_PARAMS:
        raise InvalidRequest(f"more than {MAX_PARAMS} parameters")
    if b"+" in raw:
        raw = raw.replace(b"+", b" ")
    pairs = []
    for piece in raw.split(b"&"):
        if piece:
            key, _, value = piece.partition(b"=")
            pairs.append((_text(key), _text(value)))
    return pairs


def _text(piece: bytes) -> str:
    octets = _unescape(piece) if b"%" in piece else piece
    if b"\0" in octets:
        raise InvalidRequest("a parameter contains NUL")
    try:
        return octets.decode()
    except UnicodeDecodeError:
        raise InvalidRequest("a parameter is not UTF-8") from None


def _unescape(piece: bytes) -> bytes:
    head, *escapes = piece.split(b"%")
    out = [head]
    for escape in escapes:
        octet = _OCTETS.get(escape[:2])
        if octet is None:
            raise InvalidRequest("a parameter has a broken percent-encoding")
        out.append(octet)
        out.append(escape[2:])
    return b"".join(out)
