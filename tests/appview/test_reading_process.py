"""The process that reads records: what it answers, and what becomes of it."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import orjson
import pytest

from atdex_appview.reading import MAX_RECORD_BYTES, Reading, judge
from atdex_appview.reading_process import ENDED, Job, ReadingProcess
from atdex_lexicons import Catalog
from atdex_lexicons.datamodel import encode, from_json
from tests.appview.records import ALICE, COLLECTIONS, rev, uri
from tests.support.paths import FIXTURES

RECORDS = sorted((FIXTURES / "atdata").glob("entry_*.json"))
CHILD = """
import os, sys
from atdex_appview import reading_process, worker
judge = reading_process.judge

def patched(catalog, collection, rkey, raw, *, uri):
    {0}
    return judge(catalog, collection, rkey, raw, uri=uri)

reading_process.judge = patched
worker.work(reading_process.serve)
"""


def job(key: str, raw: bytes, collection: str = COLLECTIONS["dataset"]) -> Job:
    return collection, key, raw, uri(ALICE, "dataset", key)


def dataset(number: int) -> Job:
    value = orjson.loads((FIXTURES / "atdata" / "entry_http.json").read_bytes())["value"]
    return job(rev(number), encode(from_json({**value, "name": f"dataset {number}"})))


@asynccontextmanager
async def reading(child: str = "pass") -> AsyncIterator[ReadingProcess]:
    """A process where that is done before each record is read."""
    process = ReadingProcess([sys.executable, "-c", CHILD.format(child)])
    try:
        yield process
    finally:
        await process.close()


async def test_it_says_of_every_record_what_the_node_would_say_itself() -> None:
    values = [orjson.loads(path.read_bytes())["value"] for path in RECORDS]
    assert values
    jobs = [job(rev(at), encode(from_json(value))) for at, value in enumerate(values)]
    jobs += [
        job("no/key", jobs[0][2]),
        job(rev(50), b"\xff"),
        job(rev(51), b""),
        job(rev(52), b"\x00" * (MAX_RECORD_BYTES + 1)),
        job(rev(53), encode({"$type": COLLECTIONS["dataset"], "name": "\0"})),
        job(rev(54), jobs[0][2], "org.example.unknown"),
    ]
    process = ReadingProcess()
    try:
        answers = await process.read(jobs)
    finally:
        await process.close()
    catalog = Catalog.bundled()
    assert answers == [judge(catalog, *one[:3], uri=one[3]) for one in jobs]
    assert [isinstance(answer, Reading) for answer in answers] == [True] * len(values) + [False] * 6


async def test_a_record_that_ends_the_process_is_refused_and_no_other_one() -> None:
    jobs = [dataset(number) for number in range(5)]
    async with reading(f"if uri == {jobs[2][3]!r}: os._exit(1)") as process:
        answers = await process.read(jobs)
        after = await process.read(jobs[:2])
    assert answers[2] == (ENDED,)
    assert all(isinstance(answers[at], Reading) for at in (0, 1, 3, 4))
    assert after == answers[:2]


async def test_a_process_that_was_killed_is_started_again() -> None:
    jobs = [dataset(number) for number in range(3)]
    async with reading("print(os.getpid(), file=sys.stderr)") as process:
        first = await process.read(jobs)
        assert process._process is not None
        process._process.kill()
        assert await process.read(jobs) == first


async def test_what_it_prints_is_not_taken_for_an_answer() -> None:
    async with reading("print('hello', flush=True)") as process:
        [answer] = await process.read([dataset(1)])
    assert isinstance(answer, Reading)


async def test_one_that_takes_too_long_is_ended(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("atdex_appview.reading_process.SECONDS", 3.0)
    jobs = [dataset(number) for number in range(2)]
    hang = f"if uri == {jobs[1][3]!r}: __import__('time').sleep(600)"
    async with reading(hang) as process:
        answers = await process.read(jobs)
    assert isinstance(answers[0], Reading)
    assert answers[1] == (ENDED,)


async def test_several_may_ask_at_once() -> None:
    parts = [[dataset(10 * part + number) for number in range(20)] for part in range(5)]
    process = ReadingProcess()
    try:
        answers = await asyncio.gather(*map(process.read, parts))
    finally:
        await process.close()
    catalog = Catalog.bundled()
    for part, answer in zip(parts, answers, strict=True):
        assert answer == [judge(catalog, *one[:3], uri=one[3]) for one in part]


PARENT = """
import asyncio, sys
from atdex_appview.reading_process import ReadingProcess
from tests.appview.test_reading_process import dataset

async def main():
    process = ReadingProcess()
    await process.read([dataset(1)])
    print(process._process.pid, flush=True)
    await asyncio.sleep(600)

asyncio.run(main())
"""


def test_it_ends_with_a_node_that_is_killed(tmp_path: Path) -> None:
    command = [sys.executable, "-c", PARENT]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as parent:
        assert parent.stdout is not None
        child = int(parent.stdout.readline())
        pid = os.pidfd_open(child)
        try:
            parent.send_signal(signal.SIGKILL)
            parent.wait(10)
            assert _ended(pid, 10)
        finally:
            os.close(pid)


def _ended(pid: int, seconds: float) -> bool:
    import select

    readable, _, _ = select.select([pid], [], [], seconds)
    return bool(readable)
