"""searchDatasets and listLabels, over HTTP; every answer checked by its document."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from atdex_appview import viewable
from atdex_appview.store.base import Delete
from atdex_lexicons import Catalog
from tests.appview.index import (
    ALICE,
    BOB,
    NAMESPACE,
    Index,
    Node,
    dataset,
    label,
    lens,
    schema,
)

METHOD = "searchDatasets"
NOWHERE = f"at://{ALICE}/science.alt.dataset.schema/3knowhere2222"


@pytest.fixture
def index(tmp_path: Path) -> Iterator[Index]:
    with Index.open(tmp_path) as opened:
        yield opened


@pytest.fixture
def node(index: Index) -> Iterator[Node]:
    with index.serve() as served:
        yield served


def names(answer: Any) -> list[str]:
    return [view["record"]["name"] for view in answer["datasets"]]


class Chain:
    """Schemas A to E, lenses A to B, B to C, C to D, and a dataset of each schema; E is apart."""

    def __init__(self, index: Index) -> None:
        self.schemas = [put.uri for put in index.publish(ALICE, *(schema(n) for n in "ABCDE"))]
        self.a, self.b, self.c, self.d, self.e = self.schemas
        ends = zip(self.schemas[:3], self.schemas[1:4], strict=True)
        self.lenses = index.publish(BOB, *(lens(f"lens{n}", *two) for n, two in enumerate(ends)))
        self.datasets = index.publish(
            ALICE, *(dataset(f"of {n}", uri) for n, uri in zip("ABCDE", self.schemas, strict=True))
        )


def test_viewable_as_finds_what_lenses_lead_from_each_with_its_path(
    index: Index, node: Node
) -> None:
    chain = Chain(index)
    answer = node.ask(METHOD, viewableAs=chain.d)
    assert names(answer) == ["of D", "of C", "of B", "of A"]
    assert (answer["hitsTotal"], answer["maxHops"]) == (4, 4)
    uris = [put.uri for put in chain.lenses]
    assert [view["path"] for view in answer["datasets"]] == [
        {"hops": 3 - at, "lenses": uris[at:]} for at in (3, 2, 1, 0)
    ]
    near = node.ask(METHOD, viewableAs=chain.d, maxHops=1)
    assert (names(near), near["hitsTotal"], near["maxHops"]) == (["of D", "of C"], 2, 1)
    assert names(node.ask(METHOD, viewableAs=chain.a)) == ["of A"]
    assert names(node.ask(METHOD, viewableAs=chain.d, schema=chain.b)) == ["of B"]
    assert names(node.ask(METHOD, viewableAs=chain.d, q="A")) == ["of A"]
    assert "path" not in node.ask(METHOD)["datasets"][0]


def test_viewable_as_follows_the_lenses(index: Index, node: Node) -> None:
    chain = Chain(index)
    index.commit(BOB, Delete(chain.lenses[1].uri))
    assert names(node.ask(METHOD, viewableAs=chain.d)) == ["of D", "of C"]
    index.publish(ALICE, lens("around", chain.e, chain.d), lens("on", chain.a, chain.e))
    assert names(node.ask(METHOD, viewableAs=chain.d)) == ["of E", "of D", "of C", "of A"]


def test_what_nobody_has_the_schema_of_is_viewable_as_itself(index: Index, node: Node) -> None:
    index.publish(ALICE, dataset("lost", NOWHERE))
    answer = node.ask(METHOD, viewableAs=NOWHERE)
    assert names(answer) == ["lost"]
    assert answer["datasets"][0]["path"] == {"hops": 0, "lenses": []}


def test_where_very_many_schemas_are_near_whole_rings_are_taken_and_the_answer_says_so(
    index: Index, node: Node, monkeypatch: pytest.MonkeyPatch
) -> None:
    chain = Chain(index)
    for few, hops, found in ((0, 1, 2), (1, 1, 2), (2, 2, 3), (3, 4, 4)):
        monkeypatch.setattr(viewable, "FEW_SCHEMAS", few)
        answer = node.ask(METHOD, viewableAs=chain.d)
        assert (answer["maxHops"], answer["hitsTotal"]) == (hops, found)
        assert node.ask(METHOD, viewableAs=chain.d, maxHops=3)["hitsTotal"] == 4


def test_the_filters_combine(index: Index, node: Node) -> None:
    uris = [put.uri for put in index.publish(ALICE, schema("A"), schema("B"))]
    puts = [
        index.publish(
            (ALICE, BOB)[n % 2],
            replace(
                dataset(f"eye {n}", uris[n % 3 == 0], tags=("x",) if n < 8 else ()),
                license=("MIT", "CC0-1.0")[n % 5 == 0],
                sample_count=n * 10,
            ),
            family=NAMESPACE,
        )[0]
        for n in range(12)
    ]
    first_seen = {
        view["uri"]: view["firstSeen"] for view in node.ask(METHOD, limit=100)["datasets"]
    }
    moments = [first_seen[put.uri] for put in puts]

    def found(**params: Any) -> list[int]:
        answer = node.ask(METHOD, q="eye", **params)
        assert answer["hitsTotal"] == len(answer["datasets"])
        return [int(name.split()[1]) for name in names(answer)]

    assert found(license="mit", minSamples=20, maxSamples=80) == [8, 7, 6, 4, 3, 2]
    assert found(license="MIT", publisher=ALICE, tags="x", schema=uris[0]) == [4, 2]
    assert found(since=moments[3], until=moments[6]) == [5, 4, 3]
    assert found(since=moments[3], until=moments[6], publisher="bob.test") == [5, 3]
    assert found(minSamples=110) == [11]
    assert found(sort="largest", maxSamples=20) == [2, 1, 0]
    assert found(license="nothing") == []


def test_facets_say_how_the_hits_are_spread(index: Index, node: Node) -> None:
    uris = [put.uri for put in index.publish(ALICE, schema("Image", "1.2.0"))]
    for did, name in ((ALICE, "eye a"), (ALICE, "eye b"), (BOB, "eye c")):
        index.publish(did, replace(dataset(name, uris[0], tags=("x", name)), license="MIT"))
    index.publish(BOB, dataset("ear", NOWHERE))
    answer = node.ask(METHOD, q="eye", limit=1, facets=["schemas", "publishers", "licenses"])
    assert answer["facets"] == [
        {
            "name": "schemas",
            "values": [{"value": uris[0], "count": 3, "title": "Image 1.2.0"}],
            "more": False,
        },
        {
            "name": "publishers",
            "values": [
                {"value": ALICE, "count": 2, "title": "alice.test"},
                {"value": BOB, "count": 1, "title": "bob.test"},
            ],
            "more": False,
        },
        {"name": "licenses", "values": [{"value": "MIT", "count": 3}], "more": False},
    ]
    assert node.ask(METHOD, facets="tags", publisher=BOB)["facets"][0]["values"] == [
        {"value": "eye c", "count": 1},
        {"value": "x", "count": 1},
    ]
    assert "facets" not in node.ask(METHOD)


def test_an_answer_says_that_typos_were_forgiven(index: Index, node: Node) -> None:
    index.publish(ALICE, dataset("Retina scans", NOWHERE))
    answer = node.ask(METHOD, q="retnia")
    assert (names(answer), answer["fuzzy"]) == (["Retina scans"], True)
    assert answer["datasets"][0]["highlights"] == {"name": "<b>Retina</b> scans"}
    assert "fuzzy" not in node.ask(METHOD, q="retina")
    assert "fuzzy" not in node.ask(METHOD, q="ophthalmology")


def test_the_publishers_labels_break_ties_of_relevance_as_they_come_and_go(
    index: Index, node: Node
) -> None:
    old, new = index.publish(ALICE, dataset("eye 1", NOWHERE), dataset("eye 2", NOWHERE))
    named = index.publish(ALICE, label("v1", old.uri), label("v2", old.uri))
    index.publish(BOB, label("best", new.uri))

    def order(**params: Any) -> list[str]:
        return names(node.ask(METHOD, q="eye", **params))

    assert order() == ["eye 1", "eye 2"]
    assert order(sort="newest") == names(node.ask(METHOD)) == ["eye 2", "eye 1"]
    index.commit(ALICE, Delete(named[0].uri))
    assert order() == ["eye 1", "eye 2"]
    index.commit(ALICE, Delete(named[1].uri))
    assert order() == ["eye 2", "eye 1"]


WRONG: list[tuple[dict[str, Any], str]] = [
    ({"q": " ".join(f"w{n}" for n in range(17))}, "at most 16 different words and phrases"),
    ({"minSamples": 5, "maxSamples": 4}, "minSamples: it is more than maxSamples"),
    ({"since": "2026-01-02T00:00:00Z", "until": "2026-01-02T00:00:00Z"}, "not before until"),
    ({"since": "yesterday"}, "since"),
    ({"sort": "oldest"}, "sort"),
    ({"facets": "colours"}, "facets"),
    ({"minSamples": -1}, "minSamples"),
    ({"viewableAs": "nothing"}, "viewableAs"),
    ({"maxHops": 2}, "give that too"),
    ({"viewableAs": NOWHERE, "maxHops": 9}, "maxHops"),
]


@pytest.mark.parametrize(("params", "says"), WRONG)
def test_what_cannot_be_searched_for_is_refused_with_the_reason(
    node: Node, params: dict[str, Any], says: str
) -> None:
    status, error, message = node.refused(METHOD, **params)
    assert (status, error) == (400, "InvalidRequest")
    assert says in message


def test_every_parameter_of_the_document_has_an_effect(index: Index, node: Node) -> None:
    chain = Chain(index)
    index.publish(
        BOB,
        replace(dataset("a tagged one", chain.e, tags=("x",)), license="MIT", sample_count=7),
        family=NAMESPACE,
    )
    views = node.ask(METHOD)["datasets"]
    cursor = node.ask(METHOD, limit=1)["cursor"]
    effects: dict[str, dict[str, Any]] = {
        "q": {"q": "tagged"},
        "tags": {"tags": "x"},
        "schema": {"schema": chain.a},
        "viewableAs": {"viewableAs": chain.d},
        "maxHops": {"viewableAs": chain.d, "maxHops": 1},
        "publisher": {"publisher": BOB},
        "license": {"license": "MIT"},
        "minSamples": {"minSamples": 1},
        "maxSamples": {"maxSamples": 10},
        "since": {"since": views[0]["firstSeen"]},
        "until": {"until": views[0]["firstSeen"]},
        "sort": {"sort": "largest", "q": "of"},
        "facets": {"facets": "tags"},
        "limit": {"limit": 1},
        "cursor": {"limit": 1, "cursor": cursor},
    }
    document = Catalog.bundled().document(f"{NAMESPACE}.{METHOD}")
    federated = {"federate"}  # tests of federation are about it
    assert set(effects) | federated == set(document["defs"]["main"]["parameters"]["properties"])
    for name, params in effects.items():
        without = {key: value for key, value in params.items() if key != name}
        assert node.ask(METHOD, **params) != node.ask(METHOD, **without), name


@pytest.mark.parametrize("sort", ["relevance", "newest", "largest"])
@pytest.mark.parametrize("q", ["eye", "", "eyye"])
def test_a_full_walk_meets_each_dataset_once_while_records_and_lenses_come_and_go(
    index: Index, node: Node, q: str, sort: str
) -> None:
    uris = [put.uri for put in index.publish(ALICE, schema("A"), schema("B"), schema("C"))]
    index.publish(BOB, lens("ac", uris[0], uris[2]))
    between = index.publish(BOB, lens("bc", uris[1], uris[2]))
    there = index.publish(
        ALICE,
        *(
            replace(
                dataset(("eye", "an eye")[n % 2], uris[n % 3]), sample_count=(None, 5, n)[n % 3]
            )
            for n in range(24)
        ),
        family=NAMESPACE,
    )
    found: list[str] = []
    pages = node.walk(METHOD, "datasets", q=q, sort=sort, viewableAs=uris[2], limit=5)
    for number, page in enumerate(pages):
        found += [view["uri"] for view in page]
        index.publish(ALICE, dataset("eye", uris[0]), label("v", there[number].uri))
        index.commit(BOB, between[0] if number % 2 else Delete(between[0].uri))
    assert len(found) == len(set(found))
    # Those of B could be viewed as C only some of the time.
    assert {put.uri for n, put in enumerate(there) if n % 3 != 1} <= set(found)


def test_labels_are_listed_by_dataset_and_by_publisher(index: Index, node: Node) -> None:
    one, two = index.publish(ALICE, dataset("one", NOWHERE), dataset("two", NOWHERE))
    index.publish(ALICE, label("v1", one.uri, "1.0.0"), label("v1", two.uri))
    index.publish(BOB, label("liked", one.uri))

    def listed(**params: Any) -> list[tuple[str, str]]:
        found = [view for page in node.walk("listLabels", "labels", **params) for view in page]
        return [(view["name"], view["dataset"]) for view in found]

    assert listed() == [("liked", one.uri), ("v1", two.uri), ("v1", one.uri)]
    assert listed(limit=1) == listed()
    assert listed(dataset=one.uri) == [("liked", one.uri), ("v1", one.uri)]
    assert listed(publisher="alice.test") == [("v1", two.uri), ("v1", one.uri)]
    assert listed(publisher=BOB, dataset=two.uri) == []
    assert node.ask("listLabels", dataset=one.uri)["labels"][1]["version"] == "1.0.0"
