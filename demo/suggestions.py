"""What the demo tells people to try. Each suggestion can be pasted, and `--check` runs them all."""

from __future__ import annotations

import os
import shlex
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlencode

import httpx

from demo.node import COMMAND

RUN_SECONDS = 60  # of one suggestion on a busy machine; all take about a second
DATASET = "@retina-lab.test/screening"
TUNES = "@fiddle-archive.test/reels"


@dataclass(frozen=True, slots=True)
class Suggestion:
    """Something to open (a URL) or to run (a command line)."""

    why: str
    text: str

    @property
    def is_url(self) -> bool:
        return self.text.startswith("http://")


def suggestions(node: str, *, shards: bool) -> Iterator[Suggestion]:
    """For a node at `node`; those that load samples only where `shards` are served."""
    command = _command()
    search = "/xrpc/app.bsky.atdata.searchDatasets"
    describe = "/xrpc/app.bsky.atdata.describeNode"
    query = urlencode({"q": "bird song"})
    yield Suggestion("search, as programs do", f"{node}{search}?{query}")
    yield Suggestion("what this node knows", f"{node}{describe}")
    yield Suggestion("search", f"{command} search 'time series' --node {node}")
    if not shards:
        return
    for source in (DATASET, TUNES):
        yield Suggestion(
            "load its first samples, typed and checked",
            f"{command} head {source} -n 2 --node {node} --allow-private-hosts",
        )


def failure(suggestion: Suggestion) -> str | None:
    """Does what is suggested: None where it worked, else what went wrong."""
    if suggestion.is_url:
        with httpx.Client(trust_env=False, timeout=RUN_SECONDS) as http:
            answer = http.get(suggestion.text)
        if answer.status_code != 200:
            return f"answered {answer.status_code}: {answer.text[:300]}"
        return None if answer.json() else "answered nothing"
    ended = subprocess.run(
        shlex.split(suggestion.text),
        capture_output=True,
        text=True,
        timeout=RUN_SECONDS,
        check=False,
    )
    if ended.returncode != 0:
        return f"exit code {ended.returncode}: {ended.stderr.strip()[-300:]}"
    return None if ended.stdout.strip() else "printed nothing"


def _command() -> str:
    """How to call `atdex` from where the reader is."""
    here = os.path.relpath(COMMAND, Path.cwd())
    return shlex.quote(str(COMMAND) if here.startswith("..") else here)
