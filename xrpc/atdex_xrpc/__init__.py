"""XRPC as lexicon documents describe it: a server, clients, and guards for what they open.

Names load when they are first used: importing this package loads neither Starlette nor httpx.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from atdex_xrpc.addresses import guarded_async_client, guarded_client
    from atdex_xrpc.callers import Callers
    from atdex_xrpc.client import AsyncClient, Client
    from atdex_xrpc.errors import (
        AddressError,
        AuthRequired,
        Forbidden,
        InternalServerError,
        InvalidAnswer,
        InvalidRequest,
        LexiconViolation,
        MethodNotAllowed,
        MethodNotImplemented,
        NodeUnavailable,
        NotFound,
        PayloadTooLarge,
        RateLimitExceeded,
        RegistrationError,
        RequestTimeout,
        ResponseTooLarge,
        TransportFailed,
        UndeclaredError,
        UnexpectedResponse,
        UnsafeAddress,
        UnsafeUrl,
        UnsupportedEncoding,
        UpstreamFailure,
        UpstreamTimeout,
        UriTooLong,
        XrpcError,
        XrpcPackageError,
    )
    from atdex_xrpc.method import Handler, Request
    from atdex_xrpc.rate_limit import RateLimit
    from atdex_xrpc.server import Server
    from atdex_xrpc.service_auth import Issuers, ServiceAuth, SigningKey
    from atdex_xrpc.targets import AddressPolicy, check_address, check_url

_HOMES = {
    "addresses": ("guarded_async_client", "guarded_client"),
    "callers": ("Callers",),
    "client": ("AsyncClient", "Client"),
    "errors": (
        "AddressError",
        "AuthRequired",
        "Forbidden",
        "InternalServerError",
        "InvalidAnswer",
        "InvalidRequest",
        "LexiconViolation",
        "MethodNotAllowed",
        "MethodNotImplemented",
        "NodeUnavailable",
        "NotFound",
        "PayloadTooLarge",
        "RateLimitExceeded",
        "RegistrationError",
        "RequestTimeout",
        "ResponseTooLarge",
        "TransportFailed",
        "UndeclaredError",
        "UnexpectedResponse",
        "UnsafeAddress",
        "UnsafeUrl",
        "UnsupportedEncoding",
        "UpstreamFailure",
        "UpstreamTimeout",
        "UriTooLong",
        "XrpcError",
        "XrpcPackageError",
    ),
    "method": ("Handler", "Request"),
    "rate_limit": ("RateLimit",),
    "server": ("Server",),
    "service_auth": ("Issuers", "ServiceAuth", "SigningKey"),
    "targets": ("AddressPolicy", "check_address", "check_url"),
}
_HOME_OF = {name: module for module, names in _HOMES.items() for name in names}

__all__ = [
    "Server",
    "Handler",
    "Request",
    "ServiceAuth",
    "Issuers",
    "SigningKey",
    "RateLimit",
    "Callers",
    "Client",
    "AsyncClient",
    "AddressPolicy",
    "check_url",
    "check_address",
    "guarded_client",
    "guarded_async_client",
    "AddressError",
    "AuthRequired",
    "Forbidden",
    "InternalServerError",
    "InvalidAnswer",
    "InvalidRequest",
    "LexiconViolation",
    "MethodNotAllowed",
    "MethodNotImplemented",
    "NodeUnavailable",
    "NotFound",
    "PayloadTooLarge",
    "RateLimitExceeded",
    "RegistrationError",
    "RequestTimeout",
    "ResponseTooLarge",
    "TransportFailed",
    "UndeclaredError",
    "UnexpectedResponse",
    "UnsafeAddress",
    "UnsafeUrl",
    "UnsupportedEncoding",
    "UpstreamFailure",
    "UpstreamTimeout",
    "UriTooLong",
    "XrpcError",
    "XrpcPackageError",
]


def __getattr__(name: str) -> Any:
    module = _HOME_OF.get(name)
    if module is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(import_module(f"{__name__}.{module}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
