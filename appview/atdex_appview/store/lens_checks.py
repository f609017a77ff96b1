"""What was found when declarative lenses were held against their schemas, kept in a table.

The table is derived from the records: `CID`s say which versions of them a row is about. It is apart
from them because a row changes when another record does.
"""

# Statements are put together from table and column names of ours and from placeholders:
# ruff: noqa: S608

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

import duckdb
import orjson
import pyarrow as pa

from atdex_lexicons.errors import Problem

CREATE = (
    "CREATE TABLE IF NOT EXISTS lens_checks (uri VARCHAR PRIMARY KEY, cid VARCHAR NOT NULL,"
    " source_cid VARCHAR NOT NULL, target_cid VARCHAR NOT NULL, problems VARCHAR NOT NULL,"
    " nested VARCHAR NOT NULL)"
)

MAX_KEYS = 1000
"""Keys in one statement's IN list, as for records."""

UNKNOWN = "is not known here"
"""What a problem says that is about a schema that this node does not have."""

NONE = "[]"
NOTHING = "{}"


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


def read(connection: duckdb.DuckDBPyConnection, uris: Sequence[str]) -> dict[str, LensCheck]:
    found = {}
    for part, keys in _parts(uris):
        query = f"SELECT * FROM lens_checks WHERE uri IN ({keys})"
        for uri, cid, source_cid, target_cid, problems, nested in connection.execute(
            query, part
        ).fetchall():
            told = tuple(Problem(*one) for one in orjson.loads(problems))
            found[uri] = LensCheck(cid, source_cid, target_cid, told, orjson.loads(nested))
    return found


def write(connection: duckdb.DuckDBPyConnection, checks: Mapping[str, LensCheck | None]) -> None:
    """Replaces the rows of these lenses; None removes one. Within the caller's transaction."""
    for part, keys in _parts(list(checks)):
        connection.execute(f"DELETE FROM lens_checks WHERE uri IN ({keys})", part)
    kept = [(uri, check) for uri, check in checks.items() if check is not None]
    if kept:
        rows = pa.table(
            {
                "uri": [uri for uri, _ in kept],
                "cid": [check.cid for _, check in kept],
                "source_cid": [check.source_cid for _, check in kept],
                "target_cid": [check.target_cid for _, check in kept],
                "problems": [
                    orjson.dumps([list(problem) for problem in check.problems]).decode()
                    for _, check in kept
                ],
                "nested": [orjson.dumps(dict(check.nested)).decode() for _, check in kept],
            }
        )
        connection.register("lens_check_rows", rows)
        try:
            connection.execute("INSERT INTO lens_checks BY NAME SELECT * FROM lens_check_rows")
        finally:
            connection.unregister("lens_check_rows")


def faulty(connection: duckdb.DuckDBPyConnection) -> list[str]:
    """The lenses that have problems."""
    query = "SELECT uri FROM lens_checks WHERE problems <> ?"
    return [uri for (uri,) in connection.execute(query, [NONE]).fetchall()]


def nesting(connection: duckdb.DuckDBPyConnection) -> dict[str, dict[str, str | None]]:
    """Of each lens whose schemas refer to others, those."""
    query = "SELECT uri, nested FROM lens_checks WHERE nested <> ?"
    rows = connection.execute(query, [NOTHING]).fetchall()
    return {uri: orjson.loads(nested) for uri, nested in rows}


def unchecked(connection: duckdb.DuckDBPyConnection) -> list[str]:
    """The declarative lenses, with both schemas there, that have no row of these versions."""
    query = (
        "SELECT lens.uri FROM lens JOIN schema s ON s.uri = lens.source"
        " JOIN schema t ON t.uri = lens.target LEFT JOIN lens_checks c ON c.uri = lens.uri"
        " WHERE lens.declarative AND lens.visible AND s.visible AND t.visible AND (c.uri IS NULL"
        " OR (c.cid, c.source_cid, c.target_cid) <> (lens.cid, s.cid, t.cid))"
    )
    return [uri for (uri,) in connection.execute(query).fetchall()]


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
