"""The change stream on disk: a window of the newest messages, numbered for ever.

One SQLite file of its own. Order of one batch, on the writer's thread:

    1  prepare   the messages are here, durably, with the store's change number
    2            the store commits that change
    3  commit    the messages are told to those who follow

| killed after | next start |
| --- | --- |
| nothing, 2, 3 | the log is what the store holds |
| 1 | the store does not have that change: its messages, which nobody was told, are taken back |

So the log has every change of the store once, and none that the store has not. A number is given
once: what is taken back leaves a gap, and a start goes on at the clock (µs since the epoch) where
that is further, so that a log that was lost or put back from a copy repeats no number either.

    seq 1762…001, 002, 003 | start | 1763…001, 002, …

`floor` is the last number that is not kept any more: who comes with an older one has missed
something, and is told so.
"""

# A statement is put together from placeholders:
# ruff: noqa: S608

from __future__ import annotations

import sqlite3
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, Self

from atdex_appview.errors import FellBehind, StreamUnavailable
from atdex_appview.sqlite_rows import insert_rows
from atdex_appview.store.base import AccountEvent, StoreEvent
from atdex_appview.store.plan import DELETED
from atdex_appview.stream.entries import Entry, entries_of

VERSION = 1

DEFAULT_EVENTS = 250_000
"""Messages kept: a few hundred MB of ordinary records."""

DEFAULT_HOURS = 72.0
"""Hours for which messages are kept: a weekend that a subscriber was down for, as on relays."""

PAGE_EVENTS = 500
PAGE_BYTES = 4_000_000
"""Of one read: whichever is reached first, and one message always."""

TRIM_EVENTS = 5_000
"""Messages dropped with one batch at most, so that a smaller window holds no batch up."""

FORGET_DIDS = 500
"""Accounts in one statement."""

_TABLES = """
CREATE TABLE IF NOT EXISTS stream_facts (name TEXT PRIMARY KEY, value INTEGER NOT NULL)
    WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS stream_events (
    seq INTEGER PRIMARY KEY, change INTEGER NOT NULL, time INTEGER NOT NULL, did TEXT NOT NULL,
    collection TEXT, frame BLOB NOT NULL);
"""
_BUSY_SECONDS = 10.0


class StreamLog:
    """Written by one thread at a time, read by any."""

    def __init__(self, path: Path, *, max_events: int, max_age: int) -> None:
        """Use `open`."""
        self._path = path
        self._max_events = max_events
        self._max_age = max_age
        self._lock = threading.Lock()
        self._sql = self._connect()
        self._reading = threading.Lock()
        self._reader = self._connect()
        self._closed = False
        self.last = 0
        """The last number given."""
        self.floor = 0
        """The last number that is not kept any more."""
        self.count = 0
        """Messages kept."""

    @classmethod
    def open(
        cls,
        path: Path,
        *,
        change: int,
        max_events: int = DEFAULT_EVENTS,
        max_hours: float = DEFAULT_HOURS,
        now: int | None = None,
    ) -> Self:
        """Opens or creates the log of a store that has reached the change number `change`.

        `now` is in µs since the epoch. Raises StreamUnavailable.
        """
        log = cls(path, max_events=max_events, max_age=int(max_hours * 3_600_000_000))
        try:
            with log._available():
                log._open(change, time.time_ns() // 1000 if now is None else now)
        except BaseException:
            log.close()
            raise
        return log

    def _connect(self) -> sqlite3.Connection:
        try:
            sql = sqlite3.connect(
                self._path, timeout=_BUSY_SECONDS, isolation_level=None, check_same_thread=False
            )
        except sqlite3.Error as failure:
            raise StreamUnavailable(self._path, str(failure)) from failure
        return sql

    def _open(self, change: int, now: int) -> None:
        self._sql.execute("PRAGMA journal_mode=WAL")
        # A power cut must not take back what the store has: one fsync a batch.
        self._sql.execute("PRAGMA synchronous=FULL")
        self._sql.executescript(_TABLES)
        facts = dict(self._sql.execute("SELECT name, value FROM stream_facts").fetchall())
        if facts.get("version", VERSION) != VERSION:
            raise StreamUnavailable(self._path, "it was written by a newer version")
        with self._transaction():
            if not facts:
                # Nothing is missing before the first change of an empty store.
                facts = {"last": 0, "floor": now if change else 0, "events": 0, "change": change}
            self.last = max(facts["last"], now)
            self.floor, self.count = facts["floor"], facts["events"]
            if facts["change"] == change + 1:
                self.count -= self._sql.execute(
                    "DELETE FROM stream_events WHERE change > ?", [change]
                ).rowcount
            elif facts["change"] != change:
                # Another store than the one that was told of, or another log.
                self._sql.execute("DELETE FROM stream_events")
                self.floor, self.count = self.last, 0
            self._save(
                version=VERSION,
                last=self.last,
                floor=self.floor,
                events=self.count,
                change=change,
            )

    def prepare(self, change: int, events: Sequence[StoreEvent], now: int) -> list[Entry]:
        """The messages of a change that the store is about to commit, on disk when this returns.

        `now` is in µs since the epoch. Not to be read or told before the store has committed.
        """
        entries = entries_of(events, self.last + 1, now)
        rows = [(e.seq, change, now, e.did, e.collection, e.frame) for e in entries]
        deleted = [
            event.did
            for event in events
            if isinstance(event, AccountEvent) and event.status == DELETED
        ]
        with self._lock, self._available():
            with self._transaction():
                count = self.count - self._forget(deleted) + len(rows)
                insert_rows(self._sql, "INSERT INTO stream_events", rows)
                floor, dropped = self._trim(count, now)
                last = entries[-1].seq if entries else self.last
                count -= dropped
                self._save(last=last, floor=floor, events=count, change=change)
            self.last, self.floor, self.count = last, floor, count
        return entries

    def take_back(self, change: int) -> None:
        """The store did not commit `change`: its messages are no more. Their numbers stay used."""
        with self._lock, self._available():
            with self._transaction():
                gone = self._sql.execute(
                    "DELETE FROM stream_events WHERE change = ?", [change]
                ).rowcount
                self._save(events=self.count - gone, change=change - 1)
            self.count -= gone

    def _forget(self, dids: Sequence[str]) -> int:
        """Drops the records of accounts that are deleted; the message that they are says enough."""
        gone = 0
        for start in range(0, len(dids), FORGET_DIDS):
            part = dids[start : start + FORGET_DIDS]
            gone += self._sql.execute(
                "DELETE FROM stream_events WHERE collection IS NOT NULL"
                f" AND did IN ({', '.join('?' * len(part))})",
                part,
            ).rowcount
        return gone

    def _trim(self, count: int, now: int) -> tuple[int, int]:
        """Drops the oldest; returns the new floor and how many went."""
        cut = self.floor
        excess = min(TRIM_EVENTS, count - self._max_events)
        if excess > 0:
            [(last,)] = self._sql.execute(
                "SELECT seq FROM stream_events ORDER BY seq LIMIT 1 OFFSET ?", [excess - 1]
            ).fetchall()
            cut = max(cut, last)
        oldest = "SELECT seq, time FROM stream_events ORDER BY seq LIMIT ?"
        too_old = now - self._max_age
        first = self._sql.execute(oldest, [1]).fetchall()
        if first and first[0][1] < too_old:
            [(last,)] = self._sql.execute(
                f"SELECT max(seq) FROM ({oldest}) WHERE time < ?", [TRIM_EVENTS, too_old]
            ).fetchall()
            cut = max(cut, last)
        if cut == self.floor:
            return cut, 0
        dropped = self._sql.execute("DELETE FROM stream_events WHERE seq <= ?", [cut]).rowcount
        return cut, dropped

    def read(self, after: int, up_to: int) -> list[Entry]:
        """A page of the messages after `after`, up to `up_to`, which is the last that was told.

        Raises FellBehind where not all of them are kept any more.
        """
        found: list[Entry] = []
        size = 0
        with self._reading, self._available():
            self._reader.execute("BEGIN")  # so that the floor is that of the messages
            try:
                [(floor,)] = self._reader.execute(
                    "SELECT value FROM stream_facts WHERE name = 'floor'"
                ).fetchall()
                if after < floor:
                    raise FellBehind(after)
                rows = self._reader.execute(
                    "SELECT seq, did, collection, frame FROM stream_events"
                    " WHERE seq > ? AND seq <= ? ORDER BY seq LIMIT ?",
                    [after, up_to, PAGE_EVENTS],
                )
                for row in rows:
                    size += len(row[3])
                    if found and size > PAGE_BYTES:
                        break
                    found.append(Entry(*row))
                rows.close()
            finally:
                self._reader.execute("ROLLBACK")
        return found

    def close(self) -> None:
        """Closing twice is fine."""
        with self._lock, self._reading:
            self._closed = True
            self._reader.close()
            self._sql.close()

    def _save(self, **facts: int) -> None:
        self._sql.executemany(
            "INSERT INTO stream_facts VALUES (?, ?)"
            " ON CONFLICT (name) DO UPDATE SET value = excluded.value",
            list(facts.items()),
        )

    @contextmanager
    def _transaction(self) -> Iterator[None]:
        self._sql.execute("BEGIN IMMEDIATE")
        try:
            yield
            self._sql.execute("COMMIT")
        except BaseException:
            with suppress(sqlite3.Error):  # the first failure is the one to tell
                self._sql.execute("ROLLBACK")
            raise

    @contextmanager
    def _available(self) -> Iterator[Any]:
        try:
            if self._closed:
                raise StreamUnavailable(self._path, "it is closed")
            yield
        except sqlite3.Error as failure:
            raise StreamUnavailable(self._path, str(failure)) from failure
