"""Hypothesis strategies for declarative lenses: schemas, their samples, operations that fit them.

Values come from small pools, so that tables cover them, casts take some and refuse others, and two
samples often share a value.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final

import numpy as np
from hypothesis import strategies as st

from atdex_lexicons.dtypes import read_dtype
from atdex_lexicons.errors import InvalidOps
from atdex_lexicons.fieldops_check import result_fields
from atdex_lexicons.model import (
    AnyType,
    Field,
    FieldOps,
    FieldType,
    ListOf,
    MapOf,
    NDArray,
    Primitive,
    PrimitiveName,
    Record,
    Schema,
)

Draw = Callable[[st.SearchStrategy[Any]], Any]
Ops = tuple[Mapping[str, Any], ...]

NAMES: Final = tuple("abcdefgh")
PRIMITIVES: Final[tuple[PrimitiveName, ...]] = ("str", "int", "float", "bool", "bytes")
POOLS: Final[Mapping[str, tuple[Any, ...]]] = {
    "str": ("7", "-7", "1.5", "true", "a", "07"),
    "int": (-1, 0, 1, 2, 300, 2**53 + 1),
    "float": (0.0, -0.0, 1.0, 0.1, 2.5, 1e300, float("nan"), float("inf"), 3),
    "bool": (False, True),
    "bytes": (b"", b"\x00\xff"),
}
DTYPES: Final = ("bool", "uint8", "int16", "int64", "uint64", "<f4", "float64", "complex64")
ELEMENTS: Final = (0, 1, 1, 200, 0.5, -1, 2**53 + 1, 2.0**63, float("nan"), 1e-40)


def fields_of(kinds: st.SearchStrategy[FieldType]) -> st.SearchStrategy[Field]:
    return st.builds(Field, st.sampled_from(NAMES), kinds, st.booleans())


primitives = st.sampled_from(PRIMITIVES).map(Primitive)
arrays = st.builds(
    NDArray,
    dtype=st.sampled_from(DTYPES),
    shape=st.sampled_from([None, (-1,), (3,), (-1, 2), (1, 2), ()]),
)
simple: st.SearchStrategy[FieldType] = primitives | primitives | arrays
inner_samples = st.lists(fields_of(simple), max_size=3, unique_by=lambda f: f.name).map(
    lambda fields: Record(tuple(fields))
)
types: st.SearchStrategy[FieldType] = st.one_of(
    simple, simple, simple, inner_samples, inner_samples.map(ListOf), simple.map(MapOf)
)
schemas = st.lists(fields_of(types), min_size=1, max_size=4, unique_by=lambda f: f.name).map(
    lambda fields: Schema("drawn", "1.0.0", tuple(fields))
)


def values(kind: FieldType) -> st.SearchStrategy[Any]:
    """Values of a type."""
    match kind:
        case Primitive(name=name):
            return st.sampled_from(POOLS[name])
        case NDArray(dtype=dtype, shape=shape):
            return _arrays(dtype or "float64", shape)
        case ListOf(items=items):
            return st.lists(values(items), max_size=2)
        case MapOf(values=inner):
            return st.dictionaries(st.sampled_from("xy"), values(inner), max_size=2)
        case Record(fields=fields):
            return samples(fields)
        case AnyType():
            return st.one_of(*map(st.sampled_from, POOLS.values()))
        case _:
            raise AssertionError(kind)


def samples(fields: tuple[Field, ...]) -> st.SearchStrategy[dict[str, Any]]:
    """Samples with a key for every field."""
    return st.fixed_dictionaries(
        {f.name: values(f.type) | st.none() if f.optional else values(f.type) for f in fields}
    )


@st.composite
def _arrays(draw: Draw, dtype: str, shape: tuple[int, ...] | None) -> np.ndarray[Any, Any]:
    wanted = draw(st.sampled_from([(2,), (1, 2), ()])) if shape is None else shape
    sizes = tuple(draw(st.integers(0, 2)) if size == -1 else size for size in wanted)
    count = int(np.prod(sizes, dtype=int))
    elements = draw(st.lists(st.sampled_from(ELEMENTS), min_size=count, max_size=count))
    with np.errstate(all="ignore"):
        found = np.array(elements, dtype="float64").reshape(sizes).astype(dtype)
    return found.astype(found.dtype.newbyteorder(draw(st.sampled_from("<>"))))


@st.composite
def lenses(draw: Draw, source: Schema, most: int = 6) -> Ops:
    """Operations that type-check from `source`."""
    ops: Ops = ()
    fields = source.fields
    for _ in range(draw(st.integers(0, most))):
        if not fields:
            break
        longer = (*ops, draw(_operations(fields)))
        try:
            fields = result_fields(FieldOps(longer), source)
        except InvalidOps:
            continue
        ops = longer
    return ops


@st.composite
def _operations(draw: Draw, fields: tuple[Field, ...]) -> dict[str, Any]:
    """One operation that may fit these fields."""
    casts = [f for f in fields if isinstance(f.type, Primitive | NDArray)]
    maps = [f for f in fields if isinstance(f.type, Primitive)]
    inner = [f for f in fields if isinstance(f.type, Record)]
    kinds = ["rename", "drop", "add", "select", "nest"]
    kinds += ["cast"] * 3 * bool(casts) + ["map"] * 2 * bool(maps) + ["hoist"] * 2 * bool(inner)
    kind = draw(st.sampled_from(kinds))
    fitting = {"cast": casts, "map": maps, "hoist": inner}.get(kind, fields)
    field: Field = draw(st.sampled_from(fitting))
    names = [f.name for f in fields]
    some = draw(st.lists(st.sampled_from(names), min_size=1, unique=True))
    new = st.sampled_from((*NAMES, "n", "m"))
    match kind:
        case "rename":
            return {"op": "rename", "from": field.name, "to": draw(new)}
        case "drop":
            default = st.none() if field.optional else values(field.type)
            return {"op": "drop", "field": field.name, "default": draw(default)}
        case "add":
            pool = POOLS[draw(st.sampled_from(PRIMITIVES))]
            return {"op": "add", "field": draw(new), "value": draw(st.sampled_from(pool))}
        case "select":
            return {"op": "select", "fields": some}
        case "nest":
            return {"op": "nest", "fields": some, "into": draw(new)}
        case "hoist":
            assert isinstance(field.type, Record)
            return {
                "op": "hoist",
                "field": field.name,
                "fields": [f.name for f in field.type.fields],
            }
        case "cast":
            if isinstance(field.type, NDArray):
                target = draw(st.sampled_from(DTYPES))
                return {"op": "cast", "field": field.name, "from": field.type.dtype, "to": target}
            assert isinstance(field.type, Primitive)
            target = draw(st.sampled_from(("str", "int", "float", "bool")))
            return {"op": "cast", "field": field.name, "from": field.type.name, "to": target}
        case _:
            return {"op": "map", "field": field.name, "values": draw(_tables(field))}


@st.composite
def _tables(draw: Draw, field: Field) -> list[list[Any]]:
    name = field.type.name if isinstance(field.type, Primitive) else "str"
    targets = draw(st.sampled_from(list(POOLS.values())))
    sources = [v for n, v in enumerate(POOLS[name]) if v == v and v not in POOLS[name][:n]]
    if field.optional and draw(st.booleans()):
        sources.append(None)
    to = st.sampled_from(targets) | st.none() if draw(st.booleans()) else st.sampled_from(targets)
    return [[value, draw(to)] for value in sources]


def conforms(sample: Mapping[str, Any], fields: tuple[Field, ...]) -> bool:
    """Whether a sample has these fields and no others, each with a value of its type."""
    return sample.keys() == {f.name for f in fields} and all(
        (f.optional and sample[f.name] is None) or _is_of(sample[f.name], f.type) for f in fields
    )


def _is_of(value: Any, kind: FieldType) -> bool:
    match kind:
        case AnyType():
            return True
        case Primitive(name="int"):
            return isinstance(value, int) and not isinstance(value, bool)
        case Primitive(name="float"):
            return isinstance(value, int | float) and not isinstance(value, bool)
        case Primitive(name=name):
            return type(value).__name__ == name
        case NDArray(dtype=dtype, shape=shape):
            return (
                isinstance(value, np.ndarray)
                and (dtype is None or value.dtype.newbyteorder("=") == read_dtype(dtype))
                and (shape is None or len(shape) == value.ndim)
                and all(w in (-1, n) for w, n in zip(shape or (), value.shape, strict=False))
            )
        case ListOf(items=items):
            return isinstance(value, list) and all(_is_of(item, items) for item in value)
        case MapOf(values=inner):
            return isinstance(value, dict) and all(_is_of(v, inner) for v in value.values())
        case Record(fields=fields):
            return isinstance(value, Mapping) and conforms(value, fields)
        case _:
            raise AssertionError(kind)
