"""From the firehose's events to the writer's changes.

Guarantees:
- Every event is acknowledged exactly when what it came to is durable: applied, set aside with
  its reason, or of no concern here. What failed verification, the firehose itself keeps.
- The ops of a commit stay one change, whatever is wrong with some of them: the valid ones are
  applied and the others set aside with the same rev, in one batch.
- Nothing in a record stops the rest. A record that breaks its lexicon, is no DAG-CBOR, nests
  too deep, holds a NUL or is too large is quarantined with every problem found; if an older
  version of it was indexed, that one leaves the index, and its place is kept.
- Parts of a fetched repo, and of a commit that comes in parts, are one change each; the store
  takes those of one rev in any number.
- An inactive account's status counts even when it arrives before the account's first record.

Example: a commit creates A (valid), updates B (now invalid) and deletes C. One `RepoChange`
stores A and removes B and C; B is quarantined; a quarantined version of A or C goes.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import aclosing, asynccontextmanager
from functools import partial
from typing import Protocol

from atdex_appview.read_ahead import ReadAhead
from atdex_appview.reading import Reading
from atdex_appview.reading_process import Judged, ReadingProcess
from atdex_appview.state import NO_NOTES, Notes, QuarantinedRecord, State
from atdex_appview.store.base import Change, Delete, HandleChange, Put, RepoChange, StatusChange
from atdex_appview.store.columns import datetime_micros
from atdex_appview.store.plan import DELETED
from atdex_appview.writer import Writer
from atdex_firehose.events import (
    AccountEvent,
    CommitEvent,
    Event,
    IdentityEvent,
    RecordOp,
    RejectedEvent,
    SyncEvent,
)
from atdex_lexicons import Catalog
from atdex_lexicons.families import kind_of

log = logging.getLogger(__name__)

TURN_SECONDS = 0.005
"""Seconds of work after which requests get a turn: a source that always has an event ready would
leave them none, and a turn after every event costs a sixth of the work."""

INACTIVE = "inactive"
"""The status of an inactive account whose host gave no word for it."""


class Source(Protocol):
    """What ingestion needs of a `Consumer`."""

    def __aiter__(self) -> AsyncIterator[Event]: ...

    def ack(self, event: Event) -> None: ...


class Mentioned(Protocol):
    """What keeps the posts that name datasets; it returns once that is durable."""

    async def take(self, event: CommitEvent) -> None: ...

    async def account(self, event: AccountEvent) -> None: ...


class Others(Protocol):
    """What keeps records of collections that no family knows; it returns once that is durable."""

    async def take(self, event: CommitEvent, ops: Sequence[RecordOp]) -> Notes: ...

    async def account(self, event: AccountEvent) -> None: ...


class Ingest:
    """`run` works until the source ends. `reading` reads records that come many at once, by the
    bundled lexicons. `mentioned` takes what datasets are mentioned in. `clock` gives seconds since
    the epoch."""

    def __init__(
        self,
        source: Source,
        catalog: Catalog,
        writer: Writer,
        state: State,
        *,
        reading: ReadingProcess | None = None,
        mentioned: Mentioned | None = None,
        others: Others | None = None,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._mentioned = mentioned
        self._others = others
        self._source = source
        self._catalog = catalog
        self._reading = reading
        self._writer = writer
        self._state = state
        self._clock = clock
        self._turn = asyncio.Lock()
        # Accounts with a change that is not durable yet: known, though the store may not say so.
        self._in_flight: Counter[str] = Counter()
        # Statuses on their way to SQLite, with how many events are under way for each.
        self._noted: dict[str, tuple[str | None, int]] = {}

    async def run(self) -> None:
        """Raises WriteFailed, StateUnavailable, and what makes the source fail."""
        turn = time.monotonic()
        ahead = ReadAhead(self._source, self._catalog, self._reading)
        async with aclosing(ahead.events()) as events:
            async for event, judged in events:
                async with self._turn:
                    await self._take(event, judged)
                if time.monotonic() - turn > TURN_SECONDS:
                    await asyncio.sleep(0)
                    turn = time.monotonic()

    @asynccontextmanager
    async def paused(self) -> AsyncIterator[None]:
        """Nothing is taken meanwhile, and all that was is durable. For moments: the firehose waits.

        Raises WriteFailed.
        """
        async with self._turn:
            await self._writer.settled()
            yield

    async def _take(self, event: Event, judged: Sequence[Judged]) -> None:
        done = partial(self._source.ack, event)
        match event:
            case CommitEvent():
                await self._commit(event, judged, done)
            case AccountEvent():
                await self._account(event, done)
            case IdentityEvent():
                await self._identity(event, done)
            case RejectedEvent():
                done()  # the firehose has kept it, with its reason
            case SyncEvent():
                done()  # what it changes comes as commits
            case _:
                log.warning("an event of a class that this version does not know: %r", event)
                done()

    # Commits

    async def _commit(
        self, event: CommitEvent, judged: Sequence[Judged], done: Callable[[], None]
    ) -> None:
        if event.mentions and self._mentioned is not None:
            await self._mentioned.take(event)
        if not event.ops:
            done()
            return
        await self._hide_if_inactive(event.did)
        changes: list[Put | Delete] = []
        quarantined: list[QuarantinedRecord] = []
        cleared: list[tuple[str, str]] = []
        foreign = [op for op in event.ops if kind_of(op.collection) is None]
        noted = NO_NOTES
        if foreign and self._others is not None:
            noted = await self._others.take(event, foreign)
        readings = iter(judged)
        for op in event.ops:
            if kind_of(op.collection) is None:
                continue
            uri = f"at://{event.did}/{op.collection}/{op.rkey}"
            if op.action == "delete":
                changes.append(Delete(uri))
                cleared.append((uri, event.rev))
                continue
            read = self._read(event, op, uri, next(readings))
            if isinstance(read, Put):
                changes.append(read)
                cleared.append((uri, event.rev))
            else:
                changes.append(Delete(uri, keep_place=True))
                quarantined.append(read)
        if not changes:
            if noted is NO_NOTES:
                done()
            else:
                await self._writer.submit(None, done, noted)
            return
        change = RepoChange(
            did=event.did,
            rev=event.rev,
            changes=tuple(changes),
            handle=event.identity.handle,
            pds=event.identity.pds,
            live=event.live,
            verified=event.verified,
        )
        notes = Notes(
            quarantined=(*quarantined, *noted.quarantined), cleared=(*cleared, *noted.cleared)
        )
        await self._submit(event.did, change, done, notes)

    def _read(
        self, event: CommitEvent, op: RecordOp, uri: str, judged: Judged
    ) -> Put | QuarantinedRecord:
        raw = op.raw or b""
        if isinstance(judged, Reading):
            return Put(
                uri=uri,
                did=event.did,
                collection=op.collection,
                rkey=op.rkey,
                cid=op.cid or "",
                kind=judged.kind,
                conformance=judged.conformance,
                raw=raw,
                json=judged.json,
                created_at=judged.created_at,
                values=judged.values,
                created=op.action == "create",
            )
        return QuarantinedRecord(
            uri=uri,
            did=event.did,
            cid=op.cid,
            rev=event.rev,
            problems=judged,
            raw=raw,
            size=len(raw),
            seen_at=self._now(),
            verified=event.verified,
        )

    # Accounts

    async def _account(self, event: AccountEvent, done: Callable[[], None]) -> None:
        if self._mentioned is not None:
            await self._mentioned.account(event)
        if self._others is not None:
            await self._others.account(event)
        status = None if event.active else event.status or INACTIVE
        if self._knows(event.did):
            gone = (event.did,) if status == DELETED else ()
            notes = Notes(cleared_dids=gone) if gone else NO_NOTES
            change = StatusChange(event.did, event.active, status, self._said_at(event.time))
            await self._submit(event.did, change, done, notes)
        else:
            await self._note_status(event.did, status, done)

    async def _identity(self, event: IdentityEvent, done: Callable[[], None]) -> None:
        if not self._knows(event.did):
            done()
            return
        handle = pds = None
        if event.identity is not None:
            handle, pds = event.identity.handle, event.identity.pds
        change = HandleChange(event.did, handle, pds)
        await self._submit(event.did, change, done)

    async def _hide_if_inactive(self, did: str) -> None:
        """Before an account's first commit: what was said of it earlier now counts."""
        if self._knows(did):
            return
        if did in self._noted:
            status = self._noted[did][0]
        else:
            status = await self._state.waiting_status(did)
        if status is not None:
            change = StatusChange(did, active=False, status=status)
            await self._submit(did, change, _nothing, Notes(waiting={did: None}))

    async def _note_status(self, did: str, status: str | None, done: Callable[[], None]) -> None:
        _, under_way = self._noted.get(did, (None, 0))
        self._noted[did] = status, under_way + 1

        def noted() -> None:
            latest, left = self._noted[did]
            if left > 1:
                self._noted[did] = latest, left - 1
            else:
                del self._noted[did]
            done()

        gone = (did,) if status == DELETED else ()
        await self._writer.submit(None, noted, Notes(cleared_dids=gone, waiting={did: status}))

    def _knows(self, did: str) -> bool:
        return did in self._in_flight or self._writer.knows(did)

    async def _submit(
        self, did: str, change: Change, done: Callable[[], None], notes: Notes = NO_NOTES
    ) -> None:
        self._in_flight[did] += 1

        def durable() -> None:
            self._in_flight[did] -= 1
            if not self._in_flight[did]:
                del self._in_flight[did]
            done()

        await self._writer.submit(change, durable, notes)

    # The rest

    def _said_at(self, time: str) -> int:
        """In µs since the epoch; a host whose clock is ahead does not bind the future."""
        said = datetime_micros(time)
        return self._now() if said is None else min(said, self._now())

    def _now(self) -> int:
        return int(self._clock() * 1_000_000)


def _nothing() -> None:
    """The change has no event of its own: the one that follows is acknowledged after it."""
