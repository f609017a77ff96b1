"""searchDatasets with `federate`: nodes that are well answer as one."""

from __future__ import annotations

from atdex_appview.federation.peers import HOP_HEADER
from tests.appview.federation.nodes import (
    METHOD,
    ORIGIN,
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
    NAMESPACE,
    dataset,
    lens,
    schema,
)
from tests.appview.records import rev
from tests.sdk.scripted import Exchange


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
