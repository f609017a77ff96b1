"""What comes over one connection, from servers that write frames by hand: what the protocol forbids
as well."""

from __future__ import annotations

import asyncio

import pytest

from atdex_firehose import limits
from atdex_firehose.subscribe import Rest
from tests.firehose.websocket_peer import (
    CLOSE,
    CONTINUATION,
    PING,
    PONG,
    TEXT,
    Peer,
    end_of,
    frame,
    messages_of,
    serving,
    stay,
)


async def test_messages_come_in_order_as_bytes_and_then_the_reason_of_the_close() -> None:
    async def script(peer: Peer) -> None:
        await peer.send(
            frame(b"one"), frame(b"two", TEXT), frame(b""), frame(bytes(70_000)),
            frame(b"\x03\xf0too slow", CLOSE), frame(b"never"),
        )  # fmt: skip

    found, reason = await messages_of(script)
    assert found == [b"one", b"two", b"", bytes(70_000)]
    assert reason == "connection closed: 1008 too slow"


async def test_a_close_with_a_private_code_is_a_close() -> None:
    async def private(peer: Peer) -> None:
        await peer.send(frame(b"one"), frame((4000).to_bytes(2) + b"mine", CLOSE))

    assert await messages_of(private) == ([b"one"], "connection closed: 4000 mine")


async def test_an_end_without_a_close_is_told_apart() -> None:
    async def script(peer: Peer) -> None:
        await peer.send(frame(b"one"), b"\x82\x7e")

    found, reason = await messages_of(script)
    assert (found, reason) == ([b"one"], "connection closed without a closing handshake")


async def test_the_parts_of_a_message_are_put_together() -> None:
    async def script(peer: Peer) -> None:
        await peer.send(
            frame(b"a", fin=False), frame(b"", CONTINUATION, fin=False), frame(b"hi", PING),
            frame(b"b", CONTINUATION), frame(b"", fin=False), frame(b"", CONTINUATION), frame(b"c"),
        )  # fmt: skip
        assert await peer.receive() == (PONG, b"hi")

    assert (await messages_of(script))[0] == [b"ab", b"", b"c"]


@pytest.mark.parametrize(
    ("frames", "reason"),
    [
        ([frame(b"a", CONTINUATION)], "out of order"),
        ([frame(b"a", fin=False), frame(b"b")], "out of order"),
        ([frame(b"a", fin=False), frame(b"b", TEXT, fin=False)], "out of order"),
        ([frame(b"a", reserved=4)], "extension"),
        ([frame(b"a", 3)], "opcode"),
        ([frame(b"a", PING, fin=False)], "fragmented control frame"),
        ([b"\x82\x81\0\0\0\0a"], "masked"),
        ([b"\x82\x7f" + (2**40).to_bytes(8)], "exceeding max allowed size"),
        ([frame(bytes(3_000_000), fin=False), frame(bytes(2_000_001), CONTINUATION)], "over 5000"),
    ],
)
async def test_what_the_protocol_forbids_ends_the_connection(
    frames: list[bytes], reason: str
) -> None:
    async def script(peer: Peer) -> None:
        await peer.send(frame(b"one"))
        await peer.send(*frames)
        await stay(peer)

    found, why = await messages_of(script)
    assert found[0] == b"one"
    assert all(message in (b"one", b"a") for message in found)
    assert reason in why


async def test_a_frame_over_the_limit_is_refused_by_its_head() -> None:
    async def script(peer: Peer) -> None:
        await peer.send(frame(bytes(limits.FRAME_BYTES)))
        await peer.send(frame(bytes(limits.FRAME_BYTES + 1))[:10])
        await stay(peer)

    found, reason = await messages_of(script)
    assert [len(message) for message in found] == [limits.FRAME_BYTES]
    assert "5000001 > 5000000" in reason


async def test_what_take_returns_is_awaited_before_the_next_message() -> None:
    log: list[str] = []

    def take(raw: bytes) -> Rest | None:
        name = raw.decode()
        log.append(name)

        async def rest() -> None:
            await asyncio.sleep(0.01)
            log.append(f"{name} done")

        return rest() if name in ("b", "d", "e") else None

    async def script(peer: Peer) -> None:
        await peer.send(b"".join(frame(name.encode()) for name in "abcdef"))
        await asyncio.sleep(0.1)
        await peer.send(frame(b"g"), frame(b"\x03\xe8", CLOSE))

    async with serving(script) as url:
        assert await end_of(url, take) == "connection closed: 1000"
    assert log == ["a", "b", "b done", "c", "d", "d done", "e", "e done", "f", "g"]


@pytest.mark.parametrize("last", [frame(b"\x03\xe8", CLOSE), b"", frame(b"x", 3)])
async def test_messages_from_before_the_end_are_handed_on_however_it_ended(last: bytes) -> None:
    gate = asyncio.Event()
    found: list[bytes] = []

    def take(raw: bytes) -> Rest | None:
        found.append(raw)
        return wait() if len(found) == 1 else None

    async def wait() -> None:
        await gate.wait()

    async def script(peer: Peer) -> None:
        await peer.send(b"".join(frame(str(n).encode()) for n in range(100)) + last)

    async with serving(script) as url:
        async with asyncio.TaskGroup() as group:
            end = group.create_task(end_of(url, take))
            await asyncio.sleep(0.2)
            gate.set()
        assert end.done()
    assert found == [str(n).encode() for n in range(100)]
