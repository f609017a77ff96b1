"""DuckDB's log is folded into its file while records come in, whatever is read meanwhile.

A result that is not read to its end is a transaction that does not end: one such read, and the log
grows for as long as the node runs, and all that is in it has to fit into memory.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from threading import Thread
from typing import Any

import pytest

from atdex_appview.store import duckdb as store_module
from atdex_appview.store.duckdb import DuckDBStore
from atdex_appview.store.reads import Reads
from tests.appview.records import (
    ALICE,
    SCHEMA,
    commit,
    dataset,
    label,
    lens,
    put,
    schema,
    uri,
    verification,
)

A, LENS = uri(ALICE, "dataset", "a"), uri(ALICE, "lens", "l")

Read = Callable[[DuckDBStore], Any]

READS: Mapping[str, Read] = {
    "records": lambda store: store.records([A]),
    "datasets_seen": lambda store: store.datasets_seen([1, 2, 3]),
    "list_records": lambda store: [
        store.list_records("dataset", limit=1),
        store.list_records("dataset", limit=1, publisher=ALICE),
        store.list_records("dataset", limit=1, schema=SCHEMA),
        store.list_records("dataset", limit=1, tag="x"),
        store.list_records("dataset", limit=1, name="a"),
    ],
    "resolve_label": lambda store: store.resolve_label(ALICE, "stable", None),
    "schema_summaries": lambda store: store.schema_summaries([SCHEMA]),
    "labels_of": lambda store: store.labels_of([A]),
    "verifications_of": lambda store: store.verifications_of([LENS]),
    "publishers": lambda store: store.publishers([ALICE]),
    "did_of_handle": lambda store: store.did_of_handle("alice.test"),
    "knows": lambda store: store.knows(ALICE),
    "counts": lambda store: store.counts(),
    "collection_counts": lambda store: store.collection_counts(),
    "all_search_documents": lambda store: list(store.all_search_documents()),
    "cids_of": lambda store: store.cids_of(ALICE),
    "all_uris": lambda store: list(store.all_uris()),
    "held_page": lambda store: store.held_page("dataset", after=0, upto=9**9, limit=1),
    "held_span": lambda store: store.held_span("dataset"),
    "documents_of": lambda store: store.documents_of([A]),
    "graph_rows": lambda store: [
        list(store.graph_rows(kind, **few))
        for kind in ("schema", "lens", "verification")
        for few in ({}, {"dids": [ALICE]})
    ],
    "verifiers": lambda store: (store.verifiers(), store.verifiers([LENS])),
    "declarative_lenses": lambda store: store.declarative_lenses([LENS]),
    "lens_checks": lambda store: store.lens_checks([LENS]),
    "faulty_lenses": lambda store: store.faulty_lenses(),
    "nested_in_lenses": lambda store: store.nested_in_lenses(),
    "unchecked_lenses": lambda store: store.unchecked_lenses(),
    "lenses_naming": lambda store: store.lenses_naming([SCHEMA]),
    # Of the store itself.
    "check": lambda store: store.check(),
    "change_number": lambda store: store.change_number(),
    "changed_since": lambda store: store.changed_since(0),
}


def fill(store: DuckDBStore, number: int) -> None:
    keys = [f"{number}n{n}" for n in range(40)]
    changes = [put(ALICE, key, dataset(description="words " * 100)) for key in keys]
    store.apply([commit(ALICE, number, *changes)], now=number)


@pytest.fixture
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[DuckDBStore]:
    """As a node finds it when it starts again."""
    monkeypatch.setattr(store_module, "CHECKPOINT_THRESHOLD", "100KB")
    opened = DuckDBStore.open(tmp_path / "records.duckdb")
    one_of_each = [
        put(ALICE, "a", dataset()),
        put(ALICE, "b", dataset()),
        put(ALICE, SCHEMA.split("/")[-1], schema()),
        put(ALICE, "l", lens()),
        put(ALICE, "m", label(A)),
        put(ALICE, "v", verification(LENS)),
    ]
    opened.apply([commit(ALICE, 1, *one_of_each)], now=1)
    opened.close()
    opened = DuckDBStore.open(tmp_path / "records.duckdb")
    yield opened
    opened.close()


def test_every_read_is_among_these() -> None:
    public = {
        name
        for name, _ in inspect.getmembers(Reads, inspect.isfunction)
        if not name.startswith("_")
    }
    assert public <= READS.keys()


@pytest.mark.parametrize("name", READS)
def test_the_log_is_folded_in_after_every_read(store: DuckDBStore, name: str) -> None:
    reader = Thread(target=READS[name], args=(store,))  # whose connection reads nothing after that
    reader.start()
    reader.join()
    log = store.path.with_name(store.path.name + ".wal")
    sizes = []
    for number in range(2, 14):
        fill(store, number)
        sizes.append(log.stat().st_size if log.exists() else 0)
    assert max(sizes) < 300_000, sizes
    assert sum(size == 0 for size in sizes) > 3, sizes
