"""What DNS and the web say of a handle, from real servers on loopback."""

from __future__ import annotations

import ssl
from pathlib import Path

import pytest
from starlette.responses import Response

from atdex_firehose.errors import ConfigError
from atdex_firehose.handles import HandleResolver
from tests.firehose.handle_web import ALICE, BOB, HANDLE, WELL_KNOWN, Web
from tests.support.certificates import self_signed
from tests.support.dns import DnsServer
from tests.support.http import serve_app

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
