"""getDataset, getDatasets, listDatasets."""

from __future__ import annotations

from typing import Any

from atdex_appview.context import Context
from atdex_appview.listing import page
from atdex_appview.lookup import canonical_uri, did_of, one_record, served_view
from atdex_appview.page_bytes import refuse_if_too_large
from atdex_appview.views import dataset_views
from atdex_xrpc import Request
from atdex_xrpc.errors import InvalidRequest

NOT_FOUND = "DatasetNotFound"


def get_dataset(context: Context, request: Request) -> dict[str, Any]:
    record = one_record(context.store, "dataset", request.params["uri"], error=NOT_FOUND)
    return {"dataset": served_view(dataset_views(context.store, [record]), record, NOT_FOUND)}


def get_datasets(context: Context, request: Request) -> dict[str, Any]:
    """In the order asked for, each once for each time it was asked for; the rest in `notFound`.

    `notFound` has the URIs as they were asked for: unknown, hidden, or no dataset.
    """
    asked: list[str] = request.params["uris"]
    canonical: dict[str, str] = {}
    for text in asked:
        try:
            canonical[text] = canonical_uri(context.store, text, parameter="uris")
        except InvalidRequest:
            continue  # a handle that nobody has here: not found, like any other unknown URI
    found = context.store.records(list(dict.fromkeys(canonical.values())))
    datasets = [record for record in found.values() if record.kind == "dataset"]
    refuse_if_too_large(datasets, parameter="uris")
    views = {view["uri"]: view for view in dataset_views(context.store, datasets)}
    return {
        "datasets": [views[canonical[u]] for u in asked if canonical.get(u) in views],
        "notFound": [uri for uri in asked if canonical.get(uri) not in views],
    }


def list_datasets(context: Context, request: Request) -> dict[str, Any]:
    params = request.params
    publisher, schema = params.get("publisher"), params.get("schema")
    filters = {
        "publisher": publisher and did_of(context.store, publisher, parameter="publisher"),
        "schema": schema and canonical_uri(context.store, schema, parameter="schema"),
        "tag": params.get("tag"),
    }
    return page(
        context.store,
        request,
        "dataset",
        filters,
        views=dataset_views,
        name="datasets",
    )
