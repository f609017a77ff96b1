"""Records that are made to do harm."""

from __future__ import annotations

from typing import Any

import pytest

from atdex_lexicons import InvalidRecord
from atdex_lexicons.families import check_record, collections
from atdex_lexicons.model import Dataset

from .records import AT, CATALOG, TID, WRITTEN_BY_ATDATA, entry, fixture, problems_of


def deep(levels: int) -> Any:
    value: Any = {}
    for _ in range(levels):
        value = {"a": value}
    return value


def deep_list(levels: int) -> Any:
    value: Any = []
    for _ in range(levels):
        value = [value]
    return value


@pytest.mark.parametrize("field", ["metadata", "contentMetadata", "storage", "tags", "size"])
@pytest.mark.parametrize("make", [deep, deep_list])
def test_ten_thousand_levels_are_an_error_of_the_record(field: str, make: Any) -> None:
    assert problems_of("science.alt.dataset.entry", entry(**{field: make(10_000)}))


def test_ten_thousand_levels_in_a_schema_are_an_error_of_the_record() -> None:
    for definition in (
        {"$type": "science.alt.dataset.schema#jsonSchemaFormat", "properties": deep(10_000)},
        {"$type": "science.alt.dataset.schema#jsonSchemaFormat", "schemaBody": deep(10_000)},
        deep(10_000),
    ):
        record = {**fixture("schema"), "schema": definition}
        assert problems_of("science.alt.dataset.schema", record)
    app = {"$type": "app.bsky.atdata.schema", "name": "x", "version": "1", "createdAt": AT}
    assert problems_of("app.bsky.atdata.schema", {**app, "fields": [deep(10_000)]})


@pytest.mark.parametrize("value", [None, 5, "text", [], b"\x00", True])
def test_a_value_that_is_no_object_is_no_record(value: Any) -> None:
    for collection in collections():
        assert problems_of(collection, value)


@pytest.mark.parametrize(
    "junk", [None, 5, "x", [], {}, [None], {"$type": 5}, {"$type": "x"}, {"$bytes": 5}, b"\xc1", -1]
)
def test_any_field_may_hold_anything_without_another_error(junk: Any) -> None:
    for name in WRITTEN_BY_ATDATA:
        record = fixture(name)
        for field in record:
            try:
                check_record(CATALOG, record["$type"], TID, {**record, field: junk})
            except InvalidRecord as error:
                assert error.problems


def test_metadata_is_bounded_in_either_form() -> None:
    assert problems_of("science.alt.dataset.entry", entry(metadata={"x": "y" * 100_001})) == [
        "/metadata"
    ]
    assert problems_of("science.alt.dataset.entry", entry(metadata=b"\xc0" * 100_001)) == [
        "/metadata"
    ]


def test_fractions_in_plain_metadata_are_refused_as_a_repo_would() -> None:
    assert problems_of("science.alt.dataset.entry", entry(metadata={"mean": [0.5]})) == [
        "/metadata/mean/0"
    ]


def test_metadata_in_msgpack_becomes_plain_values() -> None:
    raw = bytes.fromhex("84a16101a162c40200ff02a178a163d6ff00000000")
    model = check_record(CATALOG, "science.alt.dataset.entry", TID, entry(metadata=raw)).model
    assert isinstance(model, Dataset)
    assert model.metadata == {"a": 1, "b": b"\x00\xff", "2": "x", "c": "1970-01-01T00:00:00+00:00"}


@pytest.mark.parametrize("raw", ["", "c1", "dfffffffff", "91" * 50_000, "81a1ff01", "93010203"])
def test_metadata_that_is_no_msgpack_map_is_a_problem(raw: str) -> None:
    record = entry(metadata=bytes.fromhex(raw))
    assert problems_of("science.alt.dataset.entry", record) == ["/metadata"]
