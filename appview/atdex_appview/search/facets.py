"""How the hits of a search are spread over tags, licences, schemas and publishers; exact counts.

tantivy takes the most frequent values of each segment of the index and adds them up, so that its
counts are too low where a value was cut off in some segment. It says by how much at most. So those
of its values that can be among the first are counted one by one, which is exact, and the list is
taken as the right one where its last count is above that bound: no value that was cut off can have
more. Otherwise all values of each segment are taken.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from tantivy import Query

from atdex_appview.search.ranks import all_of

FacetName = Literal["tags", "licenses", "schemas", "publishers"]

FIELDS: dict[FacetName, str] = {
    "tags": "tag",
    "licenses": "license",
    "schemas": "schema",
    "publishers": "publisher",
}

FACET_VALUES = 20
"""Values of one facet that are told: what fits beside a list of hits."""

TAKEN = (100, 2**31)
"""Values of each segment, one attempt after the other."""

CANDIDATES = 2 * FACET_VALUES
"""Values that may have to be counted again: that may change their order."""


@dataclass(frozen=True, slots=True)
class Facet:
    """The most frequent values with the number of hits that have them, most hits first, then by
    the value. `more`: other values have hits too."""

    name: FacetName
    values: tuple[tuple[str, int], ...]
    more: bool


def count_facets(
    fields: Any, searcher: Any, query: Query, names: Iterable[FacetName]
) -> list[Facet]:
    """The facets named, each once, in that order. `fields` is the schema of the index."""
    found: dict[FacetName, Facet] = {}
    wanted = list(dict.fromkeys(names))
    for taken in TAKEN:
        left = [name for name in wanted if name not in found]
        if not left:
            break
        found.update(_attempt(fields, searcher, query, left, taken))
    return [found[name] for name in wanted]


def _attempt(
    fields: Any, searcher: Any, query: Query, names: Sequence[FacetName], taken: int
) -> dict[FacetName, Facet]:
    asked = {
        name: {"field": FIELDS[name], "size": CANDIDATES + 1, "segment_size": taken}
        for name in names
    }
    answer = searcher.aggregate(query, {name: {"terms": terms} for name, terms in asked.items()})
    made = {}
    for name in names:
        bound = answer[name]["doc_count_error_upper_bound"]
        counted = [(each["key"], int(each["doc_count"])) for each in answer[name]["buckets"]]
        more = len(counted) > FACET_VALUES
        if bound:
            last = counted[FACET_VALUES - 1][1] if more else 0
            counted = [
                (value, _count(fields, searcher, query, name, value))
                for value, least in counted
                if least + bound >= last
            ]
        counted.sort(key=lambda one: (-one[1], one[0]))
        told = counted[:FACET_VALUES]
        if not bound or (len(told) == FACET_VALUES and told[-1][1] > bound):
            made[name] = Facet(name, tuple(told), more)
    return made


def _count(fields: Any, searcher: Any, query: Query, name: FacetName, value: str) -> int:
    having = all_of([query, Query.term_query(fields, FIELDS[name], value)])
    return int(searcher.search(having, 1, count=True).count)
