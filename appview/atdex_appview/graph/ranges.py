"""Version ranges, as publishers write them: `>=1.0.0 <2.0.0`, `^1.2`, `~1.2.3`, `1.x`, `1 - 3`.

The grammar is that of npm (https://docs.npmjs.com/cli/v6/using-npm/semver#ranges), which is the
one that most people have met; a comma may stand for a blank. The order is that of
`store.versions`. A pre-release fits only where the range names a pre-release of the same
`major.minor.patch`: whoever asks for `>=1.0.0` has not asked for `2.0.0-alpha`.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import lru_cache

from atdex_appview.store.versions import SemverKey, semver_key

MAX_RANGE_CHARS = 256
"""Characters of a range. The documents of the records allow 100."""

PARSED_RANGES = 4096
"""Ranges whose parsed form is kept: nearly all lenses use a few dozen of them."""

Core = tuple[int, int, int]
Precedence = tuple[int, Core, int, tuple[tuple[int, int, str], ...]]

_NUMBER = r"(?:0|[1-9][0-9]{0,17}|[xX*])"
_PARTIAL = re.compile(
    rf"(?P<op>\^|~>?|>=|<=|==?|>|<)?\s*v?(?P<major>{_NUMBER})"
    rf"(?:\.(?P<minor>{_NUMBER})(?:\.(?P<patch>{_NUMBER})(?P<rest>[-+][0-9A-Za-z.+-]+)?)?)?"
)
_SEPARATOR = re.compile(r"[\s,]*")
_HYPHEN = re.compile(r"\s+-\s+")
_WILD = frozenset("xX*")


@dataclass(frozen=True, slots=True)
class _Bound:
    """All versions on one side of `key`."""

    key: Precedence
    above: bool
    inclusive: bool

    def fits(self, key: Precedence) -> bool:
        if key == self.key:
            return self.inclusive
        return key > self.key if self.above else key < self.key


@dataclass(frozen=True, slots=True)
class VersionRange:
    """One or more alternatives, each a conjunction of bounds."""

    alternatives: tuple[tuple[_Bound, ...], ...]

    def fits(self, key: SemverKey) -> bool:
        """Whether the version with this `semver_key` is within. Words that are none never are."""
        if key[0] != 1:
            return False
        precedence = key[:4]
        return any(_all_fit(bounds, precedence) for bounds in self.alternatives)


def _all_fit(bounds: tuple[_Bound, ...], key: Precedence) -> bool:
    if not all(bound.fits(key) for bound in bounds):
        return False
    is_release = key[2] == 1
    return is_release or any(bound.key[1:3] == (key[1], 0) and bound.key[3] for bound in bounds)


@lru_cache(PARSED_RANGES)
def parse_range(text: str) -> VersionRange | None:
    """The range that `text` writes; None where it writes none."""
    if len(text) > MAX_RANGE_CHARS:
        return None
    alternatives = []
    for part in text.split("||"):
        bounds = _alternative(part.strip())
        if bounds is None:
            return None
        alternatives.append(bounds)
    return VersionRange(tuple(alternatives))


def _alternative(text: str) -> tuple[_Bound, ...] | None:
    ends = _HYPHEN.split(text)
    if len(ends) == 2:
        low, high = (_PARTIAL.fullmatch(end) for end in ends)
        if low is None or high is None or low["op"] or high["op"]:
            return None
        return _at_least(low) + _at_most(high)
    bounds: list[_Bound] = []
    at = _SEPARATOR.match(text).end()  # type: ignore[union-attr]  # it matches nothing as well
    if at == len(text):
        # An empty alternative is any version, as npm has it; a blank range is none of ours.
        return None
    while at < len(text):
        found = _PARTIAL.match(text, at)
        if found is None:
            return None
        made = _comparator(found)
        if made is None:
            return None
        bounds += made
        after = _SEPARATOR.match(text, found.end())
        assert after is not None
        if after.end() == found.end() and found.end() < len(text):
            return None
        at = after.end()
    return tuple(bounds)


def _comparator(found: re.Match[str]) -> tuple[_Bound, ...] | None:
    if found["rest"] and semver_key(_full(found))[0] != 1:
        return None
    match found["op"]:
        case ">=":
            return _at_least(found)
        case "<=":
            return _at_most(found)
        case ">":
            if _given(found) == 3:
                return (_Bound(_key(found), above=True, inclusive=False),)
            return _from(_next(found)) if _given(found) else _NOTHING
        case "<":
            return (
                (_Bound(_key(found), above=False, inclusive=False),)
                if _given(found)
                else (_NOTHING)
            )
        case "^":
            return _at_least(found) + _below(_caret(found))
        case "~" | "~>":
            return _at_least(found) + _below(_next(found, at_most=2))
        case _:
            if _given(found) == 3:
                key = _key(found)
                return (_Bound(key, above=True, inclusive=True), _Bound(key, False, True))
            return _at_least(found) + _below(_next(found))


def _given(found: re.Match[str]) -> int:
    """How many of the three numbers are there, before the first wildcard."""
    count = 0
    for name in ("major", "minor", "patch"):
        if found[name] is None or found[name] in _WILD:
            break
        count += 1
    return count


def _core(found: re.Match[str]) -> Core:
    given = _given(found)
    numbers = [int(found[name]) for name in ("major", "minor", "patch")[:given]]
    major, minor, patch = [*numbers, 0, 0, 0][:3]
    return major, minor, patch


def _full(found: re.Match[str]) -> str:
    rest = found["rest"] if _given(found) == 3 else None
    return ".".join(map(str, _core(found))) + (rest or "")


def _key(found: re.Match[str]) -> Precedence:
    return semver_key(_full(found))[:4]


def _release(core: Core) -> Precedence:
    return (1, core, 1, ())


def _next(found: re.Match[str], at_most: int = 3) -> Core | None:
    """The first version past all those that begin as `found`; None where it begins as all do."""
    major, minor, patch = _core(found)
    match min(_given(found), at_most):
        case 0:
            return None
        case 1:
            return (major + 1, 0, 0)
        case 2:
            return (major, minor + 1, 0)
        case _:
            return (major, minor, patch + 1)


def _caret(found: re.Match[str]) -> Core | None:
    """The first version that may differ: past the leftmost number that is not zero."""
    major, minor, patch = _core(found)
    given = _given(found)
    if given == 0:
        return None
    if major or given == 1:
        return (major + 1, 0, 0)
    if minor or given == 2:
        return (0, minor + 1, 0)
    return (0, 0, patch + 1)


def _at_least(found: re.Match[str]) -> tuple[_Bound, ...]:
    return (_Bound(_key(found), above=True, inclusive=True),)


def _at_most(found: re.Match[str]) -> tuple[_Bound, ...]:
    if _given(found) == 3:
        return (_Bound(_key(found), above=False, inclusive=True),)
    return _below(_next(found))


def _from(core: Core | None) -> tuple[_Bound, ...]:
    return () if core is None else (_Bound(_release(core), above=True, inclusive=True),)


def _below(core: Core | None) -> tuple[_Bound, ...]:
    return () if core is None else (_Bound(_release(core), above=False, inclusive=False),)


_NOTHING = (_Bound(_release((0, 0, 0)), above=False, inclusive=False),)
"""`<*` and `>*`: no release is below 0.0.0."""
