"""Event streams over real WebSockets."""

from __future__ import annotations

import asyncio
import socket
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import contextmanager
from typing import Any

import httpx
import pytest
from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosed, InvalidStatus

from atdex_lexicons import Catalog, Cid
from atdex_lexicons.datamodel import encode
from atdex_xrpc import (
    AsyncClient,
    InvalidRequest,
    MethodNotImplemented,
    RateLimitExceeded,
    RegistrationError,
    Request,
    Server,
    ServiceAuth,
    TransportFailed,
    UnexpectedResponse,
)
from atdex_xrpc.callers import Callers
from atdex_xrpc.event_frames import (
    MAX_FRAME_BYTES,
    BadFrame,
    Message,
    error_frame,
    message_frame,
    parse_frame,
)
from atdex_xrpc.rate_limit import RateLimit
from atdex_xrpc.subscription import Places, StreamLimits, too_slow
from tests.support.http import serve_app
from tests.support.repo import K256Key
from tests.support.service_token import bearer, token
from tests.xrpc.documents import body, document, echo
from tests.xrpc.test_service_auth import ALICE, NODE, Keyring

STREAM = "com.example.stream"
ECHO = "com.example.echo"
SECONDS = 15.0


def documents() -> Catalog:
    stream = document(
        STREAM,
        type="subscription",
        parameters={
            "type": "params",
            "properties": {"cursor": {"type": "integer", "minimum": 0}},
        },
        message={"schema": {"type": "union", "refs": ["#event"]}},
        errors=[{"name": "FutureCursor"}],
    )
    stream["defs"]["event"] = {
        "type": "object",
        "required": ["seq"],
        "properties": {"seq": {"type": "integer"}, "link": {"type": "cid-link"}},
    }
    return Catalog.from_documents(
        [stream, document(ECHO, type="query", output=body(params={"type": "unknown"}))]
    )


async def count(request: Request) -> AsyncIterator[bytes]:
    """Counts from the cursor on; what is at some numbers is not a message."""
    start = request.params.get("cursor", 0)
    if start > 1000:
        raise InvalidRequest("that is ahead of the stream", error="FutureCursor")
    for seq in range(start + 1, start + 4):
        yield message_frame("#event", {"seq": seq})
    if start == 100:
        await asyncio.Event().wait()
    if start == 200:
        raise ZeroDivisionError("the password is swordfish")
    if start == 300:
        raise too_slow()
    if start == 400:
        yield message_frame("#event", {"text": "without its seq"})


@contextmanager
def serving(handler: Any = count, **options: Any) -> Iterator[str]:
    server = Server(documents(), check_output=True, **options)
    server.subscription(STREAM, handler).method(ECHO, echo)
    with serve_app(server.app(), websockets=True) as url:
        yield url


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    with serving() as base:
        yield base


def address(url: str, query: str = "", nsid: str = STREAM) -> str:
    return f"ws{url.removeprefix('http')}/xrpc/{nsid}{query}"


async def heard(url: str, query: str = "") -> tuple[list[Message], int | None, str]:
    """Every message until the close, its code, its reason."""
    found = []
    async with connect(address(url, query), proxy=None) as ws:
        try:
            async with asyncio.timeout(SECONDS):
                while True:
                    raw = await ws.recv()
                    assert isinstance(raw, bytes)
                    found.append(parse_frame(raw))
        except ConnectionClosed as closed:
            assert closed.rcvd is not None
            return found, closed.rcvd.code, closed.rcvd.reason


async def test_messages_come_as_two_objects_a_frame_and_the_end_is_a_close(url: str) -> None:
    found, code, _ = await heard(url, "?cursor=7")
    assert [(m.kind, m.body) for m in found] == [("#event", {"seq": n}) for n in (8, 9, 10)]
    assert code == 1000


async def test_an_error_is_the_last_frame_and_the_close_is_1008(url: str) -> None:
    found, code, reason = await heard(url, "?cursor=2000")
    assert [m.kind for m in found] == [None]
    assert found[0].body["error"] == "FutureCursor"
    assert (code, reason) == (1008, "FutureCursor")
    found, code, reason = await heard(url, "?cursor=300")
    assert [m.kind for m in found] == ["#event", "#event", "#event", None]
    assert (code, reason) == (1008, "ConsumerTooSlow")


async def test_a_bug_of_a_handler_shows_no_detail(
    url: str, caplog: pytest.LogCaptureFixture
) -> None:
    found, code, _ = await heard(url, "?cursor=200")
    assert found[-1].body["error"] == "InternalServerError"
    assert "swordfish" not in str(found[-1].body)
    assert code == 1008
    assert "swordfish" in caplog.text


async def test_a_message_that_breaks_its_document_is_found_while_answers_are_checked(
    url: str,
) -> None:
    found, _, _ = await heard(url, "?cursor=400")
    assert found[-1].body["error"] == "InternalServerError"


@pytest.mark.parametrize(
    ("path", "status", "error"),
    [
        (f"{STREAM}?cursor=-1", 400, "InvalidRequest"),
        (f"{STREAM}?cursor=x", 400, "InvalidRequest"),
        (f"{STREAM}?cursor=1&cursor=2", 400, "InvalidRequest"),
        (f"{STREAM}?cursor=%00", 400, "InvalidRequest"),
        (ECHO, 400, "InvalidRequest"),
        ("com.example.unknown", 501, "MethodNotImplemented"),
    ],
)
async def test_what_fails_before_the_stream_is_answered_as_http(
    url: str, path: str, status: int, error: str
) -> None:
    with pytest.raises(InvalidStatus) as refused:
        async with connect(address(url, nsid=path), proxy=None):
            pass
    response = refused.value.response
    assert response.status_code == status
    assert response.headers["content-type"] == "application/json"
    answer = httpx.Response(status, content=bytes(response.body or b"")).json()
    assert set(answer) == {"error", "message"}
    assert answer["error"] == error


@pytest.mark.parametrize(("size", "status"), [(8_000, 101), (40_000, 400)])
async def test_a_handshake_that_is_too_long_is_refused_and_not_left_hanging(
    url: str, size: int, status: int
) -> None:
    if status == 101:
        async with connect(address(url, f"?x={'y' * size}"), proxy=None):
            return
    with pytest.raises(InvalidStatus) as refused:
        async with connect(address(url, f"?x={'y' * size}"), proxy=None):
            pass
    assert refused.value.response.status_code == status


async def test_a_plain_get_is_told_to_open_a_websocket(url: str) -> None:
    async with httpx.AsyncClient(trust_env=False) as http:
        answer = await http.get(f"{url}/xrpc/{STREAM}")
        assert (answer.status_code, answer.json()["error"]) == (400, "InvalidRequest")
        answer = await http.post(f"{url}/xrpc/{STREAM}")
        assert (answer.status_code, answer.json()["error"]) == (400, "InvalidRequest")


class Endless:
    """A stream without an end, which notes how many frames were asked for and when it is over."""

    def __init__(self, size: int) -> None:
        self.size = size
        self.given = 0
        self.over = asyncio.Event()
        self.ended = 0

    async def __call__(self, request: Request) -> AsyncIterator[bytes]:
        try:
            while True:
                self.given += 1
                yield message_frame("#event", {"seq": self.given, "pad": "x" * self.size})
                await asyncio.sleep(0)
        finally:
            self.ended += 1


async def until(test: Callable[[], bool]) -> None:
    end = time.monotonic() + SECONDS
    while not test():
        assert time.monotonic() < end
        await asyncio.sleep(0.02)


async def test_a_client_that_does_not_read_is_cut_off_and_nothing_is_kept_for_it() -> None:
    endless = Endless(100_000)
    limits = StreamLimits(Places(), send_seconds=0.5)
    with serving(endless, streams=limits) as url:
        host, port = url.removeprefix("http://").split(":")
        with socket.create_connection((host, int(port))) as deaf:
            deaf.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            deaf.sendall(
                f"GET /xrpc/{STREAM} HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\n"
                "Connection: Upgrade\r\nSec-WebSocket-Version: 13\r\n"
                "Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n".encode()
            )
            await until(lambda: endless.ended == 1)
            await until(lambda: limits.places.open == 0)
        assert endless.given < 500  # 50 MB: the kernel's buffers, and not what was asked for


async def test_a_client_that_leaves_ends_the_handler() -> None:
    endless = Endless(10)
    limits = StreamLimits(Places())
    with serving(endless, streams=limits) as url:
        async with connect(address(url), proxy=None, close_timeout=0.5) as ws:
            await ws.recv()
        await until(lambda: endless.ended == 1 and limits.places.open == 0)
        ws = await connect(address(url), proxy=None)
        await ws.recv()
        ws.transport.abort()
        await until(lambda: endless.ended == 2 and limits.places.open == 0)


async def test_a_client_that_talks_without_end_is_cut_off() -> None:
    with serving() as url:
        async with connect(address(url, "?cursor=100"), proxy=None) as ws:
            with pytest.raises(ConnectionClosed):
                async with asyncio.timeout(SECONDS):
                    while True:
                        await ws.send("hello")


async def test_streams_are_bounded_in_all_and_for_each_caller() -> None:
    limits = StreamLimits(Places(total=2, of_one=1))
    with serving(streams=limits) as url:
        one, two = (connect(address(url, "?cursor=100"), proxy=None) for _ in range(2))
        async with one, two:
            await until(lambda: limits.places.open == 2)
            with pytest.raises(InvalidStatus) as refused:
                async with connect(address(url, "?cursor=100"), proxy=None):
                    pass
            assert refused.value.response.status_code == 503
        await until(lambda: limits.places.open == 0)
    places = Places(total=3, of_one=1)
    with places.place("a", local=False):
        with pytest.raises(RateLimitExceeded), places.place("a", local=False):
            pass
        with places.place("b", local=False), places.place("a", local=True):
            assert places.open == 3
    assert places.open == 0


async def test_opening_a_stream_costs_points() -> None:
    callers = Callers(1)
    rate = RateLimit(25, 300, callers=callers)
    with serving(rate=rate, callers=callers) as url:
        told = {"x-forwarded-for": "203.0.113.1"}
        for _ in range(2):
            async with connect(address(url), proxy=None, additional_headers=told):
                pass
        with pytest.raises(InvalidStatus) as refused:
            async with connect(address(url), proxy=None, additional_headers=told):
                pass
        assert refused.value.response.status_code == 429
        assert int(refused.value.response.headers["retry-after"]) > 200


async def test_a_token_that_is_sent_must_be_good_for_the_stream() -> None:
    ring = Keyring()
    key = K256Key()
    ring.keys[ALICE] = key
    heard: list[str | None] = []

    async def who(request: Request) -> AsyncIterator[bytes]:
        heard.append(request.viewer)
        yield message_frame("#event", {"seq": 1})

    async def opened(url: str, method: str) -> None:
        sent = bearer(token(key, iss=ALICE, aud=NODE, lxm=method))
        async with connect(address(url), proxy=None, additional_headers=sent) as ws:
            await ws.recv()

    with serving(who, auth=ServiceAuth(NODE, ring)) as url:
        await opened(url, STREAM)
        with pytest.raises(InvalidStatus) as refused:
            await opened(url, ECHO)
    assert heard == [ALICE]
    assert refused.value.response.status_code == 401


def test_a_handler_fits_its_document() -> None:
    server = Server(documents())
    for nsid in (ECHO, "com.example.nothing"):
        with pytest.raises(RegistrationError):
            server.subscription(nsid, count)
    server.subscription(STREAM, count)
    with pytest.raises(RegistrationError, match="already"):
        server.subscription(STREAM, count)
    assert server.served == (STREAM,)


# Our client


async def read(url: str, nsid: str = STREAM, **params: Any) -> list[Any]:
    async with AsyncClient(url, catalog=documents()) as client, asyncio.timeout(SECONDS):
        return [m.body["seq"] async for m in client.subscribe(nsid, params)]


async def test_the_client_reads_until_the_service_closes(url: str) -> None:
    assert await read(url, cursor=7) == [8, 9, 10]


async def test_the_client_raises_what_the_service_says(url: str) -> None:
    with pytest.raises(InvalidRequest) as refused:
        await read(url, cursor=2000)
    assert (refused.value.error, refused.value.url) == (
        "FutureCursor",
        f"{url}/xrpc/{STREAM}?cursor=2000",
    )
    with pytest.raises(InvalidRequest):
        await read(url, cursor=-1)
    with pytest.raises(MethodNotImplemented):
        await read(url, "com.example.unknown")


async def test_the_client_says_where_nobody_listens() -> None:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    with pytest.raises(TransportFailed):
        await read(f"http://127.0.0.1:{port}")


@pytest.mark.parametrize(
    "raw", [b"", b"\xff", error_frame("A", "b")[:-1], message_frame("#event", {}) + b"\xa0"]
)
async def test_the_client_takes_nothing_that_is_no_frame(raw: bytes) -> None:
    async def nonsense(request: Request) -> AsyncIterator[bytes]:
        yield raw

    server = Server(documents()).subscription(STREAM, nonsense)
    with (
        serve_app(server.app(), websockets=True) as url,
        pytest.raises(UnexpectedResponse),
    ):
        await read(url)


async def test_the_client_checks_messages_by_their_document() -> None:
    async def wrong(request: Request) -> AsyncIterator[bytes]:
        yield message_frame("#event", {"seq": "seven"})

    server = Server(documents()).subscription(STREAM, wrong)
    with (
        serve_app(server.app(), websockets=True) as url,
        pytest.raises(UnexpectedResponse, match="seq"),
    ):
        await read(url)


# Frames


def test_frames_keep_links_apart_from_bytes() -> None:
    link = Cid.of_cbor(b"\xa0")
    frame = message_frame("#event", {"seq": 1, "link": link, "raw": b"abc"})
    assert parse_frame(frame) == Message("#event", {"seq": 1, "link": link, "raw": b"abc"})


def test_what_a_later_version_may_send_is_passed_over() -> None:
    assert parse_frame(encode({"op": 2}) + encode({"a": 1})).kind == ""
    assert parse_frame(encode({"op": 1, "t": "#event", "x": 1}) + encode({})).kind == "#event"


@pytest.mark.parametrize(
    "raw", [b"\xa0", b"\xa0\xa0\xa0", b"\x01\x02", b"\x81" * 100_000, b"\0" * (MAX_FRAME_BYTES + 1)]
)
def test_what_is_no_frame_is_said_to_be_none(raw: bytes) -> None:
    with pytest.raises(BadFrame):
        parse_frame(raw)
