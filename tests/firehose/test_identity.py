from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import Callable, Iterator

import pytest

from atdex_firehose import identity as identity_module
from atdex_firehose.backoff import Backoff
from atdex_firehose.errors import IdentityGone, IdentityUnavailable, InvalidIdentity
from atdex_firehose.events import Identity
from atdex_firehose.identity import (
    FRESH_SECONDS,
    REFRESH_BURST,
    REFRESH_SECONDS,
    RENEWAL_SECONDS,
    Identities,
)
from atdex_firehose.identity_rows import SELECT, TABLE, UPSERT, StoredIdentity, row_of, stored_of
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
        return Identity(did, None, answer.pds, answer.signing_key, answer.claimed)


def identity(key: str, pds: str = "https://pds.test") -> Identity:
    return Identity(DID, None, pds, key, "alice.test")


def numbered(n: int) -> str:
    """One of many DIDs."""
    return "did:plc:" + f"{n:024d}".translate(str.maketrans("0123456789", "abcdefghij"))


class Rows:
    """The state's table of identities, and nothing else of it."""

    def __init__(self) -> None:
        self.db = sqlite3.connect(":memory:")
        self.db.execute(TABLE)

    async def identity(self, did: str) -> StoredIdentity | None:
        row = self.db.execute(SELECT, (did,)).fetchone()
        return None if row is None else stored_of(did, row)

    def save(self, changes: dict[str, StoredIdentity]) -> None:
        self.db.executemany(UPSERT, [row_of(did, stored) for did, stored in changes.items()])


class Clock:
    def __init__(self) -> None:
        self.now = 1_000_000.0

    def __call__(self) -> float:
        return self.now


Make = Callable[[], Identities]


@pytest.fixture
def state() -> Iterator[Rows]:
    rows = Rows()
    yield rows
    rows.db.close()


@pytest.fixture
def source() -> Source:
    return Source()


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def make(state: Rows, source: Source, clock: Clock) -> Make:
    return lambda: Identities(source, state, clock=clock, backoff=lambda: Backoff(0.001, 0.002))


async def test_an_identity_is_asked_for_once_and_then_cached(make: Make, source: Source) -> None:
    identities = make()
    assert identities.cached(DID) is None
    assert (await identities.resolve(DID)).signing_key == "key"
    assert (await identities.resolve(DID)).signing_key == "key"
    assert identities.cached(DID) == identity("key")
    assert source.asked == 1


async def test_the_cache_outlives_the_process(make: Make, source: Source, state: Rows) -> None:
    first = make()
    await first.resolve(DID)
    state.save(first.take_changes())
    second = make()
    assert await second.known(DID)
    assert await second.resolve(DID) == identity("key")
    assert source.asked == 1
    assert first.take_changes() == {}


async def test_after_a_day_it_is_used_at_once_and_renewed_behind_it(
    make: Make, source: Source, clock: Clock
) -> None:
    identities = make()
    await identities.resolve(DID)
    clock.now += FRESH_SECONDS
    assert identities.cached(DID) is None
    source.gate.clear()
    source.answers = [identity("new")]
    for _ in range(5):
        assert await identities.resolve(DID) == identity("key")
    source.gate.set()
    await until(lambda: identities.cached(DID) == identity("new"))
    assert source.asked == 2
    assert identities.take_changes()[DID].identity == identity("new")


async def test_an_expired_identity_serves_through_an_outage_without_asking_all_the_time(
    make: Make, source: Source, clock: Clock
) -> None:
    identities = make()
    await identities.resolve(DID)
    clock.now += FRESH_SECONDS
    source.answers = [IdentityUnavailable(DID, "down")] * 2
    assert await identities.resolve(DID) == identity("key")
    await until(lambda: identities.cached(DID) is not None)  # renewing it failed
    for _ in range(10):
        assert await identities.resolve(DID) == identity("key")
    assert source.asked == 2
    clock.now += RENEWAL_SECONDS
    await identities.resolve(DID)
    await until(lambda: source.asked == 3)


async def test_an_account_that_moved_is_found_at_its_new_pds(
    make: Make, source: Source, clock: Clock
) -> None:
    identities = make()
    assert (await identities.resolve(DID)).pds == "https://pds.test"
    source.answers = [identity("key", pds="https://new.test")]
    assert (await identities.refresh(DID)).pds == "https://new.test"
    assert (await identities.resolve(DID)).pds == "https://new.test"
    source.answers = [identity("key", pds="https://third.test")]  # and without a word of it
    clock.now += FRESH_SECONDS
    await identities.resolve(DID)
    await until(lambda: identities.cached(DID) is not None)
    assert (await identities.resolve(DID)).pds == "https://third.test"


async def test_an_expired_identity_that_turns_out_gone_is_gone(
    make: Make, source: Source, clock: Clock
) -> None:
    identities = make()
    await identities.resolve(DID)
    clock.now += FRESH_SECONDS
    source.answers = [IdentityGone(DID, "tombstoned (410)")]
    await identities.resolve(DID)
    await until(lambda: source.asked == 2)
    await asyncio.sleep(0)
    with pytest.raises(IdentityGone):
        await identities.resolve(DID)


async def test_only_so_many_are_renewed_at_once(
    make: Make, source: Source, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(identity_module, "RENEWALS", 3)
    identities = make()
    dids = [numbered(n) for n in range(10)]
    for did in dids:
        await identities.resolve(did)
    clock.now += FRESH_SECONDS
    source.gate.clear()
    for _ in range(3):
        for did in dids:
            await identities.resolve(did)
    await until(lambda: source.asked >= 13)
    await asyncio.sleep(0.05)
    assert source.asked == 13
    await identities.close()


async def test_memory_is_bounded_and_what_is_not_saved_yet_is_not_lost(
    make: Make, source: Source, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(identity_module, "MEMORY_IDENTITIES", 10)
    identities = make()
    dids = [numbered(n) for n in range(50)]
    for did in dids:
        await identities.resolve(did)
    assert sum(identities.cached(did) is not None for did in dids) == 10
    await identities.resolve(dids[0])
    assert source.asked == 50
    assert set(identities.take_changes()) == set(dids)


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


async def test_an_answer_that_nobody_waits_for_any_more_is_no_error(
    make: Make, source: Source, caplog: pytest.LogCaptureFixture
) -> None:
    identities = make()
    source.gate.clear()
    source.answers = [InvalidIdentity(DID, "not JSON")]
    task = asyncio.create_task(identities.resolve(DID))
    await until(lambda: source.asked > 0)
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    source.gate.set()
    with pytest.raises(InvalidIdentity):
        await identities.resolve(DID)
    assert source.asked == 1
    assert not caplog.records
