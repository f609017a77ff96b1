"""A record from its signed bytes: the one reading that ingestion and checkRecord share.

What is no DAG-CBOR, too large, against its lexicon or holds a NUL is refused here and nowhere
else, so that a publisher who asks before publishing hears what the node will say afterwards.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Any, NamedTuple

from atdex_appview.store.columns import Values, datetime_micros, values_of
from atdex_lexicons import Catalog, InvalidRecord, UnknownLexicon
from atdex_lexicons.datamodel import decode, json_bytes
from atdex_lexicons.errors import InvalidData, Problem, step_path
from atdex_lexicons.families import Checked, check_record
from atdex_lexicons.model import Kind

log = logging.getLogger(__name__)

UNREADABLE = (ArithmeticError, AttributeError, LookupError, RecursionError, TypeError, ValueError)
"""What reading a record may raise where our own reader is wrong. One such record must not stop
the node at every start again: it is quarantined as unread, and the error is logged in full."""

MAX_RECORD_BYTES = 1_000_000
"""Bytes of one record, as the Sync specification bounds it; checked again where it is read."""


class Reading(NamedTuple):
    """What is indexed of a record, in plain values. `json` is its JSON form as it is served.

    `created_at` and `values`: see `Put`.
    """

    kind: Kind
    conformance: str
    json: bytes
    created_at: int | None
    values: Values


def read_record(
    catalog: Catalog, collection: str, rkey: str | None, raw: bytes
) -> tuple[Checked, bytes]:
    """The record in `raw`, its DAG-CBOR, and its JSON form. `rkey` is checked where it is given.

    Raises InvalidData where the bytes are no record, InvalidRecord with everything that is wrong
    with it, UnknownLexicon where no family has this collection.
    """
    value = decode_record(raw)
    checked = check_record(catalog, collection, rkey, value)
    json = json_bytes(value)
    # Nearly no record holds one, and its JSON form tells at once.
    if rb"\u0000" in json and (problems := _nuls(value)):
        raise InvalidRecord(collection, problems)
    return checked, json


def judge(
    catalog: Catalog, collection: str, rkey: str, raw: bytes, *, uri: str
) -> Reading | tuple[Problem, ...]:
    """The reading, or everything that keeps it from being indexed. Raises nothing for any record.

    `uri` is for the log, where our own reader fails.
    """
    try:
        checked, json = read_record(catalog, collection, rkey, raw)
        model = checked.model
        return Reading(
            checked.kind,
            checked.conformance,
            json,
            datetime_micros(model.created_at),
            values_of(checked.kind, model),
        )
    except InvalidRecord as invalid:
        return tuple(invalid.problems)
    except InvalidData as invalid:
        return (Problem(invalid.path, invalid.reason),)
    except UnknownLexicon:
        return (Problem("", f"no family of this node has the collection {collection}"),)
    except UNREADABLE as failure:
        log.exception("cannot read %s", uri)
        return (Problem("", f"this node cannot read it: {type(failure).__name__}"),)


def decode_record(raw: bytes) -> Mapping[str, Any]:
    """The record in its bytes. Raises InvalidData."""
    if len(raw) > MAX_RECORD_BYTES:
        raise InvalidData(f"has {len(raw)} bytes, a record has at most {MAX_RECORD_BYTES}")
    value = decode(raw)
    if not isinstance(value, dict):
        raise InvalidData("a record is a map")
    return value


def _nuls(value: object, path: str = "") -> list[Problem]:
    """The texts that hold a NUL. `value` is decoded, so its depth is bounded."""
    match value:
        case str():
            return [Problem(path, "holds a NUL character")] if "\0" in value else []
        case list():
            return [p for at, item in enumerate(value) for p in _nuls(item, path + step_path(at))]
        case dict():
            keys = [Problem(path, "has a key with a NUL character") for key in value if "\0" in key]
            return keys + [
                p for key, item in value.items() for p in _nuls(item, path + step_path(key))
            ]
    return []
