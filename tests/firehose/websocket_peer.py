"""The server's side of a WebSocket, frame by frame, and what a client of ours makes of it."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import ssl
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from typing import Any

import pytest

from atdex_firehose.errors import ConnectionLost
from atdex_firehose.subscribe import Rest, follow, one_by_one

TEXT, BINARY, CLOSE, PING, PONG = 1, 2, 8, 9, 10
CONTINUATION = 0
DEADLINE = 15.0  # seconds after which a test is stuck


def frame(payload: bytes, kind: int = BINARY, *, fin: bool = True, reserved: int = 0) -> bytes:
    """A frame as a server sends it: not masked."""
    first, size = fin << 7 | reserved << 4 | kind, len(payload)
    if size < 126:
        head = bytes((first, size))
    elif size < 65536:
        head = bytes((first, 126)) + size.to_bytes(2)
    else:
        head = bytes((first, 127)) + size.to_bytes(8)
    return head + payload


class Peer:
    """The server's side of one connection."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer
        self.request = b""
        self.written = 0

    async def accept(self) -> None:
        self.request = await self.reader.readuntil(b"\r\n\r\n")
        key = next(
            line.partition(b":")[2].strip()
            for line in self.request.split(b"\r\n")
            if line.lower().startswith(b"sec-websocket-key:")
        )
        accept = base64.b64encode(
            hashlib.sha1(key + b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11").digest()
        )
        self.writer.write(
            b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
            b"Sec-WebSocket-Accept: " + accept + b"\r\n\r\n"
        )

    async def send(self, *frames: bytes) -> None:
        for data in frames:
            self.writer.write(data)
            await self.writer.drain()
            self.written += len(data)

    async def receive(self) -> tuple[int, bytes]:
        """Opcode and payload of a frame of the client, which are short and masked."""
        first, second = await self.reader.readexactly(2)
        assert second & 0x80
        mask = await self.reader.readexactly(4)
        data = await self.reader.readexactly(second & 0x7F)
        return first & 0x0F, bytes(byte ^ mask[n % 4] for n, byte in enumerate(data))


Script = Callable[[Peer], Coroutine[Any, Any, None]]


@asynccontextmanager
async def serving(
    script: Script, *, accept: bool = True, tls: ssl.SSLContext | None = None
) -> AsyncIterator[str]:
    """A server that runs `script` on each connection, and closes it then."""
    tasks: set[asyncio.Task[None]] = set()

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        tasks.add(task)
        peer = Peer(reader, writer)
        try:
            if accept:
                await peer.accept()
            await script(peer)
        except (ConnectionError, asyncio.IncompleteReadError, asyncio.CancelledError):
            pass
        finally:
            tasks.discard(task)
            writer.close()

    server = await asyncio.start_server(handle, "127.0.0.1", 0, ssl=tls)
    try:
        scheme = "ws" if tls is None else "wss"
        yield f"{scheme}://127.0.0.1:{server.sockets[0].getsockname()[1]}/stream"
    finally:
        server.close()
        for task in list(tasks):
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


def nothing() -> None:
    pass


async def end_of(
    url: str, take: Callable[[bytes], Rest | None], ping: float = 5, idle: float = 10
) -> str:
    """Why a connection ended."""
    async with asyncio.timeout(DEADLINE):
        with pytest.raises(ConnectionLost) as caught:
            await follow(url, one_by_one(take), nothing, ping=ping, idle=idle)
    return caught.value.reason


async def messages_of(script: Script) -> tuple[list[bytes], str]:
    """The messages handed on, and why the connection ended."""
    found: list[bytes] = []
    async with serving(script) as url:
        reason = await end_of(url, found.append)
    return found, reason


async def stay(peer: Peer) -> None:
    await asyncio.sleep(DEADLINE)
