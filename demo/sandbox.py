"""A small network on this machine: the recording replayed, and the shards that it names.

with Sandbox(Recording.load(), folder) as sandbox:
    sandbox.url          # relay, PDS and PLC directory in one
    sandbox.shards       # whether loading works: the shards' port may be taken
"""

from __future__ import annotations

import hashlib
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import Self

import httpx
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Mount, Route
from starlette.staticfiles import StaticFiles

from demo.network import Network
from demo.recording import Recording
from demo.serving import LOOPBACK, Serving
from demo.shards import PORT, write_all

ASK_SECONDS = 2  # of whoever holds the shards' port already


class Sandbox:
    """Servers in threads of this process; `folder` receives the shards."""

    def __init__(self, recording: Recording, folder: Path) -> None:
        self._stack = ExitStack()
        network = Network(recording)
        served = self._stack.enter_context(Serving(network.app()))
        network.url = self.url = served.url
        self.shards = self._serve_shards(folder)

    def _serve_shards(self, folder: Path) -> bool:
        """Whether the right shards are at their port: ours, or those of another sandbox."""
        write_all(folder)
        mark = fingerprint(folder)
        try:
            self._stack.enter_context(Serving(shard_app(folder, mark), PORT))
        except OSError:
            return _served_elsewhere(mark)
        return True

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._stack.close()


def shard_app(folder: Path, mark: str) -> Starlette:
    """Files with Range and ETag, and at `/` the mark by which another sandbox knows them."""

    async def tell(request: Request) -> Response:
        return JSONResponse({"shards": mark})

    return Starlette(routes=[Route("/", tell), Mount("/", StaticFiles(directory=folder))])


def fingerprint(folder: Path) -> str:
    """One word for the content of all shards in `folder`."""
    digest = hashlib.sha256()
    for path in sorted(folder.glob("*.tar")):
        digest.update(path.name.encode() + hashlib.sha256(path.read_bytes()).digest())
    return digest.hexdigest()


def _served_elsewhere(mark: str) -> bool:
    try:
        with httpx.Client(trust_env=False, timeout=ASK_SECONDS) as http:
            answer = http.get(f"http://{LOOPBACK}:{PORT}/")
            return bool(answer.json() == {"shards": mark})
    except (httpx.HTTPError, ValueError):
        return False
