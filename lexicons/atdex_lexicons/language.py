"""Language tags: well-formed by RFC 5646 §2.1, without the repetitions that §2.2.9 forbids.

The primary language is written in lower case, as the Lexicon specification asks; four letters
are reserved by the RFC and refused. Whether a subtag is registered is not looked up.
"""

from __future__ import annotations

import re

LANGUAGE_CHARACTERS_MAX = 128
"""Longest tag: RFC 5646 §4.4.1 asks for 35 at least; extensions rarely double that."""

_TAG = re.compile(
    r"(?:[a-z]{2,3}(?:-[A-Za-z]{3}){0,3}|[a-z]{5,8})"
    r"(?:-[A-Za-z]{4})?"
    r"(?:-(?:[A-Za-z]{2}|[0-9]{3}))?"
    r"(?P<variants>(?:-(?:[A-Za-z0-9]{5,8}|[0-9][A-Za-z0-9]{3}))*)"
    r"(?P<extensions>(?:-[0-9A-WY-Za-wy-z](?:-[A-Za-z0-9]{2,8})+)*)"
    r"(?:-[xX](?:-[A-Za-z0-9]{1,8})+)?"
)
_PRIVATE = re.compile(r"[xX](?:-[A-Za-z0-9]{1,8})+")
_IRREGULAR = re.compile(
    r"en-gb-oed|i-(?:ami|bnn|default|enochian|hak|klingon|lux|mingo|navajo|pwn|tao|tay|tsu)|"
    r"sgn-(?:be-fr|be-nl|ch-de)"
)
"""Tags that were registered before the RFC and do not follow its grammar."""


def is_language(text: str) -> bool:
    """Whether `text` is a language tag such as `ja`, `pt-BR` or `zh-Hant`."""
    if len(text) > LANGUAGE_CHARACTERS_MAX:
        return False
    match = _TAG.fullmatch(text)
    if match is None:
        return _PRIVATE.fullmatch(text) is not None or (
            _IRREGULAR.fullmatch(text.lower()) is not None
        )
    variants = match["variants"].lower().split("-")[1:]
    if len(set(variants)) < len(variants):
        return False
    singletons = [part for part in match["extensions"].lower().split("-") if len(part) == 1]
    return len(set(singletons)) == len(singletons)
