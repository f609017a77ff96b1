"""How the hits of a search are spread over tags, licences, schemas and publishers; exact counts.

tantivy takes the most frequent values of each segment of the index and adds them up, so that its
counts are too low where a value was cut off in some segment. It says by how much at most. So the
values it names are counted again by themselves, which is exact, and the list is taken as the right
one where its last count is above that bound: no value that was cut off can have more. Otherwise
more values of each segment are taken, in the end all of them.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from tantivy import Query

FacetName = Literal["tags", "licenses", "schemas", "publishers"]

FIELDS: dict[FacetName, str] = {
    "tags": "tag",
    "licenses": "license",
    "schemas": "schema",
    "publishers": "publisher",
}

FACET_VALUES = 20
"""Values of one facet that are told: what fits beside a list of hits."""

TAKEN = (1_000, 30_000, 2**31)
"""Values of each segment, one attempt after the other."""


@dataclass(frozen=True, slots=True)
class Facet:
    """The most frequent values with the number of hits that have them, most hits first, then by
    the value. `more`: other values have hits too."""

    name: FacetName
    values: tuple[tuple[str, int], ...]
    more: bool


def count_facets(searcher: Any, query: Query, names: Iterable[FacetName]) -> list[Facet]:
    """The facets named, each once, in that order."""
    found: dict[FacetName, Facet] = {}
    wanted = list(dict.fromkeys(names))
    for taken in TAKEN:
        left = [name for name in wanted if name not in found]
        if not left:
            break
        found.update(_attempt(searcher, query, left, taken))
    return [found[name] for name in wanted]


def _attempt(
    searcher: Any, query: Query, names: Sequence[FacetName], taken: int
) -> dict[FacetName, Facet]:
    # Twice as many as are told: counting again may change their order.
    candidates = 2 * FACET_VALUES
    asked = {name: {"field": FIELDS[name], "size": candidates + 1} for name in names}
    rough = _terms(searcher, query, {n: a | {"segment_size": taken} for n, a in asked.items()})
    unsure = [name for name in names if rough[name]["doc_count_error_upper_bound"]]
    exact = {}
    if unsure:
        again = {
            name: asked[name] | {"include": [each["key"] for each in rough[name]["buckets"]]}
            for name in unsure
        }
        exact = _terms(searcher, query, again)
    made = {}
    for name in names:
        buckets = exact[name]["buckets"] if name in exact else rough[name]["buckets"]
        counted = [(each["key"], int(each["doc_count"])) for each in buckets]
        counted.sort(key=lambda one: (-one[1], one[0]))
        bound = rough[name]["doc_count_error_upper_bound"]
        told = counted[:FACET_VALUES]
        if bound and (len(told) < FACET_VALUES or told[-1][1] <= bound):
            continue
        made[name] = Facet(name, tuple(told), len(counted) > FACET_VALUES)
    return made


def _terms(
    searcher: Any, query: Query, asked: dict[FacetName, dict[str, Any]]
) -> dict[FacetName, dict[str, Any]]:
    answer = searcher.aggregate(query, {name: {"terms": terms} for name, terms in asked.items()})
    return {name: answer[name] for name in asked}
