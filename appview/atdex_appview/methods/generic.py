"""listRecords and getRecord: records as they are, whatever their type."""

from __future__ import annotations

from typing import Any

import orjson

from atdex_appview import cursors
from atdex_appview.context import Context
from atdex_appview.lookup import canonical_uri, did_of
from atdex_appview.network.records import GenericRecord
from atdex_appview.store.base import StoredRecord
from atdex_appview.views import datetime_text
from atdex_lexicons.families import VALID, kind_of
from atdex_xrpc import Request
from atdex_xrpc.errors import InvalidRequest, NotFound, shown

NOT_FOUND = "RecordNotFound"


def get_record(context: Context, request: Request) -> dict[str, Any]:
    """Any record that this node serves."""
    uri = canonical_uri(context.store, request.params["uri"], parameter="uri")
    found: StoredRecord | GenericRecord | None = context.store.records([uri]).get(uri)
    if found is None and context.network is not None:
        found = context.network.records.get(uri)
    if found is None:
        raise NotFound(NOT_FOUND, f"this node serves no record {shown(uri)}")
    return {"record": _view(context, found)}


def list_records(context: Context, request: Request) -> dict[str, Any]:
    """A page of the records of a collection that no family knows, newest first.

    Those of families have lists of their own, which say more and filter by more.
    """
    params = request.params
    collection: str = params["collection"]
    if kind_of(collection) is not None:
        raise InvalidRequest(
            f"collection: {collection} is of a family, which has lists of its own: listDatasets, "
            "listSchemas, listLenses, listLabels"
        )
    network = context.network
    if network is None or not (network.follows(collection) or network.records.count(collection)):
        raise InvalidRequest(f"collection: this node does not index {shown(collection)}")
    publisher = params.get("publisher")
    filters = {
        "collection": collection,
        "publisher": publisher and did_of(context.store, publisher, parameter="publisher"),
    }
    position = cursors.decode(request.nsid, filters, params.get("cursor"), shape=(int,))
    limit: int = params["limit"]
    records = network.records.page(
        collection,
        publisher=filters["publisher"],
        before=None if position is None else int(position[0]),
        limit=limit + 1,
    )
    answer: dict[str, Any] = {"records": [_view(context, record) for record in records[:limit]]}
    if len(records) > limit:
        last = records[limit - 1]
        answer["cursor"] = cursors.encode(request.nsid, filters, (last.first_seen,))
    return answer


def _view(context: Context, record: StoredRecord | GenericRecord) -> dict[str, Any]:
    known = context.store.publishers([record.did]).get(record.did)
    publisher = {"did": record.did}
    if known is not None and known.handle is not None:
        publisher["handle"] = known.handle
    view: dict[str, Any] = {
        "uri": record.uri,
        "cid": record.cid,
        "rev": record.rev,
        "publisher": publisher,
        "record": orjson.Fragment(record.json),
        "firstSeen": datetime_text(record.first_seen),
        "indexedAt": datetime_text(record.indexed_at),
        "conformance": record.conformance if isinstance(record, StoredRecord) else VALID,
    }
    if not record.verified:
        view["verified"] = False
    return view
