"""Hosts that answer what no host should: each is a FetchFailed, whatever it was."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from starlette.responses import PlainTextResponse
from starlette.types import Receive, Scope, Send

from atdex_firehose.errors import FetchFailed, NotServed
from atdex_firehose.fetch_repo import RepoHosts
from atdex_firehose.hosts import Hosts
from tests.support.http import serve_app
from tests.support.repo import plc_did

DID = plc_did("alice")
DEEP = "[" * 1_000 + "]" * 1_000


@asynccontextmanager
async def answering(
    status: int, body: str = "", *, operator: bool = True, **headers: str
) -> AsyncIterator[tuple[RepoHosts, str]]:
    """A host that always answers this, named by the operator or by somebody else."""

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await PlainTextResponse(body, status, headers=headers)(scope, receive, send)

    with serve_app(app) as url:
        operators = frozenset([url] if operator else [])
        async with RepoHosts(operators, Hosts(time.time), local=True) as hosts:
            yield hosts, url


@pytest.mark.parametrize("operator", [True, False])
@pytest.mark.parametrize(
    "target",
    [
        "http://xn--aaaaaaaaaa.com/",
        "http://[",
        "//",
        "http://",
        "file:///etc/passwd",
        "http://169.254.169.254/",
        "\x7f",
        f"http://{'a' * 70}.test/",
    ],
)
async def test_a_redirect_to_nonsense_is_a_failed_fetch(
    operator: bool, target: str, tmp_path: Path
) -> None:
    async with answering(302, operator=operator, location=target) as (hosts, url):
        with pytest.raises(FetchFailed):
            await hosts.get_repo(url, DID, tmp_path / "car")


@pytest.mark.parametrize(
    "host",
    ["https://xn--aaaaaaaaaa.com", "https://[", "https://a b", "https://.", "https://\u00e4\u2024"],
)
async def test_a_pds_that_nobody_can_ask_is_a_failed_fetch(host: str, tmp_path: Path) -> None:
    async with RepoHosts(frozenset(), Hosts(time.time)) as hosts:
        with pytest.raises(FetchFailed):
            await hosts.get_repo(host, DID, tmp_path / "car")
        with pytest.raises(FetchFailed):
            await hosts.latest_rev(host, DID)


@pytest.mark.parametrize("body", [f'{{"error": {DEEP}}}', '{"error": 5}', DEEP, "\xff", "null"])
async def test_an_error_may_say_anything(body: str) -> None:
    async with answering(400, body) as (hosts, url):
        with pytest.raises(NotServed):
            await hosts.latest_rev(url, DID)


@pytest.mark.parametrize(
    "body", [DEEP, f'{{"rev": {DEEP}, "repos": {DEEP}}}', "{}", "1e999", '{"rev": null}']
)
async def test_an_answer_may_be_anything(body: str) -> None:
    async with answering(200, body) as (hosts, url):
        with pytest.raises(FetchFailed):
            await hosts.latest_rev(url, DID)
        if "repos" not in body:
            with pytest.raises(FetchFailed):
                await hosts.list_repos(url, None, 10)
