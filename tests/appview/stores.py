"""Of a record store on disk, for its tests."""

from __future__ import annotations

from atdex_appview.store.duckdb import DuckDBStore
from tests.appview.records import ALICE, uri

A = uri(ALICE, "dataset", "a")
B = uri(ALICE, "dataset", "b")


def reopened(store: DuckDBStore) -> DuckDBStore:
    store.close()
    return DuckDBStore.open(store.path)


def names(store: DuckDBStore, **filters: str) -> list[str]:
    """The rkeys of the datasets, as they are listed."""
    found = store.list_records("dataset", limit=100, **filters)  # type: ignore[arg-type]  # str filters
    return [record.rkey for record in found]
