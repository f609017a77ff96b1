"""Filters, other orders, facets."""

from __future__ import annotations

import random
from collections import Counter

import pytest

from atdex_appview.search import facets as search_facets
from atdex_appview.search.facets import FACET_VALUES, FacetName
from atdex_appview.search.filters import SchemaSet
from atdex_appview.search.index import SearchIndex
from atdex_appview.search.order import Sort
from tests.appview.records import ALICE, BOB, OTHER_SCHEMA, SCHEMA, document, uri
from tests.appview.search.searching import find, rkeys, stated


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
