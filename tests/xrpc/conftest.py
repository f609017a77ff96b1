from __future__ import annotations

from collections.abc import Iterator

import httpx
import pytest

from tests.support.http import serve_app
from tests.xrpc.documents import service


@pytest.fixture(scope="session")
def url() -> Iterator[str]:
    """The example service on a real server, without a health check or a DID document."""
    with serve_app(service(max_input_bytes=10_000, max_input_seconds=0.5).app()) as base:
        yield base


@pytest.fixture
def http(url: str) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=url, trust_env=False) as client:
        yield client
