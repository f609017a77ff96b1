"""How a connection is made: what is asked, what is refused, and TLS."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from atdex_firehose import subscribe
from atdex_firehose.subscribe import USER_AGENT
from tests.firehose.websocket_peer import CLOSE, DEADLINE, Peer, end_of, frame, messages_of, serving
from tests.support.certificates import server_side


async def test_the_request_names_this_software_and_asks_for_no_extension() -> None:
    requests: list[bytes] = []

    async def script(peer: Peer) -> None:
        requests.append(peer.request)

    await messages_of(script)
    (request,) = requests
    assert request.startswith(b"GET /stream HTTP/1.1\r\n")
    assert f"User-Agent: {USER_AGENT}\r\n".encode() in request
    assert b"extensions" not in request.lower()


async def test_proxies_are_not_taken_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("http_proxy", "https_proxy", "all_proxy", "HTTP_PROXY", "ALL_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:1")

    async def script(peer: Peer) -> None:
        await peer.send(frame(b"one"))

    assert (await messages_of(script))[0] == [b"one"]


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        (b"HTTP/1.1 404 Not Found\r\n\r\n", "404"),
        (b"HTTP/1.1 301 Moved\r\nLocation: ws://127.0.0.1:1/\r\n\r\n", "301"),
        (b"HTTP/1.1 101 Switching\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n", "accept"),
        (b"nonsense\r\n\r\n", "HTTP/1.1"),
        (b"HTTP/1.1 101 " + bytes(20_000), "exceed"),
        (b"HTTP/1.1 101", "closed during the handshake"),
    ],
)
async def test_a_refused_or_broken_handshake_is_a_lost_connection(
    answer: bytes, reason: str
) -> None:
    async def script(peer: Peer) -> None:
        await peer.reader.readuntil(b"\r\n\r\n")
        await peer.send(answer)

    async with serving(script, accept=False) as url:
        why = await end_of(url, lambda raw: None)
    assert why.startswith("cannot connect:")
    assert reason in why


async def test_an_upstream_that_accepts_and_says_nothing_is_left_in_time(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(subscribe, "OPEN_SECONDS", 0.1)
    ends = asyncio.Event()

    async def script(peer: Peer) -> None:
        await peer.reader.read()
        ends.set()

    async with serving(script, accept=False) as url:
        assert await end_of(url, lambda raw: None) == "cannot connect: TimeoutError"
        async with asyncio.timeout(DEADLINE):
            await ends.wait()


@pytest.mark.parametrize("url", ["ws://127.0.0.1:1/", "ws://a..b.invalid/", "ws://x.invalid/"])
async def test_an_address_that_cannot_be_reached_is_a_lost_connection(url: str) -> None:
    assert (await end_of(url, lambda raw: None)).startswith("cannot connect:")


async def test_tls_is_spoken_with_a_host_whose_certificate_is_trusted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    context, file = server_side(tmp_path, "127.0.0.1")
    found: list[bytes] = []

    async def script(peer: Peer) -> None:
        await peer.send(*[frame(bytes(50_000))] * 100, frame(b"\x03\xe8", CLOSE))

    async with serving(script, tls=context) as url:
        assert "certificate" in await end_of(url, found.append)
        monkeypatch.setenv("SSL_CERT_FILE", str(file))
        assert await end_of(url, found.append) == "connection closed: 1000"
    assert found == [bytes(50_000)] * 100
