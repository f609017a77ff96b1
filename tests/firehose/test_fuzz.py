"""A minute of hostile inputs, the cases that were found before, and whether the fuzzer would find
what it looks for."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from random import Random
from types import ModuleType

import pytest

from atdex_firehose import car, evidence, jetstream, mst_nodes, mst_walk, repo_car, verify
from atdex_firehose import did as did_module
from tests.firehose import fuzz_inputs
from tests.firehose.compiled import needs_plain
from tests.firehose.fuzz import CASES, Broken, Run, bounded, by_seed
from tests.firehose.fuzz_scenes import SIZES, VARIANTS
from tests.firehose.fuzz_targets import TARGETS, Target, check_frame

SECONDS = 45
"""With the other tests of this file, a minute."""
FIND_SECONDS = 20.0
"""Of a fault that is put in; it is found in one or two."""
REPOSITORY = Path(__file__).parent.parent.parent


SEED = 671565004
"""Of the run in `make test`, so that a failure is that of a change; by hand, take others: see
CONTRIBUTING. This one found a key of a lower layer put beside the top one."""


@pytest.mark.timeout(SECONDS * 4)
def test_a_minute_of_hostile_inputs_breaks_no_rule(tmp_path: Path) -> None:
    seed = int(os.environ.get("ATDEX_FUZZ_SEED", SEED))
    command = [sys.executable, "-m", "tests.firehose.fuzz", "--keep", str(tmp_path)]
    command += ["--seconds", str(SECONDS), "--seed", str(seed)]
    done = subprocess.run(
        command, cwd=REPOSITORY, capture_output=True, text=True, timeout=SECONDS * 3, check=False
    )
    found = {path.name: path.read_bytes().hex()[:4_000] for path in tmp_path.iterdir()}
    assert done.returncode == 0, f"seed {seed}: {done.stderr}\n{found}"
    told = json.loads(done.stdout)
    print(told)
    assert told["inputs"].keys() == TARGETS.keys()
    assert min(told["inputs"].values()) >= 50
    assert min(told["accepted"].values()) >= 1, "inputs that are never accepted test no acceptance"


@pytest.mark.parametrize("path", sorted(CASES.iterdir()), ids=lambda path: path.name)
def test_what_was_found_before_stays_fixed(path: Path) -> None:
    name = path.name.partition("-")[0]
    with bounded():
        TARGETS[name].check(path.read_bytes())


def test_honest_commits_are_accepted() -> None:
    for number in range(len(SIZES)):
        for variant in range(VARIANTS):
            for whole in (True, False):
                made = fuzz_inputs.draft_of(number, variant, whole=whole)
                assert check_frame(fuzz_inputs.pack(Random(0), made)), (number, variant, whole)


# Would it find what it looks for?


def finds(target: Target, tmp_path: Path) -> str:
    run = Run({"it": target}, tmp_path)
    try:
        with pytest.raises(Broken) as caught:
            by_seed(run, "it", FIND_SECONDS, 1)
    finally:
        run.close()
    assert caught.value.path.read_bytes()
    return caught.value.cause


def endless(raw: bytes) -> bool:
    while True:
        pass


def undeclared(raw: bytes) -> bool:
    raise KeyError("x")


def greedy(raw: bytes) -> bool:
    return bool(bytearray(450_000_000).count(b"x"))


@pytest.mark.parametrize(
    ("check", "cause"), [(endless, "TooSlow"), (undeclared, "KeyError"), (greedy, "TooLarge")]
)
def test_it_finds_a_hang_an_undeclared_error_and_a_waste_of_memory(
    check: Callable[[bytes], bool], cause: str, tmp_path: Path
) -> None:
    bytearray(700_000_000).count(b"x")  # what the process held before does not count
    assert cause in finds(Target(lambda _: b"x", check), tmp_path)


class Whatever:
    """Equal to everything."""

    def __eq__(self, other: object) -> bool:
        return True

    def __ne__(self, other: object) -> bool:
        return False

    __hash__ = object.__hash__


def nothing(*_: object) -> None:
    pass


def anywhere(did: str, raw: bytes, cid: bytes, layer: int, *_: bytes) -> mst_nodes.Node:
    return mst_nodes.load_node(did, raw, cid, layer, mst_nodes.FIRST, mst_nodes.LAST)


def written_out(value: object, most: int = 80) -> str:
    return str(value)[:most]


@pytest.mark.parametrize(
    ("module", "name", "fault", "target", "cause"),
    [
        (
            evidence,
            "invert_ops",
            lambda *_: Whatever(),
            "commit",
            "not the difference of the trees",
        ),
        (evidence, "check_signature", nothing, "commit", "signature"),
        (verify, "check_rev", nothing, "frame", "rev"),
        (mst_walk, "load_node", anywhere, "repo", "not the one of its records"),
        (car, "check_block", nothing, "car", "hash"),
        (repo_car, "check_block", nothing, "repo", "Wrong"),
        (did_module, "shown", written_out, "document", "RecursionError"),
        (jetstream, "shown", written_out, "message", "RecursionError"),
    ],
)
def test_it_finds_a_check_that_was_left_out(
    module: ModuleType,
    name: str,
    fault: object,
    target: str,
    cause: str,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    needs_plain(module)
    monkeypatch.setattr(module, name, fault)
    assert cause in finds(TARGETS[target], tmp_path)
