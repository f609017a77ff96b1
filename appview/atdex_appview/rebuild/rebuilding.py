"""Reads every record anew from the bytes that were signed, while the node goes on.

Everything that is derived is derived again: whether a record is valid, its JSON form and typed
columns, its search document, its part of the lens graph and the checks of declarative lenses. It
happens when somebody asks for it (`atdex node reindex`), and by itself after a start with other
documents or families than those that everything was read by last: what was set aside and is valid
now is served, what was served and is not valid now is set aside.

- In parts. During a part, which takes a tenth of a second or so, the firehose waits, and all that
  it brought before is durable: so no change can come between reading a record and replacing what is
  derived of it. Between two parts it has at least as long for itself. Queries go on all the time,
  and see each record as it was before its part or as it is after it.
- Resumable. How far it is, is saved after each part; a kill repeats one part, and repeating
  changes nothing. With other documents than it began with, it starts over.
- Nothing is published by it: `rev`, `cid`, `first_seen` and the place in lists stay. A record that
  comes out of quarantine has its old place, or a new one where it never had any.

Example: 3 datasets A, B, C and X in quarantine; documents change so that B is invalid and X valid.
Parts of 2: (A, B): B leaves the index and is set aside; (C); X is put and leaves quarantine. Killed
after the first part, the next start goes on with C.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass, replace
from typing import TypeVar

from atdex_appview.reading import Reading, judge
from atdex_appview.rebuild.fingerprint import fingerprint_of
from atdex_appview.rebuild.progress import (
    PHASES,
    PROGRESS_JOB,
    READING_JOB,
    REQUEST_JOB,
    Progress,
)
from atdex_appview.search.index import SearchIndex
from atdex_appview.state import Notes, QuarantinedRecord, State
from atdex_appview.store.base import Change, Delete, IndexStore, Put, Reread
from atdex_appview.store.rereading import HeldRecord
from atdex_appview.writer import Writer
from atdex_firehose.errors import FirehoseError
from atdex_firehose.fetch_record import FetchedRecord
from atdex_lexicons import Catalog
from atdex_lexicons.errors import Problem
from atdex_lexicons.model import KINDS, Kind

log = logging.getLogger(__name__)

PART = 500
"""Records in a part: their reading and writing takes a tenth of a second, and a batch of the
writer, which they are, is a thousand."""

REST = 1.0
"""Seconds of rest after a part, for each second that it took: the firehose has half of the time."""

POLL_SECONDS = 1.0
"""Between two looks whether somebody asked for a rebuild."""

LOG_SECONDS = 10.0
"""Between two lines in the log about how far it is."""

GRAPH_KINDS = frozenset({"schema", "lens", "verification"})

Pause = Callable[[], AbstractAsyncContextManager[None]]
"""While it is held, nothing else changes the stores, and all that was submitted is durable."""

Fetch = Callable[[str, str], Awaitable[FetchedRecord | None]]
"""`Consumer.record`."""

FETCHED_AT_ONCE = 4
FETCH_SECONDS = 10.0
"""For records that were kept in part: large ones that are not valid, of which there are few."""

T = TypeVar("T")


@asynccontextmanager
async def alone() -> AsyncIterator[None]:
    """The pause of a node that follows nothing."""
    yield


@dataclass(slots=True)
class _Part:
    """What reading some records anew came to."""

    changes: dict[str, list[Put | Delete]]
    revs: dict[str, str]
    quarantined: list[QuarantinedRecord]

    def rereads(self) -> list[Reread]:
        return [Reread(did, tuple(ops), self.revs) for did, ops in self.changes.items()]


class Rebuild:
    """`follow` is the graph's. `fetch` is asked for records that were kept in part. `reading` is
    the fingerprint of what records are read by."""

    def __init__(
        self,
        store: IndexStore,
        search: SearchIndex,
        state: State,
        writer: Writer,
        catalog: Catalog,
        *,
        follow: Callable[[Sequence[Change]], None],
        pause: Pause = alone,
        fetch: Fetch | None = None,
        reading: str | None = None,
        part: int = PART,
        rest: float = REST,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._store = store
        self._search = search
        self._state = state
        self._writer = writer
        self._catalog = catalog
        self._follow = follow
        self._pause = pause
        self._fetch = fetch
        self._fetched: dict[str, FetchedRecord] = {}
        self._reading = fingerprint_of() if reading is None else reading
        self._part_size = part
        self._rest = rest
        self._clock = clock
        self._logged = 0.0

    async def watch(self) -> None:
        """Does what is asked for, until it is cancelled. Raises what a store raises."""
        while True:
            progress = await self.due()
            if progress is not None:
                await self.run(progress)
            await asyncio.sleep(POLL_SECONDS)

    async def due(self) -> Progress | None:
        """The rebuild that is to be done now: what is new, what was interrupted, or none."""
        kept = await self._state.job(PROGRESS_JOB)
        last = None if kept is None else Progress.from_json(kept)
        asked = await self._state.job(REQUEST_JOB)
        if asked is not None and (last is None or last.request != asked["request"]):
            return await self._new(asked["request"], "it was asked for")
        if last is not None and not last.finished:
            if last.reading == self._reading:
                return last
            return await self._new(last.request, last.reason)
        read_by = await self._state.job(READING_JOB)
        if read_by is None and await self._is_empty():
            await self._state.save_job(READING_JOB, {"fingerprint": self._reading})
        elif read_by is None or read_by["fingerprint"] != self._reading:
            request = last.request if last is not None else ""
            return await self._new(request, "documents or families have changed")
        return None

    async def run(self, progress: Progress) -> Progress:
        """Does it, from where it stands. Raises what a store raises, and WriteFailed."""
        log.info("rebuilding: %s", progress.reason, extra={"from": progress.phase})
        with ThreadPoolExecutor(1, thread_name_prefix="atdex-rebuild") as thread:
            while not progress.finished:
                started = time.monotonic()
                progress = await self._step(progress, thread)
                self._log(progress)
                if not progress.finished:
                    await asyncio.sleep((time.monotonic() - started) * self._rest)
        await self._state.save_job(READING_JOB, {"fingerprint": self._reading})
        log.info("rebuilt", extra=_counts(progress))
        return progress

    async def _new(self, request: str, reason: str) -> Progress:
        total = await asyncio.to_thread(self._held) + await self._state.count()
        progress = Progress(request, reason, self._reading, total=total)
        await self._state.save_job(PROGRESS_JOB, progress.to_json())
        return progress

    async def _is_empty(self) -> bool:
        return not await asyncio.to_thread(self._held) and not await self._state.count()

    def _held(self) -> int:
        return sum(self._store.held_span(kind)[0] for kind in KINDS)

    async def _step(self, progress: Progress, thread: ThreadPoolExecutor) -> Progress:
        """One part, or the way into the next phase."""
        if progress.upto is None:
            progress = replace(progress, upto=await self._end(progress.phase, thread))
        if progress.phase == "quarantine" and self._fetch is not None:
            await self._fetch_whole(progress)
        async with self._pause():
            if progress.phase == "quarantine":
                progress, ended = await self._quarantine_part(progress, thread)
            elif progress.phase == "search":
                await _in(thread, self._settle_search)
                ended = True
            else:
                kind: Kind = progress.phase  # type: ignore[assignment]  # the phases of records
                progress, ended = await self._record_part(kind, progress, thread)
            if ended:
                following = PHASES.index(progress.phase) + 1
                if following == len(PHASES):
                    progress = replace(progress, finished=True)
                else:
                    progress = replace(progress, phase=PHASES[following], after=0, upto=None)
            await self._state.save_job(PROGRESS_JOB, progress.to_json())
        return progress

    async def _end(self, phase: str, thread: ThreadPoolExecutor) -> int:
        """Where the phase ends. What comes later is read by the present documents anyway."""
        if phase == "quarantine":
            return await self._state.quarantine_end()
        if phase == "search":
            return 0
        kind: Kind = phase  # type: ignore[assignment]  # the phases of records
        return (await _in(thread, lambda: self._store.held_span(kind)))[1]

    # Records

    async def _record_part(
        self, kind: Kind, progress: Progress, thread: ThreadPoolExecutor
    ) -> tuple[Progress, bool]:
        upto = progress.upto or 0
        page = await _in(
            thread,
            lambda: self._store.held_page(
                kind, after=progress.after, upto=upto, limit=self._part_size
            ),
        )
        if not page:
            return progress, True
        part = await _in(thread, lambda: self._read(kind, page))
        if part.changes:
            notes = Notes(quarantined=tuple(part.quarantined))
            for reread in part.rereads():
                await self._writer.submit(reread, _nothing, notes)
            await self._writer.settled()
        await _in(thread, lambda: self._derive(kind, page))
        set_aside = len(part.quarantined)
        changed = sum(len(ops) for ops in part.changes.values())
        return (
            replace(
                progress,
                after=page[-1].first_seen,
                done=progress.done + len(page),
                changed=progress.changed + changed - set_aside,
                set_aside=progress.set_aside + set_aside,
            ),
            False,
        )

    def _read(self, kind: Kind, page: Sequence[HeldRecord]) -> _Part:
        part = _Part({}, {}, [])
        for held in page:
            judged = judge(self._catalog, held.collection, held.rkey, held.raw, uri=held.uri)
            op: Put | Delete
            if isinstance(judged, Reading) and judged.kind != kind:
                judged = (Problem("", f"its collection is one of {judged.kind} records"),)
            if isinstance(judged, Reading):
                if held.is_read_as(judged):
                    continue
                op = _put(held.uri, held.did, held.cid, held.raw, judged)
            else:
                op = Delete(held.uri, keep_place=True)
                part.quarantined.append(
                    QuarantinedRecord(
                        uri=held.uri,
                        did=held.did,
                        cid=held.cid,
                        rev=held.rev,
                        problems=judged,
                        raw=held.raw,
                        size=len(held.raw),
                        seen_at=int(self._clock() * 1_000_000),
                        verified=held.verified,
                    )
                )
            part.changes.setdefault(held.did, []).append(op)
            part.revs[held.uri] = held.rev
        return part

    def _derive(self, kind: Kind, page: Sequence[HeldRecord]) -> None:
        """Rows, search and graph from what the store has now of these records."""
        self._store.refresh_rows([held.uri for held in page])
        if kind == "dataset":
            visible = [held.uri for held in page if held.visible]
            documents = self._store.documents_of(visible)
            there = {document.uri for document in documents}
            gone = [held.uri for held in page if held.uri not in there]
            self._search.update(documents, gone)
        if kind in GRAPH_KINDS:
            # Which records, not what of them: that is read from the store.
            touched = tuple(Delete(held.uri, keep_place=True) for held in page)
            self._follow([Reread(page[0].did, touched, {})])

    # Quarantine

    async def _quarantine_part(
        self, progress: Progress, thread: ThreadPoolExecutor
    ) -> tuple[Progress, bool]:
        upto = progress.upto or 0
        rows = await self._state.quarantined_after(progress.after, upto, self._part_size)
        if not rows:
            return progress, True
        judged = await _in(thread, lambda: [self._judge(record) for _, record in rows])
        restored = incomplete = 0
        for (_, record), found in zip(rows, judged, strict=True):
            if found is None:
                incomplete += 1
            elif isinstance(found, Put):
                restored += 1
                reread = Reread(record.did, (found,), {record.uri: record.rev}, record.verified)
                notes = Notes(cleared=((record.uri, record.rev),))
                await self._writer.submit(reread, _nothing, notes)
            elif found != record.problems:
                again = replace(record, problems=found)
                await self._writer.submit(None, _nothing, Notes(quarantined=(again,)))
        await self._writer.settled()
        return (
            replace(
                progress,
                after=rows[-1][0],
                done=progress.done + len(rows),
                restored=progress.restored + restored,
                incomplete=progress.incomplete + incomplete,
            ),
            False,
        )

    def _judge(self, record: QuarantinedRecord) -> Put | tuple[Problem, ...] | None:
        """What it is now; its problems; None where too little of it is there to tell."""
        raw = record.raw
        if len(raw) != record.size:
            whole = self._fetched.get(record.uri)
            if whole is None or whole.cid != record.cid:
                return None
            raw = whole.raw
        collection, rkey = record.uri.split("/")[3:5]
        judged = judge(self._catalog, collection, rkey, raw, uri=record.uri)
        if not isinstance(judged, Reading):
            return judged
        return _put(record.uri, record.did, record.cid or "", raw, judged)

    async def _fetch_whole(self, progress: Progress) -> None:
        """What was kept in part, from its repo, for the next part: not while the firehose waits."""
        self._fetched.clear()
        rows = await self._state.quarantined_after(
            progress.after, progress.upto or 0, self._part_size
        )
        cut = [record for _, record in rows if len(record.raw) != record.size]
        for start in range(0, len(cut), FETCHED_AT_ONCE):
            await asyncio.gather(*map(self._fetch_one, cut[start : start + FETCHED_AT_ONCE]))

    async def _fetch_one(self, record: QuarantinedRecord) -> None:
        assert self._fetch is not None
        path = record.uri.split("/", 3)[3]
        try:
            async with asyncio.timeout(FETCH_SECONDS):
                found = await self._fetch(record.did, path)
        except (FirehoseError, TimeoutError) as failure:
            log.info("could not be fetched: %s", record.uri, extra={"why": str(failure)})
            return
        if found is not None:
            self._fetched[record.uri] = found

    # The search index as a whole

    def _settle_search(self) -> None:
        """Every visible dataset has been put into it; what it has beyond them does not belong."""
        if self._search.count() != self._store.counts()["dataset"]:
            log.warning("the search index has what the records do not have: it is made anew")
            self._search.rebuild(self._store.all_search_documents())

    def _log(self, progress: Progress) -> None:
        now = time.monotonic()
        if now - self._logged > LOG_SECONDS:
            self._logged = now
            log.info("rebuilding", extra=_counts(progress))


def _put(uri: str, did: str, cid: str, raw: bytes, reading: Reading) -> Put:
    collection, rkey = uri.split("/")[3:5]
    return Put(
        uri=uri,
        did=did,
        collection=collection,
        rkey=rkey,
        cid=cid,
        kind=reading.kind,
        conformance=reading.conformance,
        raw=raw,
        json=reading.json,
        created_at=reading.created_at,
        values=reading.values,
    )


def _counts(progress: Progress) -> dict[str, int]:
    names = ("done", "total", "changed", "set_aside", "restored", "incomplete")
    return {name: getattr(progress, name) for name in names}


def _nothing() -> None:
    """Nobody waits for this change alone: `settled` waits for all of them."""


async def _in(thread: ThreadPoolExecutor, work: Callable[[], T]) -> T:
    return await asyncio.get_running_loop().run_in_executor(thread, work)
