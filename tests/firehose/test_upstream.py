"""What ends a connection, and that the stream goes on after it."""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest

from atdex_firehose import RejectedEvent, limits
from atdex_firehose.backoff import Backoff
from atdex_firehose.errors import BackwardSeq, ConsumerTooSlow, InvalidFrame
from atdex_firehose.frames import Body
from atdex_firehose.items import Item
from atdex_firehose.relay import parse_relay
from atdex_firehose.subscribe import Rest
from atdex_firehose.upstream import BATCH_ITEMS, POISON_ATTEMPTS, Take, Timing, Upstream
from tests.firehose.network import Network, names, network, quick, take, until
from tests.support.mst import encode
from tests.support.repo import K256Key, Repo, account_frame, error_frame, frame, info_frame, plc_did


@pytest.mark.parametrize("code", [1000, 1001, 1008, 1011])
async def test_a_close_by_the_server_is_followed_by_the_rest_of_the_stream(code: int) -> None:
    async with network() as net:
        alice = net.account("alice")
        net.write(alice, "one")
        async with net.consumer() as consumer:
            await take(consumer, 1)
            await net.relay.drop(code)
            net.write(alice, "two")
            assert names(await take(consumer, 1)) == ["two"]
            assert consumer.stats().upstreams[0]["connections"] == 2
        assert net.relay.cursors == [0, 1]


async def test_a_connection_cut_every_few_frames_loses_and_repeats_nothing() -> None:
    async with network() as net:
        alice, bob = net.account("alice"), net.account("bob")
        net.relay.close_after = 7
        for n in range(60):
            net.write(alice if n % 3 else bob, str(n))
        async with net.consumer() as consumer:
            events = await take(consumer, 60)
        assert sorted(names(events), key=int) == [str(n) for n in range(60)]
        assert len(net.relay.cursors) >= 9


async def test_an_upstream_that_repeats_the_event_at_the_cursor_is_tolerated() -> None:
    async with network(inclusive=True) as net:
        alice = net.account("alice")
        net.write(alice, "one", "two")
        async with net.consumer() as consumer:
            await take(consumer, 2)
            await net.relay.drop()
            net.write(alice, "three")
            assert names(await take(consumer, 1)) == ["three"]
            assert consumer.stats().ignored == 0


async def test_an_upstream_that_is_not_there_yet_is_waited_for() -> None:
    async with network() as net:
        net.write(net.account("alice"), "one")
        async with net.consumer(relays=["http://127.0.0.1:1", net.relay.url]) as consumer:
            assert names(await take(consumer, 1)) == ["one"]
            await until(lambda: consumer.stats().upstreams[0]["last_error"] is not None)
            absent, present = consumer.stats().upstreams
        assert "cannot connect" in str(absent["last_error"])
        assert (absent["connected"], present["connected"]) == (False, True)
        assert present["lag_seconds"] is not None


async def test_a_future_cursor_is_asked_again_ever_more_slowly_and_never_lowered(
    caplog: pytest.LogCaptureFixture,
) -> None:
    class Steps(Backoff):
        def next_delay(self) -> float:
            self.attempts += 1
            attempts.append(self.attempts)
            return 0.01

    attempts: list[int] = []
    async with network() as net:
        alice = net.account("alice")
        net.write(alice, "one", "two")
        async with net.consumer(timing=lambda: Timing(backoff=Steps())) as consumer:
            await take(consumer, 2)
            net.relay.frames.clear()  # the upstream starts over
            with caplog.at_level(logging.ERROR):
                await net.relay.drop()
                await until(lambda: len(attempts) >= 4)
            assert attempts[:4] == [1, 2, 3, 4]
            assert "ahead of the upstream" in caplog.text
            stats = consumer.stats().upstreams[0]
            assert "FutureCursor" not in str(stats["cursor"])
            assert stats["cursor"] == 2
            net.write(alice, "three")
            assert names(await take(consumer, 1)) == ["three"]
        assert set(net.relay.cursors) == {0, 2}


@pytest.mark.parametrize("error", ["ConsumerTooSlow", "SomethingNew"])
async def test_an_error_frame_ends_the_connection_and_not_the_consumer(error: str) -> None:
    async with network() as net:
        alice = net.account("alice")
        net.write(alice, "one")
        async with net.consumer() as consumer:
            await take(consumer, 1)
            net.relay.send(error_frame(error, "go away"))
            await until(lambda: len(net.relay.cursors) >= 2)
            net.relay.frames.pop()
            net.write(alice, "two")
            assert names(await take(consumer, 1)) == ["two"]


async def test_missed_events_are_counted_and_told(caplog: pytest.LogCaptureFixture) -> None:
    async with network() as net:
        net.relay.send(info_frame("OutdatedCursor", "too old"), info_frame("Other"))
        net.write(net.account("alice"), "one")
        async with net.consumer() as consumer:
            with caplog.at_level(logging.WARNING):
                await take(consumer, 1)
            assert consumer.stats().upstreams[0]["outdated"] == 1
        assert "events were missed" in caplog.text


@pytest.mark.parametrize("seq", [1, 2])
async def test_a_repeated_or_backward_seq_drops_the_connection(seq: int) -> None:
    async with network() as net:
        alice = net.account("alice")
        net.write(alice, "one", "two")
        net.relay.send(account_frame(seq, alice.did, False))
        async with net.consumer() as consumer:
            assert names(await take(consumer, 2)) == ["one", "two"]
            await until(lambda: len(net.relay.cursors) >= 2)
            assert f"seq {seq} came after 2" in str(consumer.stats().upstreams[0]["last_error"])
            net.write(alice, "three")
            assert names(await take(consumer, 1)) == ["three"]


@pytest.mark.parametrize(
    "raw",
    [
        b"garbage",
        encode({"op": 1, "t": "#commit"}) + b"\x81" * 100_000,
        frame("#account", {"did": plc_did("alice")}),
    ],
)
async def test_an_undecodable_frame_drops_the_connection_and_is_at_last_set_aside(
    raw: bytes,
) -> None:
    async with network() as net:
        alice = net.account("alice")
        net.write(alice, "one")
        net.relay.send(raw)
        net.write(alice, "two")
        async with net.consumer() as consumer:
            events = await take(consumer, 3)
            for event in events:
                consumer.ack(event)
            stats = consumer.stats()
        rejected, *others = sorted(events, key=lambda event: event.seq)
        assert names(others) == ["one", "two"]
        assert isinstance(rejected, RejectedEvent)
        assert (rejected.error, rejected.seq, rejected.did) == ("InvalidFrame", 0, "")
        assert rejected.frame == raw[: limits.REJECTED_FRAME_BYTES]
        assert len(net.relay.cursors) == POISON_ATTEMPTS
        assert stats.upstreams[0]["cursor"] == 2


async def test_several_undecodable_frames_in_a_row_are_passed_one_after_the_other() -> None:
    async with network() as net:
        alice = net.account("alice")
        net.relay.send(b"garbage", b"rubbish", b"waste")
        net.write(alice, "one")
        async with net.consumer() as consumer:
            events = await take(consumer, 4)
        assert sorted(names(events)) == [*["RejectedEvent"] * 3, "one"]


async def test_a_text_message_drops_the_connection() -> None:
    async with network() as net:
        alice = net.account("alice")
        net.write(alice, "one")
        net.relay.send("hello")
        async with net.consumer() as consumer:
            await take(consumer, 1)
            await until(lambda: len(net.relay.cursors) >= 2)
            assert "not DAG-CBOR" in str(consumer.stats().upstreams[0]["last_error"])


async def test_a_frame_over_the_limit_is_never_taken_into_memory() -> None:
    async with network() as net:
        alice = net.account("alice")
        net.write(alice, "one")
        net.relay.send(frame("#account", {"seq": 2, "did": alice.did, "x": bytes(6_000_000)}))
        async with net.consumer() as consumer:
            await take(consumer, 1)
            await until(lambda: len(net.relay.cursors) >= 2)
            assert consumer.stats().upstreams[0]["cursor"] == 1


async def test_silence_for_too_long_is_followed_by_a_new_connection() -> None:
    async with network() as net:
        alice = net.account("alice")
        net.write(alice, "one")
        silent = Timing(ping=0.05, idle=0.2, backoff=Backoff(0.01, 0.05))
        async with net.consumer(timing=lambda: silent) as consumer:
            await take(consumer, 1)
            await until(lambda: len(net.relay.cursors) >= 2)
            assert "silent" in str(consumer.stats().upstreams[0]["last_error"])
            net.write(alice, "two")
            assert names(await take(consumer, 1)) == ["two"]


@asynccontextmanager
async def upstream_of(
    net: Network, take: Take, **options: Any
) -> AsyncIterator[tuple[Upstream, asyncio.Task[None]]]:
    """An upstream without a consumer around it, and the task that follows it."""
    upstream = Upstream(
        parse_relay(net.relay.url), 0, take, lambda upstream, raw, error: None, quick(), **options
    )
    task: asyncio.Task[None] = asyncio.create_task(upstream.run())
    try:
        yield upstream, task
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def test_who_asked_to_be_told_of_missed_events_is_told() -> None:
    told: list[Upstream] = []
    async with network() as net:
        net.relay.send(info_frame("OutdatedCursor", "too old"), info_frame("Other"))
        async with upstream_of(net, lambda item: None, outdated=told.append) as (upstream, _):
            await until(lambda: bool(told))
            assert told == [upstream]


@pytest.mark.parametrize("number", [1, 2])
async def test_an_error_of_ours_ends_following_instead_of_the_connection(number: int) -> None:
    def take(item: Item) -> Rest | None:
        if item.seq == number:
            raise ZeroDivisionError(item.seq)
        return asyncio.sleep(0)

    async with network() as net:
        net.write(net.account("alice"), "one", "two", "three")
        async with upstream_of(net, take) as (upstream, task):
            async with asyncio.timeout(5):
                with pytest.raises(ZeroDivisionError):
                    await task
            assert not upstream.connected
        assert net.relay.cursors == [0]


async def test_frames_that_waited_are_taken_in_order_and_once_across_a_cut() -> None:
    """The connection is lost while a frame is waited for: those behind it were read already."""
    gate = asyncio.Event()
    taken: list[int] = []

    def take(item: Item) -> Rest | None:
        taken.append(item.seq)
        assert item.upstream is not None
        item.upstream.watermark.seen(item.seq)
        return wait() if item.seq % 7 == 3 else None

    async def wait() -> None:
        await gate.wait()

    async with network() as net:
        alice = net.account("alice")
        net.write(alice, *[str(n) for n in range(50)])
        net.relay.close_after = 20
        async with upstream_of(net, take):
            await until(lambda: len(taken) == 3)
            await asyncio.sleep(0.1)
            assert taken == [1, 2, 3]
            gate.set()
            await until(lambda: len(taken) >= 50)
        assert taken == list(range(1, 51))
        assert net.relay.cursors == [0, 20, 40]


class Batch:
    """An upstream without a socket, and what it does with messages that were read at once."""

    def __init__(self, waits: int = 0, wants: Callable[[Body, bytes], bool] | None = None) -> None:
        self.steps: list[str] = []
        self.upstream = Upstream(
            parse_relay("http://relay.test"),
            0,
            self._take,
            lambda upstream, raw, error: None,
            quick(),
            wants=wants or (lambda body, raw: True),
            prepare=lambda items: self.steps.append(f"prepare {[item.seq for item in items]}"),
        )
        self.receive = self.upstream.receiver()
        self._waits = waits

    def _take(self, item: Item) -> Rest | None:
        self.steps.append(f"take {item.seq}")
        assert item.upstream is not None
        item.upstream.watermark.seen(item.seq)
        return asyncio.sleep(0) if item.seq == self._waits else None

    def read(self, messages: deque[bytes]) -> Rest | None:
        """Hand on what was read at once, and then none; up to what is to be waited for."""
        while messages:
            if rest := self.receive(messages):
                return rest
        return self.receive(messages)


def commits(*names: str) -> deque[bytes]:
    """Commits of the accounts of these names, in a row."""
    repos = {name: Repo(plc_did(name), K256Key()) for name in names}
    return deque(
        repos[name].commit({f"app.test.note/{seq}": {"n": seq}}).encode(seq)
        for seq, name in enumerate(names, 1)
    )


def test_a_batch_is_prepared_as_a_whole_and_then_taken_in_order() -> None:
    batch = Batch()
    assert batch.read(commits(*"abcda")) is None
    assert batch.steps == ["prepare [1, 2, 3, 4, 5]", *(f"take {seq}" for seq in range(1, 6))]


def test_a_batch_of_many_frames_is_prepared_in_parts() -> None:
    batch = Batch()
    assert batch.read(commits(*"ab" * BATCH_ITEMS)) is None
    assert [step for step in batch.steps if step.startswith("take")] == [
        f"take {seq}" for seq in range(1, 2 * BATCH_ITEMS + 1)
    ]
    assert [n for n, step in enumerate(batch.steps) if step.startswith("prepare")] == [
        0,
        BATCH_ITEMS + 1,
    ]
    assert batch.upstream.frames == 2 * BATCH_ITEMS


async def test_what_nobody_wants_is_passed_only_after_what_is_before_it() -> None:
    batch = Batch(waits=3, wants=lambda body, raw: body["repo"] == plc_did("b"))
    messages = commits(*"aabaa")
    rest = batch.read(messages)
    assert rest is not None
    assert (batch.upstream.watermark.value, batch.upstream.frames) == (3, 3)
    await rest
    assert batch.read(messages) is None
    assert (batch.upstream.watermark.value, batch.upstream.frames) == (5, 5)
    assert batch.steps == ["take 3"]


def test_a_commit_behind_a_wanted_frame_of_its_repo_is_handed_over_with_it() -> None:
    """That frame may be the first record of the repo in a wanted collection."""
    wanted = iter([True, False, False, False])
    batch = Batch(wants=lambda body, raw: next(wanted))
    assert batch.read(commits(*"abab")) is None
    assert batch.steps == ["prepare [1, 3]", "take 1", "take 3"]
    assert (batch.upstream.watermark.value, batch.upstream.frames) == (4, 4)


@pytest.mark.parametrize(
    ("bad", "error"),
    [
        (b"\xff", InvalidFrame),
        (error_frame("ConsumerTooSlow", "go away"), ConsumerTooSlow),
        (commits("a")[0], BackwardSeq),
    ],
)
def test_frames_read_together_with_one_that_ends_the_connection_are_taken_before(
    bad: bytes, error: type[Exception]
) -> None:
    for wanted in (True, False):
        batch = Batch(wants=lambda body, raw, wanted=wanted: wanted)  # type: ignore[misc]
        with pytest.raises(error):
            batch.read(commits("a", "b", "c") + deque([bad]))
        assert (batch.upstream.watermark.value, batch.upstream.frames) == (3, 3)
        assert len(batch.steps) == (4 if wanted else 0)
