"""Whose turn it is to be fetched: repos by the time that they are due.

- A repo is in the queue once; one that is being fetched waits for that to end.
- Memory is bounded: repos further back stay in the state, and are read when there is room.
- A repo that loses synchronization again and again waits longer each time, so that nobody can
  have us fetch without end.
"""

from __future__ import annotations

import asyncio
import heapq
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass

from atdex_firehose.repo import NEVER, Repo
from atdex_firehose.state import State

QUEUED_REPOS = 50_000
"""Repos whose turn is known in memory; those further back are read from the state later."""
REFILL_REPOS = 10_000
REFILL_SECONDS = 1.0
"""How many are read from the state at a time, and how often at most."""
LONGEST_NAP_SECONDS = 60.0
"""A clock that was set forward is noticed after so long."""


@dataclass(frozen=True, slots=True)
class ResyncPolicy:
    """How eagerly repos are fetched. Times in seconds.

    `workers` repos at a time. A failed fetch is tried again after `first`, doubled each time, up
    to `cap`. A repo may lose synchronization `free_strikes` times before it waits for it:
    `strike_wait`, doubled each time, up to `cap`; `strike_decay` later, half of that is forgotten.
    `host_first`: how long a host is left alone that answers 429 and does not say.
    """

    workers: int = 8
    first: float = 2.0
    cap: float = 3_600.0
    free_strikes: int = 3
    strike_wait: float = 60.0
    strike_decay: float = 600.0
    host_first: float = 60.0


class Turns:
    """The queue. `clock` gives seconds since the epoch."""

    def __init__(self, state: State, policy: ResyncPolicy, clock: Callable[[], float]) -> None:
        self._state = state
        self._policy = policy
        self._clock = clock
        self._heap: list[tuple[float, str]] = []
        self._due: dict[str, float] = {}
        self._more = True  # the state may know of repos that the heap does not
        self._refilled = -REFILL_SECONDS
        self._wake = asyncio.Event()
        self.running: set[str] = set()

    def put(self, did: str, when: float) -> None:
        """The repo is due then, or sooner if it was due sooner."""
        if did in self.running or self._due.get(did, NEVER) <= when:
            return
        if len(self._due) >= QUEUED_REPOS and did not in self._due:
            self._more = True
            return
        self._due[did] = when
        heapq.heappush(self._heap, (when, did))
        self._wake.set()

    def strike(self, repo: Repo) -> None:
        """The repo has lost synchronization: it waits, if that was too often lately."""
        policy, now = self._policy, self._clock()
        age = max(0.0, now - repo.struck_at)
        repo.strikes = repo.strikes * 0.5 ** (age / policy.strike_decay) + 1.0
        repo.struck_at = now
        over = repo.strikes - policy.free_strikes
        if over > 0:
            wait = min(policy.cap, policy.strike_wait * 2.0 ** min(over - 1.0, 16.0))
            repo.retry_at = max(repo.retry_at, now + wait)

    def refill(self) -> None:
        """The state knows of new repos."""
        self._more = True
        self._wake.set()

    def due_within(self, seconds: float) -> bool:
        """Whether a repo is being fetched, or will be within so many seconds."""
        if self.running or self._more:
            return True
        return bool(self._heap) and self._heap[0][0] <= self._clock() + seconds

    async def next(self) -> str:
        """The next repo, when it is due; it is `running` from then on."""
        while True:
            self._wake.clear()
            now = self._clock()
            while self._heap and self._heap[0][0] <= now:
                when, did = heapq.heappop(self._heap)
                if self._due.get(did) == when:
                    del self._due[did]
                    self.running.add(did)
                    return did
            if self._more and time.monotonic() - self._refilled >= REFILL_SECONDS:
                self._refilled = time.monotonic()
                await self._read_more()
                continue
            nap = self._heap[0][0] - now if self._heap else LONGEST_NAP_SECONDS
            if self._more:
                nap = min(nap, REFILL_SECONDS)
            with suppress(TimeoutError):
                async with asyncio.timeout(max(0.01, min(nap, LONGEST_NAP_SECONDS))):
                    await self._wake.wait()

    async def _read_more(self) -> None:
        rows = await self._state.due(REFILL_REPOS)
        self._more = len(rows) == REFILL_REPOS
        for when, did in rows:
            if when < NEVER:
                self.put(did, when)
