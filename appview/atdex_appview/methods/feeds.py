"""listFeeds, getFeedSkeleton, getFeed: the feeds that the operator defined."""

from __future__ import annotations

from typing import Any

from atdex_appview import cursors
from atdex_appview.context import Context
from atdex_appview.feeds.definition import Feed
from atdex_appview.feeds.reading import FeedPage, binding, read_page
from atdex_appview.search.index import POSITION
from atdex_appview.views import dataset_views
from atdex_xrpc import Request
from atdex_xrpc.errors import NotFound, shown

NOT_FOUND = "FeedNotFound"


def list_feeds(context: Context, request: Request) -> dict[str, Any]:
    return {"feeds": [_info(feed) for feed in context.feeds.values()]}


def get_feed_skeleton(context: Context, request: Request) -> dict[str, Any]:
    page, more = _page(context, request)
    return {"feed": [{"dataset": record.uri} for record in page.records]} | more


def get_feed(context: Context, request: Request) -> dict[str, Any]:
    page, more = _page(context, request)
    views = dataset_views(context.store, page.records)
    for view in views:
        path = page.paths.get(view["uri"])
        if path is not None:
            view["path"] = {"hops": len(path), "lenses": list(path)}
    return {"datasets": views} | more


def _page(context: Context, request: Request) -> tuple[FeedPage, dict[str, str]]:
    """The page, and its cursor as a part of the answer."""
    name, limit = request.params["feed"], request.params["limit"]
    feed = context.feeds.get(name)
    if feed is None:
        raise NotFound(NOT_FOUND, f"this node has no feed {shown(name)}; listFeeds names them")
    key = binding(feed)
    position = cursors.decode(request.nsid, key, request.params.get("cursor"), shape=POSITION)
    page = read_page(context, feed, limit=limit, after=position)
    more = {}
    if page.next is not None:
        more["cursor"] = cursors.encode(request.nsid, key, page.next)
    return page, more


def _info(feed: Feed) -> dict[str, Any]:
    info = {"feed": feed.name, "title": feed.title}
    return info | ({"description": feed.description} if feed.description else {})
