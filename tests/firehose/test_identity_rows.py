from __future__ import annotations

import sqlite3

import pytest

from atdex_firehose.events import Identity
from atdex_firehose.identity_rows import SELECT, TABLE, UPSERT, StoredIdentity, row_of, stored_of
from tests.support.repo import plc_did

DID = plc_did("alice")


@pytest.mark.parametrize(
    "stored",
    [
        StoredIdentity(
            Identity(DID, "alice.test", "https://pds.test", "did:key:z", "alice.test"), 12.5, 13.25
        ),
        StoredIdentity(Identity(DID, "handle.invalid", None, None, "alice.test"), 0.0, 13.25),
        StoredIdentity(Identity(DID, None, None, None), 12.5),
        StoredIdentity(None, 12.5),
    ],
)
def test_a_row_comes_back_as_it_was(stored: StoredIdentity) -> None:
    db = sqlite3.connect(":memory:")
    for _ in range(2):  # what is there already is replaced
        db.execute(TABLE)
        db.execute(UPSERT, row_of(DID, stored))
    assert stored_of(DID, db.execute(SELECT, (DID,)).fetchone()) == stored
    assert db.execute("SELECT count(*) FROM firehose_identities").fetchone() == (1,)
    db.close()
