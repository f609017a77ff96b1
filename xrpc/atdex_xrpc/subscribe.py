"""Reads an event stream of an XRPC service.

    async with AsyncClient("https://node.example") as client:
        async for message in client.subscribe("app.bsky.atdata.subscribeRecords", cursor=seq):
            print(message.kind, message.body["seq"])

One connection: where it ends, the iteration raises, and who reads on opens another one with the
`seq` of the last message that was dealt with. Needs the package `websockets`.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator
from typing import TYPE_CHECKING

from atdex_lexicons.errors import Invalid
from atdex_xrpc.calls import Call, answered_error
from atdex_xrpc.errors import InvalidRequest, TransportFailed, UnexpectedResponse, shown
from atdex_xrpc.event_frames import MAX_FRAME_BYTES, BadFrame, Message, parse_frame

if TYPE_CHECKING:
    from atdex_lexicons.catalog import Catalog

OPEN_SECONDS = 15.0
"""For DNS, TCP, TLS and the handshake together."""

PING_SECONDS = 20.0
"""Between two looks whether the other side is there, and for it to answer."""


async def messages(call: Call, catalog: Catalog | None) -> AsyncGenerator[Message, None]:
    """The messages of one connection. See `AsyncClient.subscribe` for what is raised."""
    import httpx
    from websockets.asyncio.client import connect
    from websockets.exceptions import ConnectionClosed, InvalidStatus, WebSocketException

    url = "ws" + call.url.removeprefix("http")
    try:
        async with connect(
            url,
            open_timeout=OPEN_SECONDS,
            ping_interval=PING_SECONDS,
            ping_timeout=PING_SECONDS,
            max_size=MAX_FRAME_BYTES,
            compression=None,
            proxy=None,
            user_agent_header=call.headers["user-agent"],
        ) as socket:
            async for raw in socket:
                if not isinstance(raw, bytes):
                    raise UnexpectedResponse(call.url, "sent text on an event stream")
                try:
                    message = parse_frame(raw)
                except BadFrame as wrong:
                    raise UnexpectedResponse(call.url, str(wrong)) from None
                if message.kind is None:
                    raise _told(message).at(call.url)
                if catalog is not None and call.nsid in catalog and message.kind:
                    try:
                        catalog.validate_message(call.nsid, dict(message.body), message.kind)
                    except Invalid as error:
                        raise UnexpectedResponse(call.url, str(error)) from None
                if message.kind:  # else of an operation that is yet to come
                    yield message
    except InvalidStatus as refused:
        response = refused.response
        headers = httpx.Headers(list(response.headers.raw_items()))
        raise answered_error(response.status_code, headers, bytes(response.body or b"")).at(
            call.url
        ) from None
    except ConnectionClosed as closed:
        raise TransportFailed(call.url, f"the stream broke: {shown(str(closed))}") from closed
    except (WebSocketException, OSError, TimeoutError) as error:
        raise TransportFailed(call.url, shown(str(error)) or type(error).__name__) from error


def _told(message: Message) -> InvalidRequest:
    """What an error frame says: FutureCursor, ConsumerTooSlow."""
    error, text = message.body.get("error"), message.body.get("message")
    return InvalidRequest(
        shown(text) if isinstance(text, str) else "the stream ended with an error",
        error=shown(error) if isinstance(error, str) and error else None,
    )
