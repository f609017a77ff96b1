"""Samples compared with `expected.json` of the fixtures: what the atdata library put in."""

from __future__ import annotations

import base64
import json
import struct
from typing import Any

import numpy as np

from tests.support.paths import FIXTURES

ATDATA = FIXTURES / "atdata"
FIELDS = ("name", "count", "score", "flag", "raw", "image", "mask", "tags", "nums")


def expected_samples() -> list[dict[str, Any]]:
    """Every sample of the three shards, in order, as JSON."""
    listed = json.loads((ATDATA / "expected.json").read_text("utf-8"))
    return [entry["sample"] for entry in listed]


def assert_sample(sample: object, expected: dict[str, Any]) -> None:
    """`sample` has exactly these values: types, bits of floats, dtypes and shapes included."""
    assert expected.keys() == set(FIELDS)
    for name, value in expected.items():
        found = getattr(sample, name)
        if isinstance(value, dict) and "__nd__" in value:
            _assert_array(found, value)
        elif isinstance(value, dict):
            assert bytes(found) == base64.b64decode(value["__b64__"]), name
        elif isinstance(value, float):
            assert struct.pack("<d", found) == struct.pack("<d", value), name
        else:
            assert (type(found), found) == (type(value), value), name


def _assert_array(found: object, value: dict[str, Any]) -> None:
    assert isinstance(found, np.ndarray)
    dtype, shape = np.dtype(value["dtype"]), tuple(value["shape"])
    assert (found.dtype.str, found.shape) == (dtype.str, shape)
    listed = np.array(value["__nd__"])
    if dtype.kind == "c":  # pairs of the real and the imaginary part
        listed = listed.reshape(-1, 2) @ np.array([1, 1j])
    np.testing.assert_array_equal(found, listed.reshape(shape).astype(dtype))
