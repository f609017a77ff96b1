from __future__ import annotations

import pytest

from atdex_xrpc import errors
from atdex_xrpc.errors import (
    AddressError,
    AuthRequired,
    Forbidden,
    InternalServerError,
    InvalidRequest,
    MethodNotAllowed,
    MethodNotImplemented,
    NodeUnavailable,
    NotFound,
    PayloadTooLarge,
    RateLimitExceeded,
    RequestTimeout,
    ResponseTooLarge,
    TransportFailed,
    UnexpectedResponse,
    UnsafeAddress,
    UnsafeUrl,
    UnsupportedEncoding,
    UpstreamFailure,
    UpstreamTimeout,
    UriTooLong,
    XrpcError,
    XrpcPackageError,
    error_for,
    shown,
)

ON_THE_WIRE = [
    (InvalidRequest("why"), 400, "InvalidRequest"),
    (AuthRequired("why"), 401, "AuthenticationRequired"),
    (Forbidden("why"), 403, "Forbidden"),
    (NotFound("DatasetNotFound", "why"), 404, "DatasetNotFound"),
    (MethodNotAllowed("why"), 405, "MethodNotAllowed"),
    (RequestTimeout("why"), 408, "RequestTimeout"),
    (PayloadTooLarge("why"), 413, "PayloadTooLarge"),
    (UriTooLong("why"), 414, "UriTooLong"),
    (UnsupportedEncoding("why"), 415, "UnsupportedMediaType"),
    (RateLimitExceeded("why", retry_after=3), 429, "RateLimitExceeded"),
    (InternalServerError("why"), 500, "InternalServerError"),
    (MethodNotImplemented("why"), 501, "MethodNotImplemented"),
    (UpstreamFailure("why"), 502, "UpstreamFailure"),
    (NodeUnavailable("why"), 503, "NodeUnavailable"),
    (UpstreamTimeout("why"), 504, "UpstreamTimeout"),
]


@pytest.mark.parametrize(("error", "status", "name"), ON_THE_WIRE, ids=lambda v: str(v)[:24])
def test_each_class_knows_its_status_and_its_body(error: XrpcError, status: int, name: str) -> None:
    assert error.status == status
    assert error.body() == {"error": name, "message": "why"}


@pytest.mark.parametrize(("error", "status", "name"), ON_THE_WIRE, ids=lambda v: str(v)[:24])
def test_each_class_survives_the_way_over_the_wire(
    error: XrpcError, status: int, name: str
) -> None:
    received = error_for(status, name, "why", 3)
    assert type(received) is type(error)
    assert received.body() == error.body()


@pytest.mark.parametrize(("error", "status", "name"), ON_THE_WIRE, ids=lambda v: str(v)[:24])
def test_each_class_formats_itself_in_one_line(error: XrpcError, status: int, name: str) -> None:
    text = str(error.at("https://node.example/xrpc/a.b.c"))
    assert name in text
    assert str(status) in text
    assert "why" in text
    assert "node.example" in text
    assert "\n" not in text


def test_an_error_says_what_to_do_next() -> None:
    assert str(RateLimitExceeded("slow down", retry_after=7)).endswith("Try again in 7 s.")
    assert str(NodeUnavailable("down")).endswith("Try again later.")
    assert str(PayloadTooLarge("9 MB")) == "PayloadTooLarge (413): 9 MB. Send less at once."


def test_a_status_without_a_class_keeps_its_number_and_its_side() -> None:
    teapot = error_for(418, None, "short and stout")
    assert (teapot.status, teapot.error, teapot.fault) == (418, "InvalidRequest", "caller")
    storage = error_for(507, None, "full")
    assert (storage.status, storage.error) == (507, "InternalServerError")


def test_fault_says_who_has_to_act() -> None:
    assert InvalidRequest("x").fault == "caller"
    assert InternalServerError("x").fault == "us"
    assert InternalServerError("x").at("https://node.example").fault == "remote"
    assert TransportFailed("https://node.example", "refused").fault == "network"
    assert UnexpectedResponse("https://node.example", "a web page").fault == "remote"
    assert UnsafeUrl("pipe:ls", "scheme").fault == "remote"


def test_only_errors_that_may_pass_are_transient() -> None:
    transient = {type(error) for error, _, _ in ON_THE_WIRE if error.transient}
    assert transient == {
        RequestTimeout,
        RateLimitExceeded,
        UpstreamFailure,
        NodeUnavailable,
        UpstreamTimeout,
    }
    assert TransportFailed("https://node.example", "refused").transient
    assert not ResponseTooLarge("https://node.example", 10).transient


def test_every_error_of_the_package_has_one_base() -> None:
    classes = [
        value
        for value in vars(errors).values()
        if isinstance(value, type) and issubclass(value, Exception)
    ]
    assert len(classes) > 20
    assert all(issubclass(cls, XrpcPackageError) for cls in classes)


def test_an_address_error_names_the_host_and_the_address() -> None:
    error = UnsafeAddress("intranet.example", "10.0.0.1", "it is in a private network")
    assert isinstance(error, AddressError)
    assert "intranet.example (10.0.0.1)" in str(error)
    assert "Allow private hosts" not in str(error)
    allowed = UnsafeAddress("a", "10.0.0.1", "it is in a private network", private=True)
    assert "Allow private hosts" in str(allowed)


def test_foreign_text_is_bounded_and_cannot_steer_a_terminal() -> None:
    assert "\x1b" not in shown("\x1b[2Jboo")
    assert len(shown("x" * 10_000)) < 300
    assert "\x1b" not in str(UnsafeUrl("http://\x1b[2J", "no"))
