"""httpx transports that connect to checked addresses only (see `addresses`).

The guard sits where httpcore opens a connection: that is below redirects, and a pool keeps its
connections by host name, so that a certificate is checked against the name it was opened for.
"""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from time import monotonic

import httpcore
import httpx

from atdex_xrpc.errors import UnsafeUrl
from atdex_xrpc.pool import AsyncPoolTransport, PoolTransport
from atdex_xrpc.targets import AddressPolicy, check_url, resolve, resolve_async
from atdex_xrpc.timed import TimedBackend


class _Backend(httpcore.NetworkBackend):
    """Opens TCP connections to checked addresses, one after the other until one answers."""

    def __init__(self, policy: AddressPolicy) -> None:
        self._policy = policy
        self._inner = TimedBackend()

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


class GuardedTransport(PoolTransport):
    def __init__(
        self, policy: AddressPolicy, limits: httpx.Limits, verify: ssl.SSLContext | None
    ) -> None:
        super().__init__(_Backend(policy), limits, verify)

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        check_url(str(request.url))
        response = super().handle_request(request)
        try:
            _check_redirect(request, response)
        except UnsafeUrl:
            response.close()
            raise
        return response


class AsyncGuardedTransport(AsyncPoolTransport):
    def __init__(
        self, policy: AddressPolicy, limits: httpx.Limits, verify: ssl.SSLContext | None
    ) -> None:
        super().__init__(_AsyncBackend(policy), limits, verify)

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        check_url(str(request.url))
        response = await super().handle_async_request(request)
        try:
            _check_redirect(request, response)
        except UnsafeUrl:
            await response.aclose()
            raise
        return response


_REDIRECTS = (301, 302, 303, 307, 308)


def _check_redirect(request: httpx.Request, response: httpx.Response) -> None:
    """Raises UnsafeUrl for a target that no guarded client would open.

    httpx parses it next, followed or not, and lets some errors of that pass as `InvalidURL`,
    which is no `HTTPError`.
    """
    if response.status_code not in _REDIRECTS:
        return
    location = response.headers.get("location")
    if location is None:
        return
    try:
        target = request.url.join(location)
    except httpx.InvalidURL as error:
        raise UnsafeUrl(location, f"it is not a URL ({error})") from None
    check_url(str(target))
