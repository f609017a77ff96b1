"""The change stream: every change of the index, in order, to whoever follows.

    stream = await ChangeStream.open(path, store)
    async for entries in stream.follow(after=seq):      # without `after`: from now on
        for entry in entries: ...                       # entry.seq, .did, .collection, .frame

Guarantees, for a follower that keeps the `seq` of the last entry that it dealt with and comes back
with that: it gets every change of the store after it, in the store's order, or is told that it fell
behind (`FellBehind`); never two different entries with one `seq`, whatever was killed. An entry is
told once the store has committed its change: what it speaks of can be asked for.

The newest entries are in memory, the rest of the window on disk (`log`). Followers hold no queue of
their own, so that a slow one costs nothing: it reads from where it is.
"""

from __future__ import annotations

import asyncio
from bisect import bisect_right
from collections.abc import AsyncGenerator, Sequence
from pathlib import Path

from atdex_appview.errors import FellBehind
from atdex_appview.store.base import IndexStore, StoreEvent
from atdex_appview.stream.entries import Entry
from atdex_appview.stream.log import DEFAULT_EVENTS, DEFAULT_HOURS, StreamLog

RECENT_EVENTS = 20_000
RECENT_BYTES = 32_000_000
"""Entries in memory, whichever is reached first: seconds of the fastest ingestion, and hours of an
ordinary day. A follower that was up to date and falls behind all of them is too slow."""


class ChangeStream:
    """The stream of one store, and its `Journal`. One event loop; the store writes on a thread."""

    def __init__(
        self,
        log: StreamLog,
        *,
        recent_events: int = RECENT_EVENTS,
        recent_bytes: int = RECENT_BYTES,
    ) -> None:
        """Use `open`, but for tests."""
        self._log = log
        self._loop = asyncio.get_running_loop()
        self._recent_events = recent_events
        self._recent_bytes = recent_bytes
        self._prepared: tuple[int, list[Entry]] | None = None
        self._recent: list[list[Entry]] = []
        self._recent_count = 0
        self._recent_size = 0
        self._covered = log.last  # entries after it are in memory
        self._news = asyncio.Event()
        self._last = log.last

    @classmethod
    async def open(
        cls,
        path: Path,
        store: IndexStore,
        *,
        max_events: int = DEFAULT_EVENTS,
        max_hours: float = DEFAULT_HOURS,
    ) -> ChangeStream:
        """Opens or creates the log at `path`, and has `store` tell of every change from here on.

        Before anything is written to the store. Raises StreamUnavailable.
        """
        log = await asyncio.to_thread(
            StreamLog.open,
            path,
            change=store.change_number(),
            max_events=max_events,
            max_hours=max_hours,
        )
        stream = cls(log)
        store.tell(stream)
        return stream

    @property
    def last(self) -> int:
        """The number of the last entry, or one after it that will never be given."""
        return self._last

    @property
    def floor(self) -> int:
        """Who has read up to an older number than this has missed something."""
        return self._log.floor

    @property
    def kept(self) -> int:
        """Entries that can be read again."""
        return self._log.count

    async def follow(
        self, after: int | None = None, *, patient: bool = False
    ) -> AsyncGenerator[Sequence[Entry], None]:
        """The entries after `after`, in parts, without an end.

        `after` is at least `floor` (else FellBehind is raised at once) and at most `last`. Without
        `patient`, a follower that was up to date once, and is behind what is in memory now, is
        told FellBehind; a patient one reads from disk again.
        """
        position = self._last if after is None else after
        current = False
        while True:
            if position >= self._last:
                current = True
                await self._news.wait()
                continue
            part: Sequence[Entry]
            if position >= self._covered:
                part = self._from_memory(position)
            elif current and not patient:
                raise FellBehind(position)
            else:
                up_to = self._covered
                part = await asyncio.to_thread(self._log.read, position, up_to)
                if not part:
                    position = up_to
                    continue
            position = part[-1].seq
            yield part

    def _from_memory(self, position: int) -> Sequence[Entry]:
        at = bisect_right(self._recent, position, key=lambda part: part[-1].seq)
        part = self._recent[at]
        return part[bisect_right(part, position, key=lambda entry: entry.seq) :]

    def close(self) -> None:
        """Closing twice is fine."""
        self._log.close()

    # The store's journal, on the writer's thread

    def prepare(self, change: int, events: Sequence[StoreEvent], now: int) -> None:
        self._prepared = change, self._log.prepare(change, events, now)

    def committed(self) -> None:
        prepared, self._prepared = self._prepared, None
        if prepared is not None and prepared[1]:
            self._loop.call_soon_threadsafe(self._tell, prepared[1])

    def take_back(self) -> None:
        prepared, self._prepared = self._prepared, None
        if prepared is not None:
            self._log.take_back(prepared[0])

    # On the event loop

    def _tell(self, entries: list[Entry]) -> None:
        self._recent.append(entries)
        self._recent_count += len(entries)
        self._recent_size += sum(len(entry.frame) for entry in entries)
        self._last = entries[-1].seq
        old = 0
        while old < len(self._recent) - 1 and (
            self._recent_count > self._recent_events or self._recent_size > self._recent_bytes
        ):
            part = self._recent[old]
            self._recent_count -= len(part)
            self._recent_size -= sum(len(entry.frame) for entry in part)
            self._covered = part[-1].seq
            old += 1
        del self._recent[:old]
        self._news.set()
        self._news = asyncio.Event()
