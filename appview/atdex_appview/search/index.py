"""Full-text search over datasets: names, tags and descriptions, in a tantivy index.

A query is words that must all match (`query` has its grammar). By relevance, hits come in
ranks, within a rank those that their publisher has labelled first, then newest first:

| rank | a dataset where |
| --- | --- |
| 5 | the name is the query, word for word |
| 4 | every term is in the name |
| 3 | every term is in the name or a tag |
| 2 | every term matches somewhere, and one of them in the name |
| 1 | every term matches somewhere (name, tags, description) |

Without words there are no ranks: newest first. The other orders are in `order`. Where
nothing matches, the words are taken for misspelt: those that are nearly the same count too, in the
ranks 4, 3 and 1, and the page says `fuzzy`.

Why not BM25: its score of a document moves whenever any other document is added, so that no
cursor can say "after this one" while a writer works. A rank depends on the query and the
document alone, and `first_seen` is unique and never changes, so (rank, labelled, first_seen) is a
total order in which every hit has one fixed place. With all words required, what BM25 would still
tell apart (rare words over common ones) matters little. It is also faster: no scores are
computed, and a page costs the same at any depth.

Guarantee for a full walk (pages by `next` until it is None), whatever is inserted, updated or
deleted between pages: each dataset that was there all the time and matched all the time comes
exactly once, in the order asked for. How: the cursor is `(generation, major, minor)`, where the
two numbers are the place in that order (`order`); below zero, `major` stands for
-1 - `major` of a walk that forgives typos, which goes on doing so. The state of the index that
the walk began with is kept for `PINNED_SECONDS` after its last page, so that not even an update
that moves a dataset to another rank can repeat it or leave it out. When that state is gone (a
restart, or more than `PINNED_GENERATIONS` newer walks) the walk goes on in the present state from
that place: still exact for every dataset that has not been given another text, label or size,
and so another place, in the meantime. What else decides whether a dataset matches (which schemas
can be viewed as another) never decides its place. Hits may name datasets that have left the index
since: the caller reads the records from the store, which has the last word.

The index is derived: it is rebuilt from the store at any time. `update` and `rebuild` return
when their documents are on disk and searchable.

Example: 3 hits, A (rank 4), C and B (rank 1, C newer), limit 2. Page 1: A, C, next = (g, 1,
place of C). A new match D arrives, B's description changes. Page 2: B. D is in a newer
state, and its place is before C's in any case.
"""

from __future__ import annotations

import shutil
import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from secrets import token_hex
from typing import Any, Self, TypeVar

from tantivy import Query

from atdex_appview.errors import InvalidPosition, SearchUnavailable, StoreFormatUnknown
from atdex_appview.search.document import SearchDocument
from atdex_appview.search.facets import Facet, FacetName, count_facets
from atdex_appview.search.fields import LABELLED
from atdex_appview.search.filters import NO_FILTERS, Filters
from atdex_appview.search.highlights import highlights
from atdex_appview.search.order import Found, Sort, page
from atdex_appview.search.parallel import Reader, Spans, Threads
from atdex_appview.search.query import ParsedQuery, QueryParser
from atdex_appview.search.ranks import RANKS, RankedQuery, may_have_typos
from atdex_appview.search.writing import DirectWriter, IndexWriter, open_index
from atdex_appview.search.writing_process import WritingProcess

INDEX_FORMAT = "4"
"""Of the fields and analyzers. An index of another format is built anew from the store."""

MARK = "format"
FILES = "index"
"""What an index's directory holds: a file with the format, and tantivy's own files."""

PINNED_SECONDS = 600
"""Seconds that a walk's state of the index outlives its last page: a person reads a page."""

PINNED_GENERATIONS = 32
"""States kept at once; each holds files that merges have replaced, and some memory."""

COUNTS_KEPT = 256
"""Totals and facets remembered for each state: a walk asks for the same ones on every page."""

Position = tuple[str, int, int]
"""Where a walk stopped: (generation, major, minor)."""

POSITION = (str, int, int)

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Hit:
    """A dataset that matched, the schema that it had then, and when it was first seen, which no
    other record was.

    `score` is its rank as a fraction of the top one (0 to 1), None in other orders.
    `highlights` has `name` and `description` where a word of the query is in them: escaped
    HTML with the words in `<b>`.
    """

    uri: str
    schema: str
    first_seen: int
    score: float | None
    highlights: dict[str, str]


@dataclass(frozen=True, slots=True)
class SearchPage:
    """A page. `total` counts all hits of the query, exactly. `next` is None on the last page.

    `fuzzy`: nothing matched the words as they were typed.
    """

    hits: list[Hit]
    total: int
    next: Position | None
    fuzzy: bool = False
    facets: tuple[Facet, ...] = ()


@dataclass(slots=True)
class _Generation:
    """A state of the index; immutable but for what is remembered about it."""

    id: str
    reader: Reader
    used: float = 0.0
    known: OrderedDict[object, Any] = field(default_factory=OrderedDict)

    def recall(self, key: object, find: Callable[[], T]) -> T:
        """What was found for that key before, or is now."""
        try:
            found: T = self.known[key]
        except KeyError:
            found = self.known[key] = find()
            if len(self.known) > COUNTS_KEPT:
                with suppress(KeyError):
                    self.known.popitem(last=False)
        return found


@dataclass(frozen=True, slots=True)
class _Question:
    parsed: ParsedQuery
    filters: Filters
    sort: Sort
    facets: tuple[FacetName, ...]
    limit: int
    fuzzy: bool = False


class SearchIndex:
    """One writer at a time, any number of searching threads."""

    def __init__(self, index: Any, writer: IndexWriter, path: Path, *, fresh: bool) -> None:
        """Use `open`."""
        self._index = index
        self._schema = index.schema
        self.path = path
        self.fresh = fresh
        """Whether the index was created by this `open` and not yet built: it misses everything."""
        self._writer = writer
        self._write_lock = threading.Lock()
        self._parser = QueryParser()
        self._boot = token_hex(4)
        self._generations = 0
        self._threads = Threads()
        self._spans = Spans()
        self._pinned: OrderedDict[str, _Generation] = OrderedDict()
        self._pin_lock = threading.Lock()
        self._closed = False
        self._current = self._new_generation()

    @classmethod
    def open(cls, directory: Path, *, own_process: bool = False) -> Self:
        """Opens or creates the index. `own_process`: another process writes it, for a node that
        has other work to do meanwhile.

        Raises SearchUnavailable, and StoreFormatUnknown where the directory holds anything that
        is not an index of ours: that is never deleted.
        """
        mark, files = directory / MARK, directory / FILES
        try:
            current = mark.is_file() and mark.read_bytes().strip() == INDEX_FORMAT.encode()
            if not current:
                if directory.exists():
                    if not {entry.name for entry in directory.iterdir()} <= {MARK, FILES}:
                        raise StoreFormatUnknown(directory, "of another program", INDEX_FORMAT)
                    shutil.rmtree(directory)
                files.mkdir(parents=True)
            index = open_index(files)
            writer = WritingProcess(files) if own_process else DirectWriter(index)
            opened = cls(index, writer, directory, fresh=not current)
            # Last: an interrupted creation starts over.
            mark.write_text(INDEX_FORMAT)
        except (OSError, ValueError, RuntimeError) as failure:
            raise SearchUnavailable(directory, str(failure)) from failure
        return opened

    @classmethod
    def in_memory(cls, documents: Sequence[SearchDocument]) -> Self:
        """An index of these few documents alone, on no disk. Close it like any other."""
        index = open_index()
        opened = cls(index, DirectWriter(index), Path("memory"), fresh=True)
        opened.update(documents, ())
        return opened

    # Writing

    def update(self, documents: Sequence[SearchDocument], removed: Sequence[str]) -> None:
        """Adds or replaces `documents`, drops `removed`, and commits. Repeating it is harmless.

        Raises SearchUnavailable; nothing of the batch is then in the index.
        """
        with self._write_lock, self._change():
            self._writer.remove(removed)
            self._writer.put(documents)

    def rebuild(self, documents: Iterable[SearchDocument]) -> int:
        """Replaces the whole index; searches see the old one until the new one is complete.

        Returns how many documents it holds.
        """
        with self._write_lock, self._change():
            self._writer.clear()
            self._writer.add(documents)
        self.fresh = False
        return self.count()

    @property
    def state(self) -> str:
        """A word that is another one after each change of the index."""
        return self._current.id

    def count(self) -> int:
        """How many datasets are in the index."""
        return int(self._current.reader.searcher.num_docs)

    def check(self) -> None:
        """Raises SearchUnavailable where the index cannot answer."""
        with self._available():
            self._current.reader.searcher.search(Query.empty_query(), 1)

    def close(self) -> None:
        """Waits for the merges that run. Closing twice is fine."""
        with self._write_lock:
            if not self._closed:
                self._closed = True
                self._writer.close()
        self._threads.close()
        with self._pin_lock:
            self._pinned.clear()

    # Searching

    def search(
        self,
        q: str,
        filters: Filters = NO_FILTERS,
        *,
        sort: Sort = "relevance",
        facets: Sequence[FacetName] = (),
        limit: int,
        after: Sequence[object] | None = None,
    ) -> SearchPage:
        """A page of `limit` hits, after the position `after` that an earlier page gave as `next`.

        `q` may be any text; without anything in it all datasets are listed, and where it has only
        punctuation nothing matches. `facets` are those of all hits.
        Raises QueryTooLong, InvalidPosition, SearchUnavailable, and ValueError for a limit below 1.
        """
        if limit < 1:
            raise ValueError(f"a page has at least one hit, not {limit}")
        position = _position(after)
        parsed = self._parser.parse(q)
        generation = self._generation(position)
        if q.strip() and not parsed.terms:
            return SearchPage(
                [], 0, None, facets=tuple(Facet(name, (), False) for name in dict.fromkeys(facets))
            )
        asked = _Question(parsed, filters, sort, tuple(facets), limit)
        with self._available():
            if position is not None:
                return self._answer(generation, asked, position)
            answer = self._answer(generation, asked, None)
            if not answer.total and may_have_typos(parsed):
                forgiving = self._answer(generation, replace(asked, fuzzy=True), None)
                if forgiving.total:
                    return forgiving
            return answer

    def _answer(
        self, generation: _Generation, asked: _Question, position: Position | None
    ) -> SearchPage:
        fuzzy, spot = asked.fuzzy, None
        if position is not None:
            fuzzy = position[1] < 0
            spot = (-1 - position[1] if fuzzy else position[1], position[2])
        reader = generation.reader
        ranked = RankedQuery(self._schema, asked.parsed, asked.filters, fuzzy=fuzzy)
        found, met = page(reader, ranked, asked.sort, asked.limit + 1, spot)
        hits, more = found[: asked.limit], len(found) > asked.limit
        key = (asked.parsed.terms, asked.filters, fuzzy)
        query, walked = ranked.all_hits(), ranked.walked(reader.searcher)
        total = len(found)
        if position is not None or more:
            total = generation.recall(
                key, lambda: reader.count(query, walked) if met is None else met
            )
        told: tuple[Facet, ...] = ()
        if asked.facets:
            told = generation.recall(
                (*key, asked.facets), lambda: tuple(count_facets(reader, query, asked.facets))
            )
        end: Position | None = None
        if more:
            self._pin(generation)
            last = hits[-1]
            end = (generation.id, -1 - last.major if fuzzy else last.major, last.minor)
        scored = bool(ranked.ranks) and asked.sort == "relevance"
        made = self._hits(reader.searcher, ranked, hits, scored)
        return SearchPage(made, total, end, fuzzy, told)

    def _hits(
        self, searcher: Any, ranked: RankedQuery, found: Sequence[Found], scored: bool
    ) -> list[Hit]:
        documents = [searcher.doc(each.address) for each in found]
        marked = highlights(searcher, ranked, self._parser, documents)
        return [
            Hit(
                document.get_first("uri"),
                document.get_first("schema"),
                each.minor % LABELLED,
                each.major / RANKS[0] if scored else None,
                marks,
            )
            for each, document, marks in zip(found, documents, marked, strict=True)
        ]

    # States of the index

    def _generation(self, position: Position | None) -> _Generation:
        current = self._current
        if position is None or position[0] == current.id:
            return current
        with self._pin_lock:
            pinned = self._pinned.get(position[0])
            if pinned is None or pinned.used < time.monotonic() - PINNED_SECONDS:
                return current
            return pinned

    def _pin(self, generation: _Generation) -> None:
        now = time.monotonic()
        with self._pin_lock:
            generation.used = now
            self._pinned[generation.id] = generation
            self._pinned.move_to_end(generation.id)
            self._unpin(now)

    def _unpin(self, now: float) -> None:
        """Lets go of what is too old or too much; the oldest use comes first."""
        while self._pinned:
            oldest = next(iter(self._pinned.values()))
            if len(self._pinned) <= PINNED_GENERATIONS and oldest.used >= now - PINNED_SECONDS:
                break
            del self._pinned[oldest.id]

    def _new_generation(self) -> _Generation:
        self._generations += 1
        searcher = self._index.searcher()
        self._spans = self._spans.of(self._schema, searcher, self._threads.cores)
        reader = Reader(searcher, self._schema, self._spans.spans, self._threads)
        return _Generation(f"{self._boot}.{self._generations}", reader)

    @contextmanager
    def _change(self) -> Iterator[None]:
        """A change of the index, whole or not at all."""
        with self._available():
            try:
                yield
                self._writer.commit()
            except BaseException:
                self._writer.rollback()
                raise
            self._index.reload()
            self._current = self._new_generation()
        with self._pin_lock:
            self._unpin(time.monotonic())

    @contextmanager
    def _available(self) -> Iterator[None]:
        """tantivy reports the trouble of its files as ValueError, OSError or RuntimeError."""
        if self._closed:
            raise SearchUnavailable(self.path, "it is closed")
        try:
            yield
        except (ValueError, OSError, RuntimeError) as failure:
            raise SearchUnavailable(self.path, str(failure)) from failure


def _position(after: Sequence[object] | None) -> Position | None:
    if after is None:
        return None
    match tuple(after):
        case (str(generation), int(major), int(minor)) if 0 <= minor < 2**63 > abs(major):
            return generation, major, minor
    raise InvalidPosition("a search continues after (state, major, minor)")
