from __future__ import annotations

import cbor2
import pytest

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
