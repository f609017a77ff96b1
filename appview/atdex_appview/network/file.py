"""The SQLite file of collections that no family knows: which are wanted, their lexicon documents,
and their records.

One connection, used by one thread at a time; a command may open the file as well, to add a
collection. What a write was about is on disk when it returns.
"""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Self

from atdex_appview.errors import StateUnavailable, StoreFormatUnknown

FILE_NAME = "collections.sqlite"

FORMAT = 1
"""Kept as the file's `user_version`."""

BUSY_SECONDS = 10.0
"""For the lock of another process: the command's, or a backup's."""

_TABLES = """
CREATE TABLE IF NOT EXISTS wanted (nsid TEXT PRIMARY KEY) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS states (
    nsid TEXT PRIMARY KEY, checked_at REAL NOT NULL, problem TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS documents (
    collection TEXT NOT NULL, nsid TEXT NOT NULL, did TEXT NOT NULL, cid TEXT NOT NULL,
    rev TEXT NOT NULL, document TEXT NOT NULL, resolved_at REAL NOT NULL,
    PRIMARY KEY (collection, nsid)) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS records (
    first_seen INTEGER PRIMARY KEY, uri TEXT NOT NULL UNIQUE, did TEXT NOT NULL,
    collection TEXT NOT NULL, rkey TEXT NOT NULL, cid TEXT NOT NULL, rev TEXT NOT NULL,
    raw BLOB NOT NULL, json BLOB NOT NULL, indexed_at INTEGER NOT NULL,
    verified INTEGER NOT NULL, visible INTEGER NOT NULL);
CREATE INDEX IF NOT EXISTS records_listed ON records (collection, visible, first_seen);
CREATE INDEX IF NOT EXISTS records_by ON records (did, collection, first_seen);
CREATE TABLE IF NOT EXISTS accounts (
    did TEXT PRIMARY KEY, rev TEXT, fetched TEXT, active INTEGER NOT NULL, status TEXT)
    WITHOUT ROWID;
"""


class CollectionsFile:
    """The open file. Any method may raise StateUnavailable."""

    def __init__(self, path: Path, connection: sqlite3.Connection) -> None:
        """Use `open`."""
        self.path = path
        self._connection = connection
        self._lock = threading.RLock()
        self._closed = False

    @classmethod
    def open(cls, path: Path) -> Self:
        """Opens or creates the file. Raises StateUnavailable or StoreFormatUnknown."""
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            connection = sqlite3.connect(
                path, timeout=BUSY_SECONDS, isolation_level=None, check_same_thread=False
            )
        except (OSError, sqlite3.Error) as failure:
            raise StateUnavailable(path, str(failure)) from failure
        opened = cls(path, connection)
        try:
            opened._prepare()
        except BaseException:
            opened.close()
            raise
        return opened

    def rows(self, query: str, parameters: Sequence[object] = ()) -> list[Any]:
        with self._lock, self._available():
            return self._connection.execute(query, parameters).fetchall()

    @contextmanager
    def writing(self) -> Iterator[sqlite3.Connection]:
        """A transaction: whole and on disk when the block is left, or not at all."""
        with self._lock, self._available():
            self._connection.execute("BEGIN IMMEDIATE")
            try:
                yield self._connection
                self._connection.execute("COMMIT")
            except BaseException:
                if self._connection.in_transaction:
                    self._connection.execute("ROLLBACK")
                raise

    def close(self) -> None:
        """Closing twice is fine."""
        with self._lock:
            if not self._closed:
                self._closed = True
                self._connection.close()

    def _prepare(self) -> None:
        with self._available():
            self._connection.execute("PRAGMA journal_mode = WAL")
            self._connection.execute("PRAGMA synchronous = FULL")
        found = self.rows("PRAGMA user_version")[0][0]
        if found not in (0, FORMAT):
            raise StoreFormatUnknown(self.path, str(found), str(FORMAT))
        with self._available():
            self._connection.executescript(_TABLES)
            self._connection.execute(f"PRAGMA user_version = {FORMAT}")

    @contextmanager
    def _available(self) -> Iterator[None]:
        try:
            yield
        except sqlite3.Error as failure:
            raise StateUnavailable(self.path, str(failure)) from failure
