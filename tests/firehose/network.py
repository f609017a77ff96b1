"""A relay, a PLC directory, a PDS, and a consumer between them, for tests of the whole consumer."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from atdex_firehose import Consumer, Event
from atdex_firehose.backoff import Backoff
from atdex_firehose.resync_turns import ResyncPolicy
from atdex_firehose.upstream import Timing
from tests.support.pds import FakePds
from tests.support.relay import FakePlc, FakeRelay
from tests.support.repo import K256Key, Key, Repo, did_document, plc_did

NOTE = {"$type": "app.test.note", "text": "hello"}
DEADLINE = 15.0
"""Seconds after which a test is stuck."""


def quick() -> Timing:
    return Timing(ping=5.0, idle=10.0, backoff=Backoff(0.01, 0.05))


QUICK_RESYNC = ResyncPolicy(first=0.05, cap=0.5, strike_wait=0.2, host_first=0.2)


class Network:
    """One relay, one directory, and one PDS that has every account."""

    def __init__(self, relay: FakeRelay, plc: FakePlc, pds: FakePds) -> None:
        self.relay = relay
        self.plc = plc
        self.pds = pds
        self._seq = 0

    def seq(self) -> int:
        self._seq += 1
        return self._seq

    def account(self, name: str, key: Key | None = None) -> Repo:
        """A new account, registered at the directory."""
        repo = Repo(plc_did(name), key or K256Key())
        self.register(repo)
        return repo

    def register(self, repo: Repo) -> None:
        self.plc.documents[repo.did] = did_document(repo.did, repo.key, pds=self.pds.url)
        self.pds.repos[repo.did] = repo

    def write(self, repo: Repo, *names: str, collection: str = "app.test.note") -> None:
        """One commit of a new record for each name."""
        for name in names:
            body = repo.commit({f"{collection}/{name}": NOTE | {"name": name}})
            self.relay.send(body.encode(self.seq()))

    def consumer(self, state: Path | None = None, **options: Any) -> Consumer:
        settings: dict[str, Any] = {
            "relays": [self.relay.url],
            "collections": ["app.test.*"],
            "plc": self.plc.url,
            "timing": quick,
            "resync": QUICK_RESYNC,
            "allow_private_hosts": True,
            "backfill": False,
        }
        return Consumer(**(settings | {"state": state} | options))


@asynccontextmanager
async def network(**options: Any) -> AsyncIterator[Network]:
    async with FakeRelay(**options) as relay:
        with FakePlc() as plc, FakePds() as pds:
            yield Network(relay, plc, pds)


async def take(consumer: Consumer, count: int, *, ack: bool = True) -> list[Event]:
    """The next `count` events."""
    found: list[Event] = []
    async with asyncio.timeout(DEADLINE):
        async for event in consumer:
            found.append(event)
            if ack:
                consumer.ack(event)
            if len(found) == count:
                break
    return found


async def until(condition: Callable[[], bool]) -> None:
    """Wait for a condition that events elsewhere will make true."""
    async with asyncio.timeout(DEADLINE):
        while not condition():  # noqa: ASYNC110 - what changes belongs to others
            await asyncio.sleep(0.005)


def names(events: list[Event]) -> list[str]:
    """The record keys of commits, in order; the class name of every other event."""
    found = []
    for event in events:
        ops = getattr(event, "ops", None)
        found += [type(event).__name__] if ops is None else [op.rkey for op in ops]
    return found
