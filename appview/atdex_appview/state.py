"""What the node keeps in SQLite: what is set aside and why, and how far search is.

The file may be shared with the firehose: every table here is named `appview_…`, and their
version is kept in one of them, because SQLite's `user_version` is one per file.

Guarantees: `save` is one transaction, and repeating one changes nothing. A record
has at most one quarantined version, that of the highest rev; clearing with an older rev leaves
it. After the process is killed, everything that `save` has returned for is there; a power cut
may take back the last saves, never a part of one, and what they held comes again.

Everything here comes from the network, so all of it is bounded; the oldest goes first.
"""

# Statements are put together from table and column names of ours and from placeholders:
# ruff: noqa: S608

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self

import aiosqlite
import orjson

from atdex_appview.errors import StateUnavailable, StoreFormatUnknown
from atdex_appview.sieve import Sieve
from atdex_lexicons.errors import Problem

FORMAT_VERSION = 1

BUSY_MS = 10_000
"""ms to wait for another connection's write: those take milliseconds, and a stop is worse."""

RAW_BYTES = 32_768
"""Bytes of a quarantined record that are kept: nearly every record whole, none without end."""

PROBLEMS_KEPT = 50
"""Problems of one record: enough to mend it by."""

PROBLEM_CHARS = 500
"""Characters of a problem's path and of its reason."""

QUARANTINED_PER_ACCOUNT = 500
"""Quarantined records of one account, so that nobody pushes out what others are told."""

QUARANTINED_IN_ALL = 100_000
"""Quarantined records, from the last one back: some 100 MB; 3.3 GB at the very worst."""

WAITING_IN_ALL = 5_000_000
"""Inactive accounts without a record here: some 60 bytes each, and the network has that many."""

READ_ROWS = 10_000
"""Rows fetched at a time where all are read."""

_TABLES = """
CREATE TABLE IF NOT EXISTS appview_meta (name TEXT PRIMARY KEY, value INTEGER NOT NULL)
    WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS appview_quarantine (
    id INTEGER PRIMARY KEY AUTOINCREMENT, uri TEXT NOT NULL UNIQUE, did TEXT NOT NULL,
    cid TEXT, rev TEXT NOT NULL, problems TEXT NOT NULL, raw BLOB NOT NULL,
    size INTEGER NOT NULL, seen_at INTEGER NOT NULL, verified INTEGER NOT NULL DEFAULT 1);
CREATE INDEX IF NOT EXISTS appview_quarantine_did ON appview_quarantine (did, id);
CREATE TABLE IF NOT EXISTS appview_jobs (name TEXT PRIMARY KEY, body TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS appview_waiting (
    id INTEGER PRIMARY KEY AUTOINCREMENT, did TEXT NOT NULL UNIQUE, status TEXT NOT NULL);
"""

_QUARANTINE_COLUMNS = "uri, did, cid, rev, problems, raw, size, seen_at, verified"

_ADD_VERIFIED = "ALTER TABLE appview_quarantine ADD COLUMN verified INTEGER NOT NULL DEFAULT 1"
"""For files from before it was kept."""

_PUT_QUARANTINED = f"""
INSERT INTO appview_quarantine ({_QUARANTINE_COLUMNS}) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)
    ON CONFLICT (uri) DO UPDATE SET cid = excluded.cid, rev = excluded.rev,
    problems = excluded.problems, raw = excluded.raw, size = excluded.size,
    seen_at = excluded.seen_at, verified = excluded.verified WHERE excluded.rev >= rev
"""
_PUT_WAITING = """
INSERT INTO appview_waiting (did, status) VALUES (?, ?)
    ON CONFLICT (did) DO UPDATE SET status = excluded.status
"""
_SET_SEARCH_CHANGE = "INSERT OR REPLACE INTO appview_meta VALUES ('search_change', ?)"

# The bounds count insertions, not rows: what is older than so many later ones goes, which needs
# no count and never keeps more.
_BOUND_ACCOUNT = """
DELETE FROM appview_quarantine WHERE did = ? AND id <= (SELECT id FROM appview_quarantine
    WHERE did = ? ORDER BY id DESC LIMIT 1 OFFSET ?)
"""
_BOUND = "DELETE FROM appview_{0} WHERE id <= (SELECT max(id) FROM appview_{0}) - ?"


@dataclass(frozen=True, slots=True)
class QuarantinedRecord:
    """A record that is not indexed, and why. `seen_at` is µs since the epoch.

    `raw` is its DAG-CBOR, the first RAW_BYTES of `size` once it has been stored. `verified`: a
    signature stands behind it.
    """

    uri: str
    did: str
    cid: str | None
    rev: str
    problems: tuple[Problem, ...]
    raw: bytes
    size: int
    seen_at: int
    verified: bool = True


@dataclass(frozen=True, slots=True)
class Notes:
    """What one `save` writes.

    `cleared` are (URI, rev): quarantined versions up to that rev go. `cleared_dids` lose all.
    `waiting` maps an account without records here to its status, None for an active one.
    `search_change` is how far the search index is.
    """

    quarantined: tuple[QuarantinedRecord, ...] = ()
    cleared: tuple[tuple[str, str], ...] = ()
    cleared_dids: tuple[str, ...] = ()
    waiting: Mapping[str, str | None] = field(default_factory=dict)
    search_change: int | None = None


NO_NOTES = Notes()


class State:
    """The open file. Any method may raise StateUnavailable."""

    def __init__(self, path: Path, database: aiosqlite.Connection) -> None:
        """Use `open`."""
        self.path = path
        self._database = database
        self._saving = asyncio.Lock()
        self._waiting = Sieve(WAITING_IN_ALL)
        self._quarantined = Sieve(QUARANTINED_IN_ALL)
        self._closed = False

    @classmethod
    async def open(cls, path: Path) -> Self:
        """Opens or creates the file. Raises StateUnavailable or StoreFormatUnknown."""
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            database = await aiosqlite.connect(path, isolation_level=None)
        except (OSError, sqlite3.Error) as failure:
            raise StateUnavailable(path, str(failure)) from failure
        state = cls(path, database)
        try:
            await state._prepare()
        except BaseException:
            await database.close()
            raise
        return state

    async def save(self, batch: Iterable[Notes]) -> None:
        """Writes what the notes come to in their order, in one transaction."""
        folded = _Folded(batch)
        for did in folded.waiting:
            self._waiting.add(did)
        # Nearly no record was ever set aside.
        folded.cleared = {
            uri: rev for uri, rev in folded.cleared.items() if self._quarantined.passes(uri)
        }
        for uri in folded.quarantined:
            self._quarantined.add(uri)
        async with self._saving:
            with self._available():
                try:
                    await self._database.execute("BEGIN IMMEDIATE")
                    for statement, rows in folded.statements():
                        await self._database.executemany(statement, rows)
                    await self._database.execute("COMMIT")
                except BaseException:
                    # The thread works in order, so this comes after a BEGIN that was cancelled
                    # before it was executed; where there was none, there is nothing to undo.
                    with suppress(sqlite3.OperationalError):
                        await self._database.execute("ROLLBACK")
                    raise

    async def get(self, uri: str) -> QuarantinedRecord | None:
        query = f"SELECT {_QUARANTINE_COLUMNS} FROM appview_quarantine WHERE uri = ?"
        rows = await self._rows(query, (uri,))
        return _quarantined(rows[0]) if rows else None

    async def count(self) -> int:
        """How many records are in quarantine."""
        return int((await self._rows("SELECT count(*) FROM appview_quarantine"))[0][0])

    async def waiting_status(self, did: str) -> str | None:
        """The status of an inactive account that has no record here yet; None for others."""
        if not self._waiting.passes(did):
            # Nearly every account: and each hop to the database's thread is a millisecond.
            return None
        rows = await self._rows("SELECT status FROM appview_waiting WHERE did = ?", (did,))
        return rows[0][0] if rows else None

    async def search_change(self) -> int | None:
        """The store's change number that the search index has durably applied."""
        rows = await self._rows("SELECT value FROM appview_meta WHERE name = 'search_change'")
        return rows[0][0] if rows else None

    async def quarantined_after(
        self, after: int, upto: int, limit: int
    ) -> list[tuple[int, QuarantinedRecord]]:
        """Records in quarantine with their places, in the order in which they were set aside first,
        from behind the place `after` up to `upto`."""
        query = (
            f"SELECT id, {_QUARANTINE_COLUMNS} FROM appview_quarantine"
            " WHERE id > ? AND id <= ? ORDER BY id LIMIT ?"
        )
        rows = await self._rows(query, (after, upto, limit))
        return [(row[0], _quarantined(row[1:])) for row in rows]

    async def quarantine_end(self) -> int:
        """The last place in quarantine; 0 where it is empty."""
        return int((await self._rows("SELECT max(id) FROM appview_quarantine"))[0][0] or 0)

    async def job(self, name: str) -> dict[str, Any] | None:
        """What was kept under that name of work that outlasts a restart."""
        rows = await self._rows("SELECT body FROM appview_jobs WHERE name = ?", (name,))
        found: dict[str, Any] | None = orjson.loads(rows[0][0]) if rows else None
        return found

    async def save_job(self, name: str, body: Mapping[str, Any]) -> None:
        """Replaces it."""
        async with self._saving:
            with self._available():
                await self._database.execute(
                    "INSERT OR REPLACE INTO appview_jobs VALUES (?, ?)",
                    (name, orjson.dumps(dict(body)).decode()),
                )

    async def close(self) -> None:
        """Closing twice is fine."""
        async with self._saving:
            if not self._closed:
                self._closed = True
                await self._database.close()

    async def _prepare(self) -> None:
        with self._available():
            await self._database.execute(f"PRAGMA busy_timeout = {BUSY_MS}")
            await self._database.execute("PRAGMA journal_mode = WAL")
            await self._database.execute("PRAGMA synchronous = NORMAL")
            await self._database.executescript(_TABLES)
            columns = await self._rows("SELECT name FROM pragma_table_info('appview_quarantine')")
            if ("verified",) not in columns:
                await self._database.execute(_ADD_VERIFIED)
            await self._database.execute(
                "INSERT OR IGNORE INTO appview_meta VALUES ('format', ?)", (FORMAT_VERSION,)
            )
        rows = await self._rows("SELECT value FROM appview_meta WHERE name = 'format'")
        if rows[0][0] != FORMAT_VERSION:
            raise StoreFormatUnknown(self.path, str(rows[0][0]), str(FORMAT_VERSION))
        for query, sieve in (
            ("SELECT did FROM appview_waiting", self._waiting),
            ("SELECT uri FROM appview_quarantine", self._quarantined),
        ):
            async with self._database.execute(query) as names:
                while part := await names.fetchmany(READ_ROWS):
                    for (name,) in part:
                        sieve.add(name)

    async def _rows(self, query: str, parameters: Sequence[object] = ()) -> list[Any]:
        with self._available():
            return list(await self._database.execute_fetchall(query, parameters))

    @contextmanager
    def _available(self) -> Iterator[None]:
        """sqlite3 reports the trouble of its file as these; a ValueError says: closed."""
        try:
            yield
        except (sqlite3.DatabaseError, ValueError) as failure:
            raise StateUnavailable(self.path, str(failure)) from failure


class _Folded:
    """Notes in a row as few statements, because each is a trip to SQLite's thread and back."""

    def __init__(self, batch: Iterable[Notes]) -> None:
        self.quarantined: dict[str, QuarantinedRecord] = {}
        self.cleared: dict[str, str] = {}
        self.cleared_dids: dict[str, None] = {}
        self.waiting: dict[str, str | None] = {}
        self.search_change: int | None = None
        for notes in batch:
            self._add(notes)

    def _add(self, notes: Notes) -> None:
        for did in notes.cleared_dids:
            self.cleared_dids[did] = None
            for uri in [u for u, record in self.quarantined.items() if record.did == did]:
                del self.quarantined[uri]
        for record in notes.quarantined:
            before = self.quarantined.get(record.uri)
            if before is None or before.rev <= record.rev:
                self.quarantined[record.uri] = record
        for uri, rev in notes.cleared:
            self.cleared[uri] = max(rev, self.cleared.get(uri, ""))
            before = self.quarantined.get(uri)
            if before is not None and before.rev <= rev:
                del self.quarantined[uri]
        self.waiting.update(notes.waiting)
        if notes.search_change is not None:
            self.search_change = notes.search_change

    def statements(self) -> Iterator[tuple[str, list[tuple[object, ...]]]]:
        """What clears comes first: what was set aside after it is among `quarantined` alone."""
        gone = [(did,) for did, status in self.waiting.items() if status is None]
        waiting = [(did, status) for did, status in self.waiting.items() if status is not None]
        dids = {record.did for record in self.quarantined.values()}
        every: list[tuple[str, Iterable[tuple[object, ...]]]] = [
            ("DELETE FROM appview_quarantine WHERE did = ?", ((did,) for did in self.cleared_dids)),
            ("DELETE FROM appview_quarantine WHERE uri = ? AND rev <= ?", self.cleared.items()),
            (_PUT_QUARANTINED, map(_quarantine_row, self.quarantined.values())),
            (_BOUND_ACCOUNT, ((did, did, QUARANTINED_PER_ACCOUNT) for did in dids)),
            (_BOUND.format("quarantine"), [(QUARANTINED_IN_ALL,)] if dids else []),
            ("DELETE FROM appview_waiting WHERE did = ?", gone),
            (_PUT_WAITING, waiting),
            (_BOUND.format("waiting"), [(WAITING_IN_ALL,)] if waiting else []),
        ]
        if self.search_change is not None:
            every.append((_SET_SEARCH_CHANGE, [(self.search_change,)]))
        for statement, rows in every:
            if found := list(rows):
                yield statement, found


def _quarantine_row(record: QuarantinedRecord) -> tuple[object, ...]:
    problems = [
        [problem.path[:PROBLEM_CHARS], problem.reason[:PROBLEM_CHARS]]
        for problem in record.problems[:PROBLEMS_KEPT]
    ]
    return (
        record.uri,
        record.did,
        record.cid,
        record.rev,
        orjson.dumps(problems).decode(),
        record.raw[:RAW_BYTES],
        record.size,
        record.seen_at,
        record.verified,
    )


def _quarantined(row: Sequence[Any]) -> QuarantinedRecord:
    uri, did, cid, rev, problems, raw, size, seen_at, verified = row
    kept = tuple(Problem(path, reason) for path, reason in orjson.loads(problems))
    return QuarantinedRecord(uri, did, cid, rev, kept, raw, size, seen_at, bool(verified))
