"""A Jetstream over a real WebSocket on 127.0.0.1.

async with FakeJetstream() as jetstream:
    jetstream.send(commit_message(time_us, did, rev, "app.test.note/one", {"text": "hello"}))
"""

from __future__ import annotations

import asyncio
import json
from types import TracebackType
from typing import Any, Self
from urllib.parse import parse_qs, urlsplit

from websockets.asyncio.server import Server, ServerConnection, serve
from websockets.exceptions import ConnectionClosed

from atdex_lexicons import datamodel
from atdex_lexicons.cid import Cid

Message = dict[str, Any]


class FakeJetstream:
    """Replays from the cursor (a time, inclusive), or from what comes next where there is none.

    `queries` lists what was asked for, connection by connection. Messages are filtered as the
    real one does: commits by collection, everything by size. Text is sent as it is.
    """

    def __init__(self) -> None:
        self.messages: list[Message | str] = []
        self.queries: list[dict[str, list[str]]] = []
        self.close_after: int | None = None
        self.url = ""
        self._news = asyncio.Event()
        self._connections: set[ServerConnection] = set()
        self._server: Server | None = None

    async def __aenter__(self) -> Self:
        self._server = await serve(
            self._handle, "127.0.0.1", 0, ping_interval=None, compression=None
        )
        port = next(iter(self._server.sockets)).getsockname()[1]
        self.url = f"ws://127.0.0.1:{port}/subscribe"
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

    def send(self, *messages: Message | str) -> None:
        """Add messages to the stream."""
        self.messages += messages
        self._news.set()
        self._news = asyncio.Event()

    async def drop(self, code: int = 1000) -> None:
        """Close every connection."""
        for connection in list(self._connections):
            await connection.close(code)

    async def _handle(self, connection: ServerConnection) -> None:
        assert connection.request is not None
        url = urlsplit(connection.request.path)
        assert url.path == "/subscribe"
        query = parse_qs(url.query)
        at = 0 if "cursor" in query else len(self.messages)
        self.queries.append(query)
        self._connections.add(connection)
        try:
            await self._serve(connection, query, at)
        except ConnectionClosed:
            pass
        finally:
            self._connections.discard(connection)

    async def _serve(
        self, connection: ServerConnection, query: dict[str, list[str]], at: int
    ) -> None:
        sent = 0
        while True:
            news = self._news
            while at < len(self.messages):
                message = self.messages[at]
                at += 1
                text = message if isinstance(message, str) else json.dumps(message)
                if not _wanted(message, query) or len(text) > int(query["maxMessageSizeBytes"][0]):
                    continue
                await connection.send(text)
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


def _wanted(message: Message | str, query: dict[str, list[str]]) -> bool:
    if isinstance(message, str):
        return True
    if "cursor" in query and message["time_us"] < int(query["cursor"][0]):
        return False
    patterns = query.get("wantedCollections", [])
    if not patterns or "commit" not in message:
        return True
    collection = message["commit"]["collection"]
    return any(
        collection.startswith(pattern[:-1]) if pattern.endswith("*") else collection == pattern
        for pattern in patterns
    )


def commit_message(
    time_us: int, did: str, rev: str, path: str, record: Any = None, operation: str = "create"
) -> Message:
    """A commit of one operation; without a record, a delete."""
    collection, _, rkey = path.partition("/")
    commit: Message = {"rev": rev, "collection": collection, "rkey": rkey}
    if record is None:
        commit["operation"] = "delete"
    else:
        raw = datamodel.encode(datamodel.from_json(record))
        commit |= {"operation": operation, "record": record, "cid": str(Cid.of_cbor(raw))}
    return {"did": did, "time_us": time_us, "kind": "commit", "commit": commit}


def identity_message(time_us: int, did: str, handle: str | None = None) -> Message:
    """What follows an `#identity`."""
    body: Message = {"did": did, "seq": 7, "time": "2026-01-01T00:00:00.000Z"}
    body |= {} if handle is None else {"handle": handle}
    return {"did": did, "time_us": time_us, "kind": "identity", "identity": body}


def account_message(time_us: int, did: str, active: bool, status: str | None = None) -> Message:
    """What follows an `#account`."""
    body: Message = {"active": active, "did": did, "seq": 7, "time": "2026-01-01T00:00:00.000Z"}
    body |= {} if status is None else {"status": status}
    return {"did": did, "time_us": time_us, "kind": "account", "account": body}
