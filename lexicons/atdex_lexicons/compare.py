"""How two schemas relate: can samples of the left one be read as samples of the right one?

`compare_schemas(left, right)` answers for all samples at once, and for each field:

| relation | left's samples as right | right's samples as left |
| --- | --- | --- |
| `identical` | all | all, and nothing differs |
| `widening` | all | some, or all with a difference that reading does not notice |
| `narrowing` | some or none | all |
| `incompatible` | some or none | some or none |

A sample has the fields of the schema that it was written by. It can be read as another schema if
it has each of that schema's fields, but for optional ones, with a value that the field's type
takes, at most after a cast that NumPy calls safe; fields that the schema does not name are passed
over. Names, descriptions, and the order of the fields say nothing about that, so they are not
compared. A field under another name is one removed and one added: renames are not guessed.

`docs/lenses.md` has the rules type by type.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Final, Literal

from atdex_lexicons.dtypes import DTypeOf, is_safe, read_dtype
from atdex_lexicons.errors import shown, step_path
from atdex_lexicons.model import (
    AnyType,
    Field,
    FieldType,
    ListOf,
    MapOf,
    NDArray,
    Nested,
    Primitive,
    Record,
    Schema,
)

COMPARED_DEPTH_MAX: Final = 32
"""Levels of types in types that are compared, schemas by reference followed. As deep as a schema
is read."""

COMPARED_TYPES_MAX: Final = 10_000
"""Pairs of types in one comparison: as many as one schema is read with. Schemas that name each
other often would stand for millions."""

REASONS_MAX: Final = 5
"""Reasons that one field's comparison spells out."""

Relation = Literal["identical", "widening", "narrowing", "incompatible"]
FieldRelation = Literal["identical", "widening", "narrowing", "incompatible", "added", "removed"]


@dataclass(frozen=True, slots=True)
class Difference:
    """One thing that differs. `path` leads to it within the type: `/items/box`, empty at the top.

    `forward`: it hinders no left sample from being read as right; `backward`: no right sample
    from being read as left. `changes`: reading makes another value of it, by a safe cast or by
    passing over a field.
    """

    path: str
    reason: str
    forward: bool
    backward: bool
    changes: bool = False

    def __str__(self) -> str:
        return f"{self.path}: {self.reason}" if self.path else self.reason


@dataclass(frozen=True, slots=True)
class FieldComparison:
    """One field of either schema. `effect` is what it does to the schemas' relation.

    `relation` and `effect` differ for fields that only one schema has: `relation` is then `added`
    (right has it) or `removed` (left has it).
    """

    name: str
    relation: FieldRelation
    effect: Relation
    differences: tuple[Difference, ...]

    @property
    def reason(self) -> str:
        """The differences in one line; empty where there are none."""
        text = "; ".join(str(difference) for difference in self.differences[:REASONS_MAX])
        rest = len(self.differences) - REASONS_MAX
        return f"{text}; and {rest} more" if rest > 0 else text


@dataclass(frozen=True, slots=True)
class Comparison:
    """`fields` are left's in their order, then those that only right has."""

    relation: Relation
    fields: tuple[FieldComparison, ...]


def compare_schemas(
    left: Schema, right: Schema, nested: Mapping[str, Schema] | None = None
) -> Comparison:
    """How `right` relates to `left`, field by field.

    `nested` has the schemas that fields refer to, by the AT-URI as they write it; two references
    to different records of which one is not there cannot be told to fit.
    """
    walk = Comparer(nested or {})
    fields = []
    for name, mine, other in _paired(left.fields, right.fields):
        found = tuple(walk.fields(name, mine, other, "", 0))
        effect = _relation(found)
        relation: FieldRelation = (
            "added" if mine is None else "removed" if other is None else effect
        )
        fields.append(FieldComparison(name, relation, effect, found))
    every = [difference for field in fields for difference in field.differences]
    return Comparison(_relation(every), tuple(fields))


def nested_uris(fields: Iterable[Field]) -> Iterator[str]:
    """The schemas that fields refer to, as they write them, repeats included."""
    pending = [field.type for field in fields]
    while pending:
        match pending.pop():
            case Nested(schema_uri=uri):
                yield uri
            case ListOf(items=inner) | MapOf(values=inner):
                pending.append(inner)
            case Record(fields=inside):
                pending += [field.type for field in inside]


def _relation(differences: Iterable[Difference]) -> Relation:
    found = list(differences)
    if not found:
        return "identical"
    if all(difference.forward for difference in found):
        return "widening"
    if all(difference.backward for difference in found):
        return "narrowing"
    return "incompatible"


def _paired(
    left: Iterable[Field], right: Iterable[Field]
) -> Iterator[tuple[str, Field | None, Field | None]]:
    others = {field.name: field for field in right}
    for field in left:
        yield field.name, field, others.pop(field.name, None)
    for name, field in others.items():
        yield name, None, field


class Comparer:
    """Compares types with one budget for all of them; beyond it, types are incompatible.

    `nested` is that of `compare_schemas`.
    """

    def __init__(self, nested: Mapping[str, Schema]) -> None:
        self.nested = nested
        self.types_left = COMPARED_TYPES_MAX
        # The pairs of schemas by reference that the walk is inside of.
        self.inside: set[tuple[str | None, str | None]] = set()

    def fields(
        self, name: str, left: Field | None, right: Field | None, path: str, depth: int
    ) -> Iterator[Difference]:
        if left is None or right is None:
            yield _lone(left, right, path)
            return
        if left.optional and not right.optional:
            yield _narrower(path, "optional on the left, required on the right")
        elif right.optional and not left.optional:
            yield _wider(path, "required on the left, optional on the right")
        yield from self.types(left.type, right.type, path, depth)

    def records(
        self, left: Iterable[Field], right: Iterable[Field], path: str, depth: int
    ) -> Iterator[Difference]:
        for name, mine, other in _paired(left, right):
            yield from self.fields(name, mine, other, path + step_path(name), depth)

    def types(
        self, left: FieldType, right: FieldType, path: str = "", depth: int = 0
    ) -> Iterator[Difference]:
        """What differs between two types; nothing where they are the same."""
        self.types_left -= 1
        if depth > COMPARED_DEPTH_MAX or self.types_left < 0:
            yield _apart(path, "too deep or too large to compare")
            return
        match left, right:
            case AnyType(), AnyType():
                return
            case _, AnyType(reason=why):
                yield _wider(path, f"open on the right{_because(why)}")
            case AnyType(reason=why), _:
                yield _narrower(path, f"open on the left{_because(why)}")
            case Primitive(name=mine), Primitive(name=other):
                yield from _primitives(mine, other, path)
            case NDArray(), NDArray():
                yield from _arrays(left, right, path)
            case ListOf(items=mine), ListOf(items=other):
                yield from self.types(mine, other, f"{path}/items", depth + 1)
            case MapOf(values=mine), MapOf(values=other):
                yield from self.types(mine, other, f"{path}/values", depth + 1)
            case ((Record() | Nested()), (Record() | Nested())):
                yield from self.samples(left, right, path, depth + 1)
            case _:
                yield _apart(
                    path, f"{described(left)} on the left, {described(right)} on the right"
                )

    def samples(
        self, left: Record | Nested, right: Record | Nested, path: str, depth: int
    ) -> Iterator[Difference]:
        """Inner samples, whether their fields are written in place or in another record."""
        pair = (_uri(left), _uri(right))
        if pair[0] and pair[1]:
            # Within a cycle the pair fits unless something else in it does not.
            if pair[0] == pair[1] or pair in self.inside:
                return
            self.inside.add(pair)
        mine, other = self.inner(left), self.inner(right)
        if mine is None or other is None:
            unknown = left if mine is None else right
            yield _apart(path, f"the schema {shown(_uri(unknown) or '')} is not known here")
        else:
            yield from self.records(mine, other, path, depth)
        self.inside.discard(pair)

    def inner(self, kind: Record | Nested) -> tuple[Field, ...] | None:
        if isinstance(kind, Record):
            return kind.fields
        schema = self.nested.get(kind.schema_uri)
        return None if schema is None else schema.fields


def described(kind: FieldType) -> str:
    """A type in a few words."""
    match kind:
        case Primitive(name=name):
            return name
        case NDArray(dtype=dtype):
            return f"an array of {shown(dtype)}" if dtype else "an array"
        case Nested() | Record():
            return "an inner sample"
        case ListOf(items=items):
            return f"a list of {described(items)}" if isinstance(items, Primitive) else "a list"
        case MapOf(values=values):
            return f"a map to {described(values)}" if isinstance(values, Primitive) else "a map"
        case AnyType():
            return "any value"


def _lone(left: Field | None, right: Field | None, path: str) -> Difference:
    """A field of one side alone. The other side passes over it, or misses it if it is required."""
    if left is None:
        assert right is not None
        word = "optional" if right.optional else "required"
        reason = f"added on the right, {word}"
        return Difference(path, reason, forward=right.optional, backward=True, changes=True)
    word = "optional" if left.optional else "required"
    reason = f"removed on the right, {word} on the left"
    return Difference(path, reason, forward=True, backward=left.optional, changes=True)


_SCALAR_DTYPES: Final = {"bool": "bool", "int": "int64", "float": "float64"}


def _primitives(left: str, right: str, path: str) -> Iterator[Difference]:
    if left == right:
        return
    reason = f"{left} on the left, {right} on the right"
    if left not in _SCALAR_DTYPES or right not in _SCALAR_DTYPES:
        yield _apart(path, reason)
        return
    yield _cast(path, reason, read_dtype(_SCALAR_DTYPES[left]), read_dtype(_SCALAR_DTYPES[right]))


def _arrays(left: NDArray, right: NDArray, path: str) -> Iterator[Difference]:
    if left.format != right.format:
        yield _apart(path, f"encoded as {shown(left.format)} and as {shown(right.format)}")
    if left.format_version != right.format_version:
        yield _stated(path, "version of the encoding", left.format_version, right.format_version)
    yield from _dtypes(left.dtype, right.dtype, path)
    yield from _shapes(left.shape, right.shape, path)
    if left.dimension_names != right.dimension_names:
        yield _stated(path, "names of the dimensions", left.dimension_names, right.dimension_names)


def _dtypes(left: str | None, right: str | None, path: str) -> Iterator[Difference]:
    if left == right:
        return
    if left is None or right is None:
        yield _stated(path, "dtype", left, right)
        return
    mine, other = read_dtype(left), read_dtype(right)
    if mine is not None and mine == other:
        return
    yield _cast(path, f"{shown(left)} on the left, {shown(right)} on the right", mine, other)


def _shapes(
    left: tuple[int, ...] | None, right: tuple[int, ...] | None, path: str
) -> Iterator[Difference]:
    if left is None or right is None:
        if left is not right:
            yield _stated(path, "shape", left, right)
        return
    if len(left) != len(right):
        yield _apart(path, f"{len(left)} dimensions on the left, {len(right)} on the right")
        return
    for axis, (mine, other) in enumerate(zip(left, right, strict=True)):
        if mine == other:
            continue
        if other == -1:
            yield _wider(path, f"dimension {axis} is {mine} on the left, free on the right")
        elif mine == -1:
            yield _narrower(path, f"dimension {axis} is free on the left, {other} on the right")
        else:
            yield _apart(path, f"dimension {axis} is {mine} on the left, {other} on the right")


def _stated(path: str, what: str, left: object, right: object) -> Difference:
    """Something that a schema may leave open. Who leaves it open takes every value of it."""
    if left is None:
        return _narrower(path, f"{what} stated on the right only")
    if right is None:
        return _wider(path, f"{what} stated on the left only")
    return _apart(path, f"{what}: {shown(str(left))} on the left, {shown(str(right))} on the right")


def _cast(path: str, reason: str, left: DTypeOf | None, right: DTypeOf | None) -> Difference:
    if left is None or right is None:
        return _apart(path, reason)
    forward, backward = is_safe(left, right), is_safe(right, left)
    words = (
        "a safe cast"
        if forward
        else "a safe cast the other way only"
        if backward
        else "no safe cast"
    )
    return Difference(path, f"{reason}, {words}", forward, backward, changes=True)


def _wider(path: str, reason: str) -> Difference:
    return Difference(path, reason, forward=True, backward=False)


def _narrower(path: str, reason: str) -> Difference:
    return Difference(path, reason, forward=False, backward=True)


def _apart(path: str, reason: str) -> Difference:
    return Difference(path, reason, forward=False, backward=False)


def _because(why: str) -> str:
    return f" ({why})" if why else ""


def _uri(kind: Record | Nested) -> str | None:
    return kind.schema_uri if isinstance(kind, Nested) else None
