"""The tables of the DuckDB store, as data: each column knows its types and its value.

One table a kind, because each kind is listed and filtered by columns of its own, and a scan
reads only what it filters by. `uri` alone is the primary key: a composite key is scanned.
The bytes of a record (`raw`, `json`) lie beside its typed columns, so that the node can be
rebuilt from its own disk.

`repos` is a log: the row with the highest `change` of a DID is its state. A row is appended
in the transaction that applies the commit (an insert costs a tenth of an update), the states
are kept in memory while the store is open, and opening compacts the log.
"""

# Statements are put together from table and column names of ours and from placeholders:
# ruff: noqa: S608

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, NamedTuple

import pyarrow as pa

from atdex_lexicons.model import (
    KINDS,
    Dataset,
    FieldOps,
    Kind,
    Label,
    Lens,
    Model,
    Schema,
    Verification,
)

FORMAT_VERSION = 4
"""Of the file. A store of another format is refused, never guessed at."""

MAX_COUNT = 2**63 - 1
"""The largest count that a BIGINT column holds; a publisher's larger number is not kept."""


@dataclass(frozen=True, slots=True)
class Column:
    """A typed column. `of` reads its value from the model."""

    name: str
    sql: str
    arrow: pa.DataType
    of: Callable[[Any], object]


def _text(name: str, attribute: str | None = None) -> Column:
    key = attribute or name
    return Column(name, "VARCHAR", pa.string(), lambda model: getattr(model, key))


def _count(name: str) -> Column:
    return Column(name, "BIGINT", pa.int64(), lambda model: bounded(getattr(model, name)))


def _tags() -> Column:
    return Column("tags", "VARCHAR[]", pa.list_(pa.string()), lambda model: list(model.tags))


def bounded(count: int | None) -> int | None:
    """The count, or None where a column cannot hold it."""
    return count if count is not None and 0 <= count <= MAX_COUNT else None


def datetime_micros(text: str) -> int | None:
    """An ISO 8601 time in µs since the epoch (UTC where it names no zone); None for none."""
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        return None
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=UTC)
    delta = moment - _EPOCH
    return (delta.days * 86_400 + delta.seconds) * 1_000_000 + delta.microseconds


_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)

TYPED: dict[Kind, tuple[Column, ...]] = {
    "dataset": (
        _text("name"),
        _text("description"),
        _tags(),
        _text("schema_uri"),
        _text("license"),
        _count("sample_count"),
        _count("byte_count"),
        Column("shards", "BIGINT", pa.int64(), lambda dataset: len(dataset.shards)),
        Column("checksummed", "BOOLEAN", pa.bool_(), lambda dataset: dataset.checksummed),
    ),
    "schema": (_text("name"), _text("version"), _text("description"), _tags()),
    "lens": (
        _text("name"),
        _text("description"),
        _text("source"),
        _text("target"),
        _text("source_version"),
        _text("target_version"),
        Column(
            "declarative", "BOOLEAN", pa.bool_(), lambda lens: isinstance(lens.getter, FieldOps)
        ),
    ),
    "label": (_text("name"), _text("version"), _text("dataset_uri")),
    "verification": (_text("lens_uri"), _text("lens_cid"), _text("method")),
}

MODELS: dict[Kind, type[Model]] = {
    "dataset": Dataset,
    "schema": Schema,
    "lens": Lens,
    "label": Label,
    "verification": Verification,
}

Values = tuple[object, ...]
"""What TYPED says of one record, in that order."""


def values_of(kind: Kind, model: Model) -> Values:
    return tuple([column.of(model) for column in TYPED[kind]])


def place_of(kind: Kind, name: str) -> int:
    """Where a column is among the values of a record."""
    return next(at for at, column in enumerate(TYPED[kind]) if column.name == name)


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
    ("json", "BLOB NOT NULL", pa.binary()),
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
    return pa.schema(common + [(column.name, column.arrow) for column in TYPED[kind]])


REPO_ARROW = pa.schema([(name, arrow) for name, _, arrow in REPO_COLUMNS])


def statements() -> list[str]:
    """What creates an empty store."""
    made = []
    for kind in KINDS:
        columns = [f"{name} {sql}" for name, sql, _ in COMMON]
        columns += [f"{column.name} {column.sql}" for column in TYPED[kind]]
        made.append(f"CREATE TABLE {kind} ({', '.join(columns)})")
        made += [f"CREATE INDEX {kind}_{column} ON {kind} ({column})" for column in INDEXED[kind]]
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
