"""Peers that stall, are gone or answer nonsense cost their own hits and no more."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from threading import Event

import pytest

from atdex_appview.federation import breaker as breaking
from atdex_appview.federation.breaker import Breaker
from atdex_appview.federation.peers import Peers
from atdex_appview.federation.repos import RepoReader
from atdex_appview.federation.search import Federation
from atdex_xrpc.fusion import ANSWER_BYTES
from tests.appview.federation.nodes import (
    METHOD,
    ORIGIN,
    PATIENT,
    Nodes,
    found,
    same,
    saying,
    statuses,
    view_of,
)
from tests.appview.index import (
    ALICE,
    BOB,
    CATALOG,
    error_of,
)
from tests.appview.records import rev
from tests.sdk.scripted import Answer, Exchange, scripted


def wait_for(ended: Event) -> Answer:
    """Takes the request and never answers."""

    def stall(exchange: Exchange) -> None:
        ended.wait(60)
        exchange.close_connection = True

    return stall


def drip(ended: Event) -> Answer:
    """An answer that comes byte by byte, for ever."""

    def send(exchange: Exchange) -> None:
        exchange.close_connection = True
        exchange.send_response(200)
        exchange.send_header("Content-Type", "application/json")
        exchange.end_headers()
        try:
            while not ended.wait(0.05):
                exchange.wfile.write(b" ")
                exchange.wfile.flush()
        except OSError:
            pass  # whoever asked has left

    return send


@contextmanager
def released() -> Iterator[Event]:
    ended = Event()
    try:
        yield ended
    finally:
        ended.set()


@pytest.mark.parametrize("stalling", [wait_for, drip])
def test_a_peer_that_stalls_is_a_timeout_and_the_others_answer(
    nodes: Nodes, stalling: Callable[[Event], Answer]
) -> None:
    same("eye mine", rev(1), ALICE, nodes.mine)
    other = nodes.index("other")
    nodes.repos.add(same("eye other", rev(2), BOB, other))
    with released() as ended:
        node = nodes.federated(nodes.peer(stalling(ended)), nodes.serve(other).url, seconds=3.0)
        started = time.monotonic()
        answer = node.ask(METHOD, q="eye", federate="true")
        assert time.monotonic() - started < PATIENT
    assert sorted(found(answer)) == ["eye mine", "eye other"]
    assert (statuses(answer), answer["partial"]) == (["ok", "timeout", "ok"], True)
    assert "within 3 s" in answer["nodes"][1]["message"]


def test_a_peer_that_is_gone_is_an_error_and_the_others_answer(nodes: Nodes) -> None:
    same("eye mine", rev(1), ALICE, nodes.mine)
    with scripted(saying([])) as server:
        url = server.url.removesuffix("/s.tar")
    answer = nodes.federated(url).ask(METHOD, q="eye", federate="true")
    assert (found(answer), statuses(answer)) == (["eye mine"], ["ok", "error"])
    assert answer["partial"] is True


def _raw(status: int, body: bytes, **headers: str) -> Answer:
    return lambda exchange: exchange.reply(
        status, body, **({"Content_Type": "application/json"} | headers)
    )


CORRUPT: dict[str, Answer] = {
    "no JSON": _raw(200, b'{"datasets": ['),
    "nothing": _raw(200, b""),
    "not UTF-8": _raw(200, b'{"datasets": [], "hitsTotal": 0, "x": "\xff"}'),
    "no object": _raw(200, b"[]"),
    "null": _raw(200, b"null"),
    "no datasets": _raw(200, b'{"hitsTotal": 1}'),
    "datasets of another shape": _raw(200, b'{"hitsTotal": 1, "datasets": {"0": 1}}'),
    "a view of another shape": _raw(200, b'{"hitsTotal": 1, "datasets": [{"uri": 1}]}'),
    "a total below zero": _raw(200, b'{"hitsTotal": -1, "datasets": []}'),
    "a total that is a text": _raw(200, b'{"hitsTotal": "1", "datasets": []}'),
    "nesting without end": _raw(200, b'{"datasets": ' + b"[" * 100_000),
    "deep nesting": _raw(
        200, b'{"hitsTotal": 0, "datasets": [], "x": %s}' % (b"[" * 500 + b"]" * 500)
    ),
    "ten megabytes": _raw(200, b'{"hitsTotal": 0, "datasets": []}' + b" " * 10_000_000),
    "ten megabytes of unknown length": lambda exchange: exchange.unsized(200, b" " * 10_000_000),
    "compressed": _raw(200, b"\x1f\x8b", Content_Encoding="gzip"),
    "cut off": lambda exchange: exchange.cut_off(200, b'{"datasets": []}', 9),
    "a redirect": _raw(302, b"", Location="http://127.0.0.1:9/"),
    "an error": _raw(500, b'{"error": "Boom", "message": "<b>x</b>"}'),
    "an error of no shape": _raw(502, b"<html>bad gateway</html>"),
    "no such method": _raw(501, b'{"error": "MethodNotImplemented", "message": ""}'),
    "a page": _raw(404, b"<html>", Content_Type="text/html"),
}


@pytest.mark.parametrize("kind", CORRUPT)
def test_a_corrupt_answer_is_an_error_of_that_peer_alone(nodes: Nodes, kind: str) -> None:
    same("eye mine", rev(1), ALICE, nodes.mine)
    hit = same("eye peer", rev(2), BOB, nodes.index("other"))
    nodes.repos.add(hit)
    node = nodes.federated(nodes.peer(CORRUPT[kind]), nodes.peer(saying([view_of(hit)])))
    answer = node.ask(METHOD, q="eye", federate="true")
    assert sorted(found(answer)) == ["eye mine", "eye peer"]
    assert (statuses(answer), answer["partial"]) == (["ok", "error", "ok"], True)
    assert "<" not in answer["nodes"][1]["message"]


def test_the_bound_of_an_answer_lets_a_full_page_through(nodes: Nodes) -> None:
    puts = [same(f"eye {n}", rev(n), BOB, nodes.mine) for n in range(100)]
    filler = "x" * (ANSWER_BYTES // 100 - 3_000)
    views = [view_of(put, record={"$type": put.collection, "description": filler}) for put in puts]
    answer = nodes.federated(nodes.peer(saying(views))).ask(
        METHOD, q="eye", limit=100, federate="true"
    )
    assert (len(answer["datasets"]), statuses(answer)) == (100, ["ok", "ok"])


def test_a_peer_that_fails_again_and_again_is_left_alone_for_a_while(nodes: Nodes) -> None:
    now = 0.0
    asked = 0

    def failing(exchange: Exchange) -> None:
        nonlocal asked
        asked += 1
        (saying([]) if asked > 4 else _raw(500, b"{}"))(exchange)

    node = nodes.federated(nodes.peer(failing), clock=lambda: now)
    answers = [node.ask(METHOD, federate="true") for _ in range(6)]
    assert [statuses(answer) for answer in answers] == [["ok", "error"]] * 6
    assert asked == breaking.FAILURES
    assert "left alone" in answers[-1]["nodes"][1]["message"]
    now += breaking.FIRST_SECONDS
    assert statuses(node.ask(METHOD, federate="true")) == ["ok", "error"]
    assert statuses(node.ask(METHOD, federate="true")) == ["ok", "error"]
    assert asked == breaking.FAILURES + 1
    now += 2 * breaking.FIRST_SECONDS
    for _ in range(3):
        assert statuses(node.ask(METHOD, federate="true")) == ["ok", "ok"]
    assert asked == breaking.FAILURES + 4


def test_a_peer_that_asks_for_time_gets_it(nodes: Nodes) -> None:
    now = 0.0
    asked = 0

    def limited(exchange: Exchange) -> None:
        nonlocal asked
        asked += 1
        body = b'{"error": "RateLimitExceeded", "message": "later"}'
        (saying([]) if asked > 1 else _raw(429, body, Retry_After="30"))(exchange)

    node = nodes.federated(nodes.peer(limited), clock=lambda: now)
    for _ in range(3):
        assert statuses(node.ask(METHOD, federate="true")) == ["ok", "error"]
    assert asked == 1
    now += 30
    assert statuses(node.ask(METHOD, federate="true")) == ["ok", "ok"]


def test_one_trial_at_a_time_goes_to_a_peer_that_failed() -> None:
    now = 0.0
    breaker = Breaker(lambda: now)
    for _ in range(breaking.FAILURES):
        assert breaker.admits()
        breaker.failed()
    assert not breaker.admits()
    now += breaking.FIRST_SECONDS
    assert breaker.admits()
    assert not breaker.admits()
    breaker.gave_up()
    assert breaker.admits()
    breaker.failed()
    now += breaking.FIRST_SECONDS
    assert not breaker.admits()
    for _ in range(20):
        now += breaking.CAP_SECONDS
        assert breaker.admits()
        breaker.failed()
    now += breaking.CAP_SECONDS
    assert breaker.admits()
    breaker.succeeded()
    assert breaker.admits()
    assert breaker.admits()


def test_a_peer_in_a_private_network_is_refused_unless_that_is_allowed(nodes: Nodes) -> None:
    peers = Peers([nodes.peer(saying([]))], CATALOG)
    federation = Federation(ORIGIN, peers, RepoReader(nodes.repos.fetch, _all, CATALOG))
    with nodes.mine.serve(federation=federation) as node:
        answer = node.ask(METHOD, federate="true")
        assert statuses(answer) == ["ok", "error"]
        assert "must not be connected to" in answer["nodes"][1]["message"]


async def _all(did: str) -> bool:
    return True


def test_more_searches_than_can_be_under_way_are_sent_away(
    nodes: Nodes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("atdex_appview.federation.search.AT_ONCE", 0)
    response = nodes.federated().get(METHOD, federate="true")
    assert error_of(response)[:2] == (503, "NodeUnavailable")
    assert response.headers["retry-after"] == "1"
