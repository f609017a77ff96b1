from __future__ import annotations

import asyncio
import threading

import pytest

from atdex_firehose.threads import in_thread


async def test_what_the_work_returns_or_raises_comes_out() -> None:
    assert await in_thread(lambda: 7) == 7
    with pytest.raises(ZeroDivisionError):
        await in_thread(lambda: 1 // 0)


async def test_a_cancellation_waits_until_the_thread_is_done() -> None:
    begun, go_on = threading.Event(), threading.Event()
    done: list[str] = []

    def work() -> None:
        begun.set()
        assert go_on.wait(30)
        done.append("read to the end")

    task = asyncio.create_task(in_thread(work))
    assert await asyncio.to_thread(begun.wait, 30)
    task.cancel()
    await asyncio.sleep(0)
    assert not task.done()
    go_on.set()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert done == ["read to the end"]
