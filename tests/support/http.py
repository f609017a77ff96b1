"""Real HTTP servers on 127.0.0.1 for tests: an ASGI application or a directory, in a thread."""

from __future__ import annotations

import asyncio
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Literal

import uvicorn
from starlette.applications import Starlette
from starlette.routing import Mount
from starlette.staticfiles import StaticFiles
from starlette.types import ASGIApp

from atdex_xrpc.sockets import StreamSockets

START_SECONDS = 10.0
STOP_SECONDS = 5


class _Server(uvicorn.Server):
    """Says when it accepts connections, so that nobody has to ask again and again."""

    def __init__(self, config: uvicorn.Config) -> None:
        super().__init__(config)
        self.ready = threading.Event()

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        self.ready.set()


@contextmanager
def serve_app(
    app: ASGIApp,
    *,
    port: int = 0,
    tls: tuple[Path, Path] | None = None,
    websockets: bool = False,
    http: type[asyncio.Protocol] | Literal["auto"] = "auto",
) -> Iterator[str]:
    """Serves `app` with uvicorn, and gives its base URL. Port 0: a free one.

    `http` is what reads requests. `tls` are the files of a certificate and its key, for https.
    """
    listener = socket.create_server(("127.0.0.1", port))
    config = uvicorn.Config(
        app,
        http=http,
        log_config=None,
        log_level="warning",
        access_log=False,
        ws=StreamSockets if websockets else "none",
        ws_per_message_deflate=False,
        proxy_headers=False,
        timeout_graceful_shutdown=STOP_SECONDS,
        ssl_certfile=tls[0] if tls else None,
        ssl_keyfile=tls[1] if tls else None,
    )
    server = _Server(config)
    thread = threading.Thread(
        target=server.run, kwargs={"sockets": [listener]}, name="test-http", daemon=True
    )
    thread.start()
    try:
        if not server.ready.wait(START_SECONDS):
            raise RuntimeError("the test server did not start")
        yield f"{'https' if tls else 'http'}://127.0.0.1:{listener.getsockname()[1]}"
    finally:
        server.should_exit = True
        thread.join(STOP_SECONDS * 2)
        listener.close()
        assert not thread.is_alive(), "the test server did not stop"


@contextmanager
def serve_directory(path: Path, *, port: int = 0) -> Iterator[str]:
    """Serves the files below `path`, Range and If-Range included."""
    app = Starlette(routes=[Mount("/", StaticFiles(directory=path))])
    with serve_app(app, port=port) as url:
        yield url
