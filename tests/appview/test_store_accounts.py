"""Accounts in the record store: hidden, restored, removed, and their handles."""

from __future__ import annotations

import pytest

from atdex_appview.store.base import Change, Delete, HandleChange, StatusChange
from atdex_appview.store.duckdb import DuckDBStore
from atdex_lexicons.model import KINDS
from tests.appview.records import (
    ALICE,
    BOB,
    commit,
    dataset,
    label,
    lens,
    put,
    schema,
    uri,
    verification,
)
from tests.appview.stores import A, B, names, reopened


def test_an_inactive_account_is_hidden_at_once_and_restored_without_the_network(
    store: DuckDBStore,
) -> None:
    store.apply(
        [
            commit(
                ALICE,
                1,
                put(ALICE, "a", dataset()),
                put(ALICE, "s", schema()),
                put(ALICE, "l", lens()),
                put(ALICE, "x", label(A)),
                put(ALICE, "v", verification(uri(ALICE, "lens", "l"))),
                handle="alice.example",
            ),
            commit(BOB, 1, put(BOB, "b", dataset())),
        ],
        now=1,
    )
    before = store.records([A])
    applied = store.apply([StatusChange(ALICE, active=False, status="takendown")], now=2)
    assert applied.removed == (A,)
    assert store.records([A]) == {}
    assert names(store) == ["b"]
    for kind in KINDS:
        assert len(store.list_records(kind, limit=9)) == (1 if kind == "dataset" else 0)
    assert store.counts() == {
        "dataset": 1,
        "schema": 0,
        "lens": 0,
        "label": 0,
        "verification": 0,
        "publishers": 1,
    }
    assert store.resolve_label(ALICE, "stable", None) is None
    assert store.labels_of([A]) == {}
    assert store.schema_summaries([uri(ALICE, "schema", "s")]) == {}
    assert store.did_of_handle("alice.example") is None
    assert [d.uri for d in store.all_search_documents()] == [uri(BOB, "dataset", "b")]
    store = reopened(store)
    assert store.publishers([ALICE])[ALICE].status == "takendown"
    applied = store.apply([StatusChange(ALICE, active=True, status=None)], now=3)
    assert [document.uri for document in applied.upserted] == [A]
    assert store.records([A]) == before
    assert store.counts()["publishers"] == 2
    assert store.did_of_handle("alice.example") == ALICE
    store.close()


def test_what_an_inactive_account_writes_stays_hidden_until_it_is_active(
    store: DuckDBStore,
) -> None:
    store.apply([StatusChange(ALICE, active=False, status="deactivated")], now=1)
    applied = store.apply([commit(ALICE, 1, put(ALICE, "a", dataset()))], now=2)
    assert applied.upserted == ()
    assert names(store) == []
    store.apply([StatusChange(ALICE, active=True, status=None)], now=3)
    assert names(store) == ["a"]


def test_hiding_and_restoring_in_one_batch_with_a_write_between(store: DuckDBStore) -> None:
    store.apply([commit(ALICE, 1, put(ALICE, "a", dataset()))], now=1)
    applied = store.apply(
        [
            StatusChange(ALICE, active=False, status="deactivated"),
            commit(ALICE, 2, put(ALICE, "b", dataset())),
            StatusChange(ALICE, active=True, status=None),
        ],
        now=2,
    )
    assert [document.uri for document in applied.upserted] == [B]
    assert names(store) == ["b", "a"]


def test_a_deleted_account_is_removed_and_its_old_commits_stay_out(store: DuckDBStore) -> None:
    first = commit(ALICE, 1, put(ALICE, "a", dataset()), put(ALICE, "s", schema()))
    store.apply([first, commit(BOB, 1, put(BOB, "b", dataset()))], now=1)
    gone = StatusChange(ALICE, active=False, status="deleted")
    assert store.apply([gone], now=2).removed == (A,)
    assert store._all("SELECT count(*) FROM dataset WHERE did = ?", [ALICE]) == [(0,)]
    assert store._all("SELECT count(*) FROM schema", []) == [(0,)]
    assert store.apply([first], now=3).stale == 1
    store.apply([StatusChange(ALICE, active=True, status=None)], now=4)
    assert names(store) == ["b"]
    store.apply([commit(ALICE, 2, put(ALICE, "a", dataset("reborn")))], now=5)
    assert names(store) == ["a", "b"]


def test_replayed_parts_do_not_bring_back_what_went_with_its_account(store: DuckDBStore) -> None:
    part = commit(ALICE, 1, put(ALICE, "a", dataset()), live=False)
    changes: list[Change] = [part, StatusChange(ALICE, active=False, status="deleted", at=5)]
    store.apply(changes, now=1)
    again = store.apply(changes, now=2)
    assert (again.number, again.stale) == (1, 1)
    assert list(store.all_uris()) == []
    store.apply([StatusChange(ALICE, active=True, status=None, at=6)], now=3)
    assert names(store) == []
    store.apply([part], now=4)
    assert names(store) == ["a"], "the repo is what it was, and was fetched again"


@pytest.mark.parametrize(("live", "verified"), [(False, True), (True, False)])
def test_parts_of_one_rev_in_batches_of_their_own_are_counted_hidden_and_removed(
    store: DuckDBStore, live: bool, verified: bool
) -> None:
    ops = (
        Delete(uri(ALICE, "dataset", "x"), keep_place=True),
        put(ALICE, "a", dataset()),
        put(ALICE, "b", dataset()),
    )
    parts = [commit(ALICE, 1, op, live=live, verified=verified) for op in ops]
    for now, part in enumerate(parts):
        store.apply([part], now=now)
    counts = store.counts()
    assert (counts["dataset"], counts["publishers"]) == (2, 1)
    number = store.change_number()
    again = store.apply(parts, now=9)
    assert (again.number, again.upserted, again.removed) == (number, (), ())
    assert store.change_number() == number
    store.apply([StatusChange(ALICE, active=False, status="suspended")], now=10)
    assert (names(store), store.counts()["dataset"]) == ([], 0)
    store.apply([StatusChange(ALICE, active=False, status="deleted")], now=11)
    assert list(store.all_uris()) == []


def test_a_replayed_deletion_does_not_take_what_was_written_since(store: DuckDBStore) -> None:
    replayed: list[Change] = [
        StatusChange(ALICE, active=False, status="deleted", at=5),
        StatusChange(ALICE, active=True, status=None, at=6),
        commit(ALICE, 2, put(ALICE, "b", dataset())),
    ]
    store.apply([commit(ALICE, 1, put(ALICE, "a", dataset())), *replayed], now=1)
    assert names(store) == ["b"]
    store = reopened(store)
    for change in replayed:
        store.apply([change], now=2)
        assert names(store) == ["b"]
    store.close()


def test_a_status_that_is_older_than_the_last_one_is_passed_over(store: DuckDBStore) -> None:
    store.apply([commit(ALICE, 1, put(ALICE, "a", dataset()))], now=1)
    store.apply([StatusChange(ALICE, active=False, status="suspended", at=10)], now=2)
    store.apply([StatusChange(ALICE, active=True, status=None, at=9)], now=3)
    assert names(store) == []
    store.apply([StatusChange(ALICE, active=True, status=None, at=10)], now=4)
    assert names(store) == ["a"], "two changes within one instant both count"


def test_a_deletion_in_the_middle_of_a_batch_takes_what_came_before_it(
    store: DuckDBStore,
) -> None:
    store.apply([commit(ALICE, 1, put(ALICE, "old", dataset()))], now=1)
    applied = store.apply(
        [
            commit(ALICE, 2, put(ALICE, "a", dataset())),
            StatusChange(ALICE, active=False, status="deleted"),
            StatusChange(ALICE, active=True, status=None),
            commit(ALICE, 3, put(ALICE, "b", dataset())),
        ],
        now=2,
    )
    assert names(store) == ["b"]
    assert applied.removed == (uri(ALICE, "dataset", "old"),)
    assert store.counts()["dataset"] == 1


def test_a_handle_belongs_to_the_active_account_that_it_was_verified_for_last(
    store: DuckDBStore,
) -> None:
    store.apply([commit(ALICE, 1, put(ALICE, "a", dataset()), handle="Name.example")], now=1)
    store.apply([commit(BOB, 1, put(BOB, "b", dataset()), handle="name.example")], now=2)
    assert store.did_of_handle("NAME.example") == BOB
    store.apply([StatusChange(BOB, active=False, status="suspended")], now=2)
    assert store.did_of_handle("name.example") == ALICE
    store.apply([StatusChange(BOB, active=True, status=None)], now=2)
    store.apply([HandleChange(ALICE, "other.example", None)], now=3)
    assert store.did_of_handle("name.example") == BOB
    assert store.did_of_handle("other.example") == ALICE
    store.apply([HandleChange(ALICE, None, None)], now=4)
    assert store.did_of_handle("other.example") is None
    assert store.publishers([ALICE])[ALICE].handle is None


def test_a_handle_of_an_account_that_the_store_does_not_know_is_not_kept(
    store: DuckDBStore,
) -> None:
    applied = store.apply([HandleChange(ALICE, "alice.example", None)], now=1)
    assert applied.number == 0
    assert not store.knows(ALICE)
