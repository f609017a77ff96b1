"""The datasets of a feed, newest first, a page at a time.

A feed is a search that is saved, and is answered by the search index, so what holds for a walk of
`searchDatasets?sort=newest` holds here: each dataset that was there and fitted all the time comes
exactly once, whatever is inserted, updated or deleted between pages. `first_seen` is unique within
a node, so no two datasets ever tie. Only datasets that the record store shows are given out: what
was deleted or hidden since the page was searched is left out of it.

A feed forgives no misspelling: where nothing has its words, it is empty. A handle in its filters
counts as long as an account here has it; while none has, nothing fits.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from atdex_appview.context import Context
from atdex_appview.feeds.definition import Feed
from atdex_appview.lookup import canonical_uri
from atdex_appview.page_bytes import searched
from atdex_appview.search.filters import Filters
from atdex_appview.search.index import Hit, Position, SearchPage
from atdex_appview.search.params import filters_of
from atdex_appview.store.base import StoredRecord
from atdex_appview.viewable import Viewable, viewable_as
from atdex_xrpc.errors import InvalidRequest


@dataclass(frozen=True, slots=True)
class FeedPage:
    """`paths` are the lenses that lead from a dataset to what the feed is viewable as, by URI."""

    records: list[StoredRecord]
    paths: dict[str, tuple[str, ...]]
    next: Position | None


@dataclass(frozen=True, slots=True)
class _Saved:
    q: str
    filters: Filters
    viewable: Viewable | None


def read_page(
    context: Context, feed: Feed, *, limit: int, after: Sequence[object] | None = None
) -> FeedPage:
    """Raises InvalidPosition, SearchUnavailable, StoreUnavailable."""
    saved = _saved(context, feed)
    if saved is None:
        return FeedPage([], {}, None)
    found, records = searched(
        context.store, lambda most: _search(context, saved, most, after), limit
    )
    return FeedPage(
        [records[hit.uri] for hit in found.hits if hit.uri in records],
        _paths(found.hits, saved.viewable),
        found.next,
    )


def among(context: Context, feed: Feed, uris: Sequence[str]) -> set[str]:
    """Which of some datasets are in the feed, and shown."""
    wanted = tuple(sorted(set(uris)))
    saved = _saved(context, feed, {"uris": wanted})
    if saved is None or not wanted:
        return set()
    hits = _search(context, saved, len(wanted), None).hits
    return set(context.store.records([hit.uri for hit in hits]))


def binding(feed: Feed) -> dict[str, object]:
    """What a cursor of the feed belongs to: its name and what it was defined as."""
    return {"feed": feed.name, "filters": dict(feed.filters)}


def _saved(context: Context, feed: Feed, more: Mapping[str, Any] | None = None) -> _Saved | None:
    """None where a handle in the feed names nobody here, so that nothing can fit."""
    given = feed.filters
    try:
        filters = filters_of(context, given)
        viewable = None
        if "viewableAs" in given:
            target = canonical_uri(context.store, given["viewableAs"])
            viewable = viewable_as(context.reaches, target, given.get("maxHops"))
    except InvalidRequest:
        return None
    schemas = None if viewable is None else viewable.schemas
    made = Filters(**filters, schemas=schemas, **(more or {}))
    return _Saved(given.get("q", ""), made, viewable)


def _search(
    context: Context, saved: _Saved, limit: int, after: Sequence[object] | None
) -> SearchPage:
    found = context.search.search(saved.q, saved.filters, sort="newest", limit=limit, after=after)
    return SearchPage([], 0, None) if found.fuzzy else found


def _paths(hits: Sequence[Hit], viewable: Viewable | None) -> dict[str, tuple[str, ...]]:
    if viewable is None:
        return {}
    found = {hit.uri: viewable.path(hit.schema) for hit in hits}
    return {uri: path for uri, path in found.items() if path is not None}
