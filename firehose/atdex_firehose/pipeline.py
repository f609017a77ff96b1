"""From frames to events: filter, line up by repo, verify with an identity, deliver.

    take(frame) ─ nobody wants it ─> watermark
         └─> lane of the DID ─> parse ─> verify ─> deliver ─> outbox
                                   │        ├ BadSignature, WrongHost: refresh the identity, again
                                   │        └ Desynchronized: park, and have the repo fetched
                                   ├ the repo waits to be fetched: park
                                   ├ Ignored: watermark
                                   └ Rejected: a RejectedEvent takes its place; the repo is in doubt

A frame whose repo and identity are in memory is done at once, without a task. Everything else
waits in its repo's lane, and goes through the same steps. What a fetched repo comes to (`resync`)
goes through the lane too, so that a repo's events have one order.

A repo in doubt is `incomplete`: its next commit either continues the chain, which shows that what
was refused was never a part of it, or does not, and the repo is fetched.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Sequence

from atdex_firehose import limits
from atdex_firehose.errors import (
    BadSignature,
    Desynchronized,
    IdentityGone,
    IdentityUnavailable,
    Ignored,
    InactiveAccount,
    InvalidFrame,
    InvalidIdentity,
    Rejected,
    StaleRev,
    UntrackedRepo,
    WrongHost,
)
from atdex_firehose.events import (
    AccountEvent,
    CommitEvent,
    Event,
    Identity,
    IdentityEvent,
    RecordOp,
    RejectedEvent,
    SyncEvent,
)
from atdex_firehose.evidence import Evidence, prepare
from atdex_firehose.frames import (
    AccountFrame,
    Body,
    CommitFrame,
    IdentityFrame,
    SyncFrame,
    parse_account,
    parse_commit,
    parse_identity,
    parse_sync,
)
from atdex_firehose.handover import HandOver
from atdex_firehose.identity import Identities
from atdex_firehose.items import Item, Job
from atdex_firehose.lanes import Lanes, Rest
from atdex_firehose.ledger import After, Ledger
from atdex_firehose.mentions import Mentions
from atdex_firehose.mst import EMPTY_ROOT
from atdex_firehose.outbox import Outbox
from atdex_firehose.patterns import CollectionPatterns
from atdex_firehose.repo import DELETED, PARKING, Head, Repo, Standing
from atdex_firehose.stats import Counters
from atdex_firehose.upstream import Upstream
from atdex_firehose.verify import check_rev, stated_records, verify_commit, verify_sync

log = logging.getLogger(__name__)

PARKED_COMMITS = 10_000
"""Commits parked of one repo. Beyond, they are forgotten: the repo is fetched at the last of them
or later, and so holds what they did."""
SIGN_OF_LIFE_SECONDS = 60.0
"""How soon a repo that could not be fetched is tried again after a commit of it came."""
SELF = "identity"
"""The source of identity events that no upstream sent: a handle was verified, or failed to be."""
OLDER = "older records are to be fetched"
REFUSED = "a commit was refused"
OUTDATED = "events were missed"
DOUBTS = frozenset({REFUSED, OUTDATED})
"""Reasons for which a repo is incomplete that a commit which continues its chain dispels."""

Frame = CommitFrame | SyncFrame | IdentityFrame | AccountFrame


Schedule = Callable[[Repo, bool], None]
"""Have the repo fetched when it is due; True: it has just lost synchronization, or is in doubt."""


class Pipeline:
    """The steps between upstreams and the outbox, for all upstreams of one consumer.

    `hosts` are the upstreams that are a PDS each: they may speak of their own accounts only.
    `epoch` is the generation of wanted collections. Without `verify`, commits are taken at their
    upstream's word, and no repo is tracked. `schedule` is set by who fetches repos. `mentions` are
    passed on beside what is wanted.
    """

    def __init__(
        self,
        patterns: CollectionPatterns,
        identities: Identities,
        ledger: Ledger,
        outbox: Outbox,
        counters: Counters,
        clock: Callable[[], float],
        *,
        hosts: frozenset[str] = frozenset(),
        epoch: int = 0,
        verify: bool = True,
        mentions: Mentions | None = None,
    ) -> None:
        self._patterns = patterns
        self._everything = patterns.everything
        self._identities = identities
        self._ledger = ledger
        self._tracked = ledger.tracked
        self.out = HandOver(ledger, outbox, counters, clock)
        self._counters = counters
        self._clock = clock
        self._hosts = hosts
        self._epoch = epoch
        self._verify = verify
        self._mentions = mentions
        self.schedule: Schedule = _nobody
        self.lanes: Lanes[Item | Job] = Lanes(self._work, outbox.fail)

    def wants(self, body: Body, raw: bytes) -> bool:
        """Whether a `#commit`, not checked yet, matters, by what is tracked now."""
        # On the way of every frame: tenths of a microsecond count.
        if self._mentions is not None:
            return self._concerns_us(body) or self._mentions.wants(body, raw)
        return self._concerns_us(body)

    def prepare(self, items: Sequence[Item]) -> None:
        """Make ahead of their turns what checks of these commits need no other frame."""
        ready = []
        for item in items:
            identity = self._identities.cached(item.did) if item.kind == "#commit" else None
            repo = self._ledger.repo(item.did)
            if identity is None or repo is None or not self._is_to_be_verified(item, repo):
                continue
            try:
                frame = parse_commit(item.body)
            except Rejected:
                continue  # at its turn
            if repo.head is None or frame.rev > repo.head.rev:
                item.evidence = Evidence(frame)
                ready.append((item.evidence, identity))
        prepare(ready, self._patterns)

    def _is_to_be_verified(self, item: Item, repo: Repo) -> bool:
        """As far as it can be known before the turn of a commit: else its checks would be made
        for nothing, or kept for long."""
        return (
            self._verify
            and repo.state not in PARKING
            and repo.standing.active
            and not self.lanes.busy(item.did)
            and (self._mentions is None or not self._only_mentions(item, repo))
        )

    def take(self, item: Item) -> Rest | None:
        """Take one frame; await the result, where there is one, before the next."""
        assert item.upstream is not None
        watermark = item.upstream.watermark
        if item.kind == "#commit" and not self.wants(item.body, item.raw):
            watermark.seen(item.seq)
            return None
        watermark.hold(item.seq)
        return self.lanes.offer(item.did, item, len(item.raw))

    def poison(self, upstream: Upstream, raw: bytes, error: InvalidFrame) -> Rest | None:
        """Tell of a frame that could not be decoded: seq 0, no DID, holding no number."""
        name = type(error).__name__
        self._counters.reject(name)
        kept = raw[: limits.REJECTED_FRAME_BYTES]
        return self.out.announce(RejectedEvent(upstream.url, 0, "", None, name, error.reason, kept))

    def want(self, patterns: CollectionPatterns, epoch: int) -> None:
        """From the next commit on, these collections are wanted."""
        self._patterns = patterns
        self._everything = patterns.everything
        self._epoch = epoch

    def _concerns_us(self, body: Body) -> bool:
        if self._everything:
            return True
        repo = body.get("repo")
        return (type(repo) is str and repo in self._tracked) or self._patterns.wants(body)

    async def tell(self, identity: Identity) -> None:
        """Deliver what was learned of an identity without a frame."""
        repo = await self._ledger.load(identity.did)
        if not repo.tracked:
            self._identities.save(identity.did)
            return
        done = asyncio.Event()

        async def turn() -> None:
            event = IdentityEvent(SELF, 0, identity.did, "", identity)
            stored = self._identities.stored(identity.did)
            current = stored is not None and stored.identity == identity
            rest = self.out.deliver(event, repo, stored if current else None, holds=[])
            if rest is not None:
                await rest
            done.set()

        rest = self.lanes.offer(identity.did, Job(turn), 0)
        if rest is not None:
            await rest
        await done.wait()

    # One item

    def _work(self, item: Item | Job) -> Rest | None:
        if type(item) is Job:
            return item.run()
        assert type(item) is Item
        repo = self._ledger.repo(item.did)
        if repo is None or item.kind == "#identity":
            return self._work_slowly(item)
        try:
            frame = self._parse(item, repo)
            if type(frame) is AccountFrame:
                return self.account(item, frame, repo)
            if repo.state in PARKING:
                return self._park(item, repo)
            if not self._verify:
                return self._take_at_its_word(item, frame, repo)
            identity = self._identities.cached(item.did)
            if identity is None:
                return self._work_slowly(item)
            assert isinstance(frame, CommitFrame | SyncFrame)
            return self.judge(item, frame, repo, identity)
        except (BadSignature, WrongHost):
            return self._work_slowly(item)
        except Ignored as error:
            return self._ignore(item, error, repo)
        except Desynchronized as error:
            self.lose(repo, error.reason)
            return self._park(item, repo)
        except Rejected as error:
            return self._reject(item, error, repo)

    async def _work_slowly(self, item: Item) -> None:
        repo = await self._ledger.load(item.did)
        rest: Rest | None
        try:
            frame = self._parse(item, repo)
            if isinstance(frame, AccountFrame):
                rest = self.account(item, frame, repo)
            elif isinstance(frame, IdentityFrame):
                rest = await self.identity(item, frame, repo)
            elif repo.state in PARKING:
                rest = self._park(item, repo)
            elif not self._verify:
                rest = self._take_at_its_word(item, frame, repo)
            else:
                rest = await self._judge_with_identity(item, frame, repo)
        except Ignored as error:
            rest = self._ignore(item, error, repo)
        except Desynchronized as error:
            self.lose(repo, error.reason)
            rest = self._park(item, repo)
        except (Rejected, IdentityUnavailable) as error:
            rest = self._reject(item, error, repo)
        if rest is not None:
            await rest

    def _parse(self, item: Item, repo: Repo) -> Frame:
        """The frame, if it needs a look at all. Raises InvalidEvent, InactiveAccount, StaleRev."""
        if item.kind == "#account":
            return parse_account(item.body)
        if item.kind == "#identity":
            return parse_identity(item.body)
        frame: CommitFrame | SyncFrame
        if item.evidence is not None:
            frame = item.evidence.frame
        else:
            frame = parse_commit(item.body) if item.kind == "#commit" else parse_sync(item.body)
        if repo.state == "untracked" and type(frame) is SyncFrame and not self._everything:
            raise UntrackedRepo(item.did)
        if not repo.standing.active:
            raise InactiveAccount(item.did, repo.standing.status)
        check_rev(item.did, frame.rev, repo.head, self._clock())
        return frame

    async def _judge_with_identity(
        self, item: Item, frame: CommitFrame | SyncFrame, repo: Repo
    ) -> Rest | None:
        identity = await self._identities.resolve(item.did)
        refused: BadSignature | WrongHost
        try:
            return self.judge(item, frame, repo, identity)
        except (BadSignature, WrongHost) as error:
            # Nothing is awaited here: compiled, that mixes up the exceptions of tasks.
            refused = error
        self._counters.refreshes += 1
        fresh = await self._identities.refresh(item.did)
        key = (identity.signing_key, identity.pds)
        if isinstance(refused, BadSignature) and fresh.signing_key == key[0]:
            raise refused
        if (fresh.signing_key, fresh.pds) == key:
            raise refused
        return self.judge(item, frame, repo, fresh)

    # Commits

    def judge(
        self, item: Item, frame: CommitFrame | SyncFrame, repo: Repo, identity: Identity
    ) -> Rest | None:
        """Verify what the frame says of the repo, and deliver it. Raises as `verify_commit` and
        `verify_sync` do, and WrongHost."""
        if item.source in self._hosts and identity.pds != item.source:
            raise WrongHost(item.did, f"{item.source} is not its PDS, {identity.pds}")
        if type(frame) is SyncFrame:
            return self._sync(item, frame, repo, identity)
        assert type(frame) is CommitFrame
        if self._only_mentions(item, repo):
            return self._mention(item, frame, repo, identity)
        chained = repo.head is not None
        verified = verify_commit(
            frame, identity, repo.head, self._patterns, self._clock(), item.evidence
        )
        self._counters.commits_verified += 1
        if repo.state != "synchronized" and repo.state != "in-progress":
            self._follow(repo, chained, verified.first)
        mentions = self._mentions_in(item, frame)
        if not verified.ops and not mentions:
            self._ledger.advance(repo, item.holds(), verified.head, row=item.row)
            return None
        event = CommitEvent(
            item.source, item.seq, item.did, frame.rev, frame.time, verified.ops, identity
        )
        event.mentions = mentions
        return self._deliver(item, repo, event, verified.head)

    def _only_mentions(self, item: Item, repo: Repo) -> bool:
        """Whether the commit is here for its mentions alone: nothing is to be kept of its repo."""
        return (
            self._mentions is not None
            and item.kind == "#commit"
            and repo.state == "untracked"
            and not self._concerns_us(item.body)
        )

    def _mention(
        self, item: Item, frame: CommitFrame, repo: Repo, identity: Identity
    ) -> Rest | None:
        assert self._mentions is not None
        verified = verify_commit(frame, identity, None, self._mentions.patterns, self._clock())
        self._counters.commits_verified += 1
        event = CommitEvent(item.source, item.seq, item.did, frame.rev, frame.time, (), identity)
        event.mentions = verified.ops
        return self._deliver(item, repo, event, None)

    def _mentions_in(self, item: Item, frame: CommitFrame) -> tuple[RecordOp, ...]:
        """Of a commit that was verified or is taken at its word; rare, so that it is read again."""
        if self._mentions is None or not self._mentions.wants(item.body, item.raw):
            return ()
        return stated_records(frame, self._mentions.patterns)

    def _follow(self, repo: Repo, chained: bool, first: bool) -> None:
        """A commit of an untracked or incomplete repo was verified."""
        if (first and not chained) or (chained and repo.reason in DOUBTS):
            repo.reason = ""
            repo.epoch = self._epoch if first else repo.epoch
            self._ledger.move(repo, "synchronized")
        elif repo.state == "untracked":
            repo.reason = OLDER
            self._ledger.move(repo, "incomplete")
            self.schedule(repo, False)
        elif repo.attempts:
            # Its host is there, as the commit shows: no need to wait for an hour.
            repo.retry_at = min(repo.retry_at, self._clock() + SIGN_OF_LIFE_SECONDS)
            self.schedule(repo, False)

    def _sync(self, item: Item, frame: SyncFrame, repo: Repo, identity: Identity) -> Rest | None:
        head = verify_sync(frame, identity, repo.head, self._clock())
        self._counters.syncs_verified += 1
        event = SyncEvent(item.source, item.seq, item.did, frame.rev, frame.time)
        last = repo.head
        if last is not None and last.data == head.data:
            if repo.state == "incomplete":
                self._follow(repo, chained=True, first=False)
            return self._deliver(item, repo, event, head)
        if last is None:
            if repo.state == "untracked":
                self._ledger.move(repo, "incomplete")
            self.schedule(repo, False)
        else:
            repo.min_rev = head.rev
            self.lose(repo, f"#sync at {head.rev} states another tree")
        return self._deliver(item, repo, event, None)

    def _take_at_its_word(self, item: Item, frame: Frame, repo: Repo) -> Rest | None:
        """Deliver without verifying; raises Rejected where the records cannot be read."""
        did = item.did
        if not isinstance(frame, CommitFrame):
            assert isinstance(frame, SyncFrame)
            event: Event = SyncEvent(item.source, item.seq, did, frame.rev, frame.time)
            return self._deliver(item, repo, event, None)
        ops = stated_records(frame, self._patterns)
        identity = Identity(did, None, None, None)
        event = CommitEvent(
            item.source, item.seq, did, frame.rev, frame.time, ops, identity, verified=False
        )
        event.mentions = self._mentions_in(item, frame)
        if self._only_mentions(item, repo):
            return self._deliver(item, repo, event, None)
        return self._deliver(item, repo, event, Head(frame.rev, EMPTY_ROOT))

    # Losing synchronization

    def lose(self, repo: Repo, reason: str) -> None:
        """Events of the repo are missing: nothing more of it is taken before it was fetched."""
        self._counters.desynchronized += 1
        log.info("%s: desynchronized: %s", repo.did, reason)
        repo.reason = reason
        self._ledger.move(repo, "desynchronized")
        self.schedule(repo, True)

    def doubt(self, repo: Repo) -> None:
        """A commit of the repo was refused: was it a part of its chain?"""
        if self._verify and repo.state in ("untracked", "synchronized"):
            # Of a repo that was never followed, a later commit dispels nothing.
            repo.reason = REFUSED if repo.state == "synchronized" else OLDER
            self._ledger.move(repo, "incomplete")
            self.schedule(repo, True)

    def _park(self, item: Item, repo: Repo) -> Rest | None:
        if item.upstream is None:
            return None  # it is parked, and stays so
        if repo.parked >= PARKED_COMMITS:
            log.warning("%s: more than %d commits wait: fetched later", repo.did, PARKED_COMMITS)
            rev = item.body.get("rev")
            self._ledger.drop_parked(repo, rev if type(rev) is str else None)
            repo.before = "desynchronized"
        self._ledger.park(repo, item.source, item.upstream.watermark, item.seq, item.raw)
        return self._ledger.wait_until_saved() if self._ledger.crowded else None

    # Accounts and identities

    def account(self, item: Item, frame: AccountFrame, repo: Repo) -> Rest | None:
        event = AccountEvent(
            item.source, item.seq, item.did, frame.time, frame.active, frame.status
        )
        rest = self._deliver(item, repo, event, Standing(frame.active, frame.status))
        if repo.tracked and not frame.active and frame.status == DELETED:
            repo.head = None
            self._ledger.drop_parked(repo, None)
            self._ledger.move(repo, "incomplete")
            self._ledger.rest(repo, "the account was deleted")
        elif repo.tracked and frame.active and repo.state != "synchronized":
            self._ledger.wake(repo, self._clock())
            self.schedule(repo, False)
        return rest

    async def identity(self, item: Item, frame: IdentityFrame, repo: Repo) -> Rest | None:
        """The document is fetched for repos that matter; of others, only the frame's word is
        known, and asking for every account of the network would be too much."""
        identity: Identity | None
        if not repo.tracked and not await self._identities.known(item.did):
            identity = Identity(item.did, None, None, None, claimed=frame.handle)
        else:
            try:
                identity = await self._identities.refresh(item.did)
            except IdentityGone:
                identity = None
        event = IdentityEvent(item.source, item.seq, item.did, frame.time, identity)
        return self._deliver(item, repo, event, None)

    # What comes of it

    def _ignore(self, item: Item, error: Ignored, repo: Repo) -> Rest | None:
        self._counters.ignored += 1
        inactive = isinstance(error, InactiveAccount)
        if self._verify and inactive and not self._only_mentions(item, repo):
            # What it was is to be fetched once the account is active again.
            self._ledger.move(repo, "desynchronized")
            self._ledger.rest(repo, "commits came while the account was not active")
        if item.upstream is None:
            self._ledger.advance(repo, [], None, row=item.row)
        elif isinstance(error, StaleRev):
            self._ledger.repeated(item.did, error.rev, item.upstream.watermark, item.seq)
        else:
            item.upstream.watermark.release(item.seq)
        return None

    def _reject(self, item: Item, error: Rejected | IdentityUnavailable, repo: Repo) -> Rest | None:
        event = self.out.rejected(item, error)
        if (
            item.did
            and item.kind in ("#commit", "#sync")
            and not isinstance(error, InvalidIdentity)
            and not self._only_mentions(item, repo)
        ):
            self.doubt(repo)
        return self._deliver(item, repo, event, None)

    def _deliver(self, item: Item, repo: Repo, event: Event, after: After) -> Rest | None:
        ops = event.ops if type(event) is CommitEvent else ()
        row = item.row
        return self.out.deliver(event, repo, after, holds=item.holds(), ops=ops, row=row)


def _nobody(repo: Repo, lost: bool) -> None:
    """Nobody fetches repos here."""
