"""A feed as Bluesky knows feeds: posts, newest first, that name a dataset of the feed.

A post is in the feed while one of the datasets that it names is there, shown, and fits the feed's
filters: so a feed holds no post about nothing, and a takedown of a dataset takes the posts about it
out of the feeds here.

The posts are read a part at a time, and each part's datasets are looked up in one search. A page
looks at so many posts at most: one of a feed that few posts fit may come short, or empty, with a
cursor to go on from. A full walk meets each post that was there and fitted all the time exactly
once; see `posts`.
"""

from __future__ import annotations

from collections.abc import Sequence

from atdex_appview.context import Context
from atdex_appview.feeds.definition import Feed
from atdex_appview.feeds.posts import KeptPost, Posts
from atdex_appview.feeds.reading import among
from atdex_appview.lookup import canonical_uri
from atdex_xrpc.errors import InvalidRequest

GENERATOR = "app.bsky.feed.generator"

SERVICE_ID = "#bsky_fg"
SERVICE_TYPE = "BskyFeedGenerator"

PART = 100
"""Posts looked at together: as many as a page has at most."""

PARTS = 10
"""Parts that one page reads at most: 1,000 posts, some 50 ms."""


def declaration(publisher: str, feed: Feed) -> str:
    """The AT-URI of the record that declares a feed."""
    return f"at://{publisher}/{GENERATOR}/{feed.name}"


def posts_page(
    context: Context, posts: Posts, feed: Feed, *, limit: int, after: int | None
) -> tuple[list[str], int | None]:
    """The URIs of up to `limit` posts after a post's number, and the number to go on from.

    Raises StateUnavailable, SearchUnavailable, StoreUnavailable.
    """
    found: list[str] = []
    for _ in range(PARTS):
        part = posts.before(after, PART)
        fitting = _fitting(context, feed, part)
        for post in part:
            if post.id in fitting:
                if len(found) == limit:
                    return found, after
                found.append(post.uri)
            after = post.id
        if len(part) < PART:
            return found, None
    return found, after


def _fitting(context: Context, feed: Feed, part: Sequence[KeptPost]) -> set[int]:
    named = {post.id: _canonical(context, post) for post in part}
    inside = among(context, feed, [uri for uris in named.values() for uri in uris])
    return {number for number, uris in named.items() if not inside.isdisjoint(uris)}


def _canonical(context: Context, post: KeptPost) -> list[str]:
    uris = []
    for uri in post.datasets:
        try:
            uris.append(canonical_uri(context.store, uri))
        except InvalidRequest:
            continue  # by a handle that nobody has here
    return uris
