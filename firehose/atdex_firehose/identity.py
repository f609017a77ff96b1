"""Identities of DIDs, cached: in memory, in the state, and from the directory.

- A cached identity is used for a day; `#identity` events and failed signatures renew it sooner.
- One request per DID is under way at a time; whoever asks meanwhile gets the same answer.
- Forced renewals are rationed per DID: whoever forges signatures cannot make us ask without end.
- "Gone" and "unusable" are answers, kept for a short time. An outage is none: the expired identity
  is used where there is one, else `resolve` keeps trying. For a did:web, whose host the publisher
  runs, it gives up after a while, so that dead hosts do not hold events for ever.
"""

from __future__ import annotations

import asyncio
import time
from collections import OrderedDict
from collections.abc import Callable
from typing import Protocol

from atdex_firehose.backoff import Backoff
from atdex_firehose.errors import IdentityGone, IdentityUnavailable, InvalidIdentity
from atdex_firehose.events import Identity
from atdex_firehose.state import State, StoredIdentity

FRESH_SECONDS = 24 * 3600.0
"""As long as resolvers commonly keep documents; events make it current in between."""
GONE_SECONDS = 3600.0
"""A tombstone can be undone for 72 hours."""
REFUSED_SECONDS = 60.0
"""How long an unusable document, or a did:web host given up, is not asked again."""
MEMORY_IDENTITIES = 65_536
"""About 30 MB."""
REFRESH_BURST = 4
REFRESH_SECONDS = 15.0
"""Forced renewals of one DID: a few at once, then one per this time."""
WEB_ATTEMPTS = 4
"""With waits of up to 1, 2 and 4 s and 10 s for each attempt: under a minute."""

_Refusal = InvalidIdentity | IdentityUnavailable


class Fetches(Protocol):
    """What identities come from."""

    async def fetch(self, did: str) -> Identity: ...


class Identities:
    """The cache. `take_changes` gives what the state does not have yet."""

    def __init__(
        self,
        directory: Fetches,
        state: State,
        *,
        clock: Callable[[], float] = time.time,
        backoff: Callable[[], Backoff] = lambda: Backoff(1.0, 30.0),
    ) -> None:
        self._directory = directory
        self._state = state
        self._clock = clock
        self._backoff = backoff
        self._memory: OrderedDict[str, StoredIdentity] = OrderedDict()
        self._refused: OrderedDict[str, tuple[float, _Refusal]] = OrderedDict()
        self._rations: OrderedDict[str, tuple[float, float]] = OrderedDict()
        self._flights: dict[str, asyncio.Task[Identity]] = {}
        self._changed: dict[str, StoredIdentity] = {}
        self.fetches = 0

    def cached(self, did: str) -> Identity | None:
        """The identity, if it is in memory and fresh. Never waits."""
        stored = self._memory.get(did)
        if stored is None or not self._fresh(stored):
            return None
        self._memory.move_to_end(did)
        return stored.identity

    async def known(self, did: str) -> bool:
        """Whether this DID has been resolved before."""
        return await self._load(did) is not None

    async def resolve(self, did: str) -> Identity:
        """The identity. Waits through outages. Raises IdentityGone, InvalidIdentity, and for a
        did:web whose host does not answer, IdentityUnavailable."""
        stored = await self._load(did)
        if stored is not None and self._fresh(stored):
            if stored.identity is None:
                raise IdentityGone(did, "tombstoned (cached)")
            return stored.identity
        self._raise_refusal(did)
        backoff = self._backoff()
        while True:
            try:
                return await self._fetch(did)
            except IdentityUnavailable as error:
                if stored is not None and stored.identity is not None:
                    return stored.identity
                if did.startswith("did:web:") and backoff.attempts + 1 >= WEB_ATTEMPTS:
                    self._refuse(did, error)
                    raise
            await asyncio.sleep(backoff.next_delay())

    async def refresh(self, did: str) -> Identity:
        """The identity, asked anew unless this DID's ration is used up or nobody answers; then
        as `resolve` does."""
        if self._ration(did):
            self._refused.pop(did, None)
            try:
                return await self._fetch(did)
            except IdentityUnavailable:
                pass
        return await self.resolve(did)

    def take_changes(self) -> dict[str, StoredIdentity]:
        """What was learned since the last call; the caller saves it."""
        changed, self._changed = self._changed, {}
        return changed

    async def close(self) -> None:
        """End the requests under way."""
        flights = list(self._flights.values())
        for flight in flights:
            flight.cancel()
        await asyncio.gather(*flights, return_exceptions=True)

    async def _load(self, did: str) -> StoredIdentity | None:
        stored = self._memory.get(did)
        if stored is None:
            stored = await self._state.identity(did)
            if stored is not None and did not in self._memory:
                self._remember(did, stored)
        return self._memory.get(did)

    async def _fetch(self, did: str) -> Identity:
        flight = self._flights.get(did)
        if flight is None:
            flight = self._flights[did] = asyncio.create_task(self._fetch_and_keep(did))
            flight.add_done_callback(lambda _: self._flights.pop(did, None))
        # One of those who wait may be cancelled; the answer is still for the others.
        return await asyncio.shield(flight)

    async def _fetch_and_keep(self, did: str) -> Identity:
        self.fetches += 1
        try:
            identity = await self._directory.fetch(did)
        except IdentityGone:
            self._keep(did, None)
            raise
        except InvalidIdentity as error:
            self._refuse(did, error)
            known = self._memory.get(did)
            if known is not None:  # what was said before holds no more
                self._memory[did] = self._changed[did] = StoredIdentity(known.identity, 0.0)
            raise
        self._keep(did, identity)
        return identity

    def _keep(self, did: str, identity: Identity | None) -> None:
        stored = StoredIdentity(identity, self._clock())
        self._remember(did, stored)
        self._changed[did] = stored

    def _remember(self, did: str, stored: StoredIdentity) -> None:
        self._memory[did] = stored
        self._memory.move_to_end(did)
        if len(self._memory) > MEMORY_IDENTITIES:
            self._memory.popitem(last=False)

    def _fresh(self, stored: StoredIdentity) -> bool:
        lifetime = GONE_SECONDS if stored.identity is None else FRESH_SECONDS
        return self._clock() - stored.fetched_at < lifetime

    def _refuse(self, did: str, error: _Refusal) -> None:
        self._refused[did] = (self._clock() + REFUSED_SECONDS, error)
        if len(self._refused) > MEMORY_IDENTITIES:
            self._refused.popitem(last=False)

    def _raise_refusal(self, did: str) -> None:
        until, error = self._refused.get(did, (0.0, None))
        if error is not None:
            if self._clock() < until:
                raise type(error)(did, f"{error.reason} (asked before)")
            del self._refused[did]

    def _ration(self, did: str) -> bool:
        """Take one forced renewal out of this DID's bucket, if there is one."""
        now = self._clock()
        left, since = self._rations.pop(did, (float(REFRESH_BURST), now))
        left = min(REFRESH_BURST, left + (now - since) / REFRESH_SECONDS)
        granted = left >= 1.0
        self._rations[did] = (left - 1.0 if granted else left, now)
        if len(self._rations) > MEMORY_IDENTITIES:
            self._rations.popitem(last=False)
        return granted
