"""`atdex node reindex`."""

from __future__ import annotations

import asyncio
import json
import subprocess
from pathlib import Path

import pytest

from atdex_lexicons.families import to_record
from tests.appview.index import dataset
from tests.appview.rebuild.world import (
    ENTRY,
    SCHEMA,
)
from tests.appview.records import rev
from tests.appview.running import COMMAND, DEADLINE, environment, node
from tests.support.relay import FakePlc, FakeRelay
from tests.support.repo import K256Key, Repo, did_document, plc_did


async def reindex(folder: Path, *flags: str) -> subprocess.CompletedProcess[str]:
    def call() -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [COMMAND, "node", "reindex", "--data-dir", folder, *flags],
            capture_output=True,
            text=True,
            timeout=2 * DEADLINE,
            env=environment(),
            check=False,
        )

    return await asyncio.to_thread(call)


@pytest.mark.timeout(180)
async def test_the_command_has_a_running_node_rebuild_and_does_it_itself_where_none_runs(
    tmp_path: Path,
) -> None:
    folder, did = tmp_path / "data", plc_did("alice")
    async with FakeRelay() as relay:
        with FakePlc() as plc:
            repo = Repo(did, K256Key())
            plc.documents[did] = did_document(did, repo.key)
            records = {
                f"{ENTRY}/{rev(n)}": to_record(dataset(f"eye {n}", SCHEMA)) for n in range(20)
            }
            relay.send(repo.commit(records).encode(1))
            flags = ("--plc", plc.url, "--batch-delay", "0.02")
            async with node(folder, relay.url, *flags) as running:
                await running.until(lambda a: a["hitsTotal"] == 20, "searchDatasets", q="eye")
                done = await reindex(folder)
                assert (done.returncode, done.stdout) == (
                    0,
                    "done: 20 records, 0 changed, 0 set aside, 0 out of quarantine\n",
                ), done.stderr
                again = await reindex(folder, "--json")
                assert json.loads(again.stdout)["done"] == 20
                asked = await reindex(folder, "--no-wait")
                assert (asked.returncode, asked.stdout) == (0, "the node was asked to\n")
                assert (await running.ask("searchDatasets", q="eye"))["hitsTotal"] == 20
                assert await running.stop() == 0
                assert "Traceback" not in running.log
            alone = await reindex(folder)
            assert alone.returncode == 0, alone.stderr
            assert alone.stdout.startswith("done: 20 records")
            async with node(folder, relay.url, *flags) as running:
                assert (await running.ask("searchDatasets", q="eye"))["hitsTotal"] == 20
                assert await running.stop() == 0
                assert "rebuild" not in running.log
    nothing = await reindex(tmp_path / "empty")
    assert nothing.returncode == 1
    assert "holds no node's records" in nothing.stderr
