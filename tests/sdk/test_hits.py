from __future__ import annotations

from collections.abc import Iterator
from itertools import islice
from typing import Any

import pytest

import atdex
from atdex.errors import RecordMismatch, RecordRefused
from atdex_lexicons.datamodel import DEPTH_MAX
from tests.sdk.fake_node import HANDLE, SCHEMA, FakeNode, entry, fake_node, key, uri

SHARD = {
    "url": "https://example.org/x.tar",
    "checksum": {"algorithm": "sha256", "digest": "0" * 64},
}


@pytest.fixture
def node() -> Iterator[FakeNode]:
    with fake_node() as node:
        yield node


def fill(node: FakeNode, count: int) -> list[str]:
    """Datasets named set-0, set-1, …"""
    return [
        node.put(
            uri("entry", key(i)),
            entry(f"set-{i}", [SHARD], description="d", tags=["t"]),
        )
        for i in range(count)
    ]


def test_a_hit_says_what_the_record_and_the_node_say(node: FakeNode) -> None:
    (at,) = fill(node, 1)
    (hit,) = atdex.search("set", node=node.url)
    assert (hit.uri, hit.name, hit.description, hit.tags) == (at, "set-0", "d", ("t",))
    assert (hit.handle, hit.shard_count, hit.checksummed) == (HANDLE, 1, True)
    assert hit.schema is not None
    assert (hit.schema.uri, hit.schema.name, hit.schema.version) == (SCHEMA, "Fix", "1.0.0")
    assert (hit.score, hit.highlights) == (1.5, {"name": "<b>x</b>"})
    assert "set-0" in repr(hit)


def test_a_hit_says_whether_a_signature_stands_behind_it(node: FakeNode) -> None:
    signed, unsigned = fill(node, 2)
    node.lies[unsigned] = {"verified": False}
    verified = {hit.uri: hit.verified for hit in atdex.search("set", node=node.url)}
    assert verified == {signed: True, unsigned: False}


def test_pages_are_asked_for_as_they_are_needed_and_each_once(node: FakeNode) -> None:
    uris = fill(node, 230)
    results = atdex.search("set", limit=None, node=node.url)
    assert node.asked == []
    assert [hit.uri for hit in islice(results, 3)] == uris[:3]
    assert len(node.asked) == 1
    assert results.total == 230
    assert [hit.uri for hit in results] == uris
    assert [hit.uri for hit in results] == uris
    assert len(node.asked) == 3


@pytest.mark.parametrize("limit", [0, 1, 25, 100, 101, 150])
def test_the_limit_is_the_number_of_hits_in_all(limit: int, node: FakeNode) -> None:
    fill(node, 130)
    results = atdex.search("set", limit=limit, node=node.url)
    assert len(list(results)) == min(limit, 130)
    assert results.total == 130


def test_every_filter_reaches_the_node(node: FakeNode) -> None:
    fill(node, 1)
    list(atdex.search("q", tags=["a", "b"], schema=SCHEMA, publisher=HANDLE, node=node.url))
    params = node.asked[0][1]
    assert params["q"] == "q"
    assert params["tags"] == ["a", "b"]
    assert params["schema"] == SCHEMA
    assert params["publisher"] == HANDLE
    list(atdex.search(node=node.url))
    assert "q" not in node.asked[1][1]


def test_a_bad_record_is_left_out_with_its_reason_and_the_others_stay(node: FakeNode) -> None:
    uris = fill(node, 4)
    node.lies[uris[1]] = {"record": entry("forged set", [SHARD])}
    node.records[uris[2]]["name"] = "set " + "x" * 5000
    results = atdex.search("set", node=node.url)
    assert [hit.uri for hit in results] == [uris[0], uris[3]]
    assert [type(error) for error in results.refused] == [RecordMismatch, RecordRefused]


def test_a_record_of_as_many_levels_as_allowed_does_not_spoil_its_page(node: FakeNode) -> None:
    uris = fill(node, 3)
    deep: dict[str, Any] = {}
    for _ in range(DEPTH_MAX - 2):
        deep = {"a": deep}
    node.records[uris[1]]["metadata"] = deep
    results = atdex.search("set", node=node.url)
    assert [hit.uri for hit in results] == uris
    assert not results.refused


def test_arguments_that_make_no_sense_are_refused() -> None:
    with pytest.raises(TypeError, match="sequence of tags"):
        atdex.search("x", tags="abc", node="http://127.0.0.1:9")
    with pytest.raises(ValueError, match="limit is -1"):
        atdex.search("x", limit=-1, node="http://127.0.0.1:9")
