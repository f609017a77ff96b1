"""Undoing what a real PDS commits, with no node more than it sends; and reading its repo."""

from __future__ import annotations

import asyncio
import random
from pathlib import Path
from typing import Any

import libipld
import pytest
from websockets.asyncio.client import connect

from atdex_firehose.car import read_car
from atdex_firehose.commit import parse_commit_object
from atdex_firehose.frames import CommitFrame, parse_commit, split
from atdex_firehose.mst import EMPTY_ROOT, invert, invert_ops
from atdex_firehose.repo_car import open_repo
from tests.devnet import Account, Devnet
from tests.firehose.network import DEADLINE

pytestmark = pytest.mark.devnet

NOTE = "app.test.note"


def note(n: int) -> dict[str, object]:
    return {"$type": NOTE, "text": str(n)}


def write(account: Account) -> None:
    """Enough for a tree of several layers; then single ops and batches, all kinds mixed."""
    rng = random.Random(7)
    numbers = iter(range(100_000))
    keys: list[str] = []

    def new() -> dict[str, Any]:
        n = next(numbers)
        keys.append(f"n{n:05d}")
        rng.shuffle(keys)
        return {"kind": "create", "rkey": f"n{n:05d}", "n": n}

    def change() -> dict[str, Any]:
        kind = rng.choice(["create", "delete", "update"])
        if kind == "create" or len(keys) < 5:
            return new()
        if kind == "delete":
            return {"kind": "delete", "rkey": keys.pop(), "n": 0}
        return {"kind": "update", "rkey": keys[0], "n": next(numbers)}

    for size in [1, 1, 1, 120, *[1] * 60, *[2, 3, 5, 8] * 5, 100]:
        batch: dict[str, dict[str, Any]] = {}
        for _ in range(size):
            step = new() if size >= 100 else change()
            if step["rkey"] in batch:
                continue
            batch[step["rkey"]] = step
        account.apply_writes(
            [
                {
                    "$type": step["kind"],
                    "collection": NOTE,
                    "rkey": step["rkey"],
                }
                | ({} if step["kind"] == "delete" else {"value": note(step["n"])})
                for step in batch.values()
            ]
        )
    account.create_record(NOTE, note(-1), rkey="last")


async def frames_of(devnet: Devnet, did: str) -> list[CommitFrame]:
    """Every commit of one account, from the first."""
    url = devnet.pds.replace("http", "ws") + "/xrpc/com.atproto.sync.subscribeRepos?cursor=0"
    found: list[CommitFrame] = []
    async with asyncio.timeout(DEADLINE), connect(url, max_size=None) as socket:
        async for message in socket:
            assert isinstance(message, bytes)
            kind, body = split(message)
            if kind == "#commit" and body["repo"] == did:
                found.append(parse_commit(body))
                if any(op.path == f"{NOTE}/last" for op in found[-1].ops):
                    break
    return found


async def test_every_commit_of_a_real_pds_is_undone_to_the_one_before_it(
    devnet: Devnet, tmp_path: Path
) -> None:
    account = await asyncio.to_thread(devnet.create_account, "trees.test")
    await asyncio.to_thread(write, account)
    frames = await frames_of(devnet, account.did)
    assert len(frames) > 80
    assert len({len(frame.ops) for frame in frames}) > 4
    data = EMPTY_ROOT
    for frame in frames:
        blocks = read_car(frame.blocks, frame.did).blocks
        commit = parse_commit_object(blocks[frame.commit], frame.did, frame.rev)
        assert invert_ops(frame.did, commit.data, frame.ops, blocks) == data
        assert frame.prev_data in (data, None)
        assert invert(commit.data, frame.ops, blocks) == data
        data = commit.data

    path = tmp_path / "repo.car"
    path.write_bytes(await asyncio.to_thread(devnet.get_repo, account.did))
    with open_repo(path, account.did) as repo:
        assert repo.commit.data == data
        records = {key: libipld.encode_cid(cid) for key, cid in repo.records()}
    listed = await asyncio.to_thread(account.list_records, NOTE)
    assert records == {uri.removeprefix(f"at://{account.did}/"): cid for uri, cid in listed.items()}
