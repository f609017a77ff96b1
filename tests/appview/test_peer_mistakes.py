"""What another index of these records gets wrong, one test each: this one does not.

Each drives a node over HTTP. What holds the promise in depth is named in docs/invariants.md.
"""

from __future__ import annotations

import asyncio
import signal
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from atdex_appview.errors import WriteFailed
from atdex_appview.store.base import Delete, RepoChange
from atdex_appview.writer import Writer
from atdex_lexicons.families import to_record
from tests.appview.index import (
    ALICE,
    BOB,
    CLASSIC,
    NAMESPACE,
    Index,
    dataset,
    error_of,
    label,
    lens,
    schema,
)
from tests.appview.records import rev
from tests.appview.running import node as node_process
from tests.appview.test_subscribe import read
from tests.support.relay import FakePlc, FakeRelay
from tests.support.repo import K256Key, Repo, did_document, plc_did

ENTRY = f"{CLASSIC}.entry"
CAROL = plc_did("carol")


@pytest.fixture
def index(tmp_path: Path) -> Iterator[Index]:
    with Index.open(tmp_path) as opened:
        yield opened


@pytest.fixture
def image(index: Index) -> str:
    (put,) = index.publish(ALICE, schema())
    return put.uri


@pytest_asyncio.fixture
async def relay() -> AsyncIterator[FakeRelay]:
    async with FakeRelay() as opened:
        yield opened


@pytest.fixture
def plc() -> Iterator[FakePlc]:
    with FakePlc() as opened:
        yield opened


def test_the_pages_of_a_search_meet_every_hit_exactly_once(index: Index, image: str) -> None:
    """There, pages are ordered by rank and cut by date: most hits are lost, some come twice."""
    sets = [
        dataset(
            "common" if n % 4 == 0 else f"set {n}",
            image,
            tags=("common",) if n % 4 == 1 else (),
            description="a common word" if n % 4 in (2, 3) else "common",
        )
        for n in range(120)
    ]
    puts = index.publish(ALICE, *sets)
    with index.serve() as node:
        for params in ({"q": "common"}, {"q": "common", "sort": "newest"}, {"q": ""}):
            pages = list(node.walk("searchDatasets", "datasets", limit=7, **params))
            met = Counter(view["uri"] for page in pages for view in page)
            assert met == Counter(put.uri for put in puts)
        assert node.ask("searchDatasets", q="common")["hitsTotal"] == len(puts)


def test_the_pages_of_a_list_meet_every_record_exactly_once(index: Index, image: str) -> None:
    puts = index.publish(ALICE, *(dataset(f"set {n}", image) for n in range(50)))
    with index.serve() as node:
        met: list[str] = []
        for number, page in enumerate(node.walk("listDatasets", "datasets", limit=7)):
            met += [view["uri"] for view in page]
            if number == 2:
                # What changes and comes during a walk moves nothing that the walk has yet to meet.
                index.commit(ALICE, puts[0]._replace(cid="bafyreibe"), Delete(puts[5].uri))
                index.publish(BOB, dataset("new", image))
    expected = [put.uri for put in reversed(puts) if put is not puts[5]]
    assert met == expected


def test_one_malformed_record_does_not_break_a_list(index: Index, image: str) -> None:
    puts = [index.put(ALICE, to_record(dataset(name, image), CLASSIC)) for name in ("a", "b", "c")]
    puts[1] = puts[1]._replace(json=b'{"$type": "science.alt.dataset.entry", "name": 7}')
    index.commit(ALICE, *puts)
    with index.serve() as node:
        for page in node.walk("listDatasets", "datasets", limit=1):
            assert len(page) <= 1
        listed = [v["uri"] for p in node.walk("listDatasets", "datasets") for v in p]
        assert {puts[0].uri, puts[2].uri} <= set(listed)
        answer = node.http.get(f"/xrpc/{CLASSIC}.listEntries")
        assert [each["name"] for each in answer.json()["entries"]] == ["c", "a"]


def test_an_outage_of_the_store_acknowledges_nothing_so_that_nothing_is_lost(
    tmp_path: Path,
) -> None:
    """There, the cursor moves on while the database is down."""
    acknowledged: list[str] = []

    async def deliver(index: Index, change: RepoChange) -> None:
        writer = Writer(index.store, index.search, index.state, max_delay=0.0)
        running = asyncio.create_task(writer.run())
        await writer.submit(change, lambda: acknowledged.append(change.rev))
        await writer.close()
        await running

    with Index.open(tmp_path) as index:
        put = index.put(
            ALICE, to_record(dataset("cats", f"at://{ALICE}/{CLASSIC}.schema/x"), CLASSIC)
        )
        change = RepoChange(ALICE, rev(1), (put,), "alice.test", None)
        index.close("store")
        with pytest.raises(WriteFailed, match="record store"):
            asyncio.run(deliver(index, change))
        assert acknowledged == []
    with Index.open(tmp_path) as index:
        index.apply(change)  # it comes again, since nobody said that it was done
        with index.serve() as node:
            assert node.ask("getDataset", uri=put.uri)["dataset"]["cid"] == put.cid


@pytest.mark.timeout(240)
async def test_a_node_that_is_killed_while_it_writes_has_every_record_after_a_restart(
    tmp_path: Path, relay: FakeRelay, plc: FakePlc
) -> None:
    key, count = K256Key(), 150
    plc.documents[CAROL] = did_document(CAROL, key)
    repo = Repo(CAROL, key)
    for n in range(count):
        record = to_record(dataset(f"set {n}", f"at://{CAROL}/{CLASSIC}.schema/x"), CLASSIC)
        relay.send(repo.commit({f"{ENTRY}/{rev(n)}": record}).encode(n + 1))
    flags = ("--plc", plc.url, "--batch-delay", "0.01", "--no-backfill", "--allow-private-hosts")
    async with node_process(tmp_path / "data", relay.url, *flags) as running:
        await running.until(lambda a: a["counts"]["datasets"] > 0, "describeNode")
        await running.stop(signal.SIGKILL)
    async with node_process(tmp_path / "data", relay.url, *flags) as running:
        await running.until(lambda a: a["counts"]["datasets"] == count, "describeNode")
        met: list[str] = []
        cursor: dict[str, str] = {}
        while True:
            page = await running.ask("listDatasets", limit=40, **cursor)
            met += [view["uri"] for view in page["datasets"]]
            if "cursor" not in page:
                break
            cursor = {"cursor": page["cursor"]}
        assert Counter(met) == Counter(f"at://{CAROL}/{ENTRY}/{rev(n)}" for n in range(count))
        assert await running.stop() == 0


def test_a_replayed_create_does_not_bring_a_deleted_record_back(index: Index, image: str) -> None:
    put = index.put(ALICE, to_record(dataset("cats", image), CLASSIC))
    created = RepoChange(ALICE, rev(50), (put,), "alice.test", None)
    deleted = RepoChange(ALICE, rev(51), (Delete(put.uri),), "alice.test", None)
    index.apply(created, deleted)
    index.apply(created)
    with index.serve() as node:
        assert node.refused("getDataset", uri=put.uri)[:2] == (404, "DatasetNotFound")
        assert node.ask("searchDatasets", q="cats")["hitsTotal"] == 0
        assert node.ask("describeNode")["counts"]["datasets"] == 0


@pytest.mark.parametrize("status", ["deactivated", "takendown", "suspended", "a-word-to-come"])
def test_an_account_that_is_not_active_is_not_served(index: Index, image: str, status: str) -> None:
    (shown,) = index.publish(ALICE, dataset("cats of alice", image))
    (hidden,) = index.publish(BOB, dataset("cats of bob", image))
    index.set_status(BOB, active=False, status=status)
    with index.serve() as node:
        assert [v["uri"] for v in node.ask("listDatasets")["datasets"]] == [shown.uri]
        assert [v["uri"] for v in node.ask("searchDatasets", q="cats")["datasets"]] == [shown.uri]
        assert node.refused("getDataset", uri=hidden.uri)[0] == 404
        assert node.ask("getDatasets", uris=[hidden.uri])["notFound"] == [hidden.uri]
        for path in (
            f"/xrpc/{CLASSIC}.getEntry?uri={hidden.uri}",
            f"/datasets/{BOB}/{hidden.rkey}/croissant.json",
        ):
            assert error_of(node.http.get(path))[0] == 404
    index.set_status(BOB, active=True)
    with index.serve() as node:
        assert node.ask("searchDatasets", q="cats")["hitsTotal"] == 2


def test_an_update_does_not_move_a_record_to_the_top_of_the_list(index: Index, image: str) -> None:
    puts = index.publish(ALICE, *(dataset(f"set {n}", image) for n in range(3)))
    changed = index.put(ALICE, to_record(dataset("changed", image), CLASSIC), puts[0].rkey)
    index.commit(ALICE, changed)
    with index.serve() as node:
        for method in ("listDatasets", "searchDatasets"):
            listed = node.ask(method)["datasets"]
            assert [view["uri"] for view in listed] == [put.uri for put in reversed(puts)]
            assert listed[2]["record"]["name"] == "changed"


@pytest.mark.timeout(240)
async def test_a_name_of_a_hundred_kilobytes_is_set_aside_and_not_indexed(
    tmp_path: Path, relay: FakeRelay, plc: FakePlc
) -> None:
    key = K256Key()
    plc.documents[CAROL] = did_document(CAROL, key)
    repo = Repo(CAROL, key)
    good = to_record(dataset("cats", f"at://{CAROL}/{CLASSIC}.schema/x"), CLASSIC)
    paths = {f"{ENTRY}/{rev(1)}": good | {"name": "cats " * 20_000}, f"{ENTRY}/{rev(2)}": good}
    relay.send(repo.commit(paths).encode(1))
    flags = ("--plc", plc.url, "--batch-delay", "0.01", "--no-backfill", "--allow-private-hosts")
    async with node_process(tmp_path / "data", relay.url, *flags) as running:
        found = await running.until(lambda a: a["hitsTotal"] > 0, "searchDatasets", q="cats")
        assert [v["uri"] for v in found["datasets"]] == [f"at://{CAROL}/{ENTRY}/{rev(2)}"]
        uri = f"at://{CAROL}/{ENTRY}/{rev(1)}"
        status = await running.until(lambda a: a["status"] != "unknown", "getRecordStatus", uri=uri)
        assert status["status"] == "quarantined"
        assert [problem["path"] for problem in status["problems"]] == ["/name"]
        assert await running.stop() == 0


def test_version_10_is_above_version_2(index: Index, image: str) -> None:
    index.publish(ALICE, *(schema("Scan", v) for v in ("9.9.9", "10.0.0", "2.0.0", "10.0.0-rc.1")))
    (cats,) = index.publish(ALICE, dataset("cats", image))
    index.publish(ALICE, *(label("cats", cats.uri, v) for v in ("10.0.0", "2.0.0")))
    with index.serve() as node:
        found = node.ask("resolveSchema", publisher=ALICE, name="Scan")
        assert found["schema"]["version"] == "10.0.0"
        assert (
            node.ask("resolveLabel", publisher=ALICE, name="cats")["label"]["version"] == "10.0.0"
        )


def test_percent_and_underscore_are_no_wildcards(index: Index, image: str) -> None:
    """There, they go into a LIKE as they are."""
    odd, _ = index.publish(
        ALICE,
        dataset("fifty", image, tags=("50%_off",)),
        dataset("other", image, tags=("50xxoff",)),
    )
    index.publish(ALICE, schema("a_b"), schema("axb"))
    with index.serve() as node:
        assert [v["uri"] for v in node.ask("listDatasets", tag="50%_off")["datasets"]] == [odd.uri]
        found = node.ask("searchDatasets", tags=["50%_off"])
        assert [v["uri"] for v in found["datasets"]] == [odd.uri]
        for text in ("%", "_", "%%", "f%y", "o_her"):
            assert node.ask("searchDatasets", q=text)["hitsTotal"] in (0, 2)
            assert node.ask("listDatasets", tag=text)["datasets"] == []
        assert node.ask("searchDatasets", q="f%y")["hitsTotal"] == 0
        assert len(node.ask("listSchemas", name="a_b")["schemas"]) == 1
        assert node.refused("resolveSchema", publisher=ALICE, name="a%")[0] == 404


def test_a_source_and_a_target_mean_both(index: Index) -> None:
    a, b, c = (put.uri for put in index.publish(ALICE, schema("A"), schema("B"), schema("C")))
    ab, _, _ = index.publish(ALICE, lens("ab", a, b), lens("ac", a, c), lens("cb", c, b))
    with index.serve() as node:
        both = node.ask("listLenses", source=a, target=b)["lenses"]
        assert [view["uri"] for view in both] == [ab.uri]
        answer = node.http.get(
            f"/xrpc/{CLASSIC}.searchLenses", params={"sourceSchema": a, "targetSchema": b}
        )
        assert [view["uri"] for view in answer.json()["lenses"]] == [ab.uri]


def test_the_collection_of_a_uri_counts(index: Index, image: str) -> None:
    put = index.put(ALICE, to_record(dataset("cats", image), CLASSIC))
    index.commit(ALICE, put)
    with index.serve() as node:
        for collection in (f"{NAMESPACE}.dataset", f"{CLASSIC}.schema", "com.example.thing"):
            uri = f"at://{ALICE}/{collection}/{put.rkey}"
            assert node.refused("getDataset", uri=uri)[:2] == (404, "DatasetNotFound")
            assert node.ask("getDatasets", uris=[uri])["notFound"] == [uri]
            answer = node.http.get(f"/xrpc/{CLASSIC}.getEntry", params={"uri": uri})
            assert error_of(answer)[:2] == (404, "EntryNotFound")
        assert node.refused("getSchema", uri=put.uri)[:2] == (404, "SchemaNotFound")


def test_errors_have_the_shape_and_the_status_of_xrpc(index: Index) -> None:
    """There, `{"detail": …}` with 422."""
    with index.serve() as node:
        asked: dict[str, tuple[int, str]] = {
            "/xrpc/app.bsky.atdata.getDataset": (400, "InvalidRequest"),
            "/xrpc/app.bsky.atdata.listDatasets?limit=x": (400, "InvalidRequest"),
            "/xrpc/app.bsky.atdata.listDatasets?limit=0": (400, "InvalidRequest"),
            "/xrpc/science.alt.dataset.getEntry": (400, "InvalidRequest"),
            "/xrpc/science.alt.dataset.getEntries": (400, "InvalidRequest"),
            "/xrpc/science.alt.dataset.resolveLabel?handle=nobody.example&name=x": (
                404,
                "LabelNotFound",
            ),
            "/xrpc/app.bsky.atdata.noSuchMethod": (501, "MethodNotImplemented"),
            "/nothing": (404, "NotFound"),
        }
        for path, expected in asked.items():
            assert error_of(node.http.get(path))[:2] == expected, path
        answer = node.http.post("/xrpc/app.bsky.atdata.checkRecord", json={"collection": 7})
        assert error_of(answer)[:2] == (400, "InvalidRequest")


@pytest.mark.parametrize(
    "value", ["x", "", "%00", "MjAyNi0wMS0wMTo6YTo6Yg==", "e30", "WzFd", "%FF%FE", "a%00b"]
)
def test_a_bad_cursor_and_nul_are_bad_requests(index: Index, value: str) -> None:
    with index.serve() as node:
        for method in (
            "app.bsky.atdata.listDatasets",
            "app.bsky.atdata.searchDatasets",
            "science.alt.dataset.listEntries",
            "science.alt.dataset.searchDatasets",
            "science.alt.dataset.listLenses",
        ):
            answer = node.http.get(f"/xrpc/{method}?cursor={value}")
            assert error_of(answer)[:2] == (400, "InvalidRequest"), method
        for query in ("searchDatasets?q=a%00b", "listDatasets?tag=%00", "getDataset?uri=at://a%00"):
            answer = node.http.get(f"/xrpc/app.bsky.atdata.{query}")
            assert error_of(answer)[:2] == (400, "InvalidRequest")


@pytest.mark.parametrize("part", ["store", "search", "state"])
def test_health_is_not_well_while_a_store_is_down(index: Index, part: str) -> None:
    with index.serve() as node:
        index.close(part)
        answer = node.http.get("/xrpc/_health")
        said: dict[str, Any] = answer.json()
        assert (answer.status_code, said["ok"], said[part]) == (503, False, "does not answer")


@pytest.mark.timeout(240)
async def test_sequence_numbers_go_on_after_a_restart(
    tmp_path: Path, relay: FakeRelay, plc: FakePlc
) -> None:
    """There, they start again at 0, so that a cursor means something else."""
    key = K256Key()
    plc.documents[CAROL] = did_document(CAROL, key)
    repo = Repo(CAROL, key)
    record = to_record(dataset("cats", f"at://{CAROL}/{CLASSIC}.schema/x"), CLASSIC)
    relay.send(*(repo.commit({f"{ENTRY}/{rev(n)}": record}).encode(n + 1) for n in range(3)))
    flags = ("--plc", plc.url, "--batch-delay", "0.01", "--no-backfill", "--allow-private-hosts")
    async with node_process(tmp_path / "data", relay.url, *flags) as running:
        before = await read(running.url, 3, cursor=0)
        assert await running.stop() == 0
    relay.send(repo.commit({f"{ENTRY}/{rev(7)}": record}).encode(9))
    async with node_process(tmp_path / "data", relay.url, *flags) as running:
        again = await read(running.url, 4, cursor=0)
        [after] = await read(running.url, 1, cursor=before[-1].body["seq"])
        assert await running.stop() == 0
    assert [message.body for message in again[:3]] == [message.body for message in before]
    numbers = [message.body["seq"] for message in again]
    assert numbers == sorted(set(numbers))
    assert after.body == again[3].body
    assert after.body["rkey"] == rev(7)
