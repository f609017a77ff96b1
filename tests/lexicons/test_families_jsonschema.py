"""JSON Schema as a sample type."""

from __future__ import annotations

import time
from typing import Any

import pytest

from atdex_lexicons.errors import Problem
from atdex_lexicons.families.jsonschema import TYPES_MAX, read_fields
from atdex_lexicons.families.jsonschema_write import array_versions, write_content
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
)

SCHEMA_URI = "at://did:plc:k7dqmn3xw2t5hjv4yzr6apce/science.alt.dataset.schema/3mfx2abcdea2s"
HOSTS = ("https://alt.science/schemas", "https://json-schema.alt.science")


def read(content: Any, versions: Any = None) -> tuple[Field, ...]:
    problems: list[Problem] = []
    fields = read_fields(content, versions, "", problems)
    assert problems == []
    return fields


def type_of(schema: Any, **beside: Any) -> FieldType:
    (field,) = read({"type": "object", "properties": {"x": schema}, "required": ["x"], **beside})
    return field.type


def optional(schema: Any) -> bool:
    (field,) = read({"type": "object", "properties": {"x": schema}, "required": ["x"]})
    return field.optional


@pytest.mark.parametrize(
    ("schema", "expected"),
    [
        ({"type": "string"}, Primitive("str")),
        ({"type": "integer"}, Primitive("int")),
        ({"type": "number"}, Primitive("float")),
        ({"type": "boolean"}, Primitive("bool")),
        ({"type": "string", "format": "byte"}, Primitive("bytes")),
        ({"type": "string", "contentEncoding": "base64"}, Primitive("bytes")),
        ({"type": ["integer", "number"]}, Primitive("float")),
        ({"enum": ["a", "b"]}, Primitive("str")),
        ({"const": 3}, Primitive("int")),
        ({"type": "array", "items": {"type": "integer"}}, ListOf(Primitive("int"))),
        ({"type": "array"}, ListOf(AnyType("no type is stated"))),
        (
            {"type": "object", "additionalProperties": {"type": "boolean"}},
            MapOf(Primitive("bool")),
        ),
        ({"type": "object"}, MapOf(AnyType("no type is stated"))),
        ({"type": "object", "properties": {}}, Record(())),
        ({"allOf": [{"type": "string"}]}, Primitive("str")),
        ({"$ref": SCHEMA_URI}, Nested(SCHEMA_URI)),
        (True, AnyType("no type is stated")),
        ({}, AnyType("no type is stated")),
        (False, AnyType("not a schema")),
        ("string", AnyType("not a schema")),
        ({"type": "tuple"}, AnyType("the type 'tuple' is not known")),
        ({"type": ["string", "integer"]}, AnyType("one of several types: string, integer")),
        (
            {"anyOf": [{"type": "string"}, {"type": "integer"}]},
            AnyType("one of several types"),
        ),
        ({"type": "array", "items": [{}, {}]}, AnyType("a list with a type for each place")),
        (
            {"type": "array", "items": {"type": ["integer", "null"]}},
            ListOf(AnyType("a value that may be null")),
        ),
        (
            {"$ref": "https://elsewhere.example/x"},
            AnyType("refers to 'https://elsewhere.example/x', which is not known"),
        ),
        ({"$ref": "#/$defs/none"}, AnyType("refers to '#/$defs/none', which is not known")),
        ({"$ref": 7}, AnyType("a reference that is no text")),
    ],
)
def test_a_subschema_stands_for_one_type(schema: Any, expected: FieldType) -> None:
    assert type_of(schema) == expected


@pytest.mark.parametrize("host", HOSTS)
@pytest.mark.parametrize(
    ("shim", "definition", "array_format"),
    [
        ("ndarray-bytes", "ndarray", "ndarrayBytes"),
        ("sparse-bytes", "sparse", "sparseBytes"),
        ("structured-bytes", "structured", "structuredBytes"),
        ("arrow-tensor", "tensor", "arrowTensor"),
        ("safetensors", "safetensors", "safetensors"),
        ("dataframe", "dataframe", "dataframe"),
    ],
)
def test_every_array_format_is_known_under_both_hosts(
    host: str, shim: str, definition: str, array_format: str
) -> None:
    url = f"{host}/atdata-{shim}/1.0.0#/$defs/{definition}"
    assert type_of({"$ref": url}) == NDArray(format=array_format, format_version="1.0.0")
    bare = {"$ref": url.partition("#")[0] + "/"}
    assert type_of(bare) == NDArray(format=array_format, format_version="1.0.0")


@pytest.mark.parametrize("host", HOSTS)
@pytest.mark.parametrize("prefix", ["", "x-atdata-"])
def test_annotations_beside_the_reference_describe_the_array(host: str, prefix: str) -> None:
    schema = {
        "$ref": f"{host}/atdata-ndarray-bytes/1.1.0#/$defs/ndarray",
        f"{prefix}dtype": "float32",
        f"{prefix}shape": [None, 64],
        "dimensionNames": ["batch", "feature"],
    }
    assert type_of(schema) == NDArray(
        dtype="float32",
        shape=(-1, 64),
        dimension_names=("batch", "feature"),
        format_version="1.1.0",
    )


@pytest.mark.parametrize("shape", ["3", [1.5], [True], {"0": 1}])
def test_a_shape_that_makes_no_sense_is_no_shape(shape: Any) -> None:
    schema = {"$ref": f"{HOSTS[0]}/atdata-ndarray-bytes/1.1.0", "shape": shape, "dtype": 5}
    assert type_of(schema) == NDArray(format_version="1.1.0")


@pytest.mark.parametrize(
    "copy",
    [
        {"type": "string", "format": "byte", "contentEncoding": "base64"},
        {"type": "object", "required": ["data"], "properties": {"data": {"type": "string"}}},
    ],
)
def test_a_local_copy_of_a_shim_is_an_array(copy: dict[str, Any]) -> None:
    content = {
        "type": "object",
        "properties": {"x": {"$ref": "#/$defs/ndarray", "x-atdata-dtype": "uint8"}},
        "$defs": {"ndarray": copy},
    }
    (field,) = read(content, {"ndarrayBytes": "1.0.0"})
    assert field.type == NDArray(dtype="uint8", format_version="1.0.0")


def test_a_local_reference_to_a_shim_is_an_array_with_its_annotations() -> None:
    found = type_of(
        {"$ref": "#/$defs/image", "dtype": "uint8"},
        **{"$defs": {"image": {"$ref": f"{HOSTS[0]}/atdata-ndarray-bytes/1.0.0"}}},
    )
    assert found == NDArray(dtype="uint8", format_version="1.0.0")


@pytest.mark.parametrize(
    "schema",
    [
        {"type": ["string", "null"]},
        {"anyOf": [{"type": "string"}, {"type": "null"}]},
        {"oneOf": [{"type": "null"}, {"$ref": f"{HOSTS[0]}/atdata-ndarray-bytes/1.0.0"}]},
        {"allOf": [{"type": ["string", "null"]}]},
    ],
)
def test_null_beside_a_type_makes_a_required_field_optional(schema: Any) -> None:
    assert optional(schema)
    assert not isinstance(type_of(schema), AnyType)


def test_a_field_that_is_not_required_is_optional() -> None:
    fields = read({"properties": {"a": {"type": "string"}, "b": {}}, "required": ["a"]})
    assert [field.optional for field in fields] == [False, True]


def test_fields_keep_the_order_and_the_description_given() -> None:
    fields = read({"properties": {"z": {"type": "string", "description": "last"}, "a": True}})
    assert [(field.name, field.description) for field in fields] == [("z", "last"), ("a", "")]


def test_where_the_order_is_lost_the_required_fields_come_first_in_theirs() -> None:
    content = {"properties": {"a": True, "b": True, "cc": True}, "required": ["cc", "a"]}
    assert [field.name for field in read(content)] == ["cc", "a", "b"]


def test_the_root_may_be_a_local_definition() -> None:
    content = {
        "$ref": "#/definitions/S",
        "definitions": {"S": {"type": "object", "properties": {"a": {"type": "string"}}}},
    }
    assert read(content) == (Field("a", Primitive("str"), optional=True),)


@pytest.mark.parametrize(
    ("content", "path"),
    [
        ({"type": "array"}, "/type"),
        ({"type": "object", "properties": []}, "/properties"),
        ({"type": "object", "properties": {}, "required": True}, "/required"),
        ({"type": "object", "properties": {}, "required": [1]}, "/required"),
        ({"$ref": "#/$defs/none"}, "/$ref"),
        ({"$ref": "#/$defs/a", "$defs": {"a": {"$ref": "#/$defs/a"}}}, "/$ref"),
        ([], ""),
    ],
)
def test_what_cannot_be_a_sample_is_a_problem(content: Any, path: str) -> None:
    problems: list[Problem] = []
    assert read_fields(content, None, "", problems) == ()
    assert [problem.path for problem in problems] == [path]


def test_a_schema_that_contains_itself_ends() -> None:
    node = {"type": "object", "properties": {"next": {"$ref": "#/$defs/node"}}}
    found = type_of({"$ref": "#/$defs/node"}, **{"$defs": {"node": node}})
    depth = 0
    while isinstance(found, Record):
        found = found.fields[0].type
        depth += 1
    assert found == AnyType("types are nested too deep")
    assert depth < 40


def test_a_schema_that_doubles_at_every_level_ends_soon() -> None:
    definitions = {
        f"d{level}": {
            "type": "object",
            "properties": {
                name: {"$ref": f"#/$defs/d{level + 1}"} for name in ("a", "b", "c", "d")
            },
        }
        for level in range(30)
    }
    start = time.process_time()
    found = type_of({"$ref": "#/$defs/d0"}, **{"$defs": definitions})
    assert time.process_time() - start < 5
    assert isinstance(found, Record)
    assert repr(found).count("AnyType") < 2 * TYPES_MAX


def test_many_required_names_do_not_make_reading_quadratic() -> None:
    names = [f"f{index}" for index in range(30_000)]
    start = time.process_time()
    fields = read({"properties": dict.fromkeys(names, True), "required": names})
    assert time.process_time() - start < 5
    assert len(fields) == 30_000


def test_array_versions_name_the_highest_of_each_format() -> None:
    fields = (
        Field("a", NDArray(format_version="1.0.0")),
        Field("b", ListOf(NDArray(dtype="uint8"))),
        Field("c", Record((Field("d", NDArray(format="sparseBytes")),))),
    )
    assert array_versions(fields) == {"ndarrayBytes": "1.1.0", "sparseBytes": "1.0.0"}


def test_the_written_schema_of_an_array_is_what_the_atdata_library_writes() -> None:
    assert write_content((Field("image", NDArray(format_version="1.0.0")),), "") == {
        "$schema": "http://json-schema.org/draft-07/schema#",
        "type": "object",
        "properties": {
            "image": {
                "$ref": "https://alt.science/schemas/atdata-ndarray-bytes/1.0.0#/$defs/ndarray"
            }
        },
        "required": ["image"],
    }
