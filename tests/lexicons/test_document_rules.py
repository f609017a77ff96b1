"""The rules of the Lexicon specification, one by one."""

from __future__ import annotations

from typing import Any

import pytest

from atdex_lexicons import check_document
from atdex_lexicons.document import unresolved
from atdex_lexicons.schemas import DOCUMENT_PROBLEMS_MAX
from tests.lexicons.builders import NSID, document, object_of, record_of

STRING = {"type": "string"}
JSON = "application/json"


def found(value: object, resolve: Any = None) -> list[str]:
    return [str(problem) for problem in check_document(value, resolve)]


def in_property(schema: Any) -> list[str]:
    """The problems of a schema that stands as the property `p` of a record."""
    prefix = "/defs/main/record/properties/p"
    problems = check_document(
        document(main=record_of(p=schema), o=object_of(), t={"type": "token"})
    )
    assert all(problem.path.startswith(prefix) for problem in problems)
    return [f"{problem.path.removeprefix(prefix)}: {problem.reason}" for problem in problems]


@pytest.mark.parametrize(
    ("broken", "path"),
    [
        ({"lexicon": 2}, "/lexicon"),
        ({"lexicon": True}, "/lexicon"),
        ({"lexicon": "1"}, "/lexicon"),
        ({"id": "thing"}, "/id"),
        ({"id": None}, "/id"),
        ({"description": 1}, "/description"),
        ({"defs": {}}, "/defs"),
        ({"defs": []}, "/defs"),
        ({"defs": {"a": None}}, "/defs/a"),
        ({"defs": {"a": {}}}, "/defs/a/type"),
        ({"defs": {"a": {"type": "float"}}}, "/defs/a/type"),
        ({"defs": {"#a": STRING}}, "/defs/#a"),
        ({"defs": {"": STRING}}, "/defs/"),
        ({"defs": {"a.b": STRING}}, "/defs/a.b"),
    ],
)
def test_the_frame_of_a_document(broken: dict[str, Any], path: str) -> None:
    assert [p.path for p in check_document(document(a=STRING) | broken)] == [path]


@pytest.mark.parametrize("value", [None, 1, "text", [], [{}]])
def test_a_document_is_an_object(value: object) -> None:
    assert len(found(value)) == 1


@pytest.mark.parametrize("kind", ["union", "ref", "unknown", "params", "permission", "null"])
def test_what_cannot_be_a_named_definition(kind: str) -> None:
    definition = {"type": kind, "refs": [], "ref": "#a", "properties": {}, "resource": "repo"}
    assert len(found(document(a=definition))) == 1
    if kind == "union":
        assert "a union cannot be a named definition" in found(document(a=definition))[0]


@pytest.mark.parametrize(
    "definition",
    [
        {"type": "boolean"},
        {"type": "integer"},
        {"type": "string"},
        {"type": "bytes"},
        {"type": "cid-link"},
        {"type": "blob"},
        {"type": "token"},
        {"type": "array", "items": {"type": "unknown"}},
        {"type": "object", "properties": {}},
    ],
)
def test_what_can_be_a_named_definition(definition: dict[str, Any]) -> None:
    assert found(document(main=definition, other=definition)) == []


@pytest.mark.parametrize("kind", ["record", "query", "procedure", "subscription", "permission-set"])
def test_a_primary_type_is_the_main_definition_and_nothing_else(kind: str) -> None:
    definition = {
        "type": kind,
        "key": "any",
        "record": object_of(),
        "message": {"schema": {"type": "union", "refs": []}},
        "permissions": [],
    }
    assert found(document(main=definition)) == []
    assert found(document(other=definition)) == [
        f"/defs/other: a {kind} can only be the definition main"
    ]


@pytest.mark.parametrize(
    ("key", "good"),
    [
        ("tid", True),
        ("nsid", True),
        ("any", True),
        ("literal:self", True),
        ("literal:", False),
        ("literal:a/b", False),
        ("uuid", False),
        ("", False),
        (None, False),
        (1, False),
    ],
)
def test_the_types_of_record_keys(key: Any, good: bool) -> None:
    assert (found(document(main=record_of(key=key))) == []) is good


def test_a_record_is_an_inline_object() -> None:
    schemas: list[Any] = [{"type": "ref", "ref": "#o"}, {"type": "unknown"}, STRING, None, []]
    for schema in schemas:
        definition = {"type": "record", "key": "any", "record": schema}
        assert len(found(document(main=definition, o=object_of()))) == 1
    assert len(found(document(main={"type": "record", "key": "any"}))) == 1


def test_an_object_without_properties_is_refused_with_a_way_out() -> None:
    (problem,) = in_property({"type": "object"})
    assert problem == ": object without properties: use unknown where any fields may stand"
    assert in_property({"type": "object", "properties": {}}) == []


VALID = [
    {"type": "boolean", "default": False},
    {"type": "integer", "minimum": 1, "maximum": 1, "enum": [1], "default": 1},
    {"type": "string", "const": "a"},
    {"type": "string", "maxLength": 0},
    {"type": "string", "knownValues": ["a", "com.example.defs#token"], "default": "other"},
    {"type": "string", "enum": ["a", "b"], "default": "b"},
    {"type": "string", "format": "language", "default": "pt-BR"},
    {"type": "blob", "accept": ["*/*", "image/*", "application/vnd.ipld.car"], "maxSize": 1},
    {"type": "array", "items": {"type": "array", "items": STRING}, "minLength": 1, "maxLength": 1},
    {"type": "object", "properties": {"a": STRING}, "required": ["a"], "nullable": ["a"]},
    {"type": "object", "properties": {"$vendor": STRING}},
    {"type": "ref", "ref": "#o"},
    {"type": "ref", "ref": NSID},
    {"type": "ref", "ref": f"{NSID}#o"},
    {"type": "ref", "ref": "com.example.unseen#o"},
    {"type": "union", "refs": []},
    {"type": "union", "refs": ["#o", NSID, "com.example.unseen"], "closed": True},
    {"type": "unknown"},
    {"type": "cid-link"},
    {"type": "string", "pattern": "^fields beyond the specification are ignored$"},
]


@pytest.mark.parametrize("schema", VALID, ids=str)
def test_what_a_property_may_be(schema: dict[str, Any]) -> None:
    assert in_property(schema) == []


INVALID: list[tuple[Any, str]] = [
    (None, ""),
    ([], ""),
    ({}, "/type"),
    ({"type": 1}, "/type"),
    ({"type": "number"}, "/type"),
    ({"type": "token"}, ""),
    ({"type": "params", "properties": {}}, ""),
    ({"type": "record"}, ""),
    ({"type": "permission"}, ""),
    ({"type": "string", "description": ["a"]}, "/description"),
    ({"type": "boolean", "default": "true"}, "/default"),
    ({"type": "boolean", "const": True, "default": True}, "/default"),
    ({"type": "integer", "minimum": 2, "maximum": 1}, "/minimum"),
    ({"type": "integer", "minimum": "2"}, "/minimum"),
    ({"type": "integer", "maximum": 1.5}, "/maximum"),
    ({"type": "integer", "maximum": 1 << 63}, "/maximum"),
    ({"type": "integer", "maximum": True}, "/maximum"),
    ({"type": "integer", "maximum": 5, "default": 6}, "/default"),
    ({"type": "integer", "const": 5, "default": 6}, "/default"),
    ({"type": "integer", "enum": []}, "/enum"),
    ({"type": "integer", "enum": 1}, "/enum"),
    ({"type": "integer", "enum": [1, "2"]}, "/enum/1"),
    ({"type": "integer", "enum": [1, 20], "maximum": 10}, "/enum/1"),
    ({"type": "integer", "enum": [1, 2], "default": 3}, "/default"),
    ({"type": "integer", "enum": [1, 2], "const": 3}, "/const"),
    ({"type": "string", "minLength": -1}, "/minLength"),
    ({"type": "string", "minLength": 5, "maxLength": 4}, "/minLength"),
    ({"type": "string", "minGraphemes": 5, "maxGraphemes": 4}, "/minGraphemes"),
    ({"type": "string", "minGraphemes": 5, "maxLength": 4}, "/minGraphemes"),
    ({"type": "string", "format": "email"}, "/format"),
    ({"type": "string", "format": None}, "/format"),
    ({"type": "string", "knownValues": [1]}, "/knownValues"),
    ({"type": "string", "enum": ["a", "é"], "maxLength": 1}, "/enum/1"),
    ({"type": "string", "default": "é", "maxLength": 1}, "/default"),
    ({"type": "string", "default": "x", "format": "did"}, "/default"),
    ({"type": "string", "default": 1}, "/default"),
    ({"type": "string", "const": "a", "default": "a"}, "/default"),
    ({"type": "bytes", "minLength": 2, "maxLength": 1}, "/minLength"),
    ({"type": "blob", "maxSize": 0}, "/maxSize"),
    ({"type": "blob", "accept": "image/*"}, "/accept"),
    ({"type": "blob", "accept": ["*"]}, "/accept/0"),
    ({"type": "blob", "accept": ["text/ht*"]}, "/accept/0"),
    ({"type": "array"}, ""),
    ({"type": "array", "items": STRING, "minLength": 2, "maxLength": 1}, "/minLength"),
    ({"type": "array", "items": {"type": "token"}}, "/items"),
    ({"type": "array", "items": [STRING]}, "/items"),
    ({"type": "object", "properties": []}, "/properties"),
    ({"type": "object", "properties": {"a": STRING}, "required": ["b"]}, "/required/0"),
    ({"type": "object", "properties": {"a": STRING}, "nullable": ["b"]}, "/nullable/0"),
    ({"type": "object", "properties": {"a": STRING}, "required": ["a", "a"]}, "/required"),
    ({"type": "object", "properties": {"a": STRING}, "required": True}, "/required"),
    ({"type": "object", "properties": {"$type": STRING}}, "/properties/$type"),
    ({"type": "object", "properties": {"": STRING}}, "/properties/"),
    ({"type": "ref"}, ""),
    ({"type": "ref", "ref": ""}, "/ref"),
    ({"type": "ref", "ref": "#"}, "/ref"),
    ({"type": "ref", "ref": "not a reference"}, "/ref"),
    ({"type": "ref", "ref": "at://com.example.thing"}, "/ref"),
    ({"type": "ref", "ref": 1}, "/ref"),
    ({"type": "ref", "ref": "#gone"}, "/ref"),
    ({"type": "ref", "ref": f"{NSID}#gone"}, "/ref"),
    ({"type": "ref", "ref": "#t"}, "/ref"),
    ({"type": "union"}, ""),
    ({"type": "union", "refs": "#o"}, "/refs"),
    ({"type": "union", "refs": [], "closed": True}, ""),
    ({"type": "union", "refs": ["#o"], "closed": "yes"}, "/closed"),
    ({"type": "union", "refs": ["#t"]}, "/refs/0"),
    ({"type": "union", "refs": ["#o", f"{NSID}#o"]}, "/refs/1"),
]


@pytest.mark.parametrize(("schema", "path"), INVALID, ids=str)
def test_what_a_property_may_not_be(schema: Any, path: str) -> None:
    problems = in_property(schema)
    assert len(problems) == 1
    assert problems[0].startswith(f"{path}: ")


def test_a_union_points_to_objects_and_records_only() -> None:
    for kind in ("string", "array", "token", "blob", "bytes"):
        target = {"type": kind, "items": STRING}
        doc = document(o=object_of(p={"type": "union", "refs": ["#t"]}), t=target)
        assert found(doc) == [
            f"/defs/o/properties/p/refs/0: a union cannot point to '#t', which is a {kind}"
        ]


def test_references_into_other_documents_are_checked_where_these_are_at_hand() -> None:
    other = document("com.example.other", a=object_of(), t={"type": "token"}, main=record_of())
    doc = document(
        o=object_of(
            good={"type": "union", "refs": ["com.example.other", "com.example.other#a"]},
            token={"type": "ref", "ref": "com.example.other#t"},
            gone={"type": "ref", "ref": "com.example.other#gone"},
            far={"type": "ref", "ref": "com.example.far"},
        )
    )
    resolve = {"com.example.other": other}.get
    assert found(doc) == []
    assert [p.path for p in check_document(doc, resolve)] == [
        "/defs/o/properties/token/ref",
        "/defs/o/properties/gone/ref",
    ]
    assert unresolved(doc, resolve) == ["com.example.far"]


def method(kind: str = "query", **fields: Any) -> list[str]:
    problems = check_document(document(main={"type": kind} | fields, o=object_of()))
    return [problem.path.removeprefix("/defs/main") for problem in problems]


def params(**properties: Any) -> dict[str, Any]:
    return {"type": "params", "properties": properties}


def test_parameters_are_scalars_and_arrays_of_them() -> None:
    array = {"type": "array", "items": {"type": "integer"}}
    assert method(parameters=params(a=STRING, b={"type": "boolean"}, c=array)) == []
    for bad in (
        {"type": "object", "properties": {}},
        {"type": "unknown"},
        {"type": "bytes"},
        {"type": "ref", "ref": "#o"},
        {"type": "array", "items": {"type": "ref", "ref": "#o"}},
        {"type": "array", "items": array},
    ):
        assert len(method(parameters=params(a=bad))) == 1
    assert method(parameters={"type": "object", "properties": {}}) == ["/parameters"]
    assert method(parameters={"type": "params"}) == ["/parameters"]
    assert method(parameters=params() | {"nullable": []}) == ["/parameters/nullable"]
    assert method(parameters=params() | {"required": ["a"]}) == ["/parameters/required/0"]


def test_bodies_have_an_encoding_and_maybe_a_schema() -> None:
    for schema in (object_of(), {"type": "ref", "ref": "#o"}, {"type": "union", "refs": ["#o"]}):
        assert method(output={"encoding": JSON, "schema": schema}) == []
        assert method("procedure", input={"encoding": JSON, "schema": schema}) == []
    assert method("procedure", input={"encoding": "*/*"}) == []
    for schema in (STRING, {"type": "unknown"}, {"type": "array", "items": STRING}):
        assert method(output={"encoding": JSON, "schema": schema}) == ["/output/schema"]
    assert method(output={}) == ["/output/encoding"]
    assert method(output={"encoding": "json"}) == ["/output/encoding"]
    assert method(output=JSON) == ["/output"]
    assert method("query", input={"encoding": JSON}) == ["/input"]


def test_errors_have_distinct_names_without_whitespace() -> None:
    assert method(errors=[{"name": "A"}, {"name": "B", "description": "b"}]) == []
    for bad in ({"name": "A B"}, {"name": ""}, {}, {"name": 1}):
        assert method(errors=[bad]) == ["/errors/0/name"]
    assert method(errors=[{"name": "A"}, {"name": "A"}]) == ["/errors/1/name"]
    assert method(errors=["A"]) == ["/errors/0"]
    assert method(errors={}) == ["/errors"]


def test_the_messages_of_a_subscription_are_a_union() -> None:
    good = {"schema": {"type": "union", "refs": ["#o"]}}
    assert method("subscription", message=good) == []
    assert method("subscription") == ["/message"]
    assert method("subscription", message={}) == ["/message/schema"]
    assert method("subscription", message={"schema": object_of()}) == ["/message/schema"]


REPO = {"type": "permission", "resource": "repo", "collection": ["com.example.a"]}
RPC = {"type": "permission", "resource": "rpc", "lxm": ["com.example.a"], "aud": "*"}


@pytest.mark.parametrize(
    ("permission", "path"),
    [
        (REPO, None),
        (REPO | {"action": ["create"]}, None),
        (RPC, None),
        ({"type": "permission", "resource": "blob"}, None),
        (REPO | {"type": "string"}, ""),
        (REPO | {"resource": None}, "/resource"),
        (REPO | {"collection": []}, "/collection"),
        (REPO | {"collection": ["*"]}, "/collection/0"),
        (REPO | {"collection": ["com.example.a"] * 2}, "/collection"),
        (REPO | {"action": ["read"]}, "/action/0"),
        (REPO | {"action": ["create", "create"]}, "/action"),
        (RPC | {"lxm": []}, "/lxm"),
        (RPC | {"lxm": ["*"]}, ""),
        (RPC | {"aud": "did:web:a.example#b"}, "/aud"),
        (RPC | {"inheritAud": True}, "/aud"),
        ({key: value for key, value in RPC.items() if key != "aud"}, ""),
    ],
    ids=str,
)
def test_permissions(permission: dict[str, Any], path: str | None) -> None:
    got = method("permission-set", permissions=[permission], title="t")
    assert got == ([] if path is None else [f"/permissions/0{path}"])


def test_the_texts_of_a_permission_set() -> None:
    texts = {"title": "a", "title:lang": {"pt-BR": "b"}, "detail": "c", "detail:lang": {}}
    assert method("permission-set", permissions=[], **texts) == []
    assert method("permission-set", permissions=[], title=1) == ["/title"]
    bad = {"detail:lang": {"not a language": "a"}, "title:lang": {"fr": 1}}
    assert method("permission-set", permissions=[], **bad) == [
        "/title:lang/fr",
        "/detail:lang/not a language",
    ]
    assert method("permission-set") == ["/permissions"]


def test_ten_thousand_levels_of_schemas_are_one_problem() -> None:
    deep: dict[str, Any] = STRING
    for _ in range(10_000):
        deep = {"type": "array", "items": deep}
    assert len(found(document(a=deep))) == 1


def test_a_flood_of_problems_is_cut_and_says_so() -> None:
    defs: dict[str, Any] = {f"a{i}": {"type": "union"} for i in range(10_000)}
    problems = check_document(document() | {"defs": defs})
    assert len(problems) == DOCUMENT_PROBLEMS_MAX + 1
    assert "more problems" in problems[-1].reason


def test_keys_of_other_types_do_not_break_the_checker() -> None:
    weird = {1: STRING, None: {}, ("a",): 3}
    assert found({"lexicon": 1, "id": NSID, "defs": weird})
    assert found(document(a={"type": "object", "properties": weird}))
    assert found(document(main={"type": "permission-set", "permissions": [], "title:lang": {1: 2}}))
