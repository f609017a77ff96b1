"""Work in lanes: strict order within a key, concurrency between keys, bounded in all.

An item whose lane is empty is worked on at once, in the caller, without a task: most are done
in microseconds. Work that must wait (a DID to resolve, a full queue) hands back a coroutine; the
lane then gets a task, and later items of that key line up behind it while other keys go on.

Guarantee: items of one key are worked on one at a time, in the order offered.

    offer a1 (must wait)   lane a: task on a1
    offer b1               done at once
    offer a2               lane a: task on a1, then a2
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Coroutine
from typing import Any, Generic, TypeVar

Item = TypeVar("Item")
Rest = Coroutine[Any, Any, None]

LANES_ITEMS = 8_192
"""Items that wait in all lanes together, before the caller must."""
LANES_BYTES = 64 * 1024 * 1024
"""Bytes that wait in all lanes together: items can be 5 MB each."""
LANE_ITEMS = 1_024
"""Items that wait in one lane: one repo cannot fill the room of all."""
_SLICE = 64
"""Items that a lane works on before it lets others run."""


class _Lane(Generic[Item]):
    __slots__ = ("items", "rest", "task")

    def __init__(self, rest: Rest) -> None:
        self.items: deque[tuple[Item, int]] = deque()
        self.rest = rest
        self.task: asyncio.Task[None] | None = None


class Lanes(Generic[Item]):
    """`work(item)` does the item, or returns a coroutine that does the rest of it.

    An exception out of `work` is a programming error: it goes to `failed`, and the lane stops.
    """

    def __init__(
        self,
        work: Callable[[Item], Rest | None],
        failed: Callable[[BaseException], None],
        *,
        max_items: int = LANES_ITEMS,
        max_bytes: int = LANES_BYTES,
        lane_items: int = LANE_ITEMS,
    ) -> None:
        self._work = work
        self._failed = failed
        self._max_items = max_items
        self._max_bytes = max_bytes
        self._lane_items = lane_items
        self._lanes: dict[str, _Lane[Item]] = {}
        self._waiters: list[asyncio.Future[None]] = []
        self.items = 0
        self.bytes = 0

    def offer(self, key: str, item: Item, size: int) -> Rest | None:
        """Take an item of `size` bytes. The result, where there is one, waits for room:
        await it before the next offer."""
        lane = self._lanes.get(key)
        if lane is None:
            rest = self._work(item)
            if rest is None:
                return None
            lane = self._lanes[key] = _Lane(rest)
            lane.task = asyncio.create_task(self._run(key, lane, size))
            lane.task.add_done_callback(self._finished)
        else:
            lane.items.append((item, size))
        self.items += 1
        self.bytes += size
        return self._wait_for_room(lane) if self._full(lane) else None

    def busy(self, key: str) -> bool:
        """Whether an item of this key would have to wait."""
        return key in self._lanes

    async def idle(self) -> None:
        """Wait until nothing waits any more."""
        while self._lanes:
            await self._changed()

    async def close(self) -> None:
        """Stop all lanes where they are; what waits in them is dropped, unfinished."""
        tasks = [lane.task for lane in self._lanes.values() if lane.task is not None]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        for lane in self._lanes.values():
            lane.rest.close()  # a task that was cancelled before its first step never began it
        self._lanes.clear()

    async def _run(self, key: str, lane: _Lane[Item], size: int) -> None:
        await lane.rest
        self._done(size)
        turns = 0
        while lane.items:
            item, size = lane.items.popleft()
            more = self._work(item)
            if more is not None:
                await more
            self._done(size)
            turns += 1
            if turns % _SLICE == 0:
                await asyncio.sleep(0)
        del self._lanes[key]
        self._wake()

    def _done(self, size: int) -> None:
        self.items -= 1
        self.bytes -= size
        self._wake()

    def _finished(self, task: asyncio.Task[None]) -> None:
        if not task.cancelled() and (error := task.exception()) is not None:
            self._failed(error)

    def _full(self, lane: _Lane[Item]) -> bool:
        return (
            self.items >= self._max_items
            or self.bytes >= self._max_bytes
            or len(lane.items) >= self._lane_items
        )

    async def _wait_for_room(self, lane: _Lane[Item]) -> None:
        while self._full(lane):
            await self._changed()

    async def _changed(self) -> None:
        waiter = asyncio.get_running_loop().create_future()
        self._waiters.append(waiter)
        await waiter

    def _wake(self) -> None:
        for waiter in self._waiters:
            if not waiter.done():
                waiter.set_result(None)
        self._waiters.clear()
