"""The nodes that the operator's list names, and asking all of them one question.

Of an answer nothing is kept but the order of its datasets' URIs and the total: what a dataset
is, its own publisher says. Names are resolved once, every address is checked, and the checked one
connected to; no redirect is followed. An answer is bounded while it streams, in bytes and in
time, has to be what the document of the method says, and is else an `error` of that peer alone.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from time import monotonic
from typing import Any

from atdex_appview.federation.breaker import Breaker
from atdex_lexicons import Catalog
from atdex_lexicons.aturi import AtUri
from atdex_lexicons.errors import Invalid, InvalidSyntax
from atdex_lexicons.families import kind_of
from atdex_lexicons.syntax import is_did
from atdex_xrpc.addresses import AddressPolicy, guarded_async_client
from atdex_xrpc.client import AsyncClient
from atdex_xrpc.errors import AddressError, TransportFailed, XrpcError
from atdex_xrpc.fusion import ANSWER_BYTES, MAX_SERVICES, SERVICE_SECONDS, Outcome
from atdex_xrpc.jsontext import BadJson, parse_json

HOP_HEADER = "atdex-hop"
"""How many nodes a question may still be passed on to. A node that finds it in a request answers
from its own index, whatever else is asked."""

REASON_CHARS = 200
"""Characters of what is said of a peer that failed."""


@dataclass(frozen=True, slots=True)
class PeerAnswer:
    """What one peer said. `uris` are datasets with a DID as authority, best first, each once.

    `total` is None where there is no answer; `reason` says why in words of ours.
    """

    url: str
    outcome: Outcome
    uris: tuple[str, ...] = ()
    total: int | None = None
    reason: str = ""


class Peers:
    """`urls` are base URLs, at most MAX_SERVICES. Close it.

    `allow_private` also lets them be in private and loopback networks. Raises UnsafeUrl.
    """

    def __init__(
        self,
        urls: Sequence[str],
        catalog: Catalog,
        *,
        allow_private: bool = False,
        seconds: float = SERVICE_SECONDS,
        clock: Callable[[], float] = monotonic,
    ) -> None:
        if len(urls) > MAX_SERVICES:
            raise ValueError(f"{len(urls)} peers, at most {MAX_SERVICES} are asked")
        self._catalog = catalog
        self._seconds = seconds
        self._http = guarded_async_client(
            AddressPolicy(allow_private=allow_private),
            headers={HOP_HEADER: "0"},
            timeout=seconds,
        )
        self._clients = {
            url: AsyncClient(url, timeout=2 * seconds, max_bytes=ANSWER_BYTES, http=self._http)
            for url in urls
        }
        self._breakers = {url: Breaker(clock) for url in urls}

    @property
    def urls(self) -> tuple[str, ...]:
        return tuple(self._clients)

    async def close(self) -> None:
        await self._http.aclose()

    async def ask(self, nsid: str, params: Mapping[str, Any]) -> list[PeerAnswer]:
        """Asks every peer at once, in time for each. Never raises for what a peer does."""
        asked = [self._ask(url, nsid, params) for url in self._clients]
        return list(await asyncio.gather(*asked))

    async def _ask(self, url: str, nsid: str, params: Mapping[str, Any]) -> PeerAnswer:
        breaker = self._breakers[url]
        if not breaker.admits():
            return PeerAnswer(url, "error", reason="it failed several times and is left alone")
        try:
            answer = await self._answer(url, nsid, params)
        except _Refused as refused:
            if refused.counts:
                breaker.failed()
            else:
                breaker.succeeded()
            if refused.pause is not None:
                breaker.pause(refused.pause)
            return PeerAnswer(url, refused.outcome, reason=refused.reason[:REASON_CHARS])
        except BaseException:
            breaker.gave_up()
            raise
        breaker.succeeded()
        return answer

    async def _answer(self, url: str, nsid: str, params: Mapping[str, Any]) -> PeerAnswer:
        try:
            async with asyncio.timeout(self._seconds):
                raw = await self._clients[url].query_bytes(nsid, params, max_bytes=ANSWER_BYTES)
                # A thread: four megabytes of JSON would hold up everybody else.
                uris, total = await asyncio.to_thread(self._read, nsid, raw, params["limit"])
        except TimeoutError:
            raise _Refused("timeout", f"no answer within {self._seconds:g} s") from None
        except AddressError as error:
            raise _Refused("error", f"it must not be connected to: {error}") from None
        except TransportFailed:
            raise _Refused("error", "no connection, or it broke off") from None
        except XrpcError as error:
            word = f"it answered {error.status} {error.error}"
            pause = getattr(error, "retry_after", None)
            # What is wrong with the question says nothing of the peer.
            raise _Refused("error", word, pause, counts=error.fault != "caller") from None
        except (BadJson, Invalid):
            raise _Refused("error", f"its answer is not what {nsid} answers") from None
        return PeerAnswer(url, "ok", uris, total)

    def _read(self, nsid: str, raw: bytes, limit: int) -> tuple[tuple[str, ...], int]:
        """Raises BadJson, Invalid."""
        value = parse_json(raw)
        self._catalog.validate_output(nsid, value)
        uris = [view["uri"] for view in value["datasets"][:limit]]
        return tuple(uri for uri in dict.fromkeys(uris) if _is_dataset(uri)), value["hitsTotal"]


class _Refused(Exception):
    """What came of a peer that gave no answer. `counts`: its breaker is told."""

    def __init__(
        self, outcome: Outcome, reason: str, pause: float | None = None, *, counts: bool = True
    ) -> None:
        super().__init__(reason)
        self.outcome = outcome
        self.reason = reason
        self.pause = pause
        self.counts = counts


def _is_dataset(text: str) -> bool:
    try:
        uri = AtUri.parse(text)
    except InvalidSyntax:
        return False
    return (
        is_did(uri.authority)
        and uri.rkey is not None
        and uri.collection is not None
        and kind_of(uri.collection) == "dataset"
        and text == f"at://{uri.authority}/{uri.collection}/{uri.rkey}"
    )
