"""What the store tells its journal of each batch: what it did, in order, before it is done."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytest

from atdex_appview.errors import StreamUnavailable
from atdex_appview.store.base import AccountEvent, Change, Delete, StatusChange, StoreEvent
from atdex_appview.store.duckdb import DuckDBStore
from tests.appview.records import ALICE, BOB, commit, dataset, lens, put, schema, uri

A = uri(ALICE, "dataset", "a")


class Told:
    """A journal that keeps what it was told, and can fail or be left behind by a kill."""

    def __init__(self) -> None:
        self.batches: list[list[StoreEvent]] = []
        self.taken_back = 0
        self.fails = False

    def prepare(self, change: int, events: Sequence[StoreEvent], now: int) -> None:
        if self.fails:
            raise StreamUnavailable(Path("stream.sqlite"), "the disk is full")
        self.batches.append(list(events))

    def committed(self) -> None:
        pass

    def take_back(self) -> None:
        self.taken_back += 1

    @property
    def words(self) -> list[str]:
        """The last batch in short."""
        return [word(event) for event in self.batches[-1]]


def word(event: StoreEvent) -> str:
    if isinstance(event, AccountEvent):
        return f"{event.did[8:11]} {event.status or 'active'}"
    content = "" if event.raw is not None or event.action == "delete" else " without content"
    return f"{event.did[8:11]} {event.action} {event.rkey}{content}"


@pytest.fixture
def told(store: DuckDBStore) -> Told:
    told = Told()
    store.tell(told)
    return told


NOW = 1_790_000_000_000_000


def apply(store: DuckDBStore, *changes: Change) -> None:
    store.apply(changes, NOW)


def test_records_are_told_as_what_became_of_them(store: DuckDBStore, told: Told) -> None:
    apply(store, commit(ALICE, 1, put(ALICE, "a", dataset("one")), put(ALICE, "s", schema())))
    assert told.words == ["ali create a", "ali create s"]
    apply(store, commit(ALICE, 2, put(ALICE, "a", dataset("two"))))
    assert told.words == ["ali update a"]
    apply(store, commit(ALICE, 3, Delete(A), Delete(uri(ALICE, "schema", "s"))))
    assert told.words == ["ali delete a", "ali delete s"]


def test_an_event_carries_what_was_signed(store: DuckDBStore, told: Told) -> None:
    one = put(ALICE, "a", dataset("one"))
    change = commit(ALICE, 1, one)
    apply(store, change)
    [event] = told.batches[-1]
    assert not isinstance(event, AccountEvent)
    assert (event.raw, event.cid, event.rev) == (one.raw, one.cid, change.rev)
    assert (event.collection, event.conformance) == (one.collection, "valid")


def test_what_changes_nothing_is_not_told(store: DuckDBStore, told: Told) -> None:
    change = commit(ALICE, 1, put(ALICE, "a", dataset("one")))
    apply(store, change)
    apply(store, change)
    apply(store, commit(ALICE, 2, Delete(uri(ALICE, "dataset", "never"))))
    assert [word(e) for batch in told.batches for e in batch] == ["ali create a"]


def test_a_record_that_only_became_verified_is_not_told_again(
    store: DuckDBStore, told: Told
) -> None:
    one = put(ALICE, "a", dataset("one"))
    apply(store, commit(ALICE, 1, one, verified=False))
    apply(store, commit(ALICE, 1, one, live=False))
    assert [word(e) for batch in told.batches for e in batch] == ["ali create a"]
    assert store.records([A])[A].verified


def test_a_create_that_was_a_replay_is_told_as_an_update(store: DuckDBStore, told: Told) -> None:
    apply(store, commit(ALICE, 1, put(ALICE, "a", dataset("one"))))
    apply(store, commit(ALICE, 2, put(ALICE, "a", dataset("two"), created=True)))
    assert told.words == ["ali update a"]
    assert [word(e) for batch in told.batches for e in batch] == ["ali create a", "ali update a"]


def test_of_several_changes_in_a_batch_the_last_word_is_told(
    store: DuckDBStore, told: Told
) -> None:
    apply(
        store,
        commit(ALICE, 1, put(ALICE, "a", dataset("one")), put(ALICE, "b", dataset("b"))),
        commit(ALICE, 2, put(ALICE, "a", dataset("two"))),
        commit(ALICE, 3, Delete(uri(ALICE, "dataset", "b"))),
    )
    assert told.words == ["ali create a"]


def test_a_record_that_left_because_it_is_invalid_is_told_as_deleted(
    store: DuckDBStore, told: Told
) -> None:
    apply(store, commit(ALICE, 1, put(ALICE, "a", dataset("one"))))
    apply(store, commit(ALICE, 2, Delete(A, keep_place=True)))
    assert told.words == ["ali delete a"]
    apply(store, commit(ALICE, 3, put(ALICE, "a", dataset("two"), created=False)))
    assert told.words == ["ali create a"]


def test_a_record_that_was_deleted_and_made_anew_in_one_batch_is_told(
    store: DuckDBStore, told: Told
) -> None:
    one = put(ALICE, "a", dataset("one"))
    apply(store, commit(ALICE, 1, one))
    apply(store, commit(ALICE, 2, Delete(A)), commit(ALICE, 3, one))
    assert told.words == ["ali update a"]


def hidden(did: str, status: str = "deactivated") -> StatusChange:
    return StatusChange(did, active=False, status=status)


def shown(did: str) -> StatusChange:
    return StatusChange(did, active=True, status=None)


def test_an_account_that_is_hidden_and_shown_again_is_told(store: DuckDBStore, told: Told) -> None:
    apply(store, commit(ALICE, 1, put(ALICE, "a", dataset("one"))))
    apply(store, hidden(ALICE))
    assert told.words == ["ali deactivated"]
    apply(store, hidden(ALICE, "takendown"))
    assert told.words == ["ali takendown"]
    apply(store, shown(ALICE))
    assert told.words == ["ali active"]


def test_what_comes_of_a_hidden_account_is_told_without_its_content(
    store: DuckDBStore, told: Told
) -> None:
    apply(store, hidden(BOB, "takendown"), commit(BOB, 1, put(BOB, "b", lens())))
    assert told.words == ["bob takendown", "bob create b without content"]
    apply(store, commit(BOB, 2, put(BOB, "b", lens(name="other"), created=False)))
    assert told.words == ["bob update b without content"]


def test_an_account_that_is_hidden_within_a_batch_is_so_after_its_records(
    store: DuckDBStore, told: Told
) -> None:
    apply(store, commit(ALICE, 1, put(ALICE, "a", dataset("one"))))
    apply(store, commit(ALICE, 2, put(ALICE, "b", dataset("two"))), hidden(ALICE))
    assert told.words == ["ali create b without content", "ali deactivated"]
    apply(store, shown(ALICE), commit(ALICE, 3, put(ALICE, "c", dataset("three"))))
    assert told.words == ["ali active", "ali create c"]


def test_a_deleted_account_is_told_before_what_it_publishes_after(
    store: DuckDBStore, told: Told
) -> None:
    apply(store, commit(ALICE, 1, put(ALICE, "a", dataset("one"))))
    apply(store, hidden(ALICE, "deleted"))
    assert told.words == ["ali deleted"]
    apply(store, shown(ALICE), commit(ALICE, 5, put(ALICE, "b", dataset("two"))))
    assert told.words == ["ali active", "ali create b"]
    apply(
        store,
        hidden(ALICE, "deleted"),
        shown(ALICE),
        commit(ALICE, 7, put(ALICE, "c", dataset("three"))),
    )
    assert told.words == ["ali deleted", "ali active", "ali create c"]


def test_a_batch_whose_journal_fails_is_not_applied(store: DuckDBStore, told: Told) -> None:
    told.fails = True
    with pytest.raises(StreamUnavailable):
        apply(store, commit(ALICE, 1, put(ALICE, "a", dataset("one"))))
    assert store.records([A]) == {}
    assert store.change_number() == 0
    assert told.taken_back == 1
    told.fails = False
    apply(store, commit(ALICE, 1, put(ALICE, "a", dataset("one"))))
    assert told.words == ["ali create a"]
    assert A in store.records([A])
