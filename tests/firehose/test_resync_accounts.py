"""What is fetched of accounts that went away, came back, or speak from another host."""

from __future__ import annotations

import asyncio
import json
from collections import deque
from pathlib import Path

import pytest

from atdex_firehose import AccountEvent, RejectedEvent
from tests.firehose.model import GET_REPO, Model, follow, follow_until, lost, note
from tests.firehose.network import NOTE, network, take
from tests.support.repo import account_frame


async def test_what_an_account_wrote_while_it_was_away_is_fetched_when_it_is_back(
    tmp_path: Path,
) -> None:
    async with network() as net:
        alice = net.account("alice")
        net.write(alice, "one")
        net.relay.send(account_frame(net.seq(), alice.did, False, "deactivated"))
        net.write(alice, "hidden")
        model = Model()
        async with net.consumer(tmp_path / "s") as consumer:
            await follow_until(consumer, model, lambda: consumer.stats().ignored == 1)
            await asyncio.sleep(0.1)
            assert net.pds.requests[GET_REPO, alice.did] == 0
        net.relay.send(account_frame(net.seq(), alice.did, True))
        async with net.consumer(tmp_path / "s") as consumer:
            await follow(consumer, model, alice, {"one", "hidden"})


async def test_a_deleted_account_is_not_fetched_and_starts_anew_when_it_comes_back() -> None:
    async with network() as net:
        alice = net.account("alice")
        net.write(alice, "one", "two")
        net.relay.send(account_frame(net.seq(), alice.did, False, "deleted"))
        model = Model()
        async with net.consumer() as consumer:
            await follow_until(consumer, model, lambda: len(model.events) == 3)
            assert model.names(alice) == set()
            lost(net, alice, {note("one"): None})
            net.relay.send(account_frame(net.seq(), alice.did, True))
            await follow(consumer, model, alice, {"two"})
            net.write(alice, "three")
            await follow(consumer, model, alice, {"two", "three"})


async def test_a_direct_pds_may_speak_of_its_own_accounts_only() -> None:
    async with network() as net:
        alice, guest = net.account("alice"), net.account("guest")
        here = net.relay.url
        net.plc.documents[alice.did]["service"][0]["serviceEndpoint"] = here
        net.write(guest, "stolen")
        net.write(alice, "one")
        async with net.consumer(relays=[], hosts=[here]) as consumer:
            events = await take(consumer, 2)
        (refused,) = [event for event in events if isinstance(event, RejectedEvent)]
        assert (refused.did, refused.error) == (guest.did, "WrongHost")
        # An account that moves there is found out by one request.
        assert net.plc.requests[guest.did] == 2


async def test_a_deleted_account_is_nothing_that_remains_to_be_fetched(tmp_path: Path) -> None:
    async with network() as net:
        alice = net.account("alice")
        net.write(alice, "one")
        net.relay.send(account_frame(net.seq(), alice.did, False, "deleted"))
        model = Model()
        for _ in range(2):
            async with net.consumer(tmp_path / "s") as consumer:
                await follow_until(
                    consumer, model, lambda: consumer.stats().upstreams[0]["cursor"] == 2
                )
                assert consumer.stats().backfill.remaining == 0


@pytest.mark.parametrize(
    ("error", "status"), [("RepoDeactivated", "deactivated"), ("RepoTakendown", "takendown")]
)
async def test_an_account_whose_host_says_that_it_is_not_active_is_told_as_such(
    error: str, status: str
) -> None:
    async with network() as net:
        alice = net.account("alice")
        net.write(alice, "one")
        lost(net, alice, {note("missed"): NOTE})
        net.write(alice, "two")
        answer = (400, {"content-type": "application/json"}, json.dumps({"error": error}).encode())
        net.pds.answers[alice.did] = deque([answer])
        model = Model()
        async with net.consumer() as consumer:
            await follow_until(consumer, model, lambda: len(model.events) == 2)
            told = model.events[-1]
            assert isinstance(told, AccountEvent)
            assert (told.active, told.status, told.source) == (False, status, net.pds.url)
            assert consumer.stats().backfill.remaining == 0
            net.relay.send(account_frame(net.seq(), alice.did, True))
            await follow(consumer, model, alice, {"one", "missed", "two"})
