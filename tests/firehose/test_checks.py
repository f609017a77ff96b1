"""Handles in the background of `Identities`, by real DNS; the directory and the clock are ours."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack

import dns.rcode
import pytest

from atdex_firehose import checks as checks_module
from atdex_firehose import identity as identity_module
from atdex_firehose.backoff import Backoff
from atdex_firehose.checks import INVALID_SECONDS, UNKNOWN_CAP_SECONDS, VALID_SECONDS, Verifies
from atdex_firehose.directory import Directory
from atdex_firehose.errors import IdentityUnavailable
from atdex_firehose.events import Identity
from atdex_firehose.handles import Answer, HandleResolver
from atdex_firehose.identity import FRESH_SECONDS, Identities
from tests.devnet import Devnet
from tests.firehose.network import until
from tests.firehose.test_identity import Clock, Rows, numbered
from tests.support.dns import DnsServer
from tests.support.repo import plc_did

ALICE, BOB = plc_did("alice"), plc_did("bob")


class Documents:
    """A directory: what each DID claims."""

    def __init__(self) -> None:
        self.claims: dict[str, str | None] = {}
        self.down = False

    async def fetch(self, did: str) -> Identity:
        if self.down:
            raise IdentityUnavailable(did, "down")
        return Identity(did, None, "https://pds.test", "key", self.claims.get(did))


class World:
    """Everything around one `Identities`; `told` is what `on_change` heard."""

    def __init__(self, dns: DnsServer, resolver: HandleResolver) -> None:
        self.dns = dns
        self.resolver = resolver
        self.documents = Documents()
        self.clock = Clock()
        self.rows = Rows()
        self.told: list[Identity] = []
        self.identities = self.make(resolver)

    def make(self, handles: Verifies | None) -> Identities:
        return Identities(
            self.documents,
            self.rows,
            clock=self.clock,
            backoff=lambda: Backoff(0.001, 0.002),
            handles=handles,
            on_change=self.told.append,
        )

    async def handle(self, did: str = ALICE) -> str | None:
        return (await self.identities.resolve(did)).handle

    async def until_handle(self, handle: str | None, did: str = ALICE) -> None:
        async with asyncio.timeout(10):
            while await self.handle(did) != handle:  # noqa: ASYNC110 - what changes is others'
                await asyncio.sleep(0.005)

    def save(self) -> None:
        """Save what was learned, and what was told as well: it is dealt with."""
        for identity in self.told:
            self.identities.save(identity.did)
        self.rows.save(self.identities.take_changes())

    def claim(self, handle: str, did: str = ALICE, *, points: str | None = None) -> None:
        """`did` claims a handle that points to `points`; None: nowhere."""
        self.documents.claims[did] = handle
        if points is None:
            self.dns.remove(handle)
        else:
            self.dns.point(handle, points)

    def unanswered(self) -> int:
        """Answers about Alice in a row that were none."""
        checks = self.identities._checks
        return checks._unknown.get(ALICE, 0) if checks else 0

    def questions(self, handle: str) -> int:
        return self.dns.asked[f"_atproto.{handle}", "TXT"]


@pytest.fixture(autouse=True)
def short_naps(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(checks_module, "NAP_SECONDS", 0.01)


@pytest.fixture
async def world() -> AsyncIterator[World]:
    async with AsyncExitStack() as stack:
        dns = await stack.enter_async_context(DnsServer())
        resolver = await stack.enter_async_context(
            HandleResolver(dns_servers=[dns.address], local=True)
        )
        found = World(dns, resolver)
        stack.callback(found.rows.db.close)
        yield found
        await found.identities.close()


async def test_a_handle_is_verified_behind_the_first_use(world: World) -> None:
    world.claim("alice.test", points=ALICE)
    first = await world.identities.resolve(ALICE)
    assert (first.claimed, first.handle) == ("alice.test", None)
    await until(lambda: bool(world.told))
    assert [identity.handle for identity in world.told] == ["alice.test"]
    found = world.identities.cached(ALICE)
    assert found == world.told[0]
    # A crash before whoever was told has dealt with it has the handle verified again.
    before = world.identities.take_changes()[ALICE]
    assert before.identity == first
    world.identities.save(ALICE)
    stored = world.identities.take_changes()[ALICE]
    assert stored.identity == found
    assert stored.handle_checked_at == world.clock.now


@pytest.mark.parametrize("points", [BOB, None])
async def test_a_handle_that_does_not_point_back_is_invalid(
    world: World, points: str | None
) -> None:
    world.claim("alice.test", points=points)
    await world.until_handle("handle.invalid")
    assert [(i.handle, i.claimed) for i in world.told] == [("handle.invalid", "alice.test")]


async def test_without_a_claim_nothing_is_asked(world: World) -> None:
    for _ in range(3):
        assert await world.handle() is None
        await world.identities.refresh(ALICE)
    await asyncio.sleep(0.05)
    assert not world.dns.asked
    assert not world.told


async def test_a_loud_change_of_handle_is_followed(world: World) -> None:
    world.claim("old.test", points=ALICE)
    await world.until_handle("old.test")
    world.claim("new.test", points=ALICE)
    fresh = await world.identities.refresh(ALICE)
    assert (fresh.claimed, fresh.handle) == ("new.test", None)
    await world.until_handle("new.test")
    assert [identity.handle for identity in world.told] == ["old.test", "new.test"]


async def test_a_quiet_change_of_handle_is_noticed_after_a_day(world: World) -> None:
    world.claim("old.test", points=ALICE)
    await world.until_handle("old.test")
    world.claim("new.test", points=ALICE)
    assert await world.handle() == "old.test"
    world.clock.now += FRESH_SECONDS
    assert await world.handle() == "old.test"
    await world.until_handle("new.test")
    assert [identity.handle for identity in world.told] == ["old.test", None, "new.test"]


async def test_a_handle_taken_away_is_noticed_after_a_day_even_of_a_silent_account(
    world: World,
) -> None:
    world.claim("alice.test", points=ALICE)
    await world.until_handle("alice.test")
    world.dns.point("alice.test", BOB)
    world.clock.now += VALID_SECONDS
    await until(lambda: len(world.told) == 2)  # nobody asked
    assert world.told[1].handle == "handle.invalid"


async def test_an_invalid_handle_is_looked_at_again_after_an_hour(world: World) -> None:
    world.claim("alice.test", points=None)
    await world.until_handle("handle.invalid")
    world.dns.point("alice.test", ALICE)
    world.clock.now += INVALID_SECONDS - 1
    await asyncio.sleep(0.05)
    assert world.questions("alice.test") == 1
    world.clock.now += 1
    await world.until_handle("alice.test")


async def test_an_identity_event_has_the_handle_looked_at_at_once(world: World) -> None:
    world.claim("alice.test", points=None)
    await world.until_handle("handle.invalid")
    world.dns.point("alice.test", ALICE)
    kept = await world.identities.refresh(ALICE)
    assert kept.handle == "handle.invalid"  # what was found last, until there is an answer
    await world.until_handle("alice.test")


async def test_an_outage_keeps_the_last_word(world: World) -> None:
    world.claim("alice.test", points=ALICE)
    await world.until_handle("alice.test")
    world.dns.rcodes["_atproto.alice.test"] = dns.rcode.SERVFAIL
    asked = world.questions("alice.test")
    assert (await world.identities.refresh(ALICE)).handle == "alice.test"
    await until(lambda: world.unanswered() == 1)
    world.clock.now += VALID_SECONDS
    await until(lambda: world.unanswered() == 2)
    assert world.questions("alice.test") == asked + 2
    assert await world.handle() == "alice.test"
    assert len(world.told) == 1
    del world.dns.rcodes["_atproto.alice.test"]
    world.dns.point("alice.test", BOB)
    world.clock.now += UNKNOWN_CAP_SECONDS
    await world.until_handle("handle.invalid")


async def test_no_answer_is_asked_for_again_ever_more_slowly(world: World) -> None:
    world.claim("alice.test")
    world.dns.rcodes["_atproto.alice.test"] = dns.rcode.SERVFAIL
    for round_ in range(1, 6):
        await world.handle()  # asking does not hurry it
        await until(lambda n=round_: world.unanswered() == n)  # type: ignore[misc]
        await asyncio.sleep(0.05)
        assert world.questions("alice.test") == round_
        world.clock.now += 60.0 * 2 ** (round_ - 1)
    assert await world.handle() is None
    assert not world.told


async def test_of_two_that_claim_one_handle_only_the_one_it_points_to_has_it(
    world: World,
) -> None:
    world.claim("shared.test", ALICE, points=ALICE)
    world.claim("shared.test", BOB, points=ALICE)
    await world.until_handle("shared.test", ALICE)
    await world.until_handle("handle.invalid", BOB)
    world.dns.point("shared.test", BOB)
    await world.identities.refresh(BOB)
    await world.until_handle("shared.test", BOB)
    await world.until_handle("handle.invalid", ALICE)  # at once, not after a day


async def test_what_was_found_outlives_the_process(world: World) -> None:
    world.claim("alice.test", points=ALICE)
    await world.until_handle("alice.test")
    world.save()
    second = world.make(world.resolver)
    assert (await second.resolve(ALICE)).handle == "alice.test"
    await asyncio.sleep(0.05)
    assert world.questions("alice.test") == 1
    world.documents.down = True
    assert (await second.refresh(ALICE)).handle == "alice.test"
    await second.close()


async def test_a_refresh_by_another_process_keeps_what_was_found(world: World) -> None:
    world.claim("alice.test", points=ALICE)
    await world.until_handle("alice.test")
    world.save()
    second = world.make(world.resolver)
    assert (await second.refresh(ALICE)).handle == "alice.test"
    await second.close()


async def test_without_a_resolver_no_handle_is_verified(world: World) -> None:
    world.claim("alice.test", points=ALICE)
    await world.until_handle("alice.test")
    world.save()
    blind = world.make(None)
    for found in (await blind.resolve(ALICE), await blind.refresh(ALICE)):
        assert (found.claimed, found.handle) == ("alice.test", None)
    await blind.close()


async def test_a_slow_check_holds_nobody_up(world: World) -> None:
    world.claim("alice.test")
    world.dns.silent.add("_atproto.alice.test")
    await world.handle()
    await until(lambda: world.questions("alice.test") == 1)
    async with asyncio.timeout(1):
        assert await world.handle() is None
        world.claim("bob.test", BOB, points=BOB)
        await world.until_handle("bob.test", BOB)


async def test_the_queue_is_no_longer_than_memory(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(identity_module, "MEMORY_IDENTITIES", 20)
    for n in range(200):
        did = numbered(n)
        world.claim(f"u{n}.test", did, points=did)
        for _ in range(3):
            await world.identities.refresh(did)
    checks = world.identities._checks
    assert checks is not None
    assert len(checks) <= 20 + checks_module.CHECKS
    assert len(checks._heap) <= 2 * 20 + 64 + checks_module.CHECKS
    assert len(world.identities._holders) <= 20
    assert len(checks._unknown) <= 20 + checks_module.CHECKS


class Scripted:
    """A resolver whose checks end when the test says so."""

    def __init__(self) -> None:
        self.gates: dict[str, asyncio.Future[Answer]] = {}
        self.started: Counter[str] = Counter()
        self.waits: dict[str, float] = {}

    def book(self, handle: str) -> float:
        return self.waits.get(handle, 0.0)

    async def check(self, handle: str, did: str) -> Answer:
        self.started[handle] += 1
        gate: asyncio.Future[Answer] = asyncio.get_running_loop().create_future()
        self.gates[handle] = gate
        return await gate


@pytest.fixture
async def scripted(world: World) -> AsyncIterator[Scripted]:
    script = Scripted()
    world.identities = world.make(script)
    yield script


async def test_an_answer_about_a_claim_that_is_no_more_is_not_used(
    world: World, scripted: Scripted
) -> None:
    world.documents.claims[ALICE] = "old.test"
    await world.handle()
    await until(lambda: "old.test" in scripted.gates)
    world.documents.claims[ALICE] = "new.test"
    await world.identities.refresh(ALICE)
    scripted.gates["old.test"].set_result("valid")
    await until(lambda: "new.test" in scripted.gates)
    assert await world.handle() is None
    scripted.gates["new.test"].set_result("valid")
    await world.until_handle("new.test")
    assert [identity.handle for identity in world.told] == ["new.test"]


async def test_what_waits_for_a_turn_takes_no_place(
    world: World, scripted: Scripted, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(checks_module, "CHECKS", 2)
    for n in range(10):
        did = numbered(n)
        world.documents.claims[did] = f"u{n}.busy.test"
        scripted.waits[f"u{n}.busy.test"] = 60.0 + n
        await world.identities.resolve(did)
    world.documents.claims[ALICE] = "alice.test"
    await world.handle()
    await until(lambda: scripted.started["alice.test"] == 1)
    assert scripted.started.total() == 1
    world.clock.now += 120
    await until(lambda: scripted.started.total() == 2)  # as many as there are places


async def test_a_listener_that_fails_spoils_nothing_else(world: World, scripted: Scripted) -> None:
    heard: list[str] = []
    asyncio.get_running_loop().set_exception_handler(
        lambda _, context: heard.append(str(context.get("exception")))
    )

    def fail(identity: Identity) -> None:
        raise ValueError(identity.handle)

    identities = Identities(
        world.documents, world.rows, clock=world.clock, handles=scripted, on_change=fail
    )
    for did, handle in ((ALICE, "alice.test"), (BOB, "bob.test")):
        world.documents.claims[did] = handle
        await identities.resolve(did)
        await until(lambda name=handle: name in scripted.gates)  # type: ignore[misc]
        scripted.gates[handle].set_result("valid")
        await until(lambda name=did: identities.cached(name).handle is not None)  # type: ignore
    await identities.close()
    await until(lambda: sorted(heard) == ["alice.test", "bob.test"])


async def test_closing_ends_everything(world: World, scripted: Scripted) -> None:
    before = asyncio.all_tasks()
    world.documents.claims = {ALICE: "alice.test", BOB: "bob.test"}
    await world.handle(ALICE)
    await until(lambda: "alice.test" in scripted.gates)
    world.clock.now += FRESH_SECONDS
    await world.handle(ALICE)
    await world.handle(BOB)
    await world.identities.close()
    assert asyncio.all_tasks() == before
    await world.identities.resolve(plc_did("carol"))
    assert asyncio.all_tasks() == before


@pytest.mark.devnet
async def test_handles_of_a_real_pds_are_followed(devnet: Devnet) -> None:
    account = await asyncio.to_thread(devnet.create_account, "checks-old.test")
    rows, clock, told = Rows(), Clock(), list[Identity]()
    async with Directory(devnet.plc) as directory, AsyncExitStack() as stack:
        handles = await stack.enter_async_context(HandleResolver(service=devnet.pds, local=True))
        identities = Identities(
            directory, rows, clock=clock, handles=handles, on_change=told.append
        )
        stack.push_async_callback(identities.close)
        first = await identities.resolve(account.did)
        assert (first.claimed, first.handle) == ("checks-old.test", None)
        await until(lambda: len(told) == 1)
        await asyncio.to_thread(account.change_handle, "checks-new.test")
        assert (await identities.refresh(account.did)).claimed == "checks-new.test"
        await until(lambda: len(told) == 2)
        await asyncio.to_thread(account.change_handle, "checks-quiet.test")
        clock.now += FRESH_SECONDS
        assert (await identities.resolve(account.did)).handle == "checks-new.test"
        await until(lambda: bool(told) and told[-1].handle == "checks-quiet.test")
    expected = ["checks-old.test", "checks-new.test", None, "checks-quiet.test"]
    found = [identity.handle for identity in told]
    assert found in (expected, [*expected[:2], "handle.invalid", *expected[2:]])
    rows.db.close()
