"""Which endpoint a path leads to: one dictionary, no patterns."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Mapping
from time import perf_counter
from typing import Any, Protocol

from starlette.routing import BaseRoute, Match
from starlette.types import Receive, Scope, Send

from atdex_xrpc.answers import Answer, error_answer, json_answer, preflight_answer
from atdex_xrpc.body import Disconnected
from atdex_xrpc.errors import (
    InvalidRequest,
    MethodNotAllowed,
    MethodNotImplemented,
    NodeUnavailable,
    UpstreamFailure,
    UriTooLong,
    XrpcError,
    shown,
)
from atdex_xrpc.subscription import Subscription, refuse

logger = logging.getLogger("atdex_xrpc.server")

MAX_URL_BYTES = 32_768
"""Of path and query: 25 AT-URIs of the usual length need 4,000, one of the longest 8,192."""

HEALTH_SECONDS = 5.0
"""For the health check to answer: a probe that waits longer counts the node as down anyway."""

XRPC = "/xrpc/"

Health = Callable[[], Awaitable[Mapping[str, Any]]]


class Endpoint(Protocol):
    """What a path leads to. `verbs` are the HTTP methods it takes."""

    @property
    def verbs(self) -> tuple[str, ...]: ...

    def refuse_verb(self, verb: str) -> XrpcError: ...

    async def answer(self, scope: Scope, receive: Receive) -> Answer: ...


class Page:
    """An endpoint outside of the catalog, such as the health check: GET, answered as JSON."""

    verbs = ("GET", "HEAD", "OPTIONS")

    def __init__(self, get: Callable[[], Awaitable[Answer]]) -> None:
        self._get = get

    def refuse_verb(self, verb: str) -> XrpcError:
        return MethodNotAllowed(f"GET only, not {shown(verb, 20)}")

    async def answer(self, scope: Scope, receive: Receive) -> Answer:
        return await self._get()


def health_page(health: Health) -> Page:
    """200 with what `health` says; 503 where it says `{"ok": false}`, raises NodeUnavailable or
    takes longer than HEALTH_SECONDS.
    """

    async def get() -> Answer:
        try:
            async with asyncio.timeout(HEALTH_SECONDS):
                said = dict(await health())
        except TimeoutError:
            raise NodeUnavailable(
                f"the health check took longer than {HEALTH_SECONDS:g} s"
            ) from None
        status = 503 if said.get("ok") is False else 200
        return json_answer(said, status, ((b"cache-control", b"no-store"),))

    return Page(get)


def constant_page(value: Mapping[str, Any]) -> Page:
    """A document that never changes, such as the DID document."""
    answer = json_answer(dict(value))

    async def get() -> Answer:
        return answer

    return Page(get)


class _NotImplemented:
    """Every name below /xrpc/ that has no handler, whatever the HTTP method."""

    verbs = ("GET", "HEAD", "POST", "OPTIONS")

    def refuse_verb(self, verb: str) -> XrpcError:
        return MethodNotImplemented(f"{shown(verb, 20)} calls no method")

    async def answer(self, scope: Scope, receive: Receive) -> Answer:
        name = _path(scope).removeprefix(XRPC)
        raise MethodNotImplemented(f"{shown(name)} is not served here")


class XrpcRoute(BaseRoute):
    """All endpoints as one Starlette route. Unknown names below /xrpc/ are its own too."""

    def __init__(self, endpoints: Mapping[str, Endpoint]) -> None:
        self._endpoints = dict(endpoints)
        self._unknown = _NotImplemented()

    def matches(self, scope: Scope) -> tuple[Match, Scope]:
        if scope["type"] not in ("http", "websocket") or self._find(_path(scope)) is None:
            return Match.NONE, {}
        return Match.FULL, {}

    def _find(self, path: str) -> Endpoint | None:
        endpoint = self._endpoints.get(path)
        if endpoint is None and path.startswith(XRPC):
            name = path[len(XRPC) :]
            # What starts with `_` is a page of some servers, not a method.
            if name and "/" not in name and not name.startswith("_"):
                return self._unknown
        return endpoint

    async def handle(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "websocket":
            await self._stream(scope, receive, send)
            return
        started = perf_counter()
        try:
            answer = await self._answer(scope, receive)
        except Disconnected:
            logger.debug("%s: the client left", shown(scope["path"]))
            return
        if logger.isEnabledFor(logging.DEBUG):
            took = (perf_counter() - started) * 1000
            verb, path = scope["method"], shown(scope["path"])
            logger.debug("%s %s %d %.1f ms", verb, path, answer.status, took)
        await answer(scope, receive, send)

    async def _stream(self, scope: Scope, receive: Receive, send: Send) -> None:
        endpoint = self._find(_path(scope))
        if isinstance(endpoint, Subscription):
            await endpoint.serve(scope, receive, send)
            return
        await receive()
        name = shown(_path(scope).removeprefix(XRPC))
        error: XrpcError = InvalidRequest(f"{name} is no event stream")
        if endpoint is self._unknown:
            error = MethodNotImplemented(f"{name} is not served here")
        await refuse(error, scope, send)

    async def _answer(self, scope: Scope, receive: Receive) -> Answer:
        endpoint = self._find(_path(scope))
        assert endpoint is not None
        verb = scope["method"]
        allow = ((b"allow", ", ".join(endpoint.verbs).encode()),)
        try:
            size = len(scope.get("raw_path") or scope["path"]) + len(scope["query_string"])
            if size > MAX_URL_BYTES:
                raise UriTooLong(f"the URL is longer than {MAX_URL_BYTES} bytes")
            if verb == "OPTIONS":
                return preflight_answer(endpoint.verbs, _requested_headers(scope))
            if verb not in endpoint.verbs:
                return error_answer(endpoint.refuse_verb(verb), allow)
            return await endpoint.answer(scope, receive)
        except XrpcError as error:
            if error.url is None:
                return error_answer(error)
            logger.warning("%s: a service that was asked failed: %s", shown(scope["path"]), error)
            return error_answer(UpstreamFailure("a service that this one depends on failed"))


def _path(scope: Scope) -> str:
    path: str = scope["path"]
    return path.removeprefix(scope.get("root_path", ""))


def _requested_headers(scope: Scope) -> bytes | None:
    for name, value in scope["headers"]:
        if name == b"access-control-request-headers":
            return bytes(value)
    return None
