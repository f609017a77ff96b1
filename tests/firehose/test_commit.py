from __future__ import annotations

from typing import Any

import cbor2
import pytest

from atdex_firehose.commit import parse_commit_object
from atdex_firehose.crypto import parse_multikey
from atdex_firehose.errors import InvalidCommit
from tests.support.mst import build_tree, cid_of, encode, link
from tests.support.repo import K256Key, P256Key, Repo, plc_did

DID = plc_did("alice")
REV = "3jzfcijpj2z2a"
DATA = build_tree({})[0]
KEY = K256Key()


def signed(**changes: Any) -> bytes:
    """A commit block; a change to None of `absent` leaves the field out."""
    absent = changes.pop("absent", ())
    unsigned = {"did": DID, "version": 3, "data": link(DATA), "rev": REV, "prev": None} | changes
    for name in absent:
        del unsigned[name]
    return encode(unsigned | {"sig": KEY.sign(encode(unsigned))})


@pytest.mark.parametrize("did", [DID, "did:web:example.com", "did:web:" + "a" * 300 + ".example"])
@pytest.mark.parametrize("prev", [None, link(cid_of(b""))])
def test_the_signed_bytes_are_the_object_without_sig(did: str, prev: object) -> None:
    block = signed(did=did, prev=prev)
    commit = parse_commit_object(block, did, REV)
    value = cbor2.loads(block)
    sig = value.pop("sig")
    assert commit.signed == encode(value)
    assert (commit.sig, commit.data, commit.rev, commit.did) == (sig, DATA, REV, did)
    assert parse_multikey(KEY.multikey).verify(commit.sig, commit.signed)


@pytest.mark.parametrize("key", [K256Key(), P256Key()])
def test_a_built_repo_verifies_on_both_curves(key: K256Key | P256Key) -> None:
    repo = Repo(DID, key)
    repo.commit({"app.test.note/1": {"n": 1}})
    assert repo.rev is not None
    commit = parse_commit_object(repo.commit_block, DID, repo.rev)
    assert parse_multikey(key.multikey).verify(commit.sig, commit.signed)


def test_a_field_that_is_not_known_is_signed_too() -> None:
    commit = parse_commit_object(signed(extra={"a": [1, link(DATA)]}), DID, REV)
    assert b"extra" in commit.signed
    assert parse_multikey(KEY.multikey).verify(commit.sig, commit.signed)


def test_a_commit_without_prev_is_tolerated() -> None:
    commit = parse_commit_object(signed(absent=["prev"]), DID, REV)
    assert parse_multikey(KEY.multikey).verify(commit.sig, commit.signed)


@pytest.mark.parametrize(
    "block",
    [
        b"",
        b"\xff",
        b"\x81" * 100_000 + b"\0",
        encode([1]),
        encode({}),
        signed(version=2),
        signed(version="3"),
        signed(version=True),
        signed(did=plc_did("mallory")),
        signed(did=5),
        signed(rev="3jzfcijpj2z2b"),
        signed(rev=None),
        signed(data=None),
        signed(data=b"\x01\x71\x12\x20" + bytes(32)),  # bytes where a link must be
        signed(data=link(b"\x01\x55\x12\x20" + bytes(32))),  # a raw block is no tree
        signed(prev=5),
        signed(prev=b"\x01\x71\x12\x20" + bytes(32)),
        encode({"did": DID, "version": 3, "data": link(DATA), "rev": REV, "prev": None}),
        encode(
            {"did": DID, "version": 3, "data": link(DATA), "rev": REV, "prev": None, "sig": b"x"}
        ),
        signed() + b"\x00",
        signed().replace(b"\x67version\x03", b"\x67version\x18\x03"),
    ],
)
def test_what_is_not_this_commit_is_an_invalid_commit(block: bytes) -> None:
    with pytest.raises(InvalidCommit):
        parse_commit_object(block, DID, REV)


def test_any_rev_will_do_where_none_is_named_but_it_must_be_a_tid() -> None:
    assert parse_commit_object(signed(), DID).rev == REV
    for rev in ("3jzfcijpj2z2", "", "latest", 5, None):
        with pytest.raises(InvalidCommit, match="is not a TID"):
            parse_commit_object(signed(rev=rev), DID)
