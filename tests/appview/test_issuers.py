"""Where the keys of callers come from, and how little can be made of asking for them."""

from __future__ import annotations

import pytest

from atdex_appview import issuers
from atdex_appview.issuers import AccountKeys
from atdex_firehose.errors import IdentityGone, IdentityUnavailable, InvalidIdentity
from atdex_firehose.events import Identity
from atdex_xrpc import AuthRequired, NodeUnavailable, RateLimitExceeded
from tests.support.repo import K256Key, Key, P256Key

ALICE = "did:plc:alice000000000000000000a"
BOB = "did:web:bob.example"


def identity(key: Key | None, did: str = ALICE) -> Identity:
    signing = None if key is None else f"did:key:{key.multikey}"
    return Identity(did, None, "https://pds.example", signing)


class World:
    """The directory, the firehose's memory, and a clock."""

    def __init__(self) -> None:
        self.documents: dict[str, Identity | Exception] = {}
        self.events: dict[str, Identity] = {}
        self.inactive: set[str] = set()
        self.fetches = 0
        self.now = 1000.0
        self.keys = AccountKeys(
            self, known=self.events.get, active=self.active, clock=lambda: self.now
        )

    async def fetch(self, did: str) -> Identity:
        self.fetches += 1
        found = self.documents[did]
        if isinstance(found, Exception):
            raise found
        return found

    async def active(self, did: str) -> bool:
        return did not in self.inactive

    async def name(self, *, fresh: bool = False) -> str:
        return (await self.keys.key(ALICE, fresh=fresh)).name


async def test_what_the_firehose_knows_is_not_asked_for() -> None:
    world = World()
    key = K256Key()
    world.events[ALICE] = identity(key)
    found = await world.keys.key(ALICE, fresh=False)
    assert (found.name, found.algorithm) == (f"did:key:{key.multikey}", "ES256K")
    assert found.verify(key.sign(b"hello"), b"hello")
    assert not found.verify(key.sign(b"hello"), b"hallo")
    assert world.fetches == 0


async def test_a_document_that_was_asked_for_is_kept_for_some_minutes() -> None:
    world = World()
    old, new = P256Key(), P256Key()
    world.documents[ALICE] = identity(old)
    assert (await world.keys.key(ALICE, fresh=False)).algorithm == "ES256"
    world.documents[ALICE] = identity(new)
    world.now += issuers.KEPT_SECONDS - 1
    assert await world.name() == f"did:key:{old.multikey}"
    world.now += 2
    assert await world.name() == f"did:key:{new.multikey}"
    assert world.fetches == 2


async def test_a_renewed_key_counts_before_what_the_firehose_still_has() -> None:
    world = World()
    old, new = K256Key(), K256Key()
    world.events[ALICE] = identity(old)
    world.documents[ALICE] = identity(new)
    assert await world.name(fresh=True) == f"did:key:{new.multikey}"
    assert await world.name() == f"did:key:{new.multikey}"
    assert world.fetches == 1


async def test_renewals_of_one_account_are_rationed() -> None:
    world = World()
    world.documents[ALICE] = identity(K256Key())
    for _ in range(50):
        await world.name(fresh=True)
    assert world.fetches == issuers.RENEW_BURST
    world.now += issuers.RENEW_SECONDS
    await world.name(fresh=True)
    assert world.fetches == issuers.RENEW_BURST + 1


async def test_documents_asked_for_in_all_are_rationed() -> None:
    world = World()
    for number in range(issuers.ASKED_BURST + 1):
        world.documents[f"did:web:h{number}.example"] = IdentityGone("", "404")
    for number in range(issuers.ASKED_BURST):
        with pytest.raises(AuthRequired):
            await world.keys.key(f"did:web:h{number}.example", fresh=False)
    with pytest.raises(RateLimitExceeded):
        await world.keys.key(f"did:web:h{issuers.ASKED_BURST}.example", fresh=False)
    world.events[ALICE] = identity(K256Key())
    await world.name()  # who is known already is not held up
    world.now += 1
    with pytest.raises(AuthRequired):
        await world.keys.key(f"did:web:h{issuers.ASKED_BURST}.example", fresh=False)


@pytest.mark.parametrize("wrong", [IdentityGone(BOB, "404"), InvalidIdentity(BOB, "no object")])
async def test_an_account_without_a_usable_document_is_refused_and_not_asked_for_at_once(
    wrong: Exception,
) -> None:
    world = World()
    world.documents[BOB] = wrong
    for _ in range(3):
        with pytest.raises(AuthRequired) as refused:
            await world.keys.key(BOB, fresh=False)
        assert refused.value.error == "BadJwtIss"
    assert world.fetches == 1
    world.documents[BOB] = identity(K256Key(), BOB)
    world.now += issuers.REFUSED_SECONDS + 1
    await world.keys.key(BOB, fresh=False)


async def test_an_outage_is_not_held_against_the_caller() -> None:
    world = World()
    world.documents[BOB] = IdentityUnavailable(BOB, "no answer")
    with pytest.raises(NodeUnavailable):
        await world.keys.key(BOB, fresh=False)
    world.documents[BOB] = identity(K256Key(), BOB)
    await world.keys.key(BOB, fresh=False)


async def test_an_inactive_account_calls_nothing_whatever_its_document_says() -> None:
    world = World()
    world.events[ALICE] = identity(K256Key())
    await world.name()
    world.inactive.add(ALICE)
    with pytest.raises(AuthRequired, match="not active") as refused:
        await world.name()
    assert refused.value.error == "BadJwtIss"


@pytest.mark.parametrize("key", [None, "did:key:z", "did:web:x"])
async def test_an_account_without_a_signing_key_calls_nothing(key: str | None) -> None:
    world = World()
    world.events[ALICE] = Identity(ALICE, None, None, key)
    with pytest.raises(AuthRequired, match="no signing key"):
        await world.name()


async def test_what_is_kept_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(issuers, "MEMORY_ACCOUNTS", 5)
    world = World()
    for number in range(20):
        did = f"did:web:h{number}.example"
        world.documents[did] = identity(K256Key(), did)
        await world.keys.key(did, fresh=False)
    assert len(world.keys._kept) == 5
