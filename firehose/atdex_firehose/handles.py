"""Verifying handles: does the host that a handle names point back to the DID that claims it?

Sources: the handle specification (DNS TXT and HTTPS methods, disallowed TLDs). DNS is asked first
and its word is final; HTTPS is asked where DNS has no record of the right form.

- "valid" and "invalid" are answers of the publisher's own servers. "unknown" is none: an outage,
  a server that refuses for now. Whoever asks keeps the last answer then.
- What a handle names is chosen by whoever made the account, so its host is connected to only at
  addresses that were checked, redirects included; bodies, redirects, time, requests at once and
  requests per domain are bounded.
"""

from __future__ import annotations

import asyncio
import ipaddress
import ssl
from collections.abc import Sequence
from types import TracebackType
from typing import Literal, Self

import httpx
import orjson

from atdex_firehose.dns import Dns
from atdex_firehose.errors import ConfigError
from atdex_firehose.rates import Rates, retry_after, site_of
from atdex_lexicons.syntax import is_did, is_handle
from atdex_xrpc.addresses import AddressPolicy, guarded_async_client
from atdex_xrpc.errors import AddressError

Answer = Literal["valid", "invalid", "unknown"]

DISALLOWED = frozenset(
    ("alt", "arpa", "example", "internal", "invalid", "local", "localhost", "onion")
)
"""Top-level domains that no handle has (specification)."""
TEST = "test"
"""The one for development: allowed where private hosts are."""

CHECK_SECONDS = 20.0
"""For one handle: two questions of DNS and a few requests, each with a limit of its own."""
REQUEST_SECONDS = 8.0
"""For one request, from connecting to its last byte."""
REDIRECTS = 3
"""Followed (specification: "a reasonable number")."""
DID_ANSWER_BYTES = 4_096
"""A well-known document is one DID of at most 2 KB, with whitespace around it."""
SERVICE_ANSWER_BYTES = 16_384
"""Of a resolveHandle service: a DID, or an error and its message."""
PLACES = 32
"""Handles checked at once."""
SITE_PER_SECOND, SITE_BURST = 10.0, 50
"""Checks below one domain: a provider of millions of handles notices no more than that."""
SERVICE_PER_SECOND, SERVICE_BURST = 50.0, 200
"""Of the operator's own service."""
TURN_SECONDS = 30.0
"""How long `verify` waits for its domain's turn."""
HOP_SECONDS = 2.0
"""How long a check that has begun waits: for the turn of the domain that a redirect leads to, for
the end of a pause."""

_SERVICE_PATH = "/xrpc/com.atproto.identity.resolveHandle"
_HEADERS = {
    "accept": "text/plain, application/json;q=0.9",
    "accept-encoding": "identity",  # a compressed answer could grow without bound
    "user-agent": "atdex-firehose",
}
_LATER = (408, 425, 429)


class _NoAddress(Exception):  # private: never leaves this module
    """A host has no address: DNS says so."""


class HandleResolver:
    """Verifies handles by DNS and HTTPS, or by asking a service that does. For one event loop.

    - `service`: the base URL of an XRPC service that answers `resolveHandle`. It is the
      operator's, so it is trusted and connected to as it is; DNS and HTTPS are then not used.
    - `dns_servers`: `address[:port]` of the servers to ask; none: the system's.
    - `local`: private hosts and `.test` handles are allowed, for tests and labs.
    - `origin`: where a handle's web server is, other than `https://{handle}` only with `local`.
    - `verify`: a trust store in place of the default one.

    Raises ConfigError for arguments that cannot be used or that contradict each other.
    """

    def __init__(
        self,
        *,
        service: str | None = None,
        dns_servers: Sequence[str] = (),
        local: bool = False,
        origin: str = "https://{handle}",
        verify: ssl.SSLContext | None = None,
    ) -> None:
        _check_arguments(service, dns_servers, local, origin)
        self._service = service and service.rstrip("/")
        self._local = local
        self._origin = origin
        self._dns = Dns(dns_servers)  # of no use, and asked for nothing, with a service
        self._places = asyncio.Semaphore(PLACES)
        self._rates = (
            Rates(SERVICE_PER_SECOND, SERVICE_BURST)
            if service
            else Rates(SITE_PER_SECOND, SITE_BURST)
        )
        self._http = (
            httpx.AsyncClient(timeout=REQUEST_SECONDS, trust_env=False, verify=verify or True)
            if service
            else guarded_async_client(
                AddressPolicy(allow_private=local, lookup=self._lookup),
                timeout=REQUEST_SECONDS,
                # Every handle is a host of its own, so no connection would be used again.
                limits=httpx.Limits(max_connections=PLACES, max_keepalive_connections=0),
                verify=verify,
            )
        )

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self._http.aclose()

    async def verify(self, handle: str, did: str) -> Answer:
        """Whether `handle` points to `did`, after waiting for its domain's turn; "unknown" where
        that would take more than TURN_SECONDS. Never raises for anything that others send."""
        if not self._allowed(handle):
            return "invalid"
        if not await self._rates.turn(self._key(handle), longest=TURN_SECONDS):
            return "unknown"
        return await self.check(handle, did)

    def book(self, handle: str) -> float:
        """Book a turn at the handle's domain: the seconds until `check` may be called."""
        if not self._allowed(handle):
            return 0.0
        wait = self._rates.book(self._key(handle))
        assert wait is not None
        return wait

    async def check(self, handle: str, did: str) -> Answer:
        """`verify`, for whoever has waited for a turn by `book`."""
        if not self._allowed(handle):
            return "invalid"
        handle = handle.lower()
        pause = self._rates.paused(self._key(handle))
        if pause > HOP_SECONDS:  # it began after the turn was booked
            return "unknown"
        await asyncio.sleep(pause)
        async with self._places:
            try:
                async with asyncio.timeout(CHECK_SECONDS):
                    if self._service:
                        return await self._by_service(self._service, handle, did)
                    return await self._by_dns_and_web(handle, did)
            except TimeoutError:
                return "unknown"

    def _allowed(self, handle: str) -> bool:
        top = handle.lower().rpartition(".")[2]
        return is_handle(handle) and top not in DISALLOWED and (top != TEST or self._local)

    def _key(self, handle: str) -> str:
        return self._service or site_of(handle)

    async def _by_dns_and_web(self, handle: str, did: str) -> Answer:
        records = await self._dns.texts(f"_atproto.{handle}")
        found = {text for record in records or () if (text := _did_of(record)) is not None}
        if found:  # several that differ are no answer to anybody's question
            return "valid" if found == {did} else "invalid"
        answer = await self._by_web(handle, did)
        # DNS might have said yes, and its word would have counted more.
        return "unknown" if records is None and answer == "invalid" else answer

    async def _by_web(self, handle: str, did: str) -> Answer:
        url = httpx.URL(self._origin.replace("{handle}", handle) + "/.well-known/atproto-did")
        try:
            for _ in range(REDIRECTS + 1):
                async with (
                    asyncio.timeout(REQUEST_SECONDS),
                    self._http.stream("GET", url, headers=_HEADERS) as response,
                ):
                    if not response.has_redirect_location:
                        return await self._judge(response, did)
                    url = url.join(response.headers["location"])
                if not self._may_follow(url):
                    return "invalid"
                if not await self._rates.turn(site_of(url.raw_host.decode()), longest=HOP_SECONDS):
                    return "unknown"
        except (AddressError, _NoAddress, httpx.InvalidURL, UnicodeError):
            return "invalid"  # a host that nobody on the network can ask
        except (httpx.HTTPError, TimeoutError):
            return "unknown"
        return "invalid"

    async def _judge(self, response: httpx.Response, did: str) -> Answer:
        status = response.status_code
        if status >= 500 or status in _LATER:
            self._pause(site_of(response.url.raw_host.decode()), response)
            return "unknown"
        if status != 200 or response.headers.get("content-encoding", "identity") != "identity":
            return "invalid"
        body = await _body(response, DID_ANSWER_BYTES)
        return "valid" if body is not None and body.strip() == did.encode() else "invalid"

    def _may_follow(self, url: httpx.URL) -> bool:
        if self._local:
            return url.scheme in ("http", "https")
        return url.scheme == "https" and url.port is None  # httpx gives None for 443

    async def _by_service(self, service: str, handle: str, did: str) -> Answer:
        try:
            async with (
                asyncio.timeout(REQUEST_SECONDS),
                self._http.stream(
                    "GET",
                    service + _SERVICE_PATH,
                    params={"handle": handle},
                    headers=_HEADERS,
                    follow_redirects=False,
                ) as response,
            ):
                body = await _body(response, SERVICE_ANSWER_BYTES)
        except (httpx.HTTPError, httpx.InvalidURL, UnicodeError, TimeoutError):
            return "unknown"
        self._pause(service, response)
        if response.status_code not in (200, 400) or body is None:
            return "unknown"
        try:
            told = orjson.loads(body)
        except ValueError:
            return "unknown"
        if type(told) is not dict:
            return "unknown"
        if response.status_code == 400:  # the way of XRPC to say that there is no such handle
            return "invalid" if type(told.get("error")) is str else "unknown"
        return "valid" if told.get("did") == did else "invalid"

    def _pause(self, key: str, response: httpx.Response) -> None:
        if response.status_code in (429, 503):
            self._rates.pause(key, retry_after(response.headers.get("retry-after")) or 1.0)

    async def _lookup(self, host: str) -> Sequence[str]:
        """The addresses of a host for the guarded client, which checks them."""
        try:
            return [str(ipaddress.ip_address(host))]
        except ValueError:
            pass
        found = await self._dns.addresses(host)
        if found is None:
            raise OSError("no DNS server answered")
        if not found:
            raise _NoAddress(host)
        return found


def _did_of(record: bytes) -> str | None:
    """The DID of a TXT record of the right form; others may stand beside it."""
    if not record.startswith(b"did=") or not record.isascii():
        return None
    text = record[len(b"did=") :].decode("ascii").strip()
    return text if is_did(text) else None


async def _body(response: httpx.Response, limit: int) -> bytes | None:
    """The body as it was sent; None where it is longer than `limit`, read no further than that."""
    raw = bytearray()
    async for chunk in response.aiter_raw():
        raw += chunk
        if len(raw) > limit:
            return None
    return bytes(raw)


def _check_arguments(
    service: str | None, dns_servers: Sequence[str], local: bool, origin: str
) -> None:
    if service is not None:
        _check_url("service", service)
        if dns_servers:
            raise ConfigError(
                "dns_servers", dns_servers, "a handle service is used in place of DNS"
            )
    if origin != "https://{handle}":
        if not local:
            raise ConfigError("origin", origin, "only where private hosts are allowed")
        if "{handle}" not in origin:
            raise ConfigError("origin", origin, "it does not contain {handle}")
        _check_url("origin", origin.replace("{handle}", "alice.test"))


def _check_url(name: str, text: str) -> None:
    try:
        url = httpx.URL(text)
        host = url.host
    except (httpx.InvalidURL, UnicodeError) as error:
        raise ConfigError(name, text, str(error)) from None
    if url.scheme not in ("http", "https") or not host or url.query or url.fragment:
        raise ConfigError(name, text, "not the base of a URL with http or https")
