from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable

import pytest

from atdex_firehose.backoff import Backoff
from atdex_firehose.errors import IdentityGone, IdentityUnavailable, InvalidIdentity
from atdex_firehose.events import Identity
from atdex_firehose.identity import FRESH_SECONDS, REFRESH_BURST, REFRESH_SECONDS, Identities
from atdex_firehose.state import State
from tests.firehose.network import until
from tests.support.repo import plc_did

DID = plc_did("alice")
WEB = "did:web:example.com"


class Source:
    """Answers from a script, and counts."""

    def __init__(self) -> None:
        self.answers: list[Identity | Exception] = []
        self.asked = 0
        self.gate = asyncio.Event()
        self.gate.set()

    async def fetch(self, did: str) -> Identity:
        self.asked += 1
        await self.gate.wait()
        answer = self.answers.pop(0) if self.answers else identity("key")
        if isinstance(answer, Exception):
            raise answer
        return Identity(did, answer.handle, answer.pds, answer.signing_key)


def identity(key: str) -> Identity:
    return Identity(DID, "alice.test", "https://pds.test", key)


class Clock:
    def __init__(self) -> None:
        self.now = 1_000_000.0

    def __call__(self) -> float:
        return self.now


Make = Callable[[], Identities]


@pytest.fixture
async def state() -> AsyncIterator[State]:
    opened = await State.open(None)
    yield opened
    await opened.close()


@pytest.fixture
def source() -> Source:
    return Source()


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def make(state: State, source: Source, clock: Clock) -> Make:
    return lambda: Identities(source, state, clock=clock, backoff=lambda: Backoff(0.001, 0.002))


async def test_an_identity_is_asked_for_once_and_then_cached(make: Make, source: Source) -> None:
    identities = make()
    assert identities.cached(DID) is None
    assert (await identities.resolve(DID)).signing_key == "key"
    assert (await identities.resolve(DID)).signing_key == "key"
    assert identities.cached(DID) == identity("key")
    assert source.asked == 1


async def test_the_cache_outlives_the_process(make: Make, source: Source, state: State) -> None:
    first = make()
    await first.resolve(DID)
    await state.save({}, {}, {}, first.take_changes())
    second = make()
    assert await second.known(DID)
    assert await second.resolve(DID) == identity("key")
    assert source.asked == 1
    assert first.take_changes() == {}


async def test_after_a_day_it_is_asked_for_again(make: Make, source: Source, clock: Clock) -> None:
    identities = make()
    await identities.resolve(DID)
    clock.now += FRESH_SECONDS
    assert identities.cached(DID) is None
    await identities.resolve(DID)
    assert source.asked == 2


async def test_an_expired_identity_serves_through_an_outage(
    make: Make, source: Source, clock: Clock
) -> None:
    identities = make()
    await identities.resolve(DID)
    clock.now += FRESH_SECONDS
    source.answers = [IdentityUnavailable(DID, "down")]
    assert await identities.resolve(DID) == identity("key")


async def test_many_who_ask_at_once_cause_one_request(make: Make, source: Source) -> None:
    identities = make()
    source.gate.clear()
    tasks = [asyncio.create_task(identities.resolve(DID)) for _ in range(20)]
    await until(lambda: source.asked > 0)
    tasks[0].cancel()  # whoever gives up does not take the answer from the others
    await asyncio.sleep(0)
    source.gate.set()
    found = await asyncio.gather(*tasks[1:])
    assert set(found) == {identity("key")}
    assert source.asked == 1


async def test_an_outage_is_waited_out(make: Make, source: Source) -> None:
    source.answers = [IdentityUnavailable(DID, "down")] * 10
    assert await make().resolve(DID) == identity("key")
    assert source.asked == 11


async def test_a_web_host_that_does_not_answer_is_given_up_for_a_while(
    make: Make, source: Source, clock: Clock
) -> None:
    identities = make()
    source.answers = [IdentityUnavailable(WEB, "down")] * 4
    with pytest.raises(IdentityUnavailable):
        await identities.resolve(WEB)
    with pytest.raises(IdentityUnavailable, match="asked before"):
        await identities.resolve(WEB)
    assert source.asked == 4
    clock.now += 61
    assert (await identities.resolve(WEB)).signing_key == "key"


async def test_gone_is_an_answer_and_is_remembered(
    make: Make, source: Source, clock: Clock
) -> None:
    identities = make()
    source.answers = [IdentityGone(DID, "tombstoned (410)")]
    for _ in range(3):
        with pytest.raises(IdentityGone):
            await identities.resolve(DID)
    assert source.asked == 1
    assert identities.cached(DID) is None
    clock.now += 3601
    assert await identities.resolve(DID) == identity("key")


async def test_an_unusable_document_is_not_asked_for_again_at_once(
    make: Make, source: Source, clock: Clock
) -> None:
    identities = make()
    source.answers = [InvalidIdentity(DID, "not JSON")]
    for _ in range(3):
        with pytest.raises(InvalidIdentity):
            await identities.resolve(DID)
    assert source.asked == 1
    clock.now += 61
    assert await identities.resolve(DID) == identity("key")


async def test_a_document_that_became_unusable_ends_the_old_one(make: Make, source: Source) -> None:
    identities = make()
    await identities.resolve(DID)
    source.answers = [InvalidIdentity(DID, "not JSON")]
    with pytest.raises(InvalidIdentity):
        await identities.refresh(DID)
    assert identities.cached(DID) is None
    with pytest.raises(InvalidIdentity):
        await identities.resolve(DID)


async def test_forced_renewals_are_rationed_per_did(
    make: Make, source: Source, clock: Clock
) -> None:
    identities = make()
    for _ in range(50):
        await identities.refresh(DID)
    assert source.asked == REFRESH_BURST
    await identities.refresh(plc_did("bob"))
    assert source.asked == REFRESH_BURST + 1
    clock.now += REFRESH_SECONDS
    await identities.refresh(DID)
    await identities.refresh(DID)
    assert source.asked == REFRESH_BURST + 2


async def test_a_renewal_that_nobody_answers_keeps_the_known_identity(
    make: Make, source: Source
) -> None:
    identities = make()
    await identities.resolve(DID)
    source.answers = [IdentityUnavailable(DID, "down")]
    assert await identities.refresh(DID) == identity("key")


async def test_closing_ends_requests_under_way(make: Make, source: Source) -> None:
    identities = make()
    source.gate.clear()
    task = asyncio.create_task(identities.resolve(DID))
    await until(lambda: source.asked > 0)
    await identities.close()
    with pytest.raises(asyncio.CancelledError):
        await task
