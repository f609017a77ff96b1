"""The order of version words: Semantic Versioning 2.0.0, section 11.

Words that are not versions sort below every version, among themselves as text, so that
sorting a list of what publishers wrote never fails.
"""

from __future__ import annotations

import re

_SEMVER = re.compile(
    r"(0|[1-9][0-9]*)\.(0|[1-9][0-9]*)\.(0|[1-9][0-9]*)"
    r"(?:-((?:0|[1-9][0-9]*|[0-9]*[A-Za-z-][0-9A-Za-z-]*)"
    r"(?:\.(?:0|[1-9][0-9]*|[0-9]*[A-Za-z-][0-9A-Za-z-]*))*))?"
    r"(?:\+([0-9A-Za-z-]+(?:\.[0-9A-Za-z-]+)*))?"
)

# Longer words are no version: Python refuses to convert very long digit strings, and a
# publisher's version has no reason to be longer.
MAX_VERSION_CHARS = 256

_Identifier = tuple[int, int, str]
SemverKey = tuple[int, tuple[int, int, int], int, tuple[_Identifier, ...], str]


def semver_key(version: str | None) -> SemverKey:
    """A sort key: `None` < words that are no version < versions by precedence.

    A pre-release is below its release; numeric identifiers are below words and compare as
    numbers; build metadata has no precedence and only makes the order total.
    """
    if version is None:
        return (-1, (0, 0, 0), 0, (), "")
    match = _SEMVER.fullmatch(version) if len(version) <= MAX_VERSION_CHARS else None
    if match is None:
        return (0, (0, 0, 0), 0, (), version)
    major, minor, patch, pre, build = match.groups()
    identifiers = tuple(
        (0, int(part), "") if part.isdigit() else (1, 0, part)
        for part in (pre.split(".") if pre else ())
    )
    core = (int(major), int(minor), int(patch))
    return (1, core, 0 if pre else 1, identifiers, build or "")
