"""A real node in a process of its own, as `atdex node run` starts it."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import httpx

COMMAND = Path(sys.executable).with_name("atdex")
READY = re.compile(r"^atdex node listening on (http://\S+)\s*$", re.MULTILINE)
START_SECONDS = 60  # imports and empty stores on a cold, busy machine; 2 s when idle
STOP_SECONDS = 10  # from SIGTERM to SIGKILL
CALL_SECONDS = 10  # of one request to the node
POLL_SECONDS = 0.05
LOG_TAIL = 4000  # characters of the node's output kept in an error


class NodeFailed(RuntimeError):
    """The node ended, or did not do what was waited for; the text ends with its last output."""


class NodeProcess:
    """`atdex node run` on loopback, following `relay`. `log` receives all that it writes.

    `relay` None: `flags` say what it follows. `handles` is asked which account a handle names:
    those here are in no DNS. `port` 0 is any that is free. `url` says where it listens once the
    object exists.
    """

    def __init__(
        self,
        relay: str | None,
        plc: str,
        data_dir: Path,
        log: Path,
        *,
        handles: str | None = None,
        port: int = 0,
        flags: Sequence[str] = (),
    ) -> None:
        self._log = log
        self._offset = log.stat().st_size if log.exists() else 0
        command = [str(COMMAND), "node", "run", "--plc", plc]
        command += ["--data-dir", str(data_dir), "--host", "127.0.0.1", "--port", str(port)]
        command += flags
        if relay is not None:
            command += ["--relay", relay]
        if handles is not None:
            command += ["--handle-service", handles]
        # Variables of whoever starts us are not meant for this node.
        environment = {k: v for k, v in os.environ.items() if not k.startswith("ATDEX_")}
        with log.open("ab") as output:
            self.process = subprocess.Popen(
                [*command, "--allow-private-hosts"],
                cwd=log.parent,
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                # In our process group: whoever ends all of us at once ends the node as well.
            )
        try:
            self.url = self._ready()
        except BaseException:
            self.kill()
            raise
        self._http = httpx.Client(base_url=self.url, timeout=CALL_SECONDS, trust_env=False)

    def get(self, method: str, **params: Any) -> httpx.Response:
        """One query, whatever the status of its answer."""
        return self._http.get(f"/xrpc/{method}", params=params)

    def query(self, method: str, **params: Any) -> Any:
        """One query that must succeed."""
        response = self.get(method, **params)
        response.raise_for_status()
        return response.json()

    def wait(self, done: Callable[[], bool], what: str, seconds: float) -> float:
        """Polls until `done`, and returns the seconds that it took. Raises NodeFailed."""
        began = time.monotonic()
        while not done():
            if self.process.poll() is not None:
                raise NodeFailed(f"the node ended while waiting for {what}:\n{self.output()}")
            if time.monotonic() - began > seconds:
                raise NodeFailed(f"no {what} within {seconds} s:\n{self.output()}")
            time.sleep(POLL_SECONDS)
        return time.monotonic() - began

    def output(self) -> str:
        """The end of what this run of the node wrote."""
        return self._written()[-LOG_TAIL:]

    def kill(self) -> None:
        """kill -9: nothing is flushed, nobody is told."""
        self.process.kill()
        self.process.wait()

    def stop(self) -> int:
        """SIGTERM, and SIGKILL where that does not help. The exit code."""
        self.process.terminate()
        try:
            return self.process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            self.kill()
            return self.process.returncode

    def close(self) -> None:
        """Stops the node, and what asks it."""
        self._http.close()
        self.stop()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def _ready(self) -> str:
        found: list[str] = []

        def listening() -> bool:
            found.extend(READY.findall(self._written()))
            return bool(found)

        self.wait(listening, "ready line", START_SECONDS)
        return found[0]

    def _written(self) -> str:
        with self._log.open("rb") as file:
            file.seek(self._offset)
            return file.read().decode(errors="replace")
