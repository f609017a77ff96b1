"""How DuckDB and SQLite answer the store's questions, which their answers do not show."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

from atdex_appview.store.base import RepoChange
from atdex_appview.store.duckdb import DuckDBStore
from tests.appview.records import (
    OTHER_SCHEMA,
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

DID = "did:plc:p77"
ACCOUNTS = 4000
"""With one record of each kind; for a few rows DuckDB takes other ways than for many."""


class Asked:
    """The store, and every question that it put to DuckDB, or to SQLite for its rows."""

    def __init__(self, store: DuckDBStore, monkeypatch: pytest.MonkeyPatch) -> None:
        self.store = store
        self._read = store._all
        self._questions: list[tuple[str, Sequence[object]]] = []
        monkeypatch.setattr(store, "_all", self._note)
        self._read_rows = store._rows._read
        self._row_questions: list[tuple[str, Sequence[object]]] = []
        monkeypatch.setattr(store._rows, "_read", self._note_rows)

    def _note(self, query: str, parameters: Sequence[object]) -> list[object]:
        self._questions.append((query, parameters))
        return self._read(query, parameters)

    def _note_rows(self, query: str, parameters: Sequence[object]) -> list[tuple[object, ...]]:
        self._row_questions.append((query, parameters))
        return self._read_rows(query, parameters)

    def row_plans(self) -> list[str]:
        """How SQLite answers each question."""
        return [
            str(self._read_rows(f"EXPLAIN QUERY PLAN {query}", parameters))
            for query, parameters in self._row_questions
        ]

    def plans(self) -> list[str]:
        """How DuckDB really answered each question."""
        return [
            str(self._read(f"EXPLAIN ANALYZE {query}", parameters))
            for query, parameters in self._questions
        ]


@pytest.fixture
def asked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Asked]:
    store = DuckDBStore.open(tmp_path / "records.duckdb")
    for start in range(0, ACCOUNTS, 1000):
        store.apply([published(n) for n in range(start, start + 1000)], now=start)
    yield Asked(store, monkeypatch)
    store.close()


def published(number: int) -> RepoChange:
    did = f"did:plc:p{number}"
    return commit(
        did,
        1,
        put(did, "a", dataset()),
        put(did, "s", schema()),
        put(did, "l", lens(f"{SCHEMA}{number}", f"{OTHER_SCHEMA}{number}")),
        put(did, "x", label(uri(did, "dataset", "a"))),
        put(did, "v", verification(uri(did, "lens", "l"))),
    )


def test_what_has_an_index_is_read_by_it(asked: Asked) -> None:
    store = asked.store
    at, of = uri(DID, "dataset", "a"), uri(DID, "lens", "l")
    assert len(store.records([at, of, uri("did:plc:p78", "dataset", "a")])) == 3
    assert len(store.list_records("dataset", publisher=DID, tag=None, limit=9)) == 1
    assert len(store.list_records("dataset", publisher=DID, schema=SCHEMA, limit=9)) == 1
    assert len(store.list_records("lens", source=f"{SCHEMA}77", limit=9)) == 1
    assert (
        len(store.list_records("lens", target=f"{OTHER_SCHEMA}77", limit=9, after=(10**9, ""))) == 1
    )
    assert len(store.list_records("label", dataset=at, limit=9)) == 1
    assert store.resolve_label(DID, "stable", None) is not None
    assert len(store.list_records("dataset", publisher=DID, name="a dataset", limit=9)) == 1
    assert len(store.schema_summaries([uri(DID, "schema", "s")])) == 1
    assert len(store.labels_of([at])) == len(store.verifications_of([of])) == 1
    plans = asked.plans()
    assert len(plans) >= 6
    for plan in plans:
        assert "Index Scan" in plan, plan
        assert "Sequential Scan" not in plan, plan
    rows = asked.row_plans()
    assert len(rows) >= 9
    for plan in rows:
        assert "USING INDEX" in plan, plan
        # The keys that are asked for, and the rows of a page that was found, are gone through.
        assert "SCAN" not in re.sub(r"SCAN (wanted|\(subquery-\d+\))", "", plan), plan
        assert "TEMP B-TREE" not in plan, plan


def test_a_page_of_all_is_read_in_the_order_that_the_rows_lie_in(asked: Asked) -> None:
    assert len(asked.store.list_records("dataset", limit=26)) == 26
    assert len(asked.store.list_records("dataset", limit=26, after=(2_000, ""))) == 26
    newest, later = asked.row_plans()
    assert "SCAN dataset" in newest and "SEARCH dataset USING INTEGER PRIMARY KEY" in later
    assert "TEMP B-TREE" not in newest + later


def test_a_filtered_page_reads_no_record_but_those_of_the_page(asked: Asked) -> None:
    for limit in (1, 26, 51, 101):
        assert len(asked.store.list_records("dataset", limit=limit, schema=SCHEMA)) == limit
    for plan in asked.plans():
        assert "json" not in plan and "raw" not in plan, plan
