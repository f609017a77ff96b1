"""Repos that were not followed from their start, or lost synchronization: fetched whole, verified,
compared with what was delivered, and brought up to date.

For one repo, in order:

1. It becomes `in-progress`: commits that come are parked on disk.
2. The repo is fetched, from the upstream first, then from its PDS, into a file.
3. The file is verified: DID, rev (not older than what was taken, not from the future),
   signature (a failed one renews the identity once), every block, the whole tree.
4. In the repo's lane: what the tree says and what was delivered so far are compared; creates,
   updates and deletes are delivered as events that are not `live`.
5. The parked commits are taken in order; those that the fetched state has are passed over.
6. Only then does it count as `synchronized`.

Where 2 or 3 fail, the repo is what it was before, and its turn comes again: after seconds at
first, up to an hour later. A kill at any point leaves it waiting, with its commits parked.
"""

from __future__ import annotations

import asyncio
import logging
import random
from collections import Counter
from collections.abc import Awaitable, Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from datetime import UTC, datetime
from hashlib import sha256
from pathlib import Path

import libipld

from atdex_firehose.commit import Commit
from atdex_firehose.errors import (
    BadSignature,
    Desynchronized,
    FetchFailed,
    IdentityUnavailable,
    Ignored,
    InvalidCommit,
    InvalidIdentity,
    NotServed,
    OlderRepo,
    RateLimited,
    Rejected,
)
from atdex_firehose.events import AccountEvent, Action, CommitEvent, Identity, RecordOp
from atdex_firehose.evidence import check_signature
from atdex_firehose.fetch_repo import RepoHosts
from atdex_firehose.frames import Body, parse_commit, parse_sync, split
from atdex_firehose.identity import Identities
from atdex_firehose.items import Item, Job
from atdex_firehose.lanes import Rest
from atdex_firehose.ledger import Ledger
from atdex_firehose.patterns import CollectionPatterns
from atdex_firehose.pipeline import DOUBTS, OLDER, Pipeline
from atdex_firehose.repo import NEVER, Head, Repo, Standing
from atdex_firehose.repo_car import RepoCar
from atdex_firehose.resync_turns import ResyncPolicy, Turns
from atdex_firehose.state import Rejection, State
from atdex_firehose.threads import in_thread
from atdex_firehose.verify import check_rev
from atdex_lexicons.tid import tid_from_micros

log = logging.getLogger(__name__)

PART_OPS = 500
PART_BYTES = 4_000_000
"""Of one event of a fetched repo: what a consumer applies in one go."""
STRAY_SECONDS = 600.0
"""A host that serves a repo without a commit of so long ago will not come to have it."""
INACTIVE = "the account is not active"


@dataclass(slots=True)
class ResyncCounters:
    """`outcomes`: `done`, `unchanged`, `checked` (nothing was missing), `inactive` (its account
    is), or an error's class.
    `records` were delivered from fetched repos."""

    outcomes: Counter[str] = field(default_factory=Counter)
    records: int = 0
    running: int = 0


@dataclass(slots=True)
class _Fetched:
    """A repo as fetched and verified: what it holds that is wanted (by `patterns`), by path."""

    host: str
    commit: Commit
    identity: Identity
    car: RepoCar
    records: dict[str, bytes]
    patterns: CollectionPatterns
    epoch: int


@dataclass(frozen=True, slots=True)
class _Inactive:
    """The account's own host does not serve the repo, because of the account's status."""

    host: str
    status: str


_STATUSES = {
    "RepoDeactivated": "deactivated",
    "RepoSuspended": "suspended",
    "RepoTakendown": "takendown",
}
"""What a PDS answers to getRepo for accounts that are not active (its lexicon's errors)."""


class Resyncs:
    """Fetches the repos that `schedule` is told of, and those that the state says are due.

    `upstreams` are the base URLs that serve the stream. `flush` saves what may be saved.
    """

    def __init__(
        self,
        *,
        state: State,
        ledger: Ledger,
        identities: Identities,
        pipeline: Pipeline,
        hosts: RepoHosts,
        patterns: CollectionPatterns,
        upstreams: Sequence[str],
        folder: Path,
        epoch: int,
        flush: Callable[[], Awaitable[None]],
        policy: ResyncPolicy,
        clock: Callable[[], float],
    ) -> None:
        self._state = state
        self._ledger = ledger
        self._identities = identities
        self._pipeline = pipeline
        self._hosts = hosts
        self._patterns = patterns
        self._upstreams = list(upstreams)
        self._folder = folder
        self._epoch = epoch
        self._flush = flush
        self._policy = policy
        self._clock = clock
        self._turns = Turns(state, policy, clock)
        self._tasks: set[asyncio.Task[None]] = set()
        self._unserved: dict[str, float] = {}
        self.counters = ResyncCounters()

    def want(self, patterns: CollectionPatterns, epoch: int) -> None:
        """From the next repo that is fetched on, these collections are wanted."""
        self._patterns, self._epoch = patterns, epoch

    def schedule(self, repo: Repo, lost: bool) -> None:
        """The repo has to be fetched; at once, unless it was `lost` too often lately."""
        now = self._clock()
        if repo.retry_at >= NEVER and repo.standing.active:
            self._ledger.wake(repo, now)
        if lost:
            self._turns.strike(repo)
        self._ledger.touch(repo)
        self._turns.put(repo.did, max(repo.retry_at, now))

    def refill(self) -> None:
        """The state knows of new repos."""
        self._turns.refill()

    def due_within(self, seconds: float) -> bool:
        """Whether a repo is being fetched, or will be within so many seconds."""
        return self._turns.due_within(seconds)

    async def run(self) -> None:
        """Fetch until cancelled."""
        places = asyncio.Semaphore(self._policy.workers)
        try:
            while True:
                await places.acquire()
                did = await self._turns.next()
                task = asyncio.create_task(self._resync(did))
                self._tasks.add(task)
                task.add_done_callback(lambda done: self._done(done, places))
        finally:
            for task in self._tasks:
                task.cancel()
            await asyncio.gather(*self._tasks, return_exceptions=True)

    def _done(self, task: asyncio.Task[None], places: asyncio.Semaphore) -> None:
        self._tasks.discard(task)
        places.release()
        if not task.cancelled() and (error := task.exception()) is not None:
            self._pipeline.out.fail(error)

    # One repo

    async def _resync(self, did: str) -> None:
        repo = await self._ledger.load(did)
        self.counters.running += 1
        try:
            if repo.state not in ("incomplete", "desynchronized"):
                return
            if not repo.standing.active:
                self._ledger.rest(repo, repo.reason or INACTIVE)
                return
            if repo.retry_at > self._clock():
                return
            if repo.state == "incomplete" and repo.reason in DOUBTS and await self._checked(repo):
                return
            if repo.state not in ("incomplete", "desynchronized"):
                return
            self._ledger.move(repo, "in-progress")
            with ExitStack() as files:
                fetched = await self._fetch(repo, files)
                await self._in_lane(did, lambda: self._settle(repo, fetched))
        finally:
            self.counters.running -= 1
            self._turns.running.discard(did)
            if repo.state in ("incomplete", "desynchronized") and repo.retry_at < NEVER:
                self._turns.put(did, repo.retry_at)

    async def _checked(self, repo: Repo) -> bool:
        """Whether the repo turns out to have nothing that was not taken, by its host's word."""
        if repo.head is None:
            return False
        try:
            identity = await self._identities.resolve(repo.did)
            if identity.pds is None:
                return False
            rev = await self._hosts.latest_rev(identity.pds, repo.did)
        except (FetchFailed, Rejected, IdentityUnavailable):
            return False
        # The stream went on meanwhile, and may have answered the question itself.
        if not (repo.state == "incomplete" and repo.is_at(rev)):
            return repo.state == "synchronized"
        self._synchronized(repo, repo.epoch)
        self.counters.outcomes["checked"] += 1
        return True

    async def _in_lane(self, did: str, work: Callable[[], Awaitable[None]]) -> None:
        """Do the work when it is its turn in the repo's lane."""
        done = asyncio.get_running_loop().create_future()

        async def turn() -> None:
            try:
                await work()
            finally:
                if not done.done():
                    done.set_result(None)

        rest = self._pipeline.lanes.offer(did, Job(turn), 0)
        if rest is not None:
            await rest
        await done

    # Fetching and verifying

    async def _fetch(self, repo: Repo, files: ExitStack) -> _Fetched | _Inactive | None:
        """The repo, verified; None, and the next turn noted, where no host has it so."""
        failure: FetchFailed | Rejected | IdentityUnavailable
        try:
            identity = await self._identities.resolve(repo.did)
        except (Rejected, IdentityUnavailable) as error:
            self._failed(repo, error)
            return None
        hosts = [host for host in self._upstreams if self._serves(host)]
        if identity.pds is not None and identity.pds not in hosts:
            hosts.append(identity.pds)
        failure = InvalidIdentity(repo.did, "no host to fetch the repo from")
        for host in hosts:
            try:
                return await self._fetch_from(host, repo, identity, files)
            except NotServed as error:
                failure = error
                if host != identity.pds:
                    self._not_served(host, error)
                elif error.error in _STATUSES:
                    self.counters.outcomes["inactive"] += 1
                    return _Inactive(host, _STATUSES[error.error])
            except FetchFailed as error:
                failure = error
            except (Rejected, IdentityUnavailable) as error:
                failure = error
                self._keep(host, repo, error)
        if isinstance(failure, NotServed):
            # The account may have moved; the next turn finds out.
            await self._renew(repo.did)
        self._failed(repo, failure)
        return None

    async def _fetch_from(
        self, host: str, repo: Repo, identity: Identity, files: ExitStack
    ) -> _Fetched:
        path = self._folder / f"{sha256(repo.did.encode()).hexdigest()[:32]}.car"
        try:
            await self._hosts.get_repo(host, repo.did, path)
            file = files.enter_context(path.open("rb", buffering=0))
        finally:
            path.unlink(missing_ok=True)
        car = await in_thread(lambda: RepoCar(file, repo.did))
        commit = car.commit
        now = self._clock()
        check_rev(repo.did, commit.rev, None, now)
        oldest = max(repo.head.rev if repo.head else "", repo.min_rev or "")
        if commit.rev < oldest:
            raise OlderRepo(repo.did, f"{host} has it at {commit.rev}, and {oldest} is known")
        try:
            check_signature(commit, identity)
        except BadSignature:
            fresh = await self._identities.refresh(repo.did)
            if fresh.signing_key == identity.signing_key:
                raise
            check_signature(commit, fresh)
            identity = fresh
        patterns, epoch = self._patterns, self._epoch
        records = await in_thread(lambda: _wanted(car, patterns))
        return _Fetched(host, commit, identity, car, records, patterns, epoch)

    async def _renew(self, did: str) -> None:
        try:
            await self._identities.refresh(did)
        except (Rejected, IdentityUnavailable) as error:
            log.info("%s", error)

    def _serves(self, host: str) -> bool:
        return self._unserved.get(host, 0.0) <= self._clock()

    def _not_served(self, host: str, error: NotServed) -> None:
        """An upstream that does not know the method is not asked for every repo."""
        if not error.error.startswith("Repo"):
            self._unserved[host] = self._clock() + self._policy.cap

    def _failed(self, repo: Repo, error: FetchFailed | Rejected | IdentityUnavailable) -> None:
        name = type(error).__name__
        self.counters.outcomes[name] += 1
        if not isinstance(error, RateLimited):
            repo.attempts += 1
        wait = min(self._policy.cap, self._policy.first * 2.0 ** min(repo.attempts, 32))
        wait *= random.uniform(0.25, 0.5)  # noqa: S311 - spreading load, not a secret
        if isinstance(error, RateLimited):
            # The host's own time, plus some spreading: all its repos would come at once.
            wait += self._hosts.waiting(error.host)
        repo.retry_at = self._clock() + wait
        self._ledger.touch(repo)
        log.info("%s: not fetched (%s); again in %.0f s", repo.did, error, wait)

    def _keep(self, host: str, repo: Repo, error: Rejected | IdentityUnavailable) -> None:
        """A repo that was served and is not what it should be is kept as rejected frames are."""
        name = type(error).__name__
        log.warning("%s: the repo of %s is refused: %s: %s", host, repo.did, name, error.reason)
        self._ledger.reject(
            Rejection(host, 0, repo.did, None, name, error.reason, b"", self._clock())
        )

    # In the lane

    async def _settle(self, repo: Repo, fetched: _Fetched | _Inactive | None) -> None:
        if repo.state != "in-progress":
            return  # the account was deleted meanwhile
        if isinstance(fetched, _Inactive):
            await self._deactivate(repo, fetched)
            return
        if fetched is None:
            if repo.before == "desynchronized":
                self._ledger.move(repo, "desynchronized")
            elif await self._drain(repo, repo.epoch):
                self._ledger.move(repo, "incomplete")
            return
        if not repo.standing.active:
            self._ledger.move(repo, repo.before)
            self._ledger.rest(repo, repo.reason or INACTIVE)
            return
        delivered = await self._ledger.records(repo)
        await self._deliver(repo, fetched, delivered)
        if await self._drain(repo, fetched.epoch):
            self._synchronized(repo, fetched.epoch)
            if fetched.epoch < self._epoch:
                # Something more is wanted since; whoever listed it has passed over this repo.
                repo.reason = OLDER
                self._ledger.move(repo, "incomplete")
                self.schedule(repo, False)

    async def _deactivate(self, repo: Repo, told: _Inactive) -> None:
        """Its #account event was missed. The one that makes it active again wakes the repo."""
        self._ledger.move(repo, repo.before)
        self._ledger.rest(repo, INACTIVE)
        if not repo.standing.active:
            return
        now = datetime.fromtimestamp(self._clock(), UTC).isoformat(timespec="milliseconds")
        event = AccountEvent(
            told.host, 0, repo.did, now.replace("+00:00", "Z"), active=False, status=told.status
        )
        standing = Standing(active=False, status=told.status)
        rest = self._pipeline.out.deliver(event, repo, standing, holds=[])
        if rest is not None:
            await rest

    def _synchronized(self, repo: Repo, epoch: int) -> None:
        """`epoch` is that of the collections that were compared."""
        repo.epoch, repo.reason = epoch, ""
        repo.attempts, repo.retry_at, repo.min_rev = 0, 0.0, None
        self._ledger.move(repo, "synchronized")

    async def _deliver(self, repo: Repo, fetched: _Fetched, delivered: dict[str, str]) -> None:
        """What the fetched state has otherwise than what was delivered, in parts."""
        head = Head(fetched.commit.rev, fetched.commit.data)
        # Its handle may have been verified since the repo was asked for, and been told of before.
        identity = self._identities.cached(repo.did) or fetched.identity
        car = fetched.car
        changes: list[tuple[Action, str, bytes | None]] = []
        for path, cid in fetched.records.items():
            text = libipld.encode_cid(cid)
            before = delivered.pop(path, None)
            if before != text:
                changes.append(("create" if before is None else "update", path, cid))
        # What was delivered and is no longer wanted stays as it is.
        changes += [
            ("delete", path, None)
            for path in delivered
            if path.partition("/")[0] in fetched.patterns
        ]
        self.counters.outcomes["done" if changes else "unchanged"] += 1
        if not changes:
            self._ledger.advance(repo, [], head, resync=True)
            return
        part: list[RecordOp] = []
        size = 0
        for number, (action, path, link) in enumerate(changes, 1):
            collection, _, rkey = path.partition("/")
            raw = None if link is None else car.block(link)
            cid_text = None if link is None else libipld.encode_cid(link)
            part.append(RecordOp(action, collection, rkey, cid_text, raw))
            size += len(raw or b"")
            last = number == len(changes)
            if last or len(part) >= PART_OPS or size >= PART_BYTES:
                event = CommitEvent(
                    fetched.host, 0, repo.did, head.rev, "", tuple(part), identity, False
                )
                self.counters.records += len(part)
                rest = self._pipeline.out.deliver(
                    event, repo, head if last else None, holds=[], ops=event.ops, resync=last
                )
                part, size = [], 0
                if rest is not None:
                    await rest
                else:
                    await asyncio.sleep(0)

    async def _drain(self, repo: Repo, epoch: int) -> bool:
        """Take the parked commits in order; whether the repo is as far as they are.

        False where one of them does not continue the chain: those from there on stay parked.
        """
        if not repo.parked:
            return True
        await self._flush()
        refused = False
        after = 0
        while rows := await self._state.parked(repo.did, after):
            for parked in rows:
                after = parked.row
                kind, body = split(parked.raw)
                item = Item(
                    parked.source, None, kind, parked.seq, repo.did, body, parked.raw, parked.row
                )
                repo.parked -= 1
                try:
                    identity = await self._identities.resolve(repo.did)
                    rest = await self._take(item, repo, identity)
                except Ignored:
                    self._ledger.advance(repo, [], None, row=item.row)
                    continue
                except Desynchronized as error:
                    if not self._is_stray(body):
                        repo.parked += 1
                        self._pipeline.lose(repo, error.reason)
                        return False
                    stray = InvalidCommit(repo.did, f"{error.reason}; and its repo has it not")
                    event = self._pipeline.out.rejected(item, stray)
                    rest = self._pipeline.out.deliver(event, repo, None, holds=[], row=item.row)
                except (Rejected, IdentityUnavailable) as error:
                    refused = True
                    event = self._pipeline.out.rejected(item, error)
                    rest = self._pipeline.out.deliver(event, repo, None, holds=[], row=item.row)
                if rest is not None:
                    await rest
                if repo.state != "in-progress":
                    return False
        repo.parked = 0
        if refused:
            self._synchronized(repo, epoch)
            self._pipeline.doubt(repo)
            return False
        return True

    def _is_stray(self, body: Body) -> bool:
        """Whether a commit that does not continue what was just fetched is too old to be a part
        of the repo that its host did not have yet."""
        rev = body.get("rev")
        oldest = int((self._clock() - STRAY_SECONDS) * 1_000_000)
        return type(rev) is str and rev < tid_from_micros(oldest, 0)

    async def _take(self, item: Item, repo: Repo, identity: Identity) -> Rest | None:
        frame = parse_commit(item.body) if item.kind == "#commit" else parse_sync(item.body)
        check_rev(item.did, frame.rev, repo.head, self._clock())
        try:
            return self._pipeline.judge(item, frame, repo, identity)
        except BadSignature:
            fresh = await self._identities.refresh(item.did)
            if fresh.signing_key == identity.signing_key:
                raise
            return self._pipeline.judge(item, frame, repo, fresh)


def _wanted(car: RepoCar, patterns: CollectionPatterns) -> dict[str, bytes]:
    """The wanted records of the whole tree, which is checked to its last node. In a thread."""
    return {path: cid for path, cid in car.records() if path.partition("/")[0] in patterns}
