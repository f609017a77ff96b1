"""JSON Schema as a sample type: from a schema's content to fields.

Understood is what sample classes are made of: scalars, bytes as base64 text, lists, maps,
inline objects, arrays by `$ref` to the published shims (or to a local copy of one), other
schemas by `$ref` to their AT-URI, local `$ref`s, and null beside a type for what may be missing.
The rest becomes `AnyType` with the reason; it does not make the schema invalid.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

from atdex_lexicons.errors import Problem
from atdex_lexicons.model import (
    AnyType,
    Field,
    FieldType,
    ListOf,
    MapOf,
    NDArray,
    Nested,
    Primitive,
    PrimitiveName,
    Record,
)
from atdex_lexicons.syntax import is_at_uri

TYPES_DEPTH_MAX = 32
"""Levels of types in types, local references followed. Far beyond any sample class."""

TYPES_MAX = 10_000
"""Types in one schema, counted each time that a reference to them is followed."""

FIELD_ORDER = "x-field-order"
"""Extension: the fields in their order, where maps that sort their keys would lose it."""

ARRAY_FORMATS = {
    "ndarray-bytes": ("ndarrayBytes", "ndarray"),
    "sparse-bytes": ("sparseBytes", "sparse"),
    "structured-bytes": ("structuredBytes", "structured"),
    "arrow-tensor": ("arrowTensor", "tensor"),
    "safetensors": ("safetensors", "safetensors"),
    "dataframe": ("dataframe", "dataframe"),
}
"""Name of a shim in its URL → array format, name of the definition in the shim."""

_SHIM = re.compile(
    r"https?://(?:alt\.science/schemas|json-schema\.alt\.science)/"
    r"atdata-([a-z-]+)/([0-9][0-9A-Za-z.+-]*)/?(?:#.*)?"
)
_LOCAL = re.compile(r"#/(\$defs|definitions)/([^/]+)")
_ANNOTATIONS = ("dtype", "shape", "dimensionNames", "x-atdata-dtype", "x-atdata-shape")
_FORMAT_OF_DEFINITION = {name: array_format for array_format, name in ARRAY_FORMATS.values()}
_PRIMITIVES: dict[str, PrimitiveName] = {"integer": "int", "number": "float", "boolean": "bool"}
_JSON_TYPE_OF = {str: "string", bool: "boolean", int: "integer", float: "number"}


def read_fields(
    content: Any, versions: Any, path: str, problems: list[Problem]
) -> tuple[Field, ...]:
    """The fields of a sample from the JSON Schema `content`.

    `versions` is the record's `arrayFormatVersions`, for arrays that state none. `path` leads
    to the content. A problem is what cannot be a sample at all: not an object with properties.
    """
    reader = _Reader(content, versions if isinstance(versions, Mapping) else {})
    if not isinstance(content, Mapping):
        problems.append(Problem(path, "expected an object"))
        return ()
    root = reader.resolve(content)
    if root is None:
        problems.append(Problem(path + "/$ref", "refers to nothing in this schema"))
        return ()
    if root.get("type", "object") != "object":
        problems.append(Problem(path + "/type", "the schema of a sample is of the type object"))
        return ()
    if not isinstance(root.get("properties", {}), Mapping):
        problems.append(Problem(path + "/properties", "expected an object"))
        return ()
    required = root.get("required", [])
    if not isinstance(required, list) or not all(isinstance(name, str) for name in required):
        problems.append(Problem(path + "/required", "expected a list of property names"))
        return ()
    return reader.fields(root, 0)


class _Reader:
    def __init__(self, root: Any, versions: Mapping[str, Any]) -> None:
        self.root = root
        self.versions = versions
        self.types_left = TYPES_MAX

    def resolve(self, schema: Mapping[str, Any]) -> Mapping[str, Any] | None:
        """`schema`, or what it refers to within the document; None where that is nothing."""
        for _ in range(TYPES_DEPTH_MAX):
            target = schema.get("$ref")
            if not isinstance(target, str):
                return schema
            found = self.local(target)
            if found is None:
                return None
            schema = found
        return None

    def local(self, target: str) -> Mapping[str, Any] | None:
        """The definition of the document that a `$ref` names."""
        match = _LOCAL.fullmatch(target)
        place = self.root.get(match[1]) if match else None
        found = place.get(match[2]) if match and isinstance(place, Mapping) else None
        return found if isinstance(found, Mapping) else None

    def fields(self, schema: Mapping[str, Any], depth: int) -> tuple[Field, ...]:
        properties = schema.get("properties", {})
        required = schema.get("required", [])
        if not isinstance(required, list):
            required = []
        names = [name for name in required if isinstance(name, str)]
        needed = set(names)
        return tuple(
            self.field(name, properties[name], name in needed, depth)
            for name in in_order(properties, names, schema.get(FIELD_ORDER))
        )

    def field(self, name: str, schema: Any, required: bool, depth: int) -> Field:
        field_type, nullable = self.type(schema, depth)
        description = schema.get("description") if isinstance(schema, Mapping) else None
        return Field(
            name=name,
            type=field_type,
            optional=nullable or not required,
            description=description if isinstance(description, str) else "",
        )

    def item_type(self, schema: Any, depth: int) -> FieldType:
        """The type of items or values, which have no way to be optional."""
        found, nullable = self.type(schema, depth)
        return AnyType("a value that may be null") if nullable else found

    def type(self, schema: Any, depth: int) -> tuple[FieldType, bool]:
        """The type that a subschema stands for, and whether it allows null."""
        self.types_left -= 1
        if depth > TYPES_DEPTH_MAX:
            return AnyType("types are nested too deep"), False
        if self.types_left < 0:
            return AnyType("the schema has too many types"), False
        if schema is True or schema == {}:
            return AnyType("no type is stated"), False
        if not isinstance(schema, Mapping):
            return AnyType("not a schema"), False
        if isinstance(schema.get("$comment"), str) and schema.keys() <= {"$comment", "description"}:
            return AnyType(schema["$comment"]), False
        if "$ref" in schema:
            return self.referred(schema, depth)
        for key in ("anyOf", "oneOf"):
            if key in schema:
                return self.one_of(schema[key], depth)
        if isinstance(schema.get("allOf"), list) and len(schema["allOf"]) == 1:
            return self.type(schema["allOf"][0], depth + 1)
        names, nullable = _type_names(schema)
        if len(names) != 1:
            reason = f"one of several types: {', '.join(names)}" if names else "no type is stated"
            return AnyType(reason[:200]), nullable
        return self.named(names[0], schema, depth), nullable

    def named(self, name: str, schema: Mapping[str, Any], depth: int) -> FieldType:
        if name == "string":
            return Primitive("bytes" if _is_bytes(schema) else "str")
        if name in _PRIMITIVES:
            return Primitive(_PRIMITIVES[name])
        if name == "array":
            items = schema.get("items", True)
            if isinstance(items, list):
                return AnyType("a list with a type for each place")
            return ListOf(self.item_type(items, depth + 1))
        if name == "object":
            if isinstance(schema.get("properties"), Mapping):
                return Record(self.fields(schema, depth + 1))
            return MapOf(self.item_type(schema.get("additionalProperties", True), depth + 1))
        return AnyType(f"the type {name[:50]!r} is not known")

    def referred(self, schema: Mapping[str, Any], depth: int) -> tuple[FieldType, bool]:
        target = schema["$ref"]
        if not isinstance(target, str):
            return AnyType("a reference that is no text"), False
        shim = _SHIM.fullmatch(target)
        if shim and shim[1] in ARRAY_FORMATS:
            array_format = ARRAY_FORMATS[shim[1]][0]
            return _array(array_format, shim[2], schema), False
        if is_at_uri(target):
            return Nested(target), False
        found = self.local(target)
        if found is None:
            return AnyType(f"refers to {target[:200]!r}, which is not known"), False
        copied_format = _FORMAT_OF_DEFINITION.get(target.rpartition("/")[2])
        if copied_format and (_is_bytes(found) or "data" in _properties(found)):
            version = self.versions.get(copied_format)
            return _array(
                copied_format, version if isinstance(version, str) else None, schema
            ), False
        beside = {key: schema[key] for key in _ANNOTATIONS if key in schema}
        return self.type({**found, **beside}, depth + 1)

    def one_of(self, schemas: Any, depth: int) -> tuple[FieldType, bool]:
        if not isinstance(schemas, list):
            return AnyType("a choice that is no list"), False
        others = [s for s in schemas if not _is_null(s)]
        nullable = len(others) < len(schemas)
        if len(others) != 1:
            return AnyType("one of several types"), nullable
        found, inner_nullable = self.type(others[0], depth + 1)
        return found, nullable or inner_nullable


def in_order(
    properties: Mapping[str, Any], required: Sequence[str], stated: Any = None
) -> list[str]:
    """The names of the properties in the order of the fields.

    As `stated` where that names them all; else as they stand. Only where they stand sorted as
    DAG-CBOR sorts keys, so that their order says nothing, the required ones come first, in
    the order of `required`, which a list keeps.
    """
    if (
        isinstance(stated, list)
        and len(stated) == len(properties)
        and all(isinstance(name, str) and name in properties for name in stated)
        and len(set(stated)) == len(stated)
    ):
        return stated
    names = list(properties)
    if names != sorted(names, key=cbor_order):
        return names
    first = dict.fromkeys(name for name in required if name in properties)
    return [*first, *(name for name in names if name not in first)]


def cbor_order(key: str) -> tuple[int, bytes]:
    """How DAG-CBOR sorts the keys of a map: shorter ones first, then by their bytes."""
    raw = key.encode("utf-8", "surrogatepass")
    return len(raw), raw


def _array(array_format: str, version: str | None, schema: Mapping[str, Any]) -> NDArray:
    """An array with the annotations that stand beside its `$ref`."""
    dtype = schema.get("dtype", schema.get("x-atdata-dtype"))
    shape = schema.get("shape", schema.get("x-atdata-shape"))
    names: Any = schema.get("dimensionNames")
    return NDArray(
        dtype=dtype if isinstance(dtype, str) else None,
        shape=_shape(shape),
        dimension_names=tuple(names) if _all(names, str) else None,
        format=array_format,
        format_version=version,
    )


def _shape(value: Any) -> tuple[int, ...] | None:
    if not isinstance(value, list) or any(isinstance(size, bool) for size in value):
        return None
    if not all(size is None or isinstance(size, int) for size in value):
        return None
    return tuple(-1 if size is None or size < 0 else size for size in value)


def _all(value: Any, kind: type) -> bool:
    return isinstance(value, list) and all(isinstance(item, kind) for item in value)


def _is_bytes(schema: Mapping[str, Any]) -> bool:
    return schema.get("format") == "byte" or schema.get("contentEncoding") == "base64"


def _is_null(schema: Any) -> bool:
    return isinstance(schema, Mapping) and schema.get("type") in ("null", ["null"])


def _properties(schema: Mapping[str, Any]) -> Mapping[str, Any]:
    properties = schema.get("properties")
    return properties if isinstance(properties, Mapping) else {}


def _type_names(schema: Mapping[str, Any]) -> tuple[list[str], bool]:
    """The names under `type` but for null, and whether null is among them."""
    stated = schema.get("type")
    if stated is None:
        return _implied(schema), False
    names = [stated] if isinstance(stated, str) else stated
    if not _all(names, str):
        return [], False
    others = [name for name in names if name != "null"]
    if set(others) == {"integer", "number"}:
        others = ["number"]
    return others, len(others) < len(names) and "null" in names


def _implied(schema: Mapping[str, Any]) -> list[str]:
    """The type that a schema without `type` implies by its other keywords."""
    if "properties" in schema or "additionalProperties" in schema:
        return ["object"]
    if "items" in schema:
        return ["array"]
    values = schema["enum"] if "enum" in schema else [schema["const"]] if "const" in schema else []
    if not isinstance(values, list):
        return []
    return sorted({_JSON_TYPE_OF.get(type(value), "null") for value in values})
