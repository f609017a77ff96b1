"""The record store, on disk."""

from __future__ import annotations

import pytest

from atdex_appview.store.base import Change, Delete, StatusChange
from atdex_appview.store.duckdb import DuckDBStore
from atdex_appview.store.reads import MAX_ATTACHED
from tests.appview.records import (
    ALICE,
    BOB,
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
from tests.appview.stores import A, B, names, reopened

# Records


def test_a_record_is_kept_as_it_was_signed_beside_what_the_node_knows_of_it(
    store: DuckDBStore,
) -> None:
    stored = put(ALICE, "a", dataset("Retina"))
    applied = store.apply([commit(ALICE, 1, stored)], now=1_000)
    record = store.records([A])[A]
    assert (record.uri, record.did, record.rkey, record.kind) == (A, ALICE, "a", "dataset")
    assert (record.cid, record.json, record.conformance) == (stored.cid, stored.json, "valid")
    assert (record.first_seen, record.indexed_at) == (1_000, 1_000)
    assert applied.number == 1
    assert [document.name for document in applied.upserted] == ["Retina"]
    raw = store._all("SELECT raw FROM dataset", [])
    assert raw == [(stored.raw,)]


def test_everything_survives_a_restart(store: DuckDBStore) -> None:
    changes: list[Change] = [
        commit(ALICE, 1, put(ALICE, "a", dataset()), put(ALICE, "s", schema()), handle="a.example"),
        commit(BOB, 1, put(BOB, "b", dataset())),
        StatusChange(BOB, active=False, status="deactivated"),
    ]
    store.apply(changes, now=5)
    before = (store.records([A]), store.counts(), store.publishers([ALICE, BOB]))
    again = reopened(store)
    assert (again.records([A]), again.counts(), again.publishers([ALICE, BOB])) == before
    assert again.change_number() == 1
    assert again.did_of_handle("a.example") == ALICE
    assert again.apply(changes[:1], now=9).stale == 1
    again.close()


def test_an_update_keeps_first_seen_and_the_place_in_the_list(store: DuckDBStore) -> None:
    store.apply([commit(ALICE, 1, put(ALICE, "a", dataset("old")))], now=10)
    store.apply([commit(ALICE, 2, put(ALICE, "b", dataset()))], now=20)
    store.apply([commit(ALICE, 3, put(ALICE, "a", dataset("new"), created=False))], now=30)
    record = store.records([A])[A]
    assert (record.first_seen, record.indexed_at) == (10, 30)
    assert names(store) == ["b", "a"]
    assert names(store, name="new") == ["a"]
    assert names(store, name="old") == []


def test_an_update_that_repeats_the_stored_version_writes_nothing(store: DuckDBStore) -> None:
    same = put(ALICE, "a", dataset())
    store.apply([commit(ALICE, 1, same)], now=10)
    applied = store.apply([commit(ALICE, 2, same)], now=20)
    assert applied.upserted == ()
    assert store.records([A])[A].indexed_at == 10
    assert store.publishers([ALICE])[ALICE].rev == commit(ALICE, 2).rev


def test_a_replayed_create_does_not_resurrect_a_deleted_record(store: DuckDBStore) -> None:
    create = commit(ALICE, 1, put(ALICE, "a", dataset()))
    delete = commit(ALICE, 2, Delete(A))
    store.apply([create], now=1)
    assert store.apply([delete], now=2).removed == (A,)
    again = store.apply([create, delete, create], now=3)
    assert (again.stale, again.upserted, again.removed) == (3, (), ())
    assert store.records([A]) == {}
    store = reopened(store)
    assert store.apply([create], now=4).stale == 1
    assert store.counts()["dataset"] == 0
    store.close()


def test_a_replay_changes_nothing_and_takes_no_change_number(store: DuckDBStore) -> None:
    changes = [commit(ALICE, n, put(ALICE, f"r{n}", dataset(f"number {n}"))) for n in range(1, 20)]
    store.apply(changes, now=1)
    before = store.list_records("dataset", limit=100)
    applied = store.apply(changes, now=2)
    assert (applied.number, applied.stale, applied.upserted) == (1, 19, ())
    assert store.list_records("dataset", limit=100) == before


def test_a_create_of_what_is_already_stored_is_taken_as_an_update(store: DuckDBStore) -> None:
    store.apply([commit(ALICE, 1, put(ALICE, "a", dataset("old")))], now=10)
    applied = store.apply(
        [
            commit(ALICE, 2, put(ALICE, "a", dataset("new"), created=True)),
            commit(ALICE, 3, put(ALICE, "b", dataset(), created=True)),
        ],
        now=20,
    )
    assert len(applied.upserted) == 2
    assert store.records([A])[A].first_seen == 10
    assert store.counts()["dataset"] == 2


def test_of_two_versions_in_one_batch_the_last_one_wins(store: DuckDBStore) -> None:
    store.apply(
        [
            commit(ALICE, 1, put(ALICE, "a", dataset("first")), put(ALICE, "b", dataset("b"))),
            commit(ALICE, 2, put(ALICE, "a", dataset("second"), created=False)),
            commit(ALICE, 3, put(ALICE, "a", dataset("third"), created=False)),
        ],
        now=1,
    )
    assert [d.name for d in store.all_search_documents()] == ["third", "b"]
    assert store.records([A])[A].rev == commit(ALICE, 3).rev
    assert names(store) == ["b", "a"], "an update in the batch does not move a to the top"
    assert store.counts()["dataset"] == 2


def test_created_and_deleted_in_one_batch_is_absent(store: DuckDBStore) -> None:
    applied = store.apply(
        [commit(ALICE, 1, put(ALICE, "a", dataset())), commit(ALICE, 2, Delete(A))], now=1
    )
    assert applied.upserted == ()
    assert store.records([A]) == {}
    assert store.counts()["publishers"] == 0


def test_a_create_that_was_no_create_and_a_delete_in_one_batch_removes(store: DuckDBStore) -> None:
    store.apply([commit(ALICE, 1, put(ALICE, "a", dataset()))], now=1)
    store.apply(
        [commit(ALICE, 2, put(ALICE, "a", dataset("x"))), commit(ALICE, 3, Delete(A))], now=1
    )
    assert store.records([A]) == {}
    assert store.counts()["dataset"] == 0


def test_deleted_and_created_again_is_a_new_record_at_the_top(store: DuckDBStore) -> None:
    store.apply([commit(ALICE, 1, put(ALICE, "a", dataset()), put(ALICE, "b", dataset()))], now=10)
    store.apply([commit(ALICE, 2, Delete(A)), commit(ALICE, 3, put(ALICE, "a", dataset()))], now=20)
    assert names(store) == ["a", "b"]
    assert store.records([A])[A].first_seen == 20


def test_a_record_that_was_invalid_for_a_while_comes_back_to_its_old_place(
    store: DuckDBStore,
) -> None:
    store.apply([commit(ALICE, 1, put(ALICE, "a", dataset()))], now=10)
    store.apply([commit(ALICE, 2, put(ALICE, "b", dataset()))], now=20)
    applied = store.apply([commit(ALICE, 3, Delete(A, keep_place=True))], now=30)
    assert applied.removed == (A,)
    assert names(store) == ["b"]
    store = reopened(store)
    store.apply([commit(ALICE, 4, put(ALICE, "a", dataset("mended"), created=False))], now=40)
    assert names(store) == ["b", "a"]
    store.apply([commit(ALICE, 5, Delete(A, keep_place=True))], now=50)
    store.apply([commit(ALICE, 6, Delete(A))], now=60)
    store.apply([commit(ALICE, 7, put(ALICE, "a", dataset("anew")))], now=70)
    assert names(store) == ["a", "b"], "a true delete forgets the place"
    store.close()


def test_every_record_has_a_place_of_its_own_even_within_one_microsecond(
    store: DuckDBStore,
) -> None:
    store.apply([commit(ALICE, 1, *(put(ALICE, f"r{n}", dataset()) for n in range(50)))], now=7)
    store.apply([commit(BOB, 1, put(BOB, "late", dataset()))], now=7)
    listed = store.list_records("dataset", limit=100)
    assert len({record.first_seen for record in listed}) == 51
    assert listed[0].rkey == "late"
    assert [r.rkey for r in listed[1:]] == [f"r{n}" for n in reversed(range(50))]


def test_the_order_of_two_batches_is_kept_even_when_the_clock_goes_back(
    store: DuckDBStore,
) -> None:
    store.apply([commit(ALICE, 1, put(ALICE, "a", dataset()))], now=1_000)
    store.apply([commit(ALICE, 2, Delete(A)), commit(ALICE, 3, put(ALICE, "b", dataset()))], now=5)
    store = reopened(store)
    store.apply([commit(ALICE, 4, put(ALICE, "c", dataset()))], now=5)
    assert names(store) == ["c", "b"]
    store.close()


# Listings


def test_a_walk_meets_every_record_that_was_there_all_the_time_once_while_a_writer_works(
    store: DuckDBStore,
) -> None:
    there = [f"r{n:02}" for n in range(40)]
    store.apply([commit(ALICE, 1, *(put(ALICE, rkey, dataset()) for rkey in there))], now=1)
    seen: list[str] = []
    after = None
    for step in range(2, 100):
        page = store.list_records("dataset", limit=7, after=after)
        if not page:
            break
        seen += [record.rkey for record in page]
        after = (page[-1].first_seen, page[-1].uri)
        gone = page[-1].uri
        store.apply(
            [
                commit(ALICE, step, put(ALICE, f"new{step}", dataset()), Delete(gone)),
                commit(BOB, step, put(BOB, "moving", dataset(f"v{step}"), created=False)),
                commit(ALICE, step + 1000 * step, put(ALICE, "r00", dataset(f"v{step}"))),
            ],
            now=step,
        )
    assert sorted(seen) == there


def test_filters_are_anded_and_match_exactly(store: DuckDBStore) -> None:
    store.apply(
        [
            commit(
                ALICE,
                1,
                put(ALICE, "a", dataset("100%", tags=["oct", "eye"])),
                put(ALICE, "b", dataset("100 km", tags=["oct"], schema=OTHER_SCHEMA)),
            ),
            commit(BOB, 1, put(BOB, "c", dataset("100%", tags=["eye"]))),
        ],
        now=1,
    )
    assert names(store, name="100%") == ["c", "a"], "a percent sign is no pattern"
    assert names(store, tag="oct") == ["b", "a"]
    assert names(store, tag="oc") == []
    assert names(store, tag="oct", schema=SCHEMA) == ["a"]
    assert names(store, tag="eye", publisher=BOB) == ["c"]
    assert names(store, publisher=BOB, schema=OTHER_SCHEMA) == []


def test_source_and_target_of_a_lens_listing_are_anded(store: DuckDBStore) -> None:
    third = SCHEMA + "x"
    store.apply(
        [
            commit(
                ALICE,
                1,
                put(ALICE, "ab", lens(SCHEMA, OTHER_SCHEMA)),
                put(ALICE, "ac", lens(SCHEMA, third)),
                put(ALICE, "cb", lens(third, OTHER_SCHEMA)),
            )
        ],
        now=1,
    )

    def rkeys(**filters: str) -> list[str]:
        found = store.list_records("lens", limit=9, **filters)  # type: ignore[arg-type]  # str filters
        return [record.rkey for record in found]

    assert rkeys(source=SCHEMA, target=OTHER_SCHEMA) == ["ab"]
    assert rkeys(source=SCHEMA) == ["ac", "ab"]
    assert rkeys(target=OTHER_SCHEMA) == ["cb", "ab"]


def test_a_filter_that_does_not_fit_the_kind_is_refused(store: DuckDBStore) -> None:
    with pytest.raises(ValueError, match="dataset has no filter source"):
        store.list_records("dataset", source=SCHEMA, limit=1)
    with pytest.raises(ValueError, match="label has no filter tag"):
        store.list_records("label", tag="x", limit=1)


def test_a_uri_of_another_collection_is_another_record(store: DuckDBStore) -> None:
    store.apply([commit(ALICE, 1, put(ALICE, "a", dataset()), put(ALICE, "s", schema()))], now=1)
    assert store.records([A.replace(".entry/", ".schema/")]) == {}
    assert store.records([A + "/more", "at://x", "", A]).keys() == {A}


@pytest.mark.parametrize("text", ["a\0b", "\ud800", "'; DROP TABLE dataset; --", "%", "x" * 20_000])
def test_no_text_from_a_request_is_an_error(store: DuckDBStore, text: str) -> None:
    store.apply([commit(ALICE, 1, put(ALICE, "a", dataset()))], now=1)
    assert store.records([text, A, f"at://{ALICE}/science.alt.dataset.entry/{text}"]).keys() == {A}
    assert names(store, name=text) == []
    assert names(store, tag=text, publisher=text, schema=text) == []
    assert store.resolve_label(text, text, text) is None
    assert store.schema_summaries([text]) == {}
    assert store.labels_of([text]) == {}
    assert store.verifications_of([text]) == {}
    assert store.publishers([text]) == {}
    assert store.did_of_handle(text) is None


def test_a_name_with_a_nul_or_a_quote_is_stored_as_it_is(store: DuckDBStore) -> None:
    store.apply([commit(ALICE, 1, put(ALICE, "a", dataset("it's\0so"), created=True))], now=1)
    assert names(store, name="it's\0so") == ["a"]


def test_datasets_of_a_name_are_listed_newest_first(store: DuckDBStore) -> None:
    store.apply([commit(ALICE, 1, put(ALICE, "a", dataset("x")))], now=1)
    store.apply([commit(ALICE, 2, put(ALICE, "b", dataset("x")))], now=2)
    store.apply([commit(BOB, 1, put(BOB, "c", dataset("x")))], now=3)
    assert names(store, publisher=ALICE, name="x") == ["b", "a"]


def test_an_empty_store_answers_every_question(store: DuckDBStore) -> None:
    assert names(store) == []
    assert store.records([A]) == {}
    assert store.counts()["dataset"] == 0
    assert list(store.all_search_documents()) == []
    assert store.changed_since(0).upserted == ()
    store.check()


# Labels, schemas, verifications


def test_a_label_without_version_resolves_to_the_highest_by_semver(store: DuckDBStore) -> None:
    versions = ["2.0.0", "10.0.0", "9.9.9", "10.0.0-rc.1", None, "ten"]
    store.apply(
        [
            commit(
                ALICE,
                1,
                *(put(ALICE, f"l{n}", label(A, version=v)) for n, v in enumerate(versions)),
            )
        ],
        now=1,
    )
    newest = store.resolve_label(ALICE, "stable", None)
    exact = store.resolve_label(ALICE, "stable", "2.0.0")
    assert newest is not None and exact is not None
    assert (newest.rkey, exact.rkey) == ("l1", "l0")
    assert store.resolve_label(ALICE, "stable", "2.0") is None
    assert store.resolve_label(BOB, "stable", None) is None


def test_of_labels_with_the_same_version_the_last_created_is_meant(store: DuckDBStore) -> None:
    store.apply(
        [
            commit(
                ALICE,
                1,
                put(ALICE, "late", label(A, created_at="2026-05-01T00:00:00+02:00")),
                put(ALICE, "early", label(B, created_at="2026-04-30T21:59:59Z")),
                put(ALICE, "timeless", label(B, created_at="yesterday")),
            )
        ],
        now=1,
    )
    found = store.resolve_label(ALICE, "stable", None)
    assert found is not None
    assert found.rkey == "late"


def test_a_dataset_shows_the_labels_of_its_own_publisher_highest_version_first(
    store: DuckDBStore,
) -> None:
    store.apply(
        [
            commit(ALICE, 1, put(ALICE, "a", dataset())),
            commit(
                ALICE,
                2,
                put(ALICE, "l1", label(A, version="2.0.0")),
                put(ALICE, "l2", label(A, version="10.0.0")),
            ),
            commit(BOB, 1, put(BOB, "spam", label(A, name="best of all"))),
        ],
        now=1,
    )
    assert [found.version for found in store.labels_of([A, B])[A]] == ["10.0.0", "2.0.0"]


def test_what_is_attached_to_a_record_is_bounded(store: DuckDBStore) -> None:
    target = uri(ALICE, "lens", "l")
    many = [put(BOB, f"v{n}", verification(target)) for n in range(MAX_ATTACHED + 20)]
    store.apply([commit(BOB, 1, *many)], now=1)
    found = store.verifications_of([target])[target]
    assert len(found) == MAX_ATTACHED
    assert found[0].uri == uri(BOB, "verification", f"v{MAX_ATTACHED + 19}"), "newest first"
    assert (found[0].verifier, found[0].method, found[0].lens_cid) == (
        BOB,
        "codeReview",
        "bafyreia",
    )


def test_schema_summaries_name_what_a_view_shows(store: DuckDBStore) -> None:
    stored = put(ALICE, "s", schema("Image", "1.2.0"))
    store.apply([commit(ALICE, 1, stored)], now=1)
    summary = store.schema_summaries([stored.uri])[stored.uri]
    assert (summary.cid, summary.name, summary.version) == (stored.cid, "Image", "1.2.0")


# What the search index is told


def test_a_search_index_that_missed_batches_is_told_what_they_came_to(store: DuckDBStore) -> None:
    store.apply([commit(ALICE, 1, put(ALICE, "a", dataset()))], now=1)
    store.apply([commit(ALICE, 2, put(ALICE, "b", dataset()))], now=2)
    store.apply([commit(ALICE, 3, Delete(A)), commit(BOB, 1, put(BOB, "c", dataset()))], now=3)
    store.apply([StatusChange(BOB, active=False, status="deactivated")], now=4)
    missed = reopened(store)
    everything = missed.changed_since(0)
    assert [document.uri for document in everything.upserted] == [B]
    assert set(everything.removed) == {A, uri(BOB, "dataset", "c")}
    assert missed.changed_since(3).removed == (uri(BOB, "dataset", "c"),)
    assert missed.changed_since(4) == missed.changed_since(99)
    missed.forget_removed(3)
    assert missed.changed_since(0).removed == (uri(BOB, "dataset", "c"),)
    missed.close()


def test_a_record_that_came_back_is_not_told_as_removed(store: DuckDBStore) -> None:
    store.apply([commit(ALICE, 1, put(ALICE, "a", dataset()))], now=1)
    store.apply([commit(ALICE, 2, Delete(A))], now=2)
    store.apply([commit(ALICE, 3, put(ALICE, "a", dataset()))], now=3)
    missed = store.changed_since(1)
    assert [document.uri for document in missed.upserted] == [A]
    assert missed.removed == ()
