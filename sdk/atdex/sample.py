"""Sample types: classes whose instances are samples.

    @atdex.packable
    class Digit:
        image: NDArray[np.uint8]
        label: int
        note: str | None

Fields are `str int float bool bytes`, arrays (`np.ndarray`, `NDArray[...]`: the dtype is held to,
byte order is not compared), `list[...]`, `dict[str, ...]`, other packable classes, `Any`, and any
of these `| None`, which may then be missing from the data.
"""

from __future__ import annotations

import dataclasses
import typing
from typing import Any, Final, TypeVar, dataclass_transform

import numpy as np

from atdex.decode import SampleDecoder
from atdex.errors import BadSampleType

C = TypeVar("C", bound=type[Any])

MAX_SHOWN_TEXT: Final = 60
"""Characters of a text value in a `repr`: a sample stays readable on a terminal."""

MAX_SHOWN_BYTES: Final = 16
MAX_SHOWN_ITEMS: Final = 8
MAX_SHOWN_LEVELS: Final = 16


@dataclass_transform()
def packable(cls: C) -> C:
    """Make a class a sample type: a dataclass that compares and shows arrays sensibly.

    The order of the fields is the order of the class. A class that is a dataclass already is kept
    as it is. Raises BadSampleType where a field has a type that samples cannot have; annotations
    that name classes defined further down are looked at when the class is first used.
    """
    if not isinstance(cls, type):
        raise BadSampleType(repr(cls), "", "packable decorates classes")
    if not dataclasses.is_dataclass(cls):
        own = vars(cls)
        keep_equality, keep_repr = "__eq__" in own, "__repr__" in own
        dataclasses.dataclass(eq=False, repr=False)(cls)
        compare_and_show(cls, equality=not keep_equality, representation=not keep_repr)
    try:
        typing.get_type_hints(cls)
    except NameError:
        return cls  # a forward reference
    SampleDecoder(cls)
    return cls


def compare_and_show(cls: type[Any], *, equality: bool = True, representation: bool = True) -> None:
    """Give a dataclass the equality and the `repr` that its arrays need."""
    if equality:
        cls.__eq__ = _equal  # type: ignore[assignment]  # what dataclass does itself
        cls.__hash__ = None  # type: ignore[assignment]  # mutable, so not hashable
    if representation:
        cls.__repr__ = _represent  # type: ignore[assignment]  # what dataclass does itself


def show_value(value: object, level: int = 0) -> str:
    """One value on one line: arrays as dtype and shape, long text cut, deep values too."""
    if isinstance(value, np.ndarray):
        return f"{value.dtype}{list(value.shape)}"
    if isinstance(value, bytes):
        return repr(value) if len(value) <= MAX_SHOWN_BYTES else f"<{len(value):,} bytes>"
    if isinstance(value, (list, dict)) and level >= MAX_SHOWN_LEVELS:
        return "…"
    if isinstance(value, (list, dict)) and len(value) > MAX_SHOWN_ITEMS:
        return f"<{type(value).__name__} of {len(value):,}>"
    if isinstance(value, list):
        return f"[{', '.join(show_value(item, level + 1) for item in value)}]"
    if isinstance(value, dict):
        inside = (f"{key!r}: {show_value(item, level + 1)}" for key, item in value.items())
        return f"{{{', '.join(inside)}}}"
    text = repr(value)
    return text if len(text) <= MAX_SHOWN_TEXT else f"{text[:MAX_SHOWN_TEXT]}…"


def same_value(left: object, right: object) -> bool:
    """Equality that sees through arrays: same dtype, shape and elements (NaN equals NaN)."""
    if isinstance(left, np.ndarray) or isinstance(right, np.ndarray):
        return (
            isinstance(left, np.ndarray)
            and isinstance(right, np.ndarray)
            and left.dtype == right.dtype
            and bool(np.array_equal(left, right, equal_nan=left.dtype.kind in "fc"))
        )
    if isinstance(left, list) and isinstance(right, list):
        return len(left) == len(right) and all(map(same_value, left, right))
    if isinstance(left, dict) and isinstance(right, dict):
        return left.keys() == right.keys() and all(same_value(left[k], right[k]) for k in left)
    return bool(left == right)


def _equal(self: Any, other: Any) -> Any:
    if type(self) is not type(other):
        return NotImplemented
    names = [field.name for field in dataclasses.fields(self)]
    return all(same_value(getattr(self, name), getattr(other, name)) for name in names)


def _represent(self: Any) -> str:
    values = (f"{f.name}={show_value(getattr(self, f.name))}" for f in dataclasses.fields(self))
    return f"{type(self).__qualname__}({', '.join(values)})"
