"""What the store answers. Every read is one statement or one look into `Repos`.

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

from atdex_appview.errors import StoreUnavailable
from atdex_appview.store.base import (
    LabelSummary,
    Position,
    Publisher,
    SchemaSummary,
    SearchDocument,
    StoredRecord,
    VerificationSummary,
)
from atdex_appview.store.repos import Repos
from atdex_appview.store.schema import FILTERS
from atdex_appview.store.versions import semver_key
from atdex_appview.store.writes import (
    SEARCH_COLUMNS,
    kind_of_uri,
    search_document,
    search_documents,
)
from atdex_lexicons.model import Kind

RECORD_COLUMNS = "uri, cid, rev, did, collection, rkey, conformance, first_seen, indexed_at, json"

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

    def __init__(self, connection: duckdb.DuckDBPyConnection) -> None:
        self._connection = connection
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
        found = {}
        for kind, keys in wanted.items():
            query = f"SELECT {RECORD_COLUMNS} FROM {kind} WHERE uri IN ({_marks(keys)}) AND visible"
            for row in self._all(query, keys):
                found[row[0]] = _record(kind, row)
        return found

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
        }
        conditions, parameters = ["visible"], []
        for filter_name, value in given.items():
            if value is None:
                continue
            if filter_name not in FILTERS[kind]:
                raise ValueError(f"a listing of kind {kind} has no filter {filter_name}")
            conditions.append(FILTERS[kind][filter_name])
            parameters.append(value)
        if not all(map(_storable, parameters)):
            return []
        if after is not None:
            conditions.append("first_seen < ?")
        query = (
            f"SELECT {RECORD_COLUMNS} FROM {kind} WHERE {' AND '.join(conditions)}"
            " ORDER BY first_seen DESC LIMIT ?"
        )
        position = [] if after is None else [after[0]]
        return [_record(kind, row) for row in self._all(query, [*parameters, *position, limit])]

    def resolve_label(self, did: str, name: str, version: str | None) -> StoredRecord | None:
        query = (
            "SELECT uri, version, created, first_seen FROM label"
            " WHERE did = ? AND name = ? AND visible"
        )
        parameters = [did, name]
        if version is not None:
            query += " AND version = ?"
            parameters.append(version)
        if not all(map(_storable, parameters)):
            return None
        rows = self._all(query, parameters)
        if not rows:
            return None
        best = max(rows, key=lambda row: (semver_key(row[1]), row[2] or 0, row[3]))
        return self.records([best[0]]).get(best[0])

    def dataset_named(self, did: str, name: str) -> StoredRecord | None:
        found = self.list_records("dataset", publisher=did, name=name, limit=1)
        return found[0] if found else None

    def schema_summaries(self, uris: Sequence[str]) -> dict[str, SchemaSummary]:
        query = "SELECT uri, cid, name, version FROM schema WHERE uri IN ({}) AND visible"
        return {row[0]: SchemaSummary(*row) for row in self._by_keys(query, uris)}

    def labels_of(self, dataset_uris: Sequence[str]) -> dict[str, list[LabelSummary]]:
        query = (
            "SELECT dataset_uri, did, uri, name, version, created, first_seen FROM label"
            " WHERE dataset_uri IN ({}) AND visible"
        )
        rows: dict[str, list[Any]] = {}
        for row in self._by_keys(query, dataset_uris):
            if row[0].startswith(f"at://{row[1]}/"):
                rows.setdefault(row[0], []).append(row)
        labels = {}
        for uri, found in rows.items():
            found.sort(key=lambda row: (semver_key(row[4]), row[5] or 0, row[6]), reverse=True)
            labels[uri] = [LabelSummary(*row[2:5]) for row in found[:MAX_ATTACHED]]
        return labels

    def verifications_of(self, lens_uris: Sequence[str]) -> dict[str, list[VerificationSummary]]:
        query = (
            "SELECT lens_uri, uri, did, method, lens_cid FROM verification"
            " WHERE lens_uri IN ({}) AND visible"
            " QUALIFY row_number() OVER (PARTITION BY lens_uri ORDER BY first_seen DESC)"
            f" <= {MAX_ATTACHED} ORDER BY first_seen DESC"
        )
        found: dict[str, list[VerificationSummary]] = {}
        for row in self._by_keys(query, lens_uris):
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

    def search_documents(self, uris: Sequence[str]) -> list[SearchDocument]:
        keys = [uri for uri in uris if _storable(uri)]
        if not keys:
            return []
        with available():
            return search_documents(self._cursor(), f"uri IN ({_marks(keys)}) AND visible", keys)

    def all_search_documents(self) -> Iterator[SearchDocument]:
        """On a connection of its own, so that other reads of the thread do not end it."""
        query = f"SELECT {SEARCH_COLUMNS} FROM dataset WHERE visible ORDER BY first_seen"
        with available():
            cursor = self._open_cursor()
            try:
                cursor.execute(query)
                while rows := cursor.fetchmany(SCAN_ROWS):
                    for row in rows:
                        yield search_document(row)
            finally:
                cursor.close()

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


def _record(kind: Kind, row: Sequence[Any]) -> StoredRecord:
    uri, cid, rev, did, collection, rkey, conformance, first_seen, indexed_at, json = row
    return StoredRecord(
        uri=uri,
        cid=cid,
        rev=rev,
        did=did,
        collection=collection,
        rkey=rkey,
        kind=kind,
        conformance=conformance,
        first_seen=first_seen,
        indexed_at=indexed_at,
        json=json,
    )


def _marks(keys: Sequence[str]) -> str:
    return ", ".join("?" * len(keys))


def _storable(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True
