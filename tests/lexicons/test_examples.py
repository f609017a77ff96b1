"""The example records that come with the documents."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

import atdex_lexicons
from atdex_lexicons import Catalog, InvalidRecord
from atdex_lexicons.datamodel import decode, encode, from_json
from atdex_lexicons.families import (
    FAMILIES,
    NotRepresentable,
    check_record,
    collections,
    dialects_of,
    project,
    to_record,
)

EXAMPLES = Path(atdex_lexicons.__file__).parent / "examples"
VALID = sorted(EXAMPLES.glob("*/*.json"))
DIALECTS = sorted(EXAMPLES.glob("*/dialects/*.json"))
INVALID = sorted(EXAMPLES.glob("*/invalid/*.json"))

CATALOG = Catalog.bundled()


def load(path: Path) -> dict[str, Any]:
    value: dict[str, Any] = json.loads(path.read_text())
    return value


def name_of(path: Path) -> str:
    return "/".join(path.relative_to(EXAMPLES).with_suffix("").parts)


@pytest.mark.parametrize("nsid", collections())
def test_every_record_type_has_examples_of_each_sort(nsid: str) -> None:
    assert len(list((EXAMPLES / nsid).glob("*.json"))) >= 2
    assert list((EXAMPLES / nsid / "dialects").glob("*.json"))
    assert len(list((EXAMPLES / nsid / "invalid").glob("*.json"))) >= 2


def test_every_dialect_has_an_example() -> None:
    for family in FAMILIES:
        shown = {path.stem for path in DIALECTS if path.parent.parent.name in family.kinds}
        assert shown == set(family.dialects), family.name


@pytest.mark.parametrize("path", VALID, ids=name_of)
def test_a_valid_example_keeps_to_its_lexicon(path: Path) -> None:
    record = load(path)
    assert record["$type"] == path.parent.name
    CATALOG.validate_record(record)
    assert check_record(CATALOG, record["$type"], None, record).conformance == "valid"


@pytest.mark.parametrize("path", DIALECTS, ids=name_of)
def test_an_example_of_a_dialect_is_accepted_under_its_name(path: Path) -> None:
    record = load(path)
    checked = check_record(CATALOG, record["$type"], None, record)
    assert dialects_of(checked.conformance) == (path.stem,)


@pytest.mark.parametrize("path", INVALID, ids=name_of)
def test_an_invalid_example_is_refused_with_every_reason(path: Path) -> None:
    example = load(path)
    with pytest.raises(InvalidRecord) as caught:
        check_record(CATALOG, path.parent.parent.name, None, example["record"])
    found = [{"path": path, "reason": reason} for path, reason in caught.value.problems]
    assert found == example["problems"]


@pytest.mark.parametrize("path", INVALID, ids=name_of)
def test_an_invalid_example_is_refused_as_it_would_come_from_a_repo(path: Path) -> None:
    example = load(path)
    with pytest.raises(InvalidRecord) as caught:
        check_record(CATALOG, path.parent.parent.name, None, from_json(example["record"]))
    found = [problem.path for problem in caught.value.problems]
    assert sorted(found) == sorted(problem["path"] for problem in example["problems"])


@pytest.mark.parametrize("path", VALID + DIALECTS, ids=name_of)
def test_an_example_means_the_same_in_both_forms(path: Path) -> None:
    record = load(path)
    collection = record["$type"]
    stored = decode(encode(from_json(record)))
    here = check_record(CATALOG, collection, None, record)
    there = check_record(CATALOG, collection, None, stored)
    assert here.conformance == there.conformance
    assert to_comparable(here.model) == to_comparable(there.model)
    assert project(collection, record) == here.model


def to_comparable(model: Any) -> Any:
    """The model without the order of fields, which a stored map does not keep."""
    fields = getattr(model, "fields", None)
    return model if fields is None else repr(sorted(map(repr, fields)))


@pytest.mark.parametrize("path", VALID, ids=name_of)
def test_a_valid_example_survives_the_way_through_the_model(path: Path) -> None:
    record = load(path)
    family = next(family for family in FAMILIES if record["$type"] in family.kinds)
    model = check_record(CATALOG, record["$type"], None, record).model
    if path.stem == "type-of-tomorrow":
        with pytest.raises(NotRepresentable, match="geometryType"):
            to_record(model, family.name)
        return
    again = to_record(model, family.name)
    checked = check_record(CATALOG, record["$type"], None, again)
    assert checked.conformance == "valid"
    assert checked.model == model
