"""The SQLite file of collections that no family knows: which are wanted, their lexicon documents,
and their records.

A command may open the file as well, to add a collection. What a write was about is on disk when
it returns.
"""

from __future__ import annotations

from atdex_appview.errors import StoreFormatUnknown
from atdex_appview.sqlite_file import SqliteFile

FILE_NAME = "collections.sqlite"

FORMAT = 1
"""Kept as the file's `user_version`."""

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


class CollectionsFile(SqliteFile):
    """The open file. Any method may raise StateUnavailable."""

    def _prepare(self) -> None:
        self._connection.execute("PRAGMA synchronous = FULL")
        found = self.rows("PRAGMA user_version")[0][0]
        if found not in (0, FORMAT):
            raise StoreFormatUnknown(self.path, str(found), str(FORMAT))
        self._connection.executescript(_TABLES)
        self._connection.execute(f"PRAGMA user_version = {FORMAT}")
