"""searchDatasets: full text over names, descriptions and tags."""

from __future__ import annotations

from typing import Any

from atdex_appview import cursors
from atdex_appview.context import Context
from atdex_appview.lookup import canonical_uri, did_of
from atdex_appview.search import POSITION
from atdex_appview.views import dataset_views
from atdex_xrpc import Request

MILLIONTHS = 1_000_000
"""A lexicon has no floats: a score is served as an integer in millionths."""


def search_datasets(context: Context, request: Request) -> dict[str, Any]:
    """A page of datasets, best first; without `q` newest first. All filters must fit.

    A dataset that left the index between the search and the reading of its record is left out
    of the page; `hitsTotal` is what the search counted.
    """
    params = request.params
    schema, publisher = params.get("schema"), params.get("publisher")
    filters: dict[str, Any] = {
        "q": params.get("q") or "",
        "tags": sorted(set(params.get("tags") or ())),
        "schema": schema and canonical_uri(context.store, schema, parameter="schema"),
        "publisher": publisher and did_of(context.store, publisher, parameter="publisher"),
    }
    found = context.search.search(
        filters["q"],
        tags=filters["tags"],
        schema=filters["schema"],
        publisher=filters["publisher"],
        limit=params["limit"],
        after=cursors.decode(request.nsid, filters, params.get("cursor"), shape=POSITION),
    )
    hits = {hit.uri: hit for hit in found.hits}
    records = context.store.records(list(hits))
    views = dataset_views(context.store, [records[uri] for uri in hits if uri in records])
    for view in views:
        hit = hits[view["uri"]]
        if filters["q"].strip():
            view["score"] = round(hit.score * MILLIONTHS)
        if hit.highlights:
            view["highlights"] = hit.highlights
    answer: dict[str, Any] = {"datasets": views, "hitsTotal": found.total}
    if found.next is not None:
        answer["cursor"] = cursors.encode(request.nsid, filters, found.next)
    return answer
