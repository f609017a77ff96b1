"""The queries of `science.alt.dataset`, called as that family's clients call them.

Every answer was validated by the server against its document.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from atdex_lexicons import Catalog, Cid
from atdex_lexicons.families import to_record
from atdex_lexicons.model import BlobShard
from tests.appview.index import (
    ALICE,
    BOB,
    CLASSIC,
    NAMESPACE,
    Index,
    Node,
    dataset,
    error_of,
    label,
    lens,
    schema,
)
from tests.support.expected import ATDATA

METHODS = (
    *("resolveLabel", "resolveSchema", "resolveBlobs", "getEntry", "getEntries", "getSchema"),
    *("listEntries", "listSchemas", "listLenses", "searchDatasets", "searchLenses"),
    "describeService",
)
CONTENT = str(Cid.of_raw(b"a shard"))


def ask(node: Node, method: str, **params: Any) -> Any:
    response = node.http.get(f"/xrpc/{CLASSIC}.{method}", params=params)
    assert response.status_code == 200, response.text
    return response.json()


def refused(node: Node, method: str, **params: Any) -> tuple[int, str]:
    return error_of(node.http.get(f"/xrpc/{CLASSIC}.{method}", params=params))[:2]


def walk(node: Node, method: str, items: str, **params: Any) -> Iterator[Any]:
    """As the atdata client pages: it stops at an empty page too."""
    cursor: str | None = None
    while True:
        answer = ask(node, method, **params, **({"cursor": cursor} if cursor else {}))
        yield from answer[items]
        cursor = answer.get("cursor")
        if not cursor or not answer[items]:
            return


@pytest.fixture
def index(tmp_path: Path) -> Iterator[Index]:
    with Index.open(tmp_path) as opened:
        yield opened


def fixture(name: str) -> dict[str, Any]:
    loaded: dict[str, Any] = json.loads((ATDATA / f"{name}.json").read_text())["value"]
    return loaded


def test_every_query_has_a_document_and_is_served(index: Index) -> None:
    catalog = Catalog.bundled()
    assert all(catalog.kind(f"{CLASSIC}.{name}") == "query" for name in METHODS)
    with index.serve() as node:
        served = node.http.get("/").json()["methods"]
        assert {f"/xrpc/{CLASSIC}.{name}" for name in METHODS} <= set(served)


def test_an_entry_is_its_record_with_where_it_is(index: Index) -> None:
    record = fixture("entry_http")
    put = index.put(ALICE, record | {"license": None})
    index.commit(ALICE, put)
    with index.serve() as node:
        entry = ask(node, "getEntry", uri=put.uri)["entry"]
        assert (entry["uri"], entry["cid"], entry["did"]) == (put.uri, put.cid, ALICE)
        assert "license" not in entry
        kept = {name: value for name, value in record.items() if value is not None}
        assert {name: entry[name] for name in kept if name != "license"} == {
            name: value for name, value in kept.items() if name != "license"
        }
        assert ask(node, "getEntry", uri=put.uri.replace(ALICE, "alice.test"))["entry"] == entry
        assert ask(node, "getEntries", uris=[put.uri])["entries"] == [entry]
        assert ask(node, "listEntries")["entries"] == [entry]
        assert ask(node, "searchDatasets", q=entry["name"])["entries"] == [entry]


@pytest.mark.parametrize("name", ["schema", "schema_view"])
def test_a_schema_is_answered_as_its_publisher_wrote_it(index: Index, name: str) -> None:
    """The atdata client reads the dialect that it writes, and nothing else."""
    record = fixture(name)
    put = index.put(ALICE, record)
    index.commit(ALICE, put)
    with index.serve() as node:
        answer = ask(node, "getSchema", uri=put.uri)
        assert answer["schema"] == record["schema"]
        found = ask(node, "resolveSchema", handle="alice.test", schemaId=record["name"])
        assert (found["uri"], found["cid"], found["record"]) == (put.uri, put.cid, answer)


def test_records_of_other_families_and_kinds_are_not_entries(index: Index) -> None:
    (mine,) = index.publish(ALICE, schema())
    (entry,) = index.publish(ALICE, dataset("eyes", mine.uri))
    (own_schema,) = index.publish(ALICE, schema("Other"), family=NAMESPACE)
    (own,) = index.publish(ALICE, dataset("eyes", mine.uri), family=NAMESPACE)
    with index.serve() as node:
        assert [each["uri"] for each in walk(node, "listEntries", "entries")] == [entry.uri]
        assert [each["uri"] for each in walk(node, "listSchemas", "schemas")] == [mine.uri]
        found = ask(node, "searchDatasets", q="eyes", limit=1)
        assert [each["uri"] for each in found["entries"]] == [entry.uri]
        assert "cursor" not in found
        for uri in (own.uri, mine.uri, f"at://{ALICE}/{CLASSIC}.entry/3kunknown0000"):
            assert refused(node, "getEntry", uri=uri) == (404, "EntryNotFound")
        assert refused(node, "getSchema", uri=own_schema.uri) == (404, "SchemaNotFound")
        assert refused(node, "getEntry", uri="nonsense") == (400, "InvalidRequest")
        assert ask(node, "getEntries", uris=[own.uri, entry.uri, entry.uri])["entries"] == [
            ask(node, "getEntry", uri=entry.uri)["entry"]
        ]
        counts = ask(node, "describeService")
        assert counts["did"] == "did:web:index.example"
        assert counts["availableCollections"] == list(counts["recordCount"])
        assert {name: count for name, count in counts["recordCount"].items() if count} == {
            f"{CLASSIC}.schema": 1,
            f"{CLASSIC}.entry": 1,
        }


def test_pages_of_entries_meet_each_once_and_filter_by_repo(index: Index) -> None:
    (mine,) = index.publish(ALICE, schema())
    puts = [
        *index.publish(ALICE, *(dataset(f"cats {n}", mine.uri) for n in range(7))),
        *index.publish(BOB, *(dataset(f"dogs and cats {n}", mine.uri) for n in range(4))),
    ]
    newest_first = [put.uri for put in reversed(puts)]
    with index.serve() as node:
        walked = [each["uri"] for each in walk(node, "listEntries", "entries", limit=3)]
        assert walked == newest_first
        of_bob = walk(node, "listEntries", "entries", limit=2, repo="bob.test")
        assert [each["uri"] for each in of_bob] == newest_first[:4]
        hits = [each["uri"] for each in walk(node, "searchDatasets", "entries", q="cats", limit=2)]
        assert sorted(hits) == sorted(newest_first)
        for more in ({"repo": BOB}, {"q": "dogs"}):
            narrowed = walk(node, "searchDatasets", "entries", **{"q": "cats", "limit": 3} | more)
            assert [each["uri"] for each in narrowed] == newest_first[:4]
        assert len(ask(node, "searchDatasets", schemaRef=mine.uri)["entries"]) == 11
        assert refused(node, "listEntries", limit=101) == (400, "InvalidRequest")
        assert refused(node, "listEntries", cursor="x") == (400, "InvalidRequest")
        cursor = ask(node, "listEntries", limit=2)["cursor"]
        assert refused(node, "listSchemas", cursor=cursor) == (400, "InvalidRequest")


def test_search_takes_the_tags_that_an_entry_has_all_of(index: Index) -> None:
    (mine,) = index.publish(ALICE, schema())
    (both, _) = index.publish(
        ALICE,
        dataset("one", mine.uri, tags=("eye", "50%_off")),
        dataset("two", mine.uri, tags=("eye",)),
    )
    with index.serve() as node:
        found = ask(node, "searchDatasets", q="", tags=["eye", "50%_off"])["entries"]
        assert [each["uri"] for each in found] == [both.uri]
        assert found[0]["tags"] == ["eye", "50%_off"]


def test_lenses_are_found_by_source_and_target_and_not_by_either(index: Index) -> None:
    a, b, c = (put.uri for put in index.publish(ALICE, schema("A"), schema("B"), schema("C")))
    ab, ac, cb = index.publish(ALICE, lens("ab", a, b), lens("ac", a, c), lens("cb", c, b))
    index.publish(ALICE, lens("own", a, b), family=NAMESPACE)
    with index.serve() as node:

        def found(method: str, **params: str) -> set[str]:
            return {each["uri"] for each in walk(node, method, "lenses", limit=1, **params)}

        for method in ("searchLenses", "listLenses"):
            assert found(method, sourceSchema=a, targetSchema=b) == {ab.uri}
            assert found(method, sourceSchema=a) == {ab.uri, ac.uri}
            assert found(method, targetSchema=b) == {ab.uri, cb.uri}
            assert found(method) == {ab.uri, ac.uri, cb.uri}
        assert found("listLenses", repo=ALICE, sourceSchema=c) == {cb.uri}
        assert found("listLenses", repo=BOB) == set()
        view = ask(node, "searchLenses", sourceSchema=c)["lenses"][0]
        assert (view["did"], view["sourceSchema"]) == (ALICE, c)
        assert view["getterCode"]["path"] == "lenses.py:grey"


def test_a_label_resolves_to_its_entry_the_one_created_last_without_a_version(
    index: Index,
) -> None:
    (mine,) = index.publish(ALICE, schema())
    old, new = index.publish(ALICE, dataset("old", mine.uri), dataset("new", mine.uri))
    labels = [
        replace(label("cats", old.uri, "2.0.0"), created_at="2026-01-01T00:00:00Z"),
        replace(label("cats", new.uri, "1.0.1"), created_at="2026-02-01T00:00:00Z"),
        replace(label("cats", old.uri, "1.0.0"), created_at="2025-01-01T00:00:00Z"),
    ]
    index.publish(ALICE, *labels)
    gone = f"at://{ALICE}/{CLASSIC}.entry/3kgone0000000"
    index.publish(ALICE, label("lost", gone), label("wrong", mine.uri))
    index.publish(ALICE, label("elsewhere", "at://nobody.example/a.b.c/d"))
    with index.serve() as node:
        answer = ask(node, "resolveLabel", handle="alice.test", name="cats")
        assert (answer["uri"], answer["cid"]) == (new.uri, new.cid)
        assert (answer["label"]["version"], answer["label"]["did"]) == ("1.0.1", ALICE)
        pinned = ask(node, "resolveLabel", handle=ALICE, name="cats", version="2.0.0")
        assert (pinned["uri"], pinned["label"]["datasetUri"]) == (old.uri, old.uri)
        for params in (
            {"handle": ALICE, "name": "cats", "version": "3.0.0"},
            {"handle": BOB, "name": "cats"},
            {"handle": "nobody.example", "name": "cats"},
            {"handle": ALICE, "name": "lost"},
            {"handle": ALICE, "name": "wrong"},
            {"handle": ALICE, "name": "elsewhere"},
        ):
            assert refused(node, "resolveLabel", **params) == (404, "LabelNotFound")
        assert refused(node, "resolveLabel", name="cats") == (400, "InvalidRequest")


def test_a_schema_resolves_by_its_name_the_one_created_last_without_a_version(
    index: Index,
) -> None:
    days = {"2.0.0": 1, "10.0.0": 3, "1.0.0": 2}
    puts = index.publish(
        ALICE,
        *(
            replace(schema("Image", v), created_at=f"2026-01-0{day}T00:00:00Z")
            for v, day in days.items()
        ),
    )
    first, last, _ = puts
    index.publish(ALICE, schema("Image", "11.0.0"), family=NAMESPACE)
    with index.serve() as node:

        def found(**params: str) -> str:
            asked = {"handle": ALICE, "schemaId": "Image"} | params
            return str(ask(node, "resolveSchema", **asked)["uri"])

        assert found() == last.uri
        assert found(version="2.0.0") == first.uri
        for params in ({"version": "3.0.0"}, {"schemaId": "Imag"}, {"handle": BOB}):
            asked = {"handle": ALICE, "schemaId": "Image"} | params
            assert refused(node, "resolveSchema", **asked) == (404, "SchemaNotFound")


def test_blobs_have_addresses_on_the_pds_and_what_has_none_says_why(index: Index) -> None:
    (mine,) = index.publish(ALICE, schema())
    blobs = tuple(BlobShard(CONTENT, "application/x-tar", 7) for _ in range(2))
    kept, linked = index.publish(
        ALICE,
        replace(dataset("blobs", mine.uri), shards=blobs),
        dataset("linked", mine.uri),
    )
    with index.serve() as node:
        uris = [linked.uri, kept.uri, kept.uri, mine.uri, "nonsense", "at://nobody.example/a.b.c/d"]
        answer = ask(node, "resolveBlobs", uris=uris)["blobs"]
        query = f"did={ALICE.replace(':', '%3A')}&cid={CONTENT}"
        url = f"https://pds.example/xrpc/com.atproto.sync.getBlob?{query}"
        assert answer == [
            {"uri": linked.uri, "error": "Not blob storage"},
            {"uri": kept.uri, "cid": CONTENT, "url": url},
            {"uri": kept.uri, "cid": CONTENT, "url": url},
            {"uri": mine.uri, "error": "Entry not found"},
            {"uri": "nonsense", "error": "Entry not found"},
            {"uri": "at://nobody.example/a.b.c/d", "error": "Entry not found"},
        ]
        assert refused(node, "resolveBlobs") == (400, "InvalidRequest")
        assert refused(node, "resolveBlobs", uris=[kept.uri] * 26) == (400, "InvalidRequest")


def test_a_hidden_account_is_seen_by_none_of_these(index: Index) -> None:
    (mine,) = index.publish(ALICE, schema())
    (entry,) = index.publish(ALICE, dataset("eyes", mine.uri))
    index.publish(ALICE, label("eyes", entry.uri))
    index.set_status(ALICE, active=False, status="takendown")
    with index.serve() as node:
        assert ask(node, "listEntries")["entries"] == []
        assert ask(node, "listSchemas")["schemas"] == []
        assert ask(node, "searchDatasets", q="eyes")["entries"] == []
        assert ask(node, "getEntries", uris=[entry.uri])["entries"] == []
        assert refused(node, "getEntry", uri=entry.uri) == (404, "EntryNotFound")
        assert refused(node, "resolveLabel", handle=ALICE, name="eyes") == (404, "LabelNotFound")
        assert ask(node, "resolveBlobs", uris=[entry.uri])["blobs"][0]["error"] == "Entry not found"
        assert sum(ask(node, "describeService")["recordCount"].values()) == 0


def test_a_stored_record_that_cannot_be_read_is_left_out(index: Index) -> None:
    (mine,) = index.publish(ALICE, schema())
    puts = [index.put(ALICE, to_record(dataset(n, mine.uri), CLASSIC)) for n in ("a", "b", "c")]
    puts[1] = puts[1]._replace(json=b'{"$type": "science.alt.dataset.entry"}')
    index.commit(ALICE, *puts)
    with index.serve() as node:
        assert [each["name"] for each in ask(node, "listEntries")["entries"]] == ["c", "a"]
        uris = [put.uri for put in puts]
        assert len(ask(node, "getEntries", uris=uris)["entries"]) == 2
        assert refused(node, "getEntry", uri=uris[1]) == (404, "EntryNotFound")
        assert len(ask(node, "resolveBlobs", uris=uris)["blobs"]) == 3
