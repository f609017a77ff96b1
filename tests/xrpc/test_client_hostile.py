"""Services that answer badly: each is an error of its class, bounded in size and time."""

from __future__ import annotations

import asyncio
import gzip
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from typing import Any

import httpx
import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response, StreamingResponse
from starlette.routing import Route

from atdex_xrpc import (
    Client,
    InternalServerError,
    NotFound,
    RateLimitExceeded,
    ResponseTooLarge,
    TransportFailed,
    UnexpectedResponse,
    UpstreamFailure,
    XrpcError,
)
from tests.support.http import serve_app
from tests.xrpc.test_client import Call, make

__all__ = ["make"]

NSID = "com.example.echo"


class Stage:
    """One service for the whole module, whose answer each test sets."""

    url = ""
    answer: Callable[[], Response]


@pytest.fixture(scope="module", autouse=True)
def stage() -> Iterator[None]:
    async def endpoint(request: Request) -> Response:
        return Stage.answer()

    route = Route("/{path:path}", endpoint, methods=["GET", "POST"])
    with serve_app(Starlette(routes=[route])) as Stage.url:
        yield


@contextmanager
def answering(answer: Callable[[], Response]) -> Iterator[str]:
    """A service that gives the same answer to everything."""
    Stage.answer = staticmethod(answer)
    yield Stage.url


def refused(client: Any) -> XrpcError:
    with pytest.raises(XrpcError) as caught:
        client.query(NSID)
    return caught.value


def json_text(text: bytes, status: int = 200, **headers: str) -> Response:
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return Response(text, status, named, media_type="application/json")


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return int(listener.getsockname()[1])


def test_a_service_that_is_not_there_is_a_failure_of_the_transport(make: Call) -> None:
    url = f"http://127.0.0.1:{free_port()}"
    error = refused(make(url))
    assert type(error) is TransportFailed
    assert (error.fault, error.transient, error.url) == ("network", True, f"{url}/xrpc/{NSID}")
    assert str(error).startswith(f"no answer from {url}/xrpc/{NSID}: ConnectError")


@contextmanager
def listening(serve: Callable[[socket.socket], None]) -> Iterator[str]:
    """A TCP server that treats each connection as `serve` says, until the test is over."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        over = threading.Event()

        def run() -> None:
            listener.settimeout(0.05)
            while not over.is_set():
                try:
                    connection, _ = listener.accept()
                except TimeoutError:
                    continue
                with connection:
                    try:
                        serve(connection)
                    except OSError:
                        continue

        thread = threading.Thread(target=run, daemon=True)
        thread.start()
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"
        over.set()
        thread.join(5)


def test_a_service_that_accepts_and_says_nothing_times_out(make: Call) -> None:
    def silent(connection: socket.socket) -> None:
        connection.settimeout(3)
        while connection.recv(4096):
            pass

    with listening(silent) as url:
        error = refused(make(url, timeout=0.2))
        assert type(error) is TransportFailed


@pytest.mark.parametrize(
    ("start", "drop"),
    [
        (
            b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 9999\r\n\r\n",
            b" ",
        ),
        (b"HTTP/1.1 200 OK\r\n", b"X: y\r\n"),
        (b"HTTP/1.1 200 OK\r\nX: ", b"y"),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5;", b"y"),
        (b"", b"HTTP/1.1 103 Early Hints\r\n\r\n"),
    ],
    ids=["body", "headers", "one header", "size of a chunk", "early hints"],
)
def test_a_service_that_drips_its_answer_is_cut_off_at_the_deadline(
    make: Call, start: bytes, drop: bytes
) -> None:
    def dripping(connection: socket.socket) -> None:
        connection.recv(4096)
        connection.sendall(start)
        for _ in range(100):
            connection.sendall(drop)
            time.sleep(0.02)

    with listening(dripping) as url:
        error = refused(make(url, timeout=0.3))
        assert type(error) is TransportFailed
        assert "too long" in str(error)


@pytest.mark.parametrize(
    "text",
    [
        b"SSH-2.0-OpenSSH_9.9\r\n",
        b"",
        b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\n12",
        b"HTTP/1.1 200 OK\r\nX: " + b"a" * 300_000,
    ],
    ids=["another protocol", "nothing", "cut off", "endless header"],
)
def test_an_answer_that_is_no_http_is_a_failure_of_the_transport(make: Call, text: bytes) -> None:
    def talking(connection: socket.socket) -> None:
        connection.recv(4096)
        connection.sendall(text)

    with listening(talking) as url:
        assert type(refused(make(url, timeout=2))) is TransportFailed


def test_an_answer_that_never_ends_is_cut_off_at_the_limit(make: Call) -> None:
    async def endless() -> Any:
        while True:
            yield b"x" * 65_536
            await asyncio.sleep(0)

    with answering(lambda: StreamingResponse(endless(), media_type="application/json")) as url:
        error = refused(make(url, max_bytes=1_000_000))
        assert isinstance(error, ResponseTooLarge)
        assert error.limit == 1_000_000
        with pytest.raises(ResponseTooLarge):
            make(url).query_bytes(NSID, max_bytes=1000)


def test_an_answer_of_exactly_the_limit_passes(make: Call) -> None:
    with answering(lambda: json_text(b'"' + b"x" * 98 + b'"')) as url:
        assert len(make(url, max_bytes=100).query(NSID)) == 98
        assert isinstance(refused(make(url, max_bytes=99)), ResponseTooLarge)


def test_a_compressed_answer_is_refused_before_it_unfolds(make: Call) -> None:
    bomb = gzip.compress(b" " * 10_000_000)
    with answering(lambda: json_text(bomb, 200, content_encoding="gzip")) as url:
        error = refused(make(url))
    assert type(error) is UnexpectedResponse
    assert "compressed" in str(error)


@pytest.mark.parametrize("status", [301, 302, 307, 308])
def test_a_redirect_is_not_followed(make: Call, status: int) -> None:
    with answering(lambda: RedirectResponse("http://169.254.169.254/", status)) as url:
        error = refused(make(url))
    assert type(error) is UnexpectedResponse
    assert "169.254.169.254" in str(error)


@pytest.mark.parametrize(
    "target",
    ["pipe:ls", "//", "http://", "http://[", "http://xn--aaaaaaaaaa.com/", "https:ls", "%00"],
)
def test_a_redirect_to_nonsense_is_an_error_of_ours_too(make: Call, target: str) -> None:
    headers = {"location": target}
    with answering(lambda: Response(None, 302, headers)) as url:
        assert type(refused(make(url))) in (UnexpectedResponse, TransportFailed)


def test_a_redirect_is_not_followed_by_a_client_that_would(url: str) -> None:
    with (
        answering(lambda: RedirectResponse(f"{url}/xrpc/{NSID}", 302)) as moved,
        httpx.Client(follow_redirects=True, trust_env=False) as http,
        Client(moved, http=http) as client,
    ):
        assert type(refused(client)) is UnexpectedResponse


def test_a_web_page_is_no_answer(make: Call) -> None:
    with answering(lambda: Response("<html>hello</html>", media_type="text/html")) as url:
        error = refused(make(url))
    assert type(error) is UnexpectedResponse
    assert error.fault == "remote"
    assert "text/html" in str(error)


@pytest.mark.parametrize("text", [b"{", b"[" * 100_000, b"[" * 500 + b"]" * 500, b"\xff"])
def test_an_answer_that_is_broken_json_or_too_deep_is_unexpected(make: Call, text: bytes) -> None:
    with answering(lambda: json_text(text)) as url:
        assert type(refused(make(url))) is UnexpectedResponse


def test_a_success_of_another_status_is_unexpected(make: Call) -> None:
    with answering(lambda: json_text(b"{}", 206)) as url:
        error = refused(make(url))
    assert type(error) is UnexpectedResponse
    assert error.url == f"{url}/xrpc/{NSID}"


@pytest.mark.parametrize(
    "text", [b"<html>", b"", b"[]", b"null", b'{"error": 5}', b'{"error": ""}', b'{"detail": "x"}']
)
def test_an_error_without_the_error_shape_still_has_the_class_of_its_status(
    make: Call, text: bytes
) -> None:
    for status, kind in ((500, InternalServerError), (502, UpstreamFailure), (404, NotFound)):
        with answering(lambda status=status: json_text(text, status)) as url:  # type: ignore[misc]
            error = refused(make(url))
        assert type(error) is kind
        assert error.fault == ("caller" if status == 404 else "remote")
        assert f"HTTP status {status}" in error.message


def test_a_foreign_message_is_bounded_and_cannot_steer_a_terminal(make: Call) -> None:
    text = b'{"error": "\\u001b[2J' + b"N" * 5_000 + b'", "message": "\\u001b]0;' + b"m" * 30_000
    with answering(lambda: json_text(text + b'"}', 400)) as url:
        error = refused(make(url))
    assert "\x1b" not in str(error)
    assert len(str(error)) < 3_000


def test_an_error_with_a_body_of_megabytes_is_cut_off(make: Call) -> None:
    with answering(lambda: json_text(b" " * 1_000_000, 500)) as url:
        assert isinstance(refused(make(url)), ResponseTooLarge)


NEVER = "9" * 400
SOON = format_datetime(datetime.now(UTC) + timedelta(seconds=600), usegmt=True)


@pytest.mark.parametrize(
    ("headers", "low", "high"),
    [
        ({"retry-after": "12"}, 12, 12),
        ({"retry-after": "999999999"}, 86_400, 86_400),
        ({"retry-after": SOON}, 300, 600),
        ({"retry-after": "Mon, 01 Jan 2001 00:00:00 GMT"}, 0, 0),
        ({"ratelimit-reset": "1"}, 0, 0),
        ({"ratelimit-reset": "99999999999"}, 86_400, 86_400),
    ],
)
def test_the_time_to_wait_is_read_and_bounded(
    make: Call, headers: dict[str, str], low: int, high: int
) -> None:
    with answering(lambda: json_text(b"{}", 429, **headers)) as url:
        error = refused(make(url))
    assert isinstance(error, RateLimitExceeded)
    assert error.retry_after is not None
    assert low <= error.retry_after <= high


@pytest.mark.parametrize(
    "value",
    [
        "01 Jan 2020 00:00:00 +9999999999999",
        "soon",
        "-5",
        "1.5",
        NEVER,
        "Mon, 01 Jan 2001 00:00:00",
    ],
)
def test_a_time_to_wait_that_makes_no_sense_is_none(make: Call, value: str) -> None:
    with answering(lambda: json_text(b"{}", 429, retry_after=value)) as url:
        error = refused(make(url))
    assert isinstance(error, RateLimitExceeded)
    assert error.retry_after is None
