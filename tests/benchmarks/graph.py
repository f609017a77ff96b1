"""The lens graph at 100,000 schemas and 1,000,000 lenses: loading, best paths, what is in reach.

The ends of the lenses are drawn by a power law (rank to the -0.8), so that some schemas are hubs
and four hops reach nine schemas of ten; three lenses of ten are declarative, every hundredth is
verified, every thousandth names a range. `python -m tests.benchmarks.graph` runs it alone; with
`store` it is written to a record store first, and loaded from there.
"""

from __future__ import annotations

import gc
import random
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from atdex_appview.graph.facts import GraphChange, LensColumns, LensFact, SchemaFact
from atdex_appview.graph.following import GraphFollower
from atdex_appview.graph.graph import LensGraph
from atdex_appview.graph.paths import find_paths
from atdex_appview.graph.reach import Reaches
from atdex_appview.store.duckdb import DuckDBStore
from atdex_appview.store.schema import arrow_schema
from tests.appview.records import COLLECTIONS, rev

Row = tuple[str, float, str, str]

SCHEMAS = 100_000
LENSES = 1_000_000
PUBLISHERS = 20_000
REPEATS = 300
CLIQUE = 700
"""Schemas that all have a lens to each other: half a million of them, by one stranger."""


class Made:
    """The graph's records, seeded."""

    def __init__(self, schemas: int, lenses: int) -> None:
        dice = np.random.default_rng(1)
        repos = [f"did:plc:{n:024}".replace("0", "a").replace("1", "b") for n in range(PUBLISHERS)]
        self.schemas = [
            f"at://{repos[n % PUBLISHERS]}/{COLLECTIONS['schema']}/{rev(n + 1)}"
            for n in range(schemas)
        ]
        weights = np.arange(1, schemas + 1) ** -0.8
        popular = dice.permutation(schemas)
        ends = popular[dice.choice(schemas, (2, lenses), p=weights / weights.sum())]
        self.facts = [SchemaFact(uri, "S", "1.0.0", n + 1) for n, uri in enumerate(self.schemas)]
        uris = pa.array(self.schemas)
        ranges = pa.array(["^1.0.0" if n % 1000 == 0 else None for n in range(lenses)], pa.string())
        self.columns = LensColumns(
            prefixes=[f"at://{did}/{COLLECTIONS['lens']}/" for did in repos],
            prefix_codes=(np.arange(lenses) % PUBLISHERS).astype(np.int32),
            rkeys=pa.array([rev(n + 1) for n in range(lenses)]),
            source=uris.take(pa.array(ends[0])),
            target=uris.take(pa.array(ends[1])),
            source_version=ranges,
            target_version=pa.nulls(lenses, pa.string()),
            declarative=dice.random(lenses) < 0.3,
            usable=np.ones(lenses, np.bool_),
            first_seen=np.arange(lenses) + schemas + 1,
        )
        self.verifiers = [
            (self.lens(n), {f"at://{repos[0]}/v/{n}": repos[0]}) for n in range(0, lenses, 100)
        ]

    def lens(self, number: int) -> str:
        return self.columns.prefixes[number % PUBLISHERS] + rev(number + 1)

    def loaded(self) -> LensGraph:
        graph = LensGraph()
        graph.load(self.facts, self.columns, self.verifiers)
        return graph


def resident() -> float:
    """MB of this process."""
    pa.default_memory_pool().release_unused()
    gc.collect()
    return int(Path("/proc/self/statm").read_text().split()[1]) * 4096 / 1e6


def timed(name: str, ask: Callable[[], object], target: str, repeats: int = REPEATS) -> Row:
    """The median, with the 99th percentile in the name: time of this thread."""
    took = []
    for _ in range(repeats):
        begun = time.thread_time()
        ask()
        took.append((time.thread_time() - begun) * 1000)
    took.sort()
    last = took[min(repeats - 1, repeats * 99 // 100)]
    return (f"{name} (p99 {last:.1f})", took[repeats // 2], "ms p50", target)


def paths(graph: LensGraph, made: Made) -> list[Row]:
    dice = random.Random(2)

    def ask(limit: int, **more: object) -> Callable[[], object]:
        def find() -> object:
            ends = dice.choice(made.schemas), dice.choice(made.schemas)
            return find_paths(graph, *ends, max_hops=4, limit=limit, **more)  # type: ignore[arg-type]  # trust

        return find

    return [
        timed("best path", ask(1), "p50 <= 2, p99 <= 15"),
        timed("5 best paths", ask(5), "p50 <= 10, p99 <= 15"),
        timed("10 best paths", ask(10), "p99 <= 15"),
        timed("5 best declarative paths", ask(5, trust="declarative"), "p50 <= 10, p99 <= 15"),
    ]


def reaches(graph: LensGraph, made: Made) -> list[Row]:
    dice, found = random.Random(3), Reaches(graph)
    begun = time.thread_time()
    reach = found.reaching(made.schemas[5], 4)
    first = (time.thread_time() - begun) * 1000
    uris = reach.uris()
    return [
        ("within 4 hops, the first after a change", first, "ms", ""),
        ("schemas within 4 hops", len(reach), "schemas", ""),
        timed("within 2 hops", lambda: found.reaching(dice.choice(made.schemas), 2), "", 30),
        timed("within 4 hops", lambda: found.reaching(dice.choice(made.schemas), 4), "<= 60", 30),
        timed("one schema's path", lambda: reach[dice.choice(uris)], ""),
    ]


def changes(graph: LensGraph, made: Made) -> list[Row]:
    dice = random.Random(4)

    def one() -> None:
        uri = made.lens(LENSES + 1)
        ends = dice.choice(made.schemas), dice.choice(made.schemas)
        graph.update(GraphChange(lenses={uri: LensFact(uri, *ends, 10**9)}))
        graph.update(GraphChange(lenses={uri: None}))

    return [timed("a lens comes and goes", one, "")]


def hostile(graph: LensGraph, made: Made) -> list[Row]:
    """A clique is added, and a way into it from a schema that many lead to."""
    crowd = made.schemas[:CLIQUE]
    pairs = [(one, two) for one in crowd for two in crowd if one != two]
    for start in range(0, len(pairs), 10_000):
        graph.update(
            GraphChange(
                lenses={
                    uri: LensFact(uri, *ends, 2_000_000 + start + at)
                    for at, ends in enumerate(pairs[start : start + 10_000])
                    for uri in (made.lens(LENSES + 10 + start + at),)
                }
            )
        )
    dice = random.Random(5)

    def ask(limit: int, within: bool) -> Callable[[], object]:
        def find() -> object:
            ends = dice.choice(crowd), dice.choice(crowd if within else made.schemas)
            return find_paths(graph, *ends, max_hops=8, limit=limit)

        return find

    return [
        timed("clique: 10 paths inside, 8 hops", ask(10, True), "p99 <= 15", 100),
        timed("clique: 1 path out of it, 8 hops", ask(1, False), "p99 <= 15", 100),
        timed("clique: 10 paths out of it, 8 hops", ask(10, False), "p99 <= 15", 100),
    ]


def from_store(made: Made) -> list[Row]:
    """Loading as a node does; the records' bytes stand for some of 300."""
    with tempfile.TemporaryDirectory() as folder:
        store = DuckDBStore.open(Path(folder) / "records.duckdb")
        write(store, made)
        graph = LensGraph()
        before, begun = resident(), time.process_time()
        GraphFollower(store, graph).load()
        took = time.process_time() - begun
        row = ("load from the store", took, "s", "<= 4")
        assert graph.counts().connected == len(made.columns.rkeys)
        held = ("resident memory after it", resident() - before, "MB more", "")
        store.close()
    return [row, held]


def write(store: DuckDBStore, made: Made) -> None:
    """Past the writer, which has a benchmark of its own."""
    columns = made.columns
    dids = [prefix.split("/")[2] for prefix in columns.prefixes]
    count = len(columns.rkeys)
    schemas: dict[str, Any] = {
        "uri": made.schemas,
        "did": [uri.split("/")[2] for uri in made.schemas],
        "collection": [COLLECTIONS["schema"]] * SCHEMAS,
        "rkey": [uri.rpartition("/")[2] for uri in made.schemas],
        "first_seen": [fact.first_seen for fact in made.facts],
        "name": ["S"] * SCHEMAS,
        "version": ["1.0.0"] * SCHEMAS,
    }
    lenses: dict[str, Any] = {
        "uri": [made.lens(number) for number in range(count)],
        "did": [dids[code] for code in columns.prefix_codes],
        "collection": [COLLECTIONS["lens"]] * count,
        "rkey": columns.rkeys,
        "first_seen": columns.first_seen,
        "source": columns.source,
        "target": columns.target,
        "source_version": columns.source_version,
        "declarative": columns.declarative,
    }
    for kind, rows in (("schema", schemas), ("lens", lenses)):
        total = len(rows["uri"])
        table = arrow_schema(kind)  # type: ignore[arg-type]  # kinds
        fixed = {"visible": True, "verified": True, "raw": b"r" * 300, "json": b"j" * 300}
        filled = {
            field.name: pa.array(rows[field.name], field.type)
            if field.name in rows
            else pa.array([fixed.get(field.name, "" if field.type == pa.string() else None)])
            .cast(field.type)
            .take(pa.array(np.zeros(total, np.int64)))
            for field in table
            if field.name in rows
            or not field.nullable
            or field.name in fixed
            or field.name in ("cid", "rev", "conformance", "indexed_at", "change")
        }
        for name in ("indexed_at", "change"):
            filled[name] = pa.array(np.zeros(total, np.int64))
        batch = pa.table(filled)
        store._writer.register("made", batch)
        store._writer.execute(f"INSERT INTO {kind} BY NAME SELECT * FROM made")
        store._writer.unregister("made")


def run(*, store: bool = False) -> list[Row]:
    """The table: name, figure, unit, target."""
    made = Made(SCHEMAS, LENSES)
    if store:
        return from_store(made)
    gc.freeze()
    before, begun = resident(), time.process_time()
    graph = made.loaded()
    took = time.process_time() - begun
    rows: list[Row] = [
        (f"load {SCHEMAS:,} schemas, {LENSES:,} lenses", took, "s", "<= 3"),
        ("held in memory", resident() - before, "MB", "<= 200"),
    ]
    gc.freeze()
    for part in (paths, reaches, changes, hostile):
        rows += part(graph, made)
    gc.unfreeze()
    return rows


if __name__ == "__main__":
    for name, figure, unit, target in run(store="store" in sys.argv[1:]):
        print(f"{name:<58} {figure:>12,.2f} {unit:<12} {target}")
