"""The record store in one DuckDB file.

Guarantees:
- `apply` returns after its transaction is on disk; a kill at any moment loses nothing that
  was applied and leaves no part of a batch.
- A commit is applied once: its rev is stored in the transaction of its records, and one that
  is not newer changes nothing. So a replayed create does not bring back a deleted record. What
  comes in parts of one rev may be applied again, which changes nothing either; see `RepoChange`.
- Readers see a batch whole or not at all, except that counts, handles and publishers (from
  memory) follow the records by an instant.

Settings that were measured (1,000,000 records of 1 KB, 2 cores): a checkpoint threshold of
1 GB keeps the write stalls below 50 ms where the default stalls for seconds, so the log is
folded in when the node is idle or at that size. Never while anything is being read: a result that
is not read to its end (`fetchone`) is a transaction that does not end, with which the log would
grow for as long as the node runs. One thread a query answers point reads in 0.6 ms where two
need 0.8, and leaves the other core to other readers.
"""

# Statements are put together from table and column names of ours and from placeholders:
# ruff: noqa: S608

from __future__ import annotations

import threading
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import Self

import duckdb

from atdex_appview.errors import StoreFormatUnknown, StoreInUse, StoreUnavailable
from atdex_appview.store import schema
from atdex_appview.store.base import Applied, Change, Journal
from atdex_appview.store.lens_checks import LensCheck
from atdex_appview.store.plan import Plan
from atdex_appview.store.reads import Reads, available
from atdex_appview.store.repos import NOTHING_HELD, Repo, Repos, counted
from atdex_appview.store.rows import Rows
from atdex_appview.store.rows_filling import bring_up
from atdex_appview.store.writes import Outcome, Transaction, search_documents
from atdex_lexicons.model import KINDS

DEFAULT_MEMORY_MB = 768
"""MB for DuckDB's buffers: a million datasets are searched by their columns within it, and
without a limit one load took four times as much."""

CHECKPOINT_THRESHOLD = "1GB"
"""Bytes of log that force a checkpoint in the middle of writing; see the module's text."""

LATE_ROWS = 1_000
"""Rows of a listing up to which DuckDB first finds the page in the columns that it is filtered and
ordered by, and then reads the URIs of that page alone; by default that ends at 50."""

COMPACT_ROWS = 10_000
"""Superseded rows in the log of accounts that opening the store removes: below it, the time
to rewrite is not worth the space."""


ROWS_SUFFIX = ".rows.sqlite"
"""Of the file beside the store that its rows are read from; see `rows`."""


class DuckDBStore(Reads):
    """`store.base.IndexStore` on DuckDB. Reads from any thread; writes take turns."""

    def __init__(self, connection: duckdb.DuckDBPyConnection, path: Path, rows: Rows) -> None:
        """Use `open`."""
        super().__init__(connection, rows)
        self.path = path
        self._writer = connection.cursor()
        self._write_lock = threading.Lock()
        self._places: dict[str, tuple[str, int]] = {}
        self._number = 0
        self._last_seen = 0
        self._journal: Journal | None = None
        self._load()

    @classmethod
    def open(
        cls, path: Path, *, memory_limit_mb: int = DEFAULT_MEMORY_MB, threads: int = 1
    ) -> Self:
        """Opens or creates the store. `threads` is how many a single query may use.

        Raises StoreInUse, StoreFormatUnknown or StoreUnavailable.
        """
        settings: dict[str, str | bool | int | float | list[str]] = {
            "memory_limit": f"{memory_limit_mb}MB",
            "threads": threads,
            "checkpoint_threshold": CHECKPOINT_THRESHOLD,
            "late_materialization_max_rows": LATE_ROWS,
            "preserve_insertion_order": False,
            "autoinstall_known_extensions": False,
            "autoload_known_extensions": False,
        }
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            connection = duckdb.connect(str(path), config=settings)
        except duckdb.IOException as failure:
            if "lock" in str(failure):
                raise StoreInUse(path) from failure
            raise StoreUnavailable(str(failure).splitlines()[0]) from failure
        except (duckdb.Error, OSError) as failure:
            raise StoreUnavailable(str(failure).splitlines()[0]) from failure
        try:
            with available(), ExitStack() as undo:
                _prepare(connection, path)
                rows = Rows.open(path.with_name(path.stem + ROWS_SUFFIX))
                undo.callback(rows.close)
                store = cls(connection, path, rows)
                bring_up(rows, store._writer, store._number)
                undo.pop_all()
                return store
        except BaseException:
            connection.close()
            raise

    def apply(self, changes: Sequence[Change], now: int) -> Applied:
        with self._write_lock, available():
            number = self._number + 1
            plan = Plan(self._repos, number, changes)
            if not plan.finals and not plan.changed_repos():
                return Applied(self._number, (), (), plan.stale)
            self._rows.announce(plan.finals, [*plan.purged, *plan.flipped()])

            def prepare(outcome: Outcome) -> None:
                if self._journal is not None and outcome.applied.number == number:
                    self._journal.prepare(number, outcome.events, now)

            def run(*, trust_created: bool) -> Outcome:
                transaction = self._transaction(plan, number, now)
                try:
                    return transaction.run(trust_created=trust_created, before_commit=prepare)
                except BaseException:
                    if self._journal is not None:
                        self._journal.take_back()
                    raise

            try:
                outcome = run(trust_created=True)
            except duckdb.ConstraintException:
                outcome = run(trust_created=False)
            self._take_over(outcome)
            self._rows.apply(outcome.rows, self._number)
            if self._journal is not None:
                self._journal.committed()
            return outcome.applied

    def tell(self, journal: Journal) -> None:
        with self._write_lock:
            self._journal = journal

    def change_number(self) -> int:
        return self._number

    def changed_since(self, number: int) -> Applied:
        with available():
            cursor = self._cursor()
            upserted = search_documents(cursor, "change > ? AND visible", [number])
            removals = cursor.execute(
                "SELECT DISTINCT uri FROM removals WHERE change > ?"
                " AND uri NOT IN (SELECT uri FROM dataset WHERE change > ? AND visible)",
                [number, number],
            ).fetchall()
        return Applied(self._number, tuple(upserted), tuple(uri for (uri,) in removals), 0)

    def refresh_rows(self, uris: Sequence[str]) -> None:
        with self._write_lock, available():
            self._rows.announce(uris, [])
            bring_up(self._rows, self._writer, self._number)

    def forget_removed(self, number: int) -> None:
        with self._write_lock, available():
            self._writer.execute("DELETE FROM removals WHERE change <= ?", [number])

    def save_lens_checks(
        self, checks: Mapping[str, LensCheck | None], *, through: int | None = None
    ) -> None:
        with self._write_lock:
            self._rows.save_lens_checks(checks, through)

    def check(self) -> None:
        self._all("SELECT 1 FROM facts", [])

    def checkpoint(self) -> bool:
        with self._write_lock, available():
            try:
                self._writer.execute("CHECKPOINT")
            except duckdb.TransactionException:
                return False
            return True

    def close(self) -> None:
        """Ends every read and folds the log in. Closing twice is fine."""
        with self._write_lock:
            if self._closed:
                return
            self._closed = True
            for cursor in [*self._cursors, self._writer]:
                cursor.close()
            self._connection.close()
            self._rows.close()

    def _transaction(self, plan: Plan, number: int, now: int) -> Transaction:
        return Transaction(
            self._writer,
            plan,
            known=self._repos,
            kinds=self._kinds,
            places=self._places,
            number=number,
            last_seen=self._last_seen,
            now=now,
        )

    def _take_over(self, outcome: Outcome) -> None:
        self._number = outcome.applied.number
        self._last_seen = outcome.last_seen
        if outcome.kinds:
            self._kinds = self._kinds | outcome.kinds
        self._repos.replace(outcome.repos)
        for uri, place in outcome.places.items():
            if place is None:
                self._places.pop(uri, None)
            else:
                self._places[uri] = place

    def _load(self) -> None:
        sql = self._writer
        _, self._number, self._last_seen = _facts(sql)
        self._kinds = dict(sql.execute("SELECT collection, kind FROM collections").fetchall())
        places = sql.execute("SELECT uri, did, first_seen FROM places").fetchall()
        self._places.update({uri: (did, seen) for uri, did, seen in places})
        held: dict[str, list[int]] = {}
        for kind in KINDS:
            for did, collection, count in sql.execute(
                f"SELECT did, collection, count(*) FROM {kind} GROUP BY ALL"
            ).fetchall():
                held.setdefault(did, list(NOTHING_HELD))[counted(collection)] = count
        rows = sql.execute(
            "SELECT did, handle, handle_since, pds, active, status, status_at, rev, fetched"
            " FROM repos"
            " QUALIFY row_number() OVER (PARTITION BY did ORDER BY change DESC) = 1"
        ).fetchall()
        self._repos = Repos(
            replace(Repo(*row), held=tuple(held.get(row[0], NOTHING_HELD))) for row in rows
        )


def _execute(connection: duckdb.DuckDBPyConnection, statements: Sequence[str]) -> None:
    """All of them or none."""
    connection.begin()
    for statement in statements:
        connection.execute(statement)
    connection.commit()


def _facts(connection: duckdb.DuckDBPyConnection) -> tuple[int, int, int]:
    [facts] = connection.execute("SELECT format, change, last_seen FROM facts").fetchall()
    number, change, last_seen = facts
    return number, change, last_seen


def _prepare(connection: duckdb.DuckDBPyConnection, path: Path) -> None:
    """Creates the tables of an empty file; checks the format of another; compacts the log."""
    tables = {
        name for (name,) in connection.execute("SELECT table_name FROM duckdb_tables()").fetchall()
    }
    if not tables:
        _execute(connection, schema.statements())
        return
    known = str(schema.FORMAT_VERSION)
    if "facts" not in tables:
        raise StoreFormatUnknown(path, "of another program", known)
    found = _facts(connection)[0]
    if found == schema.WITH_JSON:
        _execute(connection, schema.without_json())
    elif found != schema.FORMAT_VERSION:
        raise StoreFormatUnknown(path, str(found), known)
    # Of an earlier version: they are kept beside the rows.
    connection.execute("DROP TABLE IF EXISTS lens_checks")
    [(superseded,)] = connection.execute(
        "SELECT count(*) - count(DISTINCT did) FROM repos"
    ).fetchall()
    if superseded > COMPACT_ROWS:
        connection.begin()
        connection.execute(
            "CREATE TEMP TABLE latest AS SELECT * FROM repos"
            " QUALIFY row_number() OVER (PARTITION BY did ORDER BY change DESC) = 1"
        )
        connection.execute("DELETE FROM repos")
        connection.execute("INSERT INTO repos SELECT * FROM latest")
        connection.execute("DROP TABLE latest")
        connection.commit()
