"""The writer: one order through three real stores, and what a kill between them does."""

from __future__ import annotations

import asyncio
import os
import random
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import pytest

from atdex_appview.catch_up import catch_up
from atdex_appview.errors import StoreUnavailable, WriteFailed
from atdex_appview.recovery import is_behind
from atdex_appview.search.document import SearchDocument
from atdex_appview.search.index import SearchIndex
from atdex_appview.state import Notes, QuarantinedRecord, State
from atdex_appview.store.base import Applied, Change, Delete, StatusChange
from atdex_appview.store.duckdb import DuckDBStore
from atdex_appview.writer import WAITING_BATCHES, Writer
from atdex_lexicons.errors import Problem
from tests.appview.burst import acked, burst
from tests.appview.model import Model
from tests.appview.records import ALICE, BOB, commit, dataset, put, rev, uri

DEADLINE = 20.0
"""Seconds after which a test that waits gives up: far more than a loaded machine needs."""


@dataclass
class Stores:
    store: DuckDBStore
    search: SearchIndex
    state: State

    @classmethod
    async def open(cls, directory: Path) -> Stores:
        return cls(
            DuckDBStore.open(directory / "records.duckdb", memory_limit_mb=256),
            SearchIndex.open(directory / "search"),
            await State.open(directory / "state.sqlite"),
        )

    async def close(self) -> None:
        await self.state.close()
        self.search.close()
        self.store.close()


@pytest.fixture
async def stores(tmp_path: Path) -> AsyncIterator[Stores]:
    opened = await Stores.open(tmp_path)
    yield opened
    await opened.close()


def writer_of(stores: Stores, **settings: float) -> Writer:
    return Writer(stores.store, stores.search, stores.state, **settings)  # type: ignore[arg-type]  # numbers


async def until(true: Callable[[], bool]) -> None:
    """Polls what has no event to wait for."""
    deadline = time.monotonic() + DEADLINE
    while not true():
        assert time.monotonic() < deadline
        await asyncio.sleep(0.005)


class Done:
    """Counts acknowledgements and remembers their order."""

    def __init__(self) -> None:
        self.order: list[int] = []
        self.changed = asyncio.Event()

    def of(self, number: int) -> None:
        self.order.append(number)
        self.changed.set()

    async def until(self, count: int) -> None:
        async with asyncio.timeout(DEADLINE):
            while len(self.order) < count:
                self.changed.clear()
                await self.changed.wait()


async def test_what_is_acknowledged_is_in_all_three_stores(stores: Stores) -> None:
    writer = writer_of(stores)
    running = asyncio.create_task(writer.run())
    done = Done()
    quarantined = QuarantinedRecord(
        uri(ALICE, "dataset", "bad"), ALICE, None, rev(1), (Problem("", "no"),), b"", 0, 1
    )
    started = time.monotonic()
    await writer.submit(
        commit(ALICE, 1, put(ALICE, "a", dataset("Retina"))),
        lambda: done.of(1),
        Notes(quarantined=(quarantined,)),
    )
    await done.until(1)
    assert time.monotonic() - started < DEADLINE, "it waits for no company for ever"
    assert stores.store.records([uri(ALICE, "dataset", "a")])
    assert stores.search.search("retina", limit=1).total == 1
    assert await stores.state.get(quarantined.uri) is not None
    assert await stores.state.search_change() == stores.store.change_number() == 1
    assert (writer.counters.changes, writer.counters.stored, writer.waiting) == (1, 1, 0)
    await writer.close()
    await running


async def test_acknowledgements_come_in_the_order_of_submission_over_many_batches(
    stores: Stores,
) -> None:
    writer = writer_of(stores, max_batch=7, max_delay=0.001)
    running = asyncio.create_task(writer.run())
    done = Done()
    for number in range(1, 101):
        change = commit(ALICE, number, put(ALICE, "a", dataset(f"v{number}")))
        await writer.submit(change, lambda number=number: done.of(number))  # type: ignore[misc]  # bound
    await writer.close()
    await running
    assert done.order == list(range(1, 101))
    assert [d.name for d in stores.store.all_search_documents()] == ["v100"]
    assert stores.search.search("v100", limit=1).total == 1
    assert stores.search.count() == 1


async def test_two_batches_keep_their_order_and_reach_search_as_one(stores: Stores) -> None:
    """The second batch is stored while the first one is still being indexed."""
    writer = writer_of(stores, max_batch=2, max_delay=0.001)
    entered, release = threading.Event(), threading.Event()
    update = stores.search.update

    def slow(*arguments: object) -> None:
        entered.set()
        release.wait(DEADLINE)
        update(*arguments)  # type: ignore[arg-type]  # what update takes

    stores.search.update = slow  # type: ignore[assignment,method-assign]  # a slow disk
    running = asyncio.create_task(writer.run())
    done = Done()
    a = uri(ALICE, "dataset", "a")
    changes: list[Change] = [
        commit(ALICE, 1, put(ALICE, "a", dataset("first"))),
        commit(ALICE, 2, put(ALICE, "b", dataset("first"))),
        commit(ALICE, 3, put(ALICE, "a", dataset("second"))),
        commit(ALICE, 4, Delete(uri(ALICE, "dataset", "b"))),
        commit(ALICE, 5, Delete(a)),
        commit(ALICE, 6, put(ALICE, "a", dataset("third"))),
    ]
    for number, change in enumerate(changes[:2]):
        await writer.submit(change, lambda number=number: done.of(number))  # type: ignore[misc]  # bound
    await asyncio.to_thread(entered.wait, DEADLINE)
    for number, change in enumerate(changes[2:], 2):
        await writer.submit(change, lambda number=number: done.of(number))  # type: ignore[misc]  # bound
    await until(lambda: stores.store.change_number() >= 3)
    assert done.order == [], "nothing is acknowledged that search does not have"
    release.set()
    await writer.close()
    await running
    assert done.order == [0, 1, 2, 3, 4, 5]
    assert stores.search.search("third", limit=5).total == stores.search.count() == 1


async def test_who_follows_is_told_of_every_batch_in_order_before_search_and_not_in_the_way(
    stores: Stores,
) -> None:
    told: list[tuple[int, list[str], int]] = []
    entered, release = threading.Event(), threading.Event()

    def follow(changes: Sequence[Change], number: int) -> None:
        entered.set()
        release.wait(DEADLINE)
        told.append((number, [each.did for each in changes], stores.search.count()))

    writer = Writer(
        stores.store, stores.search, stores.state, max_batch=1, max_delay=0.001, follow=follow
    )
    running = asyncio.create_task(writer.run())
    done = Done()
    changes = [
        commit(ALICE, 1, put(ALICE, "a", dataset("one"))),
        commit(BOB, 1, put(BOB, "b", dataset("two"))),
        commit(ALICE, 2, put(ALICE, "c", dataset("three"))),
    ]
    for number, change in enumerate(changes):
        await writer.submit(change, lambda number=number: done.of(number))  # type: ignore[misc]  # bound
    await asyncio.to_thread(entered.wait, DEADLINE)
    await until(lambda: stores.store.change_number() >= 2)
    assert (done.order, stores.search.count()) == ([], 0)
    release.set()
    await writer.close()
    await running
    assert [(number, dids) for number, dids, _ in told] == [
        (1, [ALICE]),
        (2, [BOB]),
        (3, [ALICE]),
    ]
    assert all(count < number for number, _, count in told)
    assert done.order == [0, 1, 2]


async def test_who_follows_and_fails_stops_the_writer(stores: Stores) -> None:
    def follow(changes: Sequence[Change], number: int) -> None:
        raise StoreUnavailable("gone")

    writer = Writer(stores.store, stores.search, stores.state, max_delay=0.0, follow=follow)
    running = asyncio.create_task(writer.run())
    done = Done()
    await writer.submit(commit(ALICE, 1, put(ALICE, "a", dataset("one"))), lambda: done.of(1))
    with pytest.raises(WriteFailed, match="lens graph"):
        await running
    assert (done.order, stores.search.count()) == ([], 0)


async def test_a_full_writer_makes_the_submitter_wait(stores: Stores) -> None:
    writer = writer_of(stores, max_batch=5, max_delay=0.001)
    done = Done()
    submitted = 0

    async def submit() -> None:
        nonlocal submitted
        for number in range(1, 101):
            change = commit(ALICE, number, put(ALICE, f"r{number}", dataset()))
            await writer.submit(change, lambda: done.of(1))
            submitted += 1

    submitting = asyncio.create_task(submit())
    for _ in range(200):
        await asyncio.sleep(0)
    assert submitted == WAITING_BATCHES * 5
    running = asyncio.create_task(writer.run())
    async with asyncio.timeout(DEADLINE):
        await submitting
    await writer.close()
    await running
    assert len(done.order) == 100
    assert stores.store.counts()["dataset"] == 100


async def test_large_records_fill_a_batch_by_their_bytes(
    stores: Stores, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("atdex_appview.writer.BATCH_BYTES", 2_000)
    batches: list[int] = []
    apply = stores.store.apply

    def counted(changes: list[Change], now: int) -> Applied:
        batches.append(len(changes))
        return apply(changes, now)

    stores.store.apply = counted  # type: ignore[assignment,method-assign]  # to count
    writer = writer_of(stores, max_delay=0.0)
    running = asyncio.create_task(writer.run())
    for number in range(1, 11):
        change = commit(ALICE, number, put(ALICE, f"r{number}", dataset("x" * 1_000)))
        await writer.submit(change, lambda: None)
    await writer.close()
    await running
    assert sum(batches) == 10
    assert max(batches) <= 2


async def test_a_store_that_fails_stops_the_writer_and_nothing_is_acknowledged(
    stores: Stores,
) -> None:
    def broken(changes: list[Change], now: int) -> Applied:
        raise StoreUnavailable("the disk is full")

    stores.store.apply = broken  # type: ignore[assignment,method-assign]  # a full disk
    writer = writer_of(stores, max_batch=1, max_delay=0.001)
    done = Done()
    running = asyncio.create_task(writer.run())
    await writer.submit(commit(ALICE, 1, put(ALICE, "a", dataset())), lambda: done.of(1))
    with pytest.raises(WriteFailed, match="record store") as caught:
        async with asyncio.timeout(DEADLINE):
            await running
    assert isinstance(caught.value.__cause__, StoreUnavailable)
    with pytest.raises(WriteFailed):
        await writer.submit(commit(ALICE, 2, put(ALICE, "b", dataset())), lambda: done.of(2))
    assert done.order == []
    assert await stores.state.search_change() is None


@pytest.mark.parametrize("part", ["search", "state"])
async def test_search_or_state_that_fails_stops_the_writer_and_a_restart_mends_it(
    stores: Stores, tmp_path: Path, part: str
) -> None:
    if part == "search":
        stores.search.close()
    else:
        await stores.state.close()
    writer = writer_of(stores, max_batch=1, max_delay=0.001)
    done = Done()
    running = asyncio.create_task(writer.run())
    await writer.submit(commit(ALICE, 1, put(ALICE, "a", dataset("eye"))), lambda: done.of(1))
    with pytest.raises(WriteFailed, match=part):
        async with asyncio.timeout(DEADLINE):
            await running
    assert done.order == []
    await stores.close()
    again = await Stores.open(tmp_path)
    assert await catch_up(again.store, again.search, again.state) == 1
    assert again.search.search("eye", limit=1).total == 1
    await again.close()


async def test_a_submitter_that_waits_is_told_when_the_writer_fails(stores: Stores) -> None:
    def broken(changes: list[Change], now: int) -> Applied:
        raise StoreUnavailable("gone")

    stores.store.apply = broken  # type: ignore[assignment,method-assign]  # it fails
    writer = writer_of(stores, max_batch=1, max_delay=0.001)

    async def submit() -> None:
        for number in range(1, 100):
            await writer.submit(commit(ALICE, number), lambda: None)

    submitting = asyncio.create_task(submit())
    await asyncio.sleep(0)
    with pytest.raises(WriteFailed):
        await writer.run()
    with pytest.raises(WriteFailed):
        async with asyncio.timeout(DEADLINE):
            await submitting


async def test_a_bug_in_a_store_is_not_swallowed(stores: Stores) -> None:
    def broken(changes: list[Change], now: int) -> Applied:
        raise ZeroDivisionError

    stores.store.apply = broken  # type: ignore[assignment,method-assign]  # a bug
    writer = writer_of(stores, max_delay=0.001)
    await writer.submit(commit(ALICE, 1), lambda: None)
    with pytest.raises(ZeroDivisionError):
        await writer.run()
    with pytest.raises(WriteFailed):
        await writer.submit(commit(ALICE, 2), lambda: None)


async def test_closing_writes_what_was_submitted_and_takes_no_more(stores: Stores) -> None:
    writer = writer_of(stores, max_delay=60.0)
    running = asyncio.create_task(writer.run())
    done = Done()
    await writer.submit(commit(ALICE, 1, put(ALICE, "a", dataset())), lambda: done.of(1))
    await writer.close()
    await running
    assert done.order == [1]
    with pytest.raises(RuntimeError, match="closing"):
        await writer.submit(None, lambda: None)


async def test_a_quiet_writer_folds_the_log_in_and_forgets_removals(stores: Stores) -> None:
    writer = writer_of(stores, max_delay=0.001, idle_seconds=0.05)
    running = asyncio.create_task(writer.run())
    done = Done()
    await writer.submit(commit(ALICE, 1, put(ALICE, "a", dataset())), lambda: done.of(1))
    await done.until(1)
    await writer.submit(StatusChange(ALICE, active=False, status="deleted"), lambda: done.of(2))
    await done.until(2)
    await until(lambda: not stores.store.changed_since(0).removed)
    await writer.close()
    await running


async def test_a_quiet_writer_whose_search_is_behind_tidies_again_once_it_is_not(
    stores: Stores, monkeypatch: pytest.MonkeyPatch
) -> None:
    update = stores.search.update

    def slowly(documents: Sequence[SearchDocument], removed: Sequence[str]) -> None:
        time.sleep(0.3)
        update(documents, removed)

    monkeypatch.setattr(stores.search, "update", slowly)
    writer = writer_of(stores, max_delay=0.001, idle_seconds=0.05)
    running = asyncio.create_task(writer.run())
    done = Done()
    await writer.submit(commit(ALICE, 1, put(ALICE, "a", dataset())), lambda: done.of(1))
    await done.until(1)
    await writer.submit(StatusChange(ALICE, active=False, status="deleted"), lambda: done.of(2))
    await done.until(2)
    await until(lambda: not stores.store.changed_since(0).removed)
    await writer.close()
    await running


async def test_hiding_and_restoring_an_account_reaches_search(stores: Stores) -> None:
    writer = writer_of(stores, max_delay=0.001)
    running = asyncio.create_task(writer.run())
    done = Done()
    await writer.submit(commit(ALICE, 1, put(ALICE, "a", dataset("eye"))), lambda: done.of(1))
    await writer.submit(commit(BOB, 1, put(BOB, "b", dataset("eye"))), lambda: done.of(2))
    await done.until(2)
    await writer.submit(StatusChange(ALICE, active=False, status="suspended"), lambda: done.of(3))
    await done.until(3)
    assert stores.search.search("eye", limit=9).total == 1
    await writer.submit(StatusChange(ALICE, active=True, status=None), lambda: done.of(4))
    await done.until(4)
    assert stores.search.search("eye", limit=9).total == 2
    await writer.close()
    await running


# Catching up


async def test_search_that_is_in_step_is_left_alone(stores: Stores) -> None:
    assert await catch_up(stores.store, stores.search, stores.state) == 0
    applied = stores.store.apply([commit(ALICE, 1, put(ALICE, "a", dataset("eye")))], now=1)
    stores.search.update(applied.upserted, applied.removed)
    await stores.state.save([Notes(search_change=applied.number)])
    assert await catch_up(stores.store, stores.search, stores.state) == 0
    stores.store.apply([commit(ALICE, 2, Delete(uri(ALICE, "dataset", "a")))], now=1)
    assert await catch_up(stores.store, stores.search, stores.state) == 0
    assert stores.search.count() == 0


@pytest.mark.parametrize("lost", ["search", "state", "both"])
async def test_a_search_index_or_state_that_was_lost_is_rebuilt_from_the_store(
    stores: Stores, tmp_path: Path, lost: str
) -> None:
    many = [put(ALICE, f"r{n}", dataset(f"eye {n}")) for n in range(30)]
    applied = stores.store.apply([commit(ALICE, 1, *many)], now=1)
    stores.search.update(applied.upserted, applied.removed)
    await stores.state.save([Notes(search_change=applied.number)])
    await stores.close()
    if lost in ("search", "both"):
        shutil.rmtree(tmp_path / "search")
    if lost in ("state", "both"):
        for file in tmp_path.glob("state.sqlite*"):
            file.unlink()
    again = await Stores.open(tmp_path)
    assert await catch_up(again.store, again.search, again.state) == 30
    assert again.search.search("eye", limit=1).total == 30
    assert await again.state.search_change() == 1
    await again.close()


async def test_a_store_that_was_put_back_to_an_older_day_takes_search_with_it(
    stores: Stores,
) -> None:
    stores.store.apply([commit(ALICE, 1, put(ALICE, "a", dataset("eye")))], now=1)
    stores.search.update([], [])
    await stores.state.save([Notes(search_change=50)])
    assert await is_behind(stores.store, stores.state)
    assert await catch_up(stores.store, stores.search, stores.state) == 1
    assert await stores.state.search_change() == 1
    assert not await is_behind(stores.store, stores.state)
    assert await catch_up(stores.store, stores.search, stores.state) == 0


# Kills


async def outcome(directory: Path) -> None:
    """Holds the stores against the model of the acknowledged changes, replayed to the end."""
    stores = await Stores.open(directory)
    await catch_up(stores.store, stores.search, stores.state)
    model, quarantined = Model(), set[str]()
    for change, notes in burst():
        model.apply(change)
        quarantined -= {at for at, _ in notes.cleared}
        quarantined |= {record.uri for record in notes.quarantined}
        quarantined = {at for at in quarantined if at.split("/")[2] not in notes.cleared_dids}
    visible = model.visible()
    listed = stores.store.list_records("dataset", limit=10_000)
    assert [record.cid for record in listed] == [found.cid for found in visible]
    assert stores.store.counts()["dataset"] == len(visible)
    hits = stores.search.search("eye", limit=10_000)
    assert [hit.uri for hit in hits.hits] == [found.uri for found in visible]
    assert stores.search.count() == hits.total == len(visible)
    assert await stores.state.count() == len(quarantined)
    for at in quarantined:
        assert await stores.state.get(at) is not None
    await stores.close()


def run_burst(directory: Path, stage: str, calls: int) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        [sys.executable, "-m", "tests.appview.burst", str(directory), stage, str(calls)],
        stderr=subprocess.PIPE,
    )


async def in_agreement(directory: Path) -> None:
    """What holds after every kill: search is brought up to the store, and nothing that was
    acknowledged is missing."""
    stores = await Stores.open(directory)
    await catch_up(stores.store, stores.search, stores.state)
    assert stores.search.count() == stores.store.counts()["dataset"]
    listed = stores.store.list_records("dataset", limit=10_000)
    assert [hit.uri for hit in stores.search.search("", limit=10_000).hits] == [
        record.uri for record in listed
    ]
    newest: dict[str, str] = {}
    for change, _ in burst()[: acked(directory)]:
        if hasattr(change, "rev"):
            newest[change.did] = change.rev
    publishers = stores.store.publishers(list(newest))
    for did, expected in newest.items():
        assert (publishers[did].rev or "") >= expected
    await stores.close()


@pytest.mark.timeout(180)
async def test_kills_between_the_three_stores_lose_nothing_and_repeat_nothing(
    tmp_path: Path,
) -> None:
    dice = random.Random()
    for stage in ("store", "search", "state", "ack", "store", "search"):
        calls = dice.randint(1, 40 if stage == "ack" else 4)
        process = run_burst(tmp_path, stage, calls)
        _, errors = await asyncio.to_thread(process.communicate, timeout=60)
        assert process.returncode == -signal.SIGKILL, (stage, calls, errors.decode())
        await in_agreement(tmp_path)
    process = run_burst(tmp_path, "none", 0)
    _, errors = await asyncio.to_thread(process.communicate, timeout=60)
    assert process.returncode == 0, errors.decode()
    await outcome(tmp_path)


@pytest.mark.timeout(180)
async def test_a_kill_at_any_moment_of_a_burst_loses_nothing_and_repeats_nothing(
    tmp_path: Path,
) -> None:
    dice = random.Random()
    for _ in range(3):
        before = acked(tmp_path)
        process = run_burst(tmp_path, "none", 0)
        goal = before + dice.randint(1, 150)
        deadline = time.monotonic() + 60
        while acked(tmp_path) < goal and process.poll() is None:
            assert time.monotonic() < deadline
            await asyncio.sleep(0.002)
        os.kill(process.pid, signal.SIGKILL)
        await asyncio.to_thread(process.communicate)
        await in_agreement(tmp_path)
    process = run_burst(tmp_path, "none", 0)
    _, errors = await asyncio.to_thread(process.communicate, timeout=60)
    assert process.returncode == 0, errors.decode()
    await outcome(tmp_path)
