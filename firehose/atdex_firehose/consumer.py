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
- With several relays, a commit that was taken from one is not delivered from another; account and
  identity events come from each. Nothing is saved before it is acknowledged wherever it came from.

Not verified yet: see `verify`.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Coroutine, Sequence
from contextlib import AsyncExitStack
from datetime import datetime
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from atdex_firehose.directory import Directory
from atdex_firehose.errors import ConfigError
from atdex_firehose.events import Event
from atdex_firehose.identity import Identities
from atdex_firehose.ledger import UNACKED_EVENTS, Ledger
from atdex_firehose.outbox import OUTBOX_EVENTS, Outbox
from atdex_firehose.patterns import CollectionPatterns
from atdex_firehose.pipeline import Pipeline
from atdex_firehose.relay import parse_relay
from atdex_firehose.state import State
from atdex_firehose.stats import Counters, Stats, UpstreamStats
from atdex_firehose.upstream import Timing, Upstream

FLUSH_SECONDS = 5.0
"""How often the state is saved where the caller does not: at most so much is replayed."""
START = 0
"""The cursor where none is saved: the oldest event that the upstream still has."""


class Consumer:
    """The events of `collections` (exact NSIDs, or `a.b.*`) in the repos that `relays` carry.

    `state` is an SQLite file, or None to keep the state in memory. `plc` is the directory of
    did:plc. `allow_private_hosts` lets did:web hosts be in private networks, and is for tests and
    sandboxes. `max_unacked` and `buffer` bound the events that are out and that wait.
    `clock` gives seconds since the epoch. Raises ConfigError for arguments that cannot be used,
    and StateError on entering where the file cannot.
    """

    def __init__(
        self,
        relays: Sequence[str],
        collections: Sequence[str],
        *,
        state: str | Path | None = None,
        plc: str = "https://plc.directory",
        allow_private_hosts: bool = False,
        max_unacked: int = UNACKED_EVENTS,
        buffer: int = OUTBOX_EVENTS,
        timing: Callable[[], Timing] = Timing,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._relays = list(dict.fromkeys(parse_relay(url) for url in relays))
        if not self._relays:
            raise ConfigError("relays", relays, "name at least one relay or PDS")
        self._patterns = CollectionPatterns(collections)
        self._state_path = state
        self._plc = plc
        self._local = allow_private_hosts
        self._max_unacked = max_unacked
        self._timing = timing
        self._clock = clock
        self._outbox = Outbox(buffer)
        self._counters = Counters()
        self._upstreams: list[Upstream] = []
        self._tasks: list[asyncio.Task[None]] = []
        self._exit: AsyncExitStack | None = None
        self._flushing = asyncio.Lock()
        self._state: State
        self._identities: Identities
        self._ledger: Ledger
        self._pipeline: Pipeline

    async def __aenter__(self) -> Self:
        if self._exit is not None:
            raise RuntimeError("a Consumer is opened once")
        async with AsyncExitStack() as stack:
            self._state = await State.open(self._state_path)
            stack.push_async_callback(self._state.close)
            directory = Directory(self._plc, local=self._local)
            await stack.enter_async_context(directory)
            self._identities = Identities(directory, self._state, clock=self._clock)
            self._ledger = Ledger(self._state, max_unacked=self._max_unacked)
            self._pipeline = Pipeline(
                self._patterns,
                self._identities,
                self._ledger,
                self._outbox,
                self._counters,
                self._clock,
            )
            saved = await self._state.cursors()
            for relay in self._relays:
                upstream = Upstream(
                    relay,
                    saved.get(relay.base, START),
                    self._pipeline.take,
                    self._pipeline.poison,
                    self._timing(),
                )
                self._upstreams.append(upstream)
                self._start(upstream.run())
            self._start(self._flush_regularly())
            self._exit = stack.pop_all()
        return self

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
            await self.flush()

    async def __aiter__(self) -> AsyncIterator[Event]:
        """The events. Raises what made the consumer fail, if it does; see `errors`.

        Outside of `async with`, the consumer is opened for the iteration.
        """
        if self._exit is None:
            async with self:
                async for event in self._outbox.events():
                    yield event
        else:
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
        async with self._flushing:
            cursors = {upstream.url: upstream.watermark.value for upstream in self._upstreams}
            heads, standings = self._ledger.take_changes()
            identities = self._identities.take_changes()
            try:
                await self._state.save(cursors, heads, standings, identities)
            except BaseException:
                self._ledger.give_back(heads, standings)
                raise

    def stats(self) -> Stats:
        """The numbers as of now."""
        counters = self._counters
        return Stats(
            frames=sum(upstream.frames for upstream in self._upstreams),
            events=counters.events,
            commits_verified=counters.commits_verified,
            syncs_verified=counters.syncs_verified,
            rejected=sum(counters.rejected.values()),
            rejected_by_reason=dict(counters.rejected),
            ignored=counters.ignored,
            refreshes=counters.refreshes,
            identity_fetches=self._identities.fetches,
            waiting=self._pipeline.lanes.items + len(self._outbox),
            unacked=self._ledger.unacked,
            upstreams=tuple(_upstream_stats(upstream) for upstream in self._upstreams),
        )

    def _start(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(work)
        task.add_done_callback(self._ended)
        self._tasks.append(task)

    def _ended(self, task: asyncio.Task[None]) -> None:
        """A task that ends by itself met an error of ours: iterating raises it."""
        if not task.cancelled() and (error := task.exception()) is not None:
            self._outbox.fail(error)

    async def _flush_regularly(self) -> None:
        while True:
            await asyncio.sleep(FLUSH_SECONDS)
            await self.flush()

    async def _stop_reading(self) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)


def _upstream_stats(upstream: Upstream) -> UpstreamStats:
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
