"""Which network an IP address lies in: a table of our own.

The standard library's `is_global` changed its mind between releases of one minor version, so the
special-purpose registries (RFC 6890 and its successors) are written out here. IPv6 addresses that
carry an IPv4 address are judged by both: the packet may end at the one inside.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network

Address = IPv4Address | IPv6Address


@dataclass(frozen=True, slots=True)
class Finding:
    """Why an address is not a public one. `private`: a policy may allow it."""

    reason: str
    private: bool


_PRIVATE_4 = (
    ("10.0.0.0/8", "in a private network"),
    ("100.64.0.0/10", "in a shared (CGNAT) network"),
    ("127.0.0.0/8", "in the loopback network"),
    ("172.16.0.0/12", "in a private network"),
    ("192.168.0.0/16", "in a private network"),
)
_REFUSED_4 = (
    ("0.0.0.0/8", "an unspecified address"),
    # Addresses at which clouds answer with a machine's credentials, some amid other ranges.
    ("100.100.100.200/32", "a cloud's metadata service"),
    ("168.63.129.16/32", "a cloud's metadata service"),
    ("169.254.0.0/16", "in a link-local network, where metadata services live"),
    ("192.0.0.0/24", "reserved for protocols"),
    ("192.0.2.0/24", "reserved for documentation"),
    ("192.88.99.0/24", "reserved (6to4 relays)"),
    ("198.18.0.0/15", "reserved for benchmarks"),
    ("198.51.100.0/24", "reserved for documentation"),
    ("203.0.113.0/24", "reserved for documentation"),
    ("224.0.0.0/4", "a multicast address"),
    ("240.0.0.0/4", "reserved"),
)
_PRIVATE_6 = (
    ("::1/128", "the loopback address"),
    ("fc00::/7", "in a private network"),
)
_REFUSED_6 = (
    ("::/128", "an unspecified address"),
    ("fd00:ec2::254/128", "a cloud's metadata service"),
    ("fe80::/10", "in a link-local network"),
    ("fec0::/10", "reserved (site-local)"),
    ("ff00::/8", "a multicast address"),
    ("64:ff9b:1::/48", "reserved for local translation"),
    ("2001:db8::/32", "reserved for documentation"),
    ("3fff::/20", "reserved for documentation"),
)
# What routes to the public internet: 2000::/3 without the registry's first /23, in which only
# Teredo carries traffic, and that is judged by what it carries.
_GLOBAL_6 = IPv6Network("2000::/3")
_PROTOCOLS_6 = IPv6Network("2001::/23")
_TEREDO = IPv6Network("2001::/32")
_SIX_TO_FOUR = IPv6Network("2002::/16")
_EMBEDDED_TAIL = (
    IPv6Network("::/96"),  # IPv4-compatible
    IPv6Network("::ffff:0:0/96"),  # IPv4-mapped
    IPv6Network("::ffff:0:0:0/96"),  # IPv4-translated (SIIT)
    IPv6Network("64:ff9b::/96"),  # NAT64
)
_ISATAP = (0x0000_5EFE, 0x0200_5EFE)

_TABLE_4 = tuple(
    (IPv4Network(net), Finding(reason, private))
    for nets, private in ((_REFUSED_4, False), (_PRIVATE_4, True))
    for net, reason in nets
)
_TABLE_6 = tuple(
    (IPv6Network(net), Finding(reason, private))
    for nets, private in ((_REFUSED_6, False), (_PRIVATE_6, True))
    for net, reason in nets
)


def findings(address: Address) -> Iterator[Finding]:
    """Everything that speaks against `address`; nothing for a public one."""
    if isinstance(address, IPv4Address):
        for network4, finding in _TABLE_4:
            if address in network4:
                yield finding
                return
        return
    for network6, finding in _TABLE_6:
        if address in network6:
            yield finding
            return
    inside = tuple(_carried(address))
    for carried in inside:
        yield from findings(carried)
    if not inside and (address not in _GLOBAL_6 or address in _PROTOCOLS_6):
        yield Finding("outside of the public address space", private=False)


def _carried(address: IPv6Address) -> Iterator[IPv4Address]:
    value = int(address)
    if any(address in network for network in _EMBEDDED_TAIL):
        yield IPv4Address(value & 0xFFFF_FFFF)
    elif address in _SIX_TO_FOUR:
        yield IPv4Address((value >> 80) & 0xFFFF_FFFF)
    elif address in _TEREDO:
        yield IPv4Address((value >> 64) & 0xFFFF_FFFF)  # its server
        yield IPv4Address(~value & 0xFFFF_FFFF)  # its client, inverted
    elif address in _GLOBAL_6 and (value >> 32) & 0xFFFF_FFFF in _ISATAP:
        yield IPv4Address(value & 0xFFFF_FFFF)
