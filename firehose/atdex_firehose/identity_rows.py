"""What is kept of an identity, and its row in SQLite.

A row is a cache: it may be dropped at any time, and is then asked for again. The callers own the
connection and the transaction:

    db.execute(TABLE)
    db.executemany(UPSERT, [row_of(did, stored)])
    stored_of(did, db.execute(SELECT, (did,)).fetchone())    # == stored
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from atdex_firehose.events import Identity


@dataclass(frozen=True, slots=True)
class StoredIdentity:
    """A cached answer of a directory. `identity` is None where the DID is gone.

    Times are seconds since 1970. `fetched_at` 0: the document was since found unusable.
    `handle_checked_at`: when the claimed handle was last found valid or invalid; 0: never.
    """

    identity: Identity | None
    fetched_at: float
    handle_checked_at: float = 0.0


TABLE = """
CREATE TABLE IF NOT EXISTS firehose_identities (
    did TEXT PRIMARY KEY, handle TEXT, claimed TEXT, pds TEXT, signing_key TEXT,
    gone INTEGER NOT NULL, fetched_at REAL NOT NULL, handle_checked_at REAL NOT NULL)
    WITHOUT ROWID
"""

SELECT = (
    "SELECT handle, claimed, pds, signing_key, gone, fetched_at, handle_checked_at"
    " FROM firehose_identities WHERE did = ?"
)

UPSERT = (
    "INSERT OR REPLACE INTO firehose_identities"
    " (did, handle, claimed, pds, signing_key, gone, fetched_at, handle_checked_at)"
    " VALUES (?, ?, ?, ?, ?, ?, ?, ?)"
)


def row_of(did: str, stored: StoredIdentity) -> tuple[object, ...]:
    """The values of `UPSERT`."""
    found = stored.identity or Identity(did, None, None, None)
    return (
        did,
        found.handle,
        found.claimed,
        found.pds,
        found.signing_key,
        int(stored.identity is None),
        stored.fetched_at,
        stored.handle_checked_at,
    )


def stored_of(did: str, row: Sequence[Any]) -> StoredIdentity:
    """A row of `SELECT`, read back: exactly what `row_of` was given."""
    handle, claimed, pds, signing_key, gone, fetched_at, handle_checked_at = row
    identity = None if gone else Identity(did, handle, pds, signing_key, claimed)
    return StoredIdentity(identity, fetched_at, handle_checked_at)
