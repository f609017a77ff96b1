"""From what a caller names, a handle or a DID or an AT-URI, to what the store has under it."""

from __future__ import annotations

from atdex_appview.store.base import IndexStore, StoredRecord
from atdex_appview.views import View
from atdex_lexicons.aturi import AtUri
from atdex_lexicons.errors import InvalidSyntax
from atdex_lexicons.model import Kind
from atdex_lexicons.syntax import is_did
from atdex_xrpc.errors import InvalidRequest, NotFound, shown

NOUNS: dict[Kind, str] = {
    "dataset": "a dataset",
    "schema": "a schema",
    "lens": "a lens",
    "label": "a label",
    "verification": "a lens verification",
}


def did_of(store: IndexStore, identifier: str, *, parameter: str = "") -> str:
    """The DID of an at-identifier. Raises InvalidRequest for a handle that the node has not seen.

    A DID needs no look-up: one without records is a publisher of nothing, no mistake.
    """
    if is_did(identifier):
        return identifier
    did = store.did_of_handle(identifier.lower())
    if did is None:
        raise InvalidRequest(
            f"{_named(parameter)}this node knows no account with the handle "
            f"{shown(identifier)}; give its DID"
        )
    return did


def canonical_uri(store: IndexStore, text: str, *, parameter: str = "") -> str:
    """The AT-URI of a record with a DID as its authority, as the store keys it.

    Raises InvalidRequest where it names no record, or a handle that the node has not seen.
    """
    try:
        uri = AtUri.parse(text)
    except InvalidSyntax as wrong:
        raise InvalidRequest(f"{_named(parameter)}{wrong}") from None
    if uri.collection is None or uri.rkey is None:
        raise InvalidRequest(
            f"{_named(parameter)}{shown(text)} names no record: at://DID/COLLECTION/RKEY"
        )
    did = did_of(store, uri.authority, parameter=parameter)
    return f"at://{did}/{uri.collection}/{uri.rkey}"


def one_record(store: IndexStore, kind: Kind, text: str, *, error: str) -> StoredRecord:
    """The visible record of that kind. Raises NotFound(`error`), which says what is there instead.

    Whether a record is unknown, deleted, quarantined or hidden is not told apart here:
    getRecordStatus does.
    """
    uri = canonical_uri(store, text, parameter="uri")
    record = store.records([uri]).get(uri)
    if record is None:
        raise NotFound(error, f"this node serves no record {shown(uri)}")
    if record.kind != kind:
        raise NotFound(error, f"{uri} is {NOUNS[record.kind]}, not {NOUNS[kind]}")
    return record


def served_view(views: list[View], record: StoredRecord, error: str) -> View:
    """The one view of a record. Raises NotFound(`error`) where its family cannot read it."""
    if not views:
        raise NotFound(error, f"the stored record {record.uri} cannot be read")
    return views[0]


def _named(parameter: str) -> str:
    return f"{parameter}: " if parameter else ""
