"""httpx transports that connect to checked addresses only (see `addresses`).

The guard sits where httpcore opens a connection: that is below redirects, and a pool keeps its
connections by host name, so that a certificate is checked against the name it was opened for.
"""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator, Iterable, Iterator
from contextlib import contextmanager
from time import monotonic
from typing import cast

import httpcore
import httpx

from atdex_xrpc.errors import UnsafeUrl
from atdex_xrpc.targets import AddressPolicy, check_url, resolve, resolve_async


class _Backend(httpcore.NetworkBackend):
    """Opens TCP connections to checked addresses, one after the other until one answers."""

    def __init__(self, policy: AddressPolicy) -> None:
        self._policy = policy
        self._inner = httpcore.SyncBackend()

    def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,
        socket_options: Iterable[httpcore.SOCKET_OPTION] | None = None,
    ) -> httpcore.NetworkStream:
        deadline = _Deadline(timeout)
        with _resolving(host):
            addresses = resolve(host, port, self._policy)
        failure: httpcore.ConnectError | httpcore.ConnectTimeout | None = None
        for address in addresses:
            try:
                return self._inner.connect_tcp(
                    address, port, deadline.left(), local_address, socket_options
                )
            except (httpcore.ConnectError, httpcore.ConnectTimeout) as error:
                failure = error
        raise failure or httpcore.ConnectError(f"{host} has no address")


class _AsyncBackend(httpcore.AsyncNetworkBackend):
    def __init__(self, policy: AddressPolicy) -> None:
        self._policy = policy
        self._inner = httpcore.AnyIOBackend()

    async def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,  # noqa: ASYNC109 - the interface is httpcore's
        local_address: str | None = None,
        socket_options: Iterable[httpcore.SOCKET_OPTION] | None = None,
    ) -> httpcore.AsyncNetworkStream:
        deadline = _Deadline(timeout)
        with _resolving(host):
            async with asyncio.timeout(timeout):
                addresses = await resolve_async(host, port, self._policy)
        failure: httpcore.ConnectError | httpcore.ConnectTimeout | None = None
        for address in addresses:
            try:
                return await self._inner.connect_tcp(
                    address, port, deadline.left(), local_address, socket_options
                )
            except (httpcore.ConnectError, httpcore.ConnectTimeout) as error:
                failure = error
        raise failure or httpcore.ConnectError(f"{host} has no address")

    async def sleep(self, seconds: float) -> None:
        await self._inner.sleep(seconds)


class _Deadline:
    """One timeout for all addresses of a host together."""

    def __init__(self, timeout: float | None) -> None:
        self._end = None if timeout is None else monotonic() + timeout

    def left(self) -> float | None:
        if self._end is None:
            return None
        left = self._end - monotonic()
        if left <= 0:
            raise httpcore.ConnectTimeout("no address answered in time")
        return left


@contextmanager
def _resolving(host: str) -> Iterator[None]:
    try:
        yield
    except TimeoutError:
        raise httpcore.ConnectTimeout(f"{host} was not resolved in time") from None
    except (OSError, UnicodeError) as error:  # UnicodeError: a label that no resolver takes
        raise httpcore.ConnectError(f"{host} cannot be resolved: {error}") from None


class GuardedTransport(httpx.BaseTransport):
    """httpx over a pool of guarded connections.

    httpx's own transport takes no network backend; replacing its pool from outside would
    fail open the day that the attribute gets another name.
    """

    def __init__(
        self, policy: AddressPolicy, limits: httpx.Limits, verify: ssl.SSLContext | None
    ) -> None:
        self._pool = httpcore.ConnectionPool(
            ssl_context=verify or httpx.create_ssl_context(trust_env=False),
            max_connections=limits.max_connections,
            max_keepalive_connections=limits.max_keepalive_connections,
            keepalive_expiry=limits.keepalive_expiry,
            network_backend=_Backend(policy),
        )

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        check_url(str(request.url))
        assert isinstance(request.stream, httpx.SyncByteStream)
        with _as_httpx():
            response = self._pool.handle_request(_core_request(request, request.stream))
        try:
            _check_redirect(request, response)
        except UnsafeUrl:
            response.close()
            raise
        return httpx.Response(
            response.status,
            headers=response.headers,
            stream=_Stream(cast(Iterable[bytes], response.stream)),
            extensions=response.extensions,
        )

    def close(self) -> None:
        self._pool.close()


class AsyncGuardedTransport(httpx.AsyncBaseTransport):
    def __init__(
        self, policy: AddressPolicy, limits: httpx.Limits, verify: ssl.SSLContext | None
    ) -> None:
        self._pool = httpcore.AsyncConnectionPool(
            ssl_context=verify or httpx.create_ssl_context(trust_env=False),
            max_connections=limits.max_connections,
            max_keepalive_connections=limits.max_keepalive_connections,
            keepalive_expiry=limits.keepalive_expiry,
            network_backend=_AsyncBackend(policy),
        )

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        check_url(str(request.url))
        assert isinstance(request.stream, httpx.AsyncByteStream)
        with _as_httpx():
            response = await self._pool.handle_async_request(_core_request(request, request.stream))
        try:
            _check_redirect(request, response)
        except UnsafeUrl:
            await response.aclose()
            raise
        return httpx.Response(
            response.status,
            headers=response.headers,
            stream=_AsyncStream(cast(AsyncIterator[bytes], response.stream)),
            extensions=response.extensions,
        )

    async def aclose(self) -> None:
        await self._pool.aclose()


_REDIRECTS = (301, 302, 303, 307, 308)


def _check_redirect(request: httpx.Request, response: httpcore.Response) -> None:
    """Raises UnsafeUrl for a target that no guarded client would open.

    httpx parses it next, followed or not, and lets some errors of that pass as `InvalidURL`,
    which is no `HTTPError`.
    """
    if response.status not in _REDIRECTS:
        return
    location = httpx.Headers(response.headers).get("location")
    if location is None:
        return
    try:
        target = request.url.join(location)
    except httpx.InvalidURL as error:
        raise UnsafeUrl(location, f"it is not a URL ({error})") from None
    check_url(str(target))


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
    def __init__(self, inner: Iterable[bytes]) -> None:
        self._inner = inner

    def __iter__(self) -> Iterator[bytes]:
        with _as_httpx():
            yield from self._inner

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
