"""The operations of a declarative lens, and what each does to a sample.

A lens is a list of operations. Get applies them in order. Put undoes them in reverse; where it has
the original sample, each is given that sample as it was before it, so that what a view does not
show is kept:

    s0 ─op0─> s1 ─op1─> s2 = view          get
    t0 <─op0─ t1 <─op1─ t2 = new view      put: op1 sees s1, op0 sees s0

`docs/lenses.md` states get and put of each operation, and the laws. An operation that cannot
keep them for a sample raises NotApplicable: no value is ever guessed, wrapped or cut.

A sample is a dict with a key for every field, None for an optional value that is missing; an inner
sample is a dict as well, an array a NumPy array. The order of keys means nothing. Samples and views
are never changed; values are passed on, not copied.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from atdex_lexicons.casts import Cast, CastRefused
from atdex_lexicons.errors import NotApplicable, shown_value

Sample = Mapping[str, Any]
Scalar = bool | int | float | str | bytes | None


@dataclass(frozen=True, slots=True)
class Rename:
    source: str
    target: str

    def get(self, s: Sample) -> dict[str, Any]:
        _need(s, self.source)
        if self.source != self.target:
            _refuse_taken(s, self.target)
        return {self.target if name == self.source else name: s[name] for name in s}

    def put(self, t: Sample, s: Sample | None) -> dict[str, Any]:
        return Rename(self.target, self.source).get(t)


@dataclass(frozen=True, slots=True)
class Drop:
    field: str
    default: Any

    def get(self, s: Sample) -> dict[str, Any]:
        _need(s, self.field)
        return _without(s, (self.field,))

    def put(self, t: Sample, s: Sample | None) -> dict[str, Any]:
        _refuse_taken(t, self.field)
        return {**t, self.field: self.default if s is None else s[self.field]}


@dataclass(frozen=True, slots=True)
class Add:
    field: str
    value: Any

    def get(self, s: Sample) -> dict[str, Any]:
        _refuse_taken(s, self.field)
        return {**s, self.field: self.value}

    def put(self, t: Sample, s: Sample | None) -> dict[str, Any]:
        _need(t, self.field)
        if not same(t[self.field], self.value):
            raise _Refused(self.field, "is a constant of the lens, and the view has another value")
        return _without(t, (self.field,))


@dataclass(frozen=True, slots=True)
class CastField:
    field: str
    cast: Cast

    def get(self, s: Sample) -> dict[str, Any]:
        _need(s, self.field)
        return {**s, self.field: self._cast(self.cast.get, s[self.field])}

    def put(self, t: Sample, s: Sample | None) -> dict[str, Any]:
        _need(t, self.field)
        before = None if s is None else s[self.field]
        return {**t, self.field: self._cast(self.cast.put, t[self.field], before)}

    def _cast(self, way: Any, *values: Any) -> Any:
        try:
            return way(*values)
        except CastRefused as refused:
            raise _Refused(self.field, refused.reason) from None


@dataclass(frozen=True)
class MapValues:
    """`rows` are pairs of scalars. None maps to None unless a row says otherwise."""

    field: str
    rows: tuple[tuple[Scalar, Scalar], ...]

    @cached_property
    def table(self) -> Mapping[Hashable, Scalar]:
        return {key_of(None): None} | {key_of(source): target for source, target in self.rows}

    @cached_property
    def back(self) -> Mapping[Hashable, Scalar]:
        """What each target stands for where no original says: the first row that has it."""
        rows = [*self.rows, (None, None)] if self.maps_none_to_itself else self.rows
        return {key_of(target): source for source, target in reversed(rows)}

    @property
    def maps_none_to_itself(self) -> bool:
        return all(source is not None for source, _ in self.rows)

    def get(self, s: Sample) -> dict[str, Any]:
        _need(s, self.field)
        return {**s, self.field: self._look_up(self.table, s[self.field])}

    def put(self, t: Sample, s: Sample | None) -> dict[str, Any]:
        _need(t, self.field)
        value = t[self.field]
        if s is not None and same(self._look_up(self.table, s[self.field]), value):
            return {**t, self.field: s[self.field]}
        return {**t, self.field: self._look_up(self.back, value)}

    def _look_up(self, table: Mapping[Hashable, Scalar], value: Any) -> Scalar:
        key = key_of(value) if isinstance(value, Scalar) else None
        if key not in table:
            raise _Refused(self.field, f"{shown_value(value)} is not in the value table")
        return table[key]


@dataclass(frozen=True, slots=True)
class Select:
    fields: tuple[str, ...]

    def get(self, s: Sample) -> dict[str, Any]:
        _need(s, *self.fields)
        return {name: s[name] for name in self.fields}

    def put(self, t: Sample, s: Sample | None) -> dict[str, Any]:
        _need_exactly(t, self.fields)
        if s is None:
            raise _Refused(self.fields[0], "select restores the other fields from an original only")
        return {**s, **t}


@dataclass(frozen=True, slots=True)
class Nest:
    fields: tuple[str, ...]
    into: str

    def get(self, s: Sample) -> dict[str, Any]:
        _need(s, *self.fields)
        rest = _without(s, self.fields)
        _refuse_taken(rest, self.into)
        return {**rest, self.into: {name: s[name] for name in self.fields}}

    def put(self, t: Sample, s: Sample | None) -> dict[str, Any]:
        return Hoist(self.into, self.fields).get(t)


@dataclass(frozen=True, slots=True)
class Hoist:
    field: str
    fields: tuple[str, ...]

    def get(self, s: Sample) -> dict[str, Any]:
        _need(s, self.field)
        inner = s[self.field]
        if not isinstance(inner, Mapping):
            raise _Refused(self.field, "is no inner sample")
        _need_exactly(inner, self.fields)
        rest = _without(s, (self.field,))
        for name in self.fields:
            _refuse_taken(rest, name)
        return {**rest, **inner}

    def put(self, t: Sample, s: Sample | None) -> dict[str, Any]:
        return Nest(self.fields, self.field).get(t)


Op = Rename | Drop | Add | CastField | MapValues | Select | Nest | Hoist


class _Refused(Exception):
    """What an operation raises; the lens adds which operation it was."""

    def __init__(self, field: str, reason: str) -> None:
        super().__init__(field, reason)
        self.field = field
        self.reason = reason


# --- samples ----------------------------------------------------------------------------------


def apply_get(ops: Sequence[Op], sample: Sample) -> dict[str, Any]:
    """The view of a sample. Raises NotApplicable."""
    return dict(_stages(ops, sample)[-1])


def apply_put(ops: Sequence[Op], view: Sample, original: Sample | None = None) -> dict[str, Any]:
    """The sample that a changed view stands for. Raises NotApplicable.

    Without an `original` a new sample is made: dropped fields get their defaults, and a lens with
    `select` has no answer.
    """
    stages: Sequence[Sample | None]
    stages = [None] * len(ops) if original is None else _stages(ops, original)
    changed = dict(view)
    for index in reversed(range(len(ops))):
        try:
            changed = ops[index].put(changed, stages[index])
        except _Refused as refused:
            raise NotApplicable(index, refused.field, refused.reason) from None
    return changed


def _stages(ops: Sequence[Op], sample: Sample) -> list[Sample]:
    """The sample before each operation, and after the last."""
    stages = [sample]
    for index, op in enumerate(ops):
        try:
            stages.append(op.get(stages[-1]))
        except _Refused as refused:
            raise NotApplicable(index, refused.field, refused.reason) from None
    return stages


def same(left: object, right: object) -> bool:
    """Whether two values are one: 1 is 1.0 but not true, NaN is NaN, and arrays are compared whole.

    A value that is nested too deep to look into is the same as itself alone.
    """
    if left is right:
        return True
    try:
        return key_of(left) == key_of(right)
    except RecursionError:
        return False


def key_of(value: Any) -> Hashable:
    """A key that two values share exactly where they are `same`."""
    if isinstance(value, bool | np.bool_):
        return ("bool", bool(value))
    if isinstance(value, int | float | np.number):
        return ("number", "nan") if value != value else ("number", value)
    if isinstance(value, np.ndarray):
        native = value.astype(value.dtype.newbyteorder("="), order="C", copy=False)
        return ("array", native.dtype.str, native.shape, _array_bytes(native))
    if isinstance(value, Mapping):
        return ("map", frozenset((name, key_of(item)) for name, item in value.items()))
    if isinstance(value, list | tuple):
        return ("list", tuple(key_of(item) for item in value))
    if isinstance(value, bytes | bytearray | memoryview):
        return ("bytes", bytes(value))
    if value is None or isinstance(value, str):
        return (type(value).__name__, value)
    return ("another object", id(value))


def _array_bytes(array: np.ndarray[Any, Any]) -> bytes:
    if array.dtype.kind in "fc":
        array = np.asarray(array + 0.0)  # a copy, in which -0.0 is 0.0
        array[np.isnan(array)] = np.nan
    return array.tobytes("C")


def _need(sample: Sample, *names: str) -> None:
    for name in names:
        if name not in sample:
            raise _Refused(name, "there is no such field")


def _need_exactly(sample: Sample, names: Sequence[str]) -> None:
    _need(sample, *names)
    for name in sample.keys() - set(names):
        raise _Refused(name, "the operation does not name this field")


def _refuse_taken(sample: Sample, name: str) -> None:
    if name in sample:
        raise _Refused(name, "there is a field of this name already")


def _without(sample: Sample, names: Iterable[str]) -> dict[str, Any]:
    left_out = set(names)
    return {name: value for name, value in sample.items() if name not in left_out}


def lossy(ops: Sequence[Op]) -> dict[int, str]:
    """The operations by index that several source values leave alike, each with how.

    GetPut and PutGet hold with them, PutPut need not: see `docs/lenses.md`.
    """
    found = {}
    for index, op in enumerate(ops):
        if isinstance(op, CastField) and op.cast.lossy:
            found[index] = f"{op.cast.source} is rounded to {op.cast.target}"
        elif isinstance(op, MapValues) and len({key_of(t) for _, t in op.rows}) < len(op.rows):
            found[index] = "rows of the table have the same target"
        elif (
            isinstance(op, MapValues)
            and op.maps_none_to_itself
            and key_of(None) in {key_of(target) for _, target in op.rows}
        ):
            found[index] = "a row has the target null, which null itself has"
    return found
