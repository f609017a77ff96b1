"""Records as they are held, with what was derived from them, so that it can be derived again."""

# Statements are put together from table and column names of ours and from placeholders:
# ruff: noqa: S608

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import duckdb

from atdex_appview.reading import Reading
from atdex_appview.search.document import SearchDocument
from atdex_appview.store.columns import TYPED
from atdex_appview.store.writes import search_documents
from atdex_lexicons.model import Kind

MAX_KEYS = 1000
"""Keys in one statement's IN list, as for writing."""

_OWN = "uri, did, collection, rkey, cid, rev, verified, visible, first_seen, raw"


@dataclass(frozen=True, slots=True)
class HeldRecord:
    """A record as it was signed (`raw`), and what the store has derived of it.

    Visible or not.
    """

    uri: str
    did: str
    collection: str
    rkey: str
    cid: str
    rev: str
    verified: bool
    visible: bool
    first_seen: int
    raw: bytes
    derived: tuple[object, ...]
    """As `Reading` has it, but for the JSON form, which is made from `raw` where it is needed."""

    def is_read_as(self, reading: Reading) -> bool:
        return self.derived == (
            reading.kind,
            reading.conformance,
            reading.created_at,
            reading.values,
        )


def held_page(
    connection: duckdb.DuckDBPyConnection, kind: Kind, after: int, upto: int, limit: int
) -> list[HeldRecord]:
    """A page by `first_seen`, from behind `after` up to `upto`."""
    typed = ["conformance", "created", *(column.name for column in TYPED[kind])]
    query = (
        f"SELECT {_OWN}, {', '.join(typed)} FROM {kind}"
        " WHERE first_seen > ? AND first_seen <= ? ORDER BY first_seen LIMIT ?"
    )
    rows = connection.execute(query, [after, upto, limit]).fetchall()
    own = len(_OWN.split(", "))
    return [HeldRecord(*(*row[:own], (kind, *row[own : own + 2], row[own + 2 :]))) for row in rows]


def held_span(connection: duckdb.DuckDBPyConnection, kind: Kind) -> tuple[int, int]:
    """How many records of a kind are held, and the highest `first_seen` among them."""
    query = f"SELECT count(*), max(first_seen) FROM {kind}"
    [(count, last)] = connection.execute(query).fetchall()
    return count, last or 0


def documents_of(
    connection: duckdb.DuckDBPyConnection, uris: Sequence[str]
) -> Iterator[SearchDocument]:
    """The search documents of datasets that are known to be visible."""
    for start in range(0, len(uris), MAX_KEYS):
        part = uris[start : start + MAX_KEYS]
        keys = ", ".join("?" * len(part))
        yield from search_documents(connection, f"uri IN ({keys})", part)
