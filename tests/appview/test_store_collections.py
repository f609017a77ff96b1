"""Collections of one kind: counted one by one, and what listings are narrowed to."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path

from atdex_appview.store.base import Delete, Put, StatusChange
from atdex_appview.store.duckdb import DuckDBStore
from tests.appview.records import ALICE, BOB, commit, dataset, put, schema, uri

OWN = "app.bsky.atdata.dataset"


def own(key: str) -> Put:
    """A dataset of the other family."""
    return put(ALICE, key, dataset())._replace(collection=OWN, uri=f"at://{ALICE}/{OWN}/{key}")


def test_records_are_counted_by_collection_and_kind_and_counted_again_at_the_next_start(
    tmp_path: Path,
) -> None:
    path = tmp_path / "records.duckdb"
    with closing(DuckDBStore.open(path)) as store:
        store.apply([commit(ALICE, 1, put(ALICE, "a", dataset()), own("b"))], 1)
        store.apply([commit(BOB, 1, put(BOB, "c", dataset()), put(BOB, "d", schema()))], 2)
        store.apply([commit(BOB, 2, Delete(uri(BOB, "dataset", "c")))], 3)
        before = store.collection_counts()
    with closing(DuckDBStore.open(path)) as store:
        assert store.collection_counts() == before
        assert {name: count for name, count in before.items() if count} == {
            "science.alt.dataset.entry": 1,
            "science.alt.dataset.schema": 1,
            OWN: 1,
        }
        assert store.counts()["dataset"] == 2
        store.apply([StatusChange(ALICE, active=False, status="deactivated")], 4)
        assert store.collection_counts()[OWN] == 0


def test_a_listing_is_narrowed_to_a_collection(tmp_path: Path) -> None:
    with closing(DuckDBStore.open(tmp_path / "records.duckdb")) as store:
        store.apply([commit(ALICE, 1, put(ALICE, "a", dataset()), own("b"))], 1)
        listed = store.list_records("dataset", collection=OWN, publisher=ALICE, limit=10)
        assert [record.rkey for record in listed] == ["b"]
