"""One event stream of the server: a document of type subscription, served over WebSockets.

    params -> auth -> rate limit -> a place -> handler: frames, as long as it gives some

What fails before the stream begins is answered as HTTP, in the shape of every other refusal. Then
an XrpcError of the handler becomes the error frame, the last one, before the close with 1008.

Nothing is kept here for a client that reads slowly: the handler is asked for the next frame once
the socket has taken the last one. A client whose socket takes nothing for SEND_SECONDS is cut off.
"""

from __future__ import annotations

import asyncio
import logging
from collections import Counter
from collections.abc import AsyncIterator, Callable
from contextlib import ExitStack, aclosing, contextmanager, suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from starlette.datastructures import Headers
from starlette.types import Receive, Scope, Send

from atdex_lexicons.errors import Invalid, listed
from atdex_xrpc.answers import Answer, error_answer
from atdex_xrpc.callers import bucket
from atdex_xrpc.errors import (
    InternalServerError,
    InvalidAnswer,
    InvalidRequest,
    NodeUnavailable,
    RateLimitExceeded,
    RegistrationError,
    XrpcError,
    shown,
)
from atdex_xrpc.event_frames import error_frame, parse_frame
from atdex_xrpc.method import Door, Request
from atdex_xrpc.params import parse_query
from atdex_xrpc.rate_limit import Cost

if TYPE_CHECKING:
    from collections.abc import Iterator

    from atdex_lexicons.catalog import Catalog

logger = logging.getLogger("atdex_xrpc.server")

SEND_SECONDS = 15.0
"""For the socket to take one frame: what it holds back is tens of KB, and the kernel's buffers."""

FAREWELL_SECONDS = 2.0
"""For the error frame and the close to leave, to a client that may not be reading."""

TURN_FRAMES = 64
"""Frames sent before other tasks get a turn: under a millisecond of work."""

MAX_CONNECTIONS = 500
"""Streams at once: each costs a socket and some 100 KB."""

MAX_OF_ONE_CALLER = 10
"""Streams of one address."""

OPENING_COST = 10
"""Points of opening a stream, where there is a rate limit."""

MAX_MESSAGES_IN = 100
"""Messages of a client, which have no meaning, before it is cut off."""

TOO_SLOW = "ConsumerTooSlow"

Frames = Callable[[Request], AsyncIterator[bytes]]
"""A handler: gives frames (see `event_frames`), ready to be sent."""


class _Gone(Exception):
    """The client left while a frame was on its way."""


class Places:
    """How many streams are open, in all and of each caller."""

    def __init__(self, total: int = MAX_CONNECTIONS, of_one: int = MAX_OF_ONE_CALLER) -> None:
        self._total = total
        self._of_one = of_one
        self._taken: Counter[str] = Counter()
        self.open = 0

    @contextmanager
    def place(self, caller: str, *, local: bool) -> Iterator[None]:
        """Raises NodeUnavailable or RateLimitExceeded where there is none."""
        if self.open >= self._total:
            raise NodeUnavailable("too many streams are open here", retry_after=60)
        if not local and self._taken[caller] >= self._of_one:
            raise RateLimitExceeded("too many streams of this address are open", retry_after=60)
        self.open += 1
        self._taken[caller] += 1
        try:
            yield
        finally:
            self.open -= 1
            self._taken[caller] -= 1
            if not self._taken[caller]:
                del self._taken[caller]


@dataclass(frozen=True, slots=True)
class StreamLimits:
    """See the constants of this module."""

    places: Places
    send_seconds: float = SEND_SECONDS


class Subscription:
    """A handler with its document. Raises RegistrationError where the two cannot meet.

    To HTTP it is an endpoint that says what it is.
    """

    verbs = ("GET", "HEAD", "OPTIONS")

    def __init__(
        self,
        catalog: Catalog,
        nsid: str,
        handler: Frames,
        limits: StreamLimits,
        *,
        door: Door,
        cost: Cost = OPENING_COST,
        check_output: bool,
    ) -> None:
        kind = catalog.kind(nsid) if nsid in catalog else None
        if kind != "subscription":
            raise RegistrationError(
                nsid,
                "the catalog has no document of that name"
                if kind is None
                else f"a {kind} is no event stream",
            )
        self.nsid = nsid
        self._catalog = catalog
        self._handler = handler
        self._limits = limits
        self._door = door
        self._cost = cost
        self._check = check_output

    def refuse_verb(self, verb: str) -> XrpcError:
        return InvalidRequest(f"{self.nsid} is no {shown(verb, 20)} but a WebSocket")

    async def answer(self, scope: Scope, receive: Receive) -> Answer:
        raise InvalidRequest(f"{self.nsid} is an event stream: open a WebSocket")

    async def serve(self, scope: Scope, receive: Receive, send: Send) -> None:
        """From the handshake to the close."""
        if (await receive())["type"] != "websocket.connect":
            return
        with ExitStack() as stack:
            try:
                request = await self._opened(scope)
                caller, local = bucket(request.client_ip), self._door.callers.is_local(scope)
                stack.enter_context(self._limits.places.place(caller, local=local))
            except XrpcError as error:
                await refuse(error, scope, send)
                return
            await send({"type": "websocket.accept"})
            await self._stream(request, receive, send)

    async def _opened(self, scope: Scope) -> Request:
        try:
            params = self._catalog.parse_params(self.nsid, parse_query(scope["query_string"]))
        except Invalid as error:
            raise InvalidRequest(listed(error.problems)) from None
        headers = Headers(scope=scope)
        viewer = None
        if self._door.auth is not None:
            viewer = await self._door.auth.viewer(headers, self.nsid, changes=False)
        address = self._door.callers.address(scope)
        request = Request(self.nsid, params, None, headers, address, viewer)
        if self._door.rate is not None:
            cost = self._cost if isinstance(self._cost, int) else self._cost(request)
            self._door.rate.take(scope, cost, viewer=viewer)
        return request

    async def _stream(self, request: Request, receive: Receive, send: Send) -> None:
        sending = asyncio.create_task(self._send_all(request, send))
        leaving = asyncio.create_task(_until_gone(receive))
        try:
            await asyncio.wait({sending, leaving}, return_when=asyncio.FIRST_COMPLETED)
            if not sending.done():
                return  # nobody is there
            failure = sending.exception()
        finally:
            for task in (sending, leaving):
                task.cancel()
            await asyncio.gather(sending, leaving, return_exceptions=True)
        if not isinstance(failure, _Gone):
            await self._farewell(failure, send)

    async def _send_all(self, request: Request, send: Send) -> None:
        count = 0
        async with aclosing(_generator(self._handler(request))) as frames:
            async for frame in frames:
                if self._check:
                    self._validate(frame)
                try:
                    async with asyncio.timeout(self._limits.send_seconds):
                        await send({"type": "websocket.send", "bytes": frame})
                except TimeoutError:
                    raise too_slow() from None
                except OSError as failure:
                    raise _Gone from failure
                count += 1
                if count % TURN_FRAMES == 0:
                    await asyncio.sleep(0)

    def _validate(self, frame: bytes) -> None:
        message = parse_frame(frame)
        try:
            self._catalog.validate_message(self.nsid, dict(message.body), message.kind)
        except Invalid as error:
            raise InvalidAnswer(self.nsid, listed(error.problems)) from error

    async def _farewell(self, failure: BaseException | None, send: Send) -> None:
        told: XrpcError | None = None
        if isinstance(failure, XrpcError):
            told = failure
        elif failure is not None:
            logger.error("%s failed: %s", self.nsid, type(failure).__name__)
            told = InternalServerError("the stream cannot go on")
        with suppress(TimeoutError, OSError):  # OSError: the client has left meanwhile
            async with asyncio.timeout(FAREWELL_SECONDS):
                if told is not None:
                    frame = error_frame(told.error, told.message)
                    await send({"type": "websocket.send", "bytes": frame})
                code, reason = (1000, "") if told is None else (1008, told.error)
                await send({"type": "websocket.close", "code": code, "reason": reason})
        if failure is not None and not isinstance(failure, XrpcError):
            raise failure


def too_slow() -> XrpcError:
    """For a client that reads less than there is to send."""
    return XrpcError(TOO_SLOW, "the client reads more slowly than the stream runs", 408)


async def refuse(error: XrpcError, scope: Scope, send: Send) -> None:
    """Answers a handshake as any other request is refused, where the server can do that."""
    if "websocket.http.response" not in scope.get("extensions", {}):
        await send({"type": "websocket.close", "code": 1008, "reason": error.error})
        return
    answer = error_answer(error)
    await send(
        {
            "type": "websocket.http.response.start",
            "status": answer.status,
            "headers": answer.all_headers(),
        }
    )
    await send({"type": "websocket.http.response.body", "body": answer.body})


async def _until_gone(receive: Receive) -> None:
    for _ in range(MAX_MESSAGES_IN):
        if (await receive())["type"] == "websocket.disconnect":
            return
    logger.debug("a client of a stream talks too much")


def _generator(frames: AsyncIterator[bytes]) -> Any:
    if not hasattr(frames, "aclose"):
        raise TypeError("a handler of an event stream is an async generator")
    return frames
