"""What one commit shows by itself: checks that need its frame, a key, and no other frame. No I/O.

Each is made once, whenever it is first asked for, and what came of it is kept. So they can be made
ahead of a commit's turn (`prepare`), for many commits in stages: the same work on sixteen commits
in a row is a tenth faster than all the work on one after the other, as code and tables stay in the
processor's caches. Nothing is decided there: `verify` asks for each in its order, at the commit's
turn, and a check that failed ahead is made again then, to fail there.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache

import libipld

from atdex_firehose import limits
from atdex_firehose.car import is_cbor_cid, read_car
from atdex_firehose.commit import Commit, parse_commit_object
from atdex_firehose.crypto import InvalidKey, parse_did_key
from atdex_firehose.errors import (
    BadSignature,
    InvalidCommit,
    InvalidEvent,
    InvalidIdentity,
    Rejected,
)
from atdex_firehose.events import Identity, RecordOp
from atdex_firehose.frames import CommitFrame, Op
from atdex_firehose.mst import invert_ops
from atdex_firehose.patterns import CollectionPatterns
from atdex_lexicons.syntax import is_nsid, is_record_key


class Evidence:
    """The checks of one `#commit`. `identity` and `wanted` are what they are most likely to be
    asked for with; with others, they are made anew."""

    __slots__ = ("_before", "_blocks", "_commit", "_ops", "_signer", "_wanted", "frame")

    def __init__(self, frame: CommitFrame) -> None:
        self.frame = frame
        self._commit: Commit | None = None
        self._blocks: Mapping[bytes, bytes] = {}
        self._signer: Identity | None = None
        self._wanted: CollectionPatterns | None = None
        self._ops: tuple[RecordOp, ...] = ()
        self._before = b""

    def commit(self) -> Commit:
        """The commit object; every block has its hash. Raises InvalidCar, InvalidCommit."""
        commit = self._commit
        if commit is None:
            frame = self.frame
            commit, self._blocks = signed_commit(frame.did, frame.rev, frame.blocks, frame.commit)
            self._commit = commit
        return commit

    def check_signature(self, identity: Identity) -> None:
        """See `check_signature`; raises what `commit` does as well."""
        if self._signer is not identity:
            check_signature(self.commit(), identity)
            self._signer = identity

    def records(self, wanted: CollectionPatterns) -> tuple[RecordOp, ...]:
        """The wanted ops; every op has its block. Raises InvalidEvent, and as `commit` does."""
        if self._wanted is not wanted:
            self.commit()
            self._ops = records_of(self.frame, self._blocks, wanted)
            self._wanted = wanted
        return self._ops

    def before(self) -> bytes:
        """The root of the tree before the ops. Raises InvalidCommit, InvalidCar."""
        if not self._before:
            data = self.commit().data
            self._before = invert_ops(self.frame.did, data, self.frame.ops, self._blocks)
        return self._before


def prepare(batch: Sequence[tuple[Evidence, Identity]], wanted: CollectionPatterns) -> None:
    """Make all checks of some commits, in stages; those that fail are left for later."""
    stages: tuple[Callable[[Evidence, Identity], object], ...] = (
        lambda evidence, _: evidence.commit(),
        lambda evidence, identity: evidence.check_signature(identity),
        lambda evidence, _: evidence.records(wanted),
        lambda evidence, _: evidence.before(),
    )
    for stage in stages:
        batch = [each for each in batch if _passes(stage, each)]


def _passes(stage: Callable[[Evidence, Identity], object], one: tuple[Evidence, Identity]) -> bool:
    try:
        stage(*one)
    except Rejected:
        return False
    return True


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


def signed_commit(
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


def records_of(
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
