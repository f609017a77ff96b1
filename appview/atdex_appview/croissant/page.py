"""`/datasets/{did}/{rkey}/croissant.json`, for every dataset of every family.

Where datasets of two families have one record key, the path alone names neither: `?collection=`
says which, and is part of every address that this node gives out itself.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping
from typing import Any
from urllib.parse import quote, urlencode

import orjson
from starlette.types import Receive, Scope, Send

from atdex_appview.context import Context
from atdex_appview.croissant.document import Described, croissant
from atdex_appview.errors import StoreError
from atdex_appview.lookup import canonical_uri
from atdex_appview.nested import nested_schemas, schema_model
from atdex_appview.store.base import StoredRecord
from atdex_appview.views import UNREADABLE
from atdex_lexicons.aturi import AtUri
from atdex_lexicons.families import FAMILIES, project
from atdex_lexicons.families.app_bsky_atdata import FAMILY
from atdex_lexicons.model import Dataset, Schema
from atdex_xrpc.answers import Answer, Header, error_answer, preflight_answer
from atdex_xrpc.errors import (
    InvalidRequest,
    MethodNotAllowed,
    NodeUnavailable,
    NotFound,
    UriTooLong,
    XrpcError,
    shown,
)
from atdex_xrpc.etags import revalidated
from atdex_xrpc.params import parse_query
from atdex_xrpc.routes import MAX_URL_BYTES

log = logging.getLogger(__name__)

PATH = "/datasets/{did}/{rkey}/croissant.json"
CONTENT_TYPE = b"application/ld+json"
VERBS = ("GET", "HEAD", "OPTIONS")

COLLECTIONS = tuple(
    nsid for family in FAMILIES for nsid, kind in family.kinds.items() if kind == "dataset"
)
"""What `collection` may be."""

NOT_FOUND = "DatasetNotFound"
AMBIGUOUS = "AmbiguousDataset"


def croissant_path(uri: str) -> str:
    """Where a node serves the document of a dataset, from its root, by the URI of its record."""
    parsed = AtUri.parse(uri)
    did, rkey = (quote(part or "", safe=":") for part in (parsed.authority, parsed.rkey))
    query = urlencode({"collection": parsed.collection})
    return f"{PATH.format(did=did, rkey=rkey)}?{query}"


class CroissantPage:
    """An ASGI application for `PATH`."""

    def __init__(self, context: Context) -> None:
        self._context = context

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await (await self._answer(scope))(scope, receive, send)

    async def _answer(self, scope: Scope) -> Answer:
        verb = scope["method"]
        if verb == "OPTIONS":
            return preflight_answer(VERBS, None)
        if verb not in VERBS:
            refusal = MethodNotAllowed(f"GET only, not {shown(verb, 20)}")
            return error_answer(refusal, ((b"allow", ", ".join(VERBS).encode()),))
        try:
            if len(scope["path"]) + len(scope["query_string"]) > MAX_URL_BYTES:
                raise UriTooLong(f"the URL is longer than {MAX_URL_BYTES} bytes")
            path: Mapping[str, str] = scope["path_params"]
            collection = _collection(scope["query_string"])
            answer = await asyncio.to_thread(self._page, path["did"], path["rkey"], collection)
        except XrpcError as error:
            return error_answer(error)
        except StoreError as failure:
            log.error("%s failed: %s", shown(scope["path"]), failure)
            return error_answer(NodeUnavailable("the index does not answer."))
        return revalidated(answer, scope)

    def _page(self, account: str, rkey: str, collection: str | None) -> Answer:
        record = self._record(account, rkey, collection)
        described = self._described(record)
        raw = orjson.dumps(croissant(described))
        # So that the document can stand within a page: no text of a record ends its element.
        for mark in (b"<", b">", b"&"):
            raw = raw.replace(mark, b"\\u%04x" % ord(mark))
        own = f"{self._context.origin}{croissant_path(record.uri)}"
        links = f'<{own}>; rel="canonical", <{described.page}>; rel="describes"'
        header: Header = (b"link", links.encode())
        return Answer(200, raw, CONTENT_TYPE, (header,))

    def _record(self, account: str, rkey: str, collection: str | None) -> StoredRecord:
        store = self._context.store
        uris = [
            canonical_uri(store, f"at://{account}/{nsid}/{rkey}")
            for nsid in (COLLECTIONS if collection is None else (collection,))
        ]
        found = list(store.records(uris).values())
        if not found:
            raise NotFound(NOT_FOUND, f"this node serves no dataset {shown(rkey)} of that account")
        if len(found) > 1:
            names = " or ".join(f"?collection={record.collection}" for record in found)
            raise InvalidRequest(f"two datasets have this key; add {names}", error=AMBIGUOUS)
        return found[0]

    def _described(self, record: StoredRecord) -> Described:
        context, store = self._context, self._context.store
        dataset = _dataset(record)
        publisher = store.publishers([record.did]).get(record.did)
        schema = self._schema(dataset.schema_uri)
        labels = store.labels_of([record.uri]).get(record.uri, [])
        query = urlencode({"uri": record.uri})
        return Described(
            uri=record.uri,
            did=record.did,
            rev=record.rev,
            first_seen=record.first_seen,
            dataset=dataset,
            page=f"{context.origin}/xrpc/{FAMILY.name}.getDataset?{query}",
            handle=publisher.handle if publisher else None,
            pds=publisher.pds if publisher else None,
            schema=schema,
            nested=nested_schemas(store, [schema]) if schema is not None else {},
            version=labels[0].version if labels else None,
            private=context.allow_private_hosts,
        )

    def _schema(self, text: str) -> Schema | None:
        try:
            uri = canonical_uri(self._context.store, text)
        except InvalidRequest:
            return None
        record = self._context.store.records([uri]).get(uri)
        return None if record is None or record.kind != "schema" else schema_model(record)


def _collection(query: bytes) -> str | None:
    given = [value for name, value in parse_query(query) if name == "collection"]
    if len(given) > 1:
        raise InvalidRequest(f"collection: is given {len(given)} times, but is no list")
    if given and given[0] not in COLLECTIONS:
        raise InvalidRequest(f"collection: {shown(given[0])} is none of {', '.join(COLLECTIONS)}")
    return given[0] if given else None


def _dataset(record: StoredRecord) -> Dataset:
    model: Any = None
    try:
        model = project(record.collection, orjson.loads(record.json))
    except UNREADABLE as failure:
        log.error("a stored record cannot be read: %r", failure, extra={"uri": record.uri})
    if not isinstance(model, Dataset):
        raise NotFound(NOT_FOUND, f"the stored record {record.uri} cannot be read")
    return model
