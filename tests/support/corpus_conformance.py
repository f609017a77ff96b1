"""A consumer follows a replayed corpus into a plain model, and the two must agree in the end.

By hand, over the whole corpus: `python -m tests.support.corpus_conformance --seeds 20`.
"""

from __future__ import annotations

import argparse
import asyncio
import logging
import sys
import tempfile
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager, suppress
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
KILLED_RATE = 1_000.0
"""Frames a second where a process is killed: the kills are to fall among them."""
WRONG_SECONDS = 3.0
"""How long a settled consumer may still be wrong: a timer of it may be about to fire."""

POLICY = ResyncPolicy(first=0.05, cap=1.0, free_strikes=100, host_first=0.1)
"""Repos that are damaged every few commits and hosts that fail are tried again at once."""


def timing() -> Timing:
    """Reconnects at once; the stream is silent at its end for as long as a test takes."""
    return Timing(ping=30.0, idle=600.0, backoff=Backoff(0.01, 0.05))


def clock_of(shift: float) -> Callable[[], float]:
    """The time that it was when the corpus was recorded, going on from there. How old a commit is
    decides what becomes of it, and a corpus is kept for days."""
    return lambda: time.time() - shift


def shift_of(corpus: Corpus) -> float:
    """Seconds since the corpus was recorded."""
    return time.time() - corpus.ended_at


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
                clock=clock_of(shift_of(corpus)),
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
    kills: int,
    every: float,
    deadline: float,
) -> list[str]:
    """The same by a process that is killed so many times, each time so many seconds after it began
    to follow, and then left alone. Returns what is wrong with its model at the end."""
    paths = [str(folder / "state.sqlite"), str(folder / "model.sqlite")]
    command = [sys.executable, "-m", f"{__package__}.corpus_child"]
    command += [network.url, network.plc, *paths, f"{shift_of(corpus)}", *collections]
    with Model(folder / "model.sqlite") as model:
        async with asyncio.timeout(deadline):
            for _ in range(kills):
                async with _child(command):
                    await asyncio.sleep(every)
        ends = time.monotonic() + deadline
        async with _child(command) as child:
            while wrong := differences(model, corpus, collections):
                if child.returncode is not None:
                    raise RuntimeError(f"the consumer's process ended with {child.returncode}")
                if time.monotonic() > ends:
                    break
                await asyncio.sleep(CHECK_SECONDS)
        return wrong


@asynccontextmanager
async def _child(command: Sequence[str]) -> AsyncIterator[asyncio.subprocess.Process]:
    """A process that follows, which its first line says; it is killed at the end."""
    child = await asyncio.create_subprocess_exec(*command, stdout=asyncio.subprocess.PIPE)
    try:
        assert child.stdout is not None
        if not await child.stdout.readline():
            raise RuntimeError("the consumer's process ended before it followed")
        yield child
    finally:
        with suppress(ProcessLookupError):
            child.kill()
        await child.wait()


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
        faults = Faults(1, 50, repo_share=0.5)
        async with ReplayNetwork(corpus, faults=faults, rate=KILLED_RATE) as network:
            wrong = await conform_killed(
                network, corpus, datasets, Path(folder), kills=10, every=2.0, deadline=deadline
            )
    failures += bool(wrong)
    print(f"{'WRONG' if wrong else 'right'}  killed ten times: {wrong}")
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
