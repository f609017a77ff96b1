"""Events with what their records are, read while the events before them are being written.

    source ──> forming ──> parts: read here, or by the process that reads ──> whoever iterates

Events come out in the order in which they came in. Whatever has come in by the time that somebody
is ready for more goes on together. A few records are read here and now, so that one that comes
alone is searchable as soon as can be; many are read by another process, and while they are written,
it reads the next ones. What is ahead is bounded, by number and by bytes; then the source waits.
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from atdex_appview.reading_process import Job, Judged, ReadingProcess, judge_all
from atdex_firehose.events import CommitEvent, Event
from atdex_lexicons import Catalog
from atdex_lexicons.families import kind_of

log = logging.getLogger(__name__)

FEW = 16
"""Records that are read here: asking another process for them takes as long."""

PART = 250
"""Records that go together: some 15 ms of reading."""

PART_BYTES = 4_000_000
"""Bytes of records that go together, but for the last event."""

AHEAD = 2
"""Parts that wait for whoever iterates: while one of them is read, the other one has been."""


class Source(Protocol):
    def __aiter__(self) -> AsyncIterator[Event]: ...


@dataclass(slots=True)
class _Part:
    events: list[tuple[Event, int]] = field(default_factory=list)
    """With the number of records of each."""
    jobs: list[Job] = field(default_factory=list)
    size: int = 0
    reading: asyncio.Task[list[Judged]] | None = None

    def add(self, event: Event) -> None:
        jobs = _jobs(event)
        self.events.append((event, len(jobs)))
        self.jobs += jobs
        self.size += sum(len(job[2]) for job in jobs)

    @property
    def full(self) -> bool:
        return max(len(self.events), len(self.jobs)) >= PART or self.size >= PART_BYTES


def _jobs(event: Event) -> list[Job]:
    """The records that an event puts, of the collections that a family knows."""
    if not isinstance(event, CommitEvent):
        return []
    return [
        (op.collection, op.rkey, op.raw or b"", f"at://{event.did}/{op.collection}/{op.rkey}")
        for op in event.ops
        if op.action != "delete" and kind_of(op.collection) is not None
    ]


class ReadAhead:
    """`events` is iterated once. Without a `process`, everything is read here."""

    def __init__(
        self, source: Source, catalog: Catalog, process: ReadingProcess | None = None
    ) -> None:
        self._source = source
        self._catalog = catalog
        self._process = process
        self._forming = _Part()
        self._parts: deque[_Part] = deque()
        self._arrived = asyncio.Event()
        self._room = asyncio.Event()

    async def events(self) -> AsyncGenerator[tuple[Event, Sequence[Judged]], None]:
        """Each event with what its records are, in the order of those of its ops that put one.

        Raises what the source raises, after the events that came before.
        """
        pulling = asyncio.create_task(self._pull())
        part = _Part()
        try:
            while self._parts or self._forming.events or not pulling.done():
                if not self._parts:
                    self._send_on()
                if not self._parts:
                    self._arrived.clear()
                    await self._arrived.wait()
                    continue
                part = self._parts.popleft()
                self._room.set()
                known = None if part.reading is None else await part.reading
                at = 0
                for event, count in part.events:
                    end = at + count
                    if known is None:
                        yield event, judge_all(self._catalog, part.jobs[at:end])
                    else:
                        yield event, known[at:end]
                    at = end
            await pulling
        finally:
            pulling.cancel()
            # What is being read ends by itself: an answer that nobody took would be taken for the
            # next one's.
            reading = [left.reading for left in (part, *self._parts) if left.reading is not None]
            await asyncio.gather(pulling, *reading, return_exceptions=True)

    async def _pull(self) -> None:
        try:
            async for event in self._source:
                while self._forming.full:
                    if len(self._parts) < AHEAD:
                        self._send_on()
                    else:
                        self._room.clear()
                        await self._room.wait()
                self._forming.add(event)
                self._arrived.set()
        finally:
            self._arrived.set()

    def _send_on(self) -> None:
        part = self._forming
        if not part.events:
            return
        self._forming = _Part()
        if self._process is not None and len(part.jobs) >= FEW:
            part.reading = asyncio.create_task(self._read(self._process, part.jobs))
        self._parts.append(part)

    async def _read(self, process: ReadingProcess, jobs: Sequence[Job]) -> list[Judged]:
        try:
            return await process.read(jobs)
        except OSError as failure:
            log.warning("records are read by the node itself from here on: %s", failure)
            self._process = None
            return judge_all(self._catalog, jobs)
