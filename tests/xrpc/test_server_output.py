"""What a handler may return, and how loudly a wrong answer is noticed when answers are checked."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import httpx
import pytest

from atdex_xrpc import (
    InvalidAnswer,
    InvalidRequest,
    LexiconViolation,
    NotFound,
    Request,
    Server,
    UndeclaredError,
    XrpcError,
)
from tests.support.http import serve_app
from tests.xrpc.documents import HANDLERS, catalog, spliced
from tests.xrpc.test_server_routing import assert_error


def answering(value: Any) -> Callable[[Request], Awaitable[Any]]:
    async def handler(request: Request) -> Any:
        if isinstance(value, Exception):
            raise value
        return value

    return handler


async def call(value: Any, nsid: str = "com.example.store", *, check: bool = True) -> Any:
    """The answer where the handler of `nsid` returns (or raises) `value`."""
    server = Server(catalog(), check_output=check).method(nsid, answering(value))
    transport = httpx.ASGITransport(server.app(), client=("192.0.2.7", 123))
    async with httpx.AsyncClient(transport=transport, base_url="http://test") as client:
        if nsid == "com.example.store":
            return await client.post(f"/xrpc/{nsid}", json={"name": "a", "record": {}})
        return await client.get(f"/xrpc/{nsid}", params={"how": "x"})


GOOD = {"name": "a", "dry": False}


async def test_an_answer_that_fits_its_document_passes_the_check() -> None:
    assert (await call(GOOD)).json() == GOOD


@pytest.mark.parametrize(
    "wrong",
    [{}, {"name": 1, "dry": False}, {"name": "a"}, [], "text", {"name": "a", "dry": None}],
)
async def test_an_answer_that_breaks_its_document_raises_when_checked(wrong: Any) -> None:
    with pytest.raises(InvalidAnswer, match=r"com\.example\.store"):
        await call(wrong)


async def test_an_answer_that_breaks_its_document_is_sent_when_not_checked() -> None:
    assert (await call({"name": 1}, check=False)).json() == {"name": 1}


async def test_a_stored_text_is_spliced_into_the_answer_as_it_is() -> None:
    answer = await call({"params": spliced({"ü": [1, {"c": "b"}]})}, "com.example.echo")
    assert answer.json() == {"params": {"ü": [1, {"c": "b"}]}}


async def test_a_spliced_text_is_part_of_the_check() -> None:
    assert (await call({"name": spliced("a"), "dry": spliced(True)})).json()["dry"] is True
    with pytest.raises(InvalidAnswer, match="name"):
        await call({"name": spliced(5), "dry": False})


def test_a_violation_over_the_wire_is_a_500_that_names_it() -> None:
    server = Server(catalog(), check_output=True)
    server.method("com.example.echo", answering({"params": 5}))
    with serve_app(server.app()) as url:
        answer = httpx.get(f"{url}/xrpc/com.example.echo")
    assert_error(answer, 500, "InternalServerError")
    assert "/params" in answer.json()["message"]


async def test_an_error_that_the_document_does_not_list_raises_when_checked() -> None:
    with pytest.raises(UndeclaredError, match="Surprise"):
        await call(InvalidRequest("x", error="Surprise"), "com.example.fail")
    with pytest.raises(LexiconViolation, match="OtherThingNotFound"):
        await call(NotFound("OtherThingNotFound", "x"), "com.example.fail")


async def test_listed_and_generic_errors_pass_the_check() -> None:
    listed = await call(NotFound("ThingNotFound", "x"), "com.example.fail")
    assert_error(listed, 404, "ThingNotFound")
    generic = await call(InvalidRequest("a wrong cursor"), "com.example.fail")
    assert_error(generic, 400, "InvalidRequest")


@pytest.mark.parametrize("check", [True, False])
async def test_a_handler_that_returns_nothing_where_an_output_is_declared_is_a_bug(
    check: bool,
) -> None:
    with pytest.raises(InvalidAnswer, match="returned nothing"):
        await call(None, check=check)


async def test_a_handler_that_returns_text_where_bytes_are_declared_is_a_bug() -> None:
    with pytest.raises(InvalidAnswer, match="as bytes"):
        await call("text", "com.example.bytes")


@dataclass
class Row:
    name: str


@pytest.mark.parametrize(
    "value", [{1: "a"}, {"at": datetime(2026, 1, 1, tzinfo=UTC)}, {"row": Row("a")}, {"b": b"x"}]
)
async def test_what_no_lexicon_means_is_not_written_as_some_text(value: Any) -> None:
    with pytest.raises(TypeError):
        await call(value, "com.example.fail", check=False)


async def test_what_another_service_answered_is_no_error_of_our_caller() -> None:
    peers_word = NotFound("ThingNotFound", "secret of the peer").at("https://peer.example/xrpc/a")
    answer = await call(peers_word, "com.example.fail")
    assert_error(answer, 502, "UpstreamFailure")
    assert "secret" not in answer.text


async def test_a_handler_sees_the_headers_and_the_address_of_its_caller() -> None:
    seen: list[Request] = []

    async def handler(request: Request) -> Any:
        seen.append(request)
        return {"params": {}}

    app = Server(catalog()).method("com.example.echo", handler).app()
    transport = httpx.ASGITransport(app, client=("192.0.2.7", 123))
    async with httpx.AsyncClient(transport=transport, base_url="http://test") as client:
        await client.get("/xrpc/com.example.echo", headers={"X-Thing": "1"})
    assert seen[0].nsid == "com.example.echo"
    assert seen[0].headers["x-thing"] == "1"
    assert seen[0].client_ip == "192.0.2.7"
    assert seen[0].input is None


async def test_the_example_handlers_pass_their_own_check() -> None:
    server = Server(catalog(), check_output=True)
    for nsid, handler in HANDLERS.items():
        server.method(nsid, handler)
    transport = httpx.ASGITransport(server.app())
    async with httpx.AsyncClient(transport=transport, base_url="http://test") as client:
        assert (await client.get("/xrpc/com.example.echo")).status_code == 200
        assert (await client.get("/xrpc/com.example.bytes")).status_code == 200
        assert (await client.post("/xrpc/com.example.poke")).status_code == 200
        with pytest.raises(UndeclaredError):
            await client.get("/xrpc/com.example.fail?how=undeclared")
    assert issubclass(UndeclaredError, LexiconViolation)
    assert not issubclass(UndeclaredError, XrpcError)
