"""What a node does about records that it does not have: published before it came, missed, or
lost with its store."""

from __future__ import annotations

import shutil
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from zlib import crc32

import pytest

from atdex_lexicons.families import to_record
from tests.appview.index import dataset
from tests.appview.running import Running, node
from tests.support.jetstream import FakeJetstream, commit_message
from tests.support.pds import FakePds
from tests.support.relay import FakePlc, FakeRelay
from tests.support.repo import K256Key, Repo, account_frame, did_document, plc_did, tid

ENTRY = "science.alt.dataset.entry"
ALICE, BOB = plc_did("alice"), plc_did("bob")
SCHEMA = f"at://{ALICE}/science.alt.dataset.schema/3k2aaaaaaaaa2"


def entry(name: str) -> dict[str, Any]:
    return to_record(dataset(name, SCHEMA))


def path(name: str) -> str:
    """Where a record of that name is in its repo."""
    return f"{ENTRY}/{tid(1_700_000_000_000_000 + crc32(name.encode()))}"


@dataclass
class World:
    """A relay without any backlog beyond what it is sent, a directory, and a PDS."""

    relay: FakeRelay
    plc: FakePlc
    pds: FakePds
    seq: int = 0

    def account(self, did: str) -> Repo:
        repo = Repo(did, K256Key())
        self.plc.documents[did] = did_document(did, repo.key, pds=self.pds.url)
        self.pds.repos[did] = repo
        return repo

    def write(self, repo: Repo, *names: str, sent: bool = True) -> None:
        """One commit of a record for each name; `sent`: the relay tells of it."""
        body = repo.commit({path(name): entry(name) for name in names})
        self.tell(body.encode(self._next()), sent)

    def delete(self, repo: Repo, name: str, *, sent: bool = True) -> None:
        self.tell(repo.commit({path(name): None}).encode(self._next()), sent)

    def tell(self, raw: bytes, sent: bool = True) -> None:
        if sent:
            self.relay.send(raw)

    def status(self, did: str, active: bool, word: str | None = None) -> None:
        self.relay.send(account_frame(self._next(), did, active, word))

    def _next(self) -> int:
        self.seq += 1
        return self.seq

    @asynccontextmanager
    async def node(self, folder: Path, *flags: str) -> AsyncIterator[Running]:
        more = ("--plc", self.plc.url, "--allow-private-hosts", "--batch-delay", "0.02", *flags)
        async with node(folder, self.relay.url, *more) as running:
            yield running
            assert await running.stop() == 0


@pytest.fixture
def plc() -> Iterator[FakePlc]:
    with FakePlc() as opened:
        yield opened


@pytest.fixture
async def world(plc: FakePlc) -> AsyncIterator[World]:
    async with FakeRelay() as relay:
        with FakePds() as pds:
            yield World(relay, plc, pds)


async def serves(running: Running, *names: str) -> None:
    """Waits until exactly these are listed, and found."""
    wanted = sorted(names)

    def those(answer: Any) -> bool:
        return sorted(view["record"]["name"] for view in answer["datasets"]) == wanted

    await running.until(those, "listDatasets")
    await running.until(those, "searchDatasets")


async def test_what_a_repo_held_before_its_first_commit_that_was_seen_is_fetched(
    world: World, tmp_path: Path
) -> None:
    alice = world.account(ALICE)
    world.write(alice, "old", "older", sent=False)
    world.write(alice, "new")
    async with world.node(tmp_path / "data") as running:
        await serves(running, "old", "older", "new")
        said = await running.until(
            lambda about: about["backfill"]["repos"]["synchronized"] == 1, "describeNode"
        )
    assert said["backfill"]["outcomes"] == [{"outcome": "done", "count": 1}]
    assert said["backfill"]["remaining"] == 0


async def test_a_commit_that_the_relay_lost_is_made_up_for_from_the_repo(
    world: World, tmp_path: Path
) -> None:
    alice = world.account(ALICE)
    world.write(alice, "first")
    async with world.node(tmp_path / "data") as running:
        await serves(running, "first")
    world.write(alice, "lost", sent=False)
    world.delete(alice, "first", sent=False)
    world.write(alice, "last")
    async with world.node(tmp_path / "data") as running:
        await serves(running, "lost", "last")


async def test_records_of_a_store_that_was_lost_are_fetched_again(
    world: World, tmp_path: Path
) -> None:
    alice, bob = world.account(ALICE), world.account(BOB)
    world.write(alice, "one", "two")
    world.write(bob, "three")
    async with world.node(tmp_path / "data") as running:
        await serves(running, "one", "two", "three")
    (tmp_path / "data" / "records.duckdb").unlink()
    async with world.node(tmp_path / "data") as running:
        await serves(running, "one", "two", "three")
        world.write(alice, "four")
        await serves(running, "one", "two", "three", "four")
    assert "every repo is fetched again" in running.log


async def test_an_older_store_that_is_put_back_comes_to_what_the_repos_hold(
    world: World, tmp_path: Path
) -> None:
    alice, bob = world.account(ALICE), world.account(BOB)
    world.write(alice, "one", "two")
    world.write(bob, "hidden")
    store = tmp_path / "data" / "records.duckdb"
    async with world.node(tmp_path / "data") as running:
        await serves(running, "one", "two", "hidden")
    shutil.copy(store, tmp_path / "older")
    world.delete(alice, "one")
    world.write(alice, "three")
    world.status(BOB, active=False, word="deactivated")
    async with world.node(tmp_path / "data") as running:
        await serves(running, "two", "three")
    shutil.copy(tmp_path / "older", store)
    async with world.node(tmp_path / "data") as running:
        await serves(running, "two", "three")
        world.status(BOB, active=True)
        await serves(running, "two", "three", "hidden")


async def test_a_record_of_a_jetstream_is_served_with_the_mark_that_it_is_unverified(
    plc: FakePlc, tmp_path: Path
) -> None:
    plc.documents[ALICE] = did_document(ALICE, K256Key())
    time_us = 1_780_000_000_000_000
    async with FakeJetstream() as jetstream:
        for number, name in enumerate(("one", "two")):
            jetstream.send(
                commit_message(time_us + number, ALICE, tid(time_us), path(name), entry(name))
            )
        flags = ("--jetstream", jetstream.url, "--plc", plc.url)
        async with node(tmp_path / "data", None, *flags) as running:
            await serves(running, "one", "two")
            listed = (await running.ask("listDatasets"))["datasets"]
            assert [view["verified"] for view in listed] == [False, False]
            assert await running.stop() == 0


async def test_records_of_a_jetstream_lose_their_mark_when_the_repo_is_fetched_through_a_relay(
    world: World, tmp_path: Path
) -> None:
    alice = world.account(ALICE)
    world.write(alice, "one", sent=False)
    assert alice.rev is not None
    time_us = 1_780_000_000_000_000
    async with FakeJetstream() as jetstream:
        for name in ("one", "invented"):
            jetstream.send(commit_message(time_us, ALICE, alice.rev, path(name), entry(name)))
        flags = ("--jetstream", jetstream.url, "--plc", world.plc.url)
        async with node(tmp_path / "data", None, *flags) as running:
            await serves(running, "one", "invented")
            before = (await running.ask("listDatasets"))["datasets"][-1]
            assert before["record"]["name"] == "one"
            assert before["verified"] is False
            assert await running.stop() == 0
    world.write(alice, "two")
    async with world.node(tmp_path / "data") as running:
        await serves(running, "one", "two")

        def verified(answer: Any) -> bool:
            return not any("verified" in view for view in answer["datasets"])

        listed = await running.until(verified, "listDatasets")
        assert listed["datasets"][-1]["firstSeen"] == before["firstSeen"]
