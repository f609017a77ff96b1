"""getLensPath, listReachableSchemas."""

from __future__ import annotations

from typing import Any

from atdex_appview import cursors
from atdex_appview.context import Context
from atdex_appview.graph.paths import Path, find_paths
from atdex_appview.lookup import canonical_uri
from atdex_appview.views import lens_views, schema_views
from atdex_xrpc import Request
from atdex_xrpc.errors import NotFound, shown

NO_PATH = "NoLensPath"
NOT_FOUND = "SchemaNotFound"

POSITION = (int, int, int)
"""A cursor's version of the graph, hops, and first_seen of the schema where the page ended."""


def get_lens_path(context: Context, request: Request) -> dict[str, Any]:
    """The best paths, each lens shown in full. A schema is its own view, by no lens at all.

    `verifiers` count with every `trust`: with `verified` theirs are the only lenses, else theirs
    are the ones that go first.
    """
    params = request.params
    source, target = (
        canonical_uri(context.store, params[name], parameter=name) for name in ("source", "target")
    )
    hops: int = params["maxHops"]
    try:
        paths = find_paths(
            context.graph,
            source,
            target,
            max_hops=hops,
            limit=params["limit"],
            trust=params["trust"],
            verifiers=params.get("verifiers") or (),
        )
    except LookupError as unknown:
        raise _no_schema(unknown) from None
    found = _path_views(context, paths)
    if not found:
        kind = "" if params["trust"] == "any" else f"{params['trust']} "
        raise NotFound(
            NO_PATH,
            f"no path of at most {hops} {kind}lens{'es' if hops > 1 else ''} leads from {source} "
            f"to {target}",
        )
    return {"paths": found}


def list_reachable_schemas(context: Context, request: Request) -> dict[str, Any]:
    """A page of schemas, nearest first, then oldest first.

    A walk keeps to the graph as it was at its first page as long as that is remembered: a schema
    that comes nearer or goes farther meanwhile is neither missed nor met twice. One that was
    removed since is left out, so that a page may hold less than `limit`.
    """
    params = request.params
    schema = canonical_uri(context.store, params["schema"], parameter="schema")
    filters = {
        "schema": schema,
        "direction": params["direction"],
        "maxHops": params["maxHops"],
    }
    position = cursors.decode(request.nsid, filters, params.get("cursor"), shape=POSITION)
    version, after = None, None
    if position is not None:
        version, *last = map(int, position)
        after = (last[0], last[1])
    try:
        reach = context.reaches.reach(
            schema, params["direction"], params["maxHops"], version=version
        )
    except LookupError as unknown:
        raise _no_schema(unknown) from None
    rows, following = reach.page(params["limit"], after)
    records = context.store.records([uri for uri, _ in rows])
    hops = dict(rows)
    views = schema_views(context.store, [records[uri] for uri in hops if uri in records])
    answer: dict[str, Any] = {
        "schemas": [{"view": view, "hops": hops[view["uri"]]} for view in views]
    }
    if following is not None:
        answer["cursor"] = cursors.encode(request.nsid, filters, (reach.version, *following))
    return answer


def _path_views(context: Context, paths: list[Path]) -> list[dict[str, Any]]:
    """A path of which a lens has left since it was found is left out."""
    records = context.store.records(list({uri for path in paths for uri in path.lenses}))
    views = {view["uri"]: view for view in lens_views(context.store, list(records.values()))}
    return [
        {"hops": path.hops, "lenses": [views[uri] for uri in path.lenses]}
        for path in paths
        if all(uri in views for uri in path.lenses)
    ]


def _no_schema(unknown: LookupError) -> NotFound:
    return NotFound(NOT_FOUND, f"this node has no schema {shown(unknown.args[0])}")
