"""Two declarative lenses as one."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from atdex_lexicons.errors import InvalidOps, Problem, shown
from atdex_lexicons.fieldops_read import parse
from atdex_lexicons.model import FieldOps, Lens

NAME_CHARACTERS_MAX: Final = 100
"""Characters of a lens's name, as its lexicon has it."""


def compose(first: FieldOps, second: FieldOps) -> FieldOps:
    """One lens that is `second` after `first`: same views, same put, for samples of its source.

    The operations follow each other; pairs that undo or repeat each other are taken out. Raises
    InvalidOps where either is no lens, or both together are too many operations.
    """
    ops = [*first.ops, *second.ops]
    parse(first)
    parse(second)
    shorter: list[Mapping[str, Any]] = []
    for op in ops:
        _append(shorter, op)
    composed = FieldOps(tuple(shorter))
    parse(composed)
    return composed


def compose_lenses(first: Lens, second: Lens) -> Lens:
    """One declarative lens from the source of `first` to the target of `second`.

    Raises InvalidOps where one of them is not declarative, or they do not meet.
    """
    if not (isinstance(first.getter, FieldOps) and isinstance(second.getter, FieldOps)):
        raise InvalidOps([Problem("/getterCode", "only declarative lenses become one")])
    if first.target != second.source:
        reason = (
            f"reads {shown(second.source)}, and the lens before it yields {shown(first.target)}"
        )
        raise InvalidOps([Problem("/sourceSchema", reason)])
    return Lens(
        name=f"{first.name} > {second.name}"[:NAME_CHARACTERS_MAX],
        source=first.source,
        target=second.target,
        getter=compose(first.getter, second.getter),
        putter=None,
        source_version=first.source_version,
        target_version=second.target_version,
    )


def _append(ops: list[Mapping[str, Any]], op: Mapping[str, Any]) -> None:
    """Adds an operation, merged with the one before it where that changes no answer."""
    if op["op"] == "rename" and op["from"] == op["to"]:
        return
    if ops:
        before = ops[-1]
        match before["op"], op["op"]:
            case "rename", "rename" if before["to"] == op["from"]:
                ops.pop()
                _append(ops, {**op, "from": before["from"]})
                return
            case "nest", "hoist" if (before["into"], set(before["fields"])) == (
                op["field"],
                set(op["fields"]),
            ):
                ops.pop()
                return
            case "hoist", "nest" if (before["field"], set(before["fields"])) == (
                op["into"],
                set(op["fields"]),
            ):
                ops.pop()
                return
            case "select", "select" if set(op["fields"]) <= set(before["fields"]):
                ops.pop()
    ops.append(op)
