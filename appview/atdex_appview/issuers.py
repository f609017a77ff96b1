"""The keys of the accounts that call this node, for `atdex_xrpc.service_auth`.

What the firehose knows of an account is used as it is; another one's document is asked for, and
kept for KEPT_SECONDS. Anybody can make a token that names anybody, so what such tokens can have
asked is rationed, and kept apart from what the firehose asks: they neither use up its turns nor
fill its state.
"""

from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from atdex_firehose.crypto import InvalidKey, PublicKey, parse_did_key
from atdex_firehose.errors import IdentityUnavailable, InvalidIdentity
from atdex_firehose.events import Identity
from atdex_firehose.identity import Fetches
from atdex_firehose.rates import Rates
from atdex_xrpc.errors import AuthRequired, NodeUnavailable, RateLimitExceeded, shown
from atdex_xrpc.service_jwt import Algorithm

KEPT_SECONDS = 600.0
"""For which a document is believed. A key that was replaced meanwhile is asked for anew at the
first signature that it does not fit; one that was only withdrawn counts for so long."""

REFUSED_SECONDS = 60.0
"""For which an account without a usable document is not asked for again."""

RENEW_BURST = 4
RENEW_SECONDS = 15.0
"""Forced renewals of one account: a few at once, then one per this time."""

ASKED_PER_SECOND = 20.0
ASKED_BURST = 200
"""Documents asked for in all: a fifth of what the firehose may ask of the directory."""

MEMORY_ACCOUNTS = 20_000
"""Some 10 MB; the longest unused goes first."""

_ALL = "all"

_ALGORITHMS: dict[str, Algorithm] = {"k256": "ES256K", "p256": "ES256"}


@dataclass(frozen=True, slots=True)
class AccountKey:
    """A key of a DID document, as `atdex_xrpc.service_auth` asks of it."""

    name: str
    algorithm: Algorithm
    public: PublicKey

    def verify(self, signature: bytes, message: bytes) -> bool:
        return self.public.verify(signature, message)


@dataclass(frozen=True, slots=True)
class _Kept:
    """What asking for a document came to, until when it counts (s on the clock)."""

    identity: Identity | None
    reason: str
    until: float


class AccountKeys:
    """`known` is what the firehose knows of a DID now, `active` whether its account may act.

    `clock` is monotonic, in seconds. For one event loop.
    """

    def __init__(
        self,
        directory: Fetches,
        *,
        known: Callable[[str], Identity | None],
        active: Callable[[str], Awaitable[bool]],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._directory = directory
        self._known = known
        self._active = active
        self._clock = clock
        self._kept: OrderedDict[str, _Kept] = OrderedDict()
        self._renewals = Rates(1.0 / RENEW_SECONDS, RENEW_BURST, clock=clock)
        self._asked = Rates(ASKED_PER_SECOND, ASKED_BURST, clock=clock)

    async def key(self, did: str, *, fresh: bool) -> AccountKey:
        """See `atdex_xrpc.service_auth.Issuers`. Where the ration of renewals is used up, `fresh`
        gives what is known."""
        if not await self._active(did):
            raise AuthRequired(f"the account {shown(did)} is not active", error="BadJwtIss")
        identity = await self._identity(did, fresh)
        if identity.signing_key is None:
            raise _no_key(did)
        try:
            public = parse_did_key(identity.signing_key)
        except InvalidKey as wrong:
            raise _no_key(did) from wrong
        return AccountKey(public.did_key, _ALGORITHMS[public.curve], public)

    async def _identity(self, did: str, fresh: bool) -> Identity:
        kept = self._recent(did)
        if not fresh or self._renewals.book(did, longest=0.0) is None:
            # What was asked for here is the newer of the two: it was asked for because what the
            # firehose knew did not fit, or because it knew nothing.
            if kept is not None:
                return _identity_of(did, kept)
            known = self._known(did)
            if known is not None:
                return known
        return _identity_of(did, await self._ask(did))

    async def _ask(self, did: str) -> _Kept:
        if self._asked.book(_ALL, longest=0.0) is None:
            raise RateLimitExceeded("too many accounts at once are new here", retry_after=1)
        try:
            identity = await self._directory.fetch(did)
        except InvalidIdentity as wrong:
            return self._keep(did, _Kept(None, wrong.reason, self._clock() + REFUSED_SECONDS))
        except IdentityUnavailable as failure:
            raise NodeUnavailable(
                f"the document of {shown(did)} cannot be had now", retry_after=10
            ) from failure
        return self._keep(did, _Kept(identity, "", self._clock() + KEPT_SECONDS))

    def _recent(self, did: str) -> _Kept | None:
        kept = self._kept.get(did)
        if kept is None:
            return None
        if kept.until <= self._clock():
            del self._kept[did]
            return None
        self._kept.move_to_end(did)
        return kept

    def _keep(self, did: str, kept: _Kept) -> _Kept:
        self._kept[did] = kept
        self._kept.move_to_end(did)
        if len(self._kept) > MEMORY_ACCOUNTS:
            self._kept.popitem(last=False)
        return kept


def _identity_of(did: str, kept: _Kept) -> Identity:
    if kept.identity is None:
        raise AuthRequired(
            f"the document of {shown(did)} cannot be used: {shown(kept.reason)}", error="BadJwtIss"
        )
    return kept.identity


def _no_key(did: str) -> AuthRequired:
    return AuthRequired(f"{shown(did)} has no signing key", error="BadJwtIss")
