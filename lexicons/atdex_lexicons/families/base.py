"""What a family of record types is to the rest of the package."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

from atdex_lexicons.errors import Problem
from atdex_lexicons.model import Kind, Model

NULLS_DEPTH_MAX = 8
"""Levels at which explicit nulls are looked for. The fields of no record kind lie deeper."""


@dataclass(frozen=True, slots=True)
class Rewritten:
    """A record of a dialect, brought into the form of its lexicon.

    `record` is what the model is read from. `shadow` is what the lexicon is checked against:
    the same, with stand-ins where the dialect allows what the lexicon refuses. `moved` maps
    JSON Pointers into `record` to where the same value is in the original.
    """

    record: Mapping[str, Any]
    shadow: Mapping[str, Any]
    dialects: frozenset[str]
    moved: Mapping[str, str] = field(default_factory=dict)

    def original(self, problem: Problem) -> Problem:
        """`problem` with its path as it is in the original record."""
        for new, old in self.moved.items():
            if problem.path == new or problem.path.startswith(new + "/"):
                return Problem(old + problem.path[len(new) :], problem.reason)
        return problem


class Family(Protocol):
    """One namespace of dataset lexicons, as a mapping to and from the model.

    `kinds` has the family's record types by NSID. `dialects` has the known deviations, each
    with what deviates; their order is the one in which `conformance` names them.
    """

    @property
    def name(self) -> str: ...

    @property
    def kinds(self) -> Mapping[str, Kind]: ...

    @property
    def dialects(self) -> Mapping[str, str]: ...

    def rewrite(self, kind: Kind, record: Mapping[str, Any]) -> Rewritten | None:
        """The record in the lexicon's form; None where no dialect applies.

        Called with anything that is a map: it must not rely on any other type.
        """
        ...

    def breaks(self, kind: Kind, record: Mapping[str, Any]) -> bool:
        """Whether the record shows at a glance that it breaks the lexicon in a way that `rewrite`
        mends: it is then rewritten without being held against the lexicon first.

        Called with anything that is a map, as `rewrite` is.
        """
        ...

    def marks(self, kind: Kind, record: Mapping[str, Any]) -> frozenset[str]:
        """The dialects that a record in the lexicon's form shows without breaking the lexicon."""
        ...

    def read(self, kind: Kind, record: Mapping[str, Any], problems: list[Problem]) -> Model:
        """The model of a record that is valid by its lexicon, in either form of the data model.

        Appends to `problems` what is wrong beyond the lexicon; then the model means nothing.
        """
        ...

    def write(self, model: Model) -> dict[str, Any]:
        """The record, in JSON form. Raises `NotRepresentable`."""
        ...


def without_nulls(record: Mapping[str, Any], opaque: frozenset[str]) -> Mapping[str, Any]:
    """`record` without keys whose value is null, but for what is inside the `opaque` fields.

    The same object where there are none.
    """
    if not any(
        value is None or (key not in opaque and _has_null(value, NULLS_DEPTH_MAX))
        for key, value in record.items()
    ):
        return record
    result = {}
    changed = False
    for key, value in record.items():
        kept = value if key in opaque else _without_nulls(value, NULLS_DEPTH_MAX)
        changed |= kept is not value or value is None
        if value is not None:
            result[key] = kept
    return result if changed else record


def _has_null(value: Any, depth: int) -> bool:
    """Whether there is a null as a field. Nearly every record has none, and this is the short way
    to find that out."""
    kind = type(value)
    if depth == 0 or (kind is not dict and kind is not list):
        return False
    for element in value.values() if kind is dict else value:
        if element is None:
            if kind is dict:
                return True
        elif type(element) is not str and _has_null(element, depth - 1):
            return True
    return False


def _without_nulls(value: Any, depth: int) -> Any:
    if depth == 0 or not isinstance(value, dict | list):
        return value
    if isinstance(value, list):
        items = [_without_nulls(item, depth - 1) for item in value]
        return items if any(a is not b for a, b in zip(items, value, strict=True)) else value
    result = {k: _without_nulls(v, depth - 1) for k, v in value.items() if v is not None}
    same = len(result) == len(value) and all(result[key] is value[key] for key in result)
    return value if same else result
