"""Handles against real DNS and web servers on loopback, honest and hostile ones."""

from __future__ import annotations

import asyncio
import socket
import ssl
import time
import tracemalloc
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import dns.rcode
import pytest
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response, StreamingResponse
from starlette.types import ASGIApp, Receive, Scope, Send

from atdex_firehose import handles as handles_module
from atdex_firehose.errors import ConfigError
from atdex_firehose.handles import HandleResolver
from tests.devnet import Devnet
from tests.support.certificates import self_signed
from tests.support.dns import DnsServer
from tests.support.http import serve_app
from tests.support.repo import plc_did

ALICE, BOB = plc_did("alice"), plc_did("bob")
HANDLE = "alice.test"
WELL_KNOWN = "/.well-known/atproto-did"

Answering = Callable[[Request], Response]


def _nothing(request: Request) -> Response:
    return PlainTextResponse("nothing", 404)


@dataclass
class Web:
    """A web server for every host: `hosts` says what each answers; the others have nothing."""

    url: str = ""
    hosts: dict[str, Answering] = field(default_factory=dict)
    asked: Counter[str] = field(default_factory=Counter)
    sent: int = 0

    def say(self, host: str, text: str | bytes, status: int = 200, **headers: str) -> None:
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        self.hosts[host] = lambda _: PlainTextResponse(text, status, headers=named)

    @property
    def origin(self) -> str:
        scheme, _, rest = self.url.partition("://")
        return f"{scheme}://{{handle}}:{rest.rpartition(':')[2]}"

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        request = Request(scope)
        host = request.headers["host"].partition(":")[0]
        self.asked[host + request.url.path] += 1
        answer = self.hosts.get(host, _nothing)
        response: ASGIApp = answer(request)
        await response(scope, receive, send)


@pytest.fixture
def web() -> Iterator[Web]:
    found = Web()
    with serve_app(found) as url:
        found.url = url
        yield found


@pytest.fixture
async def names() -> AsyncIterator[DnsServer]:
    async with DnsServer() as server:
        server.add(HANDLE, "A", "127.0.0.1")
        yield server


@pytest.fixture
async def resolver(names: DnsServer, web: Web) -> AsyncIterator[HandleResolver]:
    async with HandleResolver(dns_servers=[names.address], local=True, origin=web.origin) as found:
        yield found


# What the two methods say


async def test_a_text_record_verifies_a_handle_and_the_web_is_not_asked(
    resolver: HandleResolver, names: DnsServer, web: Web
) -> None:
    names.point(HANDLE, ALICE)
    web.say(HANDLE, BOB)
    assert await resolver.verify(HANDLE, ALICE) == "valid"
    assert await resolver.verify("Alice.Test", ALICE) == "valid"
    assert not web.asked


async def test_a_handle_that_points_to_another_did_is_invalid(
    resolver: HandleResolver, names: DnsServer, web: Web
) -> None:
    names.point(HANDLE, BOB)
    web.say(HANDLE, ALICE)  # DNS has the last word
    assert await resolver.verify(HANDLE, ALICE) == "invalid"
    assert await resolver.verify(HANDLE, BOB) == "valid"
    names.remove(HANDLE)
    web.say(HANDLE, BOB)
    assert await resolver.verify(HANDLE, ALICE) == "invalid"


async def test_text_records_that_disagree_verify_nobody(
    resolver: HandleResolver, names: DnsServer
) -> None:
    names.point(HANDLE, ALICE, BOB)
    assert await resolver.verify(HANDLE, ALICE) == "invalid"
    assert await resolver.verify(HANDLE, BOB) == "invalid"


async def test_records_of_another_form_are_passed_over(
    resolver: HandleResolver, names: DnsServer, web: Web
) -> None:
    name = f"_atproto.{HANDLE}"
    others = ['"v=spf1 -all"', '"did="', '"did=nonsense"', r'"did=did:plc:\255\254"', '"DID=x"']
    names.add(name, "TXT", *others, f'"did={ALICE}"')
    assert await resolver.verify(HANDLE, ALICE) == "valid"
    names.add(name, "TXT", *others)
    web.say(HANDLE, ALICE)
    assert await resolver.verify(HANDLE, ALICE) == "valid"
    assert web.asked == {HANDLE + WELL_KNOWN: 1}


@pytest.mark.parametrize("body", ["{}", "{}\n", "  {}\r\n\t"])
async def test_the_well_known_document_verifies_a_handle(
    resolver: HandleResolver, web: Web, body: str
) -> None:
    web.say(HANDLE, body.format(ALICE))
    assert await resolver.verify(HANDLE, ALICE) == "valid"


@pytest.mark.parametrize(
    "body",
    [
        b"",
        BOB.encode(),
        ALICE.encode() + b" " + BOB.encode(),
        ALICE.encode() + b"x",
        ALICE.upper().encode(),
        b"\xff\xfe" + ALICE.encode("utf-16-le"),
        b"\xef\xbb\xbf" + ALICE.encode(),
        b"<html>" + ALICE.encode(),
        ALICE.encode() + b"\n" * 10_000,
    ],
)
async def test_any_other_document_makes_it_invalid(
    resolver: HandleResolver, web: Web, body: bytes
) -> None:
    web.say(HANDLE, body)
    assert await resolver.verify(HANDLE, ALICE) == "invalid"


@pytest.mark.parametrize("status", [201, 204, 206, 300, 304, 400, 401, 403, 404, 410])
async def test_a_status_that_is_an_answer_makes_it_invalid(
    resolver: HandleResolver, web: Web, status: int
) -> None:
    web.hosts[HANDLE] = lambda _: Response(status_code=status)
    assert await resolver.verify(HANDLE, ALICE) == "invalid"


async def test_a_name_that_does_not_exist_is_invalid(
    resolver: HandleResolver, names: DnsServer, web: Web
) -> None:
    assert await resolver.verify("absent.test", ALICE) == "invalid"
    assert not web.asked
    assert names.asked["_atproto.absent.test", "TXT"] == 1


async def test_the_certificate_of_the_host_is_checked(names: DnsServer, tmp_path: Path) -> None:
    files = self_signed(tmp_path, HANDLE)
    web = Web()
    web.say(HANDLE, ALICE)
    web.say("other.test", ALICE)
    names.add("other.test", "A", "127.0.0.1")
    trust = ssl.create_default_context(cafile=str(files[0]))
    with serve_app(web, tls=files) as web.url:
        async with HandleResolver(
            dns_servers=[names.address], local=True, origin=web.origin, verify=trust
        ) as resolver:
            assert await resolver.verify(HANDLE, ALICE) == "valid"
            assert await resolver.verify("other.test", ALICE) == "unknown"
        async with HandleResolver(
            dns_servers=[names.address], local=True, origin=web.origin
        ) as resolver:
            assert await resolver.verify(HANDLE, ALICE) == "unknown"


# Handles that nobody is asked about


@pytest.mark.parametrize(
    "handle",
    [
        "handle.invalid",
        "a.local",
        "a.arpa",
        "a.localhost",
        "a.internal",
        "A.EXAMPLE",
        "a.alt",
        "a.onion",
        "nodots",
        "a..b",
        "-a.com",
        "a.com.",
        "127.0.0.1",
        "a b.com",
        "",
        "a." * 200 + "com",
    ],
)
async def test_a_handle_that_none_may_have_is_invalid_without_a_question(
    resolver: HandleResolver, names: DnsServer, web: Web, handle: str
) -> None:
    assert await resolver.verify(handle, ALICE) == "invalid"
    assert not names.asked
    assert not web.asked


async def test_handles_for_tests_are_invalid_on_the_network(names: DnsServer) -> None:
    names.point(HANDLE, ALICE)
    async with HandleResolver(dns_servers=[names.address]) as resolver:
        assert await resolver.verify(HANDLE, ALICE) == "invalid"
    assert not names.asked


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


def redirecting(to: str, status: int = 302) -> Answering:
    return lambda _: Response(status_code=status, headers={"location": to})


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


# Rates


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


# A service in place of DNS and the web


@pytest.mark.parametrize(
    ("status", "body", "answer"),
    [
        (200, f'{{"did": "{ALICE}"}}', "valid"),
        (200, f'{{"did": "{BOB}"}}', "invalid"),
        (400, '{"error": "InvalidRequest", "message": "Unable to resolve handle"}', "invalid"),
        (400, '{"error": "HandleNotFound"}', "invalid"),
        (400, "<html>", "unknown"),
        (400, "[]", "unknown"),
        (200, "{", "unknown"),
        (200, "[]", "unknown"),
        (200, "x" * 100_000, "unknown"),
        (302, "", "unknown"),
        (404, "{}", "unknown"),
        (429, "{}", "unknown"),
        (500, "{}", "unknown"),
        (501, '{"error": "MethodNotImplemented"}', "unknown"),
    ],
)
async def test_what_a_service_answers(web: Web, status: int, body: str, answer: str) -> None:
    web.say("127.0.0.1", body, status)
    async with HandleResolver(service=web.url + "/", local=True) as resolver:
        assert await resolver.verify(HANDLE, ALICE) == answer
    assert web.asked == {"127.0.0.1/xrpc/com.atproto.identity.resolveHandle": 1}


async def test_a_service_that_is_not_there_is_no_answer(web: Web) -> None:
    with socket.socket() as reserved:
        reserved.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{reserved.getsockname()[1]}"
        async with HandleResolver(service=url, local=True) as resolver:
            assert await resolver.verify(HANDLE, ALICE) == "unknown"


async def test_a_service_that_redirects_to_nonsense_is_no_answer(web: Web) -> None:
    web.hosts["127.0.0.1"] = redirecting("http://xn--aaaaaaaaaa.com/")
    async with HandleResolver(service=web.url, local=True) as resolver:
        assert await resolver.verify(HANDLE, ALICE) == "unknown"


async def test_a_service_is_not_asked_about_what_no_handle_is(web: Web) -> None:
    async with HandleResolver(service=web.url) as resolver:
        assert await resolver.verify("alice.test", ALICE) == "invalid"
        assert await resolver.verify("a.localhost", ALICE) == "invalid"
    assert not web.asked


@pytest.mark.devnet
async def test_a_real_pds_is_such_a_service(devnet: Devnet) -> None:
    account = await asyncio.to_thread(devnet.create_account, "handles-service.test")
    other = await asyncio.to_thread(devnet.create_account, "handles-other.test")
    async with HandleResolver(service=devnet.pds, local=True) as resolver:
        assert await resolver.verify("handles-service.test", account.did) == "valid"
        assert await resolver.verify("handles-service.test", other.did) == "invalid"
        assert await resolver.verify("handles-nobody.test", account.did) == "invalid"
        await asyncio.to_thread(account.change_handle, "handles-renamed.test")
        assert await resolver.verify("handles-renamed.test", account.did) == "valid"
        assert await resolver.verify("handles-service.test", account.did) == "invalid"


@pytest.mark.parametrize(
    "arguments",
    [
        {"service": "pds.test"},
        {"service": "ftp://pds.test"},
        {"service": "https://pds.test?x=1"},
        {"service": "https://xn--aaaaaaaaaa.com"},
        {"service": "https://pds.test", "dns_servers": ["192.0.2.1"]},
        {"dns_servers": ["dns.test"]},
        {"origin": "http://{handle}"},
        {"origin": "http://alice.test", "local": True},
        {"origin": "ftp://{handle}", "local": True},
    ],
)
def test_arguments_that_cannot_be_used_are_refused(arguments: dict[str, object]) -> None:
    with pytest.raises(ConfigError):
        HandleResolver(**arguments)  # type: ignore[arg-type]
