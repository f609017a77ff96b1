"""app.bsky.feed.describeFeedGenerator and getFeedSkeleton: the feeds on Bluesky."""

from __future__ import annotations

from typing import Any

from atdex_appview import cursors
from atdex_appview.context import Context
from atdex_appview.feeds.bluesky import declaration, posts_page
from atdex_appview.feeds.definition import Feed
from atdex_appview.feeds.reading import binding
from atdex_xrpc import Request
from atdex_xrpc.errors import InvalidRequest, shown

UNKNOWN = "UnknownFeed"


def describe_feed_generator(context: Context, request: Request) -> dict[str, Any]:
    return {"did": context.did, "feeds": [{"uri": uri} for uri in _declared(context)]}


def get_feed_skeleton(context: Context, request: Request) -> dict[str, Any]:
    """The posts alone: Bluesky shows nothing else in a feed."""
    params = request.params
    feed = _declared(context).get(params["feed"])
    if feed is None or context.posts is None:
        raise InvalidRequest(
            f"this node answers for no feed {shown(params['feed'])}; "
            "describeFeedGenerator names them",
            error=UNKNOWN,
        )
    key = binding(feed)
    position = cursors.decode(request.nsid, key, params.get("cursor"), shape=(int,))
    after = None if position is None else int(position[0])
    found, more = posts_page(context, context.posts, feed, limit=params["limit"], after=after)
    answer: dict[str, Any] = {"feed": [{"post": uri} for uri in found]}
    if more is not None:
        answer["cursor"] = cursors.encode(request.nsid, key, (more,))
    return answer


def _declared(context: Context) -> dict[str, Feed]:
    """Each feed by the record that declares it."""
    publisher = context.feed_publisher
    if publisher is None:
        return {}
    return {declaration(publisher, feed): feed for feed in context.feeds.values()}
