"""Calls the methods of an XRPC service: `Client` from threads, `AsyncClient` from asyncio.

    with Client("https://node.example") as client:
        client.query("app.bsky.atdata.getDataset", uri="at://…")

Every failure is an XrpcError: the class that the handler raised, TransportFailed where no answer
arrived, UnexpectedResponse where it was no XRPC. Over a guarded client (see `addresses`), an
AddressError says that the service must not be connected to. Nothing is retried and no redirect
is followed; `error.transient` says whether another attempt makes sense.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Mapping
from contextlib import aclosing
from time import monotonic
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

import httpx

from atdex_xrpc.calls import MAX_RESPONSE_BYTES, Call, Reply, procedure_call, query_call
from atdex_xrpc.errors import TransportFailed, UnexpectedResponse, UnsafeUrl, XrpcError, shown
from atdex_xrpc.pool import PoolTransport
from atdex_xrpc.targets import check_url
from atdex_xrpc.timed import TimedBackend, within

if TYPE_CHECKING:
    from atdex_lexicons.catalog import Catalog
    from atdex_xrpc.event_frames import Message

TIMEOUT_SECONDS = 30.0
"""For a whole call, connection and body included: the slowest page of a busy node takes 1."""

_LIMITS = httpx.Limits(max_connections=100, max_keepalive_connections=20, keepalive_expiry=5.0)


class _Base:
    """What both clients are told: where, for how long, how much, and what to check."""

    def __init__(
        self,
        base_url: str,
        timeout: float,
        max_bytes: int,
        catalog: Catalog | None,
    ) -> None:
        url = check_url(base_url)
        if url.query or url.fragment:
            raise UnsafeUrl(base_url, "a base URL has no query and no fragment")
        self.base_url = str(url).rstrip("/")
        self._timeout = timeout
        self._max_bytes = max_bytes
        self._catalog = catalog

    def _sending(self, call: Call) -> dict[str, Any]:
        return {
            "method": call.verb,
            "url": call.url,
            "headers": dict(call.headers),
            "content": call.content,
            "timeout": self._timeout,
            "follow_redirects": False,
        }

    def _query(self, nsid: str, params: Mapping[str, Any] | None, more: dict[str, Any]) -> Call:
        return query_call(self.base_url, nsid, dict(**(params or {}), **more))


class Client(_Base):
    """A blocking client; safe to share between threads.

    `http` brings your own httpx client (a guarded one, a proxy, credentials); it is not closed
    here. `timeout` is seconds for a whole call; a client of yours that is not a guarded one looks
    at the clock between pieces of the body alone, so a service that drips its headers can take
    longer. With a `catalog`, the answers of the methods that it knows are validated.
    """

    def __init__(
        self,
        base_url: str,
        *,
        timeout: float = TIMEOUT_SECONDS,
        max_bytes: int = MAX_RESPONSE_BYTES,
        catalog: Catalog | None = None,
        http: httpx.Client | None = None,
    ) -> None:
        super().__init__(base_url, timeout, max_bytes, catalog)
        self._owned = http is None
        self._http = http or httpx.Client(
            transport=PoolTransport(TimedBackend(), _LIMITS), trust_env=False
        )

    def query(self, nsid: str, params: Mapping[str, Any] | None = None, **more: Any) -> Any:
        """The answer of a query. A list is sent as repeated keys, None is left out."""
        return self._send(self._query(nsid, params, more), self._max_bytes).value(self._catalog)

    def query_bytes(
        self, nsid: str, params: Mapping[str, Any] | None = None, *, max_bytes: int, **more: Any
    ) -> bytes:
        """The answer of a query whose output is no JSON, such as getRepo."""
        call = query_call(self.base_url, nsid, dict(**(params or {}), **more), accept="*/*")
        return self._send(call, max_bytes).body()

    def procedure(
        self,
        nsid: str,
        input: Any = None,  # noqa: A002 - the word of the Lexicon specification
        *,
        params: Mapping[str, Any] | None = None,
        encoding: str | None = None,
    ) -> Any:
        """The answer of a procedure. `input` is a JSON value, or bytes with their `encoding`."""
        call = procedure_call(self.base_url, nsid, input, params or {}, encoding)
        return self._send(call, self._max_bytes).value(self._catalog)

    def _send(self, call: Call, max_bytes: int) -> Reply:
        deadline = monotonic() + self._timeout
        try:
            with (
                within(self._timeout),
                self._http.stream(**self._sending(call)) as response,
            ):
                reply = Reply(
                    call,
                    response.status_code,
                    response.headers,
                    max_bytes=max_bytes,
                    deadline=deadline,
                )
                for chunk in response.iter_raw():
                    reply.feed(chunk, monotonic())
        except (httpx.TransportError, httpx.InvalidURL, UnicodeError) as error:
            raise _failed(call, error) from error
        return reply

    def close(self) -> None:
        if self._owned:
            self._http.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()


class AsyncClient(_Base):
    """The same for asyncio; here `timeout` holds for every part of the call."""

    def __init__(
        self,
        base_url: str,
        *,
        timeout: float = TIMEOUT_SECONDS,
        max_bytes: int = MAX_RESPONSE_BYTES,
        catalog: Catalog | None = None,
        http: httpx.AsyncClient | None = None,
    ) -> None:
        super().__init__(base_url, timeout, max_bytes, catalog)
        self._owned = http is None
        self._http = http or httpx.AsyncClient(trust_env=False)

    async def query(self, nsid: str, params: Mapping[str, Any] | None = None, **more: Any) -> Any:
        """The answer of a query. A list is sent as repeated keys, None is left out."""
        reply = await self._send(self._query(nsid, params, more), self._max_bytes)
        return reply.value(self._catalog)

    async def query_bytes(
        self, nsid: str, params: Mapping[str, Any] | None = None, *, max_bytes: int, **more: Any
    ) -> bytes:
        """The answer of a query whose output is no JSON, such as getRepo."""
        call = query_call(self.base_url, nsid, dict(**(params or {}), **more), accept="*/*")
        return (await self._send(call, max_bytes)).body()

    async def procedure(
        self,
        nsid: str,
        input: Any = None,  # noqa: A002 - the word of the Lexicon specification
        *,
        params: Mapping[str, Any] | None = None,
        encoding: str | None = None,
    ) -> Any:
        """The answer of a procedure. `input` is a JSON value, or bytes with their `encoding`."""
        call = procedure_call(self.base_url, nsid, input, params or {}, encoding)
        return (await self._send(call, self._max_bytes)).value(self._catalog)

    async def subscribe(
        self, nsid: str, params: Mapping[str, Any] | None = None, **more: Any
    ) -> AsyncGenerator[Message, None]:
        """The messages of an event stream, over one connection of its own, until it ends.

        Who leaves earlier closes it: `async with aclosing(client.subscribe(…)) as messages`.

        Ends where the service closes the stream without an error. Raises what the service says in
        an error frame as InvalidRequest with its name (`FutureCursor`, `ConsumerTooSlow`), what it
        answers to the handshake as any method does, TransportFailed where the connection breaks,
        and UnexpectedResponse where something comes that is no event stream. The stream does not
        go through `http`, and `timeout` bounds none of it.
        """
        from atdex_xrpc.subscribe import messages

        call = self._query(nsid, params, more)
        async with aclosing(messages(call, self._catalog)) as found:
            async for message in found:
                yield message

    async def _send(self, call: Call, max_bytes: int) -> Reply:
        deadline = monotonic() + self._timeout
        try:
            async with (
                asyncio.timeout(self._timeout),
                self._http.stream(**self._sending(call)) as response,
            ):
                reply = Reply(
                    call,
                    response.status_code,
                    response.headers,
                    max_bytes=max_bytes,
                    deadline=deadline,
                )
                async for chunk in response.aiter_raw():
                    reply.feed(chunk, monotonic())
        except (httpx.TransportError, httpx.InvalidURL, UnicodeError) as error:
            raise _failed(call, error) from error
        except TimeoutError:
            raise TransportFailed(call.url, "the answer took too long") from None
        return reply

    async def close(self) -> None:
        if self._owned:
            await self._http.aclose()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self.close()


def _failed(call: Call, error: httpx.TransportError | httpx.InvalidURL | UnicodeError) -> XrpcError:
    reason = shown(str(error)) or "no answer"
    if isinstance(error, httpx.InvalidURL | UnicodeError):
        # The URL that was asked is fine, so it is the target of a redirect, which httpx parses
        # (a UnicodeError is a host `xn--…` that does not decode).
        return UnexpectedResponse(call.url, f"redirected to what is no URL: {reason}")
    return TransportFailed(call.url, f"{type(error).__name__}: {reason}")
