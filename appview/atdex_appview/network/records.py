"""Records of collections that no family knows: kept as they were signed, listed newest first.

- An event of a repo is applied once, by its rev, as for the other records (see `plan.is_stale`).
- `first_seen` is unique and stays with updates, so a walk by it meets each record once.
- What an inactive account has is hidden; what a deleted one had is gone.
- A collection keeps MAX_RECORDS: one that is full takes updates and deletions, and what is new
  comes in when something has gone. `full` says which are.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from atdex_appview.network.file import CollectionsFile
from atdex_appview.store.base import RepoChange
from atdex_appview.store.plan import DELETED, is_stale
from atdex_appview.store.repos import Repo

MAX_RECORDS = 5_000_000
"""Of one collection: some 10 GB of ordinary records. A network-wide collection of posts would fill
any disk."""

_SHOWN = "first_seen, uri, did, collection, rkey, cid, rev, json, indexed_at, verified"


@dataclass(frozen=True, slots=True)
class GenericRecord:
    """A record as it is served. `json` is its JSON form; times are µs since the epoch."""

    first_seen: int
    uri: str
    did: str
    collection: str
    rkey: str
    cid: str
    rev: str
    json: bytes
    indexed_at: int
    verified: bool


@dataclass(frozen=True, slots=True)
class GenericPut:
    """`raw` is its DAG-CBOR as it was signed."""

    uri: str
    collection: str
    rkey: str
    cid: str
    raw: bytes
    json: bytes


@dataclass(frozen=True, slots=True)
class GenericDelete:
    uri: str


class GenericRecords:
    """Over the open file. Any method may raise StateUnavailable. `clock` is s since the epoch."""

    def __init__(self, file: CollectionsFile, *, clock: Callable[[], float] = time.time) -> None:
        self._file = file
        self._clock = clock
        rows = file.rows("SELECT collection, count(*), max(first_seen) FROM records GROUP BY 1")
        self._counts = Counter({collection: count for collection, count, _ in rows})
        self._last_seen: int = max((last for *_, last in rows), default=0)
        self._dids = {did for (did,) in file.rows("SELECT did FROM accounts")}

    def knows(self, did: str) -> bool:
        """Whether anything was kept of this account."""
        return did in self._dids

    def count(self, collection: str) -> int:
        """Records that are held, hidden ones included."""
        return self._counts[collection]

    @property
    def full(self) -> tuple[str, ...]:
        """The collections that take nothing new."""
        return tuple(name for name, count in self._counts.items() if count >= MAX_RECORDS)

    def apply(
        self,
        did: str,
        rev: str,
        ops: Sequence[GenericPut | GenericDelete],
        *,
        live: bool,
        verified: bool,
    ) -> None:
        """The ops of one event, whole or passed over as old."""
        with self._file.writing() as sql:
            row = sql.execute(
                "SELECT rev, fetched, active, status FROM accounts WHERE did = ?", [did]
            ).fetchone()
            last, fetched, active, status = row or (None, None, 1, None)
            known = Repo(did, rev=last, fetched=fetched, active=bool(active), status=status)
            if is_stale(RepoChange(did, rev, (), None, None, live, verified), known):
                return
            last, fetched = (rev, fetched) if live else (last, rev)
            sql.execute(
                "INSERT OR REPLACE INTO accounts VALUES (?, ?, ?, ?, ?)",
                [did, last, fetched, active, status],
            )
            counts = Counter(self._counts)
            for op in ops:
                if isinstance(op, GenericDelete):
                    self._delete(sql, op.uri, counts)
                else:
                    self._put(sql, did, rev, op, counts, verified=verified, visible=bool(active))
        self._counts = counts
        self._dids.add(did)

    def restore(self, did: str, rev: str, put: GenericPut, *, verified: bool) -> None:
        """A record that is valid now and was not when it came."""
        with self._file.writing() as sql:
            row = sql.execute("SELECT active FROM accounts WHERE did = ?", [did]).fetchone()
            counts = Counter(self._counts)
            visible = row is None or bool(row[0])
            self._put(sql, did, rev, put, counts, verified=verified, visible=visible)
        self._counts = counts

    def remove(self, uris: Iterable[str]) -> None:
        """Records that are not valid any more."""
        with self._file.writing() as sql:
            counts = Counter(self._counts)
            for uri in uris:
                self._delete(sql, uri, counts)
        self._counts = counts

    def account(self, did: str, *, active: bool, status: str | None) -> None:
        """Hides, shows, or removes what the account has."""
        if did not in self._dids:
            return
        with self._file.writing() as sql:
            if not active and status == DELETED:
                gone = sql.execute(
                    "SELECT collection, count(*) FROM records WHERE did = ? GROUP BY 1", [did]
                ).fetchall()
                sql.execute("DELETE FROM records WHERE did = ?", [did])
                # Both, as for the other records: what comes again from before stays out.
                sql.execute(
                    "UPDATE accounts SET active = 0, status = ?,"
                    " rev = nullif(max(coalesce(rev, ''), coalesce(fetched, '')), ''),"
                    " fetched = nullif(max(coalesce(rev, ''), coalesce(fetched, '')), '')"
                    " WHERE did = ?",
                    [status, did],
                )
            else:
                gone = []
                sql.execute(
                    "UPDATE accounts SET active = ?, status = ? WHERE did = ?",
                    [active, None if active else status, did],
                )
                sql.execute("UPDATE records SET visible = ? WHERE did = ?", [active, did])
        self._counts.subtract(dict(gone))

    def get(self, uri: str) -> GenericRecord | None:
        """The visible record."""
        rows = self._file.rows(
            f"SELECT {_SHOWN} FROM records WHERE uri = ? AND visible",  # noqa: S608 - ours
            [uri],
        )
        return _record(rows[0]) if rows else None

    def page(
        self, collection: str, *, publisher: str | None, before: int | None, limit: int
    ) -> list[GenericRecord]:
        """Visible records, newest first."""
        where, parameters = "collection = ? AND visible", [collection]
        values: list[object] = list(parameters)
        if publisher is not None:
            where += " AND did = ?"
            values.append(publisher)
        if before is not None:
            where += " AND first_seen < ?"
            values.append(before)
        rows = self._file.rows(
            f"SELECT {_SHOWN} FROM records WHERE {where}"  # noqa: S608 - ours
            " ORDER BY first_seen DESC LIMIT ?",
            [*values, limit],
        )
        return [_record(row) for row in rows]

    def held(self, collection: str, after: int, limit: int) -> list[tuple[GenericRecord, bytes]]:
        """Records of a collection with their bytes, hidden ones too, oldest first from behind
        `after`."""
        rows = self._file.rows(
            f"SELECT {_SHOWN}, raw FROM records WHERE collection = ?"  # noqa: S608 - ours
            " AND first_seen > ? ORDER BY first_seen LIMIT ?",
            [collection, after, limit],
        )
        return [(_record(row[:-1]), row[-1]) for row in rows]

    def cids_of(self, did: str) -> dict[str, str]:
        """As `IndexStore.cids_of`."""
        rows = self._file.rows(
            "SELECT collection, rkey, cid, verified FROM records WHERE did = ?", [did]
        )
        return {
            f"{collection}/{rkey}": cid if verified else ""
            for collection, rkey, cid, verified in rows
        }

    def _put(
        self,
        sql: Any,
        did: str,
        rev: str,
        put: GenericPut,
        counts: Counter[str],
        *,
        verified: bool,
        visible: bool,
    ) -> None:
        now = int(self._clock() * 1_000_000)
        row = sql.execute(
            "SELECT first_seen, cid, verified FROM records WHERE uri = ?", [put.uri]
        ).fetchone()
        if row is None:
            if counts[put.collection] >= MAX_RECORDS:
                return
            counts[put.collection] += 1
            self._last_seen = seen = max(now, self._last_seen + 1)
        else:
            seen = row[0]
            verified = verified or (row[1] == put.cid and bool(row[2]))
        sql.execute(
            "INSERT OR REPLACE INTO records VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
            [
                seen,
                put.uri,
                did,
                put.collection,
                put.rkey,
                put.cid,
                rev,
                put.raw,
                put.json,
                now,
                verified,
                visible,
            ],
        )

    @staticmethod
    def _delete(sql: Any, uri: str, counts: Counter[str]) -> None:
        if sql.execute("DELETE FROM records WHERE uri = ?", [uri]).rowcount:
            counts[uri.split("/")[3]] -= 1


def _record(row: Sequence[Any]) -> GenericRecord:
    first_seen, uri, did, collection, rkey, cid, rev, json, indexed_at, verified = row
    return GenericRecord(
        first_seen, uri, did, collection, rkey, cid, rev, json, indexed_at, bool(verified)
    )
