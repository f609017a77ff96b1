"""The AT Protocol's public test vectors, read from the folder that is handed round with them."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tests.support.paths import INTEROP


def lines(name: str) -> list[str]:
    """The vectors of a text file: every line that is neither empty nor a comment, verbatim."""
    text = _text(name)
    return [line for line in text.split("\n") if line and not line.startswith("#")]


def cases(name: str) -> Any:
    """The contents of a JSON file."""
    return json.loads(_text(name))


def names(folder: str, suffix: str) -> list[str]:
    """The files of a folder, relative to the vectors; one placeholder where they are absent."""
    found = sorted((INTEROP / folder).glob(f"*{suffix}"))
    return [str(path.relative_to(INTEROP)) for path in found] or [f"{folder}/absent{suffix}"]


def _text(name: str) -> str:
    path = INTEROP / name
    if not INTEROP.is_dir():
        pytest.skip(f"the public test vectors are not at {INTEROP}")
    return path.read_text(encoding="utf-8")
