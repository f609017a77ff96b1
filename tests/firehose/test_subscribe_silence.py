"""An upstream that is silent is asked, and dropped in the end; one that is merely unread is not."""

from __future__ import annotations

import asyncio

from atdex_firehose.subscribe import Rest
from tests.firehose.websocket_peer import CLOSE, PING, PONG, Peer, end_of, frame, serving, stay


async def test_the_upstream_is_asked_while_it_is_silent_and_dropped_without_an_answer() -> None:
    pings = 0

    async def script(peer: Peer) -> None:
        nonlocal pings
        for _ in range(3):
            assert await peer.receive() == (PING, b"")
            pings += 1
            await peer.send(frame(b"", PONG))
        await stay(peer)

    async with serving(script) as url:
        reason = await end_of(url, lambda raw: None, ping=0.1)
    assert reason == "no answer to a ping for 0 s"
    assert pings == 3


async def test_an_upstream_that_answers_but_sends_nothing_is_dropped_in_the_end() -> None:
    async def script(peer: Peer) -> None:
        await peer.send(frame(b"one"))
        while (await peer.receive())[0] == PING:
            await peer.send(frame(b"", PONG))

    async with serving(script) as url:
        reason = await end_of(url, lambda raw: None, ping=0.1, idle=0.5)
    assert reason.startswith("silent for")


async def test_a_connection_that_is_merely_unread_is_neither_asked_nor_dropped() -> None:
    found: list[bytes] = []
    asked: list[int] = []

    def take(raw: bytes) -> Rest | None:
        found.append(raw)
        return asyncio.sleep(0.6) if raw == b"one" else None

    async def script(peer: Peer) -> None:
        await peer.send(frame(b"one"))
        await asyncio.sleep(0.3)
        await peer.send(frame(b"two"))
        await asyncio.sleep(0.35)
        await peer.send(frame(b"\x03\xe8", CLOSE))
        asked.append((await peer.receive())[0])

    async with serving(script) as url:
        assert await end_of(url, take, ping=0.2, idle=0.25) == "connection closed: 1000"
        await asyncio.sleep(0.05)
    assert found == [b"one", b"two"]
    assert asked == [CLOSE]


async def test_an_upstream_that_asks_without_end_and_reads_no_answer_is_dropped() -> None:
    async def script(peer: Peer) -> None:
        while True:
            await peer.send(frame(bytes(125), PING) * 1000)

    async with serving(script) as url:
        assert await end_of(url, lambda raw: None) == "does not read the answers to its pings"
