"""When which handle is verified: one queue, by time, of the DIDs whose claim is to be checked.

- A DID is in the queue once, and is checked by one task at a time.
- A check starts when its time has come and its domain has a turn; while it waits for one it
  occupies nothing, so a domain with many handles holds up only itself.
- What was found is looked at again: a valid handle after a day, an invalid one after an hour
  (DNS spreads slowly), no answer after a minute, doubled each time up to six hours.

The queue is as long as its user lets it be: `forget` a DID and nothing of it stays.
"""

from __future__ import annotations

import asyncio
import heapq
import random
from collections.abc import Callable
from typing import Protocol

from atdex_firehose.handles import Answer

VALID_SECONDS = 24 * 3600.0
"""As long as resolvers commonly keep handles."""
INVALID_SECONDS = 3600.0
"""Whoever sets up a handle sees it appear within an hour even without an #identity event."""
UNKNOWN_SECONDS, UNKNOWN_CAP_SECONDS = 60.0, 6 * 3600.0
"""The first and the longest wait after no answer; half of each is random."""
CHECKS = 64
"""Under way at once; the resolver bounds the requests among them further."""
NAP_SECONDS = 1.0
"""The queue is looked at this often, so that a clock that was set forward is noticed."""


class Verifies(Protocol):
    """What handles are checked by: `book` gives the seconds until `check` may be called."""

    def book(self, handle: str) -> float: ...

    async def check(self, handle: str, did: str) -> Answer: ...


class HandleChecks:
    """The queue. `claim` gives the handle that a DID claims now, or None (nothing to check);
    `settle` is told every answer that is one. Both are called from the event loop's thread.

    An exception of `settle` reaches the event loop's exception handler and ends that check alone.
    """

    def __init__(
        self,
        resolver: Verifies,
        claim: Callable[[str], str | None],
        settle: Callable[[str, str, bool], None],
        clock: Callable[[], float],
    ) -> None:
        self._resolver = resolver
        self._claim = claim
        self._settle = settle
        self._clock = clock
        self._heap: list[tuple[float, str]] = []
        self._due: dict[str, float] = {}  # what of the heap holds
        self._booked: dict[str, str] = {}  # the handle whose domain a DID waits for
        self._unknown: dict[str, int] = {}  # answers in a row that were none
        self._active: dict[str, asyncio.Task[None]] = {}
        self._again: set[str] = set()
        self._wake = asyncio.Event()
        self._runner: asyncio.Task[None] | None = None
        self._closed = False

    def __len__(self) -> int:
        return len(self._due) + len(self._active)

    def plan(self, did: str, due: float) -> None:
        """Check this DID at `due`, unless a check is planned or under way."""
        if did not in self._due and did not in self._active:
            self._push(did, due)

    def hasten(self, did: str) -> None:
        """Check this DID as soon as its domain has a turn; once more where one is under way."""
        if did in self._active:
            self._again.add(did)
        elif did not in self._booked and self._due.get(did, float("inf")) > (now := self._clock()):
            self._push(did, now)

    def forget(self, did: str) -> None:
        """Plan nothing more for this DID. A check under way goes on."""
        for table in (self._due, self._booked, self._unknown):
            table.pop(did, None)
        self._again.discard(did)

    async def close(self) -> None:
        """End the checks under way; what is planned from now on is not."""
        self._closed = True
        tasks = [*self._active.values(), *([self._runner] if self._runner else ())]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def _push(self, did: str, due: float) -> None:
        if self._closed:
            return
        self._due[did] = due
        heapq.heappush(self._heap, (due, did))
        if len(self._heap) > 2 * len(self._due) + 64:  # mostly what no longer holds
            self._heap = [(when, name) for name, when in self._due.items()]
            heapq.heapify(self._heap)
        self._wake.set()
        if self._runner is None:
            self._runner = asyncio.create_task(self._run())

    async def _run(self) -> None:
        while True:
            self._wake.clear()
            self._start_due()
            try:
                async with asyncio.timeout(self._nap()):
                    await self._wake.wait()
            except TimeoutError:
                pass

    def _nap(self) -> float | None:
        if not self._heap or len(self._active) >= CHECKS:
            return None  # until something is planned, or ends
        return min(max(self._heap[0][0] - self._clock(), 0.0), NAP_SECONDS)

    def _start_due(self) -> None:
        now = self._clock()
        while self._heap and len(self._active) < CHECKS:
            due, did = self._heap[0]
            if self._due.get(did) != due:
                heapq.heappop(self._heap)
                continue
            if due > now:
                return
            heapq.heappop(self._heap)
            del self._due[did]
            self._start(did, now)

    def _start(self, did: str, now: float) -> None:
        claimed = self._claim(did)
        booked = self._booked.pop(did, None)
        if claimed is None:
            self._unknown.pop(did, None)
            return
        if booked != claimed:
            wait = self._resolver.book(claimed)
            if wait > 0.0:
                self._booked[did] = claimed
                self._push(did, now + wait)
                return
        task = asyncio.create_task(self._check(did, claimed))
        self._active[did] = task
        task.add_done_callback(lambda _: self._ended(did))

    async def _check(self, did: str, claimed: str) -> None:
        answer = await self._resolver.check(claimed, did)
        if self._claim(did) is None:
            return
        if answer == "unknown":
            tries = self._unknown[did] = self._unknown.get(did, 0) + 1
            ceiling = min(UNKNOWN_CAP_SECONDS, UNKNOWN_SECONDS * 2.0 ** min(tries - 1, 32))
            delay = ceiling * random.uniform(0.5, 1.0)  # noqa: S311 - spreading load, not a secret
        else:
            self._unknown.pop(did, None)
            delay = VALID_SECONDS if answer == "valid" else INVALID_SECONDS
        self._push(did, self._clock() + delay)
        if answer != "unknown":
            self._settle(did, claimed, answer == "valid")

    def _ended(self, did: str) -> None:
        self._active.pop(did, None)
        self._wake.set()
        if did in self._again:
            self._again.discard(did)
            self._push(did, self._clock())
