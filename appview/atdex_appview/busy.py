"""How many requests are answered at once, and what the others are told."""

from __future__ import annotations

from starlette.types import ASGIApp, Receive, Scope, Send

from atdex_xrpc.answers import error_answer
from atdex_xrpc.errors import NodeUnavailable

MAX_REQUESTS = 1000
"""Requests at once: at some 200 a second the last of them waits for five, and a caller who
waits longer has left."""

RETRY_SECONDS = 2
"""Seconds after which a caller who was sent away may ask again."""


class Busy:
    """An application that takes at most `limit` requests at once.

    The others are answered 503 `NodeUnavailable` with Retry-After, in the shape of every other
    refusal. Idle connections count for nothing: those who hold them open shut nobody else out.
    """

    def __init__(self, app: ASGIApp, limit: int = MAX_REQUESTS) -> None:
        self._app = app
        self._limit = limit
        self._under_way = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        if self._under_way >= self._limit:
            refusal = NodeUnavailable(
                "too many requests are under way here.", retry_after=RETRY_SECONDS
            )
            await error_answer(refusal)(scope, receive, send)
            return
        self._under_way += 1
        try:
            await self._app(scope, receive, send)
        finally:
            self._under_way -= 1
