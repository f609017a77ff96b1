"""How often, and how many at once, DNS and the web are asked about handles."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator

import pytest
from starlette.responses import StreamingResponse

from atdex_firehose import handles as handles_module
from atdex_firehose.handles import HandleResolver
from tests.firehose.handle_web import ALICE, HANDLE, Web
from tests.support.dns import DnsServer


async def test_one_domain_is_asked_only_so_often_and_others_do_not_wait(
    names: DnsServer, web: Web, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(handles_module, "SITE_PER_SECOND", 10.0)
    monkeypatch.setattr(handles_module, "SITE_BURST", 5)
    async with HandleResolver(
        dns_servers=[names.address], local=True, origin=web.origin
    ) as resolver:
        started = time.monotonic()
        many = [asyncio.create_task(resolver.verify(f"u{n}.many.test", ALICE)) for n in range(15)]
        await asyncio.sleep(0)
        names.point(HANDLE, ALICE)
        assert await resolver.verify(HANDLE, ALICE) == "valid"
        assert not all(task.done() for task in many)
        await asyncio.gather(*many)
        assert time.monotonic() - started >= 0.99


async def test_a_turn_that_is_too_far_off_is_no_answer(resolver: HandleResolver, web: Web) -> None:
    web.say(HANDLE, "", 429, retry_after="120")
    assert await resolver.verify(HANDLE, ALICE) == "unknown"
    assert await resolver.verify(HANDLE, ALICE) == "unknown"
    assert await resolver.check(HANDLE, ALICE) == "unknown"  # whose turn was booked before that
    assert web.asked.total() == 1
    assert 100 < resolver.book(HANDLE) <= 120


async def test_only_so_many_are_asked_at_once(
    names: DnsServer, web: Web, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(handles_module, "PLACES", 4)
    under_way, most = 0, 0
    for n in range(20):
        names.add(f"a.site{n}.test", "A", "127.0.0.1")

    async def slow() -> AsyncIterator[bytes]:
        nonlocal under_way, most
        under_way += 1
        most = max(most, under_way)
        await asyncio.sleep(0.02)
        under_way -= 1
        yield ALICE.encode()

    for n in range(20):
        web.hosts[f"a.site{n}.test"] = lambda _: StreamingResponse(slow())
    async with HandleResolver(
        dns_servers=[names.address], local=True, origin=web.origin
    ) as resolver:
        found = await asyncio.gather(
            *(resolver.verify(f"a.site{n}.test", ALICE) for n in range(20))
        )
    assert set(found) == {"valid"}
    assert most <= 4
