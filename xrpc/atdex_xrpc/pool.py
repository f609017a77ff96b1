"""httpx over httpcore with a network backend of our own.

httpx's own transports take no backend; replacing their pool from outside would fail open the day
that the attribute gets another name.
"""

from __future__ import annotations

import math
import ssl
from collections.abc import AsyncIterator, Iterable, Iterator
from contextlib import contextmanager
from typing import cast

import httpcore
import httpx

from atdex_xrpc.timed import within


class PoolTransport(httpx.BaseTransport):
    """Over a `timed.TimedBackend`, an answer that drips ends as well: its head has to be there
    within the four timeouts of the request together, each piece of its body within the one for
    reading.
    """

    def __init__(
        self,
        backend: httpcore.NetworkBackend,
        limits: httpx.Limits,
        verify: ssl.SSLContext | None = None,
    ) -> None:
        self._pool = httpcore.ConnectionPool(
            ssl_context=verify or httpx.create_ssl_context(trust_env=False),
            max_connections=limits.max_connections,
            max_keepalive_connections=limits.max_keepalive_connections,
            keepalive_expiry=limits.keepalive_expiry,
            network_backend=backend,
        )

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        assert isinstance(request.stream, httpx.SyncByteStream)
        whole, piece = _patience(request)
        with _as_httpx(), within(whole):
            response = self._pool.handle_request(_core_request(request, request.stream))
        return httpx.Response(
            response.status,
            headers=response.headers,
            stream=_Stream(cast(Iterable[bytes], response.stream), piece),
            extensions=response.extensions,
        )

    def close(self) -> None:
        self._pool.close()


class AsyncPoolTransport(httpx.AsyncBaseTransport):
    """For asyncio: a deadline for a whole call is its caller's `asyncio.timeout`."""

    def __init__(
        self,
        backend: httpcore.AsyncNetworkBackend,
        limits: httpx.Limits,
        verify: ssl.SSLContext | None = None,
    ) -> None:
        self._pool = httpcore.AsyncConnectionPool(
            ssl_context=verify or httpx.create_ssl_context(trust_env=False),
            max_connections=limits.max_connections,
            max_keepalive_connections=limits.max_keepalive_connections,
            keepalive_expiry=limits.keepalive_expiry,
            network_backend=backend,
        )

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        assert isinstance(request.stream, httpx.AsyncByteStream)
        with _as_httpx():
            response = await self._pool.handle_async_request(_core_request(request, request.stream))
        return httpx.Response(
            response.status,
            headers=response.headers,
            stream=_AsyncStream(cast(AsyncIterator[bytes], response.stream)),
            extensions=response.extensions,
        )

    async def aclose(self) -> None:
        await self._pool.aclose()


def _patience(request: httpx.Request) -> tuple[float, float]:
    """Seconds for the head of an answer, and for one piece of its body."""
    timeouts = request.extensions.get("timeout", {})
    steps = [timeouts.get(name) for name in ("connect", "pool", "write", "read")]
    seconds = [math.inf if step is None else float(step) for step in steps]
    return sum(seconds), seconds[-1]


def _core_request(
    request: httpx.Request, stream: httpx.SyncByteStream | httpx.AsyncByteStream
) -> httpcore.Request:
    url = request.url
    return httpcore.Request(
        method=request.method,
        url=httpcore.URL(
            scheme=url.raw_scheme, host=url.raw_host, port=url.port, target=url.raw_path
        ),
        headers=request.headers.raw,
        content=stream,
        extensions=request.extensions,
    )


class _Stream(httpx.SyncByteStream):
    def __init__(self, inner: Iterable[bytes], piece_seconds: float) -> None:
        self._inner = inner
        self._seconds = piece_seconds

    def __iter__(self) -> Iterator[bytes]:
        pieces = iter(self._inner)
        while True:
            with _as_httpx(), within(self._seconds):
                piece = next(pieces, None)
            if piece is None:
                return
            yield piece

    def close(self) -> None:
        close = getattr(self._inner, "close", None)
        if close is not None:
            close()


class _AsyncStream(httpx.AsyncByteStream):
    def __init__(self, inner: AsyncIterator[bytes]) -> None:
        self._inner = inner

    async def __aiter__(self) -> AsyncIterator[bytes]:
        with _as_httpx():
            async for chunk in self._inner:
                yield chunk

    async def aclose(self) -> None:
        close = getattr(self._inner, "aclose", None)
        if close is not None:
            await close()


_CORE_ERRORS: dict[type[Exception], type[httpx.TransportError]] = {
    httpcore.ConnectTimeout: httpx.ConnectTimeout,
    httpcore.ReadTimeout: httpx.ReadTimeout,
    httpcore.WriteTimeout: httpx.WriteTimeout,
    httpcore.PoolTimeout: httpx.PoolTimeout,
    httpcore.ConnectError: httpx.ConnectError,
    httpcore.ReadError: httpx.ReadError,
    httpcore.WriteError: httpx.WriteError,
    httpcore.LocalProtocolError: httpx.LocalProtocolError,
    httpcore.RemoteProtocolError: httpx.RemoteProtocolError,
    httpcore.UnsupportedProtocol: httpx.UnsupportedProtocol,
}


@contextmanager
def _as_httpx() -> Iterator[None]:
    """httpcore's errors under the names that every caller of httpx knows."""
    try:
        yield
    except tuple(_CORE_ERRORS) as error:
        raise _CORE_ERRORS[type(error)](str(error)) from error
