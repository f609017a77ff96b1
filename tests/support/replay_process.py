"""The replayed network in a process of its own, for benchmarks: it takes nobody's interpreter.

with ReplayProcess(corpus.parameters.path) as network:
    network.url, network.plc, network.last_seq
"""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
from pathlib import Path
from types import TracebackType
from typing import Self

from tests.support.corpus import Corpus
from tests.support.replay import ReplayNetwork

STOP_SECONDS = 10


class ReplayProcess:
    """Plays the corpus kept in `path`, `passes` times on end."""

    def __init__(self, path: Path, *, passes: int = 1, begun: int = 0) -> None:
        self._command = [sys.executable, "-m", __spec__.name, str(path), str(passes), str(begun)]
        self._process: subprocess.Popen[bytes] | None = None
        self.url = self.plc = ""
        self.frames = self.last_seq = 0

    def __enter__(self) -> Self:
        self._process = subprocess.Popen(
            self._command, stdin=subprocess.PIPE, stdout=subprocess.PIPE
        )
        assert self._process.stdout is not None
        line = self._process.stdout.readline()  # ends with the process, if that fails
        if not line:
            raise RuntimeError(f"the replay ended with {self._process.wait()}")
        told = json.loads(line)
        self.url, self.plc = told["url"], told["plc"]
        self.frames, self.last_seq = told["frames"], told["last_seq"]
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        assert self._process is not None
        try:
            self._process.communicate(timeout=STOP_SECONDS)  # closes its stdin, at which it ends
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()


async def main(path: Path, passes: int, begun: int) -> None:
    corpus = Corpus.load(path)
    async with ReplayNetwork(corpus, passes=passes, begun=begun) as network:
        told = {"url": network.url, "plc": network.plc, "last_seq": network.last_seq}
        print(
            json.dumps(told | {"frames": passes * sum(seq > begun for seq in corpus.seqs)}),
            flush=True,
        )
        await asyncio.to_thread(sys.stdin.buffer.read)


if __name__ == "__main__":
    asyncio.run(main(Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3])))
