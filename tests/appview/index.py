"""An index on disk, filled through the writer, and its application served over HTTP.

with Index.open(tmp_path) as index:
    index.publish(ALICE, record("dataset", name="retina", …))
    with index.serve() as client: client.query("listDatasets")
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager, contextmanager
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import httpx
from starlette.applications import Starlette

from atdex_appview.app import build_app
from atdex_appview.context import Context
from atdex_appview.federation.search import Federation
from atdex_appview.feeds.definition import DEFAULT_FEEDS, Feed
from atdex_appview.feeds.posts import Posts
from atdex_appview.graph.checking import LensChecks
from atdex_appview.graph.following import GraphFollower
from atdex_appview.graph.graph import LensGraph
from atdex_appview.graph.reach import Reaches
from atdex_appview.http_protocol import HttpProtocol
from atdex_appview.limited import LimitedPages
from atdex_appview.network.lexicons import NetworkLexicons
from atdex_appview.search.index import SearchIndex
from atdex_appview.slow import SlowQueries
from atdex_appview.state import Notes, QuarantinedRecord, State
from atdex_appview.status import IngestWord, Upstream
from atdex_appview.store.base import Change, Delete, HandleChange, Put, RepoChange, StatusChange
from atdex_appview.store.columns import datetime_micros, values_of
from atdex_appview.store.duckdb import DuckDBStore
from atdex_appview.writer import Writer
from atdex_firehose.stats import Backfill
from atdex_lexicons import Catalog, Cid
from atdex_lexicons.datamodel import decode, encode, from_json, json_bytes
from atdex_lexicons.families import check_record, to_record
from atdex_lexicons.model import (
    Checksum,
    CodeReference,
    Dataset,
    Field,
    HttpShard,
    Label,
    Lens,
    Model,
    NDArray,
    Primitive,
    Schema,
    Verification,
)
from atdex_xrpc import Callers, RateLimit
from tests.appview.records import rev
from tests.support.http import serve_app

ALICE = "did:plc:alice000000000000000000a"
BOB = "did:plc:bob00000000000000000000b"
CREATED = "2026-01-02T03:04:05.000Z"
NAMESPACE = "app.bsky.atdata"
CLASSIC = "science.alt.dataset"

CATALOG = Catalog.bundled()

T = TypeVar("T")


def schema(name: str = "Image", version: str = "1.0.0") -> Schema:
    fields = (
        Field("image", NDArray(dtype="uint8", shape=(-1, -1, 3))),
        Field("label", Primitive("str")),
    )
    return Schema(name=name, version=version, fields=fields, created_at=CREATED)


def dataset(
    name: str,
    schema_uri: str,
    *,
    tags: tuple[str, ...] = (),
    description: str = "",
    shards: int = 1,
) -> Dataset:
    return Dataset(
        name=name,
        schema_uri=schema_uri,
        shards=tuple(
            HttpShard(f"https://shards.example/{n}.tar", Checksum("sha256", "ab" * 32))
            for n in range(shards)
        ),
        description=description,
        tags=tags,
        created_at=CREATED,
    )


def lens(name: str, source: str, target: str) -> Lens:
    code = CodeReference("https://git.example/lenses", "0" * 40, "lenses.py:grey")
    return Lens(
        name=name, source=source, target=target, getter=code, putter=code, created_at=CREATED
    )


def label(name: str, dataset_uri: str, version: str | None = None) -> Label:
    return Label(name=name, dataset_uri=dataset_uri, version=version, created_at=CREATED)


def verification(lens_uri: str, cid: str) -> Verification:
    return Verification(lens_uri=lens_uri, lens_cid=cid, method="codeReview", created_at=CREATED)


class Index:
    """The three stores of a node, open, and what one does with them in tests."""

    def __init__(
        self, runner: asyncio.Runner, store: DuckDBStore, search: SearchIndex, state: State
    ) -> None:
        self._runner = runner
        self.store = store
        self.search = search
        self.state = state
        self.graph = LensGraph()
        self._follower = GraphFollower(store, self.graph, checks=LensChecks(store))
        self._follower.load()
        self.followers: list[Callable[[Sequence[Change]], None]] = []
        """What else the writer tells of each batch."""
        self._commits = 0
        self._records = 0
        self._handles: dict[str, str | None] = {ALICE: "alice.test", BOB: "bob.test"}

    @classmethod
    @contextmanager
    def open(cls, folder: Path) -> Iterator[Index]:
        store = DuckDBStore.open(folder / "records.duckdb")
        search = SearchIndex.open(folder / "search")
        with asyncio.Runner() as runner:
            state = runner.run(State.open(folder / "state.sqlite"))
            try:
                yield cls(runner, store, search, state)
            finally:
                runner.run(state.close())
                search.close()
                store.close()

    def apply(self, *changes: Change) -> None:
        """Through the writer, as the ingestion does."""

        async def write() -> None:
            writer = Writer(self.store, self.search, self.state, max_delay=0.0, follow=self._follow)
            running = asyncio.create_task(writer.run())
            for change in changes:
                await writer.submit(change, lambda: None)
            await writer.close()
            await running

        self._runner.run(write())

    def _follow(self, changes: Sequence[Change], number: int) -> None:
        self._follower.follow(changes, number)
        for follow in self.followers:
            follow(changes)

    def run(self, work: Coroutine[Any, Any, T]) -> T:
        """On the event loop of the stores."""
        return self._runner.run(work)

    def publish(self, did: str, *models: Model, family: str = CLASSIC) -> list[Put]:
        """Publishes models as records of one commit; what was put, in order."""
        puts = [self.put(did, to_record(model, family)) for model in models]
        self.commit(did, *puts)
        return puts

    def put(self, did: str, record: Mapping[str, Any], rkey: str | None = None) -> Put:
        """A record as ingestion would hand it over; it is checked like any other."""
        self._records += 1
        collection = record["$type"]
        key = rkey or rev(1_000_000 + self._records)
        value = from_json(dict(record))
        raw = encode(value)
        checked = check_record(CATALOG, collection, key, value)
        return Put(
            uri=f"at://{did}/{collection}/{key}",
            did=did,
            collection=collection,
            rkey=key,
            cid=str(Cid.of_cbor(raw)),
            kind=checked.kind,
            conformance=checked.conformance,
            raw=raw,
            json=json_bytes(decode(raw)),
            created_at=datetime_micros(checked.model.created_at),
            values=values_of(checked.kind, checked.model),
            created=True,
        )

    def commit(self, did: str, *changes: Put | Delete) -> None:
        self._commits += 1
        handle = self._handles.get(did)
        self.apply(RepoChange(did, rev(self._commits), changes, handle, "https://pds.example"))

    def set_status(self, did: str, *, active: bool, status: str | None = None) -> None:
        self.apply(StatusChange(did, active, status))

    def set_handle(self, did: str, handle: str | None) -> None:
        self._handles[did] = handle
        self.apply(HandleChange(did, handle, None))

    def quarantine(self, record: QuarantinedRecord) -> None:
        self._runner.run(self.state.save([Notes(quarantined=(record,))]))

    def close(self, part: str) -> None:
        """Closes one of the stores while the others go on."""
        if part == "state":
            self._runner.run(self.state.close())
        elif part == "search":
            self.search.close()
        else:
            self.store.close()

    @contextmanager
    def serve(
        self,
        *,
        upstreams: Callable[[], tuple[Upstream, ...]] = tuple,
        ingest: Callable[[], IngestWord] = lambda: "ok",
        backfill: Callable[[], Backfill | None] = lambda: None,
        feeds: Sequence[Feed] = DEFAULT_FEEDS,
        feed_publisher: str | None = None,
        posts: Posts | None = None,
        allow_private_hosts: bool = False,
        federation: Federation | None = None,
        network: NetworkLexicons | None = None,
        slow: SlowQueries | None = None,
        rate: RateLimit | None = None,
        callers: Callers | None = None,
    ) -> Iterator[Node]:
        """`federation` is closed with the server."""
        context = Context(
            catalog=CATALOG,
            store=self.store,
            search=self.search,
            state=self.state,
            graph=self.graph,
            reaches=Reaches(self.graph),
            did="did:web:index.example",
            origin="https://index.example",
            upstreams=upstreams,
            backfill=backfill,
            feeds={feed.name: feed for feed in feeds},
            feed_publisher=feed_publisher,
            posts=posts,
            allow_private_hosts=allow_private_hosts,
            federation=federation,
            network=network,
            slow=slow or SlowQueries(),
        )
        app = build_app(context, ingest=ingest, rate=rate, callers=callers, check_output=True)
        if federation is not None:
            app.router.lifespan_context = partial(_closing, federation)
        whole = app if rate is None else LimitedPages(app, rate)
        with (
            serve_app(whole, http=HttpProtocol) as url,
            httpx.Client(base_url=url, timeout=20, trust_env=False) as http,
        ):
            yield Node(http, url)


class Node:
    """The served application. Every answer was validated by the server against its document."""

    def __init__(self, http: httpx.Client, url: str) -> None:
        self.http = http
        self.url = url

    def get(self, method: str, **params: Any) -> httpx.Response:
        return self.http.get(f"/xrpc/{NAMESPACE}.{method}", params=params)

    def ask(self, method: str, **params: Any) -> Any:
        response = self.get(method, **params)
        assert response.status_code == 200, response.text
        return response.json()

    def call(self, method: str, body: Any) -> Any:
        response = self.http.post(f"/xrpc/{NAMESPACE}.{method}", json=body)
        assert response.status_code == 200, response.text
        return response.json()

    def refused(self, method: str, **params: Any) -> tuple[int, str, str]:
        """(status, error, message) of an answer that is no success."""
        return error_of(self.get(method, **params))

    def walk(self, method: str, items: str, **params: Any) -> Iterator[list[Any]]:
        """Every page of a list."""
        cursor: str | None = None
        while True:
            more = {"cursor": cursor} if cursor else {}
            page = self.ask(method, **params, **more)
            yield page[items]
            cursor = page.get("cursor")
            if cursor is None:
                return


@asynccontextmanager
async def _closing(federation: Federation, app: Starlette) -> AsyncIterator[None]:
    async with federation:
        yield


def error_of(response: httpx.Response) -> tuple[int, str, str]:
    body = response.json()
    assert set(body) == {"error", "message"}, body
    return response.status_code, body["error"], body["message"]
