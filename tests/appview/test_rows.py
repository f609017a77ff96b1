"""The rows that answers are made from: always what the records are, whatever a kill leaves."""

from __future__ import annotations

import shutil
import sqlite3
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from atdex_appview.errors import StoreUnavailable
from atdex_appview.store.base import Change, Delete, Put, RepoChange, StatusChange, StoredRecord
from atdex_appview.store.duckdb import DuckDBStore
from atdex_appview.store.rows import RECORDS, SCHEMAS, RowChanges, Rows
from atdex_lexicons.model import KINDS
from tests.appview.index import ALICE, BOB, Index, dataset, label, schema

FILE = "records.rows.sqlite"


def everything(store: DuckDBStore) -> list[StoredRecord]:
    return [record for kind in KINDS for record in store.list_records(kind, limit=100)]


def as_duckdb_has_it(store: DuckDBStore) -> set[tuple[str, str]]:
    cursor = store._writer.cursor()
    try:
        return {
            row
            for kind in KINDS
            for row in cursor.execute(f"SELECT uri, cid FROM {kind} WHERE visible").fetchall()
        }
    finally:
        cursor.close()


@pytest.fixture
def published(tmp_path: Path) -> Iterator[list[Put]]:
    """Two accounts' records in a store that is closed again, in `tmp_path`."""
    with Index.open(tmp_path) as index:
        [image] = index.publish(ALICE, schema())
        one, two = index.publish(ALICE, dataset("one", image.uri), dataset("two", image.uri))
        [named] = index.publish(ALICE, label("stable", one.uri, "1.0.0"))
        [other] = index.publish(BOB, dataset("other", image.uri, shards=3))
    yield [image, one, two, named, other]


def change(did: str, number: int, *changes: Put | Delete) -> RepoChange:
    return RepoChange(did, f"3zzzzzzzzzz{number:02}", changes, None, None)


def version(put: Put, of: Put) -> Put:
    """Another version of the record: what `of` says."""
    return put._replace(cid=of.cid, raw=of.raw, json=of.json, values=of.values, created=False)


def killed(store: DuckDBStore, monkeypatch: pytest.MonkeyPatch, *changes: Change) -> None:
    """The batch is in DuckDB, and the kill comes before it is in the rows."""

    def kill(self: Rows, changes: RowChanges, number: int) -> None:
        raise StoreUnavailable("killed")

    with monkeypatch.context() as patched:
        patched.setattr(Rows, "apply", kill)
        with pytest.raises(StoreUnavailable):
            store.apply(changes, now=10**15)
    store.close()


@pytest.mark.parametrize(
    "batch",
    [
        lambda puts: [change(ALICE, 1, Delete(puts[1].uri), version(puts[2], puts[4]))],
        lambda puts: [StatusChange(ALICE, active=False, status="takendown")],
        lambda puts: [StatusChange(ALICE, active=False, status="deleted"), change(BOB, 1)],
    ],
)
def test_a_kill_between_records_and_rows_is_made_up_for(
    tmp_path: Path,
    published: list[Put],
    monkeypatch: pytest.MonkeyPatch,
    batch: Callable[[list[Put]], list[Change]],
) -> None:
    store = DuckDBStore.open(tmp_path / "records.duckdb")
    before = everything(store)
    killed(store, monkeypatch, *batch(published))
    store = DuckDBStore.open(tmp_path / "records.duckdb")
    after = everything(store)
    assert after != before
    assert {(record.uri, record.cid) for record in after} == as_duckdb_has_it(store)
    assert store._rows.doubts() == ([], [])
    store.close()


@pytest.mark.parametrize("lost", ["the file", "its last batches", "its end", "its format"])
def test_rows_that_are_lost_or_older_are_made_anew(
    tmp_path: Path, published: list[Put], lost: str
) -> None:
    store = DuckDBStore.open(tmp_path / "records.duckdb")
    store.close()
    shutil.copy(tmp_path / FILE, tmp_path / "older")
    store = DuckDBStore.open(tmp_path / "records.duckdb")
    store.apply([StatusChange(BOB, active=False, status="suspended")], now=10**15)
    store.apply([StatusChange(BOB, active=True, status=None)], now=10**15)
    now = everything(store)
    store.close()
    if lost == "the file":
        (tmp_path / FILE).unlink()
    elif lost == "its last batches":
        shutil.move(tmp_path / "older", tmp_path / FILE)
    else:
        rows = Rows.open(tmp_path / FILE)
        rows._writer.execute("DELETE FROM facts" if "end" in lost else "PRAGMA user_version = 77")
        rows.close()
    store = DuckDBStore.open(tmp_path / "records.duckdb")
    assert everything(store) == now
    assert len(now) == len(published)
    store.close()


def test_a_path_that_means_something_in_an_address_is_a_path(
    tmp_path: Path, published: list[Put]
) -> None:
    odd = tmp_path / "a?mode=rwc&b#c%41"
    odd.mkdir()
    shutil.copy(tmp_path / "records.duckdb", odd)
    store = DuckDBStore.open(odd / "records.duckdb")
    assert len(everything(store)) == len(published)
    store.close()


def test_labels_of_strangers_and_floods_of_ones_own_do_not_make_a_page_slow(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("atdex_appview.store.rows.LABELS", 3)
    with Index.open(tmp_path) as index:
        [image] = index.publish(ALICE, schema())
        [one] = index.publish(ALICE, dataset("one", image.uri))
        index.publish(BOB, *(label(f"theirs {n}", one.uri, "9.0.0") for n in range(5)))
        index.publish(ALICE, *(label("own", one.uri, f"1.{n}.0") for n in range(5)))
        assert [found.version for found in index.store.labels_of([one.uri])[one.uri]] == [
            "1.4.0", "1.3.0", "1.2.0",
        ]  # fmt: skip


def test_what_is_remembered_of_schemas_is_what_they_are(tmp_path: Path) -> None:
    with Index.open(tmp_path) as index:
        store = index.store
        [image] = index.publish(ALICE, schema("Image"))
        [cats] = index.publish(BOB, schema("Cats"))
        uris = [image.uri, cats.uri]

        def names() -> list[str]:
            return sorted(summary.name for summary in store.schema_summaries(uris).values())

        assert names() == names() == ["Cats", "Image"]
        assert store.schema_summaries([cats.uri]).keys() == {cats.uri}
        [dogs] = index.publish(BOB, schema("Dogs"))
        index.commit(BOB, version(cats, dogs))
        assert names() == ["Dogs", "Image"]
        index.commit(ALICE, Delete(image.uri))
        assert names() == ["Dogs"]
        index.apply(StatusChange(BOB, active=False, status="deactivated"))
        assert names() == []
        index.apply(StatusChange(BOB, active=True, status=None))
        assert names() == ["Dogs"]


@pytest.mark.parametrize("most", [0, SCHEMAS])
def test_a_schema_that_changes_while_it_is_read_is_not_remembered_as_it_was(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, most: int
) -> None:
    monkeypatch.setattr("atdex_appview.store.rows.SCHEMAS", most)
    with Index.open(tmp_path) as index:
        image, cats = index.publish(ALICE, schema("Image"), schema("Cats"))
        rows = index.store._rows
        read = rows.columns

        def changed_meanwhile(*asked: Any) -> list[Any]:
            monkeypatch.setattr(rows, "columns", read)
            found = read(*asked)
            index.commit(ALICE, version(image, cats))
            return found

        monkeypatch.setattr(rows, "columns", changed_meanwhile)
        assert [row[2] for row in rows.schemas([image.uri])] == ["Image"]
        assert [row[2] for row in rows.schemas([image.uri])] == ["Cats"]


def test_many_large_records_are_not_read_as_one_value_that_sqlite_does_not_have(
    tmp_path: Path,
) -> None:
    """As on a node where each is 6 MB, and the largest value 1,000 MB."""
    with Index.open(tmp_path) as index:
        [image] = index.publish(ALICE, schema())
        puts = [
            replace(dataset(f"d{n}", image.uri), description="x" * 4_000)
            for n in range(RECORDS * 2)
        ]
        uris = [put.uri for put in index.publish(ALICE, *puts)]
        [connection] = index.store._rows._idle
        connection.setlimit(sqlite3.SQLITE_LIMIT_LENGTH, RECORDS * 6_000)
        found = index.store.records(uris)
        assert found.keys() == set(uris)
        assert sum(len(record.json) for record in found.values()) > RECORDS * 6_000
        seen = [record.first_seen for record in found.values()]
        assert index.store.datasets_seen(seen) == found
