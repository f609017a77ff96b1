"""Full-text search: what matches, in which order, and full walks while a writer works."""

from __future__ import annotations

import random
import shutil
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from atdex_appview.errors import (
    InvalidPosition,
    QueryTooLong,
    SearchUnavailable,
    StoreFormatUnknown,
)
from atdex_appview.search import facets as search_facets
from atdex_appview.search import index as search_module
from atdex_appview.search.document import SearchDocument
from atdex_appview.search.facets import FACET_VALUES, FacetName
from atdex_appview.search.filters import Filters, SchemaSet
from atdex_appview.search.highlights import is_near
from atdex_appview.search.index import Position, SearchIndex, SearchPage
from atdex_appview.search.order import Sort
from tests.appview.records import ALICE, BOB, OTHER_SCHEMA, SCHEMA, document, uri


@pytest.fixture
def index(tmp_path: Path) -> Iterator[SearchIndex]:
    opened = SearchIndex.open(tmp_path / "search")
    yield opened
    opened.close()


def rkeys(page: SearchPage) -> list[str]:
    return [hit.uri.rsplit("/", 1)[1] for hit in page.hits]


def chosen(filters: dict[str, Any]) -> Filters:
    return Filters(**filters | {"tags": tuple(filters.get("tags", ()))})


def find(index: SearchIndex, q: str, **filters: Any) -> list[str]:
    """Without those for which typos had to be forgiven."""
    page = index.search(q, chosen(filters), limit=50)
    return [] if page.fuzzy else rkeys(page)


def walk(
    index: SearchIndex,
    q: str,
    limit: int,
    between: Callable[[int], None] = lambda page: None,
    *,
    sort: Sort = "relevance",
    **filters: Any,
) -> tuple[list[str], list[int]]:
    """(rkeys of all pages, the total that each page gave)."""
    found: list[str] = []
    totals: list[int] = []
    after: Position | None = None
    while True:
        page = index.search(q, chosen(filters), sort=sort, limit=limit, after=after)
        assert len(page.hits) <= limit
        found += rkeys(page)
        totals.append(page.total)
        if page.next is None:
            return found, totals
        after = page.next
        between(len(totals))


# What matches


def test_all_words_must_match_in_any_field_by_their_stem_case_and_accents(
    index: SearchIndex,
) -> None:
    index.update(
        [
            document("a", "Retinal scans", 1, description="Fundus images of naïve patients"),
            document("b", "Speech", 2, tags=["retina", "audio"]),
            document("c", "Café noise", 3),
        ],
        [],
    )
    assert find(index, "image") == ["a"]
    assert find(index, "IMAGES retinal") == ["a"]
    assert find(index, "retina speech") == ["b"]
    assert find(index, "cafe") == ["c"]
    assert find(index, "naive PATIENT") == ["a"]
    assert find(index, "retina image") == []
    assert find(index, "scan speech") == []


def test_a_phrase_in_quotes_matches_words_beside_each_other_in_one_field(
    index: SearchIndex,
) -> None:
    index.update(
        [
            document("a", "Optical coherence tomography", 1),
            document("b", "Coherence of optical systems", 2),
            document("c", "Optical", 3, description="coherence"),
            document("d", "x", 4, tags=["optical", "coherence"]),
            document("e", "y", 5, tags=["optical coherence"]),
            document("f", "z", 6, description="an optical coherence study"),
        ],
        [],
    )
    assert find(index, '"optical coherence"') == ["a", "e", "f"]
    assert find(index, '"coherence tomography" optical') == ["a"]
    assert find(index, '"tomography"') == ["a"]


def test_a_star_matches_the_start_of_a_word_as_it_is_written(index: SearchIndex) -> None:
    index.update(
        [
            document("a", "Imaging of eyes", 1),
            document("b", "Audio", 2, description="imagined speech"),
            document("c", "Image", 3),
            document("d", "Mirage", 4),
        ],
        [],
    )
    assert find(index, "imagi*") == ["a", "b"]
    assert find(index, "ima* sp*") == ["b"]
    assert set(find(index, "IMA*")) == {"a", "b", "c"}
    assert find(index, "age*") == []
    assert find(index, "i*") == []


def test_a_name_of_several_parts_is_found_by_them(index: SearchIndex) -> None:
    index.update([document("a", "CIFAR-10 (noisy)", 1), document("b", "10 cats", 2)], [])
    assert find(index, "cifar-10") == ["a"]
    assert find(index, "cifar_10") == ["a"]
    assert find(index, "cifar 10") == ["a"]


def test_filters_match_exactly_and_must_all_fit(index: SearchIndex) -> None:
    index.update(
        [
            document("a", "eye", 1, tags=["oct", "Human Eye"]),
            document("b", "eye", 2, tags=["oct"], schema=OTHER_SCHEMA),
            document("c", "eye", 3, tags=["Oct"], did=BOB),
        ],
        [],
    )
    assert find(index, "eye", tags=["oct"]) == ["b", "a"]
    assert find(index, "eye", tags=["oct", "Human Eye"]) == ["a"]
    assert find(index, "", tags=["Oct"]) == ["c"]
    assert find(index, "", tags=["human eye"]) == []
    assert find(index, "eye", schema=SCHEMA) == ["c", "a"]
    assert find(index, "eye", schema=SCHEMA, publisher=ALICE) == ["a"]
    assert find(index, "", publisher=BOB) == ["c"]
    assert find(index, "", publisher=BOB[:-1]) == []
    assert index.search("eye", Filters(tags=("oct",)), limit=1).total == 2


HOSTILE = [
    "\0",
    "a\0b",
    '"',
    '"""',
    '"unclosed phrase',
    "*",
    "***",
    "a**",
    "⑴*",
    ".*",
    "[a-z]*",
    "(((((",
    "AND",
    "OR NOT",
    "name:eye",
    "eye^5",
    "eye~2",
    "+eye -eye",
    "[a TO b]",
    "/regex/",
    "\\",
    "\ud800",
    "eye\udfff",
    "日本語*",
    "😀",
    "%",
    "_",
    "'; DROP TABLE",
    "a" * 4_000,
    "a " * 2_000,
    " ".join(f"{letter}*" for letter in "abcdefghijklmnop"),
    "aa* bb* cc* dd*",
]


@pytest.mark.parametrize("q", HOSTILE)
def test_no_text_of_a_searcher_is_an_error(index: SearchIndex, q: str) -> None:
    index.update([document("a", "eye or a", 1), document("b", "not an eye", 2)], [])
    page = index.search(q, limit=5)
    assert page.total == len(page.hits)
    index.search("eye", Filters((q,), q, q, q), limit=5)


@settings(
    max_examples=200, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(q=st.text(st.characters(codec=None), max_size=40), tag=st.text(max_size=10))
def test_no_text_at_all_is_an_error(index: SearchIndex, q: str, tag: str) -> None:
    if not index.count():
        index.update([document("a", "eye or a 1 *", 1, tags=["x"])], [])
    index.search(q, Filters(tags=(tag,)), limit=3)
    index.search(f"eye {q}* {q}", limit=3)


@pytest.mark.parametrize(
    ("q", "says"),
    [
        (" ".join(f"w{n}" for n in range(17)), "16 different words and phrases, this one has 17"),
        (" ".join(f"w{n}*" for n in range(400)), "this one has 400"),
        ("aa* bb* cc* dd* ee*", "at most 4 starts of words, this one has 5"),
        ('"' + "a " * 33 + '"', "32 words in one phrase, this one has 33"),
        ("a" * 4_097, "4096 characters, this one has 4097"),
    ],
)
def test_a_query_for_too_much_is_refused_and_never_cut(
    index: SearchIndex, q: str, says: str
) -> None:
    with pytest.raises(QueryTooLong, match=says):
        index.search(q, limit=5)


def test_sixteen_words_all_count(index: SearchIndex) -> None:
    words = [f"word{n}" for n in range(16)]
    index.update([document("a", "x", 1, description=" ".join(words))], [])
    index.update([document("b", "x", 2, description=" ".join(words[:15]))], [])
    assert find(index, " ".join(words + words)) == ["a"]


def test_operators_are_words_like_any_other(index: SearchIndex) -> None:
    index.update([document("a", "cats and dogs", 1), document("b", "cats", 2)], [])
    assert find(index, "cats AND dogs") == ["a"]
    assert find(index, "cats -dogs") == ["a"]
    assert find(index, "name:cats") == []


def test_only_punctuation_matches_nothing_and_only_blanks_list_everything(
    index: SearchIndex,
) -> None:
    index.update([document("a", "x", 1), document("b", "y", 2)], [])
    assert find(index, "?!") == []
    assert find(index, " \t ") == ["b", "a"]


def test_any_text_can_be_indexed(index: SearchIndex) -> None:
    index.update(
        [
            document("a", "", 1, description="\0 \ud800 " + "x" * 500_000, tags=["", "t" * 70_000]),
            document("b", "needle", 2, description="w " * 300_000),
        ],
        [],
    )
    assert find(index, "needle") == ["b"]
    assert find(index, "") == ["b", "a"]


# Order, totals, highlights


def test_the_name_ranks_over_tags_over_the_description_and_newer_over_older(
    index: SearchIndex,
) -> None:
    index.update(
        [
            document("exact", "Retina", 1),
            document("name_old", "Retina scans", 2),
            document("name_new", "Scans of a retina", 3),
            document("tag", "Eyes", 4, tags=["retina"]),
            document("text_old", "Eyes", 5, description="the retina, the retina, the retina"),
            document("text_new", "Eyes", 6, description="a retina"),
        ],
        [],
    )
    page = index.search("retina", limit=10)
    assert rkeys(page) == ["exact", "name_new", "name_old", "tag", "text_new", "text_old"]
    scores = [hit.score or 0.0 for hit in page.hits]
    assert scores == sorted(scores, reverse=True)
    assert (scores[0], scores[-1]) == (1.0, 0.2)


def test_of_several_words_one_in_the_name_ranks_over_none(index: SearchIndex) -> None:
    index.update(
        [
            document("both", "speech noise", 1),
            document("head", "speech", 2, tags=["noise"]),
            document("one", "speech", 3, description="noise"),
            document("none", "x", 4, description="noise in speech"),
            document("tags", "y", 5, tags=["noise", "speech"]),
        ],
        [],
    )
    assert find(index, "speech noise") == ["both", "tags", "head", "one", "none"]


def test_the_total_is_exact_on_every_page_of_a_walk(index: SearchIndex) -> None:
    index.update([document(f"r{n}", "eye" if n % 2 else "ear", n) for n in range(101)], [])
    found, totals = walk(index, "eye", 7)
    assert (len(found), set(totals)) == (50, {50})
    assert set(walk(index, "", 10)[1]) == {101}
    assert index.search("nothing", limit=3).total == 0


def test_highlights_mark_the_words_and_escape_the_rest(index: SearchIndex) -> None:
    index.update(
        [
            document(
                "a",
                "<script> & retinas",
                1,
                description="long " * 200 + "a retina under light " + "tail " * 200,
                tags=["eye"],
            ),
            document("b", "Lungs", 2, tags=["retina"]),
        ],
        [],
    )
    page = index.search("retina", limit=5)
    first, second = page.hits
    assert first.highlights["name"] == "&lt;script&gt; &amp; <b>retinas</b>"
    assert "<b>retina</b> under light" in first.highlights["description"]
    assert len(first.highlights["description"]) < 400
    assert second.highlights == {}
    assert index.search("reti*", limit=1).hits[0].highlights["name"].endswith("<b>retinas</b>")
    assert index.search("", limit=1).hits[0].highlights == {}


@pytest.mark.parametrize(
    "text",
    [
        "retina " + "y" * 50_000,
        "<img onerror=\"x\" 'q'>" + "&" * 3_000 + "retina" + "<" * 3_000,
        "retina" + "-" * 20_000 + "retina",
        "retina " * 5_000,
        "<b>retina</b> <script>" * 50,
        "r\u00e9tina \u65e5\u672c\u8a9e" * 300,
    ],
)
def test_no_text_makes_a_highlight_long_or_unsafe(index: SearchIndex, text: str) -> None:
    index.update([document("a", text, 1, description=text)], [])
    for q in ("retina", "reti*", "rettina"):
        (hit,) = index.search(q, limit=1).hits
        assert hit.highlights or q == "rettina"
        for marked in hit.highlights.values():
            assert len(marked) < 2_000
            assert not set("<>\"'") & set(marked.replace("<b>", "").replace("</b>", ""))


# Filters, orders, facets


def stated(rkey: str, seen: int, samples: int | None, **more: Any) -> SearchDocument:
    kept = {name: more.pop(name) for name in ("license", "labelled") if name in more}
    made = document(rkey, more.pop("name", "eye"), seen, **more)
    return made._replace(sample_count=samples, **kept)


def test_filters_by_samples_time_and_licence_combine(index: SearchIndex) -> None:
    index.update(
        [
            stated("a", 10, 5, license="MIT", tags=["x"]),
            stated("b", 20, 50, license="mit"),
            stated("c", 30, None, license="CC-BY-4.0"),
            stated("d", 40, 0),
            stated("e", 50, 2**63 - 1, license="Apache-2.0"),
        ],
        [],
    )
    assert find(index, "", min_samples=0) == ["e", "d", "b", "a"]
    assert find(index, "", min_samples=5, max_samples=50) == ["b", "a"]
    assert find(index, "", max_samples=4) == ["d"]
    assert find(index, "", min_samples=51) == ["e"]
    assert find(index, "", min_samples=2**63 - 1) == ["e"]
    assert find(index, "", since=20, until=40) == ["c", "b"]
    assert find(index, "", until=10) == []
    assert find(index, "", since=-5, until=11) == ["a"]
    assert find(index, "", since=2**63) == []
    assert find(index, "", license="mit") == find(index, "eye", license=" MIT ") == ["b", "a"]
    assert find(index, "eye", license="MIT", max_samples=9, tags=["x"], since=1) == ["a"]
    assert find(index, "eye", license="BSD") == []


def test_a_set_of_schemas_matches_any_of_them(index: SearchIndex) -> None:
    index.update(
        [document(f"r{n}", "eye", n, schema=f"at://{ALICE}/x/{n % 5}") for n in range(20)], []
    )
    some = SchemaSet("some", tuple(f"at://{ALICE}/x/{n}" for n in (1, 3, 99)))
    assert find(index, "eye", schemas=some) == ["r18", "r16", "r13", "r11", "r8", "r6", "r3", "r1"]
    assert find(index, "eye", schemas=some, schema=f"at://{ALICE}/x/3") == [
        "r18",
        "r13",
        "r8",
        "r3",
    ]
    assert find(index, "", schemas=SchemaSet("none", ())) == []


def test_newest_and_largest_order_all_hits_and_relevance_prefers_what_is_labelled(
    index: SearchIndex,
) -> None:
    index.update(
        [
            stated("a", 1, 7, name="Retina", labelled=True),
            stated("b", 2, 70, name="Retina scans"),
            stated("c", 3, 7, name="Scans of a retina", labelled=True),
            stated("d", 4, None, name="retina x"),
            stated("e", 5, 7, name="y", description="retina"),
            stated("f", 6, None, name="z", tags=["retina"]),
        ],
        [],
    )

    def order(sort: Sort, q: str = "retina") -> str:
        page = index.search(q, sort=sort, limit=10)
        assert all((hit.score is None) == (sort != "relevance" or not q) for hit in page.hits)
        return "".join(rkeys(page))

    assert order("relevance") == "acdbfe"
    assert order("relevance", "") == order("newest") == order("newest", "") == "fedcba"
    assert order("largest") == order("largest", "") == "becafd"


def test_facets_count_all_hits_exactly(index: SearchIndex) -> None:
    many = [
        stated(
            f"r{n}",
            n,
            None,
            did=(ALICE, BOB)[n % 3 == 0],
            schema=(SCHEMA, OTHER_SCHEMA)[n % 4 == 0],
            license=("MIT", "CC0", None)[n % 3],
            tags=["all", f"t{n % 7}", f"only{n}", "all"],
        )
        for n in range(60)
    ]
    index.update(many[:30], [])
    index.update(many[30:], [])
    index.update([stated("x", 99, None, name="other", tags=["all"])], [uri(ALICE, "dataset", "r1")])
    asked: tuple[FacetName, ...] = ("publishers", "tags", "licenses", "schemas")
    page = index.search("eye", limit=2, facets=asked)
    found = {facet.name: facet for facet in page.facets}
    assert tuple(found) == asked
    assert found["publishers"].values == ((ALICE, 39), (BOB, 20))
    assert found["schemas"].values == ((SCHEMA, 44), (OTHER_SCHEMA, 15))
    assert found["licenses"].values == (("MIT", 20), ("CC0", 19))
    tags = found["tags"]
    assert tags.values[:3] == (("all", 59), ("t0", 9), ("t2", 9))
    assert (len(tags.values), tags.more, found["licenses"].more) == (FACET_VALUES, True, False)
    # The same on every page, and for no hits at all.
    assert index.search("eye", limit=2, facets=asked, after=page.next).facets == page.facets
    none = index.search("?!", limit=1, facets=("tags", "tags")).facets
    assert [(facet.name, facet.values, facet.more) for facet in none] == [("tags", (), False)]
    assert index.search("nothing here", limit=1, facets=("tags",)).facets[0].values == ()


def test_facets_stay_exact_where_segments_cut_off_what_is_rare_in_them(
    index: SearchIndex, monkeypatch: pytest.MonkeyPatch
) -> None:
    dice = random.Random(3)
    truth: Counter[str] = Counter()
    for part in range(4):
        made = []
        for n in range(200):
            # What is common in one part is rare in another.
            tag = f"t{int(60 * dice.random() ** 2 + 17 * part) % 80}"
            truth[tag] += 1
            made.append(document(f"r{part}x{n}", "eye", 1000 * part + n, tags=[tag]))
        index.update(made, [])
    expected = sorted(truth.items(), key=lambda one: (-one[1], one[0]))
    for first in (2, 25, 50, 100):
        monkeypatch.setattr(search_facets, "TAKEN", (first, 2**31))
        index.update([document("beside", f"x{first}", 1)], [])
        (facet,) = index.search("eye", limit=1, facets=("tags",)).facets
        assert dict(facet.values).items() <= truth.items(), "every count is exact"
        assert [n for _, n in facet.values] == [n for _, n in expected[:FACET_VALUES]]


# Typos


def test_typos_are_forgiven_where_nothing_else_matches_and_the_page_says_so(
    index: SearchIndex,
) -> None:
    index.update(
        [
            document("a", "Retina tomography", 1, description="images of <eyes>"),
            document("b", "Speech", 2, tags=["retina"]),
        ],
        [],
    )
    for q in ("retnia", "retima", "retna", "rettina", "RETNIA*"):
        page = index.search(q, limit=5)
        assert (rkeys(page), page.total, page.fuzzy) == (["a", "b"], 2, True), q
    page = index.search("tomogrphi retnia", limit=5)
    assert (rkeys(page), page.fuzzy) == (["a"], True)
    assert page.hits[0].highlights["name"] == "<b>Retina</b> <b>tomography</b>"
    assert rkeys(index.search('"retina tomografy"', limit=5)) == ["a"]
    assert not index.search("retina", limit=5).fuzzy
    for q in ("rxtxna", "ot", "xyz", "tomo 12"):
        page = index.search(q, limit=5)
        assert (page.hits, page.total, page.fuzzy) == ([], 0, False), q


def test_a_walk_that_forgives_typos_goes_on_doing_so(tmp_path: Path) -> None:
    index = SearchIndex.open(tmp_path / "search")
    index.update([stated(f"r{n}", n, n % 3, name="retina") for n in range(9)], [])
    for sort in ("relevance", "newest", "largest"):
        page = index.search("retnia", sort=sort, limit=4)
        assert page.fuzzy
        index.update([document("exact", "retnia", 99)], [])
        index.close()
        index = SearchIndex.open(tmp_path / "search")
        rest = index.search("retnia", sort=sort, limit=50, after=page.next)
        found = [rkey for rkey in rkeys(page) + rkeys(rest) if rkey != "exact"]
        assert sorted(found) == [f"r{n}" for n in range(9)]
        assert rest.fuzzy
        index.update([], [uri(ALICE, "dataset", "exact")])
    index.close()


@settings(max_examples=300, deadline=None)
@given(
    word=st.text("abc", min_size=1, max_size=7),
    typed=st.text("abc", min_size=1, max_size=7),
    most=st.integers(1, 2),
)
def test_near_words_are_those_so_many_edits_apart(word: str, typed: str, most: int) -> None:
    within = {typed}
    for _ in range(most):
        within |= {near for one in within for near in one_edit(one)}
    if is_near(word, typed, most):
        assert word in within
    if most == 1:
        assert is_near(word, typed, most) == (word in within)


def one_edit(word: str) -> Iterator[str]:
    for at in range(len(word) + 1):
        yield word[:at] + word[at + 1 :]
        for letter in "abc":
            yield word[:at] + letter + word[at:]
            yield word[:at] + letter + word[at + 1 :]
        if at + 1 < len(word):
            yield word[:at] + word[at + 1] + word[at] + word[at + 2 :]


# Walks


def test_a_full_walk_returns_every_hit_once_in_the_order_of_one_large_page(
    index: SearchIndex,
) -> None:
    words = ("eye", "eye scans", "x")
    for part in range(0, 60, 6):
        index.update(
            [
                document(f"r{n}", words[n % 3], n, description="an eye")
                for n in range(part, part + 6)
            ],
            [],
        )
    once = find(index, "eye")
    assert len(once) == 50
    for limit in (1, 2, 3, 7, 59, 60, 61):
        found, _ = walk(index, "eye", limit)
        assert found[:50] == once
        assert len(found) == len(set(found)) == 60
        assert walk(index, "", limit)[0] == [f"r{n}" for n in reversed(range(60))]
        assert walk(index, "eye", limit, publisher=ALICE)[0] == found


def churn(index: SearchIndex, there: list[str]) -> Callable[[int], None]:
    """What a writer does between pages: inserts above, updates that change ranks, deletes."""

    def work(page: int) -> None:
        new = [document(f"new{page}x{n}", "eye", 1_000 * page + n) for n in range(3)]
        moved = [
            stated(there[0], 0, page, name="eye" if page % 2 else "x", description="an eye"),
            document(there[-1], "x" if page % 2 else "eye scans", len(there) - 1, tags=["eye"]),
            stated(there[5], 5, None, name="an eye", labelled=page % 2 == 0),
            document(there[10], ("eye", "an eye", "x")[page % 3], 10, description="eye"),
        ]
        index.update(new + moved, [uri(ALICE, "dataset", f"gone{page}")])

    return work


@pytest.mark.parametrize("sort", ["relevance", "newest", "largest"])
@pytest.mark.parametrize("q", ["eye", "", '"eye"', "ey*", "eyee"])
def test_a_walk_meets_all_that_was_there_once_while_a_writer_inserts_updates_and_deletes(
    index: SearchIndex, q: str, sort: Sort
) -> None:
    there = [f"r{n}" for n in range(40)]
    index.update(
        [document(r, ("x", "eye")[n % 2], n, description="an eye") for n, r in enumerate(there)], []
    )
    index.update([document(f"gone{n}", "eye", 100 + n) for n in range(10)], [])
    found, totals = walk(index, q, 3, churn(index, there), sort=sort)
    assert len(found) == len(set(found)), "nothing comes twice"
    assert set(there) <= set(found), "nothing that was there all the time is left out"
    assert set(totals) == {50}


def test_a_walk_goes_on_exactly_after_a_restart_in_its_middle(tmp_path: Path) -> None:
    index = SearchIndex.open(tmp_path / "search")
    index.update(
        [document(f"r{n}", ("x", "eye")[n % 2], n, description="eye") for n in range(20)], []
    )
    whole = find(index, "eye")
    first = index.search("eye", limit=8)
    index.update([document("new", "eye", 100)], [uri(ALICE, "dataset", whole[10].split("/")[-1])])
    index.close()
    index = SearchIndex.open(tmp_path / "search")
    rest = index.search("eye", limit=50, after=first.next)
    assert rkeys(first) + rkeys(rest) == whole[:10] + whole[11:]
    assert rest.total == 20
    index.close()


def test_states_that_walks_left_behind_are_let_go_and_the_walks_go_on(
    index: SearchIndex, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(search_module, "PINNED_GENERATIONS", 2)
    index.update([document(f"r{n}", "eye", n) for n in range(10)], [])
    first = index.search("eye", limit=4)
    for n in range(5):
        index.update([document(f"new{n}", "eye", 100 + n)], [])
        index.search("eye", limit=1)
    assert len(index._pinned) == 2
    rest = index.search("eye", limit=50, after=first.next)
    assert rkeys(first) + rkeys(rest) == [f"r{n}" for n in reversed(range(10))]
    monkeypatch.setattr(search_module, "PINNED_SECONDS", -1.0)
    index.update([document("last", "eye", 200)], [])
    assert len(index._pinned) == 0


@pytest.mark.parametrize(
    "position",
    [(), ("a", 1), ("a", "1", 1), ("a", 1, -1), ("a", 1, 2**63), (1, 1, 1), ("a", 1, 1, 1)],
)
def test_a_position_that_no_page_gave_is_refused(
    index: SearchIndex, position: tuple[object, ...]
) -> None:
    with pytest.raises(InvalidPosition, match="start again without a cursor"):
        index.search("eye", limit=1, after=position)


def test_a_position_far_off_gives_an_empty_last_page(index: SearchIndex) -> None:
    index.update([document("a", "eye", 5)], [])
    for position in (("x", 0, 0), ("x", -5, 3), ("x", 1, 0)):
        page = index.search("eye", limit=3, after=position)
        assert (page.hits, page.next, page.total) == ([], None, 1)
    assert rkeys(index.search("eye", limit=3, after=("x", 99, 0))) == ["a"]


def test_a_page_without_hits_to_give_is_a_programming_error(index: SearchIndex) -> None:
    with pytest.raises(ValueError, match="at least one hit"):
        index.search("eye", limit=0)


# The index on disk


def test_an_update_replaces_and_repeating_it_changes_nothing(index: SearchIndex) -> None:
    for _ in range(3):
        index.update([document("a", "old", 1)], [])
        index.update([document("a", "new", 1)], [uri(ALICE, "dataset", "never there")])
    assert (find(index, "old"), find(index, "new"), index.count()) == ([], ["a"], 1)
    index.update([], [uri(ALICE, "dataset", "a")])
    assert index.count() == 0


def test_what_was_updated_is_there_after_reopening(tmp_path: Path) -> None:
    index = SearchIndex.open(tmp_path / "search")
    assert index.fresh
    index.update([document("a", "eye", 1)], [])
    index.close()
    index.close()
    again = SearchIndex.open(tmp_path / "search")
    assert not again.fresh
    assert find(again, "eye") == ["a"]
    again.close()


def test_a_rebuild_replaces_everything_and_a_failed_one_nothing(index: SearchIndex) -> None:
    index.update([document("a", "eye", 1)], [])

    def broken() -> Iterator[object]:
        yield document("b", "eye", 2)
        raise KeyError("the store went away")

    with pytest.raises(KeyError):
        index.rebuild(broken())  # type: ignore[arg-type]  # it raises before its type matters
    assert find(index, "eye") == ["a"]
    assert index.rebuild(document(f"n{n}", "eye", n) for n in range(5)) == 5
    assert find(index, "eye") == [f"n{n}" for n in (4, 3, 2, 1, 0)]


def test_an_index_of_another_format_is_made_anew(tmp_path: Path) -> None:
    folder = tmp_path / "search"
    index = SearchIndex.open(folder)
    index.update([document("a", "eye", 1)], [])
    index.close()
    for other in (b"0", b"\xff\xfe"):
        (folder / "format").write_bytes(other)
        again = SearchIndex.open(folder)
        assert again.fresh
        assert again.count() == 0
        again.close()


def test_a_directory_with_anything_else_in_it_is_refused_and_left_alone(tmp_path: Path) -> None:
    folder = tmp_path / "search"
    folder.mkdir()
    (folder / "thesis.txt").write_text("years of work")
    with pytest.raises(StoreFormatUnknown, match="another program"):
        SearchIndex.open(folder)
    assert [entry.name for entry in folder.iterdir()] == ["thesis.txt"]


def test_a_damaged_index_says_what_to_do(tmp_path: Path) -> None:
    folder = tmp_path / "search"
    SearchIndex.open(folder).close()
    (folder / "index" / "meta.json").write_text("junk")
    with pytest.raises(SearchUnavailable, match="deleting that directory rebuilds it"):
        SearchIndex.open(folder)
    shutil.rmtree(folder)
    SearchIndex.open(folder).close()


def test_one_index_has_one_writer(index: SearchIndex) -> None:
    with pytest.raises(SearchUnavailable, match="lock"):
        SearchIndex.open(index.path)


def test_a_closed_index_is_unavailable(index: SearchIndex) -> None:
    index.check()
    index.close()
    for use in (
        index.check,
        lambda: index.search("eye", limit=1),
        lambda: index.update([], []),
    ):
        with pytest.raises(SearchUnavailable, match="closed"):
            use()
