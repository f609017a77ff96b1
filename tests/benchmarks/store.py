"""The record store and the search index: ingest through the writer, reads and searches after.

Datasets of about 1 KB over a Zipf vocabulary, seeded. `python -m tests.benchmarks.store N` runs
it alone with N datasets; targets are those for a million.
"""

from __future__ import annotations

import asyncio
import random
import resource
import statistics
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import numpy as np
import orjson

from atdex_appview.graph.reach import Reaches
from atdex_appview.ingest import Ingest
from atdex_appview.search import SearchIndex
from atdex_appview.search_filters import Filters
from atdex_appview.state import State
from atdex_appview.store.duckdb import DuckDBStore
from atdex_appview.viewable import viewable_as
from atdex_appview.writer import Writer
from atdex_firehose.events import CommitEvent, Event, Identity, RecordOp
from atdex_lexicons import Catalog, Cid
from atdex_lexicons.datamodel import encode, from_json
from tests.appview.records import COLLECTIONS, rev, uri
from tests.benchmarks.graph import Made
from tests.support.paths import FIXTURES

Row = tuple[str, float, str, str]

RECORDS = 20_000
VOCABULARY = 50_000
PUBLISHERS = 20_000
SCHEMAS_SHARE = 10
"""Datasets for each schema, and lenses for each dataset one: as in the issue's million."""
LICENSES = ("MIT", "Apache-2.0", "CC-BY-4.0", "CC0-1.0", "ODbL-1.0", None)
REPEATS = 60
PAGE = 25
PART = 20_000
"""Events made at a time: their making is not measured, and all at once would fill the memory."""


class Source:
    """What ingestion reads: commits that were made before the clock runs."""

    def __init__(self, events: list[CommitEvent]) -> None:
        self._events = events

    async def __aiter__(self) -> AsyncIterator[Event]:
        for event in self._events:
            yield event

    def ack(self, event: Event) -> None:
        """Nothing follows: there is no cursor to save."""


class Publishers:
    """Commits with one new dataset each, in parts."""

    def __init__(self, count: int) -> None:
        dice = random.Random(1)
        self.graph = Made(max(count // SCHEMAS_SHARE, 10), max(count, 100))
        consonants, vowels = "bcdfghklmnprstvz", "aeiou"
        self.words = [
            "".join(dice.choice(consonants) + dice.choice(vowels) for _ in range(2 + n % 3))
            for n in range(VOCABULARY)
        ]
        fixture = FIXTURES / "atdata" / "entry_http.json"
        self._entry = orjson.loads(fixture.read_bytes())["value"]
        self._dice = np.random.default_rng(1)
        weights = 1 / np.arange(1, VOCABULARY + 1)
        self._weights = weights / weights.sum()
        schemas = 1 / np.arange(1, len(self.graph.schemas) + 1) ** 0.8
        self._schemas = schemas / schemas.sum()

    def part(self, start: int, stop: int) -> list[CommitEvent]:
        drawn = self._dice.choice(VOCABULARY, size=(stop - start, 65), p=self._weights)
        schemas = self._dice.choice(len(self._schemas), size=stop - start, p=self._schemas)
        return [
            self._commit(start + at, [self.words[n] for n in row], self.graph.schemas[schema])
            for at, (row, schema) in enumerate(zip(drawn, schemas, strict=True))
        ]

    def did(self, number: int) -> str:
        return f"did:plc:{number % PUBLISHERS:024}".replace("0", "a").replace("1", "b")

    def uri(self, number: int) -> str:
        return uri(self.did(number), "dataset", rev(number + 1))

    def _commit(self, number: int, words: list[str], schema: str) -> CommitEvent:
        licence = LICENSES[number % len(LICENSES)]
        value = {
            **self._entry,
            "schemaRef": schema,
            "size": {"samples": int(1000 * self._dice.pareto(1.0))},
            "name": " ".join(words[:4]),
            "tags": sorted(set(words[4:7])),
            "description": " ".join(words[7:]),
            "license": licence,
        }
        if licence is None:
            del value["license"]
        raw = encode(from_json(value))
        did, key = self.did(number), rev(number + 1)
        op = RecordOp("create", COLLECTIONS["dataset"], key, str(Cid.of_cbor(raw)), raw)
        identity = Identity(did, None, None, None)
        return CommitEvent("bench", number, did, key, "2026-01-01T00:00:00Z", (op,), identity)


async def measure(directory: Path, count: int) -> list[Row]:
    store = DuckDBStore.open(directory / "records.duckdb")
    search = SearchIndex.open(directory / "search")
    state = await State.open(directory / "state.sqlite")
    publishers = Publishers(count)
    rows = [await ingest(store, search, state, publishers, count)]
    rows += reads(store, publishers, count)
    rows += searches(search, publishers.words)
    rows += viewable_searches(search, publishers)
    memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    rows.append(("resident memory, highest", memory, "MB", "<= 2500"))
    await state.close()
    search.close()
    store.close()
    begun = time.perf_counter()
    DuckDBStore.open(directory / "records.duckdb").close()
    rows.append(("open the store again", time.perf_counter() - begun, "s", "<= 8"))
    return rows


async def ingest(
    store: DuckDBStore, search: SearchIndex, state: State, publishers: Publishers, count: int
) -> Row:
    catalog = Catalog.bundled()
    spent = 0.0
    for start in range(0, count, PART):
        events = publishers.part(start, min(count, start + PART))
        writer = Writer(store, search, state)
        begun = time.perf_counter()
        writing = asyncio.create_task(writer.run())
        await Ingest(Source(events), catalog, writer, state).run()
        await writer.close()
        await writing
        spent += time.perf_counter() - begun
    assert store.counts()["dataset"] == search.count() == count
    return (f"ingest {count:,} datasets, validated", count / spent, "records/s", ">= 8000")


def reads(store: DuckDBStore, publishers: Publishers, count: int) -> list[Row]:
    dice = random.Random(2)
    newest = store.list_records("dataset", limit=1)[0].first_seen

    def some(keys: int) -> list[str]:
        return [publishers.uri(dice.randrange(count)) for _ in range(keys)]

    def page() -> object:
        return store.list_records("dataset", limit=PAGE, after=(newest - dice.randrange(count), ""))

    def of_publisher() -> object:
        did = publishers.did(dice.randrange(count))
        return store.list_records("dataset", limit=PAGE, publisher=did)

    return [
        timed("one record by URI", lambda: store.records(some(1)), ""),
        timed("25 records by URI", lambda: store.records(some(PAGE)), ""),
        timed("newest page of 25", lambda: store.list_records("dataset", limit=PAGE), ""),
        timed("newest page of 100", lambda: store.list_records("dataset", limit=101), ""),
        timed("page of 25 at any depth", page, ""),
        timed("newest page of one publisher", of_publisher, ""),
        timed("labels of 25 datasets", lambda: store.labels_of(some(PAGE)), ""),
        timed("counts", store.counts, ""),
    ]


def searches(search: SearchIndex, words: list[str]) -> list[Row]:
    common, usual, rare = words[0], words[30], words[20_000]
    deep = search.search(common, limit=5_000).next

    def of(q: str, **more: object) -> Callable[[], object]:
        return lambda: search.search(q, limit=PAGE, **more)  # type: ignore[arg-type]  # filters

    asked = {
        "the commonest word": of(common),
        "a usual word": of(usual),
        "a rare word": of(rare),
        "two common words": of(f"{words[0]} {words[1]}"),
        "a common and a rare word": of(f"{common} {rare}"),
        "a phrase": of(f'"{usual} {common}"'),
        "a prefix": of(f"{usual[:5]}*"),
        "a word and a tag": of(usual, filters=Filters(tags=(common,))),
        "no word": of(""),
        "the commonest word, page 201": of(common, after=deep),
        "a word, all other filters": of(
            usual, filters=Filters(license="mit", min_samples=10, max_samples=10**6, since=1)
        ),
        "the commonest word, newest": of(common, sort="newest"),
        "the commonest word, largest": of(common, sort="largest"),
        "no word, largest": of("", sort="largest"),
        "a misspelt word": of(f"{rare[:3]}q{rare[3:]}"),
    }
    rows = [timed(f"search, {name}", ask, "p50 <= 6, p99 <= 30") for name, ask in asked.items()]
    for name, q in (("the commonest word", common), ("a usual word", usual), ("a rare word", rare)):

        def ask(q: str = q) -> object:
            # What is remembered of a state would make it one measurement.
            search._current.known.clear()
            return search.search(q, facets=("tags", "licenses", "schemas"), limit=PAGE)

        rows.append(timed(f"search, {name}, three facets", ask, "p50 <= 45"))
    return rows


def viewable_searches(search: SearchIndex, publishers: Publishers) -> list[Row]:
    reaches, dice = Reaches(publishers.graph.loaded()), random.Random(3)
    schemas, words = publishers.graph.schemas, publishers.words

    def ask(q: str, max_hops: int | None = None) -> None:
        found = viewable_as(reaches, dice.choice(schemas), max_hops)
        page = search.search(q, Filters(schemas=found.schemas), limit=PAGE)
        for hit in page.hits:
            found.path(hit.schema)

    asked: dict[str, Callable[[], object]] = {
        "no word": lambda: ask(""),
        "the commonest word": lambda: ask(words[0]),
        "a usual word": lambda: ask(words[30]),
        "no word, 4 hops whatever they reach": lambda: ask("", 4),
    }
    return [
        timed(f"viewableAs, {name}", each, "p50 <= 40" if "hops" not in name else "")
        for name, each in asked.items()
    ]


def timed(name: str, ask: Callable[[], object], target: str) -> Row:
    ask()
    took = []
    for _ in range(REPEATS):
        begun = time.perf_counter()
        ask()
        took.append((time.perf_counter() - begun) * 1000)
    return (f"{name} (max {max(took):.1f})", statistics.median(took), "ms p50", target)


def run(count: int = RECORDS) -> list[Row]:
    """The table: name, figure, unit, target."""
    with tempfile.TemporaryDirectory() as directory:
        return asyncio.run(measure(Path(directory), count))


if __name__ == "__main__":
    for name, figure, unit, target in run(int(sys.argv[1]) if len(sys.argv) > 1 else RECORDS):
        print(f"{name:<58} {figure:>12,.2f} {unit:<12} {target}")
