"""Every record once more, by key and newest first, in an SQLite file: what answers are put
together from.

DuckDB keeps columns, which is what filters and facets read; SQLite keeps rows, which is what an
answer shows. At a million datasets and two cores, in ms:

| | DuckDB | here |
| --- | --- | --- |
| one record by URI | 0.6 | 0.02 |
| 25 records by URI | 2 to 3 | 0.2 |
| a page of 25 at any depth | 3 to 10 | 0.1 |

The file is derived: without it, or with one of another format, the store makes it anew. It agrees
with DuckDB after every batch, and after a kill at any moment: before a batch is applied, `announce`
notes which records it may touch; what is still noted when the store is opened is read from DuckDB
again. Where the numbers of the last batch differ (a power cut may take the last commits of a file
that is not synchronised, or an older DuckDB file was put beside it), all of it is made anew.

One writer; reads from any thread. The connection that was used last is used next: whoever asks one
question after the other, on whichever thread, finds the pages of the last one.
"""

# Statements are put together from table and column names of ours and from placeholders:
# ruff: noqa: S608

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self

import orjson

from atdex_appview.errors import StoreUnavailable
from atdex_appview.sqlite_rows import delete_keys, insert_rows
from atdex_appview.store import lens_checks
from atdex_appview.store.base import DatasetSummary, StoredRecord
from atdex_appview.store.lens_checks import LensCheck
from atdex_appview.store.row_tables import CREATE, CREATE_INDEXES, HEADS, INSERT, ONE_RECORD
from atdex_lexicons.model import KINDS, Kind

FORMAT = 4
"""Kept as the file's `user_version`; one of another is made anew."""

CACHE_KB = 8_192
"""KB of pages that each connection keeps; the rest is the operating system's to keep."""

WRITTEN = 2_000
"""Rows in one statement when all are made anew."""

SIZES = (1, 5, 25, 100, 1000)
"""Keys in one statement: few statements, so that each is prepared once. What is missing is filled
up with the last key."""

RECORDS = 100
"""Records in one statement: each may be 6 MB as JSON (a megabyte of control characters, escaped),
and SQLite has no value of more than 1,000 MB."""

SCHEMAS = 10_000
"""Schemas whose rows are remembered: some 5 MB."""

Row = tuple[Any, ...]


@dataclass(slots=True)
class RowChanges:
    """What a batch does here, in this order: accounts that are removed, hidden (False) or shown,
    records that go, records that come (or replace another version)."""

    removed: list[str] = field(default_factory=list)
    shown: dict[str, bool] = field(default_factory=dict)
    gone: dict[Kind, list[str]] = field(default_factory=dict)
    come: dict[Kind, list[Row]] = field(default_factory=dict)


ATTACHED = 100
"""Verifications of one lens that an answer lists: it holds up to 100 records, and each of these is
a line of it."""

LABELS = 1_000
"""Labels of one dataset that are looked at for the highest versions: nobody has so many, and who
does must not make pages slow."""


@contextmanager
def available() -> Iterator[None]:
    """Turns what SQLite raises into StoreUnavailable."""
    try:
        yield
    except sqlite3.Error as failure:
        raise StoreUnavailable(f"rows: {failure}") from failure


class Rows:
    """Use `open`. Every method may raise StoreUnavailable."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._writer = sqlite3.connect(path, check_same_thread=False, isolation_level=None)
        self._readers: list[sqlite3.Connection] = []
        self._idle: list[sqlite3.Connection] = []
        # Rows of `schemas` by URI. A change replaces it: who has begun to read before that adds to
        # what nobody looks at any more.
        self._schemas: dict[str, Row] = {}
        self._lock = threading.Lock()
        self._closed = False

    @classmethod
    def open(cls, path: Path) -> Self:
        with available():
            rows = cls(path)
            (version,) = rows._writer.execute("PRAGMA user_version").fetchone()
            if version != FORMAT:
                rows._writer.close()
                for suffix in ("", "-wal", "-shm"):
                    Path(f"{path}{suffix}").unlink(missing_ok=True)
                rows = cls(path)
            rows._writer.execute("PRAGMA journal_mode = WAL")
            # It is derived, and a process that is killed loses nothing of it.
            rows._writer.execute("PRAGMA synchronous = NORMAL")
            rows._writer.execute(f"PRAGMA cache_size = -{CACHE_KB * 4}")
            if version != FORMAT:
                rows._create()
            return rows

    def close(self) -> None:
        """Closing twice is fine."""
        with self._lock:
            self._closed = True
            for connection in [*self._readers, self._writer]:
                connection.close()
            self._readers.clear()
            self._idle.clear()

    # Writing

    def number(self) -> int | None:
        """The number of the last batch that is here; None where the file is not complete."""
        with available():
            row = self._writer.execute("SELECT number FROM facts").fetchone()
        return None if row is None else row[0]

    def announce(self, uris: Iterable[str], dids: Iterable[str]) -> None:
        """The batch that follows may touch these records, and those of these accounts."""
        with available():
            noted = orjson.dumps([list(uris), list(dids)])
            self._writer.execute("INSERT INTO doubts VALUES (?)", [noted])

    def doubts(self) -> tuple[list[str], list[str]]:
        """(records, accounts) that were announced and may not be as DuckDB has them."""
        uris: dict[str, None] = {}
        dids: dict[str, None] = {}
        with available():
            for (noted,) in self._writer.execute("SELECT noted FROM doubts"):
                some, accounts = orjson.loads(noted)
                uris.update(dict.fromkeys(some))
                dids.update(dict.fromkeys(accounts))
        return list(uris), list(dids)

    def apply(self, changes: RowChanges, number: int) -> None:
        """Everything that was announced is done by this, whole or not at all."""
        with self._transaction() as sql:
            for kind in KINDS:
                for did in changes.removed:
                    sql.execute(f"DELETE FROM {kind} WHERE did = ?", [did])
                for did, shown in changes.shown.items():
                    sql.execute(f"UPDATE {kind} SET visible = ? WHERE did = ?", [shown, did])
            for kind, uris in changes.gone.items():
                delete_keys(sql, f"DELETE FROM {kind} WHERE uri IN", uris)
            for kind, rows in changes.come.items():
                insert_rows(sql, INSERT[kind], rows)
            sql.execute("DELETE FROM doubts")
            sql.execute("DELETE FROM facts")
            sql.execute("INSERT INTO facts VALUES (?)", [number])
        schemas = changes.come.get("schema") or changes.gone.get("schema")
        if schemas or changes.removed or changes.shown:
            self._schemas = {}

    def fill(self, kinds: Mapping[Kind, Iterator[Row]], number: int) -> None:
        """Makes all of it anew; a kill in the middle leaves it incomplete, and to be filled."""
        with available():
            self._writer.execute("DELETE FROM facts")
            lens_checks.mark_done(self._writer, None)
            for kind in KINDS:
                self._writer.execute(f"DROP TABLE IF EXISTS {kind}")
                self._writer.execute(CREATE[kind])
        for kind, rows in kinds.items():
            while part := [row for row, _ in zip(rows, range(WRITTEN), strict=False)]:
                with self._transaction() as sql:
                    insert_rows(sql, INSERT[kind], part)
        with available():
            for statement in CREATE_INDEXES:
                self._writer.execute(statement)
        self.apply(RowChanges(), number)
        self._schemas = {}

    def _create(self) -> None:
        for statement in (*CREATE.values(), *CREATE_INDEXES):
            self._writer.execute(statement)
        self._writer.execute("CREATE TABLE facts (number INTEGER NOT NULL)")
        self._writer.execute("CREATE TABLE doubts (noted BLOB NOT NULL)")
        for statement in lens_checks.CREATE:
            self._writer.execute(statement)
        self._writer.execute(f"PRAGMA user_version = {FORMAT}")

    def save_lens_checks(self, checks: Mapping[str, LensCheck | None], done: int | None) -> None:
        """`done`: see `lens_checks`; None leaves it as it is."""
        with self._transaction() as sql:
            lens_checks.write(sql, checks)
            if done is not None:
                lens_checks.mark_done(sql, done)

    @contextmanager
    def _transaction(self) -> Iterator[sqlite3.Connection]:
        with available():
            self._writer.execute("BEGIN IMMEDIATE")
            try:
                yield self._writer
                self._writer.execute("COMMIT")
            except BaseException:
                if self._writer.in_transaction:
                    self._writer.execute("ROLLBACK")
                raise

    # Reading

    def records(self, kind: Kind, uris: Sequence[str]) -> dict[str, StoredRecord]:
        """The visible ones, by URI."""
        if len(uris) == 1:
            found = self._read(ONE_RECORD[kind], uris)
            return {record.uri: record for record in (_record(kind, *row) for row in found)}
        source = f"{kind} WHERE visible AND uri IN"
        return {
            record.uri: record
            for part, marks in _parts(uris, RECORDS)
            for record in self._records(kind, f"{source} ({marks})", part)
        }

    def records_seen(self, kind: Kind, times: Sequence[int]) -> dict[str, StoredRecord]:
        """The visible ones that were first seen then, by URI: their place in the file is known,
        where a URI is looked up in an index first."""
        source = f"{kind} WHERE visible AND first_seen IN"
        return {
            record.uri: record
            for part, marks in _parts(times, RECORDS)
            for record in self._records(kind, f"{source} ({marks})", part)
        }

    def page(
        self, kind: Kind, limit: int, *, before: int | None = None, did: str | None = None
    ) -> list[StoredRecord]:
        """Newest first: those first seen before `before`, of one account or of all."""
        conditions = ["visible"]
        parameters: list[object] = []
        if did is not None:
            conditions.append("did = ?")
            parameters.append(did)
        if before is not None:
            conditions.append("first_seen < ?")
            parameters.append(before)
        source = f"{kind} WHERE {' AND '.join(conditions)} ORDER BY first_seen DESC LIMIT ?"
        return self._records(kind, source, [*parameters, limit])

    def schemas(self, uris: Sequence[str]) -> list[Row]:
        """(URI, CID, name, version) of each that is there. Every page of datasets asks for its
        schemas, and few schemas have most of the datasets: they are remembered until any schema
        changes."""
        known = self._schemas
        found = {uri: row for uri in uris if (row := known.get(uri)) is not None}
        missing = [uri for uri in uris if uri not in found]
        if missing:
            read = self.columns("schema", ("uri", "cid", "name", "version"), missing)
            new = {row[0]: row for row in read}
            if len(known) + len(new) > SCHEMAS:
                known.clear()
            known.update(new)
            found |= new
        return list(found.values())

    def columns(self, kind: Kind, names: Sequence[str], uris: Sequence[str]) -> list[Row]:
        """Some columns of the visible ones of these records."""
        if len(uris) == 1:
            query = f"SELECT {', '.join(names)} FROM {kind} WHERE visible AND uri = ?"
            return self._read(query, uris)
        return self._by_keys(", ".join(names), f"{kind} WHERE visible AND uri IN", uris)

    def declarative(self, lenses: Sequence[str]) -> list[str]:
        """Those of them that are visible and declarative."""
        source = "lens WHERE visible AND declarative AND uri IN"
        return [uri for (uri,) in self._by_keys("uri", source, lenses)]

    def lens_checks(self, lenses: Sequence[str]) -> dict[str, LensCheck]:
        rows = self._by_keys(lens_checks.COLUMNS, "lens_checks WHERE uri IN", lenses)
        return dict(map(lens_checks.of_row, rows))

    def faulty_lenses(self) -> list[str]:
        """The lenses of whose check problems are kept."""
        source = f"lens_checks WHERE problems <> '{lens_checks.NONE}'"
        return [uri for (uri,) in self._all("uri", source, [])]

    def nested_in_lenses(self) -> dict[str, dict[str, str | None]]:
        """The `nested` of every check that has one."""
        source = f"lens_checks WHERE nested <> '{lens_checks.NOTHING}'"
        return {uri: orjson.loads(nested) for uri, nested in self._all("uri, nested", source, [])}

    def lenses_checked(self) -> int | None:
        """The number of the last batch of which all was checked."""
        rows = self._all("number", "lens_checks_done", [])
        return rows[0][0] if rows else None

    def verifiers(self, lenses: Sequence[str]) -> list[Row]:
        """(lens, verification, who verified) of the visible verifications of these at their CID."""
        found = self._by_keys(
            "lens_uri, uri, did, lens_cid", "verification WHERE visible AND lens_uri IN", lenses
        )
        cids: dict[str, str] = dict(
            self.columns("lens", ("uri", "cid"), list({row[0] for row in found}))
        )
        return [(lens, uri, did) for lens, uri, did, cid in found if cids.get(lens) == cid]

    def labels(self, datasets: Sequence[str]) -> list[Row]:
        """(dataset, URI, name, version, created, first_seen) of the newest labels of each."""
        columns = "own_dataset, uri, name, version, created, first_seen"
        return self._newest("label", "own_dataset", columns, datasets, LABELS)

    def verifications(self, lenses: Sequence[str]) -> list[Row]:
        """(lens, URI, DID, method, CID of the lens) of the newest of each, newest first."""
        columns = "lens_uri, uri, did, method, lens_cid"
        found = self._newest("verification", "lens_uri", f"first_seen, {columns}", lenses, ATTACHED)
        return [row[1:] for row in sorted(found, reverse=True)]

    def _newest(
        self, kind: Kind, about: str, columns: str, keys: Sequence[str], most: int
    ) -> list[Row]:
        """Some columns of the newest `most` records about each of these."""
        newest = f"ORDER BY first_seen DESC LIMIT {most}"
        if len(keys) == 1:
            return self._all(columns, f"{kind} WHERE visible AND {about} = ? {newest}", keys)
        source = (
            f"json_each(?) wanted CROSS JOIN {kind} WHERE first_seen IN"
            f" (SELECT first_seen FROM {kind} WHERE visible AND {about} = wanted.value {newest})"
        )
        return self._all(columns, source, [orjson.dumps(list(keys)).decode()]) if keys else []

    def _by_keys(self, columns: str, source: str, keys: Sequence[str]) -> list[Row]:
        """`source` ends with IN."""
        return [
            row
            for part, marks in _parts(keys, SIZES[-1])
            for row in self._all(columns, f"{source} ({marks})", part)
        ]

    def _all(self, columns: str, source: str, parameters: Sequence[object]) -> list[Row]:
        """Some columns of all rows of a source, in one row: see `_one`."""
        query = f"SELECT json_group_array(json_array({columns})) FROM (SELECT * FROM {source})"
        (packed,) = self._one(query, parameters)
        return list(map(tuple, orjson.loads(packed)))

    def _records(self, kind: Kind, source: str, parameters: Sequence[object]) -> list[StoredRecord]:
        """The records of a source, in one row. Their JSON goes beside the rest, as it is."""
        query = (
            f"SELECT json_group_array(json_array({HEADS[kind]}, length(json))),"
            f" CAST(group_concat(CAST(json AS TEXT), '') AS BLOB) FROM (SELECT * FROM {source})"
        )
        packed, jsons = self._one(query, parameters)
        records = []
        start = 0
        for *head, size in orjson.loads(packed):
            records.append(_record(kind, *head, jsons[start : start + size]))
            start += size
        return records

    def _one(self, query: str, parameters: Sequence[object]) -> Row:
        """The one row of an answer. Python's `sqlite3` lets go of the interpreter at every row, and
        has to wait for it again: beside a writer that is busy up to a millisecond each time, and
        the writer then waits as well."""
        [row] = self._read(query, parameters)
        return row

    def _read(self, query: str, parameters: Sequence[object]) -> list[Row]:
        """For few rows: see `_one`."""
        with available():
            try:
                connection = self._idle.pop()
            except IndexError:
                connection = self._open_reader()
            try:
                return connection.execute(query, parameters).fetchall()
            finally:
                self._idle.append(connection)

    def _open_reader(self) -> sqlite3.Connection:
        with self._lock:
            if self._closed:
                raise StoreUnavailable("it is closed")
            connection = sqlite3.connect(
                f"{self._path.absolute().as_uri()}?mode=ro", uri=True, check_same_thread=False
            )
            self._readers.append(connection)
        connection.execute(f"PRAGMA cache_size = -{CACHE_KB}")
        return connection


def _parts(keys: Sequence[str] | Sequence[int], most: int) -> Iterator[tuple[list[str | int], str]]:
    """The keys in parts of few sizes, with a placeholder for each."""
    for start in range(0, len(keys), most):
        part: list[str | int] = list(keys[start : start + most])
        size = next(size for size in SIZES if size >= len(part))
        yield part + part[-1:] * (size - len(part)), ", ".join("?" * size)


def _record(kind: Kind, *row: Any) -> StoredRecord:
    """Of the columns of `HEADS` and the JSON."""
    first_seen, uri, did, cid, rev, conformance, indexed_at, verified, *more, json = row
    _, _, _, collection, rkey = uri.split("/")
    summary = DatasetSummary(more[0], more[1], bool(more[2])) if kind == "dataset" else None
    return StoredRecord(
        uri,
        cid,
        rev,
        did,
        collection,
        rkey,
        kind,
        conformance,
        first_seen,
        indexed_at,
        json,
        bool(verified),
        summary,
    )
