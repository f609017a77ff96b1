"""How schemas relate."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from atdex_lexicons.compare import (
    COMPARED_DEPTH_MAX,
    REASONS_MAX,
    Comparison,
    compare_schemas,
    nested_uris,
)
from atdex_lexicons.families import project
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
from tests.lexicons.lens_strategies import schemas

A = "at://did:plc:aaaaaaaaaaaaaaaaaaaaaaaa/app.bsky.atdata.schema/3kaaaaaaaaaaa"
B = "at://did:plc:aaaaaaaaaaaaaaaaaaaaaaaa/app.bsky.atdata.schema/3kbbbbbbbbbbb"

INT, FLOAT, BOOL, STR, BYTES = (
    Primitive("int"),
    Primitive("float"),
    Primitive("bool"),
    Primitive("str"),
    Primitive("bytes"),
)


def schema(*fields: Field, name: str = "Image", version: str = "1.0.0") -> Schema:
    return Schema(name, version, fields)


def one(kind: FieldType, optional: bool = False) -> Schema:
    return schema(Field("x", kind, optional))


def mirrored(relation: str) -> str:
    return {"widening": "narrowing", "narrowing": "widening"}.get(relation, relation)


def only(comparison: Comparison) -> tuple[str, str, str]:
    [field] = comparison.fields
    return field.relation, comparison.relation, field.reason


ARRAY = NDArray("uint8", (-1, -1, 3))


@pytest.mark.parametrize(
    ("left", "right", "relation", "reason"),
    [
        (INT, INT, "identical", ""),
        (INT, FLOAT, "widening", "int on the left, float on the right, a safe cast"),
        (BOOL, INT, "widening", "bool on the left, int on the right, a safe cast"),
        (INT, STR, "incompatible", "int on the left, str on the right"),
        (STR, BYTES, "incompatible", "str on the left, bytes on the right"),
        (INT, AnyType("no type is stated"), "widening", "open on the right (no type is stated)"),
        (AnyType("one"), AnyType("two"), "identical", ""),
        (INT, ARRAY, "incompatible", "int on the left, an array of 'uint8' on the right"),
        (NDArray("uint8"), NDArray("|u1"), "identical", ""),
        (NDArray("<f4"), NDArray(">f4"), "identical", ""),
        (NDArray("uint8"), NDArray("float32"), "widening", "a safe cast"),
        (NDArray("int64"), NDArray("float64"), "widening", "a safe cast"),
        (NDArray("int64"), NDArray("float32"), "incompatible", "no safe cast"),
        (NDArray("uint8"), NDArray("int8"), "incompatible", "no safe cast"),
        (NDArray("S4"), NDArray("U4"), "incompatible", "no safe cast"),
        (NDArray("S4"), NDArray("S8"), "widening", "a safe cast"),
        (NDArray("int64"), NDArray("m8[s]"), "incompatible", "no safe cast"),
        (NDArray("object"), NDArray("float32"), "incompatible", "'object' on the left"),
        (NDArray("uint8"), NDArray(), "widening", "dtype stated on the left only"),
        (NDArray(shape=(4, 3)), NDArray(shape=(-1, 3)), "widening", "dimension 0 is 4"),
        (NDArray(shape=(4, 3)), NDArray(), "widening", "shape stated on the left only"),
        (NDArray(shape=(4, 3)), NDArray(shape=(3, 4)), "incompatible", "dimension 0 is 4"),
        (NDArray(shape=(4,)), NDArray(shape=(4, 1)), "incompatible", "1 dimensions on the left"),
        (
            NDArray(shape=(4, -1)),
            NDArray(shape=(-1, 3)),
            "incompatible",
            "dimension 0 is 4 on the left, free on the right; dimension 1 is free on the left, 3",
        ),
        (
            NDArray(dimension_names=("h", "w")),
            NDArray(dimension_names=("w", "h")),
            "incompatible",
            "names of the dimensions",
        ),
        (ARRAY, replace(ARRAY, format="arrowTensor"), "incompatible", "encoded as"),
        (replace(ARRAY, format_version="1.0.0"), ARRAY, "widening", "version of the encoding"),
        (ListOf(INT), ListOf(FLOAT), "widening", "/items: int on the left"),
        (MapOf(ListOf(INT)), MapOf(ListOf(STR)), "incompatible", "/values/items: int"),
        (ListOf(INT), MapOf(INT), "incompatible", "a list of int on the left, a map to int"),
        (
            Record((Field("a", INT), Field("b/c", INT))),
            Record((Field("a", INT),)),
            "widening",
            "/b~1c: removed on the right, required on the left",
        ),
        (Nested(A), Nested(A), "identical", ""),
        (Nested(A), Nested(B), "incompatible", "is not known here"),
    ],
)
def test_types_are_compared_by_what_can_be_read(
    left: FieldType, right: FieldType, relation: str, reason: str
) -> None:
    field, whole, found = only(compare_schemas(one(left), one(right)))
    assert (field, whole) == (relation, relation)
    assert reason in found
    assert compare_schemas(one(right), one(left)).relation == mirrored(relation)


@pytest.mark.parametrize(
    ("left", "right", "expected"),
    [
        ((), (Field("x", INT, True),), ("added", "widening")),
        ((), (Field("x", INT),), ("added", "narrowing")),
        ((Field("x", INT, True),), (), ("removed", "widening")),
        ((Field("x", INT),), (), ("removed", "widening")),
        ((Field("x", INT),), (Field("x", INT, True),), ("widening", "widening")),
        ((Field("x", INT, True),), (Field("x", INT),), ("narrowing", "narrowing")),
        ((Field("x", INT, True),), (Field("x", FLOAT),), ("incompatible", "incompatible")),
    ],
)
def test_a_field_that_one_schema_lacks_or_requires_decides_who_can_read_whom(
    left: tuple[Field, ...], right: tuple[Field, ...], expected: tuple[str, str]
) -> None:
    assert only(compare_schemas(schema(*left), schema(*right)))[:2] == expected


def test_a_rename_is_a_removal_and_an_addition() -> None:
    found = compare_schemas(schema(Field("label", STR)), schema(Field("species", STR)))
    assert [(f.name, f.relation, f.effect) for f in found.fields] == [
        ("label", "removed", "widening"),
        ("species", "added", "narrowing"),
    ]
    assert found.relation == "incompatible"


def test_one_field_that_widens_and_one_that_narrows_make_schemas_incompatible() -> None:
    left = schema(Field("a", INT), Field("b", FLOAT))
    right = schema(Field("a", FLOAT), Field("b", INT))
    found = compare_schemas(left, right)
    assert [f.relation for f in found.fields] == ["widening", "narrowing"]
    assert found.relation == "incompatible"


def test_names_descriptions_and_order_of_fields_say_nothing() -> None:
    left = schema(Field("a", INT, description="one"), Field("b", STR))
    right = schema(Field("b", STR), Field("a", INT, description="1"), name="X", version="9.0.0")
    assert compare_schemas(left, right).relation == "identical"


def test_schemas_by_reference_are_compared_by_their_fields() -> None:
    nested = {A: one(INT), B: one(FLOAT)}
    assert only(compare_schemas(one(Nested(A)), one(Nested(B)), nested))[:2] == (
        "widening",
        "widening",
    )
    inline = one(Record((Field("x", INT),)))
    assert compare_schemas(one(Nested(A)), inline, nested).relation == "identical"
    assert list(nested_uris(one(ListOf(MapOf(Nested(A)))).fields)) == [A]


def test_schemas_that_contain_themselves_are_compared_once() -> None:
    def tree(uri: str, value: FieldType) -> Schema:
        return schema(Field("value", value), Field("children", ListOf(Nested(uri))))

    same = {A: tree(A, INT), B: tree(B, INT)}
    assert compare_schemas(same[A], same[B], same).relation == "identical"
    wider = {A: tree(A, INT), B: tree(B, FLOAT)}
    assert compare_schemas(wider[A], wider[B], wider).relation == "widening"


def test_types_that_are_nested_too_deep_are_not_said_to_fit() -> None:
    kind: FieldType = INT
    for _ in range(COMPARED_DEPTH_MAX + 1):
        kind = ListOf(kind)
    assert "too deep" in only(compare_schemas(one(kind), one(kind)))[2]


def test_schemas_that_stand_for_millions_of_types_are_compared_in_bounded_time() -> None:
    def level(n: int, side: str) -> Schema:
        return schema(*(Field(f"f{k}", Nested(f"{A}{side}{n + 1}")) for k in range(10)))

    nested = {f"{A}{side}{n}": level(n, side) for side in "lr" for n in range(20)}
    nested |= {f"{A}{side}20": one(INT) for side in "lr"}
    found = compare_schemas(nested[f"{A}l0"], nested[f"{A}r0"], nested)
    assert found.relation == "incompatible"


def test_a_field_says_a_few_reasons_and_counts_the_rest() -> None:
    left = Record(tuple(Field(f"f{n}", INT) for n in range(REASONS_MAX + 3)))
    right = Record(tuple(Field(f"f{n}", STR) for n in range(REASONS_MAX + 3)))
    reason = only(compare_schemas(one(left), one(right)))[2]
    assert reason.endswith("; and 3 more")


def test_both_families_spell_the_same_schema() -> None:
    own = {
        "name": "Image",
        "version": "1.0.0",
        "fields": [
            {
                "name": "image",
                "type": {
                    "$type": "app.bsky.atdata.schema#arrayType",
                    "kind": "ndarray",
                    "dtype": "uint8",
                    "shape": [-1, -1, 3],
                    "formatVersion": "1.0.0",
                },
            },
            {
                "name": "label",
                "type": {
                    "$type": "app.bsky.atdata.schema#primitiveType",
                    "kind": "primitive",
                    "primitive": "str",
                },
                "optional": True,
            },
        ],
        "createdAt": "2026-01-02T03:04:05Z",
    }
    shim = "https://alt.science/schemas/atdata-ndarray-bytes/1.0.0#/$defs/ndarray"
    content = {
        "type": "object",
        "properties": {
            "image": {"$ref": shim, "dtype": "uint8", "shape": [None, None, 3]},
            "label": {"type": ["string", "null"]},
        },
        "required": ["image"],
    }
    classic = {
        "name": "Image",
        "version": "1.0.0",
        "schemaType": "jsonSchema",
        "schema": {"$type": "science.alt.dataset.schema#jsonSchemaFormat", "content": content},
        "createdAt": "2026-01-02T03:04:05Z",
    }
    left = project("app.bsky.atdata.schema", own)
    right = project("science.alt.dataset.schema", classic)
    assert isinstance(left, Schema)
    assert isinstance(right, Schema)
    assert len(right.fields) == 2
    assert compare_schemas(left, right).relation == "identical"


@settings(deadline=None)
@given(schemas)
def test_a_schema_is_identical_to_itself(drawn: Schema) -> None:
    assert compare_schemas(drawn, drawn).relation == "identical"


@settings(deadline=None)
@given(schemas, schemas)
def test_the_other_way_round_widening_is_narrowing(left: Schema, right: Schema) -> None:
    there = compare_schemas(left, right)
    back = compare_schemas(right, left)
    forward = all(d.forward for f in there.fields for d in f.differences)
    backward = all(d.backward for f in there.fields for d in f.differences)
    assert forward == (there.relation in ("identical", "widening"))
    assert backward == (back.relation in ("identical", "widening"))
    if not (forward and backward):
        assert back.relation == mirrored(there.relation)


@settings(deadline=None)
@given(st.lists(schemas, min_size=3, max_size=3))
def test_what_can_be_read_as_a_second_and_that_as_a_third_can_be_read_as_the_third(
    drawn: list[Schema],
) -> None:
    a, b, c = drawn
    readable = ("identical", "widening")
    if compare_schemas(a, b).relation in readable and compare_schemas(b, c).relation in readable:
        # A field that the second passes over may stand in its way in the third.
        shared = {f.name for f in b.fields}
        if all(f.name in shared for f in c.fields):
            assert compare_schemas(a, c).relation in readable
