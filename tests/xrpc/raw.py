"""HTTP by hand, for requests that no client library would send."""

from __future__ import annotations

import contextlib
import socket
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

import orjson

SECONDS = 15.0


@dataclass(frozen=True)
class Heard:
    """What came back on the connection until the server closed it or the answer was complete."""

    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return orjson.loads(self.body)


def connect(url: str) -> socket.socket:
    parts = urlsplit(url)
    assert parts.hostname and parts.port
    return socket.create_connection((parts.hostname, parts.port), timeout=SECONDS)


def read_answer(connection: socket.socket) -> Heard:
    """The next answer on the connection."""
    received = bytearray()
    while b"\r\n\r\n" not in received:
        chunk = connection.recv(65_536)
        assert chunk, f"closed before the headers were complete: {bytes(received)!r}"
        received += chunk
    head, _, rest = bytes(received).partition(b"\r\n\r\n")
    first, *lines = head.decode("latin-1").split("\r\n")
    headers = {
        name.strip().lower(): value.strip()
        for name, _, value in (line.partition(":") for line in lines)
    }
    length = int(headers.get("content-length", "0"))
    while len(rest) < length:
        chunk = connection.recv(65_536)
        assert chunk, "closed before the body was complete"
        rest += chunk
    return Heard(int(first.split()[1]), headers, rest)


def exchange(url: str, *pieces: bytes) -> Heard:
    """Sends the pieces as they are, as far as the server takes them, and reads one answer."""
    with connect(url) as connection:
        # A server that has refused may close while this side is still sending.
        with contextlib.suppress(BrokenPipeError, ConnectionResetError):
            for piece in pieces:
                connection.sendall(piece)
        return read_answer(connection)


def get(url: str, target: bytes) -> Heard:
    return exchange(url, b"GET " + target + b" HTTP/1.1\r\nHost: test\r\n\r\n")


def post_head(target: str, **headers: str) -> bytes:
    """The head of a POST; header names with `_` for `-`."""
    lines = [f"POST {target} HTTP/1.1", "Host: test"]
    lines += [f"{name.replace('_', '-')}: {value}" for name, value in headers.items()]
    return ("\r\n".join(lines) + "\r\n\r\n").encode()
