"""What each operation of a declarative lens does, refuses, and how it is read."""

from __future__ import annotations

import json
from collections.abc import Mapping
from importlib.resources import files
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from atdex_lexicons.errors import InvalidOps, NotApplicable
from atdex_lexicons.fieldops import apply_get, apply_put, key_of, lossy, same
from atdex_lexicons.fieldops_compose import compose, compose_lenses
from atdex_lexicons.fieldops_read import (
    ALL_ROWS_MAX,
    NAMES_MAX,
    OPS_MAX,
    ROWS_MAX,
    VALUE_DEPTH_MAX,
    parse,
)
from atdex_lexicons.model import CodeReference, FieldOps, Lens, PythonCode

Sample = Mapping[str, Any]


def rename(source: str, target: str) -> dict[str, Any]:
    return {"op": "rename", "from": source, "to": target}


def drop(field: str, default: Any = None) -> dict[str, Any]:
    return {"op": "drop", "field": field, "default": default}


def add(field: str, value: Any) -> dict[str, Any]:
    return {"op": "add", "field": field, "value": value}


def cast(field: str, source: str, target: str) -> dict[str, Any]:
    return {"op": "cast", "field": field, "from": source, "to": target}


def table(field: str, *rows: tuple[Any, Any]) -> dict[str, Any]:
    return {"op": "map", "field": field, "values": [list(row) for row in rows]}


def select(*fields: str) -> dict[str, Any]:
    return {"op": "select", "fields": list(fields)}


def nest(into: str, *fields: str) -> dict[str, Any]:
    return {"op": "nest", "fields": list(fields), "into": into}


def hoist(field: str, *fields: str) -> dict[str, Any]:
    return {"op": "hoist", "field": field, "fields": list(fields)}


def get(sample: Sample, *ops: dict[str, Any]) -> dict[str, Any]:
    return apply_get(parse(FieldOps(ops)), sample)


def put(view: Sample, original: Sample | None, *ops: dict[str, Any]) -> dict[str, Any]:
    return apply_put(parse(FieldOps(ops)), view, original)


S = {"a": 1, "b": "x", "c": None}


@pytest.mark.parametrize(
    ("op", "view", "changed", "back"),
    [
        (rename("a", "z"), {"z": 1, "b": "x", "c": None}, {"z": 2, "b": "y", "c": None},
         {"a": 2, "b": "y", "c": None}),
        (drop("b", "d"), {"a": 1, "c": None}, {"a": 2, "c": None}, {"a": 2, "b": "x", "c": None}),
        (add("n", 5), {**S, "n": 5}, {**S, "a": 9, "n": 5}, {**S, "a": 9}),
        (cast("a", "int", "str"), {**S, "a": "1"}, {**S, "a": "7"}, {**S, "a": 7}),
        (table("b", ("x", 0), ("y", 1)), {**S, "b": 0}, {**S, "b": 1}, {**S, "b": "y"}),
        (select("b"), {"b": "x"}, {"b": "y"}, {**S, "b": "y"}),
        (nest("n", "a", "b"), {"c": None, "n": {"a": 1, "b": "x"}},
         {"c": 0, "n": {"a": 2, "b": "y"}}, {"a": 2, "b": "y", "c": 0}),
        (nest("a", "a", "b"), {"c": None, "a": {"a": 1, "b": "x"}},
         {"c": None, "a": {"a": 2, "b": "x"}}, {**S, "a": 2}),
    ],
)  # fmt: skip
def test_each_operation_gets_and_puts_as_it_is_documented(
    op: dict[str, Any], view: Sample, changed: Sample, back: Sample
) -> None:
    assert get(S, op) == view
    assert put(view, S, op) == S
    assert put(changed, S, op) == back


def test_hoist_moves_all_fields_of_an_inner_sample_up_and_back() -> None:
    sample = {"a": 1, "n": {"x": 2, "y": 3}}
    op = hoist("n", "x", "y")
    assert get(sample, op) == {"a": 1, "x": 2, "y": 3}
    assert put({"a": 1, "x": 5, "y": 3}, sample, op) == {"a": 1, "n": {"x": 5, "y": 3}}


def test_each_operation_puts_into_the_sample_as_it_was_before_it() -> None:
    ops = [drop("b", "?"), rename("a", "b"), select("b")]
    assert get(S, *ops) == {"b": 1}
    assert put({"b": 2}, S, *ops) == {"a": 2, "b": "x", "c": None}


def test_without_an_original_dropped_fields_get_their_defaults_and_select_has_no_answer() -> None:
    assert put({"a": 1, "c": None}, None, drop("b", "d")) == {"a": 1, "b": "d", "c": None}
    with pytest.raises(NotApplicable, match="from an original only"):
        put({"b": "x"}, None, select("b"))


@pytest.mark.parametrize(
    ("op", "view"),
    [
        (add("n", 1), {**S, "n": 2}),
        (add("n", 1), {**S, "n": True}),
        (add("n", 1), S),
        (drop("b"), S),
        (rename("a", "z"), S),
        (rename("a", "z"), {**S, "z": 1}),
        (select("b"), {"b": 1, "a": 1}),
        (select("b"), {}),
        (nest("n", "a"), {**S, "n": {"a": 1}}),
        (nest("n", "a"), {"b": "x", "c": None, "n": {}}),
        (nest("n", "a"), {"b": "x", "c": None, "n": {"a": 1, "z": 1}}),
        (nest("n", "a"), {"b": "x", "c": None, "n": None}),
        (table("b", ("x", 0)), {**S, "b": 1}),
        (table("b", ("x", 0)), {**S, "b": [0]}),
        (cast("a", "int", "str"), {**S, "a": "one"}),
    ],
)
def test_a_view_that_get_cannot_yield_is_refused_by_put(op: dict[str, Any], view: Sample) -> None:
    with pytest.raises(NotApplicable) as refused:
        put(view, S, rename("c", "d"), rename("d", "c"), op)
    assert refused.value.op == 2
    assert str(refused.value).startswith("operation 2, field ")


@pytest.mark.parametrize(
    ("op", "field"),
    [
        (rename("z", "y"), "z"),
        (rename("a", "b"), "b"),
        (drop("z"), "z"),
        (add("a", 1), "a"),
        (cast("z", "int", "str"), "z"),
        (cast("b", "int", "str"), "b"),
        (table("b", ("y", 1)), "b"),
        (select("a", "z"), "z"),
        (nest("n", "z"), "z"),
        (nest("b", "a"), "b"),
        (hoist("a", "x"), "a"),
    ],
)
def test_a_sample_that_an_operation_does_not_fit_is_refused_by_get(
    op: dict[str, Any], field: str
) -> None:
    with pytest.raises(NotApplicable) as refused:
        get(S, op)
    assert (refused.value.op, refused.value.field) == (0, field)


def test_a_missing_value_stays_missing_unless_the_table_says_otherwise() -> None:
    assert get(S, table("c", ("x", 1))) == S
    assert put(S, None, table("c", ("x", 1))) == S
    named = table("c", (None, "unknown"), ("x", "known"))
    assert get(S, named)["c"] == "unknown"
    assert put({**S, "c": "unknown"}, None, named) == S


def test_of_rows_with_one_target_put_keeps_the_originals_and_else_takes_the_first() -> None:
    op = table("b", ("cat", "animal"), ("dog", "animal"), ("oak", "plant"))
    assert put({"b": "animal"}, {"b": "dog"}, op) == {"b": "dog"}
    assert put({"b": "animal"}, {"b": "oak"}, op) == {"b": "cat"}
    assert put({"b": "animal"}, None, op) == {"b": "cat"}
    assert lossy(parse(FieldOps((op,)))) == {0: "rows of the table have the same target"}


def test_lossy_operations_are_named() -> None:
    ops = (
        cast("a", "float64", "float32"),
        cast("a", "uint8", "float32"),
        table("b", ("x", None)),
        table("b", (None, "x"), ("x", None)),
    )
    assert lossy(parse(FieldOps(ops))) == {
        0: "float64 is rounded to float32",
        2: "a row has the target null, which null itself has",
    }


def test_samples_and_views_are_never_changed() -> None:
    sample = {"a": 1, "n": {"x": 2}}
    ops = [hoist("n", "x"), drop("a", 0), add("k", 1)]
    view = get(sample, *ops)
    put(view, sample, *ops)
    assert sample == {"a": 1, "n": {"x": 2}}
    assert view == {"x": 2, "k": 1}


def test_values_are_the_same_by_what_they_mean() -> None:
    nan = float("nan")
    assert same(1, 1.0)
    assert same(nan, float("nan"))
    assert not same(1, True)
    assert not same("1", 1)
    assert not same(b"x", "x")
    assert same({"a": [1, nan]}, {"a": [1.0, nan]})
    assert same(np.array([1.0, nan], "<f4"), np.array([1.0, nan], ">f4"))
    assert same(np.array(-0.0), np.array(0.0))
    assert not same(np.array([1], "u1"), np.array([1], "i1"))
    assert not same(np.zeros((2, 1)), np.zeros((1, 2)))
    assert not same(object(), object())
    assert not same({1}, {1})
    deep: list[Any] = []
    for _ in range(100_000):
        deep = [deep]
    assert same(deep, deep)
    assert not same(deep, [deep])
    assert key_of(np.int64(3)) == key_of(3)


# Reading


@pytest.mark.parametrize(
    ("op", "path"),
    [
        ({"op": "melt"}, "/op"),
        ({}, "/op"),
        ({"op": "rename", "from": "a"}, "/to"),
        ({"op": "rename", "from": 1, "to": "b"}, "/from"),
        ({"op": "rename", "from": "", "to": "b"}, "/from"),
        ({"op": "drop", "field": "a"}, "/default"),
        ({"op": "add", "field": "a"}, "/value"),
        (cast("a", "int", "uint8"), "/to"),
        (cast("a", "bytes", "str"), "/to"),
        ({"op": "map", "field": "a"}, "/values"),
        (table("a"), "/values"),
        (table("a", (1, 2), (1.0, 3)), "/values/1/from"),
        (table("a", (1, [2])), "/values/0/to"),
        ({"op": "map", "field": "a", "values": [[1]]}, "/values/0"),
        (table("a", *((n, n) for n in range(ROWS_MAX + 1))), "/values"),
        (select(), "/fields"),
        (select("a", "a"), "/fields/1"),
        (select(*(f"f{n}" for n in range(NAMES_MAX + 1))), "/fields"),
        ({"op": "nest", "fields": "ab", "into": "n"}, "/fields"),
        ({"op": "nest", "fields": ["a", 1], "into": "n"}, "/fields/1"),
        ({"op": "hoist", "field": "n"}, "/fields"),
    ],
)
def test_an_operation_that_is_none_is_reported_at_its_key(op: dict[str, Any], path: str) -> None:
    with pytest.raises(InvalidOps) as invalid:
        parse(FieldOps((rename("a", "b"), op, {"op": "melt"})))
    assert [problem.path for problem in invalid.value.problems] == [f"/1{path}", "/2/op"]


def test_operations_rows_and_literals_are_bounded() -> None:
    deep: Any = 1
    for _ in range(VALUE_DEPTH_MAX + 1):
        deep = [deep]
    rows = [(n, n) for n in range(ROWS_MAX)]
    for ops, reason in (
        ([rename("a", "b")] * (OPS_MAX + 1), "1001 operations"),
        ([add("a", deep)], "nested deeper"),
        ([table("a", *rows)] * (ALL_ROWS_MAX // ROWS_MAX + 1), "rows of value tables"),
    ):
        with pytest.raises(InvalidOps, match=reason):
            parse(FieldOps(tuple(ops)))
    assert len(parse(FieldOps((rename("a", "b"),) * OPS_MAX))) == OPS_MAX


def test_every_operation_of_the_lexicon_is_read_and_documented() -> None:
    document = json.loads(
        (files("atdex_lexicons") / "documents/app/bsky/atdata/lens.json").read_text()
    )
    refs = document["defs"]["fieldOps"]["properties"]["ops"]["items"]["refs"]
    samples = [rename("a", "b"), drop("a"), add("a", 1), cast("a", "int", "str")]
    samples += [table("a", (1, 2)), select("a"), nest("n", "a"), hoist("n", "a")]
    assert [f"#{op['op']}Op" for op in samples] == refs
    assert len(parse(FieldOps(tuple(samples)))) == len(refs)
    page = (Path(__file__).parents[2] / "docs" / "lenses.md").read_text()
    for op in samples:
        keys = ", ".join(f"`{key}`" for key in op if key != "op")
        assert f"| `{op['op']}` | {keys} |" in page


# Composing


@pytest.mark.parametrize(
    ("ops", "expected"),
    [
        ([rename("a", "b"), rename("b", "c")], [rename("a", "c")]),
        ([rename("a", "b"), rename("b", "a")], []),
        ([rename("a", "b"), rename("c", "d")], [rename("a", "b"), rename("c", "d")]),
        ([nest("n", "a", "b"), hoist("n", "b", "a")], []),
        ([hoist("n", "a"), nest("n", "a")], []),
        ([nest("n", "a"), hoist("n", "b")], [nest("n", "a"), hoist("n", "b")]),
        ([select("a", "b"), select("b")], [select("b")]),
        ([select("a"), select("b")], [select("a"), select("b")]),
        ([rename("a", "b"), nest("n", "b"), hoist("n", "b"), rename("b", "c")], [rename("a", "c")]),
    ],
)
def test_operations_that_undo_or_repeat_each_other_are_taken_out(
    ops: list[dict[str, Any]], expected: list[dict[str, Any]]
) -> None:
    assert compose(FieldOps(tuple(ops[:1])), FieldOps(tuple(ops[1:]))).ops == tuple(expected)


def lens(source: str, target: str, getter: Any) -> Lens:
    return Lens(f"{source}{target}" * 40, source, target, getter, None, "", "^1", "^2")


def test_two_lenses_that_meet_become_one() -> None:
    one = lens("A", "B", FieldOps((drop("a", 1),)))
    two = lens("B", "C", FieldOps((rename("b", "a"),)))
    both = compose_lenses(one, two)
    assert (both.source, both.target, both.putter) == ("A", "C", None)
    assert (both.source_version, both.target_version) == ("^1", "^2")
    assert len(both.name) == 100
    assert both.getter == FieldOps((drop("a", 1), rename("b", "a")))


def test_lenses_that_do_not_meet_or_are_code_or_too_long_do_not_compose() -> None:
    ops = FieldOps((drop("a", 1),))
    code = CodeReference("https://git.example/x", "0" * 40, "a.py:f")
    for one, two in (
        (lens("A", "B", ops), lens("C", "D", ops)),
        (lens("A", "B", ops), lens("B", "C", code)),
        (lens("A", "B", PythonCode("def f(s): ...")), lens("B", "C", ops)),
        (lens("A", "B", None), lens("B", "C", ops)),
        (lens("A", "B", FieldOps(({"op": "melt"},))), lens("B", "C", ops)),
        (lens("A", "B", FieldOps(ops.ops * OPS_MAX)), lens("B", "C", ops)),
    ):
        with pytest.raises(InvalidOps):
            compose_lenses(one, two)
