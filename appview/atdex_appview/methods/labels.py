"""resolveLabel, from a publisher's name for a dataset to the dataset; listLabels."""

from __future__ import annotations

from typing import Any

from atdex_appview.context import Context
from atdex_appview.listing import page
from atdex_appview.lookup import canonical_uri, did_of, one_record, served_view
from atdex_appview.views import dataset_views, label_views
from atdex_xrpc import Request
from atdex_xrpc.errors import InvalidRequest, NotFound, shown

NOT_FOUND = "LabelNotFound"


def resolve_label(context: Context, request: Request) -> dict[str, Any]:
    """The label of that name and version, the newest where none is given, and its dataset."""
    store = context.store
    name, version = request.params["name"], request.params.get("version")
    try:
        did = did_of(store, request.params["publisher"], parameter="publisher")
    except InvalidRequest as unknown:
        raise NotFound(NOT_FOUND, unknown.message) from None
    record = store.resolve_label(did, name, version)
    if record is None:
        wanted = f"{shown(name)} at version {shown(version)}" if version else shown(name)
        raise NotFound(NOT_FOUND, f"{did} has no label {wanted} in this index")
    view = served_view(label_views(store, [record]), record, NOT_FOUND)
    try:
        dataset = one_record(store, "dataset", view["dataset"], error=NOT_FOUND)
    except InvalidRequest as unknown:
        raise NotFound(NOT_FOUND, unknown.message) from None
    found = served_view(dataset_views(store, [dataset]), dataset, NOT_FOUND)
    return {"uri": found["uri"], "cid": found["cid"], "label": view, "dataset": found}


def list_labels(context: Context, request: Request) -> dict[str, Any]:
    """Labels that fit every filter given, those that strangers put on a dataset included."""
    publisher, dataset = request.params.get("publisher"), request.params.get("dataset")
    filters = {
        "publisher": publisher and did_of(context.store, publisher, parameter="publisher"),
        "dataset": dataset and canonical_uri(context.store, dataset, parameter="dataset"),
    }
    return page(context.store, request, "label", filters, views=label_views, name="labels")
