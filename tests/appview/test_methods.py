"""What the methods answer, over HTTP, from stores on disk; every answer checked by its document."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from atdex_appview.methods import METHODS
from atdex_appview.state import QuarantinedRecord
from atdex_appview.store.base import Delete, Put, RepoChange
from atdex_lexicons import Cid
from atdex_lexicons.errors import Problem
from atdex_lexicons.families import collections, to_record
from atdex_lexicons.model import Field, ListOf, Model, Nested, Schema
from tests.appview.index import (
    ALICE,
    BOB,
    NAMESPACE,
    Index,
    Node,
    dataset,
    error_of,
    label,
    lens,
    schema,
    verification,
)
from tests.appview.records import rev

CLASSIC = "science.alt.dataset"
NOBODY = "did:plc:nobody000000000000000000"


@pytest.fixture
def index(tmp_path: Path) -> Iterator[Index]:
    with Index.open(tmp_path) as opened:
        yield opened


@pytest.fixture
def node(index: Index) -> Iterator[Node]:
    with index.serve() as served:
        yield served


@pytest.fixture(scope="module")
def empty_node(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Node]:
    with Index.open(tmp_path_factory.mktemp("empty")) as opened, opened.serve() as served:
        yield served


def uris(views: list[Any]) -> list[str]:
    return [view["uri"] for view in views]


def publish_schema(index: Index, did: str = ALICE) -> Put:
    [put] = index.publish(did, schema())
    return put


# Views


def test_a_dataset_is_shown_with_its_record_publisher_schema_and_labels(
    index: Index, node: Node
) -> None:
    image = publish_schema(index)
    [found] = index.publish(ALICE, dataset("retina", image.uri, shards=3))
    index.publish(ALICE, label("retina", found.uri, "2.0.0"), label("retina", found.uri, "10.0.0"))
    index.publish(ALICE, label("best", found.uri))
    view = node.ask("getDataset", uri=found.uri)["dataset"]
    assert view["record"]["name"] == "retina"
    assert (view["uri"], view["cid"], view["conformance"]) == (found.uri, found.cid, "valid")
    assert view["publisher"] == {"did": ALICE, "handle": "alice.test"}
    assert view["schema"] == {
        "uri": image.uri,
        "cid": image.cid,
        "name": "Image",
        "version": "1.0.0",
    }
    assert (view["shardCount"], view["checksummed"]) == (3, True)
    assert [(row["name"], row.get("version")) for row in view["labels"]] == [
        ("retina", "10.0.0"),
        ("retina", "2.0.0"),
        ("best", None),
    ]
    assert view["firstSeen"] == view["indexedAt"]
    assert view["firstSeen"].endswith("Z")
    assert "score" not in view


def test_both_families_are_shown_in_the_same_way(index: Index, node: Node) -> None:
    [image] = index.publish(BOB, schema(), family=NAMESPACE)
    [found] = index.publish(BOB, dataset("retina", image.uri), family=NAMESPACE)
    view = node.ask("getDataset", uri=found.uri)["dataset"]
    assert view["schema"]["uri"] == image.uri
    assert view["checksummed"] is True
    assert node.ask("getSchema", uri=image.uri)["schema"]["name"] == "Image"


def test_a_dataset_whose_schema_is_not_here_is_shown_without_it(index: Index, node: Node) -> None:
    missing = f"at://{NOBODY}/science.alt.dataset.schema/3k2aaaaaaaaa2"
    [found] = index.publish(ALICE, dataset("retina", missing))
    view = node.ask("getDataset", uri=found.uri)["dataset"]
    assert "schema" not in view
    assert view["labels"] == []


def test_a_lens_shows_its_code_and_only_the_verifications_of_this_version(
    index: Index, node: Node
) -> None:
    source, target = index.publish(ALICE, schema(), schema("Grey"))
    [grey] = index.publish(ALICE, lens("grey", source.uri, target.uri))
    good, _ = index.publish(
        BOB, verification(grey.uri, grey.cid), verification(grey.uri, source.cid)
    )
    view = node.ask("getLens", uri=grey.uri)["lens"]
    assert (view["code"], view["source"], view["target"]) == ("reference", source.uri, target.uri)
    assert view["verifications"] == [{"uri": good.uri, "verifier": BOB, "method": "codeReview"}]


def test_an_update_changes_the_record_and_not_the_place_in_the_list(
    index: Index, node: Node
) -> None:
    image = publish_schema(index)
    old, new = index.publish(ALICE, dataset("old", image.uri), dataset("new", image.uri))
    before = node.ask("getDataset", uri=old.uri)["dataset"]
    record = dict(before["record"], name="changed")
    index.commit(ALICE, index.put(ALICE, record, old.rkey))
    after = node.ask("getDataset", uri=old.uri)["dataset"]
    assert after["record"]["name"] == "changed"
    assert after["firstSeen"] == before["firstSeen"]
    assert after["indexedAt"] > before["indexedAt"]
    assert after["rev"] > before["rev"]
    assert uris(node.ask("listDatasets")["datasets"]) == [new.uri, old.uri]


# Naming things


def test_a_record_without_a_signature_behind_it_is_marked_until_a_verified_one_comes(
    index: Index, node: Node
) -> None:
    image = f"at://{ALICE}/science.alt.dataset.schema/3k2aaaaaaaaa2"
    put = index.put(ALICE, to_record(dataset("retina", image)))
    claim = RepoChange(ALICE, rev(1), (put,), None, None, verified=False)
    index.apply(claim)
    assert node.ask("getDataset", uri=put.uri)["dataset"]["verified"] is False
    assert node.ask("searchDatasets", q="retina")["datasets"][0]["verified"] is False
    index.apply(replace(claim, live=False, verified=True))
    proven = node.ask("getDataset", uri=put.uri)["dataset"]
    assert "verified" not in proven
    index.apply(replace(claim, rev=rev(2)))
    assert node.ask("getDataset", uri=put.uri)["dataset"] == proven


def test_a_publisher_may_be_named_by_did_or_by_handle(index: Index, node: Node) -> None:
    image = publish_schema(index)
    [mine] = index.publish(ALICE, dataset("mine", image.uri))
    index.publish(BOB, dataset("other", image.uri))
    for name in (ALICE, "alice.test", "ALICE.test"):
        assert uris(node.ask("listDatasets", publisher=name)["datasets"]) == [mine.uri]
        assert uris(node.ask("searchDatasets", publisher=name)["datasets"]) == [mine.uri]
        by_handle = mine.uri.replace(ALICE, name)
        assert node.ask("getDataset", uri=by_handle)["dataset"]["uri"] == mine.uri
    by_handle = image.uri.replace(ALICE, "alice.test")
    assert len(node.ask("listDatasets", schema=by_handle)["datasets"]) == 2


def test_an_unknown_handle_is_a_bad_request_and_an_unknown_did_has_nothing(
    index: Index, node: Node
) -> None:
    for method in ("listDatasets", "listSchemas", "listLenses", "searchDatasets"):
        status, error, message = node.refused(method, publisher="nobody.test")
        assert (status, error) == (400, "InvalidRequest")
        assert "nobody.test" in message
    assert node.ask("listDatasets", publisher=NOBODY) == {"datasets": []}
    status, error, _ = node.refused(
        "getDataset", uri="at://nobody.test/science.alt.dataset.entry/x"
    )
    assert (status, error) == (400, "InvalidRequest")


def test_getting_a_record_of_another_kind_says_what_it_is(index: Index, node: Node) -> None:
    image = publish_schema(index)
    [grey] = index.publish(ALICE, lens("grey", image.uri, image.uri))
    assert node.refused("getDataset", uri=grey.uri) == (
        404,
        "DatasetNotFound",
        f"{grey.uri} is a lens, not a dataset",
    )
    assert node.refused("getSchema", uri=grey.uri)[:2] == (404, "SchemaNotFound")
    assert node.refused("getLens", uri=image.uri)[:2] == (404, "LensNotFound")
    unknown = f"at://{ALICE}/science.alt.dataset.entry/3k2aaaaaaaaa2"
    assert node.refused("getDataset", uri=unknown)[:2] == (404, "DatasetNotFound")
    assert node.refused("getDataset", uri=f"at://{ALICE}")[:2] == (400, "InvalidRequest")
    assert node.refused("getDataset", uri=f"at://{ALICE}/a.b.c")[:2] == (400, "InvalidRequest")


def test_several_datasets_come_in_the_order_asked_for_and_the_rest_by_name(
    index: Index, node: Node
) -> None:
    image = publish_schema(index)
    puts = index.publish(ALICE, *(dataset(f"set {n}", image.uri) for n in range(3)))
    by_handle = puts[1].uri.replace(ALICE, "alice.test")
    strange = "at://nobody.test/science.alt.dataset.entry/3k2aaaaaaaaa2"
    asked = [puts[2].uri, image.uri, by_handle, strange, puts[0].uri]
    answer = node.ask("getDatasets", uris=asked)
    assert uris(answer["datasets"]) == [puts[2].uri, puts[1].uri, puts[0].uri]
    assert answer["notFound"] == [image.uri, strange]


# Lists


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
        index.commit(ALICE, replace(bad, cid=cid, json=broken, created=False))
        assert uris(node.ask("listSchemas")["schemas"]) == [good.uri]
        assert node.refused("getSchema", uri=bad.uri)[:2] == (404, "SchemaNotFound")


# Search


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


# Labels


def test_a_label_resolves_to_the_highest_version_by_semver(index: Index, node: Node) -> None:
    image = publish_schema(index)
    old, new = index.publish(ALICE, dataset("old", image.uri), dataset("new", image.uri))
    index.publish(ALICE, label("set", new.uri, "10.0.0"), label("set", old.uri, "2.0.0"))
    newest = node.ask("resolveLabel", publisher="alice.test", name="set")
    assert (newest["uri"], newest["cid"]) == (new.uri, new.cid)
    assert newest["label"]["version"] == "10.0.0"
    assert newest["dataset"]["record"]["name"] == "new"
    exact = node.ask("resolveLabel", publisher=ALICE, name="set", version="2.0.0")
    assert exact["uri"] == old.uri


def test_a_label_that_leads_nowhere_is_not_found(index: Index, node: Node) -> None:
    image = publish_schema(index)
    [gone] = index.publish(ALICE, dataset("gone", image.uri))
    index.publish(ALICE, label("set", gone.uri), label("odd", image.uri))
    index.commit(ALICE, Delete(gone.uri))
    for params in (
        {"publisher": ALICE, "name": "set"},
        {"publisher": ALICE, "name": "odd"},
        {"publisher": ALICE, "name": "none"},
        {"publisher": ALICE, "name": "set", "version": "9.9.9"},
        {"publisher": BOB, "name": "set"},
        {"publisher": "nobody.test", "name": "set"},
    ):
        assert node.refused("resolveLabel", **params)[:2] == (404, "LabelNotFound")


# What is not shown


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


# What a publisher asks


def test_the_status_of_a_record_says_why_it_is_not_indexed(index: Index, node: Node) -> None:
    image = publish_schema(index)
    bad = f"at://{ALICE}/science.alt.dataset.entry/3k2aaaaaaaaa2"
    index.quarantine(
        QuarantinedRecord(
            uri=bad,
            did=ALICE,
            cid=image.cid,
            rev=rev(7),
            problems=(Problem("/name", "is too long"), Problem("/tags/0", "is no text")),
            raw=b"\xa0",
            size=1,
            seen_at=1,
        )
    )
    assert node.ask("getRecordStatus", uri=image.uri) == {
        "uri": image.uri,
        "status": "indexed",
        "cid": image.cid,
        "rev": node.ask("getSchema", uri=image.uri)["schema"]["rev"],
    }
    by_handle = bad.replace(ALICE, "alice.test")
    quarantined = node.ask("getRecordStatus", uri=by_handle)
    assert (quarantined["uri"], quarantined["status"]) == (by_handle, "quarantined")
    assert "is too long" in quarantined["reason"]
    assert quarantined["problems"] == [
        {"path": "/name", "reason": "is too long"},
        {"path": "/tags/0", "reason": "is no text"},
    ]
    assert quarantined["rev"] == rev(7)
    never = f"at://{NOBODY}/science.alt.dataset.entry/3k2aaaaaaaaa2"
    assert node.ask("getRecordStatus", uri=never)["status"] == "unknown"


def test_check_record_answers_what_ingestion_would(index: Index, node: Node) -> None:
    image = publish_schema(index)
    [good] = index.publish(ALICE, dataset("good", image.uri))
    record = node.ask("getDataset", uri=good.uri)["dataset"]["record"]
    body = {"collection": good.collection, "rkey": good.rkey, "record": record}
    assert node.call("checkRecord", body) == {
        "valid": True,
        "conformance": "valid",
        "problems": [],
    }
    body["record"] = dict(record, name="x" * 100_000, createdAt="yesterday")
    answer = node.call("checkRecord", body)
    assert answer["valid"] is False
    assert {problem["path"] for problem in answer["problems"]} == {"/name", "/createdAt"}
    assert "conformance" not in answer
    body = {"collection": "com.example.thing", "record": {"$type": "com.example.thing"}}
    assert node.call("checkRecord", body)["valid"] is False
    assert node.ask("describeNode")["counts"]["datasets"] == 1


@pytest.mark.parametrize(
    ("changes", "path", "reason"),
    [
        ({"name": "a\0b"}, "/name", "holds a NUL character"),
        ({"contentMetadata": {"k\0": 1}}, "/contentMetadata", "has a key with a NUL character"),
        ({"contentMetadata": {"x": "y" * 1_000_000}}, "", "a record has at most 1000000"),
    ],
)
def test_check_record_refuses_what_ingestion_refuses_beyond_the_lexicon(
    index: Index, node: Node, changes: dict[str, Any], path: str, reason: str
) -> None:
    image = publish_schema(index)
    [good] = index.publish(ALICE, dataset("good", image.uri))
    record = node.ask("getDataset", uri=good.uri)["dataset"]["record"] | changes
    answer = node.call("checkRecord", {"collection": good.collection, "record": record})
    assert answer["valid"] is False
    [problem] = answer["problems"]
    assert problem["path"] == path
    assert reason in problem["reason"]


@pytest.mark.parametrize(
    ("value", "path"),
    [
        (1.5, "/contentMetadata/a"),
        (1e300, "/contentMetadata/a"),
        (2**63, "/contentMetadata/a"),
        ({"$link": "no CID"}, "/contentMetadata/a/$link"),
        ({"$bytes": 7}, "/contentMetadata/a"),
    ],
)
def test_check_record_says_what_no_record_can_hold(
    index: Index, node: Node, value: Any, path: str
) -> None:
    image = publish_schema(index)
    [good] = index.publish(ALICE, dataset("good", image.uri))
    record = node.ask("getDataset", uri=good.uri)["dataset"]["record"]
    record |= {"contentMetadata": {"a": value}}
    answer = node.call("checkRecord", {"collection": good.collection, "record": record})
    assert answer["valid"] is False
    assert [problem["path"] for problem in answer["problems"]] == [path]
    assert "conformance" not in answer


def test_check_record_follows_the_references(index: Index, node: Node) -> None:
    image = publish_schema(index)
    [good] = index.publish(ALICE, dataset("good", image.uri))
    record = node.ask("getDataset", uri=good.uri)["dataset"]["record"]

    def check(**changes: Any) -> Any:
        return node.call("checkRecord", {"collection": good.collection, "record": record | changes})

    missing = image.uri[:-1] + "z"
    unknown = check(schemaRef=missing)
    assert unknown["valid"] is True
    [problem] = unknown["problems"]
    assert problem["path"] == "/schemaRef"
    assert "not indexed here (yet)" in problem["reason"]
    wrong = check(schemaRef=good.uri)
    assert wrong["valid"] is False
    [problem] = wrong["problems"]
    assert problem["path"] == "/schemaRef"
    assert "is a dataset, not a schema" in problem["reason"]


@pytest.mark.parametrize("family", [CLASSIC, NAMESPACE])
def test_a_reference_is_reported_where_the_record_has_it(
    index: Index, node: Node, family: str
) -> None:
    image = publish_schema(index)
    [grey] = index.publish(ALICE, lens("grey", image.uri, image.uri))

    def problems(model: Model) -> list[tuple[str, str]]:
        record = to_record(model, family)
        answer = node.call("checkRecord", {"collection": record["$type"], "record": record})
        return [(problem["path"], problem["reason"]) for problem in answer["problems"]]

    [(path, reason)] = problems(label("set", grey.uri))
    assert path == ("/datasetUri" if family == CLASSIC else "/dataset")
    assert reason == f"{grey.uri} is a lens, not a dataset"
    [(path, _)] = problems(lens("grey", image.uri, grey.uri))
    assert path == "/targetSchema"
    [(path, _)] = problems(verification(image.uri, image.cid))
    assert path == "/lens"
    nested = Schema(
        name="Pair",
        version="1.0.0",
        fields=(Field("left", ListOf(Nested(grey.uri))),),
        created_at="2026-01-02T03:04:05Z",
    )
    if family == NAMESPACE:
        [(path, _)] = problems(nested)
        assert path.startswith("/fields/0/type/")


# The node itself


def test_the_node_says_what_it_is(index: Index, node: Node) -> None:
    about = node.ask("describeNode")
    assert about["did"] == "did:web:index.example"
    served = [nsid for family in about["families"] for nsid in family["collections"]]
    assert served == list(collections())
    assert about["counts"]["datasets"] == 0
    assert about["limits"] == {"pageSize": 100, "uris": 25, "inputBytes": 2_000_000}
    assert about["peers"] == []


def test_the_did_document_names_the_service(empty_node: Node) -> None:
    document = empty_node.http.get("/.well-known/did.json").json()
    assert document["id"] == "did:web:index.example"
    assert document["service"] == [
        {
            "id": "did:web:index.example#atdex_node",
            "type": "AtdexNode",
            "serviceEndpoint": "https://index.example",
        }
    ]


def test_the_first_page_says_where_to_look(empty_node: Node) -> None:
    about = empty_node.http.get("/").json()
    assert about["name"] == "atdex"
    own = f"/xrpc/{NAMESPACE}."
    assert [path for path in about["methods"] if path.startswith(own)] == sorted(
        f"{own}{name}" for name in METHODS
    )
    assert about["croissant"] == "/datasets/{did}/{rkey}/croissant.json"


# Bad input


@pytest.mark.parametrize(
    ("method", "params"),
    [
        ("searchDatasets", {"q": "a\0b"}),
        ("searchDatasets", {"tags": ["a\0"]}),
        ("listDatasets", {"tag": "\0"}),
        ("listDatasets", {"limit": 0}),
        ("listDatasets", {"limit": 101}),
        ("listDatasets", {"limit": "abc"}),
        ("listDatasets", {"limit": ["1", "2"]}),
        ("listDatasets", {"cursor": "x"}),
        ("listDatasets", {"cursor": ""}),
        ("listDatasets", {"cursor": "é\0"}),
        ("searchDatasets", {"cursor": "x"}),
        ("searchDatasets", {"cursor": "WzEsImFiIl0"}),
        ("searchDatasets", {"schema": "nothing"}),
        ("searchDatasets", {"publisher": "not a handle"}),
        ("getDatasets", {"uris": [f"at://{ALICE}/a.b.c/{n}" for n in range(26)]}),
        ("getDatasets", {}),
        ("getDataset", {}),
        ("getDataset", {"uri": "https://example.com"}),
        ("getDataset", {"uri": f"at://{ALICE}/science.alt.dataset.entry/\0"}),
        ("resolveLabel", {"publisher": ALICE}),
        ("resolveLabel", {"publisher": ALICE, "name": ""}),
        ("resolveLabel", {"publisher": ALICE, "name": "a\0"}),
        ("getRecordStatus", {"uri": f"at://{ALICE}"}),
    ],
)
def test_bad_parameters_are_a_bad_request(empty_node: Node, method: str, params: Any) -> None:
    assert empty_node.refused(method, **params)[:2] == (400, "InvalidRequest")


def test_a_cursor_is_good_for_its_own_list_only(index: Index, node: Node) -> None:
    image = publish_schema(index)
    index.publish(ALICE, *(dataset(f"retina {n}", image.uri, tags=("x",)) for n in range(4)))
    listed = node.ask("listDatasets", limit=1, tag="x")["cursor"]
    searched = node.ask("searchDatasets", limit=1, q="retina")["cursor"]
    assert "cursor" in node.ask("listDatasets", limit=2, tag="x", cursor=listed)
    assert "cursor" in node.ask("searchDatasets", limit=2, q="retina", cursor=searched)
    for method, params in (
        ("listDatasets", {"cursor": listed}),
        ("listDatasets", {"cursor": listed, "tag": "y"}),
        ("listSchemas", {"cursor": listed}),
        ("searchDatasets", {"cursor": listed}),
        ("searchDatasets", {"cursor": searched}),
        ("searchDatasets", {"cursor": searched, "q": "other"}),
        ("listDatasets", {"cursor": searched, "tag": "x"}),
    ):
        status, error, message = node.refused(method, **params)
        assert (status, error) == (400, "InvalidRequest")
        assert "cursor" in message


def test_methods_that_are_not_served_say_so(empty_node: Node) -> None:
    for method in ("listFeed", "noSuchMethod"):
        assert empty_node.refused(method)[:2] == (501, "MethodNotImplemented")
    assert error_of(empty_node.http.get("/nothing"))[0] == 404
    assert error_of(empty_node.http.post(f"/xrpc/{NAMESPACE}.listDatasets", json={}))[0] == 400


def test_bad_inputs_of_check_record_are_bad_requests(empty_node: Node) -> None:
    path = f"/xrpc/{NAMESPACE}.checkRecord"
    for content in (b"", b"{", b"[]", b'{"collection": "x"}', b"[" * 100_000, b"\xff\xfe"):
        answer = empty_node.http.post(
            path, content=content, headers={"content-type": "application/json"}
        )
        assert error_of(answer)[:2] == (400, "InvalidRequest")
    too_large = {"collection": "a.b.c", "record": {"x": "y" * 2_000_001}}
    assert error_of(empty_node.http.post(path, json=too_large))[:2] == (413, "PayloadTooLarge")
