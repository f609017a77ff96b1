"""Following the firehose: this project beside the SDK's client and bare sockets, over a corpus
recorded from a real PDS. See `record_corpus`, which takes a few minutes the first time.

Every consumer is a process of its own, and so is the network; they take turns, several rounds, and
the best counts: what else runs on the machine only ever slows them down. Ratios compare within the
same run, by the clock and by the time of the processor, which a busy machine changes less.
`python -m tests.benchmarks.firehose --long` adds the memory over 5 million events on end, and over
many consumers one after the other.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import platformdirs

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
COMPILED = {
    f"{FOLLOW}, compiled": ("ours", ()),
    f"{VERIFY}, compiled": ("ours", EVERYTHING),
}
"""The same sources through mypyc: see deploy/compile.py."""
VERIFIED_SHARE = 0.95
SDK = "atproto SDK, every message parsed"
DECODE = "picows, drain + decode + filter"


def consume(
    network: ReplayProcess, kind: str, collections: Sequence[str], path: Path | None = None
) -> dict[str, Any]:
    """Runs one consumer over the stream, of the packages in `path` where that is given. Raises
    where it fails or does not end."""
    command = [sys.executable, "-m", "tests.benchmarks.firehose_consumers", kind, network.url]
    command += [network.plc, str(network.last_seq), *(collections or dataset_collections())]
    there = os.environ if path is None else os.environ | {"PYTHONPATH": str(path)}
    ran = subprocess.run(
        command, capture_output=True, timeout=CONSUMER_SECONDS, check=False, env=there
    )
    if ran.returncode or not ran.stdout:
        raise RuntimeError(f"{kind} failed: {ran.stderr.decode(errors='replace')[-2000:]}")
    result: dict[str, Any] = json.loads(ran.stdout)
    return result


def measure(corpus: Corpus, rounds: int) -> list[Row]:
    begun, compiled = _begun(corpus), _compiled()
    results: dict[str, list[dict[str, Any]]] = defaultdict(list)
    with ReplayProcess(corpus.parameters.path, begun=begun) as network:
        for _ in range(rounds):
            for name, (kind, collections) in CONSUMERS.items():
                results[name].append(consume(network, kind, collections))
            for name, (kind, collections) in COMPILED.items():
                results[name].append(consume(network, kind, collections, compiled))
    for name, of in results.items():
        for result in of:
            _check(corpus, begun, name, result)

    def best(name: str, count: str = "frames", by: str = "seconds") -> float:
        return max(float(result[count] / result[by]) for result in results[name])

    def ratio(name: str, other: str, by: str) -> float:
        return best(name, by=by) / best(other, by=by)

    rows: list[Row] = [(name, best(name), "events/s", "") for name in results]
    for suffix in ("", ", compiled"):
        follow, verify = f"{FOLLOW}{suffix}", f"{VERIFY}{suffix}"
        for other, target in ((SDK, ">= 4"), (DECODE, ">= 0.5")):
            rows += [
                (f"follow{suffix} / {other}", ratio(follow, other, by), unit, told)
                for by, unit, told in (("seconds", "times", target), ("cpu", "times, CPU", ""))
            ]
        rows += [
            (f"every repo verified{suffix}", best(verify, "verified"), "commits/s", ">= 7000"),
            (f"every repo verified{suffix}", best(verify, "verified", "cpu"), "commits/CPU s", ""),
        ]
    return rows


def _compiled() -> Path:
    """The packages with what verifies commits compiled, made anew where a source has changed."""
    folder = platformdirs.user_cache_path("atdex") / "compiled"
    script = Path(__file__).parents[2] / "deploy" / "compile.py"
    subprocess.run([sys.executable, str(script), str(folder)], check=True)
    return folder


def _begun(corpus: Corpus) -> int:
    return corpus.seqs[int(len(corpus.seqs) * BEGUN_SHARE)]


def _check(corpus: Corpus, begun: int, name: str, result: dict[str, Any]) -> None:
    """Figures count only if the work was done: every frame was seen, and the commits that were to
    be verified were, but for the few whose key had changed when they came."""
    sent = [(kind, body) for kind, body in corpus.decoded if body["seq"] > begun]
    commits = [body["ops"] for kind, body in sent if kind == "#commit"]
    wanted = set(dataset_collections())
    kept = [ops for ops in commits if any(op["path"].partition("/")[0] in wanted for op in ops)]
    plain = name.removesuffix(", compiled")
    least = {VERIFY: len(commits), FOLLOW: len(kept)}.get(plain, 0) * VERIFIED_SHARE
    if result["frames"] != len(sent) or result.get("verified", 0) < least:
        raise RuntimeError(f"{name} did not do it all: {result}, of {len(commits)} commits")


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
