"""The queries of `science.alt.dataset`, as the clients of that family call them.

They know its own records alone: what is published in another family is found by the queries of
this project. An answer has the record's fields as its publisher wrote them, dialects included,
since that is what these clients read, with `uri`, `cid` and `did` beside them.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any
from urllib.parse import urlencode

import orjson

from atdex_appview import cursors
from atdex_appview.context import Context
from atdex_appview.errors import QueryTooLong
from atdex_appview.listing import page
from atdex_appview.lookup import canonical_uri, did_of, one_record, served_view
from atdex_appview.page_bytes import refuse_if_too_large, searched
from atdex_appview.search.filters import Filters
from atdex_appview.search.index import POSITION
from atdex_appview.store.base import IndexStore, Position, StoredRecord
from atdex_appview.store.columns import datetime_micros
from atdex_appview.store.versions import semver_key
from atdex_appview.views import UNREADABLE, View
from atdex_lexicons.families import project
from atdex_lexicons.families.science_alt_dataset import FAMILY
from atdex_lexicons.model import BlobShard, Dataset, Kind
from atdex_xrpc import Request, check_url
from atdex_xrpc.errors import InvalidRequest, NotFound, UnsafeUrl, shown

log = logging.getLogger(__name__)

COLLECTION_OF: Mapping[Kind, str] = {kind: nsid for nsid, kind in FAMILY.kinds.items()}

ENTRY_NOT_FOUND = "EntryNotFound"
SCHEMA_NOT_FOUND = "SchemaNotFound"
LABEL_NOT_FOUND = "LabelNotFound"

MAX_VERSIONS = 1_000
"""Records of one name that are looked through, newest first."""

VERSIONS_AT_ONCE = 25
"""Records read at a time for it: some MB at most in practice."""

MAX_BLOBS = 10_000
"""Addresses in one answer. The largest record names some 8,000 blobs."""


def get_entry(context: Context, request: Request) -> dict[str, Any]:
    record = _one(context.store, "dataset", request, ENTRY_NOT_FOUND)
    return {"entry": _view(context.store, record, ENTRY_NOT_FOUND)}


def get_schema(context: Context, request: Request) -> View:
    record = _one(context.store, "schema", request, SCHEMA_NOT_FOUND)
    return _view(context.store, record, SCHEMA_NOT_FOUND)


def get_entries(context: Context, request: Request) -> dict[str, Any]:
    """In the order asked for, each once. What is not served is left out: there is no place to say
    so."""
    found = _entries(context.store, request.params["uris"])
    entries = {record.uri: record for record in found.values() if record is not None}
    refuse_if_too_large(entries.values(), parameter="uris")
    return {"entries": flat_views(context.store, entries.values())}


def list_entries(context: Context, request: Request) -> dict[str, Any]:
    return _list(context, request, "dataset", "entries")


def list_schemas(context: Context, request: Request) -> dict[str, Any]:
    return _list(context, request, "schema", "schemas")


def list_lenses(context: Context, request: Request) -> dict[str, Any]:
    """Lenses that fit every filter given; `searchLenses` is this without `repo`."""
    given = {"source": "sourceSchema", "target": "targetSchema"}
    filters = {
        name: request.params.get(parameter)
        and canonical_uri(context.store, request.params[parameter], parameter=parameter)
        for name, parameter in given.items()
    }
    return _list(context, request, "lens", "lenses", **filters)


def search_datasets(context: Context, request: Request) -> dict[str, Any]:
    """As the search of this project, by relevance, among the entries of this family."""
    params, store = request.params, context.store
    words, schema = params.get("q") or "", params.get("schemaRef")
    asked: dict[str, Any] = {
        "tags": tuple(sorted(set(params.get("tags") or ()))),
        "schema": schema and canonical_uri(store, schema, parameter="schemaRef"),
        "publisher": _repo(context, request),
    }
    filters = Filters(**asked, collection=COLLECTION_OF["dataset"])
    asked["q"] = words
    after = cursors.decode(request.nsid, asked, params.get("cursor"), shape=POSITION)
    try:
        found, records = searched(
            store,
            lambda limit: context.search.search(words, filters, limit=limit, after=after),
            params["limit"],
        )
    except QueryTooLong as long:
        raise InvalidRequest(f"q: {long}") from None
    # One that has left the index since is left out.
    kept = [records[hit.uri] for hit in found.hits if hit.uri in records]
    answer: dict[str, Any] = {"entries": flat_views(store, kept)}
    if found.next is not None:
        answer["cursor"] = cursors.encode(request.nsid, asked, found.next)
    return answer


def resolve_label(context: Context, request: Request) -> dict[str, Any]:
    """The label of that name and version that was created last, and the entry that it names."""
    store, params = context.store, request.params
    name, version = params["name"], params.get("version")
    did = _publisher(store, params["handle"], LABEL_NOT_FOUND)
    label = _last(store, _all(store, "label", did, name), version)
    if label is None:
        raise NotFound(LABEL_NOT_FOUND, f"{did} has no label {_wanted(name, version)} here")
    view = _view(store, label, LABEL_NOT_FOUND)
    try:
        uri = canonical_uri(store, view["datasetUri"])
    except InvalidRequest as unknown:
        raise NotFound(LABEL_NOT_FOUND, unknown.message) from None
    entry = store.records([uri]).get(uri)
    if entry is None or entry.kind != "dataset":
        raise NotFound(LABEL_NOT_FOUND, f"the label is there, and its dataset {uri} is not")
    return {"uri": entry.uri, "cid": entry.cid, "label": view}


def resolve_schema(context: Context, request: Request) -> dict[str, Any]:
    """The schema of that name and version that was created last.

    The lexicon speaks of record keys `{schemaId}@{version}`, and no record key can hold an @:
    clients make the key otherwise and take `schemaId` for the name.
    """
    store, params = context.store, request.params
    name, version = params["schemaId"], params.get("version")
    did = _publisher(store, params["handle"], SCHEMA_NOT_FOUND)
    record = _last(store, _all(store, "schema", did, name), version)
    if record is None:
        raise NotFound(SCHEMA_NOT_FOUND, f"{did} has no schema {_wanted(name, version)} here")
    view = _view(store, record, SCHEMA_NOT_FOUND)
    return {"uri": record.uri, "cid": record.cid, "record": view}


def resolve_blobs(context: Context, request: Request) -> dict[str, Any]:
    """In the order asked for; an entry without blobs, or that is none, is told apart by `error`."""
    store = context.store
    asked: list[str] = request.params["uris"]
    blobs: list[View] = []
    for uri, record in _entries(store, asked).items():
        found = [{"error": "Entry not found"}] if record is None else _blobs(store, record)
        if len(blobs) + len(found) > MAX_BLOBS:
            found = [{"error": "Too many blobs for one answer: ask for this entry alone"}]
        blobs += [{"uri": uri} | blob for blob in found]
    return {"blobs": blobs}


def describe_service(context: Context, request: Request) -> dict[str, Any]:
    counts = context.store.collection_counts()
    indexed = [nsid for nsid in FAMILY.kinds if nsid in context.collections]
    return {
        "did": context.did,
        "availableCollections": indexed,
        "recordCount": {nsid: counts[nsid] for nsid in indexed},
    }


def flat_views(store: IndexStore, records: Iterable[StoredRecord]) -> list[View]:
    """Each record with where it is, in order. A field that is null is one that is not set.

    A stored record that its family can no longer read is left out, with a line in the log.
    """
    views = []
    for record in records:
        try:
            value: dict[str, Any] = orjson.loads(record.json)
            project(record.collection, value)
        except UNREADABLE as failure:
            log.error("left out a stored record: %r", failure, extra={"uri": record.uri})
            continue
        fields = {name: field for name, field in value.items() if field is not None}
        views.append(fields | {"uri": record.uri, "cid": record.cid, "did": record.did})
    return views


def _view(store: IndexStore, record: StoredRecord, error: str) -> View:
    return served_view(flat_views(store, [record]), record, error)


def _list(
    context: Context, request: Request, kind: Kind, name: str, **filters: str | None
) -> dict[str, Any]:
    wanted = {
        "publisher": _repo(context, request),
        "collection": COLLECTION_OF[kind],
        **filters,
    }
    return page(context.store, request, kind, wanted, views=flat_views, name=name)


def _repo(context: Context, request: Request) -> str | None:
    repo = request.params.get("repo")
    return repo and did_of(context.store, repo, parameter="repo")


def _publisher(store: IndexStore, handle: str, error: str) -> str:
    try:
        return did_of(store, handle, parameter="handle")
    except InvalidRequest as unknown:
        raise NotFound(error, unknown.message) from None


def _wanted(name: str, version: str | None) -> str:
    return shown(name) if version is None else f"{shown(name)} at version {shown(version)}"


def _one(store: IndexStore, kind: Kind, request: Request, error: str) -> StoredRecord:
    record = one_record(store, kind, request.params["uri"], error=error)
    if record.collection != COLLECTION_OF[kind]:
        raise NotFound(error, f"{record.uri} is of another family; ask getRecordStatus for it")
    return record


def _entries(store: IndexStore, asked: Sequence[str]) -> dict[str, StoredRecord | None]:
    """The entries of these URIs, each once, in order; None for what is none."""
    keys: dict[str, str] = {}
    for text in asked:
        try:
            keys[text] = canonical_uri(store, text, parameter="uris")
        except InvalidRequest:
            continue
    found = store.records(list(dict.fromkeys(keys.values())))
    entries = {
        uri: record
        for uri, record in found.items()
        if record.collection == COLLECTION_OF["dataset"]
    }
    return {text: entries.get(keys.get(text, "")) for text in asked}


def _all(store: IndexStore, kind: Kind, did: str, name: str) -> Iterator[StoredRecord]:
    """The publisher's newest records of that name in this family, MAX_VERSIONS at most."""
    after: Position | None = None
    for _ in range(MAX_VERSIONS // VERSIONS_AT_ONCE):
        records = store.list_records(
            kind,
            publisher=did,
            name=name,
            collection=COLLECTION_OF[kind],
            limit=VERSIONS_AT_ONCE,
            after=after,
        )
        yield from records
        if len(records) < VERSIONS_AT_ONCE:
            return
        after = (records[-1].first_seen, records[-1].uri)


def _last(
    store: IndexStore, records: Iterable[StoredRecord], version: str | None
) -> StoredRecord | None:
    """The one of that version, or of any, that was created last, as its publisher says; of equals,
    the highest version."""
    best: tuple[tuple[Any, ...], StoredRecord] | None = None
    for record in records:
        for view in flat_views(store, [record]):
            created = datetime_micros(view["createdAt"]) or 0
            rank = (created, semver_key(view.get("version")), record.first_seen)
            if version in (None, view.get("version")) and (best is None or rank > best[0]):
                best = (rank, record)
    return None if best is None else best[1]


def _blobs(store: IndexStore, record: StoredRecord) -> list[View]:
    try:
        model = project(record.collection, orjson.loads(record.json))
    except UNREADABLE:
        return [{"error": "Entry not found"}]
    shards = model.shards if isinstance(model, Dataset) else ()
    cids = [shard.cid for shard in shards if isinstance(shard, BlobShard)]
    if not cids:
        return [{"error": "Not blob storage"}]
    publisher = store.publishers([record.did]).get(record.did)
    pds = publisher.pds if publisher is not None else None
    try:
        base = str(check_url(pds or "")).rstrip("/")
    except UnsafeUrl:
        return [{"error": "Could not resolve PDS"}]
    queries = (urlencode({"did": record.did, "cid": cid}) for cid in cids)
    return [
        {"cid": cid, "url": f"{base}/xrpc/com.atproto.sync.getBlob?{query}"}
        for cid, query in zip(cids, queries, strict=True)
    ]
