"""A relay in front of a PDS that has no backlog: what is not heard live is lost to the stream.

with Forgetful(devnet) as relay:
    Follower(relay.url, …)

Everything else that a relay is asked for, the PDS answers.
"""

from __future__ import annotations

import asyncio
from types import TracebackType
from typing import Self

import httpx
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route, WebSocketRoute
from starlette.websockets import WebSocket, WebSocketDisconnect
from websockets.asyncio.client import connect

from demo.serving import Serving
from tests.devnet import Devnet
from tests.support.repo import frame

STREAM = "/xrpc/com.atproto.sync.subscribeRepos"
SECONDS = 20
"""For one answer of the PDS."""
OUTDATED = frame("#info", {"name": "OutdatedCursor", "message": "it is gone"})


class Forgetful:
    """`told` counts how often somebody was told that events were missed."""

    def __init__(self, devnet: Devnet) -> None:
        self._pds = devnet.pds
        self._ws = devnet.ws
        self.told = 0
        app = Starlette(
            routes=[WebSocketRoute(STREAM, self._stream), Route("/xrpc/{method}", self._ask)]
        )
        self._serving = Serving(app)
        self.url = self._serving.url

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._serving.close()

    async def _stream(self, socket: WebSocket) -> None:
        await socket.accept()
        async with connect(f"{self._ws}{STREAM}", max_size=None, proxy=None) as upstream:
            self.told += 1
            await socket.send_bytes(OUTDATED)
            reading = asyncio.create_task(_until_closed(socket))
            try:
                while not reading.done():
                    message = asyncio.ensure_future(upstream.recv(decode=False))
                    await asyncio.wait({message, reading}, return_when=asyncio.FIRST_COMPLETED)
                    if not message.done():
                        message.cancel()
                        break
                    await socket.send_bytes(message.result())
            finally:
                reading.cancel()

    async def _ask(self, request: Request) -> Response:
        url = f"{self._pds}{request.url.path}"
        async with httpx.AsyncClient(timeout=SECONDS, trust_env=False) as http:
            answer = await http.get(
                url, params=dict(request.query_params), headers={"accept-encoding": "identity"}
            )
        return Response(
            answer.content, answer.status_code, media_type=answer.headers.get("content-type")
        )


async def _until_closed(socket: WebSocket) -> None:
    try:
        while True:
            await socket.receive_bytes()
    except WebSocketDisconnect:
        return
