"""Both clients against a real server: the same calls, the same errors."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Callable, Iterator
from typing import Any

import httpx
import pytest

from atdex_xrpc import (
    AsyncClient,
    Client,
    InternalServerError,
    InvalidRequest,
    MethodNotImplemented,
    NodeUnavailable,
    NotFound,
    RateLimitExceeded,
    UnexpectedResponse,
    UnsafeUrl,
    UnsupportedEncoding,
    XrpcError,
)
from tests.support.http import serve_app
from tests.xrpc.documents import catalog, service

Call = Callable[..., Any]


class Blocking:
    """AsyncClient with the calls of Client, so that one test holds for both."""

    def __init__(self, base_url: str, **options: Any) -> None:
        self._base_url = base_url
        self._options = options

    def __getattr__(self, name: str) -> Call:
        def call(*args: Any, **kwargs: Any) -> Any:
            async def run() -> Any:
                async with AsyncClient(self._base_url, **self._options) as client:
                    return await getattr(client, name)(*args, **kwargs)

            return asyncio.run(run())

        return call


@pytest.fixture(params=[Client, Blocking], ids=["Client", "AsyncClient"])
def make(request: pytest.FixtureRequest) -> Iterator[Call]:
    made: list[Any] = []

    def build(*args: Any, **kwargs: Any) -> Any:
        made.append(request.param(*args, **kwargs))
        return made[-1]

    yield build
    for client in made:
        if isinstance(client, Client):
            client.close()


def echoed(client: Any, *args: Any, **kwargs: Any) -> Any:
    params = client.query("com.example.echo", *args, **kwargs)["params"]
    params.pop("limit")
    return params


def test_parameters_arrive_as_they_were_given(url: str, make: Call) -> None:
    client = make(url)
    text = "a&b=c d+é%00#?"
    assert echoed(client, {"text": text}) == {"text": text}
    assert echoed(client, exact=True) == {"exact": True}
    assert echoed(client, exact=False) == {"exact": False}
    assert echoed(client, tags=["a", "b"]) == {"tags": ["a", "b"]}
    assert echoed(client, tags=()) == {}
    assert echoed(client, text=None) == {}
    assert client.query("com.example.echo", limit=7) == {"params": {"limit": 7}}
    assert echoed(client, {"text": "a"}, exact=True) == {"text": "a", "exact": True}


def test_a_parameter_given_twice_or_of_no_wire_form_is_a_mistake_of_the_code(
    url: str, make: Call
) -> None:
    client = make(url)
    with pytest.raises(TypeError):
        client.query("com.example.echo", {"text": "a"}, text="b")
    with pytest.raises(TypeError, match="text cannot be a float"):
        client.query("com.example.echo", text=1.5)


@pytest.mark.parametrize("nsid", ["", "x", "com.example/../../admin", "a.b.c?d", "com.example.é"])
def test_a_name_that_is_no_nsid_reaches_no_server(url: str, make: Call, nsid: str) -> None:
    with pytest.raises(ValueError, match="NSID"):
        make(url).query(nsid)


def test_a_procedure_sends_its_input_and_its_parameters(url: str, make: Call) -> None:
    client = make(url)
    given = {"name": "a", "record": {"text": "é"}}
    answer = client.procedure("com.example.store", given, params={"dry": True})
    assert answer == {"name": "a", "dry": True}
    assert client.procedure("com.example.poke") is None


def test_a_procedure_sends_bytes_in_the_encoding_that_is_named(url: str, make: Call) -> None:
    client = make(url)
    sent = client.procedure("com.example.upload", b"\x89PNG", encoding="image/png")
    assert sent == {"size": 4}
    with pytest.raises(TypeError, match="encoding"):
        client.procedure("com.example.upload", b"\x89PNG")
    with pytest.raises(TypeError, match="encoding"):
        client.procedure("com.example.store", {}, encoding="image/png")


def test_bytes_are_received_as_they_are(url: str, make: Call) -> None:
    assert make(url).query_bytes("com.example.bytes", max_bytes=1000) == b"\x00\x01" * 500


@pytest.mark.parametrize(
    ("how", "kind", "name"),
    [
        ("missing", NotFound, "ThingNotFound"),
        ("cursor", InvalidRequest, "InvalidRequest"),
        ("undeclared", InvalidRequest, "Surprise"),
        ("limit", RateLimitExceeded, "RateLimitExceeded"),
        ("down", NodeUnavailable, "NodeUnavailable"),
        ("bug", InternalServerError, "InternalServerError"),
    ],
)
def test_the_client_raises_what_the_handler_raised(
    url: str, make: Call, how: str, kind: type[XrpcError], name: str
) -> None:
    with pytest.raises(kind) as caught:
        make(url).query("com.example.fail", how=how)
    assert type(caught.value) is kind
    assert caught.value.error == name
    assert caught.value.url == f"{url}/xrpc/com.example.fail?how={how}"
    assert url in str(caught.value)


def test_a_rate_limit_carries_its_seconds(url: str, make: Call) -> None:
    with pytest.raises(RateLimitExceeded) as caught:
        make(url).query("com.example.fail", how="limit")
    assert caught.value.retry_after == 7
    assert caught.value.transient


def test_what_the_server_itself_refuses_has_its_class_too(url: str, make: Call) -> None:
    client = make(url)
    with pytest.raises(MethodNotImplemented):
        client.query("com.example.idle")
    with pytest.raises(InvalidRequest, match="limit"):
        client.query("com.example.echo", limit=1000)
    with pytest.raises(UnsupportedEncoding):
        client.procedure("com.example.upload", b"x", encoding="text/plain")


def test_with_a_catalog_the_answer_is_validated(make: Call) -> None:
    server = service()

    async def idle(request: Any) -> Any:
        return ["not an object"]

    with serve_app(server.method("com.example.idle", idle).app()) as url:
        trusting, checking = make(url), make(url, catalog=catalog())
        assert trusting.query("com.example.idle") == ["not an object"]
        assert checking.query("com.example.echo") == {"params": {"limit": 25}}
        with pytest.raises(UnexpectedResponse, match=r"output of com\.example\.idle"):
            checking.query("com.example.idle")
        # A method that the catalog does not know is passed on as it came.
        with pytest.raises(MethodNotImplemented):
            checking.query("com.example.unknown")


def test_a_base_url_may_have_a_path_and_a_slash_at_its_end(url: str, make: Call) -> None:
    assert echoed(make(url + "/"), text="a") == {"text": "a"}
    with pytest.raises(XrpcError) as caught:
        make(url + "/deeper/").query("com.example.echo")
    assert caught.value.url == f"{url}/deeper/xrpc/com.example.echo"


@pytest.mark.parametrize(
    "base", ["", "node.example", "ftp://node.example", "http://a:b@node.example", "http://n/?x=1"]
)
def test_a_base_url_that_cannot_be_one_is_refused_at_once(base: str) -> None:
    with pytest.raises(UnsafeUrl):
        Client(base)
    with pytest.raises(UnsafeUrl):
        AsyncClient(base)


def test_an_http_client_that_was_brought_along_is_used_and_stays_open(url: str) -> None:
    seen: list[str] = []
    hooks = {"request": [lambda request: seen.append(request.url.path)]}
    with httpx.Client(event_hooks=hooks, trust_env=False) as http:
        with Client(url, http=http) as client:
            client.query("com.example.echo")
        assert not http.is_closed
    assert seen == ["/xrpc/com.example.echo"]


async def test_an_async_http_client_that_was_brought_along_stays_open(url: str) -> None:
    async with httpx.AsyncClient(trust_env=False) as http:
        async with AsyncClient(url, http=http) as client:
            await client.query("com.example.echo")
        assert not http.is_closed


async def test_many_calls_share_one_async_client(url: str) -> None:
    async with AsyncClient(url) as client:
        answers = await asyncio.gather(
            *(client.query("com.example.echo", text=str(n)) for n in range(50))
        )
    assert [a["params"]["text"] for a in answers] == [str(n) for n in range(50)]


def test_both_clients_have_the_same_calls_and_asyncio_has_streams_too() -> None:
    def calls(cls: type) -> dict[str, str]:
        members = inspect.getmembers(cls, inspect.isfunction)
        return {
            name: str(inspect.signature(member)).replace("httpx.AsyncClient", "httpx.Client")
            for name, member in members
            if not name.startswith("_") or name == "__init__"
        }

    with_streams = calls(AsyncClient)
    assert with_streams.pop("subscribe")
    assert calls(Client) == with_streams
    assert set(calls(Client)) == {"__init__", "query", "query_bytes", "procedure", "close"}
