"""The best paths through lenses, held against networkx's list of all simple ones."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator
from itertools import product

import networkx as nx
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from atdex_appview.graph import paths as paths_module
from atdex_appview.graph.facts import LensFact, SchemaFact
from atdex_appview.graph.graph import LensGraph
from atdex_appview.graph.paths import Trust, find_paths
from tests.appview.graphs import CAROL, Records, lens_uri, schema_uri, simple
from tests.appview.records import ALICE, BOB

NAMES = "ABCDEF"
Best = list[tuple[str, ...]]


def numbers(records: Records, *found: tuple[str, ...]) -> list[list[int]]:
    return [[records.lenses[uri].first_seen - 1000 for uri in path] for path in found]


def ask(
    records: Records,
    ends: str,
    *,
    max_hops: int = 4,
    limit: int = 10,
    trust: Trust = "any",
    verifiers: Iterable[str] = (),
    graph: LensGraph | None = None,
) -> Best:
    return [
        path.lenses
        for path in find_paths(
            graph or records.loaded(),
            schema_uri(ends[0]),
            schema_uri(ends[1]),
            max_hops=max_hops,
            limit=limit,
            trust=trust,
            verifiers=frozenset(verifiers),
        )
    ]


def all_paths(
    records: Records, ends: str, max_hops: int, trust: Trust, verifiers: frozenset[str]
) -> Best:
    """Every path, best first, by networkx and the rules of the module's text."""
    graph = nx.MultiDiGraph()
    graph.add_nodes_from(records.schemas)
    for source, target, lens in records.hops():
        plain, unverified = records.cost(lens, verifiers)
        if trust == "any" or (trust == "declarative" and lens.declarative) or not unverified:
            if trust == "declarative" and not lens.declarative:
                continue
            graph.add_edge(source, target, key=lens.uri, cost=(plain, unverified))
    source, target = schema_uri(ends[0]), schema_uri(ends[1])
    if source == target:
        return [()]
    ranked = []
    for edges in nx.all_simple_edge_paths(graph, source, target, cutoff=max_hops):
        costs = [graph.edges[edge]["cost"] for edge in edges]
        lenses = tuple(key for _, _, key in edges)
        ages = [records.lenses[uri].first_seen for uri in lenses]
        total = tuple(map(sum, zip(*costs, strict=True)))
        ranked.append((len(edges), total, ages, lenses))
    return list(dict.fromkeys(lenses for *_, lenses in sorted(ranked)))


@st.composite
def networks(draw: st.DrawFn) -> Records:
    records = simple({}, NAMES)
    versions = [schema_uri(f"com.example.x-v1.{minor}.0") for minor in range(3)]
    for minor, uri in enumerate(versions):
        records.schemas[uri] = SchemaFact(uri, "X", f"1.{minor}.0", 20 + minor)
    ends = st.tuples(
        st.sampled_from([*map(schema_uri, NAMES), versions[0]]),
        st.sampled_from([None, None, "^1.0.0", ">=1.1.0"]),
    )
    drawn = draw(st.lists(st.tuples(ends, ends, st.booleans(), st.integers(0, 3)), max_size=18))
    for number, ((source, of), (target, to), declarative, by) in enumerate(drawn):
        of, to = (
            version if uri == versions[0] else None for uri, version in ((source, of), (target, to))
        )
        fact = LensFact(lens_uri(number), source, target, 1000 + number, of, to, declarative)
        records.lenses[fact.uri] = fact
        named = {f"at://v/{number}/{did}": did for did in (ALICE, BOB)[: by - 1]} if by > 1 else {}
        if named:
            records.verifiers[fact.uri] = named
    return records


@settings(max_examples=400, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(
    networks(),
    st.sampled_from(["AB", "BA", "AC", "AA"]),
    st.integers(1, 8),
    st.integers(1, 10),
    st.sampled_from(["any", "declarative", "verified"]),
    st.sampled_from([frozenset(), frozenset([BOB]), frozenset([CAROL])]),
)
def test_the_paths_are_the_best_of_all_in_their_order(
    records: Records,
    ends: str,
    max_hops: int,
    limit: int,
    trust: Trust,
    verifiers: frozenset[str],
) -> None:
    found = ask(records, ends, max_hops=max_hops, limit=limit, trust=trust, verifiers=verifiers)
    assert found == all_paths(records, ends, max_hops, trust, verifiers)[:limit]


def test_fewer_lenses_go_first_then_trusted_ones_then_older_ones() -> None:
    records = simple({1: "AB", 2: "ABd", 3: "ACd", 4: "CBd", 5: "AB", 6: "ABd"})
    records.verifiers[lens_uri(5)] = {"at://v/1": BOB}
    found = ask(records, "AB")
    assert numbers(records, *found) == [[5], [2], [6], [1], [3, 4]]


def test_the_verifiers_that_are_named_are_the_only_ones_that_count() -> None:
    records = simple({1: "AB", 2: "AB", 3: "AB"})
    records.verifiers[lens_uri(2)] = {"at://v/1": BOB}
    records.verifiers[lens_uri(3)] = {"at://v/2": CAROL}
    named = {"trust": "verified", "verifiers": [CAROL]}
    assert numbers(records, *ask(records, "AB", **named)) == [[3]]  # type: ignore[arg-type]
    assert numbers(records, *ask(records, "AB", trust="verified")) == [[2], [3]]
    assert numbers(records, *ask(records, "AB", verifiers=[CAROL])) == [[3], [1], [2]]
    assert ask(records, "AB", trust="verified", verifiers=[ALICE]) == []


def test_a_path_has_no_more_lenses_than_asked_for() -> None:
    records = simple({1: "AB", 2: "BC", 3: "CD", 4: "DE"})
    assert numbers(records, *ask(records, "AE", max_hops=4)) == [[1, 2, 3, 4]]
    assert ask(records, "AE", max_hops=3) == []


def test_a_schema_is_its_own_view_and_unknown_ones_are_named() -> None:
    records = simple({1: "AB", 2: "BA"})
    assert ask(records, "AA") == [()]
    for ends in ("AZ", "ZA"):
        with pytest.raises(LookupError, match=schema_uri("Z")):
            ask(records, ends)


# Graphs that strangers made


def clique(size: int, edges: Iterable[tuple[int, int]]) -> LensGraph:
    records = Records()
    names = [schema_uri(f"s{number:03}") for number in range(size)]
    for at, uri in enumerate(names):
        records.schemas[uri] = SchemaFact(uri, "S", "1.0.0", at + 1)
    for number, (source, target) in enumerate(edges):
        uri = lens_uri(number)
        records.lenses[uri] = LensFact(uri, names[source], names[target], 1000 + number)
    return records.loaded()


def dense(size: int, start: int = 0) -> Iterator[tuple[int, int]]:
    numbers = range(start, start + size)
    return ((one, two) for one, two in product(numbers, numbers) if one != two)


def took(graph: LensGraph, source: int, target: int, limit: int) -> tuple[int, float]:
    """(paths found, seconds of this thread)."""
    best = 9.0
    found: list[object] = []
    for _ in range(3):
        begun = time.thread_time()
        found = list(
            find_paths(
                graph,
                schema_uri(f"s{source:03}"),
                schema_uri(f"s{target:03}"),
                max_hops=8,
                limit=limit,
            )
        )
        best = min(best, time.thread_time() - begun)
    return len(found), best


def test_dense_graphs_are_answered_within_bounds() -> None:
    # Two crowds of 250, with one lens from the first to the second and one out of it.
    size = 250
    lenses = [*dense(size), *dense(size, size), (0, size), (size + 1, 2 * size)]
    graph = clique(2 * size + 2, lenses)
    for source, target, wanted in ((3, 4, 10), (3, size + 5, 10), (3, 2 * size, 10)):
        found, seconds = took(graph, source, target, wanted)
        assert wanted // 2 <= found <= wanted
        assert seconds < 0.25, (source, target, seconds)
    nowhere, seconds = took(graph, 3, 2 * size + 1, 10)
    assert (nowhere, seconds < 0.01) == (0, True)


def test_a_crowd_of_parallel_lenses_is_answered_within_bounds() -> None:
    graph = clique(3, [pair for pair in ((0, 1), (1, 2)) for _ in range(50_000)])
    found, seconds = took(graph, 0, 2, 10)
    assert (found, seconds < 0.5) == (10, True)


def test_what_is_found_once_the_work_is_done_is_a_path(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(paths_module, "MAX_WORK", 0)
    records = simple({1: "AB", 2: "AC", 3: "BD", 4: "CD", 5: "DE", 6: "EF", 7: "AD"})
    for ends, hops in (("AF", 3), ("AD", 1), ("BE", 2)):
        found = ask(records, ends)
        assert len(found[0]) == hops
        everything = all_paths(records, ends, 4, "any", frozenset())
        assert set(found) <= set(everything)
