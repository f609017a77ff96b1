"""The SQLite file of feeds: posts that were collected, and announcements that were made.

Announcements survive a power cut (`synced`): one that is forgotten would be posted twice. Waiting
for the disk is too much for posts, of which strangers decide how many there are; a power cut may
take back the last of them, as it may the firehose's cursor.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager

from atdex_appview.errors import StoreFormatUnknown
from atdex_appview.sqlite_file import SqliteFile

FILE_NAME = "feeds.sqlite"

FORMAT_VERSION = 1

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


class FeedsFile(SqliteFile):
    """The open file. Any method may raise StateUnavailable."""

    @contextmanager
    def writing(self, *, synced: bool = True) -> Iterator[sqlite3.Connection]:
        """A transaction: whole when the block is left, or not at all."""
        with self._lock, self._available():
            self._connection.execute(f"PRAGMA synchronous = {'FULL' if synced else 'NORMAL'}")
            with super().writing() as sql:
                yield sql

    def mark(self, name: str) -> str | None:
        """A word that was kept under a name."""
        rows = self.rows("SELECT value FROM marks WHERE name = ?", (name,))
        return rows[0][0] if rows else None

    def set_mark(self, name: str, value: str | None) -> None:
        with self.writing() as sql:
            sql.execute("DELETE FROM marks WHERE name = ?", (name,))
            if value is not None:
                sql.execute("INSERT INTO marks VALUES (?, ?)", (name, value))

    def _prepare(self) -> None:
        self._connection.executescript(_TABLES)
        found = self.mark("format")
        if found is None:
            self.set_mark("format", str(FORMAT_VERSION))
        elif found != str(FORMAT_VERSION):
            raise StoreFormatUnknown(self.path, found, str(FORMAT_VERSION))
