"""A node's stores with records in them, to be made anew."""

from __future__ import annotations

import asyncio
import copy
import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from atdex_appview.graph.checking import LensChecks
from atdex_appview.graph.following import GraphFollower
from atdex_appview.graph.graph import LensGraph
from atdex_appview.graph.paths import find_paths
from atdex_appview.ingest import Ingest
from atdex_appview.rebuild.progress import REQUEST_JOB, Progress
from atdex_appview.rebuild.rebuilding import Rebuild
from atdex_appview.search.index import SearchIndex
from atdex_appview.state import State
from atdex_appview.store.duckdb import DuckDBStore
from atdex_appview.writer import Writer
from atdex_firehose.events import Action, Event, RecordOp
from atdex_lexicons import Catalog, Cid
from atdex_lexicons.datamodel import encode, from_json
from atdex_lexicons.families import to_record
from atdex_lexicons.model import KINDS, Model
from tests.appview.index import dataset, label, lens, schema, verification
from tests.appview.records import ALICE, BOB, COLLECTIONS, rev, uri
from tests.appview.running import DEADLINE
from tests.appview.test_ingest import Script

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
