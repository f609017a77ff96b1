"""Collections that no family knows, while the node runs: resolved, followed, validated, refreshed.

    wanted (config, or `atdex lexicon add`) ──documents resolved──> ready ──> followed, with what
        │  ^                                                          │        was there before
        └──┘ tried again, ever more slowly                            └── looked at again each day

- A collection is followed once all its documents are there, and never before: nothing is kept that
  nobody can judge. A running node takes up what the command adds within a second or so.
- Documents are kept, and used for as long as nothing newer is resolved: an authority that is away,
  or takes its document back, changes nothing for what is followed already. `problem` says so.
- Where a document changes, the collection's records are judged again, those in quarantine too.
- A document of this network never takes the place of one that comes with atdex.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass
from typing import Any, Final

import orjson

from atdex_appview.errors import LexiconAway, LexiconError
from atdex_appview.network.file import CollectionsFile
from atdex_appview.network.reading import read_generic
from atdex_appview.network.records import GenericPut, GenericRecords
from atdex_appview.network.resolving import Fetch, Resolved, Texts, resolve_all
from atdex_appview.state import Notes, QuarantinedRecord, State
from atdex_lexicons import Catalog
from atdex_lexicons.families import kind_of
from atdex_lexicons.syntax import is_nsid

log = logging.getLogger(__name__)

FRESH_SECONDS: Final = 24 * 3600.0
"""Before a document is looked at again, as the specification advises."""

FIRST_SECONDS, CAP_SECONDS = 30.0, 3600.0
"""Before a collection that cannot be resolved is tried again, at first and at most; doubled."""

RESOLVE_SECONDS: Final = 60.0
"""For all documents of one collection together."""

POLL_SECONDS: Final = 1.0
"""Between two looks at what is wanted."""

WANTED: Final = 100
"""Collections of this kind: each has its documents in memory, and its listing at every relay."""

PART: Final = 200
"""Records that are judged again at a time."""

PROBLEM_CHARS: Final = 500


@asynccontextmanager
async def _alone() -> AsyncIterator[None]:
    yield


@dataclass(frozen=True, slots=True)
class CollectionState:
    """What is known of one collection. `did` is its document's publisher, None before there is
    one; `problem` is why the last try came to nothing, empty where it did."""

    nsid: str
    did: str | None
    cid: str | None
    resolved_at: float | None
    problem: str
    records: int


class NetworkLexicons:
    """`configured` are wanted for as long as the configuration names them. To be connected with
    the firehose (`fetch`, `want`) and with ingestion (`pause`, see `rebuild.rebuilding`).

    `clock` gives seconds since the epoch. For one event loop; the file is used in threads.
    """

    def __init__(
        self,
        file: CollectionsFile,
        records: GenericRecords,
        state: State,
        *,
        texts: Texts,
        configured: Iterable[str] = (),
        retry: float = FIRST_SECONDS,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._file = file
        self.records = records
        self._state = state
        self._texts = texts
        self._configured = tuple(configured)
        self._fetch: Fetch | None = None
        self._want: Callable[[str], Awaitable[None]] | None = None
        self._pause: Callable[[], AbstractAsyncContextManager[None]] = _alone
        self._retry = retry
        self._clock = clock
        self._tries: dict[str, int] = {}
        self._due: dict[str, float] = {}
        self._followed: set[str] = set()
        self.catalog = Catalog.bundled()
        """The documents that come with atdex, and those that were resolved."""
        self._load()

    def ready(self) -> tuple[str, ...]:
        """The collections that are wanted and whose documents are there: what to follow."""
        return tuple(nsid for nsid in self._wanted() if self._is_there(nsid))

    def follows(self, collection: str) -> bool:
        """Whether records of it are taken."""
        return collection in self._followed

    def start(self, collections: Iterable[str]) -> None:
        """These are followed from the start."""
        self._followed.update(collections)

    def connect(
        self,
        *,
        fetch: Fetch,
        want: Callable[[str], Awaitable[None]],
        pause: Callable[[], AbstractAsyncContextManager[None]] = _alone,
    ) -> None:
        """The firehose, and ingestion: they are made after this."""
        self._fetch = fetch
        self._want = want
        self._pause = pause

    async def watch(self) -> None:
        """Looks after them until it is cancelled. Raises what the stores raise."""
        while True:
            await self.look()
            await asyncio.sleep(POLL_SECONDS)

    async def look(self) -> None:
        """Does what is due now."""
        assert self._fetch is not None, "not connected"
        assert self._want is not None, "not connected"
        wanted = await asyncio.to_thread(self._wanted)
        for nsid in self._followed.difference(wanted):
            self._followed.discard(nsid)
            log.info("%s is followed no more; its records stay until it is gone", nsid)
        now = self._clock()
        for nsid in wanted:
            if self._due.get(nsid, 0.0) <= now:
                await self._resolve(nsid)
            if nsid not in self._followed and self._is_there(nsid):
                await self._want(nsid)
                self._followed.add(nsid)
                log.info("%s is followed from now on", nsid)

    def states(self) -> list[CollectionState]:
        """What is known of each that is wanted. For a thread."""
        return states_of(self._file, self._configured, self.records)

    # Documents

    async def _resolve(self, nsid: str) -> None:
        assert self._fetch is not None, "not connected"
        known = Catalog.bundled()
        try:
            async with asyncio.timeout(RESOLVE_SECONDS):
                found = await resolve_all(
                    nsid,
                    self._texts,
                    self._fetch,
                    lambda name: known.document(name) if name in known else None,
                )
        except (LexiconError, TimeoutError) as failure:
            error = failure if isinstance(failure, LexiconError) else LexiconAway(nsid, "too slow")
            tries = self._tries[nsid] = self._tries.get(nsid, 0) + 1
            wait = min(CAP_SECONDS, self._retry * 2.0 ** min(tries - 1, 16))
            self._due[nsid] = self._clock() + wait
            log.warning("%s; again in %.0f s", error, wait)
            await asyncio.to_thread(self._note, nsid, error.reason[:PROBLEM_CHARS])
            return
        self._tries.pop(nsid, None)
        self._due[nsid] = self._clock() + FRESH_SECONDS
        if await asyncio.to_thread(self._keep, nsid, found):
            await asyncio.to_thread(self._load)
            log.info("%s: %d documents resolved", nsid, len(found))
            await self._judge_again(nsid)

    def _keep(self, nsid: str, found: Mapping[str, Resolved]) -> bool:
        """Whether any of them is another one than before."""
        before = dict(
            self._file.rows("SELECT nsid, cid FROM documents WHERE collection = ?", [nsid])
        )
        now = self._clock()
        with self._file.writing() as sql:
            sql.execute("DELETE FROM documents WHERE collection = ?", [nsid])
            sql.executemany(
                "INSERT INTO documents VALUES (?, ?, ?, ?, ?, ?, ?)",
                [
                    (nsid, r.nsid, r.did, r.cid, r.rev, orjson.dumps(r.document).decode(), now)
                    for r in found.values()
                ],
            )
            sql.execute("INSERT OR REPLACE INTO states VALUES (?, ?, '')", [nsid, now])
        return before != {each.nsid: each.cid for each in found.values()}

    def _note(self, nsid: str, problem: str) -> None:
        with self._file.writing() as sql:
            row = [nsid, self._clock(), problem]
            sql.execute("INSERT OR REPLACE INTO states VALUES (?, ?, ?)", row)

    def _load(self) -> None:
        """Two collections may have resolved one document at two versions: the later one counts."""
        rows = self._file.rows("SELECT nsid, document FROM documents ORDER BY resolved_at")
        documents: dict[str, dict[str, Any]] = {nsid: orjson.loads(text) for nsid, text in rows}
        self.catalog = Catalog.bundled().extended(documents)
        for nsid, checked_at, problem in self._file.rows("SELECT * FROM states"):
            if not problem:
                self._due.setdefault(nsid, checked_at + FRESH_SECONDS)

    def _wanted(self) -> list[str]:
        return wanted_of(self._file, self._configured)

    def _is_there(self, nsid: str) -> bool:
        return nsid in self.catalog and self.catalog.kind(nsid) == "record"

    # Records that came before

    async def _judge_again(self, collection: str) -> None:
        """By the documents that there are now. In parts, between which the firehose goes on."""
        after, more = 0, True
        while more:
            async with self._pause():
                after, more = await self._judge_kept(collection, after)
            await asyncio.sleep(0)
        place, end = 0, await self._state.quarantine_end()
        while True:
            async with self._pause():
                rows = await self._state.quarantined_after(place, end, PART)
                await self._judge_quarantined(collection, [record for _, record in rows])
            if not rows:
                return
            place = rows[-1][0]

    async def _judge_kept(self, collection: str, after: int) -> tuple[int, bool]:
        held = await asyncio.to_thread(self.records.held, collection, after, PART)
        wrong = []
        for record, raw in held:
            read = read_generic(self.catalog, record.uri, record.cid, raw)
            if not isinstance(read, GenericPut):
                wrong.append(
                    QuarantinedRecord(
                        uri=record.uri,
                        did=record.did,
                        cid=record.cid,
                        rev=record.rev,
                        problems=read,
                        raw=raw,
                        size=len(raw),
                        seen_at=int(self._clock() * 1_000_000),
                        verified=record.verified,
                    )
                )
        if wrong:
            # First set aside: a kill in between leaves a record in both, which the next time mends.
            await self._state.save([Notes(quarantined=tuple(wrong))])
            await asyncio.to_thread(self.records.remove, [each.uri for each in wrong])
        return (held[-1][0].first_seen, True) if held else (after, False)

    async def _judge_quarantined(self, collection: str, records: list[QuarantinedRecord]) -> None:
        for record in records:
            if record.uri.split("/")[3] != collection or len(record.raw) != record.size:
                continue
            read = read_generic(self.catalog, record.uri, record.cid or "", record.raw)
            if isinstance(read, GenericPut):
                await asyncio.to_thread(
                    self.records.restore,
                    record.did,
                    record.rev,
                    read,
                    verified=record.verified,
                )
                await self._state.save([Notes(cleared=((record.uri, record.rev),))])


def is_of_the_network(nsid: str) -> bool:
    """Whether this is a collection that would have to come from the network."""
    return is_nsid(nsid) and kind_of(nsid) is None and nsid not in Catalog.bundled()


def split_collections(patterns: Iterable[str]) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """(patterns of families, collections that would come from the network)."""
    named = tuple(patterns)
    others = tuple(pattern for pattern in named if is_of_the_network(pattern))
    return tuple(pattern for pattern in named if pattern not in others), others


def wanted_of(file: CollectionsFile, configured: Iterable[str] = ()) -> list[str]:
    """What is wanted, by the configuration and by the command."""
    added = [nsid for (nsid,) in file.rows("SELECT nsid FROM wanted ORDER BY nsid")]
    named = [*dict.fromkeys([*configured, *added])]
    return [nsid for nsid in named if is_of_the_network(nsid)][:WANTED]


def states_of(
    file: CollectionsFile, configured: Iterable[str] = (), records: GenericRecords | None = None
) -> list[CollectionState]:
    """What is known of each that is wanted; records are not counted where none are given."""
    documents = {
        nsid: row
        for nsid, *row in file.rows(
            "SELECT nsid, did, cid, resolved_at FROM documents WHERE nsid = collection"
        )
    }
    problems = dict(file.rows("SELECT nsid, problem FROM states"))
    states = []
    for nsid in wanted_of(file, configured):
        did, cid, resolved_at = documents.get(nsid, (None, None, None))
        count = 0 if records is None else records.count(nsid)
        states.append(CollectionState(nsid, did, cid, resolved_at, problems.get(nsid, ""), count))
    return states
