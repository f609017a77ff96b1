"""The health check tells the truth."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from atdex_appview.status import UPSTREAM_GRACE, Upstream, UpstreamWatch
from atdex_firehose.stats import Backfill, Stats, UpstreamStats
from tests.appview.index import ALICE, Index, Node, dataset, error_of

UP = Upstream("https://up.example", cursor=7, lag_seconds=1.6, down_seconds=None)
DOWN = Upstream("https://down.example", cursor=None, lag_seconds=None, down_seconds=30.2)
LONG_DOWN = Upstream("https://gone.example", None, None, down_seconds=UPSTREAM_GRACE + 1)


@pytest.fixture
def index(tmp_path: Path) -> Iterator[Index]:
    with Index.open(tmp_path) as opened:
        yield opened


def health(node: Node) -> tuple[int, dict[str, object]]:
    response = node.http.get("/xrpc/_health")
    assert response.headers["cache-control"] == "no-store"
    return response.status_code, response.json()


def test_a_node_that_follows_an_upstream_is_well(index: Index) -> None:
    with index.serve(upstreams=lambda: (UP, DOWN)) as node:
        status, said = health(node)
    assert status == 200
    assert said == {
        "ok": True,
        "status": "ok",
        "store": "ok",
        "search": "ok",
        "state": "ok",
        "ingest": "ok",
        "upstreams": [
            {"url": "https://up.example", "connected": True, "cursor": 7, "lagSeconds": 2},
            {"url": "https://down.example", "connected": False, "disconnectedSeconds": 30},
        ],
    }


BACKFILL = Backfill(
    repos={"synchronized": 5, "in-progress": 1, "incomplete": 2},
    remaining=3,
    running=1,
    outcomes={"unchanged": 2, "done": 3},
    records=70,
    records_per_second=12.4,
    listed=8,
    listing={"https://up.example": "science.alt.dataset.entry"},
)


def test_how_fetching_repos_goes_is_told_by_health_and_by_describe_node(index: Index) -> None:
    with index.serve(upstreams=lambda: (UP,), backfill=lambda: BACKFILL) as node:
        said = health(node)[1]["backfill"]
        assert node.ask("describeNode")["backfill"] == said
    assert said == {
        "repos": {"synchronized": 5, "incomplete": 2, "desynchronized": 0, "inProgress": 1},
        "remaining": 3,
        "records": 70,
        "recordsPerSecond": 12,
        "outcomes": [{"outcome": "done", "count": 3}, {"outcome": "unchanged", "count": 2}],
        "listing": [{"host": "https://up.example", "listing": "science.alt.dataset.entry"}],
    }


def test_without_any_upstream_it_is_degraded_and_after_a_while_unavailable(index: Index) -> None:
    with index.serve(upstreams=lambda: (DOWN, LONG_DOWN)) as node:
        status, said = health(node)
        assert (status, said["ok"], said["status"]) == (200, True, "degraded")
    with index.serve(upstreams=lambda: (LONG_DOWN,)) as node:
        status, said = health(node)
        assert (status, said["ok"], said["status"]) == (503, False, "unavailable")


def test_an_ingestion_that_has_stopped_is_503(index: Index) -> None:
    with index.serve(ingest=lambda: "stopped", upstreams=lambda: (UP,)) as node:
        status, said = health(node)
    assert (status, said["status"], said["ingest"]) == (503, "unavailable", "stopped")


@pytest.mark.parametrize("part", ["store", "search", "state"])
def test_a_part_that_is_closed_is_503_and_named(index: Index, part: str) -> None:
    with index.serve() as node:
        assert health(node)[0] == 200
        index.close(part)
        status, said = health(node)
        assert (status, said["ok"], said[part]) == (503, False, "does not answer")
        others = {"store", "search", "state"} - {part}
        assert {said[other] for other in others} == {"ok"}
        assert "sqlite" not in str(said)


def test_methods_answer_503_while_the_store_is_down(index: Index) -> None:
    index.publish(ALICE, dataset("retina", f"at://{ALICE}/science.alt.dataset.schema/3k2a"))
    with index.serve() as node:
        index.close("store")
        for method in ("listDatasets", "searchDatasets"):
            status, error, message = error_of(node.get(method))
            assert (status, error) == (503, "NodeUnavailable")
            assert "closed" not in message


def test_the_time_without_an_upstream_counts_from_the_first_look_that_missed_it() -> None:
    now = 100.0
    connected = True

    def stats() -> Stats:
        upstream = UpstreamStats(
            url="https://up.example",
            connected=connected,
            cursor=0,
            seq=0,
            lag_seconds=None,
            frames=0,
            connections=1,
            outdated=0,
            last_error=None,
        )
        backfill = Backfill({}, 0, 0, {}, 0, 0.0, 0, {})
        return Stats(0, 0, 0, 0, 0, {}, 0, 0, 0, 0, 0, 0, (upstream,), backfill)

    watch = UpstreamWatch(stats, lambda: now)
    assert watch.look() == (Upstream("https://up.example", None, None, None),)
    connected = False
    assert watch.look()[0].down_seconds == 0
    now += 12.5
    assert watch.look()[0].down_seconds == 12.5
    connected = True
    assert watch.look()[0].down_seconds is None
    connected = False
    assert watch.look()[0].down_seconds == 0
