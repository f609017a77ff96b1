"""Full walks held against a model: every order, filter and kind of query, while a writer works."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from unittest import mock

from hypothesis import given, settings
from hypothesis import strategies as st

from atdex_appview.search import parallel
from atdex_appview.search.document import SearchDocument
from atdex_appview.search.filters import Filters, SchemaSet
from atdex_appview.search.index import Position, SearchIndex
from atdex_appview.search.order import Sort
from tests.appview.records import ALICE, BOB, OTHER_SCHEMA, SCHEMA, document

TEXTS = ("eye", "eye scans", "scans of an eye", "ear", "scans")
QUERIES: dict[str, tuple[str, ...]] = {
    "": (),
    "eye": ("eye",),
    "scan eye": ("scan", "eye"),
    '"eye scans"': ("eye scan",),
    "sca*": ("scan",),
    "eyye": (),
}
"""Each with the stems that must be in a text, one after the other where there is a blank."""

FUZZY = "eyye"


@st.composite
def documents(draw: st.DrawFn, number: int) -> SearchDocument:
    made = document(
        f"r{number}",
        draw(st.sampled_from(TEXTS)),
        number,
        description=draw(st.sampled_from(("", *TEXTS))),
        tags=draw(st.sampled_from([(), ("x",), ("x", "eye"), ("scans",)])),
        did=(ALICE, BOB)[number % 2],
        schema=(SCHEMA, OTHER_SCHEMA)[number % 3 == 0],
    )
    return made._replace(
        license=draw(st.sampled_from([None, "MIT"])),
        sample_count=draw(st.sampled_from([None, 0, 1, 1, 2])),
        labelled=draw(st.booleans()),
    )


FILTERS = st.builds(
    Filters,
    tags=st.sampled_from([(), (), (), ("x",)]),
    publisher=st.sampled_from([None, None, ALICE]),
    license=st.sampled_from([None, None, "mit"]),
    min_samples=st.sampled_from([None, None, 1]),
    max_samples=st.sampled_from([None, None, 1]),
    since=st.sampled_from([None, None, 4]),
    until=st.sampled_from([None, None, 11]),
    schemas=st.sampled_from([None, None, SchemaSet("one", (SCHEMA,))]),
)


def passes(each: SearchDocument, filters: Filters) -> bool:
    samples = each.sample_count
    bounded = filters.min_samples is not None or filters.max_samples is not None
    return (
        set(filters.tags) <= set(each.tags)
        and filters.publisher in (None, each.did)
        and (filters.license is None or (each.license or "").lower() == filters.license)
        and not (bounded and samples is None)
        and (filters.min_samples is None or (samples or 0) >= filters.min_samples)
        and (filters.max_samples is None or (samples or 0) <= filters.max_samples)
        and (filters.since is None or each.first_seen >= filters.since)
        and (filters.until is None or each.first_seen < filters.until)
        and (filters.schemas is None or each.schema_uri in filters.schemas.uris)
    )


def rank(each: SearchDocument, q: str) -> int:
    """0 where it does not match; the ranks of the module's table otherwise."""
    terms = ("eye",) if q == FUZZY else QUERIES[q]
    name = f" {each.name} ".replace("scans", "scan")
    heads = [name, *(f" {tag} ".replace("scans", "scan") for tag in each.tags)]
    texts = [*heads, f" {each.description} ".replace("scans", "scan")]

    def among(term: str, where: list[str]) -> bool:
        return any(f" {term} " in text for text in where)

    if not terms or not all(among(term, texts) for term in terms):
        return 0
    if each.name == q.strip('"'):
        return 5
    if all(among(term, [name]) for term in terms):
        return 4
    if all(among(term, heads) for term in terms):
        return 3
    return 2 if len(terms) > 1 and any(among(term, [name]) for term in terms) else 1


def expected(there: dict[str, SearchDocument], q: str, filters: Filters, sort: Sort) -> list[str]:
    def place(each: SearchDocument) -> Any:
        first: Any = 0
        if sort == "largest":
            first = -1 if each.sample_count is None else each.sample_count
        elif sort == "relevance" and q:
            first = (rank(each, q), each.labelled)
        return (first, each.first_seen)

    hits = [
        each for each in there.values() if passes(each, filters) and (q == "" or rank(each, q) > 0)
    ]
    return [each.uri for each in sorted(hits, key=place, reverse=True)]


@contextmanager
def opened(*, in_parts: bool) -> Iterator[SearchIndex]:
    """`in_parts`: every search is long enough to be asked in parts."""
    with (
        tempfile.TemporaryDirectory() as folder,
        mock.patch.object(parallel, "LONG", 1 if in_parts else parallel.LONG),
        mock.patch("os.cpu_count", return_value=3),
    ):
        index = SearchIndex.open(Path(folder) / "search")
        try:
            yield index
        finally:
            index.close()


SORTS: st.SearchStrategy[Sort] = st.sampled_from(("relevance", "newest", "largest"))


@settings(max_examples=60, deadline=None)
@given(data=st.data(), in_parts=st.booleans())
def test_a_walk_gives_the_order_that_the_model_says(data: st.DataObject, in_parts: bool) -> None:
    there = {each.uri: each for each in (data.draw(documents(n)) for n in range(14))}
    with opened(in_parts=in_parts) as index:
        parts = list(there.values())
        index.update(parts[:9], [])
        index.update(parts[9:], [])
        for _ in range(8):
            q, sort = data.draw(st.sampled_from(list(QUERIES))), data.draw(SORTS)
            filters, limit = data.draw(FILTERS), data.draw(st.integers(1, 5))
            found: list[str] = []
            after: Position | None = None
            while True:
                page = index.search(q, filters, sort=sort, limit=limit, after=after)
                found += [hit.uri for hit in page.hits]
                after = page.next
                if after is None:
                    break
            wanted = expected(there, q, filters, sort)
            if wanted or q in ("", FUZZY):
                assert (found, page.total) == (wanted, len(wanted))
            else:
                # What is near the words then is another question.
                assert page.fuzzy == bool(found)


@settings(max_examples=60, deadline=None)
@given(
    data=st.data(),
    q=st.sampled_from(list(QUERIES)),
    sort=SORTS,
    filters=FILTERS,
    limit=st.integers(1, 4),
    in_parts=st.booleans(),
)
def test_a_walk_while_a_writer_works_meets_all_that_matched_all_the_time_once(
    data: st.DataObject, q: str, sort: Sort, filters: Filters, limit: int, in_parts: bool
) -> None:
    there = {each.uri: each for each in (data.draw(documents(n)) for n in range(14))}
    with opened(in_parts=in_parts) as index:
        index.update(list(there.values()), [])
        always = set(expected(there, q, filters, sort))
        found: list[str] = []
        after: Position | None = None
        newest = 100
        for _ in range(40):
            page = index.search(q, filters, sort=sort, limit=limit, after=after)
            found += [hit.uri for hit in page.hits]
            after = page.next
            if after is None:
                break
            changed, gone = [], []
            for _ in range(data.draw(st.integers(0, 2))):
                number = data.draw(st.integers(0, 13) | st.just(newest))
                newest += number == newest
                changed.append(data.draw(documents(number)))
            if data.draw(st.booleans()):
                gone.append(data.draw(st.sampled_from(sorted(there))))
            changed = list({each.uri: each for each in changed if each.uri not in gone}.values())
            index.update(changed, gone)
            there |= {each.uri: each for each in changed}
            for uri in gone:
                there.pop(uri, None)
            always &= set(expected(there, q, filters, sort))
        assert after is None, "a walk ends"
        assert len(found) == len(set(found)), "nothing comes twice"
        assert always <= set(found), "nothing that matched all the time is left out"
