"""A consumer follows a replayed corpus into a plain model, and the two must agree in the end.

By hand, over the whole corpus: `python -m tests.support.corpus_conformance --seeds 20`.
"""

from __future__ import annotations

import argparse
import asyncio
import logging
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from atdex_firehose import Consumer
from atdex_firehose.backoff import Backoff
from atdex_firehose.resync_turns import ResyncPolicy
from atdex_firehose.upstream import Timing
from tests.support.corpus import FULL, Corpus, Parameters
from tests.support.corpus_model import Model, differences
from tests.support.corpus_recording import recorded
from tests.support.corpus_values import dataset_collections
from tests.support.replay import ReplayNetwork
from tests.support.replay_faults import Faults

CHECK_SECONDS = 0.05
SETTLED_SECONDS = 2.0
"""Nothing may be due within this time before the model is judged: more than `POLICY` waits."""
WRONG_SECONDS = 3.0
"""How long a settled consumer may still be wrong: a timer of it may be about to fire."""

POLICY = ResyncPolicy(first=0.05, cap=1.0, free_strikes=100, host_first=0.1)
"""Repos that are damaged every few commits and hosts that fail are tried again at once."""


def timing() -> Timing:
    """Reconnects at once; the stream is silent at its end for as long as a test takes."""
    return Timing(ping=30.0, idle=600.0, backoff=Backoff(0.01, 0.05))


@dataclass(frozen=True, slots=True)
class Outcome:
    """`wrong` is empty where the model is right. The rest says what happened on the way."""

    wrong: list[str]
    seconds: float
    connections: int
    met: Counter[str]
    wrong_answers: Counter[str]
    repos_fetched: int
    records: int
    rejected: dict[str, int]


async def conform(
    network: ReplayNetwork,
    corpus: Corpus,
    collections: Sequence[str],
    *,
    state: Path | None = None,
    deadline: float = 60.0,
) -> Outcome:
    """Follows until nothing more comes. Raises TimeoutError where that does not happen."""
    begun = time.monotonic()
    with Model() as model:
        async with (
            asyncio.timeout(deadline),
            Consumer(
                relays=[network.url],
                collections=collections,
                state=state,
                plc=network.plc,
                allow_private_hosts=True,
                timing=timing,
                resync=POLICY,
            ) as consumer,
        ):
            applying = asyncio.create_task(_apply(consumer, model))
            try:
                wrong = await _judged(consumer, network, corpus, model, collections, applying)
            finally:
                applying.cancel()
                await asyncio.gather(applying, return_exceptions=True)
            rejected = consumer.stats().rejected_by_reason
        return Outcome(
            wrong,
            time.monotonic() - begun,
            network.connections,
            network.met,
            network.host.wrong,
            network.host.requests["getRepo"],
            model.count(),
            rejected,
        )


async def _apply(consumer: Consumer, model: Model) -> None:
    async for event in consumer:
        model.apply(event)
        consumer.ack(event)


async def _judged(
    consumer: Consumer,
    network: ReplayNetwork,
    corpus: Corpus,
    model: Model,
    collections: Sequence[str],
    applying: asyncio.Task[None],
) -> list[str]:
    """What is wrong once everything has come."""
    wrong_since: float | None = None
    while True:
        await asyncio.sleep(CHECK_SECONDS)
        if applying.done():
            applying.result()  # raises what ended it
            raise AssertionError("the consumer ended by itself")
        if not _settled(consumer, network):
            wrong_since = None
            continue
        wrong = differences(model, corpus, collections)
        if not wrong:
            return []
        wrong_since = wrong_since or time.monotonic()
        if time.monotonic() - wrong_since > WRONG_SECONDS:
            return wrong


def _settled(consumer: Consumer, network: ReplayNetwork) -> bool:
    stats = consumer.stats()
    (upstream,) = stats.upstreams
    return (
        upstream["seq"] >= network.last_seq
        and stats.unacked == 0
        and not consumer.busy_within(SETTLED_SECONDS)
    )


async def conform_killed(
    network: ReplayNetwork,
    corpus: Corpus,
    collections: Sequence[str],
    folder: Path,
    *,
    every: float,
    deadline: float,
) -> tuple[list[str], int]:
    """The same by a process that is killed every so many seconds until the model is right.

    Returns what is wrong at the deadline, and how many times it was killed.
    """
    ends = time.monotonic() + deadline
    paths = [str(folder / "state.sqlite"), str(folder / "model.sqlite")]
    command = [sys.executable, "-m", f"{__package__}.corpus_child"]
    command += [network.url, network.plc, *paths, *collections]
    kills = 0
    with Model(folder / "model.sqlite") as model:
        while True:
            child = subprocess.Popen(command)
            try:
                lives = time.monotonic() + every
                while time.monotonic() < min(lives, ends):
                    await asyncio.sleep(CHECK_SECONDS)
                    if child.poll() is not None:
                        raise RuntimeError(f"the consumer's process ended with {child.returncode}")
                    at_end = network.host.position >= corpus.seqs[-1]
                    if at_end and not differences(model, corpus, collections):
                        return [], kills
            finally:
                os.kill(child.pid, signal.SIGKILL)
                child.wait()
            kills += 1
            if time.monotonic() >= ends:
                return differences(model, corpus, collections), kills


async def _run(corpus: Corpus, seeds: range, deadline: float) -> int:
    """Every case of the promise. Returns how many were not kept."""
    datasets = dataset_collections()
    cases: list[tuple[str, Faults, Sequence[str]]] = [
        ("from the start", Faults(), datasets),
        ("from the start, every collection", Faults(), ["*"]),
        ("cut every 500 frames", Faults(cut_every=500), datasets),
    ]
    for seed in seeds:
        cases.append(
            (f"one frame in 50 lost, twice or damaged, seed {seed}", Faults(seed, 50), ["*"])
        )
        faults = Faults(seed, 50, repo_share=0.7)
        cases.append((f"and a PDS that misbehaves, seed {seed}", faults, datasets))
    failures = 0
    for name, faults, collections in cases:
        async with ReplayNetwork(corpus, faults=faults) as network:
            outcome = await conform(network, corpus, collections, deadline=deadline)
        failures += bool(outcome.wrong)
        print(f"{'WRONG' if outcome.wrong else 'right'}  {name}: {outcome}", flush=True)
    with tempfile.TemporaryDirectory() as folder:
        async with ReplayNetwork(corpus, faults=Faults(1, 50, repo_share=0.5)) as network:
            wrong, kills = await conform_killed(
                network, corpus, datasets, Path(folder), every=3.0, deadline=deadline
            )
    failures += bool(wrong)
    print(f"{'WRONG' if wrong else 'right'}  killed {kills} times: {wrong}")
    return failures


def main() -> int:
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("--commits", type=int, default=FULL.commits)
    arguments.add_argument("--accounts", type=int, default=FULL.accounts)
    arguments.add_argument("--share", type=int, default=FULL.share)
    arguments.add_argument("--seeds", type=int, default=20)
    arguments.add_argument("--first-seed", type=int, default=0)
    arguments.add_argument("--deadline", type=float, default=600.0, help="seconds for one case")
    given = arguments.parse_args()
    logging.disable(logging.WARNING)  # thousands of rejections that are wanted here
    corpus = recorded(Parameters(given.commits, given.accounts, given.share))
    seeds = range(given.first_seed, given.first_seed + given.seeds)
    return asyncio.run(_run(corpus, seeds, given.deadline))


if __name__ == "__main__":
    sys.exit(main())
