"""resolveSchema: from a publisher's name for a schema to the record, by version or range.

Versions are ordered by Semantic Versioning, so that 10.0.0 is above 2.0.0. Of two records with one
version the one that this node saw last counts.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from heapq import nlargest
from typing import Any

from atdex_appview.context import Context
from atdex_appview.graph.ranges import VersionRange, parse_range
from atdex_appview.lookup import did_of, served_view
from atdex_appview.store.base import IndexStore, Position, StoredRecord
from atdex_appview.store.versions import semver_key
from atdex_appview.views import schema_views
from atdex_xrpc import Request
from atdex_xrpc.errors import InvalidRequest, NotFound, shown

NOT_FOUND = "SchemaNotFound"

MAX_VERSIONS = 5_000
"""Records of one name that are looked through, newest first: a version a day for 13 years."""

PAGE = 250
"""Records read at a time: whole records, so that a page is some MB at most in practice."""

SHOWN_VERSIONS = 5
"""Versions that an error names."""

Rank = tuple[int, tuple[Any, ...]]
"""How near to what is wanted, then the precedence; ranks of one kind compare."""


def resolve_schema(context: Context, request: Request) -> dict[str, Any]:
    """The schema of that name whose version is asked for, the highest where several fit.

    Without `version` that is the highest release; a pre-release only where there is none; words
    that are no version only where there is nothing else. A `version` that a record has to the
    letter is that one, else it is a range.
    """
    name, version = request.params["name"], request.params.get("version")
    try:
        did = did_of(context.store, request.params["publisher"], parameter="publisher")
    except InvalidRequest as unknown:
        raise NotFound(NOT_FOUND, unknown.message) from None
    search = _Search(version)
    for record, found in _versions(context.store, did, name):
        search.see(record, found)
    record = search.answer(f"{did} has", shown(name))
    view = served_view(schema_views(context.store, [record]), record, NOT_FOUND)
    return {"uri": record.uri, "cid": record.cid, "schema": view}


@dataclass(slots=True)
class _Search:
    """The best record so far. `wanted` is a version, a range, or None for the highest."""

    wanted: str | None
    within: VersionRange | None = field(init=False)
    best: tuple[Rank, StoredRecord] | None = None
    seen: set[str] = field(default_factory=set)

    def __post_init__(self) -> None:
        self.within = None if self.wanted is None else parse_range(self.wanted)

    def see(self, record: StoredRecord, version: str) -> None:
        """Called newest first: of equals, the first one stays."""
        self.seen.add(version)
        rank = self._rank(version)
        if rank is not None and (self.best is None or rank > self.best[0]):
            self.best = (rank, record)

    def _rank(self, version: str) -> Rank | None:
        key = semver_key(version)
        if self.wanted is not None:
            if version == self.wanted:
                return (3, ())
            fits = self.within is not None and self.within.fits(key)
            return (1, key[:4]) if fits else None
        # A release, a pre-release, a word: the last has no order but that of time.
        is_version, is_release = key[0] == 1, key[2] == 1
        return (1 + is_release, key[:4]) if is_version else (0, ())

    def answer(self, who: str, name: str) -> StoredRecord:
        """Raises NotFound, and InvalidRequest where what is wanted is neither version nor range."""
        if self.best is not None:
            return self.best[1]
        if not self.seen:
            raise NotFound(NOT_FOUND, f"{who} no schema {name} in this index")
        there = f"it has {self._shown()}"
        assert self.wanted is not None  # without it, anything seen is an answer
        if self.within is None:
            raise InvalidRequest(
                f"version: {shown(self.wanted)} is neither a version of {name} nor a range such as "
                f"^1.2.0 or >=1.0.0 <2.0.0; {there}"
            )
        raise NotFound(
            NOT_FOUND, f"{who} no version of the schema {name} within {shown(self.wanted)}; {there}"
        )

    def _shown(self) -> str:
        highest = nlargest(SHOWN_VERSIONS, self.seen, key=semver_key)
        more = len(self.seen) - len(highest)
        return ", ".join(map(shown, highest)) + (f" and {more} more" if more else "")


def _versions(store: IndexStore, did: str, name: str) -> Iterator[tuple[StoredRecord, str]]:
    """The publisher's records of that name with their versions, newest first."""
    after: Position | None = None
    for _ in range(MAX_VERSIONS // PAGE):
        page = store.list_records("schema", publisher=did, name=name, limit=PAGE, after=after)
        summaries = store.schema_summaries([record.uri for record in page])
        for record in page:
            # One that was removed in between is in the page alone.
            if record.uri in summaries:
                yield record, summaries[record.uri].version
        if len(page) < PAGE:
            return
        after = (page[-1].first_seen, page[-1].uri)
