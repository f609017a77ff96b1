"""`/feeds/NAME.atom`, `.rss` and `.json`: the newest datasets of a feed for readers of feeds.

A reader asks again and again, and mostly nothing is new. So a page that was written is kept while
the index has not changed, and a client that has it already is told so (304).

`Last-Modified` is when this process first saw the page as it is, never earlier than the second
after the one of the page before it: two pages never share a date, so a client that has an older
one is never told that it is current, even where a dataset left and nothing newer came. While that
second is not over yet, no date is given. A restart forgets the dates, which costs one answer in
full.
"""

from __future__ import annotations

import asyncio
import logging
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlencode

import orjson
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from atdex_appview.context import Context
from atdex_appview.errors import SearchError, StoreError
from atdex_appview.feeds.conditional import http_date, is_current
from atdex_appview.feeds.definition import Feed
from atdex_appview.feeds.reading import read_page
from atdex_appview.feeds.syndication import FORMATS, Channel, Entry
from atdex_appview.store.base import StoredRecord
from atdex_appview.views import UNREADABLE
from atdex_firehose.did import INVALID_HANDLE
from atdex_lexicons.families import project
from atdex_lexicons.families.app_bsky_atdata import FAMILY
from atdex_lexicons.model import Dataset
from atdex_xrpc.answers import Answer, error_answer
from atdex_xrpc.errors import NodeUnavailable, NotFound, shown
from atdex_xrpc.etags import tag_of

log = logging.getLogger(__name__)

ENTRIES = 50
"""Entries of a page: what readers of feeds commonly get, and more than one of them misses between
two visits. Who wants all of a feed walks getFeed."""

FRESH_SECONDS = 30.0
"""How long a page is kept at most, though the index seems unchanged: some things that it shows,
such as what can be viewed as a schema, follow a moment after the records."""

CACHE_CONTROL = b"public, max-age=60"
"""A minute: what a proxy in front may save a busy node, and no reader notices."""

ROUTE = "/feeds/{file}"


@dataclass(frozen=True, slots=True)
class _Page:
    state: tuple[object, ...]
    made_at: float
    body: bytes
    etag: str
    modified: int


class FeedPages:
    """The pages of all feeds. Safe to use from any thread. `clock` is in seconds since the epoch.

    Memory: one page for each feed and format, each of 50 entries that lexicons bound.
    """

    def __init__(self, context: Context, *, clock: Callable[[], float] = time.time) -> None:
        self._context = context
        self._clock = clock
        self._pages: dict[tuple[str, str], _Page] = {}
        self._lock = threading.Lock()

    def route(self) -> Route:
        return Route(ROUTE, self._serve, methods=["GET"])

    async def _serve(self, request: Request) -> Response:
        name, _, extension = request.path_params["file"].rpartition(".")
        feed = self._context.feeds.get(name)
        if feed is None or extension not in FORMATS:
            known = ", ".join(f".{each}" for each in FORMATS)
            wrong = NotFound("FeedNotFound", f"{shown(request.url.path)} is no feed ({known}) here")
            return error_answer(wrong).response()
        try:
            answer = await asyncio.to_thread(self.answer, feed, extension, dict(request.headers))
        except (StoreError, SearchError) as failure:
            log.error("%s failed: %s", request.url.path, failure)
            return error_answer(NodeUnavailable("the index does not answer.")).response()
        response = answer.response()
        if request.method == "HEAD":
            response.body = b""
        return response

    def answer(self, feed: Feed, extension: str, headers: dict[str, str]) -> Answer:
        """200 or 304. Raises StoreError, SearchError."""
        page = self._page(feed, extension)
        dated = page.modified < int(self._clock())
        told = [(b"etag", page.etag.encode()), (b"cache-control", CACHE_CONTROL)]
        if dated:
            told.append((b"last-modified", http_date(page.modified).encode()))
        if is_current(headers, page.etag, page.modified if dated else None):
            return Answer(304, b"", headers=tuple(told))
        media_type = FORMATS[extension].media_type.encode()
        return Answer(200, page.body, content_type=media_type, headers=tuple(told))

    def _page(self, feed: Feed, extension: str) -> _Page:
        # Read first: what changes while the page is written makes it old at once.
        state = (self._context.store.change_number(), self._context.search.state)
        now = self._clock()
        key = (feed.name, extension)
        known = self._pages.get(key)
        if known and known.state == state and 0 <= now - known.made_at < FRESH_SECONDS:
            return known
        body = self._write(feed, extension)
        etag = tag_of(body)
        with self._lock:
            before = self._pages.get(key)
            modified = int(now)
            if before is not None:
                modified = max(modified, before.modified + 1)
                if before.etag == etag:
                    modified = before.modified
            page = self._pages[key] = _Page(state, now, body, etag, modified)
        return page

    def _write(self, feed: Feed, extension: str) -> bytes:
        context = self._context
        records = read_page(context, feed, limit=ENTRIES).records
        publishers = context.store.publishers(sorted({record.did for record in records}))
        entries = []
        for record in records:
            model = _model(record)
            if model is None:
                continue
            known = publishers.get(record.did)
            handle = known.handle if known else None
            entries.append(
                Entry(
                    uri=record.uri,
                    url=f"{context.origin}/xrpc/{FAMILY.name}.getDataset?"
                    + urlencode({"uri": record.uri}),
                    title=model.name,
                    text=model.description,
                    author=handle if handle and handle != INVALID_HANDLE else record.did,
                    author_uri=f"at://{record.did}",
                    published=record.first_seen,
                    updated=record.indexed_at,
                    tags=model.tags,
                    license=model.license,
                )
            )
        channel = Channel(
            title=feed.title,
            text=feed.description,
            url=f"{context.origin}/feeds/{feed.name}.{extension}",
            home=f"{context.origin}/",
            updated=max((entry.updated for entry in entries), default=0),
        )
        return FORMATS[extension].write(channel, entries)


def _model(record: StoredRecord) -> Dataset | None:
    try:
        model: Any = project(record.collection, orjson.loads(record.json))
    except UNREADABLE as failure:
        log.error("left out a stored record: %r", failure, extra={"uri": record.uri})
        return None
    return model if isinstance(model, Dataset) else None
