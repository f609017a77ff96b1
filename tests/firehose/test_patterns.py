from __future__ import annotations

import pytest

from atdex_firehose.errors import ConfigError
from atdex_firehose.patterns import CollectionPatterns


def test_an_exact_pattern_takes_itself_only() -> None:
    patterns = CollectionPatterns(["science.alt.dataset.entry"])
    assert "science.alt.dataset.entry" in patterns
    assert "science.alt.dataset.entryx" not in patterns
    assert "science.alt.dataset.entry.x" not in patterns
    assert "science.alt.dataset" not in patterns


def test_a_wildcard_stands_at_a_dot() -> None:
    patterns = CollectionPatterns(["a.b.*"])
    assert "a.b.c" in patterns
    assert "a.b.c.d" in patterns
    assert "a.bc.d" not in patterns
    assert "a.b" not in patterns
    assert "x.a.b.c" not in patterns


@pytest.mark.parametrize(
    "pattern", ["", "**", ".*", "a.*.c", "a.b*", "a.b.**", "a.b.c.", "a b.c.*"]
)
def test_other_forms_are_refused(pattern: str) -> None:
    with pytest.raises(ConfigError):
        CollectionPatterns([pattern])


def test_no_pattern_is_refused() -> None:
    with pytest.raises(ConfigError):
        CollectionPatterns([])


def test_names_without_end_do_not_fill_the_memory() -> None:
    patterns = CollectionPatterns(["a.b.*"])
    for n in range(20_000):
        assert f"x.y.z{n}" not in patterns
    assert "a.b." + "c" * 400 not in patterns
    assert len(patterns._seen) <= 4_096


@pytest.mark.parametrize("ops", [None, 5, [5], [{}], [{"path": 5}], [{"path": "a.bc.d/1"}], []])
def test_odd_ops_are_not_wanted(ops: object) -> None:
    assert not CollectionPatterns(["a.b.*"]).wants({"ops": ops})


def test_one_op_in_a_wanted_collection_is_enough() -> None:
    body = {"ops": [{"path": "x.y.z/1"}, {"path": "a.b.c/1"}]}
    assert CollectionPatterns(["a.b.*"]).wants(body)
