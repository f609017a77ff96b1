"""Answers that a caller has already."""

from __future__ import annotations

from collections.abc import Iterator

import httpx
import pytest

from atdex_xrpc import RegistrationError, Server
from tests.support.http import serve_app
from tests.xrpc.documents import catalog, echo, store

ECHO = "/xrpc/com.example.echo"


@pytest.fixture(scope="module")
def http() -> Iterator[httpx.Client]:
    server = Server(catalog()).method("com.example.echo", echo, revalidate=True)
    with serve_app(server.app()) as url, httpx.Client(base_url=url, trust_env=False) as client:
        yield client


def asked(http: httpx.Client, tag: str, text: str = "a") -> httpx.Response:
    return http.get(f"{ECHO}?text={text}", headers={"if-none-match": tag})


def test_the_same_answer_has_the_same_tag_and_another_one_another(http: httpx.Client) -> None:
    one, again, other = (http.get(f"{ECHO}?text={text}") for text in "aab")
    assert one.headers["etag"] == again.headers["etag"] != other.headers["etag"]
    assert one.headers["etag"].startswith('"')
    assert one.headers["cache-control"] == "public, no-cache"


@pytest.mark.parametrize("form", ["{}", "W/{}", '"x", {}', '"x",W/{},"y"', "*"])
def test_who_has_the_answer_is_told_so_without_a_body(http: httpx.Client, form: str) -> None:
    tag = http.get(f"{ECHO}?text=a").headers["etag"]
    answer = asked(http, form.format(tag))
    assert (answer.status_code, answer.content) == (304, b"")
    assert answer.headers["etag"] == tag
    assert answer.headers["cache-control"] == "public, no-cache"
    assert answer.headers["access-control-allow-origin"] == "*"
    assert "content-type" not in answer.headers
    # The connection is good for the next request: nothing was said of a body's length.
    assert http.get(f"{ECHO}?text=b").json()["params"]["text"] == "b"


@pytest.mark.parametrize("tag", ['"x"', "", "x", '"', "W/", '"' * 5000, "a," * 5000])
def test_any_other_tag_gets_the_answer(http: httpx.Client, tag: str) -> None:
    assert asked(http, tag).json()["params"]["text"] == "a"


def test_the_tag_of_one_answer_is_no_word_about_another(http: httpx.Client) -> None:
    tag = http.get(f"{ECHO}?text=a").headers["etag"]
    assert asked(http, tag, "b").status_code == 200


def test_head_is_answered_like_get(http: httpx.Client) -> None:
    tag = http.head(f"{ECHO}?text=a").headers["etag"]
    answer = http.head(f"{ECHO}?text=a", headers={"if-none-match": tag})
    assert answer.status_code == 304


def test_an_error_has_no_tag(http: httpx.Client) -> None:
    answer = http.get(f"{ECHO}?limit=0", headers={"if-none-match": "*"})
    assert answer.status_code == 400
    assert "etag" not in answer.headers


def test_an_answer_that_nobody_may_keep_has_no_tag() -> None:
    with pytest.raises(RegistrationError):
        Server(catalog()).method("com.example.store", store, revalidate=True)
