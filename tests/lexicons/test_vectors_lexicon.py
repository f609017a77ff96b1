"""The public vectors of lexicon documents: each file is one test."""

from __future__ import annotations

from typing import Any

import pytest

from atdex_lexicons import Catalog, InvalidRecord, check_document
from tests.lexicons.vectors import cases, names


def test_lexicon_valid_documents_are_accepted() -> None:
    for case in cases("lexicon/lexicon-valid.json"):
        assert check_document(case["lexicon"]) == [], case["name"]


def test_lexicon_invalid_documents_are_refused() -> None:
    for case in cases("lexicon/lexicon-invalid.json"):
        assert check_document(case["lexicon"]), case["name"]


@pytest.mark.parametrize("name", names("lexicon/catalog", ".json"))
def test_a_document_of_the_catalog_is_accepted_and_compiles(name: str) -> None:
    document = cases(name)
    assert check_document(document) == []
    catalog = Catalog.from_documents([document])
    assert catalog.kind(document["id"]) == document["defs"]["main"]["type"]


RECORD = "example.lexicon.record"
BLOB = {
    "$type": "blob",
    "ref": {"$link": "bafkreiccldh766hwcnuxnf2wh6jgzepf2nlu2lvcllt63eww5p6chi4ity"},
    "mimeType": "image/png",
    "size": 12,
}

VALID: dict[str, list[Any]] = {
    "boolean": [True, False],
    "integer": [-(1 << 63), (1 << 63) - 1, 5.0],
    "string": ["", "a", "👩‍👩‍👧‍👧" * 1000],
    "nullableString": [None, "a"],
    "bytes": [{"$bytes": ""}, {"$bytes": "YQ"}, {"$bytes": "YQ=="}, b"a"],
    "cid-link": [{"$link": BLOB["ref"]["$link"]}],  # type: ignore[index]  # JSON above
    "blob": [BLOB],
    "unknown": [{}, {"$type": "com.example.any", "x": [{"$bytes": "YQ"}, None]}],
    "array": [[], [1, 2, 3]],
    "object": [{}, {"a": 1, "b": 2}, {"more": "than the lexicon names"}],
    "ref": [{"a": 1}],
    "union": [
        {"$type": f"{RECORD}#demoObject", "a": 1},
        {"$type": f"{RECORD}#demoObjectTwo", "c": 1},
        {"$type": "com.example.another", "a": "open unions take what they do not know"},
    ],
    "constInteger": [42],
    "enumInteger": [4, 25],
    "rangeInteger": [10, 20],
    "lenString": ["a" * 10, "é" * 5, "é" * 10],
    "graphemeString": ["a" * 10, "👩‍👩‍👧‍👧" * 20, "\r\n" * 10],
    "enumString": ["fish"],
    "knownString": ["blue", "none of the known ones"],
    "sizeBytes": [{"$bytes": "YWFhYWFhYWFhYQ"}, b"a" * 20],
    "lenArray": [[1, 2], [1, 2, 3, 4, 5]],
    "sizeBlob": [BLOB],
    "acceptBlob": [BLOB, BLOB | {"mimeType": "IMAGE/jpeg; q=1"}],
    "closedUnion": [{"$type": f"{RECORD}#demoObject"}],
}

INVALID: dict[str, list[Any]] = {
    "boolean": [0, "true", None],
    "integer": [1 << 63, -(1 << 63) - 1, 1.5, float("nan"), float("inf"), True, "1", None],
    "string": [1, b"a", ["a"], {"a": 1}, None, "\ud800"],
    "nullableString": [1],
    "bytes": [
        "YQ",
        {"$bytes": "a"},
        {"$bytes": "Y_"},
        {"$bytes": "YQ="},
        {"$bytes": [1]},
        {"$bytes": "YQ", "more": 1},
    ],
    "cid-link": [
        "bafkreiccldh766hwcnuxnf2wh6jgzepf2nlu2lvcllt63eww5p6chi4ity",
        {"$link": "."},
        {"$link": 1},
        {"$link": "bafkreiccldh766hwcnuxnf2wh6jgzepf2nlu2lvcllt63eww5p6chi4itz"},
        {},
    ],
    "blob": [
        {},
        BLOB | {"size": 0},
        BLOB | {"size": "12"},
        BLOB | {"mimeType": ""},
        BLOB | {"ref": "bafkreiccldh766hwcnuxnf2wh6jgzepf2nlu2lvcllt63eww5p6chi4ity"},
        BLOB | {"ref": {"$link": "bafyreidfayvfuwqa7qlnopdjiqrxzs6blmoeu4rujcjtnci5beludirz2a"}},
        {"cid": "bafkreiccldh766hwcnuxnf2wh6jgzepf2nlu2lvcllt63eww5p6chi4ity", "mimeType": "a/b"},
        BLOB | {"more": 1.5},
    ],
    "unknown": [1, "a", [], {"$link": "."}, {"$bytes": "YQ"}, BLOB, {"a": 1.5}, {"$type": ""}],
    "array": [{}, [None], ["a"], [[1]]],
    "object": [[], {"a": None}, {"a": "1"}, {"more": 1.5}, BLOB, {"$bytes": "YQ"}],
    "ref": [{"a": "1"}],
    "union": [
        {"a": 1},
        {"$type": ""},
        {"$type": 1},
        {"$type": f"{RECORD}#demoObject", "a": "1"},
        {"$type": "com.example.another#main"},
        {"$type": "com.example.another", "a": 1.5},
        BLOB,
        "text",
    ],
    "constInteger": [41],
    "enumInteger": [5],
    "rangeInteger": [9, 21],
    "lenString": ["a" * 9, "a" * 21, "é" * 11, "é" * 4],
    "graphemeString": ["a" * 9, "a" * 21, "👩‍👩‍👧‍👧" * 9, "\r\n" * 9],
    "enumString": ["stone"],
    "sizeBytes": [{"$bytes": "YQ"}, b"a" * 21],
    "lenArray": [[1], [1] * 6],
    "sizeBlob": [BLOB | {"size": 21}],
    "acceptBlob": [BLOB | {"mimeType": "text/plain"}, BLOB | {"mimeType": "images/png"}],
    "closedUnion": [{"$type": f"{RECORD}#demoObjectTwo"}],
}


def catalog() -> Catalog:
    return Catalog.from_documents([cases("lexicon/catalog/record.json")])


@pytest.mark.parametrize("field", VALID)
def test_values_that_fit_a_field_of_the_example_record_are_accepted(field: str) -> None:
    for value in VALID[field]:
        record = {"$type": RECORD, "integer": 1} | {field: value}
        catalog().validate_record(record, collection=RECORD, rkey="demo")


@pytest.mark.parametrize("field", INVALID)
def test_values_that_do_not_fit_a_field_are_refused_with_its_path(field: str) -> None:
    for value in INVALID[field]:
        record = {"$type": RECORD, "integer": 1} | {field: value}
        with pytest.raises(InvalidRecord) as caught:
            catalog().validate_record(record)
        assert caught.value.problems[0].path.startswith(f"/{field}"), value
        assert caught.value.reason


FORMATS = {
    "did": ("did:plc:abc", "did:plc:"),
    "handle": ("a.example", "a"),
    "atidentifier": ("did:plc:abc", "@a.example"),
    "nsid": ("com.example.a", "com.example"),
    "aturi": ("at://a.example/com.example.a/1", "at://a.example/"),
    "cid": ("bafyreidfayvfuwqa7qlnopdjiqrxzs6blmoeu4rujcjtnci5beludirz2a", "."),
    "datetime": ("2026-11-20T15:10:34.103825+00:00", "2026-11-31T15:10:34Z"),
    "language": ("pt-BR", "portuguese!"),
    "uri": ("https://example.com/a", "example.com/a"),
    "tid": ("3jzfcijpj2z2a", "3jzfcijpj2z2"),
    "recordkey": ("a:b", "a/b"),
}


@pytest.mark.parametrize("field", FORMATS)
def test_string_formats_hold_inside_a_record(field: str) -> None:
    good, bad = FORMATS[field]
    record = {"$type": RECORD, "integer": 1}
    catalog().validate_record(record | {"formats": {field: good}})
    with pytest.raises(InvalidRecord) as caught:
        catalog().validate_record(record | {"formats": {field: bad}})
    assert caught.value.path == f"/formats/{field}"
