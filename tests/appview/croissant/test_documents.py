"""Croissant documents of datasets and schemas, as mlcroissant reads them."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from atdex_appview.croissant.document import croissant, license_address
from atdex_appview.croissant.fields import MAX_FIELD_CHARACTERS, MAX_FIELDS
from atdex_lexicons.datamodel import from_json
from atdex_lexicons.families import check_record
from atdex_lexicons.model import (
    AnyType,
    Dataset,
    Field,
    ListOf,
    MapOf,
    NDArray,
    Nested,
    Primitive,
    Record,
    Schema,
)
from tests.appview.croissant.described import (
    CATALOG,
    EXAMPLES,
    PLAIN,
    SCHEMA_URI,
    accepted,
    described,
    field_of,
)
from tests.appview.index import ALICE, CLASSIC
from tests.appview.index import schema as image_schema
from tests.lexicons.test_families_roundtrip import datasets, schemas
from tests.support.expected import ATDATA

pytestmark = pytest.mark.filterwarnings("ignore:ConjunctiveGraph is deprecated")
"""rdflib says so of itself."""


def _published(folder: Path) -> Iterator[tuple[str, Any]]:
    for path in sorted(folder.rglob("*.json")):
        if "invalid" not in path.parts:
            value = json.loads(path.read_text())
            value = value.get("value", value) if isinstance(value, dict) else None
            if isinstance(value, dict) and "$type" in value:
                yield f"{path.parent.name}/{path.name}", value


RECORDS = dict([*_published(ATDATA), *_published(EXAMPLES)])


def _models(kind: str) -> dict[str, Any]:
    checked = {
        name: check_record(CATALOG, value["$type"], None, from_json(value))
        for name, value in RECORDS.items()
    }
    return {name: each.model for name, each in checked.items() if each.kind == kind}


@pytest.mark.parametrize("name", sorted(_models("dataset")))
def test_every_dataset_of_the_fixtures_and_the_examples_is_accepted(name: str) -> None:
    fixture = _models("schema")["atdata/schema.json"]
    accepted(croissant(described(_models("dataset")[name], fixture)))


@pytest.mark.parametrize("name", sorted(_models("schema")))
def test_every_schema_of_the_fixtures_and_the_examples_is_accepted(name: str) -> None:
    schema = _models("schema")[name]
    document = croissant(described(PLAIN, schema))
    accepted(document)
    sets = {each["@id"] for each in document["recordSet"]}
    assert "members" in sets
    assert ("samples" in sets) == any(not isinstance(f.type, AnyType) for f in schema.fields)


@settings(max_examples=30, deadline=None, suppress_health_check=list(HealthCheck))
@given(
    st.one_of(schemas(True), schemas(False)),
    st.one_of(datasets(True), datasets(False)),
    st.sampled_from(["alice.example", "handle.invalid", None]),
)
def test_any_dataset_of_any_schema_of_both_families_is_accepted(
    schema: Schema, of: Dataset, handle: str | None
) -> None:
    nested = {SCHEMA_URI: schema}
    nesting = replace(schema, fields=(*schema.fields, Field("nested", Nested(SCHEMA_URI))))
    document = croissant(described(of, nesting, nested=nested, handle=handle, version="1.0"))
    read = accepted(document)
    assert len(read.metadata.file_objects) == len(of.shards)


def test_a_document_says_what_the_record_says() -> None:
    of = replace(PLAIN, description="Many cats", license="cc-by-4.0", tags=("cat", "pet", "cat"))
    document = croissant(described(of, image_schema(), handle="alice.example", version="2.0.1"))
    read = accepted(document).metadata
    assert (read.name, read.description) == ("Cats", "Many cats")
    assert read.license == ["https://spdx.org/licenses/CC-BY-4.0.html"]
    assert sorted(read.keywords) == ["cat", "pet"]
    assert read.version == "2.0.1"
    assert read.same_as == [f"at://{ALICE}/{CLASSIC}.entry/3kdataset0001"]
    assert [each.name for each in read.creators] == ["alice.example"]
    assert [each.name for each in read.publisher] == ["alice.example"]
    assert read.date_published.isoformat() == "2026-01-02T03:04:05+00:00"
    assert read.date_modified is not None
    (shard,) = read.file_objects
    assert (shard.content_url, shard.sha256) == ("https://a.example/0.tar", "ab" * 32)
    image, word = read.record_sets[0].fields
    assert (image.name, image.array_shape_tuple) == ("image", (-1, -1, 3))
    assert (word.name, word.data_type) == ("label", bytes)  # what mlcroissant makes of sc:Text


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("MIT", "https://spdx.org/licenses/MIT.html"),
        ("apache-2.0", "https://spdx.org/licenses/Apache-2.0.html"),
        ("https://example.org/terms", "https://example.org/terms"),
        ("MIT OR Apache-2.0", "MIT OR Apache-2.0"),
        ("ask Bob", "ask Bob"),
    ],
)
def test_a_licence_that_spdx_lists_is_its_page(name: str, said: str) -> None:
    assert license_address(name) == said


@pytest.mark.parametrize(
    ("kind", "data_type", "shape"),
    [
        (Primitive("str"), "sc:Text", None),
        (Primitive("int"), "sc:Integer", None),
        (Primitive("float"), "sc:Float", None),
        (Primitive("bool"), "sc:Boolean", None),
        (Primitive("bytes"), "cr:UInt8", "-1"),
        (NDArray("uint8", (32, 32, 3)), "cr:UInt8", "32,32,3"),
        (NDArray("<f4", (-1, 8)), "cr:Float32", "-1,8"),
        (NDArray("float64", ()), "cr:Float64", None),
        (NDArray("bool", (4,)), "sc:Boolean", "4"),
        (NDArray("<U10", (4,)), "sc:Text", "4"),
        (NDArray("M8[ns]", (4,)), "sc:DateTime", "4"),
        (NDArray("complex64", (4, 4)), "cr:UInt8", "-1"),
        (NDArray(None, None), "cr:UInt8", "-1"),
        (ListOf(Primitive("int")), "sc:Integer", "-1"),
        (ListOf(ListOf(Primitive("str"))), "sc:Text", "-1,-1"),
        (ListOf(NDArray("int64", (2, 3))), "cr:Int64", "-1,2,3"),
    ],
)
def test_types_and_shapes_are_those_of_the_schema(
    kind: Any, data_type: str, shape: str | None
) -> None:
    found = field_of(kind)
    assert found is not None
    assert found["dataType"] == data_type
    assert found.get("arrayShape") == shape
    assert found.get("isArray", False) == (shape is not None)


def test_an_array_whose_shape_is_not_stated_is_given_none() -> None:
    found = field_of(NDArray("int16", None))
    assert found is not None
    assert (found["dataType"], found["isArray"]) == ("cr:Int16", True)
    assert "arrayShape" not in found
    assert "its shape is not stated" in found["description"]


@pytest.mark.parametrize(
    "kind",
    [
        AnyType("of tomorrow"),
        ListOf(AnyType()),
        MapOf(AnyType()),
        Nested("at://did:plc:x/unknown.of.us/1"),
        Record(()),
    ],
)
def test_a_type_that_cannot_be_told_is_left_out_and_named(kind: Any) -> None:
    assert field_of(kind) is None
    schema = Schema("S", "1.0.0", (Field("x", kind), Field("y", Primitive("int"))))
    samples = croissant(described(PLAIN, schema))["recordSet"][0]
    assert samples["description"].endswith("cannot be told here: x.")


def test_maps_and_records_have_fields_of_their_own() -> None:
    pair = field_of(MapOf(NDArray("int8", (2,))))
    assert pair is not None and pair["isArray"]
    assert [each["name"] for each in pair["subField"]] == ["key", "value"]
    inner = field_of(Record((Field("a", Record((Field("b", Primitive("int")),))),)))
    assert inner is not None
    leaf = inner["subField"][0]["subField"][0]
    assert leaf["@id"] == "samples/x/a/b"
    assert leaf["source"]["extract"] == {"column": "x"}
    assert leaf["source"]["transform"] == {"jsonPath": '$["a"]["b"]'}


def test_schemas_that_nest_each_other_end() -> None:
    one, other = f"{SCHEMA_URI}a", f"{SCHEMA_URI}b"
    wide = tuple(Field(f"f{n}", Nested(other)) for n in range(40))
    nested = {
        one: Schema("A", "1.0.0", wide),
        other: Schema("B", "1.0.0", tuple(Field(f"g{n}", Nested(one)) for n in range(40))),
    }
    deep = {
        f"{SCHEMA_URI}{n}": Schema(
            "D",
            "1.0.0",
            tuple(Field(f"d{m}" * 50, Nested(f"{SCHEMA_URI}{n + 1}")) for m in range(9))
            or (Field("end", Primitive("int")),),
        )
        for n in range(8)
    }
    deep[f"{SCHEMA_URI}8"] = Schema("E", "1.0.0", (Field("end", Primitive("int")),))
    for start, known in ((nested[one], nested), (deep[f"{SCHEMA_URI}0"], deep)):
        raw = json.dumps(croissant(described(PLAIN, start, nested=known)))
        assert raw.count('"cr:Field"') <= MAX_FIELDS + 2
        assert len(raw) < 10 * MAX_FIELD_CHARACTERS


def test_names_that_mean_something_in_an_iri_are_only_names() -> None:
    names = [
        "..",
        ".",
        "",
        "a b",
        "a/b",
        "#a",
        "?a",
        "a:b",
        "//a",
        "%2e",
        "\x00\n",
        "é</script>",
        "~",
    ]
    schema = Schema("S", "1.0.0", tuple(Field(name, Primitive("int")) for name in names))
    read = accepted(croissant(described(PLAIN, schema)))
    fields = read.metadata.record_sets[0].fields
    assert sorted(each.name for each in fields) == sorted(filter(None, names))
    assert len({each.uuid for each in fields}) == len(fields)
