"""Casts: exact, refused, or rounded and marked so."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest

from atdex_lexicons.casts import Cast, CastRefused
from atdex_lexicons.fieldops import same


def cast(source: str, target: str) -> Cast:
    found = Cast.between(source, target)
    assert isinstance(found, Cast), found
    return found


@pytest.mark.parametrize(
    ("source", "target", "value", "expected"),
    [
        ("int", "float", 3, 3.0),
        ("float", "int", 3.0, 3),
        ("float", "int", 3, 3),
        ("int", "str", -7, "-7"),
        ("str", "int", "-7", -7),
        ("float", "str", 0.1, "0.1"),
        ("float", "str", -0.0, "0.0"),
        ("str", "float", "0.1", 0.1),
        ("bool", "int", True, 1),
        ("int", "bool", 0, False),
        ("bool", "str", True, "true"),
        ("str", "bool", "false", False),
        ("bool", "float", True, 1.0),
        ("str", "str", "x", "x"),
        ("int", "str", None, None),
    ],
)
def test_a_scalar_is_cast_and_comes_back(
    source: str, target: str, value: Any, expected: Any
) -> None:
    found = cast(source, target).get(value)
    assert same(found, expected)
    assert type(found) is type(expected)
    assert same(cast(source, target).put(found), value)
    assert not cast(source, target).lossy


@pytest.mark.parametrize(
    ("source", "target", "value"),
    [
        ("int", "float", 2**53 + 1),
        ("int", "float", 10**400),
        ("float", "int", 0.5),
        ("float", "int", float("nan")),
        ("float", "int", float("inf")),
        ("float", "str", float("nan")),
        ("int", "bool", 2),
        ("int", "str", 10**20),
        ("str", "int", "07"),
        ("str", "int", "-0"),
        ("str", "int", "1_000"),
        ("str", "int", "٣"),
        ("str", "int", "9" * 5000),
        ("str", "float", "1"),
        ("str", "float", "-0.0"),
        ("str", "float", "1e400"),
        ("str", "float", "0" * 5000),
        ("str", "bool", "True"),
        ("int", "str", True),
        ("int", "str", 1.0),
        ("str", "int", 1),
    ],
)
def test_a_scalar_that_would_not_come_back_is_refused(source: str, target: str, value: Any) -> None:
    with pytest.raises(CastRefused):
        cast(source, target).get(value)


def test_put_keeps_the_originals_own_value_where_the_view_shows_the_same() -> None:
    found = cast("float", "str").put("0.0", -0.0)
    assert math.copysign(1, found) == -1
    assert type(cast("float", "str").put("3.0", 3)) is int
    assert cast("float", "str").put("4.0", 3) == 4.0


@pytest.mark.parametrize("target", ["float", "str", "bool"])
def test_an_integer_that_python_does_not_write_is_refused_by_its_size(target: str) -> None:
    with pytest.raises(CastRefused) as refused:
        cast("int", target).get(10**5000)
    assert len(refused.value.reason) < 100


def array(values: Any, dtype: str) -> np.ndarray[Any, Any]:
    return np.array(values, dtype=dtype)


@pytest.mark.parametrize(
    ("source", "target", "values"),
    [
        ("uint8", "float32", [0, 255]),
        ("int64", "float64", [2**53, -(2**63)]),
        ("float64", "uint8", [0.0, 255.0]),
        ("float32", "int64", [-(2.0**63)]),
        ("int16", "int8", [-128, 127]),
        ("bool", "int8", [True, False]),
        ("uint8", "bool", [0, 1]),
        ("float32", "float64", [0.1, float("nan"), float("inf")]),
        ("complex64", "float32", [1.5]),
        ("float32", "complex64", [1.5]),
        ("<f4", ">f8", [1.5]),
    ],
)
def test_an_array_is_cast_and_comes_back(source: str, target: str, values: Any) -> None:
    before = array(values, source)
    view = cast(source, target).get(before)
    assert view.dtype.newbyteorder("=") == np.dtype(target).newbyteorder("=")
    assert same(cast(source, target).put(view), before)
    assert cast(source, target).put(view, before) is before
    assert not cast(source, target).lossy


@pytest.mark.parametrize(
    ("source", "target", "values"),
    [
        ("uint8", "int8", [255]),
        ("int8", "uint8", [-1]),
        ("uint64", "int64", [2**63]),
        ("int64", "float64", [2**53 + 1]),
        ("int64", "float64", [2**63 - 1]),
        ("uint64", "float64", [2**64 - 1]),
        ("int64", "float16", [70_000]),
        ("float64", "int64", [2.0**63]),
        ("float64", "uint64", [2.0**64]),
        ("float64", "uint8", [0.5]),
        ("float64", "uint8", [256.0]),
        ("float64", "int64", [float("nan")]),
        ("float64", "bool", [float("nan")]),
        ("float16", "int64", [float("inf")]),
        ("complex64", "float32", [1j]),
        ("complex128", "float32", [0.1]),
    ],
)
def test_an_array_with_an_element_that_would_not_come_back_is_refused(
    source: str, target: str, values: Any
) -> None:
    with pytest.raises(CastRefused):
        cast(source, target).get(array(values, source))


def test_rounding_is_lossy_and_put_keeps_every_element_that_the_view_still_shows() -> None:
    rounding = cast("float64", "float32")
    assert rounding.lossy
    before = array([0.1, 0.2, float("nan")], "float64")
    view = rounding.get(before)
    assert rounding.put(view, before) is before
    changed = view.copy()
    changed[1] = 7
    back = rounding.put(changed, before)
    assert (back[0], back[1], back.dtype) == (0.1, 7.0, np.dtype("float64"))
    assert same(rounding.get(back), changed)


def test_a_view_of_a_longer_float_that_the_source_cannot_hold_is_not_rounded_on_the_way_back() -> (
    None
):
    with pytest.raises(CastRefused):
        cast("float32", "float64").put(array([0.1], "float64"))


def test_a_put_array_may_have_another_shape_than_the_original() -> None:
    rounding = cast("float64", "float32")
    back = rounding.put(array([1, 2, 3], "float32"), array([0.1], "float64"))
    assert same(back, array([1, 2, 3], "float64"))


@pytest.mark.parametrize("value", [array([1], "uint16"), array(["x"], "U1"), [1], b"\x01", 1])
def test_only_arrays_of_the_stated_dtype_are_cast(value: Any) -> None:
    with pytest.raises(CastRefused, match="expected an array of uint8"):
        cast("uint8", "float32").get(value)


@pytest.mark.parametrize(
    ("source", "target"),
    [
        ("int", "uint8"),
        ("uint8", "int"),
        ("bytes", "str"),
        ("object", "float32"),
        ("uint8", "O"),
        ("uint8", "U4"),
        ("uint8", "M8[s]"),
        ("uint8", "i4,i4"),
        ("uint8", "f9999"),
        ("", "int"),
    ],
)
def test_there_is_no_cast_between_scalars_and_arrays_or_beyond_numbers(
    source: str, target: str
) -> None:
    assert isinstance(Cast.between(source, target), str)
