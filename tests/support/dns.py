"""A real DNS server over UDP and TCP on 127.0.0.1, answering from tables that a test fills.

async with DnsServer() as dns:
    dns.add("_atproto.alice.test", "TXT", '"did=did:plc:..."')
    Dns([dns.address])
"""

from __future__ import annotations

import asyncio
from collections import Counter
from types import TracebackType
from typing import Self, cast

import dns.flags
import dns.message
import dns.rcode
import dns.rdatatype
import dns.rrset

UDP_BYTES = 512
"""Longer answers are cut, and asked for again over TCP."""


class DnsServer:
    """Names without records do not exist (NXDOMAIN).

    `rcodes` answers a name with an error, `silent` names get no answer at all, `raw` names get
    these bytes. `asked` counts the questions by name and type.
    """

    def __init__(self) -> None:
        self.records: dict[str, dict[str, list[str]]] = {}
        self.rcodes: dict[str, dns.rcode.Rcode] = {}
        self.silent: set[str] = set()
        self.raw: dict[str, bytes] = {}
        self.asked: Counter[tuple[str, str]] = Counter()
        self.over_tcp = 0
        self._transport: asyncio.DatagramTransport | None = None
        self._server: asyncio.Server | None = None
        self.address = ""

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._stream, "127.0.0.1", 0)
        port = self._server.sockets[0].getsockname()[1]
        self._transport, _ = await asyncio.get_running_loop().create_datagram_endpoint(
            lambda: _Datagrams(self), ("127.0.0.1", port)
        )
        self.address = f"127.0.0.1:{port}"
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        assert self._transport is not None
        assert self._server is not None
        self._transport.close()
        self._server.close()
        await self._server.wait_closed()

    def add(self, name: str, kind: str, *values: str) -> None:
        """The records of a name and type, in the form of a zone file, replacing earlier ones."""
        self.records.setdefault(name, {})[kind] = list(values)

    def point(self, handle: str, *dids: str) -> None:
        """The TXT records of a handle."""
        self.add(f"_atproto.{handle}", "TXT", *(f'"did={did}"' for did in dids))

    def remove(self, handle: str) -> None:
        """A handle without TXT records."""
        self.records.pop(f"_atproto.{handle}", None)

    def answer(self, wire: bytes, *, limit: int | None) -> bytes | None:
        query = dns.message.from_wire(wire)
        question = query.question[0]
        name = question.name.to_text(omit_final_dot=True).lower()
        kind = dns.rdatatype.to_text(question.rdtype)
        self.asked[name, kind] += 1
        if name in self.silent:
            return None
        if name in self.raw:
            return wire[:2] + self.raw[name]
        response = dns.message.make_response(query)
        response.flags |= dns.flags.RA
        if name in self.rcodes:
            response.set_rcode(self.rcodes[name])
        elif name not in self.records:
            response.set_rcode(dns.rcode.NXDOMAIN)
        elif values := self.records[name].get(kind):
            response.answer.append(dns.rrset.from_text_list(question.name, 60, "IN", kind, values))
        found = response.to_wire(max_size=65_535)
        if limit is not None and len(found) > limit:
            response.answer.clear()
            response.flags |= dns.flags.TC
            found = response.to_wire()
        return found

    async def _stream(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            size = int.from_bytes(await reader.readexactly(2))
            self.over_tcp += 1
            found = self.answer(await reader.readexactly(size), limit=None)
            if found is not None:
                writer.write(len(found).to_bytes(2) + found)
                await writer.drain()
        except (asyncio.IncompleteReadError, ConnectionError):
            pass  # the client left
        finally:
            writer.close()


class _Datagrams(asyncio.DatagramProtocol):
    def __init__(self, server: DnsServer) -> None:
        self._server = server
        self._transport: asyncio.DatagramTransport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.DatagramTransport, transport)  # uvloop's is one by duck type

    def datagram_received(self, data: bytes, addr: tuple[str, int]) -> None:
        found = self._server.answer(data, limit=UDP_BYTES)
        if found is not None and self._transport is not None:
            self._transport.sendto(found, addr)
