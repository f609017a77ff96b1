"""What the node says of itself, and of bad requests."""

from __future__ import annotations

from typing import Any

import pytest

from atdex_appview.methods import METHODS
from atdex_lexicons.families import collections
from tests.appview.index import (
    ALICE,
    NAMESPACE,
    Index,
    Node,
    dataset,
    error_of,
)
from tests.appview.methods.serving import publish_schema


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
