"""Element types of arrays, as schemas spell them: `float32`, `<f4`, `M8[ns]`.

Byte order is a matter of storage: it is neither compared nor kept here.
"""

from __future__ import annotations

import re
from functools import lru_cache
from typing import Any, Final

import numpy as np

DTypeOf = np.dtype[Any]

NUMBERS: Final = "biufc"
"""The kinds of dtype that numbers have: booleans, integers, fractions, complex ones."""

_PLAIN: Final = re.compile(
    r"[<>|=]?(?:[biufcSUV][0-9]{1,9}|[mM]8(?:\[[0-9]{0,9}[a-zA-Zμ]{1,7}\])?)"
)


@lru_cache(maxsize=1024)
def read_dtype(text: str) -> DTypeOf | None:
    """The dtype in native byte order; None for what is none, or holds Python objects."""
    scalar = np.sctypeDict.get(text)
    if scalar is None and not _PLAIN.fullmatch(text):
        return None
    try:
        found = np.dtype(text if scalar is None else scalar)
    except (TypeError, ValueError):
        return None
    return None if found.hasobject or found.names else found.newbyteorder("=")


def is_safe(source: DTypeOf, target: DTypeOf) -> bool:
    """Whether NumPy calls the cast safe, and it stays among numbers or within one kind.

    (NumPy also calls bytes to text and integers to durations safe, which mean something else.)
    """
    numbers = source.kind in NUMBERS and target.kind in NUMBERS
    return (numbers or source.kind == target.kind) and np.can_cast(source, target, "safe")
