"""Declarative lenses held against the schemas that they lead from and to.

A lens type-checks if, for every sample of the source schema that its operations take, get yields
a sample of the target schema, and put a sample of the source schema for every view that it takes.
The fields are followed through the operations by type; a field that an operation fills with
constants is followed by what those are.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

from atdex_lexicons.casts import CastRefused
from atdex_lexicons.checks import PROBLEMS_MAX
from atdex_lexicons.compare import Comparer, described
from atdex_lexicons.dtypes import read_dtype
from atdex_lexicons.errors import InvalidOps, Problem, shown, shown_value, step_path
from atdex_lexicons.fieldops import (
    Add,
    CastField,
    Drop,
    Hoist,
    MapValues,
    Nest,
    Op,
    Rename,
    Select,
    key_of,
    same,
)
from atdex_lexicons.fieldops_read import parse, read
from atdex_lexicons.literals import misfit
from atdex_lexicons.model import (
    AnyType,
    Field,
    FieldOps,
    FieldType,
    Lens,
    NDArray,
    Nested,
    Primitive,
    PrimitiveName,
    Record,
    Schema,
)

NEST_DEPTH_MAX: Final = 16
"""Levels of inner samples that a lens builds: as deep as sample classes go."""

STEPS_MAX: Final = 200_000
"""Names, inner fields and constants that operations are held against in one check, at a few µs
each. A record of 1,000,000 bytes names fewer, but could have them looked at again and again."""

GETTER: Final = "/getterCode/ops"
"""Where a lens record has the operations."""


@dataclass(frozen=True, slots=True)
class _Typed:
    """Any value of a type."""

    type: FieldType
    optional: bool


@dataclass(frozen=True, slots=True)
class _Constants:
    """One of these values."""

    values: tuple[Any, ...]


@dataclass(frozen=True, slots=True)
class _Inner:
    """An inner sample that the lens has built. `depth` counts the levels."""

    fields: Mapping[str, _Slot]
    depth: int


class _Unknown:
    """Stands where an operation went wrong, so that one mistake is reported once."""


_Slot = _Typed | _Constants | _Inner | _Unknown


def check_lens(
    lens: Lens, source: Schema, target: Schema, nested: Mapping[str, Schema] | None = None
) -> list[Problem]:
    """Why a lens does not lead from `source` to `target`; nothing for one that does.

    Nothing as well where its getter is code or missing: that is not for us to judge. `nested` has
    the schemas that fields of both refer to, by the AT-URI as they write it; a lens that needs one
    that is not there has a problem that says so. Paths are those of the lens record.
    """
    problems = []
    if isinstance(lens.putter, FieldOps):
        problems.append(
            Problem("/putterCode", "operations are a getter, which has its own way back")
        )
    elif lens.putter is not None and isinstance(lens.getter, FieldOps):
        problems.append(
            Problem("/putterCode", "the way back follows from the operations: leave it out")
        )
    if isinstance(lens.getter, FieldOps):
        problems += check_ops(lens.getter, source, target, nested, path=GETTER)
    return problems


def check_ops(
    code: FieldOps,
    source: Schema,
    target: Schema,
    nested: Mapping[str, Schema] | None = None,
    *,
    path: str = "",
) -> list[Problem]:
    """The same for the operations alone. `path` leads to their list.

    At most PROBLEMS_MAX problems, and one more that says so. After an operation that cannot be
    read nothing is known of the fields, so the types are then not followed further.
    """
    ops, problems = read(code, path)
    if not problems:
        checking = _Checking(source, nested or {}, path)
        if checking.follow([op for op in ops if op is not None]):
            checking.arrive(target)
        problems = checking.problems
    if len(problems) > PROBLEMS_MAX:
        problems = [*problems[:PROBLEMS_MAX], Problem(path, "and more problems")]
    return problems


def result_fields(
    code: FieldOps, source: Schema, nested: Mapping[str, Schema] | None = None
) -> tuple[Field, ...]:
    """The fields of the narrowest schema that the operations lead to from `source`.

    Raises InvalidOps with what `check_ops` would say of the operations. The order of the fields is
    that in which they came about.
    """
    checking = _Checking(source, nested or {}, "")
    checking.follow(parse(code))
    if checking.problems:
        raise InvalidOps(checking.problems)
    return tuple(_field(name, slot) for name, slot in checking.slots.items())


class _Checking:
    def __init__(self, source: Schema, nested: Mapping[str, Schema], path: str) -> None:
        self.slots: dict[str, _Slot] = dict(_slots(source.fields))
        self.nested = nested
        self.path = path
        self.op_path = path
        self.problems: list[Problem] = []
        self.steps_left = STEPS_MAX
        self.comparer = Comparer(nested)

    def follow(self, ops: Sequence[Op]) -> bool:
        """Whether all operations were followed; not if there was too much to look at or report."""
        for index, op in enumerate(ops):
            self.op_path = f"{self.path}/{index}"
            self.steps_left -= self.cost(op)
            if self.steps_left < 0:
                self.problems.append(Problem(self.op_path, f"more than {STEPS_MAX} steps to check"))
                return False
            self.op(op)
            if len(self.problems) > PROBLEMS_MAX:
                return False
        return True

    def cost(self, op: Op) -> int:
        match op:
            case Select(fields=fields) | Nest(fields=fields):
                return 1 + len(fields)
            case Hoist(field=field, fields=fields):
                return 1 + len(fields) + self.size(field)
            case MapValues(field=field, rows=rows):
                return 1 + len(rows) + self.size(field)
            case CastField(field=field) | Drop(field=field):
                return 1 + self.size(field)
            case _:
                return 1

    def size(self, name: str) -> int:
        """The constants or inner fields that a field holds."""
        match self.slots.get(name):
            case _Constants(values=values):
                return len(values)
            case _Inner(fields=fields):
                return len(fields)
            case _Typed(type=kind):
                return len(self.fields_of(kind) or ())
            case _:
                return 0

    def op(self, op: Op) -> None:
        match op:
            case Rename(source=source, target=target):
                self.put(target, self.take(source, "from"), "to")
            case Drop(field=field, default=default):
                self.check_default(self.take(field, "field"), default)
            case Add(field=field, value=value):
                self.put(field, _Constants((value,)), "field")
            case CastField(field=field):
                self.slots[field] = self.cast(self.take(field, "field"), op)
            case MapValues(field=field):
                self.slots[field] = self.map(self.take(field, "field"), op)
            case Select(fields=fields):
                self.slots = {name: self.take(name, f"fields/{n}") for n, name in enumerate(fields)}
            case Nest(fields=fields, into=into):
                self.put(into, self.nest(fields), "into")
            case Hoist(field=field, fields=fields):
                inner = self.hoist(self.take(field, "field"), fields)
                for n, name in enumerate(fields):
                    self.put(name, inner.get(name, _Unknown()), f"fields/{n}")

    # --- one field ---

    def wrong(self, key: str, reason: str) -> _Unknown:
        self.problems.append(Problem(f"{self.op_path}/{key}", reason))
        return _Unknown()

    def take(self, name: str, key: str) -> _Slot:
        if name in self.slots:
            return self.slots.pop(name)
        return self.wrong(key, f"there is no field {shown(name)} at this point")

    def put(self, name: str, slot: _Slot, key: str) -> None:
        if name in self.slots:
            slot = self.wrong(key, f"there is a field {shown(name)} at this point already")
        self.slots[name] = slot

    def check_default(self, slot: _Slot, default: Any) -> None:
        reason: str | None = None
        match slot:
            case _Typed(type=kind, optional=optional):
                reason = misfit(default, kind, optional, self.nested)
            case _Constants(values=values):
                if not any(same(default, value) for value in values):
                    reason = f"{shown_value(default)} is no value that the field has at this point"
            case _Inner():
                fields = tuple(_field(name, inner) for name, inner in slot.fields.items())
                reason = misfit(default, Record(fields), False, self.nested)
            case _Unknown():
                pass
        if reason is not None:
            self.wrong("default", reason)

    def cast(self, slot: _Slot, op: CastField) -> _Slot:
        cast = op.cast
        match slot:
            case _Unknown():
                return slot
            case _Constants(values=values):
                if not cast.scalar:
                    return self.wrong("from", "the field holds constants, which are no arrays")
                try:
                    return _Constants(tuple(cast.get(value) for value in values))
                except CastRefused as refused:
                    return self.wrong("from", f"a constant of the field: {refused.reason}")
            case _Typed(type=Primitive(name=name), optional=optional):
                if name != cast.source or not cast.scalar:
                    return self.wrong("from", f"the field is the scalar {name} at this point")
                return _Typed(Primitive(_PRIMITIVES[cast.target]), optional)
            case _Typed(type=NDArray() as array, optional=optional):
                return self.cast_array(array, optional, op)
            case _Typed(type=kind):
                return self.wrong("field", f"{described(kind)} cannot be cast")
            case _Inner():
                return self.wrong("field", "an inner sample cannot be cast")

    def cast_array(self, array: NDArray, optional: bool, op: CastField) -> _Slot:
        cast = op.cast
        if cast.scalar:
            return self.wrong("from", "the field is an array at this point")
        if array.format != "ndarrayBytes":
            return self.wrong("field", f"arrays encoded as {shown(array.format)} cannot be cast")
        if array.dtype is None:
            return self.wrong("from", "the schema does not state the dtype of the field")
        if read_dtype(array.dtype) != read_dtype(cast.source):
            return self.wrong(
                "from", f"the dtype of the field is {shown(array.dtype)} at this point"
            )
        return _Typed(replace(array, dtype=cast.target), optional)

    def map(self, slot: _Slot, op: MapValues) -> _Slot:
        table = op.table
        match slot:
            case _Unknown():
                return slot
            case _Inner():
                return self.wrong("field", "an inner sample has no value table")
            case _Constants(values=values):
                missing = [v for v in values if not _is_row(v) or key_of(v) not in table]
                if missing:
                    text = shown_value(missing[0])
                    return self.wrong("values", f"no row for {text}, which the field may have")
                return _Constants(_distinct(table[key_of(value)] for value in values))
            case _Typed(type=kind, optional=optional):
                for row, (value, _) in enumerate(op.rows):
                    reason = misfit(value, kind, optional, self.nested)
                    if reason is not None:
                        return self.wrong(f"values/{row}/from", reason)
                if isinstance(kind, Primitive) and kind.name == "bool":
                    absent = [v for v in (False, True) if key_of(v) not in table]
                    if absent:
                        return self.wrong("values", f"no row for {str(absent[0]).lower()}")
                none = [table[key_of(None)]] if optional else []
                return _Constants(_distinct([*(target for _, target in op.rows), *none]))

    # --- inner samples ---

    def nest(self, names: Sequence[str]) -> _Slot:
        inner = {name: self.take(name, f"fields/{n}") for n, name in enumerate(names)}
        depth = 1 + max(slot.depth if isinstance(slot, _Inner) else 0 for slot in inner.values())
        if depth > NEST_DEPTH_MAX:
            return self.wrong("into", f"nested deeper than {NEST_DEPTH_MAX} levels")
        return _Inner(inner, depth)

    def hoist(self, slot: _Slot, names: Sequence[str]) -> Mapping[str, _Slot]:
        """The slots of an inner sample, by name; a name that it does not have is left out."""
        fields: Mapping[str, _Slot] | None = None
        match slot:
            case _Unknown():
                return {}
            case _Inner():
                fields = slot.fields
            case _Typed(type=Record() | Nested() as kind, optional=optional):
                if optional:
                    self.wrong(
                        "field", "an inner sample that may be missing has no fields to move up"
                    )
                    return {}
                known = self.fields_of(kind)
                fields = None if known is None else dict(_slots(known))
                if fields is None:
                    self.wrong("field", _not_known(kind))
                    return {}
            case _Typed(type=kind):
                self.wrong("field", f"{described(kind)} has no fields to move up")
                return {}
            case _Constants():
                self.wrong("field", "constants have no fields to move up")
                return {}
        for n, name in enumerate(names):
            if name not in fields:
                self.wrong(f"fields/{n}", f"the inner sample has no field {shown(name)}")
        left = fields.keys() - set(names)
        if left:
            self.wrong("fields", f"the field {shown(min(left))} of the inner sample is not named")
        return fields

    def fields_of(self, kind: FieldType) -> Sequence[Field] | None:
        if isinstance(kind, Record):
            return kind.fields
        schema = self.nested.get(kind.schema_uri) if isinstance(kind, Nested) else None
        return None if schema is None else schema.fields

    # --- the end ---

    def arrive(self, target: Schema) -> None:
        """What the operations yield, held against the target's fields."""
        self.match(self.slots, target.fields, "")

    def match(self, slots: Mapping[str, _Slot], fields: Sequence[Field], where: str) -> None:
        for field in fields:
            at = where + step_path(field.name)
            if field.name not in slots:
                self.misses(at, "the target has this field, and no operation yields it")
            else:
                self.match_slot(slots[field.name], field, at)
        for name in slots.keys() - {field.name for field in fields}:
            self.misses(where + step_path(name), "the target does not have this field: drop it")

    def match_slot(self, slot: _Slot, field: Field, at: str) -> None:
        match slot:
            case _Unknown():
                pass
            case _Constants(values=values):
                for value in values:
                    reason = misfit(value, field.type, field.optional, self.nested)
                    if reason is not None:
                        self.misses(at, reason)
                        return
            case _Inner():
                if isinstance(field.type, AnyType):
                    return
                fields = self.fields_of(field.type)
                if fields is not None:
                    self.match(slot.fields, fields, at)
                elif isinstance(field.type, Nested):
                    self.misses(at, _not_known(field.type))
                else:
                    self.misses(at, f"an inner sample, and the target has {described(field.type)}")
            case _Typed(type=kind, optional=optional):
                if optional and not field.optional:
                    self.misses(at, "it may be missing, and the target requires it")
                for difference in self.comparer.types(kind, field.type):
                    if not difference.forward or difference.changes:
                        self.misses(at + difference.path, difference.reason)

    def misses(self, at: str, reason: str) -> None:
        self.problems.append(Problem(self.path, f"of the result, {at}: {reason}"))


_PRIMITIVES: Final[Mapping[str, PrimitiveName]] = {
    "str": "str",
    "int": "int",
    "float": "float",
    "bool": "bool",
}


def _slots(fields: Iterable[Field]) -> Iterator[tuple[str, _Slot]]:
    for field in fields:
        yield field.name, _Typed(field.type, field.optional)


def _field(name: str, slot: _Slot) -> Field:
    match slot:
        case _Typed(type=kind, optional=optional):
            return Field(name, kind, optional)
        case _Inner(fields=inner):
            return Field(name, Record(tuple(_field(n, s) for n, s in inner.items())))
        case _Constants(values=values):
            return Field(name, _type_of(values), any(value is None for value in values))
        case _:
            return Field(name, AnyType("not known"))


def _type_of(values: Iterable[Any]) -> FieldType:
    """The primitive that all of the values are, but for null."""
    found = {type(value).__name__ for value in values if value is not None}
    if found == {"int", "float"}:
        return Primitive("float")
    name = next((n for n in _LITERAL_PRIMITIVES if found == {n}), None)
    return AnyType("constants of no one primitive type") if name is None else Primitive(name)


_LITERAL_PRIMITIVES: Final[tuple[PrimitiveName, ...]] = ("str", "int", "float", "bool", "bytes")


def _distinct(values: Iterable[Any]) -> tuple[Any, ...]:
    return tuple({key_of(value): value for value in values}.values())


def _is_row(value: Any) -> bool:
    return value is None or isinstance(value, bool | int | float | str | bytes)


def _not_known(kind: FieldType) -> str:
    uri = kind.schema_uri if isinstance(kind, Nested) else ""
    return f"the schema {shown(uri)} is not known here"
