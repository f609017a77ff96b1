"""kill -9 of a node in the middle of a burst of writes: nothing is lost, nothing comes twice."""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from tests.devnet import Account, Devnet
from tests.support.following import Follower
from tests.support.published import fixture

pytestmark = pytest.mark.devnet

ENTRY = "science.alt.dataset.entry"
WRITES = 500  # records created in the burst, by two accounts
CHANGED_EVERY = 10  # of which one is updated and one deleted again
BURST_SECONDS = 100  # on a busy machine; 6 s on an idle one
INDEX_SECONDS = 30


@pytest.mark.timeout(240)
def test_a_node_killed_in_a_burst_of_writes_loses_and_repeats_nothing(
    own_devnet: Devnet, tmp_path: Path
) -> None:
    devnet = own_devnet
    accounts = [devnet.create_account(f"burst-{n}-e2e.test") for n in (1, 2)]
    schema = accounts[0].create_record("science.alt.dataset.schema", fixture("schema")["value"])
    entry = fixture("entry_http_nochecksum")["value"] | {"schemaRef": schema.uri}
    written = Counter[str]()
    half = threading.Event()

    def progress() -> None:
        written["records"] += 1
        if written["records"] >= WRITES // 2:
            half.set()

    def start() -> Follower:
        return Follower(
            devnet.ws, devnet.plc, tmp_path / "data", tmp_path / "node.log", handles=devnet.pds
        )

    with ThreadPoolExecutor(len(accounts)) as pool:
        with start() as node:
            bursts = [pool.submit(burst, account, entry, progress) for account in accounts]
            assert half.wait(BURST_SECONDS), [b.exception() for b in bursts if b.done()]
            node.wait(lambda: len(list(node.walk())) >= WRITES // 5, "first records", INDEX_SECONDS)
            early = {view["uri"]: view for view in node.walk()}
            assert not all(burst.done() for burst in bursts), "the burst was over before the kill"
            node.kill()
        with start() as node:
            deleted = {uri for b in bursts for uri in b.result(BURST_SECONDS)}
            truth = {uri: cid for a in accounts for uri, cid in a.list_records(ENTRY).items()}
            assert len(truth) + len(deleted) == WRITES

            def complete() -> bool:
                return {v["uri"]: v["cid"] for v in node.walk()} == truth

            node.wait(complete, "complete index after the restart", INDEX_SECONDS)
            check(node, truth, early)
            with start_again(node, start) as third:
                check(third, truth, early)


def burst(account: Account, entry: dict[str, Any], progress: Callable[[], None]) -> set[str]:
    """Creates its half of the records, changing and deleting some; the URIs that it deleted."""
    deleted = set()
    for number in range(WRITES // 2):
        name = f"burst number {number} of {account.handle}"
        written = account.create_record(ENTRY, entry | {"name": name})
        if number % CHANGED_EVERY == 3:
            account.put_record(ENTRY, written.rkey, entry | {"name": f"{name}, changed"})
        if number % CHANGED_EVERY == 7:
            account.delete_record(ENTRY, written.rkey)
            deleted.add(written.uri)
        progress()
    return deleted


def check(node: Follower, truth: dict[str, str], early: dict[str, dict[str, Any]]) -> None:
    """The node serves exactly the PDS's records, each once, in both kinds of walk."""
    for method, params in (
        ("listDatasets", {}),
        ("searchDatasets", {"q": "burst"}),
        ("searchDatasets", {}),
    ):
        seen = list(node.walk(method, **params))
        counted = Counter(view["uri"] for view in seen)
        assert [uri for uri, count in counted.items() if count > 1] == [], method
        assert {view["uri"]: view["cid"] for view in seen} == truth, method
        for view in seen:
            if view["uri"] in early:
                assert view["firstSeen"] == early[view["uri"]]["firstSeen"]
    times = [view["firstSeen"] for view in node.walk()]
    assert times == sorted(times, reverse=True)
    counts = node.query("app.bsky.atdata.describeNode")["counts"]
    assert counts["datasets"] == len(truth)


def start_again(node: Follower, start: Callable[[], Follower]) -> Follower:
    """Stops the node as an operator would, and starts it on the same folder."""
    began = time.monotonic()
    assert node.stop() == 0, node.output()
    assert time.monotonic() - began < 10
    return start()
