"""Constants in a lens, held against the types of fields.

An array is given as the bytes that a sample stores for it (ndarray bytes, version 1.0.0):
`u8 length of dtype.str | dtype.str | u8 ndim | ndim x i64 LE shape | C-order data`.
"""

from __future__ import annotations

import math
import struct
from collections.abc import Mapping
from typing import Any, Final

from atdex_lexicons.compare import described
from atdex_lexicons.datamodel import INTEGER_MAX, INTEGER_MIN
from atdex_lexicons.dtypes import read_dtype
from atdex_lexicons.errors import shown, shown_value
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

DIMENSIONS_MAX: Final = 64
"""Dimensions of an array, as NumPy and the lexicon have it."""


def misfit(value: Any, kind: FieldType, optional: bool, nested: Mapping[str, Schema]) -> str | None:
    """Why a plain value is none of this type; None where it is one.

    It recurses as deep as `value` goes: bound that first.
    """
    if value is None:
        return None if optional else f"null, and the field is required ({described(kind)})"
    match kind:
        case AnyType():
            return None
        case Primitive(name=name):
            return None if _is_scalar(value, name) else _is_no(value, name)
        case NDArray():
            return _misfit_array(value, kind)
        case ListOf(items=items):
            if not isinstance(value, list | tuple):
                return _is_no(value, "list")
            return _first(misfit(item, items, False, nested) for item in value)
        case MapOf(values=values):
            if not isinstance(value, Mapping):
                return _is_no(value, "map")
            return _first(misfit(item, values, False, nested) for item in value.values())
        case Record(fields=fields):
            return _misfit_sample(value, fields, nested)
        case Nested(schema_uri=uri):
            schema = nested.get(uri)
            if schema is None:
                return f"the schema {shown(uri)} is not known here"
            return _misfit_sample(value, schema.fields, nested)


def _misfit_sample(
    value: Any, fields: tuple[Field, ...], nested: Mapping[str, Schema]
) -> str | None:
    if not isinstance(value, Mapping):
        return _is_no(value, "inner sample")
    for field in fields:
        reason = misfit(value.get(field.name), field.type, field.optional, nested)
        if reason is not None:
            return f"{field.name}: {reason}"
    more = value.keys() - {field.name for field in fields}
    return f"the schema has no field {shown(min(more))}" if more else None


def _is_scalar(value: Any, name: str) -> bool:
    match name:
        case "bool":
            return isinstance(value, bool)
        case "int":
            return _is_integer(value) and INTEGER_MIN <= value <= INTEGER_MAX
        case "float":
            return isinstance(value, float) or _is_integer(value)
        case "str":
            return isinstance(value, str)
        case _:
            return isinstance(value, bytes)


def _is_integer(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _misfit_array(value: Any, array: NDArray) -> str | None:
    if not isinstance(value, bytes):
        return "an array is given as its bytes"
    if array.format != "ndarrayBytes":
        return f"arrays encoded as {shown(array.format)} have no constants"
    try:
        text = value[1 : 1 + value[0]].decode("ascii")
        at = 1 + value[0]
        shape = struct.unpack_from(f"<{value[at]}q", value, at + 1)
    except (IndexError, struct.error, UnicodeDecodeError):
        return "the bytes of an array end within its header"
    dtype = read_dtype(text)
    if dtype is None or len(shape) > DIMENSIONS_MAX or any(size < 0 for size in shape):
        return "the bytes have no dtype and shape of an array"
    if len(value) - at - 1 - 8 * len(shape) != math.prod(shape) * dtype.itemsize:
        return f"the bytes are not as many as an array of {dtype} and shape {shape} has"
    if array.dtype is not None and read_dtype(array.dtype) != dtype:
        return f"an array of {dtype}, and the field has {shown(array.dtype)}"
    wanted = array.shape
    if wanted is not None and (
        len(wanted) != len(shape)
        or any(w not in (-1, size) for w, size in zip(wanted, shape, strict=True))
    ):
        return f"an array of shape {shape}, and the field has {wanted}"
    return None


def _first(reasons: Any) -> str | None:
    return next((reason for reason in reasons if reason is not None), None)


def _is_no(value: Any, name: str) -> str:
    return f"{shown_value(value)} is no {name}"
