from __future__ import annotations

from copy import deepcopy
from typing import Any

import pytest

from atdex_lexicons.evolution import check_evolution
from tests.lexicons.builders import document, object_of, record_of

OLD = document(
    main=record_of(
        "name",
        key="tid",
        name={"type": "string", "maxLength": 10},
        kind={"type": "string", "knownValues": ["a"]},
        part={"type": "ref", "ref": "#part"},
        open={"type": "union", "refs": ["#part"]},
        closed={"type": "union", "refs": ["#part"], "closed": True},
        many={"type": "array", "items": {"type": "integer", "minimum": 0}},
    ),
    part=object_of(a={"type": "integer"}),
    other=object_of(),
)
PROPERTIES = "/defs/main/record/properties"


def changed(*steps: str, to: Any) -> list[str]:
    """Paths of the problems when the value at these steps is replaced (None: removed)."""
    new: dict[str, Any] = deepcopy(OLD)
    node = new["defs"]
    for step in steps[:-1]:
        node = node[step]
    if to is None:
        del node[steps[-1]]
    else:
        node[steps[-1]] = to
    return [problem.path for problem in check_evolution(OLD, new)]


def test_a_document_may_follow_itself() -> None:
    assert check_evolution(OLD, deepcopy(OLD)) == []


@pytest.mark.parametrize(
    ("steps", "to"),
    [
        (("main", "description"), "words may change"),
        (("main", "record", "properties", "new"), {"type": "string"}),
        (("main", "record", "properties", "kind"), {"type": "string", "knownValues": ["a", "b"]}),
        (("main", "record", "properties", "kind"), None),
        (("main", "record", "properties", "open", "refs"), ["#part", "#other"]),
        (("main", "record", "properties", "part", "ref"), "com.example.thing#part"),
        (("more",), object_of()),
    ],
)
def test_what_may_change(steps: tuple[str, ...], to: Any) -> None:
    assert changed(*steps, to=to) == []


@pytest.mark.parametrize(
    ("steps", "to", "path"),
    [
        (("part",), None, "/defs/part"),
        (("part",), {"type": "string"}, "/defs/part/type"),
        (("main", "key"), "any", "/defs/main/key"),
        (("main", "record", "required"), [], f"{PROPERTIES}/name"),
        (("main", "record", "required"), ["name", "kind"], f"{PROPERTIES}/kind"),
        (("main", "record", "nullable"), ["kind"], f"{PROPERTIES}/kind"),
        (("main", "record", "properties", "name"), {"type": "bytes"}, f"{PROPERTIES}/name/type"),
        (("main", "record", "properties", "name", "maxLength"), 9, f"{PROPERTIES}/name/maxLength"),
        (
            ("main", "record", "properties", "name", "maxLength"),
            None,
            f"{PROPERTIES}/name/maxLength",
        ),
        (("main", "record", "properties", "name", "format"), "did", f"{PROPERTIES}/name/format"),
        (("main", "record", "properties", "part", "ref"), "#other", f"{PROPERTIES}/part/ref"),
        (("main", "record", "properties", "open", "refs"), ["#other"], f"{PROPERTIES}/open/refs"),
        (("main", "record", "properties", "open", "closed"), True, f"{PROPERTIES}/open/closed"),
        (
            ("main", "record", "properties", "closed", "refs"),
            ["#part", "#other"],
            f"{PROPERTIES}/closed/refs",
        ),
        (
            ("main", "record", "properties", "many", "items", "minimum"),
            1,
            f"{PROPERTIES}/many/items/minimum",
        ),
    ],
)
def test_what_may_not_change(steps: tuple[str, ...], to: Any, path: str) -> None:
    assert changed(*steps, to=to) == [path]


def test_a_required_field_is_neither_added_nor_removed() -> None:
    new = deepcopy(OLD)
    record = new["defs"]["main"]["record"]
    record["required"] = ["fresh"]
    record["properties"]["fresh"] = record["properties"].pop("name")
    assert [problem.path for problem in check_evolution(OLD, new)] == [
        f"{PROPERTIES}/fresh",
        f"{PROPERTIES}/name",
    ]
