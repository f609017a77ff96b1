"""The orders in which hits come, and a page of each.

| sort | order | position |
| --- | --- | --- |
| relevance | by rank, labelled before not, newest first; without words newest | rank, place |
| newest | newest first | 0, `first_seen` |
| largest | most samples first, those that state none last; then newest first | size, `first_seen` |

Each is a total order in which a dataset has one place, whatever is inserted beside it. The index
gives the best of one number at a time, so what has a second number is asked for in parts: the
hits of each rank; for `largest` those above the size at which the page ends, and then those of
exactly that size, newest first.
"""

from __future__ import annotations

from collections.abc import Callable
from heapq import nlargest
from operator import itemgetter
from typing import Any, Literal, NamedTuple

from tantivy import Query

from atdex_appview.search.filters import between
from atdex_appview.search.parallel import Reader
from atdex_appview.search.ranks import RankedQuery, all_of

Sort = Literal["relevance", "newest", "largest"]

Spot = tuple[int, int]
"""Where a page ended, see the table."""


class Found(NamedTuple):
    major: int
    minor: int
    address: Any


class Page(NamedTuple):
    """`total` are all hits of the query, None where the page's own questions did not meet all."""

    found: list[Found]
    total: int | None


def page(reader: Reader, ranked: RankedQuery, sort: Sort, limit: int, after: Spot | None) -> Page:
    """Up to `limit` hits after a position, in order."""
    return _PAGES[sort if ranked.ranks or sort != "relevance" else "newest"](
        reader, ranked, limit, after
    )


def _by_rank(reader: Reader, ranked: RankedQuery, limit: int, after: Spot | None) -> Page:
    found: list[Found] = []
    for rank in ranked.ranks:
        if after is not None and rank > after[0]:
            continue
        if after is None and rank == ranked.ranks[-1]:
            return _last_rank(reader, ranked, limit, found)
        before = after[1] if after is not None and rank == after[0] else None
        query = _below(ranked, ranked.of_rank(rank), "place", before)
        walked = ranked.walked(reader.searcher, rank)
        found += _best(reader, query, walked, "place", limit - len(found), rank).found
        if len(found) >= limit:
            break
    return Page(found, None)


def _last_rank(reader: Reader, ranked: RankedQuery, limit: int, above: list[Found]) -> Page:
    """The last rank after all hits of the others: of all hits, those that are none of them. To
    leave the others out by their conditions takes half as long again."""
    known = {each.minor for each in above}
    walked = ranked.walked(reader.searcher)
    best = _best(reader, ranked.all_hits(), walked, "place", limit, ranked.ranks[-1])
    others = [each for each in best.found if each.minor not in known]
    return Page([*above, *others[: limit - len(above)]], best.total)


def _newest(reader: Reader, ranked: RankedQuery, limit: int, after: Spot | None) -> Page:
    query = _below(ranked, ranked.all_hits(), "first_seen", None if after is None else after[1])
    best = _best(reader, query, ranked.walked(reader.searcher), "first_seen", limit, 0)
    return best if after is None else Page(best.found, None)


def _largest(reader: Reader, ranked: RankedQuery, limit: int, after: Spot | None) -> Page:
    hits, walked = ranked.all_hits(), ranked.walked(reader.searcher)

    def of_size(size: int, before: int | None, wanted: int) -> list[Found]:
        same = all_of([hits, between(ranked.fields, "size", size, size + 1)])
        query = _below(ranked, same, "first_seen", before)
        return _best(reader, query, walked, "first_seen", wanted, size).found

    below: int | None = None
    found: list[Found] = []
    total: int | None = None
    if after is not None:
        below = after[0]
        found = of_size(below, after[1], limit)
    while below != 0 and len(found) < limit:
        smaller = (
            hits if below is None else all_of([hits, between(ranked.fields, "size", 0, below)])
        )
        largest, count = _first(reader, smaller, walked, "size", limit - len(found))
        if below is None:
            total = count
        if not largest:
            break
        below = largest[-1][0]
        above = [(size, address) for size, address in largest if size > below]
        ages = reader.searcher.fast_field_values("first_seen", [address for _, address in above])
        made = [Found(size, age, at) for (size, at), age in zip(above, ages, strict=True)]
        found += sorted(made, key=lambda one: (-one.major, -one.minor))
        found += of_size(below, None, limit - len(found))
    return Page(found, total)


_PAGES: dict[Sort, Callable[[Reader, RankedQuery, int, Spot | None], Page]] = {
    "relevance": _by_rank,
    "newest": _newest,
    "largest": _largest,
}


def _below(ranked: RankedQuery, query: Query, name: str, before: int | None) -> Query:
    if before is None:
        return query
    return all_of([query, between(ranked.fields, name, 0, before)])


def _best(reader: Reader, query: Query, walked: int, name: str, limit: int, major: int) -> Page:
    """They are counted on the way: all of them are gone through in any case."""
    best, count = _first(reader, query, walked, name, limit)
    return Page([Found(major, minor, address) for minor, address in best], count)


def _first(
    reader: Reader, query: Query, walked: int, name: str, limit: int
) -> tuple[list[tuple[int, Any]], int]:
    """The hits with the highest numbers, and how many hits there are."""

    def ask(part: Query) -> Any:
        return reader.searcher.search(part, limit, order_by_field=name)

    answers = reader.threads.together(ask, reader.parts(query, walked))
    hits = [hit for answer in answers for hit in answer.hits]
    if len(answers) > 1:
        hits = nlargest(limit, hits, key=itemgetter(0))
    return hits, sum(int(answer.count) for answer in answers)
