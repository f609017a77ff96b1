"""What the guides show works as it stands."""

from __future__ import annotations

import asyncio
import inspect
import re
import signal
import sys
from pathlib import Path

from atdex_firehose import Consumer
from atdex_lexicons.families import to_record
from tests.appview.index import dataset
from tests.support.relay import FakePlc, FakeRelay
from tests.support.repo import K256Key, Repo, did_document, plc_did

DOCS = Path(__file__).parent.parent / "docs"
SECONDS = 20
"""For the program to start, and to print."""
MOST_LINES = 20
"""Of what is shown to be short, without blank lines."""


async def test_the_program_in_the_guide_of_the_firehose_prints_what_is_published(
    tmp_path: Path,
) -> None:
    [program] = re.findall(r"```python\n(.*?)```", (DOCS / "firehose.md").read_text(), re.DOTALL)
    assert len([line for line in program.splitlines() if line]) <= MOST_LINES
    repo = Repo(plc_did("alice"), K256Key())
    schema = f"at://{repo.did}/science.alt.dataset.schema/3k2aaaaaaaaa2"
    with FakePlc() as plc:
        plc.documents[repo.did] = did_document(repo.did, repo.key)
        async with FakeRelay() as relay:
            record = to_record(dataset("retina", schema))
            relay.send(repo.commit({"science.alt.dataset.entry/3k2aaaaaaaab2": record}).encode(1))
            program = program.replace("https://relay1.us-east.bsky.network", relay.url)
            program = program.replace("https://plc.directory", plc.url)
            running = await asyncio.create_subprocess_exec(
                *(sys.executable, "-u", "-c", program),
                stdout=asyncio.subprocess.PIPE,
                stderr=asyncio.subprocess.DEVNULL,
                cwd=tmp_path,
            )
            try:
                assert running.stdout is not None
                async with asyncio.timeout(SECONDS):
                    line = (await running.stdout.readline()).decode()
                    running.send_signal(signal.SIGINT)
                    await running.wait()
            finally:
                if running.returncode is None:
                    running.kill()
    assert line.startswith(f"create at://{repo.did}/science.alt.dataset.entry/3k2aaaaaaaab2 ")
    assert "retina" in line
    assert (tmp_path / "state.sqlite").exists()


def test_every_argument_of_the_consumer_is_in_the_guide() -> None:
    rows = re.findall(r"^\| `(\w+)` \|", (DOCS / "firehose.md").read_text(), re.MULTILINE)
    arguments = [name for name in inspect.signature(Consumer.__init__).parameters if name != "self"]
    settings = [row for row in rows if row in arguments]
    assert sorted(settings) == sorted(arguments)
