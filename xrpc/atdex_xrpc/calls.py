"""One call of a method without its I/O: the request to send, and what the answer means.

`Client` and `AsyncClient` carry the bytes between the two; everything else is here.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING, Any
from urllib.parse import urlencode

import httpx
import orjson

from atdex_lexicons.errors import Invalid
from atdex_lexicons.syntax import is_nsid
from atdex_xrpc.errors import (
    ResponseTooLarge,
    TransportFailed,
    UnexpectedResponse,
    XrpcError,
    error_for,
    shown,
)
from atdex_xrpc.jsontext import BadJson, parse_json

if TYPE_CHECKING:
    from atdex_lexicons.catalog import Catalog

MAX_RESPONSE_BYTES = 16 * 1024 * 1024
"""Of one JSON answer: a page of 100 records of 100 KB each and their views."""

MAX_ERROR_BYTES = 64 * 1024
"""Of an answer that is an error, whatever was asked for: its message is cut to far less."""

MAX_MESSAGE_CHARACTERS = 2_000
"""Of a foreign error message, in ours."""

MAX_RETRY_SECONDS = 86_400
"""What a Retry-After is believed: a day. More is a mistake, or malice."""

USER_AGENT = "atdex"

_JSON = "application/json"


@dataclass(frozen=True, slots=True)
class Call:
    """A request, ready to send."""

    nsid: str
    verb: str
    url: str
    headers: Mapping[str, str]
    content: bytes | None = None


def query_call(base: str, nsid: str, params: Mapping[str, Any], *, accept: str = _JSON) -> Call:
    return Call(nsid, "GET", _url(base, nsid, params), _headers(accept))


def procedure_call(
    base: str, nsid: str, given: Any, params: Mapping[str, Any], encoding: str | None
) -> Call:
    """`given` is None for no input, bytes with their `encoding`, or any JSON value."""
    if isinstance(given, bytes) != (encoding is not None):
        raise TypeError("bytes are sent with an encoding, and any other input without")
    headers = _headers(_JSON)
    content = None
    if given is not None:
        content = given if isinstance(given, bytes) else orjson.dumps(given)
        headers["content-type"] = encoding or _JSON
    return Call(nsid, "POST", _url(base, nsid, params), headers, content)


def _headers(accept: str) -> dict[str, str]:
    # A compressed answer could grow a thousandfold before its size is known.
    return {"accept": accept, "accept-encoding": "identity", "user-agent": USER_AGENT}


def _url(base: str, nsid: str, params: Mapping[str, Any]) -> str:
    if not is_nsid(nsid):
        raise ValueError(f"{nsid!r} is not the NSID of a method")
    pairs = [(name, _text(name, item)) for name, value in params.items() for item in _items(value)]
    query = f"?{urlencode(pairs)}" if pairs else ""
    return f"{base}/xrpc/{nsid}{query}"


def _items(value: Any) -> list[Any] | tuple[Any, ...]:
    if value is None:
        return ()
    return value if isinstance(value, list | tuple) else (value,)


def _text(name: str, value: Any) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, str | int):
        return str(value)
    raise TypeError(f"the parameter {name} cannot be a {type(value).__name__}")


class Reply:
    """An answer as it arrives: status and headers, then `feed` for each piece, then its meaning.

    Raises UnexpectedResponse at once for a redirect or a compressed body, ResponseTooLarge as
    soon as more than `max_bytes` have been fed, TransportFailed for a piece after `deadline`.
    """

    def __init__(
        self, call: Call, status: int, headers: httpx.Headers, *, max_bytes: int, deadline: float
    ) -> None:
        self._call = call
        self._status = status
        self._headers = headers
        self._limit = max_bytes if status < 400 else min(max_bytes, MAX_ERROR_BYTES)
        self._deadline = deadline
        self._chunks: list[bytes] = []
        self._size = 0
        if 300 <= status < 400:
            target = shown(headers.get("location", "nowhere"))
            raise UnexpectedResponse(
                call.url, f"redirected to {target}; redirects are not followed"
            )
        if headers.get("content-encoding", "identity").lower() != "identity":
            raise UnexpectedResponse(call.url, "compressed, although it was asked not to be")

    def feed(self, chunk: bytes, now: float) -> None:
        """Takes the next piece; `now` and the deadline are seconds on one clock."""
        self._size += len(chunk)
        if self._size > self._limit:
            raise ResponseTooLarge(self._call.url, self._limit)
        if now > self._deadline:
            raise TransportFailed(self._call.url, "the answer took too long")
        self._chunks.append(chunk)

    def body(self) -> bytes:
        """The body of a success. Raises the XrpcError that was answered otherwise."""
        raw = b"".join(self._chunks)
        if self._status != 200:
            raise answered_error(self._status, self._headers, raw).at(self._call.url)
        return raw

    def value(self, catalog: Catalog | None) -> Any:
        """The JSON of a success, None for an empty body.

        With a catalog that knows the method, validated: UnexpectedResponse where it is not what
        the document says.
        """
        raw = self.body()
        value = None
        if raw:
            media = self._headers.get("content-type", "").partition(";")[0].strip().lower()
            if media != _JSON:
                raise UnexpectedResponse(
                    self._call.url, f"not JSON but {shown(media) or 'untyped'}"
                )
            try:
                value = parse_json(raw)
            except BadJson as error:
                raise UnexpectedResponse(self._call.url, f"{error}") from None
        if catalog is not None and self._call.nsid in catalog:
            try:
                catalog.validate_output(self._call.nsid, value)
            except Invalid as error:
                raise UnexpectedResponse(self._call.url, str(error)) from None
        return value


def answered_error(status: int, headers: httpx.Headers, raw: bytes) -> XrpcError:
    """The error that an answer with this status stands for."""
    if status < 400:
        return UnexpectedResponse("", f"HTTP status {status}")
    name, message = None, ""
    try:
        body = parse_json(raw)
    except BadJson:
        body = None
    if isinstance(body, dict):
        if isinstance(body.get("error"), str) and body["error"]:
            name = shown(body["error"])
        if isinstance(body.get("message"), str):
            message = shown(body["message"], MAX_MESSAGE_CHARACTERS)
    if name is None and not message:
        message = f"HTTP status {status}, and no XRPC error with it"
    return error_for(status, name, message, _retry_after(headers))


def _retry_after(headers: httpx.Headers) -> int | None:
    """Seconds to wait, from Retry-After (seconds or a date) or RateLimit-Reset (epoch seconds)."""
    now = datetime.now(UTC)
    seconds: float | None = None
    after, reset = headers.get("retry-after", ""), headers.get("ratelimit-reset", "")
    if after.isdecimal() and len(after) < 10:
        seconds = int(after)
    elif after:
        try:
            seconds = (parsedate_to_datetime(after) - now).total_seconds()
        except (ValueError, TypeError, OverflowError):  # no date, no zone, no year
            seconds = None
    elif reset.isdecimal() and len(reset) < 12:
        seconds = int(reset) - now.timestamp()
    return None if seconds is None else max(0, min(round(seconds), MAX_RETRY_SECONDS))
