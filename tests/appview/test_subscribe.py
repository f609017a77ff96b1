"""subscribeRecords of a node that runs as a process, through kills and restarts."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import aclosing, suppress
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
from libipld import encode_cid

from atdex_lexicons import Catalog
from atdex_lexicons.families import to_record
from atdex_xrpc import AsyncClient, InvalidRequest, TransportFailed
from atdex_xrpc.event_frames import Message
from tests.appview.index import dataset, schema
from tests.appview.running import DEADLINE, Running, node
from tests.support.relay import FakePlc, FakeRelay
from tests.support.repo import K256Key, Repo, account_frame, did_document, plc_did

pytestmark = pytest.mark.timeout(240)

SECONDS = 60.0
"""For what takes several waits of a node together."""

NSID = "app.bsky.atdata.subscribeRecords"
ENTRY, SCHEMA = "science.alt.dataset.entry", "science.alt.dataset.schema"
CATALOG = Catalog.bundled()
ALICE = plc_did("alice")
IMAGE = f"at://{ALICE}/{SCHEMA}/3k2aaaaaaaaa2"
FLAGS = ("--batch-delay", "0.02", "--batch-size", "20")


def shows(count: int) -> Callable[[Any], bool]:
    return lambda answer: bool(answer["counts"]["datasets"] == count)


@pytest_asyncio.fixture
async def relay() -> AsyncIterator[FakeRelay]:
    async with FakeRelay() as opened:
        yield opened


@pytest.fixture
def plc() -> Iterator[FakePlc]:
    with FakePlc() as opened:
        yield opened


@pytest.fixture
def repo(plc: FakePlc) -> Repo:
    key = K256Key()
    plc.documents[ALICE] = did_document(ALICE, key)
    return Repo(ALICE, key)


def entry(name: str) -> dict[str, Any]:
    return to_record(dataset(name, IMAGE))


def path(number: int) -> str:
    letters = "234567abcdefghijklmnopqrstuvwxyz"
    tail = "".join(letters[number >> shift & 31] for shift in (15, 10, 5, 0))
    return f"{ENTRY}/3k2aaaaaa{tail}"


async def read(url: str, count: int, **params: Any) -> list[Message]:
    """The next messages; every one is checked by the client against the document."""
    found: list[Message] = []
    async with (
        asyncio.timeout(SECONDS),
        AsyncClient(url, catalog=CATALOG) as client,
        aclosing(client.subscribe(NSID, params)) as messages,
    ):
        async for message in messages:
            found.append(message)
            if len(found) == count:
                break
    return found


def short(message: Message) -> str:
    body = message.body
    if message.kind == "#record":
        return f"{body['action']} {body['rkey']}"
    if message.kind == "#account":
        return str(body.get("status", "active"))
    return str(body["name"])


async def test_changes_are_told_as_they_happen_and_again_by_cursor(
    tmp_path: Path, relay: FakeRelay, plc: FakePlc, repo: Repo
) -> None:
    first, second = path(1), path(2)
    a, b = first.partition("/")[2], second.partition("/")[2]
    async with node(tmp_path / "data", relay.url, "--plc", plc.url, *FLAGS) as running:
        live = asyncio.create_task(read(running.url, 6, cursor=0))
        relay.send(repo.commit({first: entry("one"), second: entry("two")}).encode(1))
        await running.until(shows(2), "describeNode")
        relay.send(repo.commit({first: entry("three"), second: None}).encode(2))
        await running.until(shows(1), "describeNode")
        relay.send(account_frame(3, ALICE, False, "deactivated"))
        await running.until(shows(0), "describeNode")
        relay.send(account_frame(4, ALICE, True))
        told = await live
        words = [short(message) for message in told]
        assert sorted(words[:2]) == [f"create {a}", f"create {b}"]
        assert sorted(words[2:4]) == [f"delete {b}", f"update {a}"]
        assert words[4:] == ["deactivated", "active"]
        seqs = [message.body["seq"] for message in told]
        assert seqs == list(range(seqs[0], seqs[0] + 6))
        record = told[words.index(f"create {a}")].body
        assert record["record"] == entry("one")
        assert (record["did"], record["rev"], record["collection"]) == (
            ALICE,
            told[0].body["rev"],
            ENTRY,
        )
        again = await read(running.url, 6, cursor=0)
        assert again == told
        assert await read(running.url, 2, cursor=seqs[3]) == told[4:]
        only = await read(running.url, 2, cursor=0, collections=[SCHEMA, "app.bsky.atdata.label"])
        assert [short(message) for message in only] == ["deactivated", "active"]
        with pytest.raises(InvalidRequest) as refused:
            await read(running.url, 1, cursor=seqs[-1] + 1)
        assert refused.value.error == "FutureCursor"
        assert await running.stop() == 0
    async with node(tmp_path / "data", relay.url, "--plc", plc.url, *FLAGS) as running:
        assert await read(running.url, 6, cursor=0) == told
        relay.send(account_frame(5, ALICE, False, "takendown"))
        [after] = await read(running.url, 1, cursor=seqs[-1])
        assert short(after) == "takendown"
        assert after.body["seq"] > seqs[-1]
        hidden = await read(running.url, 2, cursor=0)
        assert [short(m) for m in hidden] == words[:2]
        assert all("record" not in message.body for message in hidden), "it is served no more"
        assert await running.stop() == 0


async def test_a_cursor_that_is_older_than_the_window_is_told_so_and_gets_what_there_is(
    tmp_path: Path, relay: FakeRelay, plc: FakePlc, repo: Repo
) -> None:
    flags = ("--plc", plc.url, "--stream-events", "1000")
    for number in range(12):
        writes = {path(number * 100 + n): entry(f"{number}-{n}") for n in range(100)}
        relay.send(repo.commit(writes).encode(number + 1))
    async with node(tmp_path / "data", relay.url, *flags) as running:
        await running.until(shows(1200), "describeNode")
        told = await read(running.url, 2, cursor=0)
        assert (told[0].kind, short(told[0])) == ("#info", "OutdatedCursor")
        assert told[1].kind == "#record"
        kept = await read(running.url, 900, cursor=told[1].body["seq"] - 1)
        assert kept[0] == told[1]
        assert await running.stop() == 0


class Reader:
    """A subscriber that keeps its cursor, and comes back with it whenever the node does."""

    def __init__(self) -> None:
        self.heard: list[Message] = []
        self.held: dict[str, str] = {}

    @property
    def cursor(self) -> int:
        return int(self.heard[-1].body["seq"]) if self.heard else 0

    async def read(self, url: str, until: int) -> None:
        """Reads until so many messages were heard in all, or the connection breaks."""
        async with AsyncClient(url, catalog=CATALOG) as client:
            stream = aclosing(client.subscribe(NSID, cursor=self.cursor))
            with suppress(TransportFailed):
                async with stream as messages:
                    async for message in messages:
                        self._take(message)
                        if len(self.heard) >= until:
                            return

    def _take(self, message: Message) -> None:
        assert message.kind == "#record", message
        assert message.body["seq"] > self.cursor
        self.heard.append(message)
        key = f"{message.body['collection']}/{message.body['rkey']}"
        if message.body["action"] == "delete":
            del self.held[key]
        else:
            assert (message.body["action"] == "create") == (key not in self.held)
            self.held[key] = message.body["cid"]


async def stop_hard(running: Running) -> None:
    running.process.send_signal(signal.SIGKILL)
    await asyncio.wait_for(running.process.communicate(), DEADLINE)


async def test_kills_in_a_burst_leave_no_gap_and_give_no_number_another_meaning(
    tmp_path: Path, relay: FakeRelay, plc: FakePlc, repo: Repo
) -> None:
    """A subscriber that applies what it hears holds, in the end, what the repo holds; a create is
    of something it does not hold and a delete of something it does, so that nothing was left out.
    """
    relay.send(repo.commit({f"{SCHEMA}/3k2aaaaaaaaa2": to_record(schema())}).encode(1))
    live: dict[str, bool] = {}
    for number in range(2, 120):
        writes: dict[str, Any] = {}
        for n in range(3):
            key = path((number * 7 + n * 11) % 97)
            writes[key] = None if number % 5 == 0 and live.get(key) else entry(f"{number}-{n}")
            live[key] = writes[key] is not None
        relay.send(repo.commit(writes).encode(number))
    reader = Reader()
    for kill_after in (20, 90, 91):
        async with node(tmp_path / "data", relay.url, "--plc", plc.url, *FLAGS) as running:
            await asyncio.wait_for(reader.read(running.url, kill_after), SECONDS)
            await stop_hard(running)
    expected = {key: str(cid) for key, cid in held_by(repo).items()}
    async with node(tmp_path / "data", relay.url, "--plc", plc.url, *FLAGS) as running:
        reading = asyncio.create_task(reader.read(running.url, 1_000_000))
        end = asyncio.get_running_loop().time() + SECONDS
        while reader.held != expected:
            assert not reading.done(), reading.exception()
            assert asyncio.get_running_loop().time() < end, len(reader.heard)
            await asyncio.sleep(0.05)
        again = Reader()
        await asyncio.wait_for(again.read(running.url, len(reader.heard)), SECONDS)
        assert [m.body for m in again.heard] == [m.body for m in reader.heard]
        assert await running.stop() == 0
        await asyncio.wait_for(reading, DEADLINE)  # the node said goodbye


def held_by(repo: Repo) -> dict[str, Any]:
    """The CID of every record of the repo, by its path."""
    return {key: encode_cid(cid) for key, cid in repo.records.items()}
