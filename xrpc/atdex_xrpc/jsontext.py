"""JSON from the network: parsed with its nesting bounded."""

from __future__ import annotations

from typing import Any

import orjson

MAX_DEPTH = 128
"""Levels of nesting: twice what a record may have, so that an answer with records fits."""


class BadJson(ValueError):
    """Text that is no JSON, or nested deeper than MAX_DEPTH. Says so in one line."""


def parse_json(raw: bytes) -> Any:
    """The value of `raw`. Raises BadJson, never RecursionError."""
    try:
        value = orjson.loads(raw)
    except orjson.JSONDecodeError as error:
        raise BadJson(f"not JSON: {error}") from None
    # Nesting costs one bracket a level, so few brackets need no walk.
    if raw.count(b"{") + raw.count(b"[") > MAX_DEPTH and _is_deeper(value, MAX_DEPTH):
        raise BadJson(f"nested deeper than {MAX_DEPTH} levels")
    return value


def _is_deeper(value: Any, limit: int) -> bool:
    level = [value]
    for _ in range(limit):
        below: list[Any] = []
        for item in level:
            if isinstance(item, dict):
                below.extend(item.values())
            elif isinstance(item, list):
                below.extend(item)
        if not below:
            return False
        level = below
    return any(isinstance(item, dict | list) for item in level)
