"""listRecords, getRecord, and what the other methods say of collections that no family knows."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path

import pytest

from atdex_appview.network.file import FILE_NAME, CollectionsFile
from atdex_appview.network.lexicons import NetworkLexicons
from atdex_appview.network.records import GenericPut, GenericRecords
from tests.appview.index import ALICE, BOB, Index, Node, dataset, schema
from tests.appview.records import rev
from tests.appview.test_network_lexicons import NOTE, Net, note

METHOD = "listRecords"


@pytest.fixture
def index(tmp_path: Path) -> Iterator[Index]:
    with Index.open(tmp_path / "stores") as opened:
        yield opened


@pytest.fixture
def records(tmp_path: Path) -> Iterator[GenericRecords]:
    file = CollectionsFile.open(tmp_path / FILE_NAME)
    yield GenericRecords(file)
    file.close()


@pytest.fixture
def node(index: Index, records: GenericRecords) -> Iterator[Node]:
    net = Net.usual()
    network = NetworkLexicons(records._file, records, index.state, texts=net.ask, configured=[NOTE])

    async def want(nsid: str) -> None:
        pass

    network.connect(fetch=net.fetch, want=want)
    asyncio.run(network.look())
    with index.serve(network=network) as served:
        yield served


def add(records: GenericRecords, did: str, number: int, *texts: str) -> list[str]:
    puts = []
    for n, text in enumerate(texts):
        op = note(100 * number + n, text)
        uri = f"at://{did}/{NOTE}/{op.rkey}"
        json = f'{{"$type": "{NOTE}", "text": "{text}"}}'.encode()
        puts.append(GenericPut(uri, NOTE, op.rkey, op.cid or "", op.raw or b"", json))
    records.apply(did, rev(number), puts, live=True, verified=True)
    return [put.uri for put in puts]


def test_records_are_listed_newest_first_each_once(records: GenericRecords, node: Node) -> None:
    uris = add(records, ALICE, 1, *map(str, range(7))) + add(records, BOB, 2, "x", "y")
    pages = list(node.walk(METHOD, "records", collection=NOTE, limit=4))
    assert [len(page) for page in pages] == [4, 4, 1]
    assert [view["uri"] for page in pages for view in page] == uris[::-1]
    mine = [
        v for page in node.walk(METHOD, "records", collection=NOTE, publisher=BOB) for v in page
    ]
    assert [view["record"]["text"] for view in mine] == ["y", "x"]
    assert {view["conformance"] for view in mine} == {"valid"}


def test_what_is_no_such_collection_or_cursor_is_refused(
    index: Index, records: GenericRecords, node: Node
) -> None:
    add(records, ALICE, 1, "a", "b")
    cursor = node.ask(METHOD, collection=NOTE, limit=1)["cursor"]
    for params in (
        {"collection": "com.example.other.thing"},
        {"collection": "science.alt.dataset.entry"},
        {"collection": "no nsid"},
        {"collection": NOTE, "cursor": "x"},
        {"collection": NOTE, "cursor": cursor, "publisher": ALICE},
        {"collection": NOTE, "publisher": "nobody.example"},
        {},
    ):
        assert node.refused(METHOD, **params)[:2] == (400, "InvalidRequest")
    with index.serve() as without:
        assert without.refused(METHOD, collection=NOTE)[:2] == (400, "InvalidRequest")


def test_any_record_is_given_by_its_uri(index: Index, records: GenericRecords, node: Node) -> None:
    (uri,) = add(records, ALICE, 1, "hello")
    (known,) = index.publish(ALICE, schema())
    (entry,) = index.publish(ALICE, dataset("retina", known.uri))
    assert node.ask("getRecord", uri=uri)["record"]["record"]["text"] == "hello"
    view = node.ask("getRecord", uri=entry.uri)["record"]
    assert view == {
        key: value for key, value in node.ask("getDataset", uri=entry.uri)["dataset"].items()
        if key in view
    }  # fmt: skip
    assert node.ask("getRecord", uri=uri)["record"]["publisher"]["handle"] == "alice.test"
    assert node.refused("getRecord", uri=uri + "x")[:2] == (404, "RecordNotFound")
    records.account(ALICE, active=False, status="takendown")
    assert node.refused("getRecord", uri=uri)[:2] == (404, "RecordNotFound")


def test_a_record_is_checked_by_its_lexicon_before_it_is_published(node: Node) -> None:
    good = {"$type": NOTE, "text": "hello"}
    answer = node.call("checkRecord", {"collection": NOTE, "record": good})
    assert answer == {"valid": True, "conformance": "valid", "problems": []}
    bad = {"$type": NOTE, "text": "x" * 101}
    answer = node.call("checkRecord", {"collection": NOTE, "record": bad})
    assert (answer["valid"], answer["problems"][0]["path"]) == (False, "/text")


def test_the_node_says_which_it_indexes(records: GenericRecords, node: Node) -> None:
    add(records, ALICE, 1, "a", "b")
    (known,) = node.ask("describeNode")["lexicons"]
    assert (known["collection"], known["records"]) == (NOTE, 2)
    assert "problem" not in known
