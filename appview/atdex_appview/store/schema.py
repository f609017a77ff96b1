"""The tables of the DuckDB store, as data.

One table a kind, because each kind is listed and filtered by columns of its own, and a scan
reads only what it filters by. `uri` alone is the primary key: a composite key is scanned.
The bytes of a record (`raw`) lie beside its typed columns, so that the node can be rebuilt from its
own disk.

`repos` is a log: the row with the highest `change` of a DID is its state. A row is appended
in the transaction that applies the commit (an insert costs a tenth of an update), the states
are kept in memory while the store is open, and opening compacts the log.
"""

# Statements are put together from table and column names of ours and from placeholders:
# ruff: noqa: S608

from __future__ import annotations

from typing import NamedTuple

import pyarrow as pa

from atdex_appview.store.columns import TYPED
from atdex_lexicons.model import KINDS, Kind

FORMAT_VERSION = 5
"""Of the file. A store of another format is refused, never guessed at, but for the last one."""

WITH_JSON = 4
"""The format before: it had the JSON form of each record as well, which is made from its bytes."""

ARROW: dict[str, pa.DataType] = {
    "VARCHAR": pa.string(),
    "VARCHAR[]": pa.list_(pa.string()),
    "BIGINT": pa.int64(),
    "BOOLEAN": pa.bool_(),
}
"""What typed columns are handed to DuckDB as."""

COMMON: tuple[tuple[str, str, pa.DataType], ...] = (
    ("uri", "VARCHAR PRIMARY KEY", pa.string()),
    ("did", "VARCHAR NOT NULL", pa.string()),
    ("collection", "VARCHAR NOT NULL", pa.string()),
    ("rkey", "VARCHAR NOT NULL", pa.string()),
    ("cid", "VARCHAR NOT NULL", pa.string()),
    ("rev", "VARCHAR NOT NULL", pa.string()),
    ("conformance", "VARCHAR NOT NULL", pa.string()),
    ("verified", "BOOLEAN NOT NULL DEFAULT true", pa.bool_()),
    ("first_seen", "BIGINT NOT NULL", pa.int64()),
    ("indexed_at", "BIGINT NOT NULL", pa.int64()),
    ("visible", "BOOLEAN NOT NULL", pa.bool_()),
    ("change", "BIGINT NOT NULL", pa.int64()),
    ("created", "BIGINT", pa.int64()),
    ("raw", "BLOB NOT NULL", pa.binary()),
)

INDEXED: dict[Kind, tuple[str, ...]] = {
    "dataset": ("did",),
    "schema": ("did",),
    "lens": ("did", "source", "target"),
    "label": ("did", "dataset_uri"),
    "verification": ("did", "lens_uri"),
}
"""Columns whose values pick few rows each: an index reads those, where a scan reads all. How
they must be asked for: see `reads`."""


class Filter(NamedTuple):
    column: str
    condition: str


def _equal(column: str) -> Filter:
    return Filter(column, f"{column} = ?")


_TAG = Filter("tags", "list_contains(tags, ?)")
_COLLECTION = _equal("collection")

FILTERS: dict[Kind, dict[str, Filter]] = {
    "dataset": {
        "publisher": _equal("did"),
        "schema": _equal("schema_uri"),
        "tag": _TAG,
        "name": _equal("name"),
        "collection": _COLLECTION,
    },
    "schema": {
        "publisher": _equal("did"),
        "tag": _TAG,
        "name": _equal("name"),
        "collection": _COLLECTION,
    },
    "lens": {
        "publisher": _equal("did"),
        "collection": _COLLECTION,
        "name": _equal("name"),
        "source": _equal("source"),
        "target": _equal("target"),
    },
    "label": {
        "publisher": _equal("did"),
        "name": _equal("name"),
        "dataset": _equal("dataset_uri"),
        "collection": _COLLECTION,
    },
    "verification": {"publisher": _equal("did")},
}
"""What a listing of each kind can be narrowed by."""

REPO_COLUMNS: tuple[tuple[str, str, pa.DataType], ...] = (
    ("did", "VARCHAR NOT NULL", pa.string()),
    ("change", "BIGINT NOT NULL", pa.int64()),
    ("handle", "VARCHAR", pa.string()),
    ("handle_since", "BIGINT NOT NULL", pa.int64()),
    ("pds", "VARCHAR", pa.string()),
    ("active", "BOOLEAN NOT NULL", pa.bool_()),
    ("status", "VARCHAR", pa.string()),
    ("status_at", "BIGINT NOT NULL", pa.int64()),
    ("rev", "VARCHAR", pa.string()),
    ("fetched", "VARCHAR", pa.string()),
)


def arrow_schema(kind: Kind) -> pa.Schema:
    common = [(name, arrow) for name, _, arrow in COMMON]
    return pa.schema(common + [(column.name, ARROW[column.sql]) for column in TYPED[kind]])


REPO_ARROW = pa.schema([(name, arrow) for name, _, arrow in REPO_COLUMNS])


def without_json() -> list[str]:
    """What makes a store of this format of one of the format before."""
    made = []
    for kind in KINDS:
        made += [f"DROP INDEX {kind}_{column}" for column in INDEXED[kind]]
        made.append(f"ALTER TABLE {kind} DROP COLUMN json")
        made += _indexes(kind)
    return [*made, f"UPDATE facts SET format = {FORMAT_VERSION}"]


def _indexes(kind: Kind) -> list[str]:
    return [f"CREATE INDEX {kind}_{column} ON {kind} ({column})" for column in INDEXED[kind]]


def statements() -> list[str]:
    """What creates an empty store."""
    made = []
    for kind in KINDS:
        columns = [f"{name} {sql}" for name, sql, _ in COMMON]
        columns += [f"{column.name} {column.sql}" for column in TYPED[kind]]
        made.append(f"CREATE TABLE {kind} ({', '.join(columns)})")
        made += _indexes(kind)
    repos = ", ".join(f"{name} {sql}" for name, sql, _ in REPO_COLUMNS)
    return [
        *made,
        f"CREATE TABLE repos ({repos})",
        "CREATE TABLE collections (collection VARCHAR PRIMARY KEY, kind VARCHAR NOT NULL)",
        "CREATE TABLE removals (uri VARCHAR NOT NULL, change BIGINT NOT NULL)",
        "CREATE TABLE places (uri VARCHAR NOT NULL, did VARCHAR NOT NULL,"
        " first_seen BIGINT NOT NULL)",
        "CREATE TABLE facts (format BIGINT NOT NULL, change BIGINT NOT NULL,"
        " last_seen BIGINT NOT NULL)",
        f"INSERT INTO facts VALUES ({FORMAT_VERSION}, 0, 0)",
    ]
