"""Records from before the stream: the listings of relays and PDSs, over real HTTP."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any

import pytest

from tests.firehose.model import GET_REPO, Model, follow, lost, note
from tests.firehose.network import NOTE, Network, network, until
from tests.support.pds import FakePds
from tests.support.repo import Repo

BY_COLLECTION = "com.atproto.sync.listReposByCollection"
LIST = "com.atproto.sync.listRepos"
DESCRIBE = "com.atproto.repo.describeRepo"


def with_listings(net: Network, pds: FakePds) -> dict[str, Any]:
    """Options of a consumer whose one upstream has no events, and lists repos."""
    return {"relays": [net.relay.url, pds.url], "backfill": True}


def existing(net: Network, pds: FakePds, name: str, *paths: str) -> Repo:
    repo = net.account(name)
    pds.repos[repo.did] = repo
    repo.commit(dict.fromkeys(paths, NOTE))
    return repo


@pytest.mark.parametrize("page", [1, 500])
async def test_a_pds_is_read_by_listing_its_repos_and_what_they_have(page: int) -> None:
    with FakePds() as pds:
        pds.page = page
        async with network() as net:
            alice = existing(net, pds, "alice", note("old"))
            other = existing(net, pds, "other", "app.else.thing/1")
            model = Model()
            async with net.consumer(**with_listings(net, pds)) as consumer:
                await follow(consumer, model, alice, {"old"})
                assert consumer.stats().backfill.listed == 2
        assert model.names(other) == set()
        assert (pds.requests[DESCRIBE, other.did], pds.requests[GET_REPO, other.did]) == (1, 0)
        assert model.lives() == [False]


async def test_a_relay_is_read_by_collection_and_once_only(tmp_path: Path) -> None:
    with FakePds(by_collection=True) as relay:
        async with network() as net:
            alice = existing(net, relay, "alice", note("old"))
            existing(net, relay, "other", "app.else.thing/1")
            options = with_listings(net, relay) | {"collections": ["app.test.note"]}
            model = Model()
            async with net.consumer(tmp_path / "s", **options) as consumer:
                await follow(consumer, model, alice, {"old"})
            assert relay.requests[BY_COLLECTION, ""] == 1
            net.write(alice, "new")
            async with net.consumer(tmp_path / "s", **options) as consumer:
                await follow(consumer, model, alice, {"old", "new"})
        assert (relay.requests[BY_COLLECTION, ""], relay.requests[LIST, ""]) == (1, 0)
        assert relay.requests[GET_REPO, alice.did] == 1


async def test_a_new_collection_fetches_only_the_repos_that_have_it(tmp_path: Path) -> None:
    with FakePds(by_collection=True) as relay:
        async with network() as net:
            alice = existing(net, relay, "alice", note("one"), "app.test.picture/p")
            bob = existing(net, relay, "bob", note("two"))
            options = with_listings(net, relay) | {"collections": ["app.test.note"]}
            model = Model()
            async with net.consumer(tmp_path / "s", **options) as consumer:
                await follow(consumer, model, alice, {"one"})
                await follow(consumer, model, bob, {"two"})
            options["collections"] = ["app.test.note", "app.test.picture"]
            async with net.consumer(tmp_path / "s", **options) as consumer:
                await follow(consumer, model, alice, {"one", "p"})
        assert relay.requests[GET_REPO, alice.did] == 2
        assert relay.requests[GET_REPO, bob.did] == 1


async def test_a_listing_that_fails_goes_on_where_it_stopped(tmp_path: Path) -> None:
    with FakePds(by_collection=True) as relay:
        relay.page = 1
        async with network() as net:
            repos = [existing(net, relay, f"repo{n}x", note("old")) for n in "abcd"]
            options = with_listings(net, relay) | {"collections": ["app.test.note"]}
            model = Model()
            async with net.consumer(tmp_path / "s", **options) as consumer:
                await follow(consumer, model, repos[0], {"old"})
            async with net.consumer(tmp_path / "s", **options) as consumer:
                for repo in repos:
                    await follow(consumer, model, repo, {"old"})
        assert relay.requests[BY_COLLECTION, ""] <= 6
        assert all(relay.requests[GET_REPO, repo.did] <= 2 for repo in repos)


async def test_an_upstream_without_listings_is_followed_all_the_same() -> None:
    async with network() as net:
        alice = net.account("alice")
        lost(net, alice, {note("old"): NOTE})
        net.write(alice, "new")
        model = Model()
        async with net.consumer(backfill=True) as consumer:
            await follow(consumer, model, alice, {"old", "new"})


async def test_a_collection_that_is_wanted_later_is_fetched_from_the_repos_that_have_it(
    tmp_path: Path,
) -> None:
    with FakePds(by_collection=True) as relay:
        async with network() as net:
            alice = existing(net, relay, "alice", note("one"), "app.test.picture/p")
            bob = existing(net, relay, "bob", note("two"))
            carol = existing(net, relay, "carol", "app.test.picture/q")
            options = with_listings(net, relay) | {"collections": ["app.test.note"]}
            model = Model()
            async with net.consumer(tmp_path / "s", **options) as consumer:
                await follow(consumer, model, alice, {"one"})
                await follow(consumer, model, bob, {"two"})
                await consumer.want("app.test.picture")
                await follow(consumer, model, alice, {"one", "p"})
                await follow(consumer, model, carol, {"q"})
                net.write(alice, "live", collection="app.test.picture")
                await follow(consumer, model, alice, {"one", "p", "live"})
                await consumer.want("app.test.picture")
            assert model.names(bob) == {"two"}
            assert relay.requests[GET_REPO, alice.did] == 2
            assert relay.requests[GET_REPO, bob.did] == 1
            # At the next start it is nothing new.
            options["collections"] = ["app.test.note", "app.test.picture"]
            net.write(bob, "three")
            async with net.consumer(tmp_path / "s", **options) as consumer:
                await follow(consumer, model, bob, {"two", "three"})
            assert relay.requests[GET_REPO, alice.did] == 2
            assert relay.requests[BY_COLLECTION, ""] == 2


async def test_a_repo_that_is_being_fetched_when_more_is_wanted_is_fetched_again(
    tmp_path: Path,
) -> None:
    with FakePds(by_collection=True) as relay:
        async with network() as net:
            alice = existing(net, relay, "alice", note("one"), "app.test.picture/p")
            gate = relay.gates[alice.did] = threading.Event()
            options = with_listings(net, relay) | {"collections": ["app.test.note"]}
            model = Model()
            async with net.consumer(tmp_path / "s", **options) as consumer:
                await until(lambda: relay.requests[GET_REPO, alice.did] == 1)
                await consumer.want("app.test.picture")
                await until(lambda: relay.requests[BY_COLLECTION, ""] >= 2)
                gate.set()
                await follow(consumer, model, alice, {"one", "p"})


async def test_a_host_without_listings_by_collection_is_asked_what_its_repos_have(
    tmp_path: Path,
) -> None:
    with FakePds() as pds:
        async with network() as net:
            alice = existing(net, pds, "alice", note("one"), "app.test.picture/p")
            bob = existing(net, pds, "bob", note("two"))
            options = with_listings(net, pds) | {"collections": ["app.test.note"]}
            model = Model()
            async with net.consumer(tmp_path / "s", **options) as consumer:
                await follow(consumer, model, alice, {"one"})
                await follow(consumer, model, bob, {"two"})
                await consumer.want("app.test.picture")
                await follow(consumer, model, alice, {"one", "p"})
            assert pds.requests[GET_REPO, bob.did] == 1
