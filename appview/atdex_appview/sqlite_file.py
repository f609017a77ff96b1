"""A small SQLite file: one connection, used by one thread at a time, that writes in transactions.

What is written survives a kill. Each file says what else it promises, and keeps its tables and
the version of its format (`_prepare`).
"""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Self

from atdex_appview.errors import StateUnavailable

BUSY_SECONDS = 10.0
"""For the lock of another process: a command's, or a backup's."""


class SqliteFile:
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
            with opened._available():
                connection.execute("PRAGMA journal_mode = WAL")
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
        """A transaction: whole when the block is left, or not at all."""
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
        """Makes the tables. Raises StoreFormatUnknown, or what SQLite raises."""
        raise NotImplementedError

    @contextmanager
    def _available(self) -> Iterator[None]:
        try:
            yield
        except sqlite3.Error as failure:
            raise StateUnavailable(self.path, str(failure)) from failure
