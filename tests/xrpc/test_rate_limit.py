"""How much each caller may ask for, and who a caller is."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import httpx
import pytest
from starlette.types import ASGIApp, Receive, Scope, Send

from atdex_xrpc import Callers, Client, RateLimit, RateLimitExceeded, Server
from atdex_xrpc.callers import MAX_PROXIES, UNKNOWN, bucket
from atdex_xrpc.rate_limit import SHARED_ADDRESS, Windows
from tests.support.http import serve_app
from tests.xrpc.documents import catalog, echo, fail, store
from tests.xrpc.test_server_routing import assert_error

ECHO = "/xrpc/com.example.echo"


class From:
    """An application whose every request seems to come from `peer`."""

    def __init__(self, app: ASGIApp, peer: str) -> None:
        self.app = app
        self.peer = peer

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            scope = {**scope, "client": (self.peer, 1234)}
        await self.app(scope, receive, send)


@contextmanager
def serving(
    points: int, *, proxies: int = 0, peer: str = "203.0.113.1", **more: Any
) -> Iterator[httpx.Client]:
    callers = Callers(proxies)
    rate = RateLimit(points, 300, callers=callers, **more)
    server = Server(catalog(), rate=rate, callers=callers)
    server.method("com.example.echo", echo)
    server.method("com.example.fail", fail, cost=2)
    server.method("com.example.store", store, cost=lambda request: len(request.input["name"]))
    with (
        serve_app(From(server.app(), peer)) as url,
        httpx.Client(base_url=url, trust_env=False) as http,
    ):
        yield http


def left(answer: httpx.Response) -> int:
    return int(answer.headers["ratelimit-remaining"])


def test_every_answer_says_what_is_left_and_one_too_many_is_429() -> None:
    with serving(3) as http:
        before = time.time()
        answer = http.get(ECHO)
        assert answer.status_code == 200
        assert answer.headers["ratelimit-limit"] == "3"
        assert answer.headers["ratelimit-policy"] == "3;w=300"
        assert before + 299 <= int(answer.headers["ratelimit-reset"]) <= time.time() + 302
        assert [left(answer), left(http.get(ECHO)), left(http.get(ECHO))] == [2, 1, 0]
        refused = http.get(ECHO)
        assert_error(refused, 429, "RateLimitExceeded")
        assert left(refused) == 0
        assert 200 < int(refused.headers["retry-after"]) <= 300


def test_our_client_is_told_when_to_come_again() -> None:
    with serving(1) as http, Client(str(http.base_url)) as client:
        client.query("com.example.echo")
        with pytest.raises(RateLimitExceeded) as refused:
            client.query("com.example.echo")
        assert refused.value.retry_after is not None
        assert 200 < refused.value.retry_after <= 300


def test_a_failing_request_costs_as_much_and_says_what_is_left() -> None:
    with serving(10) as http:
        answer = http.get("/xrpc/com.example.fail?how=missing")
        assert_error(answer, 404, "ThingNotFound")
        assert left(answer) == 8


def test_a_cost_may_depend_on_what_is_asked_for() -> None:
    with serving(10) as http:
        body = {"name": "abcd", "record": {}}
        assert left(http.post("/xrpc/com.example.store", json=body)) == 6


def test_what_is_refused_before_the_limit_costs_nothing() -> None:
    with serving(2) as http:
        assert http.get(f"{ECHO}?limit=0").status_code == 400
        assert http.post("/xrpc/com.example.store", json={}).status_code == 400
        assert http.options(ECHO).status_code == 204
        assert left(http.get(ECHO)) == 1


def test_a_refused_request_costs_nothing() -> None:
    with serving(3) as http:
        assert left(http.get("/xrpc/com.example.fail?how=fine")) == 1
        assert http.get("/xrpc/com.example.fail?how=fine").status_code == 429
        assert left(http.get(ECHO)) == 0


def test_a_process_of_the_same_machine_is_not_limited() -> None:
    with serving(1, peer="127.0.0.1") as http:
        for _ in range(3):
            answer = http.get(ECHO)
            assert answer.status_code == 200
            assert "ratelimit-limit" not in answer.headers


def test_callers_of_a_proxy_that_nobody_told_of_count_as_one(
    caplog: pytest.LogCaptureFixture,
) -> None:
    with caplog.at_level(logging.WARNING), serving(2, peer="127.0.0.1") as http:
        for address in ("6.6.6.1", "6.6.6.2"):
            assert http.get(ECHO, headers={"x-forwarded-for": address}).status_code == 200
        assert http.get(ECHO, headers={"x-forwarded-for": "6.6.6.3"}).status_code == 429
    assert [r.getMessage() for r in caplog.records if "proxy" in r.getMessage()]


def test_what_a_caller_writes_before_the_proxies_entries_changes_nothing() -> None:
    with serving(2, proxies=1, peer="127.0.0.1") as http:
        for forged in ("1.1.1.1", "2.2.2.2, 3.3.3.3"):
            told = {"x-forwarded-for": f"{forged}, 203.0.113.9"}
            assert http.get(ECHO, headers=told).status_code == 200
        told = {"x-forwarded-for": "4.4.4.4, 203.0.113.9"}
        assert http.get(ECHO, headers=told).status_code == 429
        told = {"x-forwarded-for": "203.0.113.9, 203.0.113.10"}
        assert http.get(ECHO, headers=told).status_code == 200


def scope(peer: str | None, *forwarded: str) -> Scope:
    return {
        "type": "http",
        "client": (peer, 1) if peer else None,
        "headers": [(b"x-forwarded-for", value.encode()) for value in forwarded],
    }


@pytest.mark.parametrize(
    ("proxies", "forwarded", "address"),
    [
        (0, ("1.1.1.1",), "10.0.0.1"),
        (1, (), "10.0.0.1"),
        (1, ("1.1.1.1",), "1.1.1.1"),
        (1, ("6.6.6.6, 1.1.1.1",), "1.1.1.1"),
        (1, ("6.6.6.6", "1.1.1.1"), "1.1.1.1"),
        (2, ("6.6.6.6, 1.1.1.1, 10.0.0.2",), "1.1.1.1"),
        (2, ("6.6.6.6, 1.1.1.1", "10.0.0.2"), "1.1.1.1"),
        (2, ("1.1.1.1",), "1.1.1.1"),
        (1, ("1.1.1.1:4711",), "1.1.1.1"),
        (1, ("[2001:db8::1]:4711",), "2001:db8::1"),
        (1, ('"[2001:db8::1]"',), "2001:db8::1"),
        (1, ("2001:db8::1",), "2001:db8::1"),
        (1, ("fe80::1%eth0",), "fe80::1"),
        (1, ("unknown",), None),
        (1, ("",), "10.0.0.1"),
        (1, ("1.1.1.1,",), None),
        (1, ("1.1.1.1\x00",), None),
        (1, (",".join(["6.6.6.6"] * 5000 + ["1.1.1.1"]),), "1.1.1.1"),
    ],
)
def test_the_address_is_read_from_the_right(
    proxies: int, forwarded: tuple[str, ...], address: str | None
) -> None:
    assert Callers(proxies).address(scope("10.0.0.1", *forwarded)) == address


def test_a_server_that_does_not_know_its_peer_counts_all_as_one() -> None:
    assert Callers().address(scope(None)) is None
    assert not Callers().is_local(scope(None))
    assert bucket(None) == UNKNOWN
    assert bucket("nonsense") == UNKNOWN


def test_a_caller_of_ipv6_is_a_subscriber_and_not_an_address() -> None:
    assert bucket("2001:db8:1:2::1") == bucket("2001:db8:1:2:ffff::9")
    assert bucket("2001:db8:1:2::1") != bucket("2001:db8:1:3::1")
    assert bucket("::ffff:192.0.2.1") == bucket("192.0.2.1")
    assert bucket("192.0.2.1") != bucket("192.0.2.2")


def test_more_proxies_than_anybody_has_are_refused() -> None:
    for wrong in (-1, MAX_PROXIES + 1):
        with pytest.raises(ValueError, match="proxies"):
            Callers(wrong)


class Clock:
    now = 1000.0

    def __call__(self) -> float:
        return self.now


def test_a_window_ends_and_the_next_is_full() -> None:
    clock = Clock()
    windows = Windows(3, 60, clock=clock)
    assert windows.take("a", 1).remaining == 2
    clock.now += 5
    assert windows.take("a", 2).remaining == 0
    with pytest.raises(RateLimitExceeded) as refused:
        windows.take("a", 1)
    assert refused.value.retry_after == 55
    assert windows.take("b", 1).remaining == 2
    clock.now += 55
    assert windows.take("a", 1).remaining == 2


def test_what_costs_more_than_a_window_costs_a_whole_one() -> None:
    windows = Windows(3, 60, clock=Clock())
    assert windows.take("a", 100).remaining == 0


def test_memory_is_bounded_and_who_asked_last_is_remembered() -> None:
    windows = Windows(5, 60, max_callers=10, clock=Clock())
    windows.take("steady", 1)
    for number in range(1000):
        windows.take(str(number), 1)
        if number % 5 == 0 and number < 16:
            windows.take("steady", 1)
    assert len(windows) == 10
    windows = Windows(5, 60, max_callers=10, clock=Clock())
    for number in range(5):
        windows.take("steady", 1)
        windows.take(f"other {number}", 1)
    with pytest.raises(RateLimitExceeded):
        windows.take("steady", 1)


def test_accounts_behind_one_address_have_limits_of_their_own_and_one_together() -> None:
    rate = RateLimit(2, 60, callers=Callers(), clock=Clock())
    here = scope("203.0.113.1")
    for number in range(SHARED_ADDRESS):
        rate.take(here, 2, viewer=f"did:plc:{number}")
    with pytest.raises(RateLimitExceeded):
        rate.take(here, 1, viewer="did:plc:0")
    with pytest.raises(RateLimitExceeded):
        rate.take(here, 1, viewer="did:plc:new")
    rate.take(scope("203.0.113.2"), 1, viewer="did:plc:other")
    assert rate.take(here, 1)["ratelimit-remaining"] == "1"
    assert rate.refused == 2


@pytest.mark.parametrize(("points", "seconds"), [(0, 60), (1, 0), (-1, 60)])
def test_a_limit_of_nothing_is_refused(points: int, seconds: int) -> None:
    with pytest.raises(ValueError, match="limit"):
        Windows(points, seconds)
