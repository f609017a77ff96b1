"""The data model: what a record or message may hold, in its two forms and its encoding.

*Data-model form* has `dict` with text keys, `list`, `str`, `int`, `bool`, `None`, `bytes` and
`Cid`; DAG-CBOR is its encoding. *JSON form* has `{"$link": …}` in place of `Cid` and
`{"$bytes": …}` in place of `bytes`. Neither has floats. Values nest at most `DEPTH_MAX` levels.
"""

from __future__ import annotations

from typing import Any, TypeAlias

from .cid import Cid
from .dagcbor import BLOCK_BYTES_MAX, DEPTH_MAX, INTEGER_MAX, INTEGER_MIN, decode, encode
from .jsonform import from_json, json_bytes, to_json

Value: TypeAlias = dict[str, Any] | list[Any] | str | int | bool | bytes | Cid | None
"""A value in data-model form."""

__all__ = [
    "BLOCK_BYTES_MAX",
    "DEPTH_MAX",
    "INTEGER_MAX",
    "INTEGER_MIN",
    "Value",
    "decode",
    "encode",
    "from_json",
    "json_bytes",
    "to_json",
]
