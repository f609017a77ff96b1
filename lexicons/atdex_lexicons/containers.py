"""Checks of arrays, objects, records and unions, built from the checks of what they hold."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from .checks import (
    NULL,
    PROBLEMS_MAX,
    TOO_DEEP,
    Check,
    Problems,
    any_object,
    expected,
    one,
    undeclared,
    under,
)
from .dagcbor import DEPTH_MAX, INTEGER_MAX
from .errors import Problem, shown, step_path


def array(schema: Mapping[str, Any], item: Check) -> Check:
    least = schema.get("minLength", 0)
    most = schema.get("maxLength", INTEGER_MAX)

    def check(value: Any, depth: int) -> Problems | None:
        if not isinstance(value, list):
            return expected("an array", value)
        if depth >= DEPTH_MAX:
            return one(TOO_DEEP)
        found: Problems = []
        size = len(value)
        if size > most:
            found.append(Problem("", f"has {size} elements, at most {most} are allowed"))
        elif size < least:
            found.append(Problem("", f"has {size} elements, at least {least} are needed"))
        inner = depth + 1
        for index, element in enumerate(value):
            problems = item(element, inner)
            if problems is not None:
                found += under(index, problems)
                if len(found) > PROBLEMS_MAX:
                    break
        return found or None

    return check


def object_(schema: Mapping[str, Any], properties: Mapping[str, Check]) -> Check:
    """`properties` are the checks of the declared fields; others are only checked to be data."""
    required = frozenset(schema.get("required", ()))
    nullable = frozenset(schema.get("nullable", ()))

    def check(value: Any, depth: int) -> Problems | None:
        if not isinstance(value, dict):
            return expected("an object", value)
        if depth >= DEPTH_MAX:
            return one(TOO_DEEP)
        found: Problems = []
        inner = depth + 1
        for key, element in value.items():
            part = properties.get(key)
            if part is None:
                if key == "$link" or key == "$bytes" or (key == "$type" and element == "blob"):
                    return expected("an object", value)
                problems = undeclared(key, element, inner)
            elif element is not None:
                problems = part(element, inner)
            elif key in nullable:
                continue
            else:
                problems = one(NULL)
            if problems is not None:
                found += under(key, problems) if isinstance(key, str) else problems
                if len(found) > PROBLEMS_MAX:
                    break
        if not required <= value.keys():
            missing = (name for name in schema["required"] if name not in value)
            found += [Problem(step_path(name), "is required and missing") for name in missing]
        return found or None

    return check


def record(nsid: str, content: Check) -> Check:
    """An object whose `$type` is the record's NSID."""

    def check(value: Any, depth: int) -> Problems | None:
        problems = content(value, depth)
        if isinstance(value, dict) and value.get("$type") != nsid:
            kind = value.get("$type")
            got = f"is {shown(kind)}" if isinstance(kind, str) else "is required and missing"
            if kind is not None and not isinstance(kind, str):
                got = "is no string"
            first = Problem("/$type", f"{got}, must be {shown(nsid)}")
            rest = [problem for problem in problems or () if problem.path != "/$type"]
            return [first, *rest]
        return problems

    return check


def union(variants: Mapping[str, Check], closed: bool) -> Check:
    """`variants` by their `$type`. In an open union, an unknown `$type` only has to be data."""
    names = ", ".join(sorted(variants)[:10]) + (", …" if len(variants) > 10 else "")

    def check(value: Any, depth: int) -> Problems | None:
        if not isinstance(value, dict) or "$link" in value or "$bytes" in value:
            return expected("an object with $type", value)
        kind = value.get("$type")
        if not isinstance(kind, str) or not kind:
            return one(f"is required to tell the variant, such as {names}", "/$type")
        variant = variants.get(kind)
        if variant is not None:
            return variant(value, depth)
        if kind == "blob":
            return expected("an object with $type", value)
        if kind.endswith("#main"):
            return one(f"is {shown(kind)}: a main definition is named without #main", "/$type")
        if closed:
            return one(f"is {shown(kind)}, must be one of {names}", "/$type")
        return any_object(value, depth)

    return check
