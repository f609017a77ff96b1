"""An answer as ASGI messages, with the headers that every answer of this server has."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import orjson
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from atdex_xrpc.errors import XrpcError

Header = tuple[bytes, bytes]

JSON = b"application/json"

PREFLIGHT_SECONDS = 86_400
"""How long a browser may keep a preflight's answer: a day, the most that browsers honour."""

_EVERY_ANSWER: tuple[Header, ...] = (
    (b"access-control-allow-origin", b"*"),
    (
        b"access-control-expose-headers",
        b"RateLimit-Limit, RateLimit-Remaining, RateLimit-Reset, RateLimit-Policy, Retry-After, "
        b"ETag",
    ),
    # An answer quotes text that anybody published: a browser must not read it as a page.
    (b"x-content-type-options", b"nosniff"),
    (b"content-security-policy", b"default-src 'none'; frame-ancestors 'none'"),
)


@dataclass(frozen=True, slots=True)
class Answer:
    """A complete response; callable as an ASGI application."""

    status: int
    body: bytes
    content_type: bytes = JSON
    headers: tuple[Header, ...] = ()

    def with_headers(self, more: Mapping[str, str]) -> Answer:
        added = tuple((name.encode(), value.encode()) for name, value in more.items())
        return replace(self, headers=(*self.headers, *added))

    def all_headers(self) -> list[Header]:
        headers = [*_EVERY_ANSWER, *self.headers]
        if self.status not in (204, 304):
            headers.append((b"content-length", str(len(self.body)).encode()))
        if self.body:
            headers.append((b"content-type", self.content_type))
        return headers

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Sends the answer; to HEAD, the headers alone, the length being that of the body."""
        await send(
            {
                "type": "http.response.start",
                "status": self.status,
                "headers": self.all_headers(),
            }
        )
        body = b"" if scope["method"] == "HEAD" else self.body
        await send({"type": "http.response.body", "body": body})

    def response(self) -> Response:
        """The same for Starlette, whose exception handlers return a Response."""
        response = Response(self.body, self.status)
        response.raw_headers = self.all_headers()
        return response


def json_answer(value: Any, status: int = 200, headers: tuple[Header, ...] = ()) -> Answer:
    return Answer(status, orjson.dumps(value), headers=headers)


def error_answer(error: XrpcError, extra: tuple[Header, ...] = ()) -> Answer:
    """`{error, message}` with the error's status and headers, never to be cached."""
    own = tuple((name.encode(), value.encode()) for name, value in error.all_headers().items())
    return json_answer(error.body(), error.status, ((b"cache-control", b"no-store"), *own, *extra))


def preflight_answer(verbs: tuple[str, ...], requested_headers: bytes | None) -> Answer:
    """What a browser asks before it calls from another origin: all origins, all headers."""
    headers: list[Header] = [
        (b"access-control-allow-methods", ", ".join(verbs).encode()),
        (b"access-control-max-age", str(PREFLIGHT_SECONDS).encode()),
        (b"allow", ", ".join(verbs).encode()),
    ]
    if requested_headers is not None:
        headers.append((b"access-control-allow-headers", requested_headers))
        headers.append((b"vary", b"Access-Control-Request-Headers"))
    return Answer(204, b"", headers=tuple(headers))
