from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from atdex_firehose import limits
from atdex_firehose.errors import (
    ConsumerTooSlow,
    FutureCursor,
    InvalidEvent,
    InvalidFrame,
    RefusedByUpstream,
)
from atdex_firehose.frames import (
    did_of,
    parse_account,
    parse_commit,
    parse_identity,
    parse_sync,
    seq_of,
    split,
    upstream_error,
)
from tests.support.mst import encode, link
from tests.support.repo import (
    K256Key,
    Repo,
    account_frame,
    error_frame,
    frame,
    identity_frame,
    info_frame,
    plc_did,
)

DID = plc_did("alice")


def commit_body(**changes: Any) -> dict[str, Any]:
    repo = Repo(DID, K256Key())
    repo.commit({"app.test.note/1": {"n": 1}})
    raw = repo.commit(
        {
            "app.test.note/2": {"n": 2},
            "app.test.note/1": {"n": 3},
        }
    ).encode(5)
    return split(raw)[1] | changes


def test_a_commit_frame_is_read_whole() -> None:
    parsed = parse_commit(commit_body())
    assert (parsed.seq, parsed.did) == (5, DID)
    assert [(op.action, op.path) for op in parsed.ops] == [
        ("create", "app.test.note/2"),
        ("update", "app.test.note/1"),
    ]
    assert parsed.ops[0].prev is None
    assert parsed.ops[1].prev is not None
    assert parsed.prev_data is not None


def test_account_identity_and_sync_frames_are_read_whole() -> None:
    kind, body = split(account_frame(9, DID, False, "a-word-to-come"))
    account = parse_account(body)
    assert kind == "#account"
    assert (account.seq, account.did, account.active) == (9, DID, False)
    assert account.status == "a-word-to-come"
    identity = parse_identity(split(identity_frame(10, DID, "alice.test"))[1])
    assert (identity.seq, identity.did, identity.handle) == (10, DID, "alice.test")
    sync = parse_sync(split(Repo(DID, K256Key()).sync().encode(11))[1])
    assert (sync.seq, sync.did) == (11, DID)


@pytest.mark.parametrize(
    "raw",
    [
        frame("#something", {"seq": 1}),
        frame("", {}),
        encode({"op": 2, "t": "#commit"}) + encode({}),
        encode({"op": -7}) + encode([]),
    ],
)
def test_unknown_kinds_of_frames_are_ignored(raw: bytes) -> None:
    assert split(raw) == ("", {})


def test_unknown_fields_are_ignored() -> None:
    raw = encode({"op": 1, "t": "#account", "x": [1]}) + encode(
        {"seq": 1, "did": DID, "time": "2026-01-01T00:00:00Z", "active": True, "new": {"a": None}}
    )
    assert parse_account(split(raw)[1]).active is True


@pytest.mark.parametrize(
    "raw",
    [
        b"",
        b"\xff",
        b"\xa0",
        b"hello",
        encode({"op": 1, "t": "#commit"}),
        encode({"op": 1, "t": "#commit"}) + encode([]),
        encode({"op": 1, "t": "#commit"}) + encode({}) + encode({}),
        encode({"op": 1, "t": "#commit"}) + encode({})[:-1] + b"\xbf",
        encode({"op": "1", "t": "#commit"}) + encode({}),
        encode({"op": True, "t": "#commit"}) + encode({}),
        encode({"t": "#commit"}) + encode({}),
        encode({"op": 1}) + encode({}),
        encode({"op": 1, "t": 3}) + encode({}),
        encode([1, "#commit"]) + encode({}),
        encode({"op": 1, "t": "#commit"}) + b"\x81" * 100_000 + b"\x00",
        encode({"op": 1, "t": "#commit"}) + b"\xa1\x61a" * 100_000 + b"\x00",
        b"\xa2\x62op\x01\x62op\x01" + encode({}),
        bytes(limits.FRAME_BYTES + 1),
    ],
)
def test_what_is_not_a_frame_is_an_invalid_frame(raw: bytes) -> None:
    with pytest.raises(InvalidFrame):
        split(raw)


@pytest.mark.parametrize("seq", [None, 0, -1, "1", 1.5, True, 2**53, 2**64 - 1])
def test_a_frame_without_a_sequence_number_is_an_invalid_frame(seq: object) -> None:
    with pytest.raises(InvalidFrame):
        seq_of({"seq": seq})
    assert seq_of({"seq": 2**53 - 1}) == 2**53 - 1


@pytest.mark.parametrize(
    "change",
    [
        {"repo": "nobody"},
        {"repo": None},
        {"repo": "did:plc:" + "a" * 3000},
        {"rev": "yesterday"},
        {"rev": None},
        {"since": 3},
        {"since": "x"},
        {"time": None},
        {"time": "x" * 1000},
        {"blocks": "text"},
        {"blocks": None},
        {"blocks": bytes(limits.BLOCKS_BYTES + 1)},
        {"commit": None},
        {"commit": "bafy"},
        {"prevData": "bafy"},
        {"ops": None},
        {"ops": {}},
        {"ops": [3]},
        {"ops": [{"action": "create", "path": "a.b.c/d", "cid": None}]},
        {"ops": [{"action": "create", "path": "a.b.c/d", "cid": "text"}]},
        {"ops": [{"action": "create", "path": "a.b.c/d", "cid": b"1", "prev": b"2"}]},
        {"ops": [{"action": "delete", "path": "a.b.c/d", "cid": b"1"}]},
        {"ops": [{"action": "upsert", "path": "a.b.c/d", "cid": b"1"}]},
        {"ops": [{"action": ["create"], "path": "a.b.c/d", "cid": b"1"}]},
        {"ops": [{"action": "create", "path": b"a.b.c/d", "cid": b"1"}]},
        {"ops": [{"action": "delete", "path": f"a.b.c/{n}", "cid": None} for n in range(201)]},
    ],
)
def test_a_commit_with_a_bad_field_is_an_invalid_event(change: dict[str, Any]) -> None:
    with pytest.raises(InvalidEvent):
        parse_commit(commit_body(**change))


def test_a_missing_field_is_an_invalid_event() -> None:
    for name in ("repo", "rev", "time", "blocks", "commit", "ops"):
        body = commit_body()
        del body[name]
        with pytest.raises(InvalidEvent):
            parse_commit(body)


BAD_BLOCKS = bytes(limits.SYNC_BLOCKS_BYTES + 1)


@pytest.mark.parametrize(
    ("parse", "change"),
    [
        (parse_account, {"active": 1}),
        (parse_account, {"active": None}),
        (parse_account, {"status": 5}),
        (parse_account, {"did": ""}),
        (parse_account, {"time": 1}),
        (parse_identity, {"did": 5}),
        (parse_identity, {"time": None}),
        (parse_sync, {"blocks": None}),
        (parse_sync, {"blocks": BAD_BLOCKS}),
        (parse_sync, {"rev": 0}),
    ],
)
def test_other_frames_with_bad_fields_are_invalid_events(
    parse: Callable[[dict[str, Any]], object], change: dict[str, Any]
) -> None:
    good = {
        "seq": 1,
        "did": DID,
        "time": "2026-01-01T00:00:00Z",
        "active": True,
        "rev": "3jzfcijpj2z2a",
        "blocks": b"",
    }
    assert parse(good)
    with pytest.raises(InvalidEvent):
        parse(good | change)


def test_a_body_without_a_did_is_an_invalid_event() -> None:
    with pytest.raises(InvalidEvent):
        did_of("#account", {})


def test_a_bad_handle_does_not_cost_the_identity_event() -> None:
    body = {"seq": 1, "did": DID, "time": "2026-01-01T00:00:00Z", "handle": 5}
    assert parse_identity(body).handle is None


def test_links_come_as_bytes() -> None:
    kind, body = split(frame("#info", {"name": "x", "l": link(b"\x01\x71\x12\x20" + bytes(32))}))
    assert kind == "#info"
    assert body["l"] == b"\x01\x71\x12\x20" + bytes(32)


def test_error_frames_become_the_error_that_they_name() -> None:
    kind, body = split(error_frame("FutureCursor", "ahead"))
    assert kind == "error"
    error = upstream_error("http://relay", body)
    assert isinstance(error, FutureCursor)
    assert "ahead" in str(error)
    assert "http://relay" in str(error)
    slow = upstream_error("u", split(error_frame("ConsumerTooSlow"))[1])
    assert isinstance(slow, ConsumerTooSlow)
    other = upstream_error("u", {"error": ["odd"], "message": 5})
    assert isinstance(other, RefusedByUpstream)


def test_info_frames_have_no_sequence_number() -> None:
    kind, body = split(info_frame("OutdatedCursor"))
    assert (kind, body["name"]) == ("#info", "OutdatedCursor")
