"""The corpus for given parameters, recorded now where that has not happened."""

from __future__ import annotations

import fcntl
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path

from tests.devnet import Devnet
from tests.devnet.install import Installed
from tests.support.corpus import Corpus, Parameters
from tests.support.corpus_driver import record

MEMORY = Path("/dev/shm")
MEMORY_BYTES = 2 << 30
"""Ten times what the servers keep of 20,000 commits."""


def recorded(
    parameters: Parameters,
    *,
    installed: Installed | None = None,
    say: Callable[[str], None] = print,
) -> Corpus:
    """Reads it, or records and keeps it. One process records while others wait.

    Raises DevnetError where it must be recorded and no PDS can run here.
    """
    path = parameters.path
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.with_suffix(".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not path.exists():
            say(f"recording {parameters.commits:,} commits of {parameters.accounts} accounts")
            with (
                tempfile.TemporaryDirectory(dir=_fast_folder()) as folder,
                Devnet.start(Path(folder), installed=installed, say=say) as devnet,
            ):
                record(devnet, parameters, say).save(path)
        return Corpus.load(path)


def _fast_folder() -> Path | None:
    """Memory, where there is enough: the PDS waits for the disk at every commit, and nothing of
    its own needs to survive. None: where temporary files go."""
    enough = MEMORY.is_dir() and shutil.disk_usage(MEMORY).free > MEMORY_BYTES
    return MEMORY if enough else None
