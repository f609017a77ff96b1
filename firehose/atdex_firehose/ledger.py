"""What was delivered and not acknowledged yet, and what of each repo may be saved.

Guarantees:
- An event holds its upstream's watermark until it is acknowledged. Another relay's copy of a
  commit that is still out holds its own upstream's watermark until that same moment.
- A repo's head, the CIDs of its records and an account's standing are given out for saving only
  once every event of that repo up to them is acknowledged. Were they saved sooner, a crash would
  make the replayed earlier event look old, and lose it.
- A parked commit lets its watermark go, because it is saved in the same transaction as the
  cursor; what it comes to later is deleted only once that is acknowledged.

    deliver a@1, a@2; ack a@2     nothing of repo a may be saved
    ack a@1                       head of a@2 may be saved, both cursors move
"""

from __future__ import annotations

import asyncio
from collections import Counter, OrderedDict, deque
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field

from atdex_firehose.events import Event, RecordOp
from atdex_firehose.identity_rows import StoredIdentity
from atdex_firehose.repo import DELETED, NEVER, Head, Repo, RepoState, Standing
from atdex_firehose.state import REJECTIONS, Changes, Parked, Rejection, State
from atdex_firehose.watermark import Watermark

UNACKED_EVENTS = 65_536
"""Delivered and not acknowledged; about 30 MB. A consumer that never acknowledges stops here."""
MEMORY_REPOS = 131_072
"""Repos kept in memory; about 100 MB. Others are read from the state again."""
PARKED_BYTES = 32 * 1024 * 1024
"""Bytes of parked commits that wait to be saved; then whoever parks waits for that."""

REJECTED_BYTES = 16 * 1024 * 1024
"""Bytes of rejected frames that wait to be saved: whoever floods us has seen a sample kept."""

Held = Callable[[str], Awaitable[Mapping[str, str]]]
"""The CIDs (text) by path of the records that the consumer's own copy holds of a DID."""

After = Head | Standing | StoredIdentity | None


@dataclass(slots=True)
class Delivery:
    """One event that is out, or a step without an event that waits for those before it.

    `after` is what the repo (or its identity) is once it is acknowledged; `ops` what its records
    are. `row` is the parked commit that it came from. `resync` ends a fetched state.
    """

    after: After
    holds: list[tuple[Watermark, int]]
    ops: Sequence[RecordOp] = ()
    row: int | None = None
    resync: bool = False
    acked: bool = False


@dataclass(slots=True)
class _Unsaved:
    """What may be saved since the last time."""

    repos: dict[str, Repo] = field(default_factory=dict)
    records: dict[str, dict[str, str | None]] = field(default_factory=dict)
    standings: dict[str, Standing] = field(default_factory=dict)
    identities: dict[str, StoredIdentity] = field(default_factory=dict)
    purged: set[str] = field(default_factory=set)
    parked: list[Parked] = field(default_factory=list)
    unparked: list[int] = field(default_factory=list)
    dropped: set[str] = field(default_factory=set)
    rejections: deque[Rejection] = field(default_factory=deque)
    rejected_bytes: int = 0


class Ledger:
    """The books of one consumer.

    `states` is how many tracked repos are in each state, `resting` are those that wait for their
    account to be active again; `pressing` is set while so much is parked that it must be saved
    soon.
    """

    def __init__(
        self, state: State, *, max_unacked: int = UNACKED_EVENTS, held: Held | None = None
    ) -> None:
        self._state = state
        self._held = held
        self._max_unacked = max_unacked
        self._repos: OrderedDict[str, Repo] = OrderedDict()
        self._out: dict[int, tuple[Event, Repo, Delivery]] = {}
        self._commits: dict[tuple[str, str], Delivery] = {}
        self._unsaved = _Unsaved()
        self._parked_bytes = 0
        self._room = asyncio.Event()
        self._room.set()
        self._saving = asyncio.Lock()
        self._saved = asyncio.Event()
        self._saved.set()
        self.pressing = asyncio.Event()
        self.tracked: set[str] = set()
        self.states: Counter[RepoState] = Counter()
        self.resting: set[str] = set()

    async def open(self) -> None:
        """Read which repos are tracked, and how they stand."""
        async for did, state, retry_at in self._state.tracked():
            self.tracked.add(did)
            self.states[state] += 1
            if retry_at >= NEVER and state != "synchronized":
                self.resting.add(did)

    @property
    def unacked(self) -> int:
        """Events that are out."""
        return len(self._out)

    @property
    def full(self) -> bool:
        """Whether nothing more may be delivered before something is acknowledged."""
        return not self._room.is_set()

    @property
    def crowded(self) -> bool:
        """Whether parked commits must be saved before more of them are taken."""
        return self._parked_bytes >= PARKED_BYTES

    async def wait_for_room(self) -> None:
        await self._room.wait()

    async def wait_until_saved(self) -> None:
        """Wait until the parked commits are on disk."""
        await self._saved.wait()

    # Repos

    def repo(self, did: str) -> Repo | None:
        """The repo, if it is in memory."""
        return self._repos.get(did)

    async def load(self, did: str) -> Repo:
        """The repo, from the state if need be."""
        repo = self._repos.get(did)
        if repo is None:
            row, parked, standing = await self._state.repo(did)
            repo = self._repos.get(did)
            if repo is None:
                repo = self._repos[did] = Repo(did, standing=standing, parked=parked)
                if row is None and did in self.tracked:
                    repo.state = "incomplete"  # discovered while it was read
                elif row is not None:
                    repo.state = row.state
                    repo.head = repo.acked = row.head
                    repo.epoch, repo.reason = row.epoch, row.reason
                    repo.attempts, repo.retry_at = row.attempts, row.retry_at
                    repo.min_rev, repo.strikes = row.min_rev, row.strikes
                    repo.struck_at = row.struck_at
                self._evict()
        return repo

    def move(self, repo: Repo, state: RepoState) -> None:
        """Put the repo into a state."""
        if repo.state != state:
            if repo.state != "untracked":
                self.states[repo.state] -= 1
            else:
                self.tracked.add(repo.did)
            if state == "in-progress":
                repo.before = "incomplete" if repo.state == "incomplete" else "desynchronized"
            self.states[state] += 1
            repo.state = state
        self._unsaved.repos[repo.did] = repo

    def rest(self, repo: Repo, reason: str) -> None:
        """The repo is not fetched before its account is active again."""
        repo.reason, repo.retry_at = reason, NEVER
        self.resting.add(repo.did)
        self.touch(repo)

    def wake(self, repo: Repo, now: float) -> None:
        """The account is active: the repo may be fetched."""
        repo.retry_at, repo.attempts = now, 0
        self.resting.discard(repo.did)
        self.touch(repo)

    def touch(self, repo: Repo) -> None:
        """Something of the repo's row has changed."""
        self._unsaved.repos[repo.did] = repo

    async def doubt_all(self, reason: str) -> None:
        """Every synchronized repo becomes incomplete: events may have been missed."""
        async with self._saving:
            for repo in self._repos.values():
                if repo.state == "synchronized":
                    repo.reason, repo.retry_at, repo.attempts = reason, 0.0, 0
                    self.move(repo, "incomplete")
            await self._state.doubt_all(reason)
            self.states["incomplete"] += self.states.pop("synchronized", 0)

    async def records(self, repo: Repo) -> dict[str, str]:
        """The CIDs (text) by path of the wanted records, as they were delivered so far."""
        async with self._saving:
            found: dict[str, str] = {}
            if repo.did not in self._unsaved.purged:
                found = await self._state.records(repo.did)
                if self._held is not None:
                    # A crash may have left the copy ahead of what was saved here. What only one
                    # of the two knows of is delivered again, whatever it is.
                    held = await self._held(repo.did)
                    found = dict.fromkeys(found, "") | dict(held)
            for path, cid in self._unsaved.records.get(repo.did, {}).items():
                _set(found, path, cid)
            for delivery in repo.out:
                if isinstance(delivery.after, Standing) and delivery.after.status == DELETED:
                    found.clear()
                for op in delivery.ops:
                    _set(found, f"{op.collection}/{op.rkey}", op.cid)
            return found

    # Deliveries

    def deliver(
        self,
        event: Event,
        repo: Repo,
        holds: list[tuple[Watermark, int]],
        after: After,
        *,
        ops: Sequence[RecordOp] = (),
        row: int | None = None,
        resync: bool = False,
    ) -> None:
        """Enter an event that is about to be handed out; its numbers are held already."""
        delivery = Delivery(after, holds, ops, row, resync)
        repo.out.append(delivery)
        if type(after) is Head:
            repo.head = after
            self._commits[repo.did, after.rev] = delivery
        elif type(after) is Standing:
            repo.standing = after
        if resync:
            repo.resyncs_out += 1
        self._out[id(event)] = (event, repo, delivery)
        if len(self._out) >= self._max_unacked:
            self._room.clear()

    def advance(
        self,
        repo: Repo,
        holds: Sequence[tuple[Watermark, int]],
        head: Head | None,
        *,
        row: int | None = None,
        resync: bool = False,
    ) -> None:
        """A step of the repo that nobody is told of."""
        if head is not None:
            repo.head = head
        for watermark, seq in holds:
            watermark.release(seq)
        delivery = Delivery(head, [], (), row, resync, acked=True)
        if resync:
            repo.resyncs_out += 1
        if repo.out:
            repo.out.append(delivery)
        else:
            self._settle(repo, delivery)

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
        found = self._out.pop(id(event), None)
        if found is None:
            return
        _, repo, delivery = found
        delivery.acked = True
        for watermark, seq in delivery.holds:
            watermark.release(seq)
        after = delivery.after
        if type(after) is Head:
            self._commits.pop((repo.did, after.rev), None)
        out = repo.out
        while out and out[0].acked:
            self._settle(repo, out.popleft())
        if len(self._out) < self._max_unacked:
            self._room.set()

    def _settle(self, repo: Repo, delivery: Delivery) -> None:
        """Everything up to this delivery is acknowledged."""
        unsaved, did, after = self._unsaved, repo.did, delivery.after
        if delivery.ops:
            records = unsaved.records.get(did)
            if records is None:
                records = unsaved.records[did] = {}
            for op in delivery.ops:
                records[f"{op.collection}/{op.rkey}"] = op.cid
        if delivery.row is not None:
            unsaved.unparked.append(delivery.row)
        if delivery.resync:
            repo.resyncs_out -= 1
        if type(after) is Head:
            repo.acked = after
            unsaved.repos[did] = repo
        elif type(after) is Standing:
            unsaved.standings[did] = after
            if after.status == DELETED:
                unsaved.purged.add(did)
                unsaved.records.pop(did, None)
                repo.acked = None
                unsaved.repos[did] = repo
        elif type(after) is StoredIdentity:
            unsaved.identities[did] = after

    # Parking

    def park(self, repo: Repo, source: str, watermark: Watermark, seq: int, raw: bytes) -> None:
        """Keep a commit until the repo was fetched. Its number is let go: the cursor passes it in
        the transaction that saves it, never before."""
        self._unsaved.parked.append(Parked(repo.did, source, seq, raw))
        watermark.release(seq)
        self._parked_bytes += len(raw)
        if self.crowded:
            self._saved.clear()
            self.pressing.set()
        repo.parked += 1
        self._unsaved.repos[repo.did] = repo

    def drop_parked(self, repo: Repo, min_rev: str | None) -> None:
        """Forget the parked commits: a repo fetched at `min_rev` or later holds them."""
        unsaved = self._unsaved
        unsaved.parked = [each for each in unsaved.parked if each.did != repo.did]
        unsaved.dropped.add(repo.did)
        repo.parked = 0
        repo.min_rev = min_rev
        self.touch(repo)

    def reject(self, rejection: Rejection) -> None:
        """Keep what was rejected, and why; of a flood, the last ones."""
        unsaved = self._unsaved
        unsaved.rejections.append(rejection)
        unsaved.rejected_bytes += len(rejection.frame)
        while unsaved.rejected_bytes > REJECTED_BYTES or len(unsaved.rejections) > REJECTIONS:
            unsaved.rejected_bytes -= len(unsaved.rejections.popleft().frame)

    # Saving

    async def save(
        self,
        cursors: Callable[[], Mapping[str, int]],
        identities: Callable[[], Mapping[str, StoredIdentity]],
    ) -> None:
        """Save all that may be, in one transaction. Raises StateError."""
        async with self._saving:
            unsaved, self._unsaved = self._unsaved, _Unsaved()
            unsaved.identities.update(identities())
            self._parked_bytes = 0
            changes = Changes(
                cursors=cursors(),
                repos=[repo.row() for repo in unsaved.repos.values() if repo.tracked],
                records=unsaved.records,
                standings=unsaved.standings,
                identities=unsaved.identities,
                purged=unsaved.purged,
                dropped=unsaved.dropped,
                parked=unsaved.parked,
                unparked=unsaved.unparked,
                rejections=unsaved.rejections,
            )
            try:
                await self._state.save(changes)
            except BaseException:
                self._give_back(unsaved)
                raise
            self._saved.set()
            self.pressing.clear()

    def _give_back(self, unsaved: _Unsaved) -> None:
        """Saving failed: keep what has not been superseded since."""
        now = self._unsaved
        now.repos = unsaved.repos | now.repos
        now.standings = unsaved.standings | now.standings
        now.identities = unsaved.identities | now.identities
        for did, records in unsaved.records.items():
            if did not in now.purged:
                now.records[did] = records | now.records.get(did, {})
        now.purged |= unsaved.purged
        now.parked = [each for each in unsaved.parked if each.did not in now.dropped] + now.parked
        now.dropped |= unsaved.dropped
        now.unparked = unsaved.unparked + now.unparked
        for rejection in reversed(unsaved.rejections):
            now.rejections.appendleft(rejection)
            now.rejected_bytes += len(rejection.frame)
        self._parked_bytes = sum(len(each.raw) for each in now.parked)

    def _evict(self) -> None:
        """Forget repos that nothing depends on, oldest first; a few are looked at, no more."""
        for _ in range(min(4, len(self._repos) - MEMORY_REPOS)):
            did, repo = self._repos.popitem(last=False)
            if (
                repo.out
                or repo.state == "in-progress"
                or did in self._unsaved.repos
                or did in self._unsaved.records
                or did in self._unsaved.standings
                or self._saving.locked()
            ):
                self._repos[did] = repo


def _set(found: dict[str, str], path: str, cid: str | None) -> None:
    if cid is None:
        found.pop(path, None)
    else:
        found[path] = cid
