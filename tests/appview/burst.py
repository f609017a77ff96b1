"""A burst of changes for the kill test: a process that writes it and is killed in its middle.

    python -m tests.appview.burst DIRECTORY STAGE CALLS

opens the three stores in DIRECTORY, catches up, and submits the burst from a little before the
last acknowledged change, as a firehose does from its saved cursor. After CALLS calls of STAGE
(`store`, `search`, `state` or `ack`) it kills itself with SIGKILL; with STAGE `none` it ends by
itself. Every acknowledgement is a line of DIRECTORY/acked, written at once.
"""

from __future__ import annotations

import asyncio
import os
import random
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from atdex_appview.catch_up import catch_up
from atdex_appview.search.index import SearchIndex
from atdex_appview.state import NO_NOTES, Notes, QuarantinedRecord, State
from atdex_appview.store.base import Change, Delete, Put, StatusChange
from atdex_appview.store.duckdb import DuckDBStore
from atdex_appview.writer import Writer
from atdex_lexicons.errors import Problem
from tests.appview.records import commit, dataset, put, rev, uri

EVENTS = 600
AGAIN = 25
"""Acknowledged changes that every run submits again: a cursor is saved less often."""

DIDS = tuple(f"did:plc:burst{n:019}" for n in range(5))


def burst() -> list[tuple[Change, Notes]]:
    """The same changes in every process: creates, updates, deletions, invalid versions, and
    accounts that go inactive, come back, and are deleted."""
    dice = random.Random(4)
    made: list[tuple[Change, Notes]] = []
    for number in range(1, EVENTS + 1):
        did = dice.choice(DIDS)
        if dice.random() < 0.03:
            word = dice.choice(["active", "deactivated", "deleted"])
            status = None if word == "active" else word
            gone = (did,) if word == "deleted" else ()
            change = StatusChange(did, word == "active", status, at=number)
            made.append((change, Notes(cleared_dids=gone) if gone else NO_NOTES))
            continue
        ops: dict[str, Put | Delete] = {}
        quarantined, cleared = [], []
        for _ in range(dice.randint(1, 3)):
            rkey = f"r{dice.randrange(40)}"
            at = uri(did, "dataset", rkey)
            what = dice.random()
            if what < 0.15:
                ops[at] = Delete(at)
            elif what < 0.25:
                ops[at] = Delete(at, keep_place=True)
            else:
                ops[at] = put(did, rkey, dataset(f"eye {number}", tags=[f"t{number % 7}"]))
        for at, op in ops.items():
            if isinstance(op, Delete) and op.keep_place:
                problem = (Problem("/name", f"is wrong in {number}"),)
                quarantined.append(
                    QuarantinedRecord(at, did, None, rev(number), problem, b"raw", 3, 1)
                )
            else:
                cleared.append((at, rev(number)))
        made.append(
            (
                commit(did, number, *ops.values()),
                Notes(quarantined=tuple(quarantined), cleared=tuple(cleared)),
            )
        )
    return made


def acked(directory: Path) -> int:
    """How many changes were acknowledged, and that it was in their order."""
    file = directory / "acked"
    numbers = [int(line) for line in file.read_text().splitlines()] if file.exists() else []
    done = 0
    for number in numbers:
        assert number <= done + 1, f"{number} acknowledged after {done}"
        done = max(done, number)
    return done


async def write_burst(directory: Path, stage: str, calls: int) -> None:
    left = calls

    def count_down(name: str) -> None:
        nonlocal left
        if name == stage:
            left -= 1
            if left == 0:
                os.kill(os.getpid(), signal.SIGKILL)

    store = DuckDBStore.open(directory / "records.duckdb", memory_limit_mb=256)
    search = SearchIndex.open(directory / "search")
    state = await State.open(directory / "state.sqlite")
    await catch_up(store, search, state)
    for part, method, name in (
        (store, "apply", "store"),
        (search, "update", "search"),
    ):
        setattr(part, method, _counted(getattr(part, method), name, count_down))
    save = state.save

    async def counted_save(batch: Any) -> None:
        await save(batch)
        count_down("state")

    state.save = counted_save  # type: ignore[method-assign]  # to count its calls
    writer = Writer(store, search, state, max_batch=20, max_delay=0.01)
    running = asyncio.create_task(writer.run())
    log = os.open(directory / "acked", os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    start = max(0, acked(directory) - AGAIN)
    for number, (change, notes) in enumerate(burst()[start:], start + 1):

        def done(number: int = number) -> None:
            os.write(log, f"{number}\n".encode())
            count_down("ack")

        await writer.submit(change, done, notes)
    await writer.close()
    await running
    os.close(log)
    await state.close()
    search.close()
    store.close()


def _counted(
    method: Callable[..., Any], name: str, count_down: Callable[[str], None]
) -> Callable[..., Any]:
    def counted(*arguments: Any) -> Any:
        result = method(*arguments)
        count_down(name)
        return result

    return counted


if __name__ == "__main__":
    asyncio.run(write_burst(Path(sys.argv[1]), sys.argv[2], int(sys.argv[3])))
