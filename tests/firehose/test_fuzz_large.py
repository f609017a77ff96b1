"""Inputs as large as they may be, made to cost time or memory."""

from __future__ import annotations

import gc
import json
import time
from pathlib import Path
from random import Random

import pytest

from atdex_firehose import limits
from atdex_firehose.commit import parse_commit_object
from atdex_firehose.errors import InvalidCommit, InvalidEvent, InvalidFrame
from atdex_firehose.frames import split
from atdex_firehose.jetstream import RECORD_ITEMS, parse_message, read_message
from tests.firehose import fuzz_inputs
from tests.firehose.fuzz import Run, bounded
from tests.firehose.fuzz_targets import TARGETS, check_frame
from tests.support.jetstream import commit_message
from tests.support.mst import cid_of, encode
from tests.support.repo import car, frame, tid

FILLINGS = {
    "lists": b"\x80",
    "maps": b"\xa0",
    "lists in lists": b"\x81\x80",
    "maps of lists": b"\xa1\x60\x80",
    "numbers": b"\x00",
    "floats": b"\xfb\x3f\xf1\x99\x99\x99\x99\x99\x9a",
    "texts": b"\x61a",
    "links": b"\xd8\x2a\x58\x25\x00\x01\x71\x12\x20" + b"\0" * 32,
}


def filled(name: str, size: int) -> bytes:
    """An array of as many of these as have about `size` bytes, as CBOR."""
    one = FILLINGS[name]
    count = size // len(one)
    return b"\x9a" + count.to_bytes(4, "big") + one * count


def with_field(raw: bytes, field: str, value: bytes) -> bytes:
    """A frame with one field more at the end of its body, which must stay in order."""
    end = len(encode({"op": 1, "t": "#commit"}))
    body = raw[end:]
    assert 0xA0 <= body[0] < 0xB7
    return raw[:end] + bytes([body[0] + 1]) + body[1:] + encode(field) + value


@pytest.mark.parametrize("name", FILLINGS)
def test_a_frame_full_of_small_things_costs_little(name: str, tmp_path: Path) -> None:
    raw = fuzz_inputs.pack(Random(0), fuzz_inputs.draft_of(4, 0, whole=True))
    large = with_field(raw, "z" * 20, filled(name, limits.FRAME_BYTES - len(raw) - 40))
    assert len(large) > 0.99 * limits.FRAME_BYTES
    run = Run(TARGETS, tmp_path)
    run.check("commit", large)
    if len(FILLINGS[name]) < 40:
        with pytest.raises(InvalidFrame, match="items"):
            split(large)
    run.close()


def test_an_honest_frame_may_be_as_large_as_its_blocks() -> None:
    made = fuzz_inputs.draft_of(4, 0, whole=True)
    for n in range(3):
        block = encode({"x": bytes([n]) * 600_000})
        made.records[cid_of(block)] = block
    for n in range(1_000):
        block = encode({"n": n})
        made.records[cid_of(block)] = block
    raw = fuzz_inputs.pack(Random(0), made)
    assert len(raw) > 1_800_000
    assert check_frame(raw)


@pytest.mark.parametrize("name", FILLINGS)
def test_a_commit_object_full_of_small_things_is_refused_at_once(name: str, tmp_path: Path) -> None:
    block = b"\xa1\x61x" + filled(name, 1_900_000)
    run = Run(TARGETS, tmp_path)
    run.check("object", block)
    with pytest.raises(InvalidCommit, match="over 10000"):
        parse_commit_object(block, fuzz_inputs.REPO_DID)
    run.close()


def test_a_car_of_the_smallest_blocks_costs_little(tmp_path: Path) -> None:
    made = fuzz_inputs.draft_of(4, 0, whole=True)
    cid, block = made.sign()
    small = [(cid_of(b"%c" % n), b"%c" % n) for n in range(24)]
    raw = car([cid], [(cid, block), *small * 2_200])
    assert len(raw) > 1_900_000
    run = Run(TARGETS, tmp_path)
    run.check("car", raw)
    run.check("commit", frame("#commit", {"seq": 1, "blocks": raw}))
    run.close()


@pytest.mark.parametrize("value", ["[]", "{}", "0", '""', "[[]]", '{"":[]}', '{"$link":""}'])
def test_a_record_full_of_small_things_costs_little(value: str) -> None:
    message = commit_message(1, fuzz_inputs.REPO_DID, tid(0), "app.test.note/a", {"x": "here"})
    text = ",".join([value] * (2_900_000 // (len(value) + 1)))
    raw = json.dumps(message).replace('"here"', f"[{text}]").encode()
    assert len(raw) > 2_800_000
    gc.freeze()  # what else the test process holds is not what is measured
    try:
        with bounded(), pytest.raises(InvalidEvent, match=f"more than {RECORD_ITEMS} values"):
            parse_message(read_message(raw)[1], 1)
    finally:
        gc.unfreeze()


def test_a_number_of_items_is_counted_through_strings_and_stops_where_it_is_not_cbor() -> None:
    started = time.process_time()
    body = b"\xa1\x61x\x5a\x00\x4c\x00\x00" + b"\x80" * 0x4C0000
    assert split(encode({"op": 1, "t": "#x"}) + body)[0] == ""
    for broken in (b"\x1c", b"\xff", b"\x5b" + b"\xff" * 8, b"\x9f"):
        with pytest.raises(InvalidFrame):
            split(broken + b"\x80" * 4_000_000)
    assert time.process_time() - started < 1.0
