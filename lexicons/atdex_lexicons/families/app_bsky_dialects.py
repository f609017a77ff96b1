"""How records of `app.bsky.atdata` deviate from their lexicons: as the first design had them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from atdex_lexicons.model import Kind

from .base import Rewritten, without_nulls
from .values import is_bytes

NAME = "app.bsky.atdata"

DIALECTS: Mapping[str, str] = {
    "proposed": "written as first proposed: variants by kind without $type, null for a dynamic "
    "dimension, a dataset's metadata as msgpack bytes",
    "null-fields": "fields that are not set are null, not left out",
}

_OPAQUE = frozenset({"metadata"})
_TYPES = {"primitive": "primitiveType", "ndarray": "arrayType", "nested": "nestedType"}
_CODES = {"python": "pythonCode", "reference": "codeReference"}


def rewrite(kind: Kind, record: Mapping[str, Any]) -> Rewritten | None:
    """See `Family.rewrite`."""
    found: set[str] = set()
    without = without_nulls(record, _OPAQUE)
    if without is not record:
        found.add("null-fields")
    result = dict(without)
    if kind == "schema" and isinstance(result.get("fields"), list):
        fields = [_field(field) for field in result["fields"]]
        if any(new is not old for new, old in zip(fields, result["fields"], strict=True)):
            result["fields"] = fields
    if kind == "lens":
        for key in ("getterCode", "putterCode"):
            if key in result:
                result[key] = _variant(result[key], _CODES, f"{NAME}.lens")
    if any(result[key] is not without[key] for key in without):
        found.add("proposed")
    shadow = result
    if kind == "dataset" and is_bytes(result.get("metadata")):
        found.add("proposed")
        shadow = {key: value for key, value in result.items() if key != "metadata"}
    return Rewritten(result, shadow, frozenset(found)) if found else None


def _field(field: Any) -> Any:
    if not isinstance(field, Mapping) or not isinstance(field.get("type"), Mapping):
        return field
    field_type = _variant(field["type"], _TYPES, f"{NAME}.schema")
    shape = field_type.get("shape")
    if isinstance(shape, list) and None in shape:
        field_type = {**field_type, "shape": [-1 if size is None else size for size in shape]}
    return field if field_type is field["type"] else {**field, "type": field_type}


def _variant(value: Any, names: Mapping[str, str], nsid: str) -> Any:
    """`value` with the `$type` that its kind stands for, where it has none."""
    if not isinstance(value, Mapping) or "$type" in value:
        return value
    kind = value.get("kind")
    if not isinstance(kind, str) or kind not in names:
        return value
    return {"$type": f"{nsid}#{names[kind]}", **value}
