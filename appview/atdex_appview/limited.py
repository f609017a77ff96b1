"""The rate limit for what is no method: feeds, Croissant documents, the page at the root."""

from __future__ import annotations

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from atdex_xrpc import RateLimit, RateLimitExceeded
from atdex_xrpc.answers import error_answer

PAGE_COST = 2
"""Points of a page: up to a hundred records, made anew for each caller."""

_ELSEWHERE = ("/xrpc/", "/.well-known/")
"""Paths that are limited by method, or that anybody may ask for: who the node is."""


class LimitedPages:
    """An application whose pages cost their callers points of `rate`, as its methods do."""

    def __init__(self, app: ASGIApp, rate: RateLimit) -> None:
        self._app = app
        self._rate = rate

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or scope["path"].startswith(_ELSEWHERE):
            await self._app(scope, receive, send)
            return
        try:
            left = self._rate.take(scope, PAGE_COST)
        except RateLimitExceeded as refusal:
            await error_answer(refusal)(scope, receive, send)
            return
        more = [(name.encode(), value.encode()) for name, value in left.items()]

        async def telling(message: Message) -> None:
            if message["type"] == "http.response.start":
                message = {**message, "headers": [*message["headers"], *more]}
            await send(message)

        await self._app(scope, receive, telling)
