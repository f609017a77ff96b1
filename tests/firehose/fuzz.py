"""The fuzzer: hostile inputs against everything that reads what the network sends.

    python -m tests.firehose.fuzz --minutes 30
    python -m tests.firehose.fuzz --minutes 30 --engine atheris     # guided by coverage
    python -m tests.firehose.fuzz --seconds 20 --seed 7 --target commit --target tree

An input must not raise what is not declared, take more than a second of CPU, or 500 MB of memory,
and what is accepted must be consistent (see `fuzz_targets`). The first input that breaks this ends
the run with exit code 1. It is written to `--keep`, and belongs, once it is fixed, into
`tests/firehose/cases`, where a test replays it. The input under way lies in `--keep` too, as
`current`, so that one that ends the process is not lost.

The engine `hypothesis` makes an input that it finds smaller; in every second turn chances are drawn
from a plain seed instead, which makes ten times as many inputs. `atheris` is not installed
with this project: `pip install atheris` (Linux, CPython up to 3.13).
"""

from __future__ import annotations

import argparse
import importlib
import json
import random
import resource
import signal
import sys
import time
import warnings
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from hashlib import sha256
from pathlib import Path
from random import Random
from types import FrameType
from typing import TYPE_CHECKING, Any, NoReturn

if TYPE_CHECKING:
    from tests.firehose.fuzz_targets import Target

INPUT_SECONDS = 1.0
"""Of CPU, so that a busy machine makes no difference."""
MEMORY_BYTES = 400_000_000
"""Beyond what the process has before the first input: with that, less than 500 MB."""
SCRAMBLED = 0.3
"""The part of inputs that are also changed byte by byte."""
ROUND = 50
"""Examples that hypothesis makes between two looks at the clock."""
PLAIN_SECONDS = 0.3
"""A turn of chances from a plain seed."""
SEED_BYTES = 64
"""Of an input of atheris that is taken for chances; a longer one is an input itself."""
CASES = Path(__file__).with_name("cases")


class Broken(Exception):
    """An input broke a rule. `path` is where it was kept."""

    def __init__(self, target: str, path: Path, cause: str) -> None:
        super().__init__(target, path, cause)
        self.target = target
        self.path = path
        self.cause = cause

    def __str__(self) -> str:
        return f"{self.target}: {self.cause}\n  kept as {self.path}"


class TooSlow(Exception):
    """An input took more than INPUT_SECONDS."""


class TooLarge(Exception):
    """The process took more than MEMORY_BYTES."""


@contextmanager
def bounded(seconds: float = INPUT_SECONDS) -> Iterator[None]:
    """Raises TooSlow inside once the time is over, at the latest afterwards."""
    started = time.process_time()
    before = signal.signal(signal.SIGVTALRM, _too_slow)
    signal.setitimer(signal.ITIMER_VIRTUAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_VIRTUAL, 0.0)
        signal.signal(signal.SIGVTALRM, before)
    if time.process_time() - started > seconds:
        raise TooSlow(f"more than {seconds} s of CPU")


def peak_bytes() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def forget_peak() -> None:
    """Count the peak from now: what the process held before would hide what an input takes."""
    Path("/proc/self/clear_refs").write_text("5")


def _too_slow(number: int, frame: FrameType | None) -> NoReturn:
    raise TooSlow("more than the CPU time that an input may take")


class Run:
    """One run: checks inputs, counts them, and keeps the one that breaks a rule in `keep`."""

    def __init__(self, targets: dict[str, Target], keep: Path) -> None:
        self.targets = targets
        self.inputs: Counter[str] = Counter()
        self.accepted: Counter[str] = Counter()
        self.slowest = 0.0
        self.keep = keep
        keep.mkdir(parents=True, exist_ok=True)
        self._current = (keep / "current").open("wb", buffering=0)
        forget_peak()
        self._most = peak_bytes() + MEMORY_BYTES

    def check(self, name: str, raw: bytes) -> None:
        """Raises Broken."""
        self._current.seek(0)
        self._current.truncate()
        self._current.write(name.encode() + b"\n" + raw)
        started = time.process_time()
        try:
            with bounded():
                accepted = self.targets[name].check(raw)
            if peak_bytes() > self._most:
                raise TooLarge(f"more than {MEMORY_BYTES} bytes")
        except Exception as error:  # what is raised is what is looked for
            path = self.keep / f"{name}-{sha256(raw).hexdigest()[:12]}"
            path.write_bytes(raw)
            raise Broken(name, path, f"{type(error).__name__}: {error}") from error
        self.slowest = max(self.slowest, time.process_time() - started)
        self.inputs[name] += 1
        self.accepted[name] += accepted

    def close(self) -> None:
        self._current.close()
        (self.keep / "current").unlink()

    def summary(self) -> dict[str, Any]:
        return {
            "inputs": dict(self.inputs),
            "accepted": dict(self.accepted),
            "slowest_seconds": round(self.slowest, 3),
            "peak_mb": peak_bytes() // 1_000_000,
        }


def hostile(rolls: Random, target: Target) -> bytes:
    """An input for the target."""
    from tests.firehose.fuzz_inputs import scramble

    raw = target.make(rolls)
    return scramble(rolls, raw) if rolls.random() < SCRAMBLED else raw


def by_hypothesis(run: Run, seconds: float, seed: int) -> None:
    """Every target in turn, until the time is over. Raises Broken for the smallest input found."""
    names = sorted(run.targets)
    end = time.monotonic() + seconds
    turn = 0
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # hypothesis's, about the stack that is limited here
        while time.monotonic() < end:
            name, chances = names[turn % len(names)], seed * 1_000_003 + turn
            _examples(run, name, chances)
            by_seed(run, name, PLAIN_SECONDS, chances)
            turn += 1


def by_seed(run: Run, name: str, seconds: float, seed: int) -> None:
    """One target, for so long. Raises Broken."""
    rolls = Random(seed)
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        run.check(name, hostile(rolls, run.targets[name]))


def _examples(run: Run, name: str, seed: int) -> None:
    import hypothesis
    from hypothesis import strategies as st

    target = run.targets[name]

    @hypothesis.seed(seed)
    @hypothesis.settings(
        max_examples=ROUND,
        deadline=None,
        database=None,
        report_multiple_bugs=False,
        suppress_health_check=list(hypothesis.HealthCheck),
    )
    @hypothesis.given(st.randoms(use_true_random=False))
    def one(rolls: Random) -> None:
        run.check(name, hostile(rolls, target))

    one()


class Chances(Random):
    """A `Random` whose chances are given bytes; when they are used up, the same ones always."""

    def __init__(self, raw: bytes) -> None:
        super().__init__(0)
        self._raw = int.from_bytes(raw, "little")

    def getrandbits(self, count: int, /) -> int:
        if not self._raw:
            return super().getrandbits(count)
        low = self._raw & ((1 << count) - 1)
        self._raw >>= count
        return low

    def random(self) -> float:
        return self.getrandbits(16) / 65_536


def by_atheris(run: Callable[[], Run], seconds: float, seed: int) -> NoReturn:
    """Inputs by coverage; libFuzzer ends the process, with exit code 0 where nothing was found."""
    try:
        atheris = importlib.import_module("atheris")
    except ImportError:
        raise SystemExit("atheris is not installed here: pip install atheris") from None
    with atheris.instrument_imports(include=["atdex_firehose", "atdex_lexicons"]):
        running = run()
    names = sorted(running.targets)

    def one(raw: bytes) -> None:
        if not raw:
            return
        name = names[raw[0] % len(names)]
        rest = raw[1:]
        if len(rest) <= SEED_BYTES:
            rest = hostile(Chances(rest), running.targets[name])
        running.check(name, rest)

    arguments = [sys.argv[0], f"-max_total_time={int(seconds)}", f"-seed={seed}"]
    arguments += ["-max_len=20000", "-rss_limit_mb=0", "-print_final_stats=1"]
    corpus = _corpus(running, names, seed)
    atheris.Setup([*arguments, str(corpus)], one)
    atheris.Fuzz()
    raise SystemExit(0)


def _corpus(run: Run, names: Sequence[str], seed: int) -> Path:
    """Inputs to start from: of each target some honest ones, and some chances."""
    folder = run.keep / "corpus"
    folder.mkdir(exist_ok=True)
    rolls = Random(seed)
    for n, name in enumerate(names):
        for m in range(10):
            raw = run.targets[name].make(rolls) if m % 2 else rolls.randbytes(SEED_BYTES)
            (folder / f"{name}-{m}").write_bytes(bytes([n]) + raw)
    return folder


def limit_memory() -> None:
    """Asking for more raises MemoryError, so that one input cannot take the machine with it."""
    used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    most = used + MEMORY_BYTES
    resource.setrlimit(resource.RLIMIT_AS, (most, most))


def start(keep: Path, only: Sequence[str]) -> Run:
    from tests.firehose.fuzz_targets import TARGETS

    unknown = set(only) - TARGETS.keys()
    if unknown:
        raise SystemExit(f"no such target: {', '.join(unknown)}; there are {', '.join(TARGETS)}")
    return Run({name: TARGETS[name] for name in only or TARGETS}, keep)


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.firehose.fuzz")
    parser.add_argument("--minutes", type=float, default=0.0)
    parser.add_argument("--seconds", type=float, default=0.0)
    parser.add_argument("--seed", type=int, default=None, help="default: another one each time")
    parser.add_argument("--engine", choices=("hypothesis", "atheris"), default="hypothesis")
    parser.add_argument("--target", action="append", default=[], help="default: all")
    parser.add_argument("--keep", type=Path, default=Path("fuzz-found"))
    options = parser.parse_args(arguments)
    seconds = options.minutes * 60 + options.seconds or 60.0
    seed = random.SystemRandom().randrange(2**31) if options.seed is None else options.seed
    print(f"seed {seed}", file=sys.stderr, flush=True)
    if options.engine == "atheris":
        by_atheris(lambda: start(options.keep, options.target), seconds, seed)
    run = start(options.keep, options.target)
    if sys.platform == "linux":
        limit_memory()
    try:
        by_hypothesis(run, seconds, seed)
    except Broken as error:
        print(f"seed {seed}\n{error}", file=sys.stderr)
        return 1
    finally:
        run.close()
    print(json.dumps(run.summary()))
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
