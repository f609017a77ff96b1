"""What a change of the index says to those who follow it, as frames of subscribeRecords. No I/O.

The record's bytes go into the frame as they were signed; nothing is decoded on the way.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from atdex_appview.store.base import AccountEvent, RecordEvent, StoreEvent
from atdex_appview.views import datetime_text
from atdex_lexicons.datamodel import encode
from atdex_xrpc.event_frames import message_frame, parse_frame

RECORD, ACCOUNT, INFO = "#record", "#account", "#info"

OUTDATED = "OutdatedCursor"

_MAP = 0xA0
"""Head of a DAG-CBOR map of so many entries, for fewer than 24."""


@dataclass(frozen=True, slots=True)
class Entry:
    """One message of the stream, numbered. `collection` is None for what is about an account."""

    seq: int
    did: str
    collection: str | None
    frame: bytes


def entry_of(event: StoreEvent, seq: int, time: int) -> Entry:
    """`time` is µs since the epoch."""
    if isinstance(event, AccountEvent):
        body = {"seq": seq, "time": datetime_text(time), "did": event.did, "active": event.active}
        if not event.active and event.status is not None:
            body["status"] = event.status
        return Entry(seq, event.did, None, message_frame(ACCOUNT, body))
    return Entry(seq, event.did, event.collection, _record_frame(event, seq, datetime_text(time)))


def _record_frame(event: RecordEvent, seq: int, time: str) -> bytes:
    # In the order that DAG-CBOR asks for: shorter keys first.
    parts: list[tuple[str, bytes]] = []
    if event.cid is not None:
        parts.append(("cid", encode(event.cid)))
    parts += [("did", encode(event.did)), ("rev", encode(event.rev)), ("seq", encode(seq))]
    parts += [("rkey", encode(event.rkey)), ("time", encode(time))]
    parts.append(("action", _text(event.action)))
    if event.raw is not None:
        parts.append(("record", event.raw))
    parts.append(("collection", _text(event.collection)))
    if event.conformance is not None:
        parts.append(("conformance", _text(event.conformance)))
    body = b"".join((bytes((_MAP + len(parts),)), *(_text(key) + value for key, value in parts)))
    return message_frame(RECORD, body)


@lru_cache(512)
def _text(text: str) -> bytes:
    return encode(text)


def without_record(entry: Entry) -> Entry:
    """The same message without the record itself: its account is not served any more."""
    message = parse_frame(entry.frame)
    if "record" not in message.body or message.kind is None:
        return entry
    body: Mapping[str, Any] = {k: v for k, v in message.body.items() if k != "record"}
    return Entry(entry.seq, entry.did, entry.collection, message_frame(message.kind, body))


def info_frame(name: str, message: str) -> bytes:
    return message_frame(INFO, {"name": name, "message": message})
