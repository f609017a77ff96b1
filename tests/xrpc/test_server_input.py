"""What a request may carry: parameters, bodies, and everything hostile in their place."""

from __future__ import annotations

import time
from collections.abc import Iterator, MutableMapping
from typing import Any

import httpx
import orjson
import pytest
from starlette.types import Message, Scope

from atdex_xrpc import RegistrationError, Request, Server
from tests.support.http import serve_app
from tests.xrpc import raw
from tests.xrpc.documents import catalog, service
from tests.xrpc.test_server_routing import assert_error

STORE = "/xrpc/com.example.store"
GOOD = {"name": "a", "record": {"text": "b"}}


def test_what_the_handler_judges_itself_is_handed_over_as_it_came() -> None:
    server = Server(catalog(), check_output=True)

    async def judged(request: Request) -> Any:
        return {"name": repr(request.input["record"])[:20], "dry": False}

    server.method("com.example.store", judged, unchecked=("record",))
    with serve_app(server.app()) as url:
        good = httpx.post(f"{url}{STORE}", json={"name": "a", "record": {"x": 1.5}})
        assert good.json()["name"] == "{'x': 1.5}"
        for wrong in ({"name": 1.5, "record": {}}, {"name": "a"}, {"name": "a", "record": 1.5}):
            assert_error(httpx.post(f"{url}{STORE}", json=wrong), 400, "InvalidRequest")
    for member in ("name", "nothing"):
        with pytest.raises(RegistrationError, match=member):
            Server(catalog()).method("com.example.store", judged, unchecked=(member,))


def params(http: httpx.Client, query: str) -> object:
    answer = http.get(f"/xrpc/com.example.echo?{query}")
    assert answer.status_code == 200, answer.text
    return answer.json()["params"]


def test_parameters_are_typed_and_have_their_defaults(http: httpx.Client) -> None:
    assert params(http, "") == {"limit": 25}
    assert params(http, "limit=3&exact=true&text=4") == {"limit": 3, "exact": True, "text": "4"}


def test_repeated_keys_make_an_array_and_one_value_an_array_of_one(http: httpx.Client) -> None:
    assert params(http, "tags=a&tags=b&limit=1") == {"limit": 1, "tags": ["a", "b"]}
    assert params(http, "tags=a&limit=1") == {"limit": 1, "tags": ["a"]}


def test_undeclared_parameters_are_ignored(http: httpx.Client) -> None:
    assert params(http, "limit=1&utm_source=x&utm_source=y") == {"limit": 1}


@pytest.mark.parametrize(
    "query",
    [
        "limit=abc",
        "limit=",
        "limit=0",
        "limit=101",
        "limit=1.5",
        "limit=99999999999999999999",
        "limit=1&limit=2",
        "exact=yes",
        "text=" + "x" * 101,
        "&".join(["tags=x"] * 11),
        "text=%00",
        "text=a%00b",
        "nobody-knows-me=%00",
        "text=%ff",
        "text=%zz",
        "text=%",
        "text=%ed%a0%80",
    ],
)
def test_a_parameter_that_does_not_parse_is_an_invalid_request(
    url: str, http: httpx.Client, query: str
) -> None:
    heard = raw.get(url, b"/xrpc/com.example.echo?" + query.encode())
    assert (heard.status, heard.json["error"]) == (400, "InvalidRequest"), heard.body


def test_a_missing_required_parameter_is_named(http: httpx.Client) -> None:
    answer = http.get("/xrpc/com.example.fail")
    assert_error(answer, 400, "InvalidRequest")
    assert "how" in answer.json()["message"]


def test_100_000_parameters_are_refused_and_the_server_goes_on(
    url: str, http: httpx.Client
) -> None:
    # uvicorn's parser gives up at 64 KiB of URL, in its own words; what passes it is ours.
    assert raw.get(url, b"/xrpc/com.example.echo?" + b"a=1&" * 100_000).status in (400, 414)
    heard = raw.get(url, b"/xrpc/com.example.echo?" + b"a=1&" * 10_000)
    assert (heard.status, heard.json["error"]) == (414, "UriTooLong")
    assert http.get("/xrpc/com.example.echo").status_code == 200


async def test_100_000_parameters_are_refused_where_the_asgi_server_has_no_limit() -> None:
    sent: list[MutableMapping[str, Any]] = []

    async def receive() -> Message:
        raise AssertionError("a query has no body to read")

    async def send(message: MutableMapping[str, Any]) -> None:
        sent.append(message)

    path = "/xrpc/com.example.echo"
    scope: Scope = {"type": "http", "method": "GET", "path": path, "headers": []}
    await service().app()({**scope, "query_string": b"a=1&" * 100_000}, receive, send)
    assert sent[0]["status"] == 414
    assert orjson.loads(sent[1]["body"])["error"] == "UriTooLong"


def test_more_parameters_than_any_method_takes_are_refused(http: httpx.Client) -> None:
    assert_error(http.get("/xrpc/com.example.echo?" + "a=1&" * 300), 400, "InvalidRequest")


@pytest.mark.parametrize("start", ["com.example.echo?text=", "com.example.", "com.example.q?"])
def test_a_url_that_is_too_long_is_refused_wherever_it_points(url: str, start: str) -> None:
    heard = raw.get(url, f"/xrpc/{start}".encode() + b"x" * 40_000)
    assert (heard.status, heard.json["error"]) == (414, "UriTooLong")


def test_a_long_unknown_name_is_not_repeated_whole(url: str) -> None:
    heard = raw.get(url, b"/xrpc/" + b"x" * 20_000)
    assert heard.status == 501
    assert len(heard.body) < 1_000


def test_a_query_ignores_a_body(url: str) -> None:
    heard = raw.exchange(
        url,
        b"GET /xrpc/com.example.echo HTTP/1.1\r\nHost: t\r\nContent-Length: 5\r\n\r\nhello",
    )
    assert heard.status == 200


def test_input_is_validated_and_every_problem_named(http: httpx.Client) -> None:
    answer = http.post(STORE, json={"name": "x" * 30})
    assert_error(answer, 400, "InvalidRequest")
    assert "name" in answer.json()["message"]
    assert "record" in answer.json()["message"]


@pytest.mark.parametrize("text", [b"{", b"nope", b"\xff\xfe", b"NaN", b'{"name": "\\ud800"}'])
def test_input_that_is_no_json_is_an_invalid_request(http: httpx.Client, text: bytes) -> None:
    answer = http.post(STORE, content=text, headers={"content-type": "application/json"})
    assert_error(answer, 400, "InvalidRequest")


@pytest.mark.parametrize("levels", [100, 200, 1_500])
def test_input_nested_too_deep_is_an_invalid_request(http: httpx.Client, levels: int) -> None:
    text = b'{"name":"a","record":' + b'{"a":' * levels + b"1" + b"}" * levels + b"}"
    answer = http.post(STORE, content=text, headers={"content-type": "application/json"})
    assert_error(answer, 400, "InvalidRequest")


def test_input_nested_100_000_levels_is_an_invalid_request() -> None:
    text = b'{"name":"a","record":' + b"[" * 100_000 + b"]" * 100_000 + b"}"
    with serve_app(service().app()) as url:
        headers = {"content-type": "application/json"}
        answer = httpx.post(f"{url}{STORE}", content=text, headers=headers)
        assert_error(answer, 400, "InvalidRequest")
        assert httpx.post(f"{url}{STORE}", json=GOOD).status_code == 200


def test_a_missing_input_is_an_invalid_request(http: httpx.Client) -> None:
    assert_error(http.post(STORE), 400, "InvalidRequest")
    empty = http.post(STORE, content=b"", headers={"content-type": "application/json"})
    assert_error(empty, 400, "InvalidRequest")


def test_an_input_that_nobody_declared_is_an_invalid_request(http: httpx.Client) -> None:
    assert_error(http.post("/xrpc/com.example.poke", json={}), 400, "InvalidRequest")


@pytest.mark.parametrize(
    "kind",
    [
        "text/plain",
        "application/x-www-form-urlencoded",
        "application/jsonx",
        "json",
        "application/json; charset=latin-1",
        "*/*",
    ],
)
def test_a_wrong_content_type_is_an_unsupported_encoding(http: httpx.Client, kind: str) -> None:
    text = orjson.dumps(GOOD)
    answer = http.post(STORE, content=text, headers={"content-type": kind})
    assert_error(answer, 415, "UnsupportedMediaType")


@pytest.mark.parametrize(
    "kind", ["application/json", "Application/JSON", 'application/json; charset="UTF-8"']
)
def test_a_content_type_is_read_like_everywhere(http: httpx.Client, kind: str) -> None:
    text = orjson.dumps(GOOD)
    assert http.post(STORE, content=text, headers={"content-type": kind}).status_code == 200


def test_a_body_without_a_content_type_is_an_unsupported_encoding(http: httpx.Client) -> None:
    answer = http.post(STORE, content=orjson.dumps(GOOD))
    assert_error(answer, 415, "UnsupportedMediaType")


def test_a_compressed_body_is_an_unsupported_encoding(http: httpx.Client) -> None:
    headers = {"content-type": "application/json", "content-encoding": "gzip"}
    answer = http.post(STORE, content=b"\x1f\x8b", headers=headers)
    assert_error(answer, 415, "UnsupportedMediaType")


def test_an_encoding_with_a_wildcard_takes_its_kind_and_no_other(http: httpx.Client) -> None:
    path = "/xrpc/com.example.upload"
    good = http.post(path, content=b"\x89PNG", headers={"content-type": "image/png"})
    assert good.json() == {"size": 4}
    bad = http.post(path, content=b"\x89PNG", headers={"content-type": "video/mp4"})
    assert_error(bad, 415, "UnsupportedMediaType")


def test_a_body_that_declares_too_much_is_refused_before_it_is_sent(url: str) -> None:
    head = raw.post_head(STORE, Content_Type="application/json", Content_Length="10001")
    heard = raw.exchange(url, head)
    assert (heard.status, heard.json["error"]) == (413, "PayloadTooLarge")
    assert heard.headers["connection"] == "close"


def test_a_content_length_of_absurd_size_is_too_large(url: str) -> None:
    head = raw.post_head(STORE, Content_Type="application/json", Content_Length="9" * 18)
    assert raw.exchange(url, head).status == 413


def test_a_body_of_unknown_length_is_refused_once_it_is_too_large(url: str) -> None:
    head = raw.post_head(STORE, Content_Type="application/json", Transfer_Encoding="chunked")
    heard = raw.exchange(url, head, *[b"400\r\n" + b"x" * 1024 + b"\r\n"] * 50)
    assert (heard.status, heard.json["error"]) == (413, "PayloadTooLarge")


def test_a_client_that_sends_50_mb_gets_the_refusal_and_the_server_goes_on(
    http: httpx.Client,
) -> None:
    def much() -> Iterator[bytes]:
        for _ in range(50):
            yield b"x" * 1_000_000

    answer = http.post(STORE, content=much(), headers={"content-type": "application/json"})
    assert_error(answer, 413, "PayloadTooLarge")
    assert http.post(STORE, json=GOOD).status_code == 200


def test_a_body_that_does_not_arrive_is_a_request_timeout(url: str) -> None:
    head = raw.post_head(STORE, Content_Type="application/json", Content_Length="100")
    started = time.monotonic()
    heard = raw.exchange(url, head, b'{"name":')
    assert time.monotonic() - started < 5
    assert (heard.status, heard.json["error"]) == (408, "RequestTimeout")
    assert heard.headers["connection"] == "close"


def test_a_client_that_leaves_in_the_middle_is_no_error(
    url: str, http: httpx.Client, caplog: pytest.LogCaptureFixture
) -> None:
    head = raw.post_head(STORE, Content_Type="application/json", Content_Length="100")
    with caplog.at_level("DEBUG", logger="atdex_xrpc"):
        with raw.connect(url) as connection:
            connection.sendall(head + b'{"name":')
        deadline = time.monotonic() + 5
        while "the client left" not in caplog.text:
            assert time.monotonic() < deadline, "the server did not notice"
            time.sleep(0.01)
        assert http.post(STORE, json=GOOD).status_code == 200
    assert not [record for record in caplog.records if record.levelname == "ERROR"]
