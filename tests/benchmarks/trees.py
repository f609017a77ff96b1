"""Trees: undoing commits, the parts of verifying one, and reading whole repos.

The commits are of one op in a repo of TREE_RECORDS records, with the blocks that a PDS sends. The
whole repo is read from a file in a process of its own, whose largest size is measured there, less
nothing: interpreter and imports are in it. Each figure is the best of ROUNDS.
"""

from __future__ import annotations

import multiprocessing
import random
import resource
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from atdex_firehose.car import read_car
from atdex_firehose.commit import parse_commit_object
from atdex_firehose.crypto import parse_multikey
from atdex_firehose.frames import Op
from atdex_firehose.mst import invert_ops
from atdex_firehose.repo_car import open_repo
from tests.support.mst import build_tree, cid_of, encode
from tests.support.repo import K256Key, Repo, plc_did

TREE_RECORDS = 1_000
COMMITS = 100
REPO_RECORDS = 100_000
ROUNDS = 20
REPO_ROUNDS = 3

RECORDS_PER_SECOND = 30_000
MEGABYTES = 300

DID = plc_did("bench")
KEY = K256Key(b"\x07" * 32)


@dataclass(frozen=True)
class Case:
    """One commit: what a frame brings, and the root that undoing it must give."""

    blocks: bytes
    commit_block: bytes
    rev: str
    ops: tuple[Op, ...]
    before: bytes
    after: bytes


def post(n: int) -> dict[str, object]:
    return {
        "$type": "app.bsky.feed.post",
        "text": f"The {n}th thing that was said. " * 3,
        "createdAt": "2026-01-01T00:00:00.000Z",
        "langs": ["en"],
    }


def cases() -> list[Case]:
    """Creates for the most part, as on the network, with deletes and updates between."""
    rng = random.Random(0)
    repo = Repo(DID, KEY)
    kinds = ("post", "like", "repost")

    def path() -> str:
        return f"app.bsky.feed.{rng.choice(kinds)}/3k{rng.randrange(10**11):011d}"

    repo.commit({path(): post(n) for n in range(TREE_RECORDS)})
    found = []
    for n in range(COMMITS):
        kind = rng.choices(("create", "delete", "update"), (8, 1, 1))[0]
        target = path() if kind == "create" else rng.choice(list(repo.records))
        prev, before = repo.records.get(target), repo.data
        body = repo.commit({target: None if kind == "delete" else post(-n)})
        op = Op(kind, target, repo.records.get(target), prev)  # type: ignore[arg-type]
        assert before is not None
        assert repo.data is not None
        assert repo.rev is not None
        found.append(
            Case(body.fields["blocks"], repo.commit_block, repo.rev, (op,), before, repo.data)
        )
    return found


def per_second(step: Callable[[int], object], count: int) -> float:
    best = float("inf")
    for _ in range(ROUNDS):
        started = time.perf_counter()
        for n in range(count):
            step(n)
        best = min(best, time.perf_counter() - started)
    return count / best


def write_repo(path: Path) -> None:
    repo = Repo(DID, KEY)
    for n in range(REPO_RECORDS):
        block = encode(post(n))
        cid = cid_of(block)
        repo.blocks[cid] = block
        repo.records[f"app.bsky.feed.post/3k{n * 7919 % 10**11:011d}"] = cid
    repo.sign(build_tree(repo.records)[0], repo.next_rev())
    path.write_bytes(repo.export())


def read_repo(path: Path) -> tuple[float, float]:
    """Seconds to read all of a repo, block by block, and the process's largest size in MB."""
    best = float("inf")
    for _ in range(REPO_ROUNDS):
        started = time.perf_counter()
        with open_repo(path, DID) as repo:
            count = sum(1 for _, cid in repo.records() if repo.block(cid))
        best = min(best, time.perf_counter() - started)
        assert count == REPO_RECORDS
    return best, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def whole_repo() -> tuple[float, float]:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "repo.car"
        spawn = multiprocessing.get_context("spawn")
        with spawn.Pool(1) as pool:  # written in a process too: what it takes is none of this one
            pool.apply(write_repo, (path,))
        with spawn.Pool(1) as pool:
            return pool.apply(read_repo, (path,))


def run() -> list[tuple[str, float, str, str]]:
    commits = cases()
    blocks = [read_car(case.blocks).blocks for case in commits]
    objects = [parse_commit_object(case.commit_block, DID, case.rev) for case in commits]
    key = parse_multikey(KEY.multikey)
    nodes = sum(len(found) for found in blocks) / len(blocks)

    def undo(n: int) -> None:
        case = commits[n]
        if invert_ops(DID, case.after, case.ops, blocks[n]) != case.before:
            raise AssertionError(case.ops)

    def check(n: int) -> None:
        case = commits[n]
        found = read_car(case.blocks, DID)
        commit = parse_commit_object(found.blocks[found.roots[0]], DID, case.rev)
        assert key.verify(commit.sig, commit.signed)
        assert invert_ops(DID, commit.data, case.ops, found.blocks) == case.before

    undone = per_second(undo, COMMITS)
    split = per_second(lambda n: read_car(commits[n].blocks), COMMITS)
    parsed = per_second(
        lambda n: parse_commit_object(commits[n].commit_block, DID, commits[n].rev), COMMITS
    )
    signed = per_second(lambda n: key.verify(objects[n].sig, objects[n].signed), COMMITS)
    whole = per_second(check, COMMITS)
    seconds, megabytes = whole_repo()
    return [
        (f"commits of {nodes:.0f} blocks split and hashed", split, "commits/s", ""),
        ("commit objects parsed", parsed, "commits/s", ""),
        ("signatures checked (K-256)", signed, "commits/s", ""),
        ("one-op commits undone in 1,000 records", undone, "commits/s", ""),
        ("the four together", whole, "commits/s", ""),
        ("of these, undoing the op", 100 * whole / undone, "percent", ""),
        (
            "records of a whole repo of 100,000",
            REPO_RECORDS / seconds,
            "records/s",
            f">= {RECORDS_PER_SECOND}",
        ),
        ("largest size of the process that reads it", megabytes, "MB", f"<= {MEGABYTES}"),
    ]
