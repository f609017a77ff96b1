"""What becomes of accounts on a real PDS, seen by whoever serves their records: nothing of an
account that is not active, nothing at all of one that is deleted, and everything of all others."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

import pytest

from atdex_firehose import (
    AccountEvent,
    CommitEvent,
    Consumer,
    Event,
    Identity,
    IdentityEvent,
    RejectedEvent,
    SyncEvent,
)
from atdex_firehose.handles import HandleResolver
from tests.devnet import Account, Devnet
from tests.firehose.model import Model
from tests.firehose.network import QUICK_RESYNC, until
from tests.firehose.test_real_pds import NOTE, note

pytestmark = pytest.mark.devnet


class Served(Model):
    """What a consumer serves: the records of active accounts, and the handle of each.

    The PDS is shared with other tests, so all is left out but the accounts of this one.
    """

    def __init__(self, consumer: Consumer, accounts: tuple[Account, ...]) -> None:
        super().__init__()
        self.accounts = {account.did for account in accounts}
        self.consumer = consumer
        self.status: dict[str, str | None] = {}
        self.hidden: set[str] = set()
        self.identities: dict[str, Identity | None] = {}

    def apply(self, event: Event) -> None:
        if event.did not in self.accounts:
            return
        super().apply(event)
        if isinstance(event, AccountEvent):
            self.status[event.did] = event.status
            (self.hidden.discard if event.active else self.hidden.add)(event.did)
        if isinstance(event, CommitEvent | IdentityEvent):
            self.identities[event.did] = event.identity
        if isinstance(event, CommitEvent):
            assert event.did not in self.hidden, "a commit of an account that is not active"

    def shows(self, account: Account) -> dict[str, str]:
        records = {} if account.did in self.hidden else self.records.get(account.did, {})
        return {f"at://{account.did}/{path}": cid for path, cid in records.items()}

    def of(self, account: Account, kind: type[Event]) -> list[Event]:
        return [
            event for event in self.events if event.did == account.did and isinstance(event, kind)
        ]

    def handle(self, account: Account) -> str | None:
        identity = self.identities.get(account.did)
        return identity.handle if identity else None

    async def shows_all(self, account: Account) -> dict[str, str]:
        """Wait until the account's records are served as its PDS has them now."""
        listed = await asyncio.to_thread(account.list_records, NOTE)
        await until(lambda: self.shows(account) == listed)
        return listed


@asynccontextmanager
async def following(devnet: Devnet, state: Path, *accounts: Account) -> AsyncIterator[Served]:
    """A consumer of the PDS, all of whose events are taken as they come."""
    async with AsyncExitStack() as stack:
        handles = await stack.enter_async_context(HandleResolver(service=devnet.pds, local=True))
        consumer = await stack.enter_async_context(
            Consumer(
                [devnet.pds],
                ["app.test.*"],
                state=state,
                plc=devnet.plc,
                handles=handles,
                allow_private_hosts=True,
                backfill=False,
                resync=QUICK_RESYNC,
            )
        )
        served = Served(consumer, accounts)

        async def take() -> None:
            async for event in consumer:
                served.apply(event)
                consumer.ack(event)

        task = asyncio.create_task(take())
        try:
            yield served
            assert not task.done(), task.exception()
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)


async def create(devnet: Devnet, name: str) -> Account:
    return await asyncio.to_thread(devnet.create_account, f"st-{name}.test")


async def write(account: Account, *names: str) -> None:
    for name in names:
        await asyncio.to_thread(account.put_record, NOTE, name, note(name))


def take_down(devnet: Devnet, account: Account) -> None:
    devnet.take_down(account.did)


def put_back(devnet: Devnet, account: Account) -> None:
    devnet.take_down(account.did, applied=False)


def deactivate(devnet: Devnet, account: Account) -> None:
    account.deactivate()


def activate(devnet: Devnet, account: Account) -> None:
    account.activate()


Act = Callable[[Devnet, Account], None]
ABSENCES = pytest.mark.parametrize(
    ("status", "leave", "come_back"),
    [("deactivated", deactivate, activate), ("takendown", take_down, put_back)],
)


@ABSENCES
async def test_an_account_is_hidden_while_it_is_away_and_comes_back_without_a_fetch(
    devnet: Devnet, tmp_path: Path, status: str, leave: Act, come_back: Act
) -> None:
    account, other = await create(devnet, f"away-{status[:5]}"), await create(devnet, status[:8])
    await write(account, "a", "b")
    async with following(devnet, tmp_path / "s", account, other) as served:
        await served.shows_all(account)
        await asyncio.to_thread(leave, devnet, account)
        await until(lambda: not served.shows(account))
        assert served.status[account.did] == status
        await write(other, "x")  # nobody else is held up
        await served.shows_all(other)
        await asyncio.to_thread(come_back, devnet, account)
        await served.shows_all(account)
        assert len(served.shows(account)) == 2
        await write(account, "c")
        await served.shows_all(account)
        # All of it came over the stream.
        assert all(event.live for event in served.of(account, CommitEvent))  # type: ignore[attr-defined]
        assert not served.of(account, RejectedEvent)


@ABSENCES
async def test_who_left_and_came_back_while_nobody_looked_is_served_as_they_are_now(
    devnet: Devnet, tmp_path: Path, status: str, leave: Act, come_back: Act
) -> None:
    account = await create(devnet, f"unseen-{status[:5]}")
    await write(account, "kept", "changed", "removed")
    async with following(devnet, tmp_path / "s", account) as served:
        before = await served.shows_all(account)
        await served.consumer.flush()
    await write(account, "seen")
    await asyncio.to_thread(leave, devnet, account)
    await asyncio.to_thread(come_back, devnet, account)
    await asyncio.to_thread(account.put_record, NOTE, "changed", note("otherwise"))
    await asyncio.to_thread(account.delete_record, NOTE, "removed")
    async with following(devnet, tmp_path / "s", account) as served:
        # The second run goes on from what the first one has.
        served.records[account.did] = {
            uri.removeprefix(f"at://{account.did}/"): cid for uri, cid in before.items()
        }
        listed = await served.shows_all(account)
        assert {uri.rpartition("/")[2] for uri in listed} == {"kept", "changed", "seen"}
        assert served.status[account.did] is None


async def test_who_is_away_when_the_consumer_starts_is_not_served_until_they_are_back(
    devnet: Devnet, tmp_path: Path
) -> None:
    account = await create(devnet, "absent")
    await write(account, "a", "b")
    await asyncio.to_thread(account.deactivate)
    marker = await create(devnet, "marker")
    await write(marker, "x")
    async with following(devnet, tmp_path / "s", account, marker) as served:
        await served.shows_all(marker)
        await until(lambda: account.did in served.hidden)
        assert not served.shows(account)
        await asyncio.to_thread(account.activate)
        await served.shows_all(account)


async def test_of_a_deleted_account_nothing_is_left_and_nothing_comes_back(
    devnet: Devnet, tmp_path: Path
) -> None:
    account, marker = await create(devnet, "deleted"), await create(devnet, "after-deleted")
    await write(account, "a", "b")
    async with following(devnet, tmp_path / "s", account, marker) as served:
        await served.shows_all(account)
        await asyncio.to_thread(devnet.delete_account, account.did)
        await until(lambda: served.status.get(account.did) == "deleted")
        assert account.did not in served.records
        await write(marker, "x")
        await served.shows_all(marker)
        await served.consumer.flush()
    await write(marker, "y")
    async with following(devnet, tmp_path / "s", account, marker) as served:
        await until(lambda: len(served.shows(marker)) == 1)
        assert not served.of(account, CommitEvent)


async def test_rotations_cost_one_request_each_and_no_commit(
    own_devnet: Devnet, tmp_path: Path
) -> None:
    devnet = own_devnet  # requests are counted
    account = await create(devnet, "rotates")
    await write(account, "a")
    async with following(devnet, tmp_path / "s", account) as served:
        await served.shows_all(account)
        refreshes = served.consumer.stats().refreshes
        await asyncio.to_thread(devnet.rotate, account.did, quiet=True)
        await write(account, "b")
        await served.shows_all(account)
        assert served.consumer.stats().refreshes == refreshes + 1
        keys = [event.identity.signing_key for event in served.of(account, CommitEvent)]  # type: ignore[attr-defined]
        assert len(keys) == len(set(keys)) == 2
        await asyncio.to_thread(devnet.rotate, account.did)
        await until(lambda: len(served.of(account, SyncEvent)) == 1)
        await write(account, "c")
        await served.shows_all(account)
        # The #identity event had renewed the key.
        assert served.consumer.stats().refreshes == refreshes + 1
        assert not served.of(account, RejectedEvent)
        assert all(event.live for event in served.of(account, CommitEvent))  # type: ignore[attr-defined]


@pytest.mark.parametrize("quiet", [False, True])
async def test_commits_whose_keys_are_no_more_are_refused_and_their_records_fetched(
    devnet: Devnet, tmp_path: Path, quiet: bool
) -> None:
    account = await create(devnet, "quietly" if quiet else "loudly")
    await write(account, "first", "gone")
    await asyncio.to_thread(devnet.rotate, account.did, quiet=quiet)
    if quiet:  # until then even the repo is signed by a key that is no more
        await write(account, "second")
    await asyncio.to_thread(account.delete_record, NOTE, "gone")
    async with following(devnet, tmp_path / "s", account) as served:
        await served.shows_all(account)
        refused = served.of(account, RejectedEvent)
        assert {event.error for event in refused} == {"BadSignature"}  # type: ignore[attr-defined]
        assert len(refused) >= 2
        await write(account, "third")
        await served.shows_all(account)
        assert served.of(account, RejectedEvent) == refused
        assert served.of(account, CommitEvent)[-1].live  # type: ignore[attr-defined]


async def test_a_repo_that_no_key_fits_waits_for_its_next_commit(
    devnet: Devnet, tmp_path: Path
) -> None:
    account = await create(devnet, "unsigned")
    await write(account, "first")
    await asyncio.to_thread(devnet.rotate, account.did, quiet=True)
    async with following(devnet, tmp_path / "s", account) as served:
        await until(lambda: served.consumer.stats().backfill.outcomes.get("BadSignature", 0) > 0)
        assert not served.shows(account)
        await write(account, "second")
        await served.shows_all(account)
        assert len(served.shows(account)) == 2


async def test_a_handle_is_verified_followed_and_free_for_the_next(
    devnet: Devnet, tmp_path: Path
) -> None:
    account, heir = await create(devnet, "old-name"), await create(devnet, "heir")
    await write(account, "a")
    await write(heir, "a")
    async with following(devnet, tmp_path / "s", account, heir) as served:
        await until(lambda: served.handle(account) == "st-old-name.test")
        await asyncio.to_thread(account.change_handle, "st-new-name.test")
        await until(lambda: served.handle(account) == "st-new-name.test")
        await asyncio.to_thread(heir.change_handle, "st-old-name.test")
        await until(lambda: served.handle(heir) == "st-old-name.test")
        assert served.handle(account) == "st-new-name.test"
        # Nothing of the records depends on it.
        assert len(served.of(account, CommitEvent)) == len(served.of(heir, CommitEvent)) == 1
    async with following(devnet, tmp_path / "s", account, heir) as served:
        await write(account, "b")
        await until(lambda: bool(served.of(account, CommitEvent)))
        await until(lambda: served.handle(account) == "st-new-name.test")
