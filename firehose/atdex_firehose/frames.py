"""Frames of `com.atproto.sync.subscribeRepos`: bytes in, objects out. No I/O.

A frame is two DAG-CBOR maps, header and body. `split` decodes them once and is all that a frame
costs that nobody wants; `parse_*` check the body of one kind into an object. CIDs are bytes.

Lenient where the event stream specification says so: unknown `op`, `t` and fields are ignored.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal, cast

import libipld

from atdex_firehose import limits
from atdex_firehose.errors import (
    ConsumerTooSlow,
    FutureCursor,
    InvalidEvent,
    InvalidFrame,
    RefusedByUpstream,
    UpstreamError,
)
from atdex_firehose.events import Action
from atdex_firehose.shown import shown, text_of
from atdex_lexicons.syntax import is_datetime, is_did, is_tid

Body = Mapping[str, Any]
Kind = Literal["#commit", "#sync", "#identity", "#account", "#info", "error", ""]

SEQUENCED = frozenset({"#commit", "#sync", "#identity", "#account"})
"""The kinds that carry `seq` and belong to one DID."""

_KINDS = SEQUENCED | {"#info"}
_COMMIT = b"\xa2\x61t\x67#commit\x62op\x01"
"""The usual header of a commit."""
_ACTIONS = frozenset({"create", "update", "delete"})
_HANDLE_CHARS = 253

_is_common_time = re.compile(
    r"20\d\d-(?:0[1-9]|1[0-2])-(?:0[1-9]|1\d|2[0-8])T(?:[01]\d|2[0-3]):[0-5]\d:[0-5]\d\.\d{3}Z",
    re.ASCII,
).fullmatch
"""The form that hosts write, of days that every month has: half the time of the whole check."""


# Not frozen, as this is made for every frame and op, and freezing doubles its price.


@dataclass(slots=True)
class Op:
    """One operation as the frame states it: nothing here has been checked against the tree."""

    action: Action
    path: str
    cid: bytes | None
    prev: bytes | None


@dataclass(slots=True)
class CommitFrame:
    """`#commit`. `prev_data` is None where the upstream does not send it (before Sync v1.1)."""

    seq: int
    did: str
    rev: str
    since: str | None
    commit: bytes
    prev_data: bytes | None
    blocks: bytes
    ops: tuple[Op, ...]
    time: str


@dataclass(frozen=True, slots=True)
class SyncFrame:
    """`#sync`: the repo's current commit, without its tree."""

    seq: int
    did: str
    rev: str
    blocks: bytes
    time: str


@dataclass(frozen=True, slots=True)
class IdentityFrame:
    """`#identity`. `handle` is what the upstream believes, checked by nobody."""

    seq: int
    did: str
    handle: str | None
    time: str


@dataclass(frozen=True, slots=True)
class AccountFrame:
    """`#account`."""

    seq: int
    did: str
    active: bool
    status: str | None
    time: str


def split(raw: bytes) -> tuple[Kind, dict[str, Any]]:
    """The kind and body of a frame; kind is "" for what is to be ignored, "error" for `op: -1`.

    Raises InvalidFrame, and nothing else, for any input.
    """
    if len(raw) > limits.LARGE_FRAME_BYTES:
        if len(raw) > limits.FRAME_BYTES:
            raise InvalidFrame(f"{len(raw)} bytes, more than {limits.FRAME_BYTES}")
        if _has_more_items(raw, limits.FRAME_ITEMS):
            raise InvalidFrame(f"more than {limits.FRAME_ITEMS} CBOR items")
    try:
        parts = libipld.decode_dag_cbor_multi(raw)
    except (ValueError, RecursionError) as error:
        raise InvalidFrame(f"not DAG-CBOR: {error}") from None
    if len(parts) != 2 or type(parts[0]) is not dict:
        raise InvalidFrame(f"{len(parts)} objects instead of a header and a body")
    header, body = parts
    if raw.startswith(_COMMIT) and type(body) is dict:
        return "#commit", body  # nearly all of them
    op = header.get("op")
    if type(op) is not int:
        raise InvalidFrame("the header has no integer `op`")
    if op == 1:
        kind = header.get("t")
        if type(kind) is not str:
            raise InvalidFrame("the header has no `t`")
        if kind not in _KINDS:
            return "", {}
    elif op == -1:
        kind = "error"
    else:
        return "", {}
    if type(body) is not dict:
        raise InvalidFrame("the body is not a map")
    return cast(Kind, kind), body


def _has_more_items(raw: bytes, most: int) -> bool:
    """Whether more than so many CBOR items stand in a row, nested or not, before one that is not
    well-formed. Strings are passed over."""
    at, total = 0, len(raw)
    for _ in range(most):
        if at >= total:
            return False
        first = raw[at]
        at += 1
        value = first & 31
        if value >= 24:
            if value > 27:
                return False
            size = 1 << (value - 24)
            value = int.from_bytes(raw[at : at + size])
            at += size
        if first >> 5 in (2, 3):
            at += value
    return at < total


def seq_of(body: Body) -> int:
    """The sequence number. Raises InvalidFrame: without it, the stream cannot be followed."""
    seq = body.get("seq")
    if type(seq) is not int or not 1 <= seq <= limits.SEQ_MAX:
        raise InvalidFrame(f"seq is {shown(seq, 40)}, not an integer from 1 to 2^53-1")
    return seq


def did_of(kind: Kind, body: Body) -> str:
    """Whose event it is. Raises InvalidEvent where that is not a DID."""
    did = body.get("repo" if kind == "#commit" else "did")
    if type(did) is not str or len(did) > limits.DID_BYTES or not is_did(did):
        raise InvalidEvent("", f"{shown(did)} is not a DID")
    return did


def upstream_error(url: str, body: Body) -> UpstreamError:
    """The error that an error frame stands for."""
    name = text_of(body.get("error", "error"), 100)
    message = text_of(body.get("message", ""), 300)
    if name == "FutureCursor":
        return FutureCursor(url, message or "the cursor is ahead of the stream")
    if name == "ConsumerTooSlow":
        return ConsumerTooSlow(url, message or "the upstream dropped a slow consumer")
    return RefusedByUpstream(url, name, message)


def parse_commit(body: Body) -> CommitFrame:
    """Check the form of a `#commit`. Raises InvalidEvent."""
    get = body.get
    did = did_of("#commit", body)
    blocks, ops, since = get("blocks"), get("ops"), get("since")
    if type(blocks) is not bytes:
        raise InvalidEvent(did, "blocks is not bytes")
    if len(blocks) > limits.BLOCKS_BYTES:
        raise InvalidEvent(did, f"blocks has {len(blocks)} bytes, more than {limits.BLOCKS_BYTES}")
    if type(ops) is not list:
        raise InvalidEvent(did, "ops is not an array")
    if len(ops) > limits.OPS:
        raise InvalidEvent(did, f"{len(ops)} ops, more than {limits.OPS}")
    if since is not None and (type(since) is not str or not is_tid(since)):
        raise InvalidEvent(did, "since is not a TID")
    return CommitFrame(
        seq_of(body),
        did,
        _rev(did, body),
        since,
        _link(did, "commit", get("commit")),
        _optional_link(did, "prevData", get("prevData")),
        blocks,
        tuple([_op(did, op) for op in ops]),
        _time(did, body),
    )


def parse_sync(body: Body) -> SyncFrame:
    """Check the form of a `#sync`. Raises InvalidEvent."""
    did = did_of("#sync", body)
    blocks = body.get("blocks")
    if type(blocks) is not bytes:
        raise InvalidEvent(did, "blocks is not bytes")
    if len(blocks) > limits.SYNC_BLOCKS_BYTES:
        raise InvalidEvent(
            did, f"blocks has {len(blocks)} bytes, more than {limits.SYNC_BLOCKS_BYTES}"
        )
    return SyncFrame(seq_of(body), did, _rev(did, body), blocks, _time(did, body))


def parse_identity(body: Body) -> IdentityFrame:
    """Check the form of an `#identity`. Raises InvalidEvent."""
    did = did_of("#identity", body)
    handle = body.get("handle")
    if type(handle) is not str or len(handle) > _HANDLE_CHARS:
        handle = None  # optional and a mere hint: not worth losing the event for
    return IdentityFrame(seq_of(body), did, handle, _time(did, body))


def parse_account(body: Body) -> AccountFrame:
    """Check the form of an `#account`. Raises InvalidEvent."""
    did = did_of("#account", body)
    active = body.get("active")
    if type(active) is not bool:
        raise InvalidEvent(did, "active is not a boolean")
    status = body.get("status")
    if status is not None and (type(status) is not str or len(status) > 100):
        raise InvalidEvent(did, "status is not a short string")
    return AccountFrame(seq_of(body), did, active, status, _time(did, body))


def _op(did: str, op: object) -> Op:
    if type(op) is not dict:
        raise InvalidEvent(did, "an op is not a map")
    action, path = op.get("action"), op.get("path")
    cid, prev = op.get("cid"), op.get("prev")
    if type(path) is not str or len(path) > limits.PATH_CHARS:
        raise InvalidEvent(did, "op without a path, or with one that is too long")
    if action == "create" and prev is None and type(cid) is bytes:
        return Op("create", path, cid, None)  # most of them
    if type(action) is not str or action not in _ACTIONS:
        raise InvalidEvent(did, f"op with action {str(action)[:40]!r}")
    cid, prev = _optional_link(did, "cid", cid), _optional_link(did, "prev", prev)
    if (cid is None) != (action == "delete"):
        raise InvalidEvent(
            did, f"{action} of {path[:200]!r} {'without' if cid is None else 'with'} a cid"
        )
    if action == "create" and prev is not None:
        raise InvalidEvent(did, f"create of {path[:200]!r} with a prev")
    return Op(cast(Action, action), path, cid, prev)


def _link(did: str, name: str, value: object) -> bytes:
    if type(value) is not bytes:
        raise InvalidEvent(did, f"{name} is not a link")
    return value


def _optional_link(did: str, name: str, value: object) -> bytes | None:
    return None if value is None else _link(did, name, value)


def _rev(did: str, body: Body) -> str:
    rev = body.get("rev")
    if type(rev) is not str or not is_tid(rev):
        raise InvalidEvent(did, "rev is not a TID")
    return rev


def _time(did: str, body: Body) -> str:
    """The upstream's clock: checked for its form, and relied on by nothing."""
    time = body.get("time")
    if type(time) is not str or not (_is_common_time(time) or is_datetime(time)):
        raise InvalidEvent(did, "time is not a datetime")
    return time
