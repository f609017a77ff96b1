"""The public vectors of the string formats: each file is one test."""

from __future__ import annotations

import pytest

from atdex_lexicons.syntax import FORMATS
from tests.lexicons.vectors import lines, names

SPELLINGS = {"atidentifier": "at-identifier", "aturi": "at-uri", "recordkey": "record-key"}


@pytest.mark.parametrize("name", names("syntax", ".txt"))
def test_every_line_of_a_syntax_file_is_judged_as_the_file_says(name: str) -> None:
    vectors = lines(name)
    kind, _, verdict = name.removeprefix("syntax/").removesuffix(".txt").split("_")
    accepts = FORMATS[SPELLINGS.get(kind, kind)]
    wrong = [line for line in vectors if accepts(line) is not (verdict == "valid")]
    assert vectors
    assert not wrong


def test_every_string_format_has_a_file_for_both_verdicts() -> None:
    files = names("syntax", ".txt")
    lines(files[0])  # skips where the vectors are absent
    kinds = {(SPELLINGS.get(k, k), v) for k, v in (_parts(name) for name in files)}
    assert kinds >= {(kind, verdict) for kind in FORMATS for verdict in ("valid", "invalid")}


def _parts(name: str) -> tuple[str, str]:
    kind, _, verdict = name.removeprefix("syntax/").removesuffix(".txt").split("_")
    return kind, verdict
