"""A node as a process, `atdex node run`, for tests in asyncio.

async with node(tmp_path / "data", relay.url) as running:
    await running.ask("describeNode")
"""

from __future__ import annotations

import asyncio
import os
import re
import signal
import sys
import time
from asyncio.subprocess import PIPE, Process
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest

COMMAND = Path(sys.executable).parent / "atdex"
READY = re.compile(r"atdex node listening on (http://127\.0\.0\.1:\d+)\n")
DEADLINE = 50.0
"""Seconds for anything that is waited for."""


class Running:
    """A node process that has said it is ready."""

    def __init__(self, process: Process, url: str) -> None:
        self.process = process
        self.url = url
        self.log = ""

    async def get(self, path: str, **params: Any) -> httpx.Response:
        async with httpx.AsyncClient(base_url=self.url, timeout=DEADLINE, trust_env=False) as http:
            return await http.get(path, params=params)

    async def ask(self, method: str, **params: Any) -> Any:
        response = await self.get(f"/xrpc/app.bsky.atdata.{method}", **params)
        assert response.status_code == 200, response.text
        return response.json()

    async def until(self, test: Callable[[Any], bool], method: str, **params: Any) -> Any:
        """Asks again until the answer fits."""
        end, pause = time.monotonic() + DEADLINE, 0.02
        while True:
            answer = await self.ask(method, **params)
            if test(answer):
                return answer
            assert time.monotonic() < end, f"still {answer}"
            await asyncio.sleep(pause)
            pause = min(1.5 * pause, 0.3)  # callers are rationed

    async def stop(self, number: int = signal.SIGTERM) -> int:
        self.process.send_signal(number)
        out, log = await asyncio.wait_for(self.process.communicate(), DEADLINE)
        self.log = log.decode()
        assert out == b""
        assert self.process.returncode is not None
        return self.process.returncode


def environment() -> dict[str, str]:
    """Ours without settings of a node that somebody may run from the same shell."""
    return {name: value for name, value in os.environ.items() if not name.startswith("ATDEX_")}


@asynccontextmanager
async def node(folder: Path, relay: str | None, *flags: str) -> AsyncIterator[Running]:
    """A node on `folder`. `relay` None: `flags` say what it follows."""
    arguments = ["node", "run", "--data-dir", str(folder), "--port", "0", *flags]
    if relay is not None:
        arguments += ["--relay", relay]
    process = await asyncio.create_subprocess_exec(
        COMMAND, *arguments, stdout=PIPE, stderr=PIPE, cwd=folder.parent, env=environment()
    )
    try:
        assert process.stdout is not None
        line = await asyncio.wait_for(process.stdout.readline(), DEADLINE)
        found = READY.fullmatch(line.decode())
        if found is None:
            _, log = await process.communicate()
            pytest.fail(f"no ready line: {line!r}\n{log.decode()}")
        yield Running(process, found[1])
    finally:
        if process.returncode is None:
            process.kill()
            await process.communicate()
