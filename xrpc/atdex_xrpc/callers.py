"""Which address a request came from, behind as many proxies of the operator's as there are.

    X-Forwarded-For: 6.6.6.6, 203.0.113.9, 10.0.0.2        and the connection is from 10.0.0.3
                     ~~~~~~~  ~~~~~~~~~~~  ~~~~~~~~
                     anybody  the outer    the inner proxy wrote it
                     may have  proxy
                     written
                     this

Each proxy adds the address that it was asked from at the right. With two of them the caller is
203.0.113.9; what stands before that was sent by the caller, and is never read.
"""

from __future__ import annotations

import ipaddress
import logging
from functools import lru_cache

from starlette.types import Scope

log = logging.getLogger(__name__)

MAX_PROXIES = 8
"""Of one operator in a row; more is a mistake, and would read what callers wrote."""

IPV6_PREFIX = 64
"""Bits of an IPv6 address that are one caller: a subscriber has a whole /64, often more."""

UNKNOWN = "unknown"
"""The caller where the server does not know (a Unix socket) or a proxy did not say."""

_HEADER = b"x-forwarded-for"


class Callers:
    """`proxies`: how many proxies of the operator's every request comes through."""

    def __init__(self, proxies: int = 0) -> None:
        if not 0 <= proxies <= MAX_PROXIES:
            raise ValueError(f"from 0 to {MAX_PROXIES} proxies, not {proxies}")
        self._proxies = proxies
        self._warned = False

    def address(self, scope: Scope) -> str | None:
        """The caller's address; None where it is not known.

        A request that came through fewer proxies than there are is judged by those.
        """
        client = scope.get("client")
        peer: str | None = client[0] if client else None
        if not self._proxies:
            return peer
        told = b",".join(value for name, value in scope["headers"] if name == _HEADER)
        if not told:
            return peer
        entries = told.rsplit(b",", self._proxies)[-self._proxies :]
        return _address(entries[0].decode("latin-1"))

    def is_local(self, scope: Scope) -> bool:
        """Whether a process of this machine asks for itself: no proxy does for somebody else."""
        client = scope.get("client")
        if not client or not _is_loopback(client[0]):
            return False
        forwarded = any(name == _HEADER for name, _ in scope["headers"])
        if forwarded and not self._proxies and not self._warned:
            self._warned = True
            log.warning(
                "a proxy on this machine forwards requests, and no number of proxies is set: "
                "all its callers count as one"
            )
        return not forwarded


def bucket(address: str | None) -> str:
    """What callers are counted by: an IPv4 address, or the /64 that an IPv6 address is in."""
    return UNKNOWN if address is None else _bucket(address)


@lru_cache(4096)
def _bucket(address: str) -> str:
    try:
        parsed = ipaddress.ip_address(address)
    except ValueError:
        return UNKNOWN
    if isinstance(parsed, ipaddress.IPv4Address):
        return address
    if parsed.ipv4_mapped is not None:
        return str(parsed.ipv4_mapped)
    return str(ipaddress.ip_network((int(parsed), IPV6_PREFIX), strict=False))


@lru_cache(256)
def _is_loopback(address: str) -> bool:
    try:
        parsed = ipaddress.ip_address(address)
    except ValueError:
        return False
    mapped = getattr(parsed, "ipv4_mapped", None)
    return (mapped or parsed).is_loopback


def _address(entry: str) -> str | None:
    """The address of one entry: bare, with a port, or an IPv6 one in brackets."""
    text = entry.strip().strip('"')
    if text.startswith("["):
        text = text[1:].partition("]")[0]
    elif text.count(":") == 1:
        text = text.partition(":")[0]
    try:
        return str(ipaddress.ip_address(text.partition("%")[0]))
    except ValueError:
        return None
