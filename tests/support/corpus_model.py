"""What a consumer of events knows: the plainest index there is, and what it must end up with.

    model.apply(event); consumer.ack(event)
    assert not differences(model, corpus, collections)

Kept in SQLite, so that a process that is killed finds again what it had acknowledged. Durable
against the end of the process, not of the machine: nothing waits for the disk.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing
from pathlib import Path
from types import TracebackType
from typing import Self

from atdex_firehose import AccountEvent, CommitEvent, Event
from tests.support.corpus import Corpus

Visible = dict[str, dict[str, str]]
"""By DID the text of the CID by path; accounts without records are left out."""

SCHEMA = """
PRAGMA journal_mode = WAL;
PRAGMA synchronous = OFF;
CREATE TABLE IF NOT EXISTS accounts (did TEXT PRIMARY KEY, rev TEXT, status TEXT);
CREATE TABLE IF NOT EXISTS records (
    did TEXT, path TEXT, cid TEXT, PRIMARY KEY (did, path)) WITHOUT ROWID;
"""
SHOWN = 10  # differences that are told


class Model:
    """Applies events as the documentation of each asks."""

    def __init__(self, path: Path | None = None) -> None:
        self._db = sqlite3.connect(":memory:" if path is None else path, isolation_level=None)
        self._db.executescript(SCHEMA)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._db.close()

    def apply(self, event: Event) -> None:
        """One transaction. An event that is older than what is known changes nothing."""
        if isinstance(event, CommitEvent):
            self._commit(event)
        elif isinstance(event, AccountEvent):
            self._account(event)

    def visible(self) -> Visible:
        """The records of the accounts that are active."""
        rows = self._db.execute(
            "SELECT did, path, cid FROM records LEFT JOIN accounts USING (did)"
            " WHERE coalesce(status, 'active') = 'active' ORDER BY did, path"
        )
        found: Visible = {}
        for did, path, cid in rows:
            found.setdefault(did, {})[path] = cid
        return found

    def count(self) -> int:
        """Records, those of inactive accounts included."""
        with closing(self._db.execute("SELECT count(*) FROM records")) as rows:
            count: int = rows.fetchone()[0]
        return count

    def _commit(self, event: CommitEvent) -> None:
        known = self._db.execute("SELECT rev FROM accounts WHERE did = ?", (event.did,)).fetchone()
        rev = known[0] if known and known[0] else ""
        if event.rev < rev or (event.live and event.rev == rev):
            return
        self._db.execute("BEGIN")
        for op in event.ops:
            key = (event.did, f"{op.collection}/{op.rkey}")
            if op.cid is None:
                self._db.execute("DELETE FROM records WHERE (did, path) = (?, ?)", key)
            else:
                self._db.execute("REPLACE INTO records VALUES (?, ?, ?)", (*key, op.cid))
        self._db.execute(
            "INSERT INTO accounts VALUES (?1, ?2, NULL)"
            " ON CONFLICT DO UPDATE SET rev = excluded.rev",
            (event.did, event.rev),
        )
        self._db.execute("COMMIT")

    def _account(self, event: AccountEvent) -> None:
        status = "active" if event.active else event.status or "inactive"
        self._db.execute("BEGIN")
        self._db.execute(
            "INSERT INTO accounts VALUES (?1, NULL, ?2)"
            " ON CONFLICT DO UPDATE SET status = excluded.status",
            (event.did, status),
        )
        if status == "deleted":
            self._db.execute("DELETE FROM records WHERE did = ?", (event.did,))
        self._db.execute("COMMIT")


def wanted(path: str, patterns: Sequence[str]) -> bool:
    """Whether a record is in one of the collections, by the plain meaning of the patterns."""
    collection = path.partition("/")[0]
    return any(
        pattern in ("*", collection)
        or (pattern.endswith(".*") and collection.startswith(pattern[:-1]))
        for pattern in patterns
    )


def expected(corpus: Corpus, patterns: Sequence[str]) -> Visible:
    """What the repos held at the end, by what the PDS itself gave."""
    found: Visible = {}
    for did, ending in corpus.endings.items():
        if ending.status == "active":
            records = {p: cid for p, cid in ending.records.items() if wanted(p, patterns)}
            found |= {did: records} if records else {}
    return found


def differences(model: Model, corpus: Corpus, patterns: Sequence[str]) -> list[str]:
    """How the model is not what it must be: a few lines, or none."""
    told = list(_differences(model.visible(), expected(corpus, patterns)))
    return told[:SHOWN] + ([f"and {len(told) - SHOWN} more"] if len(told) > SHOWN else [])


def _differences(
    ours: Mapping[str, Mapping[str, str]], theirs: Mapping[str, Mapping[str, str]]
) -> Iterator[str]:
    for did in sorted(ours.keys() | theirs.keys()):
        mine, right = ours.get(did, {}), theirs.get(did, {})
        for path in sorted(mine.keys() | right.keys()):
            if path not in mine:
                yield f"{did}/{path} is missing"
            elif path not in right:
                yield f"{did}/{path} should be gone"
            elif mine[path] != right[path]:
                yield f"{did}/{path} is {mine[path]}, should be {right[path]}"
