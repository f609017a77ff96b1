from __future__ import annotations

import asyncio
import threading
from pathlib import Path

import pytest

from atdex_firehose import (
    AccountEvent,
    CommitEvent,
    ConfigError,
    Consumer,
    Event,
    IdentityEvent,
    RejectedEvent,
    StateError,
    SyncEvent,
)
from atdex_firehose import pipeline as pipeline_module
from atdex_firehose.handles import HandleResolver
from tests.firehose.compiled import needs_plain
from tests.firehose.network import NOTE, names, network, take, until
from tests.support.mst import encode
from tests.support.relay import FakeRelay
from tests.support.repo import K256Key, P256Key, Repo, account_frame, frame, identity_frame, plc_did


@pytest.mark.parametrize("key", [K256Key(), P256Key()])
async def test_a_signed_record_is_delivered_as_it_was_signed(key: K256Key | P256Key) -> None:
    async with network() as net:
        alice = net.account("alice", key)
        net.write(alice, "one")
        async with net.consumer() as consumer:
            (event,) = await take(consumer, 1)
        assert isinstance(event, CommitEvent)
        assert (event.source, event.seq, event.did) == (net.relay.url, 1, alice.did)
        assert (event.rev, event.live) == (alice.rev, True)
        assert event.ops[0].raw == encode(NOTE | {"name": "one"})
        assert (event.identity.claimed, event.identity.pds) == ("alice.test", net.pds.url)
        assert event.identity.handle is None  # nobody was asked to verify it


async def test_only_wanted_ops_are_delivered_and_other_commits_are_not_even_verified() -> None:
    async with network() as net:
        alice, forger = net.account("alice"), net.account("forger")
        forger.key = K256Key()
        net.write(forger, "x", collection="app.other.thing")
        net.write(alice, "y", collection="app.testing.note")
        body = alice.commit({"app.other.thing/z": NOTE, "app.test.note/one": NOTE})
        net.relay.send(body.encode(net.seq()))
        async with net.consumer() as consumer:
            assert names(await take(consumer, 1)) == ["one"]
            stats = consumer.stats()
        assert (stats.frames, stats.events, stats.commits_verified) == (3, 1, 1)
        assert net.plc.requests[forger.did] == 0
        assert stats.upstreams[0]["cursor"] == 3


async def test_what_was_not_acknowledged_comes_again_after_a_restart(tmp_path: Path) -> None:
    async with network() as net:
        alice, bob = net.account("alice"), net.account("bob")
        net.write(alice, "a1", "a2")
        net.write(bob, "b1")
        net.write(alice, "a3")
        async with net.consumer(tmp_path / "s") as consumer:
            events = await take(consumer, 4, ack=False)
            assert sorted(names(events)) == ["a1", "a2", "a3", "b1"]
            for event in events:
                if event.seq != 2:
                    consumer.ack(event)
            assert consumer.stats().upstreams[0]["cursor"] == 1
        async with net.consumer(tmp_path / "s") as consumer:
            # b1 was acknowledged and saved; a3 was not safe to be saved before a2.
            again = await take(consumer, 2)
            assert names(again) == ["a2", "a3"]
            await consumer.flush()
        assert net.relay.cursors == [0, 1]
        net.write(bob, "b2")
        async with net.consumer(tmp_path / "s") as consumer:
            assert names(await take(consumer, 1)) == ["b2"]
        assert net.relay.cursors == [0, 1, 4]


async def test_two_relays_deliver_a_commit_once_and_both_cursors_wait_for_it(
    tmp_path: Path,
) -> None:
    async with network() as net, FakeRelay() as second:
        alice = net.account("alice")
        bodies = [alice.commit({f"app.test.note/{n}": NOTE}) for n in range(20)]
        for n, body in enumerate(bodies):
            net.relay.send(body.encode(1 + n))
            second.send(body.encode(1001 + n))
        async with net.consumer(tmp_path / "s", relays=[net.relay.url, second.url]) as consumer:
            events = await take(consumer, 20, ack=False)
            assert names(events) == [str(n) for n in range(20)]
            await until(lambda: consumer.stats().ignored == 20)
            held = {each["url"]: each["cursor"] for each in consumer.stats().upstreams}
            assert held == {net.relay.url: 0, second.url: 1000}
            for event in reversed(events):
                consumer.ack(event)
            done = {each["url"]: each["cursor"] for each in consumer.stats().upstreams}
            assert done == {net.relay.url: 20, second.url: 1020}


async def test_a_did_that_is_slow_to_resolve_holds_up_nobody_else() -> None:
    async with network() as net:
        slow, fast = net.account("slow"), net.account("fast")
        gate = net.plc.gates[slow.did] = threading.Event()
        net.write(slow, "s1", "s2")
        net.write(fast, "f1")
        net.write(slow, "s3")
        net.write(fast, "f2")
        async with net.consumer() as consumer:
            assert names(await take(consumer, 2)) == ["f1", "f2"]
            assert consumer.stats().upstreams[0]["cursor"] == 0
            gate.set()
            assert names(await take(consumer, 3)) == ["s1", "s2", "s3"]
            assert consumer.stats().upstreams[0]["cursor"] == 5


async def test_an_outage_of_the_directory_loses_nothing() -> None:
    async with network() as net:
        alice = net.account("alice")
        net.plc.answers[alice.did] = (503, b"")
        net.write(alice, "one", "two")
        async with net.consumer() as consumer:
            await until(lambda: net.plc.requests[alice.did] >= 2)
            assert consumer.stats().rejected == 0
            del net.plc.answers[alice.did]
            assert names(await take(consumer, 2)) == ["one", "two"]


async def test_a_quiet_key_rotation_is_found_out_by_one_request() -> None:
    async with network() as net:
        alice = net.account("alice")
        net.write(alice, "before")
        async with net.consumer() as consumer:
            await take(consumer, 1)
            alice.key = P256Key()
            net.register(alice)
            net.write(alice, "after", "later")
            assert names(await take(consumer, 2)) == ["after", "later"]
            assert consumer.stats().refreshes == 1
        assert net.plc.requests[alice.did] == 2


async def test_a_forged_commit_is_set_aside_with_its_reason_and_the_stream_goes_on() -> None:
    async with network() as net:
        alice = net.account("alice")
        net.write(alice, "one")
        forged = Repo(alice.did, K256Key(), clock=alice.clock + 500)
        forged.commit({"app.test.note/x": NOTE})
        body = forged.commit({"app.test.note/forged": NOTE})
        net.relay.send(body.encode(net.seq()))
        net.write(alice, "two")
        async with net.consumer() as consumer:
            events = await take(consumer, 3)
            stats = consumer.stats()
        assert names(events) == ["one", "RejectedEvent", "two"]
        rejected = events[1]
        assert isinstance(rejected, RejectedEvent)
        assert (rejected.did, rejected.rev, rejected.error) == (
            alice.did,
            forged.rev,
            "BadSignature",
        )
        assert rejected.frame == body.encode(2)
        assert stats.rejected_by_reason == {"BadSignature": 1}
        assert stats.upstreams[0]["cursor"] == 3


async def test_forged_signatures_cannot_make_us_ask_the_directory_without_end() -> None:
    async with network() as net:
        alice = net.account("alice")
        forger = Repo(alice.did, K256Key())
        net.write(forger, *(str(n) for n in range(50)))
        async with net.consumer() as consumer:
            events = await take(consumer, 50)
        assert {type(event) for event in events} == {RejectedEvent}
        assert net.plc.requests[alice.did] <= 6


@pytest.mark.parametrize(
    ("status", "error"), [(410, "IdentityGone"), (404, "IdentityGone"), (200, "InvalidIdentity")]
)
async def test_commits_of_an_identity_that_cannot_be_used_are_rejected(
    status: int, error: str
) -> None:
    async with network() as net:
        alice = net.account("alice")
        net.plc.answers[alice.did] = (status, b"{}")
        net.write(alice, "one")
        async with net.consumer() as consumer:
            (event,) = await take(consumer, 1)
        assert isinstance(event, RejectedEvent)
        assert event.error == error


async def test_account_and_identity_events_come_for_every_did() -> None:
    async with network() as net:
        alice, stranger = net.account("alice"), net.account("stranger")
        net.write(alice, "one")
        net.relay.send(
            account_frame(net.seq(), stranger.did, False, "a-word-to-come"),
            identity_frame(net.seq(), stranger.did, "claimed.test"),
        )
        async with net.consumer() as consumer:
            events = await take(consumer, 3)
            commit, account, identity = sorted(events, key=lambda event: event.seq)
            assert isinstance(commit, CommitEvent)
            assert isinstance(account, AccountEvent)
            assert (account.active, account.status) == (False, "a-word-to-come")
            assert isinstance(identity, IdentityEvent)
            assert identity.identity is not None
            assert identity.identity.claimed == "claimed.test"
            assert net.plc.requests[stranger.did] == 0

            net.plc.documents[alice.did]["alsoKnownAs"] = ["at://renamed.test"]
            net.relay.send(identity_frame(net.seq(), alice.did))
            (renamed,) = await take(consumer, 1)
            assert isinstance(renamed, IdentityEvent)
            assert renamed.identity is not None
            assert renamed.identity.claimed == "renamed.test"

            net.plc.answers[alice.did] = (410, b"{}")
            net.relay.send(identity_frame(net.seq(), alice.did))
            (gone,) = await take(consumer, 1)
            assert isinstance(gone, IdentityEvent)
            assert gone.identity is None


async def test_commits_of_an_inactive_account_are_ignored_until_it_is_active_again(
    tmp_path: Path,
) -> None:
    async with network() as net:
        alice = net.account("alice")
        net.write(alice, "one")
        net.relay.send(account_frame(net.seq(), alice.did, False, "deactivated"))
        net.write(alice, "hidden")
        async with net.consumer(tmp_path / "s") as consumer:
            assert names(await take(consumer, 2)) == ["one", "AccountEvent"]
            await until(lambda: consumer.stats().ignored == 1)
        net.write(alice, "hidden2")
        net.relay.send(account_frame(net.seq(), alice.did, True))
        net.write(alice, "two")
        async with net.consumer(tmp_path / "s") as consumer:
            # What it wrote meanwhile is fetched: its commits are not there any more.
            events = await take(consumer, 2)
            assert isinstance(events[0], AccountEvent)
            assert isinstance(events[1], CommitEvent)
            assert sorted(names(events[1:])) == ["hidden", "hidden2", "two"]
            assert not events[1].live
            assert consumer.stats().backfill.outcomes == {"done": 1}


async def test_a_sync_is_delivered_for_repos_that_had_a_wanted_record() -> None:
    async with network() as net:
        alice, stranger = net.account("alice"), net.account("stranger")
        net.write(stranger, "x", collection="app.other.thing")
        net.relay.send(stranger.sync().encode(net.seq()))
        net.write(alice, "one")
        repeated = alice.sync(rev=alice.rev)
        net.relay.send(repeated.encode(net.seq()))
        net.relay.send(alice.sync().encode(net.seq()))
        net.write(alice, "two")
        async with net.consumer() as consumer:
            events = await take(consumer, 3)
            assert names(events) == ["one", "SyncEvent", "two"]
            assert isinstance(events[1], SyncEvent)
            stats = consumer.stats()
        assert (stats.syncs_verified, stats.ignored, stats.rejected) == (1, 2, 0)
        assert stats.upstreams[0]["cursor"] == net.seq() - 1
        assert net.plc.requests[stranger.did] == 0


async def test_frames_with_bad_fields_are_rejected_one_by_one() -> None:
    async with network() as net:
        alice = net.account("alice")
        good = alice.commit({"app.test.note/bad": NOTE})
        net.relay.send(
            good.encode(net.seq(), repo="nobody"),
            good.encode(net.seq(), rev="yesterday"),
            good.encode(net.seq(), blocks=b""),
            good.encode(net.seq(), ops=[{"path": "app.test.note/1"}]),
            frame("#account", {"seq": net.seq(), "did": alice.did}),
            frame("#news", {"seq": net.seq(), "did": alice.did}),
            frame(
                "#identity", {"seq": net.seq(), "did": "did:x:y", "time": "2026-01-01T00:00:00Z"}
            ),
        )
        net.write(alice, "one")
        async with net.consumer() as consumer:
            events: list[Event] = []
            while len(names(events)) < 8:
                events += await take(consumer, 1)
            reasons = consumer.stats().rejected_by_reason
        # The commit that came in bad shape only is fetched from the repo.
        assert sorted(names(events)) == ["IdentityEvent", *["RejectedEvent"] * 5, "bad", "one"]
        assert reasons == {"InvalidEvent": 4, "InvalidCar": 1}
        assert net.relay.cursors == [0]


async def test_a_slow_consumer_slows_the_stream_and_loses_nothing() -> None:
    async with network() as net:
        alice, bob = net.account("alice"), net.account("bob")
        for n in range(400):
            net.write(alice if n % 2 else bob, str(n))
        async with net.consumer(buffer=10, max_unacked=25) as consumer:
            events = []
            async for event in consumer:
                events.append(event)
                if len(events) % 20 == 0:
                    await asyncio.sleep(0.001)
                    assert consumer.stats().unacked <= 25
                    for each in events[-20:]:
                        consumer.ack(each)
                if len(events) == 400:
                    break
            assert consumer.stats().upstreams[0]["cursor"] == 400
        assert sorted(names(events), key=int) == [str(n) for n in range(400)]
        assert [name for name in names(events) if int(name) % 2] == [
            str(n) for n in range(400) if n % 2
        ]


async def test_stopping_hands_out_what_was_read_and_ends_the_iteration() -> None:
    async with network() as net:
        alice = net.account("alice")
        net.write(alice, *(str(n) for n in range(30)))
        async with net.consumer() as consumer:
            await until(lambda: consumer.stats().events == 30)
            await consumer.stop()
            assert names([event async for event in consumer]) == [str(n) for n in range(30)]


async def test_leaving_in_the_middle_does_not_hang_and_saves_what_was_acknowledged(
    tmp_path: Path,
) -> None:
    async with network() as net:
        alice = net.account("alice")
        net.write(alice, *(str(n) for n in range(100)))
        async with net.consumer(tmp_path / "s", buffer=4) as consumer:
            await take(consumer, 10)
        async with net.consumer(tmp_path / "s") as consumer:
            assert names(await take(consumer, 90)) == [str(n) for n in range(10, 100)]


async def test_without_a_context_the_consumer_opens_for_the_iteration() -> None:
    async with network() as net:
        net.write(net.account("alice"), "one")
        events = aiter(net.consumer())
        assert names([await anext(events)]) == ["one"]
        await events.aclose()  # type: ignore[attr-defined]  # an async generator has it


async def test_an_error_of_ours_surfaces_where_one_iterates(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def broken(*_: object) -> None:
        raise ZeroDivisionError("ours")

    needs_plain(pipeline_module)
    monkeypatch.setattr(pipeline_module, "verify_commit", broken)
    async with network() as net:
        net.write(net.account("alice"), "one")
        async with net.consumer() as consumer:
            with pytest.raises(ZeroDivisionError):
                await take(consumer, 1)


@pytest.mark.parametrize(
    "url",
    ["", "relay.test", "ftp://relay.test", "https://relay.test/other", "https://a@b", "ws://x?y"],
)
def test_a_relay_that_is_no_url_is_refused(url: str) -> None:
    with pytest.raises(ConfigError):
        Consumer(relays=[url], collections=["app.test.note"])


def test_no_relay_is_refused() -> None:
    with pytest.raises(ConfigError):
        Consumer(relays=[], collections=["app.test.note"])


async def test_all_spellings_of_a_relay_are_one_relay() -> None:
    async with network() as net:
        alice = net.account("alice")
        net.write(alice, "one")
        base = net.relay.url
        spellings = [
            base,
            base + "/",
            base.replace("http", "ws"),
            base.replace("http", "ws") + "/xrpc/com.atproto.sync.subscribeRepos",
        ]
        async with net.consumer(relays=spellings) as consumer:
            assert names(await take(consumer, 1)) == ["one"]
            assert [each["url"] for each in consumer.stats().upstreams] == [base]


async def test_a_damaged_state_file_is_told_at_once(tmp_path: Path) -> None:
    (tmp_path / "s").write_bytes(b"damaged" * 1000)
    consumer = Consumer(["http://127.0.0.1:1"], ["app.test.note"], state=tmp_path / "s")
    with pytest.raises(StateError):
        await consumer.__aenter__()


async def test_a_repo_that_is_not_did_plc_or_web_is_rejected() -> None:
    async with network() as net:
        repo = Repo("did:example:alice", K256Key())
        net.write(repo, "one")
        net.write(Repo(plc_did("nobody"), K256Key()), "two")
        async with net.consumer() as consumer:
            events = await take(consumer, 2)
        assert [getattr(event, "error", "") for event in sorted(events, key=lambda e: e.seq)] == [
            "InvalidIdentity",
            "IdentityGone",
        ]


async def test_a_verified_handle_is_told_until_it_is_acknowledged(tmp_path: Path) -> None:
    async with network() as net:
        alice, mallory = net.account("alice"), net.account("mallory")
        net.pds.handles["alice.test"] = alice.did  # both claim it
        net.write(alice, "one")
        net.write(mallory, "two")
        for _ in range(2):
            async with (
                HandleResolver(service=net.pds.url, local=True) as handles,
                net.consumer(tmp_path / "s", handles=handles) as consumer,
            ):
                told: dict[str, str | None] = {}
                async with asyncio.timeout(15):
                    async for event in consumer:
                        if isinstance(event, IdentityEvent):
                            assert event.identity is not None
                            told[event.did] = event.identity.handle
                            if len(told) == 2:
                                break
                        else:
                            consumer.ack(event)
                assert told == {alice.did: "alice.test", mallory.did: "handle.invalid"}
            # Neither was acknowledged: both are told again, though nothing else happens.
