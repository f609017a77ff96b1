from __future__ import annotations

import threading
import time
from typing import Any

import pytest
from hypothesis import given

from atdex_lexicons import Catalog, Cid, Invalid, InvalidRecord, UnknownLexicon
from atdex_lexicons.checks import PROBLEMS_MAX, graphemes
from atdex_lexicons.dagcbor import DEPTH_MAX
from atdex_lexicons.datamodel import from_json, to_json
from tests.lexicons.builders import (
    NSID,
    catalog_of,
    document,
    object_of,
    record_catalog,
    record_of,
)
from tests.lexicons.strategies import objects

STRING = {"type": "string"}


def problems(catalog: Catalog, value: Any, **options: Any) -> list[tuple[str, str]]:
    try:
        catalog.validate_record(value, **options)
    except InvalidRecord as error:
        return [(problem.path, problem.reason) for problem in error.problems]
    return []


def paths(catalog: Catalog, value: Any, **options: Any) -> list[str]:
    return [path for path, _ in problems(catalog, value, **options)]


def test_all_problems_are_reported_in_the_order_of_the_record() -> None:
    shard = {"type": "object", "required": ["url"], "properties": {"url": {"type": "string"}}}
    catalog = catalog_of(
        document(
            main=record_of(
                "name",
                "createdAt",
                name={"type": "string", "maxLength": 3},
                shards={"type": "array", "items": {"type": "ref", "ref": "#shard"}},
                createdAt={"type": "string", "format": "datetime"},
            ),
            shard=shard,
        )
    )
    record = {"$type": NSID, "shards": [{"url": "a"}, {"url": 1}, {}], "name": "long", "x": 1.5}
    with pytest.raises(InvalidRecord) as caught:
        catalog.validate_record(record, collection=NSID)
    error = caught.value
    assert [tuple(problem) for problem in error.problems] == [
        ("/shards/1/url", "expected a string, got an integer"),
        ("/shards/2/url", "is required and missing"),
        ("/name", "is 4 bytes long, at most 3 are allowed"),
        ("/x", "floats are not allowed: write a string or an integer"),
        ("/createdAt", "is required and missing"),
    ]
    assert (error.path, error.reason, error.nsid) == (*error.problems[0], NSID)
    assert str(error).startswith(f"invalid record of {NSID}: /shards/1/url: expected a string")


def test_every_broken_constraint_of_one_string_is_reported() -> None:
    catalog = record_catalog(
        a={
            "type": "string",
            "minGraphemes": 5,
            "maxLength": 100,
            "format": "nsid",
            "enum": ["a.b.cdef"],
        }
    )
    assert len(problems(catalog, {"$type": NSID, "a": "a.b"})) == 3


def test_a_record_needs_the_type_of_its_collection() -> None:
    catalog = record_catalog(a=STRING)
    assert paths(catalog, {"$type": NSID}, collection=NSID) == []
    assert paths(catalog, {}, collection=NSID) == ["/$type"]
    assert paths(catalog, {"$type": "com.example.other"}, collection=NSID) == ["/$type"]
    assert paths(catalog, {"$type": f"{NSID}#main"}, collection=NSID) == ["/$type"]
    assert paths(catalog, {"$type": 1, "a": 1}, collection=NSID) == ["/$type", "/a"]
    assert paths(catalog, {"a": "no type at all"}) == ["/$type"]
    assert paths(catalog, {"$type": "no nsid"}) == ["/$type"]


@pytest.mark.parametrize("value", [None, 1, "text", [], b"", Cid.of_cbor(b""), object()])
def test_a_record_is_an_object(value: object) -> None:
    with pytest.raises(InvalidRecord, match="expected an object"):
        record_catalog(a=STRING).validate_record(value, collection=NSID)


def test_an_unknown_collection_is_told_apart_from_a_bad_record() -> None:
    catalog = catalog_of(document(main=record_of()), document("com.example.defs", a=STRING))
    for nsid in ("com.example.other", "com.example.defs"):
        with pytest.raises(UnknownLexicon, match=nsid):
            catalog.validate_record({"$type": nsid}, collection=nsid)
    assert not issubclass(UnknownLexicon, Invalid)


@pytest.mark.parametrize(
    ("key", "good", "bad"),
    [
        ("tid", "3jzfcijpj2z2a", "self"),
        ("nsid", "com.example.a", "3jzfcijpj2z2a"),
        ("any", "a:b", "a/b"),
        ("literal:self", "self", "other"),
    ],
)
def test_a_record_key_must_fit_its_type(key: str, good: str, bad: str) -> None:
    catalog = catalog_of(document(main=record_of(key=key)))
    assert paths(catalog, {"$type": NSID}, rkey=good) == []
    assert paths(catalog, {"$type": NSID}, rkey=bad) == ["rkey"]
    assert paths(catalog, {"$type": NSID, "x": 1.5}, rkey=bad) == ["/x", "rkey"]


def test_null_is_allowed_where_the_lexicon_says_so_and_nowhere_else() -> None:
    main = record_of("b", a=STRING, b=STRING)
    main["record"]["nullable"] = ["b"]
    catalog = catalog_of(document(main=main))
    assert paths(catalog, {"$type": NSID, "b": None}) == []
    assert paths(catalog, {"$type": NSID, "b": "x", "a": None}) == ["/a"]
    assert paths(catalog, {"$type": NSID, "a": "x"}) == ["/b"]
    assert paths(catalog, {"$type": NSID, "b": None, "undeclared": None}) == []


def test_fields_that_the_lexicon_does_not_name_only_have_to_be_data() -> None:
    catalog = record_catalog(a=STRING)
    good = {"x": [{"y": {"$bytes": "YQ"}}, {"$link": str(Cid.of_raw(b""))}], "$new": True}
    assert paths(catalog, {"$type": NSID} | good) == []
    bad = {"x": [{"y": {"$bytes": "?"}}, {"$link": 1}, {"$type": ""}], "z": {"$type": "blob"}}
    assert paths(catalog, {"$type": NSID} | bad) == [
        "/x/0/y/$bytes",
        "/x/1",
        "/x/2/$type",
        "/z/mimeType",
    ]


@given(objects)
def test_both_forms_of_a_record_get_the_same_verdict(value: dict[str, Any]) -> None:
    catalog = record_catalog(
        a={"type": "bytes", "maxLength": 5},
        b={"type": "cid-link"},
        c={"type": "unknown"},
        d={"type": "array", "items": {"type": "integer", "minimum": 0}},
    )
    for name, element in zip("abcd", list(value.values()), strict=False):
        record = value | {"$type": NSID, name: element}
        assert problems(catalog, record) == problems(catalog, to_json(record))


def test_recursive_definitions_are_checked_down_to_the_nesting_limit() -> None:
    node = object_of(next={"type": "ref", "ref": "#node"}, any={"type": "union", "refs": ["#node"]})
    catalog = catalog_of(document(main=record_of(root={"type": "ref", "ref": "#node"}), node=node))

    def chain(levels: int, end: Any) -> dict[str, Any]:
        for level in range(levels):
            wrapped = (
                {"next": end} if level % 2 else {"any": {"$type": f"{NSID}#node", "next": end}}
            )
            end = wrapped
        return {"$type": NSID, "root": end}

    assert paths(catalog, chain(20, {})) == []
    assert paths(catalog, chain(20, 1))[0].startswith("/root/next/any/next/next")
    (problem,) = problems(catalog, chain(10_000, {}))
    assert problem[1] == f"nested deeper than {DEPTH_MAX} levels"


@pytest.mark.parametrize("field", ["undeclared", "unknown", "open", "array"])
def test_ten_thousand_levels_of_nesting_are_one_problem(field: str) -> None:
    catalog = record_catalog(
        unknown={"type": "unknown"},
        open={"type": "union", "refs": []},
        array={"type": "array", "items": {"type": "unknown"}},
    )
    for empty, wrap in (({}, lambda x: {"$type": "a.b.c", "a": x}), ([], lambda x: [x])):
        deep: Any = empty
        for _ in range(10_000):
            deep = wrap(deep)
        assert len(problems(catalog, {"$type": NSID, field: deep})) == 1


def test_a_flood_of_problems_is_cut_and_says_so() -> None:
    catalog = record_catalog(a={"type": "array", "items": STRING})
    for value in ({"a": [1] * 200_000}, {f"x{i}": 1.5 for i in range(200_000)}):
        started = time.process_time()
        found = problems(catalog, {"$type": NSID} | value)
        assert time.process_time() - started < 2
        assert len(found) == PROBLEMS_MAX + 1
        assert found[-1] == ("", f"more problems than the {PROBLEMS_MAX} listed")


def test_errors_do_not_repeat_a_megabyte_of_foreign_text() -> None:
    catalog = record_catalog(a={"type": "string", "format": "did", "maxLength": 10})
    record = {"$type": NSID, "a": "x" * 1_000_000, "k" * 1_000_000: 1.5, "\n\x1b[31m": 1.5}
    with pytest.raises(InvalidRecord) as caught:
        catalog.validate_record(record)
    text = str(caught.value)
    assert len(text) < 1000
    assert text.isprintable()


def test_keys_that_are_no_text_are_a_problem() -> None:
    catalog = record_catalog(a={"type": "unknown"})
    assert len(problems(catalog, {"$type": NSID, 1: 2, "a": {None: 1}, "\ud800": 1})) == 3


def test_huge_integers_are_a_problem_and_not_a_crash() -> None:
    catalog = record_catalog(a={"type": "integer"}, b={"type": "unknown"})
    huge = 10**5000
    assert paths(catalog, {"$type": NSID, "a": huge, "b": {"c": -huge}}) == ["/a", "/b/c"]


def test_values_of_other_python_types_are_a_problem() -> None:
    catalog = record_catalog(a={"type": "array", "items": {"type": "integer"}}, b=STRING)
    found = problems(catalog, {"$type": NSID, "a": (1, 2), "b": bytearray(b"x"), "c": {1, 2}})
    assert [path for path, _ in found] == ["/a", "/b", "/c"]
    assert "tuple" in found[0][1]


def test_graphemes_are_what_a_reader_sees() -> None:
    family = "👩‍👩‍👧‍👧"
    assert [graphemes(text) for text in ("", "abc", "é" * 3, family * 4, "\r\n", "🇩🇪🇫🇷")] == [
        0,
        3,
        3,
        4,
        1,
        2,
    ]
    started = time.process_time()
    graphemes("e" + "\u0301" * 500_000)
    assert time.process_time() - started < 5


def test_a_reference_outside_the_catalog_matters_only_where_a_value_gets_there() -> None:
    catalog = catalog_of(
        document(
            main=record_of(
                far={"type": "ref", "ref": "com.example.far#thing"},
                open={"type": "union", "refs": ["com.example.far", "#near"]},
                closed={"type": "union", "refs": ["com.example.far", "#near"], "closed": True},
            ),
            near=object_of(),
        )
    )
    near = {"$type": f"{NSID}#near"}
    far = {"$type": "com.example.far", "x": 1}
    assert paths(catalog, {"$type": NSID, "open": far, "closed": near}) == []
    fields: list[dict[str, Any]] = [{"far": {}}, {"closed": far}]
    for field in fields:
        with pytest.raises(UnknownLexicon, match=r"com\.example\.far"):
            catalog.validate_record({"$type": NSID} | field)


def test_a_union_may_hold_whole_records() -> None:
    other = "com.example.other"
    catalog = catalog_of(
        document(
            main=record_of(u={"type": "union", "refs": [other]}, r={"type": "ref", "ref": other})
        ),
        document(other, main=record_of("a", a=STRING)),
    )
    good = {"$type": other, "a": "x"}
    assert paths(catalog, {"$type": NSID, "u": good, "r": good}) == []
    assert paths(catalog, {"$type": NSID, "u": {"$type": other}}) == ["/u/a"]
    assert paths(catalog, {"$type": NSID, "r": {"a": "x"}}) == ["/r/$type"]


def test_the_old_form_of_a_blob_is_named_as_such() -> None:
    catalog = record_catalog(a={"type": "blob"})
    (problem,) = problems(
        catalog, {"$type": NSID, "a": {"cid": str(Cid.of_raw(b"")), "mimeType": "a/b"}}
    )
    assert "old form" in problem[1]


def test_a_blob_is_accepted_in_both_forms() -> None:
    catalog = record_catalog(a={"type": "blob", "accept": ["text/*", "image/png"], "maxSize": 10})
    blob = {"$type": "blob", "ref": Cid.of_raw(b""), "mimeType": "text/html", "size": 10}
    for kind, good in (("text/html", True), ("image/png", True), ("image/gif", False)):
        for form in (blob | {"mimeType": kind}, to_json(blob | {"mimeType": kind})):
            assert (paths(catalog, {"$type": NSID, "a": form}) == []) is good
    record = from_json({"$type": NSID, "a": to_json(blob | {"size": 11})})
    assert paths(catalog, record) == ["/a/size"]


def test_one_catalog_serves_many_threads_from_its_first_use() -> None:
    node = object_of(next={"type": "ref", "ref": "#node"}, **{f"f{i}": STRING for i in range(200)})
    for _ in range(5):
        catalog = catalog_of(
            document(main=record_of(root={"type": "ref", "ref": "#node"}), node=node)
        )
        barrier = threading.Barrier(8)
        failures: list[object] = []

        def work(catalog: Catalog = catalog, barrier: threading.Barrier = barrier) -> None:
            barrier.wait()
            found = paths(catalog, {"$type": NSID, "root": {"next": {"next": {"f7": 1}}}})
            if found != ["/root/next/next/f7"]:
                failures.append(found)  # noqa: B023 - joined below, within the same turn

        threads = [threading.Thread(target=work) for _ in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert not failures
