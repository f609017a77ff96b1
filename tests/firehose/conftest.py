"""DNS and web servers on loopback, and who asks them about handles."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator

import pytest

from atdex_firehose.handles import HandleResolver
from tests.firehose.handle_web import HANDLE, Web
from tests.support.dns import DnsServer
from tests.support.http import serve_app


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
