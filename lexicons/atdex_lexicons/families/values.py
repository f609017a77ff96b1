"""Open values: metadata and literals, between the data model, msgpack, JSON text and plain Python.

Plain is what the model holds: None, bool, int, float, str, bytes, and lists and string-keyed
dicts of these.
"""

from __future__ import annotations

import binascii
import datetime
import json
import math
from collections.abc import Mapping
from typing import Any

import msgspec

from atdex_lexicons.cid import Cid
from atdex_lexicons.datamodel import DEPTH_MAX, INTEGER_MAX, INTEGER_MIN, from_json
from atdex_lexicons.errors import InvalidData, NotRepresentable, Problem, shown, step_path

MSGPACK_BYTES_MAX = 100_000
"""Bytes of metadata as msgpack: the limit of the field in science.alt.dataset.entry."""


def plain(value: Any, path: str, problems: list[Problem]) -> Any:
    """A value of the data model, in either form, made plain. Links become their text."""
    return _plain(value, path, problems, 0)


def plain_map(value: Any, path: str, problems: list[Problem]) -> dict[str, Any]:
    """The same for a value that has to be an object; empty where there is none."""
    if value is None:
        return {}
    result = _plain(value, path, problems, 0)
    if isinstance(result, dict):
        return result
    problems.append(Problem(path, "expected an object"))
    return {}


def _plain(value: Any, path: str, problems: list[Problem], depth: int) -> Any:
    if value is None or isinstance(value, bool | str | bytes):
        return value
    if isinstance(value, int):
        if not INTEGER_MIN <= value <= INTEGER_MAX:
            problems.append(Problem(path, "an integer does not fit 64 signed bits"))
        return value
    if isinstance(value, Cid):
        return str(value)
    if not isinstance(value, dict | list):
        if isinstance(value, float) and value.is_integer() and abs(value) <= INTEGER_MAX:
            return int(value)
        problems.append(Problem(path, f"{type(value).__name__} is no type of the data model"))
        return None
    if depth >= DEPTH_MAX:
        problems.append(Problem(path, f"nested deeper than {DEPTH_MAX} levels"))
        return None
    if isinstance(value, list):
        return [
            _plain(item, path + step_path(index), problems, depth + 1)
            for index, item in enumerate(value)
        ]
    if "$link" in value or "$bytes" in value:
        try:
            inner = from_json({"": value})[""]
        except InvalidData as error:
            problems.append(Problem(path, error.reason))
            return None
        return inner if isinstance(inner, bytes) else str(inner)
    return {k: _plain(v, path + step_path(k), problems, depth + 1) for k, v in value.items()}


def is_bytes(value: Any) -> bool:
    """Whether a value of the data model, in either form, is bytes."""
    return isinstance(value, bytes) or (isinstance(value, dict) and value.keys() == {"$bytes"})


def as_bytes(value: Any) -> bytes:
    """Bytes of the data model, in either form. Not base64: empty (the lexicon has refused it)."""
    if isinstance(value, bytes):
        return value
    text = value["$bytes"]
    if not isinstance(text, str):
        return b""
    try:
        letters = text.rstrip("=")
        return binascii.a2b_base64(letters + "=" * (-len(letters) % 4))
    except (binascii.Error, ValueError):
        return b""


def as_link(value: Any) -> str:
    """The text of a link of the data model, in either form."""
    return str(value["$link"]) if isinstance(value, dict) else str(value)


def bytes_json(raw: bytes) -> dict[str, str]:
    """The JSON form of bytes."""
    return {"$bytes": binascii.b2a_base64(raw, newline=False).rstrip(b"=").decode()}


def data_form(value: Any, path: str) -> Any:
    """A plain value in the data model's JSON form. Raises `NotRepresentable`: no fractions."""
    if isinstance(value, bytes):
        return bytes_json(value)
    if isinstance(value, Mapping):
        return {_key(k, path): data_form(v, path + step_path(k)) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return [data_form(item, path + step_path(index)) for index, item in enumerate(value)]
    if isinstance(value, bool) or value is None or isinstance(value, str):
        return value
    if isinstance(value, int) and INTEGER_MIN <= value <= INTEGER_MAX:
        return value
    raise NotRepresentable(path, f"the data model has no value such as {shown(repr(value))}")


def _key(key: Any, path: str) -> str:
    if not isinstance(key, str) or key in ("$link", "$bytes"):
        raise NotRepresentable(path, f"{shown(repr(key))} cannot be a key here")
    return key


# --- msgpack ----------------------------------------------------------------------------------


def read_metadata(value: Any, problems: list[Problem]) -> dict[str, Any]:
    """The `/metadata` of a record: an object, or msgpack bytes. Empty where there is none."""
    if not is_bytes(value):
        return plain_map(value, "/metadata", problems)
    raw = as_bytes(value)
    if len(raw) > MSGPACK_BYTES_MAX:
        problems.append(Problem("/metadata", f"longer than {MSGPACK_BYTES_MAX} bytes"))
        return {}
    return read_msgpack(raw, "/metadata", problems)


def read_msgpack(raw: bytes, path: str, problems: list[Problem]) -> dict[str, Any]:
    """The map that `raw` encodes. Anything else is a problem."""
    try:
        value = msgspec.msgpack.decode(raw)
    except (msgspec.DecodeError, RecursionError, UnicodeDecodeError, OverflowError) as error:
        problems.append(Problem(path, f"not valid msgpack: {error}"))
        return {}
    if not isinstance(value, dict):
        problems.append(Problem(path, "expected a map, encoded as msgpack"))
        return {}
    return _tidy(value, path, problems, 0)  # type: ignore[no-any-return]  # a dict stays a dict


def _tidy(value: Any, path: str, problems: list[Problem], depth: int) -> Any:
    """Makes plain what msgpack has beyond that: keys of any type, timestamps, extensions."""
    if isinstance(value, dict | list) and depth >= DEPTH_MAX:
        problems.append(Problem(path, f"nested deeper than {DEPTH_MAX} levels"))
        return {}
    if isinstance(value, dict):
        return {str(key): _tidy(item, path, problems, depth + 1) for key, item in value.items()}
    if isinstance(value, list):
        return [_tidy(item, path, problems, depth + 1) for item in value]
    if isinstance(value, datetime.datetime):
        return value.isoformat()
    if isinstance(value, msgspec.msgpack.Ext):
        return bytes(value.data)
    return value


def write_msgpack(value: Mapping[str, Any], path: str) -> bytes:
    """`value` as msgpack. Raises `NotRepresentable`."""
    try:
        return msgspec.msgpack.encode(value)
    except (TypeError, OverflowError, RecursionError, UnicodeEncodeError) as error:
        raise NotRepresentable(path, f"cannot be written as msgpack: {error}") from error


# --- JSON text --------------------------------------------------------------------------------


def read_json_text(text: str, path: str, problems: list[Problem]) -> Any:
    """The plain value that a literal in JSON text stands for. Anything else is a problem."""
    try:
        return _from_json_text(json.loads(text, parse_constant=_no_constant))
    except (ValueError, RecursionError) as error:
        problems.append(Problem(path, f"not the JSON text of a value: {error}"))
        return None


def _no_constant(name: str) -> Any:
    raise ValueError(f"{name} is not JSON")


def _from_json_text(value: Any) -> Any:
    if isinstance(value, list):
        return [_from_json_text(item) for item in value]
    if isinstance(value, dict):
        if value.keys() == {"$bytes"}:
            return as_bytes(value)
        return {key: _from_json_text(item) for key, item in value.items()}
    if isinstance(value, float) and not math.isfinite(value):
        raise ValueError("a number is out of range")
    if isinstance(value, str):
        value.encode()  # a lone surrogate is a ValueError
    return value


def json_text(value: Any, path: str) -> str:
    """The literal of a plain value. Raises `NotRepresentable`."""
    try:
        return json.dumps(
            value, default=_bytes_only, allow_nan=False, ensure_ascii=False, separators=(",", ":")
        )
    except (TypeError, ValueError, RecursionError) as error:
        raise NotRepresentable(path, f"has no JSON text: {error}") from error


def _bytes_only(value: Any) -> Any:
    if isinstance(value, bytes):
        return bytes_json(value)
    raise TypeError(f"{type(value).__name__} is no plain value")
