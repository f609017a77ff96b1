"""The best paths from one schema to another.

Order of paths, each rule deciding where those before it do not:

1. fewer lenses;
2. fewer lenses that are neither verified nor declarative;
3. fewer lenses that are not verified;
4. the older first lens, then the older second lens, and so on (by `first_seen`, which is unique
   and never changes, so that equal questions get equal answers).

A path meets no schema twice. Parallel lenses make different paths.

Method: a breadth-first search from both ends, whose layers hold every shortest path; the best of
those by dynamic programming from the target. If they are too few, the next ones by Yen's algorithm
(J. Y. Yen, "Finding the K Shortest Loopless Paths in a Network", Management Science 17, 1971) with
Lawler's rule: each path found is left at each of its schemas, never by a lens that was taken from
there before. Searches that cannot beat the paths at hand are given up.

Work is bounded, because strangers write the graph. The first search looks at a lens at most twice,
so that a path that exists is found, and with the fewest lenses. From there on `MAX_WORK` lenses are
looked at: in dense graphs rules 2 to 4 hold among those, and there may be fewer further paths
than there are.
"""

from __future__ import annotations

import heapq
from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass
from itertools import compress
from operator import itemgetter
from typing import Literal

from atdex_appview.graph.graph import LensGraph

Trust = Literal["any", "declarative", "verified"]

MAX_WORK = 40_000
"""Lenses looked at for the further paths and the choice among equals: some 10 ms."""

HOP_WORK = 8
"""What a lens on a shortest path costs beside those that were only looked at."""

LEAST_HOPS = 100
"""Lenses of each layer of shortest paths that are chosen among in any case."""

PLAIN, UNVERIFIED = 16, 1
"""What a lens costs by rules 2 and 3. Paths have at most 8 lenses, so that counts do not mix."""


@dataclass(frozen=True, slots=True)
class Path:
    """The URIs of the lenses, in the order in which they apply."""

    lenses: tuple[str, ...]

    @property
    def hops(self) -> int:
        return len(self.lenses)


def find_paths(
    graph: LensGraph,
    source: str,
    target: str,
    *,
    max_hops: int,
    limit: int,
    trust: Trust = "any",
    verifiers: Collection[str] = (),
) -> list[Path]:
    """At most `limit` paths of at most `max_hops` lenses, best first; empty where there is none.

    `trust` says which lenses may be part of one: declarative ones, or verified ones. Verified is
    what one of `verifiers` (DIDs) has verified, or anyone where none is named. A schema is its own
    view by a path of no lenses. Both schemas have to be there: LookupError says which is not.
    """
    with graph.lock:
        ends = []
        for uri in (source, target):
            vertex = graph.schema(uri)
            if vertex is None:
                raise LookupError(uri)
            ends.append(vertex)
        if source == target:
            return [Path(())]
        search = _Search(graph, ends[1], trust, frozenset(verifiers))
        found = search.best(ends[0], max_hops, limit)
        return [Path(tuple(graph.lenses.uri(lens) for lens in lenses)) for lenses in found]


@dataclass(frozen=True, slots=True)
class _Way:
    """Lenses with the schemas that they lead to, and what makes it better or worse."""

    lenses: tuple[int, ...]
    vertices: tuple[int, ...]
    cost: int
    ages: tuple[int, ...]
    schema_ages: tuple[int, ...]

    @property
    def rank(self) -> _Rank:
        # The last one decides where a lens fits several versions of one schema.
        return (len(self.lenses), self.cost, self.ages, self.schema_ages)


_Rank = tuple[int, int, tuple[int, ...], tuple[int, ...]]
_Waiting = tuple[_Rank, _Way, int]
"""A way that was found, and the number of the schema where it left another one."""

_ARRIVED = _Way((), (), 0, (), ())

Hop = tuple[int, int]
"""(lens, schema that it leads to)."""

_Stem = tuple[tuple[int, ...], tuple[int, ...]]
"""How a way begins: lenses, and the schemas that they lead to."""

_Choice = tuple[int, int, int, int, _Way]
"""(cost of the whole, age of its first lens, that lens, the schema it leads to, the way on)."""

_cost_and_age = itemgetter(0, 1)


class _Search:
    """Searches to one target. The caller holds the graph's lock."""

    def __init__(
        self, graph: LensGraph, target: int, trust: Trust, verifiers: frozenset[str]
    ) -> None:
        self._graph = graph
        self._target = target
        self._verifiers = verifiers
        self._work = 0
        self._bounded = False
        self._admits = self._test(trust)

    def best(self, source: int, max_hops: int, limit: int) -> list[tuple[int, ...]]:
        """The lenses of the paths, best first."""
        taken = self._shortest(source, max_hops, limit, frozenset(), frozenset())
        # A path that a lens for several versions takes twice is one path to whoever follows it.
        answers = dict.fromkeys(way.lenses for way in taken)
        waiting: list[_Waiting] = []
        known: set[_Stem] = set()

        def leave(way: _Way, first: int) -> None:
            for at in range(first, len(way.lenses)):
                stem = way.lenses[:at], way.vertices[:at]
                if self._work > MAX_WORK or (stem in known and at > first):
                    continue
                known.add(stem)
                hops = self._hops_worth(waiting, limit - len(answers), max_hops)
                spur = self._spur(source, way, at, taken, hops)
                if spur is not None:
                    heapq.heappush(waiting, (spur.rank, spur, at))

        if len(answers) < limit:
            for way in taken:
                leave(way, 0)
        while waiting and len(answers) < limit:
            _, way, left_at = heapq.heappop(waiting)
            taken.append(way)
            answers[way.lenses] = None
            if len(answers) < limit:
                leave(way, left_at)
        return list(answers)

    def _hops_worth(self, waiting: list[_Waiting], wanted: int, max_hops: int) -> int:
        """Lenses that a further path may have: more than the last one that is wanted is too many.

        With ranges two of those that wait may be one path, so that they tell nothing.
        """
        if len(waiting) < wanted or self._graph.ranges:
            return max_hops
        return sorted(len(way.lenses) for _, way, _ in waiting)[wanted - 1]

    def _spur(
        self, source: int, way: _Way, at: int, taken: list[_Way], max_hops: int
    ) -> _Way | None:
        """The best way that goes with `way` up to its schema number `at`, and no known way on."""
        start = way.vertices[at - 1] if at else source
        stem = way.lenses[:at], way.vertices[:at]
        known = {
            (other.lenses[at], other.vertices[at])
            for other in taken
            if len(other.lenses) > at and (other.lenses[:at], other.vertices[:at]) == stem
        }
        banned = {source, *way.vertices[:at]} - {start}
        found = self._shortest(start, max_hops - at, 1, frozenset(banned), frozenset(known))
        if not found:
            return None
        (rest,) = found
        return _Way(
            stem[0] + rest.lenses,
            stem[1] + rest.vertices,
            sum(map(self._cost, stem[0])) + rest.cost,
            way.ages[:at] + rest.ages,
            way.schema_ages[:at] + rest.schema_ages,
        )

    # One search

    def _shortest(
        self,
        source: int,
        max_hops: int,
        limit: int,
        banned: frozenset[int],
        known: frozenset[Hop],
    ) -> list[_Way]:
        """The best of the shortest ways, but for schemas `banned` and first hops `known`."""
        ahead: list[set[int]] = [{source}]
        behind: list[set[int]] = [{self._target}]
        met = {source, *banned}
        met_behind = {self._target, source, *banned}
        first: list[Hop] | None = None
        if known:
            # Going forth first, so that no way begins with a hop that is known already.
            first = [hop for hop in self._admitted(source) if hop not in known]
            self._work += 4 * len(first)
        ahead_size, behind_size = self._size(ahead[0], False), self._size(behind[0], True)
        while len(ahead) + len(behind) - 2 < max_hops:
            if self._bounded and self._work + min(ahead_size, behind_size) // 2 > MAX_WORK:
                return []
            forth = ahead_size <= behind_size or (first is not None and len(ahead) == 1)
            if forth:
                if first is not None and len(ahead) == 1:
                    new = {schema for _, schema in first} - met
                else:
                    new = self._around(ahead[-1], backwards=False) - met
                ahead.append(new)
                meeting = new & behind[-1]
                met |= new
                ahead_size = self._size(new, False)
            else:
                new = self._around(behind[-1], backwards=True)
                # The source is where the two meet, unless only its other hops are wanted.
                meeting = new & ahead[-1]
                new -= met_behind
                behind.append(new | meeting)
                met_behind |= new
                behind_size = self._size(new, True)
            if meeting:
                return self._best_of(ahead, behind, meeting, first, limit)
            if not new:
                return []
        return []

    def _best_of(
        self,
        ahead: list[set[int]],
        behind: list[set[int]],
        meeting: set[int],
        first: list[Hop] | None,
        limit: int,
    ) -> list[_Way]:
        if not self._bounded:
            self._bounded = True
            self._work = 0
        # From the meeting on to the target, keeping to layers that all lead there.
        layers: list[dict[int, list[Hop]]] = []
        here = meeting
        left = len(ahead) + len(behind) - 2
        for there in reversed(behind[:-1]):
            hops = self._between(here, there, left - len(layers))
            layers.append(hops)
            here = {schema for choices in hops.values() for _, schema in choices}
        ways = {self._target: [_ARRIVED]}
        for hops in reversed(layers):
            ways = self._step(hops, ways, limit)
        for at in range(len(ahead) - 2, -1, -1):
            if at == 0 and first is not None:
                (source,) = ahead[0]
                hops = {source: [hop for hop in first if hop[1] in ways]}
            else:
                hops = self._between(ahead[at], ways.keys(), at + 1)
            ways = self._step(hops, ways, limit)
        (found,) = ways.values()
        return found

    def _step(
        self, hops: dict[int, list[Hop]], ways: dict[int, list[_Way]], limit: int
    ) -> dict[int, list[_Way]]:
        """The best ways on from each schema, given those from the next ones."""
        made = {}
        ages = self._graph.lens_seen
        # Where a lens has one end, no two choices are of the same age.
        key = self._rank if self._graph.ranges else _cost_and_age
        for schema, choices in hops.items():
            ranked: list[_Choice] = [
                (self._cost(lens) + ways[there][0].cost, ages[lens], lens, there, ways[there][0])
                for lens, there in choices
                if there in ways
            ]
            if len(ranked) > limit:
                # The others begin no way that is among the best: each of these has a better one.
                ranked = heapq.nsmallest(limit, ranked, key=key)
            ranked = [
                (cost - best.cost + way.cost, age, lens, there, way)
                for cost, age, lens, there, best in ranked
                for way in ways[there]
            ]
            if len(ranked) > 1:
                ranked.sort(key=self._rank)
            if ranked:
                made[schema] = [self._extended(*one) for one in ranked[:limit]]
        return made

    def _rank(self, choice: _Choice) -> tuple[object, ...]:
        cost, age, _, there, way = choice
        return (cost, age, way.ages, self._graph.seen[there], way.schema_ages)

    def _extended(self, cost: int, age: int, lens: int, there: int, way: _Way) -> _Way:
        return _Way(
            (lens, *way.lenses),
            (there, *way.vertices),
            cost,
            (age, *way.ages),
            (self._graph.seen[there], *way.schema_ages),
        )

    def _between(
        self, here: Collection[int], there: Collection[int], shares: int
    ) -> dict[int, list[Hop]]:
        """The hops from one set of schemas into another; once the work is done, some of them.

        `shares` are the layers, this one among them, that have what is left of the work.
        """
        allowed = max(LEAST_HOPS, (MAX_WORK - self._work) // shares // HOP_WORK)
        graph, admits = self._graph, self._admits
        forth = self._size(here, False) <= self._size(there, True)
        adjacency = graph.out if forth else graph.into
        near, far = (here, there) if forth else (there, here)
        wanted = set(far)
        ranges_of = graph.ranges_of
        if ranges_of:
            wanted.update(one for schema in far for one in ranges_of.get(schema, ()))
        found: dict[int, list[Hop]] = {}
        for schema in near:
            for start in (schema, *ranges_of.get(schema, ())):
                pairs = adjacency[start]
                others, lenses = pairs[::2], pairs[1::2]
                for lens, other in compress(
                    zip(lenses, others, strict=True), map(wanted.__contains__, others)
                ):
                    if admits is not None and not admits(lens):
                        continue
                    between = graph.ranges.get(other) if ranges_of else None
                    allowed -= 1
                    self._work += HOP_WORK
                    for end in (other,) if between is None else between.members:
                        if between is None or end in far:
                            one, hop = (schema, (lens, end)) if forth else (end, (lens, schema))
                            found.setdefault(one, []).append(hop)
                    if allowed <= 0 and found:
                        return found
                self._work += len(others)
            if self._work > MAX_WORK and found:
                return found
        return found

    # The graph, seen through what is trusted

    def _test(self, trust: Trust) -> Callable[[int], object] | None:
        match trust:
            case "any":
                return None
            case "declarative":
                return self._graph.declarative.__getitem__
            case "verified":
                return self._is_verified if self._verifiers else self._graph.verified.__contains__

    def _is_verified(self, lens: int) -> bool:
        by = self._graph.verified.get(lens)
        return by is not None and (not self._verifiers or not by.isdisjoint(self._verifiers))

    def _cost(self, lens: int) -> int:
        if self._is_verified(lens):
            return 0
        return UNVERIFIED if self._graph.declarative[lens] else UNVERIFIED + PLAIN

    def _admitted(self, schema: int) -> Iterator[Hop]:
        admits = self._admits
        for hop in self._graph.from_schema(schema):
            if admits is None or admits(hop[0]):
                yield hop

    def _size(self, schemas: Collection[int], backwards: bool) -> int:
        """Twice the lenses that leave (or enter) these schemas, those for ranges left out."""
        adjacency = self._graph.into if backwards else self._graph.out
        return sum([len(adjacency[schema]) for schema in schemas])

    def _around(self, schemas: Collection[int], *, backwards: bool) -> set[int]:
        """The schemas that one lens leads to from these (or from which one leads to these)."""
        graph, admits = self._graph, self._admits
        adjacency = graph.into if backwards else graph.out
        starts = schemas
        if graph.ranges:
            ranges_of = graph.ranges_of
            starts = {one for schema in schemas for one in ranges_of.get(schema, ())}
            starts.update(schemas)
        found: set[int] = set()
        for start in starts:
            pairs = adjacency[start]
            if not pairs:
                continue
            self._work += len(pairs) >> 1
            if admits is None:
                found.update(pairs[::2])
            else:
                found.update(compress(pairs[::2], map(admits, pairs[1::2])))
        if graph.ranges:
            met = found & graph.range_numbers
            found -= met
            for one in met:
                found.update(graph.ranges[one].members)
        return found
