"""What can go wrong between an XRPC client and a server.

    XrpcPackageError
    ├── XrpcError                   {error, message, status}; raised by handlers and by clients
    │   ├── InvalidRequest          400
    │   ├── AuthRequired            401
    │   ├── Forbidden               403
    │   ├── NotFound                404
    │   ├── MethodNotAllowed        405
    │   ├── RequestTimeout          408
    │   ├── PayloadTooLarge         413
    │   ├── UriTooLong              414
    │   ├── UnsupportedEncoding     415
    │   ├── RateLimitExceeded       429  retry_after
    │   ├── InternalServerError     500
    │   ├── MethodNotImplemented    501
    │   ├── UpstreamFailure         502
    │   │   ├── TransportFailed          client only: no answer arrived
    │   │   └── UnexpectedResponse       client only: the answer was no XRPC
    │   │       └── ResponseTooLarge
    │   ├── NodeUnavailable         503  retry_after
    │   └── UpstreamTimeout         504
    ├── RegistrationError           a handler does not fit the catalog
    ├── LexiconViolation            our own answer breaks its document (mostly with check_output)
    │   ├── InvalidAnswer
    │   └── UndeclaredError
    └── AddressError
        ├── UnsafeUrl
        └── UnsafeAddress

A handler raises the same class that the caller's client raises. `fault` says who has to act
and `transient` whether the same request may succeed later: decide by these, never by the text.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import ClassVar, Literal, Self

Fault = Literal["caller", "remote", "network", "us"]


class XrpcPackageError(Exception):
    """The base of every error of this package."""

    advice: ClassVar[str] = ""
    transient: ClassVar[bool] = False

    @property
    def fault(self) -> Fault:
        """Who has to act: the caller, the remote side, the network between, or this process."""
        return "us"


class XrpcError(XrpcPackageError):
    """An answer that is no success: `{error, message}` with an HTTP status.

    On the client, `url` is the URL that was asked; in a handler it is None. A server that lets
    an error with a `url` pass answers `UpstreamFailure`: what another service told us is
    not about our caller's request.
    """

    default_error: ClassVar[str] = ""
    default_status: ClassVar[int] = 0

    def __init__(self, error: str, message: str, status: int) -> None:
        super().__init__(error, message, status)
        self.error = error
        self.message = message
        self.status = status
        self.url: str | None = None
        self._more_headers: dict[str, str] = {}

    @property
    def fault(self) -> Fault:
        if self.status < 500:
            return "caller"
        return "us" if self.url is None else "remote"

    def at(self, url: str) -> XrpcError:
        """The same error, marked as the answer of `url`."""
        self.url = url
        return self

    def headers(self) -> dict[str, str]:
        """The HTTP headers that belong to an answer of this class."""
        return {}

    def with_headers(self, more: Mapping[str, str]) -> Self:
        """The same error, with these headers as well: they say something about the caller."""
        self._more_headers.update(more)
        return self

    def all_headers(self) -> dict[str, str]:
        """Every header of the answer that is this error's."""
        return {**self.headers(), **self._more_headers}

    def body(self) -> dict[str, str]:
        """The JSON body of the answer."""
        return {"error": self.error, "message": self.message}

    def _lead(self) -> str:
        return f"{self.error} ({self.status})" + (f" from {self.url}" if self.url else "")

    def __str__(self) -> str:
        return f"{self._lead()}: {self.message.rstrip('.')}. {self.advice}".rstrip()


class _Named(XrpcError):
    """An error whose status is fixed by its class, and whose name has a default."""

    def __init__(self, message: str, *, error: str | None = None) -> None:
        super().__init__(error or self.default_error, message, self.default_status)


class InvalidRequest(_Named):
    """The parameters, the input or the request itself cannot be used."""

    default_error, default_status = "InvalidRequest", 400
    advice = "Change the request; repeating it gives the same answer."


class AuthRequired(_Named):
    default_error, default_status = "AuthenticationRequired", 401
    advice = "Send credentials, or renew them."

    def headers(self) -> dict[str, str]:
        return {"www-authenticate": "Bearer"}  # required with this status (RFC 9110, 15.5.2)


class Forbidden(_Named):
    default_error, default_status = "Forbidden", 403
    advice = "Ask the operator for access."


class NotFound(XrpcError):
    """`error` says what was not found: `DatasetNotFound`."""

    default_error, default_status = "NotFound", 404

    def __init__(self, error: str, message: str) -> None:
        super().__init__(error, message, self.default_status)


class MethodNotAllowed(_Named):
    """The path exists and takes another HTTP method. Those are in `allow`."""

    default_error, default_status = "MethodNotAllowed", 405

    def __init__(
        self, message: str, *, allow: Sequence[str] = (), error: str | None = None
    ) -> None:
        super().__init__(message, error=error)
        self.allow = tuple(allow)

    def headers(self) -> dict[str, str]:
        return {"allow": ", ".join(self.allow)} if self.allow else {}


class RequestTimeout(_Named):
    """The body did not arrive in time."""

    default_error, default_status = "RequestTimeout", 408
    transient = True

    def headers(self) -> dict[str, str]:
        return {"connection": "close"}


class PayloadTooLarge(_Named):
    default_error, default_status = "PayloadTooLarge", 413
    advice = "Send less at once."

    def headers(self) -> dict[str, str]:
        # The rest of the body is not read, so the connection cannot be used again.
        return {"connection": "close"}


class UriTooLong(_Named):
    default_error, default_status = "UriTooLong", 414
    advice = "Ask for fewer items at once."


class UnsupportedEncoding(_Named):
    """The Content-Type or Content-Encoding is none that the method takes."""

    default_error, default_status = "UnsupportedMediaType", 415
    advice = "Send the encoding that the method's document declares."


class _Waiting(_Named):
    """`retry_after`: seconds to wait before the next attempt, None where nobody said."""

    transient = True

    def __init__(
        self, message: str, *, retry_after: int | None = None, error: str | None = None
    ) -> None:
        super().__init__(message, error=error)
        self.retry_after = retry_after

    def headers(self) -> dict[str, str]:
        return {} if self.retry_after is None else {"retry-after": str(self.retry_after)}

    def __str__(self) -> str:
        when = "later" if self.retry_after is None else f"in {self.retry_after} s"
        return f"{super().__str__()} Try again {when}."


class RateLimitExceeded(_Waiting):
    default_error, default_status = "RateLimitExceeded", 429


class InternalServerError(_Named):
    """The server failed. The detail is in its log and not in the answer."""

    default_error, default_status = "InternalServerError", 500
    advice = "Tell the operator if it happens again."


class MethodNotImplemented(_Named):
    default_error, default_status = "MethodNotImplemented", 501
    advice = "Ask describeNode, or another node, for what is served."


class UpstreamFailure(_Named):
    """A service that the server depends on failed."""

    default_error, default_status = "UpstreamFailure", 502
    transient = True


class NodeUnavailable(_Waiting):
    default_error, default_status = "NodeUnavailable", 503


class UpstreamTimeout(_Named):
    default_error, default_status = "UpstreamTimeout", 504
    transient = True


class TransportFailed(UpstreamFailure):
    """No answer arrived: name resolution, connection, TLS or time. Whether the server acted
    on the request is unknown.
    """

    default_error = "TransportFailed"
    advice = "Check the address and the network, then try again."

    def __init__(self, url: str, reason: str) -> None:
        super().__init__(reason)
        self.at(url)

    @property
    def fault(self) -> Fault:
        return "network"

    def _lead(self) -> str:
        return f"no answer from {self.url}"


class UnexpectedResponse(UpstreamFailure):
    """Something answered that does not speak XRPC, or its answer breaks the method's document."""

    default_error = "UnexpectedResponse"
    advice = "Check that the URL is that of an XRPC service."
    transient = False

    def __init__(self, url: str, reason: str) -> None:
        super().__init__(reason)
        self.at(url)

    def _lead(self) -> str:
        return f"unusable answer from {self.url}"


class ResponseTooLarge(UnexpectedResponse):
    """The answer was cut off at `limit` bytes."""

    default_error = "ResponseTooLarge"
    advice = "Ask for fewer items, or raise the limit if you trust the service."

    def __init__(self, url: str, limit: int) -> None:
        super().__init__(url, f"the answer is larger than {limit} bytes")
        self.limit = limit


_BY_STATUS: dict[int, type[_Named]] = {
    cls.default_status: cls
    for cls in (
        InvalidRequest,
        AuthRequired,
        Forbidden,
        MethodNotAllowed,
        RequestTimeout,
        PayloadTooLarge,
        UriTooLong,
        UnsupportedEncoding,
        InternalServerError,
        MethodNotImplemented,
        UpstreamFailure,
        UpstreamTimeout,
    )
}
_WAITING: dict[int, type[_Waiting]] = {429: RateLimitExceeded, 503: NodeUnavailable}

GENERIC_ERRORS: frozenset[str] = frozenset(
    cls.default_error for cls in (*_BY_STATUS.values(), *_WAITING.values())
)
"""The names that any method may answer without declaring them in its document."""


def error_for(
    status: int, error: str | None, message: str, retry_after: int | None = None
) -> XrpcError:
    """The class for an HTTP status, the name that was answered kept where there was one."""
    waiting = _WAITING.get(status)
    if waiting is not None:
        return waiting(message, error=error, retry_after=retry_after)
    if status == NotFound.default_status:
        return NotFound(error or NotFound.default_error, message)
    named = _BY_STATUS.get(status)
    if named is not None:
        return named(message, error=error)
    base = InvalidRequest if status < 500 else InternalServerError
    return XrpcError(error or base.default_error, message, status)


class RegistrationError(XrpcPackageError):
    """A handler was registered that the catalog does not allow."""

    def __init__(self, nsid: str, reason: str) -> None:
        super().__init__(nsid, reason)
        self.nsid = nsid
        self.reason = reason

    def __str__(self) -> str:
        return f"cannot serve {self.nsid}: {self.reason}"


class LexiconViolation(XrpcPackageError):
    """Our own answer is not what the method's document says: a bug, found by `check_output`, or
    by itself where there is nothing that could be sent.
    """

    def __init__(self, nsid: str, reason: str) -> None:
        super().__init__(nsid, reason)
        self.nsid = nsid
        self.reason = reason

    def __str__(self) -> str:
        return f"{self.nsid}: {self.reason}. Correct the handler or the document."


class InvalidAnswer(LexiconViolation):
    """The body does not validate against the method's output."""


class UndeclaredError(LexiconViolation):
    """The handler raised an error that its document does not list."""

    def __init__(self, nsid: str, error: str) -> None:
        super().__init__(nsid, f"the error {error} is not declared in the document's errors")
        self.error = error


class AddressError(XrpcPackageError):
    """A URL or an address that must not be opened on behalf of somebody else's data."""

    @property
    def fault(self) -> Fault:
        return "remote"


class UnsafeUrl(AddressError):
    """A URL that is not opened, whatever its host resolves to."""

    def __init__(self, url: str, reason: str) -> None:
        super().__init__(url, reason)
        self.url = url
        self.reason = reason

    def __str__(self) -> str:
        return f"refused to open {shown(self.url)}: {self.reason}"


class UnsafeAddress(AddressError):
    """A host that is, or resolves to, an address that is not a public one.

    `host` is the name that was asked for, `address` what it resolved to; they are the same for a
    literal. `private`: a policy that allows private networks would let it pass.
    """

    def __init__(self, host: str, address: str, reason: str, *, private: bool = False) -> None:
        super().__init__(host, address, reason)
        self.host = host
        self.address = address
        self.reason = reason
        self.private = private

    def __str__(self) -> str:
        named = shown(self.host)
        where = named if self.host == self.address else f"{named} ({shown(self.address)})"
        text = f"refused to connect to {where}: {self.reason}"
        if self.private:
            text += ". Allow private hosts if you trust who named it"
        return text


SHOWN_CHARACTERS = 200
"""Of foreign text in one of our messages: enough to recognise it, too little to fill a log."""


def shown(text: str, limit: int = SHOWN_CHARACTERS) -> str:
    """Foreign text made fit for a log or a terminal: bounded, no control characters."""
    cut = text if len(text) <= limit else f"{text[:limit]}…"
    if cut.isprintable():
        return cut
    return "".join(c if c.isprintable() else "\N{REPLACEMENT CHARACTER}" for c in cut)
