"""Verification of commits: a parsed frame, the repo's last head and an identity go in; the ops
with their records, or an error whose class says what to do, come out. No I/O, no clock.

What Sync v1.1 asks of a commit, and where it is checked:

 1  syntax of DID, rev and time; sizes                      frames
 2  the CAR, its root, the hash of every block              here, car
 3  the commit object: version, DID, rev, signature, CIDs   here, commit
 4  the signature                                           here; the pipeline renews the identity
 5  the identity has a key and a PDS; the host is that PDS  here, pipeline
 6  the account is active                                   pipeline
 7  rev is newer than the last one, not from the future     here
 8  `since` and `prevData` continue the repo's chain        here
 9  the ops are what the tree says: undone on the commit's
    tree, they lead to `prevData`; every record is there    here, mst
10  the structure of the tree                               mst
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache

import libipld

from atdex_firehose import limits
from atdex_firehose.car import is_cbor_cid, read_car
from atdex_firehose.commit import Commit, parse_commit_object
from atdex_firehose.crypto import InvalidKey, parse_did_key
from atdex_firehose.errors import (
    BadSignature,
    Desynchronized,
    FutureRev,
    InvalidCommit,
    InvalidEvent,
    InvalidIdentity,
    StaleRev,
)
from atdex_firehose.events import Identity, RecordOp
from atdex_firehose.frames import CommitFrame, Op, SyncFrame
from atdex_firehose.mst import EMPTY_ROOT, invert_ops
from atdex_firehose.patterns import CollectionPatterns
from atdex_firehose.repo import Head
from atdex_lexicons.syntax import is_nsid, is_record_key
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
) -> Verified:
    """Verify a `#commit`. `now` is in seconds since the epoch.

    Where `last` is None there is no chain yet: all else is checked.

    Raises StaleRev (ignore), Desynchronized (fetch the repo), FutureRev, InvalidCar,
    InvalidCommit, InvalidEvent, InvalidIdentity (reject), BadSignature (refresh the identity, try
    once more, then reject).
    """
    check_rev(frame.did, frame.rev, last, now)
    commit, blocks = _signed_commit(frame.did, frame.rev, frame.blocks, frame.commit)
    check_signature(commit, identity)
    before = _chained(frame, last)
    ops = _records(frame, blocks, wanted)
    if invert_ops(frame.did, commit.data, frame.ops, blocks) != before:
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
    commit, _ = _signed_commit(frame.did, frame.rev, frame.blocks, None)
    check_signature(commit, identity)
    return Head(commit.rev, commit.data)


def stated_records(frame: CommitFrame, wanted: CollectionPatterns) -> tuple[RecordOp, ...]:
    """The wanted ops as the frame states them, unverified but for the hashes of its blocks.

    Raises InvalidCar, InvalidCommit, InvalidEvent.
    """
    return _records(frame, read_car(frame.blocks, frame.did).blocks, wanted)


def check_rev(did: str, rev: str, last: Head | None, now: float) -> None:
    """Newer than the last one, and not from the future. Raises StaleRev, FutureRev."""
    if last is not None and rev <= last.rev:
        raise StaleRev(did, rev, last.rev)
    if rev > _latest_rev(int(now)):
        raise FutureRev(did, f"rev {rev} lies more than {limits.FUTURE_SECONDS} s in the future")


def check_signature(commit: Commit, identity: Identity) -> None:
    """The identity can be used, and its key signed the commit. Raises InvalidIdentity,
    BadSignature."""
    if identity.signing_key is None:
        raise InvalidIdentity(commit.did, "the DID document has no usable #atproto key")
    if identity.pds is None:
        raise InvalidIdentity(commit.did, "the DID document has no usable #atproto_pds service")
    try:
        key = parse_did_key(identity.signing_key)
    except InvalidKey as error:
        raise InvalidIdentity(commit.did, f"signing key: {error}") from None
    if not key.verify(commit.sig, commit.signed):
        raise BadSignature(commit.did, f"not signed by {identity.signing_key}")


def _signed_commit(
    did: str, rev: str, raw: bytes, cid: bytes | None
) -> tuple[Commit, Mapping[bytes, bytes]]:
    """The commit block that the CAR's first root names, and all blocks."""
    car = read_car(raw, did)
    root = car.roots[0]
    if cid is not None and root != cid:
        raise InvalidCommit(did, "the CAR's root is not the commit that the frame names")
    block = car.blocks.get(root)
    if block is None:
        raise InvalidCommit(did, "the commit block is missing")
    return parse_commit_object(block, did, rev), car.blocks


def _records(
    frame: CommitFrame, blocks: Mapping[bytes, bytes], wanted: CollectionPatterns
) -> tuple[RecordOp, ...]:
    did, ops = frame.did, []
    for op in frame.ops:
        path = op.path
        collection, _, rkey = path.partition("/")
        if not is_collection(collection) or not is_record_key(rkey):
            raise InvalidEvent(did, f"the path {path[:200]!r} is not collection/rkey")
        if collection in wanted:
            ops.append(_record(did, op, collection, rkey, blocks))
        elif op.cid is not None and op.cid not in blocks:
            raise InvalidCommit(did, f"the block of {path} is missing")
    if len(frame.ops) > 1 and len({op.path for op in frame.ops}) != len(frame.ops):
        raise InvalidCommit(did, "a path occurs twice in one commit")
    return tuple(ops)


def _record(
    did: str, op: Op, collection: str, rkey: str, blocks: Mapping[bytes, bytes]
) -> RecordOp:
    if op.cid is None:
        return RecordOp(op.action, collection, rkey, None, None)
    if not is_cbor_cid(op.cid):
        raise InvalidCommit(did, f"the cid of {op.path} is not of a DAG-CBOR block")
    raw = blocks.get(op.cid)
    if raw is None:
        raise InvalidCommit(did, f"the block of {op.path} is missing")
    if len(raw) > limits.RECORD_BYTES:
        raise InvalidCommit(did, f"{op.path} has {len(raw)} bytes, more than {limits.RECORD_BYTES}")
    return RecordOp(op.action, collection, rkey, libipld.encode_cid(op.cid), raw)


is_collection = lru_cache(4_096)(is_nsid)
"""Whether a text is an NSID: a few hundred of them make up nearly all paths."""


@lru_cache(2)
def _latest_rev(second: int) -> str:
    return tid_from_micros((second + limits.FUTURE_SECONDS) * 1_000_000, 1023)
