"""Frames of an event stream: two DAG-CBOR objects, one after the other. No I/O.

    {"op": 1, "t": "#record"} {"seq": 7, …}                         a message
    {"op": -1}                {"error": "FutureCursor", "message": …}   the last frame

Source: https://atproto.com/specs/event-stream.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import libipld

from atdex_lexicons.dagcbor import read
from atdex_lexicons.datamodel import encode
from atdex_lexicons.errors import InvalidData

MAX_FRAME_BYTES = 5_000_000
"""Of one frame, as on the firehose."""

_MESSAGE, _ERROR = 1, -1


class BadFrame(ValueError):
    """Bytes that are no frame. Says why in one line."""


@dataclass(frozen=True, slots=True)
class Message:
    """What a frame says. `kind` is the name in the document (`#record`), None for an error."""

    kind: str | None
    body: Mapping[str, Any]


def message_frame(kind: str, body: Mapping[str, Any] | bytes) -> bytes:
    """A message; `body` is a value of the data model, or its DAG-CBOR."""
    return _header(kind) + (body if isinstance(body, bytes) else encode(dict(body)))


def error_frame(error: str, message: str) -> bytes:
    return encode({"op": _ERROR}) + encode({"error": error, "message": message})


def parse_frame(raw: bytes) -> Message:
    """Raises BadFrame. A frame of an `op` that is not known here has the kind ""."""
    if len(raw) > MAX_FRAME_BYTES:
        raise BadFrame(f"a frame of more than {MAX_FRAME_BYTES} bytes")
    try:
        parts = libipld.decode_dag_cbor_multi(raw)
        if len(parts) != 2:
            raise BadFrame(f"{len(parts)} objects in a frame, not 2")
        header = parts[0]
        # Again by the reader that keeps links apart from bytes.
        body = read(raw[len(libipld.encode_dag_cbor(header)) :])
    except (ValueError, RecursionError, InvalidData) as wrong:
        raise BadFrame(f"no DAG-CBOR: {wrong}") from None
    if not isinstance(header, dict) or not isinstance(body, dict):
        raise BadFrame("a frame's objects are no maps")
    operation, kind = header.get("op"), header.get("t")
    if operation == _ERROR:
        return Message(None, body)
    if operation == _MESSAGE and isinstance(kind, str):
        return Message(kind, body)
    return Message("", body)


@lru_cache(64)
def _header(kind: str) -> bytes:
    return encode({"op": _MESSAGE, "t": kind})
