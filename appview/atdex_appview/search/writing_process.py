"""The index written by a process of its own.

At every document tantivy lets go of the interpreter and has to wait for it again: 1.6 ms beside a
thread that is busy. In a node, which always has one while records come in, that costs more than
the writing itself.

    node  ── ("put", [document, …]), …, ("commit", ()) ──>  python -m atdex_appview.search.…
          <── None, or what is wrong ──  (once it can write, and to each commit)

It keeps nothing from the node but what it was told since the last commit: where it fails or is
ended, that is forgotten, and the next change starts another one.
"""

from __future__ import annotations

import select
import subprocess
import sys
import time
from collections.abc import Iterable, Sequence
from contextlib import suppress
from functools import partial
from itertools import islice
from pathlib import Path
from typing import IO, Any

from atdex_appview.search.document import SearchDocument
from atdex_appview.search.writing import DirectWriter, open_index
from atdex_appview.worker import answer, messages, packed, work

PART = 1000
"""Documents of one message."""

COMMIT_SECONDS = 300.0
"""For one answer: a commit takes a second where the disk is slow, a rebuild's one more."""

LOCK_SECONDS = 10.0
"""For which a new process waits for the one of a node that was killed to end."""

CLOSE_SECONDS = 3.0
"""For the merges that run when the index is closed; the next start does them otherwise."""


class WritingProcess:
    """An `IndexWriter` by another process. One thread at a time."""

    def __init__(self, folder: Path) -> None:
        """Of the index in that folder, which is there."""
        self._folder = folder
        self._process: subprocess.Popen[bytes] | None = None
        self._start()

    def put(self, documents: Iterable[SearchDocument]) -> None:
        self._send_documents("put", documents)

    def add(self, documents: Iterable[SearchDocument]) -> None:
        self._send_documents("add", documents)

    def remove(self, uris: Sequence[str]) -> None:
        self._send("remove", list(uris))

    def clear(self) -> None:
        self._send("clear")

    def commit(self) -> None:
        self._send("commit")
        self._answered()

    def rollback(self) -> None:
        self._end()

    def close(self) -> None:
        if self._process is None:
            return
        with suppress(OSError):
            self._send("close")
        with suppress(subprocess.TimeoutExpired):
            self._process.wait(CLOSE_SECONDS)
        self._end()

    def _send_documents(self, name: str, documents: Iterable[SearchDocument]) -> None:
        left = iter(documents)
        while part := [tuple(document) for document in islice(left, PART)]:
            self._send(name, part)

    def _send(self, name: str, what: Sequence[object] = ()) -> None:
        process = self._process or self._start()
        assert process.stdin is not None
        process.stdin.write(packed((name, what)))
        process.stdin.flush()

    def _start(self) -> subprocess.Popen[bytes]:
        self._process = subprocess.Popen(  # noqa: S603 - ourselves
            [sys.executable, "-m", __name__, self._folder],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )
        try:
            self._answered()
        except BaseException:
            self._end()
            raise
        return self._process

    def _answered(self) -> None:
        process = self._process
        assert process is not None
        assert process.stdout is not None
        ready, _, _ = select.select([process.stdout], [], [], COMMIT_SECONDS)
        if not ready:
            raise TimeoutError("the process that writes it does not answer")
        try:
            wrong: str | None = next(messages(process.stdout))
        except StopIteration:
            raise RuntimeError("the process that writes it ended") from None
        if wrong is not None:
            raise RuntimeError(wrong)

    def _end(self) -> None:
        process, self._process = self._process, None
        if process is not None:
            process.kill()
            with suppress(OSError):  # what it did not read is of no use any more
                process.communicate()


def serve(folder: Path, requests: IO[bytes], answers: IO[bytes]) -> None:
    """Writes until it is told to close or the requests end; then nothing waits for merges."""
    try:
        writer = _opened(folder)
    except (ValueError, OSError, RuntimeError) as failure:
        answer(answers, str(failure))
        return
    answer(answers, None)
    wrong: str | None = None
    for name, what in messages(requests):
        if name == "close":
            writer.close()
            return
        if wrong is None:
            try:
                _do(writer, name, what)
            except (ValueError, OSError, RuntimeError) as failure:
                wrong = str(failure)
        if name == "commit":
            answer(answers, wrong)


def _opened(folder: Path) -> DirectWriter:
    index = open_index(folder)
    end = time.monotonic() + LOCK_SECONDS
    while True:
        try:
            return DirectWriter(index)
        except ValueError as failure:
            if "lock" not in str(failure).lower() or time.monotonic() >= end:
                raise
            time.sleep(0.05)


def _do(writer: DirectWriter, name: str, what: Sequence[Any]) -> None:
    match name:
        case "put":
            writer.put(SearchDocument(*each) for each in what)
        case "add":
            writer.add(SearchDocument(*each) for each in what)
        case "remove":
            writer.remove(what)
        case "clear":
            writer.clear()
        case "commit":
            writer.commit()


if __name__ == "__main__":
    work(partial(serve, Path(sys.argv[1])))
