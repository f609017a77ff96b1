"""compareSchemas: can samples of one schema be read as samples of another?"""

from __future__ import annotations

from typing import Any

from atdex_appview.context import Context
from atdex_appview.lookup import canonical_uri, one_record
from atdex_appview.nested import nested_schemas, schema_model
from atdex_lexicons.compare import FieldComparison, compare_schemas
from atdex_lexicons.model import Schema
from atdex_xrpc import Request
from atdex_xrpc.errors import NotFound

NOT_FOUND = "SchemaNotFound"


def compare(context: Context, request: Request) -> dict[str, Any]:
    """The relation of `right` to `left`, as `atdex_lexicons.compare` has it.

    Schemas that fields refer to are compared by their fields where this node has them.
    """
    left, right = (_schema(context, request, name) for name in ("left", "right"))
    found = compare_schemas(left, right, nested_schemas(context.store, (left, right)))
    return {"relation": found.relation, "fields": [_view(field) for field in found.fields]}


def _schema(context: Context, request: Request, parameter: str) -> Schema:
    uri = canonical_uri(context.store, request.params[parameter], parameter=parameter)
    record = one_record(context.store, "schema", uri, error=NOT_FOUND)
    model = schema_model(record)
    if model is None:
        raise NotFound(NOT_FOUND, f"the stored record {record.uri} cannot be read")
    return model


def _view(field: FieldComparison) -> dict[str, Any]:
    view = {"name": field.name, "relation": field.relation, "effect": field.effect}
    return view | ({"reason": field.reason} if field.differences else {})
