"""A real PDS, and a node that was not there when it happened: it fetches what it missed."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.devnet import Account, Devnet
from tests.support.following import Follower
from tests.support.forgetful import Forgetful
from tests.support.published import fixture

pytestmark = pytest.mark.devnet

ENTRY = "science.alt.dataset.entry"
INDEX_SECONDS = 30  # for repos to be listed, fetched, verified and indexed, on a busy machine


@pytest.fixture
def relay(own_devnet: Devnet) -> Iterator[Forgetful]:
    with Forgetful(own_devnet) as relay:
        yield relay


@pytest.fixture
def entry(own_devnet: Devnet) -> dict[str, Any]:
    """A valid dataset record, to be changed and published."""
    author = own_devnet.create_account("author-backfill.test")
    schema = author.create_record("science.alt.dataset.schema", fixture("schema")["value"])
    value: dict[str, Any] = fixture("entry_http_nochecksum")["value"]
    return value | {"schemaRef": schema.uri}


def truth(*accounts: Account) -> dict[str, str]:
    """What the PDS has: CID by URI."""
    return {uri: cid for account in accounts for uri, cid in account.list_records(ENTRY).items()}


def shown(node: Follower) -> dict[str, str]:
    return {view["uri"]: view["cid"] for view in node.walk()}


def indexed(node: Follower, *accounts: Account) -> None:
    """Waits until the node serves, and finds, exactly what the PDS has."""
    wanted = truth(*accounts)
    node.wait(
        lambda: shown(node) == wanted and node.search("") == set(wanted), "index", INDEX_SECONDS
    )


def backfill(node: Follower) -> dict[str, Any]:
    answer: dict[str, Any] = node.query("app.bsky.atdata.describeNode")["backfill"]
    return answer


def start(devnet: Devnet, folder: Path, relay: str | None, *flags: str) -> Follower:
    return Follower(
        relay, devnet.plc, folder / "data", folder / "node.log", handles=devnet.pds, flags=flags
    )


def test_records_published_before_a_node_first_starts_are_found_after_backfill(
    own_devnet: Devnet, relay: Forgetful, entry: dict[str, Any], tmp_path: Path
) -> None:
    devnet = own_devnet
    alice = devnet.create_account("alice-backfill.test")
    bob = devnet.create_account("bob-backfill.test")
    reader = devnet.create_account("reader-backfill.test")
    reader.create_record("app.test.note", {"$type": "app.test.note", "text": "no dataset"})
    for number in range(30):
        alice.create_record(ENTRY, entry | {"name": f"archive {number}"})
    written = bob.create_record(ENTRY, entry | {"name": "lone"})
    with start(devnet, tmp_path, relay.url) as node:
        indexed(node, alice, bob)
        view = node.dataset(written.uri)
        assert view is not None
        assert "verified" not in view
        node.wait(lambda: backfill(node)["remaining"] == 0, "end of the backfill", INDEX_SECONDS)
        told = backfill(node)
        assert told["repos"]["synchronized"] >= 3, "those with records of interest"
        assert told["records"] == 32
        assert told["listing"] == []

        def found_by_handle() -> bool:
            said = node.get("app.bsky.atdata.listDatasets", publisher=bob.handle)
            return said.status_code == 200 and len(said.json()["datasets"]) == 1

        node.wait(found_by_handle, "verified handle", INDEX_SECONDS)
        fresh = alice.create_record(ENTRY, entry | {"name": "live again"})
        node.shows(lambda: node.search("live again") == {fresh.uri}, "live record")
        assert relay.told == 1


def test_writes_that_the_relay_lost_while_a_node_was_down_are_made_up_for(
    own_devnet: Devnet, relay: Forgetful, entry: dict[str, Any], tmp_path: Path
) -> None:
    devnet = own_devnet
    alice = devnet.create_account("alice-lost.test")
    kept = alice.create_record(ENTRY, entry | {"name": "kept"})
    changed = alice.create_record(ENTRY, entry | {"name": "before"})
    doomed = alice.create_record(ENTRY, entry | {"name": "doomed"})
    with start(devnet, tmp_path, relay.url) as node:
        indexed(node, alice)
        before = {view["uri"]: view["firstSeen"] for view in node.walk()}
        assert node.stop() == 0
    bob = devnet.create_account("bob-lost.test")
    bob.create_record(ENTRY, entry | {"name": "a newcomer"})
    alice.put_record(ENTRY, changed.rkey, entry | {"name": "after"})
    alice.delete_record(ENTRY, doomed.rkey)
    alice.create_record(ENTRY, entry | {"name": "while nobody listened"})
    with start(devnet, tmp_path, relay.url) as node:
        indexed(node, alice, bob)
        assert node.search("doomed") == set()
        assert node.search("after") == {changed.uri}
        after = {view["uri"]: view["firstSeen"] for view in node.walk()}
        assert [after[uri] for uri in (kept.uri, changed.uri)] == [
            before[uri] for uri in (kept.uri, changed.uri)
        ]
        fresh = alice.create_record(ENTRY, entry | {"name": "live again"})
        node.shows(lambda: node.search("live again") == {fresh.uri}, "live record")


def test_a_pds_is_followed_directly(
    own_devnet: Devnet, entry: dict[str, Any], tmp_path: Path
) -> None:
    devnet = own_devnet
    alice = devnet.create_account("alice-direct.test")
    alice.create_record(ENTRY, entry | {"name": "before"})
    with start(devnet, tmp_path, None, "--pds", devnet.pds) as node:
        indexed(node, alice)
        fresh = alice.create_record(ENTRY, entry | {"name": "fresh"})
        node.shows(lambda: node.search("fresh") == {fresh.uri}, "live record")
