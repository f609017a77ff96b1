"""The node's HTTP application: methods, health, DID document, and a page that says what it is."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from starlette.applications import Starlette
from starlette.requests import Request as HttpRequest
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from atdex_appview.context import Context
from atdex_appview.croissant.page import PATH, CroissantPage
from atdex_appview.feeds import bluesky
from atdex_appview.feeds.pages import FeedPages
from atdex_appview.methods import register
from atdex_appview.status import Check, Health, IngestWord
from atdex_xrpc import Callers, RateLimit, Server, ServiceAuth
from atdex_xrpc.subscription import StreamLimits

SERVICE_ID = "#atdex_node"
SERVICE_TYPE = "AtdexNode"

SERVICE_IDS = (SERVICE_ID, bluesky.SERVICE_ID)
"""What a service token may be for, after the node's DID: one for each service of its document."""


def build_app(
    context: Context,
    *,
    ingest: Callable[[], IngestWord] = lambda: "absent",
    auth: ServiceAuth | None = None,
    rate: RateLimit | None = None,
    callers: Callers | None = None,
    streams: StreamLimits | None = None,
    check_output: bool = False,
) -> Starlette:
    """The application over open stores; it starts nothing and closes nothing.

    `ingest` says how the firehose task is. `auth` checks the tokens of callers, `rate` limits them,
    `callers` knows who they are behind proxies, `streams` bounds how many follow the change stream.
    `check_output` validates every answer: for tests.
    """
    health = Health(
        checks={
            "store": _on_a_thread(context.store.check),
            "search": _on_a_thread(context.search.check),
            "state": context.state.count,
        },
        ingest=ingest,
        upstreams=context.upstreams,
        backfill=context.backfill,
    )
    server = Server(
        context.catalog,
        check_output=check_output,
        max_input_bytes=context.limits["inputBytes"],
        health=health,
        did_document=did_document(context),
        auth=auth,
        rate=rate,
        callers=callers,
        streams=streams,
    )
    register(server, context)
    app = server.app()
    app.router.routes.append(FeedPages(context).route())
    app.router.routes.append(Route("/", _about(context, server.served), methods=["GET"]))
    app.router.routes.append(Route(PATH, CroissantPage(context)))
    return app


def _on_a_thread(check: Callable[[], None]) -> Check:
    """On a thread of its own: behind the requests that wait for theirs, a busy node would look
    like one whose stores are down, and be restarted for it.
    """
    thread = ThreadPoolExecutor(1, thread_name_prefix="atdex-health")

    async def answer() -> None:
        await asyncio.get_running_loop().run_in_executor(thread, check)

    return answer


def did_document(context: Context) -> dict[str, Any]:
    """What the node's DID resolves to: the node as a service, and as a feed generator where it is
    one. The node signs nothing, so it has no key."""
    services = [(SERVICE_ID, SERVICE_TYPE)]
    if context.feed_publisher is not None:
        services.append((bluesky.SERVICE_ID, bluesky.SERVICE_TYPE))
    return {
        "@context": ["https://www.w3.org/ns/did/v1"],
        "id": context.did,
        "service": [
            {"id": f"{context.did}{name}", "type": kind, "serviceEndpoint": context.origin}
            for name, kind in services
        ],
    }


def _about(context: Context, served: tuple[str, ...]) -> Callable[[HttpRequest], Any]:
    about = {
        "name": "atdex",
        "what": "An index of datasets on the AT Protocol.",
        "did": context.did,
        "methods": [f"/xrpc/{nsid}" for nsid in served],
        "feeds": [f"/feeds/{name}.atom" for name in context.feeds],
        "health": "/xrpc/_health",
        "identity": "/.well-known/did.json",
        "croissant": PATH,
    }

    async def page(request: HttpRequest) -> Response:
        return JSONResponse(about)

    return page
