from __future__ import annotations

import dataclasses
import keyword
import os
from typing import Any

import msgpack
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import atdex
from atdex.decode import SampleDecoder
from atdex.errors import BadArray, BadSample, BadSchema, RecordRefused, Unsupported
from atdex.schema import MAX_FIELDS, class_of, python_name
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
from tests.sdk.shards import fixture


def schema(*fields: Field, name: str = "Made") -> Schema:
    return Schema(name, "1.0.0", fields)


def decode(cls: type[Any], values: dict[str, Any]) -> Any:
    return SampleDecoder(cls).decode(msgpack.packb(values), "s.tar", "k")


def test_the_record_of_the_fixture_becomes_a_class_in_the_order_of_its_fields() -> None:
    cls = atdex.sample_class(fixture("schema.json")["value"])
    assert cls.__name__ == "Fix"
    assert cls.__doc__ == "Fixture sample."
    assert [f.name for f in dataclasses.fields(cls)] == [
        "name", "count", "score", "flag", "raw", "image", "mask", "tags", "nums",
    ]  # fmt: skip
    optional = {f.name for f in dataclasses.fields(cls) if f.default is None}
    assert optional == {"mask"}


def test_a_record_that_breaks_its_lexicon_is_refused_with_the_reason() -> None:
    record = fixture("schema.json")["value"]
    del record["version"]
    with pytest.raises(RecordRefused, match="version"):
        atdex.sample_class(record)
    with pytest.raises(BadSchema, match="does not say its collection"):
        atdex.sample_class({})
    with pytest.raises(BadSchema, match="no collection of schemas"):
        atdex.sample_class(fixture("label.json")["value"])
    with pytest.raises(RecordRefused):
        atdex.sample_class({"$type": "com.example.thing"})


def test_an_optional_field_may_stand_before_a_required_one() -> None:
    cls = class_of(
        schema(
            Field("maybe", Primitive("int"), optional=True),
            Field("always", Primitive("str")),
        )
    )
    assert decode(cls, {"always": "a"}) == cls(maybe=None, always="a")
    with pytest.raises(BadSample, match="required and missing"):
        decode(cls, {"maybe": 1})


def test_every_type_of_the_model_is_decoded() -> None:
    inner = schema(Field("a", Primitive("int")), name="Inner")
    array = NDArray("uint8", (-1, 2))
    cls = class_of(
        schema(
            Field("image", array),
            Field("any", NDArray()),
            Field("list", ListOf(ListOf(Primitive("float")))),
            Field("map", MapOf(array)),
            Field("nested", Nested("at://did:plc:x/c/inner"), optional=True),
            Field("record", Record((Field("raw", Primitive("bytes")),))),
            Field("open", AnyType()),
        ),
        {"at://did:plc:x/c/inner": inner},
    )
    packed = atdex.encode_array(np.zeros((3, 2), "u1"))
    values = {
        "image": packed,
        "any": atdex.encode_array(np.array(1.5)),
        "list": [[1, 2.5]],
        "map": {"x": packed},
        "nested": {"a": 1},
        "record": {"raw": b"r"},
        "open": [1, {"x": None}],
    }
    sample = decode(cls, values)
    assert sample.image.shape == sample.map["x"].shape == (3, 2)
    assert sample.list == [[1.0, 2.5]]
    assert (sample.nested.a, sample.record.raw, sample.open) == (1, b"r", [1, {"x": None}])
    for wrong in (np.zeros((3, 3), "u1"), np.zeros((3, 2), "f4")):
        with pytest.raises(BadSample, match="the field declares"):
            decode(cls, values | {"image": atdex.encode_array(wrong)})


@pytest.mark.parametrize("dtype", ["float32", "<f4", "bool", "|b1", "uint8", "complex64"])
def test_dtypes_are_read_in_either_spelling(dtype: str) -> None:
    cls = class_of(schema(Field("x", NDArray(dtype))))
    array = np.zeros(2, np.dtype(dtype))
    assert decode(cls, {"x": atdex.encode_array(array)}).x.dtype == array.dtype


@pytest.mark.parametrize("dtype", ["object", "O", "|O", "float31", "os", "", "f4,f4"])
def test_a_dtype_that_is_none_is_refused(dtype: str) -> None:
    with pytest.raises(BadSchema, match="field 'x'"):
        class_of(schema(Field("x", NDArray(dtype))))


@pytest.mark.parametrize("form", ["sparseBytes", "arrowTensor", "safetensors", "dataframe", "new"])
def test_an_array_format_that_is_not_read_is_refused_by_name(form: str) -> None:
    with pytest.raises(Unsupported, match=f"{form}.* of the field 'x'"):
        class_of(schema(Field("x", NDArray(format=form))))


def test_structured_arrays_are_read_from_npy() -> None:
    cls = class_of(schema(Field("x", NDArray(format="structuredBytes"))))
    array = np.array([(1.0, 2)], dtype=[("a", "<f4"), ("b", "<i4")])
    assert decode(cls, {"x": atdex.encode_array(array)}).x["b"].tolist() == [2]


HOSTILE = [
    "class", "None", "__init__", "__class__", "__dict__", "_private", "a b", "a-b", "1st", "", "é",
    "ﬁ", "self", "x; import os", "__import__('os')", "'", "💥", "²", "a_b",
    "field_init", "f0", "default", "MISSING", "x" * 5000,
]  # fmt: skip


def test_names_that_are_no_python_names_keep_their_place_in_the_data() -> None:
    cls = class_of(schema(*(Field(name, Primitive("int"), optional=True) for name in HOSTILE)))
    names = [f.name for f in dataclasses.fields(cls)]
    assert len(set(names)) == len(HOSTILE)
    assert all(n.isidentifier() and not keyword.iskeyword(n) and n[0] != "_" for n in names)
    sample = decode(cls, {name: i for i, name in enumerate(HOSTILE)})
    assert [getattr(sample, name) for name in names] == list(range(len(HOSTILE)))
    assert names[:3] == ["class_", "None_", "field_init"]


@pytest.mark.parametrize("name", ['"', "\\", "x\nimport os", "\0", "\ud800"])
def test_names_that_cannot_be_looked_for_are_refused(name: str) -> None:
    with pytest.raises(BadSchema, match="quotes, backslashes or control"):
        class_of(schema(Field(name, Primitive("int"))))


@given(names=st.lists(st.text(max_size=30), unique=True, max_size=12))
@settings(max_examples=60, deadline=None)
def test_any_names_make_a_class_that_decodes_or_are_refused(names: list[str]) -> None:
    try:
        cls = class_of(schema(*(Field(name, Primitive("int")) for name in names)))
    except BadSchema:
        return
    sample = decode(cls, {name: i for i, name in enumerate(names)})
    found = [getattr(sample, f.name) for f in dataclasses.fields(sample)]
    assert found == list(range(len(names)))


def test_the_text_of_a_record_is_never_run(tmp_path: Any) -> None:
    mark = tmp_path / "ran"
    code = f"__import__('pathlib').Path({os.fspath(mark)!r}).touch()"
    cls = class_of(
        Schema(code, "1.0.0", (Field(code, Primitive("int"), description=code),), description=code)
    )
    decode(cls, {code: 1})
    assert not mark.exists()


def nest(kind: FieldType, levels: int) -> FieldType:
    return kind if levels == 0 else ListOf(nest(kind, levels - 1))


def test_schemas_beyond_their_limits_are_refused() -> None:
    with pytest.raises(BadSchema, match="nested deeper"):
        class_of(schema(Field("x", nest(Primitive("int"), 100))))
    with pytest.raises(BadSchema, match=f"more than {MAX_FIELDS}"):
        class_of(schema(*(Field(f"x{i}", Primitive("int")) for i in range(MAX_FIELDS + 1))))
    with pytest.raises(BadSchema, match="occurs twice"):
        class_of(schema(Field("x", Primitive("int")), Field("x", Primitive("str"))))
    with pytest.raises(BadSchema, match="needs the schema at://a"):
        class_of(schema(Field("x", Nested("at://a"))))
    itself = schema(Field("x", Nested("at://a")))
    with pytest.raises(BadSchema, match="nested deeper"):
        class_of(itself, {"at://a": itself})


@pytest.mark.timeout(10)
def test_schemas_that_name_each_other_often_become_one_class_each() -> None:
    def chained(i: int) -> Schema:
        kind = Nested(f"at://{i + 1}") if i < 12 else Primitive("int")
        return schema(*(Field(f"x{k}", kind) for k in range(20)))

    cls = class_of(chained(0), {f"at://{i}": chained(i) for i in range(1, 13)})
    classes = {f.type for f in dataclasses.fields(cls)}
    assert len(classes) == 1


def test_python_names_never_collide() -> None:
    assert python_name("a b", {"a_b", "a_b_2"}) == "a_b_3"
    with pytest.raises(BadArray):
        atdex.decode_array(b"")
