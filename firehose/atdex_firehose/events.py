"""What a `Consumer` delivers: one event per frame that matters, in order within each repo.

Events are to be read, not changed. They are not frozen because freezing them took a twentieth of
the time of a verified commit.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Action = Literal["create", "update", "delete"]


@dataclass(frozen=True, slots=True)
class Identity:
    """What a DID document says about an account, at the time it was resolved.

    `claimed` is the handle that the document claims (`alsoKnownAs`). `handle` is what came of
    checking it the other way round: the claimed one, `handle.invalid`, or None while there is no
    claim or no check has been made. `signing_key` is the did:key of `#atproto`.
    """

    did: str
    handle: str | None
    pds: str | None
    signing_key: str | None
    claimed: str | None = None


@dataclass(slots=True)
class RecordOp:
    """One record that a commit created, updated or deleted.

    `raw` is the record's DAG-CBOR exactly as it was signed; None for a delete.
    `cid` is the text form (base32) of its CID; None for a delete.
    """

    action: Action
    collection: str
    rkey: str
    cid: str | None
    raw: bytes | None


@dataclass(slots=True)
class Event:
    """The base of every event. `seq` is the upstream's; `source` its base URL."""

    source: str
    seq: int
    did: str


@dataclass(slots=True)
class CommitEvent(Event):
    """What became of records in wanted collections.

    `live`: a commit of the stream with at least one wanted op; `ops` are the wanted ones in the
    commit's order. All of them share `rev`: a consumer applies all of them or none, and only
    where `rev` is newer than the last one applied.

    Not `live`: a part of what a repo, fetched whole at `rev`, holds otherwise than was delivered
    before. Several parts may share one `rev`, in any number; each op says what the record is at
    that rev, so a consumer applies a part where `rev` is not older than the last one applied.
    `source` is the host that it was fetched from.

    `verified` is False for what came through a source without signatures (Jetstream).

    `mentions` are ops in the collections of `Consumer(mentions=…)`, in the commit's order. They
    come beside `ops`, and without any where the commit touches no wanted collection; what is then
    known of them, `Mentions` says.
    """

    rev: str
    time: str
    ops: tuple[RecordOp, ...]
    identity: Identity
    live: bool = True
    verified: bool = True
    mentions: tuple[RecordOp, ...] = ()


@dataclass(slots=True)
class IdentityEvent(Event):
    """The account's DID document or handle changed; `identity` is the fresh one (None: gone)."""

    time: str
    identity: Identity | None


@dataclass(slots=True)
class AccountEvent(Event):
    """The account's hosting status changed upstream.

    `status` is None where the upstream gave none, else a word such as `deactivated`,
    `takendown`, `suspended`, `deleted`, or one that is not known yet.
    """

    time: str
    active: bool
    status: str | None


@dataclass(slots=True)
class SyncEvent(Event):
    """The repo's state was reset or announced (`#sync`), its commit verified."""

    rev: str
    time: str


@dataclass(slots=True)
class RejectedEvent(Event):
    """A frame that failed verification, set aside with its reason.

    `error` is the class name of the `FirehoseError`; `frame` is the raw frame, at most
    `REJECTED_FRAME_BYTES` of it.
    """

    rev: str | None
    error: str
    reason: str
    frame: bytes
