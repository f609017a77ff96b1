"""Records read in a process of their own: checking them takes as long as storing them does, and
one interpreter does one thing at a time.

    node  ── marshal: [(collection, rkey, raw, uri), …] ──>  python -m atdex_appview.reading_process
          <── marshal: [a Reading, or the problems, …] ──    (in the same order)

`worker` is that process's side. It is started when it is needed first, ends with the node whatever
ends that, and never writes anything.

A process that dies or takes too long is started again, and what it had is read once more, record by
record: one record that ends it again is refused, and the others are not.
"""

from __future__ import annotations

import asyncio
import logging
import marshal
import sys
from asyncio.subprocess import PIPE, Process
from collections.abc import Sequence
from contextlib import suppress
from typing import IO

from atdex_appview.reading import Reading, judge
from atdex_appview.worker import LENGTH, answer, messages, packed, work
from atdex_lexicons import Catalog
from atdex_lexicons.errors import Problem

log = logging.getLogger(__name__)

Job = tuple[str, str, bytes, str]
"""Collection, record key, DAG-CBOR and URI of a record."""

Judged = Reading | tuple[Problem, ...]

SECONDS = 60.0
"""For one message: a thousand times what a thousand records take."""

BUFFER = 4_000_000
"""Bytes of an answer that are read ahead: a thousand ordinary records."""

ENDED = Problem("", "this node cannot read it: reading it ends the process that reads")


def judge_all(catalog: Catalog, jobs: Sequence[Job]) -> list[Judged]:
    return [judge(catalog, *job[:3], uri=job[3]) for job in jobs]


class ReadingProcess:
    """One at a time may ask; whoever else does waits. Raises OSError where none can be started."""

    def __init__(self, command: Sequence[str] = (sys.executable, "-m", __name__)) -> None:
        """Starts nothing yet. `command` is for tests."""
        self._command = command
        self._process: Process | None = None
        self._turn = asyncio.Lock()

    async def read(self, jobs: Sequence[Job]) -> list[Judged]:
        """What `judge` says of each."""
        async with self._turn:
            try:
                return await self._ask(jobs)
            except (EOFError, ConnectionError, TimeoutError) as failure:
                log.warning("the process that reads records ended: %r", failure)
                await self._end()
            return [await self._ask_alone(job) for job in jobs]

    async def _ask_alone(self, job: Job) -> Judged:
        try:
            [judged] = await self._ask([job])
        except (EOFError, ConnectionError, TimeoutError):
            log.exception("a record that ends the process that reads it: %s", job[3])
            await self._end()
            return (ENDED,)
        return judged

    async def _ask(self, jobs: Sequence[Job]) -> list[Judged]:
        if self._process is None:
            self._process = await asyncio.create_subprocess_exec(
                *self._command, stdin=PIPE, stdout=PIPE, limit=BUFFER
            )
        stdin, stdout = self._process.stdin, self._process.stdout
        assert stdin is not None
        assert stdout is not None
        async with asyncio.timeout(SECONDS):
            stdin.write(packed(list(jobs)))
            # An answer comes after the whole of what was asked: nothing waits for each other.
            await stdin.drain()
            size = int.from_bytes(await stdout.readexactly(LENGTH))
            answers = marshal.loads(await stdout.readexactly(size))  # noqa: S302 - our own process
        return [
            Reading(*one) if isinstance(one, tuple) else tuple(Problem(*problem) for problem in one)
            for one in answers
        ]

    async def _end(self) -> None:
        process, self._process = self._process, None
        if process is not None:
            with suppress(ProcessLookupError):
                process.kill()
            await process.wait()

    async def close(self) -> None:
        """Closing twice is fine; so is asking again."""
        async with self._turn:
            await self._end()


def serve(requests: IO[bytes], answers: IO[bytes]) -> None:
    """Answers until the requests end."""
    catalog = Catalog.bundled()
    for jobs in messages(requests):
        made = [
            tuple(judged) if isinstance(judged, Reading) else [tuple(one) for one in judged]
            for judged in judge_all(catalog, jobs)
        ]
        answer(answers, made)


if __name__ == "__main__":
    work(serve)
