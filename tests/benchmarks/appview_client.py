"""HTTP load with as little of its own as can be: one keep-alive socket, read to Content-Length."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from urllib.parse import quote, urlsplit

SECONDS = 60.0
"""For one answer; a node that is later than that has failed."""
HEAD_END = b"\r\n\r\n"
NO_PATH = b'"NoLensPath"'


class Connection:
    """Asks one thing after the other."""

    def __init__(self, url: str) -> None:
        at = urlsplit(url)
        assert at.hostname is not None and at.port is not None
        self._host = at.netloc
        self._socket = socket.create_connection((at.hostname, at.port), SECONDS)
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def close(self) -> None:
        self._socket.close()

    def get(self, path: str) -> bytes:
        """The body. Raises RuntimeError unless it is an answer; that no path leads there is one."""
        self._socket.sendall(f"GET {path} HTTP/1.1\r\nHost: {self._host}\r\n\r\n".encode())
        data = b""
        while (end := data.find(HEAD_END)) < 0:
            data += self._more()
        head = data[:end].lower()
        at = head.index(b"content-length:") + 15
        length = int(head[at : head.find(b"\r\n", at) if b"\r\n" in head[at:] else None])
        body = [data[end + 4 :]]
        size = len(body[0])
        while size < length:
            body.append(self._more())
            size += len(body[-1])
        whole = b"".join(body)
        if not head.startswith(b"http/1.1 200") and NO_PATH not in whole:
            raise RuntimeError(f"{path}: {head[:40]!r} {whole[:300]!r}")
        return whole

    def _more(self) -> bytes:
        data = self._socket.recv(1 << 20)
        if not data:
            raise RuntimeError("the node closed the connection")
        return data


def path(method: str, **params: object) -> str:
    """The request of a query; a list is a parameter that is repeated."""
    pairs = [
        f"{name}={quote(str(one), safe='')}"
        for name, value in params.items()
        for one in (value if isinstance(value, list | tuple) else [value])
    ]
    return f"/xrpc/app.bsky.atdata.{method}?{'&'.join(pairs)}"


def latencies(url: str, paths: Sequence[str]) -> list[float]:
    """Milliseconds of each, at one client, sorted. The first is asked twice: it opens the way."""
    connection = Connection(url)
    try:
        connection.get(paths[0])
        took = []
        for each in paths:
            begun = time.perf_counter()
            connection.get(each)
            took.append((time.perf_counter() - begun) * 1000)
    finally:
        connection.close()
    return sorted(took)


def throughput(url: str, paths: Sequence[str], clients: int, seconds: float) -> float:
    """Answers a second of so many connections at once, from this process."""
    end = time.perf_counter() + seconds
    counts = [0] * clients
    failures: list[OSError | RuntimeError] = []

    def ask(number: int) -> None:
        connection = Connection(url)
        try:
            at = number
            while time.perf_counter() < end:
                connection.get(paths[at % len(paths)])
                at += clients
                counts[number] += 1
        except (OSError, RuntimeError) as failure:
            failures.append(failure)
        finally:
            connection.close()

    threads = [threading.Thread(target=ask, args=(number,)) for number in range(clients)]
    begun = time.perf_counter()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if failures:
        raise failures[0]
    return sum(counts) / (time.perf_counter() - begun)


@dataclass
class Reader:
    """Somebody who reads all the time, while others are written: how long it ever waits."""

    url: str
    paths: Sequence[str]
    pause: float = 0.02
    took: list[float] = field(default_factory=list)

    def __enter__(self) -> Reader:
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._read)
        self._thread.start()
        return self

    def __exit__(self, *args: object) -> None:
        self._stop.set()
        self._thread.join()

    def _read(self) -> None:
        connection = Connection(self.url)
        number = 0
        while not self._stop.is_set():
            begun = time.perf_counter()
            connection.get(self.paths[number % len(self.paths)])
            self.took.append(time.perf_counter() - begun)
            number += 1
            self._stop.wait(self.pause)
        connection.close()
