"""One running node: stores, firehose and writer, open and in agreement with each other, and what
answers requests. `running` makes a process of it.

Durability: see `writer`. Stopping only shortens what the next start reads again.
"""

from __future__ import annotations

import asyncio
import gc
import logging
import os
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from functools import partial

from starlette.types import ASGIApp

from atdex_appview.app import SERVICE_IDS, build_app
from atdex_appview.catch_up import catch_up
from atdex_appview.config import NodeConfig
from atdex_appview.context import Context
from atdex_appview.federation.peers import Peers
from atdex_appview.federation.repos import RepoReader
from atdex_appview.federation.search import Federation
from atdex_appview.feeds.account import open_account
from atdex_appview.feeds.announcements import Announcements
from atdex_appview.feeds.announcing import Announcer
from atdex_appview.feeds.collecting import PostCollector
from atdex_appview.feeds.file import FILE_NAME, FeedsFile
from atdex_appview.feeds.naming import POST, WORDS
from atdex_appview.feeds.posts import Posts
from atdex_appview.graph.checking import LensChecks
from atdex_appview.graph.following import GraphFollower
from atdex_appview.graph.graph import LensGraph
from atdex_appview.graph.reach import Reaches
from atdex_appview.ingest import Ingest
from atdex_appview.issuers import AccountKeys
from atdex_appview.limited import LimitedPages
from atdex_appview.metrics import Metrics, Serving
from atdex_appview.network.collecting import GenericCollector
from atdex_appview.network.file import FILE_NAME as COLLECTIONS_FILE_NAME
from atdex_appview.network.file import CollectionsFile
from atdex_appview.network.lexicons import NetworkLexicons, split_collections
from atdex_appview.network.records import GenericRecords
from atdex_appview.places import RECORDS_FILE, SEARCH_FOLDER, STATE_FILE, STREAM_FILE
from atdex_appview.reading_process import ReadingProcess
from atdex_appview.rebuild.rebuilding import Rebuild
from atdex_appview.recovery import fetch_anew, is_behind
from atdex_appview.search.index import SearchIndex
from atdex_appview.slow import SlowQueries
from atdex_appview.state import State
from atdex_appview.status import IngestWord, UpstreamWatch
from atdex_appview.store.base import Change
from atdex_appview.store.duckdb import DuckDBStore
from atdex_appview.stream.changes import ChangeStream
from atdex_appview.writer import Writer
from atdex_firehose import Consumer, ResyncPolicy
from atdex_firehose.directory import Directory
from atdex_firehose.dns import Dns
from atdex_firehose.handles import HandleResolver
from atdex_firehose.mentions import Mentions
from atdex_firehose.patterns import CollectionPatterns
from atdex_lexicons import Catalog
from atdex_lexicons.families import collections as family_collections
from atdex_xrpc import Callers, RateLimit, ServiceAuth
from atdex_xrpc.subscription import Places, StreamLimits

log = logging.getLogger(__name__)

WATCH_SECONDS = 1.0
"""Seconds between looks at the connections to the upstreams."""


class Node:
    """The open parts of a node, and the tasks that feed it."""

    def __init__(
        self,
        context: Context,
        consumer: Consumer,
        writer: Writer,
        ingest: Ingest,
        rebuild: Rebuild,
        network: NetworkLexicons,
        auth: ServiceAuth,
        rate: RateLimit | None,
        callers: Callers,
        announcer: Announcer | None,
    ) -> None:
        """Use `open_node`."""
        self.context = context
        places = Places()
        app: ASGIApp = build_app(
            context,
            ingest=self._ingest_word,
            auth=auth,
            rate=rate,
            callers=callers,
            streams=StreamLimits(places),
        )
        self.app = app if rate is None else LimitedPages(app, rate)
        serving = partial(_serving, context, rate, places)
        self.metrics = Metrics(consumer.stats, writer, context.store, serving)
        self._consumer = consumer
        self._writer = writer
        self._ingest = ingest
        self._rebuild = rebuild
        self._network = network
        self._announcer = announcer
        self._feeding: asyncio.Task[None] | None = None

    async def feed(self) -> None:
        """Follows the firehose until `stop_feeding`. Raises what made a part fail."""
        self._feeding = asyncio.current_task()
        async with asyncio.TaskGroup() as parts:
            writing = parts.create_task(self._writer.run(), name="writer")
            watching = [parts.create_task(self._watch(), name="watch")]
            if self._announcer is not None:
                watching.append(parts.create_task(self._announcer.run(), name="announcer"))
            rebuilding = parts.create_task(self._rebuild.watch(), name="rebuild")
            resolving = parts.create_task(self._network.watch(), name="lexicons")
            await self._ingest.run()
            # It may be in the middle of a part: the next start goes on there.
            for task in (rebuilding, resolving):
                task.cancel()
            await asyncio.wait({rebuilding, resolving})
            # The consumer has ended: what it delivered is still being written.
            await self._writer.close()
            await writing
            await self._consumer.flush()
            for task in watching:
                task.cancel()

    async def stop_feeding(self) -> None:
        """Ends `feed` after what was read so far."""
        await self._consumer.stop()

    def _ingest_word(self) -> IngestWord:
        return "ok" if self._feeding is not None and not self._feeding.done() else "stopped"

    async def _watch(self) -> None:
        """Looks at the connections by a clock, so that health knows for how long one is missing."""
        while True:
            self.context.upstreams()
            await asyncio.sleep(WATCH_SECONDS)


@asynccontextmanager
async def open_node(config: NodeConfig, *, port: int) -> AsyncIterator[Node]:
    """The stores, open and in agreement with each other, and the firehose, connecting.

    `port` is the one really bound. Raises StoreInUse where another node has the folder. On the
    way out everything is closed, the firehose first.
    """
    folder = config.data_dir
    several_cores = (os.cpu_count() or 1) > 1
    async with AsyncExitStack() as stack:
        store = await asyncio.to_thread(
            DuckDBStore.open, folder / RECORDS_FILE, memory_limit_mb=config.memory_limit_mb
        )
        stack.callback(store.close)
        stream = await ChangeStream.open(
            folder / STREAM_FILE,
            store,
            max_events=config.stream_events,
            max_hours=config.stream_hours,
        )
        stack.callback(stream.close)
        search = await asyncio.to_thread(
            SearchIndex.open, folder / SEARCH_FOLDER, own_process=several_cores
        )
        stack.callback(search.close)
        state = await State.open(folder / STATE_FILE)
        stack.push_async_callback(state.close)
        if await is_behind(store, state):
            if config.jetstream is None:
                await fetch_anew(store, folder / STATE_FILE)
            else:
                log.error("the record store is older than the rest, and a Jetstream has no repos")
        indexed = await catch_up(store, search, state)
        if indexed:
            log.info("the search index was brought up to the records", extra={"datasets": indexed})
        graph = LensGraph()
        follower = GraphFollower(store, graph, checks=LensChecks(store))
        await asyncio.to_thread(follower.load)
        # What was loaded stays: a full collection would go through all of it each time, for 60 ms.
        gc.freeze()
        stack.callback(gc.unfreeze)
        stack.callback(gc.unfreeze)  # else what DuckDB made of it is still there at the very end
        resolver = Dns(config.dns_servers)
        collections_file = await asyncio.to_thread(
            CollectionsFile.open, folder / COLLECTIONS_FILE_NAME
        )
        stack.callback(collections_file.close)
        generic = await asyncio.to_thread(GenericRecords, collections_file)
        known, others = split_collections(config.collections)
        network = NetworkLexicons(
            collections_file, generic, state, texts=resolver.texts, configured=others
        )
        network.start(network.ready())
        wanted = CollectionPatterns((*(known or family_collections()), *network.ready()))
        feeds_file = await asyncio.to_thread(FeedsFile.open, folder / FILE_NAME)
        stack.callback(feeds_file.close)
        posts = await asyncio.to_thread(_posts, feeds_file, config)
        handles = await stack.enter_async_context(
            HandleResolver(
                service=config.handle_service,
                dns_servers=config.dns_servers,
                local=config.allow_private_hosts,
            )
        )
        consumer = await stack.enter_async_context(
            Consumer(
                config.relays,
                wanted.patterns,
                hosts=config.hosts,
                jetstream=config.jetstream,
                state=folder / STATE_FILE,
                plc=config.plc,
                backfill=config.backfill,
                allow_private_hosts=config.allow_private_hosts,
                handles=handles,
                held=lambda did: asyncio.to_thread(
                    lambda: store.cids_of(did) | generic.cids_of(did)
                ),
                mentions=None if posts is None else Mentions([POST], WORDS, posts.has),
                resync=ResyncPolicy(workers=config.resync_workers),
            )
        )
        catalog = await asyncio.to_thread(Catalog.bundled)
        origin = config.origin(port)
        federation = await stack.enter_async_context(
            Federation(
                origin,
                Peers(
                    [url for url in config.peers if url != origin],
                    catalog,
                    allow_private=config.allow_private_hosts,
                ),
                RepoReader(consumer.record, partial(_is_active, store, state), catalog),
            )
        )
        context = Context(
            catalog=catalog,
            store=store,
            search=search,
            state=state,
            graph=graph,
            reaches=Reaches(graph),
            did=config.did(port),
            origin=origin,
            upstreams=UpstreamWatch(consumer.stats).look,
            feeds={feed.name: feed for feed in config.feeds},
            feed_publisher=config.feed_publisher,
            posts=posts,
            backfill=lambda: consumer.stats().backfill,
            collections=tuple(nsid for nsid in family_collections() if nsid in wanted),
            allow_private_hosts=config.allow_private_hosts,
            federation=federation,
            network=network,
            stream=stream,
            slow=SlowQueries(config.slow_query_ms / 1000),
        )
        announcer = await stack.enter_async_context(_announcer(config, context, feeds_file))
        writer = Writer(
            store,
            search,
            state,
            max_batch=config.batch_size,
            max_delay=config.batch_delay,
            follow=partial(_follow, follower, announcer),
        )
        # Of its own: what callers name must not use up the turns of the firehose.
        directory = await stack.enter_async_context(
            Directory(config.plc, local=config.allow_private_hosts)
        )
        keys = AccountKeys(
            directory, known=consumer.identity, active=partial(_is_active, store, state)
        )
        auth = ServiceAuth(context.did, keys, services=SERVICE_IDS)
        collector = None if posts is None else PostCollector(posts, context.catalog)
        reading = ReadingProcess() if several_cores else None
        if reading is not None:
            stack.push_async_callback(reading.close)
        ingest = Ingest(
            consumer,
            context.catalog,
            writer,
            state,
            reading=reading,
            mentioned=collector,
            others=GenericCollector(network, generic),
        )
        network.connect(fetch=consumer.record, want=consumer.want, pause=ingest.paused)
        rebuild = Rebuild(
            store,
            search,
            state,
            writer,
            catalog,
            follow=follower.follow,
            pause=ingest.paused,
            fetch=None if config.jetstream is not None else consumer.record,
        )
        callers = Callers(config.proxies)
        rate = None
        if config.rate_limit:
            rate = RateLimit(config.rate_limit, config.rate_limit_seconds, callers=callers)
        yield Node(
            context, consumer, writer, ingest, rebuild, network, auth, rate, callers, announcer
        )


def _follow(
    follower: GraphFollower, announcer: Announcer | None, changes: Sequence[Change], number: int
) -> None:
    follower.follow(changes, number)
    if announcer is not None:
        announcer.follow(changes)


@asynccontextmanager
async def _announcer(
    config: NodeConfig, context: Context, file: FeedsFile
) -> AsyncIterator[Announcer | None]:
    """None where nothing is announced; what waited to be is forgotten then."""
    announcements = Announcements(file)
    if config.announce is None:
        await asyncio.to_thread(announcements.switch_off)
        yield None
        return
    assert config.account is not None and config.app_password is not None
    service = (config.account_service, config.account, config.app_password)
    async with open_account(*service) as account:
        yield Announcer(
            context,
            announcements,
            account,
            context.feeds[config.announce],
            per_hour=config.announce_per_hour,
        )


def _serving(context: Context, rate: RateLimit | None, places: Places) -> Serving:
    stream = context.stream
    return Serving(
        limited=0 if rate is None else rate.refused,
        slow=context.slow.counts,
        streams=places.open,
        stream_seq=stream.last if stream else 0,
        stream_kept=stream.kept if stream else 0,
    )


def _posts(file: FeedsFile, config: NodeConfig) -> Posts | None:
    """Where posts for Bluesky feeds are kept, None for a node that has no such feeds."""
    posts = Posts.open(file)
    if config.feed_publisher is None:
        posts.clear()
        return None
    return posts


async def _is_active(store: DuckDBStore, state: State, did: str) -> bool:
    """By what the firehose said of the account; one that nobody has spoken of is active."""
    publisher = store.publishers([did]).get(did)
    if publisher is not None:
        return publisher.active
    return await state.waiting_status(did) is None
