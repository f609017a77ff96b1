"""searchDatasets, over this node alone or, with `federate`, over its peers as well."""

from __future__ import annotations

import asyncio
from typing import Any

from atdex_appview.context import Context
from atdex_appview.federation.peers import HOP_HEADER, PeerAnswer
from atdex_appview.federation.search import Found, Question
from atdex_appview.methods.search import MILLIONTHS, Asked, own_page, read_request, search_datasets
from atdex_appview.views import View, dataset_views
from atdex_xrpc import Request
from atdex_xrpc.errors import InvalidRequest, NodeUnavailable

ONE_PAGE = "a federated answer is one page: leave it out, and give a higher limit"
ONE_NODE = "counts of several nodes cannot be added up: ask each node for its own"


async def search(context: Context, request: Request) -> dict[str, Any]:
    """A question that came from another node is answered from this index, whatever it asks."""
    if not request.params["federate"] or HOP_HEADER in request.headers:
        return await asyncio.to_thread(search_datasets, context, request)
    if "cursor" in request.params:
        raise InvalidRequest(f"cursor: {ONE_PAGE}")
    if request.params.get("facets"):
        raise InvalidRequest(f"facets: {ONE_NODE}")
    if context.federation is None:
        raise NodeUnavailable("this node asks no others.")
    asked = await asyncio.to_thread(read_request, context, request)
    question = Question(
        nsid=request.nsid,
        params=_for_peers(asked, request),
        q=asked.key["q"],
        filters=asked.filters,
        limit=request.params["limit"],
    )
    page = await context.federation.search(
        context.store, question, lambda: own_page(context, request, asked)
    )
    views = await asyncio.to_thread(_views, context, page.found, asked)
    answer: dict[str, Any] = {
        "datasets": views,
        "hitsTotal": page.nodes[0].total,
        "nodes": [_node(node) for node in page.nodes],
        "partial": page.partial,
    }
    if page.fuzzy:
        answer["fuzzy"] = True
    if asked.viewable is not None:
        answer["maxHops"] = asked.viewable.max_hops
    return answer


def _for_peers(asked: Asked, request: Request) -> dict[str, Any]:
    """The same question with what this node has resolved; never one to pass on again."""
    resolved = {
        "schema": asked.key["schema"],
        "publisher": asked.key["publisher"],
        "viewableAs": asked.key["viewableAs"],
    }
    kept = {n: v for n, v in request.params.items() if n not in ("federate", *resolved)}
    return kept | {name: value for name, value in resolved.items() if value is not None}


def _views(context: Context, found: list[Found], asked: Asked) -> list[View]:
    by_uri = {each.record.uri: each for each in found}
    views = []
    for view in dataset_views(context.store, [each.record for each in found]):
        each = by_uri[view["uri"]]
        view["score"] = round(each.score * MILLIONTHS)
        view["sources"] = list(each.sources)
        if each.hit.highlights:
            view["highlights"] = each.hit.highlights
        if each.fetched:
            view["fetched"] = True
            if each.handle is not None:
                view["publisher"]["handle"] = each.handle
        if asked.viewable is not None:
            path = asked.viewable.path(each.hit.schema)
            if path is None:
                continue
            view["path"] = {"hops": len(path), "lenses": list(path)}
        views.append(view)
    return views


def _node(node: PeerAnswer) -> dict[str, Any]:
    said: dict[str, Any] = {"url": node.url, "status": node.outcome}
    if node.total is not None:
        said["hitsTotal"] = node.total
    if node.reason:
        said["message"] = node.reason
    return said
