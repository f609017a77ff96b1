"""Lists and searches, and what is on none of them."""

from __future__ import annotations

from typing import Any

import pytest

from atdex_lexicons import Cid
from tests.appview.index import (
    ALICE,
    BOB,
    Index,
    Node,
    dataset,
    label,
    lens,
    schema,
    verification,
)
from tests.appview.methods.serving import publish_schema, uris


def test_lists_are_filtered_by_everything_that_is_given(index: Index, node: Node) -> None:
    one, two = index.publish(ALICE, schema("One"), schema("Two"))
    [other] = index.publish(BOB, schema("One"))
    a, b = index.publish(
        ALICE, dataset("a", one.uri, tags=("x", "y")), dataset("b", two.uri, tags=("x",))
    )
    [c] = index.publish(BOB, dataset("c", one.uri, tags=("x",)))

    def listed(method: str, items: str, **params: Any) -> list[str]:
        return uris(node.ask(method, **params)[items])

    assert listed("listDatasets", "datasets") == [c.uri, b.uri, a.uri]
    assert listed("listDatasets", "datasets", tag="x", schema=one.uri) == [c.uri, a.uri]
    assert listed("listDatasets", "datasets", tag="x", schema=one.uri, publisher=BOB) == [c.uri]
    assert listed("listDatasets", "datasets", tag="%") == []
    assert listed("listSchemas", "schemas", name="One") == [other.uri, one.uri]
    assert listed("listSchemas", "schemas", name="One", publisher=ALICE) == [one.uri]
    there, back = index.publish(
        ALICE, lens("there", one.uri, two.uri), lens("back", two.uri, one.uri)
    )
    assert listed("listLenses", "lenses") == [back.uri, there.uri]
    assert listed("listLenses", "lenses", source=one.uri, target=two.uri) == [there.uri]
    assert listed("listLenses", "lenses", source=one.uri, target=one.uri) == []


@pytest.mark.parametrize("method", ["listDatasets", "searchDatasets"])
def test_a_walk_meets_every_dataset_once_while_others_are_written(
    index: Index, node: Node, method: str
) -> None:
    image = publish_schema(index)
    there = {
        put.uri
        for put in index.publish(ALICE, *(dataset(f"set {n}", image.uri) for n in range(25)))
    }
    met: list[str] = []
    for number, page in enumerate(node.walk(method, "datasets", limit=4, publisher=ALICE)):
        assert 0 < len(page) <= 4
        met += uris(page)
        index.publish(ALICE, dataset(f"later {number}", image.uri))
        # And one that was met is changed, which must not bring it back.
        changed = index.put(
            ALICE, dict(page[0]["record"], name="changed"), met[0].rpartition("/")[2]
        )
        index.commit(ALICE, changed)
    assert len(met) == len(set(met))
    assert there <= set(met)


def test_the_last_page_has_no_cursor_even_when_it_is_full(index: Index, node: Node) -> None:
    image = publish_schema(index)
    index.publish(ALICE, *(dataset(f"set {n}", image.uri) for n in range(4)))
    for method in ("listDatasets", "searchDatasets"):
        first = node.ask(method, limit=2)
        second = node.ask(method, limit=2, cursor=first["cursor"])
        assert len(second["datasets"]) == 2
        assert "cursor" not in second
        assert not set(uris(first["datasets"])) & set(uris(second["datasets"]))


def test_one_record_that_cannot_be_read_does_not_take_the_list_down(
    index: Index, node: Node
) -> None:
    good, bad = index.publish(ALICE, schema("good"), schema("bad"))
    for broken in (b'{"$type": "science.alt.dataset.schema"}', b"[]", b"{", b'{"name": 7}'):
        cid = str(Cid.of_raw(broken))
        index.commit(ALICE, bad._replace(cid=cid, json=broken, created=False))
        assert uris(node.ask("listSchemas")["schemas"]) == [good.uri]
        assert node.refused("getSchema", uri=bad.uri)[:2] == (404, "SchemaNotFound")


def test_search_finds_by_words_tags_schema_and_publisher(index: Index, node: Node) -> None:
    image = publish_schema(index)
    [retina] = index.publish(
        ALICE, dataset("Retina scans", image.uri, tags=("oct", "eye"), description="of the fundus")
    )
    index.publish(BOB, dataset("Street scenes", image.uri, tags=("oct",)))
    answer = node.ask("searchDatasets", q="retina")
    assert (uris(answer["datasets"]), answer["hitsTotal"]) == ([retina.uri], 1)
    [hit] = answer["datasets"]
    assert 0 < hit["score"] <= 1_000_000
    assert "<b>Retina</b>" in hit["highlights"]["name"]
    assert hit["schema"]["uri"] == image.uri

    def found(**params: Any) -> int:
        return int(node.ask("searchDatasets", **params)["hitsTotal"])

    assert found(q="fundus") == 1
    assert found(tags=["oct"]) == 2
    assert found(tags=["oct", "eye"]) == 1
    assert found(tags="oct", q="street") == 1
    assert found(schema=image.uri, publisher="bob.test") == 1
    assert found(schema=image.uri.replace("3", "4")) == 0
    assert found(q="nothing like it") == 0
    assert found(q='"') == found(q="AND OR ( ]^") == 0


def test_a_hidden_account_is_seen_nowhere_and_comes_back_whole(index: Index, node: Node) -> None:
    image = publish_schema(index, BOB)
    mine, other = index.publish(ALICE, dataset("mine", image.uri), dataset("more", image.uri))
    [grey] = index.publish(ALICE, lens("grey", image.uri, image.uri))
    index.publish(ALICE, label("set", mine.uri), verification(grey.uri, grey.cid))
    index.publish(BOB, label("set", mine.uri))

    def seen() -> list[Any]:
        return [
            node.ask("listDatasets"),
            node.ask("searchDatasets", q="mine"),
            node.ask("searchDatasets")["hitsTotal"],
            node.ask("listLenses"),
            node.ask("getDatasets", uris=[mine.uri])["notFound"],
            node.get("getDataset", uri=mine.uri).status_code,
            node.get("resolveLabel", publisher=ALICE, name="set").status_code,
            node.get("resolveLabel", publisher=BOB, name="set").status_code,
            node.ask("describeNode")["counts"],
            node.ask("getRecordStatus", uri=mine.uri),
        ]

    before = seen()
    index.set_status(ALICE, active=False, status="deactivated")
    hidden = seen()
    assert hidden[:8] == [
        {"datasets": []},
        {"datasets": [], "hitsTotal": 0},
        0,
        {"lenses": []},
        [mine.uri],
        404,
        404,
        404,
    ]
    assert hidden[8] == {
        "schemas": 1,
        "datasets": 0,
        "lenses": 0,
        "labels": 1,
        "verifications": 0,
        "publishers": 1,
    }
    assert hidden[9]["status"] == "unknown"
    assert ALICE not in node.get("listSchemas").text
    assert node.refused("listDatasets", publisher="alice.test")[0] == 400
    index.set_status(ALICE, active=True)
    assert seen() == before
    index.set_status(ALICE, active=False, status="takendown")
    assert node.ask("getRecordStatus", uri=mine.uri)["status"] == "takendown"
    index.set_status(ALICE, active=False, status="deleted")
    index.set_status(ALICE, active=True)
    assert node.ask("listDatasets") == {"datasets": []}
    assert node.refused("getDataset", uri=other.uri)[0] == 404
