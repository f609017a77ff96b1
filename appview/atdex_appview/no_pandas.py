"""A node without pandas, where it happens to be installed.

pyarrow imports pandas for the first array that it makes of Python objects, to see whether they are
pandas' own: a second or two of every start, and some 40 MB for as long as the node runs.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec
from types import ModuleType

import pyarrow as pa


class _NoPandas(MetaPathFinder):
    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        if fullname == "pandas":
            raise ModuleNotFoundError("a node does not use it", name=fullname)
        return None


def leave_pandas_out() -> None:
    """Has pyarrow look for pandas, which it does once, and not find it. Others still may."""
    finder = _NoPandas()
    sys.meta_path.insert(0, finder)
    try:
        pa.array([])
    finally:
        sys.meta_path.remove(finder)
