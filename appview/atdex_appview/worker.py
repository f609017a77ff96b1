"""The side of a process that works for the node: what it is asked comes in, its answers go out.

Both are messages of `marshal`, each after its length in 8 bytes, by standard input and output.
Such a process ends when its input ends, and so with the node, whatever ends that.
"""

from __future__ import annotations

import marshal
import os
import signal
import sys
from collections.abc import Callable, Iterator
from typing import IO, Any, NoReturn

LENGTH = 8


def packed(message: Any) -> bytes:
    """Of plain values: tuples, lists, texts, bytes, numbers, None."""
    made = marshal.dumps(message)
    return len(made).to_bytes(LENGTH) + made


def messages(source: IO[bytes]) -> Iterator[Any]:
    """Until the source ends; a message that it ends within is none."""
    while len(length := source.read(LENGTH)) == LENGTH:
        size = int.from_bytes(length)
        message = source.read(size)
        if len(message) < size:
            return
        yield marshal.loads(message)  # noqa: S302 - from our own process


def answer(answers: IO[bytes], message: object) -> None:
    answers.write(packed(message))
    answers.flush()


def work(serve: Callable[[IO[bytes], IO[bytes]], None]) -> NoReturn:
    """Serves, and ends this process: without a word where the node has ended before its answer."""
    try:
        serve(*pipes())
    except BrokenPipeError:
        os._exit(0)
    sys.exit(0)


def pipes() -> tuple[IO[bytes], IO[bytes]]:
    """(what is asked, answers) of this process. What stops the node does not stop it: the node has
    work to finish with it, and ends it then.
    """
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)
    # Whatever prints must not come between two answers.
    answers = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)
    return sys.stdin.buffer, answers
