"""Follow relays or PDSs and iterate verified events.

    async with Consumer(relays=[url], collections=["science.alt.dataset.entry"],
                        state="state.sqlite") as consumer:
        async for event in consumer:
            ...                       # store it
            consumer.ack(event)

Guarantees:
- At least once: an event that was not acknowledged is delivered again after a restart. The saved
  cursor of an upstream never passes one.
- In order per repo: events of one DID come in the order of the stream. Repos are independent.
- Bounded: a slow consumer slows the sockets; nothing is dropped silently. A frame that fails
  verification comes as a `RejectedEvent`.
- Whole: every commit of a tracked repo is verified against the one before it. What was missed is
  fetched from the repo itself, compared, and delivered as events that are not `live`.
- With several relays, a commit that was taken from one is not delivered from another; account and
  identity events come from each. Nothing is saved before it is acknowledged wherever it came from.
"""

from __future__ import annotations

import asyncio
import contextlib
import shutil
import tempfile
import time
from collections.abc import AsyncIterator, Callable, Coroutine, Sequence
from contextlib import AsyncExitStack
from datetime import datetime
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from atdex_firehose.directory import Directory
from atdex_firehose.discovery import Discovery
from atdex_firehose.errors import ConfigError, IdentityUnavailable, Rejected
from atdex_firehose.events import Event, Identity
from atdex_firehose.fetch_record import FetchedRecord, fetch_record
from atdex_firehose.fetch_repo import RepoHosts
from atdex_firehose.handles import HandleResolver
from atdex_firehose.hosts import Hosts
from atdex_firehose.identity import Identities
from atdex_firehose.jetstream_upstream import JetstreamUpstream
from atdex_firehose.ledger import UNACKED_EVENTS, Held, Ledger
from atdex_firehose.light import Light
from atdex_firehose.mentions import Mentions
from atdex_firehose.outbox import OUTBOX_EVENTS, Outbox
from atdex_firehose.patterns import CollectionPatterns
from atdex_firehose.pipeline import OUTDATED, Pipeline
from atdex_firehose.progress import Rate, log_progress
from atdex_firehose.relay import parse_jetstream, parse_relay
from atdex_firehose.resync import Resyncs
from atdex_firehose.resync_turns import ResyncPolicy
from atdex_firehose.state import State
from atdex_firehose.stats import Backfill, Counters, Stats, UpstreamStats
from atdex_firehose.upstream import Source, Timing, Upstream

FLUSH_SECONDS = 5.0
"""How often the state is saved where the caller does not: at most so much is replayed."""
LOOK_SECONDS = 0.1
"""Between two identities looked at without an event of theirs: the directory is for everybody."""
ROUND_SECONDS = 3_600.0
"""Between two rounds through all of them; what is fresh is passed over."""
START = 0
"""The cursor where none is saved: the oldest event that the upstream still has."""


class Consumer:
    """The events of `collections` (exact NSIDs, `a.b.*`, or `*`) in the repos that `relays` and
    `hosts` carry.

    `hosts` are PDSs followed directly: each may speak of its own accounts only. `jetstream` is a
    light source in place of both: its records come unverified, and nothing is fetched. `state` is
    an SQLite file, or None to keep the state in memory. `plc` is the directory of did:plc.
    `cursor`: where every stream starts after, in place of the saved cursors. `backfill`: also
    deliver records from before the stream, of repos that the upstreams list. Without `verify`,
    commits are taken at their upstream's word, and what is missed stays missing.
    `allow_private_hosts` lets hosts that others name (did:web, PDSs) be in private networks, and is
    for tests and sandboxes. `handles` verifies handles, which stay unverified without it.
    `held` tells what your own copy has of a DID (CID by path): a fetched repo is then compared with
    that, which a crash may have left ahead of what was saved here.
    `mentions` passes on records of other collections that name something of interest.
    `max_unacked` and `buffer` bound the events that are out and that wait; `resync` says how
    eagerly repos are fetched. `clock` gives seconds since the epoch. Raises ConfigError for
    arguments that cannot be used, and StateError on entering where the file cannot.
    """

    def __init__(
        self,
        relays: Sequence[str],
        collections: Sequence[str],
        *,
        hosts: Sequence[str] = (),
        jetstream: str | None = None,
        state: str | Path | None = None,
        plc: str = "https://plc.directory",
        cursor: int | None = None,
        verify: bool = True,
        backfill: bool = True,
        allow_private_hosts: bool = False,
        handles: HandleResolver | None = None,
        held: Held | None = None,
        mentions: Mentions | None = None,
        max_unacked: int = UNACKED_EVENTS,
        buffer: int = OUTBOX_EVENTS,
        resync: ResyncPolicy | None = None,
        timing: Callable[[], Timing] = Timing,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._hosts = [parse_relay(url) for url in hosts]
        self._relays = list(dict.fromkeys([*map(parse_relay, relays), *self._hosts]))
        self._jetstream = None if jetstream is None else parse_jetstream(jetstream)
        if self._jetstream is not None and self._relays:
            # A record that came verified would be held up as a copy of the one that did not.
            raise ConfigError("jetstream", jetstream, "takes the place of relays and hosts")
        if self._jetstream is None and not self._relays:
            raise ConfigError("relays", relays, "name at least one relay or PDS")
        self._patterns = CollectionPatterns(collections)
        self._state_path = state
        self._plc = plc
        self._cursor = cursor
        self._verify = verify and self._jetstream is None
        self._backfill = backfill and self._verify
        self._local = allow_private_hosts
        self._handles = handles
        self._held = held
        self._mentions = mentions
        if mentions is not None and any(c in self._patterns for c in mentions.patterns.exact):
            raise ConfigError("mentions", mentions.patterns.exact, "one of these is wanted anyway")
        if mentions is not None and self._jetstream is not None:
            raise ConfigError("mentions", jetstream, "a Jetstream does not show them")
        self._max_unacked = max_unacked
        self._policy = resync or ResyncPolicy()
        self._timing = timing
        self._clock = clock
        self._outbox = Outbox(buffer)
        self._counters = Counters()
        self._rate = Rate()
        self._upstreams: list[Source] = []
        self._tasks: list[asyncio.Task[None]] = []
        self._light: Light | None = None
        self._wanting = asyncio.Lock()
        self._exit: AsyncExitStack | None = None
        self._state: State
        self._identities: Identities
        self._repo_hosts: RepoHosts
        self._ledger: Ledger
        self._pipeline: Pipeline
        self._resyncs: Resyncs
        self._discovery: Discovery

    async def __aenter__(self) -> Self:
        if self._exit is not None:
            raise RuntimeError("a Consumer is opened once")
        async with AsyncExitStack() as stack:
            await self._open(stack)
            await self._connect()
            self._start(self._flush_regularly())
            self._start(self._resyncs.run())
            if self._backfill:
                self._start(self._discovery.run())
            self._start(log_progress(self._progress))
            if self._handles is not None:
                self._start(self._look_after_identities())
            self._exit = stack.pop_all()
        return self

    async def _connect(self) -> None:
        saved = await self._state.cursors()

        def start(base: str) -> int:
            return saved.get(base, START) if self._cursor is None else self._cursor

        if self._jetstream is not None:
            light = self._light = Light(
                self._pipeline, self._patterns, self._identities, self._ledger, self._counters
            )
            base, wanted = self._jetstream.base, self._patterns.patterns
            self._upstreams.append(
                JetstreamUpstream(
                    self._jetstream, wanted, start(base), light.take, light.reject, self._timing()
                )
            )
        for relay in self._relays:
            self._upstreams.append(
                Upstream(
                    relay,
                    start(relay.base),
                    self._pipeline.take,
                    self._pipeline.poison,
                    self._timing(),
                    wants=self._pipeline.wants,
                    prepare=self._pipeline.prepare,
                    outdated=self._missed,
                )
            )
        for upstream in self._upstreams:
            self._start(upstream.run())

    async def _open(self, stack: AsyncExitStack) -> None:
        """The parts, from the state upwards."""
        self._state = await State.open(self._state_path)
        stack.push_async_callback(self._state.close)
        epoch = await self._state.set_collections(self._patterns.patterns)
        directory = await stack.enter_async_context(Directory(self._plc, local=self._local))
        self._identities = Identities(
            directory,
            self._state,
            clock=self._clock,
            handles=self._handles,
            on_change=self._identity_changed,
        )
        self._ledger = Ledger(self._state, max_unacked=self._max_unacked, held=self._held)
        await self._ledger.open()
        self._pipeline = Pipeline(
            self._patterns,
            self._identities,
            self._ledger,
            self._outbox,
            self._counters,
            self._clock,
            hosts=frozenset(relay.base for relay in self._hosts),
            epoch=epoch,
            verify=self._verify,
            mentions=self._mentions,
        )
        urls = [relay.base for relay in self._relays]
        hosts = self._repo_hosts = await stack.enter_async_context(
            RepoHosts(
                frozenset(urls),
                Hosts(self._clock, first=self._policy.host_first),
                local=self._local,
            )
        )
        self._resyncs = Resyncs(
            state=self._state,
            ledger=self._ledger,
            identities=self._identities,
            pipeline=self._pipeline,
            hosts=hosts,
            patterns=self._patterns,
            upstreams=urls,
            folder=_folder(self._state_path, stack),
            epoch=epoch,
            flush=self.flush,
            policy=self._policy,
            clock=self._clock,
        )
        self._pipeline.schedule = self._resyncs.schedule
        self._discovery = Discovery(
            state=self._state,
            ledger=self._ledger,
            hosts=hosts,
            patterns=self._patterns,
            upstreams=urls,
            epoch=epoch,
            found=self._resyncs.refill,
            schedule=self._resyncs.schedule,
        )

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Stop at once: what was not iterated or acknowledged is delivered by the next run."""
        assert self._exit is not None
        async with self._exit:
            await self._stop_reading()
            await self._pipeline.lanes.close()
            await self._identities.close()
            self._outbox.finish()
            if not self._outbox.failed:
                await self.flush()

    def __aiter__(self) -> AsyncIterator[Event]:
        """The events. Raises what made the consumer fail, if it does; see `errors`.

        Outside of `async with`, the consumer is opened for the iteration.
        """
        return self._outbox.events() if self._exit is not None else self._opened()

    async def _opened(self) -> AsyncIterator[Event]:
        async with self:
            async for event in self._outbox.events():
                yield event

    def ack(self, event: Event) -> None:
        """The event is dealt with, durably. In any order; acknowledging twice changes nothing."""
        self._ledger.ack(event)

    async def stop(self) -> None:
        """Stop reading; frames that were read are still verified and delivered, and the iteration
        then ends. Waits until every one of them has been taken into the iteration's queue."""
        await self._stop_reading()
        await self._pipeline.lanes.idle()
        self._outbox.finish()

    async def flush(self) -> None:
        """Save the cursors, heads and standings that the acknowledgements allow, in one
        transaction. Call it after your own commit; it is also done every few seconds."""
        await self._ledger.save(self._cursors, self._identities.take_changes)

    def _cursors(self) -> dict[str, int]:
        return {each.url: each.watermark.value for each in self._upstreams if each.watermark.value}

    async def want(self, collection: str) -> None:
        """Also deliver the records of this collection from now on, an exact NSID; with `backfill`,
        those from before as well: only repos that have it, by the listings of the upstreams, are
        fetched. Asking twice changes nothing. A Jetstream is told when it is connected next.

        It is wanted for this run: name it in `collections` at the next start. Raises ConfigError.
        """
        async with self._wanting:
            if collection not in self._patterns:
                await self._want(collection)

    async def _want(self, collection: str) -> None:
        patterns = CollectionPatterns((*self._patterns.patterns, collection))
        if self._mentions is not None and collection in self._mentions.patterns:
            raise ConfigError("collection", collection, "it is looked through for mentions")
        epoch = await self._state.set_collections(patterns.patterns)
        self._patterns = patterns
        self._pipeline.want(patterns, epoch)
        self._resyncs.want(patterns, epoch)
        if self._light is not None:
            self._light.want(patterns)
        for upstream in self._upstreams:
            if isinstance(upstream, JetstreamUpstream):
                upstream.want(patterns.patterns)
        self._discovery.want(patterns)

    async def record(self, did: str, path: str) -> FetchedRecord | None:
        """One record as its publisher's PDS has it now, verified, whether or not its repo is
        followed; see `fetch_record`. It is delivered as no event, and nothing is kept of it but
        the identity."""
        return await fetch_record(self._repo_hosts, self._identities, did, path, clock=self._clock)

    def identity(self, did: str) -> Identity | None:
        """The account's identity as the events so far leave it, where it is in memory and fresh.
        Nothing is asked for."""
        return self._identities.cached(did)

    def stats(self) -> Stats:
        """The numbers as of now."""
        counters = self._counters
        return Stats(
            frames=self.frames,
            events=counters.events,
            commits_verified=counters.commits_verified,
            syncs_verified=counters.syncs_verified,
            rejected=sum(counters.rejected.values()),
            rejected_by_reason=dict(counters.rejected),
            desynchronized=counters.desynchronized,
            ignored=counters.ignored,
            refreshes=counters.refreshes,
            identity_fetches=self._identities.fetches,
            waiting=self._pipeline.lanes.items + len(self._outbox),
            unacked=self._ledger.unacked,
            upstreams=tuple(_upstream_stats(upstream) for upstream in self._upstreams),
            backfill=self._progress(),
        )

    @property
    def frames(self) -> int:
        """Frames read so far."""
        return sum(upstream.frames for upstream in self._upstreams)

    @property
    def frame_times(self) -> tuple[float, float] | None:
        """When the first frame was read and when the last one, in seconds since the epoch."""
        read = [upstream.last_time[1] for upstream in self._upstreams if upstream.last_time]
        first = min((each.first_read for each in self._upstreams if each.first_read), default=0.0)
        return (first, max(read, default=first)) if first else None

    @property
    def drained(self) -> bool:
        """Whether no event waits to be iterated."""
        return not len(self._outbox)

    def busy_within(self, seconds: float) -> bool:
        """Whether something is under way that does not come from the stream: a frame in a lane,
        a listing being read, or a repo that is fetched within so many seconds."""
        return bool(
            self._pipeline.lanes.items
            or len(self._outbox)
            or self._discovery.counters.listing
            or self._resyncs.due_within(seconds)
        )

    def _progress(self) -> Backfill:
        resyncs, states = self._resyncs.counters, self._ledger.states
        return Backfill(
            repos={state: count for state, count in states.items() if count},
            remaining=sum(states.values()) - states["synchronized"] - len(self._ledger.resting),
            running=resyncs.running,
            outcomes=dict(resyncs.outcomes),
            records=resyncs.records,
            records_per_second=self._rate.read(resyncs.records),
            listed=self._discovery.counters.listed,
            listing=dict(self._discovery.counters.listing),
        )

    def _missed(self, upstream: Upstream) -> None:
        """The upstream no longer has all the events since our cursor."""
        self._start(self._look_again(upstream.url))

    async def _look_again(self, url: str) -> None:
        await self._ledger.doubt_all(OUTDATED)
        self._resyncs.refill()
        if self._backfill:
            self._discovery.missed(url)

    async def _look_after_identities(self) -> None:
        """Look at the identities of tracked repos again, slowly: handles change without a word,
        and one that was verified just before a crash may not have been told."""
        while True:
            for did in list(self._ledger.tracked):
                if self._identities.cached(did) is None:
                    with contextlib.suppress(Rejected, IdentityUnavailable):
                        await self._identities.resolve(did)
                    await asyncio.sleep(LOOK_SECONDS)
            await asyncio.sleep(ROUND_SECONDS)

    def _identity_changed(self, identity: Identity) -> None:
        """A handle was verified, or a document renewed: whoever has the repo is told."""
        self._start(self._pipeline.tell(identity))

    def _start(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(work)
        task.add_done_callback(self._ended)
        self._tasks.append(task)

    def _ended(self, task: asyncio.Task[None]) -> None:
        """A task that fails met an error of ours: iterating raises it."""
        self._tasks.remove(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            self._outbox.fail(error)

    async def _flush_regularly(self) -> None:
        while True:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(FLUSH_SECONDS):
                    await self._ledger.pressing.wait()
            await self.flush()

    async def _stop_reading(self) -> None:
        tasks = list(self._tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


def _folder(state: str | Path | None, stack: AsyncExitStack) -> Path:
    """Where repos lie while they are read: beside the state, so that what a kill left is found."""
    if state is None:
        folder = tempfile.mkdtemp(prefix="atdex-repos-")
    else:
        folder = f"{state}.repos"
        shutil.rmtree(folder, ignore_errors=True)
        Path(folder).mkdir()
    stack.callback(shutil.rmtree, folder, ignore_errors=True)
    return Path(folder)


def _upstream_stats(upstream: Source) -> UpstreamStats:
    return UpstreamStats(
        url=upstream.url,
        connected=upstream.connected,
        cursor=upstream.watermark.value,
        seq=upstream.watermark.top,
        lag_seconds=_lag(upstream.last_time),
        frames=upstream.frames,
        connections=upstream.connections,
        outdated=upstream.outdated,
        last_error=None if upstream.last_error is None else str(upstream.last_error),
    )


def _lag(last: tuple[str, float] | None) -> float | None:
    """Seconds between an event and its arrival; an upstream's bad time counts as unknown."""
    if last is None:
        return None
    sent, received = last
    try:
        then = datetime.fromisoformat(sent)
        return max(0.0, received - then.timestamp()) if then.tzinfo is not None else None
    except (ValueError, OverflowError):
        return None
