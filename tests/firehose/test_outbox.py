from __future__ import annotations

import asyncio

import pytest

from atdex_firehose.events import AccountEvent, Event, RejectedEvent
from atdex_firehose.outbox import Outbox


def event(seq: int) -> AccountEvent:
    return AccountEvent("http://relay", seq, "did:plc:a", "2026-01-01T00:00:00Z", True, None)


async def take(outbox: Outbox, count: int) -> list[int]:
    found: list[int] = []
    async for each in outbox.events():
        found.append(each.seq)
        if len(found) == count:
            break
    return found


async def test_events_come_out_in_order_and_then_the_end() -> None:
    outbox = Outbox()
    for n in range(3):
        assert outbox.offer(event(n))
    outbox.finish()
    assert [each.seq async for each in outbox.events()] == [0, 1, 2]


async def test_a_full_outbox_makes_the_writer_wait() -> None:
    outbox = Outbox(max_events=2)
    assert outbox.offer(event(0))
    assert outbox.offer(event(1))
    assert not outbox.offer(event(2))
    waiting = asyncio.create_task(outbox.put(event(2)))
    await asyncio.sleep(0)
    assert not waiting.done()
    assert await take(outbox, 3) == [0, 1, 2]
    await waiting


async def test_large_events_fill_it_by_their_bytes() -> None:
    def large(seq: int) -> Event:
        return RejectedEvent("http://relay", seq, "", None, "InvalidCar", "", bytes(600))

    outbox = Outbox(max_bytes=1_000)
    assert outbox.offer(large(0))
    assert outbox.offer(large(1))
    assert not outbox.offer(large(2))
    assert await take(outbox, 1) == [0]
    assert outbox.offer(large(2))


async def test_a_failure_is_raised_to_whoever_iterates() -> None:
    outbox = Outbox()
    waiting = asyncio.create_task(take(outbox, 1))
    await asyncio.sleep(0)
    outbox.fail(ZeroDivisionError("first"))
    outbox.fail(ValueError("second"))
    with pytest.raises(ZeroDivisionError):
        await waiting
