"""The tables of the rows' file: which columns a record of each kind has there."""

# Statements are put together from table and column names of ours:
# ruff: noqa: S608

from __future__ import annotations

from collections.abc import Callable
from operator import itemgetter
from typing import Any

from atdex_appview.store.base import Put
from atdex_appview.store.columns import Values, place_of
from atdex_lexicons.model import KINDS, Kind

COMMON = (
    "first_seen",
    "uri",
    "did",
    "cid",
    "rev",
    "conformance",
    "indexed_at",
    "verified",
    "visible",
    "json",
)
EXTRA: dict[Kind, tuple[str, ...]] = {
    "dataset": ("schema_uri", "shards", "checksummed"),
    "schema": ("name", "version"),
    "lens": ("source", "target", "source_version", "target_version", "declarative"),
    "label": ("own_dataset", "name", "version", "created"),
    "verification": ("lens_uri", "lens_cid", "method"),
}
INDEXES: dict[Kind, tuple[str, ...]] = {
    "dataset": (),
    "schema": (),
    "lens": (),
    "label": ("own_dataset",),
    "verification": ("lens_uri",),
}
TYPES = {
    "first_seen": "INTEGER PRIMARY KEY",
    "indexed_at": "INTEGER",
    "verified": "INTEGER",
    "visible": "INTEGER",
    "json": "BLOB",
    "shards": "INTEGER",
    "checksummed": "INTEGER",
    "created": "INTEGER",
    "declarative": "INTEGER",
}
"""The others are TEXT."""


def extras(put: Put) -> tuple[Any, ...]:
    """The columns of EXTRA.

    A label is a dataset's where it is its own publisher's: anybody can put any number of labels on
    what is not theirs.
    """
    if put.kind == "label":
        name, version, dataset_uri = put.values
        own = isinstance(dataset_uri, str) and dataset_uri.startswith(f"at://{put.did}/")
        return (dataset_uri if own else None, name, version, put.created_at)
    return _EXTRAS[put.kind](put.values)


_EXTRAS: dict[Kind, Callable[[Values], tuple[Any, ...]]] = {
    kind: itemgetter(*(place_of(kind, name) for name in EXTRA[kind]))
    for kind in KINDS
    if kind != "label"
}


COLUMNS = {kind: ", ".join((*COMMON, *EXTRA[kind])) for kind in KINDS}
HEADS = {
    kind: ", ".join(name for name in (*COMMON, *EXTRA[kind]) if name not in ("visible", "json"))
    for kind in KINDS
}
ONE_RECORD = {
    kind: f"SELECT {HEADS[kind]}, json FROM {kind} WHERE visible AND uri = ?" for kind in KINDS
}
INSERT = {kind: f"INSERT OR REPLACE INTO {kind} ({columns})" for kind, columns in COLUMNS.items()}
CREATE = {
    kind: f"CREATE TABLE {kind} ("
    + ", ".join(f"{name} {TYPES.get(name, 'TEXT')}" for name in (*COMMON, *EXTRA[kind]))
    + ")"
    for kind in KINDS
}
CREATE_INDEXES = [
    statement
    for kind in KINDS
    for statement in (
        f"CREATE UNIQUE INDEX {kind}_uri ON {kind} (uri)",
        f"CREATE INDEX {kind}_did ON {kind} (did, first_seen)",
        *(f"CREATE INDEX {kind}_{column} ON {kind} ({column})" for column in INDEXES[kind]),
    )
]
