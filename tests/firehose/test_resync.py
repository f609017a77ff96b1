"""Repos that were not followed from their start, or lost their chain, over a real relay and PDS
made for the tests."""

from __future__ import annotations

import threading
from collections import deque
from pathlib import Path

import libipld
import pytest

from atdex_firehose import CommitEvent
from atdex_firehose import pipeline as pipeline_module
from tests.firehose.model import GET_REPO, Model, follow, follow_until, lost, note
from tests.firehose.network import NOTE, network, until
from tests.support.repo import info_frame


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
