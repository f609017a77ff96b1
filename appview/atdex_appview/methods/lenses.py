"""getLens, listLenses."""

from __future__ import annotations

from typing import Any

from atdex_appview.context import Context
from atdex_appview.listing import page
from atdex_appview.lookup import canonical_uri, did_of, one_record, served_view
from atdex_appview.views import lens_views
from atdex_xrpc import Request

NOT_FOUND = "LensNotFound"


def get_lens(context: Context, request: Request) -> dict[str, Any]:
    record = one_record(context.store, "lens", request.params["uri"], error=NOT_FOUND)
    return {"lens": served_view(lens_views(context.store, [record]), record, NOT_FOUND)}


def list_lenses(context: Context, request: Request) -> dict[str, Any]:
    """Lenses that fit every filter given: source and target together mean both."""
    params = request.params
    publisher, source, target = (params.get(name) for name in ("publisher", "source", "target"))
    filters = {
        "publisher": publisher and did_of(context.store, publisher, parameter="publisher"),
        "source": source and canonical_uri(context.store, source, parameter="source"),
        "target": target and canonical_uri(context.store, target, parameter="target"),
    }
    return page(context.store, request, "lens", filters, views=lens_views, name="lenses")
