"""getSchema, listSchemas."""

from __future__ import annotations

from typing import Any

from atdex_appview.context import Context
from atdex_appview.listing import page
from atdex_appview.lookup import did_of, one_record, served_view
from atdex_appview.views import schema_views
from atdex_xrpc import Request

NOT_FOUND = "SchemaNotFound"


def get_schema(context: Context, request: Request) -> dict[str, Any]:
    record = one_record(context.store, "schema", request.params["uri"], error=NOT_FOUND)
    return {"schema": served_view(schema_views(context.store, [record]), record, NOT_FOUND)}


def list_schemas(context: Context, request: Request) -> dict[str, Any]:
    publisher = request.params.get("publisher")
    filters = {
        "publisher": publisher and did_of(context.store, publisher, parameter="publisher"),
        "name": request.params.get("name"),
    }
    return page(context.store, request, "schema", filters, views=schema_views, name="schemas")
