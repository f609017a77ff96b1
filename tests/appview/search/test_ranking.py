"""Ranks, totals and highlights of hits."""

from __future__ import annotations

import pytest

from atdex_appview.search.index import SearchIndex
from tests.appview.records import document
from tests.appview.search.searching import find, rkeys, walk


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
