"""The record store as a file: who may open it, what it survives, its formats."""

from __future__ import annotations

import subprocess
import sys
import threading
from pathlib import Path

import duckdb
import pytest

from atdex_appview.errors import StoreFormatUnknown, StoreInUse, StoreUnavailable
from atdex_appview.store.base import Delete
from atdex_appview.store.duckdb import DuckDBStore
from atdex_lexicons.model import KINDS
from tests.appview.records import (
    ALICE,
    commit,
    dataset,
    lens,
    put,
    uri,
)
from tests.appview.stores import A, B, names, reopened


def test_a_second_node_on_the_same_directory_is_told_so(store: DuckDBStore) -> None:
    opens = (
        "import sys, pathlib\n"
        "from atdex_appview.store.duckdb import DuckDBStore\n"
        "from atdex_appview.errors import StoreInUse\n"
        "try:\n"
        "    DuckDBStore.open(pathlib.Path(sys.argv[1]))\n"
        "except StoreInUse as refused:\n"
        "    print(refused)\n"
    )
    ran = subprocess.run(
        [sys.executable, "-c", opens, str(store.path)], capture_output=True, text=True, timeout=30
    )
    assert ran.returncode == 0, ran.stderr
    assert f"another node uses this data directory ({store.path.parent})" in ran.stdout


def test_a_file_of_another_program_or_format_is_refused(tmp_path: Path) -> None:
    foreign = tmp_path / "foreign.duckdb"
    with duckdb.connect(str(foreign)) as connection:
        connection.execute("CREATE TABLE t (a INTEGER)")
    with pytest.raises(StoreFormatUnknown, match="another program"):
        DuckDBStore.open(foreign)
    newer = tmp_path / "newer.duckdb"
    DuckDBStore.open(newer).close()
    with duckdb.connect(str(newer)) as connection:
        connection.execute("UPDATE facts SET format = 99")
    with pytest.raises(StoreFormatUnknown, match="has format 99"):
        DuckDBStore.open(newer)


def test_a_file_that_is_no_database_is_unavailable_and_left_alone(tmp_path: Path) -> None:
    junk = tmp_path / "records.duckdb"
    junk.write_bytes(b"no database" * 1000)
    with pytest.raises((StoreUnavailable, StoreInUse)) as caught:
        DuckDBStore.open(junk)
    assert isinstance(caught.value, StoreUnavailable)
    assert junk.read_bytes() == b"no database" * 1000


def test_a_closed_store_is_unavailable(store: DuckDBStore) -> None:
    store.check()
    store.close()
    store.close()
    for read in (
        store.check,
        lambda: store.records([A]),
        lambda: list(store.all_search_documents()),
    ):
        read_it = read
        store._kinds["science.alt.dataset.entry"] = "dataset"
        with pytest.raises(StoreUnavailable):
            read_it()


def test_a_checkpoint_waits_for_readers_and_says_so(store: DuckDBStore) -> None:
    store.apply([commit(ALICE, 1, put(ALICE, "a", dataset()))], now=1)
    reader = store._connection.cursor()
    reader.execute("BEGIN")
    reader.execute("SELECT count(*) FROM dataset").fetchall()
    store.apply([commit(ALICE, 2, put(ALICE, "b", dataset()))], now=2)
    blocked = store.checkpoint()
    reader.execute("ROLLBACK")
    reader.close()
    assert store.checkpoint() is True
    assert blocked is False
    assert names(store) == ["b", "a"]


def test_readers_in_many_threads_see_a_batch_whole_or_not_at_all(store: DuckDBStore) -> None:
    wrong: list[object] = []
    stop = threading.Event()

    def read() -> None:
        while not stop.is_set():
            found = store.records([A, B])
            if len({record.rev for record in found.values()}) > 1 or len(found) == 1:
                wrong.append(found)

    threads = [threading.Thread(target=read) for _ in range(4)]
    for thread in threads:
        thread.start()
    for n in range(1, 40):
        pair = (dataset(f"v{n}"), dataset(f"w{n}"))
        store.apply([commit(ALICE, n, put(ALICE, "a", pair[0]), put(ALICE, "b", pair[1]))], now=n)
    stop.set()
    for thread in threads:
        thread.join()
    assert wrong == []


def test_a_store_of_the_last_format_is_taken_over(store: DuckDBStore) -> None:
    store.apply([commit(ALICE, 1, put(ALICE, "a", dataset()), put(ALICE, "l", lens()))], now=1)
    before = store.records([A, uri(ALICE, "lens", "l")])
    store.close()
    old = duckdb.connect(str(store.path))
    for kind in KINDS:
        old.execute(f"ALTER TABLE {kind} ADD COLUMN json BLOB DEFAULT '{{}}'::BLOB")
    old.execute("UPDATE facts SET format = 4")
    old.close()
    for left in store.path.parent.glob("*.sqlite*"):
        left.unlink()
    again = DuckDBStore.open(store.path)
    assert again.records(list(before)) == before
    again.apply([commit(ALICE, 2, put(ALICE, "b", dataset()))], now=2)
    again = reopened(again)
    assert names(again) == ["b", "a"]
    again.close()


def test_a_batch_that_fails_leaves_nothing_behind(store: DuckDBStore) -> None:
    broken = put(ALICE, "a", dataset())._replace(raw=7)  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="bytes"):
        store.apply([commit(ALICE, 1, put(ALICE, "b", dataset()), broken)], now=1)
    assert names(store) == []
    assert not store.knows(ALICE)
    store.apply([commit(ALICE, 1, put(ALICE, "a", dataset()))], now=2)
    assert names(store) == ["a"]


def test_the_log_of_accounts_is_compacted_when_the_store_opens(
    store: DuckDBStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("atdex_appview.store.duckdb.COMPACT_ROWS", 5)
    for n in range(1, 12):
        store.apply(
            [commit(ALICE, n, put(ALICE, "a", dataset(f"v{n}")), handle=f"h{n}.example")], n
        )
    store = reopened(store)
    assert store._all("SELECT count(*) FROM repos", []) == [(1,)]
    assert store.did_of_handle("h11.example") == ALICE
    assert store.apply([commit(ALICE, 11, Delete(A))], now=99).stale == 1
    store.close()
