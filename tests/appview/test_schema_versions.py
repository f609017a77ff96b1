"""resolveSchema and compareSchemas, over HTTP, from stores on disk."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from atdex_appview.methods import resolve_schema
from atdex_appview.nested import MAX_NESTED_LEVELS
from atdex_appview.store.base import Delete, Put
from atdex_lexicons.model import Field, FieldType, ListOf, Nested, Primitive, Schema
from tests.appview.index import ALICE, BOB, CREATED, NAMESPACE, Index, Node, dataset, schema

INT, FLOAT, STR = Primitive("int"), Primitive("float"), Primitive("str")


@pytest.fixture
def index(tmp_path: Path) -> Iterator[Index]:
    with Index.open(tmp_path) as opened:
        yield opened


@pytest.fixture
def node(index: Index) -> Iterator[Node]:
    with index.serve() as served:
        yield served


VERSIONS = ("2.0.0", "1.0.0", "10.0.0", "1.2.0", "1.10.0", "11.0.0-rc.1", "0.3.1", "0.3.9", "first")


@pytest.fixture(scope="module")
def library(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Node]:
    """A node where ALICE has published every one of VERSIONS."""
    with Index.open(tmp_path_factory.mktemp("library")) as opened:
        versions(opened, *VERSIONS)
        with opened.serve() as served:
            yield served


def publish(index: Index, *fields: Field, family: str = "science.alt.dataset") -> Put:
    model = Schema("Sample", "1.0.0", fields, created_at=CREATED)
    [put] = index.publish(ALICE, model, family=family)
    return put


def versions(index: Index, *words: str, did: str = ALICE, name: str = "Image") -> list[Put]:
    return index.publish(did, *(schema(name, word) for word in words), family=NAMESPACE)


# resolveSchema


def resolved(node: Node, version: str | None = None, **params: Any) -> str:
    asked = {"publisher": ALICE, "name": "Image", **params}
    answer = node.ask("resolveSchema", **asked, **({"version": version} if version else {}))
    assert (answer["uri"], answer["cid"]) == (answer["schema"]["uri"], answer["schema"]["cid"])
    return str(answer["schema"]["version"])


@pytest.mark.parametrize(
    ("wanted", "expected"),
    [
        (None, "10.0.0"),
        ("1.2.0", "1.2.0"),
        ("=1.2.0", "1.2.0"),
        ("^1.0.0", "1.10.0"),
        ("^1", "1.10.0"),
        ("~1.2", "1.2.0"),
        ("~1.0.0", "1.0.0"),
        ("^0.3.1", "0.3.9"),
        ("1.x", "1.10.0"),
        ("1", "1.10.0"),
        ("*", "10.0.0"),
        (">=1.0.0 <2.0.0", "1.10.0"),
        (">=1.0.0, <1.10.0", "1.2.0"),
        (">1.10.0", "10.0.0"),
        ("<1", "0.3.9"),
        ("1.0 - 2.0", "2.0.0"),
        ("^5 || ^2 || ^0.3", "2.0.0"),
        (">=11.0.0-alpha", "11.0.0-rc.1"),
        (">=2.0.0-alpha", "10.0.0"),
        ("11.0.0-rc.1", "11.0.0-rc.1"),
        ("first", "first"),
    ],
)
def test_a_name_resolves_to_the_highest_version_within_the_range(
    library: Node, wanted: str | None, expected: str
) -> None:
    assert resolved(library, wanted) == expected


def test_without_a_release_a_pre_release_is_found_and_without_one_the_newest_word(
    index: Index, node: Node
) -> None:
    versions(index, "second", "first")
    assert resolved(node) == "first"
    versions(index, "1.0.0-beta.11", "1.0.0-beta.2")
    assert resolved(node) == "1.0.0-beta.11"
    versions(index, "0.1.0")
    assert resolved(node) == "0.1.0"


def test_of_two_records_of_one_version_the_newer_one_counts(index: Index, node: Node) -> None:
    old, new = versions(index, "1.0.0", "1.0.0")
    found = node.ask("resolveSchema", publisher=ALICE, name="Image", version="^1")
    assert found["uri"] == new.uri
    index.commit(ALICE, Delete(new.uri))
    assert node.ask("resolveSchema", publisher=ALICE, name="Image")["uri"] == old.uri


def test_only_that_publisher_and_that_very_name_count(index: Index, node: Node) -> None:
    versions(index, "1.0.0")
    versions(index, "2.0.0", did=BOB)
    versions(index, "3.0.0", name="image")
    assert resolved(node) == "1.0.0"
    assert resolved(node, publisher="bob.test") == "2.0.0"


def test_all_pages_of_versions_are_looked_through(
    index: Index, node: Node, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(resolve_schema, "PAGE", 3)
    versions(index, "9.0.0", *(f"1.{n}.0" for n in range(10)))
    assert resolved(node) == "9.0.0"
    assert resolved(node, "<1.1") == "1.0.0"


def test_what_is_not_found_says_what_is_there(library: Node) -> None:
    status, error, message = library.refused(
        "resolveSchema", publisher=ALICE, name="Image", version="^3"
    )
    assert (status, error) == (404, "SchemaNotFound")
    assert "it has 11.0.0-rc.1, 10.0.0, 2.0.0, 1.10.0, 1.2.0 and 4 more" in message
    for params in (
        {"publisher": ALICE, "name": "Nothing"},
        {"publisher": "nobody.test", "name": "Image"},
        {"publisher": BOB, "name": "Image", "version": "1.0.0"},
    ):
        assert library.refused("resolveSchema", **params)[:2] == (404, "SchemaNotFound")


@pytest.mark.parametrize("wanted", ["newest", "1.2.3.4", "^", ">=1 <", "1..2", "||", "^1.0.0-"])
def test_what_is_neither_a_version_nor_a_range_is_a_bad_request(library: Node, wanted: str) -> None:
    status, error, message = library.refused(
        "resolveSchema", publisher=ALICE, name="Image", version=wanted
    )
    assert (status, error) == (400, "InvalidRequest")
    assert message.startswith("version: ")
    assert "it has 11.0.0-rc.1" in message


# compareSchemas


def test_schemas_are_compared_field_by_field(index: Index, node: Node) -> None:
    left = publish(index, Field("a", INT), Field("b", STR), Field("c", STR))
    right = publish(index, Field("a", FLOAT), Field("c", STR), Field("d", STR, optional=True))
    answer = node.ask("compareSchemas", left=left.uri, right=right.uri)
    assert answer == {
        "relation": "widening",
        "fields": [
            {
                "name": "a",
                "relation": "widening",
                "effect": "widening",
                "reason": "int on the left, float on the right, a safe cast",
            },
            {
                "name": "b",
                "relation": "removed",
                "effect": "widening",
                "reason": "removed on the right, required on the left",
            },
            {"name": "c", "relation": "identical", "effect": "identical"},
            {
                "name": "d",
                "relation": "added",
                "effect": "widening",
                "reason": "added on the right, optional",
            },
        ],
    }
    back = node.ask("compareSchemas", left=right.uri, right=left.uri)
    assert back["relation"] == "narrowing"
    handle = left.uri.replace(ALICE, "alice.test")
    assert node.ask("compareSchemas", left=handle, right=left.uri)["relation"] == "identical"


def test_schemas_of_both_families_compare(index: Index, node: Node) -> None:
    model = replace(schema(), fields=schema().fields[1:])
    [classic] = index.publish(ALICE, model)
    [own] = index.publish(BOB, model, family=NAMESPACE)
    answer = node.ask("compareSchemas", left=classic.uri, right=own.uri)
    assert (answer["relation"], len(answer["fields"])) == ("identical", 1)


def test_schemas_by_reference_are_compared_by_their_fields(index: Index, node: Node) -> None:
    def wrapped(inner: FieldType) -> Put:
        return publish(index, Field("items", ListOf(inner)), family=NAMESPACE)

    ints, floats = publish(index, Field("x", INT)), publish(index, Field("x", FLOAT))
    by_handle = floats.uri.replace(ALICE, "alice.test")
    left, right = wrapped(Nested(ints.uri)), wrapped(Nested(by_handle))
    answer = node.ask("compareSchemas", left=left.uri, right=right.uri)
    assert answer["relation"] == "widening"
    assert answer["fields"][0]["reason"].startswith("/items/x: int on the left")
    index.commit(ALICE, Delete(floats.uri))
    answer = node.ask("compareSchemas", left=left.uri, right=right.uri)
    assert answer["relation"] == "incompatible"
    assert "is not known here" in answer["fields"][0]["reason"]


def test_references_are_followed_so_many_levels_and_no_more(index: Index, node: Node) -> None:
    def chain(kind: FieldType) -> list[Put]:
        puts = [publish(index, Field("x", kind))]
        for _ in range(MAX_NESTED_LEVELS + 1):
            puts.append(publish(index, Field("x", Nested(puts[-1].uri)), family=NAMESPACE))
        return puts

    ints, floats = chain(INT), chain(FLOAT)
    for levels, expected in (
        (MAX_NESTED_LEVELS, "widening"),
        (MAX_NESTED_LEVELS + 1, "incompatible"),
    ):
        answer = node.ask("compareSchemas", left=ints[levels].uri, right=floats[levels].uri)
        assert answer["relation"] == expected


def test_only_schemas_that_are_here_are_compared(index: Index, node: Node) -> None:
    here = publish(index, Field("x", INT))
    [data] = index.publish(ALICE, dataset("data", here.uri))
    missing = here.uri[:-1] + "z"
    assert node.refused("compareSchemas", left=here.uri, right=missing)[:2] == (
        404,
        "SchemaNotFound",
    )
    status, error, message = node.refused("compareSchemas", left=data.uri, right=here.uri)
    assert (status, error) == (404, "SchemaNotFound")
    assert "is a dataset, not a schema" in message
    status, error, message = node.refused("compareSchemas", left=here.uri, right=f"at://{ALICE}")
    assert (status, error) == (400, "InvalidRequest")
    assert message.startswith("right: ")
