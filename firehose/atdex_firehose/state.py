"""The firehose's state on disk: SQLite, in WAL mode, through aiosqlite.

Guarantee: `save` is one transaction. After a crash, the file holds a cursor, and the repos,
record CIDs, parked commits and standings that belong to it, of one moment; never a cursor
without what it stands for.

The file may be shared with other packages: every table is named `firehose_…`, and the version
of these tables is kept in one of them, because SQLite's `user_version` is one per file.
"""

# Statements are put together from column names of ours and from placeholders:
# ruff: noqa: S608

from __future__ import annotations

import asyncio
import contextlib
import sqlite3
from collections.abc import AsyncIterator, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import aiosqlite

from atdex_firehose import identity_rows
from atdex_firehose.errors import StateError
from atdex_firehose.identity_rows import StoredIdentity
from atdex_firehose.repo import ACTIVE, Head, RepoRow, RepoState, Standing

VERSION = 2
_BUSY_MS = 10_000
"""How long to wait for another connection's write to the same file."""
REJECTIONS = 10_000
"""Rejected frames kept: a sample to look into, no archive. At most 650 MB, some MB in practice."""
_PAGE = 2_000
"""Rows read in one trip."""

_TABLES = f"""
CREATE TABLE IF NOT EXISTS firehose_meta (name TEXT PRIMARY KEY, value) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS firehose_cursors (upstream TEXT PRIMARY KEY, seq INTEGER NOT NULL)
    WITHOUT ROWID;
{identity_rows.TABLE};
CREATE TABLE IF NOT EXISTS firehose_accounts (did TEXT PRIMARY KEY, status TEXT) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS firehose_repos (
    did TEXT PRIMARY KEY, state TEXT NOT NULL, rev TEXT, data BLOB, epoch INTEGER NOT NULL,
    reason TEXT NOT NULL, attempts INTEGER NOT NULL, retry_at REAL NOT NULL, min_rev TEXT,
    strikes REAL NOT NULL, struck_at REAL NOT NULL) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS firehose_repos_due ON firehose_repos (retry_at)
    WHERE state <> 'synchronized';
CREATE TABLE IF NOT EXISTS firehose_records (
    did TEXT NOT NULL, path TEXT NOT NULL, cid TEXT NOT NULL, PRIMARY KEY (did, path))
    WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS firehose_parked (
    id INTEGER PRIMARY KEY AUTOINCREMENT, did TEXT NOT NULL, source TEXT NOT NULL,
    seq INTEGER NOT NULL, frame BLOB NOT NULL);
CREATE INDEX IF NOT EXISTS firehose_parked_did ON firehose_parked (did, id);
CREATE TABLE IF NOT EXISTS firehose_rejected (
    id INTEGER PRIMARY KEY AUTOINCREMENT, source TEXT NOT NULL, seq INTEGER NOT NULL,
    did TEXT NOT NULL, rev TEXT, error TEXT NOT NULL, reason TEXT NOT NULL, frame BLOB NOT NULL,
    seen_at REAL NOT NULL);
CREATE TABLE IF NOT EXISTS firehose_collections (pattern TEXT PRIMARY KEY, epoch INTEGER NOT NULL)
    WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS firehose_discovery (
    host TEXT NOT NULL, listing TEXT NOT NULL, epoch INTEGER NOT NULL, cursor TEXT,
    done INTEGER NOT NULL, PRIMARY KEY (host, listing)) WITHOUT ROWID;
"""
# firehose_accounts holds only accounts that are not active: the network has far more that are.
# firehose_repos holds tracked repos. No row says 'in-progress': see `repo`.

_REPO_COLUMNS = "state, rev, data, epoch, reason, attempts, retry_at, min_rev, strikes, struck_at"
_SELECT_REPO = f"""
SELECT account.did, account.status, repo.did,
    (SELECT count(*) FROM firehose_parked AS parked WHERE parked.did = asked.did), {_REPO_COLUMNS}
FROM (SELECT ? AS did) AS asked
LEFT JOIN firehose_accounts AS account ON account.did = asked.did
LEFT JOIN firehose_repos AS repo ON repo.did = asked.did
"""


@dataclass(frozen=True, slots=True)
class Parked:
    """A commit that waits until its repo was fetched. `row` is 0 until it is saved."""

    did: str
    source: str
    seq: int
    raw: bytes
    row: int = 0


@dataclass(frozen=True, slots=True)
class Rejection:
    """A frame, or a fetched repo, that failed verification. `seen_at` is s since the epoch."""

    source: str
    seq: int
    did: str
    rev: str | None
    error: str
    reason: str
    frame: bytes
    seen_at: float


@dataclass(frozen=True, slots=True)
class Changes:
    """What one `save` writes. `purged` accounts lose their records and parked commits, `dropped`
    ones their parked commits, before anything else of them is written."""

    cursors: Mapping[str, int] = field(default_factory=dict)
    repos: Sequence[RepoRow] = ()
    records: Mapping[str, Mapping[str, str | None]] = field(default_factory=dict)
    standings: Mapping[str, Standing] = field(default_factory=dict)
    identities: Mapping[str, StoredIdentity] = field(default_factory=dict)
    purged: Iterable[str] = ()
    dropped: Iterable[str] = ()
    parked: Sequence[Parked] = ()
    unparked: Sequence[int] = ()
    rejections: Collection[Rejection] = ()


class State:
    """The open state file. Every method may raise StateError where the file is damaged."""

    def __init__(self, path: str, db: aiosqlite.Connection) -> None:
        self._path = path
        self._db = db
        self._writing = asyncio.Lock()

    @classmethod
    async def open(cls, path: str | Path | None, *, must_exist: bool = False) -> State:
        """Open or create the file; None keeps the state in memory. Raises StateError."""
        name = ":memory:" if path is None else str(path)
        if must_exist and not await asyncio.to_thread(Path(name).is_file):
            raise StateError(name, "there is no such file")
        db = await aiosqlite.connect(name, isolation_level=None)
        state = cls(name, db)
        try:
            with state._damage():
                await db.execute(f"PRAGMA busy_timeout={_BUSY_MS}")
                await db.execute("PRAGMA journal_mode=WAL")
                # A power cut may take the last transactions back, never a part of one: enough here.
                await db.execute("PRAGMA synchronous=NORMAL")
                await db.executescript(_TABLES)
                await db.execute(
                    "INSERT OR IGNORE INTO firehose_meta VALUES ('version', ?)", (VERSION,)
                )
                row = await state._row("SELECT value FROM firehose_meta WHERE name = 'version'")
            if row is None or row[0] != VERSION:
                found = row and row[0]
                raise StateError(name, f"its tables have version {found}, this is {VERSION}")
        except BaseException:
            await db.close()
            raise
        return state

    async def close(self) -> None:
        await self._db.close()

    async def save(self, changes: Changes) -> None:
        """Save all of it in one transaction."""
        async with self._transaction():
            for statement, rows in _statements(changes):
                if rows:
                    await self._db.executemany(statement, rows)

    # Reading

    async def cursors(self) -> dict[str, int]:
        """The saved cursor of every upstream."""
        rows = await self._rows("SELECT upstream, seq FROM firehose_cursors")
        return {row[0]: row[1] for row in rows}

    async def repo(self, did: str) -> tuple[RepoRow | None, int, Standing]:
        """A repo's row (None: not tracked), how many commits it has parked, and its standing."""
        # In one query: asking the database's thread costs more than what it does.
        row = await self._row(_SELECT_REPO, did)
        assert row is not None
        account, status, tracked, parked, *columns = row
        standing = ACTIVE if account is None else Standing(active=False, status=status)
        return None if tracked is None else _repo_row(did, columns), parked, standing

    async def standing(self, did: str) -> Standing:
        """The account's status upstream."""
        row = await self._row("SELECT status FROM firehose_accounts WHERE did = ?", did)
        return ACTIVE if row is None else Standing(active=False, status=row[0])

    async def identity(self, did: str) -> StoredIdentity | None:
        """The cached identity, however old."""
        row = await self._row(identity_rows.SELECT, did)
        return None if row is None else identity_rows.stored_of(did, row)

    async def records(self, did: str) -> dict[str, str]:
        """The CIDs of a repo's wanted records by path."""
        rows = await self._rows("SELECT path, cid FROM firehose_records WHERE did = ?", did)
        return {row[0]: row[1] for row in rows}

    async def tracked(self) -> AsyncIterator[tuple[str, RepoState, float]]:
        """Every tracked DID, its state, and when it is due."""
        with self._damage():
            query = "SELECT did, state, retry_at FROM firehose_repos"
            async with self._db.execute(query) as found:
                async for did, state, retry_at in found:
                    yield did, state, retry_at

    async def due(self, limit: int) -> list[tuple[float, str]]:
        """(when, DID) of repos that wait to be fetched, the first ones due first."""
        rows = await self._rows(
            "SELECT retry_at, did FROM firehose_repos WHERE state <> 'synchronized'"
            " ORDER BY retry_at LIMIT ?",
            limit,
        )
        return [(row[0], row[1]) for row in rows]

    async def parked(self, did: str, after: int) -> list[Parked]:
        """The next commits parked of a repo, in their order; bounded, so ask again."""
        rows = await self._rows(
            "SELECT id, source, seq, frame FROM firehose_parked WHERE did = ? AND id > ?"
            " ORDER BY id LIMIT 64",
            did,
            after,
        )
        return [Parked(did, source, seq, raw, row) for row, source, seq, raw in rows]

    async def rejections(self, limit: int, did: str | None = None) -> list[Rejection]:
        """What was rejected last, newest first."""
        where, values = ("WHERE did = ?", [did]) if did else ("", [])
        rows = await self._rows(
            "SELECT source, seq, did, rev, error, reason, frame, seen_at FROM firehose_rejected"
            f" {where} ORDER BY id DESC LIMIT ?",
            *values,
            limit,
        )
        return [Rejection(*row) for row in rows]

    # Discovery

    async def set_collections(self, patterns: Sequence[str]) -> int:
        """Note what is wanted now; the epoch, which grows whenever something new is wanted."""
        async with self._transaction():
            rows = await self._rows("SELECT pattern, epoch FROM firehose_collections")
            known = {row[0]: row[1] for row in rows}
            last = await self._row("SELECT value FROM firehose_meta WHERE name = 'epoch'")
            epoch: int = last[0] if last else 0
            gone = [(pattern,) for pattern in known if pattern not in patterns]
            new = [pattern for pattern in patterns if pattern not in known]
            await self._db.executemany("DELETE FROM firehose_collections WHERE pattern = ?", gone)
            if new:
                epoch += 1
                await self._db.executemany(
                    "INSERT INTO firehose_collections VALUES (?, ?)", [(p, epoch) for p in new]
                )
                await self._db.execute(
                    "INSERT OR REPLACE INTO firehose_meta VALUES ('epoch', ?)", (epoch,)
                )
            # What was not wanted for a while is listed anew when it is wanted again.
            await self._db.executemany("DELETE FROM firehose_discovery WHERE listing = ?", gone)
        return epoch

    async def collection_epochs(self) -> dict[str, int]:
        """Since which epoch each pattern is wanted."""
        rows = await self._rows("SELECT pattern, epoch FROM firehose_collections")
        return {row[0]: row[1] for row in rows}

    async def listing(self, host: str, listing: str, epoch: int) -> tuple[str | None, bool]:
        """How far a listing of a host was read for this epoch: (cursor, done)."""
        row = await self._row(
            "SELECT epoch, cursor, done FROM firehose_discovery WHERE host = ? AND listing = ?",
            host,
            listing,
        )
        return (None, False) if row is None or row[0] != epoch else (row[1], bool(row[2]))

    async def discovered(
        self,
        host: str,
        listing: str,
        epoch: int,
        cursor: str | None,
        dids: Sequence[str],
        *,
        done: bool,
    ) -> None:
        """Track these repos, where they are not yet, and note how far the listing was read."""
        async with self._transaction():
            await self._db.executemany(
                "INSERT OR IGNORE INTO firehose_repos"
                " VALUES (?, 'incomplete', NULL, NULL, 0, 'discovered', 0, 0, NULL, 0, 0)",
                [(did,) for did in dids],
            )
            await self._db.execute(
                "INSERT OR REPLACE INTO firehose_discovery VALUES (?, ?, ?, ?, ?)",
                (host, listing, epoch, cursor, done),
            )

    async def forget_listings(self, host: str) -> None:
        """The host's listings are to be read again: events of it were missed."""
        async with self._transaction():
            await self._db.execute("DELETE FROM firehose_discovery WHERE host = ?", (host,))

    async def doubt_all(self, reason: str) -> None:
        """Every synchronized repo is to be looked at again."""
        async with self._transaction():
            await self._db.execute(
                "UPDATE firehose_repos SET state = 'incomplete', reason = ?, retry_at = 0,"
                " attempts = 0 WHERE state = 'synchronized'",
                (reason,),
            )

    async def forget_records(self, held: Iterable[tuple[str, str]] = ()) -> None:
        """For a consumer that lost what it was delivered: every repo is to be fetched whole, and
        everything in it delivered. `held` is what it still has, as (DID, path), in whatever
        version: what of that is no longer in a repo is delivered as deleted."""
        async with self._transaction():
            await self._db.execute("DELETE FROM firehose_records")
            await self._db.executemany(
                "INSERT OR REPLACE INTO firehose_records VALUES (?, ?, '')", held
            )
            await self._db.execute(
                "UPDATE firehose_repos SET state = 'desynchronized', rev = NULL, data = NULL,"
                " reason = 'what was delivered is lost', attempts = 0, retry_at = 0,"
                " min_rev = NULL, strikes = 0, struck_at = 0"
            )

    # Underneath

    @contextlib.asynccontextmanager
    async def _transaction(self) -> AsyncIterator[None]:
        async with self._writing:
            with self._damage():
                try:
                    await self._db.execute("BEGIN IMMEDIATE")
                    yield
                    await self._db.execute("COMMIT")
                except BaseException:
                    # The thread works in order, so this comes after a BEGIN that was cancelled
                    # before it was executed; where there was none, there is nothing to undo.
                    with contextlib.suppress(sqlite3.OperationalError):
                        await self._db.execute("ROLLBACK")
                    raise

    async def _row(self, query: str, *values: object) -> sqlite3.Row | None:
        rows = await self._rows(query, *values)
        return rows[0] if rows else None

    async def _rows(self, query: str, *values: object) -> list[Any]:
        with self._damage():
            return list(await self._db.execute_fetchall(query, values))

    @contextlib.contextmanager
    def _damage(self) -> Iterator[None]:
        try:
            yield
        except sqlite3.OperationalError:
            raise  # a full disk or a lock: says so itself, and retrying is sound
        except sqlite3.DatabaseError as error:
            raise StateError(
                self._path, f"{error}; restore it, or remove it to start over"
            ) from error


def _statements(changes: Changes) -> Iterator[tuple[str, list[tuple[object, ...]]]]:
    """What a save does, in order."""
    purged = [(did,) for did in changes.purged]
    dropped = [*purged, *((did,) for did in changes.dropped)]
    yield "DELETE FROM firehose_records WHERE did = ?", list(purged)
    yield "DELETE FROM firehose_parked WHERE did = ?", list(dropped)
    puts: list[tuple[object, ...]] = []
    deletes: list[tuple[object, ...]] = []
    for did, records in changes.records.items():
        for path, cid in records.items():
            if cid is None:
                deletes.append((did, path))
            else:
                puts.append((did, path, cid))
    yield "INSERT OR REPLACE INTO firehose_records VALUES (?, ?, ?)", puts
    yield "DELETE FROM firehose_records WHERE did = ? AND path = ?", deletes
    yield (
        "INSERT INTO firehose_parked (did, source, seq, frame) VALUES (?, ?, ?, ?)",
        [(each.did, each.source, each.seq, each.raw) for each in changes.parked],
    )
    yield "DELETE FROM firehose_parked WHERE id = ?", [(row,) for row in changes.unparked]
    yield (
        identity_rows.UPSERT,
        [identity_rows.row_of(did, stored) for did, stored in changes.identities.items()],
    )
    inactive = [(did, now.status) for did, now in changes.standings.items() if not now.active]
    active = [(did,) for did, now in changes.standings.items() if now.active]
    yield "INSERT OR REPLACE INTO firehose_accounts VALUES (?, ?)", list(inactive)
    yield "DELETE FROM firehose_accounts WHERE did = ?", list(active)
    yield (
        "INSERT OR REPLACE INTO firehose_repos VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
        [
            (
                repo.did,
                repo.state,
                repo.head.rev if repo.head else None,
                repo.head.data if repo.head else None,
                repo.epoch,
                repo.reason,
                repo.attempts,
                repo.retry_at,
                repo.min_rev,
                repo.strikes,
                repo.struck_at,
            )
            for repo in changes.repos
        ],
    )
    if changes.rejections:
        yield (
            "INSERT INTO firehose_rejected"
            " (source, seq, did, rev, error, reason, frame, seen_at)"
            " VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
            [
                (r.source, r.seq, r.did, r.rev, r.error, r.reason, r.frame, r.seen_at)
                for r in changes.rejections
            ],
        )
        # Counts insertions, not rows: never keeps more, and needs no count.
        yield (
            "DELETE FROM firehose_rejected WHERE id <= (SELECT max(id) FROM firehose_rejected) - ?",
            [(REJECTIONS,)],
        )
    yield (
        "INSERT OR REPLACE INTO firehose_cursors VALUES (?, ?)",
        list(changes.cursors.items()),
    )


def _repo_row(did: str, row: Sequence[Any]) -> RepoRow:
    state, rev, data, epoch, reason, attempts, retry_at, min_rev, strikes, struck_at = row
    head = Head(rev, data) if rev is not None else None
    return RepoRow(did, state, head, epoch, reason, attempts, retry_at, min_rev, strikes, struck_at)
