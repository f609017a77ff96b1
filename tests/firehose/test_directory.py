from __future__ import annotations

import asyncio
import json
import socket
import threading
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack, asynccontextmanager

import pytest
from starlette.responses import PlainTextResponse
from starlette.types import Receive, Scope, Send

from atdex_firehose import directory as directory_module
from atdex_firehose.directory import Directory
from atdex_firehose.errors import ConfigError, IdentityGone, IdentityUnavailable, InvalidIdentity
from tests.support.http import serve_app
from tests.support.relay import FakePlc
from tests.support.repo import K256Key, did_document, plc_did

DID = plc_did("alice")


@pytest.fixture
def plc() -> Iterator[FakePlc]:
    with FakePlc() as running:
        yield running


async def test_a_document_is_fetched(plc: FakePlc) -> None:
    plc.documents[DID] = did_document(DID, K256Key())
    async with Directory(plc.url) as directory:
        identity = await directory.fetch(DID)
    assert (identity.did, identity.claimed) == (DID, "alice.test")


@pytest.mark.parametrize("status", [404, 410])
async def test_not_registered_and_tombstoned_are_gone(plc: FakePlc, status: int) -> None:
    plc.answers[DID] = (status, b"{}")
    async with Directory(plc.url) as directory:
        with pytest.raises(IdentityGone, match=str(status)):
            await directory.fetch(DID)


@pytest.mark.parametrize("status", [301, 401, 403, 429, 500, 502, 503])
async def test_other_statuses_are_an_outage(plc: FakePlc, status: int) -> None:
    plc.answers[DID] = (status, b"{}")
    async with Directory(plc.url) as directory:
        with pytest.raises(IdentityUnavailable, match=str(status)):
            await directory.fetch(DID)


@asynccontextmanager
async def asking_for_a_pause(status: int, headers: dict[str, str]) -> AsyncIterator[list[str]]:
    """A directory that always answers with this status, and the URL and paths it was asked."""
    asked: list[str] = []

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        asked.append(scope["path"])
        await PlainTextResponse("", status, headers=headers)(scope, receive, send)

    with serve_app(app) as url:
        asked.append(url)
        yield asked


@pytest.mark.parametrize("status", [429, 503])
async def test_a_directory_that_asks_for_a_pause_gets_it(status: int) -> None:
    async with AsyncExitStack() as stack:
        asked = await stack.enter_async_context(asking_for_a_pause(status, {"retry-after": "60"}))
        directory = await stack.enter_async_context(Directory(asked[0]))
        with pytest.raises(IdentityUnavailable, match=str(status)):
            await directory.fetch(DID)
        for name in ("bob", "carol"):
            with pytest.raises(IdentityUnavailable, match="asks to wait 60 s"):
                await directory.fetch(plc_did(name))
    assert asked[1:] == [f"/{DID}"]


async def test_a_short_pause_is_waited_out() -> None:
    async with AsyncExitStack() as stack:
        asked = await stack.enter_async_context(asking_for_a_pause(429, {"retry-after": "1"}))
        directory = await stack.enter_async_context(Directory(asked[0]))
        started = time.monotonic()
        for _ in range(2):
            with pytest.raises(IdentityUnavailable, match="429"):
                await directory.fetch(DID)
        assert time.monotonic() - started >= 0.99
    assert len(asked) == 3


async def test_a_directory_is_asked_only_so_often(
    plc: FakePlc, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(directory_module, "PLC_PER_SECOND", 20.0)
    monkeypatch.setattr(directory_module, "PLC_BURST", 5)
    plc.documents[DID] = did_document(DID, K256Key())
    async with Directory(plc.url) as directory:
        started = time.monotonic()
        await asyncio.gather(*(directory.fetch(DID) for _ in range(15)))
        assert time.monotonic() - started >= 0.49
        monkeypatch.setattr(directory_module, "TURN_SECONDS", 0.0)
        with pytest.raises(IdentityUnavailable, match="too often"):
            await asyncio.gather(*(directory.fetch(DID) for _ in range(15)))


async def test_hosts_of_did_web_below_one_domain_share_a_rate(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(directory_module, "WEB_BURST", 2)
    monkeypatch.setattr(directory_module, "TURN_SECONDS", 0.0)
    loop = asyncio.get_running_loop()

    async def nowhere(*_: object, **__: object) -> list[object]:
        raise OSError("no network here")

    monkeypatch.setattr(loop, "getaddrinfo", nowhere)
    async with Directory("https://plc.invalid") as directory:
        for n in range(2):
            with pytest.raises(IdentityUnavailable, match="no network here"):
                await directory.fetch(f"did:web:u{n}.many.example")
        with pytest.raises(IdentityUnavailable, match="too often"):
            await directory.fetch("did:web:u2.many.example")
        with pytest.raises(IdentityUnavailable, match="no network here"):
            await directory.fetch("did:web:other.example")


async def test_a_document_without_end_is_cut_off(plc: FakePlc) -> None:
    document = did_document(DID, K256Key()) | {"x": "a" * 3_000_000}
    plc.answers[DID] = (200, json.dumps(document).encode())
    async with Directory(plc.url) as directory:
        with pytest.raises(InvalidIdentity, match="65536"):
            await directory.fetch(DID)


async def test_a_slow_answer_is_an_outage(plc: FakePlc, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(directory_module, "FETCH_SECONDS", 0.2)
    gate = plc.gates[DID] = threading.Event()
    async with Directory(plc.url) as directory:
        with pytest.raises(IdentityUnavailable):
            await directory.fetch(DID)
    gate.set()


async def test_nobody_listening_is_an_outage() -> None:
    with socket.socket() as reserved:
        reserved.bind(("127.0.0.1", 0))
        async with Directory(f"http://127.0.0.1:{reserved.getsockname()[1]}") as directory:
            with pytest.raises(IdentityUnavailable):
                await directory.fetch(DID)


async def test_a_did_web_is_asked_at_its_host_only_where_private_hosts_are_allowed(
    plc: FakePlc,
) -> None:
    port = plc.url.rpartition(":")[2]
    did = f"did:web:localhost%3A{port}"
    plc.documents[".well-known/did.json"] = did_document(did, K256Key())
    async with Directory("https://plc.invalid", local=True) as directory:
        assert (await directory.fetch(did)).did == did
    async with Directory("https://plc.invalid") as directory:
        with pytest.raises(InvalidIdentity):
            await directory.fetch(did)
    assert plc.requests[".well-known/did.json"] == 1


async def test_a_did_web_whose_name_leads_to_a_private_address_is_refused(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    loop = asyncio.get_running_loop()

    async def to_loopback(*_: object, **__: object) -> list[object]:
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", ("127.0.0.1", 443))]

    monkeypatch.setattr(loop, "getaddrinfo", to_loopback)
    async with Directory("https://plc.invalid") as directory:
        with pytest.raises(InvalidIdentity, match=r"127\.0\.0\.1"):
            await directory.fetch("did:web:innocent.example")


@pytest.mark.parametrize("host", ["xn--aaaaaaaaaa.com", "www.xn--aaaaaaaaaa.com"])
async def test_a_host_that_does_not_decode_is_an_error_of_its_class(
    host: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def nowhere(*_: object, **__: object) -> list[object]:
        raise OSError("no network here")

    monkeypatch.setattr(asyncio.get_running_loop(), "getaddrinfo", nowhere)
    async with Directory("https://plc.invalid") as directory:
        with pytest.raises((InvalidIdentity, IdentityUnavailable)):
            await directory.fetch(f"did:web:{host}")


@pytest.mark.parametrize("target", ["http://xn--aaaaaaaaaa.com/", "http://[", "//", "\x7f"])
async def test_a_redirect_to_nonsense_is_an_outage(target: str) -> None:
    async with AsyncExitStack() as stack:
        asked = await stack.enter_async_context(asking_for_a_pause(302, {"location": target}))
        directory = await stack.enter_async_context(Directory(asked[0]))
        with pytest.raises(IdentityUnavailable):
            await directory.fetch(DID)


@pytest.mark.parametrize(
    "url", ["", "plc.directory", "ftp://plc", "http://", "https://xn--aaaaaaaaaa.com"]
)
def test_a_directory_that_is_no_url_is_refused(url: str) -> None:
    with pytest.raises(ConfigError):
        Directory(url)
