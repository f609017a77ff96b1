"""The typed columns of a record: which there are, and their values. Without pyarrow: the process
that reads records needs no more than this.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from atdex_lexicons.model import (
    Dataset,
    FieldOps,
    Kind,
    Label,
    Lens,
    Model,
    Schema,
    Verification,
)

MAX_COUNT = 2**63 - 1
"""The largest count that a BIGINT column holds; a publisher's larger number is not kept."""


@dataclass(frozen=True, slots=True)
class Column:
    """A typed column. `of` reads its value from the model."""

    name: str
    sql: str
    of: Callable[[Any], object]


def _text(name: str, attribute: str | None = None) -> Column:
    key = attribute or name
    return Column(name, "VARCHAR", lambda model: getattr(model, key))


def _count(name: str) -> Column:
    return Column(name, "BIGINT", lambda model: bounded(getattr(model, name)))


def _tags() -> Column:
    return Column("tags", "VARCHAR[]", lambda model: list(model.tags))


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
        Column("shards", "BIGINT", lambda dataset: len(dataset.shards)),
        Column("checksummed", "BOOLEAN", lambda dataset: dataset.checksummed),
    ),
    "schema": (_text("name"), _text("version"), _text("description"), _tags()),
    "lens": (
        _text("name"),
        _text("description"),
        _text("source"),
        _text("target"),
        _text("source_version"),
        _text("target_version"),
        Column("declarative", "BOOLEAN", lambda lens: isinstance(lens.getter, FieldOps)),
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
