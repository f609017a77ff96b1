"""Many names in one: `shard-{000000..000099}.tar`, `{train,test}.tar`, `data/*.tar`.

Braces as in shells and WebDataset: a range keeps the zeros that its ends are written with, a list
is taken in order, braces may stand in braces. For what a user writes, never for a record's text.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from atdex.errors import BadSource

MAX_NAMES: Final = 100_000
"""Names that one pattern stands for at most: a slip of a digit should not fill the memory."""

_RANGE: Final = re.compile(r"(\d{1,18})\.\.(\d{1,18})")
_INNERMOST: Final = re.compile(r"\{([^{}]*)\}")
_GLOB: Final = re.compile(r"[*?\[]")


def expand_braces(pattern: str) -> list[str]:
    """All names of `pattern`, the last brace varying fastest. Raises BadSource."""
    names: list[str] = []
    for name in _expand(pattern):
        names.append(name)
        if len(names) > MAX_NAMES:
            raise BadSource(pattern, f"it stands for more than {MAX_NAMES:,} names")
    return names


def _expand(pattern: str) -> Iterator[str]:
    # From the left: an outer list with inner braces is opened first, alternative by alternative.
    start = pattern.find("{")
    while start >= 0:
        end = _closing(pattern, start)
        if end is not None:
            alternatives = _alternatives(pattern[start + 1 : end])
            if alternatives is not None:
                for alternative in alternatives:
                    for name in _expand(alternative + pattern[end + 1 :]):
                        yield pattern[:start] + name
                return
        start = pattern.find("{", start + 1)
    yield pattern


def _closing(pattern: str, start: int) -> int | None:
    depth = 0
    for i in range(start, len(pattern)):
        depth += (pattern[i] == "{") - (pattern[i] == "}")
        if depth == 0:
            return i
    return None


def _alternatives(inside: str) -> Iterator[str] | None:
    if match := _RANGE.fullmatch(inside):
        first, last = match[1], match[2]
        width = max(len(first), len(last)) if first[0] == "0" or last[0] == "0" else 0
        step = 1 if int(first) <= int(last) else -1
        return (f"{n:0{width}d}" for n in range(int(first), int(last) + step, step))
    parts = _split(inside)
    return iter(parts) if len(parts) > 1 else None


def _split(inside: str) -> list[str]:
    parts, depth, begin = [], 0, 0
    for i, char in enumerate(inside):
        depth += (char == "{") - (char == "}")
        if char == "," and depth == 0:
            parts.append(inside[begin:i])
            begin = i + 1
    return [*parts, inside[begin:]]


def find_files(pattern: str) -> list[Path]:
    """The files that a path, a folder (its `*.tar`), a glob or a brace pattern names, in order.

    Raises BadSource where a named file is missing, or a glob finds none.
    """
    plain = Path(pattern).expanduser()
    if plain.is_dir():
        return _glob(plain, "*.tar", pattern)
    if plain.exists():
        return [plain]
    files: list[Path] = []
    for name in expand_braces(pattern):
        path = Path(name).expanduser()
        if _GLOB.search(name):
            root = Path(path.anchor)
            files += _glob(root, str(path.relative_to(path.anchor)), name)
        elif path.is_file():
            files.append(path)
        else:
            raise BadSource(name, "there is no such file")
    return files


def _glob(root: Path, pattern: str, shown: str) -> list[Path]:
    found = sorted(path for path in root.glob(pattern) if path.is_file())
    if not found:
        raise BadSource(shown, "no file has such a name")
    return found
