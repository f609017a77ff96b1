"""searchDatasets with `federate`: nodes on loopback, each with its own stores and HTTP server."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from pathlib import Path
from threading import Event
from typing import Any

import pytest

from atdex_appview.federation import breaker as breaking
from atdex_appview.federation.breaker import Breaker
from atdex_appview.federation.peers import HOP_HEADER, Peers
from atdex_appview.federation.repos import RepoReader
from atdex_appview.federation.search import Federation
from atdex_appview.store.base import Delete, Put
from atdex_firehose.errors import FetchFailed, InvalidCommit, NotServed
from atdex_firehose.events import Identity
from atdex_firehose.fetch_record import FetchedRecord
from atdex_lexicons.families import to_record
from atdex_xrpc.fusion import ANSWER_BYTES
from tests.appview.index import (
    ALICE,
    BOB,
    CATALOG,
    NAMESPACE,
    Index,
    Node,
    dataset,
    error_of,
    label,
    lens,
    schema,
)
from tests.appview.records import rev
from tests.sdk.scripted import Answer, Exchange, scripted

METHOD = "searchDatasets"
ORIGIN = "https://index.example"
SCHEMA = f"at://{ALICE}/science.alt.dataset.schema/3knowhere2222"
PATIENT = 20.0
"""Seconds for a peer that is well: a slow machine must not make it look ill."""


class Repos:
    """What the publishers' repos hold, as if each were read from its PDS."""

    def __init__(self) -> None:
        self.records: dict[str, Put] = {}
        self.broken: dict[str, Exception] = {}
        self.asked: list[str] = []

    def add(self, *puts: Put) -> None:
        self.records |= {put.uri: put for put in puts}

    async def fetch(self, did: str, path: str) -> FetchedRecord | None:
        uri = f"at://{did}/{path}"
        self.asked.append(uri)
        if uri in self.broken:
            raise self.broken[uri]
        put = self.records.get(uri)
        if put is None:
            return None
        identity = Identity(did, "carol.example", "https://pds.example", None)
        return FetchedRecord(identity, rev(77), put.cid, put.raw)


class Nodes:
    """A node under test, `mine`, and what it takes to give it peers."""

    def __init__(self, folder: Path, stack: ExitStack) -> None:
        self._folder = folder
        self._stack = stack
        self.repos = Repos()
        self.inactive: set[str] = set()
        self.mine = self.index("mine")

    def index(self, name: str) -> Index:
        return self._stack.enter_context(Index.open(self._folder / name))

    def serve(self, index: Index) -> Node:
        return self._stack.enter_context(index.serve())

    def peer(self, *answers: Answer) -> str:
        server = self._stack.enter_context(scripted(*answers))
        return server.url.removesuffix("/s.tar")

    def federated(
        self,
        *urls: str,
        seconds: float = PATIENT,
        total: float = 2 * PATIENT,
        clock: Callable[[], float] = time.monotonic,
    ) -> Node:
        async def active(did: str) -> bool:
            return did not in self.inactive

        peers = Peers(urls, CATALOG, allow_private=True, seconds=seconds, clock=clock)
        reader = RepoReader(self.repos.fetch, active, CATALOG)
        federation = Federation(ORIGIN, peers, reader, seconds=total)
        return self._stack.enter_context(self.mine.serve(federation=federation))


@pytest.fixture
def nodes(tmp_path: Path) -> Iterator[Nodes]:
    with ExitStack() as stack:
        yield Nodes(tmp_path, stack)


def found(answer: Any) -> list[str]:
    return [view["record"]["name"] for view in answer["datasets"]]


def statuses(answer: Any) -> list[str]:
    return [node["status"] for node in answer["nodes"]]


def same(name: str, rkey: str, did: str, *indexes: Index, **more: Any) -> Put:
    """One dataset, published by one account and indexed by several nodes."""
    put = indexes[0].put(did, to_record(replace(dataset(name, SCHEMA), **more)), rkey=rkey)
    for index in indexes:
        index.commit(did, put)
    return put


def view_of(put: Put, **changes: Any) -> dict[str, Any]:
    """What a peer could say of a record."""
    return {
        "uri": put.uri,
        "cid": put.cid,
        "rev": rev(1),
        "publisher": {"did": put.did},
        "record": json.loads(put.json),
        "firstSeen": "2026-01-01T00:00:00Z",
        "indexedAt": "2026-01-01T00:00:00Z",
        "conformance": "valid",
        "shardCount": 1,
        "checksummed": True,
        "labels": [],
    } | changes


def saying(views: Sequence[dict[str, Any]], **more: Any) -> Answer:
    body = json.dumps({"datasets": views, "hitsTotal": len(views)} | more).encode()
    return lambda exchange: exchange.reply(200, body, Content_Type="application/json")


# Three nodes that are well


def test_three_nodes_answer_as_one_and_each_hit_says_who_found_it(nodes: Nodes) -> None:
    left, right = nodes.index("left"), nodes.index("right")
    everywhere = same("eye everywhere", rev(1), ALICE, nodes.mine, left, right)
    mine = same("eye mine", rev(2), ALICE, nodes.mine)
    theirs = same("eye theirs", rev(3), BOB, left, right)
    nodes.repos.add(theirs)
    one, two = nodes.serve(left), nodes.serve(right)
    answer = nodes.federated(one.url, two.url).ask(METHOD, q="eye", federate="true")
    views = {view["uri"]: view for view in answer["datasets"]}
    assert {uri: view["sources"] for uri, view in views.items()} == {
        everywhere.uri: [ORIGIN, one.url, two.url],
        theirs.uri: [one.url, two.url],
        mine.uri: [ORIGIN],
    }
    assert answer["datasets"][0]["uri"] == everywhere.uri
    assert [view["score"] for view in answer["datasets"]] == sorted(
        (view["score"] for view in answer["datasets"]), reverse=True
    )
    assert answer["nodes"] == [
        {"url": ORIGIN, "status": "ok", "hitsTotal": 2},
        {"url": one.url, "status": "ok", "hitsTotal": 2},
        {"url": two.url, "status": "ok", "hitsTotal": 2},
    ]
    assert answer["partial"] is False
    assert answer["hitsTotal"] == 2
    assert "cursor" not in answer


def test_what_is_not_in_this_index_is_read_from_its_publisher_and_marked(nodes: Nodes) -> None:
    other = nodes.index("other")
    theirs = same("eye theirs", rev(3), BOB, other)
    nodes.repos.add(theirs)
    answer = nodes.federated(nodes.serve(other).url).ask(METHOD, q="eye", federate="true")
    (view,) = answer["datasets"]
    assert (view["uri"], view["cid"], view["fetched"]) == (theirs.uri, theirs.cid, True)
    assert view["publisher"] == {"did": BOB, "handle": "carol.example"}
    assert view["rev"] == rev(77)
    assert view["highlights"] == {"name": "<b>eye</b> theirs"}
    assert nodes.mine.store.counts()["dataset"] == 0


def test_a_dataset_that_is_asked_for_again_is_not_fetched_again(nodes: Nodes) -> None:
    other = nodes.index("other")
    there, gone = (same(f"eye {n}", rev(n), BOB, other) for n in (1, 2))
    nodes.repos.add(there)
    node = nodes.federated(nodes.serve(other).url)
    for _ in range(3):
        assert found(node.ask(METHOD, q="eye", federate="true")) == ["eye 1"]
    assert sorted(nodes.repos.asked) == sorted([there.uri, gone.uri])


def test_without_federate_nobody_else_is_asked(nodes: Nodes) -> None:
    same("eye", rev(1), ALICE, nodes.mine)

    def never(exchange: Exchange) -> None:
        raise AssertionError("asked")

    answer = nodes.federated(nodes.peer(never)).ask(METHOD, q="eye")
    assert found(answer) == ["eye"]
    assert not answer.keys() & {"nodes", "partial"}
    assert not answer["datasets"][0].keys() & {"sources", "fetched"}


def test_a_question_is_passed_on_once_and_in_full(nodes: Nodes) -> None:
    asked: list[tuple[str, str | None]] = []

    def note(exchange: Exchange) -> None:
        asked.append((exchange.path, exchange.headers.get(HOP_HEADER)))
        saying([])(exchange)

    node = nodes.federated(nodes.peer(note))
    nodes.mine.publish(ALICE, schema())
    node.ask(METHOD, q="a b", tags=["x", "y"], publisher="alice.test", limit=7, federate="true")
    ((path, hop),) = asked
    assert hop == "0"
    assert path.startswith(f"/xrpc/{NAMESPACE}.{METHOD}?")
    assert f"publisher={ALICE.replace(':', '%3A')}" in path
    for part in ("q=a+b", "tags=x", "tags=y", "limit=7", "sort=relevance"):
        assert part in path
    assert "federate" not in path


def test_a_question_from_another_node_is_answered_from_this_index(nodes: Nodes) -> None:
    """Two nodes that are each other's peers do not ask each other for ever."""
    same("eye", rev(1), ALICE, nodes.mine)

    def never(exchange: Exchange) -> None:
        raise AssertionError("asked")

    node = nodes.federated(nodes.peer(never))
    response = node.http.get(
        f"/xrpc/{NAMESPACE}.{METHOD}", params={"federate": "true"}, headers={HOP_HEADER: "0"}
    )
    assert "nodes" not in response.json()
    assert found(response.json()) == ["eye"]


def test_the_peers_are_shown(nodes: Nodes) -> None:
    url = nodes.peer(saying([]))
    assert nodes.federated(url).ask("describeNode")["peers"] == [url]
    assert nodes.serve(nodes.mine).ask("describeNode")["peers"] == []


def test_a_node_without_peers_answers_for_itself(nodes: Nodes) -> None:
    same("eye", rev(1), ALICE, nodes.mine)
    answer = nodes.federated().ask(METHOD, federate="true")
    assert (found(answer), answer["partial"], statuses(answer)) == (["eye"], False, ["ok"])


def test_what_cannot_be_federated_is_refused(nodes: Nodes) -> None:
    same("eye", rev(1), ALICE, nodes.mine)
    same("eye", rev(2), ALICE, nodes.mine)
    node = nodes.federated()
    cursor = node.ask(METHOD, limit=1)["cursor"]
    for params in ({"cursor": cursor}, {"facets": "tags"}):
        status, error, message = node.refused(METHOD, federate="true", **params)
        assert (status, error) == (400, "InvalidRequest")
        assert message.startswith(next(iter(params)))
    assert nodes.serve(nodes.mine).refused(METHOD, federate="true")[:2] == (503, "NodeUnavailable")


def test_every_filter_holds_for_what_peers_name(nodes: Nodes) -> None:
    other = nodes.index("other")
    fitting = {"tags": ("x",), "license": "MIT", "sample_count": 10}
    right = same("eye right", rev(1), BOB, other, **fitting)
    wrongs = [
        same("eye untagged", rev(2), BOB, other, **fitting | {"tags": ()}),
        same("eye unlicensed", rev(3), BOB, other, **fitting | {"license": "GPL-3.0"}),
        same("eye small", rev(4), BOB, other, **fitting | {"sample_count": 9}),
        same("ear", rev(5), BOB, other, **fitting),
        same("eye of another", rev(6), ALICE, other, **fitting),
    ]
    nodes.repos.add(right, *wrongs)
    url = nodes.peer(saying([view_of(put) for put in [*wrongs, right]]))
    answer = nodes.federated(url).ask(
        METHOD, q="eye", tags="x", license="mit", minSamples=10, publisher=BOB, federate="true"
    )
    assert found(answer) == ["eye right"]


def test_viewable_as_shows_what_this_node_knows_a_path_for(nodes: Nodes) -> None:
    a, b, far = (put.uri for put in nodes.mine.publish(ALICE, *map(schema, "ABC")))
    nodes.mine.publish(ALICE, lens("ab", a, b))
    other = nodes.index("other")
    puts = [
        other.publish(BOB, dataset(f"of {name}", uri))[0] for name, uri in (("a", a), ("c", far))
    ]
    nodes.repos.add(*puts)
    url = nodes.peer(saying([view_of(put) for put in puts]))
    answer = nodes.federated(url).ask(METHOD, viewableAs=b, federate="true")
    assert found(answer) == ["of a"]
    assert answer["datasets"][0]["path"]["hops"] == 1


def test_words_that_are_only_near_count_where_no_node_has_the_words(nodes: Nodes) -> None:
    other = nodes.index("other")
    same("Retina scans", rev(1), ALICE, nodes.mine)
    node = nodes.federated(nodes.serve(other).url)
    answer = node.ask(METHOD, q="retnia", federate="true")
    assert (found(answer), answer["fuzzy"]) == (["Retina scans"], True)
    nodes.repos.add(same("retnia, the town", rev(2), BOB, other))
    answer = node.ask(METHOD, q="retnia", federate="true")
    assert found(answer) == ["retnia, the town"]
    assert "fuzzy" not in answer


# Peers that fail


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


# Peers that lie


def test_what_a_peer_says_of_a_record_is_not_believed(nodes: Nodes) -> None:
    put = same("eye", rev(1), ALICE, nodes.mine, description="true")
    lie = view_of(
        put,
        record={"$type": put.collection, "name": "eye <script>", "description": "a lie"},
        cid=same("another", rev(9), BOB, nodes.index("x")).cid,
        publisher={"did": BOB, "handle": "liar.example"},
        highlights={"name": "<script>"},
        score=999_999,
        labels=[{"uri": put.uri, "name": "stable"}],
        path={"hops": 0, "lenses": []},
    )
    (view,) = nodes.federated(nodes.peer(saying([lie]))).ask(METHOD, q="eye", federate="true")[
        "datasets"
    ]
    assert (view["cid"], view["record"]["description"]) == (put.cid, "true")
    assert view["publisher"] == {"did": ALICE, "handle": "alice.test"}
    assert view["highlights"] == {"name": "<b>eye</b>"}
    assert (view["labels"], "path" in view) == ([], False)


def test_a_record_that_its_repo_does_not_have_is_not_shown(nodes: Nodes) -> None:
    invented, refused, forged = (
        same(f"eye {n}", rev(n), BOB, nodes.index(str(n))) for n in (1, 2, 3)
    )
    nodes.repos.broken = {
        refused.uri: NotServed("https://pds.example", "RepoDeactivated"),
        forged.uri: InvalidCommit(BOB, "forged"),
    }
    views = [view_of(put) for put in (invented, refused, forged)]
    answer = nodes.federated(nodes.peer(saying(views))).ask(METHOD, q="eye", federate="true")
    assert (found(answer), answer["partial"]) == ([], False)
    assert len(nodes.repos.asked) == 3


def test_a_record_whose_pds_does_not_answer_makes_the_answer_partial(nodes: Nodes) -> None:
    put = same("eye", rev(1), BOB, nodes.index("other"))
    nodes.repos.broken = {put.uri: FetchFailed("https://pds.example", "not done within 30 s")}
    answer = nodes.federated(nodes.peer(saying([view_of(put)]))).ask(METHOD, federate="true")
    assert (found(answer), answer["partial"], statuses(answer)) == ([], True, ["ok", "ok"])


def test_a_record_that_breaks_its_lexicon_is_not_shown(nodes: Nodes) -> None:
    put = same("eye", rev(1), BOB, nodes.index("other"))
    nodes.repos.add(replace(put, raw=b"\xa1\x61a\x61b"))
    answer = nodes.federated(nodes.peer(saying([view_of(put)]))).ask(METHOD, federate="true")
    assert found(answer) == []


def test_a_dataset_of_another_content_than_was_asked_for_is_not_shown(nodes: Nodes) -> None:
    here = same("ear here", rev(1), ALICE, nodes.mine)
    there = same("ear there", rev(2), BOB, nodes.index("other"))
    nodes.repos.add(there)
    url = nodes.peer(saying([view_of(here), view_of(there)]))
    assert found(nodes.federated(url).ask(METHOD, q="eye", federate="true")) == []


def test_a_dataset_that_is_named_many_times_counts_once_where_it_is_first(nodes: Nodes) -> None:
    first, second = (same(f"eye {n}", rev(n), ALICE, nodes.mine) for n in (1, 2))
    views = [view_of(second)] * 90 + [view_of(first)] * 5
    node = nodes.federated(nodes.peer(saying(views)))
    answer = node.ask(METHOD, q="eye", limit=100, federate="true")
    assert sorted(found(answer)) == ["eye 1", "eye 2"]
    # Mine: 2, 1. The peer's: 2, 1. Both agree, and repeating it gains nothing.
    assert answer["datasets"][0]["score"] == round(2_000_000 / 61)
    assert answer["datasets"][1]["score"] == round(2_000_000 / 62)


def test_what_is_no_dataset_is_passed_over(nodes: Nodes) -> None:
    put = same("eye", rev(1), ALICE, nodes.mine)
    others = nodes.mine.publish(ALICE, schema(), label("v1", put.uri))
    uris = [
        *(other.uri for other in others),
        put.uri.replace(ALICE, "alice.test"),
        f"at://{ALICE}",
        f"at://{ALICE}/app.bsky.feed.post/{rev(1)}",
    ]
    url = nodes.peer(saying([view_of(put, uri=uri) for uri in uris]))
    answer = nodes.federated(url).ask(METHOD, federate="true")
    assert [view["sources"] for view in answer["datasets"]] == [[ORIGIN]]
    assert nodes.repos.asked == []


def test_what_this_node_hides_no_peer_brings_back(nodes: Nodes) -> None:
    hidden = same("eye hidden", rev(1), ALICE, nodes.mine)
    deleted = same("eye deleted", rev(2), BOB, nodes.mine)
    unseen = same("eye unseen", rev(3), "did:plc:carol00000000000000000c", nodes.index("other"))
    nodes.mine.set_status(ALICE, active=False, status="takendown")
    nodes.mine.commit(BOB, Delete(deleted.uri))
    nodes.inactive |= {ALICE, unseen.did}
    nodes.repos.add(hidden, unseen)
    url = nodes.peer(saying([view_of(put) for put in (hidden, deleted, unseen)]))
    answer = nodes.federated(url).ask(METHOD, q="eye", federate="true")
    assert (found(answer), answer["partial"]) == ([], False)
    assert nodes.repos.asked == [deleted.uri]


def test_a_peer_cannot_have_this_node_fetch_without_end(nodes: Nodes) -> None:
    put = same("eye", rev(1), BOB, nodes.index("other"))
    views = [view_of(put, uri=f"at://{BOB}/{put.collection}/{rev(n)}") for n in range(100)]
    node = nodes.federated(nodes.peer(saying(views)))
    node.ask(METHOD, limit=100, federate="true")
    assert len(nodes.repos.asked) == 25


# Peers that fail again and again


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
