"""A lexicon document from its authority: DNS names an account, whose repo holds the document.

    com.example.feed.note    TXT _lexicon.feed.example.com    "did=did:plc:…"
                             at://did:plc:…/com.atproto.lexicon.schema/com.example.feed.note

Verified: the account's identity, the signature of its repo, the way through the tree to the record
(see `atdex_firehose.fetch_record`), and that the document is valid and the one asked for. DNS is
believed as far as the servers that are asked are. No other name is tried where the authority has
no record.

Source: https://atproto.com/specs/lexicon, "Lexicon Publication and Resolution".
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from atdex_appview.errors import LexiconAway, LexiconRefused
from atdex_firehose.errors import FirehoseError, NotServed, Rejected
from atdex_firehose.fetch_record import FetchedRecord
from atdex_lexicons.datamodel import decode, to_json
from atdex_lexicons.document import check_document, unresolved
from atdex_lexicons.errors import InvalidData, listed
from atdex_lexicons.syntax import is_did

SCHEMA_COLLECTION: Final = "com.atproto.lexicon.schema"

DOCUMENT_BYTES: Final = 200_000
"""Of one document: the largest in use has 60,000, and it is compiled into memory."""

DOCUMENTS: Final = 64
"""Documents that one collection may need, itself included: the widest in use need 20."""

Texts = Callable[[str], Awaitable[list[bytes] | None]]
"""The TXT records of a name; None where nobody answered."""

Fetch = Callable[[str, str], Awaitable[FetchedRecord | None]]
"""`Consumer.record`."""


@dataclass(frozen=True, slots=True)
class Resolved:
    """A document as its authority publishes it: at `cid` in the repo of `did`, at `rev`."""

    nsid: str
    did: str
    cid: str
    rev: str
    document: Mapping[str, Any]


def authority_host(nsid: str) -> str:
    """Where the TXT record of an NSID's authority is."""
    return "_lexicon." + ".".join(reversed(nsid.split(".")[:-1]))


async def resolve(nsid: str, texts: Texts, fetch: Fetch) -> Resolved:
    """One document. Raises LexiconAway where somebody did not answer, LexiconRefused where there is
    none, or none that can be used."""
    did = await _authority(nsid, texts)
    try:
        found = await fetch(did, f"{SCHEMA_COLLECTION}/{nsid}")
    except (NotServed, Rejected) as error:
        raise LexiconRefused(nsid, f"the repo of {did} cannot be used: {error}") from error
    except FirehoseError as error:
        raise LexiconAway(nsid, str(error)) from error
    if found is None:
        raise LexiconRefused(nsid, f"{did} publishes no such document")
    return Resolved(nsid, did, found.cid, found.rev, _document(nsid, found.raw))


async def resolve_all(
    nsid: str,
    texts: Texts,
    fetch: Fetch,
    known: Callable[[str], Mapping[str, Any] | None],
) -> dict[str, Resolved]:
    """The document of a record type and all that it refers to, but for those that are `known`.

    Raises as `resolve` does, also for what is wrong between documents.
    """
    found: dict[str, Resolved] = {}

    def given(name: str) -> Mapping[str, Any] | None:
        return found[name].document if name in found else known(name)

    waiting = [nsid]
    while waiting:
        name = waiting.pop()
        if len(found) >= DOCUMENTS:
            raise LexiconRefused(nsid, f"it needs more than {DOCUMENTS} documents")
        found[name] = await resolve(name, texts, fetch)
        missing = unresolved(found[name].document, given)
        waiting += [other for other in missing if other not in waiting]
    for one in found.values():
        if problems := check_document(one.document, given):
            raise LexiconRefused(nsid, f"{one.nsid}: {listed(tuple(problems))}")
    main = found[nsid].document["defs"].get("main", {})
    if main.get("type") != "record":
        raise LexiconRefused(nsid, "it is the document of no record type")
    return found


async def _authority(nsid: str, texts: Texts) -> str:
    host = authority_host(nsid)
    answers = await texts(host)
    if answers is None:
        raise LexiconAway(nsid, f"no DNS server answers for {host}")
    named = {text[4:].decode("ascii", "replace") for text in answers if text.startswith(b"did=")}
    dids = [did for did in named if is_did(did)]
    if len(named) != 1 or len(dids) != 1:
        what = "names no account" if not named else "names several accounts, or none that is one"
        raise LexiconRefused(nsid, f"{host} {what}")
    return dids[0]


def _document(nsid: str, raw: bytes) -> dict[str, Any]:
    if len(raw) > DOCUMENT_BYTES:
        raise LexiconRefused(nsid, f"a document of {len(raw)} bytes, over {DOCUMENT_BYTES}")
    try:
        value = to_json(decode(raw))
    except InvalidData as error:
        raise LexiconRefused(nsid, str(error)) from None
    if not isinstance(value, dict) or value.get("$type") != SCHEMA_COLLECTION:
        raise LexiconRefused(nsid, f"the record is no {SCHEMA_COLLECTION}")
    document = {key: item for key, item in value.items() if key != "$type"}
    if document.get("id") != nsid:
        raise LexiconRefused(nsid, "the document is of another NSID")
    if problems := check_document(document):
        raise LexiconRefused(nsid, listed(tuple(problems)))
    return document
