"""URIs as numbers."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
from hypothesis import given
from hypothesis import strategies as st

from atdex_appview.graph.keys import RecordKeys
from tests.appview.records import ALICE, BOB, COLLECTIONS, rev

LENSES = COLLECTIONS["lens"]
RKEYS = (
    rev(1),
    rev(2),
    "2222222222222",
    "jzzzzzzzzzzzz",
    "kzzzzzzzzzzzz",
    "3K2aaaaaaaaaa",
    "self",
    "com.example.image-v1.0.0",
    "",
)
URIS = [f"at://{did}/{LENSES}/{rkey}" for did in (ALICE, BOB) for rkey in RKEYS]
URIS += ["at://did:plc:x", "", "no uri at all", f"at://{ALICE}/{LENSES}/{rev(1)} ^1.0.0"]


@given(st.lists(st.tuples(st.booleans(), st.sampled_from(URIS)), max_size=60))
def test_uris_are_found_by_number_and_numbers_by_uri(steps: list[tuple[bool, str]]) -> None:
    keys, model = RecordKeys(), dict[str, int]()
    for adding, uri in steps:
        if adding:
            key = keys.add(uri)
            assert model.setdefault(uri, key) == key
        elif uri in model:
            keys.remove(model.pop(uri))
        assert len(keys) == len(model)
        assert len(set(model.values())) == len(model)
    for uri in URIS:
        assert keys.find(uri) == model.get(uri)
    assert [keys.uri(key) for key in model.values()] == list(model)
    assert keys.uris(np.array(list(model.values()), np.int32)) == list(model)


def test_many_uris_come_and_go() -> None:
    keys = RecordKeys()
    uris = [f"at://{ALICE if n % 3 else BOB}/{LENSES}/{rev(n)}" for n in range(20_000)]
    numbers = [keys.add(uri) for uri in uris]
    for number in numbers[::2]:
        keys.remove(number)
    assert [keys.find(uri) for uri in uris[1::2]] == numbers[1::2]
    assert [keys.find(uri) for uri in uris[::2]] == [None] * 10_000
    again = [keys.add(uri) for uri in uris[::2]]
    assert sorted([*again, *numbers[1::2]]) == list(range(20_000))
    assert keys.uris(np.array(again, np.int32)) == uris[::2]


def test_uris_that_come_at_once_are_found_like_those_that_come_singly() -> None:
    rkeys = [rev(n) for n in range(5_000)] + list(RKEYS[2:])
    prefixes = [f"at://{did}/{LENSES}/" for did in (ALICE, BOB)]
    codes = np.arange(len(rkeys), dtype=np.int32) % 2
    keys = RecordKeys()
    # A part of a longer column: where it begins counts.
    column = pa.array(["x", *rkeys])[1:]
    made = keys.load(prefixes, codes, column)
    uris = [prefixes[code] + rkey for code, rkey in zip(codes, rkeys, strict=True)]
    assert made.tolist() == list(range(len(uris)))
    assert [keys.find(uri) for uri in uris] == made.tolist()
    assert keys.uris(made) == uris
    assert keys.with_prefix(prefixes[:1]) == made[codes == 0].tolist()
    assert keys.with_prefix(["at://nobody/"]) == []
    assert keys.find(f"at://{ALICE}/{LENSES}/{rev(5_000)}") is None


def test_none_at_once_are_none() -> None:
    keys = RecordKeys()
    assert len(keys.load([], np.zeros(0, np.int32), pa.array([], pa.string()))) == 0
    assert keys.uris(np.zeros(0, np.int32)) == []
