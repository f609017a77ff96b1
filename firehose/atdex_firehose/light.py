"""From a Jetstream's messages to events: without signatures, so marked unverified, every one.

Guarantees: in order per repo, at least once, an operation that came before passed over (by rev,
and by path within one rev, since a Jetstream sends each operation of a commit by itself). No repo
is tracked, so nothing is fetched, and what the Jetstream leaves out stays missing.
"""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import replace
from functools import partial

from atdex_firehose import limits
from atdex_firehose.errors import IdentityUnavailable, InvalidFrame, Rejected
from atdex_firehose.events import CommitEvent, Identity, RejectedEvent
from atdex_firehose.frames import AccountFrame, IdentityFrame, Kind
from atdex_firehose.identity import Identities
from atdex_firehose.items import Item as FrameItem
from atdex_firehose.items import Job
from atdex_firehose.jetstream import Item, LightCommit
from atdex_firehose.jetstream_upstream import JetstreamUpstream
from atdex_firehose.lanes import Rest
from atdex_firehose.ledger import Ledger
from atdex_firehose.mst import EMPTY_ROOT
from atdex_firehose.patterns import CollectionPatterns
from atdex_firehose.pipeline import Pipeline
from atdex_firehose.repo import Head, Repo
from atdex_firehose.stats import Counters

REVS = 65_536
"""Repos of which the paths at the last rev are remembered; about 20 MB."""
UNVERIFIED = ""
"""Noted in place of the CID of what was delivered. No record has it, so a relay that is followed
later, with this state, has all of it delivered again, verified, or as deleted."""


class Light:
    """Takes the messages of one Jetstream into the pipeline's lanes."""

    def __init__(
        self,
        pipeline: Pipeline,
        patterns: CollectionPatterns,
        identities: Identities,
        ledger: Ledger,
        counters: Counters,
    ) -> None:
        self._pipeline = pipeline
        self._patterns = patterns
        self._identities = identities
        self._ledger = ledger
        self._counters = counters
        self._paths: OrderedDict[str, tuple[str, set[str]]] = OrderedDict()

    def want(self, patterns: CollectionPatterns) -> None:
        """From the next message on, these collections are wanted."""
        self._patterns = patterns

    def take(self, upstream: JetstreamUpstream, item: Item) -> Rest | None:
        """Take one message; await the result, where there is one, before the next."""
        if isinstance(item, LightCommit) and item.op.collection not in self._patterns:
            upstream.watermark.seen(item.seq)
            return None
        upstream.watermark.hold(item.seq)
        size = len(item.op.raw or b"") if isinstance(item, LightCommit) else 0
        return self._pipeline.lanes.offer(item.did, Job(partial(self._turn, upstream, item)), size)

    def reject(
        self, upstream: JetstreamUpstream, raw: bytes, error: Rejected | InvalidFrame
    ) -> Rest | None:
        """Tell of a message that is not what it should be. It holds no number."""
        name = type(error).__name__
        self._counters.reject(name)
        did = error.did if isinstance(error, Rejected) else ""
        kept = raw[: limits.REJECTED_FRAME_BYTES]
        event = RejectedEvent(upstream.url, 0, did, None, name, error.reason, kept)
        return self._pipeline.out.announce(event)

    async def _turn(self, upstream: JetstreamUpstream, item: Item) -> None:
        repo = await self._ledger.load(item.did)
        rest: Rest | None
        if isinstance(item, LightCommit):
            rest = await self._commit(upstream, item, repo)
        else:
            kind: Kind = "#account" if isinstance(item, AccountFrame) else "#identity"
            frame = FrameItem(upstream.url, upstream, kind, item.seq, item.did, {}, b"")
            if isinstance(item, IdentityFrame):
                rest = await self._pipeline.identity(frame, item, repo)
            else:
                rest = self._pipeline.account(frame, item, repo)
        if rest is not None:
            await rest

    async def _commit(
        self, upstream: JetstreamUpstream, commit: LightCommit, repo: Repo
    ) -> Rest | None:
        if not repo.standing.active or self._came_before(commit, repo):
            self._counters.ignored += 1
            upstream.watermark.release(commit.seq)
            return None
        try:
            identity = await self._identities.resolve(commit.did)
        except (Rejected, IdentityUnavailable):
            identity = Identity(commit.did, None, None, None)
        event = CommitEvent(
            upstream.url, commit.seq, commit.did, commit.rev, commit.time, commit.ops, identity,
            verified=False,
        )  # fmt: skip
        return self._pipeline.out.deliver(
            event,
            repo,
            Head(commit.rev, EMPTY_ROOT),
            holds=[(upstream.watermark, commit.seq)],
            ops=tuple(op if op.cid is None else replace(op, cid=UNVERIFIED) for op in commit.ops),
        )

    def _came_before(self, commit: LightCommit, repo: Repo) -> bool:
        if repo.head is not None and commit.rev < repo.head.rev:
            return True
        path = f"{commit.op.collection}/{commit.op.rkey}"
        rev, paths = self._paths.pop(commit.did, ("", set()))
        if rev != commit.rev:
            paths = set()
        came = path in paths
        paths.add(path)
        self._paths[commit.did] = commit.rev, paths
        if len(self._paths) > REVS:
            self._paths.popitem(last=False)
        return came
