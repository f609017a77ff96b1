"""Repos that were not followed from their start, or lost their chain, over a real relay and PDS
made for the tests."""

from __future__ import annotations

import asyncio
import json
import threading
from collections import deque
from pathlib import Path

import libipld
import pytest

from atdex_firehose import AccountEvent, CommitEvent, Consumer, Event, RejectedEvent
from atdex_firehose import pipeline as pipeline_module
from atdex_firehose import resync as resync_module
from tests.firehose.network import DEADLINE, NOTE, Network, network, take, until
from tests.support.mst import encode
from tests.support.repo import K256Key, Repo, account_frame, info_frame


class Model:
    """What a consumer has after the events that it was given: path to CID, by DID."""

    def __init__(self) -> None:
        self.records: dict[str, dict[str, str]] = {}
        self.revs: dict[str, str] = {}
        self.events: list[Event] = []

    def apply(self, event: Event) -> None:
        self.events.append(event)
        if isinstance(event, AccountEvent) and event.status == "deleted":
            self.records.pop(event.did, None)
        if not isinstance(event, CommitEvent):
            return
        last = self.revs.get(event.did, "")
        assert event.rev > last if event.live else event.rev >= last
        self.revs[event.did] = event.rev
        records = self.records.setdefault(event.did, {})
        for op in event.ops:
            path = f"{op.collection}/{op.rkey}"
            # An op says truly whether there was something before.
            assert (path in records) == (op.action != "create"), (op.action, path)
            if op.cid is None:
                del records[path]
            else:
                assert op.raw is not None
                records[path] = op.cid

    def names(self, repo: Repo) -> set[str]:
        return {path.partition("/")[2] for path in self.records.get(repo.did, {})}

    def lives(self) -> list[bool]:
        return [event.live for event in self.events if isinstance(event, CommitEvent)]


async def follow(consumer: Consumer, model: Model, repo: Repo, names: set[str]) -> None:
    """Take events until the model has these records of the repo, and nothing is left to fetch."""
    async with asyncio.timeout(DEADLINE):
        if model.names(repo) != names:
            async for event in consumer:
                model.apply(event)
                consumer.ack(event)
                if model.names(repo) == names:
                    break
        while consumer.stats().backfill.remaining:  # noqa: ASYNC110
            await asyncio.sleep(0.005)


def lost(net: Network, repo: Repo, writes: dict[str, object | None]) -> None:
    """A commit that no frame tells of."""
    repo.commit(writes)
    net.seq()


def note(name: str) -> str:
    return f"app.test.note/{name}"


async def test_a_gap_is_healed_by_creates_updates_and_deletes() -> None:
    async with network() as net:
        alice, bob = net.account("alice"), net.account("bob")
        net.write(alice, "kept", "changed", "removed")
        lost(net, alice, {note("changed"): NOTE | {"v": 2}, note("removed"): None})
        lost(net, alice, {note("missed"): NOTE, "app.other.thing/1": NOTE})
        net.write(alice, "after")
        net.write(bob, "fine")
        model = Model()
        async with net.consumer() as consumer:
            await follow(consumer, model, alice, {"kept", "changed", "missed", "after"})
            await follow(consumer, model, bob, {"fine"})
            stats = consumer.stats()
        assert (stats.desynchronized, stats.rejected) == (1, 0)
        assert stats.backfill.outcomes == {"done": 1}
        assert stats.backfill.repos == {"synchronized": 2}
        (healed,) = [e for e in model.events if isinstance(e, CommitEvent) and not e.live]
        assert sorted((op.action, op.rkey) for op in healed.ops) == [
            ("create", "after"),
            ("create", "missed"),
            ("delete", "removed"),
            ("update", "changed"),
        ]
        assert (healed.rev, healed.source) == (alice.rev, net.pds.url)


async def test_commits_that_come_during_the_fetch_wait_and_are_taken_in_order(
    tmp_path: Path,
) -> None:
    async with network() as net:
        alice = net.account("alice")
        gate = net.pds.gates[alice.did] = threading.Event()
        net.write(alice, "one")
        lost(net, alice, {note("missed"): NOTE})
        net.write(alice, "two")
        model = Model()
        async with net.consumer(tmp_path / "s") as consumer:
            await follow_until(consumer, model, lambda: net.pds.requests[GET_REPO, alice.did] > 0)
            # These are in the repo by the time it answers, and then one comes that is not.
            net.write(alice, "three", "four")
            await until(lambda: consumer.stats().upstreams[0]["seq"] == 5)
            stats = consumer.stats()
            assert stats.backfill.repos == {"in-progress": 1}
            # They are on disk: the cursor may pass them.
            await consumer.flush()
            assert consumer.stats().upstreams[0]["cursor"] == 5
            frozen = alice.export()
            net.pds.changed[alice.did] = lambda car: frozen
            net.write(alice, "five")
            await until(lambda: consumer.stats().upstreams[0]["seq"] == 6)
            gate.set()
            await follow(consumer, model, alice, {"one", "missed", "two", "three", "four", "five"})
        assert model.lives() == [True, False, True]


async def test_a_kill_during_the_fetch_keeps_the_commits_that_wait(tmp_path: Path) -> None:
    async with network() as net:
        alice = net.account("alice")
        gate = net.pds.gates[alice.did] = threading.Event()
        net.write(alice, "one")
        lost(net, alice, {note("missed"): NOTE})
        net.write(alice, "two", "three")
        model = Model()
        async with net.consumer(tmp_path / "s") as consumer:
            await follow_until(consumer, model, lambda: net.pds.requests[GET_REPO, alice.did] > 0)
            await until(lambda: consumer.stats().upstreams[0]["seq"] == 4)
            await consumer.flush()
            assert consumer.stats().upstreams[0]["cursor"] == 4
        # Nothing but the state's file is left of the first one.
        gate.set()
        frozen = alice.export()
        net.pds.changed[alice.did] = lambda car: frozen
        net.write(alice, "four")
        async with net.consumer(tmp_path / "s") as consumer:
            await follow(consumer, model, alice, {"one", "missed", "two", "three", "four"})
        assert net.relay.cursors == [0, 4]


@pytest.mark.parametrize(
    "wrong",
    ["429", "500", "truncated", "other account", "older", "garbage", "forged", "wrong tree"],
)
async def test_a_repo_that_is_served_badly_is_asked_for_again(wrong: str) -> None:
    async with network() as net:
        alice, mallory = net.account("alice"), net.account("mallory")
        mallory.commit({note("x"): NOTE})
        net.write(alice, "one")
        old = alice.export()
        net.write(alice, "two")
        lost(net, alice, {note("missed"): NOTE})
        net.write(alice, "three")
        good = alice.export()
        forged = Repo(alice.did, K256Key(), dict(alice.records), dict(alice.blocks))
        forged.data = alice.data
        forged.sync(rev=alice.rev)
        tampered = good.replace(encode(NOTE | {"name": "one"}), encode(NOTE | {"name": "two"}))
        answers = {
            "429": (429, {"retry-after": "0"}, b""),
            "500": (500, {}, b"oh"),
            "truncated": (200, {}, good[:-40]),
            "other account": (200, {}, mallory.export()),
            "older": (200, {}, old),
            "garbage": (200, {}, b"\0" * 99),
            "forged": (200, {}, forged.export()),
            "wrong tree": (200, {}, tampered),
        }
        net.pds.answers[alice.did] = deque([answers[wrong]] * 2)
        model = Model()
        async with net.consumer() as consumer:
            await follow(consumer, model, alice, {"one", "two", "missed", "three"})
            outcomes = consumer.stats().backfill.outcomes
        assert outcomes.pop("done") == 1
        names = {"429": "RateLimited", "500": "FetchFailed", "other account": "InvalidCommit"}
        names |= {"older": "OlderRepo", "forged": "BadSignature"}
        assert outcomes == {names.get(wrong, "InvalidCar"): 2}


async def test_a_first_record_in_an_old_repo_has_the_rest_fetched(tmp_path: Path) -> None:
    async with network() as net:
        alice = net.account("alice")
        lost(net, alice, {note("old"): NOTE, "app.other.thing/1": NOTE})
        net.write(alice, "new")
        net.write(alice, "thing", collection="app.other.more")
        model = Model()
        async with net.consumer(tmp_path / "s") as consumer:
            await follow(consumer, model, alice, {"old", "new"})
            assert consumer.stats().desynchronized == 0
        # Told at once, and the older ones when they were there.
        assert model.lives() == [True, False]
        net.write(alice, "newer")
        async with net.consumer(tmp_path / "s") as consumer:
            await follow(consumer, model, alice, {"old", "new", "newer"})
            assert consumer.stats().backfill.outcomes == {}


async def test_without_the_older_records_the_newer_ones_are_delivered_all_the_same() -> None:
    async with network() as net:
        alice = net.account("alice")
        lost(net, alice, {note("old"): NOTE})
        net.pds.answers[alice.did] = deque([(500, {}, b"")] * 1_000)
        net.write(alice, "a", "b", "c", "d")
        model = Model()
        async with net.consumer() as consumer:
            await follow_until(consumer, model, lambda: model.names(alice) == {"a", "b", "c", "d"})
            net.pds.answers[alice.did].clear()
            await follow(consumer, model, alice, {"old", "a", "b", "c", "d"})
            assert consumer.stats().desynchronized == 0


async def test_forged_noise_costs_no_fetch_once_the_chain_goes_on() -> None:
    async with network() as net:
        alice = net.account("alice")
        net.write(alice, "one")
        forged = Repo(alice.did, K256Key(), clock=alice.clock + 500)
        forged.commit({note("x"): NOTE})
        net.relay.send(forged.commit({note("forged"): NOTE}).encode(net.seq()))
        net.write(alice, "two")
        model = Model()
        async with net.consumer() as consumer:
            await follow(consumer, model, alice, {"one", "two"})
            await until(lambda: consumer.stats().backfill.repos == {"synchronized": 1})
            assert consumer.stats().rejected_by_reason == {"BadSignature": 1}
        assert net.pds.requests[GET_REPO, alice.did] == 0


async def test_a_refused_commit_that_was_real_is_fetched_though_nothing_follows() -> None:
    async with network() as net:
        alice = net.account("alice")
        net.write(alice, "one")
        body = alice.commit({note("omitted"): NOTE, note("told"): NOTE})
        ops = [op for op in body.fields["ops"] if "told" in op["path"]]
        net.relay.send(body.encode(net.seq(), ops=ops))
        model = Model()
        async with net.consumer() as consumer:
            await follow(consumer, model, alice, {"one", "omitted", "told"})
            assert consumer.stats().rejected_by_reason == {"InvalidCommit": 1}


async def test_a_sync_that_states_another_tree_has_the_repo_fetched() -> None:
    async with network() as net:
        alice = net.account("alice")
        net.write(alice, "one")
        lost(net, alice, {note("missed"): NOTE})
        net.relay.send(alice.sync().encode(net.seq()))
        model = Model()
        async with net.consumer() as consumer:
            await follow(consumer, model, alice, {"one", "missed"})
            net.write(alice, "two")
            await follow(consumer, model, alice, {"one", "missed", "two"})
            stats = consumer.stats()
        assert (stats.desynchronized, stats.syncs_verified) == (1, 1)


async def test_a_sync_with_the_same_tree_moves_the_rev_that_the_next_commit_continues() -> None:
    async with network() as net:
        alice = net.account("alice")
        net.write(alice, "one")
        net.relay.send(alice.sync().encode(net.seq()))
        net.write(alice, "two")
        model = Model()
        async with net.consumer() as consumer:
            await follow(consumer, model, alice, {"one", "two"})
            assert consumer.stats().desynchronized == 0
        assert net.pds.requests[GET_REPO, alice.did] == 0


async def test_what_an_account_wrote_while_it_was_away_is_fetched_when_it_is_back(
    tmp_path: Path,
) -> None:
    async with network() as net:
        alice = net.account("alice")
        net.write(alice, "one")
        net.relay.send(account_frame(net.seq(), alice.did, False, "deactivated"))
        net.write(alice, "hidden")
        model = Model()
        async with net.consumer(tmp_path / "s") as consumer:
            await follow_until(consumer, model, lambda: consumer.stats().ignored == 1)
            await asyncio.sleep(0.1)
            assert net.pds.requests[GET_REPO, alice.did] == 0
        net.relay.send(account_frame(net.seq(), alice.did, True))
        async with net.consumer(tmp_path / "s") as consumer:
            await follow(consumer, model, alice, {"one", "hidden"})


async def test_a_deleted_account_is_not_fetched_and_starts_anew_when_it_comes_back() -> None:
    async with network() as net:
        alice = net.account("alice")
        net.write(alice, "one", "two")
        net.relay.send(account_frame(net.seq(), alice.did, False, "deleted"))
        model = Model()
        async with net.consumer() as consumer:
            await follow_until(consumer, model, lambda: len(model.events) == 3)
            assert model.names(alice) == set()
            lost(net, alice, {note("one"): None})
            net.relay.send(account_frame(net.seq(), alice.did, True))
            await follow(consumer, model, alice, {"two"})
            net.write(alice, "three")
            await follow(consumer, model, alice, {"two", "three"})


async def test_missed_events_have_every_repo_looked_at(tmp_path: Path) -> None:
    async with network(checks_cursor=False) as net:
        quiet, changed = net.account("quiet"), net.account("changed")
        net.write(quiet, "one")
        net.write(changed, "one")
        model = Model()
        async with net.consumer(tmp_path / "s") as consumer:
            await follow(consumer, model, quiet, {"one"})
            await follow(consumer, model, changed, {"one"})
        lost(net, changed, {note("missed"): NOTE})
        net.relay.frames.clear()
        net.relay.send(info_frame("OutdatedCursor"))
        async with net.consumer(tmp_path / "s") as consumer:
            await follow(consumer, model, changed, {"one", "missed"})
            assert consumer.stats().backfill.outcomes == {"done": 1, "checked": 1}
        assert net.pds.requests[GET_REPO, quiet.did] == 0


async def test_who_loses_the_chain_again_and_again_waits_longer_each_time() -> None:
    async with network() as net:
        alice = net.account("alice")
        model = Model()
        net.write(alice, "0")
        async with net.consumer() as consumer:
            await follow(consumer, model, alice, {"0"})
            started = asyncio.get_running_loop().time()
            for n in range(1, 6):
                lost(net, alice, {note(f"missed{n}"): NOTE})
                net.write(alice, str(n))
                names = {str(m) for m in range(n + 1)} | {f"missed{m}" for m in range(1, n + 1)}
                await follow(consumer, model, alice, names)
            # Three are free; then 0.2 s and 0.4 s.
            assert asyncio.get_running_loop().time() - started >= 0.5


async def test_too_many_waiting_commits_are_forgotten_for_a_repo_that_is_at_least_as_new(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(pipeline_module, "PARKED_COMMITS", 5)
    async with network() as net:
        alice = net.account("alice")
        gate = net.pds.gates[alice.did] = threading.Event()
        net.write(alice, "one")
        lost(net, alice, {note("missed"): NOTE})
        net.write(alice, "two")
        model = Model()
        async with net.consumer() as consumer:
            await follow_until(consumer, model, lambda: net.pds.requests[GET_REPO, alice.did] > 0)
            old = alice.export()
            net.pds.answers[alice.did] = deque([(200, {}, old)])
            net.write(alice, *(f"n{n}" for n in range(12)))
            await until(lambda: consumer.stats().upstreams[0]["seq"] == 15)
            gate.set()
            expected = {"one", "missed", "two", *(f"n{n}" for n in range(12))}
            await follow(consumer, model, alice, expected)
            assert consumer.stats().backfill.outcomes == {"OlderRepo": 1, "done": 1}


async def test_a_big_repo_comes_in_parts_that_share_its_rev() -> None:
    async with network() as net:
        alice = net.account("alice")
        writes: dict[str, object | None] = {note(f"n{n:04}"): NOTE | {"n": n} for n in range(1_700)}
        lost(net, alice, writes)
        net.write(alice, "new")
        model = Model()
        async with net.consumer() as consumer:
            expected = {path.partition("/")[2] for path in writes} | {"new"}
            await follow(consumer, model, alice, expected)
        parts = [e for e in model.events if isinstance(e, CommitEvent) and not e.live]
        assert [len(part.ops) for part in parts] == [500, 500, 500, 200]
        assert {part.rev for part in parts} == {alice.rev}


async def test_a_direct_pds_may_speak_of_its_own_accounts_only() -> None:
    async with network() as net:
        alice, guest = net.account("alice"), net.account("guest")
        here = net.relay.url
        net.plc.documents[alice.did]["service"][0]["serviceEndpoint"] = here
        net.write(guest, "stolen")
        net.write(alice, "one")
        async with net.consumer(relays=[], hosts=[here]) as consumer:
            events = await take(consumer, 2)
        (refused,) = [event for event in events if isinstance(event, RejectedEvent)]
        assert (refused.did, refused.error) == (guest.did, "WrongHost")
        # An account that moves there is found out by one request.
        assert net.plc.requests[guest.did] == 2


GET_REPO = "com.atproto.sync.getRepo"


async def follow_until(consumer: Consumer, model: Model, condition: object) -> None:
    """Take events, as they come, until the condition holds."""
    assert callable(condition)

    async def taking() -> None:
        async for event in consumer:
            model.apply(event)
            consumer.ack(event)

    task = asyncio.create_task(taking())
    try:
        await until(lambda: bool(condition()) or task.done())
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def test_a_signed_commit_that_its_repo_never_had_is_refused_once_it_is_old(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(resync_module, "STRAY_SECONDS", -1e6)  # it is old already
    async with network() as net:
        alice = net.account("alice")
        net.write(alice, "one")
        other = Repo(alice.did, alice.key, clock=alice.clock + 10_000)
        other.commit({note("never"): NOTE})
        net.relay.send(other.commit({note("there"): NOTE}).encode(net.seq()))
        model = Model()
        async with net.consumer() as consumer:
            await follow(consumer, model, alice, {"one"})

            def refusals() -> list[RejectedEvent]:
                return [event for event in model.events if isinstance(event, RejectedEvent)]

            await follow_until(consumer, model, lambda: len(refusals()) == 1)
            await until(lambda: consumer.stats().backfill.repos == {"synchronized": 1})
        (refused,) = refusals()
        assert "its repo has it not" in refused.reason


async def test_a_deleted_account_is_nothing_that_remains_to_be_fetched(tmp_path: Path) -> None:
    async with network() as net:
        alice = net.account("alice")
        net.write(alice, "one")
        net.relay.send(account_frame(net.seq(), alice.did, False, "deleted"))
        model = Model()
        for _ in range(2):
            async with net.consumer(tmp_path / "s") as consumer:
                await follow_until(
                    consumer, model, lambda: consumer.stats().upstreams[0]["cursor"] == 2
                )
                assert consumer.stats().backfill.remaining == 0


@pytest.mark.parametrize(
    ("error", "status"), [("RepoDeactivated", "deactivated"), ("RepoTakendown", "takendown")]
)
async def test_an_account_whose_host_says_that_it_is_not_active_is_told_as_such(
    error: str, status: str
) -> None:
    async with network() as net:
        alice = net.account("alice")
        net.write(alice, "one")
        lost(net, alice, {note("missed"): NOTE})
        net.write(alice, "two")
        answer = (400, {"content-type": "application/json"}, json.dumps({"error": error}).encode())
        net.pds.answers[alice.did] = deque([answer])
        model = Model()
        async with net.consumer() as consumer:
            await follow_until(consumer, model, lambda: len(model.events) == 2)
            told = model.events[-1]
            assert isinstance(told, AccountEvent)
            assert (told.active, told.status, told.source) == (False, status, net.pds.url)
            assert consumer.stats().backfill.remaining == 0
            net.relay.send(account_frame(net.seq(), alice.did, True))
            await follow(consumer, model, alice, {"one", "missed", "two"})


async def test_a_refused_first_commit_is_fetched_though_later_ones_are_fine() -> None:
    async with network() as net:
        alice = net.account("alice")
        body = alice.commit({note("one"): NOTE})
        net.relay.send(body.encode(net.seq(), ops=[]))
        net.pds.answers[alice.did] = deque([(500, {}, b"")])
        net.write(alice, "two", "three")
        model = Model()
        async with net.consumer() as consumer:
            await follow(consumer, model, alice, {"one", "two", "three"})


async def test_a_copy_that_a_crash_left_ahead_of_the_state_comes_to_what_the_repo_holds() -> None:
    async with network() as net:
        alice = net.account("alice")
        lost(net, alice, {note("gone"): NOTE, note("kept"): NOTE, note("old"): NOTE})
        before = {path: libipld.encode_cid(cid) for path, cid in alice.records.items()}
        lost(net, alice, {note("gone"): None, note("old"): NOTE | {"v": 2}})
        net.write(alice, "new")

        async def held(did: str) -> dict[str, str]:
            assert did == alice.did
            return before

        model = Model()
        model.records[alice.did] = dict(before)
        async with net.consumer(held=held) as consumer:
            await follow(consumer, model, alice, {"kept", "old", "new"})
        (healed,) = [e for e in model.events if isinstance(e, CommitEvent) and not e.live]
        assert sorted((op.action, op.rkey) for op in healed.ops) == [
            ("delete", "gone"),
            ("update", "old"),
        ]
