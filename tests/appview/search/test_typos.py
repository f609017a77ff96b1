"""Words that are nearly those typed."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from hypothesis import given, settings
from hypothesis import strategies as st

from atdex_appview.search.highlights import is_near
from atdex_appview.search.index import SearchIndex
from tests.appview.records import ALICE, document, uri
from tests.appview.search.searching import rkeys, stated


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
