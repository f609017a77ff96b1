"""A relay over a real WebSocket on 127.0.0.1, and a PLC directory over real HTTP.

async with FakeRelay() as relay:
    relay.send(raw)               # to everybody connected, and to those who come later
    await relay.drop()            # close every connection
"""

from __future__ import annotations

import asyncio
import json
import threading
from collections import Counter
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Any, Self
from urllib.parse import parse_qs, urlsplit

import libipld
from websockets.asyncio.server import Server, ServerConnection, serve
from websockets.exceptions import ConnectionClosed

from tests.support.repo import error_frame


class FakeRelay:
    """Replays what it was sent after the cursor (exclusive, as the reference PDS does), then live.

    A frame whose `seq` cannot be read is sent to everybody, always. `cursors` lists what was
    asked for, connection by connection. With `checks_cursor`, a cursor ahead of the stream is
    answered with FutureCursor.
    """

    def __init__(self, *, checks_cursor: bool = True, inclusive: bool = False) -> None:
        self.frames: list[tuple[int | None, bytes | str]] = []
        self.cursors: list[int] = []
        self.close_after: int | None = None
        self._checks_cursor = checks_cursor
        self._inclusive = inclusive
        self._news = asyncio.Event()
        self._connections: set[ServerConnection] = set()
        self._server: Server | None = None
        self.url = ""

    async def __aenter__(self) -> Self:
        self._server = await serve(
            self._handle, "127.0.0.1", 0, ping_interval=None, max_size=None, compression=None
        )
        port = next(iter(self._server.sockets)).getsockname()[1]
        self.url = f"http://127.0.0.1:{port}"
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        assert self._server is not None
        self._server.close(close_connections=True)
        await self._server.wait_closed()

    def send(self, *frames: bytes | str) -> None:
        """Add frames to the stream."""
        for raw in frames:
            self.frames.append((_seq(raw), raw))
        self._wake()

    async def send_now(self, raw: bytes | str) -> None:
        """To those who are connected, and to nobody who comes later."""
        for connection in list(self._connections):
            await connection.send(raw)

    async def drop(self, code: int = 1000) -> None:
        """Close every connection, cleanly unless the code says otherwise."""
        for connection in list(self._connections):
            await connection.close(code)

    def _wake(self) -> None:
        self._news.set()
        self._news = asyncio.Event()

    async def _handle(self, connection: ServerConnection) -> None:
        assert connection.request is not None
        query = parse_qs(urlsplit(connection.request.path).query)
        cursor = int(query["cursor"][0])
        self.cursors.append(cursor)
        self._connections.add(connection)
        try:
            await self._serve(connection, cursor)
        except ConnectionClosed:
            pass
        finally:
            self._connections.discard(connection)

    async def _serve(self, connection: ServerConnection, cursor: int) -> None:
        top = max((seq for seq, _ in self.frames if seq is not None), default=0)
        if self._checks_cursor and cursor > top:
            await connection.send(error_frame("FutureCursor", "ahead of the stream"))
            await connection.close(1008)
            return
        first = cursor if self._inclusive else cursor + 1
        at = sent = 0
        while True:
            news = self._news
            while at < len(self.frames):
                seq, raw = self.frames[at]
                at += 1
                if seq is None or seq >= first:
                    await connection.send(raw)
                    sent += 1
                    if sent == self.close_after:
                        await connection.close()
                        return
            closed = asyncio.ensure_future(connection.wait_closed())
            waiting = asyncio.ensure_future(news.wait())
            await asyncio.wait({closed, waiting}, return_when=asyncio.FIRST_COMPLETED)
            waiting.cancel()
            if closed.done():
                return
            closed.cancel()


def _seq(raw: bytes | str) -> int | None:
    try:
        body = libipld.decode_dag_cbor_multi(raw.encode() if isinstance(raw, str) else raw)[1]
        return int(body["seq"])
    except (ValueError, TypeError, LookupError, RecursionError):
        return None


class FakePlc:
    """A PLC directory. `documents` maps DID to document; `answers` overrides the answer with a
    status and a body. While `gates[did]` is a cleared event, requests for that DID wait."""

    def __init__(self) -> None:
        self.documents: dict[str, Any] = {}
        self.answers: dict[str, tuple[int, bytes]] = {}
        self.gates: dict[str, threading.Event] = {}
        self.requests: Counter[str] = Counter()
        plc = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                status, body = plc.answer(self.path.lstrip("/"))
                self.send_response(status)
                self.send_header("content-type", "application/json")
                self.send_header("content-length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - the base's name
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.02,))
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}"

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        for gate in self.gates.values():
            gate.set()
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    def answer(self, did: str) -> tuple[int, bytes]:
        self.requests[did] += 1
        gate = self.gates.get(did)
        if gate is not None:
            gate.wait(30)
        if did in self.answers:
            return self.answers[did]
        document = self.documents.get(did)
        if document is None:
            return 404, json.dumps({"message": f"DID not registered: {did}"}).encode()
        return 200, json.dumps(document).encode()
