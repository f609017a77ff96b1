"""Reading the operations of a declarative lens, each by itself: known, complete and bounded.

`fieldops_check` holds them against schemas.
"""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from typing import Any, Final

from atdex_lexicons.casts import Cast
from atdex_lexicons.errors import InvalidOps, Problem, shown
from atdex_lexicons.fieldops import (
    Add,
    CastField,
    Drop,
    Hoist,
    MapValues,
    Nest,
    Op,
    Rename,
    Scalar,
    Select,
    key_of,
)
from atdex_lexicons.model import FieldOps

OPS_MAX: Final = 1000
"""Operations of one lens, as its lexicon has it. Composing beyond that is refused."""

NAMES_MAX: Final = 1000
"""Field names that one operation lists, as its lexicon has it."""

ROWS_MAX: Final = 10_000
"""Rows of one value table, as its lexicon has it."""

ALL_ROWS_MAX: Final = 100_000
"""Rows of all value tables of one lens: a record of 1,000,000 bytes has fewer, a composed path may
have as many."""

VALUE_DEPTH_MAX: Final = 32
"""Levels of lists and maps in a literal."""


def parse(code: FieldOps) -> tuple[Op, ...]:
    """The operations of a lens. Raises InvalidOps with every operation that is none, by its index.

    Only what an operation says by itself is looked at; `fieldops_check` holds it against schemas.
    """
    ops, problems = read(code)
    if problems:
        raise InvalidOps(problems)
    return tuple(op for op in ops if op is not None)


def read(code: FieldOps, path: str = "") -> tuple[list[Op | None], list[Problem]]:
    """The operations, None in the place of what is none, and why. `path` leads to the list."""
    if len(code.ops) > OPS_MAX:
        return [], [Problem(path, f"{len(code.ops)} operations, more than {OPS_MAX}")]
    ops: list[Op | None] = []
    problems: list[Problem] = []
    for index, op in enumerate(code.ops):
        found = _Reading(op, f"{path}/{index}").op()
        if isinstance(found, Problem):
            problems.append(found)
            ops.append(None)
        else:
            ops.append(found)
    rows = sum(len(op.rows) for op in ops if isinstance(op, MapValues))
    if rows > ALL_ROWS_MAX:
        problems.append(Problem(path, f"{rows} rows of value tables, more than {ALL_ROWS_MAX}"))
    return ops, problems


class _Wrong(Exception):
    def __init__(self, key: str, reason: str) -> None:
        self.key = key
        self.reason = reason


class _Reading:
    """One operation as the model has it: a mapping with `op` and its keys."""

    def __init__(self, op: Mapping[str, Any], path: str) -> None:
        self.source = op
        self.path = path

    def op(self) -> Op | Problem:
        try:
            return self._op()
        except _Wrong as wrong:
            return Problem(f"{self.path}/{wrong.key}", wrong.reason)

    def _op(self) -> Op:
        match self.source.get("op"):
            case "rename":
                return Rename(self.name("from"), self.name("to"))
            case "drop":
                return Drop(self.name("field"), self.literal("default"))
            case "add":
                return Add(self.name("field"), self.literal("value"))
            case "cast":
                return CastField(self.name("field"), self.cast())
            case "map":
                return MapValues(self.name("field"), self.rows())
            case "select":
                return Select(self.names("fields"))
            case "nest":
                return Nest(self.names("fields"), self.name("into"))
            case "hoist":
                return Hoist(self.name("field"), self.names("fields"))
            case other:
                raise _Wrong("op", f"the operation {shown(str(other))} is not known")

    def given(self, key: str) -> Any:
        if key not in self.source:
            raise _Wrong(key, "is missing")
        return self.source[key]

    def name(self, key: str) -> str:
        name = self.given(key)
        if not isinstance(name, str) or not name:
            raise _Wrong(key, "expected the name of a field")
        return name

    def names(self, key: str) -> tuple[str, ...]:
        names = self.given(key)
        if not isinstance(names, list | tuple) or not names:
            raise _Wrong(key, "expected names of fields")
        if len(names) > NAMES_MAX:
            raise _Wrong(key, f"{len(names)} names, more than {NAMES_MAX}")
        seen: set[str] = set()
        for index, name in enumerate(names):
            if not isinstance(name, str) or not name:
                raise _Wrong(f"{key}/{index}", "expected the name of a field")
            if name in seen:
                raise _Wrong(f"{key}/{index}", f"{shown(name)} is named twice")
            seen.add(name)
        return tuple(names)

    def literal(self, key: str) -> Any:
        value = self.given(key)
        if too_deep(value):
            raise _Wrong(key, f"nested deeper than {VALUE_DEPTH_MAX} levels")
        return value

    def cast(self) -> Cast:
        source, target = self.name("from"), self.name("to")
        found = Cast.between(source, target)
        if isinstance(found, Cast):
            return found
        raise _Wrong("to", found)

    def rows(self) -> tuple[tuple[Scalar, Scalar], ...]:
        rows = self.given("values")
        if not isinstance(rows, list | tuple) or not rows:
            raise _Wrong("values", "expected the rows of a table")
        if len(rows) > ROWS_MAX:
            raise _Wrong("values", f"{len(rows)} rows, more than {ROWS_MAX}")
        seen: set[Hashable] = set()
        for index, row in enumerate(rows):
            if not isinstance(row, list | tuple) or len(row) != 2:
                raise _Wrong(f"values/{index}", "expected a pair of values")
            for side, value in zip(("from", "to"), row, strict=True):
                if not isinstance(value, Scalar):
                    raise _Wrong(f"values/{index}/{side}", "expected a scalar or null")
            if key_of(row[0]) in seen:
                raise _Wrong(f"values/{index}/from", "the table has this value already")
            seen.add(key_of(row[0]))
        return tuple((row[0], row[1]) for row in rows)


def too_deep(value: Any, levels: int = VALUE_DEPTH_MAX) -> bool:
    """Whether lists and maps in `value` go deeper than a literal may."""
    if isinstance(value, Mapping):
        return levels == 0 or any(too_deep(item, levels - 1) for item in value.values())
    if isinstance(value, list | tuple):
        return levels == 0 or any(too_deep(item, levels - 1) for item in value)
    return False
