"""How a batch is applied: one transaction, whole or not at all.

Order within the transaction: removed accounts, hidden and restored accounts, records that go
or are replaced (DELETE), records that come (INSERT), the accounts' new states, the change
number. A batch that comes to what is held already takes none. When `apply` returns, the
transaction is in DuckDB's log on disk; what readers are told from memory (`Repos`) changes
after that.

Records that a commit says it created are inserted without a look-up, because a look-up of a
thousand URIs costs three times their insertion. Where that word is wrong (a replay), the
primary key refuses, the transaction is rolled back and runs again with every URI looked up.
"""

# Statements are put together from table and column names of ours and from placeholders:
# ruff: noqa: S608

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from typing import Literal, NamedTuple

import duckdb
import pyarrow as pa

from atdex_appview.search.document import SearchDocument
from atdex_appview.store.base import AccountEvent, Applied, Put, RecordEvent, StoreEvent
from atdex_appview.store.columns import TYPED, place_of
from atdex_appview.store.plan import DELETED, Final, Plan
from atdex_appview.store.repos import Repo, Repos, counted, holds
from atdex_appview.store.row_tables import extras
from atdex_appview.store.rows import Row, RowChanges
from atdex_appview.store.schema import REPO_ARROW, arrow_schema
from atdex_lexicons.model import KINDS, Kind

MAX_KEYS = 1000
"""Keys in one statement's IN list: past this the time to parse it outgrows what it saves."""

BATCH = "batch"
"""The name under which rows are handed to DuckDB."""


class _Existing(NamedTuple):
    kind: Kind
    first_seen: int
    cid: str
    conformance: str
    verified: bool


class Outcome(NamedTuple):
    """What the memory of the store takes over once the transaction has committed."""

    applied: Applied
    repos: list[Repo]
    kinds: dict[str, Kind]
    places: dict[str, tuple[str, int] | None]
    last_seen: int
    rows: RowChanges
    events: list[StoreEvent]


class Transaction:
    """One attempt to apply one plan. `connection` is the writer's own."""

    def __init__(
        self,
        connection: duckdb.DuckDBPyConnection,
        plan: Plan,
        *,
        known: Repos,
        kinds: dict[str, Kind],
        places: dict[str, tuple[str, int]],
        number: int,
        last_seen: int,
        now: int,
    ) -> None:
        self._sql = connection
        self._plan = plan
        self._known = known
        self._kinds = kinds
        self._places = places
        self._number = number
        self._last_seen = last_seen
        self._now = now
        self._upserted: dict[str, SearchDocument] = {}
        self._removed: set[str] = set()
        self._new_kinds: dict[str, Kind] = {}
        self._new_places: dict[str, tuple[str, int] | None] = {}
        self._relabelled: set[str] = set()
        self._moved = False
        self._rows = RowChanges()
        self._record_events: list[RecordEvent] = []

    def run(
        self, *, trust_created: bool, before_commit: Callable[[Outcome], None] | None = None
    ) -> Outcome:
        """Raises duckdb.ConstraintException where `trust_created` was too trusting."""
        self._sql.begin()
        try:
            outcome = self._run(trust_created)
            if before_commit is not None:
                before_commit(outcome)
            self._sql.commit()
        except BaseException:
            self._sql.rollback()
            raise
        finally:
            # Not within the transaction: one that failed refuses even this.
            self._sql.unregister(BATCH)
        return outcome

    def _run(self, trust_created: bool) -> Outcome:
        self._purge()
        self._flip()
        existing = self._existing(trust_created)
        held = self._records(existing)
        self._label(held)
        repos = {
            did: repo.holding(held[did]) if did in held else repo
            for did, repo in self._plan.changed_repos().items()
        }
        self._insert_repos(list(repos.values()))
        for did, counts in held.items():
            # The next part of the same rev leaves the account as it is, but for what it holds.
            if did not in repos and counts != self._plan.repos[did].held:
                repos[did] = self._plan.repos[did].holding(counts)
        self._insert_removals()
        self._save_places()
        number = self._number - 1
        if repos or self._moved:
            number = self._number
            self._sql.execute(
                "UPDATE facts SET change = ?, last_seen = ?", [number, self._last_seen]
            )
        applied = Applied(
            number, tuple(self._upserted.values()), tuple(self._removed), self._plan.stale
        )
        return Outcome(
            applied,
            list(repos.values()),
            self._new_kinds,
            self._new_places,
            self._last_seen,
            self._rows,
            self._events(),
        )

    # Accounts

    def _purge(self) -> None:
        dids = [did for did in self._plan.purged if self._held(did)]
        self._rows.removed += dids
        for kind in KINDS:
            for part, keys in _parts(dids):
                if kind == "dataset":
                    query = f"SELECT uri FROM dataset WHERE did IN ({keys})"
                    self._removed.update(
                        uri for (uri,) in self._sql.execute(query, part).fetchall()
                    )
                self._sql.execute(f"DELETE FROM {kind} WHERE did IN ({keys})", part)
        for uri, (did, _) in self._places.items():
            if did in self._plan.purged:
                self._new_places[uri] = None

    def _flip(self) -> None:
        flipped = self._plan.flipped()
        for active in (False, True):
            dids = [did for did, now_active in flipped.items() if now_active is active]
            self._rows.shown.update(dict.fromkeys(dids, active))
            for part, keys in _parts(dids):
                for kind in KINDS:
                    query = f"UPDATE {kind} SET visible = ?, change = ? WHERE did IN ({keys})"
                    self._sql.execute(query, [active, self._number, *part])
                where = f"did IN ({keys})"
                for document in search_documents(self._sql, where, part):
                    if active:
                        self._upserted[document.uri] = document
                    else:
                        self._removed.add(document.uri)

    def _events(self) -> list[StoreEvent]:
        """See `IndexStore.tell` for their order.

        Who is hidden in the batch is so after its records: before, they were seen. What comes of
        an account that is hidden at the end has no content.
        """
        first: list[StoreEvent] = []
        last: list[StoreEvent] = []
        for did, repo in self._plan.changed_repos().items():
            before = self._known.get(did)
            was = (before.active, before.status) if before else (True, None)
            if did in self._plan.purged and self._held(did):
                first.append(AccountEvent(did, active=False, status=DELETED))
                was = (False, DELETED)
            if (repo.active, repo.status) == was:
                continue
            event = AccountEvent(did, repo.active, repo.status)
            seen = before is not None and before.active and did not in self._plan.purged
            (last if seen else first).append(event)
        return [*first, *self._record_events, *last]

    def _held(self, did: str) -> bool:
        repo = self._known.get(did)
        return repo is not None and any(repo.held)

    # Records

    def _existing(self, trust_created: bool) -> dict[str, _Existing]:
        wanted: dict[Kind, list[str]] = defaultdict(list)
        for uri, final in self._plan.finals.items():
            kind = final.put.kind if final.put else self._kind_of(uri)
            trusted = trust_created and final.fresh and final.put is not None
            if kind is not None and not trusted:
                wanted[kind].append(uri)
        found: dict[str, _Existing] = {}
        for kind, uris in wanted.items():
            for part, keys in _parts(uris):
                query = (
                    f"SELECT uri, first_seen, cid, conformance, verified FROM {kind}"
                    f" WHERE uri IN ({keys})"
                )
                for uri, *rest in self._sql.execute(query, part).fetchall():
                    found[uri] = _Existing(kind, *rest)
        return found

    def _records(self, existing: dict[str, _Existing]) -> dict[str, tuple[int, ...]]:
        """Deletes and inserts; returns how many records each touched account then holds."""
        held: dict[str, list[int]] = {}
        going: dict[Kind, list[str]] = defaultdict(list)
        coming: dict[Kind, list[tuple[Put, Final, int]]] = defaultdict(list)
        for uri, final in self._plan.finals.items():
            row = existing.get(uri)
            counts = held.get(final.did)
            if counts is None:
                purged = final.did in self._plan.purged
                repo = None if purged else self._known.get(final.did)
                counts = held[final.did] = list(repo.held if repo else Repo(final.did).held)
            put = final.put
            if put is None:
                self._leave(uri, final, row)
                if row is not None:
                    going[row.kind].append(uri)
                    counts[counted(uri.split("/")[3])] -= 1
                    self._told(uri, final, "delete")
            elif row is not None and self._same(row, final):
                continue
            else:
                if row is not None:
                    going[row.kind].append(uri)
                    if final.reset or (row.cid, row.conformance) != (put.cid, put.conformance):
                        self._told(uri, final, "update")
                    final = replace(final, verified=_verified(row, final))
                else:
                    counts[counted(put.collection)] += 1
                    self._told(uri, final, "create")
                coming[put.kind].append((put, final, self._place(uri, final, row)))
        self._moved = bool(going or coming) or any(
            place != self._places.get(uri) for uri, place in self._new_places.items()
        )
        for kind, uris in going.items():
            for part, keys in _parts(uris):
                if kind == "label":
                    query = f"SELECT did, dataset_uri FROM label WHERE uri IN ({keys})"
                    self._relabelled |= own_datasets(self._sql.execute(query, part).fetchall())
                self._sql.execute(f"DELETE FROM {kind} WHERE uri IN ({keys})", part)
        self._rows.gone.update(going)
        for kind, rows in coming.items():
            self._insert_records(kind, rows)
        return {did: tuple(counts) for did, counts in held.items()}

    def _told(self, uri: str, final: Final, action: Literal["create", "update", "delete"]) -> None:
        put = final.put
        if put is None:
            collection, _, rkey = uri.removeprefix(f"at://{final.did}/").partition("/")
            event = RecordEvent(final.did, final.rev, collection, rkey, action)
        else:
            raw = put.raw if self._plan.repos[final.did].active else None
            event = RecordEvent(
                final.did,
                final.rev,
                put.collection,
                put.rkey,
                action,
                put.cid,
                raw,
                put.conformance,
            )
        self._record_events.append(event)

    def _leave(self, uri: str, final: Final, row: _Existing | None) -> None:
        if row is not None and row.kind == "dataset":
            self._removed.add(uri)
            self._upserted.pop(uri, None)
        if final.keep_place and (row is not None or final.entered):
            self._new_places[uri] = (final.did, self._place(uri, final, row))
        elif not final.keep_place and uri in self._places:
            self._new_places[uri] = None

    def _same(self, row: _Existing, final: Final) -> bool:
        put = final.put
        assert put is not None
        return (
            not (final.reset or final.anew)
            and (row.cid, row.conformance) == (put.cid, put.conformance)
            and row.verified == _verified(row, final)
        )

    def _place(self, uri: str, final: Final, row: _Existing | None) -> int:
        """The record's `first_seen`: the one it has or had, else a new one, never given twice."""
        kept = self._places.get(uri)
        if kept is not None and final.put is not None:
            self._new_places[uri] = None
        if not final.reset:
            if row is not None:
                return row.first_seen
            if kept is not None and final.did not in self._plan.purged:
                return kept[1]
        self._last_seen = max(self._now, self._last_seen + 1)
        return self._last_seen

    def _insert_records(self, kind: Kind, rows: Sequence[tuple[Put, Final, int]]) -> None:
        repos = self._plan.repos
        visible = [repos[final.did].active for _, final, _ in rows]
        puts = [put for put, _, _ in rows]
        columns: dict[str, Sequence[object]] = {
            "uri": [put.uri for put in puts],
            "did": [put.did for put in puts],
            "collection": [put.collection for put in puts],
            "rkey": [put.rkey for put in puts],
            "cid": [put.cid for put in puts],
            "rev": [final.rev for _, final, _ in rows],
            "conformance": [put.conformance for put in puts],
            "verified": [final.verified for _, final, _ in rows],
            "first_seen": [seen for _, _, seen in rows],
            "indexed_at": [self._now] * len(rows),
            "visible": visible,
            "change": [self._number] * len(rows),
            "created": [put.created_at for put in puts],
            "raw": [put.raw for put in puts],
        }
        values = zip(*[put.values for put in puts], strict=True)
        columns.update(zip((column.name for column in TYPED[kind]), values, strict=True))
        self._insert(kind, pa.Table.from_pydict(columns, schema=arrow_schema(kind)))
        self._rows.come[kind] = [
            row_of(put, final, seen, self._now, shown)
            for (put, final, seen), shown in zip(rows, visible, strict=True)
        ]
        for put in puts:
            if put.collection not in self._kinds and put.collection not in self._new_kinds:
                self._sql.execute("INSERT INTO collections VALUES (?, ?)", [put.collection, kind])
                self._new_kinds[put.collection] = kind
        if kind == "label":
            self._relabelled |= own_datasets(
                (put.did, uri) for put in puts if isinstance(uri := put.values[_LABELLED], str)
            )
        if kind == "dataset":
            for (put, _, seen), shown in zip(rows, visible, strict=True):
                if shown:
                    self._upserted[put.uri] = _document(put, seen)
                    self._removed.discard(put.uri)

    def _label(self, held: dict[str, tuple[int, ...]]) -> None:
        """Brings the documents of this batch to the labels that there are now.

        Few accounts have labels, and only of those is it asked.
        """
        labelling = {did for did, counts in held.items() if holds(counts, "label")}
        wanted = {uri for uri, document in self._upserted.items() if document.did in labelling}
        others = self._relabelled - self._upserted.keys()
        for part, keys in _parts(others):
            for document in search_documents(self._sql, f"uri IN ({keys}) AND visible", part):
                self._upserted[document.uri] = document
            change = f"UPDATE dataset SET change = ? WHERE uri IN ({keys}) AND visible"
            self._sql.execute(change, [self._number, *part])
        wanted |= self._relabelled - others
        named = labelled(self._sql, wanted)
        for uri in wanted:
            self._upserted[uri] = self._upserted[uri]._replace(labelled=uri in named)

    # What else the transaction keeps

    def _insert_repos(self, repos: Sequence[Repo]) -> None:
        if not repos:
            return
        columns = {
            name: [getattr(repo, name) for repo in repos]
            for name in REPO_ARROW.names
            if name != "change"
        }
        columns["change"] = [self._number] * len(repos)
        self._insert("repos", pa.Table.from_pydict(columns, schema=REPO_ARROW))

    def _insert_removals(self) -> None:
        if self._removed:
            uris = list(self._removed)
            rows = pa.table({"uri": uris, "change": [self._number] * len(uris)})
            self._insert("removals", rows)

    def _save_places(self) -> None:
        for part, keys in _parts([uri for uri in self._new_places if uri in self._places]):
            self._sql.execute(f"DELETE FROM places WHERE uri IN ({keys})", part)
        kept = [(uri, *place) for uri, place in self._new_places.items() if place is not None]
        if kept:
            uris, dids, seen = zip(*kept, strict=True)
            rows = pa.table({"uri": uris, "did": dids, "first_seen": seen})
            self._insert("places", rows)

    def _insert(self, table: str, rows: pa.Table) -> None:
        self._sql.register(BATCH, rows)
        self._sql.execute(f"INSERT INTO {table} BY NAME SELECT * FROM {BATCH}")

    def _kind_of(self, uri: str) -> Kind | None:
        return kind_of_uri(uri, self._new_kinds) or kind_of_uri(uri, self._kinds)


_LABELLED = place_of("label", "dataset_uri")


def _verified(row: _Existing, final: Final) -> bool:
    """Whether a signature stands behind this version: what was verified once stays so, for as
    long as it is the same version that is held.
    """
    kept = row.verified and final.put is not None and row.cid == final.put.cid
    return final.verified or (kept and final.direct)


def kind_of_uri(uri: str, kinds: dict[str, Kind]) -> Kind | None:
    """The kind of `at://did/collection/rkey` by its collection; None where no record has it."""
    parts = uri.split("/")
    return kinds.get(parts[3]) if len(parts) == 5 else None


SEARCH_COLUMNS = (
    "uri, did, name, description, tags, schema_uri, license, first_seen, sample_count, byte_count"
)


LABELLED = "(uri, did) IN (SELECT dataset_uri, did FROM label)"
"""Whether a dataset has a label of its own publisher, for statements that read all of them."""


def search_documents(
    connection: duckdb.DuckDBPyConnection, where: str, parameters: Sequence[object]
) -> list[SearchDocument]:
    """The documents of the datasets that `where` picks, visible or not."""
    query = f"SELECT {SEARCH_COLUMNS} FROM dataset WHERE {where}"
    rows = connection.execute(query, list(parameters)).fetchall()
    named = labelled(connection, [row[0] for row in rows])
    return [search_document((*row, row[0] in named)) for row in rows]


def labelled(connection: duckdb.DuckDBPyConnection, uris: Iterable[str]) -> set[str]:
    """Those of the datasets that have a label of their own publisher."""
    found: set[str] = set()
    for part, keys in _parts(uris):
        query = f"SELECT did, dataset_uri FROM label WHERE dataset_uri IN ({keys})"
        found |= own_datasets(connection.execute(query, part).fetchall())
    return found


def own_datasets(labels: Iterable[tuple[str, str]]) -> set[str]:
    """The datasets of labels, (DID, dataset), that are in the labels' own repos."""
    return {uri for did, uri in labels if uri.startswith(f"at://{did}/")}


def search_document(row: Sequence[object]) -> SearchDocument:
    """From a row of SEARCH_COLUMNS and whether it is labelled."""
    values = list(row)
    values[4] = tuple(values[4]) if isinstance(values[4], list) else ()
    return SearchDocument(*values)  # type: ignore[arg-type]  # the columns are typed by the table


def row_of(put: Put, final: Final, first_seen: int, now: int, visible: bool) -> Row:
    """The record as `rows` keeps it."""
    return (
        first_seen,
        put.uri,
        put.did,
        put.cid,
        final.rev,
        put.conformance,
        now,
        final.verified,
        visible,
        put.json,
        *extras(put),
    )


def _document(put: Put, first_seen: int) -> SearchDocument:
    texts, counts = put.values[:5], put.values[5:7]  # as TYPED has them
    return search_document((put.uri, put.did, *texts, first_seen, *counts))


def _parts(keys: Iterable[str]) -> Iterable[tuple[list[str], str]]:
    """The keys in parts that fit one statement, each with its placeholders."""
    all_keys = list(keys)
    for start in range(0, len(all_keys), MAX_KEYS):
        part = all_keys[start : start + MAX_KEYS]
        yield part, ", ".join("?" * len(part))
