"""getLensPath and listReachableSchemas, over HTTP; every answer checked by its document."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from atdex_appview.store.base import Delete, Put
from atdex_lexicons.families import to_record
from atdex_lexicons.model import FieldOps
from tests.appview.index import (
    ALICE,
    BOB,
    NAMESPACE,
    Index,
    Node,
    lens,
    schema,
    verification,
)

NOBODY = "did:plc:nobody000000000000000000"


@pytest.fixture
def index(tmp_path: Path) -> Iterator[Index]:
    with Index.open(tmp_path) as opened:
        yield opened


@pytest.fixture
def node(index: Index) -> Iterator[Node]:
    with index.serve() as served:
        yield served


class Chain:
    """Schemas A, B, C, D, and lenses A to B, B to C, C to D and A to C."""

    def __init__(self, index: Index) -> None:
        self.schemas = index.publish(ALICE, *(schema(name) for name in "ABCD"))
        a, b, c, d = (put.uri for put in self.schemas)
        self.a, self.b, self.c, self.d = a, b, c, d
        ends = {"ab": (a, b), "bc": (b, c), "cd": (c, d), "ac": (a, c)}
        puts = index.publish(BOB, *(lens(name, *two) for name, two in ends.items()))
        self.lenses = dict(zip(ends, puts, strict=True))


@pytest.fixture
def chain(index: Index) -> Chain:
    return Chain(index)


def names(paths: list[Any]) -> list[list[str]]:
    return [[view["record"]["name"] for view in path["lenses"]] for path in paths]


def test_the_best_paths_come_first_each_with_its_lenses(node: Node, chain: Chain) -> None:
    found = node.ask("getLensPath", source=chain.a, target=chain.d, limit=10)["paths"]
    assert names(found) == [["ac", "cd"], ["ab", "bc", "cd"]]
    assert [path["hops"] for path in found] == [2, 3]
    assert [view["uri"] for view in found[0]["lenses"]] == [
        chain.lenses["ac"].uri,
        chain.lenses["cd"].uri,
    ]
    assert names(node.ask("getLensPath", source=chain.a, target=chain.d)["paths"]) == [["ac", "cd"]]


def test_a_schema_is_its_own_view(node: Node, chain: Chain) -> None:
    found = node.ask("getLensPath", source=chain.a, target=chain.a, limit=10)
    assert found == {"paths": [{"hops": 0, "lenses": []}]}


def test_handles_may_name_the_publisher(node: Node, chain: Chain) -> None:
    source = chain.a.replace(ALICE, "alice.test")
    assert node.ask("getLensPath", source=source, target=chain.b)["paths"][0]["hops"] == 1
    assert node.ask("listReachableSchemas", schema=source, direction="to") == {"schemas": []}


def test_no_path_and_no_schema_are_told_apart(node: Node, chain: Chain) -> None:
    status, error, message = node.refused("getLensPath", source=chain.d, target=chain.a)
    assert (status, error) == (404, "NoLensPath")
    assert "at most 4 lenses" in message and chain.d in message
    assert node.refused("getLensPath", source=chain.a, target=chain.d, maxHops=1)[1] == "NoLensPath"
    unknown = f"at://{NOBODY}/science.alt.dataset.schema/3k2aaaaaaaaa2"
    for ends in ({"source": unknown, "target": chain.a}, {"source": chain.a, "target": unknown}):
        status, error, message = node.refused("getLensPath", **ends)
        assert (status, error) == (404, "SchemaNotFound")
        assert unknown in message
    a_lens = chain.lenses["ab"].uri
    assert node.refused("getLensPath", source=a_lens, target=chain.a)[1] == "SchemaNotFound"
    assert node.refused("listReachableSchemas", schema=a_lens, direction="to")[1] == (
        "SchemaNotFound"
    )


@pytest.mark.parametrize(
    "wrong",
    [
        {"maxHops": 0},
        {"maxHops": 9},
        {"limit": 0},
        {"limit": 11},
        {"trust": "everyone"},
        {"verifiers": "alice"},
        {"source": f"at://{ALICE}"},
        {"target": "no uri"},
        {"source": "at://unknown.test/science.alt.dataset.schema/a"},
    ],
)
def test_parameters_out_of_bounds_are_refused(
    node: Node, chain: Chain, wrong: dict[str, object]
) -> None:
    params = {"source": chain.a, "target": chain.b} | wrong
    assert node.refused("getLensPath", **params)[:2] == (400, "InvalidRequest")


def test_trust_says_which_lenses_may_be_part_of_a_path(
    index: Index, node: Node, chain: Chain
) -> None:
    def ask(trust: str, **more: object) -> list[list[str]] | str:
        answer = node.get("getLensPath", source=chain.a, target=chain.c, trust=trust, **more).json()
        return names(answer["paths"]) if "paths" in answer else answer["error"]

    assert ask("any") == [["ac"]]
    assert ask("verified") == ask("declarative") == "NoLensPath"
    index.publish(
        ALICE,
        *(verification(chain.lenses[name].uri, chain.lenses[name].cid) for name in ("ab", "bc")),
    )
    assert ask("verified") == ask("verified", verifiers=[ALICE, BOB]) == [["ab", "bc"]]
    assert ask("verified", verifiers=[BOB]) == "NoLensPath"
    there = {"op": "rename", "from": "label", "to": "name"}
    ops = FieldOps((there, {"op": "rename", "from": "name", "to": "label"}))
    made = replace(lens("ops", chain.a, chain.c), getter=ops, putter=None)
    index.publish(BOB, made, family=NAMESPACE)
    assert ask("declarative") == [["ops"]]
    # Declarative ones go before those that are only older.
    assert ask("any", limit=2) == [["ops"], ["ac"]]
    index.publish(ALICE, verification(chain.lenses["ac"].uri, chain.lenses["ac"].cid))
    assert ask("any", limit=2) == [["ac"], ["ops"]]


def test_paths_follow_the_records_as_they_change(index: Index, node: Node, chain: Chain) -> None:
    def ask() -> list[list[str]] | str:
        answer = node.get("getLensPath", source=chain.a, target=chain.c, limit=10).json()
        return names(answer["paths"]) if "paths" in answer else answer["error"]

    assert ask() == [["ac"], ["ab", "bc"]]
    index.commit(BOB, Delete(chain.lenses["ac"].uri))
    assert ask() == [["ab", "bc"]]
    index.set_status(BOB, active=False, status="deactivated")
    assert ask() == "NoLensPath"
    index.set_status(BOB, active=True)
    assert ask() == [["ab", "bc"]]
    index.set_status(ALICE, active=False, status="takendown")
    assert ask() == "SchemaNotFound"
    index.set_status(ALICE, active=True)
    assert ask() == [["ab", "bc"]]
    index.set_status(BOB, active=False, status="deleted")
    assert ask() == "NoLensPath"


def test_a_lens_connects_when_its_schema_arrives(index: Index, node: Node) -> None:
    record = to_record(schema("Late"), "science.alt.dataset")
    late = index.put(ALICE, record)
    [early] = index.publish(ALICE, schema("Early"))
    index.publish(BOB, lens("waiting", early.uri, late.uri))
    assert index.graph.counts().dangling == 1
    ends = {"source": early.uri, "target": late.uri}
    assert node.refused("getLensPath", **ends)[1] == "SchemaNotFound"
    index.commit(ALICE, late)
    assert names(node.ask("getLensPath", **ends)["paths"]) == [["waiting"]]


def test_a_lens_for_a_range_of_versions_leads_from_each_of_them(index: Index, node: Node) -> None:
    def published(version: str) -> Put:
        record = to_record(schema("Image", version), "science.alt.dataset")
        return index.put(ALICE, record, rkey=f"com.example.image-v{version}")

    puts = [published(version) for version in ("1.0.0", "1.5.0", "2.0.0")]
    index.commit(ALICE, *puts)
    [grey] = index.publish(ALICE, schema("Grey"))
    index.publish(BOB, replace(lens("grey", puts[0].uri, grey.uri), source_version="^1.0.0"))
    for put in puts[:2]:
        assert node.ask("getLensPath", source=put.uri, target=grey.uri)["paths"][0]["hops"] == 1
    assert node.refused("getLensPath", source=puts[2].uri, target=grey.uri)[1] == "NoLensPath"
    reached = node.ask("listReachableSchemas", schema=grey.uri, direction="to")["schemas"]
    assert [row["view"]["version"] for row in reached] == ["1.0.0", "1.5.0"]


def test_what_is_reachable_comes_nearest_first_in_both_directions(node: Node, chain: Chain) -> None:
    def ask(uri: str, direction: str, **more: object) -> list[tuple[str, int]]:
        rows = node.ask("listReachableSchemas", schema=uri, direction=direction, **more)["schemas"]
        return [(row["view"]["name"], row["hops"]) for row in rows]

    assert ask(chain.a, "from") == [("B", 1), ("C", 1), ("D", 2)]
    assert ask(chain.a, "from", maxHops=1) == [("B", 1), ("C", 1)]
    assert ask(chain.d, "to") == [("C", 1), ("A", 2), ("B", 2)]
    assert ask(chain.d, "from") == []


def test_pages_hold_each_schema_once(index: Index, node: Node, chain: Chain) -> None:
    pages = node.walk("listReachableSchemas", "schemas", schema=chain.a, direction="from", limit=1)
    found = []
    for number, page in enumerate(pages):
        found += [row["view"]["name"] for row in page]
        if number == 0:
            # D comes as near as those that were shown already, C goes farther.
            index.publish(BOB, lens("ad", chain.a, chain.d))
            index.commit(BOB, Delete(chain.lenses["ac"].uri))
    assert found == ["B", "C", "D"]


def test_a_cursor_fits_its_own_list_alone(node: Node, chain: Chain) -> None:
    asked: dict[str, Any] = {"schema": chain.a, "direction": "from", "limit": 1}
    cursor = node.ask("listReachableSchemas", **asked)["cursor"]
    for other in ({"direction": "to"}, {"maxHops": 3}, {"schema": chain.b}):
        status, error, _ = node.refused("listReachableSchemas", **asked | other, cursor=cursor)
        assert (status, error) == (400, "InvalidRequest")
    assert node.ask("listReachableSchemas", **asked | {"limit": 2}, cursor=cursor)["schemas"]
