"""Servers in trouble are no answer about a handle, and hostile ones do no harm."""

from __future__ import annotations

import asyncio
import socket
import time
import tracemalloc
from collections.abc import AsyncIterator

import dns.rcode
import pytest
from starlette.responses import StreamingResponse

from atdex_firehose import handles as handles_module
from atdex_firehose.handles import HandleResolver
from tests.firehose.handle_web import ALICE, BOB, HANDLE, WELL_KNOWN, Web, redirecting
from tests.support.dns import DnsServer

# Outages


@pytest.mark.parametrize("status", [408, 425, 429, 500, 502, 503, 504, 521])
async def test_a_web_server_in_trouble_is_no_answer(
    resolver: HandleResolver, web: Web, status: int
) -> None:
    web.say(HANDLE, "", status)
    assert await resolver.verify(HANDLE, ALICE) == "unknown"


async def test_dns_in_trouble_leaves_the_web_to_say_yes_but_not_no(
    resolver: HandleResolver, names: DnsServer, web: Web
) -> None:
    names.rcodes[f"_atproto.{HANDLE}"] = dns.rcode.SERVFAIL
    web.say(HANDLE, ALICE)
    assert await resolver.verify(HANDLE, ALICE) == "valid"
    assert await resolver.verify(HANDLE, BOB) == "unknown"
    names.rcodes[HANDLE] = dns.rcode.SERVFAIL
    assert await resolver.verify(HANDLE, ALICE) == "unknown"


async def test_nobody_listening_is_no_answer(names: DnsServer) -> None:
    with socket.socket() as reserved:
        reserved.bind(("127.0.0.1", 0))
        origin = f"http://{{handle}}:{reserved.getsockname()[1]}"
        async with HandleResolver(
            dns_servers=[names.address], local=True, origin=origin
        ) as resolver:
            assert await resolver.verify(HANDLE, ALICE) == "unknown"


async def test_a_server_that_keeps_us_waiting_is_no_answer(
    resolver: HandleResolver, web: Web, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(handles_module, "REQUEST_SECONDS", 0.4)

    async def drip() -> AsyncIterator[bytes]:
        for _ in range(50):
            yield b" "
            await asyncio.sleep(0.1)

    web.hosts[HANDLE] = lambda _: StreamingResponse(drip())
    started = time.monotonic()
    assert await resolver.verify(HANDLE, ALICE) == "unknown"
    assert time.monotonic() - started < 3


# Hostile answers


async def test_a_body_without_end_is_read_no_further_than_needed(
    resolver: HandleResolver, web: Web
) -> None:
    async def flood() -> AsyncIterator[bytes]:
        for _ in range(1_600):  # 100 MB
            web.sent += 65_536
            yield b"x" * 65_536
            await asyncio.sleep(0.001)  # a server that writes without a pause notices nothing

    web.hosts[HANDLE] = lambda _: StreamingResponse(flood())
    tracemalloc.start()
    try:
        assert await resolver.verify(HANDLE, ALICE) == "invalid"
        assert tracemalloc.get_traced_memory()[1] < 20_000_000
    finally:
        tracemalloc.stop()
    assert web.sent < 50_000_000


async def test_a_compressed_body_is_not_unpacked(resolver: HandleResolver, web: Web) -> None:
    web.say(HANDLE, ALICE, content_encoding="gzip")
    assert await resolver.verify(HANDLE, ALICE) == "invalid"


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
async def test_a_redirect_to_another_host_is_followed(
    resolver: HandleResolver, names: DnsServer, web: Web, status: int
) -> None:
    names.add("www.other.test", "A", "127.0.0.1")
    port = web.url.rpartition(":")[2]
    web.hosts[HANDLE] = redirecting(f"http://www.other.test:{port}/did.txt", status)
    web.say("www.other.test", ALICE)
    assert await resolver.verify(HANDLE, ALICE) == "valid"
    assert web.asked["www.other.test/did.txt"] == 1


@pytest.mark.parametrize(
    "to",
    [
        "http://169.254.169.254/latest/meta-data/",
        "http://[fe80::1]/",
        "http://metadata.test/",
        "http://2852039166/",
        "file:///etc/passwd",
        "ftp://alice.test/",
        "http://user:password@alice.test/",
        "http://[",
        "http://absent.test/",
        "http://xn--aaaaaaaaaa.com/",
        f"http://{'a' * 70}.test/",
        "http://a..test/",
    ],
)
async def test_a_redirect_to_where_nobody_should_go_is_invalid(
    resolver: HandleResolver, names: DnsServer, web: Web, to: str
) -> None:
    names.add("metadata.test", "A", "169.254.169.254")
    web.hosts[HANDLE] = redirecting(to)
    assert await resolver.verify(HANDLE, ALICE) == "invalid"
    assert web.asked.total() == 1


async def test_a_host_that_does_not_decode_is_no_exception(
    resolver: HandleResolver, names: DnsServer, web: Web
) -> None:
    handle = "xn--aaaaaaaaaa.test"
    names.add(handle, "A", "127.0.0.1")
    assert await resolver.verify(handle, ALICE) == "invalid"
    names.point(handle, ALICE)
    assert await resolver.verify(handle, ALICE) == "valid"


async def test_redirects_end(resolver: HandleResolver, web: Web) -> None:
    web.hosts[HANDLE] = redirecting(WELL_KNOWN)
    assert await resolver.verify(HANDLE, ALICE) == "invalid"
    assert web.asked.total() == handles_module.REDIRECTS + 1


async def test_a_handle_at_a_private_address_is_invalid_on_the_network(
    names: DnsServer, web: Web
) -> None:
    names.add("www.alice.com", "A", "127.0.0.1")
    names.add("www.alice.com", "AAAA", "::ffff:169.254.169.254")
    async with HandleResolver(dns_servers=[names.address]) as resolver:
        assert await resolver.verify("www.alice.com", ALICE) == "invalid"
    assert names.asked["www.alice.com", "A"] == 1


async def test_a_flood_of_text_records_is_no_answer(
    resolver: HandleResolver, names: DnsServer, web: Web
) -> None:
    names.point(HANDLE, *(f"did:plc:{n:024d}".replace("0", "a") for n in range(1_000)))
    started = time.monotonic()
    assert await resolver.verify(HANDLE, ALICE) == "unknown"
    assert time.monotonic() - started < 3
    web.say(HANDLE, ALICE)
    assert await resolver.verify(HANDLE, ALICE) == "valid"
