"""A node as it is, but for where its events come from: files of commits, in place of the network.

`python -m tests.benchmarks.appview_node --data-dir DIR …` takes the flags of `atdex node run`, and
prints the same ready line. Each line that it reads is the path of a part: it is indexed, and when
the last record of it is durable, a line of JSON says how many records in how many seconds.
"""

from __future__ import annotations

import asyncio
import json
import sys
import threading
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any
from unittest import mock

from atdex.cli import main
from atdex_firehose import Consumer
from atdex_firehose.events import Event
from tests.benchmarks.appview_records import read


class FromFiles(Consumer):
    """Events of the parts named on stdin; what the upstream would send is left to itself."""

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self._acked = 0
        self._moved = asyncio.Event()
        self._paths: asyncio.Queue[Path | None] = asyncio.Queue()

    async def stop(self) -> None:
        await super().stop()
        self._paths.put_nowait(None)

    async def __aiter__(self) -> AsyncIterator[Event]:
        loop = asyncio.get_running_loop()

        def listen() -> None:
            for line in sys.stdin:
                loop.call_soon_threadsafe(self._paths.put_nowait, Path(line.strip()))

        threading.Thread(target=listen, daemon=True).start()
        while (path := await self._paths.get()) is not None:
            begun, given = time.perf_counter(), self._acked
            for chunk in read(path):
                for event in chunk:
                    given += 1
                    yield event
            while self._acked < given:
                self._moved.clear()
                await self._moved.wait()
            took = time.perf_counter() - begun
            print(json.dumps({"part": path.name, "seconds": took}), flush=True)

    def ack(self, event: Event) -> None:
        self._acked += 1
        self._moved.set()


if __name__ == "__main__":
    with mock.patch("atdex_appview.node.Consumer", FromFiles):
        main()
