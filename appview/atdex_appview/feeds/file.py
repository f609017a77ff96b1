"""The SQLite file of feeds: posts that were collected, and announcements that were made.

What is written survives a kill. Announcements also survive a power cut (`synced`): one that is
forgotten would be posted twice. Waiting for the disk is too much for posts, of which strangers
decide how many there are; a power cut may take back the last of them, as it may the firehose's
cursor.

One connection, used by one thread at a time.
"""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Self

from atdex_appview.errors import StateUnavailable, StoreFormatUnknown

FILE_NAME = "feeds.sqlite"

FORMAT_VERSION = 1

BUSY_SECONDS = 10.0
"""For a lock of another process: a backup, say. Nobody else writes here."""

_TABLES = """
CREATE TABLE IF NOT EXISTS posts (
    id INTEGER PRIMARY KEY AUTOINCREMENT, uri TEXT NOT NULL UNIQUE, did TEXT NOT NULL,
    rev TEXT NOT NULL, datasets BLOB, hidden INTEGER NOT NULL DEFAULT 0);
CREATE INDEX IF NOT EXISTS posts_did ON posts (did, id);
CREATE TABLE IF NOT EXISTS announcements (
    id INTEGER PRIMARY KEY AUTOINCREMENT, dataset TEXT NOT NULL UNIQUE, state TEXT NOT NULL,
    rkey TEXT NOT NULL, created_at INTEGER NOT NULL, post TEXT, posted_at INTEGER);
CREATE INDEX IF NOT EXISTS announcements_state ON announcements (state, id);
CREATE TABLE IF NOT EXISTS marks (name TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;
"""


class FeedsFile:
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
    def writing(self, *, synced: bool = True) -> Iterator[sqlite3.Connection]:
        """A transaction: whole when the block is left, or not at all."""
        with self._lock, self._available():
            self._connection.execute(f"PRAGMA synchronous = {'FULL' if synced else 'NORMAL'}")
            self._connection.execute("BEGIN IMMEDIATE")
            try:
                yield self._connection
                self._connection.execute("COMMIT")
            except BaseException:
                if self._connection.in_transaction:
                    self._connection.execute("ROLLBACK")
                raise

    def mark(self, name: str) -> str | None:
        """A word that was kept under a name."""
        rows = self.rows("SELECT value FROM marks WHERE name = ?", (name,))
        return rows[0][0] if rows else None

    def set_mark(self, name: str, value: str | None) -> None:
        with self.writing() as sql:
            sql.execute("DELETE FROM marks WHERE name = ?", (name,))
            if value is not None:
                sql.execute("INSERT INTO marks VALUES (?, ?)", (name, value))

    def close(self) -> None:
        """Closing twice is fine."""
        with self._lock:
            if not self._closed:
                self._closed = True
                self._connection.close()

    def _prepare(self) -> None:
        with self._available():
            self._connection.execute("PRAGMA journal_mode = WAL")
            self._connection.executescript(_TABLES)
        found = self.mark("format")
        if found is None:
            self.set_mark("format", str(FORMAT_VERSION))
        elif found != str(FORMAT_VERSION):
            raise StoreFormatUnknown(self.path, found, str(FORMAT_VERSION))

    @contextmanager
    def _available(self) -> Iterator[None]:
        try:
            yield
        except sqlite3.Error as failure:
            raise StateUnavailable(self.path, str(failure)) from failure
