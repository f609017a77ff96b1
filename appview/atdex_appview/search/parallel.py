"""Long searches in parts at the same time: one for each core.

tantivy goes through the hits of a query on one thread, and lets go of the interpreter meanwhile. So
a query that many datasets match is asked in parts, each about those that were first seen in one
span of time: the segments of the index are spans of time too, more or less, so that a part leaves
out most of those that it is not about. Two words that a quarter of a million datasets have: 6.5 ms
at a million in one walk, 4.4 in two on two cores; a phrase of them 62 and 33.

Nobody waits for a thread that others have work for: who asks works off what was not begun.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from typing import Any, NamedTuple, TypeVar

from tantivy import Query

from atdex_appview.search.filters import between
from atdex_appview.search.ranks import all_of

MAX_PARTS = 4
"""Each part looks every word up again."""

LONG = 20_000
"""Datasets that are walked through from which on a search is long: it takes 0.2 ms or more, twice
what a part costs."""

GROWN = 1.25
"""Growth of the index after which its spans are no longer about equal."""

NEARLY = 0.02
"""Of all datasets, by how much a span may miss its share."""

A = TypeVar("A")
B = TypeVar("B")


class Span(NamedTuple):
    """Times of `first_seen`, in µs; `until` is left out."""

    since: int
    until: int


ALWAYS = (Span(0, 2**63),)


class Spans(NamedTuple):
    """Spans of time that held about equally many of `datasets` datasets."""

    datasets: int = 0
    spans: tuple[Span, ...] = ALWAYS

    def of(self, fields: Any, searcher: Any, cores: int) -> Spans:
        """Those of this state of the index; these, while they are nearly right."""
        datasets = int(searcher.num_docs)
        parts = min(cores, MAX_PARTS, 1 + datasets // LONG)
        if parts == 1:
            return Spans()
        if len(self.spans) == parts and self.datasets / GROWN < datasets < self.datasets * GROWN:
            return self
        ends = [0, *_quantiles(fields, searcher, datasets, parts), ALWAYS[0].until]
        return Spans(datasets, tuple(map(Span, ends[:-1], ends[1:])))


def _quantiles(fields: Any, searcher: Any, datasets: int, parts: int) -> list[int]:
    """The times before which 1 / `parts`, 2 / `parts`, … of the datasets were first seen."""
    stats = searcher.aggregate(Query.all_query(), {"seen": {"stats": {"field": "first_seen"}}})
    low, last = int(stats["seen"]["min"]), int(stats["seen"]["max"])
    found = []
    for part in range(1, parts):
        high = last
        while low < high:
            middle = (low + high) // 2
            before = count(searcher, between(fields, "first_seen", 0, middle))
            if abs(before - datasets * part / parts) < datasets * NEARLY:
                low = high = middle
            elif before < datasets * part / parts:
                low = middle + 1
            else:
                high = middle
        found.append(low)
    return found


def count(searcher: Any, query: Query) -> int:
    """Without scores, and without asking for any hit's place."""
    answer = searcher.aggregate(query, {"hits": {"value_count": {"field": "first_seen"}}})
    return int(answer["hits"]["value"])


class Threads:
    """For all parts of all searches of an index."""

    def __init__(self) -> None:
        self.cores = os.cpu_count() or 1
        self._pool = ThreadPoolExecutor(self.cores, thread_name_prefix="atdex-search")

    def close(self) -> None:
        self._pool.shutdown(wait=False, cancel_futures=True)

    def together(self, work: Callable[[A], B], parts: Sequence[A]) -> list[B]:
        """`work` of each part."""
        if len(parts) == 1:
            return [work(parts[0])]
        first, *others = parts
        begun = [self._pool.submit(work, part) for part in others]
        return [
            work(first),
            *(
                work(part) if future.cancel() else future.result()
                for part, future in zip(others, begun, strict=True)
            ),
        ]


@dataclass(frozen=True, slots=True)
class Reader:
    """One state of the index, and how its hits are gone through. `fields` is its schema."""

    searcher: Any
    fields: Any
    spans: tuple[Span, ...]
    threads: Threads

    def parts(self, query: Query, walked: int) -> list[Query]:
        """Queries of which each hit of `query` matches one: several, where so many are walked
        through for them."""
        if walked < LONG or len(self.spans) == 1:
            return [query]
        return [
            all_of([query, between(self.fields, "first_seen", span.since, span.until)])
            for span in self.spans
        ]

    def count(self, query: Query, walked: int) -> int:
        counts = self.threads.together(partial(count, self.searcher), self.parts(query, walked))
        return sum(counts)
