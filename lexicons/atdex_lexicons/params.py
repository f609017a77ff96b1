"""Parameters of methods: from a query string, or as Python values.

A declared parameter that does not parse is an error; one that is not declared is ignored, as
the XRPC specification says.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any

from .checks import PROBLEMS_MAX, Check, Problems, one, under
from .errors import Problem, shown, step_path

PAIRS_MAX = 1000
"""Name-value pairs read from one query string; a list of 1,000 URIs would not fit a URL."""

_INTEGER = re.compile(r"-?[0-9]{1,19}")
_BOOLEANS = {"true": True, "false": False}


class Params:
    """The `parameters` of one method, compiled. `parts` are the checks of its properties."""

    def __init__(self, schema: Mapping[str, Any], parts: Mapping[str, Check]) -> None:
        self._properties: Mapping[str, Mapping[str, Any]] = schema.get("properties", {})
        self._required: tuple[str, ...] = tuple(schema.get("required", ()))
        self._parts = parts

    def parse(self, pairs: Iterable[tuple[str, str]]) -> tuple[dict[str, Any], Problems]:
        """Typed values with defaults, and what is wrong. Paths are `/name` or `/name/index`."""
        given: dict[str, list[str]] = {}
        for count, (name, text) in enumerate(pairs):
            if count >= PAIRS_MAX:
                return {}, one(f"more than {PAIRS_MAX} parameters")
            if name in self._properties:
                given.setdefault(name, []).append(text)
        values: dict[str, Any] = {}
        found: Problems = []
        failed: set[str] = set()
        for name, texts in given.items():
            schema = self._properties[name]
            if schema["type"] == "array":
                parsed = [_parse(text, schema["items"]["type"]) for text in texts]
                problems = [
                    problem
                    for index, (_, wrong) in enumerate(parsed)
                    for problem in under(index, wrong)
                ]
                values[name] = [value for value, _ in parsed]
            elif len(texts) > 1:
                problems = one(f"is given {len(texts)} times, but is no list")
            else:
                values[name], problems = _parse(texts[0], schema["type"])
            if problems:
                values.pop(name, None)
                failed.add(name)
                found += under(name, problems)
        return self._finish(values, found, failed)

    def check(self, params: Mapping[str, Any]) -> tuple[dict[str, Any], Problems]:
        """The declared ones of `params` with defaults, and what is wrong.

        None stands for a parameter that is not given.
        """
        values = {
            name: list(value) if isinstance(value, tuple) else value
            for name, value in params.items()
            if name in self._properties and value is not None
        }
        return self._finish(values, [], set())

    def _finish(
        self, values: dict[str, Any], found: Problems, failed: set[str]
    ) -> tuple[dict[str, Any], Problems]:
        for name, value in values.items():
            problems = self._parts[name](value, 0) or _nul(value)
            if problems:
                found += under(name, problems)
        for name, schema in self._properties.items():
            if name not in values and "default" in schema:
                values[name] = schema["default"]
        found += [
            Problem(step_path(name), "is required and missing")
            for name in self._required
            if name not in values and name not in failed
        ]
        return values, found[: PROBLEMS_MAX + 1]


def _parse(text: str, kind: str) -> tuple[Any, Problems]:
    if kind == "string":
        return text, []
    if kind == "integer":
        if _INTEGER.fullmatch(text) is not None:
            return int(text), []
        return None, one(f"is {shown(text)}, must be an integer of 64 bits")
    if text in _BOOLEANS:
        return _BOOLEANS[text], []
    return None, one(f"is {shown(text)}, must be true or false")


def _nul(value: Any) -> Problems:
    """NUL has no place in a parameter, and stores behind a method choke on it."""
    for text in value if isinstance(value, list) else (value,):
        if isinstance(text, str) and "\0" in text:
            return one("holds the character NUL")
    return []
