"""Whether a schema inside a lexicon document keeps to the Lexicon specification.

`SchemaReader` reads field types (§ "Field Type Definitions"); `document` reads what is around
them. Fields that the specification does not define are let through, as it asks for all data
("Unexpected fields … should be ignored"): `pattern` on a string is no error, and does nothing.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any

from . import checks
from .compiler import split_ref
from .dagcbor import INTEGER_MAX, INTEGER_MIN
from .errors import Problem, shown, step_path
from .syntax import FORMATS, is_nsid

SCHEMA_DEPTH_MAX = 32
"""Levels of schemas inside schemas. Documents in use have fewer than 6."""

DOCUMENT_PROBLEMS_MAX = 100
"""Problems listed for one document."""

Resolve = Callable[[str], Mapping[str, Any] | None]
"""Gives the document of an NSID, or None where it is not at hand."""

PRIMARY = frozenset({"record", "query", "procedure", "subscription", "permission-set"})
_SCALARS = frozenset({"boolean", "integer", "string"})
_NAMED = _SCALARS | {"bytes", "cid-link", "blob", "array", "object", "token"}
_DATA = (_NAMED - {"token"}) | {"ref", "union", "unknown"}
_TYPES = _DATA | PRIMARY | {"token", "params", "permission"}

POSITIONS: Mapping[str, frozenset[str]] = {
    "a named definition": _NAMED,
    "a property": _DATA,
    "an item of an array": _DATA,
    "a parameter": _SCALARS | {"array"},
    "an item of a parameter": _SCALARS,
    "the schema of a body": frozenset({"object", "ref", "union"}),
    "the schema of messages": frozenset({"union"}),
    "the schema of a record": frozenset({"object"}),
    "the parameters of a method": frozenset({"params"}),
}
"""Which types may stand where."""

_HINTS = {
    ("union", "a named definition"): ": write it inline, where it is used",
    ("ref", "a named definition"): ": name what it refers to",
    ("unknown", "a named definition"): ": write it inline, where it is used",
    ("token", "a property"): ": use a string with knownValues",
}

DEFINITION_NAME = re.compile(r"[A-Za-z][A-Za-z0-9]{0,62}")
"""A fragment is written like the last segment of an NSID (https://atproto.com/specs/nsid)."""
_REF = re.compile(r"([^#]*)(?:#([^#]+))?")
_MIME_PATTERN = re.compile(r"\*/\*|[A-Za-z0-9][A-Za-z0-9!#$&^_.+-]*/(?:\*|[A-Za-z0-9!#$&^_.+-]+)")
_RESERVED = frozenset({"$type", "$link", "$bytes"})


class SchemaReader:
    """Collects the problems of one document's schemas in `problems`."""

    def __init__(self, nsid: str, defs: Mapping[Any, Any], resolve: Resolve | None) -> None:
        self.nsid = nsid
        self.problems: list[Problem] = []
        self._defs = defs
        self._resolve = resolve
        self._readers: Mapping[str, Callable[[dict[str, Any], str, int], None]] = {
            "boolean": self._boolean,
            "integer": self._integer,
            "string": self._string,
            "bytes": self._bytes,
            "blob": self._blob,
            "array": self._array,
            "object": self._object,
            "params": self._params,
            "ref": self._ref,
            "union": self._union,
        }

    def add(self, path: str, reason: str) -> None:
        if len(self.problems) <= DOCUMENT_PROBLEMS_MAX:
            self.problems.append(Problem(path, reason))

    def schema(self, schema: Any, path: str, position: str, depth: int = 0) -> None:
        """Read one schema that stands at `path`, in one of `POSITIONS`."""
        if not isinstance(schema, dict):
            return self.add(path, f"expected a schema, got {checks.kind_of(schema)}")
        kind = schema.get("type")
        if not isinstance(kind, str):
            return self.add(f"{path}/type", "is required, and a string")
        if kind not in _TYPES:
            return self.add(f"{path}/type", f"{shown(kind)} is no type of the Lexicon language")
        if kind not in POSITIONS[position]:
            article = "an" if kind[0] in "aeiou" and kind != "union" else "a"
            hint = _HINTS.get((kind, position), "")
            return self.add(path, f"{article} {kind} cannot be {position}{hint}")
        if depth >= SCHEMA_DEPTH_MAX:
            return self.add(path, f"schemas are nested deeper than {SCHEMA_DEPTH_MAX} levels")
        self.text(schema, path, "description")
        reader = self._readers.get(kind)
        if reader is not None:
            reader(schema, path, depth + 1)
        return None

    # Fields of a schema. Each answers whether the field is absent or as it should be.

    def text(self, schema: dict[str, Any], path: str, name: str) -> bool:
        return self._typed(schema, path, name, "a string", lambda value: isinstance(value, str))

    def flag(self, schema: dict[str, Any], path: str, name: str) -> bool:
        return self._typed(schema, path, name, "a boolean", lambda value: isinstance(value, bool))

    def texts(self, schema: dict[str, Any], path: str, name: str, *, unique: bool = False) -> bool:
        """An array of strings."""
        if not self._typed(schema, path, name, "an array of strings", _is_texts):
            return False
        values = schema.get(name, ())
        if unique and len(set(values)) < len(values):
            self.add(f"{path}/{name}", "names something twice")
            return False
        return True

    def _number(self, schema: dict[str, Any], path: str, name: str) -> bool:
        return self._typed(schema, path, name, "an integer of 64 bits", _is_integer)

    def _limits(self, schema: dict[str, Any], path: str, low: str, high: str, least: int) -> bool:
        """A pair of bounds: integers, not below `least`, and in order."""
        good = True
        for name in (low, high):
            if not self._number(schema, path, name):
                good = False
            elif schema.get(name, least) < least:
                self.add(f"{path}/{name}", f"must be at least {least}")
                good = False
        if good and low in schema and high in schema and schema[low] > schema[high]:
            self.add(f"{path}/{low}", f"is greater than {high}: nothing would fit")
            return False
        return good

    def _typed(
        self, schema: dict[str, Any], path: str, name: str, wanted: str, test: Callable[[Any], bool]
    ) -> bool:
        if name not in schema or test(schema[name]):
            return True
        self.add(f"{path}/{name}", f"expected {wanted}, got {checks.kind_of(schema[name])}")
        return False

    def _fixed(
        self,
        schema: dict[str, Any],
        path: str,
        test: Callable[[Any], bool],
        make: Callable[[Mapping[str, Any]], checks.Check],
    ) -> None:
        """`default`, `const` and `enum`: of the right type, possible, and not in each other's way.

        The rest of the schema has been found good.
        """
        if "default" in schema and "const" in schema:
            self.add(f"{path}/default", "default and const exclude each other")
        bare = {k: v for k, v in schema.items() if k not in ("default", "const", "enum")}
        if "enum" in schema:
            choices = schema["enum"]
            if not isinstance(choices, list) or not choices:
                return self.add(f"{path}/enum", "expected an array with one value or more")
            fits = make(bare)
            for index, value in enumerate(choices):
                self._fits(value, f"{path}/enum/{index}", test, fits)
            if all(test(value) for value in choices):
                bare["enum"] = choices
        fits = make(bare)
        for name in ("default", "const"):
            if name in schema:
                self._fits(schema[name], f"{path}/{name}", test, fits)
        return None

    def _fits(
        self, value: Any, path: str, test: Callable[[Any], bool], check: checks.Check
    ) -> None:
        if not test(value):
            return self.add(path, f"has the wrong type: it is {checks.kind_of(value)}")
        for problem in check(value, 0) or ():
            self.add(path, f"contradicts its own schema: {problem.reason}")
        return None

    # Types.

    def _boolean(self, schema: dict[str, Any], path: str, depth: int) -> None:
        if "default" in schema and "const" in schema:
            self.add(f"{path}/default", "default and const exclude each other")
        self.flag(schema, path, "default")
        self.flag(schema, path, "const")

    def _integer(self, schema: dict[str, Any], path: str, depth: int) -> None:
        if self._limits(schema, path, "minimum", "maximum", INTEGER_MIN):
            self._fixed(schema, path, _is_integer, checks.integer)

    def _string(self, schema: dict[str, Any], path: str, depth: int) -> None:
        good = self._limits(schema, path, "minLength", "maxLength", 0)
        good &= self._limits(schema, path, "minGraphemes", "maxGraphemes", 0)
        self.texts(schema, path, "knownValues")
        if self.text(schema, path, "format") and schema.get("format", "did") not in FORMATS:
            self.add(f"{path}/format", f"{shown(schema['format'])} is no string format")
        if good and schema.get("minGraphemes", 0) > schema.get("maxLength", INTEGER_MAX):
            self.add(f"{path}/minGraphemes", "is greater than maxLength: nothing would fit")
            good = False
        if good:
            self._fixed(schema, path, lambda value: isinstance(value, str), checks.string)

    def _bytes(self, schema: dict[str, Any], path: str, depth: int) -> None:
        self._limits(schema, path, "minLength", "maxLength", 0)

    def _blob(self, schema: dict[str, Any], path: str, depth: int) -> None:
        if self._number(schema, path, "maxSize") and schema.get("maxSize", 1) < 1:
            self.add(f"{path}/maxSize", "must be at least 1")
        if self.texts(schema, path, "accept"):
            for index, pattern in enumerate(schema.get("accept", ())):
                if _MIME_PATTERN.fullmatch(pattern) is None:
                    reason = f"{shown(pattern)} is no MIME type, no type/* and not */*"
                    self.add(f"{path}/accept/{index}", reason)

    def _array(self, schema: dict[str, Any], path: str, depth: int) -> None:
        self._limits(schema, path, "minLength", "maxLength", 0)
        if "items" not in schema:
            return self.add(path, "array without items")
        return self.schema(schema["items"], f"{path}/items", "an item of an array", depth)

    def _object(self, schema: dict[str, Any], path: str, depth: int) -> None:
        if "properties" not in schema:
            hint = "use unknown where any fields may stand"
            return self.add(path, f"object without properties: {hint}")
        return self._properties(schema, path, "a property", depth, ("required", "nullable"))

    def _params(self, schema: dict[str, Any], path: str, depth: int) -> None:
        if "properties" not in schema:
            return self.add(path, "params without properties")
        if "nullable" in schema:
            self.add(f"{path}/nullable", "parameters cannot be null")
        self._properties(schema, path, "a parameter", depth, ("required",))
        if isinstance(schema["properties"], dict):
            for name, part in schema["properties"].items():
                if isinstance(part, dict) and part.get("type") == "array":
                    step = step_path(name)
                    self.schema(
                        part.get("items"),
                        f"{path}/properties{step}/items",
                        "an item of a parameter",
                        depth,
                    )
        return None

    def _properties(
        self, schema: dict[str, Any], path: str, position: str, depth: int, lists: tuple[str, ...]
    ) -> None:
        properties = schema["properties"]
        if not isinstance(properties, dict):
            return self.add(f"{path}/properties", "expected an object that maps names to schemas")
        for name, part in properties.items():
            step = f"{path}/properties{step_path(str(name))}"
            if not isinstance(name, str) or not name:
                self.add(step, "a property needs a name")
            elif name in _RESERVED:
                self.add(step, f"{name} is reserved by the data model")
            self.schema(part, step, position, depth)
        for field in lists:
            if self.texts(schema, path, field, unique=True):
                for index, name in enumerate(schema.get(field, ())):
                    if name not in properties:
                        reason = f"{shown(name)} is not among the properties"
                        self.add(f"{path}/{field}/{index}", reason)
        return None

    def _ref(self, schema: dict[str, Any], path: str, depth: int) -> None:
        if "ref" not in schema:
            return self.add(path, "ref without its target in ref")
        return self._target(
            schema["ref"], f"{path}/ref", "a ref", (_NAMED - {"token"}) | {"record"}
        )

    def _union(self, schema: dict[str, Any], path: str, depth: int) -> None:
        if "refs" not in schema:
            return self.add(path, "union without refs")
        if not self.texts(schema, path, "refs"):
            return None
        refs: list[str] = schema["refs"]
        if self.flag(schema, path, "closed") and schema.get("closed") and not refs:
            self.add(path, "a closed union without refs: nothing would fit")
        seen = set()
        for index, ref in enumerate(refs):
            step = f"{path}/refs/{index}"
            self._target(ref, step, "a union", frozenset({"object", "record"}))
            target = split_ref(ref, self.nsid)
            if target in seen:
                self.add(step, f"{shown(ref)} is there twice")
            seen.add(target)
        return None

    def _target(self, ref: Any, path: str, what: str, kinds: frozenset[str]) -> None:
        """A reference: well written, and to something that `what` may refer to."""
        match = _REF.fullmatch(ref) if isinstance(ref, str) and ref else None
        if match is None or not (match[1] or match[2]) or (match[1] and not is_nsid(match[1])):
            given = shown(ref) if isinstance(ref, str) else checks.kind_of(ref)
            return self.add(path, f"{given} is no reference: NSID, NSID#name or #name")
        nsid, name = split_ref(ref, self.nsid)
        defs: Any = self._defs
        if nsid != self.nsid:
            document = self._resolve(nsid) if self._resolve is not None else None
            if document is None:
                return None
            defs = document.get("defs")
        definition = defs.get(name) if isinstance(defs, dict) else None
        if definition is None:
            return self.add(path, f"{shown(ref)} is not defined")
        kind = definition.get("type") if isinstance(definition, dict) else None
        if isinstance(kind, str) and kind in _TYPES and kind not in kinds:
            return self.add(path, f"{what} cannot point to {shown(ref)}, which is a {kind}")
        return None


def _is_integer(value: Any) -> bool:
    return type(value) is int and INTEGER_MIN <= value <= INTEGER_MAX


def _is_texts(value: Any) -> bool:
    return isinstance(value, list) and all(isinstance(element, str) for element in value)
