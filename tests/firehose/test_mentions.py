"""Posts that name a record of ours are passed on, and their repos are not followed."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from atdex_firehose import (
    AccountEvent,
    CommitEvent,
    ConfigError,
    Consumer,
    Event,
    Mentions,
    RecordOp,
    RejectedEvent,
)
from tests.firehose.network import NOTE, Network, names, network, take, until
from tests.support.mst import encode
from tests.support.repo import K256Key, Repo, account_frame

POST = "app.other.post"
WORDS = (b"app.test.note",)
NAMING = {"$type": POST, "about": "at://did:plc:x/app.test.note/one"}
SILENT = {"$type": POST, "about": "the weather"}


def mentions(*kept: str) -> Mentions:
    return Mentions([POST], WORDS, lambda did: did in kept)


def write(net: Network, repo: Repo, **records: object | None) -> None:
    """One commit; a record key to its value, under POST unless it says NOTE."""
    paths = {
        f"{'app.test.note' if value is NOTE else POST}/{rkey}": value
        for rkey, value in records.items()
    }
    net.relay.send(repo.commit(paths).encode(net.seq()))


def mentioned(event: Event) -> list[tuple[str, str, bytes | None]]:
    assert isinstance(event, CommitEvent)
    return [(op.action, f"{op.collection}/{op.rkey}", op.raw) for op in event.mentions]


async def test_a_post_that_names_a_record_is_passed_on_whole_and_others_are_not() -> None:
    async with network() as net:
        alice, bob = net.account("alice"), net.account("bob")
        write(net, bob, silent=SILENT)
        write(net, alice, first=NAMING, second=SILENT)
        net.write(bob, "x", collection="app.other.thing")
        async with net.consumer(mentions=mentions()) as consumer:
            (event,) = await take(consumer, 1)
            stats = consumer.stats()
        assert isinstance(event, CommitEvent)
        assert (event.did, event.rev, event.ops) == (alice.did, alice.rev, ())
        assert (event.live, event.verified) == (True, True)
        assert mentioned(event) == [
            ("create", f"{POST}/first", encode(NAMING)),
            ("create", f"{POST}/second", encode(SILENT)),
        ]
        assert event.mentions[0].cid is not None
        assert net.plc.requests[bob.did] == 0, "of others nothing is asked"
        assert (stats.frames, stats.events) == (3, 1)
        assert stats.upstreams[0]["cursor"] == 3


async def test_the_repo_of_a_post_is_neither_tracked_nor_fetched(tmp_path: Path) -> None:
    async with network() as net:
        alice = net.account("alice")
        net.write(alice, "earlier", collection="app.other.thing")
        write(net, alice, first=NAMING)
        net.relay.send(alice.sync().encode(net.seq()))
        net.write(alice, "later", collection="app.other.thing")
        write(net, alice, second=NAMING)
        async with net.consumer(tmp_path / "s", mentions=mentions()) as consumer:
            events = await take(consumer, 2)
            await until(lambda: consumer.stats().upstreams[0]["cursor"] == 5)
            stats = consumer.stats()
        assert [op[1] for event in events for op in mentioned(event)] == [
            f"{POST}/first",
            f"{POST}/second",
        ]
        assert stats.backfill.repos == {}
        assert not net.pds.requests
        async with net.consumer(tmp_path / "s", mentions=mentions()) as consumer:
            assert consumer.stats().backfill.repos == {}


async def test_the_post_of_a_tracked_repo_comes_with_its_chain_unbroken(tmp_path: Path) -> None:
    async with network() as net:
        alice = net.account("alice")
        write(net, alice, one=NOTE)
        async with net.consumer(tmp_path / "s", mentions=mentions()) as consumer:
            events = await take(consumer, 1)
            write(net, alice, post=NAMING)
            write(net, alice, two=NOTE, both=NAMING)
            write(net, alice, silent=SILENT)
            write(net, alice, three=NOTE)
            events += await take(consumer, 3)
            stats = consumer.stats()
        assert [names([event]) for event in events] == [["one"], [], ["two"], ["three"]]
        assert [[op[1] for op in mentioned(event)] for event in events] == [
            [],
            [f"{POST}/post"],
            [f"{POST}/both"],
            [],
        ]
        assert (stats.commits_verified, stats.desynchronized) == (5, 0)
        assert stats.backfill.repos == {"synchronized": 1}


async def test_a_post_does_not_hide_the_first_record_of_its_repo() -> None:
    async with network() as net:
        alice = net.account("alice")
        write(net, alice, post=NAMING)
        write(net, alice, one=NOTE)
        async with net.consumer(mentions=mentions()) as consumer:
            events = await take(consumer, 2)
            await until(lambda: consumer.stats().backfill.repos == {"synchronized": 1})
        assert names(events) == ["one"]
        assert events[1].did == alice.did
        assert net.pds.requests[("com.atproto.sync.getRepo", alice.did)] == 1


async def test_the_deletion_of_a_post_is_seen_where_something_of_its_account_was_kept() -> None:
    async with network() as net:
        alice, bob = net.account("alice"), net.account("bob")
        for repo in (alice, bob):
            write(net, repo, post=NAMING)
            write(net, repo, post=None)
        async with net.consumer(mentions=mentions(alice.did)) as consumer:
            events = await take(consumer, 3)
            await until(lambda: consumer.stats().upstreams[0]["cursor"] == 4)
        seen = [(event.did, op[0]) for event in events for op in mentioned(event)]
        assert sorted(seen) == sorted(
            [(alice.did, "create"), (alice.did, "delete"), (bob.did, "create")]
        )


async def test_a_forged_post_is_set_aside_and_makes_nobody_fetch_the_repo() -> None:
    async with network() as net:
        alice, bob = net.account("alice"), net.account("bob")
        alice.key = K256Key()
        write(net, alice, forged=NAMING)
        body = bob.commit({f"{POST}/swapped": NAMING})
        body.fields["blocks"] = body.fields["blocks"].replace(b"plc:x", b"plc:y")
        net.relay.send(body.encode(net.seq()))
        write(net, bob, after=NAMING)
        async with net.consumer(mentions=mentions()) as consumer:
            events = await take(consumer, 3)
            stats = consumer.stats()
        rejected = {event.error for event in events if isinstance(event, RejectedEvent)}
        assert rejected == {"BadSignature", "InvalidCar"}
        (good,) = [event for event in events if isinstance(event, CommitEvent)]
        assert [op[1] for op in mentioned(good)] == [f"{POST}/after"]
        assert stats.backfill.repos == {}
        assert stats.upstreams[0]["cursor"] == 3
        assert not net.pds.requests


async def test_the_key_of_a_poster_who_changed_it_in_silence_is_found_out() -> None:
    async with network() as net:
        alice = net.account("alice")
        write(net, alice, first=NAMING)
        async with net.consumer(mentions=mentions()) as consumer:
            await take(consumer, 1)
            alice.key = K256Key()
            net.register(alice)
            write(net, alice, second=NAMING)
            (event,) = await take(consumer, 1)
        assert [op[1] for op in mentioned(event)] == [f"{POST}/second"]


async def test_posts_of_an_inactive_account_are_passed_over() -> None:
    async with network() as net:
        alice = net.account("alice")
        net.relay.send(account_frame(net.seq(), alice.did, False, "takendown"))
        write(net, alice, hidden=NAMING)
        net.relay.send(account_frame(net.seq(), alice.did, True))
        write(net, alice, shown=NAMING)
        async with net.consumer(mentions=mentions()) as consumer:
            events = await take(consumer, 3)
            stats = consumer.stats()
        assert [type(event) for event in events] == [AccountEvent, AccountEvent, CommitEvent]
        assert [op[1] for op in mentioned(events[2])] == [f"{POST}/shown"]
        assert (stats.ignored, stats.backfill.repos) == (1, {})


async def test_a_post_that_was_not_acknowledged_comes_again(tmp_path: Path) -> None:
    async with network() as net:
        alice = net.account("alice")
        write(net, alice, first=NAMING)
        write(net, alice, second=NAMING)
        async with net.consumer(tmp_path / "s", mentions=mentions()) as consumer:
            events = await take(consumer, 2, ack=False)
            consumer.ack(events[1])
            assert consumer.stats().upstreams[0]["cursor"] == 0
        async with net.consumer(tmp_path / "s", mentions=mentions()) as consumer:
            again = await take(consumer, 2)
            await asyncio.sleep(0)
            assert consumer.stats().upstreams[0]["cursor"] == 2
        assert [op[1] for event in again for op in mentioned(event)] == [
            f"{POST}/first",
            f"{POST}/second",
        ]


async def test_without_verifying_posts_come_as_unverified() -> None:
    async with network() as net:
        alice = net.account("alice")
        write(net, alice, first=NAMING)
        async with net.consumer(mentions=mentions(), verify=False) as consumer:
            (event,) = await take(consumer, 1)
        assert isinstance(event, CommitEvent)
        assert event.mentions == (
            RecordOp("create", POST, "first", event.mentions[0].cid, encode(NAMING)),
        )
        assert not event.verified


@pytest.mark.parametrize(
    ("collections", "words"), [(["*"], WORDS), ([], WORDS), ([POST], []), ([POST], [b""])]
)
def test_what_would_pass_everything_on_is_refused(
    collections: list[str], words: list[bytes]
) -> None:
    with pytest.raises(ConfigError):
        Mentions(collections, words)


def test_a_collection_that_is_wanted_anyway_is_no_mention() -> None:
    with pytest.raises(ConfigError, match="wanted anyway"):
        Consumer(["https://relay.example"], ["app.other.*"], mentions=mentions())
    with pytest.raises(ConfigError, match="Jetstream"):
        Consumer([], ["app.test.*"], jetstream="wss://jet.example", mentions=mentions())
