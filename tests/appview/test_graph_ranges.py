"""Version ranges as publishers write them."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from atdex_appview.graph.ranges import MAX_RANGE_CHARS, parse_range
from atdex_appview.store.versions import semver_key

WITHIN = [
    ("1.2.3", "1.2.3 1.2.3+build", "1.2.4 1.2.2 1.2.3-rc.1"),
    ("=1.2.3", "1.2.3", "1.2.4"),
    ("v1.2.3", "1.2.3", "1.2.4"),
    ("1", "1.0.0 1.9.9", "0.9.9 2.0.0 2.0.0-a"),
    ("1.x", "1.0.0 1.9.9", "0.9.9 2.0.0"),
    ("1.2.*", "1.2.0 1.2.9", "1.3.0 1.1.9"),
    ("*", "0.0.0 10.0.0", "1.0.0-rc.1"),
    ("^1.2.3", "1.2.3 1.9.0", "1.2.2 2.0.0 1.3.0-a 2.0.0-a"),
    ("^0.2.3", "0.2.3 0.2.9", "0.3.0 0.2.2"),
    ("^0.0.3", "0.0.3", "0.0.4"),
    ("^0", "0.0.0 0.9.0", "1.0.0"),
    ("^1.2.3-rc.1", "1.2.3-rc.1 1.2.3-rc.2 1.2.3 1.3.0", "1.2.3-beta 1.3.0-rc.1"),
    ("~1.2.3", "1.2.3 1.2.9", "1.3.0 1.2.2"),
    ("~1", "1.0.0 1.9.0", "2.0.0"),
    (">=1.0.0 <2.0.0", "1.0.0 1.9.9", "2.0.0 0.9.0 2.0.0-rc.1"),
    (">=1.0.0, <2.0.0", "1.0.0 1.9.9", "2.0.0 0.9.0"),
    (">1.2", "1.3.0 10.0.0", "1.2.9"),
    (">1.2.3", "1.2.4", "1.2.3"),
    ("<=1.2", "1.2.9 0.1.0", "1.3.0"),
    ("<1.2", "1.1.9", "1.2.0"),
    ("1.2 - 2.3", "1.2.0 2.3.9", "1.1.9 2.4.0"),
    ("1.2.3 - 2.3.4", "1.2.3 2.3.4", "2.3.5"),
    ("1.0.0 || >=3", "1.0.0 3.0.0 10.0.0", "2.0.0"),
    (">*", "", "0.0.0 1.0.0"),
    ("<*", "", "0.0.0 1.0.0"),
]


@pytest.mark.parametrize(("text", "within", "without"), WITHIN)
def test_a_range_holds_what_its_grammar_says(text: str, within: str, without: str) -> None:
    found = parse_range(text)
    assert found is not None
    assert [v for v in within.split() if not found.fits(semver_key(v))] == []
    assert [v for v in without.split() if found.fits(semver_key(v))] == []


def test_words_that_are_no_versions_are_within_no_range() -> None:
    found = parse_range("*")
    assert found is not None
    assert not any(found.fits(semver_key(word)) for word in ("", "1.0", "latest", None))


@pytest.mark.parametrize(
    "text", ["", " ", "latest", "1.0.0.0", ">=", "1.0.0 ||", "^^1", "1.0.0-", "01.0.0", "1.2.3x"]
)
def test_what_is_no_range_is_none(text: str) -> None:
    assert parse_range(text) is None
    assert parse_range("1" * (MAX_RANGE_CHARS + 1)) is None


@given(st.text(alphabet="0123456789.xX*^~<>=|- ,vab+", max_size=30))
def test_any_text_is_a_range_or_none(text: str) -> None:
    found = parse_range(text)
    if found is not None:
        found.fits(semver_key("1.2.3-rc.1"))
