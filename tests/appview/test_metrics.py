"""The node in numbers: what is counted is shown, and every name is documented."""

from __future__ import annotations

import asyncio
import re
import socket
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import httpx
import pytest
from prometheus_client.parser import text_string_to_metric_families

from atdex.cli import run
from atdex_appview.metrics import Metrics, Serving
from atdex_appview.state import Notes, QuarantinedRecord
from atdex_appview.store.base import Delete
from atdex_appview.writer import Writer
from atdex_firehose.stats import Backfill, Stats, UpstreamStats
from tests.appview.index import ALICE, Index, dataset
from tests.appview.records import commit, put, rev, uri
from tests.appview.records import dataset as plain
from tests.appview.running import DEADLINE, node
from tests.support.http import serve_app
from tests.support.paths import TESTS
from tests.support.relay import FakeRelay

GUIDE = TESTS.parent / "docs" / "run-a-node.md"
UP = UpstreamStats(
    url="https://up.example",
    connected=True,
    cursor=40,
    seq=44,
    lag_seconds=1.5,
    frames=9,
    connections=2,
    outdated=1,
    last_error=None,
)
NEW = UP | {"url": "https://new.example", "connected": False, "lag_seconds": None}
STATS = Stats(
    frames=9,
    events=8,
    commits_verified=7,
    syncs_verified=6,
    rejected=3,
    rejected_by_reason={"BadSignature": 2, "InvalidCommit": 1},
    desynchronized=5,
    ignored=4,
    refreshes=3,
    identity_fetches=2,
    waiting=11,
    unacked=12,
    upstreams=(UP, NEW),
    backfill=Backfill(
        repos={"synchronized": 5, "in-progress": 1},
        remaining=1,
        running=1,
        outcomes={"done": 3, "FetchFailed": 1},
        records=70,
        records_per_second=12.4,
        listed=8,
        listing={"https://up.example": "*"},
    ),
)


@pytest.fixture
def index(tmp_path: Path) -> Iterator[Index]:
    with Index.open(tmp_path) as opened:
        yield opened


def scraped(text: str) -> dict[tuple[str, str], float]:
    """Values by name and label."""
    return {
        (sample.name, next(iter(sample.labels.values()), "")): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
        if not sample.name.endswith("_created")
    }


def test_a_scrape_shows_what_was_counted_by_reason_state_and_upstream(index: Index) -> None:
    index.publish(ALICE, dataset("retina", f"at://{ALICE}/science.alt.dataset.schema/3k2a"))
    writer = Writer(index.store, index.search, index.state)
    serving = Serving(limited=3, slow={"a.b.c": 2}, streams=4, stream_seq=9, stream_kept=8)
    app = Metrics(lambda: STATS, writer, index.store, lambda: serving).app()
    with serve_app(app) as url:
        answer = httpx.get(f"{url}/metrics", trust_env=False, timeout=DEADLINE)
        assert answer.headers["content-type"].startswith("text/plain; version=")
        found = scraped(answer.text)
        assert httpx.post(f"{url}/metrics", trust_env=False).status_code == 405
    assert found["atdex_firehose_commits_verified_total", ""] == 7
    assert found["atdex_firehose_rejected_total", "BadSignature"] == 2
    assert found["atdex_repos", "synchronized"] == 5
    assert found["atdex_resyncs_total", "FetchFailed"] == 1
    assert found["atdex_upstream_lag_seconds", UP["url"]] == 1.5
    assert ("atdex_upstream_lag_seconds", NEW["url"]) not in found, "unknown is not zero"
    assert found["atdex_upstream_connected", NEW["url"]] == 0
    assert found["atdex_upstream_seq", UP["url"]] - found["atdex_upstream_cursor", UP["url"]] == 4
    assert found["atdex_firehose_waiting", ""] == 11
    assert found["atdex_firehose_unacked", ""] == 12
    assert found["atdex_records", "dataset"] == 1
    assert found["atdex_publishers", ""] == 1
    assert found["atdex_requests_limited_total", ""] == 3
    assert found["atdex_slow_queries_total", "a.b.c"] == 2
    assert found["atdex_stream_followers", ""] == 4
    assert found["atdex_stream_seq", ""] - found["atdex_stream_kept", ""] == 1


async def test_the_writer_counts_what_it_made_durable(tmp_path: Path) -> None:
    from tests.appview.test_writer import Stores

    stores = await Stores.open(tmp_path)
    writer = Writer(stores.store, stores.search, stores.state, max_delay=0.0)
    running = asyncio.create_task(writer.run())
    bad = QuarantinedRecord(uri(ALICE, "dataset", "b"), ALICE, None, rev(2), (), b"", 0, 1)
    first = commit(ALICE, 1, put(ALICE, "a", plain()), put(ALICE, "b", plain()))
    await writer.submit(first, lambda: None)
    second = commit(ALICE, 2, Delete(uri(ALICE, "dataset", "a")), Delete(bad.uri, keep_place=True))
    await writer.submit(second, lambda: None, Notes(quarantined=(bad,)))
    await writer.submit(first, lambda: None)
    await writer.close()
    await running
    counters = writer.counters
    assert (counters.changes, counters.stale, writer.waiting) == (3, 1, 0)
    assert (counters.stored, counters.deleted, counters.quarantined) == (4, 1, 1)
    await stores.close()


def test_every_metric_is_documented_with_its_label_and_help(index: Index) -> None:
    writer = Writer(index.store, index.search, index.state)
    rows = {
        found[1]: (found[2], found[3])
        for found in re.finditer(
            r"^\| `(atdex_\w+)` \| (?:`(\w+)`)? ?\| (.*) \|$", GUIDE.read_text(), re.MULTILINE
        )
    }
    names = set()
    serving = partial(Serving, slow={"a.b.c": 1})
    for family in Metrics(lambda: STATS, writer, index.store, serving).collect():
        name = f"{family.name}_total" if family.type == "counter" else family.name
        names.add(name)
        label = next((next(iter(s.labels), None) for s in family.samples), None)
        assert rows.get(name) == (label, family.documentation), f"{name} in {GUIDE.name}"
    assert rows.keys() == names


async def test_metrics_are_served_on_an_address_of_their_own(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    async with (
        FakeRelay() as relay,
        node(tmp_path / "data", relay.url, "--metrics-port", str(port)) as running,
    ):
        await running.until(lambda a: a["upstreams"][0]["connected"], "describeNode")
        async with httpx.AsyncClient(trust_env=False, timeout=DEADLINE) as http:
            answer = await http.get(f"http://127.0.0.1:{port}/metrics")
        assert scraped(answer.text)["atdex_upstream_connected", relay.url] == 1
        assert (await running.get("/metrics")).status_code == 404
        assert await running.stop() == 0
    assert f"metrics at http://127.0.0.1:{port}/metrics" in running.log


def test_a_taken_port_of_the_metrics_is_told_by_its_flag(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        flags = ["--port", "0", "--metrics-port", port, "--data-dir", str(tmp_path)]
        assert run(["node", "run", *flags]) == 1
    assert "--metrics-host and --metrics-port" in capsys.readouterr().err
