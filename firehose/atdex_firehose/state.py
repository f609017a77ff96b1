"""The firehose's state on disk: SQLite, in WAL mode, through aiosqlite.

Guarantee: `save` is one transaction. After a crash, the file holds a cursor, and the heads and
standings that belong to it, of one moment; never a cursor without what it stands for.

The file may be shared with other packages: every table is named `firehose_…`, and the version
of these tables is kept in one of them, because SQLite's `user_version` is one per file.
"""

from __future__ import annotations

import asyncio
import contextlib
import sqlite3
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import aiosqlite

from atdex_firehose.errors import StateError
from atdex_firehose.events import Identity
from atdex_firehose.repo import ACTIVE, Head, Standing

VERSION = 1
_BUSY_MS = 10_000
"""How long to wait for another connection's write to the same file."""

_TABLES = """
CREATE TABLE IF NOT EXISTS firehose_meta (name TEXT PRIMARY KEY, value) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS firehose_cursors (upstream TEXT PRIMARY KEY, seq INTEGER NOT NULL)
    WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS firehose_identities (
    did TEXT PRIMARY KEY, handle TEXT, pds TEXT, signing_key TEXT,
    gone INTEGER NOT NULL, fetched_at REAL NOT NULL) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS firehose_accounts (did TEXT PRIMARY KEY, status TEXT) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS firehose_repos (
    did TEXT PRIMARY KEY, rev TEXT NOT NULL, data BLOB NOT NULL, state TEXT NOT NULL)
    WITHOUT ROWID;
"""
# firehose_accounts holds only accounts that are not active: the network has far more that are.
# firehose_repos.state is 'synchronized' for every repo until chains are checked.


@dataclass(frozen=True, slots=True)
class StoredIdentity:
    """A cached answer of a directory. `identity` is None where the DID is gone."""

    identity: Identity | None
    fetched_at: float


class State:
    """The open state file. Every method may raise StateError where the file is damaged."""

    def __init__(self, path: str, db: aiosqlite.Connection) -> None:
        self._path = path
        self._db = db
        self._saving = asyncio.Lock()

    @classmethod
    async def open(cls, path: str | Path | None) -> State:
        """Open or create the file; None keeps the state in memory. Raises StateError."""
        name = ":memory:" if path is None else str(path)
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

    async def cursors(self) -> dict[str, int]:
        """The saved cursor of every upstream."""
        with self._damage():
            rows = await self._db.execute_fetchall("SELECT upstream, seq FROM firehose_cursors")
            return {row[0]: row[1] for row in rows}

    async def head(self, did: str) -> Head | None:
        """The last commit taken of a repo; None where it has never had a wanted record."""
        with self._damage():
            row = await self._row("SELECT rev, data FROM firehose_repos WHERE did = ?", did)
            return None if row is None else Head(row[0], row[1])

    async def standing(self, did: str) -> Standing:
        """The account's status upstream."""
        with self._damage():
            row = await self._row("SELECT status FROM firehose_accounts WHERE did = ?", did)
            return ACTIVE if row is None else Standing(active=False, status=row[0])

    async def identity(self, did: str) -> StoredIdentity | None:
        """The cached identity, however old."""
        with self._damage():
            row = await self._row(
                "SELECT handle, pds, signing_key, gone, fetched_at"
                " FROM firehose_identities WHERE did = ?",
                did,
            )
            if row is None:
                return None
            handle, pds, signing_key, gone, fetched_at = row
            identity = None if gone else Identity(did, handle, pds, signing_key)
            return StoredIdentity(identity, fetched_at)

    async def save(
        self,
        cursors: Mapping[str, int],
        heads: Mapping[str, Head],
        standings: Mapping[str, Standing],
        identities: Mapping[str, StoredIdentity],
    ) -> None:
        """Save all of it in one transaction."""
        found = [_identity_row(did, stored) for did, stored in identities.items()]
        inactive = [(did, now.status) for did, now in standings.items() if not now.active]
        active = [(did,) for did, now in standings.items() if now.active]
        repos = [(did, head.rev, head.data) for did, head in heads.items()]
        async with self._saving:
            with self._damage():
                try:
                    await self._db.execute("BEGIN IMMEDIATE")
                    await self._db.executemany(
                        "INSERT OR REPLACE INTO firehose_identities VALUES (?, ?, ?, ?, ?, ?)",
                        found,
                    )
                    await self._db.executemany(
                        "INSERT OR REPLACE INTO firehose_accounts VALUES (?, ?)", inactive
                    )
                    await self._db.executemany(
                        "DELETE FROM firehose_accounts WHERE did = ?", active
                    )
                    await self._db.executemany(
                        "INSERT OR REPLACE INTO firehose_repos VALUES (?, ?, ?, 'synchronized')",
                        repos,
                    )
                    await self._db.executemany(
                        "INSERT OR REPLACE INTO firehose_cursors VALUES (?, ?)",
                        list(cursors.items()),
                    )
                    await self._db.execute("COMMIT")
                except BaseException:
                    # Also where the task was cancelled while the thread was executing BEGIN.
                    if self._db.in_transaction:
                        await self._db.execute("ROLLBACK")
                    raise

    async def _row(self, query: str, *values: object) -> sqlite3.Row | None:
        async with self._db.execute(query, values) as found:
            return await found.fetchone()

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


def _identity_row(did: str, stored: StoredIdentity) -> tuple[object, ...]:
    found = stored.identity or Identity(did, None, None, None)
    gone = stored.identity is None
    return (did, found.handle, found.pds, found.signing_key, gone, stored.fetched_at)
