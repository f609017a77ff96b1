"""One method of the server: everything its document says, compiled when it is registered.

    params -> auth -> input -> rate limit -> handler -> output

Each stage may answer with an XrpcError; nothing after it runs then.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Collection, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import orjson
from starlette.datastructures import Headers
from starlette.types import Receive, Scope

from atdex_lexicons.errors import Invalid, listed
from atdex_xrpc.answers import Answer
from atdex_xrpc.body import read_body
from atdex_xrpc.callers import Callers
from atdex_xrpc.errors import (
    GENERIC_ERRORS,
    InvalidAnswer,
    InvalidRequest,
    RegistrationError,
    UndeclaredError,
    UnsupportedEncoding,
    XrpcError,
    shown,
)
from atdex_xrpc.etags import revalidated
from atdex_xrpc.jsontext import BadJson, parse_json
from atdex_xrpc.params import parse_query
from atdex_xrpc.rate_limit import Cost, RateLimit
from atdex_xrpc.service_auth import ServiceAuth

if TYPE_CHECKING:
    from atdex_lexicons.catalog import Catalog

JSON_ENCODING = "application/json"

# A datetime or a dataclass in an answer is a mistake of the handler: its text form is
# not what any lexicon means.
_OPTIONS = orjson.OPT_PASSTHROUGH_DATACLASS | orjson.OPT_PASSTHROUGH_DATETIME


@dataclass(frozen=True, slots=True)
class Request:
    """What a handler gets.

    `params` are typed and have their defaults; a parameter without either is absent. `input` is
    the validated JSON value, the body's bytes where the document declares another encoding, and
    None where it declares no input. `client_ip` is the caller's, behind the server's proxies, and
    None where that is not known.
    `viewer` is the DID of the account that calls, where the server checks tokens and one came.
    """

    nsid: str
    params: Mapping[str, Any]
    input: Any
    headers: Headers
    client_ip: str | None
    viewer: str | None = None


Handler = Callable[[Request], Awaitable[Any]]


@dataclass(frozen=True, slots=True)
class Limits:
    """Of one request's input."""

    input_bytes: int
    input_seconds: float


@dataclass(frozen=True, slots=True)
class Door:
    """Who may come in, and how often."""

    callers: Callers
    auth: ServiceAuth | None = None
    rate: RateLimit | None = None


class Method:
    """A handler with its document. Raises RegistrationError where the two cannot meet."""

    def __init__(
        self,
        catalog: Catalog,
        nsid: str,
        handler: Handler,
        limits: Limits,
        *,
        door: Door,
        cost: Cost,
        revalidate: bool,
        unchecked: Collection[str],
        check_output: bool,
    ) -> None:
        kind = catalog.kind(nsid) if nsid in catalog else None
        if kind not in ("query", "procedure"):
            raise RegistrationError(
                nsid,
                "the catalog has no document of that name"
                if kind is None
                else f"a {kind} has no request and answer",
            )
        if revalidate and kind != "query":
            raise RegistrationError(nsid, "the answer of a procedure is not kept by anybody")
        main = catalog.document(nsid)["defs"]["main"]
        declared = main.get("input", {}).get("schema", {}).get("properties", {})
        for name in unchecked:
            if declared.get(name, {}).get("type") != "unknown":
                raise RegistrationError(nsid, f"its input has no {name} of type unknown")
        self.nsid = nsid
        self.verbs = ("GET", "HEAD", "OPTIONS") if kind == "query" else ("POST", "OPTIONS")
        self._catalog = catalog
        self._handler = handler
        self._limits = limits
        self._door = door
        self._cost = cost
        self._revalidate = revalidate
        self._unchecked = frozenset(unchecked)
        self._check = check_output
        self._takes = _Encoding(main["input"]["encoding"]) if "input" in main else None
        self._is_procedure = kind == "procedure"
        self._gives: str | None = main["output"]["encoding"] if "output" in main else None
        if self._gives is not None and "*" in self._gives:
            raise RegistrationError(nsid, f"its output has no definite encoding ({self._gives})")
        self._is_json = self._gives == JSON_ENCODING
        self._errors = GENERIC_ERRORS.union(error["name"] for error in main.get("errors", ()))

    def refuse_verb(self, verb: str) -> XrpcError:
        return InvalidRequest(f"{self.nsid} is called with {self.verbs[0]}, not {shown(verb, 20)}")

    async def answer(self, scope: Scope, receive: Receive) -> Answer:
        try:
            params = self._catalog.parse_params(self.nsid, parse_query(scope["query_string"]))
        except Invalid as error:
            raise InvalidRequest(listed(error.problems)) from None
        headers = Headers(scope=scope)
        viewer = None
        if self._door.auth is not None:
            viewer = await self._door.auth.viewer(headers, self.nsid, changes=self._is_procedure)
        given = await self._input(headers, receive) if self._is_procedure else None
        address = self._door.callers.address(scope)
        request = Request(self.nsid, params, given, headers, address, viewer)
        left = self._take(scope, request)
        try:
            value = await self._handler(request)
        except XrpcError as error:
            if self._check and error.url is None and error.error not in self._errors:
                raise UndeclaredError(self.nsid, error.error) from error
            error.with_headers(left)
            raise
        answer = self._output(value)
        if self._revalidate:
            answer = revalidated(answer, scope)
        return answer.with_headers(left) if left else answer

    def _take(self, scope: Scope, request: Request) -> Mapping[str, str]:
        if self._door.rate is None:
            return {}
        cost = self._cost if isinstance(self._cost, int) else self._cost(request)
        return self._door.rate.take(scope, cost, viewer=request.viewer)

    async def _input(self, headers: Headers, receive: Receive) -> Any:
        declared = headers.get("content-length")
        if self._takes is None:
            if declared not in (None, "0") or "transfer-encoding" in headers:
                raise InvalidRequest(f"{self.nsid} takes no input")
            return None
        untyped = "content-type" not in headers
        if not untyped:
            self._takes.check(headers)
        raw = await read_body(
            receive,
            None if declared is None else declared.encode(),
            self._limits.input_bytes,
            self._limits.input_seconds,
        )
        if not raw:
            raise InvalidRequest(f"{self.nsid} needs an input of {self._takes.pattern}")
        if untyped:
            raise UnsupportedEncoding("the input has no Content-Type")
        if not self._takes.is_json:
            return raw
        try:
            value = parse_json(raw)
            self._catalog.validate_input(self.nsid, self._to_check(value))
        except BadJson as error:
            raise InvalidRequest(f"the input is {error}") from None
        except Invalid as error:
            raise InvalidRequest(listed(error.problems)) from None
        return value

    def _to_check(self, value: Any) -> Any:
        """The input with objects that the handler checks itself taken as good."""
        if not self._unchecked or not isinstance(value, dict):
            return value
        return {
            name: {} if name in self._unchecked and isinstance(part, dict) else part
            for name, part in value.items()
        }

    def _output(self, value: Any) -> Answer:
        if self._gives is None:
            if value is not None:
                raise InvalidAnswer(self.nsid, "the document declares no output")
            return Answer(200, b"")
        if not self._is_json:
            if not isinstance(value, bytes):
                raise InvalidAnswer(self.nsid, f"{self._gives} is answered as bytes")
            return Answer(200, value, content_type=self._gives.encode())
        if value is None:
            raise InvalidAnswer(self.nsid, "the handler returned nothing")
        raw = orjson.dumps(value, option=_OPTIONS)
        if self._check:
            try:
                # What counts is the text that leaves, with its spliced fragments.
                self._catalog.validate_output(self.nsid, orjson.loads(raw))
            except Invalid as error:
                raise InvalidAnswer(self.nsid, listed(error.problems)) from error
        return Answer(200, raw)


class _Encoding:
    """What a document says about the Content-Type of an input: `image/*`, `application/json`."""

    def __init__(self, pattern: str) -> None:
        self.pattern = pattern
        self.is_json = pattern == JSON_ENCODING
        self._prefix = pattern.rstrip("*") if pattern.endswith("/*") else None

    def check(self, headers: Headers) -> None:
        """Raises UnsupportedEncoding for another type, a charset that is not UTF-8, or a
        compressed body.
        """
        media, _, rest = headers["content-type"].partition(";")
        media = media.strip().lower()
        if not self._fits(media):
            raise UnsupportedEncoding(f"the input must be {self.pattern}, not {shown(media)}")
        for attribute in rest.lower().split(";"):
            name, _, value = attribute.strip().partition("=")
            if self.is_json and name == "charset" and value.strip('"') not in ("utf-8", "utf8"):
                raise UnsupportedEncoding("JSON is sent as UTF-8")
        if headers.get("content-encoding", "identity").lower() != "identity":
            raise UnsupportedEncoding("a compressed input is not taken")

    def _fits(self, media: str) -> bool:
        if self.pattern == "*/*":
            return "/" in media
        if self._prefix is not None:
            return media.startswith(self._prefix)
        return media == self.pattern
