"""JSON Schema from a sample type: the inverse of `jsonschema`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, assert_never

from atdex_lexicons.errors import NotRepresentable, step_path
from atdex_lexicons.model import (
    AnyType,
    Field,
    FieldType,
    ListOf,
    MapOf,
    NDArray,
    Nested,
    Primitive,
    Record,
)

from .jsonschema import ARRAY_FORMATS, FIELD_ORDER, TYPES_DEPTH_MAX, cbor_order, in_order

DRAFT = "http://json-schema.org/draft-07/schema#"

PLAIN_VERSION = "1.0.0"
ANNOTATED_VERSION = "1.1.0"
"""Versions of an array's encoding where the model states none: without annotations, and with."""

_SHIM_HOST = "https://alt.science/schemas"
"""The shims are published under two hosts; this is the one that the atdata library writes."""

_JSON_TYPES: dict[str, dict[str, Any]] = {
    "str": {"type": "string"},
    "int": {"type": "integer"},
    "float": {"type": "number"},
    "bool": {"type": "boolean"},
    "bytes": {"type": "string", "format": "byte", "contentEncoding": "base64"},
}
_SHIM_OF = {array_format: (shim, name) for shim, (array_format, name) in ARRAY_FORMATS.items()}


def write_content(fields: Sequence[Field], path: str) -> dict[str, Any]:
    """The JSON Schema of a sample with these fields. Raises `NotRepresentable`."""
    return {"$schema": DRAFT, **_object(fields, path, 0)}


def array_versions(fields: Sequence[Field]) -> dict[str, str]:
    """The `arrayFormatVersions` of a schema: of each array format in use, the highest version."""
    versions: dict[str, str] = {}
    for array in _arrays(fields):
        version = array_version(array)
        if _numbers(version) > _numbers(versions.get(array.format, "")):
            versions[array.format] = version
    return versions


def array_version(array: NDArray) -> str:
    """The version of the array's encoding, the default where it states none."""
    if array.format_version is not None:
        return array.format_version
    annotated = array.dtype is not None or array.shape is not None or array.dimension_names
    return ANNOTATED_VERSION if annotated else PLAIN_VERSION


def _object(fields: Sequence[Field], path: str, depth: int) -> dict[str, Any]:
    properties: dict[str, Any] = {}
    for field in fields:
        place = f"{path}/properties{step_path(field.name)}"
        if field.name in properties:
            raise NotRepresentable(place, "two fields have this name")
        schema = _type(field.type, place, depth)
        if field.description:
            schema["description"] = field.description
        properties[field.name] = schema
    result: dict[str, Any] = {"type": "object", "properties": properties}
    required = [field.name for field in fields if not field.optional]
    if required:
        result["required"] = required
    names = [field.name for field in fields]
    stored = dict.fromkeys(sorted(names, key=cbor_order))
    if in_order(stored, required) != names:
        result[FIELD_ORDER] = names
    return result


def _type(field_type: FieldType, path: str, depth: int) -> dict[str, Any]:
    if depth > TYPES_DEPTH_MAX:
        raise NotRepresentable(path, f"types are nested deeper than {TYPES_DEPTH_MAX} levels")
    match field_type:
        case Primitive(name):
            return dict(_JSON_TYPES[name])
        case NDArray():
            return _array(field_type, path)
        case Nested(uri):
            return {"$ref": uri}
        case ListOf(items):
            return {"type": "array", "items": _type(items, path + "/items", depth + 1)}
        case MapOf(values):
            place = path + "/additionalProperties"
            return {"type": "object", "additionalProperties": _type(values, place, depth + 1)}
        case Record(fields):
            return _object(fields, path, depth + 1)
        case AnyType(reason):
            return {"$comment": reason}
        case _:
            assert_never(field_type)


def _array(array: NDArray, path: str) -> dict[str, Any]:
    if array.format not in _SHIM_OF:
        raise NotRepresentable(path, f"the array format {array.format!r} has no JSON Schema")
    shim, name = _SHIM_OF[array.format]
    schema: dict[str, Any] = {
        "$ref": f"{_SHIM_HOST}/atdata-{shim}/{array_version(array)}#/$defs/{name}"
    }
    if array.dtype is not None:
        schema["dtype"] = array.dtype
    if array.shape is not None:
        schema["shape"] = [None if size < 0 else size for size in array.shape]
    if array.dimension_names is not None:
        schema["dimensionNames"] = list(array.dimension_names)
    return schema


def _arrays(fields: Sequence[Field]) -> list[NDArray]:
    found: list[NDArray] = []
    pending: list[FieldType] = [field.type for field in fields]
    while pending:
        match pending.pop():
            case NDArray() as array:
                found.append(array)
            case ListOf(inner) | MapOf(inner):
                pending.append(inner)
            case Record(inner_fields):
                pending.extend(field.type for field in inner_fields)
    return found


def _numbers(version: str) -> tuple[int, ...]:
    return tuple(int(part) for part in version.split(".") if part.isdecimal())
