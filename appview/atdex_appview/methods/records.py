"""checkRecord and getRecordStatus: what a publisher asks about one record."""

from __future__ import annotations

import asyncio
from typing import Any

from atdex_appview.context import Context
from atdex_appview.graph.checking import lens_problems
from atdex_appview.lookup import canonical_uri
from atdex_appview.network.lexicons import NetworkLexicons
from atdex_appview.reading import read_record
from atdex_appview.references import check_references
from atdex_appview.state import QuarantinedRecord
from atdex_appview.store.base import IndexStore
from atdex_lexicons import InvalidRecord, UnknownLexicon
from atdex_lexicons.aturi import AtUri
from atdex_lexicons.datamodel import encode, from_json
from atdex_lexicons.errors import InvalidData, Problem, listed
from atdex_lexicons.families import VALID
from atdex_lexicons.model import Lens
from atdex_xrpc import Request

TAKEN_DOWN = frozenset({"takendown", "suspended"})
"""Account states that somebody else imposed. The others are the publisher's own doing."""


def check_record(context: Context, request: Request) -> dict[str, Any]:
    """The answer that ingestion would come to, before publishing; nothing is stored.

    `valid` is false where the record breaks its lexicon, and where a reference leads to a record
    of a wrong kind. A reference to a record that this node does not have is a problem too, but
    none that makes the record invalid: records of one batch may arrive in any order. So is a
    declarative lens that does not type-check: it will be shown, and be part of no path.
    """
    collection, record = request.input["collection"], request.input["record"]
    try:
        raw = encode(from_json(record))
        if context.network is not None and context.network.follows(collection):
            context.network.catalog.validate_record(
                record, collection=collection, rkey=request.input.get("rkey")
            )
            return {"valid": True, "conformance": VALID, "problems": []}
        checked, _ = read_record(context.catalog, collection, request.input.get("rkey"), raw)
    except InvalidRecord as invalid:
        return {"valid": False, "problems": _problems(invalid.problems)}
    except InvalidData as invalid:
        return {"valid": False, "problems": _problems((Problem(invalid.path, invalid.reason),))}
    except UnknownLexicon:
        problem = Problem("", f"no family of this node has the collection {collection}")
        return {"valid": False, "problems": _problems((problem,))}
    model = checked.model
    wrong, unknown = check_references(context.store, model, record)
    if isinstance(model, Lens):
        unknown = (*unknown, *lens_problems(context.store, model))
    return {
        "valid": not wrong,
        "conformance": checked.conformance,
        "problems": _problems((*wrong, *unknown)),
    }


async def get_record_status(context: Context, request: Request) -> dict[str, Any]:
    """What became of a record here. Of an account that is not active nothing more is told."""
    asked: str = request.params["uri"]
    uri, answer = await asyncio.to_thread(_in_store, context.store, context.network, asked)
    if answer is None:
        answer = _in_quarantine(await context.state.get(uri))
    return {"uri": asked, **answer}


def _in_store(
    store: IndexStore, network: NetworkLexicons | None, asked: str
) -> tuple[str, dict[str, Any] | None]:
    """The URI as the store keys it, and what the store knows; None where it knows nothing."""
    uri = canonical_uri(store, asked, parameter="uri")
    did = AtUri.parse(uri).authority
    account = store.publishers([did]).get(did)
    if account is not None and not account.active:
        word = account.status or "inactive"
        status = "takendown" if word in TAKEN_DOWN else "unknown"
        return uri, {"status": status, "reason": f"the account is {word}"}
    record = store.records([uri]).get(uri)
    if record is not None:
        return uri, {"status": "indexed", "cid": record.cid, "rev": record.rev}
    other = None if network is None else network.records.get(uri)
    if other is not None:
        return uri, {"status": "indexed", "cid": other.cid, "rev": other.rev}
    return uri, None


def _in_quarantine(kept: QuarantinedRecord | None) -> dict[str, Any]:
    if kept is None:
        return {"status": "unknown", "reason": "never seen here, or deleted"}
    return {
        "status": "quarantined",
        "reason": listed(kept.problems) or "not valid",
        "problems": _problems(kept.problems),
        "cid": kept.cid,
        "rev": kept.rev,
    }


def _problems(problems: tuple[Problem, ...]) -> list[dict[str, str]]:
    return [{"path": problem.path, "reason": problem.reason} for problem in problems]
