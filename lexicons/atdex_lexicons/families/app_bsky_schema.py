"""Schemas of `app.bsky.atdata`: lists of fields with the types of its own lexicon."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, assert_never

from atdex_lexicons.errors import NotRepresentable, Problem
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
    Schema,
)

from .app_bsky_dialects import NAME
from .values import plain_map

SCHEMA = f"{NAME}.schema"

DEFAULT_FORMAT = "ndarrayBytes"
"""The format of an array that states none."""


def read_schema(record: Mapping[str, Any], problems: list[Problem]) -> Schema:
    """See `Family.read`."""
    fields: dict[str, Field] = {}
    for index, field in enumerate(record["fields"]):
        name = field["name"]
        if name in fields:
            problems.append(Problem(f"/fields/{index}/name", "two fields have this name"))
        fields[name] = Field(
            name=name,
            type=_read_type(field["type"]),
            optional=field.get("optional", False),
            description=field.get("description", ""),
        )
    metadata = plain_map(record.get("metadata"), "/metadata", problems)
    license_name = metadata.get("license")
    if isinstance(license_name, str):
        del metadata["license"]
    tags = metadata.get("tags")
    if isinstance(tags, list) and all(isinstance(tag, str) for tag in tags):
        del metadata["tags"]
    return Schema(
        name=record["name"],
        version=record["version"],
        fields=tuple(fields.values()),
        description=record.get("description", ""),
        license=license_name if "license" not in metadata else None,
        tags=tuple(tags) if tags is not None and "tags" not in metadata else (),
        created_at=record["createdAt"],
        metadata=metadata,
    )


def _read_type(value: Mapping[str, Any]) -> FieldType:
    """The type of a variant. Nesting is bounded by the validator before this is called."""
    kind = str(value["$type"])
    match kind.removeprefix(f"{SCHEMA}#"):
        case "primitiveType":
            return Primitive(value["primitive"])
        case "arrayType":
            shape, names = value.get("shape"), value.get("dimensionNames")
            return NDArray(
                dtype=value.get("dtype"),
                shape=tuple(shape) if shape is not None else None,
                dimension_names=tuple(names) if names is not None else None,
                format=value.get("format", DEFAULT_FORMAT),
                format_version=value.get("formatVersion"),
            )
        case "nestedType":
            return Nested(value["schemaRef"])
        case "listType":
            return ListOf(_read_type(value["items"]))
        case "mapType":
            return MapOf(_read_type(value["values"]))
        case _:
            return AnyType(f"the type {kind[:100]!r} is not known")


def write_fields(fields: Sequence[Field]) -> list[dict[str, Any]]:
    """The fields as a record has them. Raises `NotRepresentable`."""
    result = []
    for index, field in enumerate(fields):
        entry: dict[str, Any] = {
            "name": field.name,
            "type": _write_type(field.type, f"/fields/{index}/type"),
        }
        if field.optional:
            entry["optional"] = True
        if field.description:
            entry["description"] = field.description
        result.append(entry)
    return result


def _write_type(field_type: FieldType, path: str) -> dict[str, Any]:
    match field_type:
        case Primitive(name):
            return _variant("primitiveType", "primitive", primitive=name)
        case NDArray():
            shape, names = field_type.shape, field_type.dimension_names
            array_format = field_type.format
            return _variant(
                "arrayType",
                "ndarray",
                dtype=field_type.dtype,
                shape=list(shape) if shape is not None else None,
                dimensionNames=list(names) if names is not None else None,
                format=array_format if array_format != DEFAULT_FORMAT else None,
                formatVersion=field_type.format_version,
            )
        case Nested(uri):
            return _variant("nestedType", "nested", schemaRef=uri)
        case ListOf(items):
            return _variant("listType", "list", items=_write_type(items, path + "/items"))
        case MapOf(values):
            return _variant("mapType", "map", values=_write_type(values, path + "/values"))
        case Record():
            raise NotRepresentable(path, "an inner sample is a schema of its own here")
        case AnyType(reason):
            raise NotRepresentable(path, f"a type has to be stated ({reason})")
        case _:
            assert_never(field_type)


def _variant(name: str, kind: str, **fields: Any) -> dict[str, Any]:
    stated = {key: value for key, value in fields.items() if value is not None}
    return {"$type": f"{SCHEMA}#{name}", "kind": kind, **stated}
