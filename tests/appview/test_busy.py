"""A node that has too much to do says so in the usual shape."""

from __future__ import annotations

import asyncio
import socket
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Event

import httpx
import pytest
from starlette.responses import PlainTextResponse
from starlette.types import Receive, Scope, Send

from atdex_appview.busy import MAX_REQUESTS, Busy
from atdex_appview.store.base import StoredRecord
from tests.appview.index import Index, error_of
from tests.support.http import serve_app
from tests.support.paths import TESTS

MANY = 60
"""Requests at once: more than the threads that methods run on, whatever the machine."""


def test_a_request_too_many_is_503_in_the_shape_of_every_refusal_and_the_next_is_answered() -> None:
    began, end = Event(), Event()

    async def slow(scope: Scope, receive: Receive, send: Send) -> None:
        assert scope["type"] == "http"
        began.set()
        await asyncio.to_thread(end.wait, 20)
        await PlainTextResponse("done")(scope, receive, send)

    with (
        serve_app(Busy(slow, limit=1)) as url,
        httpx.Client(base_url=url, timeout=20, trust_env=False) as http,
        ThreadPoolExecutor(1) as pool,
    ):
        first = pool.submit(http.get, "/")
        try:
            assert began.wait(20)
            refused = http.get("/xrpc/app.bsky.atdata.describeNode")
        finally:
            end.set()
        assert error_of(refused)[:2] == (503, "NodeUnavailable")
        assert int(refused.headers["retry-after"]) > 0
        assert refused.headers["access-control-allow-origin"] == "*"
        assert first.result().text == "done"
        assert http.get("/").text == "done"


def test_the_guide_says_how_many_requests_are_taken_at_once() -> None:
    guide = (TESTS.parent / "docs" / "run-a-node.md").read_text()
    assert f"Beyond {MAX_REQUESTS} requests at once" in guide


def test_connections_that_only_stay_open_shut_nobody_out() -> None:
    with serve_app(Busy(PlainTextResponse("done"), limit=1)) as url:
        host, port = httpx.URL(url).host, httpx.URL(url).port
        assert port is not None
        idle = [socket.create_connection((host, port)) for _ in range(5)]
        assert httpx.get(url, trust_env=False).text == "done"
        for connection in idle:
            connection.close()


def test_a_long_queue_of_requests_is_no_store_that_does_not_answer(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    end = Event()

    def slowly(*arguments: object, **filters: object) -> list[StoredRecord]:
        end.wait(20)
        return []

    with Index.open(tmp_path) as index, index.serve() as node, ThreadPoolExecutor(MANY) as callers:
        monkeypatch.setattr(index.store, "list_records", slowly)
        waiting = [callers.submit(node.get, "listDatasets", tag="x") for _ in range(MANY)]
        try:
            health = node.http.get("/xrpc/_health")
        finally:
            end.set()
        said = health.json()
        assert (health.status_code, said["store"], said["search"]) == (200, "ok", "ok")
        assert {answer.result().status_code for answer in waiting} == {200}


def test_a_request_that_fails_makes_room_too() -> None:
    async def broken(scope: Scope, receive: Receive, send: Send) -> None:
        raise RuntimeError("a bug")

    async def ask() -> None:
        app = Busy(broken, limit=1)
        for _ in range(3):
            with pytest.raises(RuntimeError, match="a bug"):
                await app({"type": "http"}, _nothing, _drop)

    asyncio.run(ask())


async def _nothing() -> dict[str, object]:
    return {}


async def _drop(message: object) -> None:
    pass
