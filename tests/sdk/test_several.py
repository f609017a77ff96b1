"""Searching through several nodes at once."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from threading import Event
from typing import Any

import pytest

import atdex
from atdex.cli import run
from atdex.errors import NoAnswer, RecordMismatch
from atdex.hits import SearchResults
from tests.sdk.fake_node import FakeNode, entry, fake_node, key, uri
from tests.sdk.scripted import Answer, Exchange, scripted
from tests.sdk.test_cli import Result

PATIENT = 20.0
"""Seconds for a node that is well: a slow machine must not make it look ill."""
SHARD = {
    "url": "https://example.org/x.tar",
    "checksum": {"algorithm": "sha256", "digest": "0" * 64},
}


@pytest.fixture
def nodes() -> Iterator[Callable[[], FakeNode]]:
    with ExitStack() as stack:
        yield lambda: stack.enter_context(fake_node())


@pytest.fixture
def command(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.delenv("ATDEX_NODE", raising=False)
    monkeypatch.setenv("COLUMNS", "200")

    def call(*arguments: str) -> Result:
        return Result(run(arguments), *capsys.readouterr())

    return call


def put(n: int, *nodes: FakeNode, name: str = "", **fields: Any) -> str:
    at = uri("entry", key(n))
    for node in nodes:
        node.put(at, entry(name or f"set-{n}", [SHARD], **fields))
    return at


def search(*nodes: FakeNode | str, **more: Any) -> SearchResults:
    urls = [node if isinstance(node, str) else node.url for node in nodes]
    params: dict[str, Any] = {"q": "set", "node": urls, "node_timeout": PATIENT}
    return atdex.search(**(params | more))


def test_hits_of_several_nodes_are_merged_by_rank_and_say_who_found_them(
    nodes: Callable[[], FakeNode],
) -> None:
    a, b = nodes(), nodes()
    only_a = put(1, a)
    both = put(2, a, b)
    only_b = put(3, b)
    results = search(a, b)
    assert [hit.uri for hit in results] == [both, only_a, only_b]
    assert [hit.sources for hit in results] == [(a.url, b.url), (a.url,), (b.url,)]
    assert [(node.url, node.status, node.total) for node in results.nodes] == [
        (a.url, "ok", 2),
        (b.url, "ok", 2),
    ]
    assert (results.partial, results.total) == (False, 2)
    scores = [hit.score for hit in results]
    assert scores[0] == pytest.approx(1 / 61 + 1 / 62)
    assert scores[1] == pytest.approx(1 / 61)
    assert len(a.asked) == len(b.asked) == 1


def test_a_limit_is_the_number_of_hits_of_the_merged_page(nodes: Callable[[], FakeNode]) -> None:
    a, b = nodes(), nodes()
    for n in range(30):
        put(n, a)
        put(n + 30, b)
    assert len(list(search(a, b, limit=5))) == 5
    assert len(list(search(a, b, limit=100))) == 60


def test_of_two_versions_the_one_that_more_nodes_show_is_taken(
    nodes: Callable[[], FakeNode],
) -> None:
    a, b, c = nodes(), nodes(), nodes()
    put(1, a, name="set of yesterday")
    put(1, b, c, name="set of today")
    (hit,) = search(a, b, c)
    assert (hit.name, hit.sources) == ("set of today", (b.url, c.url))
    (hit,) = search(a, b)
    assert (hit.name, hit.sources) == ("set of yesterday", (a.url,))


def test_a_record_that_one_node_forged_is_taken_from_the_other(
    nodes: Callable[[], FakeNode],
) -> None:
    a, b = nodes(), nodes()
    at = put(1, a, b)
    a.lies[at] = {"record": entry("forged set", [SHARD])}
    results = search(a, b)
    (hit,) = results
    assert (hit.name, hit.sources) == ("set-1", (b.url,))
    assert [type(error) for error in results.refused] == [RecordMismatch]


def test_words_that_are_only_near_count_where_no_node_has_the_words(
    nodes: Callable[[], FakeNode],
) -> None:
    a, b = nodes(), nodes()
    put(1, a)
    a.fuzzy = True
    results = search(a, b)
    assert (len(list(results)), results.fuzzy) == (1, True)
    at = put(2, b)
    results = search(a, b)
    assert ([hit.uri for hit in results], results.fuzzy) == ([at], False)


def stall(ended: Event) -> Answer:
    def wait(exchange: Exchange) -> None:
        ended.wait(60)
        exchange.close_connection = True

    return wait


def drip(ended: Event) -> Answer:
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


@pytest.mark.parametrize("slow", [stall, drip])
def test_a_node_that_stalls_costs_its_own_hits_alone(
    slow: Callable[[Event], Answer], nodes: Callable[[], FakeNode]
) -> None:
    a = nodes()
    at = put(1, a)
    ended = Event()
    with scripted(slow(ended)) as server:
        started = time.monotonic()
        results = search(server.url.removesuffix("/s.tar"), a, node_timeout=3.0)
        assert [hit.uri for hit in results] == [at]
        assert time.monotonic() - started < PATIENT
        assert [node.status for node in results.nodes] == ["timeout", "ok"]
        assert results.partial
        ended.set()


@pytest.mark.parametrize(
    "body",
    [b"{", b"[]", b'{"hitsTotal": 1}', b'{"hitsTotal": 0, "datasets": []}' + b" " * 10_000_000],
)
def test_a_node_that_answers_nonsense_costs_its_own_hits_alone(
    body: bytes, nodes: Callable[[], FakeNode]
) -> None:
    a = nodes()
    at = put(1, a)
    with scripted(lambda e: e.reply(200, body, Content_Type="application/json")) as server:
        results = search(server.url.removesuffix("/s.tar"), a)
        assert [hit.uri for hit in results] == [at]
        assert [node.status for node in results.nodes] == ["error", "ok"]


def test_without_any_answer_there_is_an_error_that_names_every_node() -> None:
    with pytest.raises(NoAnswer) as caught:
        list(search("http://127.0.0.1:9", "http://127.0.0.1:19"))
    assert "http://127.0.0.1:9:" in str(caught.value)
    assert "http://127.0.0.1:19:" in str(caught.value)


def test_one_node_named_twice_or_in_a_list_is_one_node(nodes: Callable[[], FakeNode]) -> None:
    a = nodes()
    for n in range(130):
        put(n, a)
    results = search(a, a, limit=None)
    assert len(list(results)) == 130
    assert [node.url for node in results.nodes] == [a.url]


def test_a_node_is_told_to_ask_its_peers_and_what_came_of_it_is_shown(
    nodes: Callable[[], FakeNode],
) -> None:
    a = nodes()
    at = put(1, a)
    a.lies[at] = {"sources": ["https://peer.example"]}
    a.nodes = [
        {"url": a.url, "status": "ok", "hitsTotal": 0},
        {"url": "https://peer.example", "status": "timeout", "message": "late"},
    ]
    results = search(a, federate=True)
    (hit,) = results
    assert hit.sources == ("https://peer.example",)
    assert [node.status for node in results.nodes] == ["ok", "timeout"]
    assert results.partial
    assert a.asked[0][1]["federate"] is True


def test_what_cannot_be_asked_of_several_nodes_is_refused() -> None:
    two = ["http://127.0.0.1:9", "http://127.0.0.1:19"]
    cases: list[tuple[dict[str, Any], str]] = [
        ({"limit": None}, "one page"),
        ({"limit": 101}, "one page"),
        ({"federate": True}, "peers of one node"),
        ({"node": two * 5 + [f"http://127.0.0.1:{n}" for n in range(10)]}, "at most 8"),
        ({"node_timeout": 0.0}, "node_timeout"),
        ({"node_timeout": float("nan")}, "node_timeout"),
        ({"node": two[0], "federate": True, "limit": None}, "one page"),
    ]
    for params, message in cases:
        with pytest.raises(ValueError, match=message):
            atdex.search("x", **({"node": two} | params))


def test_the_command_asks_several_nodes_and_says_what_is_missing(
    nodes: Callable[[], FakeNode], command: Any
) -> None:
    a, b = nodes(), nodes()
    put(1, a, b)
    arguments = ["search", "set", "--node", a.url, "--node", b.url, "--node-timeout", "20"]
    result = command(*arguments)
    assert (result.code, "set-1" in result.out) == (0, True)
    assert f"found by {a.url}, {b.url}" in " ".join(result.out.split())
    gone = "http://127.0.0.1:9"
    result = command(*arguments, "--node", gone, "--json")
    assert result.code == 0
    assert f"{gone} is missing" in result.err
    found = json.loads(result.out)
    assert found["datasets"][0]["sources"] == [a.url, b.url]
    assert [node["status"] for node in found["nodes"]] == ["ok", "ok", "error"]
    assert found["partial"] is True
    assert command(*arguments, "--limit", "101").code == 2
    assert command("search", "x", "--node", gone, "--node", f"{gone}9").code == 1
