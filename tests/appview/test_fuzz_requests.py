"""A short run of the request fuzzer, with the same requests each time, and what it is to see."""

from __future__ import annotations

from email.message import Message
from http.client import HTTPResponse
from typing import Any, cast

import pytest

from tests.appview.fuzz_requests import Ask, check, run

REQUESTS = 600
"""Of some 30 a method: half a minute on a slow machine with other work. By hand it is 20,000."""


@pytest.mark.timeout(180)
def test_no_request_made_from_the_documents_gets_what_no_answer_may_be() -> None:
    sender = run(REQUESTS, number=1)
    assert sender.sent >= REQUESTS
    answered = {place for place, status in sender.statuses if status == 200}
    assert len(answered) > 20, "too few requests were good ones to mean anything"


class _Response:
    def __init__(self, status: int, kind: str = "application/json") -> None:
        self.status = status
        self.headers = Message()
        self.headers["content-type"] = kind
        self.headers["x-content-type-options"] = "nosniff"


LIST = Ask("GET", "/xrpc/app.bsky.atdata.listDatasets", nsid="app.bsky.atdata.listDatasets")


@pytest.mark.parametrize(
    ("status", "body", "kind"),
    [
        (500, b'{"error":"InternalServerError","message":"x"}', "application/json"),
        (503, b'{"error":"NodeUnavailable","message":"x"}', "application/json"),
        (422, b'{"detail":"x"}', "application/json"),
        (400, b'{"error":"InvalidRequest","message":"x","trace":"y"}', "application/json"),
        (400, b'{"error":"NoSuchName","message":"x"}', "application/json"),
        (400, b'{"error":"InvalidRequest","message":"' + b"x" * 5_000 + b'"}', "application/json"),
        (200, b'{"datasets":[{}]}', "application/json"),
        (200, b'{"datasets":[],"cursor":null}', "application/json"),
        (200, b"<html>", "text/html"),
    ],
)
def test_the_fuzzer_sees_each_kind_of_wrong_answer(status: int, body: bytes, kind: str) -> None:
    response: Any = cast(HTTPResponse, _Response(status, kind))
    with pytest.raises((AssertionError, ValueError)):
        check(LIST, response, body)


def test_the_fuzzer_lets_right_answers_pass() -> None:
    good: Any = _Response(200)
    check(LIST, good, b'{"datasets":[]}')
    refusal: Any = _Response(400)
    check(LIST, refusal, b'{"error":"InvalidRequest","message":"x"}')
