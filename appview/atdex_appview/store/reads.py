"""What the store answers. Every read is one statement or one look into `Repos`, but for
listings by an indexed column, which look up their keys first.

DuckDB uses an index only where it is asked for by that column and nothing else: `uri IN (…) AND
visible` reads the whole table, 266 ms against 3 ms for 25 of a million. So what has an index is
asked for alone, and the rest is sifted afterwards.

Each reading thread has a cursor (a DuckDB connection) of its own: connections are not shared
between threads. Text that DuckDB cannot take as a parameter, or that no stored text can equal
(an unpaired surrogate), finds nothing.
"""

# Statements are put together from table and column names of ours and from placeholders:
# ruff: noqa: S608

from __future__ import annotations

import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, Literal

import duckdb
import pyarrow as pa

from atdex_appview.errors import StoreUnavailable
from atdex_appview.search.document import SearchDocument
from atdex_appview.store import lens_checks, rereading
from atdex_appview.store.base import (
    LabelSummary,
    Position,
    Publisher,
    SchemaSummary,
    StoredRecord,
    VerificationSummary,
)
from atdex_appview.store.graph_rows import few_rows, graph_rows, verifiers
from atdex_appview.store.lens_checks import LensCheck
from atdex_appview.store.repos import Repos
from atdex_appview.store.rereading import HeldRecord
from atdex_appview.store.rows import Rows
from atdex_appview.store.schema import FILTERS, INDEXED
from atdex_appview.store.versions import semver_key
from atdex_appview.store.writes import (
    LABELLED,
    SEARCH_COLUMNS,
    kind_of_uri,
    search_document,
)
from atdex_lexicons.model import KINDS, Kind

MAX_ATTACHED = 100
"""Labels of one dataset, verifications of one lens, that a read returns: an answer holds up to
100 records, and each of these is a line of it."""

SCAN_ROWS = 4096
"""Search documents fetched at a time when all are read: a few MB."""

UNAVAILABLE = (
    duckdb.ConnectionException,
    duckdb.FatalException,
    duckdb.IOException,
    duckdb.InternalException,
    duckdb.InterruptException,
    duckdb.OutOfMemoryException,
)
"""What says that the store cannot answer. Anything else that DuckDB raises is a bug of ours."""


@contextmanager
def available() -> Iterator[None]:
    """Turns what DuckDB raises when it cannot answer into StoreUnavailable."""
    try:
        yield
    except UNAVAILABLE as failure:
        raise StoreUnavailable(str(failure).splitlines()[0]) from failure


class Reads:
    """The reading half of the store. `_kinds` maps a collection to its kind."""

    def __init__(self, connection: duckdb.DuckDBPyConnection, rows: Rows) -> None:
        self._connection = connection
        self._rows = rows
        self._local = threading.local()
        self._cursors: list[duckdb.DuckDBPyConnection] = []
        self._closed = False
        self._repos = Repos()
        # Replaced, never changed: a read sees one state of it throughout.
        self._kinds: dict[str, Kind] = {}

    def records(self, uris: Sequence[str]) -> dict[str, StoredRecord]:
        """The visible ones of `uris`, by URI."""
        wanted: dict[Kind, list[str]] = {}
        kinds = self._kinds
        for uri in dict.fromkeys(uris):
            kind = kind_of_uri(uri, kinds)
            if kind is not None and _storable(uri):
                wanted.setdefault(kind, []).append(uri)
        found: dict[str, StoredRecord] = {}
        for kind, keys in wanted.items():
            found.update(self._rows.records(kind, keys))
        return found

    def datasets_seen(self, times: Sequence[int]) -> dict[str, StoredRecord]:
        return self._rows.records_seen("dataset", times)

    def list_records(
        self,
        kind: Kind,
        *,
        publisher: str | None = None,
        schema: str | None = None,
        tag: str | None = None,
        name: str | None = None,
        source: str | None = None,
        target: str | None = None,
        dataset: str | None = None,
        collection: str | None = None,
        limit: int,
        after: Position | None = None,
    ) -> list[StoredRecord]:
        """A page, newest first. The URI of `after` breaks no tie: `first_seen` is unique."""
        given = {
            "publisher": publisher,
            "schema": schema,
            "tag": tag,
            "name": name,
            "source": source,
            "target": target,
            "dataset": dataset,
            "collection": collection,
        }
        filters = {column: value for column, value in given.items() if value is not None}
        for unfit in filters.keys() - FILTERS[kind].keys():
            raise ValueError(f"a listing of kind {kind} has no filter {unfit}")
        if not all(map(_storable, filters.values())):
            return []
        return self._page(kind, filters, limit, None if after is None else after[0])

    def _page(
        self, kind: Kind, filters: Mapping[str, str], limit: int, before: int | None
    ) -> list[StoredRecord]:
        if not filters or filters.keys() == {"publisher"}:
            return self._rows.page(kind, limit, before=before, did=filters.get("publisher"))
        conditions = ["visible"] + [FILTERS[kind][name].condition for name in filters]
        parameters: list[object] = list(filters.values())
        if before is not None:
            conditions.append("first_seen < ?")
            parameters.append(before)
        sifted = f"WHERE {' AND '.join(conditions)} ORDER BY first_seen DESC LIMIT ?"
        parameters.append(limit)
        columns = {FILTERS[kind][name].column: value for name, value in filters.items()}
        indexed = next((column for column in INDEXED[kind] if column in columns), None)
        if indexed is None:
            query = f"SELECT uri FROM {kind} {sifted}"
        else:
            needed = dict.fromkeys(["uri", "first_seen", "visible", *columns])
            query = (
                f"WITH few AS MATERIALIZED (SELECT {', '.join(needed)} FROM {kind}"
                f" WHERE {indexed} = ?) SELECT uri FROM few {sifted}"
            )
            parameters.insert(0, columns[indexed])
        # One that leaves in between is left out, as it would be a moment later.
        keys = [uri for (uri,) in self._all(query, parameters)]
        records = self.records(keys)
        return [records[key] for key in keys if key in records]

    def resolve_label(self, did: str, name: str, version: str | None) -> StoredRecord | None:
        if not (_storable(did) and _storable(name)):
            return None
        query = (
            "WITH few AS MATERIALIZED (SELECT uri, version, created, first_seen, name, visible"
            " FROM label WHERE did = ?)"
            " SELECT uri, version, created, first_seen FROM few WHERE name = ? AND visible"
        )
        rows = self._all(query, [did, name])
        rows = [row for row in rows if version is None or version == row[1]]
        if not rows:
            return None
        best = max(rows, key=lambda row: (semver_key(row[1]), row[2] or 0, row[3]))
        return self.records([best[0]]).get(best[0])

    def schema_summaries(self, uris: Sequence[str]) -> dict[str, SchemaSummary]:
        rows = self._rows.schemas(_usable(uris) or [])
        return {row[0]: SchemaSummary(*row) for row in rows}

    def labels_of(self, dataset_uris: Sequence[str]) -> dict[str, list[LabelSummary]]:
        rows: dict[str, list[Any]] = {}
        for row in self._rows.labels(_usable(dataset_uris) or []):
            rows.setdefault(row[0], []).append(row)
        labels = {}
        for uri, found in rows.items():
            found.sort(key=lambda row: (semver_key(row[3]), row[4] or 0, row[5]), reverse=True)
            labels[uri] = [LabelSummary(*row[1:4]) for row in found[:MAX_ATTACHED]]
        return labels

    def verifications_of(self, lens_uris: Sequence[str]) -> dict[str, list[VerificationSummary]]:
        found: dict[str, list[VerificationSummary]] = {}
        for row in self._rows.verifications(_usable(lens_uris) or []):
            found.setdefault(row[0], []).append(VerificationSummary(*row[1:]))
        return found

    def publishers(self, dids: Sequence[str]) -> dict[str, Publisher]:
        found = {did: self._repos.publisher(did) for did in dids}
        return {did: publisher for did, publisher in found.items() if publisher is not None}

    def did_of_handle(self, handle: str) -> str | None:
        return self._repos.did_of_handle(handle)

    def knows(self, did: str) -> bool:
        return did in self._repos

    def counts(self) -> Mapping[Kind | Literal["publishers"], int]:
        return self._repos.counts()

    def collection_counts(self) -> Mapping[str, int]:
        return self._repos.collection_counts()

    def all_search_documents(self) -> Iterator[SearchDocument]:
        """On a connection of its own, so that other reads of the thread do not end it."""
        query = (
            f"SELECT {SEARCH_COLUMNS}, {LABELLED} FROM dataset WHERE visible ORDER BY first_seen"
        )
        with available():
            cursor = self._open_cursor()
            try:
                cursor.execute(query)
                while rows := cursor.fetchmany(SCAN_ROWS):
                    for row in rows:
                        yield search_document(row)
            finally:
                cursor.close()

    def cids_of(self, did: str) -> dict[str, str]:
        found = {}
        for kind in KINDS:
            query = f"SELECT collection, rkey, cid, verified FROM {kind} WHERE did = ?"
            for collection, rkey, cid, verified in self._all(query, [did]):
                found[f"{collection}/{rkey}"] = cid if verified else ""
        return found

    def all_uris(self) -> Iterator[str]:
        query = " UNION ALL ".join(f"SELECT uri FROM {kind}" for kind in KINDS)
        with available():
            cursor = self._open_cursor()
            try:
                cursor.execute(query)
                while rows := cursor.fetchmany(SCAN_ROWS):
                    yield from (uri for (uri,) in rows)
            finally:
                cursor.close()

    def held_page(self, kind: Kind, *, after: int, upto: int, limit: int) -> list[HeldRecord]:
        with available():
            return rereading.held_page(self._cursor(), kind, after, upto, limit)

    def held_span(self, kind: Kind) -> tuple[int, int]:
        with available():
            return rereading.held_span(self._cursor(), kind)

    def documents_of(self, uris: Sequence[str]) -> list[SearchDocument]:
        with available():
            return list(rereading.documents_of(self._cursor(), uris))

    def graph_rows(
        self,
        kind: Kind,
        *,
        uris: Sequence[str] | None = None,
        dids: Sequence[str] | None = None,
    ) -> Iterator[pa.RecordBatch]:
        """On a connection of its own, so that other reads of the thread do not end it."""
        if uris is not None and kind != "verification":
            if dids is not None:
                raise ValueError("by URI or by account, not both")
            yield from few_rows(self._rows, kind, _usable(uris) or [])
            return
        with available():
            cursor = self._open_cursor()
            try:
                yield from graph_rows(cursor, kind, uris=_usable(uris), dids=_usable(dids))
            finally:
                cursor.close()

    def verifiers(self, lens_uris: Sequence[str] | None = None) -> list[tuple[str, str, str]]:
        if lens_uris is not None:
            return self._rows.verifiers(_usable(lens_uris) or [])
        with available():
            return verifiers(self._cursor())

    def declarative_lenses(self, lens_uris: Sequence[str]) -> list[str]:
        return self._rows.declarative(_usable(lens_uris) or [])

    def lens_checks(self, lens_uris: Sequence[str]) -> dict[str, LensCheck]:
        return self._rows.lens_checks(_usable(lens_uris) or [])

    def faulty_lenses(self) -> list[str]:
        return self._rows.faulty_lenses()

    def nested_in_lenses(self) -> dict[str, dict[str, str | None]]:
        return self._rows.nested_in_lenses()

    def unchecked_lenses(self) -> list[str]:
        with available():
            return lens_checks.unchecked(self._cursor(), self._rows.lenses_checked())

    def lenses_naming(self, schema_uris: Sequence[str]) -> list[str]:
        with available():
            return lens_checks.naming(self._cursor(), _usable(schema_uris) or [])

    def _by_keys(self, query: str, keys: Sequence[str]) -> list[Any]:
        usable = [key for key in dict.fromkeys(keys) if _storable(key)]
        return self._all(query.format(_marks(usable)), usable) if usable else []

    def _all(self, query: str, parameters: Sequence[object]) -> list[Any]:
        with available():
            return self._cursor().execute(query, list(parameters)).fetchall()

    def _cursor(self) -> duckdb.DuckDBPyConnection:
        cursor: duckdb.DuckDBPyConnection | None = getattr(self._local, "cursor", None)
        if cursor is None:
            cursor = self._local.cursor = self._open_cursor()
            self._cursors.append(cursor)
        return cursor

    def _open_cursor(self) -> duckdb.DuckDBPyConnection:
        if self._closed:
            raise StoreUnavailable("it is closed")
        return self._connection.cursor()


def _marks(keys: Sequence[str]) -> str:
    return ", ".join("?" * len(keys))


def _storable(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def _usable(keys: Sequence[str] | None) -> list[str] | None:
    return None if keys is None else [key for key in dict.fromkeys(keys) if _storable(key)]
