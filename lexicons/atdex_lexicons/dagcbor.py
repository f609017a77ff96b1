"""DAG-CBOR, strictly as the AT Protocol data model has it, in both directions.

Accepted is exactly what `encode` would have written: integers in 64 signed bits and in their
shortest form, text in UTF-8, definite lengths, map keys that are text, sorted (shorter first,
then by bytes) and distinct, tag 42 around a CIDv1 as the only tag, no floats. So a block has
one reading, and `encode(decode(raw)) == raw`.

Source: https://ipld.io/specs/codecs/dag-cbor/spec/ and https://atproto.com/specs/data-model.

Written out in Python because no library at hand is this strict and keeps CIDs apart from
bytes; depth is counted, so nesting ends in `InvalidData` and not in a stack overflow. A block
without links that libipld reads and writes back unchanged takes the short way through it.
"""

from __future__ import annotations

from typing import Any

from libipld import decode_dag_cbor, encode_dag_cbor

from .cid import Cid
from .errors import InvalidData, InvalidSyntax, step_path

DEPTH_MAX = 64
"""Levels of arrays and objects in one value. Records in use have fewer than 15."""

BLOCK_BYTES_MAX = 2_000_000
"""Bytes of one encoded value: the limit of a whole commit's blocks on the firehose."""

INTEGER_MIN = -(1 << 63)
INTEGER_MAX = (1 << 63) - 1
"""Integers are signed, of 64 bits."""

_NEGATIVE, _BYTES, _TEXT, _LIST, _MAP, _TAG, _SIMPLE = range(1, 8)
_CONSTANTS = {0xF4: False, 0xF5: True, 0xF6: None}
_LINK_TAG = 42
_LINK_HEAD = b"\xd8\x2a"


def decode(raw: bytes) -> Any:
    """The value of `raw`: dict, list, str, int, bool, None, bytes and `Cid`.

    Raises `InvalidData`, which names the offset, for anything but one strict item.
    """
    if len(raw) > BLOCK_BYTES_MAX:
        raise InvalidData(f"{len(raw)} bytes of DAG-CBOR, the limit is {BLOCK_BYTES_MAX}")
    if _LINK_HEAD not in raw:
        try:
            value = decode_dag_cbor(raw)
            if _is_plain(value, 0) and encode_dag_cbor(value) == raw:
                return value
        except (ValueError, RecursionError):
            pass  # the strict reader finds out what is wrong, and where
    return read(raw)


def _is_plain(value: Any, depth: int) -> bool:
    """Whether there is no float, no integer beyond 64 signed bits, and no excess of depth."""
    kind = type(value)
    if kind is int:
        return bool(INTEGER_MIN <= value <= INTEGER_MAX)
    if kind is not dict and kind is not list:
        return kind is not float
    if depth >= DEPTH_MAX:
        return False
    for element in value.values() if kind is dict else value:
        if type(element) is not str and not _is_plain(element, depth + 1):
            return False
    return True


def read(raw: bytes) -> Any:
    """What `decode` does, without the short way: the reader that decides what is strict."""
    size = len(raw)
    position = 0

    def argument(head: int) -> int:
        """The number of a head byte, whose own position has been passed."""
        nonlocal position
        low = head & 0x1F
        if low < 24:
            return low
        if low > 27:
            raise _malformed(position - 1, "indefinite lengths and reserved heads are not allowed")
        width = 1 << low - 24
        end = position + width
        if end > size:
            raise _malformed(position, "the data ends too early")
        number = int.from_bytes(raw[position:end])
        if number < 24 or (width > 1 and number < 1 << 4 * width):
            raise _malformed(position - 1, "a number is not in its shortest form")
        position = end
        return number

    def text(head: int) -> str:
        nonlocal position
        length = head & 0x1F if head & 0x1F < 24 else argument(head)
        end = position + length
        if end > size:
            raise _malformed(position, "the data ends too early")
        try:
            value = raw[position:end].decode()
        except UnicodeDecodeError:
            raise _malformed(position, "text is not valid UTF-8") from None
        position = end
        return value

    def item(depth: int) -> Any:
        nonlocal position
        if position >= size:
            raise _malformed(position, "the data ends too early")
        head = raw[position]
        position += 1
        major = head >> 5
        if major == _TEXT:
            return text(head)
        if major == _MAP:
            if depth >= DEPTH_MAX:
                raise _malformed(position - 1, f"nested deeper than {DEPTH_MAX} levels")
            return map_of(argument(head), depth + 1)
        if major == _SIMPLE:
            try:
                return _CONSTANTS[head]
            except KeyError:
                if 0xF9 <= head <= 0xFB:
                    raise _malformed(position - 1, "floats are not allowed") from None
                raise _malformed(position - 1, "unknown simple value") from None
        number = argument(head)
        if major == _LIST:
            if depth >= DEPTH_MAX:
                raise _malformed(position, f"nested deeper than {DEPTH_MAX} levels")
            if number > size - position:
                raise _malformed(position, "the data ends too early")
            return [item(depth + 1) for _ in range(number)]
        if major == _BYTES:
            end = position + number
            if end > size:
                raise _malformed(position, "the data ends too early")
            value = bytes(raw[position:end])
            position = end
            return value
        if major == _TAG:
            return link(number)
        if number > INTEGER_MAX:
            raise _malformed(position, "an integer does not fit 64 signed bits")
        return number if major == 0 else -1 - number

    def map_of(count: int, depth: int) -> dict[str, Any]:
        nonlocal position
        result: dict[str, Any] = {}
        before = b""
        for index in range(count):
            if position >= size:
                raise _malformed(position, "the data ends too early")
            head = raw[position]
            if head >> 5 != _TEXT:
                raise _malformed(position, "a map key is not text")
            start = position
            position += 1
            key = text(head)
            # A whole encoded key sorts as the specification asks: its head holds the length.
            encoded = raw[start:position]
            if index and encoded <= before:
                raise _malformed(start, "map keys are not sorted, or one is there twice")
            before = encoded
            result[key] = item(depth)
        return result

    def link(tag: int) -> Cid:
        start = position
        content = item(DEPTH_MAX) if tag == _LINK_TAG else None
        if not isinstance(content, bytes) or content[:1] != b"\0":
            raise _malformed(start, "the only tag allowed is 42, around the bytes of a CID")
        try:
            return Cid(content[1:])
        except InvalidSyntax as error:
            raise _malformed(start, str(error)) from None

    value = item(0)
    if position != size:
        raise _malformed(position, "there is data after the end")
    return value


def _malformed(offset: int, reason: str) -> InvalidData:
    return InvalidData(f"malformed DAG-CBOR at byte {offset}: {reason}")


def encode(value: Any) -> bytes:
    """The DAG-CBOR of a value in data-model form. Raises `InvalidData` with the value's path."""
    out = bytearray()
    _write(out, value, 0)
    return bytes(out)


def _write(out: bytearray, value: Any, depth: int) -> None:
    if isinstance(value, str):
        data = _utf8(value)
        _head(out, 0x60, len(data))
        out += data
    elif value is None:
        out.append(0xF6)
    elif isinstance(value, bool):
        out.append(0xF5 if value else 0xF4)
    elif isinstance(value, int):
        if not INTEGER_MIN <= value <= INTEGER_MAX:
            raise InvalidData("an integer does not fit 64 signed bits")
        if value >= 0:
            _head(out, 0x00, value)
        else:
            _head(out, 0x20, -1 - value)
    elif isinstance(value, bytes):
        _head(out, 0x40, len(value))
        out += value
    elif isinstance(value, Cid):
        data = bytes(value)
        out += _LINK_HEAD
        _head(out, 0x40, len(data) + 1)
        out.append(0)
        out += data
    elif isinstance(value, (dict, list)):
        if depth >= DEPTH_MAX:
            raise InvalidData(f"nested deeper than {DEPTH_MAX} levels")
        _write_container(out, value, depth + 1)
    elif isinstance(value, float):
        raise InvalidData("floats are not allowed")
    else:
        raise InvalidData(f"{type(value).__name__} is no type of the data model")
    if len(out) > BLOCK_BYTES_MAX:
        raise InvalidData(f"more than {BLOCK_BYTES_MAX} bytes of DAG-CBOR")


def _write_container(out: bytearray, value: dict[Any, Any] | list[Any], depth: int) -> None:
    step: str | int | None = None
    try:
        if isinstance(value, list):
            _head(out, 0x80, len(value))
            for index, element in enumerate(value):
                step = index
                _write(out, element, depth)
            return
        _head(out, 0xA0, len(value))
        for _, data, step in sorted(map(_sortable, value)):
            _head(out, 0x60, len(data))
            out += data
            _write(out, value[step], depth)
    except InvalidData as error:
        raise InvalidData(
            error.reason, f"{step_path(step)}{error.path}" if step is not None else ""
        ) from None


def _sortable(key: Any) -> tuple[int, bytes, str]:
    if not isinstance(key, str):
        raise InvalidData(f"a key is not text but {type(key).__name__}")
    data = _utf8(key)
    return len(data), data, key


def _utf8(text: str) -> bytes:
    try:
        return text.encode()
    except UnicodeEncodeError:
        raise InvalidData("text holds a lone surrogate") from None


def _head(out: bytearray, major: int, number: int) -> None:
    if number < 24:
        out.append(major | number)
    elif number < 0x100:
        out += bytes((major | 24, number))
    elif number < 0x10000:
        out.append(major | 25)
        out += number.to_bytes(2)
    elif number < 0x100000000:
        out.append(major | 26)
        out += number.to_bytes(4)
    else:
        out.append(major | 27)
        out += number.to_bytes(8)
