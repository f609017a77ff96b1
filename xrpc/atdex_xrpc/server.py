"""An XRPC server whose routes, parameters, inputs and outputs are those of lexicon documents.

    server = Server(Catalog.bundled()).method("app.bsky.atdata.getDataset", get_dataset)
    uvicorn.run(server.app())

Every answer that is no success has the body `{error, message}`, whatever went wrong. What a
handler raises other than an XrpcError answers 500 without its detail, and goes on to the ASGI
server, which logs it with its traceback.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Collection, Mapping
from typing import TYPE_CHECKING, Any

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request as HttpRequest
from starlette.responses import Response
from starlette.types import Lifespan, Receive, Scope, Send

from atdex_xrpc.answers import error_answer
from atdex_xrpc.body import MAX_INPUT_BYTES, MAX_INPUT_SECONDS
from atdex_xrpc.callers import Callers
from atdex_xrpc.errors import (
    InternalServerError,
    LexiconViolation,
    RegistrationError,
    XrpcError,
    error_for,
    shown,
)
from atdex_xrpc.method import Door, Handler, Limits, Method
from atdex_xrpc.rate_limit import Cost, RateLimit
from atdex_xrpc.routes import XRPC, Endpoint, Health, XrpcRoute, constant_page, health_page
from atdex_xrpc.service_auth import ServiceAuth
from atdex_xrpc.subscription import Frames, Places, StreamLimits, Subscription

if TYPE_CHECKING:
    from atdex_lexicons.catalog import Catalog

logger = logging.getLogger("atdex_xrpc.server")


class Server:
    """Collects handlers, and makes an ASGI application of them.

    `check_output` validates every answer against its document and raises LexiconViolation on a
    break: for tests and development, as it parses each answer again. `health` is asked at
    `/xrpc/_health`, `did_document` is served at `/.well-known/did.json`; without them these
    paths do not exist. `auth` checks the tokens that callers send; without it they are not looked
    at. `rate` limits how much a caller asks for, and `callers` knows who that is behind proxies.
    `streams` bounds the event streams. `lifespan` is Starlette's.
    """

    def __init__(
        self,
        catalog: Catalog,
        *,
        check_output: bool = False,
        max_input_bytes: int = MAX_INPUT_BYTES,
        max_input_seconds: float = MAX_INPUT_SECONDS,
        health: Health | None = None,
        did_document: Mapping[str, Any] | None = None,
        auth: ServiceAuth | None = None,
        rate: RateLimit | None = None,
        callers: Callers | None = None,
        streams: StreamLimits | None = None,
        lifespan: Lifespan[Starlette] | None = None,
    ) -> None:
        self._catalog = catalog
        self._check_output = check_output
        self._limits = Limits(max_input_bytes, max_input_seconds)
        self._door = Door(callers or Callers(), auth, rate)
        self._streams = streams or StreamLimits(Places())
        self._lifespan = lifespan
        self._endpoints: dict[str, Endpoint] = {}
        self._app: Starlette | None = None
        if health is not None:
            self._endpoints[f"{XRPC}_health"] = health_page(health)
        if did_document is not None:
            self._endpoints["/.well-known/did.json"] = constant_page(did_document)

    def method(
        self,
        nsid: str,
        handler: Handler,
        *,
        cost: Cost = 1,
        revalidate: bool = False,
        unchecked: Collection[str] = (),
    ) -> Server:
        """Serves `nsid` with `handler`; returns the server, so that calls chain.

        `cost`: the points of a call, where there is a rate limit. `revalidate`: answers carry an
        entity tag, and who has the same answer already is told so with 304; for queries whose
        answer is the same for everybody. `unchecked`: members of the input, of type unknown, whose
        content the handler judges itself; they may break the data model.

        Raises RegistrationError where the catalog has no query or procedure of that name or these
        options do not fit it, where it has a handler already, and after `app()`.
        """
        self._register(
            nsid,
            lambda: Method(
                self._catalog,
                nsid,
                handler,
                self._limits,
                door=self._door,
                cost=cost,
                revalidate=revalidate,
                unchecked=unchecked,
                check_output=self._check_output,
            ),
        )
        return self

    def subscription(self, nsid: str, handler: Frames) -> Server:
        """Serves the event stream `nsid` with an async generator of frames; see `subscription`.

        Raises RegistrationError as `method` does.
        """
        self._register(
            nsid,
            lambda: Subscription(
                self._catalog,
                nsid,
                handler,
                self._streams,
                door=self._door,
                check_output=self._check_output,
            ),
        )
        return self

    def _register(self, nsid: str, endpoint: Callable[[], Endpoint]) -> None:
        if self._app is not None:
            raise RegistrationError(nsid, "the application has been built already")
        if XRPC + nsid in self._endpoints:
            raise RegistrationError(nsid, "it has a handler already")
        self._endpoints[XRPC + nsid] = endpoint()

    @property
    def served(self) -> tuple[str, ...]:
        """The methods and event streams that have a handler, in the order of their names."""
        return tuple(
            sorted(
                path.removeprefix(XRPC)
                for path, endpoint in self._endpoints.items()
                if isinstance(endpoint, Method | Subscription)
            )
        )

    def app(self) -> Starlette:
        """The application. Built once: what is registered by now is what it serves."""
        if self._app is None:
            self._app = Starlette(
                routes=[XrpcRoute(self._endpoints)],
                exception_handlers={HTTPException: _http_failure, Exception: _failure},
                lifespan=self._lifespan,
            )
            # A path with one slash more is another path, and 404 like any other.
            self._app.router.redirect_slashes = False
        return self._app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """The server is an ASGI application itself."""
        await self.app()(scope, receive, send)


async def _http_failure(request: HttpRequest, exc: Exception) -> Response:
    """What Starlette itself refuses: an unknown path, above all."""
    assert isinstance(exc, HTTPException)
    path = shown(request.url.path)
    return _response(error_for(exc.status_code, None, f"{exc.detail}: {path}"), exc.headers)


async def _failure(request: HttpRequest, exc: Exception) -> Response:
    """An error of ours: Starlette raises it again after this answer, for the server's log."""
    logger.error("%s %s failed: %s", request.method, shown(request.url.path), type(exc).__name__)
    detail = str(exc) if isinstance(exc, LexiconViolation) else "the request could not be answered"
    return _response(InternalServerError(detail), None)


def _response(error: XrpcError, extra: Mapping[str, str] | None) -> Response:
    response = error_answer(error).response()
    response.headers.update(extra or {})
    return response
