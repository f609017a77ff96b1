"""resolveLabel: from a publisher's name for a dataset to the dataset."""

from __future__ import annotations

from typing import Any

from atdex_appview.context import Context
from atdex_appview.lookup import did_of
from atdex_appview.views import dataset_views, label_views
from atdex_xrpc import Request
from atdex_xrpc.errors import InvalidRequest, NotFound

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
    wanted = f"{name!r} at version {version!r}" if version else repr(name)
    if record is None:
        raise NotFound(NOT_FOUND, f"{did} has no label {wanted} in this index")
    labels = label_views(store, [record])
    uri = labels[0]["dataset"] if labels else None
    dataset = store.records([uri]).get(uri) if uri else None
    datasets = dataset_views(store, [dataset]) if dataset and dataset.kind == "dataset" else []
    if not datasets:
        raise NotFound(NOT_FOUND, f"the label {record.uri} names {uri}, no dataset of this index")
    return {
        "uri": datasets[0]["uri"],
        "cid": datasets[0]["cid"],
        "label": labels[0],
        "dataset": datasets[0],
    }
