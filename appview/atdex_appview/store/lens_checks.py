"""What was found when declarative lenses were held against their schemas, kept beside the rows.

It is derived from the records, and apart from them because what is found about a lens changes when
another record does. `CID`s say which versions it is about.
"""

# Statements are put together from column names of ours and from placeholders:
# ruff: noqa: S608

from __future__ import annotations

import sqlite3
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

import duckdb
import orjson

from atdex_appview.sqlite_rows import delete_keys, insert_rows
from atdex_lexicons.errors import Problem

NONE = "[]"
NOTHING = "{}"

CREATE = (
    "CREATE TABLE lens_checks (uri TEXT PRIMARY KEY, cid TEXT, source_cid TEXT, target_cid TEXT,"
    " problems TEXT, nested TEXT) WITHOUT ROWID",
    f"CREATE INDEX lens_checks_faulty ON lens_checks (uri) WHERE problems <> '{NONE}'",
    f"CREATE INDEX lens_checks_nested ON lens_checks (uri) WHERE nested <> '{NOTHING}'",
    "CREATE TABLE lens_checks_done (number INTEGER NOT NULL)",
)
"""`lens_checks_done` is the number of the last batch whose lenses and schemas have all been
checked; nothing where everything is to be checked."""

COLUMNS = "uri, cid, source_cid, target_cid, problems, nested"

MAX_KEYS = 1000
"""Keys in one statement's IN list, as for records."""

UNKNOWN = "is not known here"
"""What a problem says that is about a schema that this node does not have."""


@dataclass(frozen=True, slots=True)
class LensCheck:
    """Of a lens at `cid` between schemas at theirs. `nested` are the schemas that fields refer to,
    with the CID of each, None where it was not there."""

    cid: str
    source_cid: str
    target_cid: str
    problems: tuple[Problem, ...] = ()
    nested: Mapping[str, str | None] = field(default_factory=dict)

    @property
    def is_wrong(self) -> bool:
        """Whether the lens does not type-check, as opposed to waiting for a schema."""
        return any(UNKNOWN not in problem.reason for problem in self.problems)


def of_row(row: Sequence[str]) -> tuple[str, LensCheck]:
    """The lens and its check, from a row of COLUMNS."""
    uri, cid, source_cid, target_cid, problems, nested = row
    told = tuple(Problem(*one) for one in orjson.loads(problems))
    return uri, LensCheck(cid, source_cid, target_cid, told, orjson.loads(nested))


def _row(uri: str, check: LensCheck) -> tuple[str, ...]:
    problems = orjson.dumps([list(problem) for problem in check.problems]).decode()
    nested = orjson.dumps(dict(check.nested)).decode()
    return uri, check.cid, check.source_cid, check.target_cid, problems, nested


def write(sql: sqlite3.Connection, checks: Mapping[str, LensCheck | None]) -> None:
    """Replaces the rows of these lenses; None removes one. Within the caller's transaction."""
    gone = [uri for uri, check in checks.items() if check is None]
    delete_keys(sql, "DELETE FROM lens_checks WHERE uri IN", gone)
    rows = [_row(uri, check) for uri, check in checks.items() if check is not None]
    insert_rows(sql, f"INSERT OR REPLACE INTO lens_checks ({COLUMNS})", rows)


def mark_done(sql: sqlite3.Connection, number: int | None) -> None:
    """All that the batches up to this one brought has been checked; None: nothing is sure."""
    sql.execute("DELETE FROM lens_checks_done")
    if number is not None:
        sql.execute("INSERT INTO lens_checks_done VALUES (?)", [number])


def unchecked(connection: duckdb.DuckDBPyConnection, done: int | None) -> list[str]:
    """The declarative lenses, with both schemas there, that later batches than `done` may have
    changed something about; all of them where it is None."""
    if done is None:
        query = (
            "SELECT lens.uri FROM lens JOIN schema s ON s.uri = lens.source"
            " JOIN schema t ON t.uri = lens.target"
            " WHERE lens.declarative AND lens.visible AND s.visible AND t.visible"
        )
        return [uri for (uri,) in connection.execute(query).fetchall()]
    query = "SELECT uri FROM lens WHERE change > ? AND declarative AND visible"
    lenses = [uri for (uri,) in connection.execute(query, [done]).fetchall()]
    query = "SELECT uri FROM schema WHERE change > ?"
    schemas = [uri for (uri,) in connection.execute(query, [done]).fetchall()]
    return list(dict.fromkeys([*lenses, *naming(connection, schemas)]))


def naming(connection: duckdb.DuckDBPyConnection, schemas: Sequence[str]) -> list[str]:
    """The declarative lenses that name one of these schemas."""
    found: dict[str, None] = {}
    for part, keys in _parts(schemas):
        for end in ("source", "target"):
            query = (
                f"WITH few AS MATERIALIZED (SELECT uri, declarative FROM lens WHERE {end} IN"
                f" ({keys})) SELECT uri FROM few WHERE declarative"
            )
            found.update((uri, None) for (uri,) in connection.execute(query, part).fetchall())
    return list(found)


def _parts(keys: Sequence[str]) -> Iterator[tuple[list[str], str]]:
    for start in range(0, len(keys), MAX_KEYS):
        part = list(keys[start : start + MAX_KEYS])
        yield part, ", ".join("?" * len(part))
