from __future__ import annotations

import struct
from typing import Any

import cbor2
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from atdex_lexicons import Cid, InvalidData
from atdex_lexicons.dagcbor import BLOCK_BYTES_MAX, DEPTH_MAX, decode, encode, read
from tests.lexicons.strategies import values

LINK = Cid.of_cbor(b"")


def second_opinion(value: Any) -> bytes:
    """The same value, encoded by cbor2 in canonical order."""

    def tagged(value: Any) -> Any:
        if isinstance(value, Cid):
            return cbor2.CBORTag(42, b"\0" + bytes(value))
        if isinstance(value, list):
            return [tagged(element) for element in value]
        if isinstance(value, dict):
            return {key: tagged(element) for key, element in value.items()}
        return value

    return cbor2.dumps(tagged(value), canonical=True)


@given(values)
@example({"a": 1, "bb": 2, "c": 3, "é": 4})
@example({"x" * 23: 1, "y" * 24: 2, "a" * 300: [LINK, b"", "", None, True, -1]})
def test_what_is_encoded_decodes_to_the_same_value(value: Any) -> None:
    raw = encode(value)
    assert decode(raw) == value
    assert read(raw) == value


@given(values)
def test_cbor2_writes_the_same_bytes(value: Any) -> None:
    assert encode(value) == second_opinion(value)


@given(st.binary(max_size=200))
@example(b"\xf9\x00\x00")
@example(b"\xfa\x00\x00\x00\x00")
@example(b"\x18\x01")
@example(b"\xf7")
@example(b"\xf8\x14")
@example(b"\x1b\xff\xff\xff\xff\xff\xff\xff\xff")
def test_the_short_way_accepts_and_answers_what_the_strict_reader_does(raw: bytes) -> None:
    assert outcome(decode, raw) == outcome(read, raw)


@given(values, st.data())
def test_damaged_bytes_are_refused_or_encode_back_to_themselves(
    value: Any, data: st.DataObject
) -> None:
    raw = bytearray(encode(value))
    for _ in range(data.draw(st.integers(1, 3))):
        raw[data.draw(st.integers(0, len(raw) - 1))] = data.draw(st.integers(0, 255))
    damaged = bytes(raw)
    verdict = outcome(decode, damaged)
    assert verdict == outcome(read, damaged)
    if verdict is not InvalidData:
        assert encode(decode(damaged)) == damaged


def outcome(reader: Any, raw: bytes) -> Any:
    try:
        return repr(reader(raw))
    except InvalidData:
        return InvalidData


REFUSED = {
    "nothing": b"",
    "data after the end": b"\x01\x01",
    "an integer that is not in its shortest form": b"\x18\x17",
    "a length that is not in its shortest form": b"\x58\x01a",
    "a 16-bit length that would fit 8 bits": b"\x59\x00\xff" + b"a" * 255,
    "2^64-1": b"\x1b" + b"\xff" * 8,
    "2^63": b"\x1b\x80" + b"\0" * 7,
    "-2^63-1": b"\x3b\x80" + b"\0" * 7,
    "half a float": b"\xf9\x3c\x00",
    "a float of 32 bits": b"\xfa" + struct.pack(">f", 1.5),
    "a float of 64 bits": b"\xfb" + struct.pack(">d", 1.5),
    "NaN": b"\xfb" + struct.pack(">d", float("nan")),
    "undefined": b"\xf7",
    "an unassigned simple value": b"\xe0",
    "an indefinite list": b"\x9f\x01\xff",
    "indefinite text": b"\x7f\x61a\xff",
    "a break": b"\xff",
    "a reserved head": b"\x1c",
    "a key that is no text": b"\xa1\x01\x01",
    "keys out of order": b"\xa2\x61b\x01\x61a\x01",
    "a longer key first": b"\xa2\x62aa\x01\x61b\x01",
    "a key twice": b"\xa2\x61a\x01\x61a\x01",
    "text that is no UTF-8": b"\x61\xff",
    "a surrogate in UTF-8": b"\x63\xed\xa0\x80",
    "a tag other than 42": b"\xc1\x01",
    "a link in a long form of the tag": b"\xd9\x00\x2a\x58\x25\x00" + bytes(LINK),
    "a link that is no bytes": b"\xd8\x2a\x61a",
    "a link without its prefix": b"\xd8\x2a\x58\x24" + bytes(LINK),
    "a link to nothing": b"\xd8\x2a\x41\x00",
    "a link of version 0": b"\xd8\x2a\x58\x23\x00\x12\x20" + bytes(32),
    "a link whose digest is cut": b"\xd8\x2a\x58\x24\x00" + bytes(LINK)[:-1],
    "an end within bytes": b"\x45abc",
    "an end within text": b"\x65abc",
    "an end within a list": b"\x82\x01",
    "an end within a map": b"\xa1\x61a",
    "a list of 4 billion": b"\x9a\xff\xff\xff\xff",
    "a map of 2^64 entries": b"\xbb" + b"\xff" * 8,
    "bytes of 2^63": b"\x5b\x7f" + b"\xff" * 7,
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_the_data_model_does_not_allow_is_refused(name: str) -> None:
    for raw in (REFUSED[name], b"\x81" + REFUSED[name] if name != "nothing" else b"\x81"):
        for reader in (decode, read):
            with pytest.raises(InvalidData, match="byte"):
                reader(raw)


def test_ten_thousand_levels_of_nesting_are_an_error_of_the_data() -> None:
    for deep in (b"\x81" * 10_000 + b"\x80", b"\xa1\x61a" * 10_000 + b"\xa0"):
        with pytest.raises(InvalidData, match="nested deeper"):
            decode(deep)
    value: Any = []
    for _ in range(10_000):
        value = [value]
    with pytest.raises(InvalidData, match="nested deeper"):
        encode(value)


def test_nesting_is_allowed_up_to_its_limit() -> None:
    value: Any = []
    for _ in range(DEPTH_MAX - 1):
        value = {"a": value}
    assert decode(encode(value)) == read(encode(value)) == value
    with pytest.raises(InvalidData):
        encode([value])
    with pytest.raises(InvalidData):
        decode(b"\x81" + encode(value))


def test_a_value_that_contains_itself_is_an_error_of_the_data() -> None:
    circle: list[Any] = []
    circle.append(circle)
    with pytest.raises(InvalidData, match="nested deeper"):
        encode(circle)


def test_sizes_are_bounded_both_ways() -> None:
    with pytest.raises(InvalidData, match="limit"):
        decode(bytes(BLOCK_BYTES_MAX + 1))
    with pytest.raises(InvalidData, match="more than"):
        encode("a" * (BLOCK_BYTES_MAX + 1))
    with pytest.raises(InvalidData, match="more than"):
        encode(["a" * 1000] * (BLOCK_BYTES_MAX // 1000))


@pytest.mark.parametrize(
    ("value", "path"),
    [
        ({"a": [1, 1.5]}, "/a/1"),
        ({"a/b": {"c~": 1 << 63}}, "/a~1b/c~0"),
        ({"a": {1: 2}}, "/a"),
        ([[], ["\ud800"]], "/1/0"),
        ({"a": {"\ud800": 1}}, "/a"),
        ({"a": (1, 2)}, "/a"),
        ({"a": {"b": {1, 2}}}, "/a/b"),
        (float("nan"), ""),
    ],
)
def test_what_cannot_be_encoded_is_named_with_its_path(value: Any, path: str) -> None:
    with pytest.raises(InvalidData) as caught:
        encode(value)
    assert caught.value.path == path
