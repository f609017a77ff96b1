"""The JSON form of the data model: links as `{"$link": …}`, bytes as `{"$bytes": …}`.

Source: https://atproto.com/specs/data-model#json-representation.
"""

from __future__ import annotations

import binascii
import re
from typing import Any

from .cid import Cid
from .dagcbor import DEPTH_MAX, INTEGER_MAX, INTEGER_MIN
from .errors import InvalidData, InvalidSyntax, step_path

_BASE64 = re.compile(r"([A-Za-z0-9+/]*)(={0,2})")

FLOAT_INTEGER_MAX = 1 << 53
"""Up to here a whole number that JSON software wrote as a float (`123.0`) is exact."""


def base64_size(text: str) -> int | None:
    """Bytes that a base64 text holds (RFC 4648 §4, padding optional); None if it is not one."""
    match = _BASE64.fullmatch(text)
    if match is None:
        return None
    letters, padding = len(match[1]), len(match[2])
    if letters % 4 == 1 or (padding and (letters + padding) % 4):
        return None
    return letters * 3 // 4


def blob_problem(value: dict[Any, Any]) -> tuple[str, str] | None:
    """What is wrong with a blob (`$type` is "blob"), as (step of the path, reason).

    `ref` may be in either form. Further fields are let through.
    """
    mime_type = value.get("mimeType")
    if not isinstance(mime_type, str) or not mime_type:
        return "mimeType", "a blob needs a mimeType"
    size = value.get("size")
    if isinstance(size, float) and size.is_integer():
        size = int(size)
    if not isinstance(size, int) or isinstance(size, bool) or not 0 < size <= INTEGER_MAX:
        return "size", "a blob needs its size in bytes, a positive integer"
    ref = value.get("ref")
    if isinstance(ref, dict) and len(ref) == 1 and isinstance(ref.get("$link"), str):
        try:
            ref = Cid.parse(ref["$link"])
        except InvalidSyntax as error:
            return "ref", str(error)
    if not isinstance(ref, Cid):
        return "ref", "a blob needs a link to its content"
    if ref.codec != 0x55:
        return "ref", "the CID of a blob has the codec raw (bafk…)"
    return None


def to_json(value: Any) -> Any:
    """The JSON form of a value in data-model form. Raises `InvalidData`."""
    return _to_json(value, 0)


def _to_json(value: Any, depth: int) -> Any:
    if isinstance(value, Cid):
        return {"$link": str(value)}
    if isinstance(value, bytes):
        return {"$bytes": binascii.b2a_base64(value, newline=False).rstrip(b"=").decode()}
    if isinstance(value, (dict, list)):
        if depth >= DEPTH_MAX:
            raise InvalidData(f"nested deeper than {DEPTH_MAX} levels")
        if isinstance(value, dict):
            return {key: _to_json(element, depth + 1) for key, element in value.items()}
        return [_to_json(element, depth + 1) for element in value]
    return value


def json_bytes(value: Any) -> bytes:
    """The JSON text (UTF-8, compact) of a value in data-model form. Raises `InvalidData`."""
    import orjson  # 10 ms to import: not for those who only read

    try:
        return orjson.dumps(value, default=_json_default)
    except TypeError as error:  # orjson.JSONEncodeError is one
        raise InvalidData(f"has no JSON form: {error}") from None


def _json_default(value: Any) -> dict[str, str]:
    if isinstance(value, Cid):
        return {"$link": str(value)}
    if isinstance(value, bytes):
        return {"$bytes": binascii.b2a_base64(value, newline=False).rstrip(b"=").decode()}
    raise TypeError(f"{type(value).__name__} is no type of the data model")


def from_json(value: Any) -> dict[str, Any]:
    """The data-model form of a record or message in JSON form, which is an object.

    Whole numbers written as floats become integers, as JSON has one kind of number. Raises
    `InvalidData` with the path, for floats, malformed links, bytes, blobs and `$type`s.
    """
    result = _from_json(value, 0)
    if not isinstance(result, dict):
        raise InvalidData("expected an object at the top")
    return result


def _from_json(value: Any, depth: int) -> Any:
    if isinstance(value, str):
        if not value.isascii():
            try:
                value.encode()
            except UnicodeEncodeError:
                raise InvalidData("text holds a lone surrogate") from None
        return value
    if value is None or isinstance(value, bool):
        return value
    if isinstance(value, int):
        if not INTEGER_MIN <= value <= INTEGER_MAX:
            raise InvalidData("an integer does not fit 64 signed bits")
        return value
    if isinstance(value, float):
        if value.is_integer() and abs(value) <= FLOAT_INTEGER_MAX:
            return int(value)
        raise InvalidData("floats are not allowed")
    if not isinstance(value, (dict, list)):
        raise InvalidData(f"{type(value).__name__} is no type of JSON")
    if depth >= DEPTH_MAX:
        raise InvalidData(f"nested deeper than {DEPTH_MAX} levels")
    if isinstance(value, dict):
        return _object_from_json(value, depth + 1)
    elements = []
    for index, element in enumerate(value):
        try:
            elements.append(_from_json(element, depth + 1))
        except InvalidData as error:
            raise InvalidData(error.reason, f"/{index}{error.path}") from None
    return elements


def _object_from_json(value: dict[Any, Any], depth: int) -> Any:
    if "$link" in value:
        return _link_from_json(value)
    if "$bytes" in value:
        return _bytes_from_json(value)
    if "$type" in value:
        kind = value["$type"]
        if not isinstance(kind, str) or not kind:
            raise InvalidData("expected the name of a type", "/$type")
        problem = blob_problem(value) if kind == "blob" else None
        if problem is not None:
            raise InvalidData(problem[1], step_path(problem[0]))
    result = {}
    for key, element in value.items():
        if not isinstance(key, str):
            raise InvalidData(f"a key is not text but {type(key).__name__}")
        try:
            result[_from_json(key, depth)] = _from_json(element, depth)
        except InvalidData as error:
            raise InvalidData(error.reason, f"{step_path(key)}{error.path}") from None
    return result


def _link_from_json(value: dict[Any, Any]) -> Cid:
    text = value["$link"]
    if len(value) != 1 or not isinstance(text, str):
        raise InvalidData('a link is {"$link": CID} and nothing else')
    try:
        return Cid.parse(text)
    except InvalidSyntax as error:
        raise InvalidData(str(error), "/$link") from None


def _bytes_from_json(value: dict[Any, Any]) -> bytes:
    text = value["$bytes"]
    if len(value) != 1 or not isinstance(text, str):
        raise InvalidData('bytes are {"$bytes": base64} and nothing else')
    if base64_size(text) is None:
        raise InvalidData("the base64 of bytes does not decode", "/$bytes")
    letters = text.rstrip("=")
    return binascii.a2b_base64(letters + "=" * (-len(letters) % 4))
