from __future__ import annotations

from hashlib import sha256

import cbor2
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from atdex_firehose.car import is_cbor_cid, is_cid, read_car
from atdex_firehose.errors import InvalidCar
from tests.support.mst import cid_of, encode, link
from tests.support.repo import car, varint

ONE, TWO = encode({"n": 1}), encode({"n": 2})
CIDS = cid_of(ONE), cid_of(TWO)
GOOD = car([CIDS[0]], [(CIDS[0], ONE), (CIDS[1], TWO)])


def header(value: object) -> bytes:
    raw = encode(value)
    return varint(len(raw)) + raw


def section(cid: bytes, block: bytes) -> bytes:
    return varint(len(cid) + len(block)) + cid + block


def test_a_car_is_split_into_its_blocks() -> None:
    found = read_car(GOOD)
    assert found.roots == (CIDS[0],)
    assert found.blocks == {CIDS[0]: ONE, CIDS[1]: TWO}


def test_unordered_and_repeated_and_extra_blocks_are_tolerated() -> None:
    raw = car([CIDS[0]], [(CIDS[1], TWO), (CIDS[0], ONE), (CIDS[0], ONE)])
    assert set(read_car(raw).blocks) == set(CIDS)


def test_more_than_one_root_is_tolerated() -> None:
    assert read_car(car(CIDS, [(CIDS[0], ONE)])).roots == CIDS


def test_a_raw_block_is_hashed_too() -> None:
    cid = b"\x01\x55" + cid_of(b"picture")[2:]
    assert read_car(car([CIDS[0]], [(cid, b"picture")])).blocks[cid] == b"picture"
    with pytest.raises(InvalidCar):
        read_car(car([CIDS[0]], [(cid, b"another")]))


def test_a_block_that_lies_about_its_hash_is_refused() -> None:
    with pytest.raises(InvalidCar, match="hash"):
        read_car(car([CIDS[0]], [(CIDS[0], ONE), (CIDS[1], ONE)]))


def test_every_flipped_bit_behind_the_header_is_noticed() -> None:
    start = len(header({"version": 1, "roots": [link(CIDS[0])]}))
    for at in range(start, len(GOOD)):
        for bit in range(8):
            raw = bytearray(GOOD)
            raw[at] ^= 1 << bit
            with pytest.raises(InvalidCar):
                read_car(bytes(raw))


def test_every_truncation_inside_a_block_is_noticed() -> None:
    ends = {len(GOOD), len(GOOD) - len(section(CIDS[1], TWO))}
    ends.add(len(header({"version": 1, "roots": [link(CIDS[0])]})))
    for length in range(len(GOOD)):
        if length not in ends:
            with pytest.raises(InvalidCar):
                read_car(GOOD[:length])


@pytest.mark.parametrize(
    "raw",
    [
        b"",
        b"\x00",
        b"\xff" * 20,
        b"\x80\x80\x80\x80\x80\x00",
        varint(5000) + bytes(5000),
        header({"version": 2, "roots": [link(CIDS[0])]}),
        header({"version": 1}),
        header({"version": 1, "roots": []}),
        header({"version": 1, "roots": [1]}),
        header({"version": 1, "roots": [b"bytes"]}),
        header({"version": 1, "roots": link(CIDS[0])}),
        header([1]),
        varint(3) + b"\xff\xff\xff",
        header({"version": 1, "roots": [link(CIDS[0])]}) + b"\x00",
        header({"version": 1, "roots": [link(CIDS[0])]}) + section(CIDS[0][:20], b""),
        header({"version": 1, "roots": [link(CIDS[0])]}) + section(b"\x12\x20" + bytes(34), ONE),
        header({"version": 1, "roots": [link(CIDS[0])]}) + section(b"\x01\x70" + CIDS[0][2:], ONE),
        header({"version": 1, "roots": [link(CIDS[0])]}) + b"\x80\x80\x80\x80\x80\x80",
        varint(4000) + b"\x81" * 3999 + b"\x00",
    ],
)
def test_what_is_not_a_car_is_an_invalid_car(raw: bytes) -> None:
    with pytest.raises(InvalidCar):
        read_car(raw, "did:plc:x")


def test_the_blessed_formats_of_cids() -> None:
    assert is_cid(CIDS[0])
    assert is_cbor_cid(CIDS[0])
    assert is_cid(b"\x01\x55" + CIDS[0][2:])
    assert not is_cbor_cid(b"\x01\x55" + CIDS[0][2:])
    assert not is_cid(CIDS[0] + b"\0")
    assert not is_cid(b"")


def test_the_header_is_dag_cbor_with_a_real_link() -> None:
    raw = cbor2.dumps({"version": 1, "roots": [cbor2.CBORTag(43, b"\0" + CIDS[0])]})
    with pytest.raises(InvalidCar):
        read_car(varint(len(raw)) + raw)


def test_a_header_may_have_fields_that_are_not_known() -> None:
    raw = header({"version": 1, "roots": [link(CIDS[0])], "made": "by hand"})
    assert read_car(raw + section(CIDS[0], ONE)) == read_car(car([CIDS[0]], [(CIDS[0], ONE)]))


def test_a_root_of_an_unknown_format_is_refused() -> None:
    for root in (b"\x01\x70" + CIDS[0][2:], b"\x12\x20" + bytes(34)):
        with pytest.raises(InvalidCar, match="root"):
            read_car(header({"version": 1, "roots": [link(root)]}))


@pytest.mark.parametrize("size", [0, 91, 92, 127, 128, 16_346, 16_347, 16_348, 100_000])
def test_blocks_of_every_length_of_their_length(size: int) -> None:
    block = bytes(size)
    cid = cid_of(block)
    raw = car([cid], [(cid, block), (CIDS[0], ONE)])
    assert read_car(raw).blocks == {cid: block, CIDS[0]: ONE}
    with pytest.raises(InvalidCar):
        read_car(raw[: -len(section(CIDS[0], ONE)) - 1])


def test_a_length_in_more_bytes_than_it_needs_is_read() -> None:
    raw = header({"version": 1, "roots": [link(CIDS[0])]})
    length = len(CIDS[0]) + len(ONE)
    for spelled in (bytes((length | 0x80, 0)), bytes((length | 0x80, 0x80, 0))):
        assert read_car(raw + spelled + CIDS[0] + ONE).blocks == {CIDS[0]: ONE}


def plainly(data: bytes) -> dict[bytes, bytes] | None:
    """The blocks of a CAR, read in the simplest way; None where it is not one."""
    at, found = 0, {}
    while at < len(data):
        length = shift = 0
        for shift in range(0, 28, 7):
            if at >= len(data):
                return None
            byte = data[at]
            at += 1
            length |= (byte & 0x7F) << shift
            if byte < 0x80:
                break
        else:
            return None
        cid, block = data[at : at + 36], data[at + 36 : at + length]
        if length < 36 or at + length > len(data):
            return None
        if not is_cid(cid) or sha256(block).digest() != cid[4:]:
            return None
        found[cid] = block
        at += length
    return found


@settings(max_examples=300, deadline=None)
@given(
    blocks=st.lists(st.binary(max_size=300), max_size=5),
    raw_codec=st.booleans(),
    change=st.none() | st.tuples(st.integers(0, 2_000), st.binary(max_size=3)),
)
def test_a_car_is_read_as_the_plain_reader_does(
    blocks: list[bytes], raw_codec: bool, change: tuple[int, bytes] | None
) -> None:
    start = header({"version": 1, "roots": [link(CIDS[0])]})
    codec = b"\x01\x55" if raw_codec else b"\x01\x71"
    body = b"".join(section(codec + cid_of(block)[2:], block) for block in blocks)
    if change is not None:
        at = change[0] % (len(body) + 1)
        body = body[:at] + change[1] + body[at + len(change[1]) :]
    expected = plainly(body)
    if expected is None:
        with pytest.raises(InvalidCar):
            read_car(start + body)
    else:
        assert read_car(start + body).blocks == expected
