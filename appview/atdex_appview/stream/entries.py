"""What a change of the index says to those who follow it, as frames of subscribeRecords. No I/O.

The record's bytes go into the frame as they were signed; nothing is decoded on the way.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from atdex_appview.store.base import AccountEvent, RecordEvent, StoreEvent
from atdex_appview.views import datetime_text
from atdex_lexicons.datamodel import encode
from atdex_xrpc.event_frames import message_frame, parse_frame

RECORD, ACCOUNT, INFO = "#record", "#account", "#info"

OUTDATED = "OutdatedCursor"

_HEADS = tuple(bytes((0x60 + size,)) for size in range(24))
"""Heads of DAG-CBOR texts of so many bytes."""

_MAPS = tuple(bytes((0xA0 + size,)) for size in range(12))


class Entry(NamedTuple):
    """One message of the stream, numbered. `collection` is None for what is about an account."""

    seq: int
    did: str
    collection: str | None
    frame: bytes


def entries_of(events: Sequence[StoreEvent], first: int, time: int) -> list[Entry]:
    """`first` is the number of the first one, `time` is µs since the epoch."""
    said = datetime_text(time)
    encoded = _text(said)
    return [
        _record_entry(event, seq, encoded)
        if isinstance(event, RecordEvent)
        else _account_entry(event, seq, said)
        for seq, event in enumerate(events, first)
    ]


def _account_entry(event: AccountEvent, seq: int, time: str) -> Entry:
    body = {"seq": seq, "time": time, "did": event.did, "active": event.active}
    if not event.active and event.status is not None:
        body["status"] = event.status
    return Entry(seq, event.did, None, message_frame(ACCOUNT, body))


def _record_entry(event: RecordEvent, seq: int, time: bytes) -> Entry:
    # Put together by hand, in the order that DAG-CBOR asks for (shorter keys first): this runs
    # for every record, and an encoder would need the record decoded. Tests hold it against one.
    size = 7
    cid = record = conformance = b""
    if event.cid is not None:
        cid = _CID + _text(event.cid)
        size += 1
    if event.raw is not None:
        record = _RECORD + event.raw
        size += 1
    if event.conformance is not None:
        conformance = _CONFORMANCE + _text(event.conformance)
        size += 1
    frame = b"".join(
        (
            _HEADER,
            _MAPS[size],
            cid,
            _DID,
            _text(event.did),
            _REV,
            _text(event.rev),
            _SEQ,
            _number(seq),
            _RKEY,
            _text(event.rkey),
            _TIME,
            time,
            _ACTION,
            _text(event.action),
            record,
            _COLLECTION,
            _text(event.collection),
            conformance,
        )
    )
    return Entry(seq, event.did, event.collection, frame)


def _text(text: str) -> bytes:
    raw = text.encode()
    size = len(raw)
    if size < 24:
        return _HEADS[size] + raw
    if size < 256:
        return b"\x78%c%b" % (size, raw)
    return b"\x79" + size.to_bytes(2, "big") + raw  # none of them is as long as 64 KB


def _number(number: int) -> bytes:
    if number >> 32:
        return b"\x1b" + number.to_bytes(8, "big")
    return encode(number)


_HEADER = message_frame(RECORD, b"")
_CID, _DID, _REV, _SEQ = (_text(key) for key in ("cid", "did", "rev", "seq"))
_RKEY, _TIME, _ACTION, _RECORD = (_text(key) for key in ("rkey", "time", "action", "record"))
_COLLECTION, _CONFORMANCE = _text("collection"), _text("conformance")


def without_record(entry: Entry) -> Entry:
    """The same message without the record itself: its account is not served any more."""
    message = parse_frame(entry.frame)
    if "record" not in message.body or message.kind is None:
        return entry
    body: Mapping[str, Any] = {k: v for k, v in message.body.items() if k != "record"}
    return Entry(entry.seq, entry.did, entry.collection, message_frame(message.kind, body))


def info_frame(name: str, message: str) -> bytes:
    return message_frame(INFO, {"name": name, "message": message})
