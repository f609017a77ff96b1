"""What a peer says of a record is not believed."""

from __future__ import annotations

from atdex_appview.store.base import Delete
from atdex_firehose.errors import FetchFailed, InvalidCommit, NotServed
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
    label,
    schema,
)
from tests.appview.records import rev


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
    nodes.repos.add(put._replace(raw=b"\xa1\x61a\x61b"))
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
