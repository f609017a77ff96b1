"""DNS against a real server on loopback."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator

import dns.rcode
import dns.resolver
import pytest
import uvloop

from atdex_firehose import dns as dns_module
from atdex_firehose.dns import Dns
from atdex_firehose.errors import ConfigError
from tests.support.dns import DnsServer


@pytest.fixture
async def server() -> AsyncIterator[DnsServer]:
    async with DnsServer() as running:
        yield running


@pytest.fixture
def client(server: DnsServer) -> Dns:
    return Dns([server.address])


async def test_the_strings_of_a_text_record_are_joined(server: DnsServer, client: Dns) -> None:
    server.add("a.test", "TXT", '"did=did:plc:" "abc"', '"other"')
    found = await client.texts("a.test")
    assert found is not None
    assert sorted(found) == [b"did=did:plc:abc", b"other"]


async def test_text_that_is_no_text_comes_as_bytes(server: DnsServer, client: Dns) -> None:
    server.add("a.test", "TXT", r'"\255\254did="')
    assert await client.texts("a.test") == [b"\xff\xfedid="]


async def test_a_name_without_records_has_none(server: DnsServer, client: Dns) -> None:
    server.add("a.test", "A", "192.0.2.1")
    assert await client.texts("a.test") == []
    assert await client.texts("absent.test") == []
    assert await client.addresses("absent.test") == []


@pytest.mark.parametrize("name", ["a" * 64 + ".test", ("a" * 60 + ".") * 5 + "test", "a..test"])
async def test_a_name_that_dns_cannot_have_has_no_records(client: Dns, name: str) -> None:
    assert await client.texts(name) == []


@pytest.mark.parametrize("rcode", [dns.rcode.SERVFAIL, dns.rcode.REFUSED, dns.rcode.NOTIMP])
async def test_a_server_that_fails_is_no_answer(
    server: DnsServer, client: Dns, rcode: dns.rcode.Rcode
) -> None:
    server.rcodes["a.test"] = rcode
    assert await client.texts("a.test") is None
    assert await client.addresses("a.test") is None


async def test_silence_and_nonsense_are_no_answer_within_the_time(
    server: DnsServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(dns_module, "LIFETIME_SECONDS", 0.6)
    monkeypatch.setattr(dns_module, "TRY_SECONDS", 0.3)
    client = Dns([server.address])
    server.silent.add("silent.test")
    server.raw["bad.test"] = b"\xff" * 40
    for name in ("silent.test", "bad.test"):
        started = time.monotonic()
        assert await client.texts(name) is None
        assert time.monotonic() - started < 3


async def test_the_second_server_is_asked_where_the_first_is_dead(server: DnsServer) -> None:
    server.add("a.test", "TXT", '"x"')
    async with DnsServer() as dead:
        address = dead.address
    assert await Dns([address, server.address]).texts("a.test") == [b"x"]


async def test_a_long_answer_comes_over_tcp(server: DnsServer, client: Dns) -> None:
    server.add("a.test", "TXT", *(f'"did=did:plc:{n:024d}"' for n in range(60)))
    found = await client.texts("a.test")
    assert found is not None
    assert len(found) == 60
    assert server.over_tcp == 1


async def test_a_flood_of_records_is_not_even_parsed(server: DnsServer, client: Dns) -> None:
    server.add("a.test", "TXT", *(f'"{n}"' for n in range(3_500)))
    assert await client.texts("a.test") is None
    assert server.over_tcp >= 1
    server.add("a.test", "TXT", '"x"')
    assert await client.texts("a.test") == [b"x"]


async def test_addresses_of_both_kinds_are_found(server: DnsServer, client: Dns) -> None:
    server.add("a.test", "A", "192.0.2.1", "192.0.2.2")
    server.add("a.test", "AAAA", "2001:db8::1")
    found = await client.addresses("a.test")
    assert found is not None
    assert sorted(found) == ["192.0.2.1", "192.0.2.2", "2001:db8::1"]


async def test_a_name_is_not_completed_by_a_search_list(server: DnsServer, client: Dns) -> None:
    await client.texts("a.test")
    assert set(server.asked) == {("a.test", "TXT")}


async def test_without_any_configuration_the_local_server_is_asked(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def none(*_: object) -> None:
        raise dns.resolver.NoResolverConfiguration

    monkeypatch.setattr(dns.resolver.BaseResolver, "read_resolv_conf", none)
    assert [str(server) for server in Dns()._resolver.nameservers] == ["Do53:127.0.0.1@53"]


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("192.0.2.1", "Do53:192.0.2.1@53"),
        ("192.0.2.1:5353", "Do53:192.0.2.1@5353"),
        ("2001:db8::1", "Do53:2001:db8::1@53"),
        ("[2001:db8::1]:5353", "Do53:2001:db8::1@5353"),
        ("[2001:db8::1]", "Do53:2001:db8::1@53"),
    ],
)
def test_a_server_is_an_address_with_or_without_a_port(text: str, shown: str) -> None:
    assert [str(server) for server in Dns([text])._resolver.nameservers] == [shown]


@pytest.mark.parametrize(
    "text", ["", "dns.test", "192.0.2.1:", "192.0.2.1:0", "192.0.2.1:x", "[::1]x", "1.2.3.4:99999"]
)
def test_what_is_no_address_is_refused(text: str) -> None:
    with pytest.raises(ConfigError):
        Dns([text])


def test_it_works_on_uvloop() -> None:
    async def run() -> None:
        async with DnsServer() as server:
            server.add("a.test", "TXT", *(f'"{n:060d}"' for n in range(20)))
            server.add("a.test", "A", "192.0.2.1")
            client = Dns([server.address])
            assert len(await client.texts("a.test") or ()) == 20
            assert await client.addresses("a.test") == ["192.0.2.1"]
            assert await client.addresses("absent.test") == []

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(run())
