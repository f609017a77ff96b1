"""Reads the body of a request: bounded in bytes and in time, before anything is made of it."""

from __future__ import annotations

import asyncio

from starlette.types import Receive

from atdex_xrpc.errors import PayloadTooLarge, RequestTimeout

MAX_INPUT_BYTES = 2_000_000
"""Of one body: a record is at most 1,000,000 bytes of DAG-CBOR, and its JSON form is larger."""

MAX_INPUT_SECONDS = 20.0
"""For one body to arrive: 2 MB at 1 Mbit/s. Slower senders would hold connections open."""


class Disconnected(Exception):
    """The client left before its body was complete. Nobody is there to answer."""


async def read_body(
    receive: Receive, declared: bytes | None, max_bytes: int, max_seconds: float
) -> bytes:
    """The whole body. `declared` is the Content-Length header.

    Raises PayloadTooLarge as soon as the header or the bytes so far say so, RequestTimeout after
    `max_seconds`, Disconnected when the client leaves.
    """
    if declared is not None and declared.isdigit() and int(declared[:20]) > max_bytes:
        raise PayloadTooLarge(f"the input is larger than {max_bytes} bytes")
    chunks: list[bytes] = []
    size = 0
    try:
        async with asyncio.timeout(max_seconds):
            while True:
                message = await receive()
                if message["type"] == "http.disconnect":
                    raise Disconnected
                chunk = message.get("body", b"")
                size += len(chunk)
                if size > max_bytes:
                    raise PayloadTooLarge(f"the input is larger than {max_bytes} bytes")
                chunks.append(chunk)
                if not message.get("more_body", False):
                    return b"".join(chunks)
    except TimeoutError:
        raise RequestTimeout(f"the input did not arrive within {max_seconds:g} s") from None
