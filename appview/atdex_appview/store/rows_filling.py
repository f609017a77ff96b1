"""Rows read back from DuckDB: those that a kill left in doubt, or all of them."""

# Statements are put together from table and column names of ours and from placeholders:
# ruff: noqa: S608

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence

import duckdb

from atdex_appview.store.row_tables import COMMON, EXTRA
from atdex_appview.store.rows import Row, RowChanges, Rows
from atdex_lexicons.datamodel import decode, json_bytes
from atdex_lexicons.model import KINDS, Kind

log = logging.getLogger(__name__)

RAW = COMMON.index("json")
"""Where the rows have the JSON form, and what is read from DuckDB has what it is made from."""

DERIVED = {
    "json": "raw",
    "own_dataset": "CASE WHEN starts_with(dataset_uri, 'at://' || did || '/') THEN dataset_uri END",
}
"""Columns that DuckDB has in another form: see `rows.extras`."""

PART = 1_000
"""Keys in one statement, and rows fetched at a time."""


def bring_up(rows: Rows, connection: duckdb.DuckDBPyConnection, number: int) -> None:
    """Brings the rows to what DuckDB has, which is at batch `number`; when a store is opened."""
    reached = rows.number()
    uris, dids = rows.doubts()
    if reached == number and not (uris or dids):
        return
    if reached is None or not (reached == number or (reached == number - 1 and (uris or dids))):
        if number:
            log.info("the rows that answers are made from are made anew, from the records")
        rows.fill({kind: _rows(connection, kind) for kind in KINDS}, number)
        return
    changes = RowChanges(removed=dids)
    for kind in KINDS:
        changes.gone[kind] = uris
        changes.come[kind] = [
            *_of_keys(connection, kind, "did", dids),
            *_of_keys(connection, kind, "uri", uris),
        ]
    rows.apply(changes, number)


def _of_keys(
    connection: duckdb.DuckDBPyConnection, kind: Kind, column: str, keys: Sequence[str]
) -> Iterator[Row]:
    for start in range(0, len(keys), PART):
        part = list(keys[start : start + PART])
        # An index is used where nothing else is asked for; see `reads`.
        yield from _rows(connection, kind, f"{column} IN ({', '.join('?' * len(part))})", part)


def _rows(
    connection: duckdb.DuckDBPyConnection,
    kind: Kind,
    where: str = "true",
    parameters: Sequence[object] = (),
) -> Iterator[Row]:
    columns = ", ".join(DERIVED.get(name, name) for name in (*COMMON, *EXTRA[kind]))
    query = f"SELECT {columns} FROM {kind} WHERE {where}"
    cursor = connection.cursor()
    try:
        cursor.execute(query, list(parameters))
        while found := cursor.fetchmany(PART):
            for row in found:
                yield (*row[:RAW], json_bytes(decode(row[RAW])), *row[RAW + 1 :])
    finally:
        cursor.close()
