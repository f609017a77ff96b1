"""Pages of one search, from the first to the last, while a writer works."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from atdex_appview.errors import (
    InvalidPosition,
)
from atdex_appview.search import index as search_module
from atdex_appview.search.index import SearchIndex
from atdex_appview.search.order import Sort
from tests.appview.records import ALICE, document, uri
from tests.appview.search.searching import find, rkeys, stated, walk


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
