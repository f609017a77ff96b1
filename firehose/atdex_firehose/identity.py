"""Identities of DIDs, cached: in memory, in the state, and from the directory.

- A cached identity is used for a day; `#identity` events and failed signatures renew it sooner.
  One that is older is still used at once, and renewed in the background.
- One request per DID is under way at a time; whoever asks meanwhile gets the same answer.
- Forced renewals are rationed per DID: whoever forges signatures cannot make us ask without end.
- "Gone" and "unusable" are answers, kept for a short time. An outage is none: the expired identity
  is used where there is one, else `resolve` keeps trying. For a did:web, whose host the publisher
  runs, it gives up after a while, so that dead hosts do not hold events for ever.
- Handles are verified in the background and hold nobody up. What was found last stands until
  there is another answer, or another claim; an outage is no answer.
- Memory is bounded by MEMORY_IDENTITIES, and so is everything that is planned for them.

An account that changes its handle without a word on the firehose, a day later:

    resolve(did)    Identity(handle="old.test", claimed="old.test")    at once; renewed behind it
    on_change       Identity(handle=None, claimed="new.test")          the document was fetched
    on_change       Identity(handle="new.test", claimed="new.test")    the handle points back
"""

from __future__ import annotations

import asyncio
import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import replace
from typing import Protocol

from atdex_firehose.backoff import Backoff
from atdex_firehose.checks import INVALID_SECONDS, VALID_SECONDS, HandleChecks, Verifies
from atdex_firehose.did import INVALID_HANDLE
from atdex_firehose.errors import IdentityGone, IdentityUnavailable, InvalidIdentity
from atdex_firehose.events import Identity
from atdex_firehose.identity_rows import StoredIdentity
from atdex_firehose.rates import Rates

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
RENEWALS = 64
"""Expired identities being renewed in the background at once."""
RENEWAL_SECONDS = 60.0
"""How long an expired identity is used without trying again, after its renewal failed."""
CROWDED_SECONDS = 5.0
"""The same, after there was no place for its renewal."""
UNUSABLE = 0.0
"""`fetched_at` of an identity whose document was since found unusable."""

_Refusal = InvalidIdentity | IdentityUnavailable


class Fetches(Protocol):
    """What identities come from."""

    async def fetch(self, did: str) -> Identity: ...


class Stores(Protocol):
    """Where they are kept."""

    async def identity(self, did: str) -> StoredIdentity | None: ...


class Identities:
    """The cache. `take_changes` gives what the state does not have yet.

    `handles` verifies the handles of every DID that `resolve` or `refresh` was asked for. None:
    nothing is verified, `handle` is None (`handle.invalid` where the claim is not even a handle),
    and what an earlier run has found is left out too, as nobody would take it back.

    `on_change` is called, on the event loop, with each identity whose `handle` became another one
    in the background: because a check found so, or because a renewed document claims another.
    What `resolve` and `refresh` return is not told again. Whoever is told of a check saves what
    was found once it is dealt with (`stored`, or `save` for the next `take_changes`). It must
    neither block nor raise: what it raises goes to the event loop's exception handler.
    """

    def __init__(
        self,
        directory: Fetches,
        state: Stores,
        *,
        clock: Callable[[], float] = time.time,
        backoff: Callable[[], Backoff] = lambda: Backoff(1.0, 30.0),
        handles: Verifies | None = None,
        on_change: Callable[[Identity], None] | None = None,
    ) -> None:
        self._directory = directory
        self._state = state
        self._clock = clock
        self._backoff = backoff
        self._on_change = on_change
        self._memory: OrderedDict[str, StoredIdentity] = OrderedDict()
        self._refused: OrderedDict[str, tuple[float, _Refusal]] = OrderedDict()
        self._postponed: OrderedDict[str, float] = OrderedDict()
        self._rations = Rates(1.0 / REFRESH_SECONDS, REFRESH_BURST, clock=clock)
        self._flights: dict[str, asyncio.Task[Identity | _Refusal]] = {}
        self._renewals: dict[str, asyncio.Task[None]] = {}
        self._holders: dict[str, str] = {}  # handle to the DID in memory that it was verified for
        self._changed: dict[str, StoredIdentity] = {}
        self._checks = (
            HandleChecks(handles, self._claim_of, self._settle, clock) if handles else None
        )
        self.fetches = 0

    def cached(self, did: str) -> Identity | None:
        """The identity, if it is in memory and fresh. Never waits, starts nothing."""
        stored = self._memory.get(did)
        if stored is None or not self._fresh(did, stored):
            return None
        self._memory.move_to_end(did)
        return stored.identity

    async def known(self, did: str) -> bool:
        """Whether this DID has been resolved before."""
        return await self._load(did) is not None

    async def resolve(self, did: str) -> Identity:
        """The identity; an expired one at once, if need be. Waits through outages where there is
        none. Raises IdentityGone, InvalidIdentity, and for a did:web whose host does not answer,
        IdentityUnavailable."""
        stored = await self._load(did)
        if stored is not None:
            fresh = self._fresh(did, stored)
            if fresh and stored.identity is None:
                raise IdentityGone(did, "tombstoned (cached)")
            if stored.identity is not None and stored.fetched_at > UNUSABLE:
                if not fresh:
                    self._renew(did)
                self._plan_check(did, stored)
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
        as `resolve` does. Its handle is verified again."""
        await self._load(did)  # for the handle that was verified last
        if self._rations.book(did, longest=0.0) is not None:
            self._refused.pop(did, None)
            try:
                identity = await self._fetch(did)
            except IdentityUnavailable:
                pass
            else:
                if self._checks is not None and identity.claimed is not None:
                    self._checks.hasten(did)
                return identity
        return await self.resolve(did)

    def stored(self, did: str) -> StoredIdentity | None:
        """What is in memory, as it is to be saved."""
        return self._memory.get(did)

    def save(self, did: str) -> None:
        """Let the next `take_changes` have what is in memory."""
        stored = self._memory.get(did)
        if stored is not None:
            self._changed[did] = stored

    def take_changes(self) -> dict[str, StoredIdentity]:
        """What was learned since the last call; the caller saves it."""
        changed, self._changed = self._changed, {}
        return changed

    async def close(self) -> None:
        """End the requests and checks under way, and plan no more."""
        if self._checks is not None:
            await self._checks.close()
        tasks: list[asyncio.Task[None] | asyncio.Task[Identity | _Refusal]] = [
            *self._renewals.values(),
            *self._flights.values(),
        ]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _load(self, did: str) -> StoredIdentity | None:
        if did not in self._memory:
            stored = self._changed.get(did) or await self._state.identity(did)
            if stored is not None and did not in self._memory:
                found = stored.identity
                if self._checks is None and found is not None and found.claimed is not None:
                    stored = replace(stored, identity=replace(found, handle=None))
                self._remember(did, stored)
        return self._memory.get(did)

    # Documents

    def _renew(self, did: str) -> None:
        """Fetch an expired identity in the background, if there is a place for that."""
        if did in self._renewals:
            return
        if len(self._renewals) >= RENEWALS:
            self._postpone(did, CROWDED_SECONDS)
            return
        task = self._renewals[did] = asyncio.create_task(self._renew_and_tell(did))
        task.add_done_callback(lambda _: self._renewals.pop(did, None))

    async def _renew_and_tell(self, did: str) -> None:
        before = self._memory.get(did)
        try:
            identity = await self._fetch(did)
        except IdentityUnavailable:
            self._postpone(did, RENEWAL_SECONDS)
        except InvalidIdentity:
            pass  # kept as what it is; the next who asks is told
        else:
            was = before and before.identity
            if was and was.handle != identity.handle and self._on_change is not None:
                self._on_change(identity)

    async def _fetch(self, did: str) -> Identity:
        flight = self._flights.get(did)
        if flight is None:
            flight = self._flights[did] = asyncio.create_task(self._fetch_and_keep(did))
            flight.add_done_callback(lambda _: self._flights.pop(did, None))
        # One of those who wait may be cancelled; the answer is still for the others.
        found = await asyncio.shield(flight)
        if isinstance(found, Identity):
            return found
        raise found

    async def _fetch_and_keep(self, did: str) -> Identity | _Refusal:
        """What is expected to go wrong is returned: nobody may be left to hear it raised."""
        self.fetches += 1
        try:
            identity = await self._directory.fetch(did)
        except IdentityGone as error:
            self._keep(did, StoredIdentity(None, self._clock()))
            return error
        except InvalidIdentity as error:
            self._refuse(did, error)
            known = self._memory.get(did)
            if known is not None:  # what was said before holds no more
                self._keep(did, replace(known, fetched_at=UNUSABLE))
            return error
        except IdentityUnavailable as error:
            return error
        return self._keep_document(did, identity)

    def _keep_document(self, did: str, identity: Identity) -> Identity:
        """Keep a fetched document, with what was found of its handle before."""
        before = self._memory.get(did)
        was = before and before.identity
        checked_at = 0.0
        if before and was and was.claimed == identity.claimed and self._checks is not None:
            if identity.claimed is not None:
                identity = replace(identity, handle=was.handle)
            checked_at = before.handle_checked_at
        stored = StoredIdentity(identity, self._clock(), checked_at)
        self._keep(did, stored)
        if self._checks is not None and identity.claimed is not None:
            if identity == was:
                self._plan_check(did, stored)
            else:
                self._checks.hasten(did)
        return identity

    def _fresh(self, did: str, stored: StoredIdentity) -> bool:
        now = self._clock()
        lifetime = GONE_SECONDS if stored.identity is None else FRESH_SECONDS
        if now - stored.fetched_at < lifetime:
            return True
        if stored.identity is None or stored.fetched_at <= UNUSABLE:
            return False
        return now < self._postponed.get(did, 0.0)

    def _postpone(self, did: str, seconds: float) -> None:
        self._postponed[did] = self._clock() + seconds
        self._postponed.move_to_end(did)
        if len(self._postponed) > MEMORY_IDENTITIES:
            self._postponed.popitem(last=False)

    def _refuse(self, did: str, error: _Refusal) -> None:
        self._refused[did] = (self._clock() + REFUSED_SECONDS, error)
        self._refused.move_to_end(did)
        if len(self._refused) > MEMORY_IDENTITIES:
            self._refused.popitem(last=False)

    def _raise_refusal(self, did: str) -> None:
        until, error = self._refused.get(did, (0.0, None))
        if error is not None:
            if self._clock() < until:
                raise type(error)(did, f"{error.reason} (asked before)")
            del self._refused[did]

    # Handles

    def _claim_of(self, did: str) -> str | None:
        stored = self._memory.get(did)
        return stored.identity.claimed if stored and stored.identity else None

    def _plan_check(self, did: str, stored: StoredIdentity) -> None:
        identity = stored.identity
        if self._checks is None or identity is None or identity.claimed is None:
            return
        lifetime = VALID_SECONDS if identity.handle == identity.claimed else INVALID_SECONDS
        self._checks.plan(did, stored.handle_checked_at + lifetime if identity.handle else 0.0)

    def _settle(self, did: str, claimed: str, valid: bool) -> None:
        """A check came to an answer about a claim, which may be another one by now."""
        stored = self._memory.get(did)
        identity = stored.identity if stored else None
        if stored is None or identity is None or identity.claimed != claimed:
            return
        checked = replace(identity, handle=claimed if valid else INVALID_HANDLE)
        kept = StoredIdentity(checked, stored.fetched_at, self._clock())
        if checked.handle != identity.handle and self._on_change is not None:
            # Whoever is told saves it once it is dealt with: a crash before has it checked again.
            self._remember(did, kept)
            self._on_change(checked)
        else:
            self._keep(did, kept)

    def _hold(self, did: str, stored: StoredIdentity) -> None:
        """Note who holds a verified handle. Two cannot: the one checked earlier is looked at."""
        handle = stored.identity.handle if stored.identity else None
        if self._checks is None or handle is None or handle == INVALID_HANDLE:
            return
        holder = self._holders.get(handle)
        other = self._memory.get(holder) if holder and holder != did else None
        if holder is not None and other is not None:
            if other.handle_checked_at > stored.handle_checked_at:
                self._checks.hasten(did)
                return
            self._checks.hasten(holder)
        self._holders[handle] = did

    def _release(self, did: str, stored: StoredIdentity | None) -> None:
        handle = stored.identity.handle if stored and stored.identity else None
        if handle is not None and self._holders.get(handle) == did:
            del self._holders[handle]

    # Memory

    def _keep(self, did: str, stored: StoredIdentity) -> None:
        self._changed[did] = stored
        self._remember(did, stored)

    def _remember(self, did: str, stored: StoredIdentity) -> None:
        self._release(did, self._memory.get(did))
        self._memory[did] = stored
        self._memory.move_to_end(did)
        if len(self._memory) > MEMORY_IDENTITIES:
            dropped, last = self._memory.popitem(last=False)
            self._release(dropped, last)
            if self._checks is not None:
                self._checks.forget(dropped)
        self._hold(did, stored)
