from __future__ import annotations

import dataclasses
import re
import time
from typing import Any

import pytest

from atdex_firehose.crypto import parse_multikey
from atdex_firehose.errors import (
    BadSignature,
    FirehoseError,
    FutureRev,
    InvalidCar,
    InvalidCommit,
    InvalidEvent,
    InvalidIdentity,
    Rejected,
    StaleRev,
)
from atdex_firehose.events import Identity
from atdex_firehose.evidence import Evidence, prepare
from atdex_firehose.frames import CommitFrame, SyncFrame, parse_commit, parse_sync, split
from atdex_firehose.patterns import CollectionPatterns
from atdex_firehose.repo import Head
from atdex_firehose.verify import Verified, verify_commit, verify_sync
from tests.support.mst import cid_of, encode, link
from tests.support.repo import (
    K256_ORDER,
    P256_ORDER,
    Body,
    K256Key,
    Key,
    P256Key,
    Repo,
    car,
    high_s,
    plc_did,
    tid,
)

DID = plc_did("alice")
WANTED = CollectionPatterns(["app.test.*"])
NOTE = {"$type": "app.test.note", "text": "hello"}


def identity(key: Key, **changes: Any) -> Identity:
    known = Identity(DID, "alice.test", "https://pds.test", parse_multikey(key.multikey).did_key)
    return dataclasses.replace(known, **changes)


def frame_of(body: Body, **changes: Any) -> CommitFrame:
    return parse_commit(split(body.encode(1, **changes))[1])


def verify(frame: CommitFrame, key: Key, last: Head | None = None) -> Verified:
    """Verified at its turn, and with the checks made ahead: one comes to what the other does."""
    known, now = identity(key), time.time()
    evidence = Evidence(frame)
    prepare([(evidence, known)], WANTED)
    try:
        verified = verify_commit(frame, known, last, WANTED, now)
    except FirehoseError as error:
        with pytest.raises(type(error), match=f"^{re.escape(str(error))}$"):
            verify_commit(frame, known, last, WANTED, now, evidence)
        raise
    assert verify_commit(frame, known, last, WANTED, now, evidence) == verified
    return verified


@pytest.mark.parametrize("key", [K256Key(), P256Key()])
def test_a_signed_commit_gives_its_wanted_ops_with_the_raw_records(key: Key) -> None:
    repo = Repo(DID, key)
    repo.commit({"app.test.note/old": NOTE, "app.test.note/gone": NOTE})
    body = repo.commit(
        {
            "app.test.note/new": NOTE | {"n": 1},
            "app.other.thing/1": {"n": 2},
            "app.test.note/old": NOTE | {"n": 3},
            "app.test.note/gone": None,
        }
    )
    verified = verify(frame_of(body), key)
    assert [(op.action, op.collection, op.rkey) for op in verified.ops] == [
        ("create", "app.test.note", "new"),
        ("update", "app.test.note", "old"),
        ("delete", "app.test.note", "gone"),
    ]
    assert [op.raw for op in verified.ops] == [
        encode(NOTE | {"n": 1}),
        encode(NOTE | {"n": 3}),
        None,
    ]
    assert verified.ops[2].cid is None
    assert str(verified.ops[0].cid).startswith("bafyrei")
    assert repo.rev is not None
    assert repo.data is not None
    assert verified.head == Head(repo.rev, repo.data)


def test_a_forged_signature_is_a_bad_signature() -> None:
    mallory = Repo(DID, K256Key())
    with pytest.raises(BadSignature):
        verify(frame_of(mallory.commit({"app.test.note/1": NOTE})), K256Key())


def test_a_signature_that_was_checked_ahead_counts_for_that_identity_only() -> None:
    key, other = K256Key(), K256Key()
    frame = frame_of(Repo(DID, key).commit({"app.test.note/1": NOTE}))
    evidence = Evidence(frame)
    prepare([(evidence, identity(key))], WANTED)
    with pytest.raises(BadSignature):
        verify_commit(frame, identity(other), None, WANTED, time.time(), evidence)
    assert verify_commit(frame, identity(key), None, WANTED, time.time(), evidence).ops


def test_records_that_were_read_ahead_count_for_the_same_collections_only() -> None:
    key, others = K256Key(), CollectionPatterns(["app.other.*"])
    frame = frame_of(Repo(DID, key).commit({"app.test.note/1": NOTE, "app.other.thing/2": NOTE}))
    evidence = Evidence(frame)
    prepare([(evidence, identity(key))], WANTED)
    verified = verify_commit(frame, identity(key), None, others, time.time(), evidence)
    assert [op.collection for op in verified.ops] == ["app.other.thing"]


@pytest.mark.parametrize(("key", "order"), [(K256Key(), K256_ORDER), (P256Key(), P256_ORDER)])
def test_a_high_s_signature_is_a_bad_signature(key: Key, order: int) -> None:
    class HighS:
        multikey = key.multikey

        def sign(self, message: bytes) -> bytes:
            return high_s(key.sign(message), order)

    repo = Repo(DID, HighS())
    with pytest.raises(BadSignature):
        verify(frame_of(repo.commit({"app.test.note/1": NOTE})), key)


def test_a_commit_of_another_did_is_refused() -> None:
    key = K256Key()
    body = Repo(plc_did("mallory"), key).commit({"app.test.note/1": NOTE})
    with pytest.raises(InvalidCommit, match="belongs to"):
        verify(frame_of(body, repo=DID), key)


def test_a_rev_that_is_not_the_commits_is_refused() -> None:
    key = K256Key()
    repo = Repo(DID, key)
    with pytest.raises(InvalidCommit, match="rev"):
        verify(frame_of(repo.commit({"app.test.note/1": NOTE}), rev=repo.next_rev()), key)


def test_an_old_or_equal_rev_is_stale() -> None:
    key = K256Key()
    repo = Repo(DID, key)
    first = frame_of(repo.commit({"app.test.note/1": NOTE}))
    second = frame_of(repo.commit({"app.test.note/2": NOTE}))
    head = verify(second, key).head
    for frame in (first, second):
        with pytest.raises(StaleRev):
            verify(frame, key, head)


def test_a_rev_from_the_future_is_refused() -> None:
    key = K256Key()
    micros = int(time.time() * 1e6)
    near = Repo(DID, key).commit({"app.test.note/1": NOTE}, rev=tid(micros + 200_000_000))
    far = Repo(DID, key).commit({"app.test.note/1": NOTE}, rev=tid(micros + 400_000_000))
    assert verify(frame_of(near), key).ops
    with pytest.raises(FutureRev):
        verify(frame_of(far), key)


def test_a_root_that_is_not_the_named_commit_is_refused() -> None:
    key = K256Key()
    body = Repo(DID, key).commit({"app.test.note/1": NOTE})
    with pytest.raises(InvalidCommit, match="root"):
        verify(frame_of(body, commit=link(cid_of(b"another"))), key)


def test_a_missing_commit_block_is_refused() -> None:
    key = K256Key()
    repo = Repo(DID, key)
    body = repo.commit({"app.test.note/1": NOTE})
    with pytest.raises(InvalidCommit, match="missing"):
        verify(frame_of(body, blocks=car([repo.commit_cid], [])), key)


def test_a_missing_record_is_refused() -> None:
    key = K256Key()
    repo = Repo(DID, key)
    body = repo.commit({"app.test.note/1": NOTE})
    only_commit = car([repo.commit_cid], [(repo.commit_cid, repo.commit_block)])
    with pytest.raises(InvalidCommit, match=r"app\.test\.note/1"):
        verify(frame_of(body, blocks=only_commit), key)


def test_no_record_may_be_missing_not_even_one_that_nobody_wants() -> None:
    key = K256Key()
    repo = Repo(DID, key)
    body = repo.commit({"app.other.thing/1": NOTE})
    only_commit = car([repo.commit_cid], [(repo.commit_cid, repo.commit_block)])
    with pytest.raises(InvalidCommit, match=r"app\.other\.thing/1 is missing"):
        verify(frame_of(body, blocks=only_commit), key)


def test_a_record_with_a_wrong_hash_is_refused() -> None:
    key = K256Key()
    repo = Repo(DID, key)
    body = repo.commit({"app.test.note/1": NOTE})
    raw = bytes(body.fields["blocks"]).replace(b"hello", b"hullo")
    with pytest.raises(InvalidCar, match="hash"):
        verify(frame_of(body, blocks=raw), key)


def test_a_record_over_the_limit_is_refused() -> None:
    key = K256Key()
    body = Repo(DID, key).commit({"app.test.note/1": {"x": b"0" * 1_000_001}})
    with pytest.raises(InvalidCommit, match="bytes"):
        verify(frame_of(body), key)


def test_a_record_that_is_a_raw_block_is_refused() -> None:
    key = K256Key()
    body = Repo(DID, key).commit({"app.test.note/1": NOTE})
    op = body.fields["ops"][0] | {"cid": link(b"\x01\x55" + cid_of(encode(NOTE))[2:])}
    with pytest.raises(InvalidCommit, match="DAG-CBOR"):
        verify(frame_of(body, ops=[op]), key)


def test_a_path_that_occurs_twice_is_refused() -> None:
    key = K256Key()
    body = Repo(DID, key).commit({"app.test.note/1": NOTE})
    with pytest.raises(InvalidCommit, match="twice"):
        verify(frame_of(body, ops=body.fields["ops"] * 2), key)


@pytest.mark.parametrize(
    "path",
    ["app.test.note", "app.test.note/", "app.test.note/a/b", "app.test.note/..", "x/y", "/1"],
)
def test_a_path_that_is_not_collection_and_key_is_refused(path: str) -> None:
    key = K256Key()
    body = Repo(DID, key).commit({"app.test.note/1": NOTE})
    op = body.fields["ops"][0] | {"path": path}
    with pytest.raises(InvalidEvent):
        verify(frame_of(body, ops=[op]), key)


@pytest.mark.parametrize("change", [{"signing_key": None}, {"pds": None}, {"signing_key": "did:x"}])
def test_an_identity_without_key_or_pds_cannot_be_used(change: dict[str, Any]) -> None:
    key = K256Key()
    frame = frame_of(Repo(DID, key).commit({"app.test.note/1": NOTE}))
    with pytest.raises(InvalidIdentity):
        verify_commit(frame, identity(key, **change), None, WANTED, time.time())


def sync_of(body: Body, **changes: Any) -> SyncFrame:
    return parse_sync(split(body.encode(1, **changes))[1])


def test_a_sync_is_verified_like_a_commit() -> None:
    key = K256Key()
    repo = Repo(DID, key)
    repo.commit({"app.test.note/1": NOTE})
    before = Head(str(repo.rev), repo.data or b"")
    frame = sync_of(repo.sync())
    head = verify_sync(frame, identity(key), before, time.time())
    assert head == Head(frame.rev, repo.data or b"")
    with pytest.raises(StaleRev):
        verify_sync(frame, identity(key), head, time.time())
    with pytest.raises(BadSignature):
        verify_sync(frame, identity(K256Key()), before, time.time())
    with pytest.raises(InvalidCommit):
        verify_sync(sync_of(repo.sync(), rev=repo.next_rev()), identity(key), before, time.time())


def test_an_error_says_whose_data_it_is_and_why() -> None:
    error = InvalidCommit(DID, "the commit block is missing")
    assert isinstance(error, Rejected)
    assert str(error) == f"{DID}: the commit block is missing"
