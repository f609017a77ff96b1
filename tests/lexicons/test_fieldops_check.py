"""Declarative lenses held against their schemas: what passes, and every reason why one does not."""

from __future__ import annotations

import json
import struct
from collections.abc import Mapping
from dataclasses import replace
from importlib.resources import files
from typing import Any

import pytest

from atdex_lexicons.checks import PROBLEMS_MAX
from atdex_lexicons.errors import InvalidOps
from atdex_lexicons.families import project
from atdex_lexicons.fieldops_check import (
    NEST_DEPTH_MAX,
    STEPS_MAX,
    check_lens,
    check_ops,
    result_fields,
)
from atdex_lexicons.fieldops_read import NAMES_MAX, ROWS_MAX
from atdex_lexicons.model import (
    AnyType,
    CodeReference,
    Field,
    FieldOps,
    FieldType,
    Lens,
    ListOf,
    MapOf,
    NDArray,
    Nested,
    Primitive,
    Record,
    Schema,
)
from tests.lexicons.test_fieldops import add, cast, drop, hoist, nest, rename, select, table

INT, FLOAT, BOOL, STR = (Primitive("int"), Primitive("float"), Primitive("bool"), Primitive("str"))
INNER = "at://did:plc:aaaaaaaaaaaaaaaaaaaaaaaa/app.bsky.atdata.schema/3kaaaaaaaaaaa"

POINT = Record((Field("x", INT), Field("y", INT)))
SOURCE: dict[str, FieldType] = {
    "a": INT,
    "label": STR,
    "flag": BOOL,
    "image": NDArray("uint8", (-1, 3)),
    "point": POINT,
    "inner": Nested(INNER),
    "any": AnyType(),
}
NESTED = {INNER: Schema("Inner", "1.0.0", (Field("z", STR),))}
MAYBE = frozenset({"note", "box"})


def schema(fields: Mapping[str, FieldType]) -> Schema:
    return Schema("S", "1.0.0", tuple(Field(n, t, n in MAYBE) for n, t in fields.items()))


FULL = schema({**SOURCE, "note": STR, "box": POINT})


def problems(*ops: dict[str, Any], target: Mapping[str, FieldType] | None = None) -> list[str]:
    """What is wrong with operations from the full schema, their result left aside if no target."""
    code = FieldOps(ops)
    if target is None:
        try:
            result_fields(code, FULL, NESTED)
        except InvalidOps as invalid:
            return [str(problem) for problem in invalid.problems]
        return []
    return [str(p) for p in check_ops(code, FULL, schema(target), NESTED, path="/ops")]


def array_bytes(dtype: str, *shape: int, size: int) -> bytes:
    head = struct.pack(f"<B{len(dtype)}sB", len(dtype), dtype.encode(), len(shape))
    return head + struct.pack(f"<{len(shape)}q", *shape) + bytes(size)


@pytest.mark.parametrize(
    "op",
    [
        rename("a", "z"),
        rename("a", "a"),
        drop("a", 5),
        drop("note", None),
        drop("image", array_bytes("|u1", 2, 3, size=6)),
        drop("point", {"x": 1, "y": 2}),
        drop("inner", {"z": "x"}),
        drop("box", None),
        drop("any", [1, {"x": b""}]),
        add("n", {"anything": [1, 2]}),
        cast("a", "int", "str"),
        cast("note", "str", "int"),
        cast("image", "uint8", "float32"),
        cast("image", "|u1", "<f4"),
        table("label", ("cat", 1), ("dog", 2)),
        table("flag", (True, "yes"), (False, "no")),
        table("note", (None, "")),
        table("any", (1, "x"), ("x", 1)),
        select("a", "image"),
        nest("n", "a", "label"),
        nest("a", "a"),
        hoist("point", "y", "x"),
        hoist("inner", "z"),
    ],
)
def test_an_operation_that_fits_its_fields_passes(op: dict[str, Any]) -> None:
    assert problems(op) == []


@pytest.mark.parametrize(
    ("op", "path", "reason"),
    [
        (rename("z", "y"), "/1/from", "there is no field 'z'"),
        (rename("a", "label"), "/1/to", "there is a field 'label' at this point already"),
        (drop("z"), "/1/field", "there is no field 'z'"),
        (drop("a", "x"), "/1/default", "'x' is no int"),
        (drop("a", None), "/1/default", "null, and the field is required (int)"),
        (drop("a", 2**63), "/1/default", "is no int"),
        (drop("flag", 1), "/1/default", "1 is no bool"),
        (drop("image", [1, 2]), "/1/default", "an array is given as its bytes"),
        (drop("image", b""), "/1/default", "end within its header"),
        (drop("image", b"\x02<i\x02"), "/1/default", "end within its header"),
        (drop("image", array_bytes("|u1", 2, 4, size=8)), "/1/default", "shape (2, 4)"),
        (drop("image", array_bytes("<i2", 2, 3, size=12)), "/1/default", "an array of int16"),
        (drop("image", array_bytes("|u1", 2, 3, size=5)), "/1/default", "not as many"),
        (drop("image", array_bytes("|O8", 2, 3, size=48)), "/1/default", "no dtype and shape"),
        (drop("image", array_bytes("|u1", -2, -3, size=6)), "/1/default", "no dtype and shape"),
        (drop("point", {"x": 1}), "/1/default", "y: null, and the field is required"),
        (drop("point", {"x": 1, "y": 1, "q": 1}), "/1/default", "has no field 'q'"),
        (drop("inner", {"z": 1}), "/1/default", "z: 1 is no str"),
        (add("a", 1), "/1/field", "already"),
        (cast("a", "float", "str"), "/1/from", "the field is the scalar int"),
        (cast("flag", "bool", "uint8"), "/1/from", "the field is the scalar bool"),
        (cast("image", "int8", "float32"), "/1/from", "the dtype of the field is 'uint8'"),
        (cast("image", "int", "float"), "/1/from", "the field is an array"),
        (cast("point", "int", "str"), "/1/field", "an inner sample cannot be cast"),
        (cast("any", "int", "str"), "/1/field", "any value cannot be cast"),
        (table("label", (1, "x")), "/1/values/0/from", "1 is no str"),
        (table("label", ("a", 1), (None, "x")), "/1/values/1/from", "null"),
        (table("flag", (True, "yes")), "/1/values", "no row for false"),
        (table("image", (b"", "x")), "/1/values/0/from", "header"),
        (select("a", "z"), "/1/fields/1", "there is no field 'z'"),
        (nest("label", "a"), "/1/into", "already"),
        (nest("n", "a", "z"), "/1/fields/1", "there is no field 'z'"),
        (hoist("point", "x"), "/1/fields", "the field 'y' of the inner sample is not named"),
        (hoist("point", "x", "y", "z"), "/1/fields/2", "has no field 'z'"),
        (hoist("box", "x", "y"), "/1/field", "may be missing"),
        (hoist("a", "x"), "/1/field", "int has no fields"),
    ],
)
def test_an_operation_that_does_not_fit_is_reported_with_index_key_and_reason(
    op: dict[str, Any], path: str, reason: str
) -> None:
    [problem] = problems(rename("note", "text"), op)
    assert problem.startswith(f"{path}: ")
    assert reason in problem


@pytest.mark.parametrize(
    ("ops", "reason"),
    [
        ([add("n", "7"), cast("n", "str", "int"), drop("n", 7)], None),
        ([add("n", "7"), cast("n", "str", "int"), drop("n", 8)], "/2/default: 8 is no value"),
        ([add("n", "x"), cast("n", "str", "int")], "/1/from: a constant of the field"),
        ([add("n", b"x"), cast("n", "uint8", "int8")], "/1/from: the field holds constants"),
        ([add("n", 1), table("n", (1, "one"))], None),
        ([add("n", 1), table("n", (2, "two"))], "/1/values: no row for 1"),
        ([add("n", {}), table("n", (2, "two"))], "/1/values: no row for a dict"),
        ([add("n", {"x": 1}), hoist("n", "x")], "/1/field: constants have no fields"),
        ([nest("n", "a"), cast("n", "int", "str")], "/1/field: an inner sample cannot be cast"),
        ([nest("n", "a"), table("n", (1, 2))], "/1/field: an inner sample has no value table"),
        ([nest("n", "a"), drop("n", {"a": 1})], None),
        ([nest("n", "a"), drop("n", {"a": "x"})], "/1/default: a: "),
        ([nest("n", "a"), hoist("n", "a"), cast("a", "int", "str")], None),
        ([nest(f"n{n}", f"n{n - 1}" if n else "a") for n in range(NEST_DEPTH_MAX)], None),
        (
            [nest(f"n{n}", f"n{n - 1}" if n else "a") for n in range(NEST_DEPTH_MAX + 1)],
            f"/{NEST_DEPTH_MAX}/into: nested deeper",
        ),
    ],
)
def test_fields_that_the_lens_makes_are_followed_by_what_they_hold(
    ops: list[dict[str, Any]], reason: str | None
) -> None:
    found = problems(*ops)
    assert (found == []) if reason is None else found[0].startswith(reason)


def test_one_mistake_is_reported_once_however_often_its_field_is_used() -> None:
    ops = [
        cast("a", "float", "str"),
        cast("a", "str", "bool"),
        table("a", (1, 2)),
        rename("z", "y"),
        hoist("y", "q"),
        select("a", "q"),
    ]
    assert [p.split(":")[0] for p in problems(*ops, target={"a": INT, "q": STR})] == [
        "/ops/0/from",
        "/ops/3/from",
    ]


def only(kind: FieldType, target: FieldType, optional: str = "x") -> list[str]:
    source, result = Schema("S", "1", (Field("x", kind),)), Schema("T", "1", (Field("x", target),))
    return [p.reason for p in check_ops(FieldOps(()), source, result, NESTED)]


@pytest.mark.parametrize(
    ("kind", "target", "reason"),
    [
        (INT, INT, None),
        (INT, AnyType(), None),
        (NDArray("uint8", (2, 3)), NDArray("|u1", (-1, 3)), None),
        (NDArray("uint8"), NDArray(), None),
        (ListOf(POINT), ListOf(POINT), None),
        (Nested(INNER), Record((Field("z", STR),)), None),
        (INT, FLOAT, "/x: int on the left, float on the right"),
        (NDArray("uint8"), NDArray("int16"), "'uint8' on the left"),
        (NDArray(), NDArray("uint8"), "dtype stated on the right only"),
        (AnyType(), INT, "open on the left"),
        (MapOf(INT), MapOf(FLOAT), "/x/values: "),
        (POINT, Record((*POINT.fields, Field("z", INT, True))), "/x/z: added on the right"),
        (POINT, Record(POINT.fields[:1]), "/x/y: removed on the right"),
        (Nested(INNER), Nested("at://did:plc:nobody/a.b.c/d"), "is not known here"),
    ],
)
def test_a_field_reaches_the_target_as_it_is_or_as_part_of_a_wider_type(
    kind: FieldType, target: FieldType, reason: str | None
) -> None:
    found = only(kind, target)
    assert (found == []) if reason is None else (reason in found[0])


def test_the_target_has_the_fields_that_the_operations_yield_and_no_others() -> None:
    found = problems(select("a", "label"), target={"a": INT, "n": STR})
    assert found == [
        "/ops: of the result, /n: the target has this field, and no operation yields it",
        "/ops: of the result, /label: the target does not have this field: drop it",
    ]
    [found_one] = problems(select("note"), target={"note": INT})
    assert "/note: str on the left, int on the right" in found_one


def test_what_may_be_missing_does_not_fit_a_required_field() -> None:
    source = Schema("S", "1.0.0", (Field("x", STR, True),))
    required, optional = (Schema("T", "1.0.0", (Field("x", STR, o),)) for o in (False, True))
    [problem] = check_ops(FieldOps(()), source, required)
    assert "it may be missing, and the target requires it" in problem.reason
    assert check_ops(FieldOps(()), source, optional) == []
    assert check_ops(FieldOps(()), required, optional) == []
    given = FieldOps((table("x", (None, ""), ("a", "a")),))
    assert check_ops(given, source, required) == []


@pytest.mark.parametrize(
    ("ops", "kind", "reason"),
    [
        ([add("n", 1)], INT, None),
        ([add("n", 1)], FLOAT, None),
        ([add("n", True)], INT, "is no int"),
        ([add("n", [1, 2])], ListOf(INT), None),
        ([add("n", [1, "x"])], ListOf(INT), "is no int"),
        ([add("n", {"k": 1.5})], MapOf(FLOAT), None),
        ([add("n", 1)], MapOf(FLOAT), "is no map"),
        ([add("n", 1)], ListOf(FLOAT), "is no list"),
        ([add("n", {"z": "x"})], Nested(INNER), None),
        ([add("n", {"z": "x"})], Nested("at://did:plc:nobody/a.b.c/d"), "is not known here"),
        ([add("n", None)], INT, "null"),
        ([add("n", b"x")], NDArray(format="arrowTensor"), "no constants"),
        ([nest("n", "a", "label")], Record((Field("a", INT), Field("label", STR))), None),
        ([nest("n", "a", "label")], Record((Field("a", INT),)), "/n/label: the target does not"),
        ([nest("n", "a")], Record((Field("a", STR),)), "/n/a: int on the left"),
        ([nest("n", "a")], AnyType(), None),
        ([nest("n", "a")], INT, "an inner sample, and the target has int"),
        ([nest("n", "a")], Nested("at://did:plc:nobody/a.b.c/d"), "is not known here"),
        ([rename("label", "z"), nest("n", "z")], Nested(INNER), None),
    ],
)
def test_constants_and_inner_samples_fit_the_target_by_what_they_hold(
    ops: list[dict[str, Any]], kind: FieldType, reason: str | None
) -> None:
    found = problems(*ops, select("n"), target={"n": kind})
    assert (found == []) if reason is None else (reason in found[0])


def test_the_narrowest_schema_of_a_lens_is_made_for_its_author() -> None:
    ops = FieldOps(
        (
            select("a", "label", "image", "note", "flag"),
            cast("image", "uint8", "float32"),
            table("label", ("cat", 1), ("dog", 2.5)),
            table("flag", (True, "x"), (False, None)),
            nest("n", "a", "label"),
            add("k", [1]),
        )
    )
    fields = {field.name: field for field in result_fields(ops, FULL, NESTED)}
    assert fields["image"].type == NDArray("float32", (-1, 3))
    assert fields["note"] == Field("note", STR, True)
    assert fields["flag"] == Field("flag", STR, True)
    assert fields["n"].type == Record((Field("a", INT), Field("label", FLOAT)))
    assert isinstance(fields["k"].type, AnyType)


# Lenses


LENS = Lens("l", "at://s", "at://t", FieldOps(()), None)
CODE = CodeReference("https://git.example/x", "0" * 40, "a.py:f")


def test_a_lens_is_checked_at_the_paths_of_its_record() -> None:
    broken = replace(LENS, getter=FieldOps((rename("z", "y"),)))
    assert check_lens(broken, FULL, FULL, NESTED)[0].path == "/getterCode/ops/0/from"
    assert check_lens(LENS, FULL, FULL, NESTED) == []


def test_a_lens_of_code_is_not_judged() -> None:
    assert check_lens(replace(LENS, getter=CODE, putter=CODE), FULL, schema({})) == []
    assert check_lens(replace(LENS, getter=None), FULL, schema({})) == []


def test_operations_have_their_own_way_back_and_are_no_putter() -> None:
    for lens in (
        replace(LENS, putter=CODE),
        replace(LENS, putter=FieldOps(())),
        replace(LENS, getter=CODE, putter=FieldOps(())),
    ):
        assert [p.path for p in check_lens(lens, FULL, FULL, NESTED)] == ["/putterCode"]


def test_an_operation_of_a_later_version_is_the_only_thing_reported() -> None:
    lens = replace(LENS, getter=FieldOps(({"op": "x#meltOp"}, rename("z", "y"))))
    [problem] = check_lens(lens, FULL, schema({}))
    assert (problem.path, problem.reason) == (
        "/getterCode/ops/0/op",
        "the operation 'x#meltOp' is not known",
    )


def test_the_example_of_a_declarative_lens_type_checks() -> None:
    place = files("atdex_lexicons") / "examples" / "app.bsky.atdata.lens" / "declarative.json"
    lens = project("app.bsky.atdata.lens", json.loads(place.read_text()))
    assert isinstance(lens, Lens)
    source = Schema(
        "Image",
        "1.0.0",
        (
            Field("image", NDArray("uint8", (-1, -1, 3))),
            Field("label", STR),
            Field("confidence", FLOAT, optional=True),
        ),
    )
    image = NDArray("float32", (-1, -1, 3))
    fields = (Field("image", image), Field("species", STR), Field("laboratory", STR))
    assert check_lens(lens, source, Schema("Labelled", "1.0.0", fields)) == []


# Bounds


def test_problems_are_listed_up_to_a_number() -> None:
    ops = FieldOps(tuple(rename("z", f"y{n}") for n in range(PROBLEMS_MAX + 5)))
    found = check_ops(ops, FULL, schema({}), NESTED)
    assert len(found) == PROBLEMS_MAX + 1
    assert found[-1].reason == "and more problems"
    assert not any("of the result" in problem.reason for problem in found)


def test_what_is_looked_at_again_and_again_is_not_looked_at_for_ever() -> None:
    rows = [(n, n) for n in range(ROWS_MAX)]
    casts = [cast("a", "int", "str"), cast("a", "str", "int")] * (STEPS_MAX // ROWS_MAX)
    names = [f"f{n}" for n in range(NAMES_MAX)]
    wide = schema({name: Nested("at://wide") for name in names})
    for ops in (
        [table("a", *rows), *casts],
        [select(*names)] * (STEPS_MAX // NAMES_MAX + 1),
        [nest("n", *names), hoist("n", *names)] * (STEPS_MAX // NAMES_MAX),
    ):
        source = FULL if ops[0]["op"] == "map" else wide
        found = check_ops(FieldOps(tuple(ops)), source, source, {"at://wide": wide})
        assert any(p.reason == f"more than {STEPS_MAX} steps to check" for p in found)
        assert "of the result" not in found[-1].reason


def test_fields_of_many_types_are_compared_within_one_bound() -> None:
    wide = Record(tuple(Field(f"f{n}", INT) for n in range(500)))
    source = schema({f"g{n}": wide for n in range(100)})
    found = check_ops(FieldOps(()), source, source)
    assert found
    assert all("too deep or too large to compare" in problem.reason for problem in found)
