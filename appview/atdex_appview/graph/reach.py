"""All schemas that a schema can be viewed as, or that can be viewed as it, with the hops.

A breadth-first search over arrays (CSR: the lenses of one schema lie side by side), because within
four hops it meets nearly every schema there is: 40 ms, where lists take 200. The arrays are made
anew where the graph has changed since, which takes another 60 ms at a million lenses.

What is found here is of one moment: a `Reach` stays as it is while the graph goes on, and says of
a record that has left since that it is not there.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from atdex_appview.graph.graph import CONNECTED, LensGraph
from atdex_appview.graph.paths import PLAIN, UNVERIFIED

Direction = Literal["from", "to"]

KEPT = 16
"""Answers that are kept, of 3 MB each at 100,000 schemas: those that somebody is paging through."""

_RANK_BITS = 34
_FAR = np.iinfo(np.int64).max

Ints = NDArray[np.int32]
Longs = NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Reached:
    """`path` are the URIs of the lenses, in the order in which they apply: the path that
    `find_paths` calls the best. (From a schema, equals are told apart by the age of the last lens
    before that of the first.)
    """

    hops: int
    path: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class _Arrays:
    """The connected lenses at one moment, side by side by the vertex that a search leaves.

    `other` is the vertex at their other end, `rank` their place by age, `cost` as in `paths`;
    `lens` and `age` have the lens at each rank.
    """

    version: int
    starts: Longs
    other: Ints
    rank: Longs
    cost: Longs
    lens: Ints
    age: Longs
    seen: Longs
    members: _Lists | None
    ranges_of: _Lists | None


@dataclass(frozen=True, slots=True)
class _Lists:
    """A list of vertices for each vertex; most are empty."""

    starts: Longs
    items: Ints

    @classmethod
    def of(cls, lists: Mapping[int, tuple[int, ...]], size: int) -> _Lists:
        counts = np.zeros(size + 1, np.int64)
        for vertex, items in lists.items():
            counts[vertex + 1] = len(items)
        flat = [item for vertex in sorted(lists) for item in lists[vertex]]
        return cls(np.cumsum(counts), np.array(flat, np.int32))


class Reach(Mapping[str, Reached]):
    """Schema URI to how it is reached; the schema that was asked about is not among them.

    Iterating and `in` cost nothing but the URIs; a path is put together when it is asked for.
    """

    def __init__(
        self, graph: LensGraph, arrays: _Arrays, direction: Direction, start: int, max_hops: int
    ) -> None:
        self.version = arrays.version
        """That of the graph when this was found."""
        self._graph = graph
        self._direction = direction
        self._start = start
        self._seen = arrays.seen
        self._distance, self._next, rank = _search(arrays, start, max_hops)
        self._lens = np.where(rank < 0, -1, arrays.lens[rank]) if len(arrays.lens) else rank
        self._age = np.where(rank < 0, -1, arrays.age[rank]) if len(arrays.lens) else rank
        found = np.flatnonzero(self._distance > 0)
        order = np.lexsort((arrays.seen[found], self._distance[found]))
        self._vertices = found[order].astype(np.int32)

    def __len__(self) -> int:
        return len(self._vertices)

    def __iter__(self) -> Iterator[str]:
        """The schemas that are still there, nearest first, then oldest first."""
        return iter(self.uris())

    def __contains__(self, uri: object) -> bool:
        return isinstance(uri, str) and self.hops(uri) is not None

    def __getitem__(self, uri: str) -> Reached:
        """Raises KeyError where the schema was not reached, or it or its path has left since."""
        with self._graph.lock:
            vertex = self._vertex(uri)
            if vertex is None:
                raise KeyError(uri)
            lenses = []
            at = vertex
            while at != self._start:
                lens = int(self._lens[at])
                if self._graph.lens_seen[lens] != self._age[at]:
                    raise KeyError(uri)
                lenses.append(self._graph.lenses.uri(lens))
                at = int(self._next[at])
        path = lenses if self._direction == "to" else lenses[::-1]
        return Reached(int(self._distance[vertex]), tuple(path))

    def hops(self, uri: str) -> int | None:
        """How many lenses it takes; None where the schema was not reached or has left since."""
        with self._graph.lock:
            vertex = self._vertex(uri)
        return None if vertex is None else int(self._distance[vertex])

    def uris(self) -> list[str]:
        """The schemas that are still there, nearest first, then oldest first."""
        with self._graph.lock:
            return self._graph.schemas.uris(self._vertices[self._still_there(self._vertices)])

    def page(
        self, limit: int, after: tuple[int, int] | None
    ) -> tuple[list[tuple[str, int]], tuple[int, int] | None]:
        """At most `limit` of (URI, hops) past a position, and the position to go on from.

        Positions are (hops, first_seen of the schema). Schemas that have left since are left out.
        """
        start = 0
        if after is not None:
            hops = self._distance[self._vertices]
            low, high = (int((hops < after[0]).sum()), int((hops <= after[0]).sum()))
            ages = self._seen[self._vertices[low:high]]
            start = low + int(np.searchsorted(ages, after[1], "right"))
        stop = min(start + limit, len(self))
        vertices = self._vertices[start:stop]
        with self._graph.lock:
            there = vertices[self._still_there(vertices)]
            uris = self._graph.schemas.uris(there)
        rows = list(zip(uris, self._distance[there].tolist(), strict=True))
        if stop == len(self):
            return rows, None
        last = self._vertices[stop - 1]
        return rows, (int(self._distance[last]), int(self._seen[last]))

    def _vertex(self, uri: str) -> int | None:
        vertex = self._graph.schema(uri)
        if vertex is None or vertex >= len(self._distance) or self._distance[vertex] <= 0:
            return None
        # The number may have been given to another schema since.
        return vertex if self._graph.seen[vertex] == self._seen[vertex] else None

    def _still_there(self, vertices: Ints) -> NDArray[np.bool_]:
        now = np.frombuffer(self._graph.seen, np.int64)[vertices]
        return np.asarray(now == self._seen[vertices])


def _search(arrays: _Arrays, start: int, max_hops: int) -> tuple[NDArray[np.int8], Ints, Longs]:
    """For each vertex its hops or -1, the vertex before it, and the rank of the lens between."""
    distance = np.full(len(arrays.seen), -1, np.int8)
    best = np.full(len(distance), -1, np.int64)
    before = np.full(len(distance), -1, np.int32)
    total = np.zeros(len(distance), np.int64)
    distance[start] = 0
    here = np.array([start], np.int32)
    for hop in range(1, max_hops + 1):
        other, owner, cost, rank = _leaving(arrays, here, distance)
        if not len(other):
            break
        key = (cost + total[owner]) << _RANK_BITS | rank
        best[other] = _FAR
        np.minimum.at(best, other, key)
        chosen = key == best[other]
        before[other[chosen]] = owner[chosen]
        distance[other] = hop
        here = np.flatnonzero(distance == hop).astype(np.int32)
        total[here] = best[here] >> _RANK_BITS
    return distance, before, np.where(best < 0, -1, best & ((1 << _RANK_BITS) - 1))


class Reaches:
    """Reach questions to one graph; the last answers are kept. From any thread."""

    def __init__(self, graph: LensGraph) -> None:
        self._graph = graph
        self._lock = threading.Lock()
        self._arrays: dict[Direction, _Arrays] = {}
        self._kept: OrderedDict[tuple[int, Direction, int, int], Reach] = OrderedDict()

    def reach(
        self, schema: str, direction: Direction, max_hops: int, *, version: int | None = None
    ) -> Reach:
        """What `schema` reaches within `max_hops` lenses: `from` it, or what leads `to` it.

        With `version` the answer of that version of the graph where it is still kept, else of the
        present one. LookupError where the schema is not there.
        """
        graph = self._graph
        with graph.lock:
            vertex = graph.schema(schema)
            if vertex is None:
                raise LookupError(schema)
            age, now = graph.seen[vertex], graph.version
        with self._lock:
            for one in (version, now):
                if one is not None:
                    key = (age, direction, max_hops, one)
                    found = self._kept.get(key)
                    if found is not None:
                        self._kept.move_to_end(key)
                        return found
            arrays = self._arrays.get(direction)
            if arrays is None or arrays.version != now:
                arrays = self._arrays[direction] = _arrays(graph, direction)
            if vertex >= len(arrays.seen) or arrays.seen[vertex] != age:
                raise LookupError(schema)
            made = Reach(graph, arrays, direction, vertex, max_hops)
            self._kept[(age, direction, max_hops, arrays.version)] = made
            if len(self._kept) > KEPT:
                self._kept.popitem(last=False)
            return made

    def reaching(self, target: str, max_hops: int) -> Reach:
        """Every schema that can be viewed as `target`, with the best path of each."""
        return self.reach(target, "to", max_hops)


def _arrays(graph: LensGraph, direction: Direction) -> _Arrays:
    with graph.lock:
        version = graph.version
        seen = np.array(graph.seen, np.int64)
        flags = np.frombuffer(bytes(graph.flags), np.uint8)
        declarative = np.frombuffer(bytes(graph.declarative), np.bool_)
        ends = np.array(graph.source, np.int32), np.array(graph.target, np.int32)
        ages = np.array(graph.lens_seen, np.int64)
        verified = np.fromiter(graph.verified, np.int64, len(graph.verified))
        members = {vertex: found.members for vertex, found in graph.ranges.items()}
        ranges_of = dict(graph.ranges_of)
    costs = np.where(declarative, UNVERIFIED, UNVERIFIED + PLAIN)
    costs[verified] = 0
    lens = np.flatnonzero(flags & CONNECTED)
    lens = lens[np.argsort(ages[lens], kind="stable")]
    here, there = ends if direction == "from" else ends[::-1]
    # Packed in one number, because NumPy sorts numbers several times faster than it ranks them.
    packed = np.sort(here[lens].astype(np.int64) << 32 | np.arange(len(lens)))
    rank = packed & 0xFFFFFFFF
    starts = np.zeros(len(seen) + 1, np.int64)
    np.cumsum(np.bincount(packed >> 32, minlength=len(seen)), out=starts[1:])
    return _Arrays(
        version=version,
        starts=starts,
        other=there[lens][rank],
        rank=rank,
        cost=costs[lens][rank],
        lens=lens.astype(np.int32),
        age=ages[lens],
        seen=seen,
        members=_Lists.of(members, len(seen)) if members else None,
        ranges_of=_Lists.of(ranges_of, len(seen)) if members else None,
    )


def _leaving(
    arrays: _Arrays, here: Ints, distance: NDArray[np.int8]
) -> tuple[Ints, Ints, Longs, Longs]:
    """Of every lens from these schemas to one that has no distance yet: (where to, from which,
    cost, rank).
    """
    start, owner = here, here
    if arrays.ranges_of is not None:
        at, which = _spread(arrays.ranges_of.starts, here)
        start = np.concatenate([here, arrays.ranges_of.items[at]])
        owner = np.concatenate([here, here[which]])
    at, which = _spread(arrays.starts, start)
    # A range never has a distance, so that it stays.
    new = np.flatnonzero(distance[arrays.other[at]] < 0)
    at, which = at[new], which[new]
    found = arrays.other[at], owner[which], arrays.cost[at], arrays.rank[at]
    if arrays.members is None:
        return found
    other, owner, cost, rank = found
    schemas = arrays.seen[other] != 0
    ranges = np.flatnonzero(~schemas)
    inside, which = _spread(arrays.members.starts, other[ranges])
    members = arrays.members.items[inside]
    new = np.flatnonzero(distance[members] < 0)
    which = ranges[which[new]]
    return (
        np.concatenate([other[schemas], members[new]]),
        np.concatenate([owner[schemas], owner[which]]),
        np.concatenate([cost[schemas], cost[which]]),
        np.concatenate([rank[schemas], rank[which]]),
    )


def _spread(starts: Longs, vertices: Ints) -> tuple[Longs, Longs]:
    """Where the entries of these vertices are, and for each entry which of them it is of."""
    first = starts[vertices]
    counts = starts[vertices + 1] - first
    which = np.repeat(np.arange(len(vertices)), counts)
    before = np.cumsum(counts) - counts
    return np.arange(len(which)) - np.repeat(before - first, counts), which
