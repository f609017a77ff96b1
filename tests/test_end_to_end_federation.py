"""Three node processes on loopback that ask each other; one is stopped, one is killed."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Mapping
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import pytest

from atdex_lexicons.families import to_record
from tests.appview.index import ALICE, dataset
from tests.appview.running import Running, node
from tests.firehose.network import Network
from tests.support.pds import FakePds
from tests.support.relay import FakePlc, FakeRelay
from tests.support.repo import Repo

ENTRY = "science.alt.dataset.entry"
SCHEMA = f"at://{ALICE}/science.alt.dataset.schema/3knowhere2222"
METHOD = "searchDatasets"


def publish(net: Network, repo: Repo, name: str, rkey: str) -> str:
    """A dataset, which those who follow this relay get to know."""
    record = to_record(dataset(name, SCHEMA))
    net.relay.send(repo.commit({f"{ENTRY}/{rkey}": record}).encode(net.seq()))
    return f"at://{repo.did}/{ENTRY}/{rkey}"


def seen(answer: Any) -> dict[str, list[str]]:
    return {view["record"]["name"]: view["sources"] for view in answer["datasets"]}


def statuses(answer: Any) -> dict[str, str]:
    return {each["url"]: each["status"] for each in answer["nodes"]}


async def until(asking: Running, wanted: Mapping[str, list[str]], states: list[str]) -> None:
    """Asks until the answer is that: a busy machine may make a healthy peer late at first.

    Not as often as it can: a peer that was late three times is left alone, callers are rationed.
    """
    async with asyncio.timeout(60):
        while True:
            answer = await asking.ask(METHOD, q="eye", federate="true")
            if seen(answer) == wanted and list(statuses(answer).values()) == states:
                break
            await asyncio.sleep(0.5)
    assert answer["partial"] is (set(states) != {"ok"})


@pytest.mark.timeout(180)
async def test_nodes_answer_together_and_what_fails_is_missing_in_time(tmp_path: Path) -> None:
    async with AsyncExitStack() as stack:
        plc = stack.enter_context(FakePlc())
        pds = stack.enter_context(FakePds())
        nets = []
        for _ in range(3):
            nets.append(Network(await stack.enter_async_context(FakeRelay()), plc, pds))
        common = ("--plc", plc.url, "--allow-private-hosts", "--batch-delay", "0.02")
        quiet = (*common, "--no-backfill")

        async def start(name: str, net: Network, *peers: str) -> Running:
            flags = [part for url in peers for part in ("--peer", url)]
            folder = tmp_path / name / "data"
            folder.parent.mkdir()
            opened = node(folder, net.relay.url, *quiet, *flags)
            return await stack.enter_async_context(opened)

        left, right = await start("left", nets[1]), await start("right", nets[2])
        mine = await start("mine", nets[0], left.url, right.url)
        own = f"http://localhost:{mine.url.rpartition(':')[2]}"

        alice, bob, carol = (nets[0].account(name) for name in ("alice", "bob", "carol"))
        publish(nets[0], alice, "eye of alice", "3k2aaaaaaaaa2")
        publish(nets[1], bob, "eye of bob", "3k2aaaaaaaab2")
        publish(nets[2], carol, "eye of carol", "3k2aaaaaaaac2")
        for running in (left, right, mine):
            await running.until(lambda a: a["hitsTotal"] == 1, METHOD, q="eye")

        everything = {
            "eye of alice": [own],
            "eye of bob": [left.url],
            "eye of carol": [right.url],
        }
        await until(mine, everything, ["ok", "ok", "ok"])
        assert (await mine.ask("describeNode"))["peers"] == [left.url, right.url]

        # It accepts connections, and says nothing.
        left.process.send_signal(signal.SIGSTOP)
        try:
            async with asyncio.timeout(20):
                answer = await mine.ask(METHOD, q="eye", federate="true")
            assert statuses(answer)[left.url] == "timeout"
            assert answer["partial"] is True
            right.process.send_signal(signal.SIGKILL)
            await right.process.wait()
            async with asyncio.timeout(20):
                answer = await mine.ask(METHOD, q="eye", federate="true")
            assert statuses(answer)[right.url] == "error"
            assert seen(answer) == {"eye of alice": [own]}
        finally:
            left.process.send_signal(signal.SIGCONT)

        # The one that was stopped goes on, and is asked again once its breaker lets it.
        both = {"eye of alice": [own], "eye of bob": [left.url]}
        await until(mine, both, ["ok", "ok", "error"])
        # A record that its publisher deletes is gone, though the peer may not know it yet.
        bob.commit({f"{ENTRY}/3k2aaaaaaaab2": None})
        assert await mine.stop() == 0
        mine = await stack.enter_async_context(
            node(
                tmp_path / "mine" / "data",
                nets[0].relay.url,
                *quiet,
                *("--peer", left.url),
            )
        )
        own = f"http://localhost:{mine.url.rpartition(':')[2]}"
        await until(mine, {"eye of alice": [own]}, ["ok", "ok"])
        for running in (mine, left):
            assert await running.stop() == 0
            assert "Traceback" not in running.log
