"""From frames to events: filter, line up by repo, verify with an identity, deliver.

    take(frame) ─ nobody wants it ─> watermark
         └─> lane of the DID ─> parse ─> verify ─> deliver ─> outbox
                                   │        └ BadSignature: refresh the identity once, verify again
                                   ├ Ignored: watermark
                                   └ Rejected: a RejectedEvent takes its place

A frame whose repo and identity are in memory is done at once, without a task. Everything else
waits in its repo's lane, and goes through the same steps.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass

from atdex_firehose import limits
from atdex_firehose.errors import (
    BadSignature,
    IdentityGone,
    IdentityUnavailable,
    Ignored,
    InactiveAccount,
    InvalidEvent,
    InvalidFrame,
    Rejected,
    StaleRev,
    UntrackedRepo,
)
from atdex_firehose.events import (
    AccountEvent,
    CommitEvent,
    Event,
    Identity,
    IdentityEvent,
    RejectedEvent,
    SyncEvent,
)
from atdex_firehose.frames import (
    AccountFrame,
    Body,
    CommitFrame,
    IdentityFrame,
    Kind,
    SyncFrame,
    did_of,
    parse_account,
    parse_commit,
    parse_identity,
    parse_sync,
)
from atdex_firehose.identity import Identities
from atdex_firehose.lanes import Lanes, Rest
from atdex_firehose.ledger import Ledger, Repo
from atdex_firehose.outbox import Outbox
from atdex_firehose.patterns import CollectionPatterns
from atdex_firehose.repo import Head, Standing
from atdex_firehose.stats import Counters
from atdex_firehose.upstream import Upstream
from atdex_firehose.verify import check_rev, verify_commit, verify_sync
from atdex_lexicons.syntax import is_tid

log = logging.getLogger(__name__)

Frame = CommitFrame | SyncFrame | IdentityFrame | AccountFrame
Verdict = tuple[Event, Head | Standing | None]
"""An event to deliver, and what the repo is after it."""


@dataclass(slots=True)
class Item:
    """A frame on its way."""

    upstream: Upstream
    kind: Kind
    seq: int
    did: str
    body: Body
    raw: bytes


class Pipeline:
    """The steps between upstreams and the outbox, for all upstreams of one consumer."""

    def __init__(
        self,
        patterns: CollectionPatterns,
        identities: Identities,
        ledger: Ledger,
        outbox: Outbox,
        counters: Counters,
        clock: Callable[[], float],
    ) -> None:
        self._patterns = patterns
        self._identities = identities
        self._ledger = ledger
        self._outbox = outbox
        self._counters = counters
        self._clock = clock
        self.lanes: Lanes[Item] = Lanes(self._work, outbox.fail)

    def take(self, upstream: Upstream, kind: Kind, seq: int, body: Body, raw: bytes) -> Rest | None:
        """Take one frame; await the result, where there is one, before the next."""
        if kind == "#commit" and not self._patterns.wants(body):
            upstream.watermark.seen(seq)
            return None
        upstream.watermark.hold(seq)
        try:
            did = did_of(kind, body)
        except InvalidEvent:
            did = ""  # rejected where the frame is parsed
        return self.lanes.offer(did, Item(upstream, kind, seq, did, body, raw), len(raw))

    def poison(self, upstream: Upstream, raw: bytes, error: InvalidFrame) -> Rest | None:
        """Tell of a frame that could not be decoded: seq 0, no DID, holding no number."""
        self._counters.reject(type(error).__name__)
        kept = raw[: limits.REJECTED_FRAME_BYTES]
        event = RejectedEvent(upstream.url, 0, "", None, type(error).__name__, error.reason, kept)
        return None if self._outbox.offer(event) else self._outbox.put(event)

    def _work(self, item: Item) -> Rest | None:
        repo = self._ledger.repo(item.did)
        identity = self._identities.cached(item.did)
        if repo is None or identity is None:
            return self._work_slowly(item)
        try:
            frame = self._parse(item, repo)
            if isinstance(frame, AccountFrame):
                verdict = _account(item, frame)
            elif isinstance(frame, IdentityFrame):
                return self._work_slowly(item)
            else:
                verdict = self._judge(item, frame, repo, identity)
        except BadSignature:
            return self._work_slowly(item)
        except Ignored as error:
            self._ignore(item, error)
            return None
        except Rejected as error:
            verdict = self._reject(item, error)
        return self._deliver(item, repo, verdict)

    async def _work_slowly(self, item: Item) -> None:
        repo = await self._ledger.load(item.did)
        try:
            frame = self._parse(item, repo)
            if isinstance(frame, AccountFrame):
                verdict = _account(item, frame)
            elif isinstance(frame, IdentityFrame):
                verdict = await self._identity(item, frame, repo)
            else:
                verdict = await self._judge_with_identity(item, frame, repo)
        except Ignored as error:
            self._ignore(item, error)
            return
        except (Rejected, IdentityUnavailable) as error:
            verdict = self._reject(item, error)
        rest = self._deliver(item, repo, verdict)
        if rest is not None:
            await rest

    def _parse(self, item: Item, repo: Repo) -> Frame:
        """The frame, if it needs a look at all. Raises InvalidEvent, InactiveAccount, StaleRev."""
        if item.kind == "#account":
            return parse_account(item.body)
        if item.kind == "#identity":
            return parse_identity(item.body)
        frame = parse_commit(item.body) if item.kind == "#commit" else parse_sync(item.body)
        if not repo.standing.active:
            raise InactiveAccount(item.did, repo.standing.status)
        if isinstance(frame, SyncFrame) and repo.head is None:
            raise UntrackedRepo(item.did)
        check_rev(item.did, frame.rev, repo.head, self._clock())
        return frame

    async def _judge_with_identity(
        self, item: Item, frame: CommitFrame | SyncFrame, repo: Repo
    ) -> Verdict:
        identity = await self._identities.resolve(item.did)
        try:
            return self._judge(item, frame, repo, identity)
        except BadSignature:
            self._counters.refreshes += 1
            fresh = await self._identities.refresh(item.did)
            if fresh.signing_key == identity.signing_key:
                raise
            return self._judge(item, frame, repo, fresh)

    def _judge(
        self, item: Item, frame: CommitFrame | SyncFrame, repo: Repo, identity: Identity
    ) -> Verdict:
        source = item.upstream.url
        if isinstance(frame, SyncFrame):
            head = verify_sync(frame, identity, repo.head, self._clock())
            self._counters.syncs_verified += 1
            return SyncEvent(source, item.seq, item.did, frame.rev, frame.time), head
        verified = verify_commit(frame, identity, repo.head, self._patterns, self._clock())
        self._counters.commits_verified += 1
        return (
            CommitEvent(source, item.seq, item.did, frame.rev, frame.time, verified.ops, identity),
            verified.head,
        )

    async def _identity(self, item: Item, frame: IdentityFrame, repo: Repo) -> Verdict:
        """The document is fetched for repos that matter; of others, only the frame's word is
        known, and asking for every account of the network would be too much."""
        identity: Identity | None
        if repo.head is None and not await self._identities.known(item.did):
            identity = Identity(item.did, frame.handle, None, None)
        else:
            try:
                identity = await self._identities.refresh(item.did)
            except IdentityGone:
                identity = None
        return IdentityEvent(item.upstream.url, item.seq, item.did, frame.time, identity), None

    def _ignore(self, item: Item, error: Ignored) -> None:
        self._counters.ignored += 1
        if isinstance(error, StaleRev):
            self._ledger.repeated(item.did, error.rev, item.upstream.watermark, item.seq)
        else:
            item.upstream.watermark.release(item.seq)

    def _reject(self, item: Item, error: Rejected | IdentityUnavailable) -> Verdict:
        name = type(error).__name__
        self._counters.reject(name)
        log.warning("%s: rejected seq %d: %s: %s", item.upstream.url, item.seq, name, error)
        rev = item.body.get("rev")
        return (
            RejectedEvent(
                source=item.upstream.url,
                seq=item.seq,
                did=item.did,
                rev=rev if type(rev) is str and is_tid(rev) else None,
                error=name,
                reason=error.reason,
                frame=item.raw[: limits.REJECTED_FRAME_BYTES],
            ),
            None,
        )

    def _deliver(self, item: Item, repo: Repo, verdict: Verdict) -> Rest | None:
        if self._ledger.full:
            return self._deliver_when_acked(item, repo, verdict)
        event, after = verdict
        self._ledger.deliver(event, repo, item.upstream.watermark, after)
        self._counters.events += 1
        return None if self._outbox.offer(event) else self._outbox.put(event)

    async def _deliver_when_acked(self, item: Item, repo: Repo, verdict: Verdict) -> None:
        log.warning("%d events are not acknowledged: waiting", self._ledger.unacked)
        while self._ledger.full:
            await self._ledger.wait_for_room()
        rest = self._deliver(item, repo, verdict)
        if rest is not None:
            await rest


def _account(item: Item, frame: AccountFrame) -> Verdict:
    event = AccountEvent(
        item.upstream.url, item.seq, item.did, frame.time, frame.active, frame.status
    )
    return event, Standing(frame.active, frame.status)
