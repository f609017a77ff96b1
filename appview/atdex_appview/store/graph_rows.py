"""What the lens graph reads of the store: few columns of schemas, lenses and verifications.

As in `reads`, an index is asked by its column alone, and what is hidden is sifted out afterwards.
"""

# Statements are put together from table and column names of ours and from placeholders:
# ruff: noqa: S608

from __future__ import annotations

from collections.abc import Iterator, Sequence

import duckdb
import pyarrow as pa

from atdex_appview.store.rows import Rows
from atdex_appview.store.schema import arrow_schema
from atdex_lexicons.model import Kind

COLUMNS: dict[Kind, tuple[str, ...]] = {
    "schema": ("uri", "name", "version", "first_seen"),
    "lens": (
        "uri",
        "did",
        "collection",
        "rkey",
        "source",
        "target",
        "source_version",
        "target_version",
        "declarative",
        "first_seen",
    ),
    "verification": ("uri", "lens_uri"),
}

BATCH_ROWS = 100_000
"""Rows handed over at a time: some 30 MB of lenses."""


def graph_rows(
    cursor: duckdb.DuckDBPyConnection,
    kind: Kind,
    *,
    uris: Sequence[str] | None = None,
    dids: Sequence[str] | None = None,
) -> Iterator[pa.RecordBatch]:
    """The COLUMNS of the visible records of a kind: all, those of `uris`, or those of accounts."""
    if uris is not None and dids is not None:
        raise ValueError("by URI or by account, not both")
    columns = ", ".join(COLUMNS[kind])
    if uris is None and dids is None:
        return _batches(cursor, f"SELECT {columns} FROM {kind} WHERE visible", [])
    key, keys = ("did", dids) if uris is None else ("uri", uris)
    if not keys:
        return iter(())
    needed = ", ".join(dict.fromkeys([key, "visible", *COLUMNS[kind]]))
    query = (
        f"WITH few AS MATERIALIZED (SELECT {needed} FROM {kind} WHERE {key} IN ({_marks(keys)}))"
        f" SELECT {columns} FROM few WHERE visible"
    )
    return _batches(cursor, query, keys)


def few_rows(rows: Rows, kind: Kind, uris: Sequence[str]) -> Iterator[pa.RecordBatch]:
    """The same of some schemas or lenses, from the rows: a batch of the writer has a few hundred,
    and a statement of DuckDB costs more than reading them."""
    table = arrow_schema(kind)
    names = [name for name in COLUMNS[kind] if name not in ("collection", "rkey")]
    found = rows.columns(kind, names, uris)
    if not found:
        return
    values = dict(zip(names, map(list, zip(*found, strict=True)), strict=True))
    parts = [uri.split("/") for uri in values["uri"]]
    values["collection"] = [part[3] for part in parts]
    values["rkey"] = [part[4] for part in parts]
    schema = pa.schema([table.field(name) for name in COLUMNS[kind]])
    columns = [
        pa.array(
            [bool(value) for value in values[name]] if name == "declarative" else values[name],
            schema.field(name).type,
        )
        for name in COLUMNS[kind]
    ]
    yield pa.RecordBatch.from_arrays(columns, schema=schema)


def verifiers(cursor: duckdb.DuckDBPyConnection) -> list[tuple[str, str, str]]:
    """(lens, verification, who verified) of the visible verifications of lenses at their CID."""
    query = (
        "SELECT lens.uri, about.uri, about.did FROM verification about"
        " JOIN lens ON lens.uri = about.lens_uri"
        " WHERE about.visible AND lens.visible AND lens.cid = about.lens_cid"
    )
    return cursor.execute(query).fetchall()


def _batches(
    cursor: duckdb.DuckDBPyConnection, query: str, parameters: Sequence[str]
) -> Iterator[pa.RecordBatch]:
    reader: pa.RecordBatchReader = cursor.sql(query, params=list(parameters)).to_arrow_reader(
        BATCH_ROWS
    )
    yield from reader


def _marks(keys: Sequence[str] | None) -> str:
    return ", ".join("?" * len(keys or ()))
