"""The operations of a declarative lens, between records and the model.

`model.FieldOps` lists them. Literals are JSON text in a record and plain values in the model.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from atdex_lexicons.errors import NotRepresentable, Problem
from atdex_lexicons.model import FieldOps

from .values import data_form, json_text, plain, read_json_text

_KEYS = {
    "rename": ("from", "to"),
    "drop": ("field",),
    "add": ("field",),
    "cast": ("field", "from", "to"),
    "map": ("field",),
    "select": ("fields",),
    "nest": ("fields", "into"),
    "hoist": ("field", "fields"),
}
_LITERALS = {"drop": "default", "add": "value"}


def read_ops(
    ops: Sequence[Mapping[str, Any]], nsid: str, path: str, problems: list[Problem]
) -> FieldOps:
    """The operations of a record; `nsid` is the lexicon that defines them."""
    return FieldOps(
        tuple(_read(op, nsid, f"{path}/{index}", problems) for index, op in enumerate(ops))
    )


def _read(op: Mapping[str, Any], nsid: str, path: str, problems: list[Problem]) -> dict[str, Any]:
    name = str(op["$type"]).removeprefix(f"{nsid}#").removesuffix("Op")
    if name not in _KEYS or op["$type"] != f"{nsid}#{name}Op":
        rest = {k: plain(v, path, problems) for k, v in op.items() if k not in ("$type", "op")}
        return {"op": str(op["$type"]), **rest}
    result: dict[str, Any] = {"op": name, **{key: op[key] for key in _KEYS[name]}}
    literal = _LITERALS.get(name)
    if literal is not None:
        result[literal] = read_json_text(op[literal], f"{path}/{literal}", problems)
    if name == "map":
        result["values"] = _read_table(op["values"], f"{path}/values", problems)
    return result


def _read_table(
    rows: Sequence[Mapping[str, Any]], path: str, problems: list[Problem]
) -> list[list[Any]]:
    table = []
    seen: set[str] = set()
    for index, row in enumerate(rows):
        pair = [read_json_text(row[key], f"{path}/{index}/{key}", problems) for key in _PAIR]
        source = json_text(pair[0], path)
        if source in seen:
            problems.append(Problem(f"{path}/{index}/from", "the table has this value already"))
        seen.add(source)
        table.append(pair)
    return table


_PAIR = ("from", "to")


def write_ops(code: FieldOps, nsid: str, path: str) -> list[dict[str, Any]]:
    """The operations as a record has them. Raises `NotRepresentable`."""
    return [_write(op, nsid, f"{path}/{index}") for index, op in enumerate(code.ops)]


def _write(op: Mapping[str, Any], nsid: str, path: str) -> dict[str, Any]:
    name = op.get("op")
    if name not in _KEYS:
        raise NotRepresentable(f"{path}/op", f"there is no operation {name!r}")
    literal = _LITERALS.get(name)
    allowed = {
        "op",
        *_KEYS[name],
        *([literal] if literal else []),
        *(["values"] if name == "map" else []),
    }
    if op.keys() != allowed:
        raise NotRepresentable(path, f"{name} has the keys {', '.join(sorted(allowed))}")
    result: dict[str, Any] = {"$type": f"{nsid}#{name}Op", "op": name}
    result.update((key, data_form(op[key], f"{path}/{key}")) for key in _KEYS[name])
    if literal is not None:
        result[literal] = json_text(op[literal], f"{path}/{literal}")
    if name == "map":
        result["values"] = [
            {
                key: json_text(value, f"{path}/values")
                for key, value in zip(_PAIR, pair, strict=True)
            }
            for pair in op["values"]
        ]
    return result
