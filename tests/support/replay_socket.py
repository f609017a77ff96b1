"""The connections of a replayed network: requests of HTTP/1.1, and what a subscriber says.

Just as much of RFC 9112 and RFC 6455 as clients of these tests need; a client that asks for more
gets its connection closed.
"""

from __future__ import annotations

import asyncio
import base64
import hashlib
import socket
from collections.abc import Mapping
from dataclasses import dataclass
from http import HTTPStatus
from urllib.parse import parse_qsl, unquote, urlsplit

from tests.support.replay_host import Answer
from tests.support.replay_wire import CLOSE, PING, PONG, message

HEAD_BYTES = 16_384  # of a request
READ_BYTES = 65_536
KEY_SUFFIX = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"  # RFC 6455, section 1.3


class Gone(Exception):
    """The other side closed its connection, or speaks something else."""


@dataclass(frozen=True, slots=True)
class Request:
    """A GET. Header names are in lower case."""

    path: str
    params: Mapping[str, str]
    headers: Mapping[str, str]


class Peer:
    """One connection. Sends are whole: a pong does not land inside a frame."""

    def __init__(self, sock: socket.socket) -> None:
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._socket = sock
        self._loop = asyncio.get_running_loop()
        self._read = b""
        self._sending = asyncio.Lock()

    async def send(self, data: bytes | memoryview) -> None:
        """Raises Gone where nobody is there any more."""
        try:
            async with self._sending:
                await self._loop.sock_sendall(self._socket, data)
        except ConnectionError:
            raise Gone from None

    async def request(self) -> Request:
        """The next request. Raises Gone."""
        while (end := self._read.find(b"\r\n\r\n")) < 0:
            if len(self._read) > HEAD_BYTES:
                raise Gone
            await self._more()
        head, self._read = self._read[:end].decode("latin-1"), self._read[end + 4 :]
        first, *lines = head.split("\r\n")
        method, target, *_version = first.split(" ")
        if method != "GET":
            raise Gone
        headers = {
            name.lower(): value.strip() for name, _, value in (x.partition(":") for x in lines)
        }
        parts = urlsplit(target)
        return Request(unquote(parts.path), dict(parse_qsl(parts.query)), headers)

    async def answer(self, answer: Answer) -> None:
        if answer.delay:
            await asyncio.sleep(answer.delay)
        head = [f"HTTP/1.1 {answer.status} {HTTPStatus(answer.status).phrase}"]
        head += [f"{name}: {value}" for name, value in answer.headers.items()]
        head += [f"Content-Type: {answer.kind}", f"Content-Length: {len(answer.body)}"]
        await self.send("\r\n".join([*head, "", ""]).encode() + answer.body)

    async def upgrade(self, request: Request) -> None:
        """Accept a WebSocket. No extension is: frames go out as they are."""
        key = request.headers["sec-websocket-key"].encode() + KEY_SUFFIX
        accept = base64.b64encode(hashlib.sha1(key).digest()).decode()
        head = ["HTTP/1.1 101 Switching Protocols", "Upgrade: websocket", "Connection: Upgrade"]
        await self.send("\r\n".join([*head, f"Sec-WebSocket-Accept: {accept}", "", ""]).encode())

    async def listen(self) -> None:
        """Answer pings; return when the subscriber says goodbye. Raises Gone."""
        while True:
            kind, payload = await self._message()
            if kind == PING:
                await self.send(message(payload, PONG))
            elif kind == CLOSE:
                await self.send(message(payload[:2], CLOSE))
                return

    async def _message(self) -> tuple[int, bytes]:
        """A control message, masked as a client must, or the beginning of something else."""
        while len(self._read) < 6 or len(self._read) < 6 + (self._read[1] & 0x7F):
            await self._more()
        kind, size, mask = self._read[0], self._read[1] & 0x7F, self._read[2:6]
        payload, self._read = self._read[6 : 6 + size], self._read[6 + size :]
        return kind, bytes(byte ^ mask[at % 4] for at, byte in enumerate(payload))

    async def _more(self) -> None:
        try:
            data = await self._loop.sock_recv(self._socket, READ_BYTES)
        except ConnectionError:
            raise Gone from None
        if not data:
            raise Gone
        self._read += data
