"""What the node's methods and pages cost, and which answers carry a tag."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from atdex_appview.methods import COSTS, METHODS, REVALIDATED
from atdex_xrpc import Callers, RateLimit
from tests.appview.index import ALICE, Index, Node, dataset, label

CALLER = {"x-forwarded-for": "203.0.113.7"}


@pytest.fixture
def index(tmp_path: Path) -> Iterator[Index]:
    with Index.open(tmp_path) as opened:
        yield opened


@pytest.fixture
def node(index: Index) -> Iterator[Node]:
    callers = Callers(1)
    with index.serve(rate=RateLimit(30, 300, callers=callers), callers=callers) as served:
        served.http.headers.update(CALLER)
        yield served


def left(node: Node, path: str) -> int:
    answer = node.http.get(path)
    assert answer.status_code in (200, 404), answer.text
    return int(answer.headers["ratelimit-remaining"])


def test_a_search_costs_more_than_a_page_and_a_page_of_html_is_counted_too(node: Node) -> None:
    assert left(node, "/xrpc/app.bsky.atdata.listDatasets") == 29
    assert left(node, "/xrpc/app.bsky.atdata.searchDatasets?q=a") == 24
    assert left(node, "/") == 22
    assert left(node, "/feeds/all.atom") == 20
    assert left(node, f"/datasets/{ALICE}/3k2a/croissant.json") == 18
    assert "ratelimit-limit" not in node.http.get("/.well-known/did.json").headers
    assert "ratelimit-limit" not in node.http.get("/xrpc/_health").headers
    assert left(node, "/xrpc/app.bsky.atdata.searchDatasets?q=a&federate=false") == 13


def test_who_has_used_up_the_points_gets_neither_methods_nor_pages(node: Node) -> None:
    for _ in range(6):
        node.http.get("/xrpc/app.bsky.atdata.searchDatasets")
    for path in ("/xrpc/app.bsky.atdata.listDatasets", "/", "/feeds/all.json"):
        answer = node.http.get(path)
        assert answer.status_code == 429
        assert answer.json()["error"] == "RateLimitExceeded"
        assert 0 < int(answer.headers["retry-after"]) <= 300
    other = node.http.get("/", headers={"x-forwarded-for": "203.0.113.8"})
    assert other.status_code == 200


def test_every_cost_is_that_of_a_method() -> None:
    served = set(METHODS) | {"getEntries"}
    assert served >= set(COSTS)


def test_a_view_has_a_tag_that_changes_with_anything_that_it_shows(
    index: Index, tmp_path: Path
) -> None:
    with index.serve() as node:
        [put] = index.publish(
            ALICE, dataset("retina", f"at://{ALICE}/science.alt.dataset.schema/3k2a")
        )

        def ask(tag: str = "") -> tuple[int, str]:
            answer = node.http.get(
                "/xrpc/app.bsky.atdata.getDataset",
                params={"uri": put.uri},
                headers={"if-none-match": tag} if tag else {},
            )
            return answer.status_code, answer.headers.get("etag", "")

        status, first = ask()
        assert status == 200
        assert ask(first) == (304, first)
        index.publish(ALICE, label("stable", put.uri))
        status, second = ask(first)
        assert status == 200
        assert ask(second) == (304, second)
        index.set_status(ALICE, active=False, status="takendown")
        assert ask(second) == (404, "")
        listed = node.http.get("/xrpc/app.bsky.atdata.listDatasets")
        assert "etag" not in listed.headers


def test_methods_with_tags_are_queries_about_named_records() -> None:
    assert {"getDataset", "getSchema", "getLens", "resolveLabel"} <= REVALIDATED
    assert not {"searchDatasets", "checkRecord", "describeNode"} & REVALIDATED
