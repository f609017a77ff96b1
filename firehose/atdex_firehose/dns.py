"""DNS, as far as handles need it: TXT records, and addresses, from servers that can be chosen.

An empty answer (NXDOMAIN, no such records) and no answer (SERVFAIL, refusals, silence) are kept
apart, because the first says something about a handle and the second about the weather.
"""

from __future__ import annotations

import asyncio
import ipaddress
from collections.abc import Sequence
from typing import Any

import dns.asyncresolver
import dns.exception
import dns.message
import dns.name
import dns.nameserver
import dns.query
import dns.rdatatype
import dns.resolver

from atdex_firehose.errors import ConfigError

LIFETIME_SECONDS = 5.0
"""For one question, over all servers and tries."""
TRY_SECONDS = 2.0
"""For one server, before the next one is asked."""
ANSWER_BYTES = 4_096
"""Over TCP. Honest answers have a record or two, and 64 KB of tiny ones take a quarter of a second
to parse, which whoever runs a domain could make us do again and again."""
DNS_PORT = 53
FALLBACK_SERVER = "127.0.0.1"
"""Asked where the system names no server, as the C library does."""


class Dns:
    """Asks DNS servers: `servers` (`address`, `address:port`, `[v6]:port`), or, where there are
    none, those of the system's configuration. Raises ConfigError for what is no address.

    Nothing is cached: that is what recursive servers are for. An answer that does not fit into a
    datagram is asked for over TCP, and one of more than ANSWER_BYTES counts as none.
    """

    def __init__(self, servers: Sequence[str] = ()) -> None:
        chosen = [_server(text) for text in servers]
        resolver = dns.asyncresolver.Resolver(configure=False)
        resolver.nameservers = chosen or _configured()
        resolver.timeout = TRY_SECONDS
        resolver.lifetime = LIFETIME_SECONDS
        self._resolver = resolver

    async def texts(self, host: str) -> list[bytes] | None:
        """The TXT records of `host`, the strings of each joined. None: nobody answered."""
        answer = await self._ask(host, dns.rdatatype.TXT)
        if answer is None:
            return None
        return [b"".join(rdata.strings) for rdata in answer]

    async def addresses(self, host: str) -> list[str] | None:
        """The IPv4 and IPv6 addresses of `host`, unchecked. None: nobody answered one of the two
        questions, and there is no address from the other."""
        four, six = await asyncio.gather(
            self._ask(host, dns.rdatatype.A), self._ask(host, dns.rdatatype.AAAA)
        )
        found = [str(rdata.address) for rdata in [*(four or ()), *(six or ())]]
        return None if not found and (four is None or six is None) else found

    async def _ask(
        self, host: str, kind: dns.rdatatype.RdataType
    ) -> dns.resolver.Answer | tuple[()] | None:
        try:
            name = dns.name.from_text(host)  # absolute: no search list is applied
            async with asyncio.timeout(LIFETIME_SECONDS + 1):
                return await self._resolver.resolve(name, kind, search=False)
        except (dns.resolver.NXDOMAIN, dns.resolver.NoAnswer):
            return ()
        except (dns.name.LabelTooLong, dns.name.NameTooLong, dns.name.EmptyLabel):
            return ()  # a name that DNS cannot have
        except (dns.exception.DNSException, OSError, EOFError):  # TimeoutError is an OSError
            return None


class _Server(dns.nameserver.Do53Nameserver):
    """A server whose answers over TCP are bounded before they are parsed."""

    async def async_query(
        self,
        request: dns.message.QueryMessage,
        timeout: float,  # noqa: ASYNC109 - the interface is dnspython's
        source: str | None,
        source_port: int,
        max_size: bool,
        backend: Any,
        one_rr_per_rrset: bool = False,
        ignore_trailing: bool = False,
    ) -> dns.message.Message:
        if not max_size:
            return await super().async_query(
                request,
                timeout,
                source,
                source_port,
                max_size,
                backend,
                one_rr_per_rrset,
                ignore_trailing,
            )
        async with asyncio.timeout(timeout):
            reader, writer = await asyncio.open_connection(self.address, self.port)
            try:
                wire = request.to_wire()
                writer.write(len(wire).to_bytes(2) + wire)
                size = int.from_bytes(await reader.readexactly(2))
                if size > ANSWER_BYTES:
                    raise dns.exception.FormError  # for the resolver, which tries elsewhere
                response = dns.message.from_wire(await reader.readexactly(size))
            finally:
                writer.close()
        if not request.is_response(response):
            raise dns.query.BadResponse
        return response


def _configured() -> list[dns.nameserver.Nameserver]:
    """The servers that the system is configured to use."""
    try:
        system = dns.resolver.Resolver()
    except dns.resolver.NoResolverConfiguration:
        return [_Server(FALLBACK_SERVER, DNS_PORT)]
    return [
        _Server(server, system.nameserver_ports.get(server, system.port))
        if isinstance(server, str)
        else server
        for server in system.nameservers
    ]


def _server(text: str) -> _Server:
    address, port = text, str(DNS_PORT)
    if text.startswith("["):
        address, _, rest = text[1:].partition("]")
        port = rest[1:] if rest.startswith(":") else (rest or port)
    elif text.count(":") == 1:
        address, _, port = text.partition(":")
    try:
        ipaddress.ip_address(address)
    except ValueError:
        raise ConfigError("dns_servers", text, "not an IP address, alone or with a port") from None
    if not (port.isascii() and port.isdigit() and 0 < int(port[:6]) < 65_536):
        raise ConfigError("dns_servers", text, "its port does not exist")
    return _Server(address, int(port))
