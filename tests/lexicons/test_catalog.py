from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

import atdex_lexicons
from atdex_lexicons import (
    Catalog,
    InvalidDocument,
    InvalidInput,
    InvalidMessage,
    InvalidOutput,
    InvalidParams,
    UnknownLexicon,
)
from atdex_lexicons.datamodel import DEPTH_MAX
from tests.lexicons.builders import NSID, catalog_of, document, object_of, record_of

QUERY = {
    "type": "query",
    "parameters": {
        "type": "params",
        "required": ["q"],
        "properties": {
            "q": {"type": "string", "maxLength": 10},
            "limit": {"type": "integer", "minimum": 1, "maximum": 100, "default": 25},
            "uris": {
                "type": "array",
                "items": {"type": "string", "format": "at-uri"},
                "maxLength": 2,
            },
            "live": {"type": "boolean"},
        },
    },
    "output": {
        "encoding": "application/json",
        "schema": {
            "type": "object",
            "required": ["count"],
            "properties": {"count": {"type": "integer"}},
        },
    },
}
PROCEDURE = {
    "type": "procedure",
    "input": {"encoding": "application/json", "schema": {"type": "ref", "ref": "#body"}},
}


@pytest.fixture
def methods() -> Catalog:
    return catalog_of(
        document("com.example.query", main=QUERY),
        document("com.example.act", main=PROCEDURE, body=object_of(a={"type": "integer"})),
        document("com.example.upload", main={"type": "procedure", "input": {"encoding": "*/*"}}),
        document(
            "com.example.stream",
            main={
                "type": "subscription",
                "message": {"schema": {"type": "union", "refs": ["#tick"]}},
            },
            tick=object_of(seq={"type": "integer"}),
        ),
        document("com.example.defs", tick=object_of()),
        document(NSID, main=record_of()),
    )


def test_a_query_string_becomes_typed_values_with_defaults(methods: Catalog) -> None:
    pairs = [("q", "a b"), ("uris", "at://a.example"), ("live", "true"), ("unheard", "of")]
    assert methods.parse_params("com.example.query", pairs) == {
        "q": "a b",
        "uris": ["at://a.example"],
        "live": True,
        "limit": 25,
    }
    pairs += [("uris", "at://b.example"), ("limit", "7")]
    values = methods.parse_params("com.example.query", pairs)
    assert (values["uris"], values["limit"]) == (["at://a.example", "at://b.example"], 7)


@pytest.mark.parametrize(
    ("pairs", "path"),
    [
        ([], "/q"),
        ([("q", "x" * 11)], "/q"),
        ([("q", "a"), ("q", "b")], "/q"),
        ([("q", "a\0b")], "/q"),
        ([("q", "\udc80")], "/q"),
        ([("q", "a"), ("limit", "0")], "/limit"),
        ([("q", "a"), ("limit", "ten")], "/limit"),
        ([("q", "a"), ("limit", "")], "/limit"),
        ([("q", "a"), ("limit", "1.5")], "/limit"),
        ([("q", "a"), ("limit", "9" * 10_000)], "/limit"),
        ([("q", "a"), ("limit", "٣")], "/limit"),
        ([("q", "a"), ("live", "yes")], "/live"),
        ([("q", "a"), ("uris", "nonsense")], "/uris/0"),
        ([("q", "a")] + [("uris", "at://a.example")] * 3, "/uris"),
        ([("q", "a")] * 100_000, ""),
    ],
)
def test_a_parameter_that_does_not_parse_is_the_callers_fault(
    methods: Catalog, pairs: list[tuple[str, str]], path: str
) -> None:
    with pytest.raises(InvalidParams) as caught:
        methods.parse_params("com.example.query", pairs)
    assert [problem.path for problem in caught.value.problems] == [path]


def test_typed_parameters_are_checked_the_same_way(methods: Catalog) -> None:
    given = {"q": "a", "limit": None, "uris": ("at://a.example",), "unheard": object()}
    assert methods.validate_params("com.example.query", given) == {
        "q": "a",
        "limit": 25,
        "uris": ["at://a.example"],
    }
    with pytest.raises(InvalidParams) as caught:
        methods.validate_params("com.example.query", {"limit": "7", "uris": "at://a.example"})
    assert [problem.path for problem in caught.value.problems] == ["/limit", "/uris", "/q"]
    assert methods.validate_params("com.example.act", {"anything": 1}) == {}


def test_bodies_are_checked_against_their_schema(methods: Catalog) -> None:
    methods.validate_output("com.example.query", {"count": 1, "more": "fields"})
    methods.validate_input("com.example.act", {"a": 1})
    methods.validate_input("com.example.upload", b"anything goes without a schema")
    methods.validate_output("com.example.act", None)
    with pytest.raises(InvalidOutput) as output:
        methods.validate_output("com.example.query", {"count": "1"})
    assert output.value.path == "/count"
    for nsid, body in (("com.example.act", {"a": "1"}), ("com.example.act", None)):
        with pytest.raises(InvalidInput):
            methods.validate_input(nsid, body)
    with pytest.raises(InvalidOutput, match="has no output"):
        methods.validate_output("com.example.act", {})


def test_a_body_has_room_for_a_record_of_as_many_levels_as_allowed(methods: Catalog) -> None:
    def body(levels: int) -> dict[str, Any]:
        value: dict[str, Any] = {"a": 1}
        for _ in range(levels - 1):
            value = {"more": value}
        return value

    methods.validate_input("com.example.act", {"a": 1, "more": [body(DEPTH_MAX)]})
    with pytest.raises(InvalidInput, match="nested deeper"):
        methods.validate_input("com.example.act", {"a": 1, "more": body(DEPTH_MAX + 100)})


def test_messages_are_told_apart_by_their_frame_or_their_type(methods: Catalog) -> None:
    methods.validate_message("com.example.stream", {"seq": 1}, "#tick")
    for name in ("#tick", "com.example.stream#tick"):
        methods.validate_message("com.example.stream", {"$type": name, "seq": 1})
    methods.validate_message("com.example.stream", {"$type": "#new", "seq": "any data"})
    wrong: list[Any] = [{"$type": "#tick", "seq": "1"}, {"seq": 1}, [], {"$type": "#new", "a": 1.5}]
    for value in wrong:
        with pytest.raises(InvalidMessage):
            methods.validate_message("com.example.stream", value)


def test_asking_for_another_kind_of_method_is_the_askers_fault(methods: Catalog) -> None:
    for ask in (
        lambda: methods.parse_params("com.example.none", []),
        lambda: methods.parse_params(NSID, []),
        lambda: methods.parse_params("com.example.defs", []),
        lambda: methods.validate_input("com.example.query", {}),
        lambda: methods.validate_output("com.example.stream", {}),
        lambda: methods.validate_message("com.example.query", {}),
    ):
        with pytest.raises(UnknownLexicon):
            ask()


def test_a_catalog_lists_what_it_has(methods: Catalog) -> None:
    kinds = {nsid: methods.kind(nsid) for nsid in methods.nsids()}
    assert kinds == {
        "com.example.act": "procedure",
        "com.example.defs": "defs",
        "com.example.query": "query",
        "com.example.stream": "subscription",
        "com.example.thing": "record",
        "com.example.upload": "procedure",
    }
    assert "com.example.act" in methods
    assert "com.example.none" not in methods
    assert methods.document("com.example.act")["id"] == "com.example.act"
    with pytest.raises(UnknownLexicon):
        methods.document("com.example.none")


def test_a_catalog_takes_valid_documents_only() -> None:
    good = document(main=record_of())
    catalog_of(good, dict(good))
    for bad in (
        [document(main={"type": "union", "refs": []})],
        [good, good | {"description": "another"}],
        [{"lexicon": 1}],
        [
            document(main=record_of(a={"type": "ref", "ref": "com.example.b#gone"})),
            document("com.example.b", main=object_of()),
        ],
    ):
        with pytest.raises(InvalidDocument) as caught:
            Catalog.from_documents(bad)
        assert caught.value.problems


def test_a_folder_of_documents_is_a_catalog(tmp_path: Path) -> None:
    (tmp_path / "deep").mkdir()
    (tmp_path / "deep" / "a.json").write_text(json.dumps(document(main=record_of())))
    (tmp_path / "README.md").write_text("no document")
    assert Catalog.from_directory(tmp_path).nsids() == [NSID]
    assert Catalog.from_directory(str(tmp_path)).kind(NSID) == "record"


@pytest.mark.parametrize(
    "text",
    [
        "",
        "{",
        "[]",
        "1",
        "\ufeff{}",
        '{"a": NaN}',
        '{"a": 1, "a": 2}',
        "[" * 100000,
        '{"a":' * 5000 + "1" + "}" * 5000,
        " " * 1000001,
        "1" * 100000,
    ],
)
def test_a_file_that_is_no_document_is_an_error_that_names_it(tmp_path: Path, text: str) -> None:
    path = tmp_path / "bad.json"
    path.write_text(text)
    with pytest.raises(InvalidDocument, match=r"bad\.json"):
        Catalog.from_directory(tmp_path)


def test_the_bundled_catalog_is_made_once_and_keeps_to_its_file_names() -> None:
    catalog = Catalog.bundled()
    assert catalog is Catalog.bundled()
    assert all(catalog.document(nsid)["id"] == nsid for nsid in catalog.nsids())


def test_the_package_is_cheap_to_import(tmp_path: Path) -> None:
    def fresh(code: str) -> str:
        """What a new interpreter prints, which finds compiled modules as an installed one does."""
        env = {"PYTHONPYCACHEPREFIX": str(tmp_path), "PYTHONDONTWRITEBYTECODE": ""}
        command = [sys.executable, "-c", code]
        return subprocess.run(
            command, env=env, capture_output=True, text=True, check=True, timeout=30
        ).stdout

    loaded = fresh("import sys, atdex_lexicons; print(*sys.modules)").split()
    assert "atdex_lexicons.catalog" in loaded
    assert not {"orjson", "regex", "json", "msgspec", "cbor2", "asyncio"} & set(loaded)


def test_the_public_names_are_these() -> None:
    errors = "Invalid InvalidData InvalidDocument InvalidInput InvalidMessage InvalidOutput"
    errors += " InvalidParams InvalidRecord InvalidSyntax LexiconsError UnknownLexicon"
    others = "AtUri Catalog Cid Problem check_document"
    assert set(atdex_lexicons.__all__) == set(f"{errors} {others}".split())
    methods = "bundled document extended from_directory from_documents kind nsids parse_params"
    methods += " validate_input validate_message validate_output validate_params validate_record"
    assert {name for name in vars(Catalog) if name[0] != "_"} == set(methods.split())
