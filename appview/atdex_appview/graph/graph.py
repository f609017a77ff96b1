"""The lens graph in memory: which lens leads from which schema to which.

A vertex is a schema, or a version range of one (`_Range`): a lens whose record says
`sourceSchemaVersion: ^1.0.0` reads every schema of that publisher and name within the range.
Ranges are vertices of their own, so that a lens is kept once however many schemas it fits.

What is here depends on the visible records alone, never on the order in which they came:

- A lens is *connected* when both its ends are there (a range is, when a schema is within it) and
  it is usable. Only connected lenses are in the adjacency.
- A usable lens with an end that is not there is *dangling*: it waits at that end and connects
  when the schema arrives, as in: lens L from A to B arrives (waits at A), A arrives (L waits at B),
  B arrives (L connects), A is hidden (L waits at A again). So is one that is `waiting`: both ends
  may be there, but not a schema that those refer to.
- Two lenses between the same schemas are two lenses.

Adjacency: for each vertex an array of pairs (vertex at the other end, lens), 8 bytes a lens and
direction. All of it is guarded by `lock`; the methods that take it say so.
"""

from __future__ import annotations

import secrets
import threading
from array import array
from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator, Sequence

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from atdex_appview.graph.facts import (
    GraphChange,
    GraphCounts,
    LensColumns,
    LensFact,
    SchemaFact,
    Verifiers,
)
from atdex_appview.graph.keys import RecordKeys
from atdex_appview.graph.ranges import VersionRange, parse_range
from atdex_appview.store.versions import semver_key

MAX_FITS = 64
"""Schemas that one range leads to, the highest versions of those within it. Without a bound a
publisher with n versions and n ranges would make n² of memory out of 2n records."""

ABSENT = -1
"""The `seen` of a vertex or a lens that is not there."""

USABLE, CONNECTED, WAITING = 1, 2, 4

Line = tuple[str, str]

_NONE: array[int] = array("i")
"""The adjacency of whatever has no lenses. It is replaced, never added to."""


class _Range:
    """The versions of the schema `anchor` that fit: schemas of the same repo and type with the
    same name. Without the record that is named there is no name, and so nothing that fits.
    """

    __slots__ = ("anchor", "fitting", "members", "text")

    def __init__(self, anchor: int, text: str, fitting: VersionRange) -> None:
        self.anchor = anchor
        self.text = text
        self.fitting = fitting
        self.members: tuple[int, ...] = ()


class LensGraph:
    """Schemas and lenses by number, for `paths` and `reach`; changed by `update` alone."""

    def __init__(self) -> None:
        self.lock = threading.RLock()
        self.version = secrets.randbits(48)
        """Another one after each change. It begins anywhere: none of another process fits."""
        self.schemas = RecordKeys()
        self.lenses = RecordKeys()
        self.seen = array("q")
        """Of each vertex: first_seen, 0 for a range with schemas in it, or ABSENT."""
        self.lens_seen = array("q")
        self.source = array("i")
        self.target = array("i")
        self.flags = bytearray()
        self.declarative = bytearray()
        """1 or 0 for each lens."""
        self.out: list[array[int]] = []
        self.into: list[array[int]] = []
        self.ranges: dict[int, _Range] = {}
        self.range_numbers: set[int] = set()
        self.ranges_of: dict[int, tuple[int, ...]] = {}
        """The ranges that a schema is within."""
        self.verified: dict[int, frozenset[str]] = {}
        """Who verified a lens at its present CID; lenses that nobody has are left out."""
        self._verifications: dict[int, tuple[str, ...]] = {}
        self._verified_lens: dict[str, str] = {}
        self._uses = array("i")
        self._names: list[tuple[str, str] | None] = []
        self._ranges_in: dict[str, set[int]] = {}
        self._waiting: dict[int, set[int]] = {}
        self._connected = 0
        self._unusable = 0
        self._schema_count = 0

    # Reading: the caller holds the lock, but for `counts` and `verified_lens`

    def schema(self, uri: str) -> int | None:
        """The vertex of a schema that is there."""
        vertex = self.schemas.find(uri)
        return vertex if vertex is not None and self.seen[vertex] > 0 else None

    def from_schema(self, vertex: int) -> Iterator[tuple[int, int]]:
        """(lens, schema that it leads to) of every connected lens that reads this schema."""
        return self._hops(vertex, self.out)

    def to_schema(self, vertex: int) -> Iterator[tuple[int, int]]:
        """(lens, schema that it comes from) of every connected lens that yields this schema."""
        return self._hops(vertex, self.into)

    def _hops(self, vertex: int, adjacency: list[array[int]]) -> Iterator[tuple[int, int]]:
        ranges = self.ranges
        for at in (vertex, *self.ranges_of.get(vertex, ())):
            pairs = iter(adjacency[at])
            for other, lens in zip(pairs, pairs, strict=True):
                found = ranges.get(other) if ranges else None
                if found is None:
                    yield lens, other
                else:
                    for member in found.members:
                        yield lens, member

    def verified_lens(self, verification_uri: str) -> str | None:
        """The URI of the lens that counts this verification. Takes the lock."""
        with self.lock:
            return self._verified_lens.get(verification_uri)

    def held(self, prefixes: Sequence[str]) -> tuple[list[str], list[str]]:
        """The URIs of the schemas and of the lenses that begin with one of `at://did/collection/`.
        Takes the lock.
        """
        with self.lock:
            schemas = [one for one in self.schemas.with_prefix(prefixes) if self.seen[one] > 0]
            lenses = self.lenses.with_prefix(prefixes)
            return (
                [self.schemas.uri(schema) for schema in schemas],
                [self.lenses.uri(lens) for lens in lenses],
            )

    def verified_by(self, did: str) -> list[str]:
        """The URIs of the lenses that this account has verified. Takes the lock."""
        with self.lock:
            return [self.lenses.uri(lens) for lens, dids in self.verified.items() if did in dids]

    def counts(self) -> GraphCounts:
        """Takes the lock."""
        with self.lock:
            lenses = len(self.lenses)
            return GraphCounts(
                schemas=self._schema_count,
                lenses=lenses,
                connected=self._connected,
                dangling=lenses - self._connected - self._unusable,
                unusable=self._unusable,
                verified=len(self.verified),
                ranges=len(self.ranges),
            )

    # Changing

    def update(self, change: GraphChange) -> None:
        """Brings the graph to what `change` says; equal facts change nothing. Takes the lock."""
        with self.lock:
            self._update(change)

    def _update(self, change: GraphChange) -> None:
        loose: set[int] = set()
        lines: set[Line] = set()
        pending: set[int] = set()
        changed = False
        going = [self.lenses.find(uri) for uri in change.lenses]
        self._disconnect([lens for lens in going if lens is not None])
        for uri, schema in change.schemas.items():
            changed |= self._set_schema(uri, schema, loose, lines)
        for uri, lens in change.lenses.items():
            changed |= self._set_lens(uri, lens, loose, pending)
        for uri, verifiers in change.verifiers.items():
            changed |= self._set_verifiers(uri, verifiers)
        if self.ranges:
            self._resolve(pending, lines, loose)
        self._connect(loose)
        if changed:
            self.version += 1

    def load(
        self,
        schemas: Iterable[SchemaFact],
        lenses: LensColumns,
        verifiers: Iterable[tuple[str, Verifiers]],
    ) -> None:
        """Fills a graph that is empty. Takes the lock. Lenses with ranges should be few of many:
        they go one by one.
        """
        with self.lock:
            if self.seen or self.lens_seen:
                raise ValueError("only an empty graph can be loaded")
            unused: set[Line] = set()
            for schema in schemas:
                self._set_schema(schema.uri, schema, set(), unused)
            self._load_lenses(lenses)
            for uri, named in verifiers:
                self._set_verifiers(uri, named)
            self.version += 1

    # Schemas

    def _vertex(self, uri: str) -> int:
        vertex = self.schemas.add(uri)
        if vertex == len(self.seen):
            self.seen.append(ABSENT)
            self._uses.append(0)
            self._names.append(None)
            self.out.append(_NONE)
            self.into.append(_NONE)
        return vertex

    def _set_schema(
        self, uri: str, fact: SchemaFact | None, loose: set[int], lines: set[Line]
    ) -> bool:
        if fact is None:
            vertex = self.schema(uri)
            if vertex is None:
                return False
            lines.update(self._lines(vertex))
            self.seen[vertex] = ABSENT
            self._names[vertex] = None
            self._schema_count -= 1
            self._loosen(vertex, loose)
            self._forget_unused(vertex)
            return True
        vertex = self._vertex(uri)
        named = (fact.name, fact.version)
        if (self.seen[vertex], self._names[vertex]) == (fact.first_seen, named):
            return False
        if self.seen[vertex] == ABSENT:
            self._schema_count += 1
            loose.update(self._waiting.pop(vertex, ()))
        else:
            lines.update(self._lines(vertex))
        self.seen[vertex] = fact.first_seen
        self._names[vertex] = named
        lines.update(self._lines(vertex))
        return True

    def _loosen(self, vertex: int, loose: set[int]) -> None:
        """Disconnects what is connected at a vertex that has left."""
        lenses = [*self.out[vertex][1::2], *self.into[vertex][1::2]]
        self._disconnect(lenses)
        loose.update(lenses)

    def _forget_unused(self, vertex: int) -> None:
        if self._uses[vertex] or (self.seen[vertex] != ABSENT and vertex not in self.ranges):
            return
        found = self.ranges.pop(vertex, None)
        if found is not None:
            self.range_numbers.discard(vertex)
            self._set_members(vertex, found, ())
            prefix = self.schemas.prefix_of(found.anchor)
            self._ranges_in[prefix].discard(vertex)
            if not self._ranges_in[prefix]:
                del self._ranges_in[prefix]
            self._release(found.anchor)
        self.seen[vertex] = ABSENT
        self.schemas.remove(vertex)

    def _release(self, vertex: int) -> None:
        self._uses[vertex] -= 1
        self._forget_unused(vertex)

    # Lenses

    def _set_lens(
        self, uri: str, fact: LensFact | None, loose: set[int], pending: set[int]
    ) -> bool:
        """The lens is disconnected before."""
        lens = self.lenses.find(uri)
        if fact is None:
            if lens is None:
                return False
            self._set_verifiers(uri, {})
            self._unusable -= not self.flags[lens] & (USABLE | WAITING)
            self.lens_seen[lens] = ABSENT
            self.lenses.remove(lens)
            self._drop_ends(lens)
            loose.discard(lens)
            return True
        source = self._end(fact.source, fact.source_version, pending)
        target = self._end(fact.target, fact.target_version, pending)
        state = USABLE * fact.usable | WAITING * (fact.waiting and not fact.usable)
        made = (source, target, fact.declarative, state, fact.first_seen)
        if lens is None:
            before = None
            lens = self.lenses.add(uri)
            if lens == len(self.lens_seen):
                self.lens_seen.append(ABSENT)
                self.source.append(0)
                self.target.append(0)
                self.flags.append(0)
                self.declarative.append(0)
        else:
            before = (
                self.source[lens],
                self.target[lens],
                bool(self.declarative[lens]),
                self.flags[lens] & (USABLE | WAITING),
                self.lens_seen[lens],
            )
            self._unusable -= not self.flags[lens] & (USABLE | WAITING)
            self._drop_ends(lens)
        self.source[lens], self.target[lens] = source, target
        self.flags[lens], self.declarative[lens] = state, fact.declarative
        self.lens_seen[lens] = fact.first_seen
        self._unusable += not state
        loose.add(lens)
        return before != made

    def _drop_ends(self, lens: int) -> None:
        self._release(self.source[lens])
        self._release(self.target[lens])

    def _end(self, uri: str, version: str | None, pending: set[int]) -> int:
        """The vertex that a lens names, counted as used once more."""
        fitting = None if version is None else parse_range(version)
        if version is None or fitting is None:
            # What is no range says nothing that could be held against the record itself.
            vertex = self._vertex(uri)
        else:
            # No AT-URI has a blank, so this is the name of nothing else.
            vertex = self._vertex(f"{uri} {version}")
            if vertex not in self.ranges:
                anchor = self._vertex(uri)
                self._uses[anchor] += 1
                self.ranges[vertex] = _Range(anchor, version, fitting)
                self.range_numbers.add(vertex)
                self._ranges_in.setdefault(self.schemas.prefix_of(anchor), set()).add(vertex)
                pending.add(vertex)
        self._uses[vertex] += 1
        return vertex

    def _set_verifiers(self, uri: str, verifiers: Verifiers) -> bool:
        lens = self.lenses.find(uri)
        if lens is None:
            return False
        by = frozenset(verifiers.values())
        if self._verifications.get(lens, ()) == tuple(sorted(verifiers)) and by == (
            self.verified.get(lens, frozenset())
        ):
            return False
        before = self._verifications.pop(lens, ())
        for gone in before:
            del self._verified_lens[gone]
        if not verifiers:
            self.verified.pop(lens, None)
            return bool(before)
        self._verifications[lens] = tuple(sorted(verifiers))
        for verification in verifiers:
            self._verified_lens[verification] = uri
        self.verified[lens] = by
        return True

    # Connections

    def _connect(self, lenses: Iterable[int]) -> None:
        seen, out, into = self.seen, self.out, self.into
        for lens in lenses:
            if not self.flags[lens] & USABLE:
                continue
            source, target = self.source[lens], self.target[lens]
            missing = next((end for end in (source, target) if seen[end] == ABSENT), None)
            if missing is not None:
                self._waiting.setdefault(missing, set()).add(lens)
                continue
            for adjacency, here, there in ((out, source, target), (into, target, source)):
                if adjacency[here] is _NONE:
                    adjacency[here] = array("i")
                adjacency[here].extend((there, lens))
            self.flags[lens] |= CONNECTED
            self._connected += 1

    def _disconnect(self, lenses: Iterable[int]) -> None:
        """Out of the adjacency, or of where they wait; each vertex is gone through once."""
        leaving: defaultdict[int, set[int]] = defaultdict(set)
        entering: defaultdict[int, set[int]] = defaultdict(set)
        for lens in lenses:
            source, target = self.source[lens], self.target[lens]
            if self.flags[lens] & CONNECTED:
                self.flags[lens] &= ~CONNECTED
                self._connected -= 1
                leaving[source].add(lens)
                entering[target].add(lens)
            else:
                for end in (source, target):
                    waiting = self._waiting.get(end)
                    if waiting is not None:
                        waiting.discard(lens)
                        if not waiting:
                            del self._waiting[end]
        for adjacency, touched in ((self.out, leaving), (self.into, entering)):
            for vertex, gone in touched.items():
                adjacency[vertex] = _without(adjacency[vertex], gone)

    # Ranges

    def _lines(self, vertex: int) -> list[Line]:
        """What a schema has in common with its other versions, and what it has for itself.

        Nothing where no range is about its repo and type.
        """
        prefix = self.schemas.prefix_of(vertex)
        if prefix not in self._ranges_in:
            return []
        rkey = self.schemas.uri(vertex)[len(prefix) :]
        found = [(prefix, f"rkey {rkey}")]
        named = self._names[vertex]
        if named is not None:
            found.append((prefix, f"name {named[0]}"))
        return found

    def _resolve(self, pending: Iterable[int], lines: set[Line], loose: set[int]) -> None:
        """Finds the schemas of the new ranges, and of those along whose lines something changed."""
        wanted = {vertex for vertex in pending if vertex in self.ranges}
        for prefix in {prefix for prefix, _ in lines}:
            for vertex in self._ranges_in.get(prefix, ()):
                if not lines.isdisjoint(self._lines(self.ranges[vertex].anchor)):
                    wanted.add(vertex)
        if not wanted:
            return
        prefixes = {self.schemas.prefix_of(self.ranges[vertex].anchor) for vertex in wanted}
        along: defaultdict[Line, list[int]] = defaultdict(list)
        for schema in self.schemas.with_prefix(list(prefixes)):
            if self._names[schema] is not None:
                for line in self._lines(schema):
                    along[line].append(schema)
        for vertex in wanted:
            anchored = self._lines(self.ranges[vertex].anchor)
            among = {schema for line in anchored for schema in along[line]}
            self._set_range(vertex, among, loose)

    def _set_range(self, vertex: int, among: Collection[int], loose: set[int]) -> None:
        found = self.ranges[vertex]
        fitting = []
        for schema in among:
            named = self._names[schema]
            assert named is not None
            key = semver_key(named[1])
            if named[1] == found.text or found.fitting.fits(key):
                # The record that the lens names goes before any other.
                fitting.append((schema == found.anchor, key, self.seen[schema], schema))
        fitting.sort(reverse=True)
        members = tuple(schema for *_, schema in fitting[:MAX_FITS])
        if members == found.members:
            return
        had, has = bool(found.members), bool(members)
        self._set_members(vertex, found, members)
        self.version += 1
        self.seen[vertex] = 0 if has else ABSENT
        if had and not has:
            self._loosen(vertex, loose)
        elif has and not had:
            loose.update(self._waiting.pop(vertex, ()))

    def _set_members(self, vertex: int, found: _Range, members: tuple[int, ...]) -> None:
        for schema in set(found.members) - set(members):
            left = tuple(other for other in self.ranges_of[schema] if other != vertex)
            if left:
                self.ranges_of[schema] = left
            else:
                del self.ranges_of[schema]
        for schema in set(members) - set(found.members):
            self.ranges_of[schema] = (*self.ranges_of.get(schema, ()), vertex)
        found.members = members

    # Many at once

    def _load_lenses(self, columns: LensColumns) -> None:
        lenses = self.lenses.load(columns.prefixes, columns.prefix_codes, columns.rkeys)
        pending: set[int] = set()
        source, target = self._load_ends(columns, pending)
        self.source.frombytes(source.tobytes())
        self.target.frombytes(target.tobytes())
        self.lens_seen.frombytes(columns.first_seen.astype(np.int64).tobytes())
        self._resolve(pending, set(), set())
        there = np.frombuffer(self.seen, np.int64) != ABSENT
        found = there[source] & there[target]
        connected = found & columns.usable
        waiting = np.zeros_like(columns.usable) if columns.waiting is None else columns.waiting
        waiting = waiting & ~columns.usable
        flags = columns.usable * USABLE | connected * CONNECTED | waiting * WAITING
        self.flags += flags.astype(np.uint8).tobytes()
        self.declarative += columns.declarative.astype(np.uint8).tobytes()
        self._connected = int(connected.sum())
        self._unusable = int((~columns.usable & ~waiting).sum())
        _fill(self.out, source[connected], target[connected], lenses[connected])
        _fill(self.into, target[connected], source[connected], lenses[connected])
        self._connect(lenses[columns.usable & ~found].tolist())

    def _load_ends(
        self, columns: LensColumns, pending: set[int]
    ) -> tuple[NDArray[np.int32], NDArray[np.int32]]:
        count = len(columns.source)
        uris = pa.chunked_array([columns.source, columns.target]).combine_chunks()
        versions = pa.chunked_array([columns.source_version, columns.target_version])
        ranged = versions.is_valid().to_numpy()
        ends = np.empty(2 * count, np.int32)
        for at in np.flatnonzero(ranged).tolist():
            ends[at] = self._end(uris[at].as_py(), versions[at].as_py(), pending)
        exact = np.flatnonzero(~ranged)
        encoded = uris.filter(pa.array(~ranged)).dictionary_encode()
        vertices = np.array([self._vertex(uri) for uri in encoded.dictionary.to_pylist()], np.int32)
        ends[exact] = vertices[encoded.indices.to_numpy()]
        uses = np.frombuffer(self._uses, np.int32)
        uses += np.bincount(ends[exact], minlength=len(uses)).astype(np.int32)
        return ends[:count], ends[count:]


def _without(pairs: array[int], gone: set[int]) -> array[int]:
    """The pairs (vertex, lens) of an adjacency but for those lenses."""
    if len(pairs) == 2 * len(gone):
        return _NONE
    if len(gone) == 1:
        # The last pair takes its place: their order means nothing.
        at = 2 * pairs[1::2].index(next(iter(gone)))
        pairs[at : at + 2] = pairs[-2:]
        del pairs[-2:]
        return pairs
    kept = array("i")
    both = iter(pairs)
    for other, lens in zip(both, both, strict=True):
        if lens not in gone:
            kept.extend((other, lens))
    return kept


def _fill(
    adjacency: list[array[int]],
    here: NDArray[np.int32],
    there: NDArray[np.int32],
    lenses: NDArray[np.int32],
) -> None:
    order = np.argsort(here)
    pairs = np.stack([there[order], lenses[order]], axis=1).tobytes()
    ends = np.cumsum(np.bincount(here, minlength=len(adjacency))).tolist()
    start = 0
    for vertex, end in enumerate(ends):
        if end > start:
            made = array("i")
            made.frombytes(pairs[8 * start : 8 * end])
            adjacency[vertex] = made
            start = end
