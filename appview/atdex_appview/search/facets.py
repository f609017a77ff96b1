"""How the hits of a search are spread over tags, licences, schemas and publishers; exact counts.

tantivy takes the most frequent values of each segment of the index and adds them up, so that its
counts are too low where a value was cut off in some segment. It says by how much at most. So those
of its values that can be among the first are counted one by one, which is exact, and the list is
taken as the right one where its last count is above that bound: no value that was cut off can have
more. Otherwise all values of each segment are taken.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from functools import partial
from typing import Literal

from tantivy import Query

from atdex_appview.search.parallel import Reader, count
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


def count_facets(reader: Reader, query: Query, names: Iterable[FacetName]) -> list[Facet]:
    """The facets named, each once, in that order, of the hits of `query`."""
    found: dict[FacetName, Facet] = {}
    wanted = list(dict.fromkeys(names))
    for taken in TAKEN:
        left = [name for name in wanted if name not in found]
        if not left:
            break
        made = reader.threads.together(partial(_attempt, reader, query, taken), left)
        found.update({facet.name: facet for facet in made if facet is not None})
    return [found[name] for name in wanted]


def _attempt(reader: Reader, query: Query, taken: int, name: FacetName) -> Facet | None:
    """None where too few were taken to know."""
    terms = {"field": FIELDS[name], "size": CANDIDATES + 1, "segment_size": taken}
    answer = reader.searcher.aggregate(query, {name: {"terms": terms}})[name]
    bound = answer["doc_count_error_upper_bound"]
    counted = [(each["key"], int(each["doc_count"])) for each in answer["buckets"]]
    more = len(counted) > FACET_VALUES
    if bound:
        last = counted[FACET_VALUES - 1][1] if more else 0
        close = [value for value, least in counted if least + bound >= last]
        counts = reader.threads.together(partial(_count, reader, query, name), close)
        counted = list(zip(close, counts, strict=True))
    counted.sort(key=lambda one: (-one[1], one[0]))
    told = counted[:FACET_VALUES]
    if not bound or (len(told) == FACET_VALUES and told[-1][1] > bound):
        return Facet(name, tuple(told), more)
    return None


def _count(reader: Reader, query: Query, name: FacetName, value: str) -> int:
    having = all_of([query, Query.term_query(reader.fields, FIELDS[name], value)])
    return count(reader.searcher, having)
