"""Messages of a Jetstream: bytes of JSON in, objects out. No I/O.

    {"did", "time_us", "kind": "commit", "commit": {"rev", "operation", "collection", "rkey",
                                                    "record", "cid"}}
    {"did", "time_us", "kind": "identity" | "account", "identity" | "account": {"did", …, "time"}}

A Jetstream passes commits on without their signatures: that a record is its author's is the
server's word. Integrity holds all the same: a record is encoded as DAG-CBOR again, and must have
the CID that the message states. So must a record that JSON cannot tell apart (an object that looks
like a link); it is rejected.

`time_us`, the server's clock in microseconds, takes the place of `seq`. It may repeat and step
back, so `number` makes growing numbers of it.

Source: the documentation of github.com/bluesky-social/jetstream: the messages of its first
version, which the second still serves at /subscribe.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, cast

import orjson

from atdex_firehose import limits
from atdex_firehose.errors import InvalidEvent, InvalidFrame
from atdex_firehose.events import Action, RecordOp
from atdex_firehose.frames import AccountFrame, IdentityFrame, parse_account, parse_identity
from atdex_firehose.shown import shown
from atdex_lexicons import datamodel
from atdex_lexicons.cid import Cid
from atdex_lexicons.errors import InvalidData, InvalidSyntax
from atdex_lexicons.syntax import is_datetime, is_did, is_nsid, is_record_key, is_tid

_ACTIONS = frozenset({"create", "update", "delete"})
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
RECORD_ITEMS = 100_000
"""Values in one record. A million empty lists fit into a record, and take seconds to encode."""
_TIME_MAX = 253_402_300_799_999_999
"""The last microsecond of the year 9999."""


@dataclass(frozen=True, slots=True)
class LightCommit:
    """One operation of a commit, without proof. A commit with several operations comes as several
    of these, one after the other, with the same `rev`: a `rev` that came before is no repetition
    unless the path is the same as well."""

    seq: int
    did: str
    rev: str
    time: str
    op: RecordOp

    @property
    def ops(self) -> tuple[RecordOp, ...]:
        """The operation, in the form of a commit's."""
        return (self.op,)


Item = LightCommit | IdentityFrame | AccountFrame


def read_message(raw: bytes) -> tuple[int, dict[str, Any]]:
    """`time_us` and the whole of a message. Raises InvalidFrame, and nothing else, for any input:
    the message has no place in the stream."""
    try:
        message = orjson.loads(raw)
    except ValueError as error:
        raise InvalidFrame(f"not JSON: {error}") from None
    if type(message) is not dict:
        raise InvalidFrame("the message is not an object")
    time_us = message.get("time_us")
    if type(time_us) is not int or not 1 <= time_us <= _TIME_MAX:
        raise InvalidFrame(f"time_us is {shown(time_us, 40)}, not microseconds since the epoch")
    return time_us, message


def number(time_us: int, last: int, now: float) -> int:
    """A number for the message at `time_us` that comes after `last`: the time, where it can be.

    `now` is our clock, in seconds: a time far ahead of it would become a cursor that every server
    takes for the live end.
    """
    return max(min(time_us, int((now + limits.FUTURE_SECONDS) * 1_000_000)), last + 1)


def time_of(time_us: int) -> str:
    """Microseconds since the epoch as a datetime of the Lexicon."""
    text = (_EPOCH + timedelta(microseconds=time_us)).isoformat(timespec="microseconds")
    return text.removesuffix("+00:00") + "Z"


def parse_message(message: dict[str, Any], seq: int) -> Item | None:
    """What a message says; None where its kind is not known. Raises InvalidEvent."""
    did, kind = message.get("did"), message.get("kind")
    if type(did) is not str or not is_did(did):
        raise InvalidEvent("", f"{shown(did)} is not a DID")
    if kind == "commit":
        return _commit(did, _part(did, message, kind), seq, time_of(message["time_us"]))
    if kind == "identity" or kind == "account":
        body = _part(did, message, kind) | {"seq": seq}
        if body.setdefault("did", did) != did:
            raise InvalidEvent(did, f"the {kind} is that of {shown(body['did'])}")
        sent = body.get("time")
        if type(sent) is not str or not is_datetime(sent):
            body["time"] = time_of(message["time_us"])  # it is the relay's, and relied on by nobody
        return parse_identity(body) if kind == "identity" else parse_account(body)
    return None


def _part(did: str, message: dict[str, Any], kind: str) -> dict[str, Any]:
    part = message.get(kind)
    if type(part) is not dict:
        raise InvalidEvent(did, f"{kind} is not an object")
    return part


def _commit(did: str, commit: dict[str, Any], seq: int, time: str) -> LightCommit:
    rev, action = commit.get("rev"), commit.get("operation")
    collection, rkey = commit.get("collection"), commit.get("rkey")
    if type(rev) is not str or not is_tid(rev):
        raise InvalidEvent(did, "rev is not a TID")
    if type(action) is not str or action not in _ACTIONS:
        raise InvalidEvent(did, f"operation {shown(action, 40)}")
    if type(collection) is not str or not is_nsid(collection):
        raise InvalidEvent(did, f"collection {shown(collection)} is not an NSID")
    if type(rkey) is not str or not is_record_key(rkey):
        raise InvalidEvent(did, f"rkey {shown(rkey)} is not a record key")
    cid: str | None = None
    raw: bytes | None = None
    if action != "delete":
        cid, raw = _record(did, f"{collection}/{rkey}", commit)
    return LightCommit(
        seq, did, rev, time, RecordOp(cast(Action, action), collection, rkey, cid, raw)
    )


def _record(did: str, path: str, commit: dict[str, Any]) -> tuple[str, bytes]:
    """The CID and the bytes of the record, which fit each other."""
    stated = commit.get("cid")
    if _has_more_items(commit.get("record"), RECORD_ITEMS):
        raise InvalidEvent(did, f"{path}: a record of more than {RECORD_ITEMS} values")
    try:
        cid = Cid.parse(stated if type(stated) is str else "")
        raw = datamodel.encode(datamodel.from_json(commit.get("record")))
    except InvalidSyntax:
        raise InvalidEvent(did, f"{path}: cid is {shown(stated)}") from None
    except InvalidData as error:
        raise InvalidEvent(did, f"{path}: the record is outside the data model: {error}") from None
    if len(raw) > limits.RECORD_BYTES:
        raise InvalidEvent(
            did, f"{path}: a record of {len(raw)} bytes, more than {limits.RECORD_BYTES}"
        )
    found = Cid.of_cbor(raw)
    if found != cid:
        raise InvalidEvent(did, f"{path}: the record has the CID {found}, not {cid} as stated")
    return str(cid), raw


def _has_more_items(value: object, most: int) -> bool:
    """Whether a value holds more than so many others."""
    waiting = [value]
    count = 0
    while waiting:
        inner = waiting.pop()
        if type(inner) is dict or type(inner) is list:
            count += len(inner)
            if count > most:
                return True
            waiting += inner.values() if type(inner) is dict else inner
    return False
