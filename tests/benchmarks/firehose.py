"""Following the firehose: this project beside the SDK's client and bare sockets, over a corpus
recorded from a real PDS. See `record_corpus`, which takes a few minutes the first time.

Every consumer is a process of its own, and so is the network; they take turns, several rounds, and
the median counts. Ratios compare within the same run. `python -m tests.benchmarks.firehose --long`
adds the memory over 5 million events on end, and over many consumers one after the other.
"""

from __future__ import annotations

import json
import statistics
import subprocess
import sys
from collections import defaultdict
from collections.abc import Sequence
from typing import Any

from tests.benchmarks.firehose_consumers import ROUNDS as AGAIN
from tests.devnet import DevnetUnavailable
from tests.support.corpus import FULL, Corpus
from tests.support.corpus_recording import recorded
from tests.support.corpus_values import dataset_collections
from tests.support.replay_process import ReplayProcess

Row = tuple[str, float, str, str]

ROUNDS = 5
BEGUN_SHARE = 0.1
"""Of the frames are before the stream: by then every account exists, and a consumer that verifies
has fetched it."""
CONSUMER_SECONDS = 600
LONG_EVENTS = 5_000_000
SETTLED_ROUNDS = 3
SETTLED_SHARE = 0.1
"""Of a long stream: by then caches are full."""
GROWTH_MEGABYTES = 20.0
EVERYTHING = ("*",)

FOLLOW, VERIFY = "ours, follow and filter", "ours, verify every commit"
CONSUMERS: dict[str, tuple[str, Sequence[str]]] = {
    "atproto SDK, every message parsed": ("sdk", ()),
    "websockets, drain": ("websockets, drain", ()),
    "websockets, drain + decode + filter": ("websockets, decode", ()),
    "picows, drain": ("picows, drain", ()),
    "picows, drain + decode + filter": ("picows, decode", ()),
    FOLLOW: ("ours", ()),
    VERIFY: ("ours", EVERYTHING),
}
SDK = "atproto SDK, every message parsed"
DECODE = "picows, drain + decode + filter"


def consume(network: ReplayProcess, kind: str, collections: Sequence[str]) -> dict[str, Any]:
    """Runs one consumer over the stream. Raises where it fails or does not end."""
    command = [sys.executable, "-m", "tests.benchmarks.firehose_consumers", kind, network.url]
    command += [network.plc, str(network.last_seq), *(collections or dataset_collections())]
    ran = subprocess.run(command, capture_output=True, timeout=CONSUMER_SECONDS, check=False)
    if ran.returncode or not ran.stdout:
        raise RuntimeError(f"{kind} failed: {ran.stderr.decode(errors='replace')[-2000:]}")
    result: dict[str, Any] = json.loads(ran.stdout)
    return result


def measure(corpus: Corpus, rounds: int) -> list[Row]:
    begun = _begun(corpus)
    rates: dict[str, list[float]] = defaultdict(list)
    verified: list[float] = []
    last: dict[str, dict[str, Any]] = {}
    with ReplayProcess(corpus.parameters.path, begun=begun) as network:
        for _ in range(rounds):
            for name, (kind, collections) in CONSUMERS.items():
                last[name] = consume(network, kind, collections)
                rates[name].append(last[name]["frames"] / last[name]["seconds"])
            verified.append(last[VERIFY]["verified"] / last[VERIFY]["seconds"])
    _check(corpus, begun, last)
    middle = {name: statistics.median(of) for name, of in rates.items()}
    rows: list[Row] = [(name, rate, "events/s", "") for name, rate in middle.items()]
    rows += [
        ("follow and filter / SDK", middle[FOLLOW] / middle[SDK], "times", ">= 4"),
        ("follow and filter / drain + decode", middle[FOLLOW] / middle[DECODE], "times", ">= 0.5"),
        ("commits verified, every repo", statistics.median(verified), "commits/s", ">= 7000"),
    ]
    return rows


def _begun(corpus: Corpus) -> int:
    return corpus.seqs[int(len(corpus.seqs) * BEGUN_SHARE)]


def _check(corpus: Corpus, begun: int, last: dict[str, dict[str, Any]]) -> None:
    """Figures count only if the work was done: nobody saw fewer frames, few commits were refused
    (those whose key had changed when they came), and the others were verified."""
    sent = sum(seq > begun for seq in corpus.seqs)
    commits = sum(kind == "#commit" and body["seq"] > begun for kind, body in corpus.decoded)
    for name, result in last.items():
        if result["frames"] != sent:
            raise RuntimeError(f"{name}: {result['frames']} frames of {sent}")
    if last[VERIFY]["verified"] < commits * 0.95:
        raise RuntimeError(f"not every commit of {commits} was verified: {last[VERIFY]}")
    kept = last[SDK]["kept"]
    if last[FOLLOW]["verified"] < kept * 0.95:
        raise RuntimeError(f"not every commit of {kept} was verified: {last[FOLLOW]}")


def endurance(corpus: Corpus) -> list[Row]:
    """Memory over a long stream, and over many consumers that verify everything."""
    path = corpus.parameters.path
    with ReplayProcess(path, passes=-(-LONG_EVENTS // len(corpus.frames))) as network:
        long = consume(network, "ours", ())
    with ReplayProcess(path, begun=_begun(corpus)) as network:
        again = consume(network, "ours, again and again", EVERYTHING)
    along = [mb for at, mb in long["memory"] if at >= long["frames"] * SETTLED_SHARE]
    after = again["memory"][SETTLED_ROUNDS - 1 :]
    return [
        ("a long stream", long["frames"] / long["seconds"], "events/s", ""),
        *_memory(f"{long['frames']:,} events", along),
        *_memory(f"{again['verified']:,} commits verified by {AGAIN} consumers", after),
    ]


def _memory(name: str, samples: list[float]) -> list[Row]:
    bound = samples[0] + GROWTH_MEGABYTES
    return [
        (f"{name}, memory early on", samples[0], "MB", ""),
        (f"{name}, highest later", max(samples), "MB", f"<= {bound:.0f}"),
    ]


def run(rounds: int = ROUNDS, *, long: bool = False) -> list[Row]:
    """The table: name, figure, unit, target. Empty, and says why, where no PDS can run that the
    corpus could be recorded from."""
    try:
        corpus = recorded(FULL, say=lambda line: print(line, file=sys.stderr))
    except DevnetUnavailable as error:
        print(f"firehose: not measured: {error}", file=sys.stderr)
        return []
    return measure(corpus, rounds) + (endurance(corpus) if long else [])


if __name__ == "__main__":
    for title, figure, unit, target in run(long="--long" in sys.argv[1:]):
        print(f"{title:<58} {figure:>12,.2f} {unit:<12} {target}")
