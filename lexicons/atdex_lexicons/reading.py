"""Lexicon documents from files: JSON, read strictly and within bounds."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from .errors import InvalidDocument, Problem, shown

DOCUMENT_BYTES_MAX = 1_000_000
"""Bytes of one document: published ones are records, which have this limit."""


def read_json(path: Path) -> Any:
    """The JSON value in a file.

    Raises `OSError` for what cannot be read and `InvalidDocument` for what is too large, no
    JSON, nested too deep to read, or has one key twice in an object (where JSON readers differ).
    """
    import json  # not needed by those who import the package for its errors

    with path.open("rb") as file:
        raw = file.read(DOCUMENT_BYTES_MAX + 1)
    if len(raw) > DOCUMENT_BYTES_MAX:
        raise _refused(path, f"is larger than {DOCUMENT_BYTES_MAX} bytes")
    try:
        text = raw.decode()
        return json.loads(text, object_pairs_hook=_distinct, parse_constant=_no_constant)
    except RecursionError:
        raise _refused(path, "is nested too deep") from None
    except ValueError as error:  # malformed JSON, malformed UTF-8, an integer of a million digits
        raise _refused(path, f"is no JSON that all readers agree on: {error}") from None


def read_document(path: Path) -> dict[str, Any]:
    """Like `read_json`, for a file that must hold an object. Its contents are not checked."""
    document = read_json(path)
    if not isinstance(document, dict):
        raise _refused(path, "holds no object, and so no lexicon document")
    return document


def _refused(path: Path, reason: str) -> InvalidDocument:
    return InvalidDocument(str(path), [Problem("", reason)])


def _distinct(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    result = dict(pairs)
    if len(result) < len(pairs):
        keys = [key for key, _ in pairs]
        twice = next(key for key in keys if keys.count(key) > 1)
        raise ValueError(f"the key {shown(twice)} is there twice in one object")
    return result


def _no_constant(name: str) -> Any:
    raise ValueError(f"{name} is no number")
