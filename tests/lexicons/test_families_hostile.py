"""Records that are made to do harm."""

from __future__ import annotations

import json
from copy import deepcopy
from pathlib import Path
from random import Random
from typing import Any

import pytest

import atdex_lexicons
from atdex_lexicons import InvalidData, InvalidRecord
from atdex_lexicons.datamodel import DEPTH_MAX, encode, from_json
from atdex_lexicons.families import check_record, collections, project
from atdex_lexicons.model import Dataset

from .records import AT, CATALOG, TID, WRITTEN_BY_ATDATA, entry, fixture, problems_of

EXAMPLES = Path(atdex_lexicons.__file__).parent / "examples"


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


@pytest.mark.parametrize("field", ["metadata", "contentMetadata", "unknownField"])
def test_the_levels_that_a_record_may_have_are_those_that_its_encoding_may_have(field: str) -> None:
    collection = "science.alt.dataset.entry"
    within, beyond = entry(**{field: deep(DEPTH_MAX - 2)}), entry(**{field: deep(DEPTH_MAX - 1)})
    check_record(CATALOG, collection, TID, within)
    encode(from_json(within))
    assert problems_of(collection, beyond)
    with pytest.raises(InvalidData):
        encode(from_json(beyond))


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


JUNK: tuple[Any, ...] = (
    *(None, True, 5, -1, 1 << 70, 0.5, "", "x", "\ud800", "a:b", "at://", "{0..9}{a,b}", "s3://"),
    *([], {}, [None], [[]], {"$type": "x"}, {"$type": 5}, {"$bytes": "!"}, {"$bytes": ""}),
    *({"$link": "x"}, {"$link": 5}, b"", b"\x81", {"type": "object"}, {"$ref": "#/$defs/x"}),
)


def places(value: Any) -> list[tuple[Any, Any]]:
    """Every container inside `value` with each of its keys or indexes."""
    steps: Any = ()
    if isinstance(value, dict):
        steps = list(value)
    elif isinstance(value, list):
        steps = range(len(value))
    return [(value, step) for step in steps] + [p for step in steps for p in places(value[step])]


@pytest.mark.parametrize("seed", range(5))
def test_records_with_random_faults_are_accepted_or_refused_and_nothing_else(seed: int) -> None:
    random = Random(seed)
    records = [json.loads(path.read_text()) for path in sorted(EXAMPLES.glob("*/*.json"))]
    records += [fixture(name) for name in WRITTEN_BY_ATDATA]
    for _ in range(2_000):
        record = deepcopy(random.choice(records))
        collection = record["$type"]
        for _ in range(random.randint(1, 3)):
            container, step = random.choice(places(record))
            if random.random() < 0.8:
                container[step] = deepcopy(random.choice(JUNK))
            else:
                del container[step]
        try:
            check_record(CATALOG, collection, TID, record)
        except InvalidRecord as error:
            assert error.problems
            assert str(error)
        else:
            project(collection, record)


def test_the_list_of_problems_is_bounded() -> None:
    storage = {"$type": "science.alt.dataset.storageExternal", "urls": [""] * 50_000}
    assert len(problems_of("science.alt.dataset.entry", entry(storage=storage))) == 101


def test_metadata_is_bounded_in_either_form() -> None:
    assert problems_of("science.alt.dataset.entry", entry(metadata={"x": "y" * 100_001})) == [
        "/metadata"
    ]
    assert problems_of("science.alt.dataset.entry", entry(metadata=b"\xc0" * 100_001)) == [
        "/metadata"
    ]


@pytest.mark.parametrize(
    ("metadata", "path"),
    [
        ({"a": "\ud800"}, "/metadata/a"),
        ({"\ud800": 1}, "/metadata/\\ud800"),
        ({5: 1}, "/metadata"),
        ({"a": {"$link": "x"}}, "/metadata/a/$link"),
        ({"a": {"$type": "blob"}}, "/metadata/a/mimeType"),
        ({"$link": "bafyreidfayvfuwqa7qlnopdjiqrxzs6blmoeu4rujcjtnci5beludirz2a"}, "/metadata"),
    ],
)
def test_plain_metadata_that_no_repo_could_hold_is_an_error_of_the_record(
    metadata: Any, path: str
) -> None:
    assert problems_of("science.alt.dataset.entry", entry(metadata=metadata)) == [path]


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
