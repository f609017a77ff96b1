"""What a publisher asks: is it indexed, and would it be?"""

from __future__ import annotations

from typing import Any

import pytest

from atdex_appview.state import QuarantinedRecord
from atdex_lexicons.errors import Problem
from atdex_lexicons.families import to_record
from atdex_lexicons.model import Field, ListOf, Model, Nested, Schema
from tests.appview.index import (
    ALICE,
    NAMESPACE,
    Index,
    Node,
    dataset,
    label,
    lens,
    verification,
)
from tests.appview.methods.serving import CLASSIC, NOBODY, publish_schema
from tests.appview.records import rev


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
