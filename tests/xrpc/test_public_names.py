from __future__ import annotations

import subprocess
import sys

import pytest

import atdex_xrpc

NAMES = {
    "AddressError",
    "AddressPolicy",
    "AsyncClient",
    "AuthRequired",
    "Callers",
    "Client",
    "Forbidden",
    "Handler",
    "InternalServerError",
    "InvalidAnswer",
    "InvalidRequest",
    "Issuers",
    "LexiconViolation",
    "MethodNotAllowed",
    "MethodNotImplemented",
    "NodeUnavailable",
    "NotFound",
    "PayloadTooLarge",
    "RateLimit",
    "RateLimitExceeded",
    "RegistrationError",
    "Request",
    "RequestTimeout",
    "ResponseTooLarge",
    "Server",
    "ServiceAuth",
    "SigningKey",
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
    "check_address",
    "check_url",
    "guarded_async_client",
    "guarded_client",
}


def loaded_after(code: str) -> set[str]:
    """The top-level modules that a fresh interpreter has loaded after `code`."""
    script = f"{code}\nimport sys; print(*sorted({{m.partition('.')[0] for m in sys.modules}}))"
    out = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, timeout=30, check=True
    )
    return set(out.stdout.split())


def test_the_public_names_are_these() -> None:
    assert set(atdex_xrpc.__all__) == NAMES


def test_every_public_name_exists_and_is_listed_by_dir() -> None:
    for name in NAMES:
        assert getattr(atdex_xrpc, name) is not None
    assert set(dir(atdex_xrpc)) >= NAMES


def test_an_unknown_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="Nonsense"):
        _ = atdex_xrpc.Nonsense


def test_importing_the_package_loads_neither_starlette_nor_httpx() -> None:
    assert not loaded_after("import atdex_xrpc") & {"starlette", "httpx", "httpcore", "orjson"}


def test_using_an_error_loads_neither_starlette_nor_httpx() -> None:
    assert not loaded_after("from atdex_xrpc import XrpcError") & {"starlette", "httpx"}


def test_using_a_client_loads_no_server() -> None:
    loaded = loaded_after("from atdex_xrpc import Client, AsyncClient, guarded_client")
    assert "httpx" in loaded
    assert not loaded & {"starlette", "uvicorn"}
