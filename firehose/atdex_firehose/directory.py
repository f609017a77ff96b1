"""Fetching DID documents over HTTP: the PLC directory, and the hosts of did:web.

The directory's URL is the operator's and is asked as it is. A did:web host is named by whoever
made the DID, so it is asked through a client that checks every address it connects to.
No redirects are followed, answers are bounded while they stream, and each kind has places of
its own, so that slow hosts of did:web keep nobody from the directory. Each host is asked only so
often, and not at all while it asks for a pause (429 or 503 with `Retry-After`).
"""

from __future__ import annotations

import asyncio
from types import TracebackType
from typing import Self

import httpx

from atdex_firehose import limits
from atdex_firehose.did import document_url, parse_document
from atdex_firehose.errors import ConfigError, IdentityGone, IdentityUnavailable, InvalidIdentity
from atdex_firehose.events import Identity
from atdex_firehose.rates import Rates, retry_after, site_of
from atdex_xrpc.addresses import AddressPolicy, guarded_async_client
from atdex_xrpc.errors import AddressError

FETCH_SECONDS = 10.0
"""For one document, from connecting to its last byte."""
PLC_PLACES = 16
WEB_PLACES = 32
"""Requests under way at once."""
PLC_PER_SECOND, PLC_BURST = 100.0, 1_000
"""A start with a thousand new accounts is not held up; a backfill of millions is spread out."""
WEB_PER_SECOND, WEB_BURST = 5.0, 20
"""Below one domain: each host of it is one account, asked for once a day."""
TURN_SECONDS = 20.0
"""How long a request waits for its host's turn before that counts as an outage."""
_HEADERS = {
    "accept": "application/did+ld+json, application/json",
    "accept-encoding": "identity",  # a compressed answer could grow without bound
    "user-agent": "atdex-firehose",
}


class Directory:
    """Fetches documents. `local` also allows hosts in private networks, for tests and sandboxes."""

    def __init__(self, plc: str, *, local: bool = False) -> None:
        try:
            url = httpx.URL(plc)
            host = url.host
        except (httpx.InvalidURL, UnicodeError) as error:
            raise ConfigError("plc", plc, str(error)) from None
        if url.scheme not in ("http", "https") or not host:
            raise ConfigError("plc", plc, "not a URL with http or https")
        self._plc = plc
        self._local = local
        self._plc_places = asyncio.Semaphore(PLC_PLACES)
        self._web_places = asyncio.Semaphore(WEB_PLACES)
        self._plc_rates = Rates(PLC_PER_SECOND, PLC_BURST)
        self._web_rates = Rates(WEB_PER_SECOND, WEB_BURST)
        self._plc_http = httpx.AsyncClient(timeout=FETCH_SECONDS, trust_env=False)
        self._web_http = guarded_async_client(
            AddressPolicy(allow_private=local), timeout=FETCH_SECONDS
        )

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self._plc_http.aclose()
        await self._web_http.aclose()

    async def fetch(self, did: str) -> Identity:
        """The current document. Raises IdentityUnavailable (an outage, or no turn at the host in
        time), IdentityGone (404, 410), InvalidIdentity (the DID or its document cannot be used)."""
        url = document_url(did, self._plc, local=self._local)
        web = did.startswith("did:web:")
        # As it is written: httpx's `host` decodes `xn--…`, and raises where that does not work.
        host = site_of(httpx.URL(url).raw_host.decode()) if web else self._plc
        rates = self._web_rates if web else self._plc_rates
        if not await rates.turn(host, longest=TURN_SECONDS):
            left = rates.paused(host)
            why = f"its host asks to wait {left:.0f} s" if left else "its host is asked too often"
            raise IdentityUnavailable(did, why)
        try:
            async with (
                self._web_places if web else self._plc_places,
                asyncio.timeout(FETCH_SECONDS),
                (self._web_http if web else self._plc_http).stream(
                    "GET", url, headers=_HEADERS, follow_redirects=False
                ) as response,
            ):
                if response.status_code in (429, 503):
                    asked = retry_after(response.headers.get("retry-after"))
                    rates.pause(host, asked or 0.0)
                self._check_status(did, response)
                return parse_document(did, await _body(did, response))
        except TimeoutError:
            raise IdentityUnavailable(did, f"no answer within {FETCH_SECONDS:.0f} s") from None
        except (httpx.HTTPError, httpx.InvalidURL, UnicodeError) as error:
            raise IdentityUnavailable(did, str(error) or type(error).__name__) from None
        except AddressError as error:
            raise InvalidIdentity(did, str(error)) from None

    @staticmethod
    def _check_status(did: str, response: httpx.Response) -> None:
        status = response.status_code
        if status == 410:
            raise IdentityGone(did, "tombstoned (410)")
        if status == 404:
            raise IdentityGone(did, "not registered (404)")
        if status == 400:
            raise InvalidIdentity(did, "the directory refuses this DID (400)")
        if status != 200:
            raise IdentityUnavailable(did, f"status {status}")


async def _body(did: str, response: httpx.Response) -> bytes:
    if response.headers.get("content-encoding", "identity") != "identity":
        raise InvalidIdentity(did, "the answer is compressed although that was not asked for")
    raw = bytearray()
    async for chunk in response.aiter_raw():
        raw += chunk
        if len(raw) > limits.DID_DOCUMENT_BYTES:
            break  # parse_document says why
    return bytes(raw)
