"""What is no HTTP request, over a real socket."""

from __future__ import annotations

import json
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from atdex_appview.http_protocol import MAX_HEAD_BYTES
from tests.appview.index import Index, Node

SECONDS = 20.0
GOOD = b"GET /xrpc/app.bsky.atdata.listDatasets HTTP/1.1\r\nhost: x\r\n\r\n"


@pytest.fixture
def node(tmp_path: Path) -> Iterator[Node]:
    with Index.open(tmp_path) as index, index.serve() as served:
        yield served


@contextmanager
def connected(node: Node) -> Iterator[socket.socket]:
    host, port = node.http.base_url.host, node.http.base_url.port
    assert port is not None
    with socket.create_connection((host, port), timeout=SECONDS) as link:
        yield link


def until_closed(link: socket.socket) -> bytes:
    """What comes until the other side closes, or resets because it reads no further."""
    parts = []
    try:
        while part := link.recv(65_536):
            parts.append(part)
    except ConnectionError:
        pass
    return b"".join(parts)


@pytest.mark.parametrize(
    "raw",
    [
        b"GET /" + b"x" * 70_000 + b" HTTP/1.1\r\nhost: x\r\n\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",  # somebody speaks TLS
        b"hello\r\n\r\n",
        b"GET / HTTP/1.1\r\nhost : x\r\n\r\n",
        b"GET / HTTP/1.1\r\ncontent-length: 1\r\ncontent-length: 2\r\n\r\n",
        b"POST / HTTP/1.1\r\ntransfer-encoding: chunked\r\n\r\nzz\r\n",
    ],
)
def test_what_the_parser_cannot_read_is_refused_in_the_usual_shape(node: Node, raw: bytes) -> None:
    with connected(node) as link:
        link.sendall(raw)
        answer = until_closed(link)
    head, _, body = answer.partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 400 ")
    assert b"content-type: application/json" in head
    assert b"x-content-type-options: nosniff" in head
    said = json.loads(body)
    assert set(said) == {"error", "message"}
    assert said["error"] == "InvalidRequest"


@pytest.mark.parametrize("endless", [b"GET /", b"GET / HTTP/1.1\r\nx: ", b"GET / HTTP/1.1\r\n"])
def test_a_head_without_an_end_is_read_so_far_and_no_further(node: Node, endless: bytes) -> None:
    with connected(node) as link:
        sent = 0
        try:
            link.sendall(endless)
            while sent < 100 * MAX_HEAD_BYTES:
                piece = b"a: b\r\n" * 500 if endless.endswith(b"\n") else b"x" * 3_000
                link.sendall(piece)
                sent += len(piece)
        except ConnectionError:
            pass
        until_closed(link)
        # The rest is what the two sides' buffers hold.
        assert sent < 100 * MAX_HEAD_BYTES


def test_the_head_of_one_request_is_not_counted_with_that_of_the_next(node: Node) -> None:
    long = GOOD.replace(b"host: x", b"host: x\r\nx: " + b"y" * 30_000)
    with connected(node) as link:
        for _ in range(2 * MAX_HEAD_BYTES // len(long)):
            link.sendall(long)
            answer = b""
            while not answer.endswith(b"}"):
                piece = link.recv(65_536)
                assert piece, "closed"
                answer += piece
            assert answer.startswith(b"HTTP/1.1 200 ")


def test_a_body_is_no_part_of_the_head(node: Node) -> None:
    record = {"collection": "com.example.thing", "record": {"text": "x" * 4 * MAX_HEAD_BYTES}}
    answer = node.http.post("/xrpc/app.bsky.atdata.checkRecord", json=record)
    assert (answer.status_code, answer.json()["valid"]) == (200, False)
