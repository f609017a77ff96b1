"""What a schema reaches, held against networkx and against the best paths."""

from __future__ import annotations

import networkx as nx
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from atdex_appview.graph.facts import GraphChange, LensFact, SchemaFact
from atdex_appview.graph.paths import find_paths
from atdex_appview.graph.reach import KEPT, Direction, Reaches
from tests.appview.graphs import Records, lens_uri, schema_uri, simple
from tests.appview.test_graph_paths import networks


def hops_by_networkx(
    records: Records, start: str, direction: Direction, most: int
) -> dict[str, int]:
    graph = nx.DiGraph()
    graph.add_nodes_from(records.schemas)
    graph.add_edges_from((source, target) for source, target, _ in records.hops())
    if direction == "to":
        graph = graph.reverse()
    found = dict(nx.single_source_shortest_path_length(graph, start, cutoff=most))
    del found[start]
    return found


@settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(networks(), st.sampled_from(["from", "to"]), st.integers(1, 8))
def test_what_is_reached_is_what_networkx_reaches(
    records: Records, direction: Direction, most: int
) -> None:
    graph = records.loaded()
    reaches, start = Reaches(graph), schema_uri("A")
    reach = reaches.reach(start, direction, most)
    wanted = hops_by_networkx(records, start, direction, most)
    assert {uri: reached.hops for uri, reached in reach.items()} == wanted
    order = [(reached.hops, records.schemas[uri].first_seen) for uri, reached in reach.items()]
    assert order == sorted(order)
    for uri, reached in reach.items():
        ends = (start, uri) if direction == "from" else (uri, start)
        [best] = find_paths(graph, *ends, max_hops=most, limit=1)
        if direction == "to" and not graph.ranges:
            assert reached.path == best.lenses
        costs = [
            [
                sum(column)
                for column in zip(*(records.cost(records.lenses[u]) for u in path), strict=True)
            ]
            for path in (reached.path, best.lenses)
        ]
        assert (len(reached.path), costs[0]) == (best.hops, costs[1])
    assert schema_uri("A") not in reach
    assert reach.uris() == list(reach)


def star(count: int) -> Records:
    """Schemas that A leads to, by one lens each."""
    records = simple({}, "A")
    for number in range(count):
        uri = schema_uri(f"s{number:03}")
        records.schemas[uri] = SchemaFact(uri, "S", "1.0.0", 10 + number)
        lens = LensFact(lens_uri(number), schema_uri("A"), uri, 1000 + number)
        records.lenses[lens.uri] = lens
    return records


def walk(reaches: Reaches, between: list[GraphChange]) -> list[str]:
    """A full walk in pages of 3, with a change after each page."""
    found: list[str] = []
    version, after = None, None
    while True:
        reach = reaches.reach(schema_uri("A"), "from", 4, version=version)
        rows, after = reach.page(3, after)
        found += [uri for uri, _ in rows]
        if after is None:
            return found
        version = reach.version
        if between:
            reaches._graph.update(between.pop())


def test_a_walk_meets_each_schema_once_whatever_changes_meanwhile() -> None:
    records = star(20)
    graph = records.loaded()
    reaches = Reaches(graph)
    names = [schema_uri(f"s{number:03}") for number in range(20)]
    # The last ones come nearer and go farther, one leaves, and its number goes to another schema.
    new = SchemaFact(schema_uri("new"), "S", "1.0.0", 100)
    between = [
        GraphChange(lenses={lens_uri(19): None}),
        GraphChange(schemas={new.uri: new}),
        GraphChange(
            schemas={names[18]: None},
            lenses={
                lens_uri(18): None,
                lens_uri(50): LensFact(lens_uri(50), schema_uri("A"), names[17], 1),
                lens_uri(0): LensFact(lens_uri(0), names[1], names[0], 1000),
            },
        ),
    ]
    found = walk(reaches, between)
    assert not between
    assert found == [name for name in names if name != names[18]]


def test_a_walk_whose_beginning_is_forgotten_goes_on_from_its_place() -> None:
    graph = star(20).loaded()
    reaches = Reaches(graph)
    first = reaches.reach(schema_uri("A"), "from", 4)
    rows, after = first.page(3, None)
    graph.update(GraphChange(lenses={lens_uri(0): None}))
    for number in range(KEPT + 1):
        reaches.reach(schema_uri(f"s{number:03}"), "to", 4)
    again = reaches.reach(schema_uri("A"), "from", 4, version=first.version)
    assert again.version == graph.version != first.version
    rest, end = again.page(100, after)
    assert [*rows, *rest] == [(schema_uri(f"s{number:03}"), 1) for number in range(20)]
    assert end is None


def test_answers_of_one_version_are_kept_and_those_of_another_are_found_again() -> None:
    graph = star(3).loaded()
    reaches = Reaches(graph)
    first = reaches.reaching(schema_uri("s001"), 4)
    assert reaches.reaching(schema_uri("s001"), 4) is first
    graph.update(GraphChange(lenses={lens_uri(1): None}))
    assert len(reaches.reaching(schema_uri("s001"), 4)) == 0
    # What was found stays what it was, but for what has left.
    assert list(first) == [schema_uri("A")]
    with pytest.raises(KeyError):
        first[schema_uri("A")]
    assert first.hops(schema_uri("A")) == 1
    graph.update(GraphChange(schemas={schema_uri("A"): None}))
    assert (list(first), schema_uri("A") in first) == ([], False)


def test_a_schema_that_is_not_there_reaches_nothing() -> None:
    reaches = Reaches(star(1).loaded())
    for uri in (schema_uri("Z"), "no uri"):
        with pytest.raises(LookupError, match=uri):
            reaches.reach(uri, "from", 4)
    assert "no uri" not in reaches.reach(schema_uri("A"), "from", 4)
