"""What was delivered and not acknowledged yet, and what of each repo may be saved.

Guarantees:
- An event holds its upstream's watermark until it is acknowledged. Another relay's copy of a
  commit that is still out holds its own upstream's watermark until that same moment.
- A repo's head (or an account's standing) is given out for saving only once every event of that
  repo up to it is acknowledged. Were it saved sooner, a crash would make the replayed earlier
  event look old, and lose it.

    deliver a@1, a@2; ack a@2     nothing of repo a may be saved
    ack a@1                       head of a@2 may be saved, both cursors move
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict, deque
from dataclasses import dataclass, field

from atdex_firehose.events import Event
from atdex_firehose.repo import ACTIVE, Head, Standing
from atdex_firehose.state import State
from atdex_firehose.watermark import Watermark

UNACKED_EVENTS = 65_536
"""Delivered and not acknowledged; about 30 MB. A consumer that never acknowledges stops here."""
MEMORY_REPOS = 131_072
"""Repos kept in memory; about 60 MB. Others are read from the state again."""


@dataclass(slots=True)
class Delivery:
    """One event that is out. `after` is what the repo is once it is acknowledged."""

    after: Head | Standing | None
    holds: list[tuple[Watermark, int]]
    acked: bool = False


@dataclass(slots=True)
class Repo:
    """One repo as far as events were verified, acknowledged or not."""

    did: str
    head: Head | None = None
    standing: Standing = ACTIVE
    out: deque[Delivery] = field(default_factory=deque)


class Ledger:
    """The books of one consumer."""

    def __init__(self, state: State, *, max_unacked: int = UNACKED_EVENTS) -> None:
        self._state = state
        self._max_unacked = max_unacked
        self._repos: OrderedDict[str, Repo] = OrderedDict()
        self._out: dict[tuple[str, int], tuple[Repo, Delivery]] = {}
        self._commits: dict[tuple[str, str], Delivery] = {}
        self._heads: dict[str, Head] = {}
        self._standings: dict[str, Standing] = {}
        self._room = asyncio.Event()
        self._room.set()

    @property
    def unacked(self) -> int:
        """Events that are out."""
        return len(self._out)

    @property
    def full(self) -> bool:
        """Whether nothing more may be delivered before something is acknowledged."""
        return not self._room.is_set()

    async def wait_for_room(self) -> None:
        await self._room.wait()

    def repo(self, did: str) -> Repo | None:
        """The repo, if it is in memory."""
        return self._repos.get(did)

    async def load(self, did: str) -> Repo:
        """The repo, from the state if need be."""
        repo = self._repos.get(did)
        if repo is None:
            head, standing = await self._state.head(did), await self._state.standing(did)
            repo = self._repos.get(did)
            if repo is None:
                repo = self._repos[did] = Repo(did, head, standing)
                self._evict()
        return repo

    def deliver(
        self, event: Event, repo: Repo, watermark: Watermark, after: Head | Standing | None
    ) -> None:
        """Enter an event that is about to be handed out; its number is held already."""
        delivery = Delivery(after, [(watermark, event.seq)])
        repo.out.append(delivery)
        if isinstance(after, Head):
            repo.head = after
            self._commits[repo.did, after.rev] = delivery
        elif after is not None:
            repo.standing = after
        self._out[event.source, event.seq] = (repo, delivery)
        if len(self._out) >= self._max_unacked:
            self._room.clear()

    def repeated(self, did: str, rev: str, watermark: Watermark, seq: int) -> None:
        """A held number turned out to be a commit that was taken before: it is finished when
        that one is."""
        delivery = self._commits.get((did, rev))
        if delivery is None:
            watermark.release(seq)
        else:
            delivery.holds.append((watermark, seq))

    def ack(self, event: Event) -> None:
        """The event is dealt with. Again, or for an event that is not out: changes nothing."""
        found = self._out.pop((event.source, event.seq), None)
        if found is None:
            return
        repo, delivery = found
        delivery.acked = True
        for watermark, seq in delivery.holds:
            watermark.release(seq)
        if isinstance(delivery.after, Head):
            self._commits.pop((repo.did, delivery.after.rev), None)
        while repo.out and repo.out[0].acked:
            after = repo.out.popleft().after
            if isinstance(after, Head):
                self._heads[repo.did] = after
            elif after is not None:
                self._standings[repo.did] = after
        if len(self._out) < self._max_unacked:
            self._room.set()

    def take_changes(self) -> tuple[dict[str, Head], dict[str, Standing]]:
        """What may be saved since the last call; the caller saves it, or gives it back."""
        heads, self._heads = self._heads, {}
        standings, self._standings = self._standings, {}
        return heads, standings

    def give_back(self, heads: dict[str, Head], standings: dict[str, Standing]) -> None:
        """Saving failed: keep what has not been superseded since."""
        self._heads = heads | self._heads
        self._standings = standings | self._standings

    def _evict(self) -> None:
        """Forget repos that nothing depends on, oldest first; a few are looked at, no more."""
        for _ in range(min(4, len(self._repos) - MEMORY_REPOS)):
            did, repo = self._repos.popitem(last=False)
            if repo.out or did in self._heads or did in self._standings:
                self._repos[did] = repo
