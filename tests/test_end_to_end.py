"""A real PDS, a real node that follows it, and the SDK: from publishing to samples.

Every wait that is called `shows` begins when the PDS has answered and lasts two seconds.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest

import atdex
from atdex.errors import BadChecksum, ChecksumMismatch, FetchFailed, UnsafeShard
from atdex_xrpc import Client, InvalidRequest, MethodNotImplemented
from tests.devnet import Account, Devnet, Written
from tests.support.expected import ATDATA, assert_sample, expected_samples
from tests.support.following import Follower
from tests.support.http import serve_directory
from tests.support.published import Published, fixture, publish_fixtures

pytestmark = pytest.mark.devnet

ENTRY = "science.alt.dataset.entry"
INDEX_SECONDS = 20  # for a node that starts while the PDS already has records
LONG_NAME = 100_000


@pytest.fixture(scope="module")
def shards() -> Iterator[str]:
    with serve_directory(ATDATA) as url:
        yield url


@pytest.fixture(scope="module")
def published(devnet: Devnet, shards: str) -> Published:
    """Published before the node starts: it has to ask for what it missed."""
    alice = devnet.create_account("alice-e2e.test")
    bob = devnet.create_account("bob-e2e.test")
    return publish_fixtures(alice, bob, shards)


@pytest.fixture(scope="module")
def node(
    devnet: Devnet, published: Published, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Follower]:
    folder = tmp_path_factory.mktemp("node")
    with Follower(
        devnet.ws, devnet.plc, folder / "data", folder / "node.log", handles=devnet.pds
    ) as node:
        wanted = published.datasets

        def indexed() -> bool:
            return wanted <= {view["uri"] for view in node.walk()} & node.search("fixture")

        node.wait(indexed, "index of the fixtures", INDEX_SECONDS)
        yield node


@pytest.fixture
def entry(published: Published) -> dict[str, Any]:
    """A valid dataset record, to be changed and published."""
    value: dict[str, Any] = fixture("entry_http_nochecksum")["value"]
    return value | {"schemaRef": published.uri("schema")}


def served(node: Follower, written: Written) -> bool:
    view = node.dataset(written.uri)
    return view is not None and view["cid"] == written.cid


def quarantined(node: Follower, written: Written) -> bool:
    return bool(node.status(written.uri)["status"] == "quarantined")


def hidden(node: Follower, written: Written, name: str) -> bool:
    return node.dataset(written.uri) is None and node.search(name) == set()


def with_shard(entry: dict[str, Any], url: str, checksum: dict[str, str]) -> dict[str, Any]:
    storage = entry["storage"] | {"shards": [{"url": url, "checksum": checksum}]}
    return entry | {"storage": storage}


# What was published before the node began


def test_search_and_listing_find_what_two_accounts_published(
    node: Follower, published: Published
) -> None:
    alice, bob = published.alice, published.bob
    assert node.search("fixture") >= published.datasets
    assert node.search("fixture", publisher=bob.handle) == {
        published.uri("entry_s3"),
        published.uri("entry_blobs"),
    }
    of_alice = [view["uri"] for view in node.walk(publisher=alice.did)]
    assert set(of_alice) == {published.uri("entry_http"), published.uri("entry_http_nochecksum")}
    of_schema = {view["uri"] for view in node.walk(schema=published.uri("schema"))}
    assert of_schema >= published.datasets
    view = node.dataset(published.uri("entry_http"))
    assert view is not None
    assert view["cid"] == published.records["entry_http"].cid
    assert view["publisher"] == {"did": alice.did, "handle": alice.handle}
    assert view["schema"]["name"] == "Fix"
    assert view["shardCount"] == 3
    assert view["checksummed"] is True
    assert view["conformance"].startswith("dialect:")
    assert [(label["name"], label["version"]) for label in view["labels"]] == [("fixture", "1.0.0")]


def test_schemas_lenses_and_labels_are_served_beside_the_datasets(
    node: Follower, published: Published
) -> None:
    method = "app.bsky.atdata"
    schema = node.query(f"{method}.getSchema", uri=published.uri("schema"))["schema"]
    assert (schema["name"], schema["version"]) == ("Fix", "1.0.0")
    lens = node.query(f"{method}.getLens", uri=published.uri("lens"))["lens"]
    assert lens["source"] == published.uri("schema")
    assert [(v["verifier"], v["method"]) for v in lens["verifications"]] == [
        (published.bob.did, "signedHash")
    ]
    resolved = node.query(
        f"{method}.resolveLabel", publisher=published.alice.handle, name="fixture"
    )
    assert resolved["dataset"]["uri"] == published.uri("entry_http")


def test_loading_by_uri_and_by_name_gives_the_samples_that_were_written(
    node: Follower, published: Published, tmp_path: Path
) -> None:
    names = [
        published.uri("entry_http"),
        f"@{published.alice.handle}/fixture",
        f"@{published.alice.handle}/fixture@1.0.0",
    ]
    expected = expected_samples()
    for name in names:
        dataset = atdex.load_dataset(
            name, node=node.url, cache_dir=tmp_path, allow_private_hosts=True
        )
        assert len(dataset) == len(expected)
        for sample, values in zip(dataset, expected, strict=True):
            assert_sample(sample, values)
        assert_sample(dataset[57], expected[57])


def test_the_sdk_searches_through_the_node(node: Follower, published: Published) -> None:
    hits = list(atdex.search("fixture", publisher=published.alice.did, node=node.url))
    assert {hit.uri for hit in hits} == {
        published.uri("entry_http"),
        published.uri("entry_http_nochecksum"),
    }


# Changes show within two seconds


def test_a_new_record_and_its_update_show_in_time(
    devnet: Devnet, node: Follower, published: Published, entry: dict[str, Any]
) -> None:
    carol = devnet.create_account("carol-e2e.test")
    first = carol.create_record(ENTRY, entry | {"name": "marmoset"})
    node.shows(lambda: served(node, first) and node.search("marmoset") == {first.uri}, "record")
    before = node.dataset(first.uri)
    younger = carol.create_record(ENTRY, entry | {"name": "younger"})
    node.shows(lambda: served(node, younger), "second record")

    second = carol.put_record(ENTRY, first.rkey, entry | {"name": "tamarin"})
    node.shows(lambda: served(node, second) and node.search("tamarin") == {first.uri}, "update")
    after = node.dataset(first.uri)
    assert before is not None
    assert after is not None
    assert after["firstSeen"] == before["firstSeen"]
    assert after["rev"] > before["rev"]
    assert node.search("marmoset") == set()
    assert [view["uri"] for view in node.walk(publisher=carol.did)] == [younger.uri, first.uri]


def test_a_delete_shows_in_time(devnet: Devnet, node: Follower, entry: dict[str, Any]) -> None:
    dave = devnet.create_account("dave-e2e.test")
    doomed = dave.create_record(ENTRY, entry | {"name": "ephemera"})
    node.shows(lambda: served(node, doomed), "record")
    dave.delete_record(ENTRY, doomed.rkey)
    node.shows(
        lambda: node.dataset(doomed.uri) is None and node.search("ephemera") == set(), "delete"
    )
    assert node.status(doomed.uri)["status"] == "unknown"
    assert list(node.walk(publisher=dave.did)) == []


def test_deactivation_hides_and_reactivation_restores_in_time(
    devnet: Devnet, node: Follower, entry: dict[str, Any]
) -> None:
    erin = devnet.create_account("erin-e2e.test")
    written = erin.create_record(ENTRY, entry | {"name": "hibernation"})
    node.shows(lambda: served(node, written), "record")
    before = node.dataset(written.uri)

    erin.deactivate()
    node.shows(lambda: hidden(node, written, "hibernation"), "deactivation")
    assert list(node.walk(publisher=erin.did)) == []

    erin.activate()
    node.shows(
        lambda: served(node, written) and node.search("hibernation") == {written.uri},
        "reactivation",
    )
    assert node.dataset(written.uri) == before


def test_a_takedown_hides_and_a_deleted_account_is_removed_in_time(
    devnet: Devnet, node: Follower, entry: dict[str, Any]
) -> None:
    frank = devnet.create_account("frank-e2e.test")
    written = frank.create_record(ENTRY, entry | {"name": "contraband"})
    node.shows(lambda: served(node, written), "record")
    devnet.take_down(frank.did)
    node.shows(lambda: hidden(node, written, "contraband"), "takedown")
    devnet.take_down(frank.did, applied=False)
    node.shows(lambda: served(node, written), "end of the takedown")
    devnet.delete_account(frank.did)
    node.shows(lambda: hidden(node, written, "contraband"), "deletion of the account")
    assert node.status(written.uri)["status"] == "unknown"


@pytest.mark.parametrize("quiet", [False, True], ids=["announced", "unannounced"])
def test_what_is_signed_by_a_rotated_key_shows_in_time(
    devnet: Devnet, node: Follower, entry: dict[str, Any], quiet: bool
) -> None:
    grace = devnet.create_account(f"grace-{'quiet' if quiet else 'loud'}.test")
    before = grace.create_record(ENTRY, entry | {"name": "old key"})
    node.shows(lambda: served(node, before), "record under the old key")
    devnet.rotate(grace.did, quiet=quiet)
    after = grace.create_record(ENTRY, entry | {"name": "new key"})
    node.shows(lambda: served(node, after), "record under the new key")
    assert served(node, before)


def test_a_new_handle_finds_the_same_dataset_in_time(
    devnet: Devnet, node: Follower, entry: dict[str, Any]
) -> None:
    heidi = devnet.create_account("heidi-e2e.test")
    written = heidi.create_record(ENTRY, entry | {"name": "moving house"})
    node.shows(lambda: served(node, written), "record")
    heidi.change_handle("heidi-new-e2e.test")

    def known() -> bool:
        view = node.dataset(written.uri)
        return view is not None and view["publisher"].get("handle") == heidi.handle

    node.shows(known, "new handle")
    node.shows(
        lambda: node.search("moving", publisher=heidi.handle) == {written.uri}, "search by it"
    )


# Bad input


@pytest.fixture(scope="module")
def mallory(devnet: Devnet) -> Account:
    return devnet.create_account("mallory-e2e.test")


def test_invalid_records_are_quarantined_with_the_reason(
    node: Follower, mallory: Account, entry: dict[str, Any]
) -> None:
    nameless = {key: value for key, value in entry.items() if key != "schemaRef"}
    cases = {
        "schemaRef": mallory.create_record(ENTRY, nameless),
        "name": mallory.create_record(ENTRY, entry | {"name": "N" * LONG_NAME}),
    }
    for field, written in cases.items():
        node.shows(partial(quarantined, node, written), field)
        status = node.status(written.uri)
        assert status["cid"] == written.cid
        assert field in status["problems"][0]["path"]
        assert field in status["reason"]
        assert len(str(status)) < 2_000
        assert node.dataset(written.uri) is None
    mended = mallory.put_record(ENTRY, cases["name"].rkey, entry | {"name": "short again"})
    node.shows(lambda: served(node, mended), "mended record")
    assert node.status(mended.uri)["status"] == "indexed"


def test_an_update_that_is_invalid_takes_the_record_out_of_the_index(
    node: Follower, mallory: Account, entry: dict[str, Any]
) -> None:
    written = mallory.create_record(ENTRY, entry | {"name": "fine so far"})
    node.shows(lambda: served(node, written), "record")
    mallory.put_record(ENTRY, written.rkey, entry | {"name": 7})
    node.shows(lambda: quarantined(node, written), "quarantine")
    assert node.dataset(written.uri) is None
    assert node.search("fine so far") == set()


@pytest.mark.parametrize("url", ["pipe:ls", "file:///etc/passwd", "http://169.254.169.254/x.tar"])
def test_a_shard_address_that_no_loader_may_open_is_refused(
    node: Follower, mallory: Account, entry: dict[str, Any], url: str, tmp_path: Path
) -> None:
    record = with_shard(entry, url, {"algorithm": "sha256", "digest": "0" * 64})
    written = mallory.create_record(ENTRY, record | {"name": "bait"})
    node.shows(lambda: served(node, written), "record")
    with pytest.raises(UnsafeShard) as refusal:
        list(atdex.load_dataset(written.uri, node=node.url, cache_dir=tmp_path))
    assert url.partition(":")[0] in str(refusal.value)


def test_a_shard_that_differs_from_its_checksum_is_refused(
    node: Follower, mallory: Account, entry: dict[str, Any], shards: str, tmp_path: Path
) -> None:
    cases: dict[str, type[Exception]] = {
        "0" * 64: ChecksumMismatch,
        "not a digest": BadChecksum,
    }
    url = f"{shards}/fix-000000.tar"
    for digest, error in cases.items():
        record = with_shard(entry, url, {"algorithm": "sha256", "digest": digest})
        written = mallory.create_record(ENTRY, record | {"name": "forged"})
        node.shows(partial(served, node, written), "record")
        with pytest.raises(error):
            list(
                atdex.load_dataset(
                    written.uri, node=node.url, cache_dir=tmp_path, allow_private_hosts=True
                )
            )


def test_a_shard_on_this_machine_is_opened_only_if_the_user_says_so(
    node: Follower, published: Published, tmp_path: Path
) -> None:
    dataset = atdex.load_dataset(published.uri("entry_http"), node=node.url, cache_dir=tmp_path)
    with pytest.raises((UnsafeShard, FetchFailed), match=r"127\.0\.0\.1"):
        list(dataset)


def test_hostile_queries_get_an_error_of_their_class_and_the_node_goes_on(node: Follower) -> None:
    with Client(node.url) as client:
        with pytest.raises(InvalidRequest):
            client.query("app.bsky.atdata.searchDatasets", q="a\x00b")
        with pytest.raises(InvalidRequest):
            client.query("app.bsky.atdata.listDatasets", cursor="not a cursor")
        with pytest.raises(InvalidRequest):
            client.query("app.bsky.atdata.listDatasets", limit=100_000)
        with pytest.raises(MethodNotImplemented):
            client.query("app.bsky.atdata.makeCoffee")
    health = node.get("_health")
    assert health.status_code == 200, health.text
