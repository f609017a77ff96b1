"""Lens graphs for tests: facts made short, the plain reading of what they mean, and random ones."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

import numpy as np
import pyarrow as pa

from atdex_appview.graph.facts import (
    GraphChange,
    LensColumns,
    LensFact,
    SchemaFact,
    Verifiers,
)
from atdex_appview.graph.graph import LensGraph
from atdex_appview.graph.ranges import parse_range
from atdex_appview.store.versions import semver_key
from tests.appview.records import ALICE, BOB, COLLECTIONS, rev

CAROL = "did:plc:carol000000000000000000a"


def schema_uri(name: str, did: str = ALICE) -> str:
    """`com.example.image` stays as it is; a letter becomes a TID."""
    rkey = name if len(name) > 2 else rev(1 + sum(map(ord, name)))
    return f"at://{did}/{COLLECTIONS['schema']}/{rkey}"


def lens_uri(number: int, did: str = BOB) -> str:
    return f"at://{did}/{COLLECTIONS['lens']}/{rev(10_000 + number)}"


@dataclass
class Records:
    """The visible records, and the graph's meaning spelled out over them."""

    schemas: dict[str, SchemaFact] = field(default_factory=dict)
    lenses: dict[str, LensFact] = field(default_factory=dict)
    verifiers: dict[str, Verifiers] = field(default_factory=dict)

    def apply(self, change: GraphChange) -> None:
        for uri, schema in change.schemas.items():
            if schema is None:
                self.schemas.pop(uri, None)
            else:
                self.schemas[uri] = schema
        for uri, lens in change.lenses.items():
            if lens is None:
                self.lenses.pop(uri, None)
                self.verifiers.pop(uri, None)
            else:
                self.lenses[uri] = lens
        for uri, named in change.verifiers.items():
            if uri in self.lenses and named:
                self.verifiers[uri] = named
            else:
                self.verifiers.pop(uri, None)

    def fitting(self, uri: str, version: str | None) -> set[str]:
        """The schemas that one end of a lens leads to."""
        within = None if version is None else parse_range(version)
        if within is None:
            return {uri} & self.schemas.keys()
        anchor = self.schemas.get(uri)
        repo = uri.rpartition("/")[0]
        found = set()
        for other in self.schemas.values():
            other_repo = other.uri.rpartition("/")[0]
            named = anchor is not None and anchor.name == other.name
            fits = other.version == version or within.fits(semver_key(other.version))
            if repo == other_repo and named and fits:
                found.add(other.uri)
        return found

    def hops(self) -> Iterator[tuple[str, str, LensFact]]:
        for lens in self.lenses.values():
            if lens.usable:
                for source in self.fitting(lens.source, lens.source_version):
                    for target in self.fitting(lens.target, lens.target_version):
                        yield source, target, lens

    def cost(self, lens: LensFact, verifiers: frozenset[str] = frozenset()) -> tuple[int, int]:
        """(1 where it is plain, 1 where it is not verified)."""
        by = set(self.verifiers.get(lens.uri, {}).values())
        verified = bool(by & verifiers) if verifiers else bool(by)
        return int(not verified and not lens.declarative), int(not verified)

    def loaded(self) -> LensGraph:
        """A graph that got everything at once."""
        graph = LensGraph()
        graph.load(self.schemas.values(), columns(list(self.lenses.values())), self.verified())
        return graph

    def verified(self) -> list[tuple[str, Verifiers]]:
        return list(self.verifiers.items())


def columns(lenses: list[LensFact]) -> LensColumns:
    prefixes = list(dict.fromkeys(lens.uri.rpartition("/")[0] + "/" for lens in lenses))
    codes = [prefixes.index(lens.uri.rpartition("/")[0] + "/") for lens in lenses]

    def text(values: list[str | None]) -> pa.StringArray:
        return pa.array(values, pa.string())

    return LensColumns(
        prefixes=prefixes,
        prefix_codes=np.array(codes, np.int32),
        rkeys=text([lens.uri.rpartition("/")[2] for lens in lenses]),
        source=text([lens.source for lens in lenses]),
        target=text([lens.target for lens in lenses]),
        source_version=text([lens.source_version for lens in lenses]),
        target_version=text([lens.target_version for lens in lenses]),
        declarative=np.array([lens.declarative for lens in lenses], np.bool_),
        usable=np.array([lens.usable for lens in lenses], np.bool_),
        first_seen=np.array([lens.first_seen for lens in lenses], np.int64),
    )


def meaning(graph: LensGraph) -> set[tuple[str, str, str, bool, frozenset[str]]]:
    """Every hop that a graph offers, from both sides, which must agree."""
    forth, back = set(), set()
    for vertex in range(graph.schemas.size):
        if graph.seen[vertex] > 0:
            here = graph.schemas.uri(vertex)
            for lens, other in graph.from_schema(vertex):
                forth.add((here, graph.schemas.uri(other), lens))
            for lens, other in graph.to_schema(vertex):
                back.add((graph.schemas.uri(other), here, lens))
    assert forth == back
    return {
        (
            source,
            target,
            graph.lenses.uri(lens),
            bool(graph.declarative[lens]),
            graph.verified.get(lens, frozenset()),
        )
        for source, target, lens in forth
    }


def expected(records: Records) -> set[tuple[str, str, str, bool, frozenset[str]]]:
    return {
        (
            source,
            target,
            lens.uri,
            lens.declarative,
            frozenset(records.verifiers.get(lens.uri, {}).values()),
        )
        for source, target, lens in records.hops()
    }


def simple(edges: Mapping[int, str], schemas: str = "ABCDEFGH") -> Records:
    """Lenses by number from their ends, as in {1: "AB", 2: "BC"}; the number is their age.

    A third letter `d` makes it declarative.
    """
    records = Records()
    for at, name in enumerate(schemas):
        uri = schema_uri(name)
        records.schemas[uri] = SchemaFact(uri, name, "1.0.0", at + 1)
    for number, ends in edges.items():
        lens = LensFact(
            lens_uri(number),
            schema_uri(ends[0]),
            schema_uri(ends[1]),
            1000 + number,
            declarative=ends.endswith("d"),
        )
        records.lenses[lens.uri] = lens
    return records
