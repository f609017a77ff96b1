"""Casts of a declarative lens: what becomes of a value, and what comes back.

A cast is exact: each value that it takes comes back as it was, and a value that would not is
refused (a fraction as an integer, 300 as uint8, text that is no number). Rounding to shorter
floats and complex numbers is the one exception, `lossy`: put keeps what the original had
wherever the view still shows its rounded value.
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from typing import Any, Final

import numpy as np

from atdex_lexicons.dtypes import NUMBERS, DTypeOf, read_dtype
from atdex_lexicons.errors import shown, shown_value

SCALARS: Final = ("str", "int", "float", "bool")

INTEGER_DIGITS_MAX: Final = 20
"""Digits of an integer in text: 64 bits have 19 or 20, and long digit strings are slow to read."""

NUMBER_CHARACTERS_MAX: Final = 32
"""Characters of a float in text: the shortest one that reads back has at most 24."""

_INTEGER: Final = re.compile(r"0|-?[1-9][0-9]*")
_WORDS: Final = {False: "false", True: "true"}
_VALUES: Final = {word: value for value, word in _WORDS.items()}

Array = np.ndarray[Any, Any]


class CastRefused(Exception):
    """A cast does not take a value."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


@dataclass(frozen=True, slots=True)
class Cast:
    """From `source` to `target`: two scalars' names, or two dtypes of numbers."""

    source: str
    target: str

    @staticmethod
    def between(source: str, target: str) -> Cast | str:
        """The cast, or why there is none."""
        if source in SCALARS and target in SCALARS:
            return Cast(source, target)
        for word in (source, target):
            if word in SCALARS and word != "bool":
                return f"a cast is among {', '.join(SCALARS)}, or from one dtype to another"
        for word in (source, target):
            found = read_dtype(word)
            if found is None or found.kind not in NUMBERS:
                return f"{shown(word)} is neither {', '.join(SCALARS)} nor a dtype of numbers"
        return Cast(source, target)

    @property
    def scalar(self) -> bool:
        """Whether it casts scalars; `bool` beside a dtype is the dtype."""
        return self.source in SCALARS and self.target in SCALARS

    @property
    def lossy(self) -> bool:
        """Whether values of the source that differ may be cast to the same."""
        if self.scalar:
            return False
        return _rounds(self._dtype(self.source), self._dtype(self.target))

    def get(self, value: Any) -> Any:
        """The cast value; None stays None. Raises CastRefused."""
        if value is None:
            return None
        if self.scalar:
            return _scalar(value, self.source, self.target)
        return _array(value, self._dtype(self.source), self._dtype(self.target), self.lossy)

    def put(self, value: Any, before: Any = None) -> Any:
        """The value that comes back. `before` is the original's, and kept where it shows the same.

        Raises CastRefused.
        """
        if value is None:
            return None
        if self.scalar:
            back = _scalar(value, self.target, self.source)
            return back if before is None or before != back else before
        source, target = self._dtype(self.source), self._dtype(self.target)
        array = _checked(value, target)
        if before is None:
            return _array(array, target, source)
        view = _array(before, source, target, self.lossy)
        if np.array_equal(view, array, equal_nan=True):
            return before
        back = _array(array, target, source)
        if not _rounds(source, target) or before.shape != array.shape:
            return back
        return np.where(_alike(view, array), before, back).astype(source)

    @staticmethod
    def _dtype(text: str) -> DTypeOf:
        found = read_dtype(text)
        assert found is not None  # `between` has read it
        return found


# --- scalars ----------------------------------------------------------------------------------


def _scalar(value: Any, source: str, target: str) -> Any:
    value = _typed(value, source)
    if source == target:
        return value
    cast = _to(value, target)
    if _to(cast, source) != value:
        raise CastRefused(f"{shown_value(value)} does not come back from {target}")
    return cast


def _typed(value: Any, name: str) -> bool | int | float | str:
    """`value` as the Python type that the name stands for."""
    if name == "bool" and isinstance(value, bool):
        return value
    if name == "int" and isinstance(value, int) and not isinstance(value, bool):
        return value
    if name == "float" and isinstance(value, int | float) and not isinstance(value, bool):
        return _float(value)
    if name == "str" and isinstance(value, str):
        return value
    raise CastRefused(f"{shown_value(value)} is no {name}")


def _to(value: bool | int | float | str, target: str) -> bool | int | float | str:
    """`value` as the target type; whoever calls compares what comes back."""
    match target:
        case "str":
            return _text(value)
        case "bool":
            return _bool(value)
        case "int":
            return _int(value)
        case _:
            return _float(value)


def _text(value: bool | int | float | str) -> str:
    if isinstance(value, bool):
        return _WORDS[value]
    if isinstance(value, float) and not math.isfinite(value):
        raise CastRefused(f"{value} has no text")
    if isinstance(value, int) and abs(value) >= 10**INTEGER_DIGITS_MAX:
        raise CastRefused("the integer is too large")
    # -0.0 is the same value as 0.0, so it has the same text.
    return value if isinstance(value, str) else repr(value + 0)


def _bool(value: bool | int | float | str) -> bool:
    if isinstance(value, str):
        if value not in _VALUES:
            raise CastRefused(f"{shown_value(value)} is neither true nor false")
        return _VALUES[value]
    if value not in (0, 1):
        raise CastRefused(f"{shown_value(value)} is neither 0 nor 1")
    return bool(value)


def _int(value: bool | int | float | str) -> int:
    if isinstance(value, str):
        if len(value) > INTEGER_DIGITS_MAX + 1 or not _INTEGER.fullmatch(value):
            raise CastRefused(f"{shown_value(value)} is no integer as it is written in text")
        return int(value)
    if isinstance(value, float) and not value.is_integer():
        raise CastRefused(f"{value} is no integer")
    return int(value)


def _float(value: bool | int | float | str) -> float:
    if isinstance(value, str) and len(value) > NUMBER_CHARACTERS_MAX:
        raise CastRefused(f"{shown_value(value)} is no number as it is written in text")
    try:
        return float(value)
    except (ValueError, OverflowError):
        raise CastRefused(f"{shown_value(value)} is no float") from None


# --- arrays -----------------------------------------------------------------------------------


def _array(value: Any, source: DTypeOf, target: DTypeOf, may_round: bool = False) -> Array:
    array = _checked(value, source)
    cast = _convert(array, target)
    if not may_round and not _comes_back(array, cast):
        raise CastRefused(f"an element is not the same as {target}")
    return cast


def _checked(value: Any, dtype: DTypeOf) -> Array:
    if not isinstance(value, np.ndarray) or value.dtype.newbyteorder("=") != dtype:
        found = value.dtype if isinstance(value, np.ndarray) else type(value).__name__
        raise CastRefused(f"expected an array of {dtype}, found {found}")
    return value


def _convert(array: Array, dtype: DTypeOf) -> Array:
    with np.errstate(all="ignore"):
        if array.dtype.kind == "c" and dtype.kind != "c":
            if np.any(array.imag != 0):
                raise CastRefused(f"a complex element is not the same as {dtype}")
            array = array.real
        return array.astype(dtype)


def _comes_back(array: Array, cast: Array) -> bool:
    """Whether every element is in `cast` as it was.

    That it converts back is not enough: 255 wraps to -1 and back, and what is out of an integer's
    range becomes what the machine likes.
    """
    kinds = array.dtype.kind, cast.dtype.kind
    if kinds[0] in "iu" and kinds[1] in "iu" and not np.array_equal(array < 0, cast < 0):
        return False
    if kinds[0] in "fc" and kinds[1] in "iu" and not _in_range(array.real, cast.dtype):
        return False
    if kinds[0] in "iu" and kinds[1] in "fc" and not _in_range(cast.real, array.dtype):
        return False
    back = _convert(cast, array.dtype)
    return bool(np.array_equal(back, array, equal_nan=kinds[0] in "fc"))


def _in_range(array: Array, integers: DTypeOf) -> bool:
    """Whether all fractions lie within the integers' range. NaN does not."""
    bounds = np.iinfo(integers)
    wide = array.astype(np.float64) if array.dtype.itemsize < 8 else array
    # The largest 64-bit integers round up to the power of two that is just out of range.
    return bool(np.all((wide >= float(bounds.min)) & (wide < float(bounds.max // 2 + 1) * 2)))


def _alike(left: Array, right: Array) -> np.ndarray[Any, np.dtype[np.bool_]]:
    alike: np.ndarray[Any, np.dtype[np.bool_]] = (left == right) | (
        np.isnan(left) & np.isnan(right)
    )
    return alike


def _rounds(source: DTypeOf, target: DTypeOf) -> bool:
    """Whether the cast is one to a shorter float or complex number."""
    return (
        source.kind in "fc"
        and target.kind in "fc"
        and not np.can_cast(source, target, "safe")
        and not (source.kind == "c" and target.kind == "f")
    )
