"""Guards what is opened on behalf of other people's data: URLs and the addresses behind them.

    check_url("pipe:ls")                        UnsafeUrl
    with guarded_client(AddressPolicy()) as http:
        http.get("http://localhost/")           UnsafeAddress

A guarded client resolves a host once, checks every address that came back, and connects to
exactly those, again for each redirect: a name that resolves to something else a moment later
gains nothing. Proxies of the environment are ignored, since a proxy would resolve again.
"""

from __future__ import annotations

import ssl
from collections.abc import Mapping

import httpx

from atdex_xrpc.guarded import AsyncGuardedTransport, GuardedTransport
from atdex_xrpc.targets import (
    AddressPolicy,
    check_address,
    check_url,
    resolve,
    resolve_async,
)

__all__ = [
    "AddressPolicy",
    "check_address",
    "check_url",
    "guarded_async_client",
    "guarded_client",
    "resolve",
    "resolve_async",
]

MAX_REDIRECTS = 5
"""Followed, where following is asked for."""

CONNECT_SECONDS = 10.0
"""To resolve a host and connect to it."""

TRANSFER_SECONDS = 30.0
"""Without a byte in either direction."""


_TIMEOUT = httpx.Timeout(TRANSFER_SECONDS, connect=CONNECT_SECONDS)
_LIMITS = httpx.Limits(max_connections=32, max_keepalive_connections=8, keepalive_expiry=5.0)


def guarded_client(
    policy: AddressPolicy,
    *,
    headers: Mapping[str, str] | None = None,
    base_url: str = "",
    timeout: httpx.Timeout | float = _TIMEOUT,
    limits: httpx.Limits = _LIMITS,
    verify: ssl.SSLContext | None = None,
    follow_redirects: bool = False,
    max_redirects: int = MAX_REDIRECTS,
) -> httpx.Client:
    """An httpx client for URLs that somebody else wrote.

    Its requests raise UnsafeUrl or UnsafeAddress where the policy says no, and httpx's own errors
    otherwise. `verify` replaces the default trust store. The parameters are httpx's; those that
    would lead around the guard (proxy, mounts, transport, trust_env) are not there.
    """
    return httpx.Client(
        transport=GuardedTransport(policy, limits, verify),
        trust_env=False,
        headers=headers,
        base_url=base_url,
        timeout=timeout,
        follow_redirects=follow_redirects,
        max_redirects=max_redirects,
    )


def guarded_async_client(
    policy: AddressPolicy,
    *,
    headers: Mapping[str, str] | None = None,
    base_url: str = "",
    timeout: httpx.Timeout | float = _TIMEOUT,
    limits: httpx.Limits = _LIMITS,
    verify: ssl.SSLContext | None = None,
    follow_redirects: bool = False,
    max_redirects: int = MAX_REDIRECTS,
) -> httpx.AsyncClient:
    """The same for asyncio."""
    return httpx.AsyncClient(
        transport=AsyncGuardedTransport(policy, limits, verify),
        trust_env=False,
        headers=headers,
        base_url=base_url,
        timeout=timeout,
        follow_redirects=follow_redirects,
        max_redirects=max_redirects,
    )
