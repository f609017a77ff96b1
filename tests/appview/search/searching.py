"""Asking a search index, for its tests."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from atdex_appview.search.document import SearchDocument
from atdex_appview.search.filters import Filters
from atdex_appview.search.index import Position, SearchIndex, SearchPage
from atdex_appview.search.order import Sort
from tests.appview.records import document


def rkeys(page: SearchPage) -> list[str]:
    return [hit.uri.rsplit("/", 1)[1] for hit in page.hits]


def chosen(filters: dict[str, Any]) -> Filters:
    return Filters(**filters | {"tags": tuple(filters.get("tags", ()))})


def find(index: SearchIndex, q: str, **filters: Any) -> list[str]:
    """Without those for which typos had to be forgiven."""
    page = index.search(q, chosen(filters), limit=50)
    return [] if page.fuzzy else rkeys(page)


def walk(
    index: SearchIndex,
    q: str,
    limit: int,
    between: Callable[[int], None] = lambda page: None,
    *,
    sort: Sort = "relevance",
    **filters: Any,
) -> tuple[list[str], list[int]]:
    """(rkeys of all pages, the total that each page gave)."""
    found: list[str] = []
    totals: list[int] = []
    after: Position | None = None
    while True:
        page = index.search(q, chosen(filters), sort=sort, limit=limit, after=after)
        assert len(page.hits) <= limit
        found += rkeys(page)
        totals.append(page.total)
        if page.next is None:
            return found, totals
        after = page.next
        between(len(totals))


def stated(rkey: str, seen: int, samples: int | None, **more: Any) -> SearchDocument:
    kept = {name: more.pop(name) for name in ("license", "labelled") if name in more}
    made = document(rkey, more.pop("name", "eye"), seen, **more)
    return made._replace(sample_count=samples, **kept)
