"""Whether a new version of a lexicon document may follow a published one.

Source: https://atproto.com/specs/lexicon#lexicon-evolution. All old data must be valid under
the new document, and all new data under the old one. So new fields are optional, fields that
were required stay, types and constraints do not change. What may change: descriptions, known
values, defaults, added definitions, variants of open unions, errors.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from .compiler import split_ref
from .errors import Problem, shown, step_path
from .schemas import DOCUMENT_PROBLEMS_MAX

_FIXED = (
    "key",
    "encoding",
    "format",
    "minLength",
    "maxLength",
    "minGraphemes",
    "maxGraphemes",
    "minimum",
    "maximum",
    "maxSize",
    "accept",
    "enum",
    "const",
)
_PARTS = ("record", "parameters", "input", "output", "message", "schema", "items")


def check_evolution(old: Mapping[str, Any], new: Mapping[str, Any]) -> list[Problem]:
    """What in `new` breaks with `old`; both are valid documents with one NSID.

    Paths point into `new`. At most `DOCUMENT_PROBLEMS_MAX` problems are listed.
    """
    found: list[Problem] = []
    for name, definition in old["defs"].items():
        path = f"/defs{step_path(name)}"
        if name not in new["defs"]:
            found.append(Problem(path, "is published and missing here"))
        else:
            _compare(definition, new["defs"][name], path, old["id"], found)
    return found[:DOCUMENT_PROBLEMS_MAX]


def _compare(
    old: Mapping[str, Any], new: Mapping[str, Any], path: str, nsid: str, found: list[Problem]
) -> None:
    if old.get("type") != new.get("type"):
        reason = f"a type cannot change: published as {old.get('type')}, here {new.get('type')}"
        found.append(Problem(f"{path}/type", reason))
        return
    for name in _FIXED:
        if old.get(name) != new.get(name):
            found.append(Problem(f"{path}/{name}", _changed(old.get(name), new.get(name))))
    if old.get("type") == "ref" and split_ref(old["ref"], nsid) != split_ref(new["ref"], nsid):
        found.append(Problem(f"{path}/ref", _changed(old["ref"], new["ref"])))
    if old.get("type") == "union":
        _compare_union(old, new, path, nsid, found)
    if "properties" in old and "properties" in new:
        _compare_properties(old, new, path, nsid, found)
    for name in _PARTS:
        if name in old and name in new:
            _compare(old[name], new[name], f"{path}/{name}", nsid, found)
        elif name in old:
            found.append(Problem(f"{path}/{name}", "is published and missing here"))
        elif name in new and name != "parameters":
            found.append(Problem(f"{path}/{name}", "is not in what is published"))


def _compare_union(
    old: Mapping[str, Any], new: Mapping[str, Any], path: str, nsid: str, found: list[Problem]
) -> None:
    closed = old.get("closed", False)
    if closed != new.get("closed", False):
        found.append(Problem(f"{path}/closed", "a union stays open, or stays closed"))
    before = {split_ref(ref, nsid): ref for ref in old["refs"]}
    after = {split_ref(ref, nsid): ref for ref in new["refs"]}
    gone = [ref for target, ref in before.items() if target not in after]
    found += [
        Problem(f"{path}/refs", f"the variant {ref} is published and missing") for ref in gone
    ]
    if closed and after.keys() - before.keys():
        found.append(Problem(f"{path}/refs", "a closed union takes no new variant"))


def _compare_properties(
    old: Mapping[str, Any], new: Mapping[str, Any], path: str, nsid: str, found: list[Problem]
) -> None:
    required, now_required = set(old.get("required", ())), set(new.get("required", ()))
    nullable, now_nullable = set(old.get("nullable", ())), set(new.get("nullable", ()))
    for name, schema in new["properties"].items():
        step = f"{path}/properties{step_path(name)}"
        if name not in old["properties"]:
            if name in now_required:
                found.append(Problem(step, "a new field must be optional"))
            continue
        if (name in required) != (name in now_required):
            was = "required" if name in required else "optional"
            found.append(Problem(step, f"is published as {was}, and has to stay so"))
        if (name in nullable) != (name in now_nullable):
            was = "nullable" if name in nullable else "not nullable"
            found.append(Problem(step, f"is published as {was}, and has to stay so"))
        _compare(old["properties"][name], schema, step, nsid, found)
    found += [
        Problem(f"{path}/properties{step_path(name)}", "is published as required and missing here")
        for name in old.get("required", ())
        if name not in new["properties"]
    ]


def _changed(old: Any, new: Any) -> str:
    before, after = (
        "without it"
        if value is None
        else "with " + shown(value if isinstance(value, str) else str(value))
        for value in (old, new)
    )
    return f"is published {before}, here {after}: data would fit one and not the other"
