"""What holds on either event loop: a slow receiver slows the sender, exceptions come out,
cancelling is clean, and other tasks get their turns."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

import pytest
import uvloop

from atdex_firehose import subscribe
from atdex_firehose.subscribe import Rest, follow, one_by_one
from tests.firehose.websocket_peer import (
    CLOSE,
    DEADLINE,
    Peer,
    end_of,
    frame,
    nothing,
    serving,
    stay,
)
from tests.support.certificates import server_side


async def backpressure(tls: ssl.SSLContext | None = None) -> None:
    """The sender of 128 MB is held up by a receiver that waits, and loses nothing."""
    size, count = 65_000, 2_000
    gate = asyncio.Event()
    found: list[int] = []
    peers: list[Peer] = []

    def take(raw: bytes) -> Rest | None:
        found.append(int.from_bytes(raw[:4]))
        return wait() if found[-1] == 10 else None

    async def wait() -> None:
        await gate.wait()

    async def script(peer: Peer) -> None:
        peers.append(peer)
        for n in range(count):
            await peer.send(frame(n.to_bytes(4) + bytes(size - 4)))
        await peer.send(frame(b"\x03\xe8", CLOSE))

    async with serving(script, tls=tls) as url, asyncio.TaskGroup() as group:
        group.create_task(end_of(url, take))
        written = -1
        while not peers or peers[0].written != written:
            written = peers[0].written if peers else -1
            await asyncio.sleep(0.3)
        assert found == list(range(11))
        assert written < 40_000_000
        gate.set()
    assert found == list(range(count))


async def failing() -> None:
    """An exception of ours comes out of `follow`, from the callback and from what was kept."""

    def at_once(raw: bytes) -> Rest | None:
        raise ZeroDivisionError(raw.decode())

    def later(raw: bytes) -> Rest | None:
        if raw == b"1":
            return asyncio.sleep(0)
        return at_once(raw) if raw == b"2" else None

    def awaited(raw: bytes) -> Rest | None:
        async def rest() -> None:
            at_once(raw)

        return rest()

    async def script(peer: Peer) -> None:
        await peer.send(b"".join(frame(str(n).encode()) for n in range(1, 9)))
        await stay(peer)

    for take, where in [(at_once, "1"), (later, "2"), (awaited, "1")]:
        async with serving(script) as url, asyncio.timeout(DEADLINE):
            with pytest.raises(ZeroDivisionError, match=where):
                await follow(url, one_by_one(take), nothing)


async def cancelling() -> None:
    """Cancelling is clean wherever it hits: no coroutine is left, and the socket is closed."""
    closed = 0

    async def silent(peer: Peer) -> None:
        nonlocal closed
        await peer.reader.read()
        closed += 1

    async def flood(peer: Peer) -> None:
        while True:
            await peer.send(frame(b"x") * 1000)

    async def cancel(url: str, take: Callable[[bytes], Rest | None], delay: float) -> None:
        task = asyncio.create_task(follow(url, one_by_one(take), nothing))
        await asyncio.sleep(delay)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            async with asyncio.timeout(1.0):
                await task

    def drop(raw: bytes) -> None:
        return None

    for accept in (False, True):
        async with serving(silent, accept=accept) as url:
            await cancel(url, drop, 0.05)
            await asyncio.sleep(0.05)
    assert closed == 2
    async with serving(flood) as url:
        for n in range(20):
            await cancel(url, drop, n * 0.002)
            await cancel(url, lambda raw: asyncio.sleep(0.001), n * 0.002)
            await cancel(url, lambda raw: asyncio.sleep(60), n * 0.002)


async def fairness() -> None:
    """Other tasks get their turns while messages come faster than they are dealt with."""
    turns = taken = 0
    start = asyncio.get_running_loop().time()

    def take(raw: bytes) -> None:
        nonlocal taken
        taken += 1
        sum(range(2_000))

    async def script(peer: Peer) -> None:
        data = frame(bytes(100)) * 10_000
        for _ in range(2):
            await peer.send(data)
        await peer.send(frame(b"\x03\xe8", CLOSE))

    async def other() -> None:
        nonlocal turns
        while True:
            turns += 1
            await asyncio.sleep(0)

    async with serving(script) as url:
        task = asyncio.create_task(other())
        await end_of(url, take)
        task.cancel()
    seconds = asyncio.get_running_loop().time() - start
    assert taken == 20_000
    assert turns > seconds / (10 * subscribe.TURN_SECONDS)


@pytest.mark.parametrize("check", [backpressure, failing, cancelling, fairness])
@pytest.mark.parametrize("loop", [asyncio.new_event_loop, uvloop.new_event_loop])
def test_both_event_loops_keep(
    check: Callable[[], Coroutine[Any, Any, None]],
    loop: Callable[[], asyncio.AbstractEventLoop],
) -> None:
    async def bounded() -> None:
        async with asyncio.timeout(30):
            await check()

    with asyncio.Runner(loop_factory=loop) as runner:
        runner.run(bounded())


@pytest.mark.parametrize("loop", [asyncio.new_event_loop, uvloop.new_event_loop])
def test_a_slow_receiver_slows_the_sender_under_tls_as_well(
    loop: Callable[[], asyncio.AbstractEventLoop], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    context, file = server_side(tmp_path, "127.0.0.1")
    monkeypatch.setenv("SSL_CERT_FILE", str(file))
    with asyncio.Runner(loop_factory=loop) as runner:
        runner.run(asyncio.wait_for(backpressure(context), 30))
