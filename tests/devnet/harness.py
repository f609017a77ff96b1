"""`Devnet`: a real PLC directory and a real PDS, running for as long as a `with` block.

    with Devnet.start(folder) as devnet:
        alice = devnet.create_account("alice.test")
        alice.create_record("science.alt.dataset.entry", {...})

Everything is synchronous: tests drive it from plain functions, async ones through
`asyncio.to_thread`.
"""

from __future__ import annotations

import json
import os
import selectors
import shutil
import signal
import subprocess
import time
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import httpx

from tests.devnet.account import Account, procedure, query
from tests.devnet.errors import DevnetError, StartFailed
from tests.devnet.install import HERE, Installed, Say, install

START_SECONDS = 50  # two node servers with a cold disk cache on a busy machine; 2 s when idle
STOP_SECONDS = 5  # from SIGTERM to SIGKILL
CALL_SECONDS = 30  # of one call to a server here
LOG_TAIL = 4000  # characters of the servers' output kept in an error
PASSWORD = "devnet-password"


class Devnet:
    """Running servers. Build one with `start`; `close` ends the process group, always."""

    def __init__(self, process: subprocess.Popen[bytes], told: dict[str, Any], log: Path) -> None:
        self._process = process
        self._control: str = told["control"]
        self._admin: str = told["admin"]
        self._log = log
        self.pds: str = told["pds"]
        self.plc: str = told["plc"]
        self.ws: str = told["ws"]
        self._http = httpx.Client(base_url=self.pds, timeout=CALL_SECONDS, trust_env=False)

    @classmethod
    def start(
        cls, folder: Path, *, installed: Installed | None = None, say: Say | None = None
    ) -> Self:
        """Starts both servers with their databases in `folder`; returns when they answer.

        Installs them first where that has not happened (see `install`), which `say` hears of.
        Raises StartFailed after `START_SECONDS`.
        """
        installed = installed or (install(say=say) if say else install())
        folder.mkdir(parents=True, exist_ok=True)
        # A module resolves its packages from its own folder, so it runs beside them.
        script = installed.folder / f"start-{os.getpid()}-{time.monotonic_ns()}.mjs"
        shutil.copy(HERE / "start.mjs", script)
        log = folder / "servers.log"
        try:
            with log.open("wb") as output:
                process = subprocess.Popen(
                    [str(installed.node), str(script), str(folder)],
                    cwd=folder,
                    stdin=subprocess.PIPE,  # its end tells the servers that we are gone
                    stdout=subprocess.PIPE,
                    stderr=output,
                    start_new_session=True,
                )
            try:
                told = json.loads(_first_line(process, log))
                return cls(process, told, log)
            except BaseException:
                _end(process)
                raise
        finally:
            script.unlink(missing_ok=True)

    def create_account(self, handle: str) -> Account:
        """A new account, `handle` under `.test`. Its repo is empty and active."""
        body = {
            "handle": handle,
            "email": f"{handle.replace('.', '-')}@devnet.test",
            "password": PASSWORD,
        }
        answer = self.procedure("com.atproto.server.createAccount", body)
        return Account(self._http, answer["did"], answer["handle"], answer["accessJwt"])

    def query(self, method: str, **params: Any) -> Any:
        return query(self._http, method, params)

    def procedure(self, method: str, body: Any) -> Any:
        return procedure(self._http, method, body)

    def get_repo(self, did: str) -> bytes:
        """The whole repo as a CAR."""
        car = self.query("com.atproto.sync.getRepo", did=did)
        assert isinstance(car, bytes)
        return car

    def did_document(self, did: str) -> Any:
        """What the PLC directory says about `did`."""
        response = self._http.get(f"{self.plc}/{did}")
        response.raise_for_status()
        return response.json()

    def rotate(self, did: str, *, quiet: bool = False) -> None:
        """A new signing key for `did`.

        Announced by #identity and #sync, or, where `quiet`, not at all: a consumer finds out
        by a signature that fails.
        """
        self._tell("/rotate", did=did, quiet="1" if quiet else "0")

    def announce_identity(self, did: str) -> None:
        """An #identity event, whatever the reason."""
        self._tell("/announce", did=did)

    def take_down(self, did: str, *, applied: bool = True) -> None:
        """The host takes the account down, or (`applied` false) puts it back."""
        body = {
            "subject": {"$type": "com.atproto.admin.defs#repoRef", "did": did},
            "takedown": {"applied": applied, "ref": "devnet"},
        }
        procedure(self._http, "com.atproto.admin.updateSubjectStatus", body, self._admin)

    def delete_account(self, did: str) -> None:
        """Removes the account for good, as an administrator."""
        procedure(self._http, "com.atproto.admin.deleteAccount", {"did": did}, self._admin)

    def close(self) -> None:
        """Ends the servers. Safe to call twice."""
        self._http.close()
        _end(self._process)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def _tell(self, path: str, **params: str) -> None:
        response = self._http.post(f"{self._control}{path}", params=params)
        if response.is_error:
            raise DevnetError(f"the control endpoint failed at {path}: {response.text}")


def _first_line(process: subprocess.Popen[bytes], log: Path) -> bytes:
    """The line that says where the servers are, waited for with a deadline."""
    assert process.stdout is not None
    deadline = time.monotonic() + START_SECONDS
    line = b""
    with selectors.DefaultSelector() as selector:
        selector.register(process.stdout, selectors.EVENT_READ)
        while not line.endswith(b"\n"):
            left = deadline - time.monotonic()
            if left <= 0 or not selector.select(left):
                raise StartFailed(f"silent for {START_SECONDS} s", _tail(log))
            chunk = os.read(process.stdout.fileno(), 4096)
            if not chunk:
                raise StartFailed(f"it exited with {process.wait()}", _tail(log))
            line += chunk
    return line


def _tail(log: Path) -> str:
    return log.read_text(errors="replace")[-LOG_TAIL:]


def _end(process: subprocess.Popen[bytes]) -> None:
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGTERM)
    try:
        process.wait(STOP_SECONDS)
    except subprocess.TimeoutExpired:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()
    for pipe in (process.stdin, process.stdout):
        if pipe is not None:
            pipe.close()
