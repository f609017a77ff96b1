"""Verification of commits: a parsed frame, the repo's last head and an identity go in; the ops
with their records, or an error whose class says what to do, come out. No I/O, no clock.

What Sync v1.1 asks of a commit, and where it is checked:

 1  syntax of DID, rev and time; sizes                      frames
 2  the CAR, its root, the hash of every block              evidence, car
 3  the commit object: version, DID, rev, signature, CIDs   evidence, commit
 4  the signature                                           evidence; renewed keys: pipeline
 5  the identity has a key and a PDS; the host is that PDS  evidence, pipeline
 6  the account is active                                   pipeline
 7  rev is newer than the last one, not from the future     here
 8  `since` and `prevData` continue the repo's chain        here
 9  the ops are what the tree says: undone on the commit's
    tree, they lead to `prevData`; every record is there    here, evidence, mst
10  the structure of the tree                               mst
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

from atdex_firehose import limits
from atdex_firehose.car import read_car
from atdex_firehose.errors import Desynchronized, FutureRev, InvalidCommit, StaleRev
from atdex_firehose.events import Identity, RecordOp
from atdex_firehose.evidence import Evidence, check_signature, records_of, signed_commit
from atdex_firehose.frames import CommitFrame, SyncFrame
from atdex_firehose.mst import EMPTY_ROOT
from atdex_firehose.patterns import CollectionPatterns
from atdex_firehose.repo import Head
from atdex_lexicons.tid import tid_from_micros


@dataclass(slots=True)
class Verified:
    """What a commit proved: the wanted ops in the commit's order, and the repo's new head.

    `first`: the repo was empty before, so there is nothing older to fetch.
    """

    ops: tuple[RecordOp, ...]
    head: Head
    first: bool


def verify_commit(
    frame: CommitFrame,
    identity: Identity,
    last: Head | None,
    wanted: CollectionPatterns,
    now: float,
    evidence: Evidence | None = None,
) -> Verified:
    """Verify a `#commit`. `now` is in seconds since the epoch. `evidence` of this frame may hold
    checks that were made before.

    Where `last` is None there is no chain yet: all else is checked.

    Raises StaleRev (ignore), Desynchronized (fetch the repo), FutureRev, InvalidCar,
    InvalidCommit, InvalidEvent, InvalidIdentity (reject), BadSignature (refresh the identity, try
    once more, then reject).
    """
    check_rev(frame.did, frame.rev, last, now)
    evidence = evidence or Evidence(frame)
    commit = evidence.commit()
    evidence.check_signature(identity)
    before = _chained(frame, last)
    ops = evidence.records(wanted)
    if evidence.before() != before:
        raise InvalidCommit(frame.did, "undoing the ops does not lead back to prevData")
    return Verified(ops, Head(commit.rev, commit.data), before == EMPTY_ROOT)


def _chained(frame: CommitFrame, last: Head | None) -> bytes:
    """The root of the tree before the commit, which continues `last`. Raises Desynchronized."""
    before = frame.prev_data
    if before is None:
        if frame.since is not None:
            raise Desynchronized(frame.did, "a commit without prevData says nothing of its chain")
        before = EMPTY_ROOT
    if last is not None and (frame.since != last.rev or before != last.data):
        if frame.since != last.rev:
            since = frame.since or "nothing"
            raise Desynchronized(frame.did, f"{frame.rev} comes after {since}, not {last.rev}")
        raise Desynchronized(frame.did, f"prevData of {frame.rev} is not the tree of {last.rev}")
    return before


def verify_sync(frame: SyncFrame, identity: Identity, last: Head | None, now: float) -> Head:
    """Verify a `#sync` like the commit object that it carries, and give the head that it states.

    A `#sync` at the rev of the last commit repeats it (a new account sends both): StaleRev.
    Raises as `verify_commit` does.
    """
    check_rev(frame.did, frame.rev, last, now)
    commit, _ = signed_commit(frame.did, frame.rev, frame.blocks, None)
    check_signature(commit, identity)
    return Head(commit.rev, commit.data)


def stated_records(frame: CommitFrame, wanted: CollectionPatterns) -> tuple[RecordOp, ...]:
    """The wanted ops as the frame states them, unverified but for the hashes of its blocks.

    Raises InvalidCar, InvalidCommit, InvalidEvent.
    """
    return records_of(frame, read_car(frame.blocks, frame.did).blocks, wanted)


def check_rev(did: str, rev: str, last: Head | None, now: float) -> None:
    """Newer than the last one, and not from the future. Raises StaleRev, FutureRev."""
    if last is not None and rev <= last.rev:
        raise StaleRev(did, rev, last.rev)
    if rev > _latest_rev(int(now)):
        raise FutureRev(did, f"rev {rev} lies more than {limits.FUTURE_SECONDS} s in the future")


@lru_cache(2)
def _latest_rev(second: int) -> str:
    return tid_from_micros((second + limits.FUTURE_SECONDS) * 1_000_000, 1023)
