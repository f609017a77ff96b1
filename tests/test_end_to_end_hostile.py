"""A relay that sends garbage between good frames: the node sets it aside and goes on."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import anyio.to_thread
import cbor2

from tests.support.following import Follower
from tests.support.mst import cid_of, link
from tests.support.published import fixture
from tests.support.relay import FakePlc, FakeRelay
from tests.support.repo import (
    K256Key,
    Repo,
    account_frame,
    did_document,
    frame,
    identity_frame,
    plc_did,
    tid,
)

ENTRY = "science.alt.dataset.entry"
INDEX_SECONDS = 20
DEPTH = 10_000
"""Levels of nesting: enough to exhaust any decoder that recurses."""
DEEP_PATH = f"{ENTRY}/3kzzzzzzzzzy2"


def entry(name: str) -> dict[str, Any]:
    value: dict[str, Any] = fixture("entry_http_nochecksum")["value"]
    return value | {"name": name}


def abyss() -> bytes:
    """A whole record with 10,000 lists inside each other, written without recursion."""
    head = cbor2.dumps(entry("abyss"), canonical=True)
    assert head[0] >> 5 == 5  # a map; one pair more, whose key sorts last
    assert head[0] & 31 < 23
    key = cbor2.dumps("zzzzzzzzzzzz")
    return bytes([head[0] + 1]) + head[1:] + key + b"\x81" * DEPTH + b"\x80"


class World:
    """Accounts of a fake directory, and the frames of a relay that serves them."""

    def __init__(self, plc: FakePlc, relay: FakeRelay) -> None:
        self._plc = plc
        self._relay = relay
        self._seq = 0

    def account(self, name: str) -> Repo:
        did = plc_did(name)
        repo = Repo(did, K256Key())
        self._plc.documents[did] = did_document(
            did, repo.key, pds=self._relay.url, handle=f"{name}.test"
        )
        self.send(identity_frame(self.seq(), did, f"{name}.test"))
        self.send(account_frame(self.seq(), did, True))
        return repo

    def seq(self) -> int:
        self._seq += 1
        return self._seq

    def send(self, *frames: bytes | str) -> None:
        self._relay.send(*frames)

    async def interrupt(self, message: bytes | str) -> None:
        """Sends what has no sequence number, and waits until the node hangs up and comes back."""
        connections = len(self._relay.cursors)
        await self._relay.send_now(message)
        deadline = time.monotonic() + INDEX_SECONDS
        while len(self._relay.cursors) == connections:
            assert time.monotonic() < deadline, "the node did not hang up"
            await asyncio.sleep(0.02)


@asynccontextmanager
async def followed(tmp_path: Path) -> AsyncIterator[tuple[World, Follower]]:
    """A hostile world and a node process that follows it."""
    with FakePlc() as plc:
        async with FakeRelay() as relay:
            world = World(plc, relay)

            def start() -> Follower:
                return Follower(relay.url, plc.url, tmp_path / "data", tmp_path / "node.log")

            node = await anyio.to_thread.run_sync(start)
            try:
                yield world, node
            finally:
                await anyio.to_thread.run_sync(node.close)


def datasets(node: Follower) -> set[str]:
    return {view["record"]["name"] for view in node.walk()}


async def indexed(node: Follower, names: set[str]) -> None:
    """Waits until the node serves exactly these."""
    await anyio.to_thread.run_sync(
        lambda: node.wait(lambda: datasets(node) == names, f"index of {names}", INDEX_SECONDS)
    )


def refused_frames(world: World, mallory: Repo) -> Iterator[tuple[str, bytes]]:
    """Well formed frames whose content is bad, with what is bad about them."""
    path = f"{ENTRY}/3kzzzzzzzzzz2"
    good = mallory.commit({path: entry("unseen")})
    blocks: bytes = good.fields["blocks"]
    flipped = blocks[:-1] + bytes([blocks[-1] ^ 1])
    yield "a CAR with a wrong hash", good.encode(world.seq(), blocks=flipped)
    yield "a CAR that is cut off", good.encode(world.seq(), blocks=blocks[:-10])
    yield "no CAR at all", good.encode(world.seq(), blocks=b"\xff" * 64)
    forger = Repo(mallory.did, K256Key())
    yield "another key", forger.commit({path: entry("forged")}).encode(world.seq())
    yield "a record of 10,000 levels", mallory.commit({DEEP_PATH: abyss()}).encode(world.seq())
    absent = {"action": "create", "path": path, "cid": link(cid_of(b"\xa0"))}
    yield "a missing block", mallory.commit({path: entry("x")}).encode(world.seq(), ops=[absent])
    yield "an unknown type", frame("#novel", {"seq": world.seq()})


def broken_frames() -> Iterator[tuple[str, bytes | str]]:
    """What is no frame at all: the connection is worth nothing after it."""
    yield "10,000 levels in a frame", frame("#commit", {})[:-1] + b"\x81" * DEPTH
    yield "noise", b"\xde\xad\xbe\xef" * 16
    yield "an empty message", b""
    yield "text", "good morning"


async def test_a_node_outlives_every_bad_frame_and_serves_the_good_ones_between(
    tmp_path: Path,
) -> None:
    async with followed(tmp_path) as (world, node):
        alice = world.account("alice")
        mallory = world.account("mallory")
        names: set[str] = set()

        async def alice_goes_on(after: str) -> None:
            """Her next record arrives, and nothing else does."""
            path = f"{ENTRY}/{tid(1_780_000_000_000_000 + len(names))}"
            world.send(alice.commit({path: entry(f"after {after}")}).encode(world.seq()))
            names.add(f"after {after}")
            await indexed(node, names)

        for what, bad in refused_frames(world, mallory):
            world.send(bad)
            await alice_goes_on(what)
        status = node.status(f"at://{mallory.did}/{DEEP_PATH}")
        assert status["status"] == "quarantined"
        assert "nest" in status["reason"]
        for what, message in broken_frames():
            await world.interrupt(message)
            await alice_goes_on(what)
        health = node.get("_health")
        assert health.status_code == 200, health.text
