"""What may be opened: URLs by their text, hosts by every address that they resolve to."""

from __future__ import annotations

import asyncio
import ipaddress
import socket
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass

import httpx

from atdex_xrpc.errors import UnsafeAddress, UnsafeUrl
from atdex_xrpc.networks import Address, findings

MAX_URL_CHARACTERS = 8_192
"""Of a URL in a record; the longest that servers and caches commonly take."""

MAX_ADDRESSES = 16
"""Of one host, that are tried: no honest host has more, and each try costs a timeout."""


@dataclass(frozen=True, slots=True)
class AddressPolicy:
    """What a guarded client connects to besides public addresses.

    `allow_private` adds loopback, private and shared networks. Link-local networks, metadata
    services, multicast, unspecified and reserved addresses are refused always.

    `lookup` gives the addresses of a host in place of the system's resolver; what it gives is
    checked in the same way. It may raise OSError where there is no answer; anything else that it
    raises reaches whoever made the request. For asyncio only.
    """

    allow_private: bool = False
    lookup: Callable[[str], Awaitable[Iterable[str]]] | None = None


def check_url(url: str, *, schemes: Iterable[str] = ("http", "https")) -> httpx.URL:
    """The parsed URL. Raises UnsafeUrl for anything but a plain absolute URL of these schemes.

    Refused are credentials, an empty or escaped host, zone ids, IPv4 addresses in odd spellings
    (`0x7f.1`, `2130706433`), control characters, spaces, backslashes and URLs of more than
    MAX_URL_CHARACTERS. What the host resolves to is the guarded client's question.
    """
    if len(url) > MAX_URL_CHARACTERS:
        raise UnsafeUrl(url, f"it is longer than {MAX_URL_CHARACTERS} characters")
    if not url.isprintable() or " " in url or "\\" in url:
        raise UnsafeUrl(url, "it contains characters that no URL has")
    try:
        parsed = httpx.URL(url)
    except httpx.InvalidURL as error:
        raise UnsafeUrl(url, f"it is not a URL ({error})") from None
    allowed = tuple(schemes)
    if parsed.scheme not in allowed:
        names = " or ".join(allowed)
        raise UnsafeUrl(url, f"its scheme is {parsed.scheme or 'missing'}, not {names}")
    # httpx drops an empty user, as in http://@host, which nobody writes for a good reason.
    authority = url.partition("://")[2].partition("/")[0].partition("?")[0].partition("#")[0]
    if parsed.userinfo or "@" in authority:
        raise UnsafeUrl(url, "it contains credentials")
    try:
        host = parsed.host
    except UnicodeError:  # httpx decodes `xn--…` when the host is looked at
        raise UnsafeUrl(url, "its host is no internationalised name") from None
    _check_host(url, host)
    if parsed.port is not None and not 0 < parsed.port < 65_536:
        raise UnsafeUrl(url, "its port does not exist")
    return parsed


def _check_host(url: str, host: str) -> None:
    if not host or host.startswith("."):
        raise UnsafeUrl(url, "it names no host")
    if "%" in host:
        raise UnsafeUrl(url, "its host is escaped or has a zone id")
    if ":" in host or _is_dotted_quad(host):
        return
    # The last label decides, as in the WHATWG URL standard: no name ends in a number.
    last = host.rstrip(".").rpartition(".")[2]
    if last.isdigit() or last.startswith("0x"):
        raise UnsafeUrl(url, "its host is an IPv4 address in a spelling that hides it")


def _is_dotted_quad(host: str) -> bool:
    try:
        ipaddress.IPv4Address(host)
    except ValueError:
        return False
    return True


def check_address(ip: str | Address, policy: AddressPolicy, *, host: str | None = None) -> None:
    """Raises UnsafeAddress where the policy does not let a client connect to `ip`.

    `host` is the name that led there, for the message. IPv6 forms that carry an IPv4 address
    (mapped, compatible, translated, NAT64, 6to4, Teredo, ISATAP) are judged by that one.
    """
    text = str(ip)
    named = host if host is not None else text
    if "%" in text:
        raise UnsafeAddress(named, text, "it has a zone id, so it is no public address")
    try:
        address = ipaddress.ip_address(ip)
    except ValueError:
        raise UnsafeAddress(named, text, "it is not an IP address") from None
    for finding in findings(address):
        if not (finding.private and policy.allow_private):
            reason = f"it is {finding.reason}"
            raise UnsafeAddress(named, text, reason, private=finding.private)


_AddrInfo = tuple[
    socket.AddressFamily,
    socket.SocketKind,
    int,
    str,
    tuple[str, int] | tuple[str, int, int, int] | tuple[int, bytes],
]


def resolve(host: str, port: int, policy: AddressPolicy) -> list[str]:
    """The addresses of `host`, all of them checked, in the resolver's order.

    Raises UnsafeAddress if a single one is refused, OSError where there is none, ValueError for a
    policy with a `lookup`, which is for asyncio.
    """
    if policy.lookup is not None:
        raise ValueError("a policy with a lookup of its own is for asyncio only")
    found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return _checked(host, policy, _addresses(found))


async def resolve_async(host: str, port: int, policy: AddressPolicy) -> list[str]:
    """`resolve` without blocking the event loop, by the policy's `lookup` where it has one."""
    if policy.lookup is not None:
        return _checked(host, policy, await policy.lookup(host))
    loop = asyncio.get_running_loop()
    found = await loop.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return _checked(host, policy, _addresses(found))


def _addresses(found: Iterable[_AddrInfo]) -> Iterable[str]:
    return (str(sockaddr[0]) for *_, sockaddr in found)


def _checked(host: str, policy: AddressPolicy, found: Iterable[str]) -> list[str]:
    addresses = list(dict.fromkeys(found))
    for address in addresses:
        check_address(address, policy, host=host)
    return addresses[:MAX_ADDRESSES]
