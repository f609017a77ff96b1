from __future__ import annotations

import asyncio
import json
import socket
import threading
from collections.abc import Iterator

import pytest

from atdex_firehose import directory as directory_module
from atdex_firehose.directory import Directory
from atdex_firehose.errors import ConfigError, IdentityGone, IdentityUnavailable, InvalidIdentity
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
    assert (identity.did, identity.handle) == (DID, "alice.test")


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


@pytest.mark.parametrize("url", ["", "plc.directory", "ftp://plc", "http://"])
def test_a_directory_that_is_no_url_is_refused(url: str) -> None:
    with pytest.raises(ConfigError):
        Directory(url)
