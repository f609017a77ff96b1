"""An HTTP server on 127.0.0.1 that answers as told, also wrongly."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

Answer = Callable[["Exchange"], None]


class Exchange(BaseHTTPRequestHandler):
    """One request; an `Answer` writes what it likes."""

    protocol_version = "HTTP/1.1"
    server: ScriptedServer

    def do_GET(self) -> None:
        answer = self.server.next_answer(self)
        answer(self)

    def log_message(self, *_: object) -> None:
        pass

    def reply(self, status: int, body: bytes = b"", /, **headers: str) -> None:
        """A right answer."""
        self._send(status, body, {"Content-Length": str(len(body))} | headers)

    def cut_off(self, status: int, body: bytes, at: int, /, **headers: str) -> None:
        """An answer whose connection ends after `at` bytes of the body."""
        self.close_connection = True
        self._send(status, body[:at], {"Content-Length": str(len(body))} | headers)

    def unsized(self, status: int, body: bytes, /) -> None:
        """An answer that does not say how long it is."""
        self.close_connection = True
        self._send(status, body, {"Connection": "close"})

    def _send(self, status: int, body: bytes, headers: dict[str, str]) -> None:
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), value)
        self.end_headers()
        self.wfile.write(body)

    def ranged(self, content: bytes, /, **headers: str) -> None:
        """A right answer to Range and If-Range."""
        start = self.headers.get("Range")
        matches = self.headers.get("If-Range") in (None, headers.get("ETag"))
        if start is None or not matches:
            self.reply(200, content, **headers)
            return
        first = int(start.removeprefix("bytes=").removesuffix("-"))
        place = f"bytes {first}-{len(content) - 1}/{len(content)}"
        self.reply(206, content[first:], Content_Range=place, **headers)


class ScriptedServer(ThreadingHTTPServer):
    """Gives its answers in order; the last one again and again."""

    daemon_threads = True

    def __init__(self, answers: list[Answer]) -> None:
        super().__init__(("127.0.0.1", 0), Exchange)
        self.answers = answers
        self.requests: list[dict[str, str]] = []
        self._lock = threading.Lock()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}/s.tar"

    def next_answer(self, exchange: Exchange) -> Answer:
        with self._lock:
            self.requests.append({k.lower(): v for k, v in exchange.headers.items()})
            return self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]


@contextmanager
def scripted(*answers: Answer) -> Iterator[ScriptedServer]:
    server = ScriptedServer(list(answers))
    thread = threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True)
    thread.start()
    try:
        yield server
    finally:
        server.shutdown()
        server.server_close()
        thread.join(5)
