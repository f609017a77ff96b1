"""The one writer: changes in, three stores in order, acknowledgements out.

Order, for each batch: 1 DuckDB (`store.apply`), 2 tantivy (`search.update`), 3 SQLite (what was
set aside, and how far search is), then the `done` of each change, in the order of submission.
So an acknowledged change is in all three stores, and a change in none of them was never
acknowledged. While batch 1 is being indexed, what follows the store (the lens graph) is told of
batch 2, and batch 3 is being stored; batches never overtake each other.

A kill between the steps repeats work and loses none:

| killed after | next start |
| --- | --- |
| nothing | the events come again from the saved cursor |
| 1 DuckDB | `catch_up` indexes what search missed; the events come again, old by their rev |
| 2 tantivy | the same; indexing documents again changes nothing |
| 3 SQLite | the events come again and change nothing |

Notes are written whatever the rev guard says of their commit, and writing them twice changes
nothing, so that a kill between 1 and 3 loses none.

A step that fails (a full disk, our own corruption) ends `run` with WriteFailed: the node stops,
nothing of the batch is acknowledged, a restart repeats it. Nothing is retried in place, because
a store that has failed once has an unknown state until it is opened again.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from typing import NamedTuple, TypeVar

from atdex_appview.errors import AppviewError, WriteFailed
from atdex_appview.search.document import SearchDocument
from atdex_appview.search.index import SearchIndex
from atdex_appview.state import NO_NOTES, Notes, State
from atdex_appview.store.base import Applied, Change, IndexStore, Put, RepoChange

log = logging.getLogger(__name__)

DEFAULT_BATCH = 1000
"""Changes in a batch: past it DuckDB and tantivy gain little, and readers wait longer."""

DEFAULT_DELAY = 0.2
"""Seconds that a change waits for company: a record is searchable within 1 s of its frame."""

BATCH_BYTES = 16_000_000
"""Bytes of records in a batch, in all forms: ten times an ordinary batch of 1000."""

WAITING_BATCHES = 8
"""Batches that may wait between `submit` and their acknowledgement, by number and by bytes;
then `submit` waits, and through it the firehose's sockets do. Those that are stored while
search is busy are indexed in one commit, which at four batches costs half as much a record."""

COMMIT_SECONDS = 0.5
"""Seconds from one commit of the search index to the next while more is waiting to be written. A
commit is a new segment, which is merged into larger ones again and again: at 500 documents each of
them costs twice what it does at 4,000. A record behind which nothing waits is not kept waiting."""

IDLE_SECONDS = 30.0
"""Seconds without a change after which the store is tidied (its log folded in)."""

Done = Callable[[], None]
T = TypeVar("T")


@dataclass(slots=True)
class _Load:
    """How much a queue holds: records, and bytes of them."""

    weight: int = 0
    size: int = 0

    def add(self, item: _Item) -> None:
        self.weight += item.weight
        self.size += item.size

    def take(self, item: _Item) -> None:
        self.weight -= item.weight
        self.size -= item.size

    def fills(self, batches: int, max_batch: int) -> bool:
        return self.weight >= batches * max_batch or self.size >= batches * BATCH_BYTES


@dataclass(frozen=True, slots=True)
class _Item:
    change: Change | None
    notes: Notes
    done: Done
    weight: int
    size: int
    since: float


class _Stored(NamedTuple):
    batch: list[_Item]
    applied: Applied


@dataclass(slots=True)
class WriterCounters:
    """What was made durable since the start. `stale` changes were passed over by the rev guard;
    the records in them are counted all the same."""

    changes: int = 0
    batches: int = 0
    stale: int = 0
    stored: int = 0
    deleted: int = 0
    quarantined: int = 0

    def take(self, item: _Item) -> None:
        self.changes += 1
        invalid = len(item.notes.quarantined)
        self.quarantined += invalid
        if isinstance(item.change, RepoChange):
            puts = sum(isinstance(op, Put) for op in item.change.changes)
            self.stored += puts
            # The older version of a record that was set aside is not counted as a deletion.
            self.deleted += len(item.change.changes) - puts - invalid


class Writer:
    """Submit changes while `run` runs. One event loop; the stores work in threads.

    `max_batch` counts records, `max_delay` is in seconds. `follow` is called with each batch that
    the store has applied and the store's number after it, in their order, before step 2. The next
    batch may be in the store by then: it reads there what is, never what was.
    """

    def __init__(
        self,
        store: IndexStore,
        search: SearchIndex,
        state: State,
        *,
        max_batch: int = DEFAULT_BATCH,
        max_delay: float = DEFAULT_DELAY,
        idle_seconds: float = IDLE_SECONDS,
        follow: Callable[[Sequence[Change], int], None] | None = None,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._store = store
        self._search = search
        self._state = state
        self._max_batch = max_batch
        self._max_delay = max_delay
        self._idle_seconds = idle_seconds
        self._follow = follow
        self._clock = clock
        self._waiting: deque[_Item] = deque()
        self._waiting_load = _Load()
        self._unacknowledged: deque[_Item] = deque()
        self._unacknowledged_load = _Load()
        self._arrived = asyncio.Event()
        self._batch_ready = asyncio.Event()
        self._room = asyncio.Event()
        self._applied: asyncio.Queue[_Stored | None] = asyncio.Queue(1)
        self._stored: asyncio.Queue[_Stored | None] = asyncio.Queue(WAITING_BATCHES)
        self._threads = ThreadPoolExecutor(3, thread_name_prefix="atdex-writer")
        self._closing = False
        self._failure: AppviewError | None = None
        self._ended = asyncio.Event()
        self._running = False
        self._untidy = False
        self.counters = WriterCounters()

    @property
    def waiting(self) -> int:
        """Changes that were submitted and are not durable yet."""
        return len(self._unacknowledged)

    def knows(self, did: str) -> bool:
        """Whether the store has applied anything of this account."""
        return self._store.knows(did)

    async def submit(self, change: Change | None, done: Done, notes: Notes = NO_NOTES) -> None:
        """Hands over a change (None: notes alone); `done` is called once it is durable.

        Waits while too much is waiting. Raises WriteFailed when the writer has failed: neither
        this change nor those before it that were not acknowledged are applied for sure.
        """
        weight, size = _measure(change, notes)
        item = _Item(change, notes, done, weight, size, time.monotonic())
        load = self._unacknowledged_load
        while not self._failure and load.fills(WAITING_BATCHES, self._max_batch):
            self._room.clear()
            await self._room.wait()
        if self._failure:
            raise self._failure
        if self._closing:
            raise RuntimeError("the writer is closing: submit before close")
        self._waiting.append(item)
        self._waiting_load.add(item)
        self._unacknowledged.append(item)
        load.add(item)
        self._arrived.set()
        if self._waiting_load.fills(1, self._max_batch):
            self._batch_ready.set()

    async def settled(self) -> None:
        """Returns once all that was submitted so far is durable. Raises WriteFailed."""
        durable = asyncio.Event()
        await self.submit(None, durable.set)
        waiting = [asyncio.create_task(event.wait()) for event in (durable, self._ended)]
        try:
            await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in waiting:
                task.cancel()
        if not durable.is_set():
            raise self._failure or WriteFailed("writer", 0)

    async def run(self) -> None:
        """Works until `close`. Raises WriteFailed where a store fails."""
        if self._running or self._ended.is_set():
            raise RuntimeError("a writer runs once")
        self._running = True
        tasks = [
            asyncio.create_task(step)
            for step in (self._store_batches(), self._follow_batches(), self._index_batches())
        ]
        # What stands unless the end is reached: whoever submits later must not wait for ever.
        failure: AppviewError | None = WriteFailed("writer", 0)
        try:
            await _first_failure(*tasks)
            failure = None
        except AppviewError as known:
            failure = known
            raise
        finally:
            self._failure = failure
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            self._ended.set()
            self._room.set()
            self._threads.shutdown(wait=False)

    async def close(self) -> None:
        """Writes what was submitted, and ends `run`. Nothing may be submitted from here on."""
        self._closing = True
        self._arrived.set()
        self._batch_ready.set()
        if self._running:
            await self._ended.wait()

    # Step 1

    async def _store_batches(self) -> None:
        while True:
            batch = await self._gather()
            if not batch:
                await self._applied.put(None)
                return
            now = int(self._clock() * 1_000_000)
            apply = partial(self._store.apply, _changes(batch), now)
            applied = await self._step("record store", batch, apply)
            self._untidy = True
            await self._applied.put(_Stored(batch, applied))

    async def _follow_batches(self) -> None:
        while True:
            stored = await self._applied.get()
            if stored is not None and self._follow is not None:
                batch, applied = stored
                follow = partial(self._follow, _changes(batch), applied.number)
                await self._step("lens graph", batch, follow)
            await self._stored.put(stored)
            if stored is None:
                return

    async def _gather(self) -> list[_Item]:
        """The next batch: full, or as old as a change may get. Empty when closing and done."""
        while not self._waiting:
            if self._closing:
                return []
            self._arrived.clear()
            try:
                async with asyncio.timeout(self._idle_seconds if self._untidy else None):
                    await self._arrived.wait()
            except TimeoutError:
                await self._tidy()
        left = self._waiting[0].since + self._max_delay - time.monotonic()
        if left > 0 and not self._closing and not self._waiting_load.fills(1, self._max_batch):
            self._batch_ready.clear()
            with suppress(TimeoutError):
                async with asyncio.timeout(left):
                    await self._batch_ready.wait()
        batch: list[_Item] = []
        load = _Load()
        while self._waiting and not load.fills(1, self._max_batch):
            item = self._waiting.popleft()
            self._waiting_load.take(item)
            batch.append(item)
            load.add(item)
        return batch

    # Steps 2 and 3

    async def _index_batches(self) -> None:
        last = 0.0
        while True:
            stored = [await self._stored.get()]
            end = last + COMMIT_SECONDS
            while self._waiting and time.monotonic() < end:  # noqa: ASYNC110 - either ends it
                await asyncio.sleep(COMMIT_SECONDS / 10)
            last = time.monotonic()
            while not self._stored.empty():
                stored.append(self._stored.get_nowait())
            # Batches that were stored while the last ones were indexed go in one commit.
            done = [pair for pair in stored if pair is not None]
            if done:
                await self._index([item for batch, _ in done for item in batch], done)
            if len(done) < len(stored):
                return

    async def _index(self, batch: Sequence[_Item], stored: Sequence[_Stored]) -> None:
        documents, removed = merged([applied for _, applied in stored])
        if documents or removed:
            update = partial(self._search.update, documents, removed)
            await self._step("search index", batch, update)
        notes = [item.notes for item in batch if item.notes is not NO_NOTES]
        number = stored[-1][1].number
        notes.append(Notes(search_change=number))
        try:
            await self._state.save(notes)
        except AppviewError as failure:
            raise WriteFailed("state", len(batch)) from failure
        self.counters.batches += len(stored)
        self.counters.stale += sum(applied.stale for _, applied in stored)
        for item in batch:
            self._unacknowledged.popleft()
            self._unacknowledged_load.take(item)
            self.counters.take(item)
            item.done()
        self._room.set()

    # Both

    async def _step(self, name: str, batch: Sequence[_Item], work: Callable[[], T]) -> T:
        try:
            return await asyncio.get_running_loop().run_in_executor(self._threads, work)
        except AppviewError as failure:
            raise WriteFailed(name, len(batch)) from failure

    async def _tidy(self) -> None:
        """Work for quiet times. What a reader or a search that is behind is in the way of waits
        for the next one.
        """
        number = await self._state.search_change()
        behind = number != self._store.change_number()

        def tidy() -> bool:
            if number is not None:
                self._store.forget_removed(number)
            return self._store.checkpoint()

        folded = await self._step("record store", (), tidy)
        self._untidy = behind or not folded


def merged(applied: Sequence[Applied]) -> tuple[list[SearchDocument], list[str]]:
    """What batches in a row come to for the search index."""
    documents: dict[str, SearchDocument] = {}
    removed: dict[str, None] = {}
    for one in applied:
        for uri in one.removed:
            documents.pop(uri, None)
            removed[uri] = None
        for document in one.upserted:
            removed.pop(document.uri, None)
            documents[document.uri] = document
    return list(documents.values()), list(removed)


def _changes(batch: Sequence[_Item]) -> list[Change]:
    return [item.change for item in batch if item.change is not None]


def _measure(change: Change | None, notes: Notes) -> tuple[int, int]:
    """(records, bytes) that a change brings."""
    size = sum(len(record.raw) for record in notes.quarantined)
    if not isinstance(change, RepoChange):
        return 1, size
    size += sum(len(op.raw) + len(op.json) for op in change.changes if isinstance(op, Put))
    return max(1, len(change.changes)), size


async def _first_failure(*tasks: asyncio.Task[None]) -> None:
    """Waits for all of them, or until the first one fails, and raises its error."""
    done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_EXCEPTION)
    for task in done:
        task.result()
