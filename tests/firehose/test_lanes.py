from __future__ import annotations

import asyncio
import inspect

import pytest

from atdex_firehose.lanes import Lanes, Rest


class Work:
    """Items are (key, number); a key with a gate waits for it."""

    def __init__(self) -> None:
        self.done: list[tuple[str, int]] = []
        self.gates: dict[str, asyncio.Event] = {}
        self.failures: list[BaseException] = []

    def __call__(self, item: tuple[str, int]) -> Rest | None:
        if item[0] in self.gates:
            return self.wait(item)
        self.done.append(item)
        return None

    async def wait(self, item: tuple[str, int]) -> None:
        await self.gates[item[0]].wait()
        self.done.append(item)

    def lanes(self, **limits: int) -> Lanes[tuple[str, int]]:
        return Lanes(self, self.failures.append, **limits)


async def test_work_that_need_not_wait_is_done_at_once() -> None:
    work = Work()
    lanes = work.lanes()
    for n in range(3):
        assert lanes.offer("a", ("a", n), 1) is None
    assert work.done == [("a", 0), ("a", 1), ("a", 2)]
    assert (lanes.items, lanes.bytes) == (0, 0)


async def test_a_lane_that_waits_holds_up_its_own_items_only_and_keeps_their_order() -> None:
    work = Work()
    work.gates["slow"] = asyncio.Event()
    lanes = work.lanes()
    for n in range(200):
        assert lanes.offer("slow", ("slow", n), 10) is None
        assert lanes.offer("fast", ("fast", n), 10) is None
    assert work.done == [("fast", n) for n in range(200)]
    assert (lanes.items, lanes.bytes) == (200, 2000)
    work.gates["slow"].set()
    await lanes.idle()
    assert work.done[200:] == [("slow", n) for n in range(200)]
    assert (lanes.items, lanes.bytes) == (0, 0)


async def test_items_that_come_while_a_lane_works_line_up_behind() -> None:
    work = Work()
    gate = work.gates["a"] = asyncio.Event()
    lanes = work.lanes()
    lanes.offer("a", ("a", 0), 1)
    await asyncio.sleep(0)
    del work.gates["a"]  # from now on items of this key need not wait, yet must
    lanes.offer("a", ("a", 1), 1)
    assert work.done == []
    work.gates["a"] = gate
    gate.set()
    await lanes.idle()
    assert work.done == [("a", 0), ("a", 1)]


@pytest.mark.parametrize(
    "limits",
    [{"max_items": 3}, {"max_bytes": 30}, {"lane_items": 2}],
    ids=lambda item: next(iter(item)),
)
async def test_a_full_house_makes_the_caller_wait(limits: dict[str, int]) -> None:
    work = Work()
    work.gates["a"] = asyncio.Event()
    lanes = work.lanes(**limits)
    assert lanes.offer("a", ("a", 0), 10) is None
    assert lanes.offer("a", ("a", 1), 10) is None
    room = lanes.offer("a", ("a", 2), 10)
    assert room is not None
    waiting = asyncio.create_task(room)
    await asyncio.sleep(0)
    assert not waiting.done()
    work.gates["a"].set()
    await asyncio.wait_for(waiting, 5)


async def test_an_error_in_the_work_is_told_and_does_not_hang_the_others() -> None:
    failures: list[BaseException] = []

    async def broken() -> None:
        raise ZeroDivisionError

    lanes: Lanes[int] = Lanes(lambda _: broken(), failures.append)
    lanes.offer("a", 1, 1)
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    assert [type(error) for error in failures] == [ZeroDivisionError]
    await lanes.close()


async def test_closing_stops_what_waits() -> None:
    work = Work()
    work.gates["a"] = asyncio.Event()
    lanes = work.lanes()
    lanes.offer("a", ("a", 0), 1)
    await asyncio.sleep(0)
    await lanes.close()
    work.gates["a"].set()
    await asyncio.sleep(0)
    assert work.done == []
    assert work.failures == []


async def test_closed_before_the_first_step_leaves_no_coroutine_behind() -> None:
    work = Work()
    work.gates["a"] = asyncio.Event()
    begun: list[Rest] = []

    def begin(item: tuple[str, int]) -> Rest:
        begun.append(work.wait(item))
        return begun[-1]

    lanes = Lanes(begin, work.failures.append)
    lanes.offer("a", ("a", 0), 1)
    await lanes.close()
    # One that is still to be awaited would warn when it is collected.
    assert [inspect.getcoroutinestate(rest) for rest in begun] == ["CORO_CLOSED"]
    assert work.failures == []
