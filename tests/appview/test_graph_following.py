"""The graph follows a real store: after each batch it is what a restart would load."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from atdex_appview.errors import StoreUnavailable
from atdex_appview.graph import following
from atdex_appview.graph.facts import LensFact
from atdex_appview.graph.following import GraphFollower
from atdex_appview.graph.graph import LensGraph
from atdex_appview.store.base import Change, Delete, HandleChange, Put, StatusChange
from atdex_appview.store.duckdb import DuckDBStore
from atdex_lexicons.model import FieldOps
from tests.appview.graphs import meaning
from tests.appview.records import ALICE, BOB, commit, lens, put, rev, schema, uri, verification

SCHEMAS = [(did, rkey) for did in (ALICE, BOB) for rkey in (rev(1), "com.example.x-v1.0.0")]
LENSES = [(did, rev(number)) for did in (ALICE, BOB) for number in (11, 12)]
VERIFICATIONS = [(did, rev(number)) for did in (ALICE, BOB) for number in (21, 22)]


@contextmanager
def opened(folder: Path) -> Iterator[DuckDBStore]:
    store = DuckDBStore.open(folder / "records.duckdb", memory_limit_mb=256)
    try:
        yield store
    finally:
        store.close()


@pytest.fixture
def store(tmp_path: Path) -> Iterator[DuckDBStore]:
    with opened(tmp_path) as found:
        yield found


def declarative(source: str, target: str) -> Put:
    ops = FieldOps(({"op": "drop", "field": "x"},))
    return put(BOB, rev(11), replace(lens(source, target), getter=ops))


def loaded(store: DuckDBStore) -> LensGraph:
    graph = LensGraph()
    GraphFollower(store, graph).load()
    return graph


schemas = st.builds(
    lambda where, name, version: put(where[0], where[1], schema(name, version), created=False),
    st.sampled_from(SCHEMAS),
    st.sampled_from(["X", "Y"]),
    st.sampled_from(["1.0.0", "2.0.0"]),
)
lenses = st.builds(
    lambda where, source, target, version, name: put(
        where[0],
        where[1],
        replace(
            lens(uri(source[0], "schema", source[1]), uri(target[0], "schema", target[1]), name),
            source_version=version,
        ),
        created=False,
    ),
    st.sampled_from(LENSES),
    st.sampled_from(SCHEMAS),
    st.sampled_from(SCHEMAS),
    st.sampled_from([None, ">=1.0.0"]),
    st.sampled_from(["one", "two"]),
)


@st.composite
def verifications(draw: st.DrawFn) -> Put:
    """Of a version of a lens that may be there now, before, later or never."""
    about = draw(lenses)
    did, rkey = draw(st.sampled_from(VERIFICATIONS))
    return put(did, rkey, verification(about.uri, about.cid), created=False)


deletes = st.builds(
    lambda where, keep: Delete(uri(*where), keep_place=keep),
    st.sampled_from(
        [(did, "schema", rkey) for did, rkey in SCHEMAS]
        + [(did, "lens", rkey) for did, rkey in LENSES]
        + [(did, "verification", rkey) for did, rkey in VERIFICATIONS]
    ),
    st.booleans(),
)
ops = st.one_of(schemas, lenses, lenses, verifications(), deletes)
events = st.one_of(
    st.tuples(st.lists(ops, min_size=1, max_size=5), st.integers(-3, 1)),
    st.tuples(
        st.sampled_from([ALICE, BOB]),
        st.sampled_from(["active", "active", "deactivated", "deleted"]),
    ),
)


class Batches:
    """Turns what was drawn into changes: revs mostly grow, and sometimes are old ones."""

    def __init__(self) -> None:
        self.rev = 10

    def changes(self, event: tuple[object, object]) -> list[Change]:
        drawn, how = event
        if isinstance(drawn, str):
            return [StatusChange(drawn, how == "active", None if how == "active" else str(how))]
        assert isinstance(drawn, list) and isinstance(how, int)
        self.rev += 1
        number = self.rev if how >= 0 else self.rev + how
        return [
            commit(did, number, *(op for op in drawn if op.uri.startswith(f"at://{did}/")))
            for did in (ALICE, BOB)
        ]


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.lists(st.lists(events, min_size=1, max_size=3), min_size=1, max_size=6))
def test_after_each_batch_the_graph_is_what_a_restart_would_load(
    drawn: list[list[tuple[object, object]]],
) -> None:
    batches = Batches()
    with tempfile.TemporaryDirectory() as folder, opened(Path(folder)) as store:
        graph = LensGraph()
        follower = GraphFollower(store, graph)
        for now, batch in enumerate(drawn):
            changes = [change for event in batch for change in batches.changes(event)]
            store.apply(changes, now)
            follower.follow(changes)
            restarted = loaded(store)
            assert meaning(graph) == meaning(restarted)
            assert graph.counts() == restarted.counts()
            version = graph.version
            follower.follow(changes)
            assert graph.version == version


def test_a_verification_counts_for_the_version_that_it_names(store: DuckDBStore) -> None:
    graph = loaded(store)
    follower = GraphFollower(store, graph)
    one, two = put(ALICE, rev(1), schema("One")), put(ALICE, rev(2), schema("Two"))
    first = put(BOB, rev(11), lens(one.uri, two.uri, "first"))
    second = put(BOB, rev(11), lens(one.uri, two.uri, "second"), created=False)

    def apply(*changes: Change) -> set[frozenset[str]]:
        store.apply(changes, 1)
        follower.follow(changes)
        return {hop[4] for hop in meaning(graph)}

    of_first = put(ALICE, rev(21), verification(first.uri, first.cid))
    of_second = put(ALICE, rev(22), verification(first.uri, second.cid))
    assert apply(commit(ALICE, 1, one, two, of_first)) == set()
    assert apply(commit(BOB, 1, first)) == {frozenset([ALICE])}
    assert apply(commit(BOB, 2, second)) == {frozenset()}
    assert apply(commit(ALICE, 2, of_second)) == {frozenset([ALICE])}
    assert apply(commit(ALICE, 3, Delete(of_second.uri))) == {frozenset()}


def test_declarative_lenses_are_told_from_code(store: DuckDBStore) -> None:
    one, two = put(ALICE, rev(1), schema("One")), put(ALICE, rev(2), schema("Two"))
    code = put(BOB, rev(12), lens(one.uri, two.uri))
    changes = [commit(ALICE, 1, one, two), commit(BOB, 1, declarative(one.uri, two.uri), code)]
    store.apply(changes, 1)
    found = {hop[2]: hop[3] for hop in meaning(loaded(store))}
    assert found == {uri(BOB, "lens", rev(11)): True, code.uri: False}


def test_a_lens_that_fails_its_test_is_left_out_until_it_passes(store: DuckDBStore) -> None:
    one, two = put(ALICE, rev(1), schema("One")), put(ALICE, rev(2), schema("Two"))
    made = declarative(one.uri, two.uri)
    changes = [commit(ALICE, 1, one, two), commit(BOB, 1, made)]
    store.apply(changes, 1)
    bad = {made.uri}

    def usable(fact: LensFact) -> bool:
        return fact.uri not in bad

    graph, at_once = LensGraph(), LensGraph()
    follower = GraphFollower(store, graph, usable=usable)
    follower.follow(changes)
    GraphFollower(store, at_once, usable=usable).load()
    for found in (graph, at_once):
        assert (found.counts().unusable, found.counts().lenses, meaning(found)) == (1, 1, set())
    bad.clear()
    follower.recheck([made.uri])
    assert (graph.counts().unusable, len(meaning(graph))) == (0, 1)


def test_many_records_are_told_in_parts(
    store: DuckDBStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(following, "PART", 3)
    puts = [put(ALICE, rev(number), schema(f"S{number}")) for number in range(1, 11)]
    puts += [
        put(ALICE, rev(100 + at), lens(one.uri, two.uri))
        for at, (one, two) in enumerate(pairwise(puts))
    ]
    graph = loaded(store)
    follower = GraphFollower(store, graph)
    changes: list[Change] = [
        commit(ALICE, 1, *puts),
        StatusChange(ALICE, False, "deactivated"),
        StatusChange(ALICE, True, None),
    ]
    for now, change in enumerate(changes):
        store.apply([change], now)
        follower.follow([change])
        assert meaning(graph) == meaning(loaded(store))
    assert len(meaning(graph)) == 9


def test_changes_of_handles_and_of_datasets_alone_read_nothing(store: DuckDBStore) -> None:
    graph = loaded(store)
    store.close()
    follower = GraphFollower(store, graph)
    follower.follow([HandleChange(ALICE, "alice.test", None), commit(ALICE, 1)])
    with pytest.raises(StoreUnavailable):
        follower.follow([commit(ALICE, 1, put(ALICE, rev(1), schema()))])
