"""What is built here, other libraries read; what they build is read here."""

from __future__ import annotations

import libipld
import pytest
from atproto import CAR, firehose_models, parse_subscribe_repos_message  # type: ignore[import-untyped]  # untyped
from atproto_client.models.com.atproto.sync import subscribe_repos  # type: ignore[import-untyped]  # untyped
from atproto_crypto.multibase import multibase_to_bytes  # type: ignore[import-untyped]  # untyped
from atproto_crypto.verify import verify_signature  # type: ignore[import-untyped]  # untyped

from atdex_firehose.car import read_car
from atdex_firehose.commit import parse_commit_object
from atdex_firehose.crypto import parse_multikey
from atdex_firehose.frames import parse_commit, split
from tests.support.repo import K256_ORDER as ORDER
from tests.support.repo import K256Key, P256Key, Repo, account_frame, high_s, plc_did

DID = plc_did("alice")


def theirs_of(raw: bytes) -> firehose_models.MessageFrame:
    frame = firehose_models.Frame.from_bytes(raw)
    assert isinstance(frame, firehose_models.MessageFrame)
    return frame


def test_the_atproto_sdk_parses_a_commit_frame_as_we_do() -> None:
    repo = Repo(DID, K256Key())
    repo.commit({"app.test.note/1": {"$type": "app.test.note", "n": 1}})
    raw = repo.commit(
        {"app.test.note/2": {"$type": "app.test.note", "n": 2}, "app.test.note/1": None}
    ).encode(7)

    theirs = parse_subscribe_repos_message(theirs_of(raw))
    kind, body = split(raw)
    ours = parse_commit(body)

    assert isinstance(theirs, subscribe_repos.Commit)
    assert kind == "#commit"
    assert (theirs.seq, theirs.repo, theirs.rev) == (ours.seq, ours.did, ours.rev)
    assert (theirs.since, theirs.time) == (ours.since, ours.time)
    assert [(op.action, op.path) for op in theirs.ops] == [(op.action, op.path) for op in ours.ops]
    their_car = CAR.from_bytes(bytes(theirs.blocks))
    assert {str(cid) for cid in their_car.blocks} == {
        libipld.encode_cid(cid) for cid in read_car(ours.blocks).blocks
    }


def test_the_atproto_sdk_parses_an_account_frame() -> None:
    message = parse_subscribe_repos_message(theirs_of(account_frame(3, DID, False, "takendown")))
    assert isinstance(message, subscribe_repos.Account)
    assert (message.did, message.active, message.status) == (DID, False, "takendown")


@pytest.mark.parametrize("key", [K256Key(), P256Key()])
def test_the_atproto_sdk_agrees_on_signatures(key: K256Key | P256Key) -> None:
    repo = Repo(DID, key)
    repo.commit({"app.test.note/1": {"n": 1}})
    assert repo.rev is not None
    commit = parse_commit_object(repo.commit_block, DID, repo.rev)
    did_key = parse_multikey(key.multikey).did_key
    assert verify_signature(did_key, commit.signed, commit.sig)
    assert parse_multikey(key.multikey).verify(commit.sig, commit.signed)
    assert not verify_signature(did_key, commit.signed, high_s(commit.sig, ORDER))


def test_the_atproto_sdk_decodes_our_multikeys() -> None:
    key = K256Key()
    assert bytes(multibase_to_bytes(key.multikey))[2:] == key.point
