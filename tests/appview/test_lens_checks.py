"""Declarative lenses that do not type-check: shown as such, part of no path, checked again."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from atdex_appview.graph.checking import LensChecks
from atdex_appview.graph.following import GraphFollower
from atdex_appview.graph.graph import LensGraph
from atdex_appview.store.base import Delete, Put, RepoChange
from atdex_lexicons.families import to_record
from atdex_lexicons.model import Field, FieldOps, Lens, Nested, Primitive, Schema
from tests.appview.index import ALICE, BOB, CREATED, NAMESPACE, Index, Node, lens
from tests.appview.records import rev

NAME_TO_TITLE = FieldOps(({"op": "rename", "from": "name", "to": "title"},))


@pytest.fixture
def index(tmp_path: Path) -> Iterator[Index]:
    with Index.open(tmp_path) as opened:
        yield opened


@pytest.fixture
def node(index: Index) -> Iterator[Node]:
    with index.serve() as served:
        yield served


def schema(field: str, kind: str | Nested = "str") -> Schema:
    inside = Primitive(kind) if isinstance(kind, str) else kind  # type: ignore[arg-type]  # a name
    return Schema(name="S", version="1.0.0", fields=(Field(field, inside),), created_at=CREATED)


def renaming(source: str, target: str) -> Lens:
    return replace(lens("renaming", source, target), getter=NAME_TO_TITLE, putter=None)


def uri(rkey: str) -> str:
    return f"at://{ALICE}/{NAMESPACE}.schema/{rkey}"


def put(index: Index, rkey: str, model: Schema) -> Put:
    made = index.put(ALICE, to_record(model, NAMESPACE), rkey)
    index.commit(ALICE, made)
    return made


def check(node: Node, at: str) -> tuple[bool | None, list[dict[str, str]]]:
    view = node.ask("getLens", uri=at)["lens"]
    return view.get("typeChecks"), view.get("problems", [])


def leads(node: Node, source: str, target: str) -> bool:
    answer = node.get("getLensPath", source=source, target=target).json()
    return "paths" in answer


A, B, C = (rev(n) for n in (1, 2, 3))


def test_a_lens_that_type_checks_says_so_and_one_of_code_says_nothing(
    index: Index, node: Node
) -> None:
    put(index, A, schema("name"))
    put(index, B, schema("title"))
    good, code = index.publish(
        BOB, renaming(uri(A), uri(B)), lens("code", uri(A), uri(B)), family=NAMESPACE
    )
    assert check(node, good.uri) == (True, [])
    assert check(node, code.uri) == (None, [])
    assert leads(node, uri(A), uri(B))


def test_a_lens_that_does_not_type_check_is_shown_with_its_problems_and_part_of_no_path(
    index: Index, node: Node
) -> None:
    put(index, A, schema("name"))
    put(index, B, schema("title", "int"))
    (bad,) = index.publish(BOB, renaming(uri(A), uri(B)), family=NAMESPACE)
    told, problems = check(node, bad.uri)
    assert told is False
    assert problems[0]["path"].startswith("/getterCode/ops")
    assert not leads(node, uri(A), uri(B))
    assert node.ask("listReachableSchemas", schema=uri(A), direction="from")["schemas"] == []
    assert node.ask("listLenses", source=uri(A))["lenses"][0]["problems"] == problems


def test_a_lens_is_checked_when_its_schemas_arrive_change_and_leave(
    index: Index, node: Node
) -> None:
    (made,) = index.publish(BOB, renaming(uri(A), uri(B)), family=NAMESPACE)
    assert check(node, made.uri) == (None, [])
    put(index, B, schema("title"))
    assert check(node, made.uri) == (None, [])
    put(index, A, schema("nothing"))
    assert check(node, made.uri)[0] is False
    put(index, A, schema("name"))
    assert check(node, made.uri) == (True, [])
    assert leads(node, uri(A), uri(B))
    index.set_status(ALICE, active=False, status="deactivated")
    assert check(node, made.uri) == (None, [])
    index.set_status(ALICE, active=True)
    assert check(node, made.uri) == (True, [])
    index.commit(ALICE, Delete(uri(B)))
    assert check(node, made.uri) == (None, [])


def test_a_lens_waits_for_a_schema_that_a_field_refers_to(index: Index, node: Node) -> None:
    put(index, A, schema("name", Nested(uri(C))))
    put(index, B, schema("title", Nested(uri(rev(4)))))
    (made,) = index.publish(BOB, renaming(uri(A), uri(B)), family=NAMESPACE)
    told, problems = check(node, made.uri)
    assert (told, len(problems)) == (None, 1)
    assert "is not known here" in problems[0]["reason"]
    assert (index.graph.counts().unusable, index.graph.counts().dangling) == (0, 1)
    assert not leads(node, uri(A), uri(B))
    put(index, C, schema("x"))
    assert check(node, made.uri)[0] is None
    put(index, rev(4), schema("x"))
    assert check(node, made.uri) == (True, [])
    assert leads(node, uri(A), uri(B))
    put(index, rev(4), schema("x", "int"))
    assert (index.graph.counts().unusable, index.graph.counts().dangling) == (1, 0)
    assert check(node, made.uri)[0] is False
    assert not leads(node, uri(A), uri(B))


def test_a_lens_that_is_changed_is_checked_again(index: Index, node: Node) -> None:
    put(index, A, schema("name"))
    put(index, B, schema("title"))
    (made,) = index.publish(BOB, renaming(uri(A), uri(B)), family=NAMESPACE)

    def change(getter: Any) -> None:
        model = replace(renaming(uri(A), uri(B)), getter=getter)
        index.commit(BOB, index.put(BOB, to_record(model, NAMESPACE), made.rkey))

    change(FieldOps(({"op": "rename", "from": "name", "to": "names"},)))
    assert check(node, made.uri)[0] is False
    change(lens("code", uri(A), uri(B)).getter)
    assert check(node, made.uri) == (None, [])
    assert leads(node, uri(A), uri(B))


def test_a_restart_keeps_what_was_found_and_checks_what_a_kill_left_unchecked(
    index: Index, node: Node
) -> None:
    put(index, A, schema("name", Nested(uri(rev(4)))))
    put(index, B, schema("title", Nested(uri(C))))
    bad, waiting = index.publish(
        BOB, renaming(uri(B), uri(A)), renaming(uri(A), uri(B)), family=NAMESPACE
    )
    # Stored, as by a node that was killed before it checked anything.
    more = index.put(BOB, to_record(renaming(uri(A), uri(A)), NAMESPACE))
    inner = index.put(ALICE, to_record(schema("x"), NAMESPACE), C)
    index.store.apply([RepoChange(BOB, rev(99), (more,), None, None)], now=10**15)
    index.store.apply([RepoChange(ALICE, rev(99), (inner,), None, None)], now=10**15)
    before = index.store.lens_checks([waiting.uri])
    assert not before[waiting.uri].is_wrong
    graph = LensGraph()
    GraphFollower(index.store, graph, checks=LensChecks(index.store)).load()
    counts = graph.counts()
    assert (counts.lenses, counts.unusable, counts.dangling) == (3, 2, 1)
    assert (check(node, bad.uri)[0], check(node, more.uri)[0]) == (False, False)
    assert check(node, waiting.uri)[0] is None
    assert index.store.lens_checks([waiting.uri]) != before


def test_a_batch_that_was_stored_while_the_one_before_was_checked_is_not_taken_for_checked(
    index: Index,
) -> None:
    put(index, A, schema("name"))
    put(index, B, schema("title", "int"))
    follower = GraphFollower(index.store, LensGraph(), checks=LensChecks(index.store))
    follower.load()
    commits = []
    for number in (98, 99):
        made = index.put(BOB, to_record(renaming(uri(A), uri(B)), NAMESPACE))
        commits.append(RepoChange(BOB, rev(number), (made,), None, None))
    first = index.store.apply(commits[:1], now=10**15).number
    index.store.apply(commits[1:], now=10**15)
    follower.follow(commits[:1], first)
    # A kill here leaves the second one to the next start.
    assert index.store.unchecked_lenses() == [commits[1].changes[0].uri]


def test_a_restart_checks_nothing_again_but_all_of_it_where_the_rows_were_lost(
    tmp_path: Path,
) -> None:
    with Index.open(tmp_path) as index:
        put(index, A, schema("name"))
        put(index, B, schema("title", "int"))
        (bad,) = index.publish(BOB, renaming(uri(A), uri(B)), family=NAMESPACE)
        kept = index.store.lens_checks([bad.uri])
        assert kept[bad.uri].is_wrong
        assert index.store.unchecked_lenses() == []
    with Index.open(tmp_path) as index:
        assert index.store.lens_checks([bad.uri]) == kept
        assert index.store.unchecked_lenses() == []
    for path in tmp_path.glob("*.rows.sqlite*"):
        path.unlink()
    with Index.open(tmp_path) as index:
        assert index.store.lens_checks([bad.uri]) == kept
        assert index.graph.counts().unusable == 1
        assert index.store.unchecked_lenses() == []


def test_a_publisher_is_told_before_publishing(index: Index, node: Node) -> None:
    put(index, A, schema("name"))
    put(index, B, schema("title", "int"))
    record = to_record(renaming(uri(A), uri(B)), NAMESPACE)
    body = {"collection": f"{NAMESPACE}.lens", "record": record}
    answer = node.call("checkRecord", body)
    assert answer["valid"] is True
    assert answer["problems"][0]["path"].startswith("/getterCode/ops")
