"""describeNode: what this node is, what it holds, how far behind it is."""

from __future__ import annotations

from importlib.metadata import version
from typing import Any

from atdex_appview.context import Context
from atdex_appview.network.lexicons import NetworkLexicons
from atdex_appview.status import backfill_json
from atdex_lexicons.families import FAMILIES
from atdex_xrpc import Request

VERSION = version("atdex")
"""Of the software. Read once: it is looked up among the files of all packages."""


def _lexicons(network: NetworkLexicons) -> list[dict[str, Any]]:
    return [
        {"collection": state.nsid, "records": state.records}
        | ({"publisher": state.did} if state.did else {})
        | ({"cid": state.cid} if state.cid else {})
        | ({"problem": state.problem} if state.problem else {})
        for state in network.states()
    ]


def describe_node(context: Context, request: Request) -> dict[str, Any]:
    counts = context.store.counts()
    families = {
        family.name: [nsid for nsid in family.kinds if nsid in context.collections]
        for family in FAMILIES
    }
    answer = {
        "did": context.did,
        "version": VERSION,
        "families": [
            {"name": name, "collections": nsids} for name, nsids in families.items() if nsids
        ],
        "counts": {
            "schemas": counts["schema"],
            "datasets": counts["dataset"],
            "lenses": counts["lens"],
            "labels": counts["label"],
            "verifications": counts["verification"],
            "publishers": counts["publishers"],
        },
        "upstreams": [upstream.to_json() for upstream in context.upstreams()],
        "limits": context.limits,
        "lexicons": [] if context.network is None else _lexicons(context.network),
        "peers": [] if context.federation is None else context.federation.peers,
    }
    backfill = context.backfill()
    if backfill is not None:
        answer["backfill"] = backfill_json(backfill)
    return answer
