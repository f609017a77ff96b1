"""A record of a collection that no family knows, held against its document from the network."""

from __future__ import annotations

import logging

from atdex_appview.network.records import GenericPut
from atdex_appview.reading import UNREADABLE, decode_record
from atdex_lexicons import Catalog, InvalidRecord, UnknownLexicon
from atdex_lexicons.datamodel import json_bytes
from atdex_lexicons.errors import InvalidData, Problem

log = logging.getLogger(__name__)


def read_generic(
    catalog: Catalog, uri: str, cid: str, raw: bytes
) -> GenericPut | tuple[Problem, ...]:
    """The record, or everything that is wrong with it. Raises nothing for any record."""
    collection, rkey = uri.split("/")[3:5]
    try:
        value = decode_record(raw)
        catalog.validate_record(value, collection=collection, rkey=rkey)
        return GenericPut(uri, collection, rkey, cid, raw, json_bytes(value))
    except InvalidRecord as invalid:
        return tuple(invalid.problems)
    except InvalidData as invalid:
        return (Problem(invalid.path, invalid.reason),)
    except UnknownLexicon as unknown:
        return (Problem("", str(unknown)),)
    except UNREADABLE as failure:
        log.exception("cannot read %s", uri)
        return (Problem("", f"this node cannot read it: {type(failure).__name__}"),)
