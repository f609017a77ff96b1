"""What a consumer has made of the events that it was given, and how a repo gets ahead of it."""

from __future__ import annotations

import asyncio

from atdex_firehose import AccountEvent, CommitEvent, Consumer, Event
from tests.firehose.network import DEADLINE, Network, until
from tests.support.repo import Repo


class Model:
    """What a consumer has after the events that it was given: path to CID, by DID."""

    def __init__(self) -> None:
        self.records: dict[str, dict[str, str]] = {}
        self.revs: dict[str, str] = {}
        self.events: list[Event] = []

    def apply(self, event: Event) -> None:
        self.events.append(event)
        if isinstance(event, AccountEvent) and event.status == "deleted":
            self.records.pop(event.did, None)
        if not isinstance(event, CommitEvent):
            return
        last = self.revs.get(event.did, "")
        assert event.rev > last if event.live else event.rev >= last
        self.revs[event.did] = event.rev
        records = self.records.setdefault(event.did, {})
        for op in event.ops:
            path = f"{op.collection}/{op.rkey}"
            # An op says truly whether there was something before.
            assert (path in records) == (op.action != "create"), (op.action, path)
            if op.cid is None:
                del records[path]
            else:
                assert op.raw is not None
                records[path] = op.cid

    def names(self, repo: Repo) -> set[str]:
        return {path.partition("/")[2] for path in self.records.get(repo.did, {})}

    def lives(self) -> list[bool]:
        return [event.live for event in self.events if isinstance(event, CommitEvent)]


async def follow(consumer: Consumer, model: Model, repo: Repo, names: set[str]) -> None:
    """Take events until the model has these records of the repo, and nothing is left to fetch."""
    async with asyncio.timeout(DEADLINE):
        if model.names(repo) != names:
            async for event in consumer:
                model.apply(event)
                consumer.ack(event)
                if model.names(repo) == names:
                    break
        while consumer.stats().backfill.remaining:  # noqa: ASYNC110
            await asyncio.sleep(0.005)


def lost(net: Network, repo: Repo, writes: dict[str, object | None]) -> None:
    """A commit that no frame tells of."""
    repo.commit(writes)
    net.seq()


def note(name: str) -> str:
    return f"app.test.note/{name}"


GET_REPO = "com.atproto.sync.getRepo"


async def follow_until(consumer: Consumer, model: Model, condition: object) -> None:
    """Take events, as they come, until the condition holds."""
    assert callable(condition)

    async def taking() -> None:
        async for event in consumer:
            model.apply(event)
            consumer.ack(event)

    task = asyncio.create_task(taking())
    try:
        await until(lambda: bool(condition()) or task.done())
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
