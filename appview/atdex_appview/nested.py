"""Schemas as models: that of a stored record, and those that its fields refer to."""

from __future__ import annotations

import logging
from collections.abc import Iterable
from dataclasses import dataclass
from functools import lru_cache

import orjson

from atdex_appview.lookup import canonical_uri
from atdex_appview.store.base import IndexStore, StoredRecord
from atdex_appview.views import UNREADABLE
from atdex_lexicons.compare import nested_uris
from atdex_lexicons.families import project
from atdex_lexicons.model import Model, Schema
from atdex_xrpc.errors import InvalidRequest

MAX_NESTED_SCHEMAS = 100
"""Schemas that are read for the references of one request: each is a record of up to a megabyte,
and real samples nest a handful."""

MAX_NESTED_LEVELS = 8
"""Levels of references that are followed, one read of the store each."""

SCHEMAS_KEPT = 3_000
SMALL_BYTES = 4_000
"""Schemas of up to so many bytes that are remembered as models: a few have most of the lenses, and
each lens that comes is held against its two."""

log = logging.getLogger(__name__)


def schema_model(record: StoredRecord) -> Schema | None:
    """The schema in a record; None, and a line in the log, where its family cannot read it."""
    read = _remembered if len(record.json) <= SMALL_BYTES else _read
    try:
        model = read(record.collection, record.json)
    except UNREADABLE as failure:
        log.error("a stored schema cannot be read: %r", failure, extra={"uri": record.uri})
        return None
    return model if isinstance(model, Schema) else None


def _read(collection: str, json: bytes) -> Model:
    return project(collection, orjson.loads(json))


_remembered = lru_cache(SCHEMAS_KEPT)(_read)


@dataclass(frozen=True, slots=True)
class Nesting:
    """`schemas` by the URI as it is written; `cids` by the URI of the record, None where this node
    has no such schema."""

    schemas: dict[str, Schema]
    cids: dict[str, str | None]


def nested_schemas(store: IndexStore, schemas: Iterable[Schema]) -> dict[str, Schema]:
    """The schemas that these refer to, and those that they refer to, by the URI as it is written.

    What is not indexed, is no schema, or lies beyond the bounds is left out.
    """
    return nesting(store, schemas).schemas


def nesting(store: IndexStore, schemas: Iterable[Schema]) -> Nesting:
    """The same, and which records were looked up for it."""
    found = Nesting({}, {})
    tried: set[str] = set()
    level = list(schemas)
    for _ in range(MAX_NESTED_LEVELS):
        fresh = dict.fromkeys(
            uri for schema in level for uri in nested_uris(schema.fields) if uri not in tried
        )
        wanted = list(fresh)[: MAX_NESTED_SCHEMAS - len(tried)]
        if not wanted:
            break
        tried.update(wanted)
        keys = {uri: key for uri in wanted if (key := _key(store, uri)) is not None}
        records = store.records(list(dict.fromkeys(keys.values())))
        models = {key: schema_model(record) for key, record in records.items()}
        read = {uri: model for uri, key in keys.items() if (model := models.get(key)) is not None}
        found.schemas.update(read)
        for key in keys.values():
            found.cids[key] = records[key].cid if key in records else None
        level = list(read.values())
    return found


def _key(store: IndexStore, uri: str) -> str | None:
    try:
        return canonical_uri(store, uri)
    except InvalidRequest:
        return None
