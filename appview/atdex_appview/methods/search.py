"""searchDatasets: full text over names, descriptions and tags."""

from __future__ import annotations

from typing import Any

from atdex_appview import cursors
from atdex_appview.context import Context
from atdex_appview.errors import QueryTooLong
from atdex_appview.search import POSITION, Hit
from atdex_appview.search_facets import Facet
from atdex_appview.search_filters import Filters
from atdex_appview.search_params import filters_of, uri_of
from atdex_appview.viewable import Viewable, viewable_as
from atdex_appview.views import View, dataset_views
from atdex_xrpc import Request
from atdex_xrpc.errors import InvalidRequest

MILLIONTHS = 1_000_000
"""A lexicon has no floats: a score is served as an integer in millionths."""


def search_datasets(context: Context, request: Request) -> dict[str, Any]:
    """A page of datasets in the order asked for. All filters must fit.

    A dataset that left the index between the search and the reading of its record is left out
    of the page, as is one whose path has; `hitsTotal` is what the search counted.
    """
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
    position = cursors.decode(request.nsid, asked, params.get("cursor"), shape=POSITION)
    viewable: Viewable | None = None
    if asked["viewableAs"] is not None:
        viewable = viewable_as(context.reaches, asked["viewableAs"], asked["maxHops"])
    try:
        found = context.search.search(
            asked["q"],
            Filters(**filters, schemas=None if viewable is None else viewable.schemas),
            sort=asked["sort"],
            facets=params.get("facets") or (),
            limit=params["limit"],
            after=position,
        )
    except QueryTooLong as long:
        raise InvalidRequest(f"q: {long}") from None
    answer: dict[str, Any] = {
        "datasets": _views(context, found.hits, viewable),
        "hitsTotal": found.total,
    }
    if found.fuzzy:
        answer["fuzzy"] = True
    if viewable is not None:
        answer["maxHops"] = viewable.max_hops
    if found.facets:
        answer["facets"] = [_facet(context, facet) for facet in found.facets]
    if found.next is not None:
        answer["cursor"] = cursors.encode(request.nsid, asked, found.next)
    return answer


def _views(context: Context, found: list[Hit], viewable: Viewable | None) -> list[View]:
    hits = {hit.uri: hit for hit in found}
    records = context.store.records(list(hits))
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
