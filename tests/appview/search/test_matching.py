"""What a text matches."""

from __future__ import annotations

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from atdex_appview.errors import (
    QueryTooLong,
)
from atdex_appview.search.filters import Filters
from atdex_appview.search.index import SearchIndex
from tests.appview.records import ALICE, BOB, OTHER_SCHEMA, SCHEMA, document
from tests.appview.search.searching import find


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
