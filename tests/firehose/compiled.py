"""Tests that put something in the place of a function need the plain module."""

from __future__ import annotations

from types import ModuleType

import pytest


def needs_plain(module: ModuleType) -> None:
    """Skip where the module is compiled: it calls its own functions, whatever is put there."""
    if str(module.__file__).endswith(".so"):
        pytest.skip(f"{module.__name__} is compiled")
