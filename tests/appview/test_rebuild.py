"""Rebuilding: real stores, the real writer, and a firehose that goes on meanwhile."""

from __future__ import annotations

import asyncio
import copy
import json
import subprocess
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from atdex_appview.graph.checking import LensChecks
from atdex_appview.graph.facts import GraphChange
from atdex_appview.graph.following import GraphFollower
from atdex_appview.graph.graph import LensGraph
from atdex_appview.graph.paths import find_paths
from atdex_appview.ingest import Ingest
from atdex_appview.rebuild.fingerprint import fingerprint_of
from atdex_appview.rebuild.progress import PROGRESS_JOB, REQUEST_JOB, Progress
from atdex_appview.rebuild.rebuilding import Rebuild
from atdex_appview.search.document import SearchDocument
from atdex_appview.search.index import SearchIndex
from atdex_appview.state import State
from atdex_appview.store.duckdb import DuckDBStore
from atdex_appview.writer import Writer
from atdex_firehose.errors import FetchFailed
from atdex_firehose.events import Action, Event, Identity, RecordOp
from atdex_firehose.fetch_record import FetchedRecord
from atdex_lexicons import Catalog, Cid
from atdex_lexicons.datamodel import encode, from_json
from atdex_lexicons.families import to_record
from atdex_lexicons.model import KINDS, Model
from tests.appview.index import dataset, label, lens, schema, verification
from tests.appview.records import ALICE, BOB, COLLECTIONS, rev, uri
from tests.appview.running import COMMAND, DEADLINE, environment, node
from tests.appview.test_ingest import Script
from tests.support.relay import FakePlc, FakeRelay
from tests.support.repo import K256Key, Repo, did_document, plc_did

ENTRY = COLLECTIONS["dataset"]
SCHEMA = f"at://{ALICE}/{COLLECTIONS['schema']}/{rev(1)}"
VIEW = f"at://{ALICE}/{COLLECTIONS['schema']}/{rev(2)}"
LENS = f"at://{ALICE}/{COLLECTIONS['lens']}/{rev(3)}"
CAROL = "did:plc:carol00000000000000000c"
BUNDLED = Catalog.bundled()


def changed(nsid: str, change: Callable[[dict[str, Any]], None]) -> Catalog:
    """The bundled documents, one of them changed."""
    documents = {name: copy.deepcopy(BUNDLED.document(name)) for name in BUNDLED.nsids()}
    change(documents[nsid]["defs"]["main"]["record"]["properties"])
    return Catalog.from_documents(documents.values())


def short_names(properties: dict[str, Any]) -> None:
    properties["name"]["maxLength"] = 8


def long_names(properties: dict[str, Any]) -> None:
    properties["name"]["maxLength"] = 100_000
    properties["name"].pop("maxGraphemes", None)


STRICT = changed(ENTRY, short_names)
LENIENT = changed(ENTRY, long_names)
TOO_LONG = "eye " + "x" * 3_000
"""A name that no document allows but the lenient one."""


def op(action: Action, collection: str, key: str, value: object = None) -> RecordOp:
    if action == "delete":
        return RecordOp(action, collection, key, None, None)
    raw = encode(from_json(value))
    return RecordOp(action, collection, key, str(Cid.of_cbor(raw)), raw)


def create(key: int, model: Model) -> RecordOp:
    record = to_record(model)
    return op("create", record["$type"], rev(key), record)


def entry(key: int, name: str) -> RecordOp:
    return create(key, dataset(name, SCHEMA))


class Live(Script):
    """A source that goes on until it is ended; events may be added while it is read."""

    def __init__(self) -> None:
        super().__init__()
        self._more = asyncio.Event()
        self._ended = False

    async def __aiter__(self) -> AsyncIterator[Event]:
        at = 0
        while True:
            while at < len(self.events):
                yield self.events[at]
                at += 1
            if self._ended:
                return
            self._more.clear()
            await self._more.wait()

    def publish(self, did: str, number: int, *ops: RecordOp) -> None:
        self.commit(did, number, *ops)
        self._more.set()

    def status(self, did: str, word: str | None) -> None:
        self.account(did, word)
        self._more.set()

    def end(self) -> None:
        self._ended = True
        self._more.set()

    async def durable(self) -> None:
        async with asyncio.timeout(DEADLINE):
            while len(self.acked) < len(self.events):  # noqa: ASYNC110 - acked by others
                await asyncio.sleep(0.005)


@dataclass
class World:
    """Open stores, and what runs on them."""

    store: DuckDBStore
    search: SearchIndex
    state: State
    source: Live
    writer: Writer
    rebuild: Rebuild
    graph: LensGraph

    async def ask(self, request: str = "now") -> Progress:
        """Asks for a rebuild, and does it."""
        await self.state.save_job(REQUEST_JOB, {"request": request})
        progress = await self.rebuild.due()
        assert progress is not None
        async with asyncio.timeout(DEADLINE):
            return await self.rebuild.run(progress)

    def served(self) -> dict[str, str]:
        """Every dataset that is listed, by its rkey, with its name; search has the same ones."""
        listed = self.store.list_records("dataset", limit=1000)
        found = {hit.uri for hit in self.search.search("", limit=1000).hits}
        assert found == {record.uri for record in listed}
        return {record.rkey: json.loads(record.json)["name"] for record in listed}

    def everything(self) -> Any:
        """All that is derived, and nothing of when it was."""
        held = {
            kind: self.store.held_page(kind, after=0, upto=2**62, limit=10_000) for kind in KINDS
        }
        queries = ("", "eye", '"eye 1"', "ey*", "eyye", "labelled")
        pages = [self.search.search(q, limit=1000) for q in queries]
        hits = [[(hit.uri, hit.schema, hit.highlights) for hit in page.hits] for page in pages]
        uris = [each.uri for each in held["lens"]]
        try:
            paths = [
                path.lenses for path in find_paths(self.graph, SCHEMA, VIEW, max_hops=4, limit=5)
            ]
        except LookupError:
            paths = []
        checks = self.store.lens_checks(uris)
        return held, hits, self.graph.counts(), paths, checks, self.store.counts()


Fetch = Callable[[str, str], Any]


@asynccontextmanager
async def opened(
    folder: Path,
    catalog: Catalog = BUNDLED,
    *,
    reading: str = "first",
    part: int = 3,
    rest: float = 0.0,
    fetch: Fetch | None = None,
) -> AsyncIterator[World]:
    store = DuckDBStore.open(folder / "records.duckdb")
    search = SearchIndex.open(folder / "search")
    state = await State.open(folder / "state.sqlite")
    try:
        graph = LensGraph()
        follower = GraphFollower(store, graph, checks=LensChecks(store))
        await asyncio.to_thread(follower.load)
        writer = Writer(store, search, state, max_delay=0.002, follow=follower.follow)
        source = Live()
        ingest = Ingest(source, catalog, writer, state)
        rebuild = Rebuild(
            store,
            search,
            state,
            writer,
            catalog,
            follow=follower.follow,
            pause=ingest.paused,
            fetch=fetch,
            reading=reading,
            part=part,
            rest=rest,
        )
        writing = asyncio.create_task(writer.run())
        ingesting = asyncio.create_task(ingest.run())
        yield World(store, search, state, source, writer, rebuild, graph)
        source.end()
        await ingesting
        await writer.close()
        await writing
    finally:
        await state.close()
        search.close()
        store.close()


async def fill(world: World) -> None:
    """Some of everything: all kinds, invalid records, a hidden account, a lens that is checked."""
    world.source.publish(
        ALICE,
        1,
        create(1, schema()),
        create(2, schema("Grey")),
        create(3, lens("grey", SCHEMA, VIEW)),
        *(entry(10 + n, f"eye {n}") for n in range(5)),
        create(20, label("labelled", uri(ALICE, "dataset", rev(11)), "1.0.0")),
        op("create", ENTRY, rev(30), {"$type": ENTRY, "name": "invalid"}),
    )
    cid = create(3, lens("grey", SCHEMA, VIEW)).cid or ""
    world.source.publish(BOB, 2, create(4, verification(LENS, cid)), entry(15, "eye of bob"))
    world.source.publish(CAROL, 3, entry(16, "eye of carol"))
    world.source.status(CAROL, "deactivated")
    await world.source.durable()


async def test_reading_anew_what_is_right_changes_nothing(tmp_path: Path) -> None:
    async with opened(tmp_path) as world:
        await fill(world)
        before, number = world.everything(), world.store.change_number()
        progress = await world.ask()
        assert world.everything() == before
        assert world.store.change_number() == number
        assert (progress.done, progress.total) == (13, 13)
        assert (progress.changed, progress.set_aside, progress.restored) == (0, 0, 0)
        assert await world.rebuild.due() is None


async def test_what_is_derived_is_made_right_from_the_bytes_that_were_signed(
    tmp_path: Path,
) -> None:
    async with opened(tmp_path) as world:
        await fill(world)
        before, shown = world.everything(), world.served()
        # From within: DuckDB lets nobody else open the file.
        cursor = world.store._connection.cursor()
        cursor.execute("UPDATE dataset SET name = 'wrong', tags = ['wrong']")
        cursor.execute("UPDATE schema SET version = '9.9.9', conformance = 'dialect:none'")
        cursor.execute("UPDATE lens SET source_version = '>=9'")
        cursor.close()
        stranger = SearchDocument(
            uri(BOB, "dataset", "zz"), BOB, "eye of nobody", "", (), SCHEMA, None, 5, None, None
        )
        found = world.search.search("", limit=10).hits
        wrong = SearchDocument(found[0].uri, ALICE, "wrong", "", (), SCHEMA, None, 7, None, None)
        world.search.update([stranger, wrong], [found[1].uri])
        world.graph.update(GraphChange(lenses={LENS: None}))
        rows = world.store._rows._writer
        rows.execute('UPDATE dataset SET json = \'{"name": "wrong"}\'')
        rows.execute("DELETE FROM schema")
        assert world.everything() != before
        progress = await world.ask()
        assert world.everything() == before
        assert progress.changed == 7 + 2 + 1
        assert world.served() == shown
        assert len(world.store.list_records("schema", limit=10)) == 2


async def test_an_interrupted_rebuild_goes_on_where_it_was(tmp_path: Path) -> None:
    async with opened(tmp_path) as world:
        await fill(world)
        before = world.everything()
        await world.state.save_job(REQUEST_JOB, {"request": "long"})
        progress = await world.rebuild.due()
        assert progress is not None
        running = asyncio.create_task(world.rebuild.run(progress))
        async with asyncio.timeout(DEADLINE):
            while True:
                kept = await world.state.job(PROGRESS_JOB)
                assert kept is not None
                if kept["done"] >= 5:
                    break
                await asyncio.sleep(0)
        running.cancel()
        with pytest.raises(asyncio.CancelledError):
            await running
        kept = await world.state.job(PROGRESS_JOB)
        assert kept is not None
        assert (kept["finished"], kept["request"]) == (False, "long")
    async with opened(tmp_path) as world:
        progress = await world.rebuild.due()
        assert progress is not None
        assert (progress.request, progress.done) == ("long", kept["done"])
        progress = await world.rebuild.run(progress)
        assert (progress.done, progress.total) == (13, 13)
        assert world.everything() == before


async def test_searches_and_lists_are_whole_all_the_time(tmp_path: Path) -> None:
    async with opened(tmp_path, part=2) as world:
        world.source.publish(ALICE, 1, *(entry(100 + n, f"eye {n}") for n in range(40)))
        await world.source.durable()
        ended = False
        looks = 0

        def look() -> None:
            nonlocal looks
            while not ended:
                assert world.search.search("eye", limit=100).total == 40
                assert len(world.store.list_records("dataset", limit=100)) == 40
                looks += 1

        looking = asyncio.create_task(asyncio.to_thread(look))
        try:
            for n in range(3):
                cursor = world.store._connection.cursor()
                cursor.execute("UPDATE dataset SET description = ?", [f"wrong {n}"])
                cursor.close()
                assert (await world.ask(f"{n}")).changed == 40
        finally:
            ended = True
            await looking
        assert looks > 3


async def test_the_firehose_goes_on_and_nothing_of_it_is_lost_or_undone(tmp_path: Path) -> None:
    async with opened(tmp_path, part=2, rest=0.2) as world:
        model: dict[str, str] = {}
        world.source.publish(ALICE, 1, *(entry(100 + n, f"eye {n}") for n in range(30)))
        model |= {rev(100 + n): f"eye {n}" for n in range(30)}
        world.source.publish(
            ALICE, 2, *(op("create", ENTRY, rev(200 + n), {"$type": ENTRY}) for n in range(10))
        )
        await world.source.durable()
        cursor = world.store._connection.cursor()
        cursor.execute("UPDATE dataset SET description = 'wrong'")
        cursor.close()
        running = asyncio.create_task(world.ask())
        for n in range(30):
            number = 10 + n
            match n % 4:
                case 0:  # a record that is read anew is deleted
                    world.source.publish(ALICE, number, op("delete", ENTRY, rev(100 + n)))
                    del model[rev(100 + n)]
                case 1:  # updated
                    changed_to = op("update", ENTRY, rev(100 + n), to_record(dataset("x", SCHEMA)))
                    world.source.publish(ALICE, number, changed_to)
                    model[rev(100 + n)] = "x"
                case 2:  # one in quarantine is deleted
                    world.source.publish(ALICE, number, op("delete", ENTRY, rev(200 + n // 4)))
                case 3:  # a new one
                    world.source.publish(ALICE, number, entry(300 + n, f"new {n}"))
                    model[rev(300 + n)] = f"new {n}"
            await asyncio.sleep(0.003)
        await running
        await world.source.durable()
        assert world.served() == model
        assert "wrong" not in {
            json.loads(record.json).get("description")
            for record in world.store.list_records("dataset", limit=100)
        }


# Documents that change


async def reread(folder: Path, catalog: Catalog, reading: str) -> tuple[dict[str, str], Progress]:
    """A start with these documents: what is due is done; what is served then."""
    async with opened(folder, catalog, reading=reading) as world:
        progress = await world.rebuild.due()
        assert progress is not None
        progress = await world.rebuild.run(progress)
        assert await world.rebuild.due() is None
        return world.served(), progress


async def test_what_new_documents_forbid_is_set_aside_and_served_again_when_they_allow_it(
    tmp_path: Path,
) -> None:
    async with opened(tmp_path) as world:
        assert await world.rebuild.due() is None
        world.source.publish(ALICE, 1, *(entry(10 + n, "eye" + n * " eye") for n in range(6)))
        await world.source.durable()
        before = world.everything()
    served, progress = await reread(tmp_path, STRICT, "second")
    assert served == {rev(10): "eye", rev(11): "eye eye"}
    assert (progress.set_aside, progress.restored) == (4, 0)
    async with opened(tmp_path, STRICT, reading="second") as world:
        kept = await world.state.get(uri(ALICE, "dataset", rev(13)))
        assert kept is not None
        assert [problem.path for problem in kept.problems] == ["/name"]
        assert kept.rev == rev(1)
    served, progress = await reread(tmp_path, BUNDLED, "third")
    assert (len(served), progress.restored) == (6, 4)
    async with opened(tmp_path, reading="third") as world:
        assert world.everything() == before  # in the places that they had
        assert await world.state.count() == 0


async def test_what_was_quarantined_is_served_once_new_documents_allow_it(tmp_path: Path) -> None:
    async with opened(tmp_path) as world:
        assert await world.rebuild.due() is None
        world.source.publish(ALICE, 1, entry(10, "eye"), entry(11, TOO_LONG))
        world.source.publish(ALICE, 2, op("create", ENTRY, rev(12), {"$type": ENTRY}))
        await world.source.durable()
        assert world.served() == {rev(10): "eye"}
    served, progress = await reread(tmp_path, LENIENT, "second")
    assert served == {rev(10): "eye", rev(11): TOO_LONG}
    assert (progress.restored, progress.set_aside) == (1, 0)
    async with opened(tmp_path, LENIENT, reading="second") as world:
        assert await world.state.get(uri(ALICE, "dataset", rev(11))) is None
        assert await world.state.get(uri(ALICE, "dataset", rev(12))) is not None
        record = world.store.records([uri(ALICE, "dataset", rev(11))])
        assert record[uri(ALICE, "dataset", rev(11))].rev == rev(1)
        # The next commit of it is taken like any other.
        world.source.publish(ALICE, 3, op("delete", ENTRY, rev(11)))
        await world.source.durable()
        assert world.served() == {rev(10): "eye"}


async def test_problems_are_told_by_the_present_documents(tmp_path: Path) -> None:
    async with opened(tmp_path) as world:
        await world.rebuild.due()
        value = to_record(dataset("eye eye eye", SCHEMA)) | {"createdAt": "never"}
        world.source.publish(ALICE, 1, op("create", ENTRY, rev(11), value))
        await world.source.durable()
    await reread(tmp_path, STRICT, "second")
    async with opened(tmp_path, STRICT, reading="second") as world:
        kept = await world.state.get(uri(ALICE, "dataset", rev(11)))
        assert kept is not None
        assert {problem.path for problem in kept.problems} == {"/name", "/createdAt"}


async def test_what_an_inactive_account_has_stays_hidden_and_is_read_anew_all_the_same(
    tmp_path: Path,
) -> None:
    async with opened(tmp_path) as world:
        await world.rebuild.due()
        world.source.publish(ALICE, 1, entry(10, "eye"), entry(11, TOO_LONG))
        world.source.status(ALICE, "deactivated")
        await world.source.durable()
    served, progress = await reread(tmp_path, LENIENT, "second")
    assert (served, progress.restored) == ({}, 1)
    async with opened(tmp_path, LENIENT, reading="second") as world:
        world.source.status(ALICE, None)
        await world.source.durable()
        assert len(world.served()) == 2


async def test_a_record_without_a_signature_behind_it_stays_marked(tmp_path: Path) -> None:
    async with opened(tmp_path) as world:
        await world.rebuild.due()
        world.source.commit(ALICE, 1, entry(10, "eye"), entry(11, TOO_LONG), verified=False)
        world.source.publish(BOB, 1, entry(12, "eye of bob"), entry(13, TOO_LONG))
        await world.source.durable()
        cursor = world.store._connection.cursor()
        cursor.execute("UPDATE dataset SET description = 'wrong'")
        cursor.close()
    await reread(tmp_path, LENIENT, "second")
    async with opened(tmp_path, LENIENT, reading="second") as world:
        records = world.store.list_records("dataset", limit=10)
        assert {record.rkey: record.verified for record in records} == {
            rev(10): False,
            rev(11): False,
            rev(12): True,
            rev(13): True,
        }


async def test_a_large_record_in_quarantine_is_fetched_to_be_judged(tmp_path: Path) -> None:
    name = "eye " + "y" * 50_000
    whole, moved = entry(11, name), entry(12, name + "!")
    async with opened(tmp_path) as world:
        await world.rebuild.due()
        world.source.publish(ALICE, 1, whole, moved, entry(13, name + "?"))
        await world.source.durable()

    async def fetch(did: str, path: str) -> FetchedRecord | None:
        rkey = path.rpartition("/")[2]
        if rkey == rev(13):
            raise FetchFailed("https://pds.example", "gone")
        assert whole.raw is not None
        identity = Identity(did, None, "https://pds.example", None)
        return FetchedRecord(identity, rev(9), whole.cid or "", whole.raw)

    async with opened(tmp_path, LENIENT, reading="second", fetch=fetch) as world:
        progress = await world.rebuild.due()
        assert progress is not None
        progress = await world.rebuild.run(progress)
        assert world.served() == {rev(11): name}
        assert (progress.restored, progress.incomplete) == (1, 2)


# When there is something to do


async def test_a_new_store_and_one_that_was_read_by_the_present_documents_need_nothing(
    tmp_path: Path,
) -> None:
    async with opened(tmp_path) as world:
        assert await world.rebuild.due() is None
        await fill(world)
    async with opened(tmp_path) as world:
        assert await world.rebuild.due() is None


async def test_a_store_from_before_this_was_kept_is_read_once(tmp_path: Path) -> None:
    async with opened(tmp_path) as world:
        await fill(world)
        progress = await world.rebuild.due()
        assert progress is not None
        await world.rebuild.run(progress)
        assert await world.rebuild.due() is None


async def test_a_rebuild_that_documents_overtake_starts_over(tmp_path: Path) -> None:
    async with opened(tmp_path) as world:
        await fill(world)
        kept = Progress("long", "it was asked for", "first", "lens", after=5, done=9, total=13)
        await world.state.save_job(PROGRESS_JOB, kept.to_json())
        await world.state.save_job(REQUEST_JOB, {"request": "long"})
        assert await world.rebuild.due() == kept
    async with opened(tmp_path, reading="second") as world:
        progress = await world.rebuild.due()
        assert progress is not None
        assert (progress.request, progress.done, progress.phase) == ("long", 0, KINDS[0])
        await world.rebuild.run(progress)
        assert await world.rebuild.due() is None
    async with opened(tmp_path, reading="second") as world:
        await world.state.save_job(PROGRESS_JOB, {"of": "another version"})
        progress = await world.rebuild.due()
        assert progress is not None
        assert progress.done == 0


def test_the_fingerprint_is_of_what_records_are_read_by() -> None:
    assert fingerprint_of() == fingerprint_of()
    assert len({fingerprint_of(), fingerprint_of(b"a"), fingerprint_of(b"a", b"b")}) == 3
    assert fingerprint_of(b"ab") != fingerprint_of(b"a", b"b")


# The command


async def reindex(folder: Path, *flags: str) -> subprocess.CompletedProcess[str]:
    def call() -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [COMMAND, "node", "reindex", "--data-dir", folder, *flags],
            capture_output=True,
            text=True,
            timeout=2 * DEADLINE,
            env=environment(),
            check=False,
        )

    return await asyncio.to_thread(call)


@pytest.mark.timeout(180)
async def test_the_command_has_a_running_node_rebuild_and_does_it_itself_where_none_runs(
    tmp_path: Path,
) -> None:
    folder, did = tmp_path / "data", plc_did("alice")
    async with FakeRelay() as relay:
        with FakePlc() as plc:
            repo = Repo(did, K256Key())
            plc.documents[did] = did_document(did, repo.key)
            records = {
                f"{ENTRY}/{rev(n)}": to_record(dataset(f"eye {n}", SCHEMA)) for n in range(20)
            }
            relay.send(repo.commit(records).encode(1))
            flags = ("--plc", plc.url, "--batch-delay", "0.02")
            async with node(folder, relay.url, *flags) as running:
                await running.until(lambda a: a["hitsTotal"] == 20, "searchDatasets", q="eye")
                done = await reindex(folder)
                assert (done.returncode, done.stdout) == (
                    0,
                    "done: 20 records, 0 changed, 0 set aside, 0 out of quarantine\n",
                ), done.stderr
                again = await reindex(folder, "--json")
                assert json.loads(again.stdout)["done"] == 20
                asked = await reindex(folder, "--no-wait")
                assert (asked.returncode, asked.stdout) == (0, "the node was asked to\n")
                assert (await running.ask("searchDatasets", q="eye"))["hitsTotal"] == 20
                assert await running.stop() == 0
                assert "Traceback" not in running.log
            alone = await reindex(folder)
            assert alone.returncode == 0, alone.stderr
            assert alone.stdout.startswith("done: 20 records")
            async with node(folder, relay.url, *flags) as running:
                assert (await running.ask("searchDatasets", q="eye"))["hitsTotal"] == 20
                assert await running.stop() == 0
                assert "rebuild" not in running.log
    nothing = await reindex(tmp_path / "empty")
    assert nothing.returncode == 1
    assert "holds no node's records" in nothing.stderr
