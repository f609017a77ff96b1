"""A service that is asked about handles in place of DNS and the web."""

from __future__ import annotations

import asyncio
import socket

import pytest

from atdex_firehose.handles import HandleResolver
from tests.devnet import Devnet
from tests.firehose.handle_web import ALICE, BOB, HANDLE, Web, redirecting


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
