"""The search documents say of each dataset whether its publisher has labelled it, at any time."""

from __future__ import annotations

import tempfile
from pathlib import Path

from hypothesis import given, settings
from hypothesis import strategies as st

from atdex_appview.search.document import SearchDocument
from atdex_appview.search.index import SearchIndex
from atdex_appview.store.base import Change, Delete, Put, StatusChange
from atdex_appview.store.duckdb import DuckDBStore
from tests.appview.records import ALICE, BOB, commit, dataset, label, put, uri

DIDS = (ALICE, BOB)

OPS = st.one_of(
    st.tuples(st.sampled_from(["dataset", "-dataset"]), st.sampled_from("ab"), st.just(("", ""))),
    st.tuples(
        st.sampled_from(["label", "label", "-label"]),
        st.sampled_from("lm"),
        st.tuples(st.sampled_from(DIDS), st.sampled_from("ab")),
    ),
)
EVENTS = st.one_of(
    st.tuples(st.sampled_from(DIDS), st.lists(OPS, min_size=1, max_size=4)),
    st.tuples(st.sampled_from(DIDS), st.sampled_from(["active", "deactivated", "deleted"])),
)


@settings(max_examples=60, deadline=None)
@given(drawn=st.lists(st.lists(EVENTS, min_size=1, max_size=4), min_size=1, max_size=5))
def test_what_the_index_is_told_is_what_the_store_and_the_records_say(
    drawn: list[list[tuple[str, object]]],
) -> None:
    number = 0
    told: dict[str, SearchDocument] = {}
    labels: dict[str, str] = {}
    with tempfile.TemporaryDirectory() as folder:
        store = DuckDBStore.open(Path(folder) / "records.duckdb", memory_limit_mb=256)
        for now, batch in enumerate(drawn):
            changes: list[Change] = []
            for did, event in batch:
                number += 1
                if isinstance(event, str):
                    status = None if event == "active" else event
                    changes.append(StatusChange(did, status is None, status, at=number))
                    if status == "deleted":
                        labels = {at: of for at, of in labels.items() if did not in at}
                    continue
                assert isinstance(event, list)
                ops: list[Put | Delete] = []
                for what, rkey, (owner, key) in event:
                    if what == "dataset":
                        ops.append(put(did, rkey, dataset(f"v{number}"), created=False))
                    elif what == "label":
                        of = uri(owner, "dataset", key)
                        ops.append(put(did, rkey, label(of), created=False))
                        labels[ops[-1].uri] = of
                    else:
                        ops.append(Delete(uri(did, "label" if "l" in what else "dataset", rkey)))
                        labels.pop(ops[-1].uri, None)
                changes.append(commit(did, number, *ops))
            before = store.change_number()
            applied = store.apply(changes, now)
            missed = store.changed_since(before)
            now_there = {each.uri: each for each in store.all_search_documents()}
            for one in (applied, missed):
                after = {at: each for at, each in told.items() if at not in one.removed}
                after |= {document.uri: document for document in one.upserted}
                assert after == now_there
            told = now_there
            for each in told.values():
                own = {of for at, of in labels.items() if each.did in at}
                assert each.labelled == (each.uri in own)
        store.close()


def test_a_label_moves_its_dataset_within_its_rank_alone(tmp_path: Path) -> None:
    store = DuckDBStore.open(tmp_path / "records.duckdb")
    search = SearchIndex.open(tmp_path / "search")
    names = ("eye", "eye scans", "scans of an eye", "an eye")
    puts = [put(ALICE, f"d{n}", dataset(name)) for n, name in enumerate(names)]

    def apply(number: int, change: Change) -> list[str]:
        applied = store.apply([change], number)
        search.update(applied.upserted, applied.removed)
        return [hit.uri[-1] for hit in search.search("eye", limit=9).hits]

    assert apply(1, commit(ALICE, 1, *puts)) == ["0", "3", "2", "1"]
    assert apply(2, commit(ALICE, 2, put(ALICE, "l", label(puts[1].uri)))) == ["0", "1", "3", "2"]
    assert apply(3, commit(BOB, 3, put(BOB, "l", label(puts[2].uri)))) == ["0", "1", "3", "2"]
    search.close()
    store.close()
