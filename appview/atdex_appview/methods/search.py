"""searchDatasets: full text over names, descriptions and tags."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from atdex_appview import cursors
from atdex_appview.context import Context
from atdex_appview.errors import QueryTooLong
from atdex_appview.page_bytes import searched
from atdex_appview.search.facets import Facet
from atdex_appview.search.filters import Filters
from atdex_appview.search.index import POSITION, Hit, SearchPage
from atdex_appview.search.params import filters_of, uri_of
from atdex_appview.store.base import StoredRecord
from atdex_appview.viewable import Viewable, viewable_as
from atdex_appview.views import View, dataset_views
from atdex_xrpc import Request
from atdex_xrpc.errors import InvalidRequest

MILLIONTHS = 1_000_000
"""A lexicon has no floats: a score is served as an integer in millionths."""


@dataclass(frozen=True, slots=True)
class Asked:
    """A request, read: `key` is what a cursor is bound to, by the names of filters."""

    key: dict[str, Any]
    filters: Filters
    viewable: Viewable | None


def search_datasets(context: Context, request: Request) -> dict[str, Any]:
    """A page of datasets of this node's index, in the order asked for. All filters must fit.

    A dataset that left the index between the search and the reading of its record is left out
    of the page, as is one whose path has; `hitsTotal` is what the search counted.
    """
    asked = read_request(context, request)
    found, records = searched(
        context.store,
        lambda limit: own_page(context, request, asked, limit=limit),
        request.params["limit"],
    )
    viewable = asked.viewable
    answer: dict[str, Any] = {
        "datasets": _views(context, found.hits, records, viewable),
        "hitsTotal": found.total,
    }
    if found.fuzzy:
        answer["fuzzy"] = True
    if viewable is not None:
        answer["maxHops"] = viewable.max_hops
    if found.facets:
        answer["facets"] = [_facet(context, facet) for facet in found.facets]
    if found.next is not None:
        answer["cursor"] = cursors.encode(request.nsid, asked.key, found.next)
    return answer


def read_request(context: Context, request: Request) -> Asked:
    """Raises InvalidRequest for what nothing can fit."""
    params = request.params
    filters = filters_of(context, params)
    asked = filters | {
        "q": params.get("q") or "",
        "sort": params["sort"],
        "viewableAs": uri_of(context, params, "viewableAs"),
        "maxHops": params.get("maxHops"),
    }
    if asked["maxHops"] is not None and asked["viewableAs"] is None:
        raise InvalidRequest("maxHops: it says how far viewableAs looks; give that too")
    viewable: Viewable | None = None
    if asked["viewableAs"] is not None:
        viewable = viewable_as(context.reaches, asked["viewableAs"], asked["maxHops"])
    schemas = None if viewable is None else viewable.schemas
    return Asked(asked, Filters(**filters, schemas=schemas), viewable)


def own_page(
    context: Context, request: Request, asked: Asked, *, limit: int | None = None
) -> SearchPage:
    """The page of this node's index. Raises InvalidRequest."""
    params = request.params
    position = cursors.decode(request.nsid, asked.key, params.get("cursor"), shape=POSITION)
    try:
        return context.search.search(
            asked.key["q"],
            asked.filters,
            sort=asked.key["sort"],
            facets=params.get("facets") or (),
            limit=params["limit"] if limit is None else limit,
            after=position,
        )
    except QueryTooLong as long:
        raise InvalidRequest(f"q: {long}") from None


def _views(
    context: Context,
    found: list[Hit],
    records: Mapping[str, StoredRecord],
    viewable: Viewable | None,
) -> list[View]:
    hits = {hit.uri: hit for hit in found}
    views = []
    for view in dataset_views(context.store, [records[uri] for uri in hits if uri in records]):
        hit = hits[view["uri"]]
        if hit.score is not None:
            view["score"] = round(hit.score * MILLIONTHS)
        if hit.highlights:
            view["highlights"] = hit.highlights
        if viewable is not None:
            path = viewable.path(hit.schema)
            if path is None:
                continue
            view["path"] = {"hops": len(path), "lenses": list(path)}
        views.append(view)
    return views


def _facet(context: Context, facet: Facet) -> dict[str, Any]:
    titles: dict[str, str] = {}
    values = [value for value, _ in facet.values]
    if facet.name == "schemas":
        summaries = context.store.schema_summaries(values)
        titles = {uri: f"{each.name} {each.version}" for uri, each in summaries.items()}
    elif facet.name == "publishers":
        known = context.store.publishers(values)
        titles = {did: each.handle for did, each in known.items() if each.handle}
    return {
        "name": facet.name,
        "values": [
            {"value": value, "count": count} | ({"title": titles[value]} if value in titles else {})
            for value, count in facet.values
        ],
        "more": facet.more,
    }
