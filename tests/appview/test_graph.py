"""The lens graph in memory: whatever comes in whatever order, it is what the records say."""

from __future__ import annotations

from dataclasses import replace

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from atdex_appview.graph.facts import GraphChange, LensFact, SchemaFact
from atdex_appview.graph.graph import MAX_FITS, LensGraph
from tests.appview.graphs import (
    CAROL,
    Records,
    expected,
    lens_uri,
    meaning,
    schema_uri,
    simple,
)
from tests.appview.records import ALICE, BOB

NAMES = ("A", "B", "C", "com.example.x-v1.0.0", "com.example.x-v1.1.0", "com.example.x-v2.0.0")
SCHEMAS = tuple(schema_uri(name, did) for did in (ALICE, CAROL) for name in NAMES)
RANGES = (None, None, None, "^1.0.0", ">=1.0.0", "2.0.0", "latest")
LENSES = tuple(lens_uri(number) for number in range(8))

schema_facts = st.builds(
    SchemaFact,
    st.sampled_from(SCHEMAS),
    st.sampled_from(["Image", "Grey"]),
    st.sampled_from(["1.0.0", "1.1.0", "2.0.0", "draft"]),
    st.integers(1, 50),
)
lens_facts = st.builds(
    LensFact,
    st.sampled_from(LENSES),
    st.sampled_from(SCHEMAS),
    st.sampled_from(SCHEMAS),
    st.integers(100, 150),
    st.sampled_from(RANGES),
    st.sampled_from(RANGES),
    st.booleans(),
    st.sampled_from([True, True, True, False]),
)
verifiers = st.dictionaries(
    st.sampled_from(["at://v/1", "at://v/2"]), st.sampled_from([ALICE, BOB]), max_size=2
)


@st.composite
def changes(draw: st.DrawFn) -> GraphChange:
    schemas = draw(st.lists(schema_facts, max_size=4))
    lenses = draw(st.lists(lens_facts, max_size=4))
    gone = draw(st.sets(st.sampled_from(SCHEMAS + LENSES), max_size=4))
    verified = draw(st.dictionaries(st.sampled_from(LENSES), verifiers, max_size=2))
    return GraphChange(
        schemas={fact.uri: None if fact.uri in gone else fact for fact in schemas}
        | {uri: None for uri in gone if uri in SCHEMAS},
        lenses={fact.uri: None if fact.uri in gone else fact for fact in lenses}
        | {uri: None for uri in gone if uri in LENSES},
        # A verification is of one lens.
        verifiers={
            uri: {f"{uri}#{key}": did for key, did in found.items()}
            for uri, found in verified.items()
        },
    )


@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.lists(changes(), max_size=12))
def test_any_sequence_of_changes_leaves_what_a_rebuild_makes(drawn: list[GraphChange]) -> None:
    graph, records = LensGraph(), Records()
    for change in drawn:
        graph.update(change)
        records.apply(change)
        rebuilt = records.loaded()
        assert meaning(graph) == meaning(rebuilt) == expected(records)
        assert graph.counts() == rebuilt.counts()
        check_counts(graph, records)
    graph.update(GraphChange(schemas=dict.fromkeys(SCHEMAS), lenses=dict.fromkeys(LENSES)))
    # Nothing of what has left is remembered.
    assert len(graph.schemas) == len(graph.lenses) == 0
    assert graph.counts() == LensGraph().counts()
    assert not (graph._waiting or graph.ranges_of or graph._verified_lens or graph._ranges_in)


def check_counts(graph: LensGraph, records: Records) -> None:
    counts = graph.counts()
    connected = sum(
        lens.usable
        and bool(records.fitting(lens.source, lens.source_version))
        and bool(records.fitting(lens.target, lens.target_version))
        for lens in records.lenses.values()
    )
    unusable = sum(not lens.usable for lens in records.lenses.values())
    assert (counts.schemas, counts.lenses) == (len(records.schemas), len(records.lenses))
    assert (counts.connected, counts.unusable) == (connected, unusable)
    assert counts.dangling == len(records.lenses) - connected - unusable
    assert counts.verified == len(records.verifiers)


def test_a_lens_waits_for_its_schemas_and_connects_when_they_come() -> None:
    records = simple({1: "AB"})
    schemas, graph = records.schemas, LensGraph()
    graph.update(GraphChange(lenses=dict(records.lenses)))
    assert (graph.counts().dangling, meaning(graph)) == (1, set())
    for uri in (schema_uri("A"), schema_uri("B")):
        assert meaning(graph) == set()
        graph.update(GraphChange(schemas={uri: schemas[uri]}))
    assert meaning(graph) == expected(records)
    graph.update(GraphChange(schemas={schema_uri("A"): None}))
    assert (graph.counts().dangling, meaning(graph)) == (1, set())
    graph.update(GraphChange(schemas={schema_uri("A"): schemas[schema_uri("A")]}))
    assert meaning(graph) == expected(records)


def test_lenses_between_the_same_schemas_are_kept_apart() -> None:
    graph = simple({1: "AB", 2: "AB", 3: "BA"}).loaded()
    assert graph.counts().connected == 3
    graph.update(GraphChange(lenses={lens_uri(1): None}))
    assert {hop[2] for hop in meaning(graph)} == {lens_uri(2), lens_uri(3)}


def test_a_lens_that_is_not_usable_is_counted_and_connects_once_it_is() -> None:
    records = simple({1: "AB"})
    fact = records.lenses[lens_uri(1)]
    graph = LensGraph()
    graph.update(GraphChange(records.schemas, lenses={fact.uri: replace(fact, usable=False)}))
    assert (graph.counts().unusable, meaning(graph)) == (1, set())
    graph.update(GraphChange(lenses={fact.uri: fact}))
    assert (graph.counts().unusable, graph.counts().connected) == (0, 1)


def test_equal_facts_change_nothing_and_any_other_changes_the_version() -> None:
    records = simple({1: "AB"})
    graph = records.loaded()
    version = graph.version
    graph.update(GraphChange(records.schemas, dict(records.lenses)))
    assert graph.version == version
    verified = GraphChange(verifiers={lens_uri(1): {"at://v/1": ALICE}})
    graph.update(verified)
    assert graph.version != version
    version = graph.version
    graph.update(verified)
    assert graph.version == version


def test_a_range_leads_to_every_version_within_it_and_to_later_ones_too() -> None:
    records = simple({}, "A")
    for minor in range(3):
        uri = schema_uri(f"com.example.image-v1.{minor}.0")
        records.schemas[uri] = SchemaFact(uri, "Image", f"1.{minor}.0", 10 + minor)
    first = schema_uri("com.example.image-v1.0.0")
    fact = LensFact(lens_uri(1), first, schema_uri("A"), 100, source_version="^1.1.0")
    records.lenses[fact.uri] = fact
    graph = records.loaded()
    assert {hop[0] for hop in meaning(graph)} == {
        schema_uri("com.example.image-v1.1.0"),
        schema_uri("com.example.image-v1.2.0"),
    }
    # A later version belongs to them by its name, another publisher's does not.
    later = SchemaFact(schema_uri("Z"), "Image", "1.9.0", 50)
    stranger = SchemaFact(schema_uri("Z", CAROL), "Image", "1.9.0", 51)
    change = GraphChange(schemas={later.uri: later, stranger.uri: stranger})
    graph.update(change)
    records.apply(change)
    assert later.uri in {hop[0] for hop in meaning(graph)}
    assert meaning(graph) == expected(records)
    # Without the record that is named, nothing says what the others are versions of.
    graph.update(GraphChange(schemas={first: None}))
    assert (meaning(graph), graph.counts().dangling) == (set(), 1)


def test_a_range_leads_to_no_more_than_the_highest_versions_of_many() -> None:
    records = simple({}, "AB")
    for minor in range(MAX_FITS + 10):
        uri = schema_uri(f"com.example.image-v1.{minor}.0")
        records.schemas[uri] = SchemaFact(uri, "Image", f"1.{minor}.0", 10 + minor)
    first = schema_uri("com.example.image-v1.0.0")
    fact = LensFact(lens_uri(1), first, schema_uri("A"), 100, source_version="^1.0.0")
    records.lenses[fact.uri] = fact
    found = {hop[0] for hop in meaning(records.loaded())}
    assert len(found) == MAX_FITS
    assert first in found
    assert schema_uri(f"com.example.image-v1.{MAX_FITS + 9}.0") in found


def test_an_account_with_many_lenses_at_one_schema_leaves_at_once() -> None:
    records = simple({}, "AB")
    for number in range(50_000):
        uri = lens_uri(number)
        records.lenses[uri] = LensFact(uri, schema_uri("A"), schema_uri("B"), 100 + number)
    graph = records.loaded()
    uris = list(records.lenses)
    for start in range(0, len(uris), 1000):
        graph.update(GraphChange(lenses=dict.fromkeys(uris[start : start + 1000])))
    assert graph.counts().lenses == 0
