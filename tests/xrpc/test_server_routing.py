"""Which path and HTTP method lead where, and the shape of every answer that is no success."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any

import httpx
import pytest
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request as HttpRequest
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Mount, Route

from atdex_xrpc import NodeUnavailable, RegistrationError, Server, routes
from tests.support.http import serve_app
from tests.xrpc.documents import catalog, echo, service

EXPOSED = (
    "RateLimit-Limit, RateLimit-Remaining, RateLimit-Reset, RateLimit-Policy, Retry-After, ETag"
)


def assert_error(answer: httpx.Response, status: int, error: str) -> None:
    """The one error shape: status, JSON, exactly `error` and `message`, readable from a browser."""
    assert answer.status_code == status, answer.text
    assert answer.headers["content-type"] == "application/json"
    assert answer.headers["access-control-allow-origin"] == "*"
    assert answer.headers["access-control-expose-headers"] == EXPOSED
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert answer.headers["cache-control"] == "no-store"
    body = answer.json()
    assert set(body) == {"error", "message"}
    assert body["error"] == error
    assert isinstance(body["message"], str)
    assert body["message"]


def test_a_query_is_answered_to_get(http: httpx.Client) -> None:
    answer = http.get("/xrpc/com.example.echo?text=hello")
    assert answer.status_code == 200
    assert answer.json() == {"params": {"text": "hello", "limit": 25}}
    assert answer.headers["content-type"] == "application/json"
    assert answer.headers["content-length"] == str(len(answer.content))


def test_head_is_answered_like_get_without_the_body(http: httpx.Client) -> None:
    got = http.get("/xrpc/com.example.echo?text=hello")
    head = http.head("/xrpc/com.example.echo?text=hello")
    assert head.status_code == 200
    assert head.content == b""
    for name in ("content-length", "content-type", "access-control-allow-origin"):
        assert head.headers[name] == got.headers[name]


def test_head_of_an_error_has_its_status_and_no_body(http: httpx.Client) -> None:
    answer = http.head("/xrpc/com.example.fail?how=missing")
    assert (answer.status_code, answer.content) == (404, b"")


def test_a_procedure_is_answered_to_post(http: httpx.Client) -> None:
    answer = http.post("/xrpc/com.example.store?dry=true", json={"name": "a", "record": {}})
    assert answer.status_code == 200
    assert answer.json() == {"name": "a", "dry": True}


def test_a_procedure_without_output_answers_an_empty_body(http: httpx.Client) -> None:
    answer = http.post("/xrpc/com.example.poke")
    assert (answer.status_code, answer.content) == (200, b"")
    assert "content-type" not in answer.headers


def test_bytes_are_answered_in_the_declared_encoding(http: httpx.Client) -> None:
    answer = http.get("/xrpc/com.example.bytes")
    assert answer.headers["content-type"] == "application/vnd.ipld.car"
    assert len(answer.content) == 1000


@pytest.mark.parametrize(
    ("verb", "nsid", "allow"),
    [
        ("POST", "com.example.echo", "GET, HEAD, OPTIONS"),
        ("DELETE", "com.example.echo", "GET, HEAD, OPTIONS"),
        ("GET", "com.example.store", "POST, OPTIONS"),
        ("PUT", "com.example.store", "POST, OPTIONS"),
    ],
)
def test_the_wrong_http_method_is_an_invalid_request(
    http: httpx.Client, verb: str, nsid: str, allow: str
) -> None:
    answer = http.request(verb, f"/xrpc/{nsid}")
    assert_error(answer, 400, "InvalidRequest")
    assert answer.headers["allow"] == allow


@pytest.mark.parametrize("verb", ["GET", "POST", "DELETE"])
@pytest.mark.parametrize(
    "nsid", ["com.example.unknown", "com.example.idle", "com.example.stream", "nonsense", "%00"]
)
def test_a_method_that_is_unknown_or_has_no_handler_is_not_implemented(
    http: httpx.Client, verb: str, nsid: str
) -> None:
    answer = http.request(verb, f"/xrpc/{nsid}")
    assert_error(answer, 501, "MethodNotImplemented")


@pytest.mark.parametrize(
    "path",
    ["/", "/nope", "/xrpc", "/xrpc/", "/xrpc/com.example.echo/", "/xrpc/a/b", "/xrpc/_health"],
)
@pytest.mark.parametrize("verb", ["GET", "POST", "OPTIONS"])
def test_an_unknown_path_is_not_found(http: httpx.Client, verb: str, path: str) -> None:
    assert_error(http.request(verb, path), 404, "NotFound")


@pytest.mark.parametrize(
    ("how", "status", "error"),
    [
        ("missing", 404, "ThingNotFound"),
        ("cursor", 400, "InvalidRequest"),
        ("limit", 429, "RateLimitExceeded"),
        ("down", 503, "NodeUnavailable"),
        ("bug", 500, "InternalServerError"),
    ],
)
def test_what_a_handler_raises_is_answered_in_the_error_shape(
    http: httpx.Client, how: str, status: int, error: str
) -> None:
    assert_error(http.get(f"/xrpc/com.example.fail?how={how}"), status, error)


def test_a_bug_hides_its_detail_from_the_caller_and_shows_it_in_the_log(
    http: httpx.Client, caplog: pytest.LogCaptureFixture
) -> None:
    answer = http.get("/xrpc/com.example.fail?how=bug")
    assert "swordfish" not in answer.text
    assert "ZeroDivisionError" not in answer.text
    # The traceback is the ASGI server's to log, once the answer is out.
    deadline = time.monotonic() + 5
    while "swordfish" not in caplog.text:
        assert time.monotonic() < deadline, caplog.text
        time.sleep(0.01)
    assert "/xrpc/com.example.fail failed" in caplog.text


def test_a_rate_limit_says_when_to_come_back(http: httpx.Client) -> None:
    assert http.get("/xrpc/com.example.fail?how=limit").headers["retry-after"] == "7"


def test_a_preflight_allows_every_origin_and_the_headers_asked_for(http: httpx.Client) -> None:
    answer = http.options(
        "/xrpc/com.example.store",
        headers={
            "origin": "https://app.example",
            "access-control-request-method": "POST",
            "access-control-request-headers": "authorization, content-type",
        },
    )
    assert answer.status_code == 204
    assert answer.content == b""
    assert answer.headers["access-control-allow-origin"] == "*"
    assert answer.headers["access-control-allow-methods"] == "POST, OPTIONS"
    assert answer.headers["access-control-allow-headers"] == "authorization, content-type"
    assert answer.headers["access-control-max-age"] == "86400"


def test_every_success_can_be_read_from_a_browser_and_is_no_page(http: httpx.Client) -> None:
    headers = http.get("/xrpc/com.example.echo").headers
    assert headers["access-control-allow-origin"] == "*"
    assert headers["access-control-expose-headers"] == EXPOSED
    assert headers["x-content-type-options"] == "nosniff"
    assert headers["content-security-policy"].startswith("default-src 'none'")


def test_requests_are_logged_at_debug_only(
    http: httpx.Client, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level("INFO", logger="atdex_xrpc"):
        http.get("/xrpc/com.example.echo")
    assert not [r for r in caplog.records if r.name.startswith("atdex_xrpc")]
    with caplog.at_level("DEBUG", logger="atdex_xrpc"):
        http.get("/xrpc/com.example.echo?text=secret-words")
    assert "GET /xrpc/com.example.echo 200" in caplog.text
    assert "secret-words" not in caplog.text.split("HTTP Request")[0]


def healthy(value: Mapping[str, Any]) -> Server:
    async def health() -> Mapping[str, Any]:
        return value

    return service(health=health)


def test_health_is_what_the_callable_says() -> None:
    with serve_app(healthy({"ok": True, "version": "1"}).app()) as url:
        answer = httpx.get(f"{url}/xrpc/_health")
        assert (answer.status_code, answer.json()) == (200, {"ok": True, "version": "1"})
        assert answer.headers["cache-control"] == "no-store"
        assert_error(httpx.post(f"{url}/xrpc/_health"), 405, "MethodNotAllowed")
        assert httpx.post(f"{url}/xrpc/_health").headers["allow"] == "GET, HEAD, OPTIONS"
        assert httpx.options(f"{url}/xrpc/_health").status_code == 204
        assert httpx.head(f"{url}/xrpc/_health").status_code == 200


def test_health_that_is_not_ok_answers_503_and_keeps_its_detail() -> None:
    with serve_app(healthy({"ok": False, "store": "down"}).app()) as url:
        answer = httpx.get(f"{url}/xrpc/_health")
    assert (answer.status_code, answer.json()) == (503, {"ok": False, "store": "down"})


def test_health_that_raises_node_unavailable_answers_503() -> None:
    async def health() -> Mapping[str, Any]:
        raise NodeUnavailable("the store does not answer", retry_after=2)

    with serve_app(service(health=health).app()) as url:
        answer = httpx.get(f"{url}/xrpc/_health")
    assert_error(answer, 503, "NodeUnavailable")
    assert answer.headers["retry-after"] == "2"


def test_health_that_hangs_answers_503(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(routes, "HEALTH_SECONDS", 0.05)

    async def health() -> Mapping[str, Any]:
        await asyncio.Event().wait()
        return {}

    with serve_app(service(health=health).app()) as url:
        assert_error(httpx.get(f"{url}/xrpc/_health"), 503, "NodeUnavailable")


def test_the_did_document_is_served_as_given() -> None:
    document = {"id": "did:web:node.example", "service": []}
    with serve_app(service(did_document=document).app()) as url:
        answer = httpx.get(f"{url}/.well-known/did.json")
        assert (answer.status_code, answer.json()) == (200, document)
        assert_error(httpx.put(f"{url}/.well-known/did.json"), 405, "MethodNotAllowed")


def test_the_server_runs_below_a_path_of_another_application() -> None:
    outer = Starlette(routes=[Mount("/node", service().app())])
    with serve_app(outer) as url:
        assert httpx.get(f"{url}/node/xrpc/com.example.echo").status_code == 200
        assert_error(httpx.get(f"{url}/node/xrpc/com.example.idle"), 501, "MethodNotImplemented")


def test_a_route_that_was_added_by_hand_refuses_in_the_same_shape() -> None:
    async def page(request: HttpRequest) -> Response:
        if request.query_params:
            raise HTTPException(413, "too much", {"x-thing": "1"})
        return PlainTextResponse("a page")

    app = service().app()
    app.router.routes.append(Route("/page", page, methods=["GET"]))
    with serve_app(app) as url:
        assert httpx.get(f"{url}/page").text == "a page"
        assert_error(httpx.post(f"{url}/page"), 405, "MethodNotAllowed")
        answer = httpx.get(f"{url}/page?a=1")
        assert_error(answer, 413, "PayloadTooLarge")
        assert answer.headers["x-thing"] == "1"
        assert_error(httpx.get(f"{url}/pages"), 404, "NotFound")


def test_the_server_itself_is_an_application_and_runs_its_lifespan() -> None:
    seen: list[str] = []

    @asynccontextmanager
    async def lifespan(app: Starlette) -> AsyncIterator[None]:
        seen.append("up")
        yield
        seen.append("down")

    with serve_app(service(lifespan=lifespan)) as url:
        assert seen == ["up"]
        assert httpx.get(f"{url}/xrpc/com.example.echo").status_code == 200
    assert seen == ["up", "down"]


@pytest.mark.parametrize(
    ("nsid", "reason"),
    [
        ("com.example.unknown", "no document"),
        ("com.example.stream", "a subscription has no request and answer"),
        ("com.example.any", "no definite encoding"),
        ("com.example.echo", "has a handler already"),
    ],
)
def test_a_handler_that_does_not_fit_the_catalog_is_refused(nsid: str, reason: str) -> None:
    server = Server(catalog()).method("com.example.echo", echo)
    with pytest.raises(RegistrationError, match=reason):
        server.method(nsid, echo)


def test_a_handler_that_comes_too_late_is_refused() -> None:
    server = Server(catalog())
    server.app()
    with pytest.raises(RegistrationError, match="built already"):
        server.method("com.example.echo", echo)


def test_the_served_methods_are_listed() -> None:
    assert "com.example.store" in service().served
    assert "com.example.idle" not in service().served
    assert service(did_document={}).served == service().served
