"""The order of versions."""

from __future__ import annotations

import random

from hypothesis import given
from hypothesis import strategies as st

from atdex_appview.store.versions import semver_key

IN_ORDER = [
    None,
    "",
    "1.0",
    "1.0.0.0",
    "v1.0.0",
    "0.0.1-alpha",
    "0.0.1",
    "1.0.0-alpha",
    "1.0.0-alpha.1",
    "1.0.0-alpha.beta",
    "1.0.0-beta",
    "1.0.0-beta.2",
    "1.0.0-beta.11",
    "1.0.0-rc.1",
    "1.0.0",
    "1.0.0+build",
    "1.0.1",
    "2.0.0",
    "10.0.0",
    "10.0.1",
    "99999999999999999999.0.0",
]


def test_versions_sort_by_precedence_and_10_0_0_comes_after_2_0_0() -> None:
    shuffled = IN_ORDER.copy()
    random.Random(7).shuffle(shuffled)
    assert sorted(shuffled, key=semver_key) == IN_ORDER


def test_leading_zeros_and_foreign_digits_make_no_version() -> None:
    words = ("01.0.0", "1.0.0-01", "1.0.0\n", "1.0.٣", " 1.0.0", "1" * 5000 + ".0.0")
    for word in words:
        assert semver_key(word) < semver_key("0.0.0-0")


@given(st.lists(st.text(max_size=12) | st.none(), max_size=8))
def test_any_words_can_be_sorted(words: list[str | None]) -> None:
    assert len({semver_key(word) for word in words}) == len(set(words))
    sorted(words, key=semver_key)
