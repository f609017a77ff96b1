"""The devnet itself: what the other tests take for granted about it."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import libipld
import pytest
from websockets.sync.client import ClientConnection, connect

from tests.devnet import Devnet, Refused
from tests.devnet.errors import InstallFailed
from tests.devnet.install import HERE, NODE_PACKAGE, Say, _run, install

pytestmark = pytest.mark.devnet

FRAME_SECONDS = 10
RECORD = {"$type": "test.devnet.note", "text": "a note"}

Frame = tuple[dict[str, Any], dict[str, Any]]


@contextmanager
def subscribed(devnet: Devnet, cursor: int = 0) -> Iterator[ClientConnection]:
    url = f"{devnet.ws}/xrpc/com.atproto.sync.subscribeRepos?cursor={cursor}"
    with connect(url, max_size=None, proxy=None) as socket:
        yield socket


def frames_until(socket: ClientConnection, kind: str, did: str) -> list[Frame]:
    """The frames of `did` up to and including the first of `kind` (`#commit`, …)."""
    found: list[Frame] = []
    deadline = time.monotonic() + FRAME_SECONDS
    while True:
        message = socket.recv(timeout=deadline - time.monotonic())
        assert isinstance(message, bytes)
        header, body = libipld.decode_dag_cbor_multi(message)
        if did in (body.get("did"), body.get("repo")):
            found.append((header, body))
            if header.get("t") == kind:
                return found


def test_a_new_account_and_its_record_come_as_frames(devnet: Devnet) -> None:
    account = devnet.create_account("frames.test")
    written = account.create_record("test.devnet.note", RECORD)
    with subscribed(devnet) as socket:
        birth = frames_until(socket, "#sync", account.did)
        commit = frames_until(socket, "#commit", account.did)[-1][1]
    assert [header["t"] for header, _ in birth] == ["#identity", "#account", "#commit", "#sync"]
    assert commit["rev"] == written.rev
    assert [op["path"] for op in commit["ops"]] == [f"test.devnet.note/{written.rkey}"]
    assert account.list_records("test.devnet.note") == {written.uri: written.cid}
    assert libipld.decode_car(devnet.get_repo(account.did))[1]


def test_the_cursor_is_exclusive(devnet: Devnet) -> None:
    account = devnet.create_account("cursor.test")
    with subscribed(devnet) as socket:
        first = frames_until(socket, "#identity", account.did)[0][1]["seq"]
    with subscribed(devnet, first) as socket:
        assert frames_until(socket, "#account", account.did)[0][1]["seq"] == first + 1


def test_a_rotation_changes_the_key_and_tells_everybody_unless_it_is_quiet(devnet: Devnet) -> None:
    account = devnet.create_account("rotation.test")

    def key() -> Any:
        return devnet.did_document(account.did)["verificationMethod"][0]["publicKeyMultibase"]

    keys = [key()]
    devnet.rotate(account.did, quiet=True)
    keys.append(key())
    account.create_record("test.devnet.note", RECORD)
    devnet.rotate(account.did)
    keys.append(key())
    assert len(set(keys)) == 3
    with subscribed(devnet) as socket:
        frames_until(socket, "#sync", account.did)  # the account's birth
        after = frames_until(socket, "#sync", account.did)
    assert [header["t"] for header, _ in after] == ["#commit", "#identity", "#sync"]


def test_an_administrator_takes_an_account_down_and_puts_it_back(devnet: Devnet) -> None:
    account = devnet.create_account("takedown.test")
    devnet.take_down(account.did)
    with subscribed(devnet) as socket:
        frames_until(socket, "#sync", account.did)
        down = frames_until(socket, "#account", account.did)[-1][1]
    assert (down["active"], down["status"]) == (False, "takendown")
    devnet.take_down(account.did, applied=False)
    assert account.query("com.atproto.server.getSession")["active"]


def test_a_refusal_says_what_the_pds_said(devnet: Devnet) -> None:
    with pytest.raises(Refused, match="InvalidRequest") as refusal:
        devnet.query("com.atproto.repo.getRecord", repo="nobody.test")
    assert refusal.value.status == 400


def test_the_servers_end_with_the_process_that_started_them(tmp_path: Path, devnet: Devnet) -> None:
    starter = (
        "import os, pathlib, sys\n"
        "from tests.devnet import Devnet\n"
        "devnet = Devnet.start(pathlib.Path(sys.argv[1]))\n"
        "print(devnet._process.pid, flush=True)\n"
        "os._exit(1)\n"
    )
    ended = subprocess.run(
        [sys.executable, "-c", starter, str(tmp_path)],
        stdout=subprocess.PIPE,
        timeout=50,
        cwd=HERE.parent.parent,
        check=False,
    )
    pid = int(ended.stdout)
    deadline = time.monotonic() + 10
    while _alive(pid):
        assert time.monotonic() < deadline, "the servers outlived their starter"
        time.sleep(0.05)


def _alive(pid: int) -> bool:
    try:
        # A zombie that waits for init to reap it has ended too.
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False


def test_two_processes_install_once_and_the_second_says_that_it_waits(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    building, may_end = threading.Event(), threading.Event()
    built: list[Path] = []

    def build(folder: Path, say: Say) -> None:
        building.set()
        assert may_end.wait(20)
        folder.mkdir()
        built.append(folder)

    def hear(line: str) -> None:
        if "waiting" in line:
            may_end.set()

    monkeypatch.setattr("tests.devnet.install._build", build)
    monkeypatch.setattr("tests.devnet.install._check_machine", lambda: None)
    with ThreadPoolExecutor(2) as pool:
        first = pool.submit(install, tmp_path)
        assert building.wait(20)
        second = pool.submit(install, tmp_path, hear)
        assert first.result(20) == second.result(20)
    assert built == [first.result().folder]


def test_a_failed_step_of_the_installation_shows_its_last_lines(tmp_path: Path) -> None:
    with pytest.raises(InstallFailed, match="no such thing"):
        _run(["sh", "-c", "echo no such thing >&2; exit 3"], tmp_path, dict(os.environ))


def test_the_lock_pins_exact_versions_and_names_no_registry() -> None:
    lock = (HERE / "package-lock.json").read_text()
    package = (HERE / "package.json").read_text()
    assert "resolved" not in lock
    assert NODE_PACKAGE in package
    assert not any(mark in package for mark in ("^", "~", "latest"))
